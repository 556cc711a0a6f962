/* The checker on a history of two jobs that breaks nothing, and on one for each invariant that breaks it: a line more, a line less, or
 * another one. The lines are read as `haul-sim check` reads them. */
#include "check.h"
#include "base/auto.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define A   "\"job\":\"018f0000-0000-7000-8000-00000000000a\""
#define B   "\"job\":\"018f0000-0000-7000-8000-00000000000b\""
#define OUT "\"outputs\":[{\"name\":\"a.mp4\",\"size\":9,\"sha256\":\"00112233445566ff\"}]"

#define STATE(sha) "\"outputs\":[{\"name\":\"state\",\"size\":5,\"sha256\":\"" sha "\"}]"

/* A is lost once and then succeeds; B fails, is retried, and is cancelled. Seconds below are micro. */
static const char *const good[] = {
    "{\"event\":\"run\",\"lease_us\":60000000,\"heartbeat_us\":15000000}",
    "{\"event\":\"server\",\"what\":\"start\",\"t\":1}",
    "{\"event\":\"submit\",\"phase\":\"invoke\",\"op\":1,\"key\":\"a\",\"t\":1000000}",
    "{\"event\":\"state\"," A ",\"key\":\"a\",\"status\":\"pending\",\"version\":1,\"max_attempts\":3,\"t\":1000001}",
    "{\"event\":\"submit\",\"phase\":\"unknown\",\"op\":1,\"key\":\"a\",\"t\":1100000}",
    "{\"event\":\"submit\",\"phase\":\"invoke\",\"op\":2,\"key\":\"a\",\"t\":1200000}",
    "{\"event\":\"submit\",\"phase\":\"ok\",\"op\":2,\"key\":\"a\"," A ",\"t\":1300000}",
    "{\"event\":\"submit\",\"phase\":\"invoke\",\"op\":3,\"key\":\"b\",\"t\":1400000}",
    "{\"event\":\"state\"," B ",\"key\":\"b\",\"status\":\"pending\",\"version\":1,\"max_attempts\":1,\"t\":1400001}",
    "{\"event\":\"submit\",\"phase\":\"ok\",\"op\":3,\"key\":\"b\"," B ",\"t\":1500000}",
    "{\"event\":\"state\"," A ",\"status\":\"running\",\"attempt\":1,\"version\":2,\"t\":2000000}",
    "{\"event\":\"claim\",\"who\":\"w1\"," A ",\"attempt\":1,\"token\":\"1.aa\",\"t\":2000001}",
    "{\"event\":\"beat\",\"phase\":\"invoke\",\"op\":4," A ",\"attempt\":1,\"t\":2000002}",
    "{\"event\":\"beat\",\"phase\":\"ok\",\"op\":4," A ",\"attempt\":1,\"t\":2100000}",
    "{\"event\":\"process\",\"what\":\"start\",\"who\":\"w1\"," A ",\"attempt\":1,\"t\":2200000}",
    "{\"event\":\"checkpoint\",\"phase\":\"invoke\",\"op\":20," A ",\"attempt\":1," STATE("01") ",\"t\":30000000}",
    "{\"event\":\"checkpoint\",\"phase\":\"ok\",\"op\":20," A ",\"attempt\":1," STATE("01") ",\"t\":30100000}",
    "{\"event\":\"process\",\"what\":\"freeze\",\"who\":\"w1\"," A ",\"attempt\":1,\"t\":57000000}",
    "{\"event\":\"state\"," A
    ",\"status\":\"pending\",\"outcome\":\"lost\",\"attempt\":1,\"losses\":1,\"version\":3,\"t\":63000000}",
    "{\"event\":\"state\"," A
    ",\"status\":\"running\",\"outcome\":\"lost\",\"attempt\":2,\"losses\":1,\"version\":4,\"t\":64000000}",
    "{\"event\":\"claim\",\"who\":\"w2\"," A ",\"attempt\":2,\"token\":\"2.bb\",\"t\":64000001}",
    "{\"event\":\"beat\",\"phase\":\"invoke\",\"op\":5," A ",\"attempt\":2,\"t\":64000002}",
    "{\"event\":\"beat\",\"phase\":\"ok\",\"op\":5," A ",\"attempt\":2,\"t\":64100000}",
    "{\"event\":\"restore\",\"phase\":\"invoke\",\"op\":21," A ",\"attempt\":2,\"t\":64110000}",
    "{\"event\":\"restore\",\"phase\":\"ok\",\"op\":21," A ",\"attempt\":2," STATE("01") ",\"t\":64150000}",
    "{\"event\":\"process\",\"what\":\"start\",\"who\":\"w2\"," A ",\"attempt\":2,\"t\":64200000}",
    "{\"event\":\"checkpoint\",\"phase\":\"invoke\",\"op\":22," A ",\"attempt\":1," STATE("02") ",\"t\":64900000}",
    "{\"event\":\"checkpoint\",\"phase\":\"refused\",\"op\":22," A
    ",\"attempt\":1," STATE("02") ",\"code\":\"stale_token\",\"t\":64950000}",
    "{\"event\":\"complete\",\"phase\":\"invoke\",\"op\":6," A ",\"attempt\":1,\"t\":65000000}",
    "{\"event\":\"complete\",\"phase\":\"refused\",\"op\":6," A
    ",\"attempt\":1,\"code\":\"stale_token\",\"t\":65100000}",
    "{\"event\":\"process\",\"what\":\"end\",\"who\":\"w1\"," A ",\"attempt\":1,\"t\":65200000}",
    "{\"event\":\"process\",\"what\":\"end\",\"who\":\"w2\"," A ",\"attempt\":2,\"t\":66000000}",
    "{\"event\":\"complete\",\"phase\":\"invoke\",\"op\":7," A ",\"attempt\":2," OUT ",\"t\":66100000}",
    "{\"event\":\"state\"," A
    ",\"status\":\"success\",\"outcome\":\"success\",\"attempt\":2,\"losses\":1,\"version\":5,\"t\":66200000}",
    "{\"event\":\"complete\",\"phase\":\"ok\",\"op\":7," A ",\"attempt\":2,\"status\":\"success\",\"t\":66300000}",
    "{\"event\":\"state\"," B ",\"status\":\"running\",\"attempt\":1,\"version\":2,\"t\":67000000}",
    "{\"event\":\"claim\",\"who\":\"w2\"," B ",\"attempt\":1,\"token\":\"1.cc\",\"t\":67000001}",
    "{\"event\":\"fail\",\"phase\":\"invoke\",\"op\":8," B ",\"attempt\":1,\"outcome\":\"oom\",\"t\":68000000}",
    "{\"event\":\"state\"," B
    ",\"status\":\"failed\",\"outcome\":\"oom\",\"attempt\":1,\"version\":3,\"max_attempts\":1,\"t\":68000001}",
    "{\"event\":\"fail\",\"phase\":\"ok\",\"op\":8," B ",\"attempt\":1,\"status\":\"failed\",\"t\":68100000}",
    "{\"event\":\"retry\",\"phase\":\"invoke\",\"op\":9," B ",\"t\":70000000}",
    "{\"event\":\"state\"," B ",\"status\":\"pending\",\"outcome\":\"oom\",\"attempt\":1,\"version\":4,\"t\":70000001}",
    "{\"event\":\"retry\",\"phase\":\"ok\",\"op\":9," B ",\"status\":\"pending\",\"t\":70100000}",
    "{\"event\":\"heal\",\"t\":71000000}",
    "{\"event\":\"state\"," B ",\"status\":\"running\",\"outcome\":\"oom\",\"attempt\":2,\"version\":5,\"t\":72000000}",
    "{\"event\":\"claim\",\"who\":\"w1\"," B ",\"attempt\":2,\"token\":\"2.dd\",\"t\":72000001}",
    "{\"event\":\"cancel\",\"phase\":\"invoke\",\"op\":10," B ",\"t\":73000000}",
    "{\"event\":\"state\"," B
    ",\"status\":\"running\",\"outcome\":\"oom\",\"cancel\":1,\"attempt\":2,\"version\":6,\"t\":73000001}",
    "{\"event\":\"cancel\",\"phase\":\"ok\",\"op\":10," B ",\"status\":\"running\",\"t\":73100000}",
    "{\"event\":\"state\"," B
    ",\"status\":\"cancelled\",\"outcome\":\"cancelled\",\"cancel\":1,\"attempt\":2,\"version\":7,\"t\":80000000}",
    "{\"event\":\"news\"," A ",\"status\":\"success\",\"version\":5,\"t\":81000000}",
    "{\"event\":\"news\"," B ",\"status\":\"cancelled\",\"version\":7,\"t\":81000001}",
    "{\"event\":\"final\"," A
    ",\"key\":\"a\",\"status\":\"success\",\"outcome\":\"success\",\"attempt\":2,\"losses\":1,\"version\":5," OUT
    ",\"t\":90000000}",
    "{\"event\":\"attempt\"," A ",\"attempt\":1,\"outcome\":\"lost\",\"t\":90000000}",
    "{\"event\":\"attempt\"," A ",\"attempt\":2,\"outcome\":\"success\",\"t\":90000000}",
    "{\"event\":\"final\"," B ",\"key\":\"b\",\"status\":\"cancelled\",\"outcome\":\"cancelled\",\"cancel\":1,"
    "\"attempt\":2,\"version\":7,\"t\":90000001}",
    "{\"event\":\"attempt\"," B ",\"attempt\":1,\"outcome\":\"oom\",\"t\":90000001}",
    "{\"event\":\"attempt\"," B ",\"attempt\":2,\"outcome\":\"cancelled\",\"t\":90000001}",
    "{\"event\":\"end\",\"t\":90000002}",
};

