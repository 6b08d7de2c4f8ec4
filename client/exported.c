#include "client/exported.h"

#include <inttypes.h>
#include <string.h>

#include "client/json.h"
#include "client/say.h"
#include "wal/base.h"

/* The next line as a document; NULL: *ret_status says why, or 0 that there is no line. */
static struct json *next_line(struct exported *exported, const char **ret_line, size_t *ret_bytes,
                              int *ret_status)
{
    bool is_whole;
    *ret_status = 0;
    enum lines_result result =
        lines_next(&exported->lines, true, ret_line, ret_bytes, &is_whole, ret_status);
    if (result != LINES_ONE)
        return NULL;
    struct json *json = json_read(*ret_line, *ret_bytes);
    if (!json) {
        if (is_whole)
            complain("Line %" PRIu64 " of %s is no JSON object: it is no export, or was changed.",
                     exported->lines.number, exported->name);
        else
            complain("%s is cut, in the middle of its line %" PRIu64 ".", exported->name,
                     exported->lines.number);
        *ret_status = EXIT_DATA;
    }
    return json;
}

static void count_line(struct exported *exported, const char *line, size_t bytes)
{
    digest_add(exported->digest, line, bytes);
    digest_add(exported->digest, "\n", 1);
}

int exported_begin(struct exported *ret_exported, int fd, const char *name)
{
    struct exported *exported = ret_exported;
    const char *line;
    size_t bytes;
    uint64_t format, first, end;
    int status;
    *exported = (struct exported){.name = name, .digest = digest_new()};
    lines_begin(&exported->lines, fd, name, EXPORT_LINE_BYTES_MAX);
    if (!exported->digest)
        return complain_memory();
    CLEANUP(json_freep) struct json *head = next_line(exported, &line, &bytes, &status);
    if (status != 0)
        return status;
    if (!head || !json_number(head, "wald_export", &format)) {
        complain("%s is no export of wald: its first line does not say so.", name);
        return EXIT_DATA;
    }
    if (format != EXPORT_FORMAT) {
        complain("%s is an export of format %" PRIu64 ", which a newer wald has written. This one "
                 "reads format %d.",
                 name, format, EXPORT_FORMAT);
        return EXIT_DATA;
    }
    if (json_number(head, "first_offset", &first) && json_number(head, "end_offset", &end) &&
        first <= end)
        exported->records_about = end - first;
    json_add_object(&exported->settings, head, "settings");
    count_line(exported, line, bytes);
    return exported->settings.failed ? complain_memory() : 0;
}

void exported_done(struct exported *exported)
{
    lines_done(&exported->lines);
    digest_free(exported->digest);
    buffer_done(&exported->settings);
    exported->digest = NULL;
}

static int check_end(struct exported *exported, const struct json *json)
{
    char digest[DIGEST_TEXT_BYTES];
    const char *wanted = json_text(json, "sha256");
    uint64_t records;
    digest_end(exported->digest, digest);
    if (!json_number(json, "records", &records) || records != exported->records || !wanted ||
        strcmp(wanted, digest) != 0) {
        complain("%s was changed since it was written: its last line does not fit the %" PRIu64
                 " records before it.",
                 exported->name, exported->records);
        return EXIT_DATA;
    }
    const char *line;
    size_t bytes;
    bool is_whole;
    int status = 0;
    switch (lines_next(&exported->lines, true, &line, &bytes, &is_whole, &status)) {
    case LINES_END: return 0;
    case LINES_FAILED: return status;
    default:
        complain("%s goes on behind its end. Import one export at a time.", exported->name);
        return EXIT_DATA;
    }
}

static int take_record(struct exported *exported, const struct json *json, struct buffer *record)
{
    size_t bytes;
    const char *text = json_data(json, "data", &bytes);
    buffer_clear(record);
    if (text) {
        buffer_add(record, text, bytes);
    } else {
        text = json_data(json, "data_base64", &bytes);
        if ((!text || !base64_add(record, text, bytes)) && !record->failed)
            text = NULL;
    }
    if (record->failed)
        return complain_memory();
    if (text && record->bytes > 0)
        return 0;
    complain("Line %" PRIu64 " of %s holds no record: the export was changed.",
             exported->lines.number, exported->name);
    return EXIT_DATA;
}

int exported_next(struct exported *exported, struct buffer *record, bool *ret_is_end)
{
    const char *line;
    size_t bytes;
    uint64_t end;
    int status;
    *ret_is_end = false;
    CLEANUP(json_freep) struct json *json = next_line(exported, &line, &bytes, &status);
    if (status != 0)
        return status;
    if (!json) {
        complain("%s is cut: it has no end behind its record %" PRIu64 ".", exported->name,
                 exported->records);
        return EXIT_DATA;
    }
    if (json_number(json, "wald_export_end", &end)) {
        *ret_is_end = true;
        return check_end(exported, json);
    }
    status = take_record(exported, json, record);
    if (status != 0)
        return status;
    count_line(exported, line, bytes);
    exported->records++;
    return 0;
}
