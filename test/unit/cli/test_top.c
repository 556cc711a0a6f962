/* haul top's pure parts: cells of a screen, keys, rows, what a key makes of the state, the picture. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/auto.h"
#include "cli/top.h"
#include <locale.h>

static const struct screen_kind plain = {.utf8 = true}, ascii = {.utf8 = false},
                                coloured = {.utf8 = true, .colour = true};

/* ---- the screen ---- */

static char *text_of(const struct screen *s)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    screen_text(s, &b);
    return buf_take(&b);
}

static char *put(struct screen_kind kind, unsigned width, const char *text)
{
    struct screen *s = screen_new(20, 1, kind);
    assert_non_null(s);
    assert_true(screen_put(s, 0, 0, width, COLOUR_NONE, text) <= width);
    char *out = text_of(s);
    screen_free(s);
    out[strlen(out) - 1] = '\0';
    return out;
}

static void assert_put(struct screen_kind kind, unsigned width, const char *text, const char *expected)
{
    AUTO_FREE char *out = put(kind, width, text);
    assert_string_equal(out, expected);
}

static void test_text_stays_in_its_columns(void **state)
{
    assert_put(plain, 5, "abcde", "abcde");
    assert_put(plain, 5, "abcdef", "abcd…");
    assert_put(ascii, 5, "abcdef", "abcd~");
    assert_put(plain, 0, "abc", "");
    assert_put(plain, 1, "abc", "…");
    assert_put(plain, 8, "日本語", "日本語");
    assert_put(plain, 5, "日本語", "日本…");
    assert_put(plain, 4, "日本語", "日…");
    assert_put(ascii, 8, "日本für", "????f?r");
    assert_put(plain, 9, "e\xcc\x81t", "et"); /* what joins another character is left out */
}

static void test_text_cannot_act_on_the_terminal(void **state)
{
    assert_put(plain, 20, "a\033[2J\n", "a\\x1b[2J\\x0a");
    assert_put(plain, 20,
               "\xc2\x9b"
               "2J",
               "\\xc2\\x9b2J");
    assert_put(plain, 20,
               "\xe2\x80\xae"
               "x",
               "\\xe2\\x80\\xaex");
    assert_put(plain, 20, "\xff\xfe", "\\xff\\xfe");
    assert_put(ascii, 20, "\x7f", "\\x7f");
    assert_put(plain, 3, "\033", "…"); /* an escape is shown whole or not at all */
}

static void test_text_outside_the_screen_is_nothing(void **state)
{
    struct screen *s = screen_new(4, 2, plain);
    assert_int_equal(screen_put(s, 4, 0, 9, COLOUR_NONE, "x"), 0);
    assert_int_equal(screen_put(s, 0, 2, 9, COLOUR_NONE, "x"), 0);
    assert_int_equal(screen_put(s, 3, 1, 9, COLOUR_NONE, "xy"), 1);
    screen_put_right(s, 0, 0, 3, COLOUR_NONE, "7");
    screen_style_row(s, 9, COLOUR_RED);
    AUTO_FREE char *out = text_of(s);
    assert_string_equal(out, "  7\n   …\n");
    screen_free(s);
    s = screen_new(0, 100000, plain);
    assert_int_equal(screen_width(s), 1);
    assert_int_equal(screen_height(s), SCREEN_SIDE_MAX);
    screen_free(s);
}

static void assert_drawn(const struct screen *shown, const struct screen *next, const char *expected)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    screen_draw(shown, next, &b);
    assert_string_equal(buf_str(&b), expected);
    buf_release(&b);
}

