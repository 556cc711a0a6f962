#include "notify/message.h"
#include "base/json.h"
#include "base/text.h"
#include <stdarg.h>

const char *message_state(const struct message *m)
{
    return m->kind == MESSAGE_RESOLVED ? "resolved" : "firing";
}

void message_write(const struct message *m, struct buf *ret)
{
    static const char *const types[] = {"alert.firing", "alert.resolved", "alert.test"};
    struct json_writer w;

    jw_init(&w, ret);
    jw_object(&w, NULL);
    jw_string(&w, "type", types[m->kind]);
    jw_string(&w, "id", m->id);
    jw_time(&w, "timestamp", m->at);
    jw_object(&w, "data");
    jw_string(&w, "alert", m->topic.name);
    jw_string(&w, "state", message_state(m));
    jw_string(&w, "severity", m->topic.severity);
    jw_string(&w, "what", m->topic.what);
    jw_string(&w, "objective", m->topic.objective);
    jw_real(&w, "value", m->state.value);
    jw_real(&w, "above", m->topic.above);
    jw_real(&w, "clear_at", m->topic.clear_at);
    jw_time(&w, "fired_at", m->state.fired_at);
    jw_time(&w, "resolved_at", m->kind == MESSAGE_RESOLVED ? m->state.resolved_at : 0);
    jw_string(&w, "text", m->topic.text);
    jw_string(&w, "server", m->server);
    jw_object_end(&w);
    jw_object_end(&w);
}

void outcome_set(struct outcome *ret, enum delivery what, const char *fmt, ...)
{
    va_list ap;

    *ret = (struct outcome){.what = what};
    va_start(ap, fmt);
    int n = vsnprintf(ret->why, sizeof(ret->why), fmt, ap);
    va_end(ap);
    utf8_mend(ret->why, n > 0 ? strlen(ret->why) : 0);
}
