/*
 * wald import: a log as it was exported.
 *
 * What makes it exact is where each record goes: record k of the export goes to offset k of the new
 * log, on the condition (If-Match) that the log ends there. An append that is made twice is therefore
 * refused the second time. After any trouble the log is asked where it ends, what it has behind the
 * last offset that was certain is compared with what was sent, and the import goes on from there. The
 * same comparison, from offset 0, is what lets a later import go on where an earlier one was cut off.
 *
 * Records go out in windows. Inside one nobody waits for the disk (?ack=none) unless the log wants it
 * so; a window is certain when everything in it is durable (/sync).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/exported.h"
#include "client/json.h"
#include "client/pages.h"
#include "wal/base.h"

#define WINDOW_BYTES (8u << 20)
#define WINDOW_RECORDS 16384u
#define BATCH_BYTES (1u << 20)
#define ID_BYTES 64

struct window {
    struct buffer bytes;         /* of all records, without a gap */
    size_t ends[WINDOW_RECORDS]; /* of each record in them */
    size_t count;
};

struct importing {
    struct service *service;
    const struct options *options;
    const char *log;
    char id[ID_BYTES];
    struct buffer target;
    struct http_answer answer;
    struct exported exported;
    struct buffer record;
    uint64_t certain;     /* records of the export, from the first, that are durable in the log */
    struct window window; /* those behind */
    uint64_t batch_bytes_max;
    bool wait_each; /* the log takes no appends with ack=none */
    uint64_t trouble_us;
    unsigned attempt;
    struct progress progress;
};

/* ---- the log ---- */

static int ask(struct importing *importing, const struct ask *question)
{
    if (importing->target.failed)
        return complain_memory();
    return service_ask(importing->service, question, &importing->answer);
}

/* The positions in the last answer, and the id if there is one. */
static int take_positions(struct importing *importing, uint64_t *ret_first, uint64_t *ret_committed,
                          char ret_id[ID_BYTES])
{
    CLEANUP(json_freep)
    struct json *json = json_read(importing->answer.body.data, importing->answer.body.bytes);
    const char *id = json ? json_text(json, "id") : NULL;
    if (!json || !json_number(json, "first_offset", ret_first) ||
        !json_number(json, "committed_offset", ret_committed) || (ret_id && !id)) {
        complain("The service describes %s in a way that cannot be read.", importing->log);
        return EXIT_DATA;
    }
    if (ret_id)
        snprintf(ret_id, ID_BYTES, "%s", id);
    return 0;
}

/* Everything queued on the log is decided, and then told is where it stands. */
static int settle(struct importing *importing, uint64_t *ret_committed)
{
    uint64_t first;
    char id[ID_BYTES];
    target_of_log(&importing->target, importing->log, "/sync");
    const struct ask sync = {.request = {.method = "POST", .target = importing->target.data},
                             .what = "The import"};
    int status = ask(importing, &sync);
    if (status != 0)
        return status;
    target_of_log(&importing->target, importing->log, "%s", "");
    const struct ask look = {.request = {.target = importing->target.data}, .what = "The import"};
    status = ask(importing, &look);
    if (status == 0)
        status = take_positions(importing, &first, ret_committed, id);
    if (status != 0)
        return status;
    if (strcmp(id, importing->id) == 0)
        return 0;
    complain("%s was deleted and made anew during the import. Import it again.", importing->log);
    return EXIT_REFUSED;
}

/* Finds the log, or makes it with the settings of the export. */
static int open_log(struct importing *importing, uint64_t *ret_committed)
{
    uint64_t first;
    target_of_log(&importing->target, importing->log, "%s", "");
    const struct ask look = {
        .request = {.target = importing->target.data}, .what = "The import", .allowed = 404};
    int status = ask(importing, &look);
    if (status == 0 && importing->answer.status == 404) {
        const struct buffer *settings = &importing->exported.settings;
        const struct ask make = {
            .request = {.method = "PUT",
                        .target = importing->target.data,
                        .headers = {"Content-Type: application/json"},
                        .body = settings->data,
                        .body_bytes = settings->bytes},
            .what = "Making the log",
        };
        status = ask(importing, &make);
    }
    if (status == 0)
        status = take_positions(importing, &first, ret_committed, importing->id);
    if (status != 0)
        return status;
    if (first > 0) {
        complain("%s has been trimmed, so that it cannot be compared with the export. Import into "
                 "a new log.",
                 importing->log);
        return EXIT_REFUSED;
    }
    return settle(importing, ret_committed);
}

