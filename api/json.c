/*
 * The only file that knows jansson, and it asks it two things: what a document of settings says, and
 * whether bytes are UTF-8 and how they look as a JSON string. Names of logs, numbers and our own words
 * need no escaping and are written as they are: receipts are on the hot path.
 */
#include "api/json.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "api/parse.h"
#include "wal/base.h"

static int add_piece(const char *piece, size_t bytes, void *context)
{
    text_add(context, piece, bytes);
    return 0;
}

/* Writes a value and gives it back; NULL is a value there was no memory for. */
static void add_value(struct text *text, json_t *value)
{
    if (!value || json_dump_callback(value, add_piece, text, JSON_COMPACT | JSON_ENCODE_ANY) < 0)
        text->failed = true;
    json_decref(value);
}

/* A member's name, and the comma that the members before it call for. */
static void add_name(struct text *text, const char *name)
{
    bool first = text->failed || text->data[text->bytes - 1] == '{';
    text_format(text, "%s\"%s\":", first ? "" : ",", name);
}

static void add_number(struct text *text, const char *name, uint64_t number)
{
    add_name(text, name);
    text_format(text, "%" PRIu64, number);
}

static void add_real(struct text *text, const char *name, double number)
{
    add_name(text, name);
    text_format(text, "%.3f", number);
}

static void add_string(struct text *text, const char *name, const char *string)
{
    add_name(text, name);
    add_value(text, json_string(string));
}

static void add_bool(struct text *text, const char *name, bool value)
{
    add_name(text, name);
    text_format(text, value ? "true" : "false");
}

static void open_object(struct text *text)
{
    text_add(text, "{", 1);
}

static void close_object(struct text *text)
{
    text_add(text, "}", 1);
}

static void open_member(struct text *text, const char *name)
{
    add_name(text, name);
    open_object(text);
}

/* ---- checks ---- */

static void add_checks(struct text *text, const struct json_check *checks, size_t count)
{
    add_name(text, "checks");
    text_add(text, "[", 1);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            text_add(text, ",", 1);
        open_object(text);
        add_string(text, "name", checks[i].name);
        add_string(text, "status", checks[i].ok ? "ok" : "failed");
        add_string(text, "text", checks[i].text);
        close_object(text);
    }
    text_add(text, "]", 1);
}

void json_add_checks(struct text *text, const struct json_check *checks, size_t count)
{
    open_object(text);
    add_string(text, "status", "ok");
    add_checks(text, checks, count);
    text_add(text, "}\n", 2);
}

/* ---- problems ---- */

void json_add_problem(struct text *text, const struct json_problem *problem)
{
    char type[64];
    snprintf(type, sizeof(type), "/problems/%s", problem->type);

    open_object(text);
    add_string(text, "type", type);
    add_string(text, "title", problem->title);
    add_number(text, "status", problem->status);
    add_string(text, "detail", problem->detail);
    if (problem->outcome_unknown)
        add_string(text, "outcome", "unknown");
    if (problem->member)
        add_number(text, problem->member, problem->number);
    if (problem->check_count > 0)
        add_checks(text, problem->checks, problem->check_count);
    text_add(text, "}\n", 2);
}

/* ---- appends and records ---- */

void json_add_receipt(struct text *text, const struct json_receipt *receipt)
{
    text_add_string(text, "{\"log\":\"");
    text_add_string(text, receipt->log);
    text_add_string(text, "\",\"offset\":");
    text_add_number(text, receipt->offset);
    text_add_string(text, ",\"count\":");
    text_add_number(text, receipt->count);
    text_add_string(text, ",\"next_offset\":");
    text_add_number(text, receipt->offset + receipt->count);
    text_add_string(text, ",\"committed_offset\":");
    text_add_number(text, receipt->committed_offset);
    text_add_string(text, ",\"durability\":\"");
    text_add_string(text, receipt->durability);
    text_add_string(text, "\",\"bytes\":");
    text_add_number(text, receipt->bytes);
    text_add_string(text, "}\n");
}

void json_add_duplicate(struct text *text, const char *log, uint64_t committed_offset,
                        const char *durability)
{
    text_format(text,
                "{\"log\":\"%s\",\"duplicate\":true,\"committed_offset\":%" PRIu64
                ",\"durability\":\"%s\"}\n",
                log, committed_offset, durability);
}

