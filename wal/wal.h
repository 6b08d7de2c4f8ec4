/*
 * One durable log. Records are numbered 0, 1, 2, … without gaps; the number is the record's offset.
 * Two positions tell everything about the end of a log, and every question comes down to them:
 *
 *   next_offset       where the next append goes
 *   committed_offset  records below it survive a power cut; nothing at or above it is ever read
 *
 * wal_append() moves the first, the committer moves the second after each durable write. Logs are
 * opened through a store (store.h). Unless a function says otherwise it may be called from any
 * thread, and returns 0 or a negative errno.
 */
#ifndef WAL_WAL_H
#define WAL_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wal;

/* Ceilings that no configuration passes. */
#define WAL_RECORD_BYTES_MAX (16u << 20)
#define WAL_APPEND_BYTES_MAX (16u << 20)
#define WAL_APPEND_RECORDS_MAX 65536u
#define WAL_STATE_KEY_BYTES_MAX 1024u
#define WAL_STATE_BYTES_MAX (1u << 20)

/* How one log behaves. Every field acts; wal_config_check() refuses what cannot. */
struct wal_config {
    uint32_t batch_records_max; /* records in one group commit, 1 to 65536 … */
    uint32_t batch_bytes_max;   /* … and bytes; a larger single append is a commit of its own */
    uint32_t batch_delay_us;    /* wait this long for company before a commit that is not full;
                                    0: commit at once, and group what queued meanwhile */
    uint32_t record_bytes_max;  /* larger records are refused */
    uint32_t queue_records_max; /* records waiting for a commit; beyond it appends are refused */
    uint64_t queue_bytes_max;   /* bytes waiting, likewise */
    uint64_t segment_bytes;     /* a file of the log; a larger single commit gets a longer file */
    uint32_t space_bytes;       /* space made ready first, a multiple of 4096; grows from there */
    uint32_t mark_idle_us;      /* quiet time after which a mark proves the last commit; 0: none */
};

/* 65536 records and 4 MiB a commit, no delay, 1 MiB a record, 1 Mi records and 64 MiB waiting,
 * 64 MiB a segment, 64 KiB of space, 200 ms. */
void wal_config_default(struct wal_config *ret_config);

/* Errors: -EINVAL: a field is out of range; *ret_field names it and the range (static text). */
int wal_config_check(const struct wal_config *config, const char **ret_field);

/* One record to append. The memory is the caller's and is copied before wal_append() returns. */
struct wal_record {
    const void *data;
    size_t size;
    const void *attributes; /* a list made by wal_attribute_put(), or NULL */
    uint16_t attribute_bytes;
};

/* Well-known attribute types. The log keeps them beside the record and does not interpret them. */
enum wal_attribute_type {
    WAL_ATTRIBUTE_PRODUCER = 1, /* producer id, epoch and sequence, as the caller encodes them */
    WAL_ATTRIBUTE_IDEMPOTENCY_KEY = 2,
    WAL_ATTRIBUTE_HEADER = 3, /* a user header, "name: value"; may repeat */
    WAL_ATTRIBUTE_CONTENT_TYPE = 4,
    WAL_ATTRIBUTE_USER = 1000, /* from here on free for any use */
};

/* Adds an attribute to a list of *bytes bytes (0 to begin) in a buffer of `capacity` bytes.
 * Errors: -EMSGSIZE: no room, or the list would pass 65535 bytes. */
int wal_attribute_put(void *list, size_t capacity, uint16_t *bytes, uint16_t type,
                      const void *value, uint16_t value_bytes);

/* The first attribute of a type; the value points into the list.
 * Errors: -ENOENT: none; -EBADMSG: the list is malformed. */
int wal_attribute_find(const void *list, uint16_t bytes, uint16_t type, const void **ret_value,
                       uint16_t *ret_value_bytes);

