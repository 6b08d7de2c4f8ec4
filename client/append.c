/*
 * wald append: files as records, or their lines.
 *
 * Lines go in batches, one request at a time: what arrives while one is under way is the next. Every
 * request has a key (or the number of a producer), the same for all its attempts, so that it is
 * stored once whatever becomes of its answers.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/json.h"
#include "client/lines.h"
#include "wal/base.h"

#define RECORD_BYTES_MAX (16u << 20) /* no service takes more */
#define BATCH_BYTES (1u << 20)
#define BATCH_RECORDS 65536u
#define KEY_BYTES 33

struct appending {
    struct service *service;
    const struct options *options;
    struct buffer target, what;
    char key[KEY_BYTES]; /* of this run */
    uint64_t epoch, seq; /* of a producer; seq counts requests in any case */

    uint64_t batch_bytes_max, batch_records_max;
    struct buffer batch;
    uint64_t batch_records;

    uint64_t run_begin, run_end; /* offsets that are yet to be printed */
    struct progress progress;
};

/* ---- what makes a retry safe ---- */

static int begin_identity(struct appending *appending)
{
    uint8_t random[(KEY_BYTES - 1) / 2];
    struct timespec now;
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        complain("There are no random numbers to be had: %s.", strerror(errno));
        return EXIT_SYSTEM;
    }
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(appending->key + 2 * i, 3, "%02x", random[i]);
    clock_gettime(CLOCK_REALTIME, &now); /* a later process of the same name has a higher one */
    appending->epoch = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    return 0;
}

#define HEADER_BYTES 320

static void set_identity(const struct appending *appending, struct http_request *request,
                         char texts[3][HEADER_BYTES])
{
    const char *producer = appending->options->producer;
    if (producer) {
        snprintf(texts[0], HEADER_BYTES, "Producer-Id: %s", producer);
        snprintf(texts[1], HEADER_BYTES, "Producer-Epoch: %" PRIu64, appending->epoch);
        snprintf(texts[2], HEADER_BYTES, "Producer-Seq: %" PRIu64, appending->seq);
        request->headers[2] = texts[1];
        request->headers[3] = texts[2];
    } else {
        snprintf(texts[0], HEADER_BYTES, "Idempotency-Key: wald-%s-%" PRIu64, appending->key,
                 appending->seq);
    }
    request->headers[1] = texts[0];
}

/* ---- receipts ---- */

static void print_run(struct appending *appending)
{
    uint64_t begin = appending->run_begin, end = appending->run_end;
    if (end > begin)
        progress_hide();
    if (end > begin + 1)
        printf("%" PRIu64 "..%" PRIu64 "\n", begin, end - 1);
    else if (end > begin)
        printf("%" PRIu64 "\n", begin);
    appending->run_begin = appending->run_end = 0;
}

static int take_receipt(struct appending *appending, const struct http_answer *answer)
{
    CLEANUP(json_freep) struct json *receipt = json_read(answer->body.data, answer->body.bytes);
    uint64_t offset, next;
    if (appending->options->json) {
        progress_hide();
        fwrite(answer->body.data, 1, answer->body.bytes, stdout);
        return finish_stdout();
    }
    if (!receipt || !json_number(receipt, "offset", &offset) ||
        !json_number(receipt, "next_offset", &next))
        return 0; /* it is there, but the service does not know any more where */
    if (appending->run_end == offset && appending->run_end > appending->run_begin) {
        appending->run_end = next;
        return 0;
    }
    print_run(appending);
    appending->run_begin = offset;
    appending->run_end = next;
    return finish_stdout();
}

/* ---- one request ---- */

static int ask_append(struct appending *appending, const char *type, const void *body, size_t bytes,
                      struct http_answer *answer)
{
    char texts[3][HEADER_BYTES];
    struct ask ask = {
        .request = {.method = "POST",
                    .target = appending->target.data,
                    .headers = {type},
                    .body = body,
                    .body_bytes = bytes},
        .what = appending->what.data,
        .allowed = appending->batch_records > 1 ? 413 : 0,
        .changes = true,
    };
    if (appending->target.failed || appending->what.failed)
        return complain_memory();
    set_identity(appending, &ask.request, texts);
    int status = service_ask(appending->service, &ask, answer);
    if (status == 0 && answer->status != 413) {
        appending->seq++;
        return take_receipt(appending, answer);
    }
    return status;
}

