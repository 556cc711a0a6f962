/* The archive's format: what is written is read back; what was cut, changed or added to is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backup/backup.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/rng.h"
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} entries[] = {{BACKUP_MANIFEST, 300},
               {"haul.db", 8192},
               {"blobs/af/0193b3f0-1234-7abc-8def-0123456789af", 0},
               {"blobs/b0/0193b3f0-1234-7abc-8def-0123456789b0", 511},
               {"blobs/b1/0193b3f0-1234-7abc-8def-0123456789b1", 1000003}};

static void random_bytes(size_t seed, char *ret, size_t n)
{
    struct rng_seeded s = {.state = seed + 1};
    struct rng rng = rng_seeded_view(&s);

    rng.fill(rng.self, ret, n);
}

static void drain(struct backup_writer *w, struct buf *all)
{
    struct buf *out = backup_writer_out(w);

    buf_add(all, buf_str(out), out->len);
    buf_reset(out);
}

static void archive_make(struct buf *all, size_t n_entries, const char *failure)
{
    struct backup_writer *w;
    AUTO_FREE char *bytes = malloc(1 << 20);

    assert_non_null(bytes);
    buf_init(all, 16u << 20);
    assert_int_equal(backup_writer_new(INT64_C(1800000000) * USEC_PER_SEC + 123456, &w, NULL), ERR_OK);
    for (size_t i = 0; i < n_entries; i++) {
        random_bytes(i, bytes, entries[i].size);
        assert_int_equal(backup_writer_entry(w, entries[i].name, (int64_t)entries[i].size, 0600, NULL), ERR_OK);
        for (size_t at = 0; at < entries[i].size; at += 70001) {
            assert_int_equal(backup_writer_data(w, bytes + at, MIN((size_t)70001, entries[i].size - at), NULL), ERR_OK);
            drain(w, all);
        }
    }
    assert_int_equal(backup_writer_end(w, 3, failure, NULL), ERR_OK);
    drain(w, all);
    backup_writer_free(w);
    assert_false(all->failed);
}

/** Reads all of it from a file. @return the first error */
static int read_all(const char *p, size_t n, struct backup_end *ret_end, size_t *ret_entries, struct err *err)
{
    AUTO_FILE FILE *f = tmpfile();
    struct backup_reader *r = NULL;
    AUTO_FREE char *got = malloc(2 << 20), *want = malloc(1 << 20);
    const char *name;
    int64_t size;

    assert_true(f && got && want);
    err_clear(err);
    assert_int_equal(fs_write_all(fileno(f), p, n, NULL), ERR_OK);
    rewind(f);
    int rc = backup_reader_new(fileno(f), &r, err);
    for (*ret_entries = 0; rc == ERR_OK && (rc = backup_reader_next(r, &name, &size, err)) == ERR_OK && name;
         ++*ret_entries) {
        size_t have = 0, k = 1;
        while (rc == ERR_OK && k > 0) {
            rc = backup_reader_read(r, got + have, (2 << 20) - have, &k, err);
            have += rc == ERR_OK ? k : 0;
        }
        if (rc == ERR_OK && *ret_entries < ARRAY_LEN(entries)) {
            assert_string_equal(name, entries[*ret_entries].name);
            assert_int_equal(have, size);
        }
    }
    if (rc == ERR_OK && ret_end)
        *ret_end = *backup_reader_end(r);
    backup_reader_free(r);
    return rc;
}

/** Passes the bytes by, in pieces of `step`. */
static int pass_by(const char *p, size_t n, size_t step, struct backup_end *ret, struct err *err)
{
    struct backup_tail t;

    assert_int_equal(backup_tail_init(&t, err), ERR_OK);
    for (size_t at = 0; at < n; at += step)
        backup_tail_add(&t, p + at, MIN(step, n - at));
    int rc = backup_tail_end(&t, ret, err);
    backup_tail_release(&t);
    return rc;
}

static void test_what_is_written_is_read_back(void **state)
{
    struct buf all;
    struct backup_end end = {0}, tail = {0};
    struct err err;
    size_t n;
    int64_t bytes = 0;

    archive_make(&all, ARRAY_LEN(entries), NULL);
    for (size_t i = 0; i < ARRAY_LEN(entries); i++)
        bytes += backup_entry_bytes((int64_t)entries[i].size);
    assert_int_equal(all.len, bytes + BACKUP_TAIL_BYTES); /* so a progress bar may trust backup_entry_bytes */
    assert_int_equal(read_all(all.data, all.len, &end, &n, &err), ERR_OK);
    assert_int_equal(n, ARRAY_LEN(entries));
    assert_int_equal(end.bytes, bytes);
    assert_int_equal(end.damaged, 3);
    static const size_t steps[] = {1, 511, 2047, 2048, 2049, 16384, 4u << 20};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        assert_int_equal(pass_by(all.data, all.len, steps[i], &tail, &err), ERR_OK);
        assert_int_equal(tail.bytes, bytes);
    }
    buf_release(&all);
}

static void test_a_cut_archive_is_refused_wherever_it_is_cut(void **state)
{
    struct buf all;
    struct backup_end end;
    struct err err;
    size_t n;

    archive_make(&all, ARRAY_LEN(entries), NULL);
    const size_t cuts[] = {0,
                           1,
                           511,
                           512,
                           513,
                           5000,
                           all.len - 1024,
                           1023,
                           all.len - 1,
                           all.len - 2048,
                           all.len / 2,
                           all.len - 1536,
                           all.len - 512};
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        assert_int_equal(read_all(all.data, cuts[i], NULL, &n, &err), ERR_CORRUPT);
        assert_true(err.msg[0] != 0);
        assert_int_equal(pass_by(all.data, cuts[i], 4096, &end, &err), ERR_CORRUPT);
    }
    buf_release(&all);
}