/* A change of the log's own state: a small table of keys and values that lives in the log, changes
 * in the same atomic frame as the records beside it, and is repeated whole at the head of each
 * segment, so that trimming loses none of it. Settings and deduplication live here. */
struct wal_state_update {
    const void *key;
    uint16_t key_bytes; /* 1 to WAL_STATE_KEY_BYTES_MAX */
    const void *value;  /* NULL removes the key */
    uint32_t value_bytes;
};

/* Names an append that may still be in flight. A value: copy it, free nothing. */
struct wal_token {
    uint64_t begin, end; /* the records' offsets, [begin, end) */
    uint64_t ticket;     /* private: orders everything queued on this log in this process */
};

/*
 * Called once when an append is durable (status 0) or has failed (a negative errno): by the
 * committer's thread, with no lock held, in order of offsets, never from inside wal_append(). It
 * may append again, poll and read; it must not wait, nor open, close or delete a log, since the
 * thread that would have to do the work is its own: that is an assertion. The struct is the caller's
 * and stays in place until done() is entered, which may be after wal_wait() on the same append.
 */
struct wal_handler {
    void (*done)(struct wal_handler *handler, struct wal_token token, int status);
    /* Set before done(): when the durable write that decided it began, in microseconds of the
     * monotonic clock; 0 if there was none. What came before is waiting, what follows the disk. */
    uint64_t write_began_us;
    struct wal_token token;   /* private */
    struct wal_handler *next; /* private */
};

/* Whether an error given after wal_append() had returned 0 says that nothing was written. */
bool wal_error_is_refusal(int error);

#define WAL_ANY_OFFSET UINT64_MAX

struct wal_append_options {
    uint64_t expected_offset; /* append only if this is next_offset; WAL_ANY_OFFSET: wherever */
    const struct wal_state_update *updates; /* changes committed in the same frame */
    size_t update_count;
};

/*
 * Queues records as one atomic batch: after a crash all of them are there, or none. With `count` 0
 * and updates in `options` only the state changes. `options`, `handler` and `ret_token` may be NULL.
 * Never blocks on the disk.
 *
 * Returning 0 promises nothing yet: the records are durable when the handler gets status 0, or
 * wal_wait() or wal_poll() on the token returns 0. An error that comes later, to the handler or the
 * token: -ENOSPC, -EDQUOT, -EMFILE, -ENFILE, -ENOMEM and -ESHUTDOWN say that nothing was written and
 * that the offsets were not used (wal_error_is_refusal()); with any other the outcome is unknown:
 * the log has failed, and the records may appear, whole, when it is opened again.
 *
 * Errors (nothing was queued, and the handler will not run):
 *   -EINVAL     neither records nor updates, an empty record, malformed attributes or updates
 *   -EMSGSIZE   a record above record_bytes_max, or a batch above WAL_APPEND_BYTES_MAX bytes or
 *               WAL_APPEND_RECORDS_MAX records
 *   -E2BIG      the state would pass WAL_STATE_BYTES_MAX
 *   -ESTALE     expected_offset is not next_offset
 *   -EAGAIN     the queue or the memory for all queues is full: try again later
 *   -EXFULL     the log is at its quota: see struct wal_limits and wal_measure()
 *   -ENOMEM     no memory for a batch
 *   -ESHUTDOWN  the log is being closed or deleted
 *   -EBADMSG    the log is damaged and takes no appends
 *   others      the log failed earlier with this error (-EIO, …) and takes no appends
 */
int wal_append(struct wal *wal, const struct wal_record *records, size_t count,
               const struct wal_append_options *options, struct wal_handler *handler,
               struct wal_token *ret_token);

/* Asks after a token without sleeping.
 * Errors:
 *   -EINPROGRESS  not decided yet
 *   -ENOSPC, …    the append was refused later: see wal_append()
 *   -ESTALE       decided so long ago that its outcome is forgotten, and it may have been refused */
int wal_poll(struct wal *wal, struct wal_token token);

