/* What a handler said before it died, as a cause. */
#include "fuzz.h"
#include "core/fingerprint.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), cause[FINGERPRINT_CAUSE_MAX], hex[FINGERPRINT_MAX];
    MUST(text);
    memcpy(text, data, size);
    text[size] = '\0';
    fingerprint_cause(text, cause);
    MUST(strlen(cause) < sizeof(cause) && !strchr(cause, '/'));
    size_t digits = 0;
    for (const char *p = cause; *p; p++) {
        digits = isdigit((unsigned char)*p) ? digits + 1 : 0;
        MUST(digits <= 3 && *p != '\n');
    }
    const uint64_t one = fingerprint_make("t", OUTCOME_ERROR, text);
    uint64_t two = 0;
    MUST(one && one == fingerprint_make("t", OUTCOME_ERROR, text));
    fingerprint_format(one, hex);
    MUST(fingerprint_parse(hex, &two) && one == two);
    MUST(!fingerprint_parse(text, &two) || strlen(text) == FINGERPRINT_MAX - 1);
    free(text);
    return 0;
}
