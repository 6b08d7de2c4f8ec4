/*
 * Opening, making and deleting logs without waiting: what is asked for together shares its syncs, what
 * is asked for one name happens in order, each outcome is told once, and no failure or power cut
 * leaves what was told untrue.
 */
#include "tests/support/store_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/io.h"

/* ---- One thing asked for --------------------------------------------------------------------- */

struct ask {
    struct store_log_waiter waiter;
    struct store *store;
    char name[32];
    _Atomic unsigned calls;
    unsigned order; /* among all that were told since told_count was cleared, from 1 */
    bool gives_back;
};

static _Atomic unsigned told_count;
static bool giving_back; /* what is asked for from now on gives back what it gets */
static _Thread_local bool is_asking;

static void told(struct store_log_waiter *waiter)
{
    struct ask *ask = container_of(waiter, struct ask, waiter);
    must(!is_asking && ask->calls == 0);
    must(waiter->status == 0 || !waiter->wal);
    if (ask->gives_back && waiter->wal)
        store_put(ask->store, TAKE(waiter->wal));
    unsigned order = atomic_load(&told_count) + 1;
    ask->order = order;
    ask->calls++; /* from here on the ask may be gone */
    atomic_store(&told_count, order);
}

static struct ask *ask_of(struct fixture *f, struct ask *ask, const char *name)
{
    char own[sizeof(ask->name)];
    snprintf(own, sizeof(own), "%s", name); /* which may be the ask's, from before */
    *ask = (struct ask){.waiter.done = told, .store = f->store, .gives_back = giving_back};
    memcpy(ask->name, own, sizeof(own));
    return ask;
}

static int create_with(struct fixture *f, struct ask *ask, const char *name,
                       const struct wal_state_update *updates, size_t count)
{
    ask_of(f, ask, name);
    is_asking = true;
    int rc = store_create_async(f->store, ask->name, updates, count, &ask->waiter);
    is_asking = false;
    return rc;
}

static int create(struct fixture *f, struct ask *ask, const char *name)
{
    return create_with(f, ask, name, NULL, 0);
}

static int open_log(struct fixture *f, struct ask *ask, const char *name)
{
    ask_of(f, ask, name);
    is_asking = true;
    int rc = store_open_async(f->store, ask->name, &ask->waiter);
    is_asking = false;
    return rc;
}

static int remove_log(struct fixture *f, struct ask *ask, const char *name)
{
    ask_of(f, ask, name);
    is_asking = true;
    int rc = store_delete_async(f->store, ask->name, &ask->waiter);
    is_asking = false;
    return rc;
}

static bool are_told(void *context)
{
    const unsigned *count = context;
    return atomic_load(&told_count) >= *count;
}

static void await(struct fixture *f, unsigned count)
{
    assert_true(fixture_until(f, are_told, &count));
    assert_int_equal(atomic_load(&told_count), count);
}

static void put(struct fixture *f, struct ask *ask)
{
    assert_non_null(ask->waiter.wal);
    store_put(f->store, TAKE(ask->waiter.wal));
}

static struct fixture *begin(void **state)
{
    struct fixture *f = fixture_of(state);
    atomic_store(&told_count, 0);
    giving_back = false;
    fixture_open(f);
    return f;
}

/* ---- The three of them ----------------------------------------------------------------------- */

/* What is not open is not told from what is not there, and nothing waits for the disk to find out. */
static void a_log_is_made_opened_and_deleted_without_waiting(void **state)
{
    struct fixture *f = begin(state);
    struct ask asks[6];
    struct wal *wal = NULL;
    assert_int_equal(store_get_open(f->store, "log", &wal), -EAGAIN);
    assert_int_equal(store_get_open(f->store, "no/name", &wal), -EINVAL);
    assert_int_equal(open_log(f, &asks[0], "log"), 0);
    await(f, 1);
    assert_int_equal(asks[0].waiter.status, -ENOENT);
    assert_int_equal(remove_log(f, &asks[1], "log"), 0);
    await(f, 2);
    assert_int_equal(asks[1].waiter.status, -ENOENT);

    struct wal_state_update updates[] = {state_update("type", "text/plain")};
    assert_int_equal(create_with(f, &asks[2], "log", updates, 1), 0);
    await(f, 3);
    assert_int_equal(asks[2].waiter.status, 0);
    expect_state(asks[2].waiter.wal, "type", "text/plain");
    assert_int_equal(store_get_open(f->store, "log", &wal), 0);
    assert_ptr_equal(wal, asks[2].waiter.wal);
    commit_number(wal, 0, 100);
    store_put(f->store, wal);
    put(f, &asks[2]);
    assert_int_equal(fixture_close(f), 0);

    fixture_open(f);
    assert_int_equal(store_get_open(f->store, "log", &wal), -EAGAIN);
    assert_int_equal(open_log(f, &asks[3], "log"), 0);
    await(f, 4);
    assert_int_equal(asks[3].waiter.status, 0);
    expect_state(asks[3].waiter.wal, "type", "text/plain");
    expect_numbers(f, asks[3].waiter.wal, 0, 1, 100);
    assert_int_equal(remove_log(f, &asks[4], "log"), 0);
    await(f, 5);
    assert_int_equal(asks[4].waiter.status, 0);
    assert_int_equal(wal_status(asks[3].waiter.wal), -ESHUTDOWN);
    put(f, &asks[3]);
    assert_int_equal(open_log(f, &asks[5], "log"), 0);
    await(f, 6);
    assert_int_equal(asks[5].waiter.status, -ENOENT);
    assert_int_equal(totals_of(f).logs_deleted, 1);
}