/* Sleeps until a token is decided or timeout_us passed (UINT64_MAX: no limit). On a store that the
 * caller drives, the calling thread does the committer's work meanwhile if it is the driver.
 * Errors: as wal_poll(), with -ETIMEDOUT in place of -EINPROGRESS. */
int wal_wait(struct wal *wal, struct wal_token token, uint64_t timeout_us);

/* A barrier: returns when everything that was appended before the call is durable, and was not refused
 * earlier. Ends a running batch delay early. Errors: as wal_wait() of the newest append. */
int wal_flush(struct wal *wal, uint64_t timeout_us);

/* The barrier for callers that do not sleep: the handler runs on the committer's thread, also when
 * nothing is in flight. Errors: as wal_append(). */
int wal_flush_async(struct wal *wal, struct wal_handler *handler);

/* Starts committing what is queued now, without waiting for it: ends a running batch delay early. */
void wal_submit(struct wal *wal);

/* Drops the records below `before` (at most committed_offset): from the commit of the change on they
 * are never read again, also after a crash; files wholly below are removed after that. A `before`
 * at or below first_offset changes nothing and is fine. `handler` and `ret_token` as wal_append().
 * Errors: as wal_append(), and -ERANGE: before is above committed_offset. */
int wal_trim(struct wal *wal, uint64_t before, struct wal_handler *handler,
             struct wal_token *ret_token);

/* Looks up a state key: the newest value queued, which may not be durable yet; *ret_token then
 * names the append that it rests on (a decided token otherwise). Copies at most `capacity` bytes
 * and sets *ret_bytes to the value's size. `ret_token` may be NULL.
 * Errors: -ENOENT: no such key. */
int wal_state_get(struct wal *wal, const void *key, uint16_t key_bytes, void *value,
                  size_t capacity, size_t *ret_bytes, struct wal_token *ret_token);

/* Calls visit for each state key with its newest value, in no order; a non-zero return ends the
 * walk and is returned. visit runs under the log's lock: it must be short and not call the log. */
int wal_state_each(struct wal *wal,
                   int (*visit)(void *context, const void *key, uint16_t key_bytes,
                                const void *value, uint32_t value_bytes),
                   void *context);

/* The same as wal_state_get() for the newest value that is durable, which belongs to
 * committed_offset as it is at that moment. What is in flight is not seen. Errors: -ENOENT. */
int wal_state_get_committed(struct wal *wal, const void *key, uint16_t key_bytes, void *value,
                            size_t capacity, size_t *ret_bytes);

/* ---- What a log keeps, and how much it takes ---- */

#define WAL_LIMIT_DEFAULT UINT64_MAX /* nothing is said: what the store has for all logs */
#define WAL_LIMIT_NONE 0

/*
 * Limits of one log. Those of retention each say what is kept at least, and a record goes when every
 * one that is set lets it: kept are the newest retain_records records; the newest records that have
 * retain_bytes bytes together; and all that were appended within the last retain_age_us. Quotas are
 * for what is kept: an append that would pass one is refused.
 */
struct wal_limits {
    uint64_t retain_age_us, retain_bytes, retain_records;
    uint64_t quota_bytes, quota_records;
};

/* They stand in the log's state under this key, as text with a word for each that says something, such
 * as "retain-bytes=1048576 quota-records=1000": so they change with wal_append(), and are durable with
 * it. */
#define WAL_LIMITS_KEY "s:limits"
#define WAL_LIMITS_BYTES_MAX 256

/* The text of `limits`, with a zero behind it; how many bytes it has. */
size_t wal_limits_print(const struct wal_limits *limits, char ret_text[WAL_LIMITS_BYTES_MAX]);

/* What a text says. A word that a newer version wrote is passed over. */
void wal_limits_parse(const char *text, size_t bytes, struct wal_limits *ret_limits);

/* What the log's newest state says, which may be in flight (see wal_state_get() on ret_rests_on), and
 * what durably holds for it, with the store's defaults. Either may be NULL. */
