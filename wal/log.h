/*
 * What one log and one committer are made of, shared by the files that work on them:
 *
 *   wal.c        the callers' side: append, wait, positions, stats
 *   commit.c     the committer's side: frames, durable writes, publishing, failing
 *   committer.c  rings, ready lists, timers and chores for many logs
 *   space.c      space made ready ahead of the log's end
 *   rotate.c     new segments, and removing trimmed ones
 *   pack.c       sealed segments rewritten densely
 *   recover.c    opening: what is in the files, and is it whole
 *   cursor.c     reading
 *   read_handles.c  files that are kept open for it
 *   store.c      the directory as a whole, and its threads
 *   totals.c     what all logs have done
 *   health.c     does the disk still take writes
 *   retention.c  what limits let go, and quotas
 *   scrub.c      looking for damage before a reader meets it
 *   registry.c   the open logs
 *   orders.c     opening, making and deleting logs for callers that do not wait
 *   directory.c  making, removing and listing logs
 *
 * Internal to wal/. Fields are grouped by who may touch them.
 */
#ifndef WAL_LOG_H
#define WAL_LOG_H

#include <pthread.h>
#include <stdatomic.h>

#include "wal/base.h"
#include "wal/buffer.h"
#include "wal/defects.h"
#include "wal/format.h"
#include "wal/histogram.h"
#include "wal/index.h"
#include "wal/io.h"
#include "wal/retention.h"
#include "wal/state.h"
#include "wal/store.h"
#include "wal/totals.h"
#include "wal/wal.h"

#define NAME_BYTES_MAX 128
#define TMP_NAME_BYTES 33 /* of logs being made or removed: hexadecimal */
#define SEGMENT_NAME_BYTES 32
#define NEXT_SEGMENT_NAME "next.tmp"
#define PACKED_SEGMENT_NAME "pack.tmp"

/* Frames from here on go into space that is reserved but not zeroed: zeroing would write every byte
 * twice, which costs more than what the file system adds for unwritten space (docs/benchmarks.md). */
#define LARGE_FRAME_BYTES (256u << 10)

struct committer;

/* Who does a chore. What is slow in one lane holds up no other: an append that waits for the next
 * segment waits for no recovery, nor does the making of a log. */
enum lane {
    LANE_LOGS,  /* what logs that are open want: segments, removing trimmed ones; the probe */
    LANE_NAMES, /* making and deleting logs, many at a time */
    LANE_OPEN,  /* recovery, and removing the files of deleted logs */
    LANE_PACK,  /* writing packed segments, which waits for its rate most of the time */
    LANE_KEEP,  /* what has time: which records may go */
    LANE_COUNT
};

/* Work that may block for long, done by a worker of the store (or the committer, if there is none). */
struct chore {
    enum lane lane;
    void (*run)(struct chore *chore);  /* on a worker */
    void (*done)(struct chore *chore); /* then on the committer's thread */
    struct wal *wal;                   /* NULL: the store's */
    struct committer *committer;       /* set by chore_start() */
    struct chore *next;
    bool busy;
};

/* Appends that will be one frame. */
struct batch {
    struct batch *next;
    uint8_t *frame; /* room for the header, then the body; NULL while there are no items */
    size_t capacity;
    uint32_t body_bytes;
    uint32_t item_count;
    uint32_t record_count;
    uint32_t items_crc;
    uint64_t base_offset;
    uint64_t payload_bytes;
    uint64_t timestamp_ns;
    uint64_t opened_us;      /* when its first append came, on the monotonic clock */
    uint64_t write_began_us; /* 0: no write of it did */
    uint64_t last_ticket;
    uint64_t trim_before; /* 0: no trim in here */
    enum wal_trim_reason trim_reason;
    int status; /* once it is decided */
    struct wal_handler *handlers;
    struct wal_handler **handlers_end;
};

struct segment {
    struct segment_header header;
    uint64_t end;        /* bytes up to the end of its last committed frame */
    uint64_t end_offset; /* one past its last committed record */
    uint64_t file_bytes;
    struct frame_index index;
    bool pack_tried; /* in this process: there is nothing to gain, or it cannot be done */
};

/* A stretch of tickets that were refused after they had been queued. */
struct refusal {
    uint64_t first, last;
    int error;
};
#define REFUSALS_KEPT 16

struct ring_op {
    struct wal_op op;
    struct wal *wal;
    void (*done)(struct ring_op *op);
    unsigned attempts;
};

