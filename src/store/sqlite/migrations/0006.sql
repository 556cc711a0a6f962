-- Uploads that may be resumed, until their last byte makes a blob of the same id. What of them is there the blob folder knows.
CREATE TABLE uploads (
    upload_id BLOB PRIMARY KEY NOT NULL, project TEXT NOT NULL,
    size INTEGER NOT NULL,  -- as announced
    sha256 BLOB,            -- likewise, or NULL
    metadata TEXT,          -- as sent
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_expire ON uploads (expires_at);