/* The same refusals as of those who wait, and nothing is told later of what was refused. */
static void what_makes_no_sense_is_refused_at_once(void **state)
{
    struct fixture *f = begin(state);
    struct ask ask;
    char *large = calloc(1, WAL_STATE_BYTES_MAX);
    struct wal_state_update update = {"k", 1, large, WAL_STATE_BYTES_MAX};
    int too_large = create_with(f, &ask, "log", &update, 1);
    free(large);
    assert_int_equal(too_large, -E2BIG);
    update = (struct wal_state_update){"", 0, "x", 1};
    assert_int_equal(create_with(f, &ask, "log", &update, 1), -EINVAL);
    assert_int_equal(create(f, &ask, "../log"), -EINVAL);
    assert_int_equal(open_log(f, &ask, ""), -EINVAL);
    assert_int_equal(remove_log(f, &ask, "."), -EINVAL);
    fixture_settle(f);
    assert_int_equal(atomic_load(&told_count), 0);
    assert_int_equal(ask.calls, 0);
}

/* ---- Order ----------------------------------------------------------------------------------- */

/* One name, asked for faster than any of it can be done: each finds what the one before has left. */
static void what_is_asked_for_one_name_is_done_in_order(void **state)
{
    struct fixture *f = begin(state);
    struct ask asks[10];
    assert_int_equal(open_log(f, &asks[0], "log"), 0);
    assert_int_equal(create(f, &asks[1], "log"), 0);
    assert_int_equal(create(f, &asks[2], "log"), 0);
    assert_int_equal(open_log(f, &asks[3], "log"), 0);
    assert_int_equal(remove_log(f, &asks[4], "log"), 0);
    assert_int_equal(remove_log(f, &asks[5], "log"), 0);
    assert_int_equal(open_log(f, &asks[6], "log"), 0);
    assert_int_equal(create(f, &asks[7], "log"), 0);
    assert_int_equal(open_log(f, &asks[8], "log"), 0);
    assert_int_equal(open_log(f, &asks[9], "log"), 0);
    static const int wanted[] = {-ENOENT, 0, -EEXIST, 0, 0, -ENOENT, -ENOENT, 0, 0, 0};
    await(f, ARRAY_SIZE(asks));
    for (unsigned i = 0; i < ARRAY_SIZE(asks); i++) {
        assert_int_equal(asks[i].waiter.status, wanted[i]);
        assert_int_equal(asks[i].calls, 1);
        assert_int_equal(asks[i].order, i + 1);
    }
    /* The first two hold the log that was deleted, the others the one that was made after it. */
    assert_ptr_equal(asks[3].waiter.wal, asks[1].waiter.wal);
    assert_ptr_equal(asks[8].waiter.wal, asks[7].waiter.wal);
    assert_ptr_equal(asks[9].waiter.wal, asks[7].waiter.wal);
    assert_int_equal(wal_status(asks[1].waiter.wal), -ESHUTDOWN);
    uint8_t old_id[16], new_id[16];
    wal_id(asks[1].waiter.wal, old_id);
    wal_id(asks[7].waiter.wal, new_id);
    assert_memory_not_equal(old_id, new_id, 16);
    commit_number(asks[7].waiter.wal, 0, 10);
    for (unsigned i = 0; i < ARRAY_SIZE(asks); i++) {
        if (asks[i].waiter.wal)
            put(f, &asks[i]);
    }
}