enum phase {
    PHASE_IDLE,   /* nothing of this log is on its way */
    PHASE_COMMIT, /* a frame is being written */
    PHASE_SPACE,  /* the held batch waits for space */
    PHASE_ROTATE, /* the held batch waits for the next segment */
    PHASE_CLOSED,
};

enum timer { TIMER_NONE, TIMER_DELAY, TIMER_IDLE };

struct wal {
    /* Constant after log_open(). */
    char name[NAME_BYTES_MAX + 1];
    struct wal_uuid id;
    struct wal_config config;
    struct store *store;
    struct committer *committer;
    struct wal_recovery recovery;

    void *user; /* the caller's: see wal_set_user() */

    pthread_mutex_t lock;
    pthread_cond_t decided; /* tickets were decided, or the log was closed */

    /* Guarded by lock. */
    struct batch *queue_first, *queue_last;
    uint64_t queue_records; /* in flight included, as the next one */
    uint64_t queue_bytes;
    uint64_t next_offset;
    uint64_t last_ticket;    /* given out */
    uint64_t decided_ticket; /* up to here durable or refused */
    uint64_t last_timestamp_ns;
    uint64_t committed_bytes; /* payload of all records below committed_offset */
    uint64_t next_bytes;      /* … below next_offset */
    struct refusal refusals[REFUSALS_KEPT];
    unsigned refusal_count; /* ever; the newest REFUSALS_KEPT are remembered */
    struct state state;
    struct segment **segments; /* by number; the last one is active */
    size_t segment_count;
    int failed_with;     /* as the disk said it; `failed` is what callers get */
    int failed;          /* errno the log failed with, negative; 0: none */
    uint32_t batch_hint; /* bytes of the last batch: the next one is likely as large */
    bool damaged;        /* recovery found damage: reads only */
    bool closing;        /* takes no appends */
    bool abandon;        /* closing, and what is not written yet is refused */
    bool closed;         /* the committer is done with it */
    bool deleted;        /* its name may be another log's by now */
    bool tells_closed;   /* orders wait for its end */
    bool delaying;       /* the first batch waits for company, and a timer runs */
    bool hurry;          /* a barrier or wal_submit() ends the batch delay */
    bool ready;          /* on its committer's ready list */
    bool busy; /* the committer has taken work and will look at the queue again by itself */
    unsigned waiters;
    struct {
        uint64_t commits, syncs, commit_records, commit_bytes, commit_records_max;
        uint64_t rotations, refusals_queue, refusals_space, refusals_other, write_retries;
        uint64_t refusals_quota;
        struct wal_trims trims[WAL_TRIM_REASONS];
        struct histogram commit_us, sync_us;
    } counters;
    /* What is known of the record at first_offset, for as long as that is where it was. */
    struct {
        uint64_t bytes_at, bytes;            /* how many the records below it have */
        uint64_t timestamp_at, timestamp_ns; /* its own; 0: not known */
    } oldest;

    /* Written under lock, read by anyone. */
    _Atomic uint64_t committed_offset;
    _Atomic uint64_t first_offset;

    /* Guarded by the committer's lock. */
    struct wal *next_ready;

    /* Committer's thread only (and a worker's, while its chore is busy). */
    enum phase phase;
    struct segment *active; /* the last of segments */
    struct batch *held;     /* taken from the queue, not durable yet; NULL for marks */
    struct ring_op commit;
    struct ring_op space;
    bool space_busy;
    bool zeros_only;           /* the file system cannot reserve: space is made by writing zeros */
    struct frame_header frame; /* of the frame in flight */
    int fail_later;            /* background space failed with this while a frame was in flight */
    uint8_t *mark_frame;       /* its block, when it is a mark */
    uint64_t commit_begin_us;
    int handle;                              /* of the active segment, -1 while closed */
    struct wal *newer_handle, *older_handle; /* in the committer's list of open handles */
    uint64_t write_position;                 /* where the next frame goes */
    uint64_t first_position; /* of the first frame after the segment's STATE frame */
    uint64_t space_end;      /* frames end at or before it */
    uint32_t space_step;     /* to make ahead next; 0: nothing, the disk is full */
    uint64_t space_made_us;  /* when the last step was ready, on the monotonic clock */
    uint32_t last_frame_bytes;
    uint64_t next_frame_no;
    uint32_t last_crc; /* header checksum of the last frame */
    bool mark_due;     /* a frame stands that no later one proves durable */
    bool clean;        /* nothing stands that a clean close would have to prove */
    uint64_t last_commit_us;
    enum timer timer;
    uint64_t timer_us;
    struct wal *timer_next, *timer_previous;

