/* wald dump: what stands in the files of a log. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/file_commands.h"
#include "server/files.h"
#include "wal/base.h"
#include "wal/inspect.h"

#define PREVIEW_BYTES 48

struct dump {
    const char *log;
    uint64_t from, limit, shown;
    bool json, live, data, headers;
};

static void print_base64(const uint8_t *data, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes; i += 3) {
        uint32_t group = (uint32_t)data[i] << 16;
        group |= i + 1 < bytes ? (uint32_t)data[i + 1] << 8 : 0;
        group |= i + 2 < bytes ? (uint32_t)data[i + 2] : 0;
        putchar(digits[group >> 18]);
        putchar(digits[group >> 12 & 63]);
        putchar(i + 1 < bytes ? digits[group >> 6 & 63] : '=');
        putchar(i + 2 < bytes ? digits[group & 63] : '=');
    }
}

static void print_hex(const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        printf("%02x", data[i]);
}

/* For a person: what cannot be shown in one line is a dot. */
static void print_preview(const uint8_t *data, size_t bytes, size_t bytes_max)
{
    putchar('"');
    for (size_t i = 0; i < min_u64(bytes, bytes_max); i++)
        putchar(data[i] >= 0x20 && data[i] < 0x7f && data[i] != '"' ? data[i] : '.');
    printf(bytes > bytes_max ? "\"..." : "\"");
}

static int dump_segment(void *context, const struct inspect_segment *segment)
{
    struct dump *dump = context;
    if (dump->json) {
        printf("{\"kind\":\"segment\",\"segment\":%" PRIu64 ",\"base_offset\":%" PRIu64
               ",\"base_bytes\":%" PRIu64 ",\"base_frame\":%" PRIu64 ",\"previous_end\":%" PRIu64
               ",\"previous_checksum\":%" PRIu32 ",\"created_ns\":%" PRIu64
               ",\"file_bytes\":%" PRIu64 ",\"packed\":%s,\"compressed\":%s,\"log_id\":\"",
               segment->segment_no, segment->base_offset, segment->base_bytes, segment->base_frame,
               segment->prev_end, segment->prev_crc, segment->created_ns, segment->file_bytes,
               segment->is_packed ? "true" : "false", segment->is_compressed ? "true" : "false");
        print_hex(segment->log, sizeof(segment->log));
        printf("\"}\n");
        return 0;
    }
    printf("segment %" PRIu64 "  offsets from %" PRIu64 "  frames from %" PRIu64 "  %" PRIu64
           " bytes%s  log ",
           segment->segment_no, segment->base_offset, segment->base_frame, segment->file_bytes,
           segment->is_compressed ? "  packed, compressed"
           : segment->is_packed   ? "  packed"
                                  : "");
    print_hex(segment->log, sizeof(segment->log));
    putchar('\n');
    return 0;
}

static bool is_wanted(const struct dump *dump, const struct inspect_frame *frame)
{
    return dump->shown < dump->limit &&
           (frame->base_offset + frame->record_count > dump->from ||
            (dump->from == 0 && frame->record_count == 0) || frame->base_offset >= dump->from);
}

static int dump_frame(void *context, const struct inspect_frame *frame)
{
    struct dump *dump = context;
    if (!is_wanted(dump, frame))
        return 0;
    const char *kind = frame->is_state ? "state" : frame->is_clean ? "clean" : "mark";
    if (!frame->is_state && !frame->is_mark)
        kind = frame->is_compressed ? "compressed" : frame->is_packed ? "packed" : "commit";
    if (dump->json)
        printf("{\"kind\":\"frame\",\"type\":\"%s\",\"segment\":%" PRIu64 ",\"position\":%" PRIu64
               ",\"bytes\":%" PRIu64 ",\"frame\":%" PRIu64 ",\"base_offset\":%" PRIu64
               ",\"records\":%" PRIu32 ",\"items\":%" PRIu32 ",\"base_bytes\":%" PRIu64
               ",\"durable_frame\":%" PRIu64 ",\"timestamp_ns\":%" PRIu64 ",\"checksum\":%" PRIu32
               ",\"previous_checksum\":%" PRIu32 "}\n",
               kind, frame->segment_no, frame->position, frame->bytes, frame->frame_no,
               frame->base_offset, frame->record_count, frame->item_count, frame->base_bytes,
               frame->durable_frame, frame->timestamp_ns, frame->crc, frame->prev_crc);
    else
        printf("  frame %" PRIu64 "  %s  at %" PRIu64 "  %" PRIu64 " bytes  offset %" PRIu64
               "  %" PRIu32 " records  %" PRIu32 " items  time %" PRIu64 ".%09" PRIu64 "\n",
               frame->frame_no, kind, frame->position, frame->bytes, frame->base_offset,
               frame->record_count, frame->item_count, frame->timestamp_ns / 1000000000,
               frame->timestamp_ns % 1000000000);
    return 0;
}

static const char *kind_of(const struct inspect_item *item)
{
    static const char *const kinds[] = {
        [INSPECT_RECORD] = "record",
        [INSPECT_SET] = "set",
        [INSPECT_REMOVE] = "remove",
        [INSPECT_TRIM] = "trim",
    };
    return kinds[item->kind];
}

