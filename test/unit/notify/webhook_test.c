/* A webhook's address is judged when it is connected to, whatever the URL looked like before. */
#include "check.h"
#include "notify/webhook.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>

#define SECRET "TEST_WEBHOOK_SECRET"

static int listen_at(uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static void try(struct receiver *r, int stop_fd, struct outcome *ret)
{
    const struct message m = {.id = "1", .receiver = "r", .server = "s", .topic = {.name = "a", .severity = "info"}};

    webhook_send(r, &m, stop_fd, ret);
}

static bool was_reached(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

static void test_a_name_that_resolves_to_a_private_address(void **state)
{
    uint16_t port;
    char url[64];
    AUTO_FD int listener = listen_at(&port), stop = eventfd(0, EFD_CLOEXEC);
    struct receiver r = {
        .webhook = url, .secret_env = (char *)(uintptr_t)SECRET, .allow_http = true, .timeout = 5 * USEC_PER_SEC};
    struct outcome o;

    snprintf(url, sizeof(url), "http://localhost:%u/", port);
    try(&r, stop, &o);
    assert_int_equal(o.what, DELIVERY_FAILED);
    assert_non_null(strstr(o.why, "not a public address"));
    assert_false(was_reached(listener));

    r.allow_private = true; /* nobody answers: its time is over */
    r.timeout = 100 * USEC_PER_MSEC;
    try(&r, stop, &o);
    assert_int_equal(o.what, DELIVERY_FAILED);
    assert_non_null(strstr(o.why, "time"));
    assert_true(was_reached(listener));
}

static void test_the_end_waits_for_nobody(void **state)
{
    uint16_t port;
    char url[64];
    AUTO_FD int listener = listen_at(&port), stop = eventfd(1, EFD_CLOEXEC);
    struct receiver r = {.webhook = url,
                         .secret_env = (char *)(uintptr_t)SECRET,
                         .allow_http = true,
                         .allow_private = true,
                         .timeout = 3600 * USEC_PER_SEC};
    struct outcome o;

    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
    try(&r, stop, &o);
    assert_int_equal(o.what, DELIVERY_FAILED);
    assert_non_null(strstr(o.why, "stops"));
    assert_true(listener >= 0);
}

static void assert_check(const char *url, bool http, bool private, const char *says)
{
    struct receiver r = {.webhook = (char *)(uintptr_t)url,
                         .secret_env = (char *)(uintptr_t)SECRET,
                         .allow_http = http,
                         .allow_private = private};
    struct err err = {0};
    int rc = webhook_check(&r, &err);

    if (says ? !rc || !strstr(err.msg, says) : rc)
        fail_msg("%s: %s", url, err.msg);
}

static void test_urls(void **state)
{
    static const char *const private[] = {"https://localhost/",
                                          "https://a.LOCALHOST/",
                                          "https://127.0.0.1/",
                                          "https://2130706433/",
                                          "https://0x7f.1/",
                                          "https://0177.0.0.1/",
                                          "https://[::1]/",
                                          "https://[::ffff:10.0.0.1]/",
                                          "https://169.254.169.254/latest"};

    assert_check("https://example.com/hook?x=1", false, false, NULL);
    assert_check("http://example.com/", false, false, "allow_http: true");
    assert_check("http://example.com/", true, false, NULL);
    assert_check("ftp://example.com/", true, true, "must be an https:// URL");
    assert_check("file:///etc/passwd", true, true, "webhook: ");
    assert_check("example.com/hook", true, true, "is not a URL");
    assert_check("https://", true, true, "is not a URL");
    assert_check("https://me:secret@example.com/", false, false, "must not hold a user");
    for (size_t i = 0; i < ARRAY_LEN(private); i++) {
        assert_check(private[i], false, false, "allow_private: true");
        assert_check(private[i], false, true, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_name_that_resolves_to_a_private_address),
                                       cmocka_unit_test(test_the_end_waits_for_nobody), cmocka_unit_test(test_urls)};

    setenv(SECRET, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
