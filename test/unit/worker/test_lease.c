/* When a lease is held, by what the server answers. */
#include "../client/server.h"
#include "worker/lease.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BEAT(text) "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{" text "}"

/* The answer was so long on its way (or this process was stopped meanwhile) that the lease it gave is over: nothing may start on it. */
static void test_a_lease_that_is_over_when_it_comes_is_not_held(void **state)
{
    static const struct step steps[] = {{BEAT("\"lease_s\":0,\"cancel\":false"), 0},
                                        {BEAT("\"lease_s\":3600,\"cancel\":true"), 0}};
    struct scripted *server = scripted_start(steps, 2);
    struct attempt a = {.server = scripted_url(server),
                        .job_id = "j",
                        .token = "1.t",
                        .number = 1,
                        .claim_sent_us = boot_now(),
                        .lease_us = 3600 * USEC_PER_SEC,
                        .heartbeat_us = 2 * USEC_PER_SEC,
                        .orphan_us = 3600 * USEC_PER_SEC};
    struct lease *lease = NULL;
    struct err err;
    bool cancel = false;

    assert_int_equal(lease_start(&a, NULL, &lease, &err), ERR_OK);
    assert_int_equal(lease_confirm(lease), LEASE_HELD);
    assert_int_equal(lease_look(lease, &cancel), LEASE_HELD);
    assert_true(cancel); /* only the second answer said so */
    scripted_join(server);
    lease_free(lease);
    scripted_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_lease_that_is_over_when_it_comes_is_not_held)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
