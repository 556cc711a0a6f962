-- The last checkpoint of a job that is not finished: whose it is, and its files, each of which holds a reference to its blob.
CREATE TABLE checkpoints (
    job_id BLOB PRIMARY KEY NOT NULL, attempt INTEGER NOT NULL, at INTEGER NOT NULL, progress REAL NOT NULL -- -1: not known
) WITHOUT ROWID;
CREATE TABLE checkpoint_files (
    job_id BLOB NOT NULL, name TEXT NOT NULL, blob_id BLOB NOT NULL, executable INTEGER NOT NULL,
    PRIMARY KEY (job_id, name)
) WITHOUT ROWID;
