-- Where a key's row is, by the key's hash (key_runs.c): sorted runs, each whole. Rows of dedup above meta's keys_indexed are in none yet: the
-- next start sees to them.
DROP TABLE dedup_index;
DELETE FROM meta WHERE key = 'keys_indexed';
CREATE TABLE key_runs (
    run INTEGER PRIMARY KEY,
    level INTEGER NOT NULL,  -- it was merged so often
    chunks INTEGER NOT NULL, entries INTEGER NOT NULL,
    top INTEGER NOT NULL     -- the highest row that it names
);
-- What belongs to no run of key_runs is being made, or free.
CREATE TABLE key_chunks (
    chunk INTEGER PRIMARY KEY,
    run INTEGER NOT NULL, nth INTEGER NOT NULL, -- from 0
    entries BLOB NOT NULL    -- hash and row, 64 bits each, little-endian
);