    struct pack *packing; /* the one under way; NULL: none */
    bool pack_due;        /* there may be a segment to be packed */
    struct chore rotate, prepare, sweep;
    /* Results of chores: written by a worker, read by the committer afterwards. */
    int rotate_error;
    bool rotate_named; /* the error came when the new segment may already have its name */
    struct segment *rotate_segment;
    int rotate_handle;
    struct frame_header rotate_frame;
    bool prepare_tried; /* in this segment */
    bool prepared;      /* NEXT_SEGMENT_NAME has space made ready */
    uint64_t prepared_bytes;

    bool just_made; /* by this process, which has synced its files */
    struct chore opener;
    int open_error;                  /* of the opener, or of the making */
    char trash_name[TMP_NAME_BYTES]; /* where its files are once it is deleted */

    /* Guarded by the store's lock. */
    unsigned references;
    struct store_log_waiter *order; /* the one that deletes it, while it is being closed */
    struct wal *next_closing;       /* of those that orders close, or whose files they remove */
    struct wal *next_in_bucket;     /* the store's table of open logs */
    struct wal *idle_newer, *idle_older;
    bool idle; /* in the store's list of logs that nobody holds */
    bool opening, removing;
    bool detached; /* deleted: out of the table, freed with the last reference */
};

/* ---- log lists by time ---- */
struct timer_list {
    struct wal *first, *last;
};

struct committer {
    struct store *store;
    unsigned number;

    pthread_mutex_t lock;
    /* Guarded by lock. */
    struct wal *ready, **ready_end;
    struct chore *chores_done, **chores_done_end;
    bool asleep; /* in ring_wait(), or not running: a wake is needed */
    bool stop;
    struct wal_ring *ring; /* set once by its thread */

    /* Set once, by the first thread that runs it. */
    _Atomic bool has_driver;
    pthread_t driver;

    /* Its thread only. */
    struct chore *chores, **chores_end; /* when there is no worker */
    int ring_error;                     /* why there is no ring; 0 once there is */
    unsigned in_flight;
    unsigned unsent; /* of those, submitted since the last ring_wait() */
    struct timer_list delayed, idle;
    struct wal *newest_handle, *oldest_handle;
    unsigned handles;
    struct batch *told, **told_end; /* decided, their handlers not run yet */
    bool is_running;                /* in committer_run() */
    bool has_news;                  /* something was decided or closed in this pass */
    unsigned decided;               /* commits decided in this pass */

    _Atomic uint64_t rounds, writes;
    _Atomic unsigned handles_open; /* as handles, for stats */

    struct totals totals;
};

struct health {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a probe ended */
    /* Guarded by lock. */
    bool probing;
    uint64_t probing_since_us;
    uint64_t probed_us; /* when the last probe came back */
    int probe_error;
    struct store_waiter *waiters;
    /* The worker's, and then committer 0's, while a probe is under way. */
    struct chore chore;
};

struct retention {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a pass ended */
    /* Guarded by lock. */
    bool running, stop;
    /* The worker's, and then committer 0's, while a pass is under way. */
    uint64_t realtime_ns;
    struct chore chore;
};

#define SCRUB_PLACES_MAX 1024  /* that are remembered; beyond it damage is only counted … */
#define SCRUB_PLACES_OF_LOG 64 /* … and in one log found when these are repaired */

struct scrub {
    pthread_mutex_t lock; /* an inner one: nothing is taken under it */
    pthread_cond_t stopped;
    /* Guarded by lock. */
    struct scrub_place {
        struct store_damage damage;
        bool is_told;
        bool is_found; /* while what was found in a log is put in */
    } * places;
    size_t place_count;
    uint64_t bytes, logs, passes, errors, found;
    uint64_t passed_us; /* when the last pass ended */
    bool stop;
    /* Of who opens and closes the store. */
    pthread_t thread;
    bool has_thread;
};

struct order_list {
    struct store_log_waiter *first, **end;
};

#define ORDER_BUCKETS 1024
#define WORKERS 6

