/* The terminal. Text that came from a server or a handler may hold anything: here it becomes harmless. */
#include "cli/term.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/timefmt.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <wchar.h>

bool term_is(FILE *f)
{
    return isatty(fileno(f)) == 1;
}

bool term_colour(FILE *f)
{
    const char *no = getenv("NO_COLOR"), *kind = getenv("TERM");
    return term_is(f) && !(no && *no) && !(kind && strcmp(kind, "dumb") == 0);
}

unsigned term_width(FILE *f)
{
    struct winsize ws;
    if (ioctl(fileno(f), TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0)
        return ws.ws_col;
    return 80;
}

const char *colour_begin(FILE *f, enum colour c)
{
    static const char *const codes[] = {
        [COLOUR_NONE] = "",           [COLOUR_RED] = "\033[31m",  [COLOUR_GREEN] = "\033[32m",
        [COLOUR_YELLOW] = "\033[33m", [COLOUR_BLUE] = "\033[34m", [COLOUR_DIM] = "\033[2m",
        [COLOUR_BOLD] = "\033[1m",
    };
    return c != COLOUR_NONE && term_colour(f) ? codes[c] : "";
}

const char *colour_end(FILE *f, enum colour c)
{
    return c != COLOUR_NONE && term_colour(f) ? "\033[0m" : "";
}

enum colour status_colour(const char *status)
{
    if (strcmp(status, "success") == 0 || strcmp(status, "live") == 0)
        return COLOUR_GREEN;
    if (strcmp(status, "failed") == 0)
        return COLOUR_RED;
    if (strcmp(status, "running") == 0)
        return COLOUR_BLUE;
    if (strcmp(status, "cancelled") == 0 || strcmp(status, "draining") == 0 || strcmp(status, "drained") == 0)
        return COLOUR_YELLOW;
    if (strcmp(status, "gone") == 0)
        return COLOUR_DIM;
    return COLOUR_NONE;
}

/* ---- characters ---- */

/* Length of the character at `s`; 0: not UTF-8; -1: cut by the end of the bytes. */
static int utf8_step(const char *s, size_t n, uint32_t *ret)
{
    const unsigned char *u = (const unsigned char *)s;
    int len = u[0] < 0x80                   ? 1
              : u[0] >= 0xC2 && u[0] < 0xE0 ? 2
              : (u[0] & 0xF0) == 0xE0       ? 3
              : u[0] >= 0xF0 && u[0] < 0xF5 ? 4
                                            : 0;
    if (len == 0)
        return 0;
    uint32_t cp = len == 1 ? u[0] : (uint32_t)u[0] & (0x7Fu >> len);
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= n)
            return -1;
        if ((u[i] & 0xC0) != 0x80)
            return 0;
        cp = cp << 6 | (u[i] & 0x3Fu);
    }
    if ((len == 3 && (cp < 0x800 || (cp >= 0xD800 && cp < 0xE000))) || (len == 4 && (cp < 0x10000 || cp > 0x10FFFF)))
        return 0;
    *ret = cp;
    return len;
}

/* Characters that act on a terminal or reorder what is read. */
static bool harmful(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || (cp >= 0x202A && cp <= 0x202E) || (cp >= 0x2066 && cp <= 0x2069) ||
           cp == 0x2028 || cp == 0x2029;
}

size_t text_step(const char *s, int *ret_columns)
{
    uint32_t cp = 0;
    int len = utf8_step(s, strnlen(s, 4), &cp);
    *ret_columns = len <= 0 || harmful(cp) ? -1 : wcwidth((wchar_t)cp);
    return len <= 0 ? 1 : (size_t)len;
}

size_t text_columns(const char *s)
{
    size_t columns = 0, n = strlen(s);
    while (n > 0) {
        uint32_t cp = 0;
        int len = utf8_step(s, n, &cp);
        int w = len > 0 ? wcwidth((wchar_t)cp) : 1;
        columns += w >= 0 ? (size_t)w : 1;
        s += len > 0 ? len : 1;
        n -= len > 0 ? (size_t)len : 1;
    }
    return columns;
}

size_t text_fit(const char *s, size_t columns)
{
    size_t used = 0, at = 0, n = strlen(s);
    while (at < n) {
        uint32_t cp = 0;
        int len = utf8_step(s + at, n - at, &cp);
        int w = len > 0 ? wcwidth((wchar_t)cp) : 1;
        if (used + (w >= 0 ? (size_t)w : 1) > columns)
            break;
        used += w >= 0 ? (size_t)w : 1;
        at += len > 0 ? (size_t)len : 1;
    }
    return at;
}

static void escape_bytes(struct buf *out, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "\\x%02x", (unsigned)(unsigned char)p[i]);
}

