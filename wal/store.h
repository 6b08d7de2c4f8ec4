/*
 * A directory of named logs, and the machinery they share: a disk backend, committers (one ring
 * each) and a worker for slow chores. One process at a time owns the directory.
 *
 *   DIR/lock  DIR/format  DIR/logs/<name>/  DIR/tmp/  DIR/trash/
 *
 * Unless a function says otherwise it may be called from any thread, and returns 0 or a negative
 * errno.
 */
#ifndef WAL_STORE_H
#define WAL_STORE_H

#include "wal/wal.h"

struct store;
struct wal_io;

enum store_io { STORE_IO_AUTO, STORE_IO_URING, STORE_IO_POSIX };
enum store_direct { STORE_DIRECT_AUTO, STORE_DIRECT_ON, STORE_DIRECT_OFF };
enum store_compression { STORE_COMPRESSION_NONE, STORE_COMPRESSION_ZSTD };

struct store_config {
    enum store_io io;         /* URING is a demand: the store does not open without it */
    enum store_direct direct; /* O_DIRECT; ON is a demand */
    struct wal_io *custom_io; /* a backend of the caller's, which keeps it; overrides io, direct */
    unsigned committers;      /* rings, 1 to 64; logs are spread over them by name */
    unsigned ring_entries;  /* of each ring, a power of two from 8 to 4096: the writes in flight */
    bool threads;           /* false: the caller drives every committer with store_run() */
    bool worker;            /* threads for slow chores: new segments; making and deleting logs; two
                                  for opening them. false: the committer's thread does it itself */
    unsigned logs_max;      /* logs open at once */
    uint64_t log_count_max; /* logs in the directory: no more are made; 0: no limit */
    unsigned write_handles_max; /* files open for appending at once; quiet ones are closed first */
    uint64_t memory_bytes_max;  /* of all batches waiting or in flight */
    bool pack;                  /* sealed segments are rewritten densely, in the background … */
    enum store_compression pack_compression; /* … and compressed, where that makes them smaller */
    uint64_t pack_bytes_per_s; /* read and written for that; 0: no limit, as without a worker */
    unsigned lock_timeout_ms;  /* how long to wait for another process to let go of the directory */
    /* A thread that reads all logs again and again, for damage: so fast at most (0: there is none), and
     * so long from the end of one pass to the next; the first comes after 5 minutes at most. */
    uint64_t scrub_bytes_per_s, scrub_interval_us;
    struct wal_config log;    /* for every log */
    struct wal_limits limits; /* of logs that say nothing themselves; 0: none */
    /* Called on the opening thread when the directory is open and the store has nothing left to do
     * outside of it, and before it makes threads and rings: what a process gives up there, the
     * threads do not have. A negative errno ends the opening. May be NULL. */
    int (*before_threads)(void *context);
    void *before_threads_context;
};

/* auto, auto, 1 committer of 256 entries with a thread of its own, a worker, 65536 logs, 3/4 of the process's
 * limit of open files, any number in the directory, 256 MiB, no packing, 5 s, no scrub, wal_config_default(). */
void store_config_default(struct store_config *ret_config);

/* Errors: -EINVAL: a field is out of range; *ret_field names it and the range (static text). */
int store_config_check(const struct store_config *config, const char **ret_field);

/*
 * Opens the directory, made if missing, and finishes what a crash left half done (tmp, trash). Logs
 * are not read before they are asked for. On failure ret_reason (256 bytes; may be NULL) gets a
 * sentence for the operator.
 * Errors:
 *   -EINVAL           the configuration
 *   -EWOULDBLOCK      another process has the directory
 *   -EPROTONOSUPPORT  its layout is of a newer version
 *   -EPERM, -ENOSYS, -ENOMEM, …  the disk backend that was demanded cannot be had
 *   -ENOMEM           also: no thread can be started
 *   others            from the file system
 */
int store_open(struct store **ret_store, const char *path, const struct store_config *config,
               char *ret_reason);

/* Takes no more appends, commits what is queued, answers every waiter, marks every log as cleanly
 * closed, and releases all. What is not written when drain_timeout_us has passed fails with
 * -ESHUTDOWN; what is on its way to the disk is always waited for. All logs and cursors must have
 * been given back. The first error of a log is returned; the store is gone in any case. */
int store_close(struct store *store, uint64_t drain_timeout_us);

/* Stops taking appends on every log (-ESHUTDOWN) while reads go on: the first half of a shutdown. */
void store_drain(struct store *store);

/* [A-Za-z0-9][A-Za-z0-9._-]{0,127} */
#define STORE_NAME_BYTES_MAX 128
bool store_name_is_valid(const char *name);

