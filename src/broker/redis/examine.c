/* May the user do what haul does? Each command is tried, on keys that go by themselves within seconds; on the intake's streams with an id that no
 * message has. What it is told decides nothing but this: whether Redis says NOPERM. */
#include "broker/redis/driver.h"
#include "base/auto.h"
#include "base/finding.h"
#include <string.h>

#define WORDS 10

enum where { OURS, INTAKE, DEAD };

/** KEY and GROUP stand for ours. */
static const struct probe {
    const char *words[WORDS];
    enum where where;
} probes[] = {
    {{"PING"}, OURS},
    {{"XGROUP", "CREATE", "KEY", "GROUP", "0", "MKSTREAM"}, OURS},
    {{"XADD", "KEY", "*", "job_id", ""}, OURS},
    {{"XREADGROUP", "GROUP", "GROUP", "doctor", "COUNT", "1", "STREAMS", "KEY", ">"}, OURS},
    {{"XAUTOCLAIM", "KEY", "GROUP", "doctor", "10000", "0-0"}, OURS},
    {{"XINFO", "CONSUMERS", "KEY", "GROUP"}, OURS},
    {{"XACK", "KEY", "GROUP", "0-1"}, OURS},
    {{"XDEL", "KEY", "0-1"}, OURS},
    {{"EXPIRE", "KEY", "5"}, OURS},
    {{"ZADD", "KEY:set", "0", "member"}, OURS},
    {{"ZRANGEBYSCORE", "KEY:set", "0", "+inf", "LIMIT", "0", "1"}, OURS},
    {{"EXPIRE", "KEY:set", "5"}, OURS},
    {{"SET", "KEY:room", "1", "PX", "1000"}, OURS},
    {{"XACK", "KEY", "GROUP", "0-1"}, INTAKE},
    {{"XDEL", "KEY", "0-1"}, INTAKE},
    {{"XDEL", "KEY", "0-1"}, DEAD},
    {{"MULTI"}, OURS}, /* these last: who may begin one and not end it is told nothing more */
    {{"EXEC"}, OURS},
};

struct denied {
    char commands[256]; /* for ACL SETUSER */
    char keys[400];
    unsigned n;
};

static void list_add(char *list, size_t size, const char *before, const char *item)
{
    char whole[256];
    const size_t len = strlen(list);

    snprintf(whole, sizeof(whole), "%s%s", before, item);
    const char *found = strstr(list, whole);
    if (!found || (found[strlen(whole)] != 0 && found[strlen(whole)] != ' '))
        snprintf(list + len, size - len, "%s%s", len > 0 ? " " : "", whole);
}

/** Its words, with keys in their place. @param text  room for those */
static void words_fill(const struct broker *b, const struct probe *p, const char *w[WORDS], char text[2][NAME_MAX_])
{
    for (size_t i = 0; i < WORDS; i++) {
        w[i] = p->words[i];
        if (w[i] && strncmp(w[i], "KEY", 3) == 0) {
            if (p->where == OURS)
                snprintf(text[0], NAME_MAX_, "%s:probe%s", b->prefix, w[i] + 3);
            else
                snprintf(text[0], NAME_MAX_, "%s", p->where == INTAKE ? b->intake : b->dead);
            w[i] = text[0];
        } else if (w[i] && strcmp(w[i], "GROUP") == 0 && (i == 0 || strcmp(w[0], "XREADGROUP") != 0 || i == 2)) {
            snprintf(text[1], NAME_MAX_, "%s", b->prefix);
            w[i] = text[1];
        }
    }
}

static int probe(struct broker *b, struct link *l, const struct probe *p, struct denied *d, struct err *err)
{
    const char *w[WORDS];
    char text[2][NAME_MAX_];
    redisReply *reply = NULL;

    words_fill(b, p, w, text);
    int rc = link_ask(l, link_now() + LINK_WAIT_US, &reply, err, w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8],
                      w[9], NULL);
    if (rc == ERR_OK && reply_is_error(reply, NULL) && strstr(reply->str, "NOPERM")) {
        d->n++;
        if (!strstr(reply->str, "to run")) /* the command, but with another key */
            list_add(d->keys, sizeof(d->keys), "~", p->where == OURS ? "haul:*" : text[0]);
        else
            list_add(d->commands, sizeof(d->commands), "+", w[0]);
    }
    freeReplyObject(reply);
    return rc;
}

void redis_examine(struct broker *b, struct findings *f)
{
    struct link l = link_of(b, b->read_stop_fd);
    struct denied d = {.n = 0};
    struct err err = {0};
    int rc = link_ready(&l, link_now() + LINK_WAIT_US, &err);

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(probes); i++)
        if (probes[i].where == OURS || b->intake)
            rc = probe(b, &l, &probes[i], &d, &err);
    link_drop(&l);
    if (rc != ERR_OK)
        finding_add(f, FINDING_FAIL, "broker rights", "look again once Redis answers", "%s", err.msg);
    else if (d.n > 0) {
        char remedy[832];
        snprintf(remedy, sizeof(remedy), "ACL SETUSER %s %s%s%s", b->url.user[0] ? b->url.user : "default", d.commands,
                 d.commands[0] && d.keys[0] ? " " : "", d.keys);
        finding_add(f, FINDING_FAIL, "broker rights", remedy, "the user may not do all that haul does: %s%s%s lacking",
                    d.commands, d.commands[0] && d.keys[0] ? " " : "", d.keys);
    } else {
        finding_add(f, FINDING_OK, "broker rights", NULL, "the user may do what haul does");
    }
}