char *text_safe(const char *s)
{
    struct buf out;
    size_t n = strlen(s);
    buf_init(&out, n * 4 + 1);
    buf_adds(&out, "");
    while (n > 0) {
        uint32_t cp = 0;
        int len = utf8_step(s, n, &cp);
        if (len <= 0) {
            escape_bytes(&out, s, 1);
            len = 1;
        } else if (harmful(cp)) {
            escape_bytes(&out, s, (size_t)len);
        } else {
            buf_add(&out, s, (size_t)len);
        }
        s += len;
        n -= (size_t)len;
    }
    if (out.failed || out.len == 0) {
        bool failed = out.failed;
        buf_release(&out);
        return failed ? NULL : strdup("");
    }
    return buf_take(&out);
}

void safe_stream_init(struct safe_stream *s, FILE *f)
{
    *s = (struct safe_stream){.f = f, .raw = !term_is(f)};
}

void safe_stream_init_escaping(struct safe_stream *s, FILE *f)
{
    *s = (struct safe_stream){.f = f};
}

static void safe_put_escaped(struct safe_stream *s, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(s->f, "\\x%02x", (unsigned)(unsigned char)p[i]);
}

/* Programs redraw a line with CR: on our side that is a line of its own, or it would hide what stood there. */
static void safe_put(struct safe_stream *s, const char *p, size_t len, uint32_t cp)
{
    bool after_cr = s->after_cr;
    s->after_cr = cp == '\r';
    if (cp == '\r')
        fputc('\n', s->f);
    else if (cp == '\n' && after_cr)
        ;
    else if (cp == '\n' || cp == '\t' || !harmful(cp))
        fwrite(p, 1, len, s->f);
    else
        safe_put_escaped(s, p, len);
}

int safe_stream_write(struct safe_stream *s, const char *p, size_t n)
{
    if (s->raw) {
        fwrite(p, 1, n, s->f);
        return ferror(s->f);
    }
    while (n > 0) {
        uint32_t cp = 0;
        if (s->n_held > 0) { /* go on with the character that the previous piece cut */
            s->held[s->n_held++] = *p++;
            n--;
            int len = utf8_step(s->held, s->n_held, &cp);
            if (len < 0)
                continue;
            if (len == (int)s->n_held) {
                safe_put(s, s->held, s->n_held, cp);
            } else { /* it was none: its first bytes are bad, the newest one starts again */
                safe_put_escaped(s, s->held, s->n_held - 1);
                p--;
                n++;
            }
            s->n_held = 0;
            continue;
        }
        int len = utf8_step(p, n, &cp);
        if (len < 0) {
            memcpy(s->held, p, n);
            s->n_held = n;
            break;
        }
        if (len == 0) {
            safe_put_escaped(s, p, 1);
            len = 1;
        } else {
            safe_put(s, p, (size_t)len, cp);
        }
        p += len;
        n -= (size_t)len;
    }
    return ferror(s->f);
}

void safe_stream_end(struct safe_stream *s)
{
    safe_put_escaped(s, s->held, s->n_held);
    s->n_held = 0;
    fflush(s->f);
}

/* ---- numbers for people ---- */

void bytes_format(int64_t n, char ret[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)n;
    size_t u = 0;
    while (v >= 1023.95 && u + 1 < ARRAY_LEN(units)) {
        v /= 1024;
        u++;
    }
    if (u == 0)
        snprintf(ret, 32, "%lld B", (long long)n);
    else
        snprintf(ret, 32, "%.1f %s", v, units[u]);
}

void left_format(usec d_us, char ret[32])
{
    long long s = (long long)((d_us + USEC_PER_SEC / 2) / USEC_PER_SEC);
    if (s < 0)
        s = 0;
    if (s < 60)
        snprintf(ret, 32, "%llds", s);
    else if (s < 3600)
        snprintf(ret, 32, "%lldm%02llds", s / 60, s % 60);
    else if (s < 86400)
        snprintf(ret, 32, "%lldh%02lldm", s / 3600, s % 3600 / 60);
    else
        snprintf(ret, 32, "%lldd%02lldh", s / 86400, s % 86400 / 3600);
}

void ago_format(const char *rfc3339, usec now_us, char ret[32])
{
    usec at;
    char text[32];
    ret[0] = '\0';
    if (!rfc3339_parse(rfc3339, &at))
        return;
    if (at > now_us + USEC_PER_SEC) {
        left_format(at - now_us, text);
        snprintf(ret, 32, "in %.24s", text);
    } else {
        left_format(now_us - at, text);
        snprintf(ret, 32, "%.24s ago", text);
    }
}

/* ---- how long is left ---- */

void eta_see(struct eta *e, usec now_us, double done)
{
    if (!e->begun || done < e->p1) /* another attempt: what the former one took says nothing certain */
        *e = (struct eta){.begun = true, .t0 = now_us, .t1 = now_us, .p0 = done, .p1 = done};
    else if (done > e->p1) {
        e->t1 = now_us;
        e->p1 = done;
    }
}