static void dump_item_json(const struct dump *dump, const struct inspect_item *item)
{
    bool is_state = item->kind == INSPECT_SET || item->kind == INSPECT_REMOVE;
    printf("{\"kind\":\"%s\",\"intact\":%s", kind_of(item), item->is_intact ? "true" : "false");
    if (!is_state)
        printf(",\"offset\":%" PRIu64, item->offset);
    if (item->kind == INSPECT_RECORD)
        printf(",\"timestamp_ns\":%" PRIu64 ",\"size\":%" PRIu32 ",\"attribute_bytes\":%" PRIu16,
               item->timestamp_ns, item->data_bytes, item->key_bytes);
    if (is_state && item->is_intact) {
        printf(",\"key\":");
        files_json_text(stdout, item->key, item->key_bytes);
        printf(",\"size\":%" PRIu32, item->data_bytes);
    }
    if (dump->data && item->is_intact && item->kind != INSPECT_TRIM &&
        item->kind != INSPECT_REMOVE) {
        printf(",\"data_base64\":\"");
        print_base64(item->data, item->data_bytes);
        printf("\"");
    }
    printf("}\n");
}

static void dump_item_plain(const struct dump *dump, const struct inspect_item *item)
{
    printf("    %s", kind_of(item));
    if (item->kind == INSPECT_RECORD || item->kind == INSPECT_TRIM)
        printf(" %" PRIu64, item->offset);
    if (item->kind == INSPECT_RECORD)
        printf("  time %" PRIu64 ".%09" PRIu64, item->timestamp_ns / 1000000000,
               item->timestamp_ns % 1000000000);
    if (!item->is_intact) {
        printf("  %" PRIu32 " bytes  DAMAGED\n", item->data_bytes);
        return;
    }
    if (item->kind == INSPECT_SET || item->kind == INSPECT_REMOVE) {
        putchar(' ');
        print_preview(item->key, item->key_bytes, SIZE_MAX);
    }
    if (item->kind != INSPECT_TRIM)
        printf("  %" PRIu32 " bytes", item->data_bytes);
    if (dump->data && item->kind != INSPECT_TRIM && item->data_bytes > 0) {
        printf("  ");
        print_preview(item->data, item->data_bytes, PREVIEW_BYTES);
    }
    putchar('\n');
}

static int dump_item(void *context, const struct inspect_frame *frame,
                     const struct inspect_item *item)
{
    struct dump *dump = context;
    bool is_record = item->kind == INSPECT_RECORD;
    if (dump->headers || !is_wanted(dump, frame) || (is_record && item->offset < dump->from))
        return 0;
    dump->shown += is_record;
    if (dump->json)
        dump_item_json(dump, item);
    else
        dump_item_plain(dump, item);
    return 0;
}

static void print_damage(const struct dump *dump, const struct inspect_damage *damage)
{
    if (dump->json)
        printf("{\"kind\":\"damage\",\"segment\":%" PRIu64 ",\"position\":%" PRIu64
               ",\"end\":%" PRIu64 ",\"offset\":%" PRIu64 ",\"what\":\"%s\"}\n",
               damage->segment_no, damage->position, damage->end, damage->offset, damage->what);
    else
        printf("damage in segment %" PRIu64 ", bytes %" PRIu64 " to %" PRIu64
               ", from offset %" PRIu64 ": %s\n",
               damage->segment_no, damage->position, damage->end, damage->offset, damage->what);
}

static int dump_log(void *context, const char *name, const char *path)
{
    struct dump *dump = context;
    const struct inspect_visitor visitor = {
        .context = dump, .segment = dump_segment, .frame = dump_frame, .item = dump_item};
    struct inspection found;
    dump->shown = 0;
    if (dump->json) {
        printf("{\"kind\":\"log\",\"log\":");
        files_json_text(stdout, name, strlen(name));
        printf("}\n");
    } else {
        printf("log %s\n", name);
    }
    int rc = wal_inspect_path(path, &visitor, &found);
    if (rc < 0)
        return files_error(path, rc);
    for (size_t i = 0; i < found.damage_count; i++)
        print_damage(dump, &found.damages[i]);
    int status = found.verdict == INSPECT_DAMAGED ? FILES_DAMAGED : FILES_OK;
    inspection_done(&found);
    return status;
}

int command_dump(int argc, const char *const *argv)
{
    struct dump dump = {.limit = UINT64_MAX};
    const struct files_option options[] = {
        {.name = "log", .help = "NAME  only this log of the directory", .text = &dump.log},
        {.name = "from", .help = "OFFSET  begins at this record", .number = &dump.from},
        {.name = "limit", .help = "N  shows so many records of each log", .number = &dump.limit},
        {.name = "headers", .help = "no items, only segments and frames", .flag = &dump.headers},
        {.name = "data", .help = "what records and keys hold, too", .flag = &dump.data},
        {.name = "json", .help = "a JSON object a line; data in base64", .flag = &dump.json},
        {.name = "live", .help = "beside a service that is running", .flag = &dump.live},
    };
    static const char about[] =
        "Prints what stands in the files of logs: segments, frames, and the records, state keys\n"
        "and trims in them. Changes nothing on the disk. Damage is named at the end.\n";
    static const char statuses[] =
        "exit status: 0 done; 1 done, and there is damage; 64 usage; 65 newer version; 71 no memory;\n"
        "74 input or output; 75 in use by a service\n";
    const struct files_usage usage = {"DIR|LOG-DIR",       about, statuses, options,
                                      ARRAY_SIZE(options), 1,     1};
    const char *path;
    unsigned count;
    int status = files_options(&usage, argc, argv, &path, &count);
    if (status >= 0)
        return status;
    return files_finish(files_each_log(path, dump.log, dump.live, dump_log, &dump));
}