/* ---- comparing ---- */

/* What a record of the log has to be; a status that is not 0 ends the comparison. */
typedef int (*compare_record)(struct importing *importing, const struct record *record,
                              bool *ret_is_end);

/* Compares the log's records from `begin` up to `end`. */
static int compare(struct importing *importing, uint64_t begin, uint64_t end,
                   compare_record compare_one, bool *ret_is_end)
{
    struct pages pages = {.service = importing->service, .log = importing->log};
    uint64_t gap_end;
    int status = 0;
    *ret_is_end = false;
    pages_jump(&pages, begin);
    while (status == 0 && !*ret_is_end && begin < end) {
        struct record record;
        bool is_wrong = false;
        pages.limit = end - begin;
        if (pages_next(&pages, NULL, 0, &gap_end, &status) != PAGES_ONE)
            break;
        while (status == 0 && !*ret_is_end && pages_record(&pages, &record, &is_wrong)) {
            if (record.offset != begin++)
                is_wrong = true;
            else
                status = compare_one(importing, &record, ret_is_end);
            if (is_wrong)
                break;
        }
        if (is_wrong) {
            complain("The service sent a page of %s that cannot be read.", importing->log);
            status = EXIT_DATA;
        }
    }
    pages_done(&pages);
    return status;
}

static int refuse_other(const struct importing *importing, uint64_t offset)
{
    complain("%s has another record at offset %" PRIu64 " than the export. Import into a new log, "
             "to which nobody else appends.",
             importing->log, offset);
    return EXIT_REFUSED;
}

static int compare_with_export(struct importing *importing, const struct record *record,
                               bool *ret_is_end)
{
    struct buffer *wanted = &importing->record;
    int status = exported_next(&importing->exported, wanted, ret_is_end);
    if (status != 0 || *ret_is_end)
        return status;
    if (wanted->bytes != record->bytes || memcmp(wanted->data, record->data, record->bytes) != 0)
        return refuse_other(importing, record->offset);
    importing->certain++;
    importing->progress.done++;
    progress_show(&importing->progress);
    return 0;
}

static const char *window_record(const struct window *window, size_t index, size_t *ret_bytes)
{
    size_t begin = index > 0 ? window->ends[index - 1] : 0;
    *ret_bytes = window->ends[index] - begin;
    return window->bytes.data + begin;
}

static int compare_with_window(struct importing *importing, const struct record *record,
                               bool *ret_is_end)
{
    uint64_t index = record->offset - importing->certain;
    size_t bytes = 0;
    const char *wanted = NULL;
    if (index < importing->window.count)
        wanted = window_record(&importing->window, (size_t)index, &bytes);
    if (!wanted || bytes != record->bytes || memcmp(wanted, record->data, bytes) != 0)
        return refuse_other(importing, record->offset);
    return 0;
}

/* ---- a window ---- */

static int fill_window(struct importing *importing, bool *ret_is_end)
{
    struct window *window = &importing->window;
    buffer_clear(&window->bytes);
    window->count = 0;
    while (window->count < WINDOW_RECORDS && window->bytes.bytes < WINDOW_BYTES) {
        int status = exported_next(&importing->exported, &importing->record, ret_is_end);
        if (status != 0 || *ret_is_end)
            return status;
        buffer_add(&window->bytes, importing->record.data, importing->record.bytes);
        if (window->bytes.failed)
            return complain_memory();
        window->ends[window->count++] = window->bytes.bytes;
    }
    return 0;
}

