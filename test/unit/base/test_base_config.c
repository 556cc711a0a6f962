#include "test.h"

#include "base/config.h"

struct target {
    char *dir;
    int64_t port;
    uint64_t limit_bytes;
    usec lease_us;
    bool sync;
    struct string_list queues;
};

static const struct option_row rows[] = {
    {"dir", OPTION_STRING, offsetof(struct target, dir), 1, 16, "/var/lib", "where"},
    {"port", OPTION_INT, offsetof(struct target, port), 1, 65535, "8080", "port"},
    {"limit", OPTION_SIZE, offsetof(struct target, limit_bytes), 1, 1 << 30, "64MiB", "limit"},
    {"lease", OPTION_DURATION, offsetof(struct target, lease_us), 1, 3600 * USEC_PER_SEC, "1m30s", "lease"},
    {"sync", OPTION_BOOL, offsetof(struct target, sync), 0, 0, "true", "sync"},
    {"queues", OPTION_STRING_LIST, offsetof(struct target, queues), 1, 8, NULL, "queues"},
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static void expect_refused(const char *text, const char *message)
{
    struct config *c = NULL;
    struct err err;
    assert_int_equal(config_parse(text, strlen(text), "haul.yaml", &c, &err), ERR_INVALID);
    assert_null(c);
    if (!strstr(err.msg, message))
        fail_msg("'%s' does not contain '%s'", err.msg, message);
}

static void test_tree_has_lines(void **state)
{
    static const char text[] = "# haul\nserver:\n  port: 0x10\n  list:\n  - a\n  - 'b'\nname: yes\n";
    struct config *c;
    struct err err;
    (void)state;
    assert_int_equal(config_parse(text, sizeof(text) - 1, "x", &c, &err), ERR_OK);
    const struct config_node *server = config_find(c->root, "server");
    assert_int_equal(server->kind, CONFIG_MAP);
    assert_int_equal(server->line, 2);
    assert_string_equal(config_find(server, "port")->scalar, "0x10");
    assert_int_equal(config_find(server, "list")->n_items, 2);
    assert_int_equal(config_find(server, "list")->items[1]->line, 6);
    assert_string_equal(config_find(c->root, "name")->scalar, "yes");
    assert_null(config_find(c->root, "none"));
    assert_null(config_find(config_find(c->root, "name"), "x"));
    config_free(c);
}

static void test_empty_is_an_empty_map(void **state)
{
    static const char *const empty[] = {"", "# only this\n", "---\n", "{}"};
    (void)state;
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
        struct config *c;
        assert_int_equal(config_parse(empty[i], strlen(empty[i]), "x", &c, NULL), ERR_OK);
        assert_int_equal(c->root->kind, CONFIG_MAP);
        assert_int_equal(c->root->n_items, 0);
        config_free(c);
    }
}

static void test_bad_files_are_refused_with_line_column_and_remedy(void **state)
{
    (void)state;
    expect_refused("a: 1\nb: &x 2\n", "haul.yaml:2:4: anchors are not allowed: write the value out where it is needed");
    expect_refused("a: 1\nb: *x\n", "haul.yaml:2:4: aliases are not allowed: write the value out");
    expect_refused("a: 1\nb: !!int 2\n", "haul.yaml:2:4: tags are not allowed: the option knows its type");
    expect_refused("a: 1\n\nb: !x [1]\n", "haul.yaml:3:4: tags");
    expect_refused("a: &x {b: 1}\n", "haul.yaml:1:4: anchors");
    expect_refused("a: 1\nb: 2\na: 3\n", "haul.yaml:3:1: key 'a' is given twice (first in line 1): remove one");
    expect_refused("s:\n  b: 2\n  b: 3\n", "haul.yaml:3:3: key 'b' is given twice (first in line 2): remove one");
    expect_refused("a: 1\n---\nb: 2\n", "haul.yaml:2:1: more than one document: remove the line of dashes");
    expect_refused("s:\n\tb: 2\n", "haul.yaml:2:1: a tab: YAML is indented with spaces");
    expect_refused("s:\n  b: 2\n\tc: 3\n", "haul.yaml:3:1: a tab: YAML is indented with spaces");
    expect_refused("- a\n", "haul.yaml:1:1: must be a map of keys to values");
    expect_refused("\ntext\n", "haul.yaml:2:1: must be a map of keys to values");
    expect_refused("[1]: 2\n", "haul.yaml:1:1: a key must be a plain name");
    expect_refused("a: 1\nb: [1\n", "haul.yaml:3:1: ");
    expect_refused("a: 1\nb: \"x\\0y\"\n", "haul.yaml:2:4: NUL");
    expect_refused("a: \xff\n", "haul.yaml:1:");
}

static void test_depth_bomb_is_refused(void **state)
{
    static char text[60001] = "a: ";
    (void)state;
    memset(text + 3, '[', sizeof(text) - 4);
    expect_refused(text, "haul.yaml:1:20: nested too deeply");
}

static void test_absent_file(void **state)
{
    struct config *c;
    struct err err;
    (void)state;
    assert_int_equal(config_load("/nonexistent/haul.yaml", &c, &err), ERR_NOT_FOUND);
}

