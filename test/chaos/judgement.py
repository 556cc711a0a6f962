"""What clients were told, against what the database says in the end."""


def of_postgres(psql):
    """psql(sql): what it prints. The answer's first column, line by line."""
    return lambda sql: psql(sql.replace("JOB_ID", "replace(job_id::text, '-', '')")).split()


def of_sqlite(connection):
    return lambda sql: [row[0] for row in connection.execute(sql.replace("JOB_ID", "lower(hex(job_id))"))]


def judge(ask, acknowledged, completed):
    """What is wrong, by name; {} is what is hoped for. `acknowledged`: key -> job's id; `completed`: the id for each completion that was
    accepted."""
    def plain(some):
        return {job_id.replace("-", "") for job_id in some}
    ids, done = plain(acknowledged.values()), plain(completed)
    ran = ask("SELECT JOB_ID FROM history WHERE status = 2")
    known = ran + ask("SELECT JOB_ID FROM jobs")
    found = {
        "lost": sorted(ids - set(known))[:5],
        "duplicated": sorted(set(known) - ids)[:5],
        "known twice": len(known) - len(set(known)),
        "two keys, one job": len(acknowledged) - len(ids),
        "not done": int(ask("SELECT count(*) FROM jobs")[0]),
        "completed twice": len(completed) - len(done),
        "completed, and not": sorted(done - set(ran))[:5],
        "succeeded twice": int(ask("SELECT count(*) FROM (SELECT 1 FROM attempts WHERE outcome = 1 GROUP BY job_id HAVING count(*) > 1) k")[0]),
        "miscounted": int(ask("SELECT sum(n) FROM counters")[0]) - len(known),
    }
    return {what: found[what] for what in found if found[what]}
