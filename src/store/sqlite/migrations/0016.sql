-- Queues from which nobody takes jobs.
CREATE TABLE pauses (
    project TEXT NOT NULL, queue TEXT NOT NULL,
    paused_at INTEGER NOT NULL, paused_by TEXT, reason TEXT, -- as whoever paused it says
    PRIMARY KEY (project, queue)
) WITHOUT ROWID;
