/* What a handler said before it died, as a cause. */
#include "fuzz.h"
#include "core/fingerprint.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), cause[FINGERPRINT_CAUSE_MAX], one[FINGERPRINT_MAX], two[FINGERPRINT_MAX];
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
    fingerprint_make("t", OUTCOME_ERROR, text, one);
    fingerprint_make("t", OUTCOME_ERROR, text, two);
    MUST(!strcmp(one, two) && strspn(one, "0123456789abcdef") == FINGERPRINT_MAX - 1);
    free(text);
    return 0;
}
