// What the API says (docs/openapi.yaml), as far as the pages read it.
export const STATUSES = ['pending', 'running', 'success', 'failed', 'cancelled'] as const;
export type Status = (typeof STATUSES)[number];

export interface Progress { percent: number; message: string | null; at: string }

export interface JobSummary {
  job_id: string; project: string; queue: string; task_type: string; priority: number; status: Status;
  payload_ref: string | null; inputs: { name: string; ref: string }[]; labels: Record<string, string>;
  dedup_key: string | null; max_attempts: number; timeout_s: number | null; no_progress_timeout_s: number | null;
  created_at: string; run_at: string; start_deadline_at: string | null;
  attempt: number; retries: number; interruptions: number; losses: number;
  owner_id: string | null; lease_until: string | null; cancel_requested_at: string | null;
  started_at: string | null; finished_at: string | null; outcome: string | null; result_url: string | null;
  error_log: string | null; fingerprint: string | null; progress: Progress | null; version: number;
}

export interface Job extends JobSummary {
  payload: unknown;
  checkpoint: { attempt: number; at: string; percent: number | null; files: number; bytes: number } | null;
  waiting_reason: string | null;
}

export interface Attempt {
  attempt: number; worker_id: string; worker_name: string; handler_version: string; started_at: string; ended_at: string | null;
  outcome: string | null; exit_code: number | null; signal: number | null; cpu_s: number; peak_memory_bytes: number;
  bytes_in: number; bytes_out: number; log_bytes: number; error: string | null; redone: number | null;
}

export interface Output { name: string; ref: string; url: string; size: number; sha256: string }

export interface Page { jobs: JobSummary[]; next_cursor: string | null }

export interface BulkAnswer {
  results: { job_id: string; status: number; problem?: { detail: string } }[];
  done: number; refused: number;
}