void json_add_record(struct text *text, const struct wal_entry *entry, bool base64)
{
    char timestamp[TIMESTAMP_BYTES];
    timestamp_print(timestamp, entry->timestamp_ns);
    text_format(text, "{\"offset\":%" PRIu64 ",\"timestamp\":\"%s\"", entry->offset, timestamp);
    /* NULL for what is not UTF-8, and for want of memory, which only errno tells. */
    errno = 0;
    json_t *string = base64 ? NULL : json_stringn(entry->data, entry->size);
    if (!string && errno == ENOMEM) {
        text->failed = true;
    } else if (string) {
        text_format(text, ",\"data\":");
        add_value(text, string);
        text_add(text, "}", 1);
    } else {
        text_format(text, ",\"data_base64\":\"");
        text_add_base64(text, entry->data, entry->size);
        text_add(text, "\"}", 2);
    }
}

void json_add_positions(struct text *text, const char *log, const struct wal_positions *positions)
{
    text_format(text, "{\"log\":\"%s\",\"first_offset\":%" PRIu64, log, positions->first_offset);
    text_format(text, ",\"committed_offset\":%" PRIu64 ",\"next_offset\":%" PRIu64 "}\n",
                positions->committed_offset, positions->next_offset);
}

/* ---- the list of logs ---- */

void json_names_begin(struct json_names *names, struct text *text)
{
    *names = (struct json_names){.text = text};
    text_format(text, "{\"logs\":[");
}

void json_names_add(struct json_names *names, const char *name)
{
    size_t bytes = strlen(name);
    must(bytes < sizeof(names->last));
    text_format(names->text, "%s{\"name\":\"%s\"}", names->count++ ? "," : "", name);
    memcpy(names->last, name, bytes + 1);
}

void json_names_end(struct json_names *names, bool more)
{
    if (more)
        text_format(names->text, "],\"next_after\":\"%s\"}\n", names->last);
    else
        text_format(names->text, "]}\n");
}

/* ---- settings ---- */

/* Names what the client sent, without what could not stand in a text for people. */
static void quote(char ret_quoted[48], const char *string)
{
    int bytes = snprintf(ret_quoted, 48, "%.44s%s", string, strlen(string) > 44 ? "..." : "");
    for (int i = 0; i < bytes; i++) {
        if (ret_quoted[i] < ' ' || ret_quoted[i] > '~' || ret_quoted[i] == '"')
            ret_quoted[i] = '?';
    }
}

static bool read_durability(const json_t *value, struct settings_wish *wish, char *ret_advice)
{
    const char *string = json_string_value(value);
    wish->names_durability = true;
    if (string && (strcmp(string, "committed") == 0 || strcmp(string, "none") == 0)) {
        wish->settings.floor_committed = strcmp(string, "committed") == 0;
        return true;
    }
    snprintf(ret_advice, JSON_ADVICE_BYTES,
             "\"durability\" is \"committed\", which lets no append ask for an answer before it "
             "is durable, or \"none\", which does.");
    return false;
}

/* In seconds some three centuries; every other number of JSON that all readers take. */
static uint64_t limit_max(const struct settings_limit *limit)
{
    return limit->unit > 1 ? UINT64_C(10000000000) : (UINT64_C(1) << 53) - 1;
}

static bool read_limit(size_t number, const json_t *value, struct settings_wish *wish,
                       char *ret_advice)
{
    const struct settings_limit *limit = &settings_limits[number];
    json_int_t integer = json_integer_value(value);
    if (json_is_null(value)) {
        settings_wish_limit(wish, number, WAL_LIMIT_DEFAULT);
        return true;
    }
    if (json_is_integer(value) && integer >= 0 && (uint64_t)integer <= limit_max(limit)) {
        settings_wish_limit(wish, number, (uint64_t)integer * limit->unit);
        return true;
    }
    snprintf(ret_advice, JSON_ADVICE_BYTES,
             "\"%s\" of \"%s\" is a whole number%s from 0 to %" PRIu64 ", where 0 is no limit; or "
             "null: what the service has for all logs.",
             limit->name, limit->group, limit->unit > 1 ? " of seconds" : "", limit_max(limit));
    return false;
}

/* One member of "retention" or "quota". */
static bool read_member(const char *group, const char *name, const json_t *value,
                        struct settings_wish *wish, char *ret_advice)
{
    char quoted[48];
    for (size_t i = 0; i < SETTINGS_LIMITS; i++) {
        if (strcmp(settings_limits[i].group, group) == 0 &&
            strcmp(settings_limits[i].name, name) == 0)
            return read_limit(i, value, wish, ret_advice);
    }
    quote(quoted, name);
    snprintf(ret_advice, JSON_ADVICE_BYTES,
             "\"%s\" is not in \"%s\". There are \"bytes\" and \"records\", and in \"retention\" "
             "\"age\", in seconds. Leave the others out.",
             quoted, group);
    return false;
}

