#include "engine/packed.h"
#include "base/auto.h"
#include "base/compress.h"
#include <endian.h>
#include <errno.h>

#define SKIPPABLE 0x184D2A50u /* the first of zstd's numbers for frames that it passes over */

struct frame_head { /* little endian */
    uint32_t magic, size;
    char name[4];
    uint32_t text_n, frame_n;
    uint32_t at_low, at_high;
    uint32_t check; /* of the four numbers before it; the text has zstd's own */
};
_Static_assert(sizeof(struct frame_head) == 32, "as it lies in the blob");
static const char name[4] = {'h', 'l', 'o', 'g'};

static uint32_t head_check(const struct frame_head *h)
{
    return h->text_n ^ h->frame_n ^ h->at_low ^ h->at_high;
}

/* --- writing --- */

struct packed_writer {
    int (*write)(void *arg, const void *p, size_t n, struct err *err);
    void *arg;
    struct zstd_packer *zstd;
    int64_t at; /* of the text gathered */
    size_t n, room;
    char *text, *frame;
};

int packed_writer_new(int (*write)(void *arg, const void *p, size_t n, struct err *err), void *arg,
                      struct packed_writer **ret, struct err *err)
{
    struct packed_writer *w = calloc(1, sizeof(*w));
    if (!w)
        return err_set(err, ERR_NO_MEMORY, 0, "pack a log");
    w->write = write;
    w->arg = arg;
    w->room = zstd_bound(PACKED_FRAME_MAX);
    w->zstd = zstd_packer_new();
    w->text = malloc(PACKED_FRAME_MAX);
    w->frame = malloc(w->room);
    if (!w->zstd || !w->text || !w->frame) {
        packed_writer_free(w);
        return err_set(err, ERR_NO_MEMORY, 0, "pack a log");
    }
    *ret = w;
    return ERR_OK;
}

void packed_writer_free(struct packed_writer *w)
{
    if (!w)
        return;
    zstd_packer_free(w->zstd);
    free(w->text);
    free(w->frame);
    free(w);
}

int packed_end(struct packed_writer *w, struct err *err)
{
    size_t n = 0;
    if (w->n == 0)
        return ERR_OK;
    int rc = zstd_pack(w->zstd, w->frame, w->room, w->text, w->n, &n, err);
    struct frame_head head = {.magic = htole32(SKIPPABLE),
                              .size = htole32(sizeof(head) - 8),
                              .text_n = htole32((uint32_t)w->n),
                              .frame_n = htole32((uint32_t)n),
                              .at_low = htole32((uint32_t)w->at),
                              .at_high = htole32((uint32_t)((uint64_t)w->at >> 32))};
    memcpy(head.name, name, sizeof(name));
    head.check = head_check(&head);
    if (!rc)
        rc = w->write(w->arg, &head, sizeof(head), err);
    if (!rc)
        rc = w->write(w->arg, w->frame, n, err);
    w->at += (int64_t)w->n;
    w->n = 0;
    return rc;
}

int packed_add(struct packed_writer *w, int64_t at, const void *p, size_t n, struct err *err)
{
    const char *from = p;
    int rc = ERR_OK;
    if (at != w->at + (int64_t)w->n) {
        rc = packed_end(w, err);
        w->at = at;
    }
    while (!rc && n > 0) {
        size_t now = MIN(n, PACKED_FRAME_MAX - w->n);
        memcpy(w->text + w->n, from, now);
        w->n += now;
        from += now;
        n -= now;
        if (w->n == PACKED_FRAME_MAX)
            rc = packed_end(w, err);
    }
    return rc;
}

/* --- reading --- */

struct packed {
    struct blob_reader *blob;
    int64_t next; /* where the frame behind the one in `text` begins */
    int64_t at;
    size_t n;
    char *text, *frame;
};

