-- Every row carries its project. Times are microseconds of the store's clock; 0 where an instant is absent, unless said.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE lanes (
    lane_id INTEGER PRIMARY KEY,
    project TEXT NOT NULL, queue TEXT NOT NULL, task_type TEXT NOT NULL, priority INTEGER NOT NULL,
    UNIQUE (project, queue, task_type, priority)
);

-- pending, running and failed (the dead-letter queue): small, however much was done.
CREATE TABLE jobs (
    job_id BLOB PRIMARY KEY NOT NULL,
    project TEXT NOT NULL, queue TEXT NOT NULL, task_type TEXT NOT NULL, priority INTEGER NOT NULL,
    lane_id INTEGER NOT NULL,
    payload BLOB NOT NULL, payload_ref TEXT, labels BLOB NOT NULL, dedup_key TEXT,
    max_attempts INTEGER NOT NULL, timeout_us INTEGER NOT NULL, created_at INTEGER NOT NULL,
    start_deadline_at INTEGER NOT NULL,
    status INTEGER NOT NULL, run_at INTEGER NOT NULL, waiting_on INTEGER NOT NULL,
    attempt INTEGER NOT NULL, retries INTEGER NOT NULL, interruptions INTEGER NOT NULL, losses INTEGER NOT NULL,
    token BLOB, token_attempt INTEGER NOT NULL, owner_id BLOB, lease_until INTEGER NOT NULL, confirmed INTEGER NOT NULL,
    cancel_requested_at INTEGER NOT NULL, started_at INTEGER NOT NULL, finished_at INTEGER NOT NULL,
    last_outcome INTEGER NOT NULL, error_log BLOB,
    progress REAL NOT NULL, progress_message TEXT, progress_at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    ready_seq INTEGER -- order of becoming ready; NULL while it cannot be claimed
);
CREATE INDEX jobs_ready ON jobs (lane_id, ready_seq) WHERE ready_seq IS NOT NULL;
CREATE INDEX jobs_due ON jobs (run_at) WHERE status = 0 AND ready_seq IS NULL AND waiting_on = 0;
CREATE INDEX jobs_deadline ON jobs (start_deadline_at) WHERE status = 0 AND start_deadline_at > 0;
CREATE INDEX jobs_lease ON jobs (lease_until) WHERE status = 1;
CREATE INDEX jobs_newest ON jobs (project, job_id);
CREATE INDEX jobs_status ON jobs (project, status, job_id);
CREATE INDEX jobs_type ON jobs (project, task_type, job_id);

-- success and cancelled. The same columns in the same order: rows move whole.
CREATE TABLE history (
    job_id BLOB PRIMARY KEY NOT NULL,
    project TEXT NOT NULL, queue TEXT NOT NULL, task_type TEXT NOT NULL, priority INTEGER NOT NULL,
    lane_id INTEGER NOT NULL,
    payload BLOB NOT NULL, payload_ref TEXT, labels BLOB NOT NULL, dedup_key TEXT,
    max_attempts INTEGER NOT NULL, timeout_us INTEGER NOT NULL, created_at INTEGER NOT NULL,
    start_deadline_at INTEGER NOT NULL,
    status INTEGER NOT NULL, run_at INTEGER NOT NULL, waiting_on INTEGER NOT NULL,
    attempt INTEGER NOT NULL, retries INTEGER NOT NULL, interruptions INTEGER NOT NULL, losses INTEGER NOT NULL,
    token BLOB, token_attempt INTEGER NOT NULL, owner_id BLOB, lease_until INTEGER NOT NULL, confirmed INTEGER NOT NULL,
    cancel_requested_at INTEGER NOT NULL, started_at INTEGER NOT NULL, finished_at INTEGER NOT NULL,
    last_outcome INTEGER NOT NULL, error_log BLOB,
    progress REAL NOT NULL, progress_message TEXT, progress_at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    ready_seq INTEGER
);
CREATE INDEX history_finished ON history (finished_at);
CREATE INDEX history_newest ON history (project, job_id);
CREATE INDEX history_status ON history (project, status, job_id);
CREATE INDEX history_type ON history (project, task_type, job_id);

CREATE TABLE inputs (
    job_id BLOB NOT NULL, i INTEGER NOT NULL, name TEXT NOT NULL, ref TEXT NOT NULL,
    PRIMARY KEY (job_id, i)
) WITHOUT ROWID;

CREATE TABLE attempts (
    job_id BLOB NOT NULL, attempt INTEGER NOT NULL, project TEXT NOT NULL,
    token BLOB NOT NULL, poll_id TEXT NOT NULL,
    worker_id BLOB NOT NULL, worker_name TEXT, handler_version TEXT,
    started_at INTEGER NOT NULL, ended_at INTEGER NOT NULL,
    outcome INTEGER NOT NULL, exit_code INTEGER NOT NULL, signal INTEGER NOT NULL,
    cpu_us INTEGER NOT NULL, peak_memory_bytes INTEGER NOT NULL, bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL,
    log_bytes INTEGER NOT NULL, error BLOB,
    decided INTEGER NOT NULL,                                    -- the worker's report was accepted:
    answer_status INTEGER NOT NULL, answer_run_at INTEGER NOT NULL, -- what it was answered, for repeats
    PRIMARY KEY (job_id, attempt)
) WITHOUT ROWID;
CREATE INDEX attempts_poll ON attempts (worker_id, poll_id) WHERE ended_at = 0;

CREATE TABLE outputs (
    job_id BLOB NOT NULL, attempt INTEGER NOT NULL, name TEXT NOT NULL,
    blob_id BLOB NOT NULL, size INTEGER NOT NULL, sha256 BLOB NOT NULL,
    published INTEGER NOT NULL,
    PRIMARY KEY (job_id, attempt, name)
) WITHOUT ROWID;

CREATE TABLE log_chunks (
    job_id BLOB NOT NULL, attempt INTEGER NOT NULL, at INTEGER NOT NULL, bytes BLOB NOT NULL,
    UNIQUE (job_id, attempt, at)
);

CREATE TABLE dedup (
    project TEXT NOT NULL, key TEXT NOT NULL, job_id BLOB NOT NULL,
    request_hash BLOB NOT NULL, content_hash BLOB NOT NULL, expires_at INTEGER NOT NULL,
    PRIMARY KEY (project, key)
) WITHOUT ROWID;
CREATE INDEX dedup_expires ON dedup (expires_at);
CREATE INDEX dedup_job ON dedup (job_id);

CREATE TABLE blobs (
    blob_id BLOB PRIMARY KEY NOT NULL, project TEXT NOT NULL,
    size INTEGER NOT NULL, sha256 BLOB NOT NULL,
    refs INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL -- counts while refs = 0
) WITHOUT ROWID;
CREATE INDEX blobs_unreferenced ON blobs (expires_at) WHERE refs = 0;

CREATE TABLE workers (
    worker_id BLOB PRIMARY KEY NOT NULL,
    name TEXT, host TEXT, version TEXT, isolation TEXT, handlers TEXT,
    slots_total INTEGER NOT NULL, slots_busy INTEGER NOT NULL, first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL
) WITHOUT ROWID;

-- Each server adds to rows of its own; readers sum.
CREATE TABLE counters (
    server_id INTEGER NOT NULL, project TEXT NOT NULL, queue TEXT NOT NULL, task_type TEXT NOT NULL, status INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (project, queue, task_type, status, server_id)
) WITHOUT ROWID;

-- Which server does which sweep, until when.
CREATE TABLE sweeps (name TEXT PRIMARY KEY, owner BLOB NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;
