#include "broker/notify/message.h"
#include "base/auto.h"
#include <ctype.h>

#define JOBS_MAX 1000000

void message_begin(struct buf *out, const char *speaker)
{
    buf_init(out, MESSAGE_BYTES_MAX + 1);
    buf_adds(out, speaker);
}

void message_hello(struct buf *out)
{
    buf_adds(out, "\nhello");
}

void message_waits(struct buf *out)
{
    buf_adds(out, "\nwaits");
}

bool message_ready(struct buf *out, const char *queue, const char *task_type, int priority, unsigned jobs)
{
    char numbers[48];
    snprintf(numbers, sizeof(numbers), "\nready\t%d\t%u\t", priority, MIN(jobs, JOBS_MAX));
    if (out->len + strlen(numbers) + strlen(queue) + 1 + strlen(task_type) > MESSAGE_BYTES_MAX)
        return false;
    buf_adds(out, numbers);
    buf_adds(out, queue);
    buf_addc(out, '\t');
    buf_adds(out, task_type);
    return true;
}

const char *message_speaker(char *text, char **ret_rest)
{
    char *speaker = strsep(&text, "\n");
    *ret_rest = text;
    if (strlen(speaker) != SPEAKER_MAX - 1)
        return NULL;
    for (const char *p = speaker; *p; p++)
        if (!isxdigit((unsigned char)*p))
            return NULL;
    return speaker;
}

static bool number(const char *text, unsigned max, unsigned *ret)
{
    char *end;
    if (!text || !isdigit((unsigned char)*text))
        return false;
    const unsigned long n = strtoul(text, &end, 10);
    *ret = (unsigned)n;
    return !*end && n <= max;
}

static bool line_read(char *text, struct line *ret)
{
    const char *word = strsep(&text, "\t");
    unsigned priority;
    *ret = (struct line){.kind = LINE_HELLO};
    if (strcmp(word, "hello") == 0)
        return true;
    ret->kind = LINE_WAITS;
    if (strcmp(word, "waits") == 0)
        return true;
    ret->kind = LINE_READY;
    if (strcmp(word, "ready") != 0 || !number(strsep(&text, "\t"), 9, &priority) ||
        !number(strsep(&text, "\t"), JOBS_MAX, &ret->jobs) || !ret->jobs)
        return false;
    ret->priority = (int)priority;
    ret->queue = strsep(&text, "\t");
    ret->task_type = strsep(&text, "\t");
    return ret->queue && *ret->queue && ret->task_type && *ret->task_type;
}

bool message_next(char **rest, struct line *ret)
{
    char *text;
    while ((text = strsep(rest, "\n")) != NULL)
        if (line_read(text, ret))
            return true;
    return false;
}
