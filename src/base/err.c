#define ERR_DEFINES
#include "base/err.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>

static const struct {
    const char *name;
    int http;
    bool repeatable;
    int exit_status;
} rows[ERR_COUNT] = {
#define ERR(code, wire_name, http_status, repeat, exit_code) [ERR_##code] = {wire_name, http_status, repeat, exit_code},
#include "base/errors.def"
#undef ERR
};

static enum err_code refine(enum err_code code, int sys)
{
    if (code != ERR_IO)
        return code;
    if (sys == ENOSPC || sys == EDQUOT)
        return ERR_NO_SPACE;
    return sys == ENOMEM ? ERR_NO_MEMORY : code;
}

/* Appends to the NUL-terminated dst; what does not fit is cut at a character boundary. */
static void append(char *dst, size_t size, const char *s)
{
    size_t have = strlen(dst), n = strlen(s);
    if (n > size - 1 - have)
        n = utf8_cut(s, size - 1 - have);
    memcpy(dst + have, s, n);
    dst[have + n] = '\0';
}

/* One size above what is kept, so that append() sees that a character was cut. */
struct draft {
    char s[ERR_MSG_MAX + 8];
};

static __attribute__((format(printf, 2, 0))) void draft(struct draft *d, const char *fmt, va_list ap)
{
    if (vsnprintf(d->s, sizeof(d->s), fmt, ap) < 0)
        d->s[0] = '\0';
}

int err_set(struct err *err, enum err_code code, int sys, const char *fmt, ...)
{
    code = refine(code, sys);
    if (!err)
        return (int)code;
    struct draft d;
    va_list ap;
    va_start(ap, fmt);
    draft(&d, fmt, ap);
    va_end(ap);
    *err = (struct err){.code = code, .sys = sys};
    append(err->msg, sizeof(err->msg), d.s);
    if (sys) {
        char text[128];
        append(err->msg, sizeof(err->msg), ": ");
        append(err->msg, sizeof(err->msg), strerror_r(sys, text, sizeof(text)));
    }
    return (int)code;
}

int err_field(struct err *err, const char *field, const char *fmt, ...)
{
    if (!err)
        return ERR_INVALID;
    struct draft d;
    va_list ap;
    va_start(ap, fmt);
    draft(&d, fmt, ap);
    va_end(ap);
    struct err made = {.code = ERR_INVALID};
    if (field && *field) {
        append(made.field, sizeof(made.field), field);
        append(made.msg, sizeof(made.msg), made.field);
        append(made.msg, sizeof(made.msg), ": ");
    }
    append(made.msg, sizeof(made.msg), d.s);
    *err = made;
    return ERR_INVALID;
}

int err_wrap(struct err *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    struct draft d;
    va_list ap;
    va_start(ap, fmt);
    draft(&d, fmt, ap);
    va_end(ap);
    char old[ERR_MSG_MAX];
    memcpy(old, err->msg, sizeof(old));
    err->msg[0] = '\0';
    append(err->msg, sizeof(err->msg), d.s);
    if (old[0]) {
        append(err->msg, sizeof(err->msg), ": ");
        append(err->msg, sizeof(err->msg), old);
    }
    err->code = (enum err_code)code;
    return code;
}

void err_clear(struct err *err)
{
    if (!err)
        return;
    err->code = ERR_OK; /* the texts' rest stays: an op is cleared three times on its way */
    err->sys = 0;
    err->field[0] = err->msg[0] = '\0';
}

static size_t row_of(enum err_code code)
{
    return (size_t)code < ERR_COUNT ? (size_t)code : (size_t)ERR_INTERNAL;
}

const char *err_name(enum err_code code)
{
    return rows[row_of(code)].name;
}

int err_http(enum err_code code)
{
    return rows[row_of(code)].http;
}

bool err_repeatable(enum err_code code)
{
    return rows[row_of(code)].repeatable;
}

int err_exit(enum err_code code)
{
    return rows[row_of(code)].exit_status;
}

enum err_code err_from_name(const char *name)
{
    for (size_t i = 0; name && i < ERR_COUNT; i++)
        if (strcmp(rows[i].name, name) == 0)
            return (enum err_code)i;
    return ERR_INTERNAL;
}
