#include "base/sha256.h" /* hex */
#include "core/job.h"
#include <inttypes.h>

static bool is_void(const struct token *t)
{
    unsigned any = 0;

    for (size_t i = 0; i < sizeof(t->secret); i++)
        any |= t->secret[i];
    return any == 0;
}

struct token token_mint(uint32_t attempt, struct rng rng)
{
    struct token t = {.attempt = attempt};

    rng.fill(rng.self, t.secret, sizeof(t.secret));
    if (is_void(&t)) /* all zeros says "decided": never mint it */
        t.secret[0] = 1;
    return t;
}

void token_format(const struct token *t, char ret[TOKEN_STR_MAX])
{
    char hex[2 * sizeof(t->secret) + 1];

    hex_format(t->secret, sizeof(t->secret), hex);
    snprintf(ret, TOKEN_STR_MAX, "%" PRIu32 ".%s", t->attempt, hex);
}

bool token_parse(const char *s, struct token *ret)
{
    struct token t;
    uint64_t attempt = 0;

    if (*s < '1' || *s > '9') /* one spelling a number: no zero in front, no sign, no space */
        return false;
    for (; *s >= '0' && *s <= '9'; s++) {
        attempt = attempt * 10 + (uint64_t)(*s - '0');
        if (attempt > UINT32_MAX)
            return false;
    }
    if (*s++ != '.' || strlen(s) != 2 * sizeof(t.secret) || hex_parse(s, t.secret, sizeof(t.secret)) != 0)
        return false;
    t.attempt = (uint32_t)attempt;
    *ret = t;
    return true;
}

bool token_equal(const struct token *a, const struct token *b)
{
    unsigned differ = a->attempt ^ b->attempt, any = 0;

    for (size_t i = 0; i < sizeof(a->secret); i++) {
        differ |= (unsigned)(a->secret[i] ^ b->secret[i]);
        any |= a->secret[i];
    }
    return (differ == 0) & (any != 0); /* no short cut: the time tells nothing */
}
