#include "worker/restore.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"

static int file_of(const json_t *o, struct fetch *ret, struct err *err)
{
    const char *name = json_string_value(json_object_get(o, "name")),
               *ref = json_string_value(json_object_get(o, "ref"));
    const json_t *size = json_object_get(o, "size");
    if (!name || !filename_valid(name) || !ref || strncmp(ref, "blob:", 5) || strlen(ref) >= 64 ||
        !json_is_integer(size) || json_integer_value(size) < 0)
        return err_set(err, ERR_CORRUPT, 0, "the server sent a file that cannot be: name '%.64s', ref '%.64s'",
                       name ? name : "", ref ? ref : "");
    *ret = (struct fetch){.folder = "checkpoint",
                          .kind = "checkpoint's file",
                          .file = {name, ref, json_integer_value(size)},
                          .mode = json_is_true(json_object_get(o, "executable")) ? 0700 : 0600};
    return ERR_OK;
}

/* The job's checkpoint. ret_doc NULL: it has none. */
static int document_get(const struct attempt *a, struct haul_client *c, const struct wanted *w, json_t **ret_doc,
                        struct err *err)
{
    char path[128];
    struct haul_error he;
    snprintf(path, sizeof path, "/v1/jobs/%s/checkpoint", a->job_id);
    for (unsigned round = 0;; round++) {
        AUTO_FREE char *text = NULL;
        if (unwanted(w))
            return err_set(err, ERR_CANCELLED, 0, "no longer wanted");
        const int rc = haul_call(c, "GET", path, NULL, NULL, 0, &text, &he);
        if (rc == HAUL_OK)
            return json_parse(text, strlen(text), ret_doc, err);
        if (rc == HAUL_REFUSED && he.status == 404)
            return ERR_OK;
        if (rc != HAUL_NETWORK && !he.repeatable)
            return err_set(err, ERR_CORRUPT, 0, "%.200s", he.message);
        log_event(LOG_WARN, "checkpoint not looked for yet", "job_id", a->job_id, "why", he.message, NULL);
        backoff_wait(round, 15 * USEC_PER_SEC, w->stop_fd);
    }
}

static int files_fetch(const struct attempt *a, struct haul_client *c, struct wanted *w, const json_t *files,
                       struct failure *f, struct err *err)
{
    struct fetch what;
    uint64_t need = 0;
    int rc = ERR_OK;
    for (size_t i = 0; i < json_array_size(files) && !rc; i++)
        if (!(rc = file_of(json_array_get(files, i), &what, err)))
            need += (uint64_t)what.file.size;
    if (!rc && json_array_size(files) > CHECKPOINT_FILES_MAX)
        rc = err_set(err, ERR_CORRUPT, 0, "the server sent more than %d files", CHECKPOINT_FILES_MAX);
    if (!rc && space_lacks(a, "the checkpoint needs", need, f))
        rc = err_set(err, ERR_NO_SPACE, 0, "%.200s", f->message);
    for (size_t i = 0; i < json_array_size(files) && !rc; i++) {
        int64_t size;
        (void)file_of(json_array_get(files, i), &what, err);
        rc = scratch_fetch(a, c, w, &what, &size, f, err);
    }
    return rc;
}

/* Which blob holds each of them: what the handler leaves as it is need not be sent again. */
static int files_note(const struct attempt *a, const json_t *files, struct kept_files *ret, struct err *err)
{
    struct fetch what;
    int rc = kept_files_read(a->scratch, INT64_MAX, ret, err);
    for (size_t i = 0; i < json_array_size(files) && !rc; i++)
        if (!(rc = file_of(json_array_get(files, i), &what, err)))
            for (size_t k = 0; k < ret->n; k++)
                if (!strcmp(ret->items[k].name, what.file.name))
                    snprintf(ret->items[k].ref, sizeof ret->items[k].ref, "%s", what.file.ref);
    return rc;
}

static int folder_empty(const struct attempt *a, struct err *err)
{
    char path[PATH_MAX];
    int rc = fs_join(path, sizeof path, a->scratch, "checkpoint", err);
    if (!rc)
        rc = fs_remove_tree(path, err);
    return rc ? rc : fs_mkdirs(path, 0700, err);
}

int checkpoint_restore(const struct attempt *a, struct logs *log, struct lease *l, int stop_fd, struct restored *ret,
                       struct failure *f, struct err *err)
{
    struct wanted w = {l, stop_fd};
    json_t *doc = NULL;
    *ret = (struct restored){.percent = -1};
    if (a->number < 2)
        return ERR_OK;
    struct haul_client *c = attempt_client(a, err);
    if (!c)
        return (int)err->code;
    int rc = document_get(a, c, &w, &doc, err);
    const json_t *files = json_object_get(doc, "files"), *percent = json_object_get(doc, "percent");
    if (!rc)
        rc = files_fetch(a, c, &w, files, f, err);
    if (!rc)
        rc = files_note(a, files, &ret->files, err);
    if (!rc && json_is_number(percent))
        ret->percent = json_number_value(percent);
    if (rc && rc != ERR_CANCELLED && rc != ERR_IO && rc != ERR_NO_SPACE && rc != ERR_NO_MEMORY) {
        char text[1200];
        snprintf(text, sizeof text, "haul: the checkpoint is not used: %s", f->outcome ? f->message : err->msg);
        logs_say(log, text);
        kept_files_free(&ret->files);
        *f = (struct failure){0};
        rc = folder_empty(a, err);
    }
    json_decref(doc);
    haul_client_free(c);
    return rc;
}
