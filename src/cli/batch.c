/* haul submit --batch: the run. What is acknowledged is written down before the next parcel goes out; so a run that ends anywhere, by
 * kill -9 too, has at most one parcel of unknown fate, and that one is sent again under the same keys. */
#include "cli/batch.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/timefmt.h"
#include "cli/batch_parcel.h"
#include "cli/batch_state.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#define TELL_US        (10 * USEC_PER_SEC)                 /* a line of progress where there is no terminal */
#define KEYS_FORGOTTEN (INT64_C(23) * 3600 * USEC_PER_SEC) /* the server remembers keys for a day */
#define OUTPUT_MAX     (8 << 20)

struct output {
    const char *option, *path;
    int fd; /* -1: not asked for */
    bool regular;
    struct buf text; /* of the parcel */
    int64_t bytes;
};

struct run {
    struct cli *cli;
    const struct batch_args *args;
    const char *label; /* safe */
    int fd;
    bool regular;
    char *state_path; /* NULL: nothing is remembered */
    struct batch_state state;
    json_t *defaults;
    struct output ids, rejects;
    struct lines lines;
    struct parcel *parcel;
    struct bar bar;
    usec begun, told;
    bool resumed;
    int64_t first_line; /* of this run */
    int64_t refused;    /* by this run */
};

static int local(int rc, struct err *err, const char *what)
{
    err_wrap(err, rc, "%s", what);
    return cli_err(err, NULL);
}

static int sys_err(const char *what, const char *path)
{
    struct err err = {0};
    err_set(&err, ERR_IO, errno, "%s '%s'", what, path);
    return cli_err(&err, NULL);
}

/* ---- opening ---- */

