#include "base/compress.h"
#include <zstd.h>

#define LEVEL 3 /* zstd's own default: hundreds of MB/s, and text to a fraction */

struct zstd_packer {
    ZSTD_CCtx *context;
};

struct zstd_packer *zstd_packer_new(void)
{
    struct zstd_packer *z = calloc(1, sizeof(*z));
    if (!z)
        return NULL;
    z->context = ZSTD_createCCtx();
    if (!z->context || ZSTD_isError(ZSTD_CCtx_setParameter(z->context, ZSTD_c_compressionLevel, LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(z->context, ZSTD_c_checksumFlag, 1))) {
        zstd_packer_free(z);
        return NULL;
    }
    return z;
}

void zstd_packer_free(struct zstd_packer *z)
{
    if (!z)
        return;
    ZSTD_freeCCtx(z->context);
    free(z);
}

size_t zstd_bound(size_t n)
{
    return ZSTD_compressBound(n);
}

int zstd_pack(struct zstd_packer *z, void *to, size_t room, const void *from, size_t n, size_t *ret_n, struct err *err)
{
    size_t got = ZSTD_compress2(z->context, to, room, from, n);
    if (ZSTD_isError(got))
        return err_set(err, ERR_NO_MEMORY, 0, "compress: %s", ZSTD_getErrorName(got));
    *ret_n = got;
    return ERR_OK;
}

int zstd_unpack(void *to, size_t n, const void *from, size_t from_n, struct err *err)
{
    size_t got = ZSTD_decompress(to, n, from, from_n);
    if (ZSTD_isError(got))
        return err_set(err, ERR_CORRUPT, 0, "decompress: %s", ZSTD_getErrorName(got));
    if (got != n)
        return err_set(err, ERR_CORRUPT, 0, "decompress: %zu bytes where %zu should be", got, n);
    return ERR_OK;
}