/* How many records from `index` on can go as lines of one request; 1: that one, as it is. */
static size_t choose_batch(const struct importing *importing, size_t index, struct buffer *batch)
{
    size_t count = 0;
    buffer_clear(batch);
    for (; index + count < importing->window.count; count++) {
        size_t bytes;
        const char *record = window_record(&importing->window, index + count, &bytes);
        if (batch->bytes + bytes > importing->batch_bytes_max || memchr(record, '\n', bytes))
            break;
        buffer_add(batch, record, bytes);
        buffer_add(batch, "\n", 1);
    }
    return count > 0 ? count : 1;
}

static bool is_problem(const struct http_answer *answer, const char *kind)
{
    return answer->is_problem && answer->body.data && strstr(answer->body.data, kind);
}

/* Sends records from `index` on, once. Returns as service_try(), and how many they were. */
static int send_some(struct importing *importing, size_t index, struct buffer *batch,
                     const struct ask **ret_ask, size_t *ret_count)
{
    static struct ask sent; /* for who has to say what was refused */
    char condition[ID_BYTES + 64];
    size_t count = choose_batch(importing, index, batch), bytes = batch->bytes;
    const char *body = batch->data;
    if (count == 1)
        body = window_record(&importing->window, index, &bytes);
    target_of_log(&importing->target, importing->log, "%s",
                  importing->wait_each ? "" : "?ack=none");
    snprintf(condition, sizeof(condition), "If-Match: \"%s-%" PRIu64 "\"", importing->id,
             importing->certain + index);
    sent = (struct ask){
        .request = {.method = "POST",
                    .target = importing->target.data,
                    .headers = {count == 1 ? "Content-Type: application/octet-stream"
                                           : "Content-Type: application/x-ndjson",
                                condition},
                    .body = body,
                    .body_bytes = bytes},
        .what = "The import",
        .changes = true,
    };
    *ret_ask = &sent;
    *ret_count = count;
    return service_try(importing->service, &sent, &importing->answer);
}

/* Where the window stands after trouble: *ret_index of its records are durable. */
static int look_again(struct importing *importing, size_t *ret_index)
{
    uint64_t committed;
    bool is_end;
    int status = settle(importing, &committed);
    if (status != 0)
        return status;
    if (committed < importing->certain) {
        complain("%s ends at offset %" PRIu64 ", but was durable up to %" PRIu64 ".",
                 importing->log, committed, importing->certain);
        return EXIT_DATA;
    }
    status = compare(importing, importing->certain, committed, compare_with_window, &is_end);
    *ret_index = (size_t)(committed - importing->certain);
    return status;
}

static int recover(struct importing *importing, const struct ask *sent, int rc, size_t *index)
{
    size_t before = *index;
    struct service *service = importing->service;
    if (importing->trouble_us == 0 && service->retry_us > 0 &&
        !(rc == 0 && importing->answer.status == 412))
        service_tell(service, rc, &importing->answer);
    if (!service_pause(service, &importing->trouble_us, &importing->attempt, &importing->answer))
        return service_give_up(service, sent, rc, &importing->answer);
    int status = look_again(importing, index);
    if (*index > before)
        importing->trouble_us = 0;
    return status;
}

/* Whether the answer was about how it was sent, so that it can be sent in another way. */
static bool adapt(struct importing *importing, size_t count)
{
    const struct http_answer *answer = &importing->answer;
    if (answer->status == 409 && !importing->wait_each &&
        is_problem(answer, "/problems/durability-floor")) {
        importing->wait_each = true;
        return true;
    }
    if (answer->status == 413 && count > 1) {
        importing->batch_bytes_max = importing->batch_bytes_max / 2;
        return true;
    }
    return false;
}

/* Everything in the window is durable. *ret_index: how much of it is, if it is not all. */
static int sync_window(struct importing *importing, size_t *index)
{
    uint64_t first, committed;
    if (importing->wait_each)
        return 0;
    target_of_log(&importing->target, importing->log, "/sync");
    const struct ask sync = {.request = {.method = "POST", .target = importing->target.data},
                             .what = "The import"};
    if (importing->target.failed)
        return complain_memory();
    int rc = service_try(importing->service, &sync, &importing->answer);
    if (rc == 0 && importing->answer.status == 200) {
        int status = take_positions(importing, &first, &committed, NULL);
        if (status != 0 || committed == importing->certain + importing->window.count)
            return status;
    } else if (!service_is_temporary(rc, &importing->answer)) {
        return service_give_up(importing->service, &sync, rc, &importing->answer);
    }
    return recover(importing, &sync, rc, index);
}

