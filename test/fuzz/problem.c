/* What a server (or whatever answers in its place) sends to the client as an error. */
#include "fuzz.h"
#include "base/text.h"
#include "client/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct haul_error e;
    error_from_answer(&e, 503, (const char *)data, size, 1);
    MUST(e.rc == HAUL_REFUSED && e.status == 503);
    MUST(e.message[0] && e.code[0]);
    MUST(strlen(e.message) < sizeof(e.message));
    return 0;
}
