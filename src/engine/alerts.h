#pragma once
/* Objectives and alerts: events are counted as ops are decided, kept by the store once a minute, and judged every few seconds. */
#include "core/alert.h"

struct engine;

struct engine_alerts_config {
    const struct objective *objectives; /* borrowed; at most OBJECTIVES_MAX */
    size_t n_objectives;
    const struct alert_rule *rules; /* borrowed; at most ALERTS_MAX */
    size_t n_rules;
    usec every_us; /* between two looks; 0: none, and nothing is counted */
    /** How all of them stand after a look, one a rule. On the engine's thread, which it must not hold up; it may offer ops. May be
     * NULL. */
    void (*looked)(void *self, struct engine *e, const struct alert *alerts);
    void *self;
};

/** A copy; with the arrays of the config. */
struct engine_alerts {
    const struct engine_alerts_config *config; /* borrowed from the engine */
    struct objective_report *objectives;       /* as of now */
    struct tally_sum *counted;                 /* by this server since its start, one an objective */
    struct alert *alerts;                      /* as of the latest look */
};
