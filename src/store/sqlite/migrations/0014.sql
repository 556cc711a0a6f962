-- What is done to many dead letters, little by little (sql/redrive.c).
CREATE TABLE redrives (
    redrive_id BLOB PRIMARY KEY NOT NULL, project TEXT NOT NULL,
    action INTEGER NOT NULL, dry_run INTEGER NOT NULL,
    -- which: NULL or 0 any
    fingerprint INTEGER NOT NULL, task_type TEXT, queue TEXT, labels BLOB NOT NULL, -- labels: a JSON array of key=value or key
    created_after INTEGER NOT NULL, created_before INTEGER NOT NULL, failed_before INTEGER NOT NULL,
    jobs_max INTEGER NOT NULL, rate_n INTEGER NOT NULL, rate_per_us INTEGER NOT NULL, -- 0: all, as fast as there is room
    state INTEGER NOT NULL, counted INTEGER NOT NULL, -- first all that match are counted, then they are taken
    matched INTEGER NOT NULL, done INTEGER NOT NULL,
    behind BLOB,              -- the last job that was dealt with; they come newest first
    next_at INTEGER NOT NULL, -- when the next few may be taken
    created_at INTEGER NOT NULL, ended_at INTEGER NOT NULL,
    request_key TEXT, request_hash BLOB
) WITHOUT ROWID;
CREATE INDEX redrives_next ON redrives (next_at) WHERE state = 0;
CREATE UNIQUE INDEX redrives_key ON redrives (project, request_key) WHERE request_key IS NOT NULL;