/* ---- a file as one record ---- */

static int read_record(int fd, const char *name, struct buffer *record)
{
    for (;;) {
        if (!buffer_reserve(record, 64u << 10))
            return complain_memory();
        ssize_t got = read(fd, record->data + record->bytes, 64u << 10);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            complain("%s cannot be read: %s.", name, strerror(errno));
            return EXIT_IO;
        }
        if (got == 0)
            break;
        record->bytes += (size_t)got;
        if (record->bytes > RECORD_BYTES_MAX) {
            complain("%s is larger than %u bytes, the most that a record can have. Split it, or "
                     "append its lines with --lines.",
                     name, RECORD_BYTES_MAX);
            return EXIT_DATA;
        }
    }
    if (record->bytes > 0)
        return 0;
    complain("%s is empty, and a record has at least one byte.", name);
    return EXIT_DATA;
}

static int append_whole(struct appending *appending, int fd, const char *name)
{
    CLEANUP(buffer_done) struct buffer record = {0};
    struct http_answer answer = {0};
    int status = read_record(fd, name, &record);
    if (status == 0) {
        buffer_clear(&appending->what);
        buffer_format(&appending->what, "The append of %s to %s", name,
                      appending->options->arguments[0]);
        status = ask_append(appending, "Content-Type: application/octet-stream", record.data,
                            record.bytes, &answer);
    }
    buffer_done(&answer.body);
    return status;
}

/* ---- lines ---- */

/* The service takes less at a time than was sent, and says how much. False: it does not say. */
static bool shrink(struct appending *appending, const struct http_answer *answer)
{
    CLEANUP(json_freep) struct json *problem = json_read(answer->body.data, answer->body.bytes);
    uint64_t max;
    if (problem && json_number(problem, "batch_bytes_max", &max) &&
        max < appending->batch_bytes_max)
        appending->batch_bytes_max = max;
    else if (problem && json_number(problem, "batch_records_max", &max) &&
             max < appending->batch_records_max)
        appending->batch_records_max = max;
    else
        return false;
    return true;
}

/* The beginning of the batch that is not too much: at least one line. */
static size_t part_of(const struct appending *appending, uint64_t *ret_records)
{
    const char *data = appending->batch.data;
    size_t end = 0;
    for (*ret_records = 0; end < appending->batch.bytes; ++*ret_records) {
        const char *line_end = memchr(data + end, '\n', appending->batch.bytes - end);
        size_t next = (size_t)(line_end - data) + 1;
        /* The last line of a body may lack its end. */
        if (*ret_records > 0 &&
            (next - 1 > appending->batch_bytes_max || *ret_records == appending->batch_records_max))
            break;
        end = next;
    }
    return end;
}

static int send_part(struct appending *appending, size_t bytes, uint64_t records,
                     struct http_answer *answer)
{
    uint64_t first = appending->progress.records + 1;
    uint64_t kept = appending->batch_records;
    buffer_clear(&appending->what);
    buffer_format(&appending->what, "The append of lines %" PRIu64 " to %" PRIu64 " to %s", first,
                  first + records - 1, appending->options->arguments[0]);
    appending->batch_records = records;
    int status = ask_append(appending, "Content-Type: application/x-ndjson", appending->batch.data,
                            bytes - 1, answer);
    appending->batch_records = kept;
    return status;
}

