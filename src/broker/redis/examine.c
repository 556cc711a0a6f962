/* May the user do what haul does? Each command is tried, on keys that go by themselves within seconds; on the intake's streams with an id that no
 * message has. What it is told decides nothing but this: whether Redis says NOPERM. */
#include "broker/redis/driver.h"
#include "base/auto.h"
#include "base/finding.h"
#include <string.h>

#define WORDS 10

enum where { OURS, INTAKE, DEAD };

/** @key and @group stand for ours. */
static const struct probe {
    const char *words[WORDS];
    enum where where;
} probes[] = {
    {{"PING"}, OURS},
    {{"XGROUP", "CREATE", "@key", "@group", "0", "MKSTREAM"}, OURS},
    {{"XADD", "@key", "*", "job_id", ""}, OURS},
    {{"XREADGROUP", "GROUP", "@group", "doctor", "COUNT", "1", "STREAMS", "@key", ">"}, OURS},
    {{"XAUTOCLAIM", "@key", "@group", "doctor", "10000", "0-0"}, OURS},
    {{"XINFO", "CONSUMERS", "@key", "@group"}, OURS},
    {{"XACK", "@key", "@group", "0-1"}, OURS},
    {{"XDEL", "@key", "0-1"}, OURS},
    {{"EXPIRE", "@key", "5"}, OURS},
    {{"ZADD", "@key:set", "0", "member"}, OURS},
    {{"ZRANGEBYSCORE", "@key:set", "0", "+inf", "LIMIT", "0", "1"}, OURS},
    {{"EXPIRE", "@key:set", "5"}, OURS},
    {{"SET", "@key:room", "1", "PX", "1000"}, OURS},
    {{"XACK", "@key", "@group", "0-1"}, INTAKE},
    {{"XDEL", "@key", "0-1"}, INTAKE},
    {{"XDEL", "@key", "0-1"}, DEAD},
    {{"MULTI"}, OURS}, /* these last: who may begin one and not end it is told nothing more */
    {{"EXEC"}, OURS},
};

/** For ACL SETUSER. */
struct denied {
    struct names commands, keys;
};

/** What a user must have a right to. */
static const char *key_of(const struct broker *b, const struct probe *p)
{
    return p->where == OURS ? "haul:*" : p->where == INTAKE ? b->intake : b->dead;
}

/** The word, or what it stands for. @param text  room for that */
static const char *word_of(const struct broker *b, const struct probe *p, const char *word, char text[NAME_MAX_])
{
    if (word && strcmp(word, "@group") == 0)
        snprintf(text, NAME_MAX_, "%s", b->prefix);
    else if (word && strncmp(word, "@key", 4) == 0 && p->where == OURS)
        snprintf(text, NAME_MAX_, "%s:probe%s", b->prefix, word + 4);
    else if (word && strncmp(word, "@key", 4) == 0)
        snprintf(text, NAME_MAX_, "%s", key_of(b, p));
    else
        return word;
    return text;
}

static int probe(struct broker *b, struct link *l, const struct probe *p, struct denied *d, struct err *err)
{
    const char *w[WORDS];
    char text[WORDS][NAME_MAX_], lacking[NAME_MAX_ + 1];
    redisReply *reply = NULL;

    for (size_t i = 0; i < WORDS; i++)
        w[i] = word_of(b, p, p->words[i], text[i]);
    int rc = link_ask(l, link_now() + LINK_WAIT_US, &reply, err, w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8],
                      w[9], NULL);
    if (rc == ERR_OK && reply_is_error(reply, NULL) && strstr(reply->str, "NOPERM")) {
        const bool command = strstr(reply->str, "to run"); /* else it may, but with another key */
        snprintf(lacking, sizeof(lacking), "%c%s", command ? '+' : '~', command ? w[0] : key_of(b, p));
        if (!names_add(command ? &d->commands : &d->keys, lacking))
            rc = err_set(err, ERR_NO_MEMORY, 0, "rights");
    }
    freeReplyObject(reply);
    return rc;
}

static void lacking_say(const struct denied *d, struct buf *b)
{
    for (size_t i = 0; i < d->commands.n + d->keys.n; i++)
        buf_printf(b, "%s%s", i > 0 ? " " : "",
                   i < d->commands.n ? d->commands.items[i] : d->keys.items[i - d->commands.n]);
}

void redis_examine(struct broker *b, struct findings *f)
{
    struct link l = link_of(b, b->read_stop_fd);
    struct denied d = {0};
    struct buf lacking, remedy;
    struct err err = {0};
    int rc = link_ready(&l, link_now() + LINK_WAIT_US, &err);

    for (size_t i = 0; rc == ERR_OK && i < ARRAY_LEN(probes); i++)
        if (probes[i].where == OURS || b->intake)
            rc = probe(b, &l, &probes[i], &d, &err);
    link_drop(&l);
    buf_init(&lacking, 4096);
    buf_init(&remedy, 4096);
    lacking_say(&d, &lacking);
    buf_printf(&remedy, "ACL SETUSER %s %s", b->url.user[0] ? b->url.user : "default", buf_str(&lacking));
    if (rc != ERR_OK)
        finding_add(f, FINDING_FAIL, "broker rights", "look again once Redis answers", "%s", err.msg);
    else if (lacking.len > 0)
        finding_add(f, FINDING_FAIL, "broker rights", buf_str(&remedy),
                    "the user may not do all that haul does: %s lacking", buf_str(&lacking));
    else
        finding_add(f, FINDING_OK, "broker rights", NULL, "the user may do what haul does");
    buf_release(&lacking);
    buf_release(&remedy);
    names_free(&d.commands);
    names_free(&d.keys);
}
