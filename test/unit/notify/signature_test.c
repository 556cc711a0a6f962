/* Signatures, on the example of the specification of Standard Webhooks. */
#include "check.h"
#include "notify/signature.h"
#include <string.h>

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define ID     "msg_p5jXN8AQM9LWM0D4loKWxJek"
#define BODY   "{\"test\": 2432232314}"
#define SIGNED "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

static void assert_signed(const char *secret, const char *signature)
{
    struct signature_keys keys;
    struct buf made;
    struct err err = {0};

    buf_init(&made, 4096);
    assert_int_equal(signature_keys_read(secret, &keys, &err), ERR_OK);
    signature_write(&keys, ID, 1614265330, BODY, strlen(BODY), &made);
    assert_string_equal(buf_str(&made), signature);
    buf_release(&made);
}

static void test_the_specifications_example(void **state)
{
    assert_signed(SECRET, SIGNED);
    assert_signed(" " SECRET "\n", SIGNED);
    assert_signed("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SIGNED);
}

static void test_while_keys_are_changed_there_are_two(void **state)
{
    assert_signed(SECRET "\n" SECRET "\n", SIGNED " " SIGNED);
}

static void test_what_is_no_key(void **state)
{
    static const char *const bad[] = {
        "",
        " \n",
        "whsec_",
        "secret",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        "whsec_c2hvcnQ=",
        SECRET "\n" SECRET "\n" SECRET "\n" SECRET "\n" SECRET,
        "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    struct signature_keys keys;
    struct err err = {0};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(signature_keys_read(bad[i], &keys, &err), ERR_INVALID);
        assert_true(!*bad[i] || !strstr(err.msg, "MfKQ9r8G")); /* never the key itself */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_specifications_example),
                                       cmocka_unit_test(test_while_keys_are_changed_there_are_two),
                                       cmocka_unit_test(test_what_is_no_key)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
