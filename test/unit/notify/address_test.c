/* Which addresses a webhook may reach: the edges of each range. */
#include "check.h"
#include "notify/address.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static bool is_public(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return address_public((const struct sockaddr *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return address_public((const struct sockaddr *)&v6);
}

static void test_public_ones(void **state)
{
    static const char *const good[] = {"1.1.1.1",         "8.8.8.8",         "9.255.255.255",
                                       "11.0.0.0",        "100.63.255.255",  "100.128.0.0",
                                       "126.255.255.255", "128.0.0.0",       "169.253.255.255",
                                       "169.255.0.0",     "172.15.255.255",  "172.32.0.0",
                                       "192.0.1.0",       "192.167.255.255", "192.169.0.0",
                                       "198.17.255.255",  "198.20.0.0",      "223.255.255.255",
                                       "2600::1",         "2001:200::1",     "2a00:1450:4001:80e::200e",
                                       "::ffff:8.8.8.8",  "64:ff9b::8.8.8.8"};

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!is_public(good[i]))
            fail_msg("%s is public", good[i]);
}

static void test_others(void **state)
{
    static const char *const bad[] = {"0.0.0.0",
                                      "0.1.2.3",
                                      "10.0.0.0",
                                      "10.255.255.255",
                                      "100.64.0.0",
                                      "100.127.255.255",
                                      "127.0.0.1",
                                      "127.255.255.255",
                                      "169.254.0.0",
                                      "169.254.169.254",
                                      "172.16.0.0",
                                      "172.31.255.255",
                                      "192.0.0.1",
                                      "192.0.2.1",
                                      "192.88.99.1",
                                      "192.168.0.0",
                                      "192.168.255.255",
                                      "198.18.0.0",
                                      "198.19.255.255",
                                      "198.51.100.1",
                                      "203.0.113.1",
                                      "224.0.0.1",
                                      "239.255.255.255",
                                      "240.0.0.1",
                                      "255.255.255.255",
                                      "::",
                                      "::1",
                                      "::127.0.0.1",
                                      "::ffff:127.0.0.1",
                                      "::ffff:10.1.2.3",
                                      "64:ff9b::127.0.0.1",
                                      "64:ff9b::192.168.1.1",
                                      "64:ff9b:1::8.8.8.8",
                                      "100::1",
                                      "fc00::1",
                                      "fdff::1",
                                      "fe80::1",
                                      "fec0::1",
                                      "ff02::1",
                                      "2001::1",
                                      "2001:1ff::1",
                                      "2001:db8::1",
                                      "2002:7f00:1::",
                                      "3fff::1",
                                      "3fff:fff::1",
                                      "4000::1",
                                      "5f00::1"};
    struct sockaddr unix_socket = {.sa_family = AF_UNIX};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (is_public(bad[i]))
            fail_msg("%s is not public", bad[i]);
    assert_false(address_public(&unix_socket));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_public_ones), cmocka_unit_test(test_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