/* The whole batch, in as many parts as it takes. */
static int send_batch(struct appending *appending, struct http_answer *answer)
{
    while (appending->batch_records > 0) {
        uint64_t records;
        size_t bytes = part_of(appending, &records);
        int status = send_part(appending, bytes, records, answer);
        if (status != 0)
            return status;
        if (answer->status == 413) {
            if (shrink(appending, answer))
                continue;
            const struct ask ask = {.what = appending->what.data};
            return service_give_up(appending->service, &ask, 0, answer);
        }
        buffer_drop(&appending->batch, bytes);
        appending->batch_records -= records;
        appending->progress.records += records;
        appending->progress.bytes += bytes - records;
        appending->progress.done += bytes;
        progress_show(&appending->progress);
    }
    return 0;
}

static int append_lines(struct appending *appending, int fd, const char *name)
{
    struct http_answer answer = {0};
    struct lines lines;
    const char *line;
    size_t bytes;
    bool is_whole;
    int status = 0;

    lines_begin(&lines, fd, name, RECORD_BYTES_MAX);
    for (;;) {
        enum lines_result result =
            lines_next(&lines, appending->batch_records == 0, &line, &bytes, &is_whole, &status);
        if (result == LINES_ONE && bytes > 0) {
            buffer_add(&appending->batch, line, bytes);
            buffer_add(&appending->batch, "\n", 1);
            appending->batch_records++;
            if (appending->batch.failed)
                status = complain_memory();
        }
        bool is_full = appending->batch.bytes >= appending->batch_bytes_max ||
                       appending->batch_records >= appending->batch_records_max;
        /* What stood before a line that is wrong is appended. */
        if (result != LINES_ONE || is_full) {
            int sent = appending->batch.failed ? status : send_batch(appending, &answer);
            status = status != 0 ? status : sent;
        }
        if (status != 0 || result == LINES_END || result == LINES_FAILED)
            break;
    }
    lines_done(&lines);
    buffer_done(&answer.body);
    return status;
}

/* ---- all of it ---- */

static int append_file(struct appending *appending, const char *path)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "stdin" : path;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        complain("%s cannot be opened: %s.", path, strerror(errno));
        return EXIT_IO;
    }
    int status = appending->options->lines ? append_lines(appending, fd, name)
                                           : append_whole(appending, fd, name);
    if (!is_stdin)
        close(fd);
    return status;
}

/* How much there is in all, if that can be known: for the bar. */
static uint64_t count_bytes(const char *const *paths, unsigned count)
{
    uint64_t total = 0;
    struct stat info;
    for (unsigned i = 0; i < count; i++) {
        bool is_stdin = strcmp(paths[i], "-") == 0;
        if ((is_stdin ? fstat(STDIN_FILENO, &info) : stat(paths[i], &info)) < 0 ||
            !S_ISREG(info.st_mode))
            return 0;
        total += (uint64_t)info.st_size;
    }
    return total;
}

static int append_files(struct appending *appending)
{
    static const char *const from_stdin[] = {"-"};
    const struct options *options = appending->options;
    const char *const *paths = options->arguments + 1;
    unsigned count = options->argument_count - 1;
    if (count == 0) {
        paths = from_stdin;
        count = 1;
    }
    if (options->lines) {
        /* What is typed is progress enough. */
        bool is_typed = count == 1 && strcmp(paths[0], "-") == 0 && isatty(STDIN_FILENO);
        progress_begin(&appending->progress, "appended", options->quiet || is_typed);
        appending->progress.total = count_bytes(paths, count);
    }
    int status = 0;
    for (unsigned i = 0; i < count && status == 0; i++)
        status = append_file(appending, paths[i]);
    return status;
}

int command_append(struct service *service, const struct options *options)
{
    struct appending appending = {
        .service = service,
        .options = options,
        .batch_bytes_max = BATCH_BYTES,
        .batch_records_max = BATCH_RECORDS,
    };
    service->patient = true;
    int status = begin_identity(&appending);
    if (status == 0) {
        target_of_log(&appending.target, options->arguments[0], "%s", "");
        status = append_files(&appending);
    }
    progress_end(&appending.progress);
    print_run(&appending);
    int printed = finish_stdout();
    buffer_done(&appending.target);
    buffer_done(&appending.what);
    buffer_done(&appending.batch);
    return status != 0 ? status : printed;
}
