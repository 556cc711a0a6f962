/* Options of `haul server`: one table gives the parser and --help. */
#include "app/server_options.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/timefmt.h"
#include "trace/exporter.h"
#include "trace/headers.h"
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>

#define AT(member) offsetof(struct server_options, member)
#define DAY_US     (INT64_C(24) * 3600 * USEC_PER_SEC)
#define YEARS_US   (3650 * DAY_US)

static const struct option_row rows[] = {
    {"listen", OPTION_STRING, AT(listen), 1, 128, "127.0.0.1:8420", "address and port; port 0 takes a free one"},
    {"data", OPTION_STRING, AT(data), 1, 4000, NULL, "folder of database and blobs"},
    {"store", OPTION_STRING, AT(store), 1, 2000, NULL, "postgres://...: the database, in place of one in the folder"},
    {"store_read", OPTION_STRING, AT(store_read), 1, 2000, NULL,
     "postgres://...: hot standbys of it, from which lists may be read"},
    {"broker", OPTION_STRING, AT(broker), 1, 2000, NULL,
     "redis://...: tells servers where work is, at once; without it they look"},
    {"broker_intake", OPTION_STRING, AT(broker_intake), 1, 200, NULL,
     "stream of the broker to which others publish submissions"},
    {"blob", OPTION_STRING, AT(blob), 1, 2000, NULL, "s3://bucket/prefix?...: the blobs, in place of a folder"},
    {"insecure", OPTION_BOOL, AT(insecure), 0, 0, "false",
     "listen beyond loopback: who reaches the port may do everything"},
    {"hosts", OPTION_STRING_LIST, AT(hosts), 0, 0, NULL,
     "more names by which clients may call this server (Host header)"},
    {"lease", OPTION_DURATION, AT(lease), 100000, DAY_US, NULL, "how long a claim holds without a heartbeat"},
    {"heartbeat", OPTION_DURATION, AT(heartbeat), 10000, DAY_US, NULL, "how often a worker renews"},
    {"confirm", OPTION_DURATION, AT(confirm), 10000, DAY_US, NULL,
     "a claim without any heartbeat in this time returns"},
    {"poll", OPTION_DURATION, AT(poll), 10000, 60 * USEC_PER_SEC, NULL, "longest wait of a worker's poll"},
    {"max_attempts", OPTION_INT, AT(max_attempts), 1, 100, NULL,
     "the first and the retries, unless the job says otherwise"},
    {"max_interruptions", OPTION_INT, AT(max_interruptions), 0, 1000000, NULL,
     "how often a draining worker may hand a job back"},
    {"max_losses", OPTION_INT, AT(max_losses), 0, 1000000, NULL, "how often a job may be lost with its worker"},
    {"backoff_base", OPTION_DURATION, AT(backoff_base), 0, DAY_US, NULL, "before the first retry: random up to this"},
    {"backoff_cap", OPTION_DURATION, AT(backoff_cap), 0, YEARS_US, NULL, "and doubled with each retry, at most this"},
    {"event_streams", OPTION_INT, AT(event_streams), 0, 9000, NULL, "open event streams (GET /v1/events) at most"},
    {"retention", OPTION_DURATION, AT(retention), USEC_PER_SEC, YEARS_US, NULL,
     "how long finished jobs and their blobs are kept"},
    {"dedup_window", OPTION_DURATION, AT(dedup_window), USEC_PER_SEC, YEARS_US, NULL,
     "how long a dedup_key is remembered"},
    {"upload_keep", OPTION_DURATION, AT(upload_keep), USEC_PER_SEC, YEARS_US, NULL,
     "how long an unfinished upload may rest"},
    {"blob_keep", OPTION_DURATION, AT(blob_keep), USEC_PER_SEC, YEARS_US, NULL,
     "how long a blob that no job refers to is kept"},
    {"otlp_endpoint", OPTION_STRING, AT(otlp_endpoint), 1, 2000, NULL,
     "http://HOST:4318: a collector of OpenTelemetry, to which spans of jobs are sent"},
    {"otlp_headers_file", OPTION_STRING, AT(otlp_headers_file), 1, 4000, NULL,
     "file with headers for it, as name=value, one a line: its keys"},
    {"trace_sample", OPTION_STRING, AT(trace_sample), 1, 32, "1",
     "of jobs submitted in no trace: which share is recorded, 0 to 1"},
};

