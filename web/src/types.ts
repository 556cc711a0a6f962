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
  traceparent?: string | null; // a server of an earlier build has none
}

export interface Attempt {
  attempt: number; worker_id: string; worker_name: string; handler_version: string; started_at: string; ended_at: string | null;
  outcome: string | null; exit_code: number | null; signal: number | null; cpu_s: number; peak_memory_bytes: number;
  bytes_in: number; bytes_out: number; log_bytes: number; error: string | null; redone: number | null;
}

export interface UsageRange { least: number; mean: number; most: number }
export interface UsagePoint { at_s: number; cpu: UsageRange; memory_bytes: UsageRange }

export interface Output { name: string; ref: string; url: string; size: number; sha256: string }

export interface Page { jobs: JobSummary[]; next_cursor: string | null }

export interface BulkAnswer {
  results: { job_id: string; status: number; problem?: { detail: string } }[];
  done: number; refused: number;
}

export interface QueueStats {
  project: string; queue: string; task_type: string;
  pending: number; running: number; success: number; failed: number; cancelled: number;
  ready: number | null; oldest_ready_age_s: number | null;
  submitted_per_min?: number | null; succeeded_per_min?: number | null; failed_per_min?: number | null; // absent: a server before there were any
}
export interface Stats { queues: QueueStats[]; paused: string[]; server: { version: string; uptime_s?: number } }

export interface Worker {
  worker_id: string; name: string | null; host: string | null; version: string | null; isolation: string | null; handlers: Record<string, string>;
  slots_total: number; slots_busy: number; first_seen: string;
  load: { cpus: number; cpu: number; memory_bytes: number; memory_total_bytes: number } | null; last_seen: string; state: 'live' | 'draining' | 'drained' | 'gone'; drained_at: string | null; drained_by: string | null;
}

export interface Sli {
  queue_depth: number; job_start_latency_p95_s: number | null; job_completion_latency_p99_s: number | null;
  job_success_rate_1m: number | null; job_success_rate_5m: number | null; started_per_s: number; finished_per_s: number;
}
export interface Objective {
  name: string; task_type: string | null; queue: string | null; kind: 'start' | 'success'; within_s: number | null; objective: number; window_s: number;
  good: number; bad: number; budget_left: number; burn_5m: number | null; burn_1h: number | null; burn_6h: number | null; state: 'ok' | 'slow_burn' | 'fast_burn';
}
export interface Slis { at: string; all: Sli; objectives: Objective[] }
export interface Alert {
  name: string; what: string; above: number; clear_at: number; for_s: number; state: 'ok' | 'pending' | 'firing' | 'resolved';
  value: number | null; since: string | null; fired_at: string | null; resolved_at: string | null; severity: string; text: string;
}

export interface Receiver {
  receiver: string; kind: 'webhook' | 'command'; to: string; waiting: number; sent_at: string | null; failed_at: string | null; error: string | null;
  next_try_at: string | null;
}
export interface ReceiverTest { receiver: string; sent: boolean; error: string | null; took_s: number }
/** A server of an earlier build tells nobody. */
export interface Alerts { alerts: Alert[]; sending?: boolean; receivers?: Receiver[] }

export interface Group {
  fingerprint: string; task_type: string; jobs: number; first_failed_at: string; last_failed_at: string; job_id: string; outcome: string; error_log: string | null;
}
export interface Redrive {
  redrive_id: string; action: 'retry' | 'discard'; dry_run: boolean; limit: number | null; rate: string | null; state: 'running' | 'done' | 'cancelled';
  matched: number | null; done: number; skipped: number; created_at: string; ended_at: string | null;
  filter: { fingerprint: string | null; task_type: string | null; queue: string | null };
}
