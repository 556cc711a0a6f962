#include "notify/receiver.h"
#include "base/auto.h"
#include "notify/command.h"
#include "notify/webhook.h"
#include <fnmatch.h>
#include <string.h>

#define AT(member) offsetof(struct receiver, member)
#define DAY_US     (INT64_C(24) * 3600 * USEC_PER_SEC)

const struct option_row receiver_rows[] = {
    {"webhook", OPTION_STRING, AT(webhook), 1, 2000, NULL, "https://...: each alert is posted there, signed; or"},
    {"command", OPTION_STRING_LIST, AT(command), 0, 0, NULL, "a program with its arguments: run with each alert"},
    {"secret_file", OPTION_STRING, AT(secret_file), 1, 4000, NULL, "file with the webhook's key (whsec_...), or"},
    {"secret_env", OPTION_STRING, AT(secret_env), 1, 128, NULL, "variable of the server's environment with it"},
    {"ca", OPTION_STRING, AT(ca), 1, 4000, NULL,
     "certificates that the webhook's may be signed by, in place of the system's"},
    {"allow_private", OPTION_BOOL, AT(allow_private), 0, 0, "false",
     "the webhook may be at an address that is not public"},
    {"allow_http", OPTION_BOOL, AT(allow_http), 0, 0, "false", "the webhook may be without TLS"},
    {"alerts", OPTION_STRING_LIST, AT(alerts), 0, 0, NULL, "of these only; * stands for anything"},
    {"severity", OPTION_STRING_LIST, AT(severity), 0, 0, NULL, "of these only: critical, warning, info"},
    {"resolved", OPTION_BOOL, AT(resolved), 0, 0, "true", "tell also that an alert is over"},
    {"timeout", OPTION_DURATION, AT(timeout), 100 * USEC_PER_MSEC, 30 * USEC_PER_SEC, "10s", "of one try"},
    {"retry_for", OPTION_DURATION, AT(retry_for), 0, 7 * DAY_US, "6h", "so long it is tried again"},
};
const size_t receiver_n_rows = ARRAY_LEN(receiver_rows);

static int check_severity(const struct receiver *r, struct err *err)
{
    static const char *const known[] = {"critical", "warning", "info"};

    for (size_t i = 0; i < r->severity.n; i++) {
        size_t k = 0;
        while (k < ARRAY_LEN(known) && strcmp(known[k], r->severity.items[i]) != 0)
            k++;
        if (k == ARRAY_LEN(known))
            return err_field(err, "severity", "must be critical, warning or info, got '%.32s'", r->severity.items[i]);
    }
    return ERR_OK;
}

/* What only a webhook has. */
static int check_command_alone(const struct receiver *r, struct err *err)
{
    const struct {
        const char *name;
        bool set;
    } of_webhooks[] = {{"secret_file", r->secret_file},
                       {"secret_env", r->secret_env},
                       {"ca", r->ca},
                       {"allow_http", r->allow_http},
                       {"allow_private", r->allow_private}};

    for (size_t i = 0; i < ARRAY_LEN(of_webhooks); i++)
        if (of_webhooks[i].set)
            return err_field(err, of_webhooks[i].name, "belongs to webhook, not to command");
    return ERR_OK;
}

int receiver_check(const struct receiver *r, struct err *err)
{
    if (!r->webhook == !r->command.n)
        return err_field(err, r->webhook ? "command" : "webhook", "give either webhook or command");
    int rc = check_severity(r, err);
    if (rc)
        return rc;
    if (r->webhook)
        return webhook_check(r, err);
    rc = check_command_alone(r, err);
    return rc ? rc : command_check(r, err);
}

bool receiver_wants(const struct receiver *r, const char *alert, const char *severity)
{
    bool named = r->alerts.n == 0, severe = r->severity.n == 0;

    for (size_t i = 0; i < r->alerts.n && !named; i++)
        named = fnmatch(r->alerts.items[i], alert, 0) == 0;
    for (size_t i = 0; i < r->severity.n && !severe; i++)
        severe = strcmp(r->severity.items[i], severity) == 0;
    return named && severe;
}

void receiver_release(struct receiver *r)
{
    free(TAKE_PTR(r->name));
    options_release(receiver_rows, receiver_n_rows, r);
}