/* What callers that do not wait want of logs: see orders.c. Guarded by the store's lock. */
struct orders {
    struct store_log_waiter *buckets[ORDER_BUCKETS]; /* the first one of each name */
    struct order_list due;                           /* to be begun */
    struct order_list blocked;                       /* to be tried again */
    struct order_list makings;                       /* for the next batch */
    struct order_list removals;                      /* likewise */
    struct order_list decided;                       /* done() is due */
    struct order_list batch_makings, batch_removals; /* the worker's, while batch.busy */
    struct wal *closing;                             /* their committers close them */
    struct wal *trash;                               /* whose files are to be removed */
    struct wal *purging;                             /* the worker's, while purge_busy */
    unsigned blocked_count, evicting;
    unsigned count; /* done() has not returned yet */
    uint64_t bytes; /* of their updates */
    bool kicked, batch_busy, purge_busy;
    struct chore kick, batch, purge;
};

#define READ_HANDLES_MAX 16

struct read_handles {
    pthread_mutex_t lock; /* innermost */
    struct kept_handle {
        const struct wal *wal;
        uint64_t segment_no, salt, used_us;
        int handle; /* -1: no file */
    } kept[READ_HANDLES_MAX];
};

struct store {
    struct store_config config;
    struct wal_io *io;
    bool owns_io;
    int dir, logs_dir, tmp_dir, trash_dir, lock_handle;
    _Atomic bool spares_space;  /* see store_spare_space() */
    _Atomic uint64_t kept_free; /* see store_keep_free() */
    struct buffer_pool pool;    /* of batches: has the ceiling memory_bytes_max */
    struct buffer_pool scratch; /* of readers, recovery and new segments */
    struct read_handles read_handles;
    const void *zeros; /* ZEROS_BYTES of them, block-aligned, read only */

    struct committer *committers;
    unsigned committer_count;
    pthread_t *threads;
    unsigned thread_count;

    pthread_mutex_t chore_lock;
    struct {
        pthread_cond_t ready;
        struct chore *chores, **chores_end;
    } lanes[LANE_COUNT];
    struct worker {
        struct store *store;
        enum lane lane;
        pthread_t thread;
    } workers[WORKERS];
    unsigned worker_count;
    bool worker_stop;
    uint64_t pack_due_us;       /* the packing worker's: when its rate lets it go on */
    _Atomic bool pack_unwanted; /* some of what waits for it is */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* an opening or removal ended */
    /* Guarded by lock. */
    struct wal **buckets;
    size_t bucket_count;
    unsigned open_count;
    struct wal *idle_newest, *idle_oldest; /* nobody holds them */
    bool closing, draining;
    struct orders orders;

    struct health health;
    struct retention retention;
    struct scrub scrub;

    struct dir_sync {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        uint64_t started, finished; /* syncs begun and ended */
        uint64_t made, removed;     /* logs, durably */
        uint64_t names;             /* of logs that are there or are being made */
        int error;                  /* the first failure: what came after it proves nothing */
        bool running;
    } dir_sync;
};

#define ZEROS_BYTES (1u << 20)

/* ---- wal.c ---- */

/* An empty log object with its locks; log_free() copes with it half built. */
struct wal *log_new(struct store *store, const char *name);
void log_free(struct wal *wal);
void log_freep(struct wal **wal);
struct batch *batch_new(void);
void batch_free(struct buffer_pool *pool, struct batch *batch);
/* Whether a batch delay has nothing more to wait for. */
bool log_first_batch_is_full_locked(const struct wal *wal);
/* Adds a segment at the end; the caller holds the lock or is alone. Errors: -ENOMEM. */
int log_add_segment_locked(struct wal *wal, struct segment *segment);
struct segment *segment_new(void);
void segment_free(struct segment *segment);
void segment_name(char ret_name[SEGMENT_NAME_BYTES], uint64_t segment_no);
/* The other way; false: it is no name of a segment. */
bool segment_number(const char *name, uint64_t *ret_segment_no);
/* A handle of the log's directory. Errors: -ENOENT: it was deleted; others from opening. */
int log_open_dir(struct wal *wal);

/* ---- read_handles.c: any thread ---- */

void read_handles_init(struct store *store);
void read_handles_done(struct store *store);
/* A handle of that file of the segment for the caller alone, -1: there is none. */
int read_handle_take(struct wal *wal, uint64_t segment_no, uint64_t salt);
/* Gives one back, or a new one; it is the store's from here on. The caller does not hold the log's lock. */
void read_handle_keep(struct wal *wal, uint64_t segment_no, uint64_t salt, int handle);
/* Closes those of a segment of which the file is no longer the log's, UINT64_MAX: of all of them. */
void read_handles_forget(struct wal *wal, uint64_t segment_no);

/* ---- commit.c: committer's thread only ---- */