static void test_only_what_changed_is_drawn(void **state)
{
    struct screen *a = screen_new(3, 2, coloured), *b = screen_new(3, 2, coloured);
    screen_put(a, 0, 0, 3, COLOUR_NONE, "abc");
    screen_put(b, 0, 0, 3, COLOUR_NONE, "abc");
    assert_drawn(NULL, a, "\033[0m\033[2J\033[1;1Habc\033[2;1H   ");
    assert_drawn(a, b, "");
    screen_put(b, 1, 1, 2, COLOUR_RED | STYLE_BOLD | STYLE_REVERSE, "x");
    assert_drawn(a, b, "\033[2;1H \033[0;1;7;31mx\033[0m ");
    screen_free(a);
    a = screen_new(3, 2, plain);
    screen_put(a, 0, 0, 3, COLOUR_RED, "x");
    screen_put(a, 1, 0, 3, COLOUR_GREEN, "y");
    assert_drawn(b, a, "\033[1;1H\033[0;1mx\033[0my\033[0m \033[2;1H   ");
    screen_free(a);
    screen_free(b);
}

/* ---- keys ---- */

static void assert_keys(const char *typed, bool whole, const enum key_kind *kinds, size_t n, size_t left)
{
    size_t at = 0, len = strlen(typed), used, i = 0;
    struct key k;
    while (at < len && (used = key_next(typed + at, len - at, whole, &k)) > 0) {
        assert_true(i < n);
        assert_int_equal(k.kind, kinds[i]);
        i++;
        at += used;
    }
    assert_int_equal(i, n);
    assert_int_equal(len - at, left);
}

#define KINDS(...)                                                                                                     \
    (const enum key_kind[]){__VA_ARGS__}, sizeof((const enum key_kind[]){__VA_ARGS__}) / sizeof(enum key_kind)

static void test_keys_are_read(void **state)
{
    assert_keys("\033[A\033[B\033OC\033[D", false, KINDS(KEY_UP, KEY_DOWN, KEY_RIGHT, KEY_LEFT), 0);
    assert_keys("\033[5~\033[6~\033[1~\033[F\033[Z\t", false,
                KINDS(KEY_PAGE_UP, KEY_PAGE_DOWN, KEY_HOME, KEY_END, KEY_BACK_TAB, KEY_TAB), 0);
    assert_keys("q\r\x7f\f\001", false, KINDS(KEY_TEXT, KEY_ENTER, KEY_BACKSPACE, KEY_REDRAW, KEY_NONE), 0);
    assert_keys("\033[1;5A\033[15~\033xa", false, KINDS(KEY_UP, KEY_NONE, KEY_NONE, KEY_TEXT), 0);
    assert_keys("\033", false, NULL, 0, 1);
    assert_keys("\033", true, KINDS(KEY_ESCAPE), 0);
    assert_keys("\033\033[A", false, KINDS(KEY_ESCAPE, KEY_UP), 0);
    assert_keys("a\033[", false, KINDS(KEY_TEXT), 2);
    assert_keys("\033[12", true, KINDS(KEY_NONE), 0);
    assert_keys("\033[1\033[A", false, KINDS(KEY_NONE, KEY_UP), 0);
    assert_keys("\xc3", false, NULL, 0, 1);
    assert_keys("\xc3\xbc\xff", false, KINDS(KEY_TEXT, KEY_NONE), 0);
}

/* ---- the state ---- */

#define WALL 1764216000000000 /* 2025-11-27T04:00:00Z */

static json_t *json_of(const char *text)
{
    json_t *doc = json_loads(text, 0, NULL);
    assert_non_null(doc);
    return doc;
}

