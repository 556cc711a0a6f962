-- Indexes that every job wrote, and that hardly anybody reads. A list of what nearly every row is (pending in jobs, success in history) walks the
-- ids. Rows of dedup and of history lie in the order in which their time comes: what is over is found at their head.
DROP INDEX jobs_status;
CREATE INDEX jobs_status ON jobs (project, status, job_id) WHERE status <> 0;
DROP INDEX history_status;
CREATE INDEX history_status ON history (project, status, job_id) WHERE status <> 2;
DROP INDEX history_finished;
DROP INDEX dedup_until;
