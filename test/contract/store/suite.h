#pragma once
#include "fixture.h"

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

extern const struct CMUnitTest submit_tests[], claim_tests[], finish_tests[], lease_tests[], log_tests[],
    retention_tests[], snapshot_tests[], told_tests[], list_tests[], upload_tests[], checkpoint_tests[], dead_tests[],
    redrive_tests[], pause_tests[], trace_tests[], series_tests[], drain_tests[];
extern const size_t n_submit_tests, n_claim_tests, n_finish_tests, n_lease_tests, n_log_tests, n_retention_tests,
    n_snapshot_tests, n_told_tests, n_list_tests, n_upload_tests, n_checkpoint_tests, n_dead_tests, n_redrive_tests,
    n_pause_tests, n_trace_tests, n_series_tests, n_drain_tests;
