"""What SQLite keeps packed (src/store/sqlite/key_rows.c, postings.c), row by row."""

OF_TYPE, OF_KEY, OF_LABEL = 1, 2, 3


def keys(db):
    """Of each that is remembered its row's number, and what PostgreSQL's table dedup has of it."""
    found, after = [], 0
    for row, n, project, expires_at, entries in db.execute("SELECT row, n, project, expires_at, entries FROM key_rows ORDER BY row"):
        assert row > after and len(entries) <= 1900
        after, at = row + n - 1, 0
        for number in range(row, row + n):
            length, hashed = entries[at:at + 2]
            hashes, end = at + 18, at + 50 + 32 * hashed + length
            job_id, content = entries[at + 2:hashes], entries[hashes:hashes + 32]
            request = entries[hashes + 32:hashes + 64] if hashed else bytes(32)
            if any(job_id):
                found.append({"row": number, "project": project, "key": entries[end - length:end].decode(), "job_id": job_id,
                              "request_hash": request, "content_hash": content, "expires_at": expires_at})
            at = end
        assert at == len(entries)
    return found


def postings(db):
    """Of each, in order: what it is about, project, name, value, the job."""
    found = []
    for what, project, name, value, last, others in db.execute("SELECT what, project, name, value, last, others FROM postings"):
        own = [others[at:at + 11] for at in range(0, len(others), 11)]
        assert own == sorted(own) and len(own) < 84
        found += [(what, project, name, value, last[:5] + rest) for rest in [*own, last[5:]]]
    return sorted(found)


def labels(db):
    """Of each what PostgreSQL's table labels has of it."""
    return [dict(zip(("project", "key", "value", "job_id"), row)) for what, *row in postings(db) if what == OF_LABEL]
