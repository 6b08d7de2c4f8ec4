/* Values to JSON. Everything is added to a text; what memory is short for, the text remembers. */
#ifndef API_JSON_H
#define API_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "api/settings.h"
#include "api/snapshot.h"
#include "api/text.h"
#include "wal/store.h"

/* Something that was looked at, and what was found. */
struct json_check {
    const char *name;
    bool ok;
    const char *text;
};

struct json_problem {
    unsigned status;
    const char *type, *title, *detail; /* type: the last part of "/problems/..." */
    bool outcome_unknown;
    const char *member; /* NULL, or the name of one more member with a number */
    uint64_t number;
    const struct json_check *checks; /* a member "checks", if there are any */
    size_t check_count;
};

void json_add_problem(struct text *text, const struct json_problem *problem);

struct json_receipt {
    const char *log;
    uint64_t offset, count, bytes;
    uint64_t committed_offset;
    const char *durability; /* "committed", "none" or "volatile" */
};

void json_add_receipt(struct text *text, const struct json_receipt *receipt);

/* Of an append that an earlier one made, of which nothing else is known any more. */
void json_add_duplicate(struct text *text, const char *log, uint64_t committed_offset,
                        const char *durability);

/* A record as an object: its bytes as text if they are UTF-8, else, or on demand, in base64. */
void json_add_record(struct text *text, const struct wal_entry *entry, bool base64);

void json_add_positions(struct text *text, const char *log, const struct wal_positions *positions);

/* The list of logs is written name by name; `more` says that it did not end there. */
struct json_names {
    struct text *text;
    unsigned count;
    char last[129];
};

void json_names_begin(struct json_names *names, struct text *text);
void json_names_add(struct json_names *names, const char *name);
void json_names_end(struct json_names *names, bool more);

/* What a log is. */
struct json_log {
    const char *name;
    uint8_t id[16];
    uint64_t created_ns; /* 0: not known */
    struct settings settings;
    struct wal_limits limits; /* those that hold for it */
    const char *content_type; /* printable ASCII */
    bool closed;
    /* When it ends by itself and what it is a fork of; NULL: it does not, and it is none. */
    const uint64_t *ttl_s;
    const char *expires, *forked_from;
    struct wal_stats stats;
};

void json_add_log(struct text *text, const struct json_log *log);

/* Reads the settings of a log; no bytes are the defaults. False: they are not acceptable, and
 * ret_advice, in ASCII, says why and what to do; or errno is ENOMEM. */
#define JSON_ADVICE_BYTES 256
bool json_read_settings(const char *body, size_t bytes, struct settings_wish *ret_wish,
                        char ret_advice[JSON_ADVICE_BYTES]);

/* Of a log: `count` may be more than there is room for. */
#define JSON_DAMAGES_MAX 16
struct json_damages {
    struct store_damage places[JSON_DAMAGES_MAX];
    size_t count;
};

void json_add_log_stats(struct text *text, const char *log, const uint8_t id[16],
                        const struct wal_stats *stats, const struct store_stats *store,
                        const struct json_damages *damages);

void json_add_stats(struct text *text, const struct snapshot *snapshot);

/* `kernel`: the release that is running. */
void json_add_version(struct text *text, const struct snapshot *snapshot, const char *kernel);

/* Checks of which none failed. */
void json_add_checks(struct text *text, const struct json_check *checks, size_t count);

const char *json_library_version(void);

#endif
