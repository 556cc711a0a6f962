#include "trace/headers.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BLANKS "\t "

struct piece {
    const char *s;
    size_t n;
};

static struct piece trimmed(struct piece p)
{
    while (p.n > 0 && strchr(BLANKS, p.s[0])) {
        p.s++;
        p.n--;
    }
    while (p.n > 0 && strchr(BLANKS, p.s[p.n - 1]))
        p.n--;
    return p;
}

/* What RFC 9110 calls a token. */
static bool name_fits(struct piece name)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < name.n; i++) {
        const char c = name.s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr(others, c))))
            return false;
    }
    return name.n > 0;
}

/* Of the request itself: another one would break it. */
static bool name_is_ours(const char *line, size_t n)
{
    static const char *const ours[] = {"Content-Type", "Content-Length", "Content-Encoding",  "Host",
                                       "Connection",   "Upgrade",        "Transfer-Encoding", "TE",
                                       "Expect",       "Trailer"};

    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strlen(ours[i]) == n && strncasecmp(ours[i], line, n) == 0)
            return true;
    return false;
}

static bool name_is_there(const struct string_list *made, const char *line, size_t n)
{
    for (size_t i = 0; i < made->n; i++)
        if (strncasecmp(made->items[i], line, n) == 0 && made->items[i][n] == ':')
            return true;
    return false;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* @param ret  of value.n + 1 bytes @return what is wrong with it, or NULL */
static const char *value_decode(struct piece value, char *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < value.n; i++) {
        int c = (unsigned char)value.s[i];
        if (c == '%') {
            const int high = i + 2 < value.n ? hex(value.s[i + 1]) : -1, low = high >= 0 ? hex(value.s[i + 2]) : -1;
            if (low < 0)
                return "has a % that is not followed by two hexadecimal digits (write % itself as %25)";
            c = high * 16 + low;
            i += 2;
        }
        if (c < 0x20 || c == 0x7f)
            return "has a control character (line end, tab, NUL or so) in its value";
        ret[n++] = (char)c;
    }
    ret[n] = 0;
    if (n == 0)
        return "has no value";
    if (ret[0] == ' ' || ret[n - 1] == ' ')
        return "has a value that begins or ends with a blank";
    return utf8_valid(ret, n) ? NULL : "has a value that is not UTF-8";
}

/* @param line  with room for it @return what is wrong with it, or NULL */
static const char *header_write(struct piece whole, const struct string_list *made, char *line)
{
    const char *equals = memchr(whole.s, '=', whole.n);

    if (!equals)
        return "is not name=value";
    const struct piece name = trimmed((struct piece){whole.s, (size_t)(equals - whole.s)});
    const struct piece value = trimmed((struct piece){equals + 1, whole.n - (size_t)(equals + 1 - whole.s)});
    if (!name_fits(name))
        return "has a name that no header can have";
    if (name_is_ours(name.s, name.n))
        return "is one that haul sets itself";
    if (name_is_there(made, name.s, name.n))
        return "has the name of one before it";
    memcpy(line, name.s, name.n);
    line[name.n] = ':';
    line[name.n + 1] = ' ';
    return value_decode(value, line + name.n + 2);
}

static int header_add(struct piece whole, const char *field, struct string_list *made, struct err *err)
{
    char *line = calloc(1, whole.n + 3);

    if (!line)
        return err_set(err, ERR_NO_MEMORY, 0, "traces");
    const char *wrong = made->n == HEADERS_MAX ? "is one too many" : header_write(whole, made, line);
    if (wrong) {
        explicit_bzero(line, whole.n + 3);
        free(line);
        return err_field(err, field, "header %zu %s; write name=value,name=value, at most %d", made->n + 1, wrong,
                         HEADERS_MAX);
    }
    made->items[made->n++] = line;
    return ERR_OK;
}

int headers_parse(const char *text, const char *parts, const char *field, struct string_list *ret, struct err *err)
{
    int rc = ERR_OK;

    *ret = (struct string_list){.n = 0};
    if (strnlen(text, HEADERS_BYTES_MAX + 1) > HEADERS_BYTES_MAX)
        return err_field(err, field, "is longer than %d bytes", HEADERS_BYTES_MAX);
    ret->items = calloc(HEADERS_MAX + 1, sizeof *ret->items);
    if (!ret->items)
        return err_set(err, ERR_NO_MEMORY, 0, "traces");
    while (!rc && *text) {
        const size_t n = strcspn(text, parts);
        const struct piece whole = trimmed((struct piece){text, n});
        if (whole.n > 0) /* a comma behind the last one is no header */
            rc = header_add(whole, field, ret, err);
        text += n + (text[n] != 0);
    }
    return rc || ret->n > 0 ? rc : err_field(err, field, "names no header; write name=value,name=value");
}

int headers_read(const char *path, const char *field, struct string_list *ret, struct err *err)
{
    struct buf file;
    int rc;

    *ret = (struct string_list){.n = 0};
    buf_init(&file, HEADERS_BYTES_MAX);
    rc = fs_read(path, &file, err);
    if (rc == ERR_TOO_LARGE)
        rc = err_field(err, field, "'%.200s' is longer than %d bytes", path, HEADERS_BYTES_MAX);
    else if (rc)
        rc = err_wrap(err, ERR_INVALID, "%s", field);
    if (!rc && strlen(buf_str(&file)) != file.len)
        rc = err_field(err, field, "'%.200s' has a NUL in it", path);
    if (!rc)
        rc = headers_parse(buf_str(&file), ",\n", field, ret, err);
    if (file.data)
        explicit_bzero(file.data, file.len);
    buf_release(&file);
    return rc;
}

void headers_release(struct string_list *headers)
{
    for (size_t i = 0; i < headers->n; i++) {
        explicit_bzero(headers->items[i], strlen(headers->items[i]));
        free(headers->items[i]);
    }
    free(headers->items);
    *headers = (struct string_list){.n = 0};
}
