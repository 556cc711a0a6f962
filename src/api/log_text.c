#include "api/log_text.h"
#include "base/auto.h"
#include "base/text.h"

#define LOOK_US USEC_PER_SEC /* this often the store is asked, whatever the counter says */

bool log_quiet(struct log_look *look, const struct api *api, const struct uuid *job_id)
{
    uint64_t news = loop_news(api->loop, job_id);
    usec now = api->clock.boot_us(api->clock.self);
    if (news == look->news && now < look->at)
        return true;
    look->news = news; /* taken before the look, so that what comes in between is not missed */
    look->at = now + LOOK_US;
    return false;
}

int log_marker(char *p, size_t size, int64_t n)
{
    return snprintf(p, size, "\n[... haul left out %lld bytes here ...]\n", (long long)n);
}

static int64_t marker_size(const struct log_part *log)
{
    char line[LOG_TEXT_MIN];
    return log->cut_to > log->cut_from ? log_marker(line, sizeof(line), log->cut_to - log->cut_from) : 0;
}

int64_t log_text_size(const struct log_part *log)
{
    return log->total - (log->cut_to - log->cut_from) + marker_size(log);
}

void log_text_seek(struct log_text *t, const struct log_part *log, int64_t from, int64_t to)
{
    int64_t marker = marker_size(log), behind = from - log->cut_from;
    t->end = log->total;
    t->left = to - from;
    t->drop = 0;
    t->at = from;
    if (marker == 0 || behind < 0)
        return;
    t->drop = behind < marker ? behind : 0;
    t->at = behind < marker ? log->cut_from : log->cut_to + behind - marker;
}

static int64_t clip(struct log_text *t, char *buf, int64_t n)
{
    int64_t drop = MIN(t->drop, n), take = MIN(n - drop, t->left);
    if (drop > 0)
        memmove(buf, buf + drop, (size_t)take);
    t->drop -= drop;
    t->left -= take;
    return take;
}

static int unpack(struct log_text *t, const struct uuid *blob_id, struct err *err)
{
    struct blob_reader *r = NULL;
    int rc = t->api->blob_driver->open_read(t->api->blobs, blob_id, &r, err);
    return rc ? rc : packed_open(r, &t->packed, err);
}

/* In the store while it grows and when it is small; in a blob once it is packed, which may be between two pieces. */
static int part_read(struct log_text *t, char *buf, size_t max, struct log_part *ret, struct err *err)
{
    int rc = ERR_OK;
    if (!t->packed)
        rc = t->api->store_driver->log_read(t->api->store, &t->job_id, t->attempt, t->at, buf, max, ret, err);
    if (!rc && !uuid_is_nil(&ret->blob_id))
        rc = unpack(t, &ret->blob_id, err);
    if (!rc && t->packed) {
        rc = packed_read(t->packed, t->at, buf, max, ret, err);
        ret->ended = true;
    }
    return rc;
}

void log_text_release(struct log_text *t)
{
    packed_close(t->packed);
    t->packed = NULL;
}

int64_t log_text_read(struct log_text *t, char *buf, size_t max, struct err *err)
{
    struct log_part part = {0};
    if (t->end >= 0 && (int64_t)max > t->end - t->at)
        max = (size_t)MAX(t->end - t->at, 0);
    if (max == 0 || t->left <= 0)
        return -1;
    if (part_read(t, buf, max, &part, err))
        return -2;
    if (t->end >= 0 && part.at > t->end) /* it was cut since, over all that was wanted */
        return -1;
    if (part.at > t->at) {
        int n = log_marker(buf, LOG_TEXT_MIN, part.at - t->at);
        t->at = part.at;
        return clip(t, buf, n);
    }
    if (part.n == 0)
        return part.ended || t->end >= 0 ? -1 : 0;
    t->at += (int64_t)part.n;
    return clip(t, buf, (int64_t)part.n);
}