int packed_open(struct blob_reader *blob, struct packed **ret, struct err *err)
{
    struct packed *p = calloc(1, sizeof(*p));
    if (p) {
        p->text = malloc(PACKED_FRAME_MAX);
        p->frame = malloc(zstd_bound(PACKED_FRAME_MAX));
    }
    if (!p || !p->text || !p->frame) {
        blob_reader_close(blob);
        packed_close(p);
        return err_set(err, ERR_NO_MEMORY, 0, "read a packed log");
    }
    p->blob = blob;
    *ret = p;
    return ERR_OK;
}

void packed_close(struct packed *p)
{
    if (!p)
        return;
    blob_reader_close(p->blob);
    free(p->text);
    free(p->frame);
    free(p);
}

static int blob_read(struct packed *p, int64_t at, void *buf, size_t n, struct err *err)
{
    for (size_t done = 0; done < n;) {
        int64_t got = p->blob->read(p->blob, at + (int64_t)done, (char *)buf + done, n - done, err);
        if (got < 0)
            return err_wrap(err, err ? (int)err->code : ERR_IO, "read a packed log");
        if (got == 0)
            return err_set(err, ERR_CORRUPT, 0, "a packed log ends in the middle of a frame");
        done += (size_t)got;
    }
    return ERR_OK;
}

struct frame {
    int64_t at, body; /* where its text belongs; where its bytes begin */
    size_t text_n, frame_n;
};

static int frame_look(struct packed *p, struct frame *ret, struct err *err)
{
    struct frame_head h;
    int rc = blob_read(p, p->next, &h, sizeof(h), err);
    if (rc)
        return rc;
    *ret = (struct frame){.at = (int64_t)((uint64_t)le32toh(h.at_high) << 32 | le32toh(h.at_low)),
                          .body = p->next + (int64_t)sizeof(h),
                          .text_n = le32toh(h.text_n),
                          .frame_n = le32toh(h.frame_n)};
    if (le32toh(h.magic) != SKIPPABLE || le32toh(h.size) != sizeof(h) - 8 || memcmp(h.name, name, sizeof(name)) != 0 ||
        h.check != head_check(&h) || ret->at < 0 || ret->text_n == 0 || ret->text_n > PACKED_FRAME_MAX ||
        ret->frame_n > zstd_bound(PACKED_FRAME_MAX) || (int64_t)ret->frame_n > p->blob->size - ret->body)
        return err_set(err, ERR_CORRUPT, 0, "a packed log has a bad frame at %lld", (long long)p->next);
    return ERR_OK;
}

/* Goes on to the frame that ends behind `offset`. *ret_found false: there is none. */
static int frame_find(struct packed *p, int64_t offset, bool *ret_found, struct err *err)
{
    *ret_found = false;
    if (offset < p->at) { /* back: from the start */
        p->next = p->at = 0;
        p->n = 0;
    }
    if (p->n > 0 && offset < p->at + (int64_t)p->n) {
        *ret_found = true;
        return ERR_OK;
    }
    while (p->next < p->blob->size) {
        struct frame f;
        int rc = frame_look(p, &f, err);
        if (rc)
            return rc;
        p->next = f.body + (int64_t)f.frame_n;
        if (f.at + (int64_t)f.text_n <= offset)
            continue;
        p->n = 0;
        rc = blob_read(p, f.body, p->frame, f.frame_n, err);
        if (!rc)
            rc = zstd_unpack(p->text, f.text_n, p->frame, f.frame_n, err);
        if (rc)
            return rc;
        p->at = f.at;
        p->n = f.text_n;
        *ret_found = true;
        return ERR_OK;
    }
    return ERR_OK;
}

int packed_read(struct packed *p, int64_t offset, void *buf, size_t max, struct log_part *ret, struct err *err)
{
    bool found;
    int rc = frame_find(p, offset, &found, err);
    ret->at = offset;
    ret->n = 0;
    if (rc || !found)
        return rc;
    ret->at = MAX(offset, p->at);
    size_t skip = (size_t)(ret->at - p->at);
    ret->n = MIN(max, p->n - skip);
    memcpy(buf, p->text + skip, ret->n);
    return ERR_OK;
}
