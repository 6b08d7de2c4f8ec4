/* wald verify: is what the files of logs hold as it was written? */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/file_commands.h"
#include "server/files.h"
#include "wal/base.h"
#include "wal/inspect.h"

struct verify {
    const char *log;
    bool json, live, quiet;
    bool comma; /* in the list of logs */
    struct files_bar bar;
};

static int show_progress(void *context, uint64_t bytes, uint64_t total_bytes)
{
    files_bar_show(context, bytes, total_bytes);
    return 0;
}

static const char *verdict_of(const struct verify *verify, const struct inspection *found)
{
    if (found->verdict == INSPECT_DAMAGED)
        return "damaged";
    if (found->verdict == INSPECT_TORN)
        return verify->live ? "writing" : "torn";
    return "intact";
}

static void print_damage(const char *name, const struct inspect_damage *damage)
{
    printf("%s: %s: %020" PRIu64 ".seg", name, damage->known ? "known" : "damage",
           damage->segment_no);
    if (damage->end > 0)
        printf(" bytes %" PRIu64 " to %" PRIu64, damage->position, damage->end);
    if (damage->offset_end == INSPECT_UNKNOWN)
        printf(", offsets from %" PRIu64, damage->offset);
    else if (damage->offset_end > damage->offset)
        printf(", offsets %" PRIu64 " to %" PRIu64, damage->offset, damage->offset_end - 1);
    else
        printf(", no record");
    printf(": %s\n", damage->what);
}

static void print_plain(const struct verify *verify, const char *name,
                        const struct inspection *found)
{
    for (size_t i = 0; i < found->damage_count; i++)
        print_damage(name, &found->damages[i]);
    if (found->torn_end > 0)
        printf("%s: torn: %020" PRIu64 ".seg bytes %" PRIu64 " to %" PRIu64
               ": the end of a write that was never acknowledged; opening the log clears it\n",
               name, found->torn_segment, found->torn_position, found->torn_end);
    if (verify->quiet)
        return;
    printf("%s: %s: %" PRIu64 " records from offset %" PRIu64 " to %" PRIu64 ", %" PRIu64
           " frames, %" PRIu64 " segments, %" PRIu64 " bytes\n",
           name, verdict_of(verify, found), found->records, found->first_offset, found->next_offset,
           found->frames, found->segments, found->bytes);
}

static void print_json(struct verify *verify, const char *name, const struct inspection *found)
{
    printf("%s{\"log\":", verify->comma ? "," : "");
    verify->comma = true;
    files_json_text(stdout, name, strlen(name));
    printf(",\"verdict\":\"%s\",\"first_offset\":%" PRIu64 ",\"next_offset\":%" PRIu64
           ",\"records\":%" PRIu64 ",\"frames\":%" PRIu64 ",\"segments\":%" PRIu64
           ",\"bytes\":%" PRIu64 ",\"closed_clean\":%s,\"damages\":[",
           verdict_of(verify, found), found->first_offset, found->next_offset, found->records,
           found->frames, found->segments, found->bytes, found->clean ? "true" : "false");
    for (size_t i = 0; i < found->damage_count; i++) {
        const struct inspect_damage *damage = &found->damages[i];
        printf("%s{\"file\":\"%020" PRIu64 ".seg\",\"position\":%" PRIu64 ",\"end\":%" PRIu64
               ",\"offset\":%" PRIu64 ",\"offset_end\":",
               i ? "," : "", damage->segment_no, damage->position, damage->end, damage->offset);
        if (damage->offset_end == INSPECT_UNKNOWN)
            printf("null");
        else
            printf("%" PRIu64, damage->offset_end);
        printf(",\"known\":%s,\"what\":\"%s\"}", damage->known ? "true" : "false", damage->what);
    }
    printf("]");
    if (found->torn_end > 0)
        printf(",\"torn\":{\"file\":\"%020" PRIu64 ".seg\",\"position\":%" PRIu64
               ",\"end\":%" PRIu64 "}",
               found->torn_segment, found->torn_position, found->torn_end);
    printf("}");
}

static int verify_log(void *context, const char *name, const char *path)
{
    struct verify *verify = context;
    verify->bar.what = name;
    const struct inspect_visitor visitor = {.context = &verify->bar, .progress = show_progress};
    struct inspection found;
    int rc = wal_inspect_path(path, &visitor, &found);
    files_bar_clear(&verify->bar);
    if (rc < 0)
        return files_error(path, rc);
    if (verify->json)
        print_json(verify, name, &found);
    else
        print_plain(verify, name, &found);
    int status = found.verdict == INSPECT_DAMAGED                 ? FILES_DAMAGED
                 : found.verdict == INSPECT_TORN && !verify->live ? FILES_TORN
                                                                  : FILES_OK;
    inspection_done(&found);
    return status;
}

int command_verify(int argc, const char *const *argv)
{
    struct verify verify = {0};
    const struct files_option options[] = {
        {.name = "log", .help = "NAME  only this log of the directory", .text = &verify.log},
        {.name = "json", .help = "one JSON object on stdout", .flag = &verify.json},
        {.name = "quiet", .help = "says nothing of what is as it should be", .flag = &verify.quiet},
        {.name = "live",
         .help = "beside a service that is running: see above",
         .flag = &verify.live},
    };
    static const char about[] =
        "Reads every segment of the logs in a data directory, or of one log by its folder,\n"
        "and names each place that is not as it was written. Changes nothing on the disk.\n"
        "A directory that a service has open is refused, since its files change meanwhile;\n"
        "with --live it is read all the same, and what looks torn counts as being written.\n";
    static const char statuses[] =
        "exit status: 0 as written, or known damage that readers are told of; 1 damage; 2 torn end\n"
        "alone, never acknowledged; 64 usage; 65 newer version; 71 no memory; 74 input or output;\n"
        "75 in use by a service\n";
    const struct files_usage usage = {"DIR|LOG-DIR",       about, statuses, options,
                                      ARRAY_SIZE(options), 1,     1};
    const char *path;
    unsigned count;
    int status = files_options(&usage, argc, argv, &path, &count);
    if (status >= 0)
        return status;
    if (verify.json)
        printf("{\"logs\":[");
    status = files_each_log(path, verify.log, verify.live, verify_log, &verify);
    if (verify.json)
        printf("],\"status\":%d}\n", status);
    return files_finish(status);
}
