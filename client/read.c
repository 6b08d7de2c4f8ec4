/*
 * wald read and wald tail: records to stdout.
 *
 * Following asks again and again from where the last page ended, so that a service which goes away
 * and comes back costs neither a gap nor a record printed twice.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "client/commands.h"
#include "client/pages.h"
#include "wal/base.h"

#define TAIL_RECORDS UINT64_C(10)
/* The service may allow less. */
#define WAIT_S 30u

struct reading {
    const struct options *options;
    struct pages pages;
    struct buffer where;
    uint64_t end;  /* where to stop; UINT64_MAX: never */
    uint64_t left; /* of --limit */
    bool damaged;
};

/* ---- where to begin ---- */

static bool is_time(const char *text)
{
    return strspn(text, "0123456789-:.+TZtz") == strlen(text);
}

/* What goes into a target as it is has to be fit for one. */
static bool is_offset(const char *text)
{
    if (strcmp(text, "earliest") == 0 || strcmp(text, "latest") == 0)
        return true;
    text += *text == '-';
    return *text && strspn(text, "0123456789") == strlen(text);
}

static int choose_begin(struct reading *reading, uint64_t last_default)
{
    const struct options *options = reading->options;
    unsigned given =
        (options->offset != NULL) + (options->at != NULL) + (options->last != OPTION_UNSET);
    uint64_t last = options->last != OPTION_UNSET ? options->last : last_default;
    if (given > 1) {
        complain("--offset, --at and --last all say where to begin. Give one of them.");
        return EXIT_USAGE;
    }
    if (options->offset && !is_offset(options->offset)) {
        complain("--offset is a number from 0, -N for the last N, earliest or latest, not \"%s\".",
                 options->offset);
        return EXIT_USAGE;
    }
    if (options->at && !is_time(options->at)) {
        complain("--at is a time such as 2026-11-22T10:00:00Z or 2026-11-22T11:00:00.5+01:00, not "
                 "\"%s\".",
                 options->at);
        return EXIT_USAGE;
    }
    if (options->offset)
        buffer_format(&reading->where, "offset=%s", options->offset);
    else if (options->at)
        buffer_format(&reading->where, "at=%s", options->at);
    else if (last == OPTION_UNSET)
        buffer_format(&reading->where, "offset=earliest");
    else if (last == 0)
        buffer_format(&reading->where, "offset=latest");
    else
        buffer_format(&reading->where, "offset=-%" PRIu64, last);
    return reading->where.failed ? complain_memory() : 0;
}

/* ---- printing ---- */

static void print_record(const struct record *record, uint64_t separator)
{
    uint32_t bytes_be = htonl((uint32_t)record->bytes);
    if (separator == SEPARATE_LENGTH)
        fwrite(&bytes_be, 1, sizeof(bytes_be), stdout);
    fwrite(record->data, 1, record->bytes, stdout);
    if (separator == SEPARATE_NEWLINE)
        putc('\n', stdout);
    else if (separator == SEPARATE_NUL)
        putc('\0', stdout);
}

static int complain_page(const struct reading *reading)
{
    complain("The service sent a page of %s that cannot be read. Is there a proxy that changes it?",
             reading->pages.log);
    return EXIT_DATA;
}

/* How much of the page belongs to what was asked for: records from `begin` to here. */
static uint64_t wanted_end(const struct reading *reading, uint64_t begin)
{
    uint64_t end = min_u64(reading->pages.next_offset, reading->end);
    return reading->left < end - begin ? begin + reading->left : end;
}

static int print_frames(struct reading *reading, uint64_t *ret_count)
{
    struct record record;
    bool is_wrong;
    while (*ret_count < reading->left && pages_record(&reading->pages, &record, &is_wrong)) {
        if (record.offset >= reading->end)
            return 0;
        print_record(&record, reading->options->separator);
        ++*ret_count;
    }
    return *ret_count < reading->left && is_wrong ? complain_page(reading) : 0;
}

/* Lines are printed as they came; how many there are is known from the positions. */
static int print_lines(struct reading *reading, uint64_t *ret_count)
{
    const struct buffer *body = &reading->pages.answer.body;
    uint64_t lines = 0;
    size_t end = 0;
    for (size_t i = 0; i < body->bytes; i++)
        lines += body->data[i] == '\n';
    if (lines > reading->pages.next_offset ||
        (body->bytes > 0 && body->data[body->bytes - 1] != '\n'))
        return complain_page(reading);
    uint64_t begin = reading->pages.next_offset - lines;
    uint64_t wanted = begin < reading->end ? wanted_end(reading, begin) - begin : 0;
    while (*ret_count < wanted) {
        const char *line_end = memchr(body->data + end, '\n', body->bytes - end);
        end = (size_t)(line_end - body->data) + 1;
        ++*ret_count;
    }
    fwrite(body->data, 1, end, stdout);
    return 0;
}

static int print_page(struct reading *reading)
{
    uint64_t count = 0;
    int status =
        reading->pages.as_lines ? print_lines(reading, &count) : print_frames(reading, &count);
    if (reading->left != UINT64_MAX)
        reading->left -= count;
    int printed = finish_stdout();
    return status != 0 ? status : printed;
}

/* ---- all of it ---- */

static bool is_done(const struct reading *reading)
{
    return reading->left == 0 ||
           (reading->pages.begun && reading->pages.next_offset >= reading->end);
}

static int read_pages(struct reading *reading)
{
    const struct options *options = reading->options;
    struct pages *pages = &reading->pages;
    while (!is_done(reading)) {
        /* `latest` would be another place if the first answer got lost after a wait. */
        bool at_end = pages->begun && pages->next_offset >= pages->committed_offset;
        bool is_first = !pages->begun;
        uint64_t gap_end;
        int status;
        pages->limit = reading->left == UINT64_MAX ? 0 : reading->left;
        switch (pages_next(pages, reading->where.data, options->follow && at_end ? WAIT_S : 0,
                           &gap_end, &status)) {
        case PAGES_FAILED: return status;
        case PAGES_DAMAGED:
            reading->damaged = true;
            if (!options->skip_damaged)
                return status;
            pages_jump(pages, gap_end);
            continue;
        case PAGES_ONE: break;
        }
        if (is_first && !options->follow)
            reading->end = pages->committed_offset;
        status = print_page(reading);
        if (status != 0)
            return status;
    }
    return reading->damaged ? EXIT_DATA : 0;
}

static int read_log(struct service *service, const struct options *options, uint64_t last_default)
{
    struct reading reading = {
        .options = options,
        .pages = {.service = service, .log = options->arguments[0], .as_lines = options->json},
        .end = UINT64_MAX,
        .left = options->limit == OPTION_UNSET ? UINT64_MAX : options->limit,
    };
    if (options->follow && options->retry_us == OPTION_UNSET)
        service->retry_us = OPTION_FOREVER;
    int status = choose_begin(&reading, last_default);
    if (status == 0)
        status = read_pages(&reading);
    pages_done(&reading.pages);
    buffer_done(&reading.where);
    return status;
}

int command_read(struct service *service, const struct options *options)
{
    return read_log(service, options, OPTION_UNSET);
}

int command_tail(struct service *service, const struct options *options)
{
    bool is_told = options->offset || options->at;
    return read_log(service, options, is_told ? OPTION_UNSET : TAIL_RECORDS);
}
