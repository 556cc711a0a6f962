#pragma once
/* A log as text: what is kept of it, and one line for what is not. Offsets are the handler's; text is counted from where it begins. */
#include "api/api.h"
#include "engine/packed.h"

#define LOG_TEXT_MIN 256 /* the least room a read needs */

struct log_text {
    struct api *api;
    struct uuid job_id;
    uint32_t attempt;
    int64_t at, end;       /* offsets; end -1: until it ended */
    int64_t drop;          /* bytes of text not wanted at the start, */
    int64_t left;          /* and how many are wanted after those */
    struct packed *packed; /* open once the log was found packed: it is settled then */
};

/** The marker's line for `n` bytes. @return its length */
int log_marker(char *p, size_t size, int64_t n);
/** How long the text of all of it is. */
int64_t log_text_size(const struct log_part *log);
/** Puts `t` (attempt, api, job_id set) where byte `from` of that text is, to read up to byte `to`. */
void log_text_seek(struct log_text *t, const struct log_part *log, int64_t from, int64_t to);
/** Next bytes. @param max  at least LOG_TEXT_MIN  @return > 0 bytes; 0: none yet; -1: the end; -2: *err says why not */
int64_t log_text_read(struct log_text *t, char *buf, size_t max, struct err *err);
void log_text_release(struct log_text *t);

/** A follower's last look at the store: followers are many and news are rare. */
struct log_look {
    uint64_t news; /* as of then */
    usec at;       /* when to look again, on the boot clock, whatever is said; 0: at once */
};
/** Is there no reason to look again? If there is, `look` is as of now. */
bool log_quiet(struct log_look *look, const struct api *api, const struct uuid *job_id);
