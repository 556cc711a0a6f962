/* What a server (or whatever answers in its place) sends to bench's workers as claims. */
#include "fuzz.h"
#include "bench/form.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct names names = {.host = "h", .type = "t", .queue = "q", .run = "0123456789abcdef"};
    struct claim c;
    size_t pos = 0, before = 0;
    while (claim_next((const char *)data, size, &names, &pos, &c) == 1) {
        MUST(pos > before && pos <= size);
        MUST(strlen(c.job_id) == 36 && c.token[0] && strlen(c.token) < sizeof(c.token) && c.attempt > 0);
        before = pos;
    }
    return 0;
}
