#pragma once
/* What `haul server` can be told, by flag or in section `server:` of the configuration file. */
#include "base/config.h"
#include "app/alert_options.h"
#include "app/receiver_options.h"
#include "app/type_options.h"

struct server_options {
    char *listen, *data, *store, *store_read, *broker, *blob, *broker_intake, *otlp_endpoint, *otlp_headers_file,
        *trace_sample;
    bool insecure;
    struct string_list hosts;
    usec lease, heartbeat, confirm, poll, backoff_base, backoff_cap, retention, dedup_window, upload_keep, blob_keep;
    int64_t max_attempts, max_interruptions, max_losses;
    int64_t event_streams;
    char *otlp_url;                  /* of the collector; NULL: none */
    struct string_list otlp_headers; /* for it: secrets */
    double trace_share;              /* of jobs submitted in no trace that are recorded */
    /* of the file only */
    struct type_policies types;
    struct objectives objectives;
    struct alert_options alerts;
    struct receivers receivers;
};

/** Flags over file over defaults. *ret_help: only --help was wanted, and printed. Owned: server_options_release. */
int server_options_read(int argc, char **argv, struct server_options *ret, bool *ret_help, struct err *err);
void server_options_release(struct server_options *o);
struct policy server_options_policy(const struct server_options *o); /* borrows from `o` */

/** "127.0.0.1:8420", "[::1]:8420" -> host and port. */
int listen_parse(const char *text, char ret_host[64], uint16_t *ret_port, struct err *err);
bool host_is_loopback(const char *host);
