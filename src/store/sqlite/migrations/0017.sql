-- The trace that a job is part of, as its submitter said (W3C Trace Context); NULL: they did not.
ALTER TABLE jobs ADD COLUMN traceparent TEXT;
ALTER TABLE jobs ADD COLUMN tracestate TEXT;
ALTER TABLE history ADD COLUMN traceparent TEXT;
ALTER TABLE history ADD COLUMN tracestate TEXT;
-- CPU and memory over time (core/series.c); NULL: nothing was measured.
ALTER TABLE attempts ADD COLUMN series BLOB;
-- How busy a worker's host is, as its last poll said: JSON; NULL: it did not.
ALTER TABLE workers ADD COLUMN load TEXT;
-- Workers that are given nothing more.
CREATE TABLE drains (worker_id BLOB PRIMARY KEY, drained_at INTEGER NOT NULL, drained_by TEXT) WITHOUT ROWID;
