-- XXH3 of 128 bits, as `xxhsum -H2` prints it: what a download is held against. NULL: it did not come in one request, or was there before.
ALTER TABLE blobs ADD COLUMN xxh128 BLOB;
