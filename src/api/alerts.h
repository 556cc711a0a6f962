#pragma once
/* Within the room: objectives and alerts as the API says them. */
#include "base/json.h"
#include "engine/alerts.h"
#include "notify/notify.h"

void render_objectives(struct json_writer *w, const struct engine_alerts *a); /* "objectives": [...] */
void render_alerts(struct json_writer *w, const struct engine_alerts *a);     /* "alerts": [...] */
/** One alert, as of a moment; `key` NULL in an array. */
void render_alert(struct json_writer *w, const char *key, const struct engine_alerts_config *config,
                  const struct alert_rule *rule, const struct alert *alert);
/** "receivers": [...]. @param notify  NULL: there are none */
int render_receivers(struct json_writer *w, struct notify *notify, struct arena *arena, struct err *err);
