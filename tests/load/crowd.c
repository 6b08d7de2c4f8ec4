/*
 * Many connections that all append, and none of which may starve. The epoll loop that libmicrohttpd
 * would bring along sleeps on work when the sockets that are ready number exactly 128, 256, 512, …:
 * so exactly that many requests are put before the program while it is held, time and again.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/load/herd.h"
#include "tests/load/load.h"
#include "wal/base.h"

#define STEPS 25

/* For the proof that a stall is found: the program stops. */
struct planted_stall {
    struct program *program;
    struct herd *herd;
};

static void stall(void *context)
{
    struct planted_stall *plant = context;
    if (plant->herd->appended > 0)
        (void)kill(plant->program->pid, SIGSTOP);
}

static int crowd_of(struct program *program, const char *name, unsigned logs, unsigned count,
                    unsigned steps)
{
    const struct options *options = program->options;
    struct loop loop;
    struct herd herd;
    struct planted_stall plant = {program, &herd};
    uint64_t begun_us = clock_us();
    must(loop_open(&loop) == 0);
    int status = herd_open(&herd, program, &loop, name, logs, count);
    if (is_planted(program, "stall")) {
        herd.meanwhile = stall;
        herd.context = &plant;
    }
    for (unsigned i = 0; i < steps && status == 0; i++)
        status = herd_step(&herd);
    if (status == 0)
        status = herd_run(&herd, options->appends);
    double seconds = (double)(clock_us() - begun_us) / 1e6;
    printf("load %s: %u connections, %llu appends acknowledged, %.1f s\n", name, count,
           (unsigned long long)herd.appended, seconds);
    if (is_planted(program, "loss"))
        herd.members[count / 2].appended++;
    if (status == 0)
        status = herd_check(&herd);
    herd_close(&herd);
    loop_close(&loop);
    return status;
}

int run_crowd(struct program *program)
{
    unsigned count = program->options->connections ? program->options->connections : 2000;
    if (!files_suffice(count))
        return EXIT_SKIPPED;
    int status = program_start(program);
    if (status == 0)
        status = crowd_of(program, "crowd", 4, count, 0);
    return status == 0 ? program_stop(program) : status;
}

int run_lockstep(struct program *program)
{
    static const unsigned counts[] = {128, 256, 512};
    if (!files_suffice(512))
        return EXIT_SKIPPED;
    int status = program_start(program);
    for (size_t i = 0; i < ARRAY_SIZE(counts) && status == 0; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "lockstep-%u", counts[i]);
        status = crowd_of(program, name, 1, counts[i], STEPS);
    }
    return status == 0 ? program_stop(program) : status;
}