/*
 * Gets a log, opened and recovered at its first use. Each success is given back with store_put().
 * Blocks on the disk at first use. A damaged log opens too: it reads, and refuses appends.
 * Errors:
 *   -EINVAL     not a valid name
 *   -ENOENT     no such log, and `create` is false
 *   -EMFILE     logs_max are open and none is idle
 *   -EMLINK     log_count_max are there, and it would be one more
 *   -ENOSPC     no room to make it
 *   -ESHUTDOWN  the store is closing
 *   -EPROTONOSUPPORT  the log was written by a newer version
 *   -EIO        also after a directory could not be synced: until the store is opened anew, only logs
 *               that are open already can be had
 *   others      from reading or making it
 */
int store_get(struct store *store, const char *name, bool create, struct wal **ret_wal);
void store_put(struct store *store, struct wal *wal);

/* Makes a log that must not exist yet, durable when this returns; concurrent creations share their
 * directory syncs. `updates` become part of its first state. Errors: as store_get(), -EEXIST, and for
 * updates that wal_append() would refuse -EINVAL or -E2BIG. */
int store_create(struct store *store, const char *name, const struct wal_state_update *updates,
                 size_t update_count, struct wal **ret_wal);

/* Removes a log, durable when this returns; space is given back soon after. Appends in flight are
 * decided first, later ones get -ESHUTDOWN; a cursor may end with -ENOENT.
 * Errors: -EINVAL, -ENOENT, -ESHUTDOWN, others from the file system (the log may then be gone or
 * not, and is closed). */
int store_delete(struct store *store, const char *name);

/* ---- The same without waiting for the disk ---------------------------------------------------- */

/*
 * For callers that must not sleep, such as the thread of an event loop. The struct is the caller's,
 * with the name it was given, and both stay in place until done() is entered, which runs once, where
 * the handlers of committer 0 run, and never from inside the call that asked for it. done() may ask
 * for more; it must not use the functions above, which may wait for the thread that it runs on.
 */
struct store_log_waiter {
    void (*done)(struct store_log_waiter *waiter);
    /* Set before done(). */
    int status; /* 0 or the errors of the function of the same name that waits */
    struct wal
        *wal; /* opened or made: held, to be given back with store_put(). NULL: status tells */

    /* private */
    const char *name;
    struct wal *entry, *plan;
    uint8_t deed;
    struct store_log_waiter *next, *next_in_bucket;
    struct store_log_waiter *followers, **followers_end;
};

/* How many may wait, and how many bytes of updates with them. */
#define STORE_WAITERS_MAX (1u << 20)
#define STORE_WAITERS_BYTES_MAX (UINT64_C(64) << 20)

/*
 * Gets a log that is open, without touching the disk: so whether one exists that is not open it
 * cannot tell. Given back with store_put().
 * Errors:
 *   -EINVAL     not a valid name
 *   -EAGAIN     it is not open: store_open_async() opens it, or finds that there is none
 *   -ESHUTDOWN  the store is closing
 */
int store_get_open(struct store *store, const char *name, struct wal **ret_wal);

/*
 * store_get() of a log that exists, store_create() and store_delete(), done by the store's workers.
 * `updates` are copied.
 *
 * What is asked for one name is done in the order in which it was asked for, each when the one before
 * it has its outcome. So a creation behind a deletion makes a new log; of two creations the second
 * gets -EEXIST; an opening behind a creation gets the log that was made, or -ENOENT if that failed;
 * openings before a deletion get the log, which then refuses appends, and those behind it -ENOENT.
 * Other names overtake. The functions above do not queue up: they come before what has not been begun
 * yet, and wait for what has.
 *
 * Creations and deletions that wait at the same time are done together, at most 32 at
 * a time, and share the syncs of the directories: each fails or succeeds for itself, but a sync that
 * fails fails all of those. Two logs can be recovered at a time, beside creations and deletions; one
 * that takes long holds up no others, and two hold up further openings alone. The space of a deleted
 * log is given back after done().
 *
 * store_drain() changes nothing for what is asked before or after it, but logs that are opened or
 * made then take no appends. store_close() waits for all: what has not been begun gets -ESHUTDOWN,
 * what has been begun is finished, and done() gives back what it gets.
 *
 * Without workers only the thread that drives committer 0 may call these.
 * Errors (done() will not run):
 *   -EINVAL     not a valid name, or updates that wal_append() would refuse
 *   -E2BIG      updates that are too large for a log
 *   -EAGAIN     too many wait already, or too many bytes of updates
 *   -ENOMEM     no memory to ask
 *   -ESHUTDOWN  the store is closing
 */
