/* wald export: a log as it stands now, as exported.h has it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/exported.h"
#include "client/json.h"
#include "client/pages.h"
#include "wal/base.h"

struct exporting {
    struct service *service;
    const struct options *options;
    const char *log;
    struct buffer target;
    struct json *description;
    uint64_t first, end, records;
    struct digest *digest;
    const char *path; /* NULL: stdout */
    FILE *out;
    bool damaged;
    struct progress progress;
    struct pages pages;
};

/* ---- writing ---- */

static int put(struct exporting *exporting, const void *data, size_t bytes)
{
    digest_add(exporting->digest, data, bytes);
    exporting->progress.bytes += bytes;
    if (fwrite(data, 1, bytes, exporting->out) == bytes)
        return 0;
    complain("%s cannot be written to: %s.", exporting->path ? exporting->path : "stdout",
             strerror(errno));
    return EXIT_IO;
}

static int put_head(struct exporting *exporting)
{
    CLEANUP(buffer_done) struct buffer head = {0}, settings = {0};
    const char *id = json_text(exporting->description, "id");
    json_add_object(&settings, exporting->description, "settings");
    buffer_format(&head,
                  "{\"wald_export\":%d,\"log\":\"%s\",\"id\":\"%s\",\"first_offset\":%" PRIu64
                  ",\"end_offset\":%" PRIu64 "%s%s}\n",
                  EXPORT_FORMAT, exporting->log, id, exporting->first, exporting->end,
                  settings.bytes > 0 ? ",\"settings\":" : "",
                  settings.bytes > 0 ? settings.data : "");
    if (head.failed || settings.failed)
        return complain_memory();
    return put(exporting, head.data, head.bytes);
}

static int put_end(struct exporting *exporting)
{
    CLEANUP(buffer_done) struct buffer end = {0};
    char digest[DIGEST_TEXT_BYTES];
    digest_end(exporting->digest, digest);
    buffer_format(&end, "{\"wald_export_end\":1,\"records\":%" PRIu64 ",\"sha256\":\"%s\"}\n",
                  exporting->records, digest);
    return end.failed ? complain_memory() : put(exporting, end.data, end.bytes);
}

/* ---- the log ---- */

static int describe(struct exporting *exporting, struct json **ret_json)
{
    struct http_answer answer = {0};
    const struct ask ask = {.request = {.target = exporting->target.data}, .what = "The export"};
    int status = exporting->target.failed ? complain_memory()
                                          : service_ask(exporting->service, &ask, &answer);
    if (status == 0) {
        *ret_json = json_read(answer.body.data, answer.body.bytes);
        if (!*ret_json || !json_text(*ret_json, "id"))
            status = service_give_up(exporting->service, &ask, 0, &answer);
    }
    buffer_done(&answer.body);
    return status;
}

/* Nothing may have come in between: what was read has to be of one log. */
static int check_same(struct exporting *exporting)
{
    CLEANUP(json_freep) struct json *now = NULL;
    int status = describe(exporting, &now);
    if (status != 0)
        return status;
    if (strcmp(json_text(now, "id"), json_text(exporting->description, "id")) == 0)
        return 0;
    complain("%s was deleted and made anew while it was read. Export it again.", exporting->log);
    return EXIT_REFUSED;
}

static int put_page(struct exporting *exporting, uint64_t begin)
{
    const struct pages *pages = &exporting->pages;
    const struct buffer *body = &pages->answer.body;
    uint64_t lines = 0;
    for (size_t i = 0; i < body->bytes; i++)
        lines += body->data[i] == '\n';
    if (pages->next_offset < begin || lines != pages->next_offset - begin || lines == 0 ||
        body->data[body->bytes - 1] != '\n') {
        complain("The service sent a page of %s that does not go on from offset %" PRIu64 ".",
                 exporting->log, begin);
        return EXIT_DATA;
    }
    exporting->records += lines;
    exporting->progress.records += lines;
    exporting->progress.done = pages->next_offset - exporting->first;
    return put(exporting, body->data, body->bytes);
}

