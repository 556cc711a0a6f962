/* The contract every store keeps. Built once a driver: CONTRACT_HEADER and CONTRACT_DRIVER name it. */
#include "suite.h"
#include CONTRACT_HEADER

const struct store_driver *contract_driver;

int main(void)
{
    struct CMUnitTest all[160];
    size_t n = 0;
    const struct {
        const struct CMUnitTest *tests;
        size_t n;
    } parts[] = {{submit_tests, n_submit_tests},
                 {claim_tests, n_claim_tests},
                 {finish_tests, n_finish_tests},
                 {lease_tests, n_lease_tests},
                 {log_tests, n_log_tests},
                 {retention_tests, n_retention_tests},
                 {snapshot_tests, n_snapshot_tests},
                 {told_tests, n_told_tests},
                 {list_tests, n_list_tests},
                 {upload_tests, n_upload_tests},
                 {checkpoint_tests, n_checkpoint_tests},
                 {dead_tests, n_dead_tests},
                 {redrive_tests, n_redrive_tests},
                 {pause_tests, n_pause_tests},
                 {trace_tests, n_trace_tests},
                 {series_tests, n_series_tests},
                 {drain_tests, n_drain_tests}};

    contract_driver = CONTRACT_DRIVER();
#ifdef CONTRACT_OVERLAP
    contract_overlap = true;
#endif
#ifdef CONTRACT_FRESH
    contract_fresh = CONTRACT_FRESH;
    contract_check = CONTRACT_CHECK;
#endif
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        for (size_t k = 0; k < parts[i].n && n < ARRAY_LEN(all); k++)
            all[n++] = parts[i].tests[k];
    return _cmocka_run_group_tests(contract_driver->name, all, n, NULL, NULL);
}
