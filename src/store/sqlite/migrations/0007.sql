-- Where a key's row is, by the key's hash (keys.c). Rows above meta's keys_indexed may not be in it yet: the next start sees to them.
DROP INDEX dedup_key;
CREATE TABLE dedup_index (hash INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (hash, row)) WITHOUT ROWID;
