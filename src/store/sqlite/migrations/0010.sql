-- How long a handler of the job may write neither a report nor a log; 0: as its entry says.
ALTER TABLE jobs ADD COLUMN no_progress_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history ADD COLUMN no_progress_us INTEGER NOT NULL DEFAULT 0;
