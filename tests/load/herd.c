#include "tests/load/herd.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/load/pages.h"
#include "wal/base.h"

static void fail(struct herd *herd)
{
    herd->status = EXIT_VIOLATION;
}

static unsigned log_of(const struct member *member)
{
    return member->number % member->herd->logs;
}

static void append(struct member *member)
{
    char target[64], body[64];
    (void)snprintf(target, sizeof(target), "/logs/%s-%u", member->herd->name, log_of(member));
    int bytes =
        snprintf(body, sizeof(body), "member %u record %u", member->number, member->appended);
    client_post(&member->client, target, "", body, (size_t)bytes);
}

static void take_receipt(struct client *client, const struct answer *answer)
{
    struct member *member = client->owner;
    struct herd *herd = member->herd;
    if (answer->status != 200) {
        complain("%s: member %u, record %u: answered with %u: %.*s", herd->name, member->number,
                 member->appended, answer->status, (int)min_u64(answer->body_bytes, 300),
                 answer->body);
        fail(herd);
        return;
    }
    member->appended++;
    herd->ends[log_of(member)]++;
    herd->appended++;
    uint64_t now_us = clock_us();
    herd->longest_us = max_u64(herd->longest_us, now_us - herd->progress_us);
    herd->progress_us = now_us;
    if (member->appended < member->goal)
        append(member);
    else
        herd->unfinished--;
}

static void lose_connection(struct client *client, int error)
{
    struct member *member = client->owner;
    complain("%s: member %u lost its connection: %s", member->herd->name, member->number,
             strerror(-error));
    fail(member->herd);
}

int herd_open(struct herd *herd, struct program *program, struct loop *loop, const char *name,
              unsigned logs, unsigned count)
{
    *herd =
        (struct herd){.program = program, .loop = loop, .name = name, .logs = logs, .count = count};
    herd->members = calloc(count, sizeof(*herd->members));
    herd->ends = calloc(logs, sizeof(*herd->ends));
    must(herd->members && herd->ends);
    for (unsigned i = 0; i < count; i++) {
        struct member *member = &herd->members[i];
        member->herd = herd;
        member->number = i;
        client_init(&member->client, loop, take_receipt, lose_connection, member);
    }
    for (unsigned i = 0; i < count; i++) {
        int rc = client_connect(&herd->members[i].client, program->port, 0);
        if (rc < 0) {
            complain("connection %u of %u: %s", i, count, strerror(-rc));
            return EXIT_TROUBLE;
        }
    }
    return 0;
}

void herd_close(struct herd *herd)
{
    for (unsigned i = 0; herd->members && i < herd->count; i++)
        client_done(&herd->members[i].client);
    free(herd->members);
    free(herd->ends);
    herd->members = NULL;
    herd->ends = NULL;
}

static int wait_for_all(struct herd *herd)
{
    uint64_t stall_us = herd->program->options->stall_s * SECOND_US;
    herd->progress_us = clock_us();
    while (herd->unfinished > 0 && herd->status == 0) {
        loop_turn(herd->loop, 50);
        if (herd->meanwhile)
            herd->meanwhile(herd->context);
        if (clock_us() - herd->progress_us < stall_us)
            continue;
        complain("%s: a stall: %u of %u members wait, and there was no receipt for %u s",
                 herd->name, herd->unfinished, herd->count, herd->program->options->stall_s);
        fail(herd);
    }
    return herd->status;
}

int herd_run(struct herd *herd, unsigned appends)
{
    herd->unfinished = herd->count;
    for (unsigned i = 0; i < herd->count && herd->status == 0; i++) {
        herd->members[i].goal = herd->members[i].appended + appends;
        append(&herd->members[i]);
    }
    return wait_for_all(herd);
}

int herd_step(struct herd *herd)
{
    int status;
    herd->unfinished = herd->count;
    (void)kill(herd->program->pid, SIGSTOP);
    if (waitpid(herd->program->pid, &status, WUNTRACED) != herd->program->pid ||
        !WIFSTOPPED(status)) {
        complain("the program cannot be held");
        return EXIT_TROUBLE;
    }
    for (unsigned i = 0; i < herd->count; i++) {
        herd->members[i].goal = herd->members[i].appended + 1;
        append(&herd->members[i]);
    }
    (void)kill(herd->program->pid, SIGCONT);
    return wait_for_all(herd);
}

/* ---- reading back ---- */

struct reading {
    struct herd *herd;
    unsigned log;
    uint64_t next;
    unsigned *next_record; /* of each member */
};

static bool visit(void *context, uint64_t offset, char *data, size_t size)
{
    struct reading *reading = context;
    struct herd *herd = reading->herd;
    unsigned member, record;
    int length = 0;
    data[size] = '\0'; /* there is room for it */
    /* NOLINTNEXTLINE(cert-err34-c): what is out of range belongs to no member */
    bool ours = sscanf(data, "member %u record %u%n", &member, &record, &length) == 2 &&
                (size_t)length == size && member < herd->count &&
                log_of(&herd->members[member]) == reading->log;
    if (!ours || offset != reading->next || record != reading->next_record[member]) {
        complain("%s-%u, offset %" PRIu64 ": \"%.60s\" is not what belongs there", herd->name,
                 reading->log, offset, data);
        fail(herd);
        return false;
    }
    reading->next_record[member]++;
    reading->next++;
    return true;
}

static void read_log(struct reading *reading, struct client *client)
{
    struct herd *herd = reading->herd;
    while (reading->next < herd->ends[reading->log] && herd->status == 0) {
        char target[96];
        struct answer answer;
        uint64_t from = reading->next;
        (void)snprintf(target, sizeof(target), "/logs/%s-%u/records?offset=%" PRIu64 "&limit=10000",
                       herd->name, reading->log, from);
        client_get(client, target);
        int rc = client_ask(client, &answer);
        const char *wrong = rc == 0 && answer.status == 200 ? page_read(&answer, visit, reading)
                                                            : "there is no page";
        if (!wrong && reading->next == from)
            wrong = "the page is empty";
        if (!wrong)
            continue;
        complain("%s-%u, offset %" PRIu64 ": %s", herd->name, reading->log, from, wrong);
        fail(herd);
    }
}

int herd_check(struct herd *herd)
{
    struct client client;
    struct reading reading = {.herd = herd, .next_record = calloc(herd->count, sizeof(unsigned))};
    must(reading.next_record);
    client_init(&client, NULL, NULL, NULL, NULL);
    if (client_connect(&client, herd->program->port, 0) < 0)
        fail(herd);
    for (reading.log = 0; reading.log < herd->logs && herd->status == 0; reading.log++) {
        reading.next = 0;
        read_log(&reading, &client);
    }
    for (unsigned i = 0; i < herd->count && herd->status == 0; i++) {
        if (reading.next_record[i] != herd->members[i].appended) {
            complain("%s: member %u appended %u records, and %u are there", herd->name, i,
                     herd->members[i].appended, reading.next_record[i]);
            fail(herd);
        }
    }
    client_done(&client);
    free(reading.next_record);
    return herd->status;
}
