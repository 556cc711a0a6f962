#pragma once
/* Standbys that answer lists (ADR 33). replica_hosts.c: which; replicas.c: what they may be asked, and how they fare; examine_replicas.c: what
 * `haul doctor` says of them. */
#include "store/postgres/driver.h"

#define REPLICA_PATIENCE_MS 1000 /* a question that shows whether one is there */

struct replica_host {
    char *conninfo;              /* may hold a password */
    char name[REPLICA_NAME_MAX]; /* host and port, for people */
};

/** The hosts of a URL, one connection string each, at most REPLICAS_MAX. ERR_INVALID names store_read. */
int replica_hosts(const char *url, struct replica_host ret[REPLICAS_MAX], size_t *ret_n, struct err *err);
void replica_hosts_release(struct replica_host *hosts, size_t n);

struct replicas;
/** @param url  NULL: there are none, and *ret is NULL */
int replicas_new(struct pg_store *s, const char *url, struct replicas **ret, struct err *err);
/** From now on they are looked at every two seconds, and asked. */
int replicas_start(struct replicas *r, struct err *err);
/** Nobody reads any more. NULL accepted. */
void replicas_free(struct replicas *r);

/** What reads of store_driver.job_list and its like. The primary answers where no standby does. */
int replicas_job_list(struct store *s, const struct job_filter *f, struct arena *arena, struct job_page *ret,
                      struct err *err);
int replicas_dead_groups(struct store *s, const struct dead_filter *f, struct arena *arena, struct dead_page *ret,
                         struct err *err);
int replicas_redrives(struct store *s, const struct redrive_filter *f, struct arena *arena, struct redrive_page *ret,
                      struct err *err);
/** store_driver's. */
size_t pg_replicas(struct store *s, struct replica_state ret[REPLICAS_MAX], uint64_t *ret_primary);

void replicas_examine(PGconn *primary, const char *url, struct findings *f);