/* A deletion waits for what is in flight, also where that needs a new segment, which the same store
 * has to make meanwhile. */
static void a_deletion_decides_what_is_in_flight(void **state)
{
    struct fixture *f = fixture_of(state);
    atomic_store(&told_count, 0);
    f->config.log.segment_bytes = 64 << 10;
    f->config.log.batch_bytes_max = 32 << 10;
    fixture_begin(f);
    struct witness witnesses[20];
    struct ask ask;
    static uint8_t data[30000];
    struct wal_record record = {.data = data, .size = sizeof(data)};
    memset(data, 'x', sizeof(data));
    witness_begin();
    for (unsigned i = 0; i < ARRAY_SIZE(witnesses); i++)
        assert_int_equal(wal_append(f->wal, &record, 1, NULL, witness_handler(&witnesses[i]), NULL),
                         0);
    assert_int_equal(remove_log(f, &ask, FIXTURE_LOG), 0);
    await(f, 1);
    assert_int_equal(ask.waiter.status, 0);
    assert_int_equal(witness_calls(), ARRAY_SIZE(witnesses));
    for (unsigned i = 0; i < ARRAY_SIZE(witnesses); i++)
        assert_int_equal(witnesses[i].status, 0);
    assert_int_equal(wal_append(f->wal, &record, 1, NULL, NULL, NULL), -ESHUTDOWN);
}

/* Threads that wait and orders that do not, on the same names: all get what is true, none for ever. */
static void those_who_wait_and_those_who_do_not_get_along(void **state)
{
    struct fixture *f = begin(state);
    struct ask asks[2];
    struct wal *wal;
    assert_int_equal(create(f, &asks[0], "log"), 0);
    assert_int_equal(store_get(f->store, "log", false, &wal), 0);
    store_put(f->store, wal);
    await(f, 1);
    assert_int_equal(asks[0].waiter.status, 0);
    assert_int_equal(remove_log(f, &asks[1], "log"), 0);
    assert_int_equal(store_get(f->store, "log", true, &wal), 0);
    commit_number(wal, 0, 10);
    await(f, 2);
    assert_int_equal(asks[1].waiter.status, 0);
    assert_int_equal(store_delete(f->store, "log"), 0);
    store_put(f->store, wal);
    put(f, &asks[0]);
}

/* ---- Together -------------------------------------------------------------------------------- */

enum { CROWD = 200 };
static struct ask crowd[CROWD];

static void ask_for_all(struct fixture *f,
                        int (*what)(struct fixture *f, struct ask *ask, const char *name))
{
    for (unsigned i = 0; i < CROWD; i++) {
        char name[32];
        snprintf(name, sizeof(name), "log-%03u", i);
        assert_int_equal(what(f, &crowd[i], name), 0);
    }
}

/* Two hundred logs take a handful of syncs of the directories, be it to make or to delete them. */
static void what_waits_together_shares_its_syncs(void **state)
{
    struct fixture *f = begin(state);
    uint64_t before = totals_of(f).name_syncs;
    ask_for_all(f, create);
    await(f, CROWD);
    for (unsigned i = 0; i < CROWD; i++) {
        assert_int_equal(crowd[i].waiter.status, 0);
        put(f, &crowd[i]);
    }
    assert_int_equal(totals_of(f).logs_created, CROWD);
    /* Those that came while the first was being made went together, 32 at a time. */
    assert_true(totals_of(f).name_syncs - before < CROWD / 4);

    before = totals_of(f).name_syncs;
    atomic_store(&told_count, 0);
    ask_for_all(f, remove_log);
    await(f, CROWD);
    for (unsigned i = 0; i < CROWD; i++)
        assert_int_equal(crowd[i].waiter.status, 0);
    assert_int_equal(totals_of(f).logs_deleted, CROWD);
    assert_true(totals_of(f).name_syncs - before < CROWD / 4);
}

