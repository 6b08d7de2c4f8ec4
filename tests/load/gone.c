/*
 * Edge case 23: thousands of clients that go away before their receipt, at all moments and in both
 * ways a connection can end. Each loses its receipt and nothing else is lost: the record of a whole request is
 * there, unless a reset has thrown a part of it away, and then whole or not at all; that of half a request
 * never; the polite clients get on, and no file stays open.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/load/content.h"
#include "tests/load/herd.h"
#include "tests/load/load.h"
#include "tests/load/pages.h"
#include "wal/base.h"

#define POLITE 8u
#define WAVE 50u
#define LOGS 4u
#define FILES_OF_LOG 4u /* at most: what it writes to, the next one, a directory */

enum leaving {
    HALF_HEAD,     /* in the middle of the head */
    HEAD_ALONE,    /* behind it */
    HALF_BODY,     /* in the middle of the body */
    CLOSE_AT_ONCE, /* behind the body, in good order */
    RESET_AT_ONCE, /* behind the body, throwing away what is under way */
    CLOSE_LATER,   /* when the append may be on its way to the disk */
    RESET_LATER,   /* likewise */
    TWO_AND_RESET, /* behind two requests in a row */
    LEAVING_COUNT
};

struct scene {
    struct program *program;
    struct loop loop;
    struct herd herd;
    uint64_t seed, random;
    unsigned count;  /* of those who leave */
    unsigned *there; /* by number: how often its record was found */
    unsigned log;    /* that is being read */
    uint64_t next;
    char *body;
    int status;
};

static enum leaving leaving_of(unsigned number)
{
    return number % LEAVING_COUNT;
}

static bool leaves_later(unsigned number)
{
    return leaving_of(number) == CLOSE_LATER || leaving_of(number) == RESET_LATER;
}

static bool is_whole(unsigned number)
{
    return leaving_of(number) >= CLOSE_AT_ONCE;
}

/* What was sent is read in any case. */
static bool leaves_in_good_order(unsigned number)
{
    return leaving_of(number) == CLOSE_AT_ONCE || leaving_of(number) == CLOSE_LATER;
}

/* Connects and sends. Its receipt it never reads. */
static int come(struct scene *scene, struct client *client, unsigned number)
{
    struct content_id id = {0, number};
    char head[128];
    size_t bytes = content_make(scene->body, scene->seed, id, number % 2 == 0);
    int head_bytes = snprintf(head, sizeof(head),
                              "POST /logs/gone-%u HTTP/1.1\r\nHost: localhost\r\n"
                              "Content-Length: %zu\r\n\r\n",
                              number / LEAVING_COUNT % LOGS, bytes);
    size_t send_head = (size_t)head_bytes, send_body = bytes;
    client_init(client, &scene->loop, NULL, NULL, NULL);
    client_set_deaf(client, true);
    int rc = client_connect(client, scene->program->port, 0);
    if (rc < 0) {
        complain("connection %u: %s", number, strerror(-rc));
        return EXIT_TROUBLE;
    }
    switch (leaving_of(number)) {
    case HALF_HEAD:
        send_head = random_below(&scene->random, send_head);
        send_body = 0;
        break;
    case HEAD_ALONE: send_body = 0; break;
    case HALF_BODY: send_body = random_below(&scene->random, bytes); break;
    default: break;
    }
    client_write(client, head, send_head);
    client_write(client, scene->body, send_body);
    if (leaving_of(number) == TWO_AND_RESET)
        client_get(client, "/logs/gone-0/offsets");
    return 0;
}

static void go(struct client *client, unsigned number)
{
    enum leaving leaving = leaving_of(number);
    bool reset = leaving == RESET_AT_ONCE || leaving == RESET_LATER || leaving == TWO_AND_RESET ||
                 (leaving == HALF_BODY && number % 3 == 0);
    client_close(client, reset);
    client_done(client);
}

/* Some at once, and those who are to wait a moment in the order of chance. */
static int run_wave(struct scene *scene, unsigned first, unsigned count)
{
    struct client clients[WAVE];
    int status = 0;
    unsigned came = 0;
    while (came < count && status == 0) {
        status = come(scene, &clients[came], first + came);
        if (!leaves_later(first + came))
            go(&clients[came], first + came);
        came++;
    }
    sleep_us(random_below(&scene->random, 3000));
    for (unsigned i = 0; i < came; i++) {
        if (leaves_later(first + i))
            go(&clients[i], first + i);
    }
    return status == 0 ? herd_run(&scene->herd, 1) : status;
}

