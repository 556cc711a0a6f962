-- Dead letters by what they failed of: cheap to group and to list, however many there are. Only they are in these tables. Those of before are
-- entered by a sweeper (sql/dead.c), a few at a time: a start does not wait for it.
ALTER TABLE jobs ADD COLUMN fingerprint INTEGER NOT NULL DEFAULT 0; -- 64 bits; 0: none, or not entered yet
ALTER TABLE history ADD COLUMN fingerprint INTEGER NOT NULL DEFAULT 0; -- as in jobs, where rows come back to by a retry: none
CREATE TABLE dead_letters (
    project TEXT NOT NULL, fingerprint INTEGER NOT NULL, job_id BLOB NOT NULL,
    PRIMARY KEY (project, fingerprint, job_id)
) WITHOUT ROWID;
-- One row for all of a fingerprint, while there are any.
CREATE TABLE dead_groups (
    project TEXT NOT NULL, fingerprint INTEGER NOT NULL, task_type TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    first_failed_at INTEGER NOT NULL, last_failed_at INTEGER NOT NULL, -- since there are any; of those, too, that were retried since
    last_job_id BLOB NOT NULL,                                         -- the one that failed last: dead no more, perhaps
    PRIMARY KEY (project, fingerprint)
) WITHOUT ROWID;
CREATE INDEX dead_groups_jobs ON dead_groups (project, jobs, fingerprint);
INSERT INTO meta (key, value)
    SELECT 'dead_entered', '1' WHERE NOT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_status WHERE status <> 0 AND status = 3);

-- Which server does which sweep: SQLite's file has one server, and nobody ever asked.
DROP TABLE sweeps;
