/* wald repair: makes damaged logs take appends again. */
#include "wal/repair.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/file_commands.h"
#include "server/files.h"
#include "wal/base.h"
#include "wal/inspect.h"
#include "wal/store.h"

struct repair_command {
    const char *log;
    bool yes, json, comma;
    struct store *store;
};

static const char *const plans[] = {
    [REPAIR_NOTHING] = "nothing",        [REPAIR_TORN] = "clear_torn_end",
    [REPAIR_SET_ASIDE] = "set_aside",    [REPAIR_NEW] = "set_aside_and_new_segment",
    [REPAIR_SEGMENTS] = "mend_segments", [REPAIR_IMPOSSIBLE] = "impossible",
};

static const char *const told[] = {
    [REPAIR_NOTHING] = "there is nothing to repair",
    [REPAIR_TORN] = "the end of a write that was never acknowledged is set aside and cleared",
    [REPAIR_SET_ASIDE] = "copies of the damaged bytes are set aside; readers are told of the gap",
    [REPAIR_NEW] =
        "copies of the damaged bytes are set aside, readers are told of the gap, and the "
        "log goes on in a new segment",
    [REPAIR_SEGMENTS] =
        "a header or a file that is lost is made again, from what stands around it, or "
        "as a gap; then the rest is looked at",
    [REPAIR_IMPOSSIBLE] =
        "that cannot be repaired here: no header of a segment is whole, or two claim "
        "the same offsets. Bring the files back from a copy",
};

static void print_one(struct repair_command *command, const char *name, enum repair_plan plan,
                      unsigned mended)
{
    if (!command->json) {
        if (mended > 0)
            printf("%s: headers and files of segments made again: %u\n", name, mended);
        printf("%s: %s%s\n", name, command->yes ? "" : "would do: ", told[plan]);
        return;
    }
    printf("%s{\"log\":", command->comma ? "," : "");
    command->comma = true;
    files_json_text(stdout, name, strlen(name));
    printf(",\"plan\":\"%s\",\"mended\":%u}", plans[plan], mended);
}

static int plan_log(void *context, const char *name, const char *path)
{
    struct repair_command *command = context;
    struct inspection found;
    int rc = wal_inspect_path(path, NULL, &found);
    if (rc < 0)
        return files_error(path, rc);
    enum repair_plan plan = repair_plan(&found);
    inspection_done(&found);
    print_one(command, name, plan, 0);
    return plan == REPAIR_NOTHING ? FILES_OK : plan == REPAIR_TORN ? FILES_TORN : FILES_DAMAGED;
}

static int act_on_log(void *context, const char *name, const char *path)
{
    struct repair_command *command = context;
    enum repair_plan plan;
    unsigned mended;
    int rc = store_repair(command->store, name, &plan, &mended);
    if (rc < 0 && rc != -EBADMSG)
        return files_error(path, rc);
    if (rc < 0)
        plan = REPAIR_IMPOSSIBLE;
    print_one(command, name, plan, mended);
    return rc < 0 ? FILES_DAMAGED : FILES_OK;
}

static int just_look(void *context, const char *name, const char *path)
{
    return FILES_OK;
}

static int act(struct repair_command *command, const char *path)
{
    char dir[4096], name[4096];
    struct store_config config;
    char reason[256];
    bool is_log = files_is_log(path);
    if (is_log && !files_split(path, dir, name, sizeof(dir))) {
        files_complain("%s is not in a data directory (DIR/logs/NAME): copy it into one first.",
                       path);
        return FILES_USAGE;
    }
    if (is_log)
        command->log = name;
    else
        snprintf(dir, sizeof(dir), "%s", path);
    /* A directory that is none would be made one. */
    int status = files_each_log(dir, command->log, false, just_look, NULL);
    if (status != FILES_OK)
        return status;
    store_config_default(&config);
    config.lock_timeout_ms = 0;
    int rc = store_open(&command->store, dir, &config, reason);
    if (rc == -EWOULDBLOCK)
        return files_error(dir, rc);
    if (rc < 0) {
        files_complain("%s cannot be opened: %s", dir, reason);
        return FILES_IO;
    }
    status = files_each_log(dir, command->log, true, act_on_log, command);
    rc = store_close(command->store, UINT64_MAX);
    return rc < 0 ? files_worse(status, files_error(dir, rc)) : status;
}

int command_repair(int argc, const char *const *argv)
{
    struct repair_command command = {0};
    const struct files_option options[] = {
        {.name = "log", .help = "NAME  only this log of the directory", .text = &command.log},
        {.name = "yes",
         .help = "does it; without, it only says what it would do",
         .flag = &command.yes},
        {.name = "json", .help = "one JSON object on stdout", .flag = &command.json},
    };
    static const char about[] =
        "Makes damaged logs take appends again. No byte is thrown away: what is damaged is copied\n"
        "to NUMBER.seg.damaged.BEGIN-END beside the segment first. Everything intact keeps its\n"
        "offset and is served; what is not stays a gap that readers are told of. Changes of a\n"
        "log's state (settings, producers) in a damaged frame are lost: a producer that repeats an\n"
        "append of that time may be taken for new. Stop the service first.\n";
    static const char statuses[] =
        "exit status: 0 nothing to do, or done; 1 (without --yes) damage that it would repair, or\n"
        "what cannot be repaired; 2 a torn end alone that it would clear; 64 usage; 65 newer\n"
        "version; 71 no memory; 74 input or output; 75 in use by a service\n";
    const struct files_usage usage = {"DIR|LOG-DIR",       about, statuses, options,
                                      ARRAY_SIZE(options), 1,     1};
    const char *path;
    unsigned count;
    int status = files_options(&usage, argc, argv, &path, &count);
    if (status >= 0)
        return status;
    if (command.json)
        printf("{\"logs\":[");
    status = command.yes ? act(&command, path)
                         : files_each_log(path, command.log, false, plan_log, &command);
    if (command.json)
        printf("],\"status\":%d}\n", status);
    return files_finish(status);
}
