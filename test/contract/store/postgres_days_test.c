/* History and its attempts lie by the day of finishing: the tables are made ahead and dropped when they are empty, and a job is found whatever
 * table has it. */
#include "fixture.h"
#include "fresh_postgres.h"
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdlib.h>

const struct store_driver *contract_driver;

#define DAY_US (INT64_C(24) * 3600 * USEC_PER_SEC)

/** Ids are made by the store's time, as a server's are. */
static int days_setup(void **state)
{
    int rc = world_setup(state);
    struct world *w = *state;

    w->clock.wall_us = w->d->now(w->s);
    return rc;
}

static const char *const of_days[] = {"history", "attempts"};

static void pass(struct world *w)
{
    struct err err = {0};

    if (store_postgres_days(w->s, &err) != ERR_OK)
        fail_msg("days: %s", err.msg);
}

static struct job finished(struct world *w)
{
    submit(w, "encode");
    struct job job = claim(w, w->worker, "encode");
    struct op *op = complete_op(w, &job, NULL, 0);
    applied(w, op);
    return get(w, job.job_id);
}

static int64_t in_default(void)
{
    return ask("SELECT count(*) FROM history_default");
}

/** To ten o'clock of the day in so many days. */
static void to_day(struct world *w, unsigned days)
{
    usec now = w->d->now(w->s);

    later(w, now - now % DAY_US + (usec)days * DAY_US + 10 * DAY_US / 24 - now);
}

static bool gone(struct world *w, struct uuid id)
{
    struct job job;

    return w->d->job_get(w->s, "default", &id, w->arena, &job, NULL) == ERR_NOT_FOUND;
}

/** All jobs, in pages of `limit`: newest first, each once. */
static void assert_list(struct world *w, const struct job *jobs, size_t n, unsigned limit)
{
    struct job_filter f = {.project = "default", .status = -1, .limit = limit};
    struct job_page page = {.more = true};
    size_t at = 0;

    for (unsigned pages = 0; page.more; pages++) {
        struct err err = {0};
        if (w->d->job_list(w->s, &f, w->arena, &page, &err) != ERR_OK)
            fail_msg("list: %s", err.msg);
        for (size_t i = 0; i < page.n; i++, at++) {
            assert_true(at < n);
            assert_true(uuid_equal(&page.jobs[i].job_id, &jobs[n - 1 - at].job_id));
        }
        f.before = page.next;
        assert_true(pages < 100);
    }
    assert_int_equal(at, n);
}

static void test_tables_are_made_ahead(void **state)
{
    struct world *w = *state;
    const usec now = w->d->now(w->s);

    assert_int_equal(ask("SELECT count(*) FROM days WHERE of_table = 'history' AND first <= %" PRId64
                         " AND until > %" PRId64,
                         now, now),
                     1);
    assert_true(ask("SELECT max(until) FROM days") > now + 3 * DAY_US);
    assert_int_equal(ask("SELECT count(*) FROM days a WHERE EXISTS (SELECT 1 FROM days b WHERE b.of_table = a.of_table"
                         " AND b.first <> a.first AND b.first < a.until AND b.until > a.first)"),
                     0);
    int64_t made = ask("SELECT count(*) FROM days");
    pass(w);
    assert_int_equal(ask("SELECT count(*) FROM days"), made);
    finished(w);
    to_day(w, 1);
    pass(w);
    assert_true(ask("SELECT count(*) FROM days") > made);
    finished(w);
    assert_int_equal(in_default(), 0);
    assert_int_equal(ask("SELECT count(DISTINCT tableoid) FROM history"), 2);
}

