/*
 * What clients can make the program hold in memory stays below what its limits allow:
 *
 *   deaf       clients ask for pages of a megabyte, many in a row, and read none of them: each
 *              costs one answer at most, however many it has asked for;
 *   announced  clients announce the largest body and send one byte of it: an announcement is free;
 *   unfinished clients send all of such a body but for its last byte: all bodies together have a
 *              limit, beyond which requests are refused.
 *
 * Meanwhile polite clients get on. The bounds are of what comes on top of the memory before.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/load/herd.h"
#include "tests/load/load.h"
#include "wal/base.h"

#define MIB (UINT64_C(1) << 20)
#define RECORD_BYTES_MAX MIB         /* --max-record-bytes as it is by default */
#define OWN_BODY_BYTES (16u << 10)   /* what each body may hold in any case */
#define BODY_BYTES_TOTAL (256 * MIB) /* of all bodies at a time */
#define CONNECTION_BYTES (32u << 10) /* its own memory of 8 KiB, its request, and their keeping */
#define ANSWER_BYTES (2 * MIB)       /* a page of 1 MiB and a record, in a buffer that doubles */
#define SPARE_BYTES (96 * MIB)       /* batches, the allocator's waste, what polite clients need */
#define PIPELINED 16u
#define POLITE 8u
#define PAGE_RECORDS 64u
#define PAGE_RECORD_BYTES (32u << 10)
#define QUIET_US (3 * SECOND_US)
#define PHASE_US_MAX (60 * SECOND_US)

struct greedy {
    struct client client;
    struct scene *scene;
};

struct scene {
    struct program *program;
    struct loop loop;
    struct herd herd;
    struct greedy *greedy;
    unsigned count;
    unsigned answered, refused, closed;
    uint64_t peak_bytes, sample_us;
    size_t unsent_bytes; /* that the program did not take */
};

static void sample(void *context)
{
    struct scene *scene = context;
    if (clock_us() < scene->sample_us)
        return;
    scene->peak_bytes = max_u64(scene->peak_bytes, program_memory(scene->program));
    scene->sample_us = clock_us() + SECOND_US / 50;
}

static void count_answer(struct client *client, const struct answer *answer)
{
    struct greedy *greedy = client->owner;
    greedy->scene->answered++;
    greedy->scene->refused += answer->status >= 400;
}

static void count_closed(struct client *client, int error)
{
    struct greedy *greedy = client->owner;
    greedy->scene->closed++;
}

static int open_greedy(struct scene *scene, unsigned count, int window, bool deaf)
{
    scene->greedy = calloc(count, sizeof(*scene->greedy));
    must(scene->greedy);
    scene->count = count;
    scene->answered = scene->refused = scene->closed = 0;
    for (unsigned i = 0; i < count; i++) {
        struct greedy *greedy = &scene->greedy[i];
        greedy->scene = scene;
        client_init(&greedy->client, &scene->loop, count_answer, count_closed, greedy);
    }
    for (unsigned i = 0; i < count; i++) {
        client_set_deaf(&scene->greedy[i].client, deaf);
        int rc = client_connect(&scene->greedy[i].client, scene->program->port, window);
        if (rc < 0) {
            complain("connection %u of %u: %s", i, count, strerror(-rc));
            return EXIT_TROUBLE;
        }
    }
    return 0;
}

static void close_greedy(struct scene *scene)
{
    scene->unsent_bytes = 0;
    for (unsigned i = 0; i < scene->count; i++) {
        scene->unsent_bytes += client_unsent(&scene->greedy[i].client);
        client_done(&scene->greedy[i].client);
    }
    free(scene->greedy);
    scene->greedy = NULL;
}

/* ---- what they do ---- */

static void ask_and_not_read(struct greedy *greedy)
{
    for (unsigned i = 0; i < PIPELINED; i++)
        client_get(&greedy->client, "/logs/pages/records?limit=1000");
}

static void announce(struct greedy *greedy)
{
    char head[128];
    int bytes = snprintf(head, sizeof(head),
                         "POST /logs/announced HTTP/1.1\r\nHost: localhost\r\n"
                         "Content-Length: %llu\r\n\r\nx",
                         (unsigned long long)RECORD_BYTES_MAX);
    client_write(&greedy->client, head, (size_t)bytes);
}

static void leave_unfinished(struct greedy *greedy)
{
    static const char piece[64u << 10];
    announce(greedy);
    for (uint64_t sent = 1; sent < RECORD_BYTES_MAX - 1;) {
        uint64_t bytes = min_u64(sizeof(piece), RECORD_BYTES_MAX - 1 - sent);
        client_write(&greedy->client, piece, bytes);
        sent += bytes;
    }
}

/* The polite clients go on until the program's memory has stopped growing. First the kernel's buffers
 * fill, and it does not grow at all: so not before least_us. */
