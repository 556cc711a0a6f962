/* A call until there is an answer. */
#include "cli/patient.h"
#include "base/auto.h"
#include "base/rng.h"

#define TRIES_UNMET 3

bool patient_sleep(unsigned n, int retry_after_s)
{
    int64_t ms = MIN((int64_t)250 << MIN(n, 5u), (int64_t)5000);
    /* Half of it is random, so that clients cut off together do not come back together. */
    ms = ms / 2 + (int64_t)(rng_u64(rng_real()) % (uint64_t)(ms / 2 + 1));
    ms = MAX(ms, (int64_t)MIN(retry_after_s, 30) * 1000);
    return interrupt_poll(-1, (int)ms) >= 0;
}

static void tell(struct bar *bar, const struct haul_error *err)
{
    const char *what = err->rc == HAUL_NETWORK ? "the server does not answer" : "the server is busy";
    char text[80];
    snprintf(text, sizeof(text), "%s; trying again", what);
    if (term_is(stderr))
        bar_line(bar, -1, text);
    else
        fprintf(stderr, "haul: %s\n", text);
}

int call_patiently(struct cli *cli, const char *method, const char *path, const char *body, const char *key,
                   struct bar *bar, char **ret_text, unsigned *ret_tries, struct haul_error *err)
{
    usec until = now_mono() + PATIENCE_US;
    for (unsigned n = 1;; n++) {
        if (ret_tries)
            *ret_tries = n;
        int rc = haul_call_repeated(cli->client, method, path, body, NULL, key, 1, ret_text, err);
        bool passing = rc == HAUL_NETWORK || (rc == HAUL_REFUSED && err->repeatable);
        if (rc == HAUL_OK || err->status > 0)
            cli->met = true;
        if (!passing || (cli->met ? now_mono() >= until : n >= TRIES_UNMET))
            return rc;
        if (n == 1 && cli->met)
            tell(bar, err);
        if (!patient_sleep(n, err->retry_after_s)) {
            *err = (struct haul_error){.rc = HAUL_ABORTED, .code = "cancelled", .message = "interrupted"};
            return HAUL_ABORTED;
        }
    }
}
