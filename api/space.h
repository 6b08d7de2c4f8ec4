/*
 * What stands between an append and the disk beside the log itself: is there enough free for it, and
 * is the log within its quota? Below the floor nothing new is taken, before the file system itself
 * fails, so that what has to be written for reading on, trimming and deleting always can be.
 *
 * Free space is asked for at most once in a while: in between it is what was free less what has been
 * let in since. Belongs to the loop's thread.
 */
#ifndef API_SPACE_H
#define API_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api;
struct request;
struct wal;
struct wal_append_options;
struct wal_handler;
struct wal_limits;
struct wal_positions;
struct wal_record;

/* Too little is free: PROBLEM_SPACE_FLOOR. */
#define ERROR_BELOW_FLOOR (-ENOSR)

/* How much is to stay free: so many bytes, or a share of the file system if percent is not 0. */
struct space_floor {
    uint64_t bytes;
    unsigned percent;
    bool is_default; /* SPACE_FLOOR_BYTES, or the share if that is less */
};

#define SPACE_FLOOR_BYTES (UINT64_C(64) << 20)
#define SPACE_FLOOR_PERCENT 5u

uint64_t space_floor_of(const struct space_floor *floor, uint64_t size_bytes);

/* What a new log takes. */
#define SPACE_OF_LOG_BYTES (UINT64_C(96) << 10)

struct space {
    uint64_t free_bytes, floor_bytes; /* when it was looked at last */
    uint64_t let_in_bytes;            /* since then, and what waited for the disk at that time */
    uint64_t looked_us;               /* 0: never */
    bool is_below, is_known;
};

/* The store's own work knows of the floor before the first look. */
void space_begin(struct api *api);

/* Whether so many bytes more may be written: no if less than the floor is free, by what is known. */
bool space_admits(struct api *api, uint64_t bytes);

/* wal_append() of records, if there is space for them and the log is within its quota.
 * Errors: of wal_append(); ERROR_BELOW_FLOOR. */
int space_append(struct api *api, struct wal *wal, const struct wal_record *records, size_t count,
                 const struct wal_append_options *options, struct wal_handler *handler);

/* Answers with what ERROR_BELOW_FLOOR or -EXFULL mean at this moment. */
void space_say_below_floor(struct request *request);
void space_say_over_quota(struct request *request);

/* Whether the next pass of retention is certain to make room for an append of so much. */
bool space_will_come(const struct wal_limits *limits, uint64_t record_bytes_max, uint64_t records,
                     uint64_t bytes);

/* ---- upkeep ---- */

struct upkeep {
    uint64_t due_us;
    bool is_paused; /* the clock is not believed: nothing goes by its age */
};

/* Begins a pass of retention if one is due, and closes files that nobody reads any more. Returns in how
 * many microseconds to come again. */
uint64_t upkeep_run(struct api *api);

#endif