static int send_window(struct importing *importing, struct buffer *batch)
{
    size_t index = 0, count;
    int status = 0;
    while (status == 0) {
        const struct ask *sent;
        if (index == importing->window.count) {
            status = sync_window(importing, &index);
            if (status != 0 || index == importing->window.count)
                break;
            continue;
        }
        int rc = send_some(importing, index, batch, &sent, &count);
        if (batch->failed || importing->target.failed)
            return complain_memory();
        if (rc == 0 && importing->answer.status >= 200 && importing->answer.status < 300)
            index += count;
        else if (rc == 0 && adapt(importing, count))
            continue;
        else if ((rc == 0 && importing->answer.status == 412) ||
                 service_is_temporary(rc, &importing->answer))
            status = recover(importing, sent, rc, &index);
        else
            status = service_give_up(importing->service, sent, rc, &importing->answer);
    }
    if (status != 0)
        return status;
    importing->trouble_us = 0;
    importing->certain += importing->window.count;
    importing->progress.records += importing->window.count;
    importing->progress.bytes += importing->window.bytes.bytes;
    importing->progress.done += importing->window.count;
    progress_show(&importing->progress);
    return 0;
}

/* ---- all of it ---- */

static int import_records(struct importing *importing)
{
    CLEANUP(buffer_done) struct buffer batch = {0};
    uint64_t committed;
    bool is_end;
    int status = open_log(importing, &committed);
    if (status == 0)
        status = compare(importing, 0, committed, compare_with_export, &is_end);
    while (status == 0 && !is_end) {
        status = fill_window(importing, &is_end);
        /* Of an export that turns out to be cut, what is right is kept: it is as good as a beginning. */
        int sent = send_window(importing, &batch);
        status = status != 0 ? status : sent;
    }
    return status;
}

/* A file can be read twice: first to see that it is whole. */
static int check_whole(int fd, const char *name)
{
    CLEANUP(buffer_done) struct buffer record = {0};
    struct exported exported;
    bool is_end = false;
    off_t begin = lseek(fd, 0, SEEK_CUR);
    int status = exported_begin(&exported, fd, name);
    while (status == 0 && !is_end)
        status = exported_next(&exported, &record, &is_end);
    exported_done(&exported);
    if (status == 0 && lseek(fd, begin, SEEK_SET) < 0) {
        complain("%s cannot be read: %s.", name, strerror(errno));
        status = EXIT_IO;
    }
    return status;
}

static int import_from(struct service *service, const struct options *options, int fd,
                       const char *name)
{
    struct importing *importing = calloc(1, sizeof(*importing));
    struct stat info;
    if (!importing)
        return complain_memory();
    importing->service = service;
    importing->options = options;
    importing->log = options->arguments[0];
    importing->batch_bytes_max = BATCH_BYTES;
    int status = 0;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
        status = check_whole(fd, name);
    if (status == 0) {
        status = exported_begin(&importing->exported, fd, name);
        progress_begin(&importing->progress, "imported", options->quiet);
        importing->progress.total = importing->exported.records_about;
        if (status == 0)
            status = import_records(importing);
        if (status == 0)
            progress_end(&importing->progress);
        exported_done(&importing->exported);
    }
    buffer_done(&importing->target);
    buffer_done(&importing->answer.body);
    buffer_done(&importing->record);
    buffer_done(&importing->window.bytes);
    free(importing);
    return status;
}

int command_import(struct service *service, const struct options *options)
{
    bool is_file = options->argument_count > 1 && strcmp(options->arguments[1], "-") != 0;
    const char *name = is_file ? options->arguments[1] : "stdin";
    int fd = is_file ? open(name, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (fd < 0) {
        complain("%s cannot be opened: %s.", name, strerror(errno));
        return EXIT_IO;
    }
    service->patient = true;
    int status = import_from(service, options, fd, name);
    if (is_file)
        close(fd);
    return status;
}