static void take(struct top *t, double percent, usec mono_us)
{
    char jobs[800];
    snprintf(
        jobs, sizeof(jobs),
        "{'jobs':[{'job_id':'j1','task_type':'film','queue':'video','status':'running','attempt':2,'owner_id':'w1',"
        "'started_at':'2025-11-27T03:59:00Z','progress':{'percent':%.1f,'message':'scene'}},"
        "{'job_id':'j2','task_type':'clip','queue':'video','status':'running','attempt':1,'owner_id':'gone',"
        "'started_at':'2025-11-27T03:00:00Z','progress':null}]}",
        percent);
    for (char *c = jobs; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    struct top_snapshot s = {
        .wall_us = WALL,
        .status = "running",
        .server = "http://here",
        .slis = json_of("{\"all\":{\"queue_depth\":3,\"started_per_s\":0.5,\"job_success_rate_5m\":null}}"),
        .alerts = json_of("{\"alerts\":[{\"name\":\"depth\",\"state\":\"firing\",\"text\":\"too deep\"},"
                          "{\"name\":\"calm\",\"state\":\"ok\"}]}"),
        .queues = json_of("{\"queues\":[{\"queue\":\"audio\",\"ready\":null,\"pending\":1,\"running\":0,\"failed\":0,"
                          "\"submitted_per_min\":null,\"paused_at\":null},{\"queue\":\"video\",\"ready\":3,\"pending\":"
                          "4,\"running\":2,\"failed\":0,"
                          "\"oldest_ready_age_s\":90,\"submitted_per_min\":12.5,\"succeeded_per_min\":9.96,\"failed_"
                          "per_min\":0.2,\"paused_at\":\"2025-11-27T03:00:00Z\",\"paused_by\":\"ada\"}]}"),
        .workers = json_of("{\"workers\":[{\"worker_id\":\"w1\",\"name\":\"gpu-1\",\"state\":\"live\",\"slots_busy\":1,"
                           "\"slots_total\":2,\"handlers\":{\"film\":\"1\"}}]}"),
        .jobs = json_of(jobs),
    };
    top_take(t, &s, mono_us);
    top_rows_make(t, WALL, mono_us);
}

static void press(struct top *t, const char *keys)
{
    size_t n = strlen(keys), used;
    struct key k;
    for (; n > 0 && (used = key_next(keys, n, true, &k)) > 0; keys += used, n -= used) {
        top_key(t, &k);
        top_rows_make(t, WALL, USEC_PER_SEC);
    }
}

static int setup(void **state)
{
    struct top *t = malloc(sizeof(*t));
    setlocale(LC_CTYPE, "C.UTF-8");
    if (!t || !top_init(t))
        return -1;
    take(t, 10, USEC_PER_SEC);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    top_release(*state);
    free(*state);
    return 0;
}

static void test_rows_say_what_the_server_said(void **state)
{
    struct top *t = *state;
    const struct top_row *jobs = t->panes[TOP_JOBS].rows, *queues = t->panes[TOP_QUEUES].rows;
    assert_int_equal(t->panes[TOP_JOBS].n, 2);
    assert_string_equal(jobs[0].cells[5], "gpu-1");
    assert_string_equal(jobs[1].cells[5], "gone"); /* a worker that is not known */
    assert_string_equal(jobs[0].cells[3], "1m00s");
    assert_string_equal(jobs[0].cells[2], ""); /* a second attempt, and its pace was not seen yet */
    assert_string_equal(queues[0].cells[1], "?");
    assert_string_equal(queues[1].cells[5], "1m30s");
    assert_string_equal(queues[1].cells[6], "paused");
    assert_string_equal(queues[0].cells[7], "?"); /* not told apart */
    assert_string_equal(queues[0].cells[8], "?"); /* by a server before there were rates */
    assert_string_equal(queues[1].cells[7], "12");
    assert_string_equal(queues[1].cells[8], "10");
    assert_string_equal(queues[1].cells[9], "0.2");
    assert_string_equal(queues[1].cells[10], "ada");
    assert_true(queues[1].order[9] == 0.2);
    take(t, 20, 11 * USEC_PER_SEC); /* 10 % in 10 s */
    assert_string_equal(t->panes[TOP_JOBS].rows[0].cells[2], "1m20s");
    assert_true(t->panes[TOP_JOBS].rows[0].part > 0.19);
    assert_true(t->panes[TOP_JOBS].rows[1].part < 0);
}

static void test_the_chosen_row_is_kept_when_rows_move(void **state)
{
    struct top *t = *state;
    press(t, "j");
    assert_string_equal(t->panes[TOP_JOBS].id, "j2");
    press(t, "s"); /* by type: clip comes first */
    assert_int_equal(t->panes[TOP_JOBS].at, 0);
    assert_string_equal(t->panes[TOP_JOBS].id, "j2");
    press(t, "ffil\r");
    assert_int_equal(t->panes[TOP_JOBS].n, 1);
    assert_string_equal(t->panes[TOP_JOBS].id, "j1");
    press(t, "fm\x7f\x7f\x7f\x7f\x7f");
    assert_string_equal(t->panes[TOP_JOBS].filter, "");
    assert_true(t->typing);
    press(t, "zzz");
    assert_int_equal(t->panes[TOP_JOBS].n, 0);
    press(t, "\r\rcj"); /* nothing is chosen: nothing is opened or asked */
    assert_int_equal(t->page, TOP_LISTS);
    assert_string_equal(t->asked, "");
}

static void test_an_order_needs_a_yes(void **state)
{
    struct top *t = *state;
    press(t, "c");
    assert_string_equal(t->asked, "Cancel job j1?");
    press(t, "q"); /* an answer like any other: no */
    assert_false(t->quit);
    assert_string_equal(t->order.path, "");
    press(t, "cy");
    assert_string_equal(t->order.path, "/v1/jobs/j1/cancel");
    assert_null(t->order.body);
    t->order = (struct top_order){0};
    press(t, "\033[ZGP"); /* queues, the last */
    assert_string_equal(t->asked, "Resume queue video?");
    press(t, "ngPy");
    assert_string_equal(t->order.path, "/v1/queues/audio/pause");
    assert_non_null(strstr(t->order.body, "\"by\""));
}

static void test_wants_follow_the_keys(void **state)
{
    struct top *t = *state;
    const struct top_want at_first = t->want;
    press(t, "\r");
    assert_string_equal(t->want.job_id, "j1");
    press(t, "?\r\033");
    assert_memory_equal(&t->want, &at_first, sizeof(at_first)); /* zero beyond the strings */
    press(t, "www");
    assert_string_equal(t->want.status, "success");
    press(t, "ww\033[DG\r");
    assert_string_equal(t->want.queue, "video");
    assert_int_equal(t->active, TOP_JOBS);
    press(t, "\033");
    assert_memory_equal(&t->want, &at_first, sizeof(at_first));
    press(t, "p");
    assert_true(t->want.held);
    press(t, "q");
    assert_true(t->quit);
}

/* ---- the picture ---- */

static char *drawn(struct top *t, unsigned width, unsigned height)
{
    struct screen *s = screen_new(width, height, plain);
    assert_non_null(s);
    top_draw(t, s);
    char *text = text_of(s);
    screen_free(s);
    return text;
}

static void test_every_size_is_drawn_within_itself(void **state)
{
    struct top *t = *state;
    static const char *const keys[] = {"", "?", "x\r", "\033fx", "\033c"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        press(t, keys[i]);
        for (unsigned width = 1; width < 200; width += 7)
            for (unsigned height = 1; height < 40; height += 3) {
                AUTO_FREE char *text = drawn(t, width, height);
                assert_non_null(text);
            }
    }
}

static void test_trouble_is_shown_over_what_was_known(void **state)
{
    struct top *t = *state;
    struct top_snapshot s = {.wall_us = WALL, .trouble = "trying again: no answer", .server = "http://there"};
    AUTO_FREE char *before = drawn(t, 80, 24);
    assert_non_null(strstr(before, "1 alert  depth: too deep"));
    assert_non_null(strstr(before, "in 30/min"));
    assert_non_null(strstr(before, "░ 10%"));
    top_take(t, &s, 2 * USEC_PER_SEC);
    AUTO_FREE char *after = drawn(t, 80, 24);
    assert_non_null(strstr(after, "trying again: no answer"));
    assert_non_null(strstr(after, "film"));
}

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_stays_in_its_columns),
        cmocka_unit_test(test_text_cannot_act_on_the_terminal),
        cmocka_unit_test(test_text_outside_the_screen_is_nothing),
        cmocka_unit_test(test_only_what_changed_is_drawn),
        cmocka_unit_test(test_keys_are_read),
        cmocka_unit_test_setup_teardown(test_rows_say_what_the_server_said, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_chosen_row_is_kept_when_rows_move, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_order_needs_a_yes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wants_follow_the_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_size_is_drawn_within_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trouble_is_shown_over_what_was_known, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