/* Whose id is of the day, and whose is of another: from one pages to the next nothing is lost, and nothing comes twice. */
static void test_jobs_of_many_days_are_found_and_listed_in_order(void **state)
{
    struct world *w = *state;
    struct job jobs[24];
    size_t n = 0;

    struct job slow = jobs[n++] = submit(w, "slow");
    struct job cancelled = jobs[n++] = submit(w, "slow");
    for (unsigned day = 0; day < 10; day++) {
        jobs[n++] = finished(w);
        jobs[n++] = finished(w);
        to_day(w, day == 6 ? 9 : 1);
        pass(w);
    }
    struct op *cancel = job_op(w, OP_CANCEL, cancelled.job_id);
    applied(w, cancel);
    struct job taken = claim(w, w->worker, "slow");
    struct op *done = complete_op(w, &taken, NULL, 0);
    applied(w, done);
    jobs[n++] = finished(w);
    assert_int_equal(in_default(), 0);
    assert_true(ask("SELECT count(DISTINCT tableoid) FROM history") > 8);
    for (size_t i = 0; i < n; i++)
        assert_true(job_finished(get(w, jobs[i].job_id).status));
    for (unsigned limit = 1; limit <= 64; limit *= 4)
        assert_list(w, jobs, n, limit);
    /* From history to jobs and back, days later: its row is in one place only. */
    struct op *retry = job_op(w, OP_RETRY, cancelled.job_id);
    applied(w, retry);
    assert_list(w, jobs, n, 3);
    to_day(w, 1);
    pass(w);
    cancel = job_op(w, OP_CANCEL, cancelled.job_id);
    applied(w, cancel);
    struct op *again = complete_op(w, &taken, NULL, 0); /* said before */
    applied(w, again);
    assert_int_equal(get(w, slow.job_id).status, JOB_SUCCESS);
    assert_list(w, jobs, n, 3);
    assert_int_equal(ask("SELECT count(*) FROM history"), n);
    assert_int_equal(ask("SELECT count(DISTINCT job_id) FROM history"), n);
    assert_counts(w);
}

static void test_a_search_by_time_looks_at_every_day_it_asks_for(void **state)
{
    struct world *w = *state;
    struct job jobs[40];
    size_t n = 0;

    for (; n < ARRAY_LEN(jobs); n++) {
        jobs[n] = finished(w);
        to_day(w, n == 20 ? 200 : 1);
    }
    for (size_t i = 0; i + 10 < n; i += 7) {
        struct job_filter f = {.project = "default",
                               .status = JOB_SUCCESS,
                               .limit = 1000,
                               .created_after = jobs[i].created_at,
                               .created_before = jobs[i + 10].created_at};
        struct job_page page;
        assert_int_equal(w->d->job_list(w->s, &f, w->arena, &page, NULL), ERR_OK);
        assert_int_equal(page.n, 10);
        assert_true(uuid_equal(&page.jobs[9].job_id, &jobs[i].job_id));
    }
}

static void test_a_day_past_retention_is_dropped(void **state)
{
    struct world *w = *state;

    struct job old = finished(w);
    to_day(w, 1);
    pass(w);
    struct job young = finished(w);
    const int64_t first = ask("SELECT min(first) FROM days");
    later(w, w->policy.retention_us - DAY_US / 3); /* its day is over, with an hour to spare; the second one's is not */
    pass(w);                                       /* nobody swept yet: it is not empty */
    assert_int_equal(ask("SELECT min(first) FROM days"), first);
    assert_int_equal(get(w, old.job_id).status, JOB_SUCCESS);
    while (sweep(w, OP_SWEEP_RETENTION)->u.sweep.more)
        ;
    assert_true(gone(w, old.job_id));
    assert_int_equal(get(w, young.job_id).status, JOB_SUCCESS);
    pass(w);
    assert_int_equal(ask("SELECT min(first) FROM days"), first + DAY_US);
    for (size_t i = 0; i < ARRAY_LEN(of_days); i++)
        assert_int_equal(ask("SELECT count(*) FROM pg_class WHERE relname LIKE '%s_2%%' AND relkind = 'r'", of_days[i]),
                         ask("SELECT count(*) FROM days WHERE of_table = '%s'", of_days[i]));
    assert_int_equal(ask("SELECT count(*) FROM attempts"), 1);
    assert_int_equal(get(w, young.job_id).status, JOB_SUCCESS);
    assert_counts(w);
}