int store_open_async(struct store *store, const char *name, struct store_log_waiter *waiter);
int store_create_async(struct store *store, const char *name,
                       const struct wal_state_update *updates, size_t update_count,
                       struct store_log_waiter *waiter);
int store_delete_async(struct store *store, const char *name, struct store_log_waiter *waiter);

/* Calls visit with the name of each log in byte order that is greater than `after` ("" for all)
 * and begins with `prefix`; a non-zero return ends the walk and is returned. */
int store_list(struct store *store, const char *prefix, const char *after,
               int (*visit)(void *context, const char *name), void *context);

/* Closes a log that is open, so that it takes no memory, unless somebody holds it. Errors: -EBUSY. */
int store_close_idle(struct store *store, const char *name);

/* Whether one more log can be opened, and another one after that, without closing any. */
bool store_has_room(struct store *store);

/* Closes a log that nobody holds and that may be idle, and opens it again by reading the disk:
 * the way out for a log that failed. Errors: -EBUSY: somebody holds it; as store_get(). */
int store_reopen(struct store *store, const char *name);

#define STORE_BOUNDS_MAX 20

/* How many values had which size: exact, and none of it ever falls. */
struct store_histogram {
    const uint64_t *bounds; /* static, ascending: counts[i] has the values up to bounds[i] … */
    unsigned bound_count;
    uint64_t counts[STORE_BOUNDS_MAX + 1]; /* … and counts[bound_count] those above them all */
    uint64_t sum;
};

/* What all logs have done since the store was opened, also those that were closed or deleted
 * meanwhile: nothing in here ever falls. */
struct store_totals {
    uint64_t commits;                      /* frames with records */
    uint64_t syncs;                        /* durable writes, marks and rotations included */
    uint64_t commit_records, commit_bytes; /* records and their bytes in those commits */
    uint64_t commit_records_max;           /* largest group */
    uint64_t rotations;
    uint64_t packs;            /* segments packed */
    uint64_t pack_bytes_saved; /* of disk space, by that */
    uint64_t pack_failures;    /* segments left as they were after an error, damage included */
    uint64_t refusals_queue;   /* appends refused with -EAGAIN */
    uint64_t refusals_space;   /* with -ENOSPC or -EDQUOT, after they had been queued */
    uint64_t refusals_other;   /* with another error that says that nothing was written, likewise */
    uint64_t refusals_quota;   /* with -EXFULL */
    struct wal_trims trims[WAL_TRIM_REASONS];
    uint64_t write_retries;           /* durable writes sent again after EINTR or EAGAIN */
    uint64_t write_errors;            /* durable writes that failed */
    uint64_t failures;                /* logs that failed */
    struct store_histogram commit_us; /* from append to durable, the oldest record of each group */
    struct store_histogram sync_us;   /* of the durable write alone; rotations are not timed */
    struct store_histogram commit_sizes;             /* records in a commit */
    struct wal_latency commit_latency, sync_latency; /* the same times, as percentiles */
    uint64_t logs_created, logs_deleted;             /* durably … */
    uint64_t
        name_syncs; /* … by so many syncs of the directories, which those that come together share */
};

/* What looking for damage has come to; see store_scrub(). */
struct store_scrub {
    uint64_t bytes;  /* read */
    uint64_t logs;   /* looked at */
    uint64_t passes; /* through all logs, whole … */
    uint64_t age_us; /* … and how long ago the last one ended; 0: there was none */
    uint64_t errors; /* logs that could not be looked at */
    uint64_t found;  /* damaged places, ever */
    uint64_t places; /* of those, as of the last look at each log, still there and not repaired */
};

struct store_stats {
    const char *backend;  /* "uring", "posix", … */
    const char *reason;   /* why that one */
    bool direct;          /* O_DIRECT in use */
    bool ring_restricted; /* the kernel holds the rings to the operations in use; no ring: false */
    unsigned committers;
    uint64_t logs_open;
    uint64_t logs;                      /* in the directory */
    uint64_t logs_failed, logs_damaged; /* of those that are open */
    uint64_t write_handles;
    uint64_t memory_bytes;                   /* of batches, now */
    uint64_t pending_records, pending_bytes; /* queued or in flight, with item headers */
    uint64_t bytes_on_disk;                  /* of the logs that are open */
    uint64_t free_bytes, size_bytes;         /* of the file system; both 0: not known */
    uint64_t rounds; /* passes of all committers; writes / rounds: how well they overlap */
    uint64_t writes; /* durable writes started */
    struct store_scrub scrub;
    struct store_totals totals;
};

void store_stats(struct store *store, struct store_stats *ret_stats);

/* What is free on the file system, and its size. Errors: it does not tell. */
int store_space(struct store *store, uint64_t *ret_free_bytes, uint64_t *ret_size_bytes);