static bool read_group(const char *group, const json_t *value, struct settings_wish *wish,
                       char *ret_advice)
{
    bool fine = json_is_object(value) || json_is_null(value);
    if (!fine)
        snprintf(ret_advice, JSON_ADVICE_BYTES,
                 "\"%s\" is an object, such as {\"bytes\":1073741824}, or null.", group);
    for (size_t i = 0; i < SETTINGS_LIMITS && json_is_null(value); i++) {
        if (strcmp(settings_limits[i].group, group) == 0)
            settings_wish_limit(wish, i, WAL_LIMIT_DEFAULT);
    }
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)value, name, member)
    {
        fine = fine && read_member(group, name, member, wish, ret_advice);
    }
    return fine;
}

static bool read_setting(const char *name, const json_t *value, struct settings_wish *wish,
                         char *ret_advice)
{
    char quoted[48];
    if (strcmp(name, "durability") == 0)
        return read_durability(value, wish, ret_advice);
    if (strcmp(name, "retention") == 0 || strcmp(name, "quota") == 0)
        return read_group(name, value, wish, ret_advice);
    quote(quoted, name);
    snprintf(ret_advice, JSON_ADVICE_BYTES,
             "\"%s\" is no setting of a log. There are \"durability\", \"retention\" and "
             "\"quota\". Leave the others out.",
             quoted);
    return false;
}

bool json_read_settings(const char *body, size_t bytes, struct settings_wish *ret_wish,
                        char ret_advice[JSON_ADVICE_BYTES])
{
    *ret_wish = (struct settings_wish){0};
    wal_limits_parse("", 0, &ret_wish->settings.limits);
    errno = 0; /* jansson does not always tell that it is short of memory: malloc() does */
    if (bytes == 0)
        return true;
    json_error_t error;
    json_t *document = json_loadb(body, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!document) {
        bool twice = json_error_code(&error) == json_error_duplicate_key;
        snprintf(ret_advice, JSON_ADVICE_BYTES,
                 "The body is not JSON that can be taken: %s at line %d, column %d. Send an object "
                 "such as {\"durability\":\"committed\"}, or no body for the defaults.",
                 twice ? "a member is there twice" : "it goes wrong", error.line, error.column);
        return false;
    }
    bool fine = json_is_object(document);
    if (!fine)
        snprintf(ret_advice, JSON_ADVICE_BYTES,
                 "Settings are a JSON object, such as {\"durability\":\"committed\"}.");
    const char *name;
    json_t *value;
    json_object_foreach(document, name, value)
    {
        fine = fine && read_setting(name, value, ret_wish, ret_advice);
    }
    json_decref(document);
    return fine;
}

/* ---- stats ---- */

static void add_latency(struct text *text, const char *name, const struct wal_latency *latency)
{
    open_member(text, name);
    add_number(text, "count", latency->count);
    add_number(text, "p50", latency->p50_us);
    add_number(text, "p99", latency->p99_us);
    add_number(text, "max", latency->max_us);
    add_number(text, "sum", latency->sum_us);
    close_object(text);
}

static void add_recovery(struct text *text, const struct wal_recovery *recovery)
{
    open_member(text, "recovery");
    add_bool(text, "clean", recovery->clean);
    add_number(text, "frames", recovery->frames);
    add_number(text, "records", recovery->records);
    add_number(text, "torn_bytes", recovery->torn_bytes);
    if (recovery->torn_bytes > 0)
        add_number(text, "torn_offset", recovery->torn_offset);
    if (recovery->damaged_offset != UINT64_MAX)
        add_number(text, "damaged_offset", recovery->damaged_offset);
    close_object(text);
}

static void add_io(struct text *text, const struct store_stats *store)
{
    open_member(text, "io");
    add_string(text, "backend", store->backend);
    add_string(text, "reason", store->reason);
    add_bool(text, "direct", store->direct);
    close_object(text);
}

static const char *state_of(int status)
{
    switch (status) {
    case 0: return "ok";
    case -ESHUTDOWN: return "closing";
    case -EBADMSG: return "damaged";
    default: return "failed";
    }
}

