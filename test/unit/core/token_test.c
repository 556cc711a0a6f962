#include "check.h"

static void zeros(void *self, void *p, size_t n)
{
    memset(p, 0, n);
}

static void test_format_and_parse(void **state)
{
    struct rng_seeded seed = test_seed();

    for (int i = 0; i < 1000; i++) {
        struct token t = token_mint(i == 0 ? UINT32_MAX : (uint32_t)i, rng_seeded_view(&seed)), back;
        char text[TOKEN_STR_MAX];

        token_format(&t, text);
        assert_true(token_parse(text, &back));
        assert_true(token_equal(&t, &back));
    }

    struct token t = a_token(7, 0x0f);
    char text[TOKEN_STR_MAX];

    token_format(&t, text);
    assert_string_equal(text, "7.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
}

static void test_parse_refuses(void **state)
{
    static const char *const bad[] = {
        "",
        ".",
        "7",
        "7.",
        "0.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
        "07.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
        "-7.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
        " 7.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
        "+7.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
        "4294967296.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
        "99999999999999999999999.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
        "7.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0",
        "7.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0",
        "7.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0g",
        "7,0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
        "7.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f ",
        "7..0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
    };
    struct token t = a_token(1, 1);

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (token_parse(bad[i], &t))
            fail_msg("accepted '%s'", bad[i]);
    assert_int_equal(t.attempt, 1); /* untouched */
}

static void test_equal(void **state)
{
    struct token a = a_token(3, 0x55), b = a;

    assert_true(token_equal(&a, &b));
    b.attempt = 4;
    assert_false(token_equal(&a, &b));
    for (size_t bit = 0; bit < 128; bit++) {
        b = a;
        b.secret[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_false(token_equal(&a, &b));
    }
    a = b = a_token(3, 0); /* a decided attempt's */
    assert_false(token_equal(&a, &b));
}

static void test_mint_never_gives_zeros(void **state)
{
    struct token t = token_mint(1, (struct rng){.fill = zeros});

    assert_true(token_equal(&t, &t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format_and_parse),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_mint_never_gives_zeros),
    };

    return cmocka_run_group_tests_name("core token", tests, NULL, NULL);
}
