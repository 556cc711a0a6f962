#include "planted.h"
#include "base/bug.h"
#include <string.h>

#ifdef HAUL_PLANTED
const struct bug bugs[] = {
    {"skip-token-check", "core takes any token"},
    {"late-completion", "core takes a completion by an overtaken attempt"},
    {"forget-attempt", "a retry sets the attempt's number back"},
    {"lease-by-wall-clock", "leases are judged by a clock that jumps"},
    {"expire-early", "leases expire a quarter too early"},
    {"no-sync", "commits are answered before they are durable"},
    {"answer-before-sync", "a batch is answered when it is written, and synced then"},
    {"show-before-sync", "a read shows what is written and not synced yet"},
    {"ack-failed-commit", "a commit that failed is answered as done"},
    {"forget-grace", "a start writes no grace"},
    {"drop-dedup", "keys of submissions are not looked up"},
    {"no-outputs", "a completion publishes nothing"},
    {"retry-for-free", "a failure uses up no retry"},
    {"lost-is-a-failure", "a loss uses up a retry"},
    {"unconfirmed-is-lost", "a claim that never arrived counts as a loss"},
    {"lost-wake", "a back-off that ends wakes nobody"},
    {"forget-cancel", "a failing attempt forgets that it was to be cancelled"},
    {"forget-answer", "a repeated report is called stale"},
    {"trust-the-log", "a start reads what was never synced (it was so, once)"},
    {"repeat-empties-lane", "a repeated poll counts as a look into a lane (it was so, once)"},
    {"no-freeze", "a worker that cannot renew lets its handler run on (planted in the model of a worker)"},
    {"version-stands", "a change of status is no new version"},
    {"checkpoint-any-token", "a checkpoint is taken from whoever brings it"},
    {"checkpoint-late", "a checkpoint that comes late, or again, takes the place of a newer one"},
    {"checkpoint-unreferenced", "a checkpoint holds no reference to its blobs"},
    {"lose-checkpoint", "a lost attempt's checkpoint is dropped"},
    {"input-unreferenced", "a submission holds no reference to its input"},
    {"upload-stays", "an upload that became a blob still expires"},
    {"retire-early", "finished jobs are removed in half their time"},
};
const size_t n_bugs = sizeof bugs / sizeof bugs[0];

static const char *planted;

bool bug_planted(const char *name)
{
    return planted && strcmp(planted, name) == 0;
}

bool bug_plant(const char *name)
{
    planted = name;
    for (size_t i = 0; i < n_bugs; i++)
        if (!name || strcmp(bugs[i].name, name) == 0)
            return true;
    return false;
}
#else
const struct bug bugs[] = {{NULL, NULL}};
const size_t n_bugs = 0;

bool bug_plant(const char *name)
{
    return !name;
}
#endif