/* ---- what is there ---- */

static bool visit(void *context, uint64_t offset, char *data, size_t size)
{
    struct scene *scene = context;
    struct content_id id = {0, 0};
    const char *wrong = content_read(data, size, &id);
    bool ours = id.writer == 0 && id.sequence < scene->count &&
                id.sequence / LEAVING_COUNT % LOGS == scene->log;
    if (!wrong && !ours)
        wrong = "nobody's";
    bool planted = is_planted(scene->program, "half") && id.sequence > scene->count / 2;
    if (!wrong && (planted || !is_whole(id.sequence)))
        wrong = "of a request that was not whole";
    if (!wrong && scene->there[id.sequence]++ > 0)
        wrong = "there twice";
    if (!wrong && offset != scene->next)
        wrong = "at an offset out of its turn";
    scene->next++;
    if (!wrong)
        return true;
    complain("gone-%u, offset %" PRIu64 ": the record is %s: %.*s", scene->log, offset, wrong,
             (int)min_u64(size, 44), data);
    scene->status = EXIT_VIOLATION;
    return false;
}

static int read_log(struct scene *scene, struct client *client)
{
    uint64_t from;
    scene->next = 0;
    do {
        char target[96];
        struct answer answer;
        from = scene->next;
        (void)snprintf(target, sizeof(target), "/logs/gone-%u/records?offset=%" PRIu64, scene->log,
                       from);
        client_get(client, target);
        int rc = client_ask(client, &answer);
        const char *wrong =
            rc == 0 && answer.status == 200 ? page_read(&answer, visit, scene) : "there is no page";
        if (wrong) {
            complain("gone-%u, offset %" PRIu64 ": %s", scene->log, from, wrong);
            return EXIT_VIOLATION;
        }
    } while (scene->next > from && scene->status == 0);
    return scene->status;
}

static int check(struct scene *scene)
{
    struct client client;
    unsigned whole = 0, found = 0, lost = 0;
    client_init(&client, NULL, NULL, NULL, NULL);
    int status = client_connect(&client, scene->program->port, 0) < 0 ? EXIT_TROUBLE : 0;
    for (scene->log = 0; scene->log < LOGS && status == 0; scene->log++)
        status = read_log(scene, &client);
    client_done(&client);
    for (unsigned i = 0; i < scene->count; i++) {
        whole += is_whole(i);
        found += scene->there[i];
        lost += leaves_in_good_order(i) && scene->there[i] == 0;
    }
    printf("load gone: %u clients left, %u behind a whole request, of which %u are there; %llu "
           "polite appends\n",
           scene->count, whole, found, (unsigned long long)scene->herd.appended);
    if (status == 0 && lost > 0) {
        complain("%u records are not there whose clients went away in good order", lost);
        status = EXIT_VIOLATION;
    }
    return status;
}

static int leave_in_waves(struct scene *scene)
{
    int status = herd_run(&scene->herd, 1);
    unsigned files = program_files(scene->program) + LOGS * FILES_OF_LOG;
    for (unsigned first = 0; first < scene->count && status == 0; first += WAVE) {
        status = run_wave(scene, first, (unsigned)min_u64(WAVE, scene->count - first));
    }
    if (status == 0)
        status = check(scene);
    if (status == 0)
        status = herd_check(&scene->herd);
    return status == 0 ? program_files_return(scene->program, files) : status;
}

int run_gone(struct program *program)
{
    const struct options *options = program->options;
    struct scene scene = {.program = program, .seed = options->seed, .random = options->seed};
    scene.count = options->connections ? options->connections : 5000;
    if (!files_suffice(WAVE + POLITE))
        return EXIT_SKIPPED;
    int status = program_start(program);
    if (status != 0)
        return status;
    scene.there = calloc(scene.count, sizeof(*scene.there));
    scene.body = malloc(CONTENT_BYTES_MAX);
    must(scene.there && scene.body && loop_open(&scene.loop) == 0);
    status = herd_open(&scene.herd, program, &scene.loop, "polite", 1, POLITE);
    if (status == 0)
        status = leave_in_waves(&scene);
    herd_close(&scene.herd);
    loop_close(&scene.loop);
    free(scene.body);
    free(scene.there);
    return status == 0 ? program_stop(program) : status;
}
