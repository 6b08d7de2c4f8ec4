/* wald ls: the names of logs, and where each stands. */
#include <inttypes.h>
#include <string.h>

#include "client/commands.h"
#include "client/json.h"
#include "wal/base.h"

struct listing {
    struct service *service;
    const struct options *options;
    struct buffer target;
    struct http_answer answer; /* about one log */
};

static int print_details(struct listing *listing, const char *name)
{
    CLEANUP(json_freep)
    struct json *log = json_read(listing->answer.body.data, listing->answer.body.bytes);
    uint64_t first, committed, bytes;
    if (listing->options->json) {
        fwrite(listing->answer.body.data, 1, listing->answer.body.bytes, stdout);
        return 0;
    }
    if (!log || !json_number(log, "first_offset", &first) ||
        !json_number(log, "committed_offset", &committed) ||
        !json_number(log, "bytes_on_disk", &bytes)) {
        complain("The service describes %s in a way that cannot be read.", name);
        return EXIT_DATA;
    }
    const char *state = json_text(log, "state");
    bool is_fine = !state || strcmp(state, "ok") == 0;
    printf("%-40s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %14" PRIu64 "%s%s\n", name, first,
           committed, committed - first, bytes, is_fine ? "" : "  ", is_fine ? "" : state);
    return 0;
}

static int print_log(void *context, const char *name)
{
    struct listing *listing = context;
    CLEANUP(buffer_done) struct buffer what = {0};
    if (!listing->options->details) {
        if (listing->options->json)
            printf("{\"name\":\"%s\"}\n", name);
        else
            puts(name);
        return 0;
    }
    target_of_log(&listing->target, name, "%s", "");
    buffer_format(&what, "The question for %s", name);
    if (listing->target.failed || what.failed)
        return complain_memory();
    const struct ask ask = {
        .request = {.target = listing->target.data},
        .what = what.data,
        .allowed = 404, /* deleted since the list was made */
    };
    int status = service_ask(listing->service, &ask, &listing->answer);
    return status != 0 || listing->answer.status == 404 ? status : print_details(listing, name);
}

static int list(struct listing *listing, struct http_answer *page, struct buffer *target)
{
    const struct options *options = listing->options;
    const char *prefix = options->argument_count > 0 ? options->arguments[0] : "";
    char after[256] = "";
    for (;;) {
        buffer_clear(target);
        buffer_format(target, "/logs?limit=1000%s%s%s%s", *prefix ? "&prefix=" : "", prefix,
                      *after ? "&after=" : "", after);
        if (target->failed)
            return complain_memory();
        const struct ask ask = {.request = {.target = target->data}, .what = "The list of logs"};
        int status = service_ask(listing->service, &ask, page);
        if (status != 0)
            return status;
        CLEANUP(json_freep) struct json *json = json_read(page->body.data, page->body.bytes);
        if (!json)
            return service_give_up(listing->service, &ask, 0, page);
        status = json_each_name(json, "logs", print_log, listing);
        const char *next = json_text(json, "next_after");
        if (status != 0 || !next)
            return status;
        snprintf(after, sizeof(after), "%s", next);
    }
}

int command_ls(struct service *service, const struct options *options)
{
    struct listing listing = {.service = service, .options = options};
    CLEANUP(buffer_done) struct buffer target = {0};
    struct http_answer page = {0};
    if (options->argument_count > 0 && !log_name_is_fine(options->arguments[0]))
        return EXIT_USAGE;
    if (options->retry_us == OPTION_UNSET)
        service->retry_us = 0;
    int status = list(&listing, &page, &target);
    int printed = finish_stdout();
    buffer_done(&page.body);
    buffer_done(&listing.answer.body);
    buffer_done(&listing.target);
    return status != 0 ? status : printed;
}
