-- How much of the attempt before was done once more: a share, 0 to 1; -1 where nobody knows.
ALTER TABLE attempts ADD COLUMN redone REAL NOT NULL DEFAULT -1;
-- What a checkpoint holds, told with the job without a look at each file.
ALTER TABLE checkpoints ADD COLUMN files INTEGER NOT NULL DEFAULT 0;
ALTER TABLE checkpoints ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE checkpoints SET files = (SELECT count(*) FROM checkpoint_files f WHERE f.job_id = checkpoints.job_id),
    bytes = (SELECT coalesce(sum(b.size), 0) FROM checkpoint_files f JOIN blobs b ON b.blob_id = f.blob_id
             WHERE f.job_id = checkpoints.job_id);