static void add_damages(struct text *text, const struct json_damages *damages)
{
    add_number(text, "damaged_places", damages->count);
    add_name(text, "damage");
    text_add(text, "[", 1);
    for (size_t i = 0; i < damages->count && i < JSON_DAMAGES_MAX; i++) {
        const struct store_damage *damage = &damages->places[i];
        if (i > 0)
            text_add(text, ",", 1);
        open_object(text);
        add_number(text, "segment", damage->segment_no);
        add_number(text, "begin", damage->position);
        add_number(text, "end", damage->end);
        add_number(text, "offset", damage->offset);
        if (damage->offset_end != UINT64_MAX)
            add_number(text, "offset_end", damage->offset_end);
        add_string(text, "what", damage->what);
        close_object(text);
    }
    text_add(text, "]", 1);
}

static void add_scrub(struct text *text, const struct store_scrub *scrub)
{
    open_member(text, "scrub");
    add_number(text, "bytes", scrub->bytes);
    add_number(text, "logs", scrub->logs);
    add_number(text, "passes", scrub->passes);
    if (scrub->passes > 0)
        add_real(text, "last_pass_age_seconds", (double)scrub->age_us / 1e6);
    add_number(text, "errors", scrub->errors);
    add_number(text, "found", scrub->found);
    add_number(text, "places", scrub->places);
    close_object(text);
}

static double per(uint64_t sum, uint64_t count)
{
    return count > 0 ? (double)sum / (double)count : 0;
}

/* What a log and the store as a whole have in common. */
struct commit_counters {
    uint64_t commits, records, records_max, bytes, syncs;
    const struct wal_latency *commit_latency, *sync_latency;
};

static void add_commits(struct text *text, const struct commit_counters *counters)
{
    add_number(text, "commits", counters->commits);
    add_number(text, "commit_records", counters->records);
    add_number(text, "commit_records_max", counters->records_max);
    add_number(text, "commit_bytes", counters->bytes);
    add_real(text, "records_per_commit", per(counters->records, counters->commits));
    add_real(text, "bytes_per_commit", per(counters->bytes, counters->commits));
    add_number(text, "syncs", counters->syncs);
    add_latency(text, "commit_latency_us", counters->commit_latency);
    add_latency(text, "sync_latency_us", counters->sync_latency);
}

static void add_id(struct text *text, const uint8_t id[16])
{
    add_name(text, "id");
    text_add(text, "\"", 1);
    for (size_t i = 0; i < 16; i++)
        text_format(text, "%02x", id[i]);
    text_add(text, "\"", 1);
}

static void add_state(struct text *text, int status)
{
    add_string(text, "state", state_of(status));
    if (status < 0)
        add_string(text, "error", strerror(-status));
}

static void add_limit(struct text *text, const struct settings_limit *limit, uint64_t value)
{
    if (value % limit->unit == 0)
        add_number(text, limit->name, value / limit->unit);
    else
        add_real(text, limit->name, (double)value / (double)limit->unit);
}

/* Those that say something, in their groups; of what holds, that is a limit that there is. */
static void add_limits(struct text *text, const struct wal_limits *limits, uint64_t says_nothing)
{
    const char *group = NULL;
    for (size_t i = 0; i < SETTINGS_LIMITS; i++) {
        const struct settings_limit *limit = &settings_limits[i];
        uint64_t value = settings_limit_get(limits, i);
        if (value == says_nothing)
            continue;
        if (group && strcmp(group, limit->group) != 0)
            close_object(text);
        if (!group || strcmp(group, limit->group) != 0)
            open_member(text, limit->group);
        group = limit->group;
        add_limit(text, limit, value);
    }
    if (group)
        close_object(text);
}

void json_add_log(struct text *text, const struct json_log *log)
{
    const struct wal_stats *stats = &log->stats;
    char created[TIMESTAMP_BYTES];
    open_object(text);
    add_string(text, "log", log->name);
    add_id(text, log->id);
    if (log->created_ns > 0) {
        timestamp_print(created, log->created_ns);
        add_string(text, "created", created);
    }
    add_state(text, stats->status);
    open_member(text, "settings");
    add_string(text, "durability", log->settings.floor_committed ? "committed" : "none");
    add_limits(text, &log->settings.limits, WAL_LIMIT_DEFAULT);
    close_object(text);
    add_limits(text, &log->limits, WAL_LIMIT_NONE);
    add_string(text, "content_type", log->content_type);
    add_bool(text, "closed", log->closed);
    if (log->ttl_s)
        add_number(text, "ttl", *log->ttl_s);
    if (log->expires)
        add_string(text, "expires", log->expires);
    if (log->forked_from)
        add_string(text, "forked_from", log->forked_from);
    add_number(text, "first_offset", stats->positions.first_offset);
    add_number(text, "committed_offset", stats->positions.committed_offset);
    add_number(text, "next_offset", stats->positions.next_offset);
    add_number(text, "bytes_on_disk", stats->bytes_on_disk);
    add_number(text, "segments", stats->segments);
    text_add(text, "}\n", 2);
}