static int run_until_quiet(struct scene *scene, uint64_t least_us)
{
    uint64_t last_us = clock_us() + PHASE_US_MAX, quiet_us = clock_us() + least_us;
    uint64_t peak_bytes = 0;
    int status = 0;
    while (status == 0 && clock_us() < min_u64(quiet_us, last_us)) {
        status = herd_run(&scene->herd, scene->program->options->appends);
        if (scene->peak_bytes > peak_bytes + MIB) {
            peak_bytes = scene->peak_bytes;
            quiet_us = max_u64(quiet_us, clock_us() + QUIET_US);
        }
    }
    return status;
}

struct phase {
    const char *name;
    unsigned count;
    int window;
    bool deaf;
    void (*act)(struct greedy *greedy);
    uint64_t each_bytes, total_bytes; /* what the limits allow, of each client and of all */
};

static int run_phase(struct scene *scene, const struct phase *phase)
{
    const struct options *options = scene->program->options;
    unsigned files = program_files(scene->program);
    uint64_t before = program_memory(scene->program);
    uint64_t bound = phase->count * phase->each_bytes + phase->total_bytes + SPARE_BYTES;
    if (is_planted(scene->program, "memory"))
        bound /= 100;
    scene->peak_bytes = 0;
    scene->herd.longest_us = 0;
    uint64_t appended = scene->herd.appended;
    int status = open_greedy(scene, phase->count, phase->window, phase->deaf);
    for (unsigned i = 0; i < phase->count && status == 0; i++)
        phase->act(&scene->greedy[i]);

    if (status == 0)
        status = run_until_quiet(scene, phase->deaf ? 5 * QUIET_US : QUIET_US);
    unsigned held = program_files(scene->program);
    close_greedy(scene);
    uint64_t more = scene->peak_bytes > before ? scene->peak_bytes - before : 0;
    printf("load memory: %u %s clients cost %.1f MiB, and may cost %.1f; %u answers read, %u "
           "refusals, %u closed, %u files; %llu polite appends, %.0f ms apart at most\n",
           phase->count, phase->name, (double)more / (double)MIB, (double)bound / (double)MIB,
           scene->answered, scene->refused, scene->closed, held,
           (unsigned long long)(scene->herd.appended - appended),
           (double)scene->herd.longest_us / 1e3);
    if (status == 0 && options->measure_memory && more > bound) {
        complain("%s clients cost the program %" PRIu64 " bytes, and its limits allow %" PRIu64,
                 phase->name, more, bound);
        status = EXIT_VIOLATION;
    }
    return status == 0 ? program_files_return(scene->program, files) : status;
}

/* A log of pages that are full. */
static int write_pages(const struct program *program)
{
    struct client client;
    struct answer answer = {.status = 200};
    char *record = malloc(PAGE_RECORD_BYTES);
    int rc;
    must(record);
    memset(record, 0xff, PAGE_RECORD_BYTES); /* no text: the page is in base64 */
    client_init(&client, NULL, NULL, NULL, NULL);
    rc = client_connect(&client, program->port, 0);
    for (unsigned i = 0; i < PAGE_RECORDS && rc == 0 && answer.status == 200; i++) {
        client_post(&client, "/logs/pages", "", record, PAGE_RECORD_BYTES);
        rc = client_ask(&client, &answer);
    }
    client_done(&client);
    free(record);
    if (rc == 0 && answer.status == 200)
        return 0;
    complain("the pages cannot be written: %s, status %u", strerror(-rc), answer.status);
    return EXIT_TROUBLE;
}

int run_memory(struct program *program)
{
    unsigned more = program->options->connections ? program->options->connections : 400;
    const struct phase phases[] = {
        {"deaf", more, 4096, true, ask_and_not_read, ANSWER_BYTES + CONNECTION_BYTES, 0},
        {"announcing", 2 * more, 0, false, announce, CONNECTION_BYTES, 0},
        {"unfinished", more + more / 2, 0, false, leave_unfinished,
         CONNECTION_BYTES + OWN_BODY_BYTES, BODY_BYTES_TOTAL},
    };
    struct scene scene = {.program = program};
    if (!files_suffice(2 * more + POLITE))
        return EXIT_SKIPPED;
    int status = program_start(program);
    if (status != 0)
        return status;
    must(loop_open(&scene.loop) == 0);
    status = herd_open(&scene.herd, program, &scene.loop, "polite", 1, POLITE);
    scene.herd.meanwhile = sample;
    scene.herd.context = &scene;
    if (status == 0)
        status = herd_run(&scene.herd, 1);
    if (status == 0)
        status = write_pages(program);
    for (size_t i = 0; i < ARRAY_SIZE(phases) && status == 0; i++)
        status = run_phase(&scene, &phases[i]);
    if (status == 0)
        status = herd_check(&scene.herd);
    herd_close(&scene.herd);
    loop_close(&scene.loop);
    return status == 0 ? program_stop(program) : status;
}