void wal_limits_get(struct wal *wal, struct wal_limits *ret_own, struct wal_token *ret_rests_on,
                    struct wal_limits *ret_effective);

/* Why records went. */
enum wal_trim_reason {
    WAL_TRIM_REQUEST, /* wal_trim() */
    WAL_TRIM_AGE,     /* the limit that would have kept more records than the others */
    WAL_TRIM_BYTES,
    WAL_TRIM_RECORDS,
    WAL_TRIM_REASONS
};

struct wal_trims {
    uint64_t count, records; /* trims that moved first_offset, and by how much */
};

/*
 * Trims what the log's limits let go, at once. `realtime_ns` is what age is measured by; 0: the clock
 * is not to be believed, and a limit by age keeps everything. Reads frames of the log. *ret_before is
 * where it was told to begin; first_offset: nothing was to be done. The trim is durable when the token,
 * if one is wanted, is. Errors: as wal_trim(), and from reading.
 */
int wal_retain(struct wal *wal, uint64_t realtime_ns, uint64_t *ret_before,
               struct wal_token *ret_token);

/* How many bytes the log keeps has to be known to compare it with quota_bytes; after a trim and an
 * opening it is not, and taken for as many as it may be. Finds out, by reading a frame: an append that
 * was refused with -EXFULL may be tried again if this returns 1. 0: it was known, or nobody asks for
 * it. Errors: from reading. */
int wal_measure(struct wal *wal);

struct wal_positions {
    uint64_t first_offset;     /* oldest record still kept */
    uint64_t committed_offset; /* records below it are durable */
    uint64_t next_offset;      /* where the next append goes; falls back to committed_offset when
                                  queued appends are refused for want of space */

    /* The same places counted in bytes of records, from the log's beginning, trimmed ones too. Where
     * first_offset is in bytes wal_bytes_before() tells. */
    uint64_t committed_bytes, next_bytes;
};

/* first_offset <= committed_offset <= next_offset, all of one moment. */
void wal_positions(struct wal *wal, struct wal_positions *ret_positions);

/* How many bytes the records below `offset` have together. Reads a frame of the log unless the
 * answer is known.
 * Errors: -ENODATA: beyond committed_offset; -ERANGE: below first_offset; -EBADMSG: the record there
 * is damaged or missing; others from reading. */
int wal_bytes_before(struct wal *wal, uint64_t offset, uint64_t *ret_bytes);

/* Why the log takes no appends: 0 if it does; -ESHUTDOWN, -EBADMSG or the error it failed with. */
int wal_status(struct wal *wal);

const char *wal_name(const struct wal *wal);

/* 16 bytes, new each time a log is made. */
void wal_id(const struct wal *wal, uint8_t ret_id[16]);

/* When the log was made, in nanoseconds of realtime; 0: its first segment is gone, and with it the
 * answer. */
uint64_t wal_created_ns(struct wal *wal);

/* A pointer of the caller's that stays with the open log as long as somebody holds it; NULL at
 * first. It is only kept: not locked, and never looked at. */
void wal_set_user(struct wal *wal, void *user);
void *wal_user(const struct wal *wal);

/* What recovery found when the log was opened. */
struct wal_recovery {
    uint64_t frames;         /* frames read in the last segment */
    uint64_t records;        /* records in the log: committed_offset - first_offset */
    uint64_t torn_bytes;     /* bytes of a torn last write that were set aside and cleared */
    uint64_t torn_offset;    /* where that write would have begun */
    uint64_t damaged_offset; /* first damaged offset, UINT64_MAX: none */
    bool clean;              /* the log had been closed in good order */
};

struct wal_latency {
    uint64_t count, p50_us, p99_us, max_us, sum_us;
};