static void add_trims(struct text *text, const struct wal_trims *trims)
{
    open_member(text, "trims");
    for (unsigned i = 0; i < WAL_TRIM_REASONS; i++) {
        open_member(text, trim_reason_name((enum wal_trim_reason)i));
        add_number(text, "count", trims[i].count);
        add_number(text, "records", trims[i].records);
        close_object(text);
    }
    close_object(text);
}

static void add_counters(struct text *text, const struct wal_stats *stats)
{
    add_number(text, "total_bytes_written", stats->total_bytes_written);
    add_number(text, "total_operations", stats->total_operations);
    add_number(text, "current_offset", stats->current_offset);
    add_number(text, "pending_entries", stats->pending_entries);
    add_number(text, "pending_bytes", stats->pending_bytes);
    add_number(text, "first_offset", stats->positions.first_offset);
    add_number(text, "committed_offset", stats->positions.committed_offset);
    add_number(text, "next_offset", stats->positions.next_offset);
    add_commits(text, &(struct commit_counters){stats->commits, stats->commit_records,
                                                stats->commit_records_max, stats->commit_bytes,
                                                stats->syncs, &stats->commit_latency,
                                                &stats->sync_latency});
    add_number(text, "bytes_on_disk", stats->bytes_on_disk);
    add_number(text, "segments", stats->segments);
    add_number(text, "rotations", stats->rotations);
    add_number(text, "refusals_queue", stats->refusals_queue);
    add_number(text, "refusals_space", stats->refusals_space);
    add_number(text, "refusals_other", stats->refusals_other);
    add_number(text, "refusals_quota", stats->refusals_quota);
    add_trims(text, stats->trims);
    add_number(text, "write_retries", stats->write_retries);
}

void json_add_log_stats(struct text *text, const char *log, const uint8_t id[16],
                        const struct wal_stats *stats, const struct store_stats *store,
                        const struct json_damages *damages)
{
    open_object(text);
    add_string(text, "log", log);
    add_id(text, id);
    add_state(text, stats->status);
    if (stats->failed_with < 0)
        add_string(text, "failed_with", strerror(-stats->failed_with));
    add_counters(text, stats);
    add_recovery(text, &stats->recovery);
    add_damages(text, damages);
    add_io(text, store);
    text_add(text, "}\n", 2);
}

static void add_requests(struct text *text, const struct snapshot *snapshot)
{
    const struct api_counters *counters = snapshot->counters;
    add_number(text, "requests", counters->requests);
    add_number(text, "requests_in_progress", snapshot->in_progress);
    add_number(text, "requests_aborted", counters->aborted);
    open_member(text, "answers");
    for (unsigned class = 1; class <= 5; class ++) {
        char name[8];
        snprintf(name, sizeof(name), "%uxx", class);
        add_number(text, name, snapshot_answers(snapshot, 100 * class, 100 * class + 100));
    }
    close_object(text);
    open_member(text, "refusals");
    for (unsigned i = 0; i < PROBLEM_COUNT; i++) {
        if (counters->problems[i] > 0)
            add_number(text, problem_type((enum problem)i), counters->problems[i]);
    }
    close_object(text);
    add_number(text, "turns", counters->turns);
    add_number(text, "connections", counters->connections);
    add_number(text, "connections_parked", counters->connections_parked);
    add_number(text, "connections_total", counters->connections_total);
    add_number(text, "connections_refused", counters->connections_refused);
    add_number(text, "tls_handshakes", counters->tls_handshakes);
    add_number(text, "tls_handshakes_failed", counters->tls_handshakes_failed);
    add_number(text, "followers", snapshot->followers);
    add_number(text, "followers_total", snapshot->followers_total);
    add_number(text, "appends_waiting", snapshot->appends_waiting);
}