static void test_what_has_no_day_is_kept_found_and_retired_all_the_same(void **state)
{
    struct world *w = *state;
    const usec keep = w->policy.retention_us;

    to_day(w, 20); /* nobody made tables meanwhile */
    struct job job = finished(w);
    assert_int_equal(in_default(), 1);
    pass(w); /* makes none over it */
    assert_int_equal(in_default(), 1);
    struct job second = finished(w);
    assert_int_equal(in_default(), 2);
    to_day(w, 1);
    struct job third = finished(w);
    assert_int_equal(in_default(), 2); /* the next day has one */
    struct job jobs[] = {job, second, third};
    assert_list(w, jobs, 3, 1);
    assert_list(w, jobs, 3, 10);
    later(w, keep - DAY_US / 2);
    while (sweep(w, OP_SWEEP_RETENTION)->u.sweep.more)
        ;
    assert_true(gone(w, job.job_id));
    assert_true(gone(w, second.job_id));
    assert_int_equal(get(w, third.job_id).status, JOB_SUCCESS);
    assert_int_equal(in_default(), 0);
    assert_counts(w);
}

/* P17. Whoever reads for an hour has locks that a day's end needs, and its beginning. */
static void test_P17_a_long_reader_delays_nobody_but_the_tables(void **state)
{
    struct world *w = *state;
    struct err err = {0};

    struct job old = finished(w);
    later(w, w->policy.retention_us + 2 * DAY_US);
    while (sweep(w, OP_SWEEP_RETENTION)->u.sweep.more)
        ;
    assert_true(gone(w, old.job_id));
    struct job job = {0};
    for (size_t i = 0; i < ARRAY_LEN(of_days); i++) {
        char count[64], days_of[96];
        PGconn *reader = connect_other();
        snprintf(count, sizeof(count), "SELECT count(*) FROM %s", of_days[i]);
        snprintf(days_of, sizeof(days_of), "SELECT count(*) FROM days WHERE of_table = '%s'", of_days[i]);
        ask_on(reader, "BEGIN ISOLATION LEVEL REPEATABLE READ");
        ask_on(reader, count);
        const int64_t days = ask_on(reader, days_of);
        assert_int_equal(store_postgres_days(w->s, &err), ERR_BUSY);
        err_clear(&err);
        job = finished(w);
        assert_int_equal(get(w, job.job_id).status, JOB_SUCCESS);
        assert_int_equal(ask("%s", days_of), days);
        ask_on(reader, "COMMIT");
        PQfinish(reader);
    }
    pass(w);
    assert_int_equal(
        ask("SELECT count(*) FROM days WHERE until <= %" PRId64, w->d->now(w->s) - w->policy.retention_us - DAY_US), 0);
    assert_int_equal(get(w, job.job_id).status, JOB_SUCCESS);
    assert_counts(w);
}

/* The end of a process between the two steps; and a row that should not be there is not lost. */
static void test_a_drop_that_was_cut_off_goes_on(void **state)
{
    struct world *w = *state;
    char names[ARRAY_LEN(of_days)][64];
    PGconn *pg = connect_other();

    struct job job = finished(w);
    for (size_t i = 0; i < ARRAY_LEN(of_days); i++) {
        char sql[128];
        snprintf(sql, sizeof(sql), "SELECT tableoid::regclass FROM %s", of_days[i]);
        PGresult *res = PQexec(pg, sql);
        snprintf(names[i], sizeof(names[i]), "%s", PQgetvalue(res, 0, 0));
        PQclear(res);
        ask("ALTER TABLE %s DETACH PARTITION %s", of_days[i], names[i]);
    }
    PQfinish(pg);
    ask("UPDATE days SET detached = 1 WHERE first = (SELECT min(first) FROM days)");
    assert_true(gone(w, job.job_id));
    pass(w);
    assert_int_equal(get(w, job.job_id).status, JOB_SUCCESS);
    assert_int_equal(attempt_of(w, job.job_id, 1).outcome, OUTCOME_SUCCESS);
    for (size_t i = 0; i < ARRAY_LEN(of_days); i++)
        assert_int_equal(ask("SELECT count(*) FROM pg_class WHERE relname = '%s'", names[i]), 0);
    assert_int_equal(ask("SELECT count(*) FROM days WHERE detached <> 0"), 0);
    assert_counts(w);
}

