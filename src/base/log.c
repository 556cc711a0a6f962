#include "base/log.h"

#include "base/auto.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/timefmt.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>

#define LINE_MAX_BYTES 65536

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *_Atomic the_component = "haul";
static _Atomic int the_level = LOG_INFO;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool level_from_env, on_terminal;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* lines do not mix, whatever write() does */

static void load(void)
{
    enum log_level level;
    if (log_level_parse(getenv("HAUL_LOG_LEVEL"), &level)) {
        level_from_env = true;
        the_level = (int)level;
    }
    on_terminal = isatty(STDERR_FILENO) == 1;
}

void log_setup(const char *component, enum log_level level)
{
    pthread_once(&once, load);
    the_component = component;
    if (!level_from_env)
        the_level = (int)level;
}

bool log_level_parse(const char *s, enum log_level *ret)
{
    for (size_t i = 0; s && i < ARRAY_LEN(level_names); i++) {
        if (strcmp(s, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* A terminal must not see control characters: what is not plain is quoted as JSON. */
static void plain(struct buf *line, const char *s, bool spaces)
{
    bool ok = *s != '\0';
    for (const char *c = s; *c && ok; c++)
        ok = *c > ' ' ? *c < 0x7f && *c != '"' : *c == ' ' && spaces;
    if (ok) {
        buf_adds(line, s);
        return;
    }
    struct json_writer w;
    jw_init(&w, line);
    jw_string(&w, NULL, s);
}

static void line_plain(struct buf *line, const char *ts, const char *level, const char *message, va_list ap)
{
    buf_printf(line, "%s %-5s %s: ", ts, level, the_component);
    plain(line, message, true);
    for (const char *key; (key = va_arg(ap, const char *)) != NULL;) {
        const char *value = va_arg(ap, const char *);
        buf_printf(line, " %s=", key);
        plain(line, value ? value : "-", false);
    }
}

static void line_json(struct buf *line, const char *ts, const char *level, const char *message, va_list ap)
{
    struct json_writer w;
    jw_init(&w, line);
    jw_object(&w, NULL);
    jw_string(&w, "time", ts);
    jw_string(&w, "level", level);
    jw_string(&w, "component", the_component);
    jw_string(&w, "message", message);
    for (const char *key; (key = va_arg(ap, const char *)) != NULL;)
        jw_string(&w, key, va_arg(ap, const char *));
    jw_object_end(&w);
}

void log_event(enum log_level level, const char *message, ...)
{
    pthread_once(&once, load);
    if ((int)level < the_level || (size_t)level >= ARRAY_LEN(level_names))
        return;
    char ts[RFC3339_MAX];
    struct clock clock = clock_real();
    rfc3339_format(clock.wall_us(clock.self), ts);
    struct buf line;
    buf_init(&line, LINE_MAX_BYTES);
    va_list ap;
    va_start(ap, message);
    if (on_terminal)
        line_plain(&line, ts, level_names[level], message, ap);
    else
        line_json(&line, ts, level_names[level], message, ap);
    va_end(ap);
    buf_addc(&line, '\n');
    static const char lost[] = "{\"level\":\"error\",\"message\":\"a log line was too long\"}\n";
    pthread_mutex_lock(&lock);
    if (line.failed)
        (void)fs_write_all(STDERR_FILENO, lost, sizeof(lost) - 1, NULL);
    else
        (void)fs_write_all(STDERR_FILENO, line.data, line.len, NULL);
    pthread_mutex_unlock(&lock);
    buf_release(&line);
}

void log_err(const char *message, const struct err *err)
{
    if (err->field[0])
        log_event(LOG_ERROR, message, "code", err_name(err->code), "error", err->msg, "field", err->field,
                  (char *)NULL);
    else
        log_event(LOG_ERROR, message, "code", err_name(err->code), "error", err->msg, (char *)NULL);
}
