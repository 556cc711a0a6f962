-- Which jobs carry a label, newest last: by key and value, and by key alone. Jobs without labels cost nothing here.
CREATE TABLE labels (
    project TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, job_id BLOB NOT NULL,
    PRIMARY KEY (project, key, value, job_id)
) WITHOUT ROWID;
CREATE INDEX labels_key ON labels (project, key, job_id);

INSERT INTO labels (project, key, value, job_id)
    SELECT j.project, e.key, e.value, j.job_id FROM jobs j, json_each(CAST(j.labels AS TEXT)) e WHERE j.labels <> x'7b7d';
INSERT INTO labels (project, key, value, job_id)
    SELECT h.project, e.key, e.value, h.job_id FROM history h, json_each(CAST(h.labels AS TEXT)) e WHERE h.labels <> x'7b7d';

-- The most that a job's id (the server's wall clock) and its created_at (the store's clock) were ever apart, so that ids bound a search
-- by time. What is here already was not measured: no bound.
INSERT INTO meta (key, value)
    SELECT 'id_skew_us', '9223372036854775807' WHERE EXISTS (SELECT 1 FROM jobs) OR EXISTS (SELECT 1 FROM history);
