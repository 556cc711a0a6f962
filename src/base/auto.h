#pragma once
/* Scope-bound clean-up, and handing ownership on in one line. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void auto_free(void *p)
{
    free(*(void **)p);
}

static inline void auto_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void auto_fclose(FILE **f)
{
    if (*f)
        fclose(*f);
}

#define AUTO_FREE __attribute__((cleanup(auto_free)))
#define AUTO_FD   __attribute__((cleanup(auto_close)))
#define AUTO_FILE __attribute__((cleanup(auto_fclose)))

/* Take what `var` owns and leave it empty: `*ret_x = TAKE_PTR(x);` */
#define TAKE_PTR(var)                                                                                                  \
    ({                                                                                                                 \
        __typeof__(var) take_ = (var);                                                                                 \
        (var) = NULL;                                                                                                  \
        take_;                                                                                                         \
    })
#define TAKE_FD(var)                                                                                                   \
    ({                                                                                                                 \
        int take_ = (var);                                                                                             \
        (var) = -1;                                                                                                    \
        take_;                                                                                                         \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))