static int defaults(struct server_options *o, struct err *err)
{
    int rc = options_defaults(rows, ARRAY_LEN(rows), o, err);
    o->types = (struct type_policies){.n = 0};
    o->otlp_url = NULL;
    o->otlp_headers = (struct string_list){.n = 0};
    o->objectives = (struct objectives){.n = 0};
    alert_options_default(&o->alerts);
    o->receivers = (struct receivers){.n = 0};
    struct policy p = policy_default();
    o->lease = p.lease_us;
    o->heartbeat = p.heartbeat_us;
    o->confirm = p.confirm_us;
    o->poll = p.poll_us;
    o->backoff_base = p.backoff_base_us;
    o->backoff_cap = p.backoff_cap_us;
    o->retention = p.retention_us;
    o->dedup_window = p.dedup_us;
    o->upload_keep = p.upload_keep_us;
    o->blob_keep = p.blob_unreferenced_us;
    o->event_streams = 1000;
    o->max_attempts = p.max_attempts;
    o->max_interruptions = p.max_interruptions;
    o->max_losses = p.max_losses;
    return rc;
}

struct policy server_options_policy(const struct server_options *o)
{
    struct policy p = policy_default();
    p.lease_us = o->lease;
    p.heartbeat_us = o->heartbeat;
    p.confirm_us = o->confirm;
    p.poll_us = o->poll;
    p.backoff_base_us = o->backoff_base;
    p.backoff_cap_us = o->backoff_cap;
    p.retention_us = o->retention;
    p.dedup_us = o->dedup_window;
    p.upload_keep_us = o->upload_keep;
    p.blob_unreferenced_us = o->blob_keep;
    p.max_attempts = (uint32_t)o->max_attempts;
    p.max_interruptions = (uint32_t)o->max_interruptions;
    p.max_losses = (uint32_t)o->max_losses;
    p.types = o->types.items;
    p.n_types = o->types.n;
    return p;
}

void server_options_release(struct server_options *o)
{
    options_release(rows, ARRAY_LEN(rows), o);
    free(o->otlp_url);
    headers_release(&o->otlp_headers);
    type_options_release(&o->types);
    objectives_release(&o->objectives);
    receivers_release(&o->receivers);
}

static void print_default(const struct option_row *row, const struct server_options *o)
{
    const char *at = (const char *)o + row->offset;
    char text[48];
    if (row->type == OPTION_DURATION) {
        duration_format(*(const usec *)(const void *)at, text);
        printf(" [%s]", text);
    } else if (row->type == OPTION_INT) {
        printf(" [%lld]", (long long)*(const int64_t *)(const void *)at);
    } else if (row->fallback) {
        printf(" [%s]", row->fallback);
    }
}

/* `o` holds the defaults still. */
static void print_help(const struct server_options *o)
{
    puts("Usage: haul server [--config FILE] [--OPTION VALUE]...\n\n"
         "Runs the server. Options, which are keys of `server:` in the configuration file, too:\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[32];
        snprintf(name, sizeof(name), "%s", rows[i].name);
        for (char *c = name; *c; c++)
            *c = *c == '_' ? '-' : *c;
        printf("  --%-18s %s", name, rows[i].help);
        print_default(&rows[i], o);
        putchar('\n');
    }
    puts("\nFor jobs of one task type, in the file only, under `task_types: NAME:`\n");
    type_options_help();
    puts("\nWhat is promised, in the file only, under `objectives: NAME:`\n");
    objectives_help();
    puts("\nWhen to raise the alarm, in the file only, under `alerts:`\n");
    alert_options_help();
    puts("\nWhom to tell, in the file only, under `alert_receivers: NAME:`\n");
    receivers_help();
}

