/* CPU and memory of an attempt over time: bytes in its row, which each report of its worker that brings samples takes further. */
#include "store/sql/internal.h"
#include "store/sql/read.h"

#define AHEAD_US (60 * USEC_PER_SEC) /* no sample is from later than that */

static int series_load(struct tx *t, const struct job *job, struct series *ret)
{
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    size_t n = 0;
    int rc = q_open(t->c, &st, t->err, "SELECT series FROM attempts WHERE job_id = ?1 AND attempt = ?2" LIVE, "ui",
                    &job->job_id, (int64_t)job->attempt);

    *ret = (struct series){0};
    if (rc == ERR_OK)
        rc = q_step(t->c, st, &found, t->err);
    const void *bytes = rc == ERR_OK && found ? col_bytes(st, 0, &n) : NULL;
    if (bytes)
        (void)series_unpack(ret, bytes, n); /* of one that cannot be read a new one is begun */
    return rc;
}

int series_take(struct tx *t, const struct job *job, const struct sample *samples, size_t n)
{
    unsigned char bytes[SERIES_BYTES_MAX];
    const usec latest_us = t->now - job->started_at + AHEAD_US;
    bool any = false;

    if (n == 0)
        return ERR_OK;
    struct series *series = arena_alloc(t->scratch, sizeof(*series));
    int rc = series ? series_load(t, job, series) : err_set(t->err, ERR_NO_MEMORY, 0, "series");
    for (size_t i = 0; rc == ERR_OK && i < n; i++)
        any |= samples[i].at_us <= latest_us && series_add(series, &samples[i]);
    if (rc != ERR_OK || !any)
        return rc;
    return q_run(t->c, NULL, t->err, "UPDATE attempts SET series = ?3 WHERE job_id = ?1 AND attempt = ?2" LIVE, "uib",
                 &job->job_id, (int64_t)job->attempt, (const void *)bytes, series_pack(series, bytes));
}

int read_series(struct store *s, const struct uuid *job_id, uint32_t attempt, struct series *ret, struct err *err)
{
    AUTO_READING struct reading r = {0};
    AUTO_QUERY struct query *st = NULL;
    bool found = false;
    size_t n = 0;
    int rc = read_begin(s, READ_DEADLINE_US, &r, err);

    *ret = (struct series){0};
    if (rc == ERR_OK)
        rc = q_open(r.c, &st, err, "SELECT series FROM attempts WHERE job_id = ?1 AND attempt = ?2", "ui", job_id,
                    (int64_t)attempt);
    if (rc == ERR_OK)
        rc = q_step(r.c, st, &found, err);
    if (rc == ERR_OK && !found)
        return err_set(err, ERR_NOT_FOUND, 0, "the job has no such attempt");
    const void *bytes = rc == ERR_OK ? col_bytes(st, 0, &n) : NULL;
    if (bytes && !series_unpack(ret, bytes, n))
        rc = err_set(err, ERR_CORRUPT, 0, "what was measured of the attempt cannot be read");
    return rc;
}
