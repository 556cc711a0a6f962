-- The tables of src/store/sqlite as its migrations 0001 to 0014 left them. Every row carries its project. Times are microseconds of the
-- store's clock; 0 where an instant is absent, unless said. Names sort by their bytes. Payloads, labels and logs are bytes.
-- Rows of jobs change often and stay few: room in their pages, and a vacuum long before a fifth of them is dead.

CREATE TABLE meta (key text COLLATE "C" PRIMARY KEY, value text NOT NULL) WITH (fillfactor = 50);

-- The one server that writes, until when; and the number of its last batch, by which it learns whether a commit went through.
CREATE TABLE servers (
    one boolean PRIMARY KEY CHECK (one),
    owner uuid NOT NULL, name text NOT NULL, until timestamptz NOT NULL, batch bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE lanes (
    lane_id bigint PRIMARY KEY,
    project text COLLATE "C" NOT NULL, queue text COLLATE "C" NOT NULL, task_type text COLLATE "C" NOT NULL,
    priority smallint NOT NULL,
    UNIQUE (project, queue, task_type, priority)
);

-- pending, running and failed (the dead-letter queue): small, however much was done.
CREATE TABLE jobs (
    job_id uuid PRIMARY KEY,
    project text COLLATE "C" NOT NULL, queue text COLLATE "C" NOT NULL, task_type text COLLATE "C" NOT NULL,
    priority smallint NOT NULL, lane_id bigint NOT NULL,
    payload bytea NOT NULL, payload_ref text, labels bytea NOT NULL, dedup_key text COLLATE "C",
    max_attempts bigint NOT NULL, timeout_us bigint NOT NULL, created_at bigint NOT NULL, start_deadline_at bigint NOT NULL,
    status smallint NOT NULL, run_at bigint NOT NULL, waiting_on bigint NOT NULL,
    attempt bigint NOT NULL, retries bigint NOT NULL, interruptions bigint NOT NULL, losses bigint NOT NULL,
    token bytea, token_attempt bigint NOT NULL, owner_id uuid, lease_until bigint NOT NULL, confirmed smallint NOT NULL,
    cancel_requested_at bigint NOT NULL, started_at bigint NOT NULL, finished_at bigint NOT NULL,
    last_outcome smallint NOT NULL, error_log bytea,
    progress double precision NOT NULL, progress_message text, progress_at bigint NOT NULL,
    version bigint NOT NULL,
    ready_seq bigint, -- order of becoming ready; NULL while it cannot be claimed
    no_progress_us bigint NOT NULL,
    fingerprint bigint NOT NULL DEFAULT 0 -- 64 bits; 0: none
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX jobs_ready ON jobs (lane_id, ready_seq) WHERE ready_seq IS NOT NULL;
CREATE INDEX jobs_due ON jobs (run_at) WHERE status = 0 AND ready_seq IS NULL AND waiting_on = 0;
CREATE INDEX jobs_deadline ON jobs (start_deadline_at) WHERE status = 0 AND start_deadline_at > 0;
CREATE INDEX jobs_lease ON jobs (lease_until) WHERE status = 1;
CREATE INDEX jobs_status ON jobs (project, status, job_id) WHERE status <> 0;
CREATE INDEX jobs_type ON jobs (project, task_type, job_id);

-- success and cancelled. The same columns: rows move whole.
CREATE TABLE history (LIKE jobs INCLUDING DEFAULTS, PRIMARY KEY (job_id));
CREATE INDEX history_finished ON history (finished_at, job_id);
CREATE INDEX history_status ON history (project, status, job_id) WHERE status <> 2;
CREATE INDEX history_type ON history (project, task_type, job_id);

CREATE TABLE inputs (
    job_id uuid NOT NULL, i integer NOT NULL, name text NOT NULL, ref text NOT NULL,
    PRIMARY KEY (job_id, i)
);

CREATE TABLE attempts (
    job_id uuid NOT NULL, attempt bigint NOT NULL, project text COLLATE "C" NOT NULL,
    token bytea NOT NULL, poll_id text COLLATE "C" NOT NULL,
    worker_id uuid NOT NULL, worker_name text, handler_version text,
    started_at bigint NOT NULL, ended_at bigint NOT NULL,
    outcome smallint NOT NULL, exit_code integer NOT NULL, signal integer NOT NULL,
    cpu_us bigint NOT NULL, peak_memory_bytes bigint NOT NULL, bytes_in bigint NOT NULL, bytes_out bigint NOT NULL,
    log_bytes bigint NOT NULL, error bytea,
    decided smallint NOT NULL,                                     -- the worker's report was accepted:
    answer_status smallint NOT NULL, answer_run_at bigint NOT NULL, -- what it was answered, for repeats
    charged smallint NOT NULL DEFAULT 0,                           -- its loss was the job's; given back when it goes on
    log_cut_from bigint NOT NULL DEFAULT 0, log_cut_to bigint NOT NULL DEFAULT 0, -- bytes that are not kept; equal: none
    log_state smallint NOT NULL DEFAULT 0,                         -- 0 may grow; closed: 1 to be packed, 2 as it will stay
    log_blob uuid,                                                 -- the packed log's bytes; NULL: they are in log_chunks
    redone double precision NOT NULL DEFAULT -1,                   -- of the attempt before: a share, 0 to 1; -1: not known
    PRIMARY KEY (job_id, attempt)
) WITH (fillfactor = 80);
CREATE INDEX attempts_poll ON attempts (worker_id, poll_id) WHERE ended_at = 0;
CREATE INDEX attempts_lost ON attempts (ended_at) WHERE outcome = 7;
CREATE INDEX attempts_to_pack ON attempts (ended_at) WHERE log_state = 1;

CREATE TABLE outputs (
    job_id uuid NOT NULL, attempt bigint NOT NULL, name text COLLATE "C" NOT NULL,
    blob_id uuid NOT NULL, size bigint NOT NULL, sha256 bytea NOT NULL,
    published smallint NOT NULL,
    PRIMARY KEY (job_id, attempt, name)
);

CREATE TABLE log_chunks (
    job_id uuid NOT NULL, attempt bigint NOT NULL, at bigint NOT NULL, bytes bytea NOT NULL,
    PRIMARY KEY (job_id, attempt, at)
);

CREATE TABLE dedup (
    project text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, job_id uuid NOT NULL,
    request_hash bytea NOT NULL, content_hash bytea NOT NULL, expires_at bigint NOT NULL,
    PRIMARY KEY (project, key)
);
CREATE INDEX dedup_until ON dedup (expires_at);

CREATE TABLE blobs (
    blob_id uuid PRIMARY KEY, project text COLLATE "C" NOT NULL,
    size bigint NOT NULL, sha256 bytea NOT NULL,
    refs bigint NOT NULL, created_at bigint NOT NULL, expires_at bigint NOT NULL -- counts while refs = 0
);
CREATE INDEX blobs_unreferenced ON blobs (expires_at) WHERE refs = 0;

CREATE TABLE workers (
    worker_id uuid PRIMARY KEY,
    name text, host text, version text, isolation text, handlers text,
    slots_total bigint NOT NULL, slots_busy bigint NOT NULL, first_seen bigint NOT NULL, last_seen bigint NOT NULL
) WITH (fillfactor = 50);

-- Each server adds to rows of its own; readers sum.
CREATE TABLE counters (
    server_id bigint NOT NULL, project text COLLATE "C" NOT NULL, queue text COLLATE "C" NOT NULL,
    task_type text COLLATE "C" NOT NULL, status smallint NOT NULL, n bigint NOT NULL,
    PRIMARY KEY (project, queue, task_type, status, server_id)
) WITH (fillfactor = 50);

-- Which jobs carry a label, newest last: by key and value, and by key alone.
CREATE TABLE labels (
    project text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, value text COLLATE "C" NOT NULL, job_id uuid NOT NULL,
    PRIMARY KEY (project, key, value, job_id)
);
CREATE INDEX labels_key ON labels (project, key, job_id);

-- Uploads that may be resumed, until their last byte makes a blob of the same id.
CREATE TABLE uploads (
    upload_id uuid PRIMARY KEY, project text COLLATE "C" NOT NULL,
    size bigint NOT NULL, sha256 bytea, metadata text, created_at bigint NOT NULL, expires_at bigint NOT NULL
);
CREATE INDEX uploads_expire ON uploads (expires_at);

-- The last checkpoint of a job that is not finished: whose it is, and its files, each of which holds a reference to its blob.
CREATE TABLE checkpoints (
    job_id uuid PRIMARY KEY, attempt bigint NOT NULL, at bigint NOT NULL,
    progress double precision NOT NULL, -- -1: not known
    files bigint NOT NULL, bytes bigint NOT NULL,
    sequence bigint NOT NULL DEFAULT 0 -- 0: the worker did not say
);
CREATE TABLE checkpoint_files (
    job_id uuid NOT NULL, name text COLLATE "C" NOT NULL, blob_id uuid NOT NULL, executable smallint NOT NULL,
    PRIMARY KEY (job_id, name)
);

-- Dead letters by what they failed of: only they are in these tables. One row for all of a fingerprint, while there are any.
CREATE TABLE dead_letters (
    project text COLLATE "C" NOT NULL, fingerprint bigint NOT NULL, job_id uuid NOT NULL,
    PRIMARY KEY (project, fingerprint, job_id)
);
CREATE TABLE dead_groups (
    project text COLLATE "C" NOT NULL, fingerprint bigint NOT NULL, task_type text COLLATE "C" NOT NULL,
    jobs bigint NOT NULL,
    first_failed_at bigint NOT NULL, last_failed_at bigint NOT NULL, -- since there are any; of those, too, that were retried since
    last_job_id uuid NOT NULL,                                       -- the one that failed last: dead no more, perhaps
    PRIMARY KEY (project, fingerprint)
);
CREATE INDEX dead_groups_jobs ON dead_groups (project, jobs, fingerprint);
INSERT INTO meta (key, value) VALUES ('dead_entered', '1');

-- What is done to many dead letters, little by little.
CREATE TABLE redrives (
    redrive_id uuid PRIMARY KEY, project text COLLATE "C" NOT NULL,
    action smallint NOT NULL, dry_run smallint NOT NULL,
    -- which: NULL or 0 any
    fingerprint bigint NOT NULL, task_type text, queue text, labels bytea NOT NULL, -- labels: a JSON array of key=value or key
    created_after bigint NOT NULL, created_before bigint NOT NULL, failed_before bigint NOT NULL,
    jobs_max bigint NOT NULL, rate_n bigint NOT NULL, rate_per_us bigint NOT NULL, -- 0: all, as fast as there is room
    state smallint NOT NULL, counted smallint NOT NULL, -- first all that match are counted, then they are taken
    matched bigint NOT NULL, done bigint NOT NULL,
    behind uuid,             -- the last job that was dealt with; they come newest first
    next_at bigint NOT NULL, -- when the next few may be taken
    created_at bigint NOT NULL, ended_at bigint NOT NULL,
    request_key text COLLATE "C", request_hash bytea
);
CREATE INDEX redrives_next ON redrives (next_at) WHERE state = 0;
CREATE UNIQUE INDEX redrives_key ON redrives (project, request_key) WHERE request_key IS NOT NULL;