/* --name VALUE, --name=VALUE, --bool; '-' reads as '_'. */
static int take_flag(int argc, char **argv, int *i, char name[64], const char **ret_value, struct err *err)
{
    const char *arg = argv[*i];
    if (strncmp(arg, "--", 2) != 0 || !arg[2])
        return err_set(err, ERR_USAGE, 0, "server takes options only, got '%.64s'; see haul server --help", arg);
    size_t n = strcspn(arg + 2, "=");
    if (n >= 64)
        return err_set(err, ERR_USAGE, 0, "unknown option '%.80s'; see haul server --help", arg);
    for (size_t k = 0; k < n; k++)
        name[k] = arg[2 + k] == '-' ? '_' : arg[2 + k];
    name[n] = 0;
    bool known = strcmp(name, "config") == 0 || strcmp(name, "help") == 0, flag = strcmp(name, "help") == 0;
    for (size_t k = 0; k < ARRAY_LEN(rows); k++)
        if (strcmp(rows[k].name, name) == 0) {
            known = true;
            flag = rows[k].type == OPTION_BOOL;
        }
    if (!known)
        return err_set(err, ERR_USAGE, 0, "unknown option '%.80s'; see haul server --help", arg);
    if (arg[2 + n] == '=') {
        *ret_value = arg + 3 + n;
        return ERR_OK;
    }
    if (flag) {
        *ret_value = "true";
        return ERR_OK;
    }
    if (*i + 1 >= argc)
        return err_set(err, ERR_USAGE, 0, "option '%.80s' needs a value", arg);
    *ret_value = argv[++*i];
    return ERR_OK;
}

static int bind_file(const char *path, bool required, struct server_options *o, bool *ret_found, struct err *err)
{
    struct config *c = NULL;
    *ret_found = false;
    int rc = config_load(path, &c, err);
    if (rc == ERR_NOT_FOUND && !required) {
        err_clear(err);
        return ERR_OK;
    }
    if (rc)
        return rc;
    *ret_found = true;
    rc = config_check_sections(c, err);
    if (!rc)
        rc = options_bind(rows, ARRAY_LEN(rows), o, c, config_find(c->root, "server"), err);
    if (!rc)
        rc = type_options_bind(c, config_find(c->root, "task_types"), &o->types, err);
    if (!rc)
        rc = objectives_bind(c, config_find(c->root, "objectives"), &o->objectives, err);
    if (!rc)
        rc = alert_options_bind(c, config_find(c->root, "alerts"), &o->objectives, &o->alerts, err);
    if (!rc)
        rc = receivers_bind(c, config_find(c->root, "alert_receivers"), &o->alerts, &o->receivers, err);
    config_free(c);
    return rc;
}

static int read_file(const char *flag, struct server_options *o, struct err *err)
{
    char path[PATH_MAX];
    bool found = false;
    const char *named = flag ? flag : getenv("HAUL_CONFIG");
    if (named && *named)
        return bind_file(named, true, o, &found, err);
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int rc = ERR_OK;
    path[0] = 0;
    if (xdg && *xdg)
        rc = fs_join(path, sizeof(path), xdg, "haul/haul.yaml", err);
    else if (home && *home)
        rc = fs_join(path, sizeof(path), home, ".config/haul/haul.yaml", err);
    if (!rc && path[0])
        rc = bind_file(path, false, o, &found, err);
    return rc || found ? rc : bind_file("/etc/haul/haul.yaml", false, o, &found, err);
}

static int default_data(char **ret, struct err *err)
{
    char path[PATH_MAX];
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int rc;
    if (xdg && *xdg)
        rc = fs_join(path, sizeof(path), xdg, "haul", err);
    else if (geteuid() == 0 || !home || !*home)
        rc = fs_join(path, sizeof(path), "/var/lib", "haul", err);
    else
        rc = fs_join(path, sizeof(path), home, ".local/share/haul", err);
    if (rc)
        return rc;
    *ret = strdup(path);
    return *ret ? ERR_OK : err_set(err, ERR_NO_MEMORY, 0, "data folder");
}

/* As OpenTelemetry's own programs: an address for traces alone is the whole URL. */
static int collector_url(struct server_options *o, struct err *err)
{
    const char *traces = getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), *all = getenv("OTEL_EXPORTER_OTLP_ENDPOINT");
    if (o->otlp_endpoint)
        return exporter_url(o->otlp_endpoint, false, "otlp_endpoint", &o->otlp_url, err);
    if (traces && *traces)
        return exporter_url(traces, true, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &o->otlp_url, err);
    return all && *all ? exporter_url(all, false, "OTEL_EXPORTER_OTLP_ENDPOINT", &o->otlp_url, err) : ERR_OK;
}

