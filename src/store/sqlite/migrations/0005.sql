-- Keys as clients choose them are random: where the whole row lay in the order of keys, each submission dirtied a page of its own of a large
-- table. Now rows lie in the order they came in, and only (key, project) is in random order: a third of the pages. A job knows its key, so
-- nothing looks for one by job. The indexes come first: made last they would be sorted, in memory.
CREATE TABLE dedup_new (
    project TEXT NOT NULL, key TEXT NOT NULL, job_id BLOB NOT NULL,
    request_hash BLOB NOT NULL, content_hash BLOB NOT NULL, expires_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX dedup_key ON dedup_new (key, project);
CREATE INDEX dedup_until ON dedup_new (expires_at);
INSERT INTO dedup_new (project, key, job_id, request_hash, content_hash, expires_at)
    SELECT project, key, job_id, request_hash, content_hash, expires_at FROM dedup;
DROP TABLE dedup;
ALTER TABLE dedup_new RENAME TO dedup;
