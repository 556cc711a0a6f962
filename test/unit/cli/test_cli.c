/* The parts of the command line that need no server: -p, tables, what is left, text made harmless, usage errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/auto.h"
#include "cli/command.h"
#include "cli/payload.h"
#include "cli/spark.h"
#include "cli/table.h"
#include <locale.h>

static char *pairs_json(char **pairs, size_t n, int *ret_rc)
{
    json_t *obj = NULL;
    struct err err = {0};
    *ret_rc = payload_from_pairs(pairs, n, &obj, &err);
    char *text = obj ? json_dumps(obj, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(obj);
    return text;
}

#define PAIRS(...) (char *[]){__VA_ARGS__}, sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)

static char a1[] = "height=480", a2[] = "on=true", a3[] = "off=false", a4[] = "no=null", a5[] = "x=-1.5e3",
            a6[] = "name=clip", a7[] = "id=007", a8[] = "v=1.2.3", a9[] = "empty=", a10[] = "eq=a=b",
            a11[] = "hex=0x10", a12[] = "dash=-", a13[] = "list=[1]", a14[] = "sp= 1";

static void test_pairs_become_json(void **state)
{
    int rc;
    AUTO_FREE char *text = pairs_json(PAIRS(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14), &rc);
    assert_int_equal(rc, ERR_OK);
    assert_string_equal(
        text, "{\"height\":480,\"on\":true,\"off\":false,\"no\":null,\"x\":-1500.0,\"name\":\"clip\",\"id\":\"007\","
              "\"v\":\"1.2.3\",\"empty\":\"\",\"eq\":\"a=b\",\"hex\":\"0x10\",\"dash\":\"-\",\"list\":\"[1]\",\"sp\":"
              "\" 1\"}");
}

static void test_bad_pairs_are_refused(void **state)
{
    static char none[] = "noequals", nokey[] = "=v", twice[] = "height=1", bytes[] = "k=\xff";
    int rc;
    assert_null(pairs_json(PAIRS(none), &rc));
    assert_int_equal(rc, ERR_USAGE);
    assert_null(pairs_json(PAIRS(nokey), &rc));
    assert_int_equal(rc, ERR_USAGE);
    assert_null(pairs_json(PAIRS(a1, twice), &rc));
    assert_int_equal(rc, ERR_USAGE);
    assert_null(pairs_json(PAIRS(bytes), &rc));
    assert_int_equal(rc, ERR_USAGE);
}

static char *printed(struct table *t, unsigned width)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    assert_true(table_print(t, f, width));
    fclose(f);
    table_free(t);
    return text;
}

static void test_table_aligns_and_escapes(void **state)
{
    struct table *t = table_new("NAME|>SIZE|STATE");
    table_cell(t, "a");
    table_cellf(t, "%d", 12345);
    table_cell_colour(t, "ok", COLOUR_GREEN); /* no terminal: no colour */
    table_cell(t, "gr\xc3\xbc\xc3\x9f"
                  "e");
    table_cell(t, "1");
    table_cell(t, "two\nlines\033[31m");
    AUTO_FREE char *text = printed(t, 0);
    assert_string_equal(text, "NAME    SIZE  STATE\n"
                              "a      12345  ok\n"
                              "gr\xc3\xbc\xc3\x9f"
                              "e      1  two\\x0alines\\x1b[31m\n");
}

static void test_table_cuts_the_column_that_gives(void **state)
{
    struct table *t = table_new("ID|*TEXT|>N");
    table_cell(t, "1");
    table_cell(t, "a long text that will not fit");
    table_cell(t, "7");
    AUTO_FREE char *text = printed(t, 20);
    assert_string_equal(text, "ID  TEXT           N\n"
                              "1   a long text\xe2\x80\xa6   7\n");
}

static void test_eta(void **state)
{
    struct eta e = {0};
    usec left;
    eta_see(&e, 1000000, 0.1);
    assert_false(eta_left(&e, 1000000, &left)); /* one look says nothing */
    eta_see(&e, 3000000, 0.1);
    assert_false(eta_left(&e, 3000000, &left));
    eta_see(&e, 11000000, 0.5);
    assert_true(eta_left(&e, 11000000, &left));
    assert_int_equal(left, 12500000);
    assert_true(eta_left(&e, 13500000, &left)); /* time passes without news */
    assert_int_equal(left, 10000000);
    assert_true(eta_left(&e, 99000000, &left));
    assert_int_equal(left, 0);
    eta_see(&e, 99000000, 0.05); /* another attempt */
    assert_false(eta_left(&e, 99000000, &left));
}

static void test_rate_is_told_in_the_unit_that_reads_best(void **state)
{
    struct eta e = {0};
    char t[32];
    eta_rate_format(&e, t);
    assert_string_equal(t, "");
    eta_see(&e, 0, 0.1);
    eta_rate_format(&e, t);
    assert_string_equal(t, "");
    eta_see(&e, 120 * USEC_PER_SEC, 0.162);
    eta_rate_format(&e, t);
    assert_string_equal(t, "3.1 %/min");
    e = (struct eta){.begun = true, .t1 = 10 * USEC_PER_SEC, .p1 = 0.5};
    eta_rate_format(&e, t);
    assert_string_equal(t, "5.0 %/s");
    e = (struct eta){.begun = true, .t1 = 7200 * USEC_PER_SEC, .p1 = 0.01};
    eta_rate_format(&e, t);
    assert_string_equal(t, "0.50 %/h");
}