static void test_who_keeps_jobs_for_ever_has_wide_tables(void **state)
{
    struct world *w = *state;

    w->policy.retention_us = 0;
    world_reopen(w);
    for (unsigned i = 0; i < 10; i++) {
        finished(w);
        to_day(w, 50);
        pass(w);
    }
    assert_true(ask("SELECT count(*) FROM days WHERE of_table = 'attempts'") < 40);
    assert_int_equal(ask("SELECT max(until - first) FROM days"), 28 * DAY_US);
    assert_int_equal(ask("SELECT count(*) FROM history"), 10);
}

static int64_t lying(struct uuid id, const char *where)
{
    char text[UUID_STR_MAX];

    uuid_format(&id, text);
    return ask("SELECT count(*) FROM attempts WHERE job_id = '%s' AND tableoid::regclass::text %s", text, where);
}

static void fails(struct world *w, const struct job *job)
{
    struct op *op = fail_op(w, job, OUTCOME_ERROR, false);

    applied(w, op);
    later(w, w->policy.retention_us / 10); /* longer than any pause between two attempts */
}

/* All of them, to its day and back, whatever way a job ends; and with it they are deleted. */
static void test_attempts_go_where_their_job_goes(void **state)
{
    struct world *w = *state;

    submit(w, "encode");
    struct job twice = claim(w, w->worker, "encode");
    fails(w, &twice);
    sweep(w, OP_SWEEP_DUE);
    twice = claim(w, w->worker, "encode");
    assert_int_equal(lying(twice.job_id, "= 'attempts_live'"), 2);
    to_day(w, 1);
    pass(w);
    applied(w, complete_op(w, &twice, NULL, 0));
    assert_int_equal(lying(twice.job_id, "LIKE 'attempts_2%%'"), 2);

    submit(w, "other");
    struct job back = claim(w, w->worker, "other");
    fails(w, &back);
    to_day(w, 1);
    pass(w);
    applied(w, job_op(w, OP_CANCEL, back.job_id));
    assert_int_equal(get(w, back.job_id).status, JOB_CANCELLED);
    assert_int_equal(lying(back.job_id, "LIKE 'attempts_2%%'"), 1);
    applied(w, job_op(w, OP_RETRY, back.job_id));
    assert_int_equal(lying(back.job_id, "= 'attempts_live'"), 1);
    back = claim(w, w->worker, "other");
    applied(w, job_op(w, OP_CANCEL, back.job_id));
    later(w, 10 * w->policy.retention_us); /* nobody reports: the lease lapses */
    sweep(w, OP_SWEEP_LEASES);
    assert_int_equal(get(w, back.job_id).status, JOB_CANCELLED);
    assert_int_equal(lying(back.job_id, "<> 'attempts_live'"), 2);
    assert_int_equal(attempt_of(w, back.job_id, 1).outcome, OUTCOME_ERROR);
    while (sweep(w, OP_SWEEP_RETENTION)->u.sweep.more)
        ;
    assert_true(gone(w, twice.job_id));
    assert_int_equal(lying(twice.job_id, "IS NOT NULL"), 0);
    applied(w, job_op(w, OP_DISCARD, back.job_id));
    assert_int_equal(ask("SELECT count(*) FROM attempts"), 0);
    assert_counts(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tables_are_made_ahead, days_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_jobs_of_many_days_are_found_and_listed_in_order, days_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_a_search_by_time_looks_at_every_day_it_asks_for, days_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_a_day_past_retention_is_dropped, days_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_what_has_no_day_is_kept_found_and_retired_all_the_same, days_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_P17_a_long_reader_delays_nobody_but_the_tables, days_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_a_drop_that_was_cut_off_goes_on, days_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_attempts_go_where_their_job_goes, days_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_who_keeps_jobs_for_ever_has_wide_tables, days_setup, world_teardown),
    };

    contract_driver = store_postgres();
    contract_fresh = fresh_postgres;
    contract_check = check_postgres;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
