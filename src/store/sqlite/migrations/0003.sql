-- Logs: offsets count bytes as the handler wrote them. Those from log_cut_from up to log_cut_to are not kept (equal: there is no cut).
ALTER TABLE attempts ADD COLUMN log_cut_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN log_cut_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN log_state INTEGER NOT NULL DEFAULT 0; -- 0 may grow; closed: 1 to be packed, 2 as it will stay
ALTER TABLE attempts ADD COLUMN log_blob BLOB;                        -- the packed log's bytes; NULL: they are in log_chunks

-- Closed is every attempt but those whose token may still write.
UPDATE attempts SET log_state = CASE WHEN log_bytes > 65536 THEN 1 ELSE 2 END
    WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = attempts.job_id AND j.attempt = attempts.attempt
                      AND j.token IS NOT NULL AND j.status IN (0, 1));

CREATE INDEX attempts_to_pack ON attempts (ended_at) WHERE log_state = 1;