static const struct broken {
    const char *invariant, *why;
    const char *without; /* lines in which this stands are left out */
    const char *more;    /* a line more, at the place its time gives it */
} histories[] = {
    {"I1", "an acknowledged job is not there", "\"event\":\"final\"," B, NULL},
    {"I2", "a key gives two jobs", NULL,
     "{\"event\":\"submit\",\"phase\":\"ok\",\"op\":2,\"key\":\"a\"," B ",\"t\":89000000}"},
    {"I3", "a late completion is accepted", "\"event\":\"complete\",\"phase\":\"refused\"",
     "{\"event\":\"complete\",\"phase\":\"ok\",\"op\":6," A ",\"attempt\":1,\"status\":\"success\",\"t\":65100000}"},
    {"I3", "a heartbeat of an overtaken attempt is accepted", NULL,
     "{\"event\":\"beat\",\"phase\":\"ok\",\"op\":99," A ",\"attempt\":1,\"t\":65500000}"},
    {"I3", "an accepted completion is forgotten", "\"op\":7,",
     "{\"event\":\"complete\",\"phase\":\"ok\",\"op\":98," B ",\"attempt\":2,\"status\":\"success\",\"t\":79000000}"},
    {"I3", "a report counts, and was refused", NULL,
     "{\"event\":\"complete\",\"phase\":\"refused\",\"op\":7," A
     ",\"attempt\":2,\"code\":\"stale_token\",\"t\":66310000}"},
    {"I3", "an attempt is given to two workers", NULL,
     "{\"event\":\"claim\",\"who\":\"w3\"," A ",\"attempt\":2,\"token\":\"2.bb\",\"t\":64000003}"},
    {"I4", "a number is given out twice", NULL,
     "{\"event\":\"claim\",\"who\":\"w2\"," A ",\"attempt\":2,\"token\":\"2.ff\",\"t\":64000003}"},
    {"I4", "a number falls", NULL,
     "{\"event\":\"state\"," A
     ",\"status\":\"pending\",\"outcome\":\"lost\",\"attempt\":1,\"losses\":1,\"version\":4,\"t\":65000000}"},
    {"I5", "a success is left", NULL,
     "{\"event\":\"state\"," A ",\"status\":\"pending\",\"attempt\":2,\"version\":6,\"t\":70000000}"},
    {"I5", "a dead letter moves by itself", "\"event\":\"retry\"", NULL},
    {"I5", "a cancel is forgotten", "\"version\":7,\"t\":80000000",
     "{\"event\":\"state\"," B
     ",\"status\":\"pending\",\"outcome\":\"error\",\"attempt\":2,\"version\":7,\"t\":79000000}"},
    {"I6", "a job stands still", "\"t\":80000000",
     "{\"event\":\"state\"," B
     ",\"status\":\"cancelled\",\"outcome\":\"cancelled\",\"cancel\":1,\"attempt\":2,\"version\":7,\"t\":145000000}"},
    {"I7", "an output is not what was reported", "\"event\":\"final\"," A,
     "{\"event\":\"final\"," A
     ",\"key\":\"a\",\"status\":\"success\",\"outcome\":\"success\",\"attempt\":2,\"losses\":1,\"version\":5,"
     "\"outputs\":[{\"name\":\"a.mp4\",\"size\":9,\"sha256\":\"ff\"}],\"t\":90000000}"},
    {"I8", "nobody is told", "\"event\":\"news\"," B, NULL},
    {"I8", "one id for two events", NULL,
     "{\"event\":\"news\"," A ",\"status\":\"running\",\"version\":5,\"t\":81000002}"},
    {"I9", "a loss uses up a retry", "\"version\":3,\"t\":63000000",
     "{\"event\":\"state\"," A
     ",\"status\":\"pending\",\"outcome\":\"lost\",\"attempt\":1,\"retries\":1,\"version\":3,\"t\":63000000}"},
    {"I9", "an attempt is lost right after a restart", NULL,
     "{\"event\":\"server\",\"what\":\"start\",\"t\":50000000}"},
    {"I9", "a failure is recorded as a loss", "\"attempt\":1,\"outcome\":\"oom\",\"t\":90000001",
     "{\"event\":\"attempt\"," B ",\"attempt\":1,\"outcome\":\"lost\",\"t\":90000001}"},
    {"I10", "two attempts run at once", "\"what\":\"freeze\"", NULL},
    {"I10", "a process outlives its lease", "\"what\":\"end\",\"who\":\"w2\"",
     "{\"event\":\"process\",\"what\":\"end\",\"who\":\"w2\"," A ",\"attempt\":2,\"t\":126000000}"},
    {"I10", "a process never ends", "\"what\":\"end\",\"who\":\"w2\"", NULL},
    {"I10", "a process is alive past its lease", "\"what\":\"end\",\"who\":\"w2\"",
     "{\"event\":\"process\",\"what\":\"alive\",\"who\":\"w2\"," A ",\"attempt\":2,\"t\":126000000}"},
    {"I10", "a frozen process was seen alive", NULL,
     "{\"event\":\"process\",\"what\":\"alive\",\"who\":\"w1\"," A ",\"attempt\":1,\"t\":64300000}"},
    {"I3", "a stale checkpoint is accepted", NULL,
     "{\"event\":\"checkpoint\",\"phase\":\"ok\",\"op\":97," A ",\"attempt\":1," STATE("03") ",\"t\":64960000}"},
    {"I11", "an accepted checkpoint is not found", "\"phase\":\"ok\",\"op\":21,",
     "{\"event\":\"restore\",\"phase\":\"ok\",\"op\":21," A ",\"attempt\":2,\"t\":64150000}"},
    {"I11", "an older one is found than was accepted last", NULL,
     "{\"event\":\"checkpoint\",\"phase\":\"ok\",\"op\":96," A ",\"attempt\":1," STATE("04") ",\"t\":40000000}"},
    {"I11", "a refused one is found", "\"phase\":\"ok\",\"op\":21,",
     "{\"event\":\"restore\",\"phase\":\"ok\",\"op\":21," A ",\"attempt\":2," STATE("02") ",\"t\":65200000}"},
    {"I11", "one is found that nobody took", "\"phase\":\"ok\",\"op\":21,",
     "{\"event\":\"restore\",\"phase\":\"ok\",\"op\":21," A ",\"attempt\":2," STATE("99") ",\"t\":64150000}"},
    {"I12", "a checkpoint's bytes are gone", "\"phase\":\"ok\",\"op\":21,",
     "{\"event\":\"restore\",\"phase\":\"unknown\",\"op\":21," A ",\"attempt\":2,\"code\":\"corrupt\",\"t\":64150000}"},
    {"I13", "a row is removed before its time", NULL, "{\"event\":\"gone\"," A ",\"age_us\":20000000,\"t\":87000000}"},
    {"I1", "a running job is removed", NULL, "{\"event\":\"gone\"," B ",\"age_us\":0,\"t\":67500000}"},
    {"I0", "it was cut short", "\"event\":\"end\"", NULL},
};

