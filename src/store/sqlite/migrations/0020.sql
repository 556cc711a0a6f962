-- Keys of submissions, packed (key_rows.c): to write a row a key was a sixth of what submissions cost. The numbers that the index knows them by stay.
CREATE TABLE key_rows (
    row INTEGER PRIMARY KEY, -- the first key's number; the others' follow
    n INTEGER NOT NULL,      -- keys
    project TEXT NOT NULL, expires_at INTEGER NOT NULL,
    entries BLOB NOT NULL    -- of each: its length and whether there is a request's hash, a byte each; job_id; the hash of the content, of the request; the key
);
-- || makes text of bytes, and leaves them as they are.
INSERT INTO key_rows (row, n, project, expires_at, entries)
    SELECT rowid, 1, project, expires_at, CAST(substr(x'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F202122232425262728292A2B2C2D2E2F303132333435363738393A3B3C3D3E3F404142434445464748494A4B4C4D4E4F505152535455565758595A5B5C5D5E5F606162636465666768696A6B6C6D6E6F707172737475767778797A7B7C7D7E7F808182838485868788898A8B8C8D8E8F909192939495969798999A9B9C9D9E9FA0A1A2A3A4A5A6A7A8A9AAABACADAEAFB0B1B2B3B4B5B6B7B8B9BABBBCBDBEBFC0C1C2C3C4C5C6C7C8C9CACBCCCDCECFD0D1D2D3D4D5D6D7D8D9DADBDCDDDEDFE0E1E2E3E4E5E6E7E8E9EAEBECEDEEEFF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF', length(CAST(key AS BLOB)) + 1, 1) || x'01' || job_id || content_hash || request_hash || key AS BLOB)
    FROM dedup
    WHERE length(CAST(key AS BLOB)) BETWEEN 1 AND 255 AND length(CAST(job_id AS BLOB)) = 16
        AND length(CAST(content_hash AS BLOB)) = 32 AND length(CAST(request_hash AS BLOB)) = 32
    ORDER BY rowid;
DROP TABLE dedup;

-- Which jobs are of a type (what: 1), carry a label's key (2), or a label (3): the ids of many jobs a row, all made within 256 ms (postings.c). What
-- is here already stays one a row.
CREATE TABLE postings (
    what INTEGER NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    last BLOB NOT NULL,   -- the greatest id of the row
    others BLOB NOT NULL, -- of the others, in their order, all but the first five bytes, which are those of the last
    PRIMARY KEY (what, project, name, value, last)
) WITHOUT ROWID;
INSERT INTO postings (what, project, name, value, last, others)
    SELECT 1, project, task_type, '', job_id, x'' FROM history INDEXED BY history_type ORDER BY project, task_type, job_id;
INSERT INTO postings (what, project, name, value, last, others)
    SELECT 1, project, task_type, '', job_id, x'' FROM jobs INDEXED BY jobs_type ORDER BY project, task_type, job_id;
INSERT INTO postings (what, project, name, value, last, others)
    SELECT 2, project, key, '', job_id, x'' FROM labels INDEXED BY labels_key ORDER BY project, key, job_id;
INSERT INTO postings (what, project, name, value, last, others)
    SELECT 3, project, key, value, job_id, x'' FROM labels ORDER BY project, key, value, job_id;
DROP TABLE labels;
DROP INDEX jobs_type;
DROP INDEX history_type;
