/* What the chaos run's jobs do: small steps, each stamped with CLOCK_BOOTTIME into a file that the harness reads, so that it is known who ran
 * when; notes of them in checkpoint/; and a result that the harness can tell beforehand. A child stamps, too: the whole tree is watched.
 *
 *   chaos-handler STAMPS, with a payload {"steps": N, "fail": ATTEMPTS} */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define STEP_MS          100
#define CHECKPOINT_STEPS 4

static int stamps;

static const char *variable(const char *name)
{
    const char *v = getenv(name);

    return v ? v : "";
}

/* One line in one write: others append to the same file. */
static void stamp(const char *what, int64_t step)
{
    struct timespec t;
    char line[256];

    clock_gettime(CLOCK_BOOTTIME, &t);
    const int64_t us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
    int n =
        snprintf(line, sizeof line,
                 "{\"job\":\"%s\",\"attempt\":%s,\"what\":\"%s\",\"pid\":%d,\"step\":%" PRId64 ",\"t\":%" PRId64 "}\n",
                 variable("HAUL_JOB_ID"), variable("HAUL_ATTEMPT"), what, (int)getpid(), step, us);
    if (n <= 0 || (size_t)n >= sizeof line || write(stamps, line, (size_t)n) != n)
        exit(70);
}

static void nap(void)
{
    const struct timespec t = {0, STEP_MS * 1000000L};

    nanosleep(&t, NULL);
}

/* Stamps until it is ended with the rest. */
static _Noreturn void child_run(void)
{
    for (;;) {
        nap();
        stamp("alive", -1);
    }
}

static int64_t step_read(void)
{
    FILE *from = fopen("checkpoint/step", "r");
    int64_t step = 0;

    if (!from)
        return 0;
    if (fscanf(from, "%" SCNd64, &step) != 1)
        step = 0;
    fclose(from);
    return step;
}

/* Whole or not at all: it may be sent at any moment. */
static void step_note(int64_t step)
{
    FILE *to = fopen("checkpoint/step.new", "w");

    if (!to)
        exit(71);
    fprintf(to, "%" PRId64 "\n", step);
    if (fclose(to) || rename("checkpoint/step.new", "checkpoint/step"))
        exit(71);
}

/* Has the notes kept, so that the next attempt goes on from them. */
static void checkpoint_say(void)
{
    static const char line[] = "checkpoint\n";

    (void)!write((int)strtol(variable("HAUL_REPORT_FD"), NULL, 10), line, sizeof line - 1);
}

/* The job's id, and what its input holds. */
static void result_write(void)
{
    FILE *to = fopen("out/result", "w"), *from = fopen("in/data", "r");
    char piece[4096];
    size_t n;

    if (!to)
        exit(72);
    fprintf(to, "%s\n", variable("HAUL_JOB_ID"));
    while (from && (n = fread(piece, 1, sizeof piece, from)) > 0)
        fwrite(piece, 1, n, to);
    if (from)
        fclose(from);
    if (fclose(to))
        exit(72);
}

int main(int argc, char **argv)
{
    json_t *payload = json_load_file("payload.json", 0, NULL);
    const int64_t steps = json_integer_value(json_object_get(payload, "steps"));
    const bool fails =
        strtoll(variable("HAUL_ATTEMPT"), NULL, 10) <= json_integer_value(json_object_get(payload, "fail"));
    int64_t step = step_read();

    json_decref(payload);
    stamps = argc == 2 ? open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (stamps < 0)
        return 73;
    stamp("start", step);
    if (fork() == 0)
        child_run();
    for (; step < steps; step++) {
        nap();
        stamp("alive", step);
        step_note(step + 1);
        if (step % CHECKPOINT_STEPS == CHECKPOINT_STEPS - 1)
            checkpoint_say();
        if (fails && step >= steps / 2)
            return 1;
    }
    result_write();
    stamp("end", step);
    return 0;
}