static void line_add(struct history *h, const char *line)
{
    struct event e;
    struct err err = {0};

    if (event_read(line, strlen(line), &e, &err) != ERR_OK)
        fail_msg("%s: %s", line, err.msg);
    *history_add(h, e.t, e.kind) = e;
}

/* Those at the end stay there, however late the line is that is more. */
static void history_make(struct history *h, const struct broken *b)
{
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (b && b->without && strstr(good[i], b->without))
            continue;
        line_add(h, good[i]);
        if (h->events[h->n - 1].kind == EV_FINAL || h->events[h->n - 1].kind == EV_ATTEMPT ||
            h->events[h->n - 1].kind == EV_END)
            h->events[h->n - 1].t += 100 * USEC_PER_SEC;
    }
    if (b && b->more) {
        line_add(h, b->more);
        if (h->events[h->n - 1].kind == EV_FINAL || h->events[h->n - 1].kind == EV_ATTEMPT)
            h->events[h->n - 1].t += 100 * USEC_PER_SEC;
    }
    history_sort(h);
}

static void test_good_history_breaks_nothing(void **state)
{
    struct history h = {0};
    struct violation found[FINDINGS_MAX];

    history_make(&h, NULL);
    if (history_check(&h, found))
        fail_msg("%s: %s", found[0].invariant, found[0].text);
    history_free(&h);
}

