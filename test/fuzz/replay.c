/* Feeds a target the files of the folders that are named: the corpus as a test, without libFuzzer. */
#include "fuzz.h"
#include "base/auto.h"
#include <dirent.h>

#define INPUT_MAX (1u << 20)

static void replay(const char *path)
{
    AUTO_FILE FILE *f = fopen(path, "rb");
    AUTO_FREE uint8_t *data = malloc(INPUT_MAX);
    MUST(f && data);
    size_t n = fread(data, 1, INPUT_MAX, f);
    /* Its exact size, so that a sanitizer sees a read past the end. */
    AUTO_FREE uint8_t *exact = malloc(n ? n : 1);
    MUST(exact);
    memcpy(exact, data, n);
    fprintf(stderr, "%s\n", path); /* the last one named is the one that failed */
    LLVMFuzzerTestOneInput(exact, n);
}

int main(int argc, char **argv)
{
    size_t n = 0;
    for (int i = 1; i < argc; i++) {
        struct dirent **names = NULL;
        int found = scandir(argv[i], &names, NULL, alphasort);
        MUST(found >= 0);
        for (int k = 0; k < found; k++) {
            char path[4096];
            snprintf(path, sizeof(path), "%s/%s", argv[i], names[k]->d_name);
            if (names[k]->d_name[0] != '.') {
                replay(path);
                n++;
            }
            free(names[k]);
        }
        free(names);
    }
    MUST(n > 0); /* an empty corpus tests nothing */
    return 0;
}