static void test_a_changed_byte_is_refused_wherever_it_is(void **state)
{
    struct buf all;
    struct backup_end end;
    struct err err;
    size_t n;

    archive_make(&all, ARRAY_LEN(entries), NULL);
    /* every byte of the tail that says something, and a sample of the rest */
    for (size_t at = 0; at < all.len; at += at < all.len - BACKUP_TAIL_BYTES - 9973 ? 9973 : 101) {
        all.data[at] ^= 1;
        if (at < all.len - BACKUP_TAIL_BYTES) {
            assert_int_not_equal(pass_by(all.data, all.len, 65536, &end, &err), ERR_OK);
            assert_int_equal(read_all(all.data, all.len, NULL, &n, &err), ERR_CORRUPT);
        }
        all.data[at] ^= 1;
    }
    buf_add(&all, "\0", 1); /* and nothing may follow */
    assert_int_equal(read_all(all.data, all.len, NULL, &n, &err), ERR_CORRUPT);
    assert_int_equal(pass_by(all.data, all.len, 65536, &end, &err), ERR_CORRUPT);
    buf_release(&all);
}

static void test_a_server_that_cannot_go_on_says_why(void **state)
{
    struct buf all;
    struct backup_end end;
    struct err err;
    char long_one[600];
    size_t n;

    archive_make(&all, 2, "read haul.db: Input/output error \"quoted\"");
    assert_int_equal(pass_by(all.data, all.len, 1000, &end, &err), ERR_IO);
    assert_non_null(strstr(err.msg, "Input/output error \"quoted\""));
    assert_int_equal(read_all(all.data, all.len, NULL, &n, &err), ERR_IO);
    buf_release(&all);

    memset(long_one, 1, sizeof(long_one) - 1); /* each takes six bytes of JSON */
    long_one[sizeof(long_one) - 1] = 0;
    archive_make(&all, 1, long_one);
    assert_int_equal(pass_by(all.data, all.len, 1000, &end, &err), ERR_IO);
    assert_int_equal(all.len, backup_entry_bytes(300) + BACKUP_TAIL_BYTES);
    buf_release(&all);
}

static void test_an_archive_may_be_given_up_anywhere(void **state)
{
    struct backup_writer *w;

    assert_int_equal(backup_writer_new(USEC_PER_SEC, &w, NULL), ERR_OK);
    backup_writer_free(w);
    assert_int_equal(backup_writer_new(USEC_PER_SEC, &w, NULL), ERR_OK);
    /* in the midst of more than anybody would want to wait for */
    assert_int_equal(backup_writer_entry(w, "large", INT64_C(1) << 40, 0600, NULL), ERR_OK);
    assert_int_equal(backup_writer_data(w, "some", 4, NULL), ERR_OK);
    backup_writer_free(w);
    backup_writer_free(NULL);
}

static void test_manifest(void **state)
{
    struct backup_manifest m = {.format = BACKUP_FORMAT,
                                .haul_version = "0.1.0",
                                .created_at = INT64_C(1800000000) * USEC_PER_SEC,
                                .database = "haul.db",
                                .schema = 7,
                                .jobs = 1,
                                .blobs = 2,
                                .missing_blobs = 3,
                                .database_bytes = 4,
                                .blob_bytes = INT64_C(5000000000000),
                                .archive_bytes = 6,
                                .blob_folder_id = "0193b3f0-1234-7abc-8def-0123456789af"},
                           back;
    struct buf text;
    struct err err;

    buf_init(&text, 4096);
    backup_manifest_render(&m, &text);
    assert_int_equal(backup_manifest_parse(text.data, text.len, &back, &err), ERR_OK);
    assert_string_equal(back.haul_version, m.haul_version);
    assert_string_equal(back.database, m.database);
    assert_string_equal(back.blob_folder_id, m.blob_folder_id);
    assert_true(back.created_at == m.created_at && back.schema == 7 && back.jobs == 1 && back.blobs == 2);
    assert_true(back.missing_blobs == 3 && back.database_bytes == 4 && back.blob_bytes == m.blob_bytes);
    buf_release(&text);

    static const struct {
        const char *text;
        int want;
    } bad[] = {{"", ERR_CORRUPT},
               {"not json", ERR_CORRUPT},
               {"[]", ERR_CORRUPT},
               {"{}", ERR_CORRUPT},
               {"{\"format\":0}", ERR_CORRUPT},
               {"{\"format\":\"1\"}", ERR_CORRUPT},
               {"{\"format\":1}", ERR_CORRUPT},
               {"{\"format\":2}", ERR_UNSUPPORTED}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(backup_manifest_parse(bad[i].text, strlen(bad[i].text), &back, &err), bad[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read_back),
        cmocka_unit_test(test_a_cut_archive_is_refused_wherever_it_is_cut),
        cmocka_unit_test(test_a_changed_byte_is_refused_wherever_it_is),
        cmocka_unit_test(test_a_server_that_cannot_go_on_says_why),
        cmocka_unit_test(test_an_archive_may_be_given_up_anywhere),
        cmocka_unit_test(test_manifest),
    };

    return cmocka_run_group_tests_name("backup", tests, NULL, NULL);
}