/* The disk's own count: a batch syncs each file and each folder once, and three directories in all. */
static void a_batch_syncs_three_directories(void **state)
{
    struct fixture *f = begin(state);
    struct ask asks[32];
    const struct sim_counters *counters = sim_counters(f->disk);
    assert_true(store_run(f->store, 0, 0) >= 0);
    uint64_t dirs = counters->done[SIM_SYNC_DIR], files = counters->done[SIM_SYNC_FILE];
    for (unsigned i = 0; i < ARRAY_SIZE(asks); i++) {
        char name[32];
        snprintf(name, sizeof(name), "log-%u", i);
        assert_int_equal(create(f, &asks[i], name), 0);
    }
    await(f, ARRAY_SIZE(asks));
    assert_int_equal(counters->done[SIM_SYNC_DIR] - dirs, ARRAY_SIZE(asks) + 3);
    assert_int_equal(counters->done[SIM_SYNC_FILE] - files, ARRAY_SIZE(asks));
    for (unsigned i = 0; i < ARRAY_SIZE(asks); i++)
        put(f, &asks[i]);
    dirs = counters->done[SIM_SYNC_DIR];
    atomic_store(&told_count, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(asks); i++)
        assert_int_equal(remove_log(f, &asks[i], asks[i].name), 0);
    await(f, ARRAY_SIZE(asks));
    assert_int_equal(counters->done[SIM_SYNC_DIR] - dirs, 3);
}

/* ---- Room ------------------------------------------------------------------------------------ */

/* With the table full, idle logs are closed for those who wait; held ones are not. */
static void idle_logs_make_room_without_waiting(void **state)
{
    struct fixture *f = fixture_of(state);
    atomic_store(&told_count, 0);
    f->config.logs_max = 4;
    fixture_open(f);
    giving_back = true;
    struct ask asks[12];
    for (unsigned i = 0; i < ARRAY_SIZE(asks); i++) {
        char name[32];
        snprintf(name, sizeof(name), "log-%u", i);
        assert_int_equal(create(f, &asks[i], name), 0);
    }
    await(f, ARRAY_SIZE(asks));
    unsigned made = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(asks); i++) {
        assert_true(asks[i].waiter.status == 0 || asks[i].waiter.status == -EMFILE);
        made += asks[i].waiter.status == 0;
    }
    assert_true(made >= 4);
    atomic_store(&told_count, 0);
    giving_back = false;
    for (unsigned i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof(name), "new-%u", i);
        assert_int_equal(create(f, &asks[i], name), 0);
        await(f, i + 1);
        assert_int_equal(asks[i].waiter.status, 0);
    }
    assert_int_equal(open_log(f, &asks[4], "log-0"), 0);
    await(f, 5);
    assert_int_equal(asks[4].waiter.status, -EMFILE);
    put(f, &asks[2]);
    assert_int_equal(open_log(f, &asks[5], "log-0"), 0);
    await(f, 6);
    assert_int_equal(asks[5].waiter.status, 0);
    for (unsigned i = 0; i < 6; i++) {
        if (asks[i].waiter.wal)
            put(f, &asks[i]);
    }
}

/* The memory of those who wait is bounded: updates of more than 64 MiB do not queue up. */
static void updates_that_wait_have_a_ceiling(void **state)
{
    struct fixture *f = begin(state);
    enum { BYTES = 900 << 10, MOST = 80 };
    static struct ask asks[MOST];
    giving_back = true;
    char *value = calloc(1, BYTES);
    assert_non_null(value);
    struct wal_state_update update = {"k", 1, value, BYTES};
    unsigned taken = 0;
    int rc = 0;
    while (taken < MOST && rc == 0) {
        char name[32];
        snprintf(name, sizeof(name), "log-%u", taken);
        rc = create_with(f, &asks[taken], name, &update, 1);
        taken += rc == 0;
    }
    free(value);
    assert_int_equal(rc, -EAGAIN);
    assert_true(taken >= 60 && taken <= 75);
    await(f, taken);
    for (unsigned i = 0; i < taken; i++)
        assert_int_equal(asks[i].waiter.status, 0);
    assert_int_equal(create(f, &asks[0], "small"), 0);
    await(f, taken + 1);
}

/* ---- Trouble --------------------------------------------------------------------------------- */

static bool has_log(struct fixture *f, const char *name)
{
    struct wal *wal;
    int rc = store_get(f->store, name, false, &wal);
    if (rc == 0)
        store_put(f->store, wal);
    assert_true(rc == 0 || rc == -ENOENT);
    return rc == 0;
}

/* An error in any step of any of three creations, of a full disk or a broken one: those that were
 * told to stand do so after a power cut, those that were refused do not stand in the way. */