static void add_totals(struct text *text, const struct store_totals *totals)
{
    add_commits(text, &(struct commit_counters){totals->commits, totals->commit_records,
                                                totals->commit_records_max, totals->commit_bytes,
                                                totals->syncs, &totals->commit_latency,
                                                &totals->sync_latency});
    add_number(text, "rotations", totals->rotations);
    add_number(text, "packed_segments", totals->packs);
    add_number(text, "packed_saved_bytes", totals->pack_bytes_saved);
    add_number(text, "pack_failures", totals->pack_failures);
    add_number(text, "refusals_queue", totals->refusals_queue);
    add_number(text, "refusals_space", totals->refusals_space);
    add_number(text, "refusals_other", totals->refusals_other);
    add_number(text, "refusals_quota", totals->refusals_quota);
    add_trims(text, totals->trims);
    add_number(text, "write_retries", totals->write_retries);
    add_number(text, "write_errors", totals->write_errors);
    add_number(text, "log_failures", totals->failures);
    add_number(text, "logs_created", totals->logs_created);
    add_number(text, "logs_deleted", totals->logs_deleted);
    add_number(text, "name_syncs", totals->name_syncs);
}

static void add_store(struct text *text, const struct store_stats *store, uint64_t floor_bytes)
{
    add_number(text, "log_count", store->logs);
    add_number(text, "logs_open", store->logs_open);
    add_number(text, "logs_failed", store->logs_failed);
    add_number(text, "logs_damaged", store->logs_damaged);
    add_number(text, "write_handles", store->write_handles);
    add_number(text, "memory_bytes", store->memory_bytes);
    add_number(text, "pending_entries", store->pending_records);
    add_number(text, "pending_bytes", store->pending_bytes);
    add_number(text, "bytes_on_disk", store->bytes_on_disk);
    add_number(text, "free_bytes", store->free_bytes);
    add_number(text, "size_bytes", store->size_bytes);
    add_number(text, "floor_bytes", floor_bytes);
    add_number(text, "rounds", store->rounds);
    add_number(text, "writes", store->writes);
}

static void add_disk(struct text *text, const struct store_health *health)
{
    open_member(text, "disk");
    add_bool(text, "writable", health->error == 0);
    if (health->error < 0)
        add_string(text, "write_error", strerror(-health->error));
    add_real(text, "last_write_age_seconds", (double)health->age_us / 1e6);
    if (health->probing)
        add_real(text, "probe_seconds", (double)health->probing_us / 1e6);
    close_object(text);
}

static void add_process(struct text *text, const struct snapshot *snapshot)
{
    const struct process_stats *process = &snapshot->process;
    open_member(text, "process");
    add_real(text, "start_time_seconds", (double)snapshot->started_us / 1e6);
    add_real(text, "cpu_seconds", (double)process->cpu_us / 1e6);
    add_number(text, "resident_bytes", process->resident_bytes);
    add_number(text, "virtual_bytes", process->virtual_bytes);
    add_number(text, "open_fds", process->open_fds);
    add_number(text, "max_fds", process->max_fds);
    close_object(text);
}

static void add_sandbox(struct text *text, const struct snapshot *snapshot)
{
    open_member(text, "sandbox");
    for (unsigned i = 0; i < snapshot->layer_count; i++) {
        open_member(text, snapshot->layers[i].name);
        add_bool(text, "active", snapshot->layers[i].active);
        add_string(text, "text", snapshot->layers[i].text);
        close_object(text);
    }
    close_object(text);
}

void json_add_stats(struct text *text, const struct snapshot *snapshot)
{
    open_object(text);
    add_string(text, "version", snapshot->build.version);
    add_string(text, "state", snapshot->draining ? "stopping" : "ok");
    add_real(text, "uptime_seconds", (double)snapshot->uptime_us / 1e6);
    add_requests(text, snapshot);
    add_store(text, &snapshot->store, snapshot->floor_bytes);
    add_totals(text, &snapshot->store.totals);
    add_scrub(text, &snapshot->store.scrub);
    add_disk(text, &snapshot->health);
    add_bool(text, "retention_paused", snapshot->retention_paused);
    add_process(text, snapshot);
    add_io(text, &snapshot->store);
    add_sandbox(text, snapshot);
    text_add(text, "}\n", 2);
}

void json_add_version(struct text *text, const struct snapshot *snapshot, const char *kernel)
{
    const struct build *build = &snapshot->build;
    open_object(text);
    add_string(text, "name", "wald");
    add_string(text, "version", build->version);
    add_string(text, "build_type", build->type);
    add_string(text, "compiler", build->compiler);
    add_string(text, "libmicrohttpd", build->http_library);
    add_string(text, "jansson", build->json_library);
    add_string(text, "kernel", kernel);
    add_io(text, &snapshot->store);
    text_add(text, "}\n", 2);
}

const char *json_library_version(void)
{
    return jansson_version_str();
}