struct wal_stats {
    /* The five of the original design. */
    uint64_t total_bytes_written; /* payload bytes ever committed, in all lives of the log */
    uint64_t total_operations;    /* records ever committed, likewise: equals committed_offset */
    uint64_t current_offset;      /* equals next_offset */
    uint64_t pending_entries;     /* records queued or in flight */
    uint64_t pending_bytes;       /* their bytes, with item headers */

    struct wal_positions positions;
    uint64_t commits;        /* frames with records, in this life */
    uint64_t syncs;          /* durable writes, marks and rotations included, in this life */
    uint64_t commit_records; /* records in those commits: divided by commits, the group size */
    uint64_t commit_bytes;
    uint64_t commit_records_max; /* largest group */
    uint64_t bytes_on_disk;      /* of all segment files, space made ready included */
    uint64_t segments;
    uint64_t rotations;
    uint64_t refusals_queue; /* appends refused with -EAGAIN */
    uint64_t refusals_space; /* appends refused for want of space */
    uint64_t refusals_other; /* … for another reason that says nothing was written */
    uint64_t refusals_quota; /* appends refused with -EXFULL */
    struct wal_trims trims[WAL_TRIM_REASONS]; /* in this life, as the counters above */
    uint64_t write_retries;                   /* writes sent again after EINTR or EAGAIN */
    struct wal_latency commit_latency; /* from append to durable, the oldest record of each group */
    struct wal_latency sync_latency;   /* of the durable write alone */
    struct wal_recovery recovery;
    int status;      /* wal_status() */
    int failed_with; /* what the disk said when the log failed; 0: it did not fail */
};

void wal_stats(struct wal *wal, struct wal_stats *ret_stats);

/* ---- Reading -------------------------------------------------------------------------------- */

/* A place in a log from which records are read in order. One thread at a time; any number of
 * cursors beside appends, rotation and trim. It never sees a record that is not durable. */
struct wal_cursor;

/* A record read. The pointers stay good until the next call with the same cursor. */
struct wal_entry {
    uint64_t offset;
    uint64_t bytes_before; /* of all records of the log before this one, trimmed ones too */
    uint64_t timestamp_ns; /* realtime of its append, never falling along the log */
    const void *data;
    size_t size;
    const void *attributes;
    uint16_t attribute_bytes;
    /* After -EBADMSG: the records [offset, gap_end) cannot be read. */
    uint64_t gap_end;
};

/* `offset` may lie anywhere from 0 to next_offset; what is wrong with it wal_cursor_next() says.
 * Keep the log (store_get) as long as the cursor.
 * Errors: -ENOMEM. */
int wal_cursor_open(struct wal_cursor **ret_cursor, struct wal *wal, uint64_t offset);
void wal_cursor_close(struct wal_cursor *cursor);   /* NULL is fine */
void wal_cursor_closep(struct wal_cursor **cursor); /* for CLEANUP() */

/* Moves the cursor without giving up its buffer. */
void wal_cursor_seek(struct wal_cursor *cursor, uint64_t offset);

/*
 * The next record, its checksum verified.
 * Errors:
 *   -ENODATA  no more committed records now; later calls go on from here
 *   -ERANGE   the offset is below first_offset (trimmed away); seek to go on
 *   -EBADMSG  damage: ret_entry->offset and gap_end tell what is missing; the next call goes on
 *             behind it
 *   -ENOENT   the log was deleted
 *   others    from reading (-EIO, -EMFILE, …); the same call may be tried again
 */
int wal_cursor_next(struct wal_cursor *cursor, struct wal_entry *ret_entry);

/* The offset of the first committed record whose timestamp is at or after timestamp_ns;
 * committed_offset if there is none. Errors: from reading. */
int wal_offset_at(struct wal *wal, uint64_t timestamp_ns, uint64_t *ret_offset);

/* Where the last `count` committed records begin: never below first_offset. */
uint64_t wal_offset_of_last(struct wal *wal, uint64_t count);

/* Gives back memory that only makes reading faster (indexes of sealed segments). */
void wal_shrink(struct wal *wal);

#endif
