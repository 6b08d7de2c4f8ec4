/*
 * A store for tests, opened on the backend that the test's table asks for:
 *
 *   sim     the simulated disk; the test's own thread does the committer's work
 *   posix   a temporary folder, system calls, a committer's thread and a worker
 *   uring   the same on io_uring; skipped with the reason where that is forbidden
 *   driven  a temporary folder and the best backend, driven by the test's own thread
 *
 * A test begins with fixture_start(), or with fixture_of() where it wants to change the
 * configuration or the disk before it opens the store itself. All of it belongs to the test's
 * thread, and asserts: other threads of a test must neither call it nor use cmocka.
 */
#ifndef TESTS_SUPPORT_STORE_FIXTURE_H
#define TESTS_SUPPORT_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/sim_disk.h"
#include "wal/store.h"
#include "wal/wal.h"

enum fixture_kind { FIXTURE_SIM, FIXTURE_POSIX, FIXTURE_URING, FIXTURE_DRIVEN };

enum { FIXTURE_LOGS_MAX = 16, FIXTURE_CURSORS_MAX = 4 };

struct fixture {
    enum fixture_kind kind;
    bool threads;               /* the committer has a thread of its own */
    struct sim_disk *disk;      /* sim alone */
    char path[512];             /* of the data directory */
    struct store_config config; /* for the next fixture_open() */
    struct store *store;
    struct wal *wal; /* "log", from fixture_start() or fixture_reopen() */
    /* The disk's check that no durable byte was written over. Clear it where torn bytes are. */
    bool checks_overwrites;
    /* Given back before the store is closed, also when a test fails in the middle. */
    struct wal *held[FIXTURE_LOGS_MAX];
    struct wal_cursor *cursors[FIXTURE_CURSORS_MAX];
};

#define FIXTURE_LOG "log"
#define FIXTURE_SIM_PATH "data"

/* Long enough for a machine that is busy with something else; a test that waits it out has failed. */
#define FIXTURE_PATIENCE_US UINT64_C(60000000)

int fixture_setup_sim(void **state);
int fixture_setup_posix(void **state);
int fixture_setup_uring(void **state);
int fixture_setup_driven(void **state);
int fixture_teardown(void **state);

/* One line of a test table each. */
#define ON(kind, test)                                                                             \
    {                                                                                              \
#test " (" #kind ")", test, fixture_setup_##kind, fixture_teardown, NULL                   \
    }
#define ON_SIM(test) ON(sim, test)
#define ON_DISKS(test) ON(posix, test), ON(uring, test)
#define ON_ALL(test) ON(sim, test), ON_DISKS(test), ON(driven, test)

/* The fixture, its store not open yet. Skips the test where its backend cannot be had. */
struct fixture *fixture_of(void **state);
/* Opens the store and makes the log. */
void fixture_begin(struct fixture *f);
/* Both at once. */
struct fixture *fixture_start(void **state);

void fixture_open(struct fixture *f);
/* Gives everything back and closes; returns what store_close() did. */
int fixture_close(struct fixture *f);
/* Closes in good order, opens again, and gets the log. */
void fixture_reopen(struct fixture *f);
/* On the simulated disk: kill -9, or a power cut, and the death of what was open. */
void fixture_kill(struct fixture *f);
void fixture_crash(struct fixture *f);

/* Gets a log, which the fixture gives back unless fixture_put() does. */
struct wal *fixture_get(struct fixture *f, const char *name, bool create);
void fixture_put(struct fixture *f, struct wal *wal);
struct wal_cursor *fixture_cursor(struct fixture *f, struct wal *wal, uint64_t offset);
void fixture_cursor_close(struct fixture *f, struct wal_cursor *cursor);

/* The clock that the store goes by. */
uint64_t fixture_now_us(struct fixture *f);
/* Lets time pass, and the committer work meanwhile. */
void fixture_pause(struct fixture *f, uint64_t us);
/* Passes of the committer until the condition holds; false if it does not come to hold. */
bool fixture_until(struct fixture *f, bool (*holds)(void *context), void *context);
/* One pass that does not sleep, where the test drives; elsewhere nothing. */
void fixture_run(struct fixture *f);
/* The committer has no work left: removals, prepared files and marks are done. */
void fixture_settle(struct fixture *f);

/* The path of a file of a log, or with "" of its folder: on the disk that the fixture is on. Good
 * until the next call of either. */
const char *fixture_file(struct fixture *f, const char *log, const char *file);
const char *fixture_segment(struct fixture *f, const char *log, uint64_t number);

/* ---- Records that can be told apart ---------------------------------------------------------- */

/* Fills a record so that its number and every byte of it can be checked. */
void record_fill(void *data, size_t size, uint64_t number);
bool record_is(const void *data, size_t size, uint64_t number);
/* A size between 1 and size_max that depends on the number. */
size_t record_size(uint64_t number, size_t size_max);

/* Appends the record of this number, and asserts that it was queued. */
struct wal_token append_number(struct wal *wal, uint64_t number, size_t size);
/* A batch of `count` of them, of record_size(number, size_max). */
struct wal_token append_numbers(struct wal *wal, uint64_t first, size_t count, size_t size_max);
/* Waits as long as patience lasts. */
int wait_for(struct wal *wal, struct wal_token token);
/* Appends and waits until durable. */
void commit_number(struct wal *wal, uint64_t number, size_t size);
void commit_numbers(struct wal *wal, uint64_t first, size_t count, size_t size_max);

/* Reads [begin, end) and asserts that each record is the one of its offset, of `size` bytes or, if
 * that is 0, of any size; and that the log ends there if end is the committed offset. */
void expect_numbers(struct fixture *f, struct wal *wal, uint64_t begin, uint64_t end, size_t size);

struct wal_positions positions_of(struct wal *wal);
struct wal_stats stats_of(struct wal *wal);
struct store_totals totals_of(struct fixture *f);

/* Asserts the value of a state key; NULL: there is none. */
void expect_state(struct wal *wal, const char *key, const char *value);
/* An update of the state by strings; value NULL removes the key. */
struct wal_state_update state_update(const char *key, const char *value);

/* ---- Handlers that remember ------------------------------------------------------------------ */

/* Written by the committer's thread, read after the store was flushed or closed. */
struct witness {
    struct wal_handler handler;
    struct wal_token token; /* as the handler was told */
    int status;
    unsigned calls;
    unsigned order; /* among all witnesses, from 1 */
    bool inside;    /* it ran inside a call that asked for it */
};

/* All witnesses since this call count their order from 1. */
void witness_begin(void);
/* How many handlers of witnesses have run since; what those wrote may be read then. */
unsigned witness_calls(void);
/* A token may be decided before its handler has run, and until then the witness has to stay. */
void witness_await(struct fixture *f, unsigned calls);
struct wal_handler *witness_handler(struct witness *witness);
/* Between these two, a handler that runs on this thread runs inside a call. */
void witness_enter(void);
void witness_leave(void);

#endif