static int collector_headers(struct server_options *o, struct err *err)
{
    static const char *const names[] = {"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"};
    if (o->otlp_headers_file && !o->otlp_url)
        return err_field(err, "otlp_headers_file", "needs a collector: set otlp_endpoint, too");
    if (o->otlp_headers_file)
        return headers_read(o->otlp_headers_file, "otlp_headers_file", &o->otlp_headers, err);
    for (size_t i = 0; o->otlp_url && i < ARRAY_LEN(names); i++) {
        const char *text = getenv(names[i]);
        if (text && *text)
            return headers_parse(text, ",", names[i], &o->otlp_headers, err);
    }
    return ERR_OK;
}

static int trace_options(struct server_options *o, struct err *err)
{
    int rc = share_parse(o->trace_sample, "trace_sample", 0, 1, &o->trace_share, err);
    if (!rc)
        rc = collector_url(o, err);
    return rc ? rc : collector_headers(o, err);
}

static int check(const struct server_options *o, struct err *err)
{
    if (o->heartbeat >= o->lease)
        return err_field(err, "heartbeat", "must be shorter than lease");
    if (o->store_read && !o->store)
        return err_field(err, "store_read", "needs a database in PostgreSQL: set store, too");
    if (o->store_read && strncmp(o->store_read, "postgres://", 11) != 0 &&
        strncmp(o->store_read, "postgresql://", 13) != 0)
        return err_field(err, "store_read", "must begin with postgres://");
    if (o->broker_intake && !o->broker)
        return err_field(err, "broker_intake", "needs a broker: set broker, too");
    if (o->backoff_base > o->backoff_cap)
        return err_field(err, "backoff_base", "must be at most backoff_cap");
    return ERR_OK;
}

int server_options_read(int argc, char **argv, struct server_options *ret, bool *ret_help, struct err *err)
{
    char name[64];
    const char *value = NULL, *file = NULL;
    *ret_help = false;
    int rc = defaults(ret, err);
    for (int i = 1; i < argc && !rc; i++) { /* first the file's name: flags win over it, wherever it stands */
        rc = take_flag(argc, argv, &i, name, &value, err);
        if (!rc && strcmp(name, "config") == 0)
            file = value;
        *ret_help = *ret_help || (!rc && strcmp(name, "help") == 0);
    }
    if (!rc && *ret_help) {
        print_help(ret);
        return ERR_OK;
    }
    if (!rc)
        rc = read_file(file, ret, err);
    for (int i = 1; i < argc && !rc; i++) {
        rc = take_flag(argc, argv, &i, name, &value, err);
        if (!rc && strcmp(name, "config") != 0 &&
            options_set(rows, ARRAY_LEN(rows), ret, name, value, "command line", err) != ERR_OK)
            rc = err->code = ERR_USAGE; /* a wrong command line, whatever is wrong with it */
    }
    if (!rc && !ret->data)
        rc = default_data(&ret->data, err);
    if (!rc)
        rc = trace_options(ret, err);
    return rc ? rc : check(ret, err);
}

int listen_parse(const char *text, char ret_host[64], uint16_t *ret_port, struct err *err)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    if (!colon || colon == text)
        return err_field(err, "listen", "must be ADDRESS:PORT, got '%.64s'", text);
    errno = 0;
    long port = strtol(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end || errno || port > 65535)
        return err_field(err, "listen", "'%.32s' is not a port", colon + 1);
    size_t n = (size_t)(colon - text);
    bool bracket = text[0] == '[' && text[n - 1] == ']';
    if (bracket) {
        text++;
        n -= 2;
    }
    if (n == 0 || n >= 64)
        return err_field(err, "listen", "must be ADDRESS:PORT, got '%.64s'", text);
    memcpy(ret_host, text, n);
    ret_host[n] = 0;
    if (strcmp(ret_host, "localhost") == 0)
        snprintf(ret_host, 64, "127.0.0.1");
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(bracket ? AF_INET6 : AF_INET, ret_host, bracket ? (void *)&v6 : (void *)&v4) != 1)
        return err_field(err, "listen", "'%.64s' is not a numeric address%s", ret_host,
                         strchr(ret_host, ':') ? " (write [::1]:8420)" : "");
    *ret_port = (uint16_t)port;
    return ERR_OK;
}

bool host_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}