static int input_open(struct run *r)
{
    struct stat st;
    r->fd = strcmp(r->args->file, "-") == 0 ? dup(STDIN_FILENO) : open(r->args->file, O_RDONLY | O_CLOEXEC);
    if (r->fd < 0 || fstat(r->fd, &st) != 0)
        return sys_err("batch", r->args->file);
    if (S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return sys_err("batch", r->args->file);
    }
    r->regular = S_ISREG(st.st_mode) && strcmp(r->args->file, "-") != 0;
    if (!r->regular && (r->args->state || r->args->restart))
        return cli_usage(&command_submit,
                         "--state and --restart need a file: a pipe cannot be read again (--key makes it repeatable)");
    /* Not every file system has locks for those who only read. */
    if (r->regular && flock(r->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        struct err err = {0};
        err_set(&err, ERR_LOCKED, 0, "another 'haul submit --batch' is at work on '%s'", r->args->file);
        return cli_err(&err, NULL);
    }
    return EXIT_OK;
}

static int key_check(const char *key)
{
    size_t n = strlen(key), good = 0;
    while (key[good] > ' ' && key[good] <= '~')
        good++;
    if (n < 1 || n > BATCH_KEY_MAX || good < n)
        return cli_usage(&command_submit, "--key must be 1 to %d visible ASCII characters without spaces",
                         BATCH_KEY_MAX);
    return EXIT_OK;
}

/* A state of an earlier run is there: is it about this run? */
static int resume_check(struct run *r, const struct batch_identity *now, const char *options)
{
    const struct batch_state *s = &r->state;
    AUTO_FREE char *safe = text_safe(r->state_path);
    const char *why = NULL;
    if (!batch_identity_equal(&s->file, now))
        why = "the file has changed since";
    else if (strcmp(s->server, r->cli->server) != 0)
        why = "that was at another server";
    else if (strcmp(s->options, options) != 0)
        why = "the options for the lines were others then";
    else if (r->args->key && strcmp(s->key, r->args->key) != 0)
        why = "that was with another --key";
    if (!why)
        return EXIT_OK;
    /* Two paths may stand here: too long for an error's text. */
    fprintf(stderr,
            "haul: %s: an earlier run came to line %lld, but %s (%s); --restart forgets it and begins with line 1\n",
            r->label, (long long)s->line, why, safe ? safe : "");
    return err_exit(ERR_CONFLICT);
}

static void resume_tell(const struct run *r)
{
    char ago[32];
    usec age = now_wall() - r->state.saved_at;
    fprintf(stderr, "haul: %s: going on behind line %lld, where an earlier run stopped\n", r->label,
            (long long)r->state.line);
    if (!r->state.under_way || age < KEYS_FORGOTTEN)
        return;
    left_format(age, ago);
    fprintf(stderr,
            "haul: %s: that was %s ago, and the server remembers keys for 24 h: jobs from up to %d lines behind line "
            "%lld may be there already, and come a second time\n",
            r->label, ago, PARCEL_LINES, (long long)r->state.line);
}

static int state_name(struct run *r)
{
    const struct batch_args *a = r->args;
    struct err err = {0};
    if (!r->regular)
        return EXIT_OK;
    if (asprintf(&r->state_path, "%s%s", a->state ? a->state : a->file, a->state ? "" : ".haul-state") >= 0)
        return EXIT_OK;
    r->state_path = NULL; /* undefined after a failure */
    err_set(&err, ERR_NO_MEMORY, 0, "out of memory");
    return cli_err(&err, NULL);
}

static int state_begin(struct run *r, const char *defaults, const char *options)
{
    struct err err = {0};
    struct batch_identity now = {0};
    const struct batch_args *a = r->args;
    if (r->regular) {
        int rc = batch_identity_read(r->fd, &now, &err);
        if (rc != ERR_OK)
            return local(rc, &err, a->file);
        rc = a->restart ? ERR_NOT_FOUND : batch_state_load(r->state_path, &r->state, &err);
        if (rc == ERR_OK) {
            int status = resume_check(r, &now, options);
            r->resumed = true;
            if (status == EXIT_OK)
                resume_tell(r);
            return status;
        }
        if (rc != ERR_NOT_FOUND)
            return local(rc, &err, "--restart begins anew");
    }
    r->state = (struct batch_state){
        .file = now, .server = strdup(r->cli->server), .options = strdup(options), .defaults = strdup(defaults)};
    if (a->key)
        snprintf(r->state.key, sizeof(r->state.key), "%s", a->key);
    else
        rng_hex128(rng_real(), r->state.key);
    return EXIT_OK;
}

static int output_open(struct output *o, const char *option, const char *path)
{
    struct stat st;
    o->option = option;
    o->path = path;
    buf_init(&o->text, OUTPUT_MAX);
    if (!path)
        return EXIT_OK;
    o->fd = strcmp(path, "-") == 0 ? dup(STDOUT_FILENO) : open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (o->fd < 0 || fstat(o->fd, &st) != 0)
        return sys_err(option, path);
    o->regular = S_ISREG(st.st_mode) && strcmp(path, "-") != 0;
    return EXIT_OK;
}

/* What was written behind `keep` belongs to a parcel that comes again. */
static int output_cut(struct output *o, int64_t keep)
{
    struct stat st;
    if (!o->regular)
        return EXIT_OK;
    if (fstat(o->fd, &st) != 0)
        return sys_err(o->option, o->path);
    if (st.st_size < (off_t)keep) {
        struct err err = {0};
        err_set(&err, ERR_CONFLICT, 0, "%s '%s' has lost what an earlier run wrote to it; --restart begins anew",
                o->option, o->path);
        return cli_err(&err, NULL);
    }
    if (ftruncate(o->fd, (off_t)keep) != 0 || lseek(o->fd, (off_t)keep, SEEK_SET) < 0)
        return sys_err(o->option, o->path);
    o->bytes = keep;
    return EXIT_OK;
}

/* One file under two names here would be cut or replaced while it is read. */
static int files_differ(const struct run *r)
{
    const struct {
        const char *name;
        int fd;
    } files[] = {{"the batch itself", r->fd}, {r->ids.option, r->ids.fd}, {r->rejects.option, r->rejects.fd}};
    struct stat st[ARRAY_LEN(files) + 1];
    bool there[ARRAY_LEN(files) + 1];
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        there[i] = files[i].fd >= 0 && fstat(files[i].fd, &st[i]) == 0 && S_ISREG(st[i].st_mode);
    there[ARRAY_LEN(files)] = r->state_path && stat(r->state_path, &st[ARRAY_LEN(files)]) == 0;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        for (size_t k = i + 1; k < ARRAY_LEN(there); k++)
            if (there[i] && there[k] && st[i].st_dev == st[k].st_dev && st[i].st_ino == st[k].st_ino)
                return cli_usage(&command_submit, "%s and %s are the same file", files[i].name,
                                 k < ARRAY_LEN(files) ? files[k].name : "the state");
    return EXIT_OK;
}

static int output_flush(struct output *o)
{
    struct err err = {0};
    if (o->fd < 0 || o->text.len == 0)
        return EXIT_OK;
    int rc = o->text.failed ? err_set(&err, ERR_NO_MEMORY, 0, "out of memory")
                            : fs_write_all(o->fd, o->text.data, o->text.len, &err);
    if (rc == ERR_OK && o->regular && fdatasync(o->fd) != 0)
        rc = err_set(&err, ERR_IO, errno, "sync");
    if (rc != ERR_OK) {
        err_wrap(&err, rc, "%s '%s'", o->option, o->path);
        return cli_err(&err, NULL);
    }
    o->bytes += (int64_t)o->text.len;
    buf_reset(&o->text);
    return EXIT_OK;
}

static int run_open(struct run *r, const char *defaults, const char *options)
{
    struct err err = {0};
    int status = EXIT_OK;
    if (r->args->key && (status = key_check(r->args->key)) != EXIT_OK)
        return status;
    if ((status = input_open(r)) != EXIT_OK || (status = output_open(&r->ids, "--ids", r->args->ids)) != EXIT_OK ||
        (status = output_open(&r->rejects, "--rejects", r->args->rejects)) != EXIT_OK ||
        (status = state_name(r)) != EXIT_OK || (status = files_differ(r)) != EXIT_OK || !cli_client(r->cli, &status) ||
        (status = state_begin(r, defaults, options)) != EXIT_OK ||
        (status = output_cut(&r->ids, r->state.ids_bytes)) != EXIT_OK ||
        (status = output_cut(&r->rejects, r->state.rejects_bytes)) != EXIT_OK)
        return status;
    r->parcel = calloc(1, sizeof(*r->parcel));
    if (!r->parcel || !r->state.server || !r->state.options || !r->state.defaults) {
        err_set(&err, ERR_NO_MEMORY, 0, "out of memory");
        return cli_err(&err, NULL);
    }
    parcel_init(r->parcel);
    if (json_parse(r->state.defaults, strlen(r->state.defaults), &r->defaults, &err) != ERR_OK)
        return cli_err(&err, r->state_path);
    if (r->state.offset > 0 && lseek(r->fd, (off_t)r->state.offset, SEEK_SET) < 0)
        return sys_err("batch", r->args->file);
    lines_init(&r->lines, r->fd, r->state.offset, r->state.line);
    r->lines.impatient = !r->regular && !r->args->key;
    r->first_line = r->state.line;
    return EXIT_OK;
}

/* ---- going on ---- */

static int state_save(struct run *r, bool under_way)
{
    struct err err = {0};
    if (!r->state_path)
        return EXIT_OK;
    r->state.ids_bytes = r->ids.bytes;
    r->state.rejects_bytes = r->rejects.bytes;
    r->state.under_way = under_way;
    r->state.saved_at = now_wall();
    int rc = batch_state_save(r->state_path, &r->state, &err);
    return rc == ERR_OK ? EXIT_OK : local(rc, &err, "the state of the batch (--state FILE puts it elsewhere)");
}

/* A file that changes under our hands: offsets mean nothing any more. */
static int unchanged(const struct run *r)
{
    struct stat st;
    if (!r->regular || (fstat(r->fd, &st) == 0 && st.st_size == (off_t)r->state.file.size &&
                        (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec == r->state.file.mtime_ns))
        return EXIT_OK;
    fprintf(stderr, "haul: %s: the file is being changed while it is read: stopped behind line %lld\n", r->label,
            (long long)r->state.line);
    return err_exit(ERR_CONFLICT);
}

static void progress(struct run *r)
{
    usec now = now_mono();
    char left[32] = "", text[128];
    usec left_us;
    double part = r->regular && r->state.file.size > 0 ? (double)r->state.offset / (double)r->state.file.size : -1;
    double rate = (double)(r->state.line - r->first_line) * 1e6 / (double)MAX(now - r->begun, (usec)1);
    if (part >= 0) {
        eta_see(&r->bar.eta, now, part);
        if (part < 1 && eta_left(&r->bar.eta, now, &left_us))
            left_format(left_us, left);
    }
    snprintf(text, sizeof(text), "%lld lines, %.0f/s%s%s", (long long)r->state.line, rate, *left ? ", left " : "",
             left);
    if (term_is(stderr)) {
        bar_line(&r->bar, part, text);
    } else if (now - r->told >= TELL_US) {
        r->told = now;
        if (part >= 0)
            fprintf(stderr, "haul: %s: %d%%, %s\n", r->label, (int)(part * 100), text);
        else
            fprintf(stderr, "haul: %s: %s\n", r->label, text);
    }
}

/* Every line of the parcel is decided: counts, ids and refusals. */
static void account(struct run *r)
{
    const struct parcel *p = r->parcel;
    for (size_t i = 0; i < p->n; i++) {
        const struct parcel_line *l = &p->lines[i];
        if (l->why) {
            r->state.refused++;
            r->refused++;
            bar_clear(&r->bar);
            fprintf(stderr, "haul: %s:%lld: %s\n", r->label, (long long)l->number, l->why);
            buf_add(&r->rejects.text, p->raw.data + l->at, r->rejects.fd >= 0 ? l->n : 0);
            continue;
        }
        /* Under a key that nobody else has, what is there already is what an unanswered call of ours made. */
        bool ours = !r->args->key && !l->own_key;
        if (l->duplicate && !ours)
            r->state.duplicates++;
        else
            r->state.created++;
        if (r->ids.fd >= 0)
            buf_printf(&r->ids.text, "%s\n", l->job_id);
    }
    r->state.offset = p->end_offset;
    r->state.line = p->end_line;
}

static int parcel_deliver(struct run *r)
{
    char key[BATCH_KEY_MAX + 32];
    int status;
    /* Named by where it begins, not by its number: however many lines a parcel takes, line by line the keys are the same. */
    snprintf(key, sizeof(key), "%s:%lld", r->state.key, (long long)r->state.line + 1);
    if ((status = parcel_send(r->parcel, r->cli, key, &r->bar)) != EXIT_OK)
        return status;
    account(r);
    if ((status = output_flush(&r->ids)) != EXIT_OK || (status = output_flush(&r->rejects)) != EXIT_OK)
        return status;
    return state_save(r, true);
}

static bool too_many(const struct run *r)
{
    return r->refused > (r->args->max_errors >= 0 ? r->args->max_errors : BATCH_MAX_ERRORS);
}

/* EXIT_OK: to the end of the input. *ret_clean: no parcel is of unknown fate. */
static int run_through(struct run *r, bool *ret_clean)
{
    struct err err = {0};
    int status = state_save(r, true); /* the key is on disk before anything is sent under it */
    *ret_clean = true;
    while (status == EXIT_OK) {
        enum line_kind k = parcel_gather(r->parcel, &r->lines, r->defaults, &err);
        if ((status = unchanged(r)) != EXIT_OK)
            return status;
        if (r->parcel->n > 0 && !(k == LINE_END && r->lines.interrupted)) {
            *ret_clean = false;
            if ((status = parcel_deliver(r)) != EXIT_OK)
                return status;
            *ret_clean = true;
            progress(r);
        }
        if (k == LINE_FAILED) {
            bar_clear(&r->bar);
            return cli_err(&err, r->label);
        }
        if (interrupted())
            return err_exit(ERR_CANCELLED);
        if (too_many(r)) {
            bar_clear(&r->bar);
            fprintf(stderr, "haul: %s: more than %lld lines were refused: stopped (--max-errors N allows more)\n",
                    r->label, (long long)(r->args->max_errors >= 0 ? r->args->max_errors : BATCH_MAX_ERRORS));
            return err_exit(ERR_INVALID);
        }
        if (k == LINE_END)
            return EXIT_OK;
    }
    return status;
}

/* ---- the end ---- */

static void summary(const struct run *r, bool complete)
{
    const struct batch_state *s = &r->state;
    double seconds = (double)(now_mono() - r->begun) / 1e6;
    double rate = (double)(s->line - r->first_line) / (seconds > 0 ? seconds : 1);
    if (r->cli->json) {
        json_t *doc =
            json_pack("{s:s,s:b,s:s,s:I,s:I,s:I,s:I,s:I,s:f,s:f}", "file", r->args->file, "complete", (int)complete,
                      "key", s->key, "first_line", (json_int_t)r->first_line + 1, "lines", (json_int_t)s->line,
                      "created", (json_int_t)s->created, "duplicates", (json_int_t)s->duplicates, "refused",
                      (json_int_t)s->refused, "seconds", seconds, "lines_per_s", rate);
        print_json(doc);
        json_decref(doc);
        return;
    }
    FILE *f = r->args->ids && strcmp(r->args->ids, "-") == 0 ? stderr : stdout;
    fprintf(f, "%lld created, %lld duplicates, %lld refused (%lld lines, %.0f/s)\n", (long long)s->created,
            (long long)s->duplicates, (long long)s->refused, (long long)s->line, rate);
}

static void how_to_go_on(const struct run *r)
{
    if (r->state_path)
        fprintf(stderr, "haul: %s: stopped behind line %lld; the same command goes on from there\n", r->label,
                (long long)r->state.line);
    else if (r->args->key)
        fprintf(stderr,
                "haul: stopped behind line %lld; the same command with the same input goes on: the key makes lines "
                "that are jobs already duplicates, for 24 h\n",
                (long long)r->state.line);
    else
        fprintf(stderr,
                "haul: stopped behind line %lld; of the next %d lines some may be jobs already (--key KEY makes that "
                "safe to repeat)\n",
                (long long)r->state.line, PARCEL_LINES);
}

static int run_end(struct run *r, int status, bool clean)
{
    bool complete = status == EXIT_OK;
    bar_clear(&r->bar);
    if (complete || (!r->resumed && !r->cli->met)) { /* done, or nothing was ever sent */
        if (r->state_path)
            unlink(r->state_path);
    } else {
        if (clean)
            state_save(r, false);
        how_to_go_on(r);
    }
    if (complete || r->state.line > r->first_line || r->cli->json)
        summary(r, complete);
    return complete && r->state.refused > 0 ? err_exit(ERR_INVALID) : status;
}

static void run_release(struct run *r)
{
    if (r->fd >= 0)
        close(r->fd);
    for (struct output *o = &r->ids; o; o = o == &r->ids ? &r->rejects : NULL) {
        if (o->fd >= 0)
            close(o->fd);
        buf_release(&o->text);
    }
    if (r->parcel)
        parcel_release(r->parcel);
    free(r->parcel);
    lines_release(&r->lines);
    json_decref(r->defaults);
    batch_state_release(&r->state);
    free(r->state_path);
}

int submit_batch(struct cli *cli, const struct batch_args *a, const char *defaults, const char *options)
{
    AUTO_FREE char *label = text_safe(strcmp(a->file, "-") == 0 ? "stdin" : a->file);
    struct run r = {
        .cli = cli, .args = a, .label = label ? label : "batch", .fd = -1, .ids = {.fd = -1}, .rejects = {.fd = -1}};
    bool clean = true;
    const char *slash = strrchr(r.label, '/');
    r.bar.label = slash ? slash + 1 : r.label; /* room for the bar */
    r.begun = r.told = now_mono();
    int status = run_open(&r, defaults, options);
    if (status == EXIT_OK) {
        interrupt_catch();
        status = run_end(&r, run_through(&r, &clean), clean);
        fflush(stdout);
        interrupt_release();
    }
    run_release(&r);
    return status;
}