static void test_defaults_and_bind(void **state)
{
    static const char text[] = "dir: /srv\nport: 9\nlimit: 2kB\nlease: 10m\nsync: no\nqueues: [a, 'b']\n";
    struct target t;
    struct config *c;
    struct err err;
    (void)state;
    memset(&t, 0x5a, sizeof(t));
    assert_int_equal(options_defaults(rows, N_ROWS, &t, &err), ERR_OK);
    assert_string_equal(t.dir, "/var/lib");
    assert_int_equal(t.port, 8080);
    assert_int_equal(t.limit_bytes, 64 << 20);
    assert_int_equal(t.lease_us, 90 * USEC_PER_SEC);
    assert_true(t.sync);
    assert_int_equal(t.queues.n, 0);
    assert_int_equal(config_parse(text, sizeof(text) - 1, "x", &c, &err), ERR_OK);
    assert_int_equal(options_bind(rows, N_ROWS, &t, c, c->root, &err), ERR_OK);
    assert_int_equal(options_bind(rows, N_ROWS, &t, c, NULL, &err), ERR_OK);
    config_free(c);
    assert_string_equal(t.dir, "/srv");
    assert_int_equal(t.port, 9);
    assert_int_equal(t.limit_bytes, 2000);
    assert_int_equal(t.lease_us, 600 * USEC_PER_SEC);
    assert_false(t.sync);
    assert_int_equal(t.queues.n, 2);
    assert_string_equal(t.queues.items[1], "b");
    assert_null(t.queues.items[2]);
    assert_int_equal(options_set(rows, N_ROWS, &t, "queues", "x,y,z", "--queues", &err), ERR_OK);
    assert_int_equal(t.queues.n, 3);
    options_release(rows, N_ROWS, &t);
    assert_null(t.dir);
}

static void expect_bind_refused(const char *text, const char *message)
{
    struct target t;
    struct config *c;
    struct err err;
    assert_int_equal(options_defaults(rows, N_ROWS, &t, &err), ERR_OK);
    assert_int_equal(config_parse(text, strlen(text), "haul.yaml", &c, &err), ERR_OK);
    assert_int_equal(options_bind(rows, N_ROWS, &t, c, c->root, &err), ERR_INVALID);
    assert_string_equal(err.msg, message);
    assert_string_equal(t.dir, "/var/lib");
    config_free(c);
    options_release(rows, N_ROWS, &t);
}

static void test_bad_options_are_refused_with_their_line(void **state)
{
    struct target t = {.port = 1};
    struct err err;
    (void)state;
    expect_bind_refused("\nprot: 1\n", "haul.yaml:2:1: prot: unknown; known: dir, port, limit, lease, sync, queues");
    expect_bind_refused("port: 0\n", "haul.yaml:1:1: port: must be 1 to 65535, got 0");
    expect_bind_refused("port: 0x10\n", "haul.yaml:1:1: port: not an integer: '0x10'");
    expect_bind_refused("port: ' 1'\n", "haul.yaml:1:1: port: not an integer: ' 1'");
    expect_bind_refused("port:\n  a: 1\n", "haul.yaml:1:1: port: must be a value, not a map");
    expect_bind_refused("port: [1]\n", "haul.yaml:1:1: port: must be one value, not a list");
    expect_bind_refused("dir: ''\n", "haul.yaml:1:1: dir: must be 1 to 16 bytes, got 0");
    expect_bind_refused("sync: 1\n", "haul.yaml:1:1: sync: must be true or false, got '1'");
    expect_bind_refused("queues: [a, [b]]\n", "haul.yaml:1:1: queues: must be a list of strings");
    expect_bind_refused("lease: 2h\n", "haul.yaml:1:1: lease: must be 1us to 1h, got 2h");
    expect_bind_refused("limit: 2GiB\n", "haul.yaml:1:1: limit: must be 1 to 1073741824 bytes, got 2147483648");
    assert_int_equal(options_set(rows, N_ROWS, &t, "port", "x", "--port", &err), ERR_INVALID);
    assert_string_equal(err.msg, "--port: port: not an integer: 'x'");
    assert_int_equal(t.port, 1);
}

static void test_sizes(void **state)
{
    static const char *const bad[] = {"",           "-1", "1.5GiB", "1 KiB", "KiB", "1kib", "18446744073709551616",
                                      "99999999TiB"};
    uint64_t v;
    (void)state;
    assert_int_equal(size_parse("0", "f", &v, NULL), ERR_OK);
    assert_int_equal(v, 0);
    assert_int_equal(size_parse("64KiB", "f", &v, NULL), ERR_OK);
    assert_int_equal(v, 65536);
    assert_int_equal(size_parse("3TiB", "f", &v, NULL), ERR_OK);
    assert_true(v == UINT64_C(3) << 40);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(size_parse(bad[i], "f", &v, NULL), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_has_lines),
        cmocka_unit_test(test_empty_is_an_empty_map),
        cmocka_unit_test(test_bad_files_are_refused_with_line_column_and_remedy),
        cmocka_unit_test(test_depth_bomb_is_refused),
        cmocka_unit_test(test_absent_file),
        cmocka_unit_test(test_defaults_and_bind),
        cmocka_unit_test(test_bad_options_are_refused_with_their_line),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