static void an_error_at_any_step_fails_what_it_hits(void **state)
{
    static const int errors[] = {-ENOSPC, -EIO};
    static const enum sim_kind kinds[] = {SIM_MAKE_DIR, SIM_CREATE, SIM_WRITE,   SIM_SYNC_FILE,
                                          SIM_SYNC_DIR, SIM_RENAME, SIM_OPEN_DIR};
    struct fixture *f = fixture_of(state);
    unsigned failed = 0, stood = 0;
    giving_back = true;
    for (unsigned e = 0; e < ARRAY_SIZE(errors); e++) {
        for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
            for (uint64_t after = 0; after < 7; after++) {
                static struct ask asks[3];
                sim_reset(f->disk, 1 + after);
                atomic_store(&told_count, 0);
                fixture_open(f);
                sim_arm(f->disk, &(struct sim_fault){.kind = kinds[k],
                                                     .after = after,
                                                     .times = 1,
                                                     .error = errors[e],
                                                     .effect = SIM_EFFECT_BY_SEED});
                for (unsigned i = 0; i < ARRAY_SIZE(asks); i++) {
                    char name[32];
                    snprintf(name, sizeof(name), "log-%u", i);
                    assert_int_equal(create(f, &asks[i], name), 0);
                }
                await(f, ARRAY_SIZE(asks));
                for (unsigned i = 0; i < ARRAY_SIZE(asks); i++) {
                    failed += asks[i].waiter.status < 0;
                    assert_true(asks[i].waiter.status == 0 || asks[i].waiter.status == errors[e] ||
                                asks[i].waiter.status == -EIO);
                }
                fixture_crash(f);
                sim_disarm(f->disk);
                fixture_open(f);
                for (unsigned i = 0; i < ARRAY_SIZE(asks); i++) {
                    bool stands = has_log(f, asks[i].name);
                    stood += stands;
                    if (asks[i].waiter.status == 0)
                        assert_true(stands);
                }
                assert_int_equal(fixture_close(f), 0);
            }
        }
    }
    assert_true(failed > 20 && stood > 100);
    f->checks_overwrites = false;
}

/* A power cut at each operation while logs are made and others deleted, together: what was told is
 * so afterwards, and the rest is there whole or not at all. */
static void a_cut_at_any_step_leaves_what_was_told(void **state)
{
    struct fixture *f = fixture_of(state);
    unsigned made = 0, unmade = 0, gone = 0, ended = 0;
    giving_back = true;
    for (uint64_t k = 1; ended < 5; k++) {
        static struct ask old[2], new[3], deletions[2];
        sim_reset(f->disk, k);
        atomic_store(&told_count, 0);
        fixture_open(f);
        for (unsigned i = 0; i < ARRAY_SIZE(old); i++) {
            char name[32];
            snprintf(name, sizeof(name), "old-%u", i);
            assert_int_equal(create(f, &old[i], name), 0);
        }
        await(f, 2);
        sim_crash_at(f->disk, sim_ops(f->disk) + k);
        for (unsigned i = 0; i < ARRAY_SIZE(new); i++) {
            char name[32];
            snprintf(name, sizeof(name), "new-%u", i);
            struct wal_state_update update = state_update("key", "value");
            assert_int_equal(create_with(f, &new[i], name, &update, 1), 0);
        }
        for (unsigned i = 0; i < ARRAY_SIZE(old); i++)
            assert_int_equal(remove_log(f, &deletions[i], old[i].name), 0);
        for (unsigned i = 0; i < 1000 && atomic_load(&told_count) < 7; i++)
            (void)store_run(f->store, 0, 0);
        assert_int_equal(atomic_load(&told_count), 7);
        ended += !sim_is_dead(f->disk);
        fixture_crash(f);
        fixture_open(f);
        for (unsigned i = 0; i < ARRAY_SIZE(new); i++) {
            struct wal *wal;
            int rc = store_get(f->store, new[i].name, false, &wal);
            assert_true(rc == 0 || (rc == -ENOENT && new[i].waiter.status < 0));
            made += rc == 0;
            unmade += rc < 0;
            if (rc < 0)
                continue;
            expect_state(wal, "key", "value");
            store_put(f->store, wal);
        }
        for (unsigned i = 0; i < ARRAY_SIZE(old); i++) {
            bool stands = has_log(f, old[i].name);
            gone += !stands;
            if (deletions[i].waiter.status == 0)
                assert_false(stands);
        }
        assert_int_equal(fixture_close(f), 0);
    }
    assert_true(made > 10 && unmade > 10 && gone > 5);
    f->checks_overwrites = false;
}

/* ---- The end of the store -------------------------------------------------------------------- */

/* A store that is closed tells everybody, whether what they wanted was begun or not, and what was
 * told to stand is there when it is opened again. */