/* Whether logs make no more space ready than what they are about to write, since there is little: else
 * what is reserved ahead would take the rest of it. Any thread. */
void store_spare_space(struct store *store, bool spare);

/* How much is to stay free on the disk, 0 at first: what is written beside the logs for a while, by
 * packing, leaves that alone, and some more for what is appended meanwhile. Any thread. */
void store_keep_free(struct store *store, uint64_t bytes);

/* Memory of appends that wait for the disk or are on their way to it: at least what they will take. */
uint64_t store_pending_bytes(const struct store *store);

/* Calls visit for each open log, in an order that stays the same as long as the same logs are open;
 * a non-zero return ends the walk and is returned. Locks are held meanwhile: visit copies what it
 * needs and calls nothing of the store or the log. */
int store_each_open(struct store *store,
                    int (*visit)(void *context, const char *name, const struct wal_stats *stats),
                    void *context);

/* ---- Does the disk still take writes? --------------------------------------------------------- */

struct store_health {
    int error;           /* what the last durable write of the store came back with */
    uint64_t age_us;     /* since then; opening the store made one, too */
    int names_error;     /* what a sync of the directories failed with: see store_get(), -EIO */
    bool probing;        /* a probe is on its way … */
    uint64_t probing_us; /* … for so long: with a disk that hangs it does not come back */
};

void store_health(struct store *store, struct store_health *ret_health);

/* The struct is the caller's and stays in place until done() is entered, which runs once, where the
 * handlers of committer 0 run. */
struct store_waiter {
    void (*done)(struct store_waiter *waiter);
    struct store_waiter *next; /* private */
};

/* Writes one block durably into a file of its own in the directory, or waits for a probe that is
 * under way; store_health() then has the outcome. The worker does it: nothing else waits for the
 * disk. Without a worker only the thread that drives committer 0 may call this. store_close() waits
 * for it. */
void store_probe(struct store *store, struct store_waiter *waiter);

/* ---- Reading ------------------------------------------------------------------------------------ */

/* A few files stay open for whoever reads there next. This closes those that nobody has read for a second,
 * and returns in how many microseconds to call it again; UINT64_MAX: none is open. Any thread. */
uint64_t store_close_unread(struct store *store);

/* ---- Retention --------------------------------------------------------------------------------- */

/* Looks through the logs that are open, and trims what their limits let go: wal_retain() for each of
 * them that may have something, on a worker, while this returns at once. Nothing if a pass is under
 * way. Without a worker only the thread that drives committer 0 may call this. */
void store_retain(struct store *store, uint64_t realtime_ns);

/* Whether the log is open and has a limit of retention, so that it should stay open. */
bool store_is_retained(struct store *store, const char *name);

/* ---- Damage that nobody has met yet ----------------------------------------------------------- */

/* A place in the files of a log that is not as it was written, and that no repair has set aside. */
struct store_damage {
    char log[STORE_NAME_BYTES_MAX + 1];
    uint64_t segment_no;
    uint64_t position, end;      /* bytes of the file; both 0: the file as a whole */
    uint64_t offset, offset_end; /* records concerned; UINT64_MAX: not known how far; with no record
                                    concerned the two are the same */
    const char *what;            /* static text */
};

/* One pass through all logs, as fast as it goes, on the calling thread; what is in the configuration
 * runs such passes on a thread of its own. Logs are neither opened nor changed, and what is on its way
 * to the disk is let alone. Errors: -ENOMEM; from listing the logs. What is in the way of reading one
 * log is counted. */
int store_scrub(struct store *store);

/* Each place once, in the order in which they were found; false: there is none that was not taken.
 * Committer 0 is woken when there is a new one. */
bool store_take_damage(struct store *store, struct store_damage *ret_damage);

/* The places of one log, `capacity` of them at most; returns how many there are. */
size_t store_damages(struct store *store, const char *log, struct store_damage *ret_damages,
                     size_t capacity);

/* ---- Driving the committers from an event loop (config.threads false) ------------------------ */

/* The descriptor that polls readable when store_run() has work. Errors: -ENOTSUP. */
int store_poll_fd(struct store *store, unsigned committer);

/* Does what there is to do, sleeping at most timeout_us for it; runs handlers. Each committer
 * belongs to the first thread that runs it. Returns how many commits were decided, or an error:
 * -EINVAL for a bad index, others from making the ring. */
int store_run(struct store *store, unsigned committer, uint64_t timeout_us);

/* When to call store_run() again at the latest, in microseconds from now; UINT64_MAX: no timer. */
uint64_t store_run_delay_us(struct store *store, unsigned committer);

/* Which committer serves a log. */
unsigned store_committer_of(const struct store *store, const char *name);

#endif