bool eta_left(const struct eta *e, usec now_us, usec *ret_us)
{
    if (!e->begun || e->p1 <= e->p0 || e->t1 <= e->t0)
        return false;
    double whole = (1.0 - e->p1) * (double)(e->t1 - e->t0) / (e->p1 - e->p0);
    double left = whole - (double)(now_us - e->t1);
    *ret_us = left > 0 ? (usec)left : 0;
    return true;
}

void eta_rate_format(const struct eta *e, char ret[32])
{
    ret[0] = '\0';
    if (!e->begun || e->p1 <= e->p0 || e->t1 <= e->t0)
        return;
    double per_minute = 100 * (e->p1 - e->p0) * 60 * (double)USEC_PER_SEC / (double)(e->t1 - e->t0);
    if (per_minute >= 120)
        snprintf(ret, 32, "%.1f %%/s", per_minute / 60);
    else if (per_minute >= 0.1)
        snprintf(ret, 32, "%.1f %%/min", per_minute);
    else
        snprintf(ret, 32, "%.2f %%/h", per_minute * 60);
}

/* ---- the progress line ---- */

void bar_clear(struct bar *b)
{
    if (b->shown)
        fputs("\r\033[K", stderr);
    b->shown = false;
    fflush(stderr);
}

void bar_line(struct bar *b, double done, const char *text)
{
    if (!term_is(stderr))
        return;
    unsigned width = term_width(stderr);
    AUTO_FREE char *line = NULL;
    char blocks[40 * 3 + 1];
    /* The bar gives way to what is written around it. */
    size_t taken = text_columns(b->label) + text_columns(text) + sizeof("  100% ");
    const size_t cells = MIN((size_t)24, MAX((size_t)8, width > taken ? width - taken : 0));
    bool plain = !term_colour(stderr);
    if (done >= 0) {
        size_t full = (size_t)(done * (double)cells + 0.5), at = 0;
        for (size_t i = 0; i < cells; i++) {
            const char *cell = plain ? (i < full ? "#" : ".") : (i < full ? "\u2588" : "\u2591");
            size_t n = strlen(cell);
            memcpy(blocks + at, cell, n);
            at += n;
        }
        blocks[at] = '\0';
        if (asprintf(&line, "%s %s %3d%% %s", b->label, blocks, (int)(done * 100), text) < 0)
            line = NULL;
    } else if (asprintf(&line, "%s %s", b->label, text) < 0) {
        line = NULL;
    }
    if (!line)
        return;
    fprintf(stderr, "\r%.*s\033[K", (int)text_fit(line, width > 1 ? width - 1 : 1), line);
    fflush(stderr);
    b->shown = true;
}

void bar_bytes(struct bar *b, int64_t done, int64_t total)
{
    usec now = now_mono(), left = 0;
    double part = total > 0 ? (double)done / (double)total : -1;
    if (part > 1)
        part = 1;
    if (part >= 0)
        eta_see(&b->eta, now, part);
    if (b->drawn_us && now - b->drawn_us < 100 * USEC_PER_MSEC && done != total)
        return;
    b->drawn_us = now;
    char a[32], t[32], text[128], eta[32] = "";
    bytes_format(done, a);
    bytes_format(total, t);
    if (part >= 0 && part < 1 && eta_left(&b->eta, now, &left))
        left_format(left, eta);
    if (total >= 0)
        snprintf(text, sizeof(text), "%s of %s%s%s", a, t, eta[0] ? ", left " : "", eta);
    else
        snprintf(text, sizeof(text), "%s", a);
    bar_line(b, part, text);
}

static volatile sig_atomic_t caught;

int bar_progress(void *arg, int64_t done, int64_t total)
{
    if (arg)
        bar_bytes(arg, done, total);
    return caught != 0;
}

/* ---- signals ---- */

/* Whoever asks twice does not want to wait for an answer that is on its way. */
static void on_signal(int sig)
{
    if (caught) {
        signal(sig, SIG_DFL);
        raise(sig);
    }
    caught = sig;
}

void interrupt_catch(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

void interrupt_release(void)
{
    struct sigaction sa = {.sa_handler = SIG_DFL};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    if (caught)
        raise(caught); /* die of it, so that a shell's loop stops too */
}

bool interrupted(void)
{
    return caught != 0;
}

int interrupt_poll(int fd, int timeout_ms)
{
    const struct timespec limit = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    sigset_t ours, before;
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    sigprocmask(SIG_BLOCK, &ours, &before);
    int n;
    do
        n = caught ? -1 : ppoll(&p, 1, timeout_ms < 0 ? NULL : &limit, &before);
    while (n < 0 && !caught && errno == EINTR); /* another signal: a window that changes its size */
    bool stop = caught != 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return stop ? -1 : n != 0; /* what poll cannot wait for, read may try */
}

usec now_mono(void)
{
    struct clock c = clock_real();
    return c.boot_us(c.self);
}

usec now_wall(void)
{
    struct clock c = clock_real();
    return c.wall_us(c.self);
}