static void test_numbers_for_people(void **state)
{
    char t[32];
    bytes_format(0, t);
    assert_string_equal(t, "0 B");
    bytes_format(1023, t);
    assert_string_equal(t, "1023 B");
    bytes_format(1536, t);
    assert_string_equal(t, "1.5 KiB");
    bytes_format(INT64_C(1) << 40, t);
    assert_string_equal(t, "1.0 TiB");
    left_format(59 * USEC_PER_SEC, t);
    assert_string_equal(t, "59s");
    left_format(61 * USEC_PER_SEC, t);
    assert_string_equal(t, "1m01s");
    left_format(90061 * USEC_PER_SEC, t);
    assert_string_equal(t, "1d01h");
    ago_format("1970-01-01T00:00:10Z", 70 * USEC_PER_SEC, t);
    assert_string_equal(t, "1m00s ago");
    ago_format("1970-01-01T00:02:10Z", 70 * USEC_PER_SEC, t);
    assert_string_equal(t, "in 1m00s");
    ago_format("nonsense", 0, t);
    assert_string_equal(t, "");
}

static void test_numbers_as_bars(void **state)
{
    static const double rise[] = {0, 1, 2, 7};
    double many[1000] = {0};
    char bars[SPARK_MAX];

    spark_format(NULL, 0, bars);
    assert_string_equal(bars, "");
    spark_format(rise, 4, bars);
    assert_string_equal(bars, "▁▂▃█");
    spark_format(many, 1000, bars);
    assert_int_equal(text_columns(bars), SPARK_COLUMNS);
    assert_null(strstr(bars, "█"));
    many[777] = 1; /* one of a thousand is seen */
    spark_format(many, 1000, bars);
    assert_int_equal(text_columns(bars), SPARK_COLUMNS);
    assert_non_null(strstr(bars, "█"));
}

static void test_text_is_made_harmless(void **state)
{
    AUTO_FREE char *a = text_safe("a\033]0;x\007b\r\n\t\xc2\x9b"
                                  "c\xff\xe2\x80\xae"
                                  "d\xc3\xa9");
    assert_string_equal(a, "a\\x1b]0;x\\x07b\\x0d\\x0a\\x09\\xc2\\x9bc\\xff\\xe2\\x80\\xaed\xc3\xa9");
    AUTO_FREE char *b = text_safe("");
    assert_string_equal(b, "");
}

/* Whatever way the bytes are cut, what comes out is the same. */
static void test_stream_is_made_harmless_however_it_is_cut(void **state)
{
    static const char in[] = "one\r\ntwo\rthree\n\033[2J\xf0\x9f\x98\x80\xc3\xa9\xc3(\xe2\x82\tend\xf0\x9f";
    static const char want[] = "one\ntwo\nthree\n\\x1b[2J\xf0\x9f\x98\x80\xc3\xa9\\xc3(\\xe2\\x82\tend\\xf0\\x9f";
    for (size_t piece = 1; piece <= sizeof(in); piece++) {
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);
        struct safe_stream s;
        safe_stream_init_escaping(&s, f);
        for (size_t at = 0; at < sizeof(in) - 1; at += piece)
            assert_int_equal(safe_stream_write(&s, in + at, MIN(piece, sizeof(in) - 1 - at)), 0);
        safe_stream_end(&s);
        fclose(f);
        assert_string_equal(text, want);
        free(text);
    }
}

static void test_error_to_exit_status(void **state)
{
    struct haul_error e = {.rc = HAUL_REFUSED, .status = 404, .code = "not_found"};
    assert_int_equal(haul_error_exit(&e), 12);
    e = (struct haul_error){.rc = HAUL_REFUSED, .status = 409, .code = "illegal_state"};
    assert_int_equal(haul_error_exit(&e), 13);
    e = (struct haul_error){.rc = HAUL_NETWORK, .code = "network"};
    assert_int_equal(haul_error_exit(&e), 16);
    e = (struct haul_error){.rc = HAUL_REFUSED, .status = 418, .code = "http_418"};
    assert_int_equal(haul_error_exit(&e), 10);
}

static void test_every_command_has_a_name_help_and_place(void **state)
{
    for (size_t i = 0; commands[i]; i++) {
        const struct command *c = commands[i];
        assert_true(c->summary && strlen(c->summary) > 8 && c->args);
        for (size_t k = 0; k < c->n_options; k++)
            assert_true(c->options[k].offset < ARGS_MAX - sizeof(struct text_list) && c->options[k].help);
        for (size_t k = 0; k < i; k++)
            assert_true(strcmp(commands[k]->name, c->name) != 0 ||
                        strcmp(commands[k]->sub ? commands[k]->sub : "", c->sub ? c->sub : "") != 0);
    }
}

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs_become_json),
        cmocka_unit_test(test_bad_pairs_are_refused),
        cmocka_unit_test(test_table_aligns_and_escapes),
        cmocka_unit_test(test_table_cuts_the_column_that_gives),
        cmocka_unit_test(test_eta),
        cmocka_unit_test(test_rate_is_told_in_the_unit_that_reads_best),
        cmocka_unit_test(test_numbers_for_people),
        cmocka_unit_test(test_numbers_as_bars),
        cmocka_unit_test(test_text_is_made_harmless),
        cmocka_unit_test(test_stream_is_made_harmless_however_it_is_cut),
        cmocka_unit_test(test_error_to_exit_status),
        cmocka_unit_test(test_every_command_has_a_name_help_and_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
