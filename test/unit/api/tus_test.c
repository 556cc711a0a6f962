/* The headers of the tus protocol. */
#include "unit.h"
#include "api/tus.h"
#include "base/auto.h"

static void test_bytes(void **state)
{
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "1x", "0x10", "9223372036854775808", "1.0", "1,2"};
    int64_t n = -1;
    struct err err = {0};
    (void)state;
    assert_int_equal(tus_bytes_parse("0", "Upload-Length", &n, &err), ERR_OK);
    assert_int_equal(n, 0);
    assert_int_equal(tus_bytes_parse("9223372036854775807", "Upload-Length", &n, &err), ERR_OK);
    assert_int_equal(n, INT64_MAX);
    assert_int_equal(tus_bytes_parse(NULL, "Upload-Offset", &n, &err), ERR_INVALID);
    assert_string_equal(err.field, "Upload-Offset");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(tus_bytes_parse(bad[i], "Upload-Length", &n, &err), ERR_INVALID);
}

#define SHA_OF_EMPTY "ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3ODUyYjg1NQ=="

static void test_metadata(void **state)
{
    static const char *const good[] = {"",         "filename Y2xpcC5tcDQ=", "a",      "a ",
                                       "a YQ==,b", "a,b YWI=, c YWJj",      "/~ AAAA"};
    static const char *const bad[] = {" ",        ",",        "a,,b",        "a,",         "a YQ",    "a Y Q=",
                                      "a YQ==,a", "a ====",   "a Y===",      "a YQ-_",     "a YQ==b", "sha256",
                                      "sha256 ",  "\xc3\xa4", "sha256 YQ==", "a YQ== YQ=="};
    bool hashed = true;
    uint8_t sha[32];
    struct err err = {0};
    (void)state;
    assert_int_equal(tus_metadata_parse(NULL, &hashed, sha, &err), ERR_OK);
    assert_false(hashed);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (tus_metadata_parse(good[i], &hashed, sha, &err) != ERR_OK || hashed)
            fail_msg("'%s': %s", good[i], err.msg);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (tus_metadata_parse(bad[i], &hashed, sha, &err) != ERR_INVALID)
            fail_msg("'%s' was taken", bad[i]);
    assert_int_equal(tus_metadata_parse("lang ZW4=,sha256 " SHA_OF_EMPTY, &hashed, sha, &err), ERR_OK);
    assert_true(hashed);
    assert_int_equal(sha[0], 0xe3);
    assert_int_equal(sha[31], 0x55);
}

static void test_metadata_is_bounded(void **state)
{
    char text[TUS_METADATA_MAX + 2] = "";
    bool hashed;
    uint8_t sha[32];
    struct err err = {0};
    (void)state;
    for (size_t i = 0; i < 33; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%sk%zu", i ? "," : "", i);
    assert_int_equal(tus_metadata_parse(text, &hashed, sha, &err), ERR_INVALID);
    *strrchr(text, ',') = '\0';
    assert_int_equal(tus_metadata_parse(text, &hashed, sha, &err), ERR_OK);
    memset(text, 'k', TUS_METADATA_MAX + 1);
    text[TUS_METADATA_MAX + 1] = '\0';
    assert_int_equal(tus_metadata_parse(text, &hashed, sha, &err), ERR_INVALID);
    text[TUS_METADATA_MAX] = '\0';
    assert_int_equal(tus_metadata_parse(text, &hashed, sha, &err), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_metadata),
                                       cmocka_unit_test(test_metadata_is_bounded)};
    return cmocka_run_group_tests_name("tus", tests, NULL, NULL);
}