static void test_each_invariant_is_seen_broken(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(histories); i++) {
        struct history h = {0};
        struct violation found[FINDINGS_MAX];
        bool seen = false;

        history_make(&h, &histories[i]);
        size_t n = history_check(&h, found);
        for (size_t k = 0; k < MIN(n, (size_t)FINDINGS_MAX); k++)
            seen = seen || !strcmp(found[k].invariant, histories[i].invariant);
        if (!seen)
            fail_msg("%s: %s: not seen (%zu others, %s)", histories[i].invariant, histories[i].why, n,
                     n ? found[0].text : "none");
        history_free(&h);
    }
}

#define LEAVES_W1 "\"what\":\"end\",\"who\":\"w1\""
#define WAKES_W1  "{\"event\":\"process\",\"what\":\"thaw\",\"who\":\"w1\"," A ",\"attempt\":1,\"t\":%d}"
#define ENDS_W1   "{\"event\":\"process\",\"what\":\"end\",\"who\":\"w1\"," A ",\"attempt\":1,\"t\":%d}"

/* What a real machine shows: it was held still with all on it, and its processes wake beside those who end them. A second later they must be
 * gone. The same without the machine's waking is seen broken. */
static void test_what_wakes_with_its_machine_has_a_second(void **state)
{
    static const struct {
        const char *machine;
        int thaw_us, end_us;
        bool broken;
    } rows[] = {
        {"{\"event\":\"worker\",\"what\":\"resume\",\"who\":\"w1\",\"t\":65000000}", 65001000, 65200000, false},
        {"{\"event\":\"worker\",\"what\":\"resume\",\"who\":\"w1\",\"t\":65000000}", 66001000, 66200000, true},
        {"{\"event\":\"worker\",\"what\":\"resume\",\"who\":\"w2\",\"t\":65000000}", 65001000, 65200000, true},
        {"{\"event\":\"worker\",\"what\":\"naps\",\"who\":\"w1\",\"t\":65000000}", 65001000, 65200000, true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct history h = {0};
        struct violation found[FINDINGS_MAX];
        char line[256];

        history_make(&h, &(struct broken){.without = LEAVES_W1, .more = rows[i].machine});
        snprintf(line, sizeof line, WAKES_W1, rows[i].thaw_us);
        line_add(&h, line);
        snprintf(line, sizeof line, ENDS_W1, rows[i].end_us);
        line_add(&h, line);
        history_sort(&h);
        if ((history_check(&h, found) > 0) != rows[i].broken)
            fail_msg("row %zu: %s", i, rows[i].broken ? "not seen" : found[0].text);
        history_free(&h);
    }
}

static void test_what_freezes_soon_after_its_machine_woke_is_frozen(void **state)
{
    struct history h = {0};
    struct violation found[FINDINGS_MAX];

    history_make(&h,
                 &(struct broken){.more = "{\"event\":\"worker\",\"what\":\"resume\",\"who\":\"w1\",\"t\":56500000}"});
    if (history_check(&h, found))
        fail_msg("%s: %s", found[0].invariant, found[0].text);
    history_free(&h);
}

#define LOST_A "\"version\":3,\"t\":63000000"
#define START  "{\"event\":\"server\",\"what\":\"start\",\"t\":50000000}"
#define SEEN_A                                                                                                         \
    "{\"event\":\"state\"," A ",\"status\":\"pending\",\"outcome\":\"lost\",\"attempt\":1,\"losses\":1,\"version\":3," \
    "\"since_us\":%d,\"t\":63000000}"

/* A row that is looked at once in a while: what changed before the server came back says nothing about its grace. */
static void test_a_sampled_row_is_judged_by_when_it_may_have_changed(void **state)
{
    static const struct {
        int since_us;
        bool broken;
    } rows[] = {{49000000, false}, {51000000, true}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct history h = {0};
        struct violation found[FINDINGS_MAX];
        char line[256];

        history_make(&h, &(struct broken){.without = LOST_A, .more = START});
        snprintf(line, sizeof line, SEEN_A, rows[i].since_us);
        line_add(&h, line);
        history_sort(&h);
        if ((history_check(&h, found) > 0) != rows[i].broken)
            fail_msg("row %zu: %s", i, rows[i].broken ? "not seen" : found[0].text);
        history_free(&h);
    }
}

static void test_lines_are_read_as_they_are_written(void **state)
{
    struct history h = {0}, again = {0};
    struct buf line;

    history_make(&h, NULL);
    buf_init(&line, 4096);
    for (size_t i = 0; i < h.n; i++) {
        buf_reset(&line);
        event_write(&h.events[i], &line);
        line_add(&again, buf_str(&line));
    }
    buf_release(&line);
    assert_int_equal(history_hash(&h), history_hash(&again));
    history_free(&h);
    history_free(&again);
}

/* A history of real processes is put together from many files. */
static void test_sorting_keeps_the_order_of_what_is_equal(void **state)
{
    struct history h = {0};

    for (int64_t i = 0; i < 1000; i++)
        history_add(&h, (i * 7919) % 10, EV_STATE)->op = i;
    history_sort(&h);
    assert_int_equal(h.n, 1000);
    for (size_t i = 1; i < h.n; i++) {
        const struct event *a = &h.events[i - 1], *b = &h.events[i];
        if (a->t > b->t || (a->t == b->t && a->op >= b->op))
            fail_msg("event %zu is out of order", i);
    }
    history_free(&h);
}

static void test_bad_lines_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"event\":\"dance\"}",
        "{\"event\":\"run\",\"lease\":1}",
        "{\"event\":\"state\",\"job\":\"nobody\"}",
        "{\"event\":\"state\",\"status\":\"tired\"}",
        "{\"event\":\"beat\",\"phase\":\"perhaps\"}",
        "{\"event\":\"run\",\"t\":\"noon\"}",
        "{\"event\":\"final\",\"outputs\":[{\"name\":\"a\"}]}",
        "{\"event\":\"final\",\"outputs\":[1]}",
        "{\"event\":\"claim\",\"who\":\"a name that is far too long\"}",
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct event e;
        struct err err = {0};
        if (event_read(bad[i], strlen(bad[i]), &e, &err) == ERR_OK)
            fail_msg("accepted: %s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_history_breaks_nothing),
        cmocka_unit_test(test_each_invariant_is_seen_broken),
        cmocka_unit_test(test_what_wakes_with_its_machine_has_a_second),
        cmocka_unit_test(test_what_freezes_soon_after_its_machine_woke_is_frozen),
        cmocka_unit_test(test_a_sampled_row_is_judged_by_when_it_may_have_changed),
        cmocka_unit_test(test_lines_are_read_as_they_are_written),
        cmocka_unit_test(test_sorting_keeps_the_order_of_what_is_equal),
        cmocka_unit_test(test_bad_lines_are_refused),
    };
    return cmocka_run_group_tests_name("sim-check", tests, NULL, NULL);
}
