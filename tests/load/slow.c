/*
 * A thousand connections that are silent, or stop in the middle of a request, or send a byte now
 * and then, beside a few polite ones: these have to get on. How fast is printed and not asserted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/load/herd.h"
#include "tests/load/load.h"
#include "wal/base.h"

#define POLITE 16u
#define PHASE_US (3 * SECOND_US)

enum slowness { SILENT, HALF_LINE, HALF_HEAD, HALF_BODY, SLOWNESS_COUNT };

struct slow {
    struct crowd *crowd;
    struct client client;
    enum slowness slowness;
};

struct crowd {
    struct program *program;
    unsigned count;
    struct slow *slow;
    uint64_t second_us; /* when the next byte is due */
    unsigned bytes;     /* dribbled */
    unsigned closed;    /* by the program, and opened again */
};

static const char *const beginnings[SLOWNESS_COUNT] = {
    [SILENT] = "",
    [HALF_LINE] = "POST /logs/slo",
    [HALF_HEAD] = "POST /logs/slow HTTP/1.1\r\nHost: localhost\r\nContent-Le",
    [HALF_BODY] = "POST /logs/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n"
                  "half of a body",
};

static void begin_slowly(struct slow *slow)
{
    const char *beginning = beginnings[slow->slowness];
    if (client_connect(&slow->client, slow->crowd->program->port, 0) == 0 && beginning[0])
        client_write(&slow->client, beginning, strlen(beginning));
}

/* It may be told that it is too slow, and be closed. */
static void ignore_answer(struct client *client, const struct answer *answer)
{
}

static void count_closed(struct client *client, int error)
{
    struct slow *slow = client->owner;
    slow->crowd->closed++;
}

static void open_slow(struct crowd *crowd, struct program *program, struct loop *loop,
                      unsigned count)
{
    *crowd = (struct crowd){.program = program, .count = count};
    crowd->slow = calloc(count, sizeof(*crowd->slow));
    must(crowd->slow);
    for (unsigned i = 0; i < count; i++) {
        struct slow *slow = &crowd->slow[i];
        slow->crowd = crowd;
        slow->slowness = i % SLOWNESS_COUNT;
        client_init(&slow->client, loop, ignore_answer, count_closed, slow);
        begin_slowly(slow);
    }
    crowd->second_us = clock_us() + SECOND_US;
}

static void close_slow(struct crowd *crowd)
{
    for (unsigned i = 0; i < crowd->count; i++)
        client_done(&crowd->slow[i].client);
    free(crowd->slow);
}

/* Once a second each half body gets one byte longer, and who was closed comes again. */
static void dribble(void *context)
{
    struct crowd *crowd = context;
    if (clock_us() < crowd->second_us)
        return;
    crowd->second_us += SECOND_US;
    for (unsigned i = 0; i < crowd->count; i++) {
        struct slow *slow = &crowd->slow[i];
        if (!client_is_open(&slow->client))
            begin_slowly(slow);
        else if (slow->slowness == HALF_BODY)
            client_write(&slow->client, ".", 1);
        crowd->bytes += slow->slowness == HALF_BODY;
    }
}

/* Rounds of appends for at least PHASE_US. Returns an exit status. */
static int measure(struct herd *herd, double *ret_rate)
{
    uint64_t begun_us = clock_us(), appended = herd->appended;
    int status = 0;
    while (status == 0 && clock_us() - begun_us < PHASE_US)
        status = herd_run(herd, herd->program->options->appends);
    *ret_rate = (double)(herd->appended - appended) * 1e6 / (double)(clock_us() - begun_us);
    return status;
}

/* Nothing of the half requests may have become a log. */
static int check_nothing_slow(const struct program *program)
{
    struct client client;
    struct answer answer = {0};
    client_init(&client, NULL, NULL, NULL, NULL);
    int rc = client_connect(&client, program->port, 0);
    if (rc == 0) {
        client_get(&client, "/logs/slow/offsets");
        rc = client_ask(&client, &answer);
    }
    client_done(&client);
    if (rc == 0 && answer.status == 404)
        return 0;
    complain("half a request was taken for one: /logs/slow/offsets answers %u", answer.status);
    return EXIT_VIOLATION;
}

static int beside_slow(struct program *program, struct herd *herd, struct loop *loop,
                       unsigned count)
{
    struct crowd crowd;
    double alone, beside = 0;
    int status = measure(herd, &alone);
    if (status != 0)
        return status;
    unsigned files = program_files(program);

    open_slow(&crowd, program, loop, count);
    herd->meanwhile = dribble;
    herd->context = &crowd;
    status = measure(herd, &beside);
    if (status == 0)
        status = check_nothing_slow(program);
    herd->meanwhile = NULL;
    unsigned held = program_files(program);
    close_slow(&crowd);
    printf("load slow: %u polite clients made %.0f appends/s alone and %.0f beside %u slow ones, "
           "ratio %.2f; %u bytes dribbled, %u connections closed by the program, %u files\n",
           POLITE, alone, beside, count, alone > 0 ? beside / alone : 0, crowd.bytes, crowd.closed,
           held);
    return status == 0 ? program_files_return(program, files) : status;
}

int run_slow(struct program *program)
{
    unsigned count = program->options->connections ? program->options->connections : 1000;
    struct loop loop;
    struct herd herd;
    if (!files_suffice(count + POLITE))
        return EXIT_SKIPPED;
    int status = program_start(program);
    if (status != 0)
        return status;
    must(loop_open(&loop) == 0);
    status = herd_open(&herd, program, &loop, "polite", 4, POLITE);
    if (status == 0)
        status = beside_slow(program, &herd, &loop, count);
    if (status == 0)
        status = herd_check(&herd);
    herd_close(&herd);
    loop_close(&loop);
    return status == 0 ? program_stop(program) : status;
}