/* Does the next thing for a log: whatever its queue, timers and phase ask for. Only for a log that
 * was just taken off the ready list. */
void log_step(struct wal *wal);
/* Puts the log on the ready list, to be stepped in its turn. */
void log_step_later(struct wal *wal);
/* Refuses everything queued: it was not written, and its offsets go back. */
void log_refuse(struct wal *wal, int error);
/* The log has failed for good: everything undecided gets the error. */
void log_fail(struct wal *wal, int error);
/* Makes sure that the active segment is open for writing. */
int log_open_handle(struct wal *wal);
void log_close_handle(struct wal *wal);
/* The frame with the log's whole committed state, as it begins a segment; memory from the pool. */
int log_state_frame(struct wal *wal, struct frame_header *header, uint64_t salt,
                    uint8_t **ret_frame, size_t *ret_capacity);

/* Runs the handlers of everything that was decided since the last call. */
void commit_run_handlers(struct committer *committer);

/* ---- space.c: committer's thread only ---- */

/* Whether nothing is to be made ready ahead of time. */
bool space_is_spared(const struct wal *wal);
/* Starts making space so that at least up to `end` is ready. */
void space_make(struct wal *wal, uint64_t end);
/* Keeps some space ahead of the log's end, in the background. */
void space_keep_ahead(struct wal *wal);

/* ---- rotate.c ---- */

/* Starts the next segment for a held batch; PHASE_ROTATE until it stands. */
void rotate_start(struct wal *wal);
/* Makes the file of the next segment ready ahead of time. */
void rotate_prepare(struct wal *wal);
/* Removes the files of segments wholly below first_offset. */
void rotate_sweep(struct wal *wal);
/* The STATE frame with which a segment of this header begins. */
struct frame_header segment_state_frame(const struct segment_header *header);
/* Writes the head of a segment: header, STATE frame, zeros up to *ret_space_end; if `durable` it is
 * that when this returns. Any thread. */
int segment_write_head(struct wal *wal, int handle, struct segment *segment,
                       struct frame_header *state, uint64_t prepared_bytes, bool durable);

/* ---- pack.c: committer's thread only ---- */

/* Starts packing a sealed segment, if there is one and none is being packed. */
void pack_step(struct wal *wal);
/* Ends the packing of a log that is being closed, soon; whether there is none. What ends steps again. */
bool pack_leave(struct wal *wal);

/* ---- recover.c ---- */

/* Reads what the log's directory holds and makes `wal` ready for use. The caller is alone with it. */
int log_recover(struct wal *wal);

/* ---- committer.c ---- */

int committer_init(struct committer *committer, struct store *store, unsigned number);
void committer_done(struct committer *committer);
/* Nothing may be in flight; on the thread that made the ring. */
void committer_free_ring(struct committer *committer);
/* One pass; see store_run(). */
int committer_run(struct committer *committer, uint64_t timeout_us);
/* Puts a log on the ready list and wakes the committer if it sleeps. wal->ready was set by the
 * caller under the log's lock, and was clear before. */
void committer_ready(struct committer *committer, struct wal *wal);
void committer_wake(struct committer *committer);
void committer_stop(struct committer *committer); /* its thread ends soon after */
/* Microseconds until its next timer; UINT64_MAX: none. Its own thread only. */
uint64_t committer_next_timer_us(const struct committer *committer);
bool committer_is_mine(struct committer *committer);
/* The first thread that asks drives it from then on; whether that is the calling one. */
bool committer_claim(struct committer *committer);
/* Waits on wal->decided, whose lock the caller holds, or runs the committer if it is this thread's
 * own. Returns -ETIMEDOUT when deadline_us has passed. */
int committer_wait_locked(struct wal *wal, uint64_t deadline_us);
void committer_submit(struct committer *committer, struct ring_op *op);
/* Starts a chore; its done() runs on the committer's thread later. */
void chore_start(struct committer *committer, struct chore *chore);
/* The same for one that has nothing to run: only its done() is wanted. Any thread. */
void chore_hand_back(struct committer *committer, struct chore *chore);
/* The committer's list of handles open for writing. */
void handle_add(struct wal *wal);
void handle_remove(struct wal *wal);
void handle_touch(struct wal *wal);
/* Closes the least recently used handle that has nothing in flight; false if there is none. */
bool handle_close_oldest(struct committer *committer);
/* At most one timer a log; when it fires the log is stepped. */
void timer_set(struct wal *wal, enum timer timer, uint64_t at_us);
void timer_clear(struct wal *wal);

