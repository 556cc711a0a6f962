/* Parameters of a statement, as PostgreSQL takes them. */
#include "store/postgres/statement.h"
#include <endian.h>

/* pg_type.dat */
enum {
    OID_BOOL = 16,
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_FLOAT8 = 701,
    OID_UUID = 2950
};

static void param(struct params *p, Oid type, const void *value, size_t n, bool binary)
{
    p->types[p->n] = type;
    p->values[p->n] = value;
    p->lengths[p->n] = (int)n;
    p->formats[p->n] = binary;
    p->n++;
}

static void number(struct params *p, Oid type, uint64_t bits)
{
    p->numbers[p->n] = htobe64(bits);
    param(p, type, &p->numbers[p->n], sizeof(bits), true);
}

bool params_read(struct params *p, const char *types, va_list ap)
{
    p->n = 0;
    for (; *types && p->n < PARAMS_MAX; types++)
        switch (*types) {
        case 'i':
            number(p, OID_INT8, (uint64_t)va_arg(ap, int64_t));
            break;
        case 'z': {
            int64_t v = va_arg(ap, int64_t);
            number(p, OID_INT8, (uint64_t)v);
            if (v == 0)
                p->values[p->n - 1] = NULL;
            break;
        }
        case 'd': {
            double v = va_arg(ap, double);
            uint64_t bits;
            memcpy(&bits, &v, sizeof(bits));
            number(p, OID_FLOAT8, bits);
            break;
        }
        case 't': {
            const char *s = va_arg(ap, const char *);
            param(p, OID_TEXT, s, s ? strlen(s) : 0, false);
            break;
        }
        case 'x': {
            const char *s = va_arg(ap, const char *);
            param(p, OID_BYTEA, s, s ? strlen(s) : 0, true);
            break;
        }
        case 'b': {
            const void *b = va_arg(ap, const void *);
            size_t n = va_arg(ap, size_t);
            param(p, OID_BYTEA, b, n, true);
            break;
        }
        case 'u': {
            const struct uuid *u = va_arg(ap, const struct uuid *);
            param(p, OID_UUID, uuid_is_nil(u) ? NULL : u->b, 16, true);
            break;
        }
        default:
            return false;
        }
    return *types == 0;
}

/* --- arrays, in PostgreSQL's binary form --- */

#define COLUMN_MAX (256u * 1024 * 1024)
#define HEADER     20

static Oid array_of(Oid type)
{
    switch (type) {
    case OID_INT8:
        return 1016;
    case OID_FLOAT8:
        return 1022;
    case OID_UUID:
        return 2951;
    case OID_BYTEA:
        return 1001;
    default:
        return 1009; /* text */
    }
}

void arrays_release(struct arrays *a)
{
    for (int i = 0; i < a->n; i++)
        buf_release(&a->column[i]);
    *a = (struct arrays){0};
}

static void add_u32(struct buf *b, uint32_t v)
{
    v = htobe32(v);
    buf_add(b, &v, sizeof(v));
}

void arrays_add(struct arrays *a, const struct params *p)
{
    if (a->rows == 0) {
        a->n = p->n;
        for (int i = 0; i < p->n; i++) {
            a->types[i] = p->types[i];
            buf_init(&a->column[i], COLUMN_MAX);
            buf_add(&a->column[i], (const char[HEADER]){0}, HEADER);
        }
    }
    for (int i = 0; i < p->n; i++) {
        struct buf *b = &a->column[i];
        add_u32(b, p->values[i] ? (uint32_t)p->lengths[i] : UINT32_MAX);
        if (p->values[i])
            buf_add(b, p->values[i], (size_t)p->lengths[i]);
        a->bytes += p->values[i] ? (size_t)p->lengths[i] : 0;
    }
    a->rows++;
}

bool arrays_params(struct arrays *a, struct params *ret)
{
    ret->n = 0;
    for (int i = 0; i < a->n; i++) {
        /* dimensions, may have NULLs, element type, elements, the first one's number */
        const uint32_t header[] = {htobe32(1), htobe32(1), htobe32(a->types[i]), htobe32(a->rows), htobe32(1)};
        struct buf *b = &a->column[i];
        if (b->failed)
            return false;
        memcpy(b->data, header, HEADER);
        param(ret, array_of(a->types[i]), b->data, b->len, true);
    }
    return true;
}
