#pragma once
/* What the tests of blobs share: cmocka, a folder that is gone afterwards, bytes made of a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/sha256.h"
#include "blob/blob.h"
#include "blob/folder/folder.h"
#include "blob/s3/s3.h"
#include <limits.h>

static inline void make_dir(char ret[PATH_MAX])
{
    const char *tmp = getenv("TMPDIR");

    snprintf(ret, PATH_MAX, "%s/haul-blob-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(ret));
}

static inline void drop_dir(const char *dir)
{
    struct err err = {0};

    if (fs_remove_tree(dir, &err) != ERR_OK)
        fail_msg("%s", err.msg);
}

static inline struct uuid new_id(void)
{
    return uuid_v7(clock_real().wall_us(clock_real().self), rng_real());
}

/** As much as there is, up to `n`. @return -1: it failed */
static inline int64_t read_fully(struct blob_reader *r, int64_t at, void *p, size_t n, struct err *err)
{
    size_t have = 0;

    for (int64_t k; have < n && (k = r->read(r, at + (int64_t)have, (char *)p + have, n - have, err)) != 0;) {
        if (k < 0)
            return -1;
        have += (size_t)k;
    }
    return (int64_t)have;
}

/** Bytes that no shift, cut or repeat leaves equal. */
static inline char *some_bytes(size_t n, uint64_t seed)
{
    struct rng_seeded s = {.state = seed};
    struct rng rng = rng_seeded_view(&s);
    char *p = malloc(n ? n : 1);

    assert_non_null(p);
    rng.fill(rng.self, p, n);
    return p;
}

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        struct err err = {0}; /* named by `call` */                                                                    \
        int rc_ = (call);                                                                                              \
        if (rc_ != ERR_OK)                                                                                             \
            fail_msg("%s: %d %s", #call, rc_, err.msg);                                                                \
    } while (0)