static void closing_tells_all_who_wait(void **state)
{
    struct fixture *f = begin(state);
    struct ask behind;
    giving_back = true;
    ask_for_all(f, create);
    assert_int_equal(remove_log(f, &behind, crowd[CROWD - 1].name), 0);
    assert_int_equal(fixture_close(f), 0);
    assert_int_equal(atomic_load(&told_count), CROWD + 1);
    unsigned made = 0;
    fixture_open(f);
    for (unsigned i = 0; i + 1 < CROWD; i++) {
        int status = crowd[i].waiter.status;
        assert_true(status == 0 || status == -ESHUTDOWN);
        made += status == 0;
        assert_int_equal(has_log(f, crowd[i].name), status == 0);
    }
    assert_true(behind.waiter.status == 0 || behind.waiter.status == -ESHUTDOWN);
    assert_true(made > 0);
}

/* A drained store goes on opening logs, for those who read; nobody appends to them. */
static void a_drained_store_opens_logs_that_take_nothing(void **state)
{
    struct fixture *f = begin(state);
    struct ask asks[3];
    assert_int_equal(create(f, &asks[0], "log"), 0);
    await(f, 1);
    commit_number(asks[0].waiter.wal, 0, 10);
    put(f, &asks[0]);
    assert_int_equal(fixture_close(f), 0);
    fixture_open(f);
    assert_int_equal(create(f, &asks[1], "other"), 0);
    store_drain(f->store);
    assert_int_equal(open_log(f, &asks[2], "log"), 0);
    await(f, 3);
    assert_int_equal(asks[1].waiter.status, 0);
    assert_int_equal(asks[2].waiter.status, 0);
    expect_numbers(f, asks[2].waiter.wal, 0, 1, 10);
    struct wal_record record = {.data = "x", .size = 1};
    assert_int_equal(wal_append(asks[2].waiter.wal, &record, 1, NULL, NULL, NULL), -ESHUTDOWN);
    assert_int_equal(wal_append(asks[1].waiter.wal, &record, 1, NULL, NULL, NULL), -ESHUTDOWN);
    put(f, &asks[1]);
    put(f, &asks[2]);
}

/* ---- Many threads ---------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 40 };

struct churn {
    struct fixture *f;
    unsigned number;
    unsigned errors;
};

static void finish(struct churn *churn, struct ask *ask)
{
    while (ask->calls == 0)
        usleep(200);
    churn->errors +=
        ask->waiter.status != 0 && ask->waiter.status != -EEXIST && ask->waiter.status != -ENOENT;
}

static void *make_and_delete(void *argument)
{
    struct churn *churn = argument;
    struct fixture *f = churn->f;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct ask asks[3];
        const char *name = (i + churn->number) % 2 ? "even" : "odd";
        for (unsigned a = 0; a < ARRAY_SIZE(asks); a++)
            ask_of(f, &asks[a], name)->gives_back = true;
        churn->errors += store_create_async(f->store, name, NULL, 0, &asks[0].waiter) != 0;
        churn->errors += store_open_async(f->store, name, &asks[1].waiter) != 0;
        churn->errors += store_delete_async(f->store, name, &asks[2].waiter) != 0;
        for (unsigned a = 0; a < ARRAY_SIZE(asks); a++)
            finish(churn, &asks[a]);
    }
    return NULL;
}

/* Any thread may ask, of the same logs at the same time. */
static void threads_may_ask_for_the_same_logs(void **state)
{
    struct fixture *f = begin(state);
    pthread_t threads[THREADS];
    struct churn churns[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        churns[i] = (struct churn){f, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, make_and_delete, &churns[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(churns[i].errors, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(a_log_is_made_opened_and_deleted_without_waiting),
        ON_ALL(what_makes_no_sense_is_refused_at_once),
        ON_ALL(what_is_asked_for_one_name_is_done_in_order),
        ON_ALL(a_deletion_decides_what_is_in_flight),
        ON_ALL(those_who_wait_and_those_who_do_not_get_along),
        ON_ALL(what_waits_together_shares_its_syncs),
        ON_SIM(a_batch_syncs_three_directories),
        ON_ALL(idle_logs_make_room_without_waiting),
        ON_SIM(updates_that_wait_have_a_ceiling),
        ON_SIM(an_error_at_any_step_fails_what_it_hits),
        ON_SIM(a_cut_at_any_step_leaves_what_was_told),
        ON_ALL(closing_tells_all_who_wait),
        ON_ALL(a_drained_store_opens_logs_that_take_nothing),
        ON_DISKS(threads_may_ask_for_the_same_logs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
