/* Faults: one after the other at random, some while others last, until it is time to heal. */
#include "sim.h"

struct plan {
    usec until_us, gap_us;
};

static unsigned any_worker(struct sim *s)
{
    return (unsigned)dice(s, s->n_workers);
}

/* --- what ends by itself --- */

static void network_well(struct sim *s, void *arg, unsigned cookie)
{
    s->loss = 0;
    s->delay_max_us = 20000;
}

static void joined(struct sim *s, void *arg, unsigned cookie)
{
    struct host *h = arg;

    h->cut_to = h->cut_from = false;
}

static void disk_well(struct sim *s, void *arg, unsigned cookie)
{
    disk_full(false);
    disk_slow(0);
}

static void blobs_well(struct sim *s, void *arg, unsigned cookie)
{
    s->server.blobs_fail = false;
    s->server.blobs_slow_us = 0;
}

/* --- the kinds --- */

static void network_bad(struct sim *s)
{
    s->loss = (unsigned)dice(s, 60);
    s->delay_max_us = dice_us(s, 20000, 3 * SEC);
    after(s, dice_us(s, SEC, 60 * SEC), -1, network_well, NULL, 0);
}

static void partition(struct sim *s)
{
    struct host *h = &s->hosts[dice(s, s->n_hosts)];
    uint64_t how = dice(s, 3);

    h->cut_to = how != 1;
    h->cut_from = how != 2; /* both, or one direction only */
    after(s, dice_us(s, SEC, 180 * SEC), -1, joined, h, 0);
}

static void server_kill(struct sim *s)
{
    bool power = chance(s, 50);

    server_crash(s, power, dice_us(s, 100000, chance(s, 70) ? 5 * SEC : 120 * SEC));
}

static void disk_bad(struct sim *s)
{
    static const enum disk_fault faults[] = {DISK_CUT, DISK_KILL, DISK_KILL, DISK_SYNC, DISK_WRITE};
    enum disk_fault fault = faults[dice(s, ARRAY_LEN(faults))];

    disk_plan(fault, 1 + (unsigned)dice(s, 40));
}

static void disk_short(struct sim *s)
{
    if (chance(s, 60))
        disk_full(true);
    else
        disk_slow(dice_us(s, 1000, 8 * SEC));
    after(s, dice_us(s, SEC, 40 * SEC), -1, disk_well, NULL, 0);
}

static void pause_server(struct sim *s)
{
    server_pause(s, dice_us(s, SEC, 2 * s->policy.lease_us));
}

static void blobs_bad(struct sim *s)
{
    s->server.blobs_fail = chance(s, 50);
    s->server.blobs_slow_us = dice_us(s, 0, 20 * SEC);
    after(s, dice_us(s, SEC, 60 * SEC), -1, blobs_well, NULL, 0);
}

static void crash_worker(struct sim *s)
{
    unsigned host = any_worker(s);

    worker_crash(s, host, dice_us(s, SEC, chance(s, 70) ? 30 * SEC : 200 * SEC));
}

static void pause_worker(struct sim *s)
{
    unsigned host = any_worker(s);

    worker_pause(s, host, dice_us(s, SEC, 3 * s->policy.lease_us));
}

static void kill_supervisor(struct sim *s)
{
    unsigned host = any_worker(s);

    supervisor_kill(s, host, (unsigned)dice(s, 3));
}

static void restart_agent(struct sim *s)
{
    agent_restart(s, any_worker(s));
}

static void interrupt_worker(struct sim *s)
{
    worker_interrupt(s, any_worker(s));
}

/* --- their course --- */

static void heal(struct sim *s, void *arg, unsigned cookie)
{
    network_well(s, NULL, 0);
    disk_plan(DISK_CUT, 0);
    disk_well(s, NULL, 0);
    blobs_well(s, NULL, 0);
    s->repeat = 0;
    s->server.paused_until_us = 0;
    if (!s->server.engine) {
        s->server.life++;
        server_start(s);
    }
    s->healed = true;
    history_add(&s->history, s->now, EV_HEAL);
    for (unsigned i = 0; i < s->n_hosts; i++) {
        struct host *h = &s->hosts[i];
        joined(s, h, 0);
        if (!h->worker)
            continue;
        if (!h->up)
            worker_start(s, i);
        else
            agent_restart(s, i); /* with every slot it has */
    }
}

static void strike(struct sim *s, void *arg, unsigned cookie)
{
    static void (*const kinds[])(struct sim * s) = {
        network_bad,     network_bad,   partition,        partition,    server_kill,  server_kill,
        disk_bad,        disk_bad,      disk_short,       pause_server, crash_worker, pause_worker,
        kill_supervisor, restart_agent, interrupt_worker, blobs_bad,
    };
    const struct plan *p = arg;

    if (s->now >= p->until_us) {
        after(s, 0, -1, heal, NULL, 0);
        return;
    }
    kinds[dice(s, ARRAY_LEN(kinds))](s);
    after(s, dice_us(s, p->gap_us / 8, p->gap_us), -1, strike, arg, 0);
}

void faults_start(struct sim *s, usec until_us)
{
    struct plan *p = arena_alloc(s->arena, sizeof *p);

    if (!p)
        abort();
    *p = (struct plan){until_us, dice_us(s, 10 * SEC, 80 * SEC)};
    s->repeat = (unsigned)dice(s, 12);
    s->heal_at_us = until_us;
    after(s, dice_us(s, 0, p->gap_us), -1, strike, p, 0);
}
