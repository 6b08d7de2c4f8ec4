/* wald trim: drops the oldest records. */
#include <inttypes.h>

#include "client/commands.h"
#include "client/json.h"
#include "wal/base.h"

/* Asks for positions of the log, by this request. */
static int ask_positions(struct service *service, const struct ask *ask, struct http_answer *answer,
                         uint64_t *ret_first, uint64_t *ret_committed)
{
    int status = service_ask(service, ask, answer);
    if (status != 0)
        return status;
    CLEANUP(json_freep) struct json *positions = json_read(answer->body.data, answer->body.bytes);
    if (positions && json_number(positions, "first_offset", ret_first) &&
        json_number(positions, "committed_offset", ret_committed))
        return 0;
    return service_give_up(service, ask, 0, answer);
}

static int trim(struct service *service, const struct options *options, struct buffer *target,
                struct http_answer *answer)
{
    const char *log = options->arguments[0];
    uint64_t before = options->before, first, committed;
    int status;
    if (options->keep != OPTION_UNSET) {
        target_of_log(target, log, "/offsets");
        if (target->failed)
            return complain_memory();
        const struct ask look = {.request = {.target = target->data}, .what = "The trim"};
        status = ask_positions(service, &look, answer, &first, &committed);
        if (status != 0)
            return status;
        before = committed > options->keep ? committed - options->keep : 0;
        before = max_u64(before, first);
    }
    target_of_log(target, log, "/trim?before=%" PRIu64, before);
    if (target->failed)
        return complain_memory();
    const struct ask ask = {
        .request = {.method = "POST", .target = target->data},
        .what = "The trim",
        .changes = true,
    };
    status = ask_positions(service, &ask, answer, &first, &committed);
    if (status != 0)
        return status;
    if (options->json)
        fwrite(answer->body.data, 1, answer->body.bytes, stdout);
    else
        printf("%" PRIu64 "\n", first);
    return finish_stdout();
}

int command_trim(struct service *service, const struct options *options)
{
    CLEANUP(buffer_done) struct buffer target = {0};
    struct http_answer answer = {0};
    if ((options->before == OPTION_UNSET) == (options->keep == OPTION_UNSET)) {
        complain("Say what to drop: --before OFFSET, or --keep N for all but the last N records.");
        return EXIT_USAGE;
    }
    if (options->retry_us == OPTION_UNSET)
        service->retry_us = 0;
    int status = trim(service, options, &target, &answer);
    buffer_done(&answer.body);
    return status;
}
