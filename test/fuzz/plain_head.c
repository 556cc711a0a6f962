/* Heads that may pass libmicrohttpd by: what is taken apart lies within the head, without a control character. */
#include "fuzz.h"
#include "http/plain_head.h"

#include <stdlib.h>
#include <string.h>

static void check_text(const char *head, size_t n, const char *text)
{
    if (text < head || text >= head + n || text + strlen(text) >= head + n)
        abort();
    for (; *text; text++)
        if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plain_head head;
    size_t n = 0, body = 0;
    if (plain_measure((const char *)data, size, 1000, &n, &body) != PLAIN_OURS)
        return 0;
    if (n < 4 || n > size || body > 1000)
        abort();
    char *text = malloc(n + 1);
    if (!text)
        return 0;
    memcpy(text, data, n);
    text[n] = '\0';
    if (plain_read(text, n, &head) == PLAIN_OURS) {
        check_text(text, n, head.method);
        check_text(text, n, head.uri);
        for (size_t i = 0; i < head.n_lines; i++) {
            check_text(text, n, head.lines[i].name);
            check_text(text, n, head.lines[i].value);
        }
    }
    free(text);
    return 0;
}