static int put_records(struct exporting *exporting)
{
    struct pages *pages = &exporting->pages;
    uint64_t begin = exporting->first, gap_end;
    int status = 0;
    *pages = (struct pages){.service = exporting->service, .log = exporting->log, .as_lines = true};
    pages_jump(pages, begin);
    while (status == 0 && begin < exporting->end) {
        pages->limit = exporting->end - begin;
        switch (pages_next(pages, NULL, 0, &gap_end, &status)) {
        case PAGES_FAILED: break;
        case PAGES_DAMAGED:
            if (!exporting->options->skip_damaged)
                break;
            exporting->damaged = true;
            status = 0;
            begin = gap_end;
            pages_jump(pages, begin);
            break;
        case PAGES_ONE:
            status = put_page(exporting, begin);
            begin = pages->next_offset;
            break;
        }
        progress_show(&exporting->progress);
    }
    pages_done(pages);
    return status;
}

static int export_to(struct exporting *exporting)
{
    struct json *description = NULL;
    int status = describe(exporting, &description);
    exporting->description = description;
    if (status != 0)
        return status;
    if (!json_number(description, "first_offset", &exporting->first) ||
        !json_number(description, "committed_offset", &exporting->end)) {
        complain("The service describes %s in a way that cannot be read.", exporting->log);
        return EXIT_DATA;
    }
    exporting->progress.total = exporting->end - exporting->first;
    status = put_head(exporting);
    if (status == 0)
        status = put_records(exporting);
    if (status == 0)
        status = check_same(exporting);
    if (status == 0)
        status = put_end(exporting);
    return status;
}

/* ---- the file ---- */

static int fail_file(const char *path)
{
    complain("%s cannot be written: %s.", path, strerror(errno));
    return EXIT_IO;
}

/* The name stays, too, if the power goes: unless the folder may be written to and not be opened, or its
 * file system knows no such thing. */
static bool sync_folder(const char *path)
{
    CLEANUP(buffer_done) struct buffer folder = {0};
    const char *slash = strrchr(path, '/');
    buffer_format(&folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    errno = ENOMEM;
    int fd = folder.failed ? -1 : open(folder.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES;
    bool fine = fsync(fd) == 0 || errno == EINVAL;
    const int error = errno;
    close(fd);
    errno = error;
    return fine;
}

/* It appears under its name when it is whole and on the disk. */
static int finish_file(FILE *out, const char *partial, const char *path)
{
    bool fine = fflush(out) == 0 && !ferror(out) && fsync(fileno(out)) == 0;
    if (!fine)
        return fail_file(path);
    if ((renameat2(AT_FDCWD, partial, AT_FDCWD, path, RENAME_NOREPLACE) == 0 ||
         (errno == EINVAL && rename(partial, path) == 0)) &&
        sync_folder(path))
        return 0;
    return fail_file(path);
}

static int export_file(struct exporting *exporting)
{
    CLEANUP(buffer_done) struct buffer partial = {0};
    buffer_format(&partial, "%s.partial", exporting->path);
    if (partial.failed)
        return complain_memory();
    if (access(exporting->path, F_OK) == 0) {
        complain("%s is there already. Name another file, or remove it.", exporting->path);
        return EXIT_IO;
    }
    exporting->out = fopen(partial.data, "we");
    if (!exporting->out)
        return fail_file(partial.data);
    int status = export_to(exporting);
    if (status == 0)
        status = finish_file(exporting->out, partial.data, exporting->path);
    fclose(exporting->out);
    if (status != 0)
        unlink(partial.data);
    return status;
}

int command_export(struct service *service, const struct options *options)
{
    struct exporting exporting = {
        .service = service,
        .options = options,
        .log = options->arguments[0],
        .digest = digest_new(),
        .out = stdout,
    };
    if (!exporting.digest)
        return complain_memory();
    if (options->argument_count > 1 && strcmp(options->arguments[1], "-") != 0)
        exporting.path = options->arguments[1];
    target_of_log(&exporting.target, exporting.log, "%s", "");
    progress_begin(&exporting.progress, "exported", options->quiet);
    int status = exporting.path ? export_file(&exporting) : export_to(&exporting);
    if (status == 0)
        progress_end(&exporting.progress);
    if (status == 0 && !exporting.path)
        status = finish_stdout();
    json_free(exporting.description);
    digest_free(exporting.digest);
    buffer_done(&exporting.target);
    return status == 0 && exporting.damaged ? EXIT_DATA : status;
}
