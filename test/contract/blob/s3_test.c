/* What is the S3 driver's own and needs no server: signatures as AWS publishes them, URLs taken apart, XML, credentials. */
#include "blob/s3/credentials.h"
#include "blob/s3/place.h"
#include "blob/s3/sign.h"
#include "blob/s3/xml.h"
#include "check.h"

/* https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and sigv4-query-string-auth.html */
static const struct s3_keys example = {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
#define HOST  "examplebucket.s3.amazonaws.com"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define PUT   "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

static const struct {
    const char *method, *path, *payload;
    struct s3_pair query[2], headers[5];
    const char *signature;
} published[] = {
    {"GET",
     "/test.txt",
     EMPTY,
     {{0}},
     {{"host", HOST}, {"range", "bytes=0-9"}, {"x-amz-content-sha256", EMPTY}, {"x-amz-date", "20130524T000000Z"}},
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"PUT",
     "/test$file.text",
     PUT,
     {{0}},
     {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
      {"host", HOST},
      {"x-amz-content-sha256", PUT},
      {"x-amz-date", "20130524T000000Z"},
      {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"GET",
     "/",
     EMPTY,
     {{"lifecycle", ""}},
     {{"host", HOST}, {"x-amz-content-sha256", EMPTY}, {"x-amz-date", "20130524T000000Z"}},
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"GET",
     "/",
     EMPTY,
     {{"prefix", "J"}, {"max-keys", "2"}}, /* in the wrong order */
     {{"x-amz-date", "20130524T000000Z"}, {"host", HOST}, {"x-amz-content-sha256", EMPTY}},
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static size_t count(const struct s3_pair *pairs, size_t max)
{
    size_t n = 0;

    while (n < max && pairs[n].name)
        n++;
    return n;
}

static void test_published_signatures(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(published); i++) {
        struct buf b;
        struct s3_signing s = {.method = published[i].method,
                               .host = HOST,
                               .path = published[i].path,
                               .query = published[i].query,
                               .n_query = count(published[i].query, 2),
                               .headers = published[i].headers,
                               .n_headers = count(published[i].headers, 5),
                               .payload_sha256 = published[i].payload,
                               .region = "us-east-1",
                               .keys = &example,
                               .date = "20130524T000000Z"};

        buf_init(&b, 4096);
        s3_sign(&s, &b);
        assert_string_equal(strstr(buf_str(&b), "Signature=") + 10, published[i].signature);
        buf_release(&b);
    }
}

static void test_published_presigned_url(void **state)
{
    struct buf b;
    struct s3_signing s = {.method = "GET",
                           .host = HOST,
                           .path = "/test.txt",
                           .payload_sha256 = S3_UNSIGNED,
                           .region = "us-east-1",
                           .keys = &example,
                           .date = "20130524T000000Z"};

    buf_init(&b, 4096);
    s3_presign(&s, 86400, &b);
    assert_string_equal(buf_str(&b),
                        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%"
                        "2Fs3%2Faws4_request"
                        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
                        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    buf_release(&b);
}

static void test_places(void **state)
{
    struct s3_place p;

    OK(s3_place_parse("s3://my-bucket/a/b?region=eu-west-1", &p, &err));
    assert_string_equal(p.bucket, "my-bucket");
    assert_string_equal(p.prefix, "a/b/");
    assert_string_equal(p.origin, "https://my-bucket.s3.eu-west-1.amazonaws.com");
    assert_string_equal(p.root, "/");
    assert_true(p.direct && p.direct_up);
    OK(s3_place_parse("s3://my-bucket?endpoint=http%3A%2F%2F127.0.0.1%3A9000&style=path&direct=no&timeout=3s", &p,
                      &err));
    assert_string_equal(p.host, "127.0.0.1:9000");
    assert_string_equal(p.root, "/my-bucket/");
    assert_string_equal(p.prefix, "");
    assert_true(p.loopback && !p.direct && !p.direct_up && p.timeout_us == 3 * USEC_PER_SEC);
    OK(s3_place_parse("s3://my-bucket?direct=downloads", &p, &err));
    assert_true(p.direct && !p.direct_up);
    OK(s3_place_parse("s3://my-bucket/?endpoint=https://s3.example:443&style=virtual", &p, &err));
    assert_string_equal(p.host, "my-bucket.s3.example");
}

static void test_bad_places(void **state)
{
    static const struct {
        const char *url, *says;
    } rows[] = {
        {"s4://bucket", "s3://"},
        {"s3://", "a bucket has"},
        {"s3://Bucket/x", "a bucket has"},
        {"s3://bucket/a b", "prefix"},
        {"s3://bucket?secret=x", "'secret' is none of"},
        {"s3://bucket?region", "no value"},
        {"s3://bucket?region=EU%20west", "region has a bad value"},
        {"s3://bucket?style=both", "path or virtual"},
        {"s3://bucket?direct=maybe", "yes, downloads or no"},
        {"s3://bucket?timeout=0s", "timeout must be from"},
        {"s3://bucket?endpoint=ftp://host", "endpoint must be like"},
        {"s3://bucket?endpoint=http://me:secret@host", "endpoint must be like"},
        {"s3://bucket?endpoint=http://host/path", "endpoint must be like"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct s3_place p;
        struct err err = {0};

        assert_int_equal(s3_place_parse(rows[i].url, &p, &err), ERR_INVALID);
        assert_string_equal(err.field, "blob");
        if (!strstr(err.msg, rows[i].says))
            fail_msg("%s: %s", rows[i].url, err.msg);
    }
}

static bool gather(void *arg, const char *path, const char *text)
{
    buf_printf(arg, "%s=%s;", path, text);
    return true;
}

static int read_xml(const char *text, struct buf *ret)
{
    char root[64];
    struct err err;

    buf_init(ret, 65536);
    return s3_xml(text, strlen(text), gather, ret, root, &err);
}

static void test_xml(void **state)
{
    struct buf b;

    OK(read_xml("<?xml version='1.0'?><L xmlns='x'><U><K>a&amp;b</K></U><T>true</T></L>", &b));
    assert_string_equal(buf_str(&b), "U/K=a&b;U=;T=true;=;");
    buf_release(&b);
    static const char *const bad[] = {"", "<html><p>no</html>", "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><x>&a;</x>",
                                      "<a><b><c><d><e><f><g><h><i/></h></g></f></e></d></c></b></a>", "{\"json\":1}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(read_xml(bad[i], &b), ERR_CORRUPT);
        buf_release(&b);
    }
    char long_text[3000];

    memset(long_text, 'a', sizeof(long_text));
    memcpy(long_text, "<a>", 3);
    snprintf(long_text + 2990, 10, "</a>");
    assert_int_equal(read_xml(long_text, &b), ERR_CORRUPT);
    buf_release(&b);
}

static int credentials_of(const char *file, struct s3_keys *ret, struct err *err)
{
    struct s3_credentials c;

    s3_credentials_init(&c, file);
    int rc = s3_credentials_get(&c, USEC_PER_SEC, ret, err);

    s3_credentials_release(&c);
    return rc;
}

static void test_credentials(void **state)
{
    static const char text[] =
        "# ours\n[other]\naws_access_key_id=no\n[default]\n aws_access_key_id = AK \naws_secret_access_key=s/e=c\n";
    char dir[PATH_MAX], path[PATH_MAX];
    struct s3_keys keys;
    struct err e = {0};

    make_dir(dir);
    OK(fs_join(path, sizeof(path), dir, "file", &err));
    OK(fs_write_durable(path, text, sizeof(text) - 1, 0600, &err));
    unsetenv("AWS_PROFILE");
    OK(credentials_of(path, &keys, &err));
    assert_string_equal(keys.id, "AK");
    assert_string_equal(keys.secret, "s/e=c");
    setenv("AWS_PROFILE", "other", 1);
    assert_int_equal(credentials_of(path, &keys, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "[other]"));
    unsetenv("AWS_PROFILE");
    setenv("AWS_ACCESS_KEY_ID", "EK", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "ES", 1);
    setenv("AWS_SESSION_TOKEN", "ET", 1);
    OK(credentials_of("", &keys, &err));
    assert_string_equal(keys.id, "EK");
    assert_string_equal(keys.token, "ET");
    OK(credentials_of(path, &keys, &err)); /* what is named comes first */
    assert_string_equal(keys.id, "AK");
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SHARED_CREDENTIALS_FILE");
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    setenv("HOME", dir, 1);
    assert_int_equal(credentials_of("", &keys, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "no credentials"));
    drop_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_signatures),
        cmocka_unit_test(test_published_presigned_url),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_bad_places),
        cmocka_unit_test(test_xml),
        cmocka_unit_test(test_credentials),
    };

    return cmocka_run_group_tests_name("s3", tests, NULL, NULL);
}
