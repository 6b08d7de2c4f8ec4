/* wald stats: counters of a log, or of the service. */
#include "client/commands.h"
#include "client/json.h"
#include "wal/base.h"

static int print(const struct service *service, const struct options *options,
                 const struct ask *ask, const struct http_answer *answer)
{
    CLEANUP(json_freep) struct json *stats = json_read(answer->body.data, answer->body.bytes);
    if (!stats)
        return service_give_up(service, ask, 0, answer);
    if (options->json)
        fwrite(answer->body.data, 1, answer->body.bytes, stdout);
    else
        json_print_table(stats, stdout);
    return finish_stdout();
}

int command_stats(struct service *service, const struct options *options)
{
    CLEANUP(buffer_done) struct buffer target = {0};
    struct http_answer answer = {0};
    if (options->argument_count > 0)
        target_of_log(&target, options->arguments[0], "/stats");
    else
        buffer_format(&target, "/stats");
    if (target.failed)
        return complain_memory();
    if (options->retry_us == OPTION_UNSET)
        service->retry_us = 0;
    const struct ask ask = {.request = {.target = target.data}, .what = "The question for stats"};
    int status = service_ask(service, &ask, &answer);
    if (status == 0)
        status = print(service, options, &ask, &answer);
    buffer_done(&answer.body);
    return status;
}
