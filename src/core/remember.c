#include "core/remember.h"

void content_bytes(struct sha256 *h, const void *p, size_t n)
{
    uint64_t len = n;

    sha256_add(h, &len, sizeof(len)); /* lengths first: no two requests run together */
    sha256_add(h, p, n);
}

static void add_text(struct sha256 *h, const char *s)
{
    content_bytes(h, s ? s : "", s ? strlen(s) : 0);
}

static void add_int(struct sha256 *h, int64_t v)
{
    content_bytes(h, &v, sizeof(v));
}

void content_add(struct sha256 *h, const struct job *j)
{
    add_text(h, j->task_type);
    add_text(h, j->queue ? j->queue : j->task_type);
    add_text(h, j->payload ? j->payload : "{}");
    add_text(h, j->labels ? j->labels : "{}");
    add_int(h, j->priority);
    add_int(h, j->max_attempts ? j->max_attempts : policy_default().max_attempts);
    add_int(h, j->timeout_us);
    if (j->no_progress_us) /* what older servers hashed stays the same */
        add_int(h, j->no_progress_us);
    add_int(h, j->payload_ref != NULL);
}

int64_t key_hash(const char *project, const char *key)
{
    char text[JOB_NAME_MAX + JOB_KEY_MAX + 2];
    uint8_t sha[32];
    int64_t hash;
    size_t n = strnlen(project, JOB_NAME_MAX), m = strnlen(key, JOB_KEY_MAX);

    memcpy(text, project, n);
    text[n] = '\0';
    memcpy(text + n + 1, key, m);
    sha256_once(text, n + 1 + m, sha);
    memcpy(&hash, sha, sizeof(hash));
    return hash;
}

int submit_hash(const char *project, const struct job *job, struct submit_hashes *ret, struct err *err)
{
    *ret = (struct submit_hashes){.made = !job->payload_ref && job->n_inputs == 0};
    if (!ret->made || !job->dedup_key)
        return ERR_OK;
    struct sha256 *h = sha256_new();
    if (!h)
        return err_set(err, ERR_NO_MEMORY, 0, "hash");
    content_add(h, job);
    sha256_end(h, ret->content);
    sha256_free(h);
    ret->key = key_hash(project, job->dedup_key);
    return ERR_OK;
}