/* ---- registry.c ---- */

/* Starts closing: no more appends, what is queued is committed, or refused if `abandon`. */
void log_begin_close(struct wal *wal, bool abandon);
/* Returns when the committer has done with the log and will not touch it again.
 * Errors: -ETIMEDOUT. */
int log_wait_closed(struct wal *wal, uint64_t deadline_us);
/* The table of open logs; the caller holds the store's lock. */
struct wal *registry_find_locked(struct store *store, const char *name);
void registry_insert_locked(struct store *store, struct wal *wal);
void registry_remove_locked(struct store *store, struct wal *wal);
uint32_t registry_hash(const char *name);
/* One more holder of a log that is open. */
void registry_hold_locked(struct store *store, struct wal *wal);
/* A log of the table is not idle any more: it gets a holder, or goes. */
void registry_busy_locked(struct store *store, struct wal *wal);
/* Ends an opening: with an error the log is taken out of the table and freed. Returns rc. */
int registry_opened_locked(struct store *store, struct wal *wal, int rc);
/* Something that others may wait for has ended: an opening, a removal. */
void registry_changed_locked(struct store *store);

/* ---- orders.c ---- */

void orders_init(struct store *store);
void orders_done(struct store *store); /* all threads have ended */
/* A log was closed that orders close, or what they wait for has changed. Any thread. */
void orders_kick(struct store *store);
void orders_kick_locked(struct store *store);
/* Until none is left; the store is closing. */
void orders_wait(struct store *store);

/* ---- directory.c ---- */

/* A log as it is to be made. Errors: -ENOMEM, -EINVAL, -E2BIG. */
int dir_plan_log(struct store *store, const char *name, const struct wal_state_update *updates,
                 size_t update_count, struct wal **ret_plan);

/* A name to be made or removed. The files of a log that was removed are then in the trash. */
struct name_change {
    struct wal *plan; /* to be made, a plan; NULL: to be removed */
    const char *name;
    char tmp_name[TMP_NAME_BYTES]; /* in tmp or in the trash */
    int rc; /* -EEXIST, -ENOENT: as it was; other errors: it may stand or not */
    /* private */
    int handle;
    bool counted, renamed;
};

#define NAME_CHANGES_MAX 32 /* each is an open file for a while */

/* Makes and removes logs that are not open, at most NAME_CHANGES_MAX; all of it is durable when this
 * returns, by one sync of each of the directories, which callers that come together share as well.
 * No name is in there twice. */
void dir_change_names(struct store *store, struct name_change *changes, unsigned count);
/* Removes the files of a log that was removed: a failure leaves them for the next start. */
void dir_empty_trash(struct store *store, const char *trash_name);

/* Makes a log, durable when this returns. Errors: -EEXIST; others: it may stand or not. */
int dir_make_log(struct store *store, const char *name, const struct wal_state_update *updates,
                 size_t update_count);
/* Removes a log that is not open, durable when this returns. Errors: -ENOENT; others: it may stand
 * or not. */
int dir_remove_log(struct store *store, const char *name);
/* Removes everything in the directory of logs being made, or of logs being removed. */
int dir_purge(struct store *store, int dir);
/* Counts the logs that are there, before any is made or removed. */
int dir_count_logs(struct store *store);
/* Syncs the directories of logs, of those being made and of those being removed. */
int dir_sync_all(struct store *store);
/* The error of a failed sync of the directories, 0: none. After it a name may stand that a crash takes
 * away, and another sync may call it safe: until the store is opened anew nothing is to be
 * acknowledged under a name that was not in use before. */
int dir_names_error(struct store *store);

/* ---- health.c ---- */

void health_init(struct health *health);
void health_done(struct health *health);
/* Until no probe is under way. */
void health_wait(struct store *store);

/* ---- scrub.c ---- */

void scrub_init(struct scrub *scrub);
void scrub_done(struct scrub *scrub);
/* Its thread, if the configuration wants one. Errors: from making it. */
int scrub_start(struct store *store);
void scrub_stop(struct store *store);
/* Errors: -ESHUTDOWN: it is to stop. */
int scrub_sleep_locked(struct scrub *scrub, uint64_t timeout_us);
/* A log was deleted: what was damaged in it is nobody's concern. */
void scrub_forget(struct store *store, const char *log);
void scrub_stats(struct store *store, struct store_scrub *ret_stats);

/* ---- store.c ---- */

uint64_t store_now_us(const struct store *store);
void *store_worker(void *argument); /* of a struct worker */

#endif
