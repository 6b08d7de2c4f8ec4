#include "tests/crash/history.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wal/base.h"

#define DRAIN_US UINT64_C(60000000)

/* What a signal handler may report about. */
static struct history *current;

/* ---- telling --------------------------------------------------------------------------------- */

static void write_replay(char *line, size_t size, const char *what)
{
    snprintf(line, size, "replay: crash_sim --seed 0x%llx%s  # %s\n",
             current ? (unsigned long long)current->seed : 0ull,
             current ? current->options->flags : "", what);
}

void violation(struct history *history, const struct log_model *log, const char *format, ...)
{
    char what[512];
    char line[768];
    int used = log ? snprintf(what, sizeof(what), "log %s: ", log->name) : 0;
    va_list arguments;

    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is not */
    vsnprintf(what + used, sizeof(what) - (size_t)used, format, arguments);
    va_end(arguments);
    trace(history, "VIOLATION %s", what);

    write_replay(line, sizeof(line), what);
    fflush(NULL);
    if (write(STDOUT_FILENO, line, strlen(line)) < 0)
        _exit(2);
    _exit(1);
}

void history_report_death(const char *how)
{
    char line[768];

    write_replay(line, sizeof(line), how);
    if (write(STDOUT_FILENO, line, strlen(line)) < 0)
        _exit(2);
}

void trace_line(struct history *history, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "%7llu  ", (unsigned long long)sim_ops(history->disk));
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is not */
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* ---- faults ---------------------------------------------------------------------------------- */

uint64_t faults_shown(const struct history *history)
{
    return sim_counters(history->disk)->faults;
}

static uint64_t name_failures(const struct history *history)
{
    const struct sim_counters *counters = sim_counters(history->disk);

    return counters->failed[SIM_SYNC_DIR] + counters->failed[SIM_RENAME];
}

bool names_are_distrusted(const struct history *history)
{
    return name_failures(history) > history->name_failures_at_opening;
}

bool is_excused(const struct history *history, int error, uint64_t before)
{
    if (history->was_full && (error == -ENOSPC || error == -EDQUOT))
        return true;
    if (sim_options_of(history->disk)->handles_max > 0 && error == -EMFILE)
        return true;
    return faults_shown(history) > before;
}

bool has_known_want(const struct history *history)
{
    return history->was_full || faults_shown(history) > 0 ||
           sim_options_of(history->disk)->handles_max > 0;
}

static const int write_errors[] = {-EIO, -EIO, -EIO, -ENOSPC, -EDQUOT, -EFBIG, -EINTR, -EAGAIN, 0};
static const int sync_errors[] = {-EIO, -EIO, -ENOSPC, -EDQUOT};
static const int name_errors[] = {-EIO, -ENOSPC, -EMFILE, -EDQUOT};
static const int open_errors[] = {-EIO, -EMFILE, -ENFILE, -ENOMEM};
static const int read_errors[] = {-EIO};

static const uint8_t sync_dir_effects[] = {SIM_NOTHING, SIM_UNSYNCED, SIM_EVERYTHING};

static int error_of(struct history *history, enum sim_kind kind)
{
    struct random *random = &history->random;

    switch (kind) {
    case SIM_WRITE:
    case SIM_WRITE_DURABLE: return RANDOM_PICK(random, write_errors);
    case SIM_SYNC_FILE:
    case SIM_SYNC_DIR: return RANDOM_PICK(random, sync_errors);
    case SIM_CREATE:
    case SIM_MAKE_DIR:
    case SIM_RENAME:
    case SIM_ALLOCATE: return RANDOM_PICK(random, name_errors);
    case SIM_OPEN_DIR:
    case SIM_OPEN_FILE: return RANDOM_PICK(random, open_errors);
    default: return RANDOM_PICK(random, read_errors);
    }
}

void history_arm_fault(struct history *history)
{
    /* Those first that an append waits for. */
    static const uint8_t kinds[] = {
        SIM_WRITE_DURABLE, SIM_WRITE_DURABLE, SIM_WRITE_DURABLE, SIM_WRITE_DURABLE, SIM_WRITE,
        SIM_SYNC_FILE,     SIM_SYNC_FILE,     SIM_SYNC_DIR,      SIM_SYNC_DIR,      SIM_READ,
        SIM_READ,          SIM_OPEN_DIR,      SIM_OPEN_FILE,     SIM_CREATE,        SIM_MAKE_DIR,
        SIM_RENAME,        SIM_REMOVE_FILE,   SIM_REMOVE_DIR,    SIM_LIST,          SIM_ALLOCATE,
        SIM_FILE_BYTES,    SIM_LOCK,          SIM_FREE_BYTES,    SIM_RANDOM,        SIM_RING_NEW};
    struct random *random = &history->random;
    struct sim_fault fault = {
        .kind = RANDOM_PICK(random, kinds),
        .after = random_below(random, random_percent(random, 50) ? 4 : 30),
        .times = random_percent(random, 80) ? 1 : random_between(random, 2, 8),
        .effect = SIM_EFFECT_BY_SEED,
    };

    fault.error = error_of(history, fault.kind);
    /* Want of something is found before a name is changed; any other error may come too late. */
    if (fault.kind != SIM_WRITE && fault.kind != SIM_WRITE_DURABLE && fault.kind != SIM_ALLOCATE &&
        fault.kind != SIM_SYNC_FILE && fault.kind != SIM_SYNC_DIR &&
        wal_error_is_refusal(fault.error))
        fault.effect = SIM_NOTHING;
    /* A journal keeps the names that it could not save: only data is dropped and called clean. */
    if (fault.kind == SIM_SYNC_DIR)
        fault.effect = RANDOM_PICK(random, sync_dir_effects);
    /* A rename that fails and happens is undone by another; two such in a row nobody can undo. */
    if (fault.kind == SIM_RENAME) {
        fault.times = 1;
        if (history->rename_fails)
            fault.effect = SIM_NOTHING;
        history->rename_fails = true;
    }
    if (fault.error == 0) {
        fault.effect = SIM_PARTLY;
        fault.bytes = (uint64_t)random_below(random, 8) * WAL_SECTOR_BYTES;
    }
    sim_arm(history->disk, &fault);
    history->faults_armed++;
    trace(history, "fault: %s answers %d after %llu, %llu times", sim_kind_name(fault.kind),
          fault.error, (unsigned long long)fault.after, (unsigned long long)fault.times);
}

static void plan_life(struct history *history, bool is_last)
{
    struct random *random = &history->random;

    sim_disarm(history->disk);
    history->faults_armed = 0;
    history->rename_fails = false;
    sim_crash_at(history->disk, 0);
    sim_crash_at_change(history->disk, 0);
    history->spy.kill_in = 0;
    if (is_last || random_percent(random, 50)) {
        sim_options_of(history->disk)->capacity_blocks = 0;
        history->is_full = false;
    }
    if (is_last)
        return;
    if (history->swarm.faults && random_percent(random, 70)) {
        for (unsigned i = random_between(random, 1, 3); i > 0; i--)
            history_arm_fault(history);
    }
    uint32_t span = random_percent(random, 40) ? 12 : 80;

    if (history->swarm.kills && random_percent(random, 25)) {
        history->spy.kill_in = random_between(random, 1, span);
        trace(history, "plan: kill -9 at change %u from here", history->spy.kill_in);
    } else if (random_percent(random, 70)) {
        uint64_t point = sim_changes(history->disk) + random_between(random, 1, span);

        sim_crash_at_change(history->disk, point);
        trace(history, "plan: power cut at change %llu", (unsigned long long)point);
    }
}

/* ---- opening and dying ----------------------------------------------------------------------- */

static int see_leftover(void *context, const char *name, bool is_dir)
{
    (void)is_dir;
    *(const char **)context = name;
    return 1;
}

/* Opening finishes what a crash left half done. */
static void check_emptied(struct history *history)
{
    const char *name = "";

    if (sim_list(history->disk, "data/tmp", SIM_CACHED, see_leftover, &name) != 0 ||
        sim_list(history->disk, "data/trash", SIM_CACHED, see_leftover, &name) != 0)
        violation(history, NULL, "after opening there is a leftover in tmp or trash: %s", name);
}

bool history_open(struct history *history)
{
    char reason[256] = "";
    uint64_t before = faults_shown(history);

    history->is_over = false;
    history->faults_at_opening = before;
    history->name_failures_at_opening = name_failures(history);
    history->was_full = history->is_full;
    spy_reset(&history->spy);
    history->swarm.config.custom_io = history->spy.io;
    history->totals->opens++;
    int rc = store_open(&history->store, "data", &history->swarm.config, reason);

    trace(history, "store_open: %d %s", rc, reason);
    if (rc < 0)
        history->store = NULL;
    if (is_dead(history))
        return false;
    remember(history, (uint64_t)(int64_t)rc);
    if (rc == -EPROTONOSUPPORT && history->swarm.disk.garbage)
        return false; /* cut while the first file of all was written: garbage is no format */
    if (rc < 0 && !is_excused(history, rc, before))
        violation(history, NULL, "store_open failed with %d without a reason: %s", rc, reason);
    if (rc == 0 && faults_shown(history) == before)
        check_emptied(history);
    return rc == 0;
}

static void forget_session(struct history *history)
{
    for (unsigned i = 0; i < history->swarm.log_count; i++) {
        struct log_model *log = &history->logs[i];

        must(!log->wal && !log->cursor);
        if (log->handlers_due > 0)
            violation(history, log, "%u handlers never ran", log->handlers_due);
        log->failed = false;
        log->failure = 0;
        log->handler_sequence = 0;
        log->was_checked = false;
        log->is_unreadable = false;
    }
    history->is_closing = false;
}

static void count_packed(struct history *history)
{
    struct store_stats stats;

    if (!history->store)
        return;
    store_stats(history->store, &stats);
    history->totals->packed += stats.totals.packs;
}

/* Gives everything back; what the store says meanwhile counts no more. */
static void abandon(struct history *history)
{
    count_packed(history);
    for (unsigned i = 0; i < history->swarm.log_count; i++)
        check_told(history, &history->logs[i]);
    history->is_over = true;
    for (unsigned i = 0; i < history->swarm.log_count; i++)
        log_put(history, &history->logs[i]);
    if (history->store)
        store_close(history->store, 0);
    history->store = NULL;
    forget_session(history);
}

static void power_cut(struct history *history)
{
    if (!sim_is_dead(history->disk))
        sim_crash_at(history->disk, sim_ops(history->disk) + 1);
    abandon(history);
    trace(history, "power cut");
    sim_crash(history->disk);
    remember(history, sim_trace_hash(history->disk));
    history->totals->crashes++;
}

static void kill_process(struct history *history)
{
    trace(history, "kill -9");
    if (!history->spy.is_killed)
        sim_kill(history->disk);
    history->spy.is_killed = true;
    abandon(history);
    history->totals->kills++;
}

static void die(struct history *history)
{
    if (history->spy.is_killed)
        kill_process(history);
    else
        power_cut(history);
}

static void close_store(struct history *history, uint64_t drain_us)
{
    bool was_healthy = true;

    for (unsigned i = 0; i < history->swarm.log_count; i++) {
        struct log_model *log = &history->logs[i];

        if (log->wal)
            check_settle(history, log);
        was_healthy = was_healthy && !log->failed;
        log_put(history, log);
    }
    history->is_closing = true;
    count_packed(history);
    int rc = store_close(history->store, drain_us);

    history->store = NULL;
    trace(history, "store_close(%llu): %d", (unsigned long long)drain_us, rc);
    if (is_dead(history)) {
        die(history);
        return;
    }
    history->totals->closes++;
    remember(history, (uint64_t)(int64_t)rc);
    bool is_calm = was_healthy && !has_known_want(history);

    if (rc < 0 && is_calm && (drain_us > 0 || rc != -ESHUTDOWN))
        violation(history, NULL, "store_close failed with %d without a reason", rc);
    for (unsigned i = 0; i < history->swarm.log_count; i++) {
        struct log_model *log = &history->logs[i];

        if (log->existence != LOG_PRESENT || !log->was_checked)
            continue;
        check_settle(history, log);
        if (is_calm && drain_us > 0) {
            model_durable(log, log->unit_count);
            log->is_clean = true;
        }
    }
    forget_session(history);
}

/* The first half of a shutdown: reads go on, appends are told. */
static void drain_store(struct history *history)
{
    history->is_closing = true;
    store_drain(history->store);
    trace(history, "store_drain");
    for (unsigned i = 0; i < history->swarm.log_count && !is_dead(history); i++) {
        struct log_model *log = &history->logs[i];
        struct wal_record record = {.data = "x", .size = 1};

        if (!log->wal)
            continue;
        check_settle(history, log);
        int rc = wal_append(log->wal, &record, 1, NULL, NULL, NULL);

        if (rc != -ESHUTDOWN && !(rc == wal_status(log->wal) && faults_shown(history) > 0))
            violation(history, log, "an append to a store that is being closed got %d", rc);
        check_read(history, log, log->first_seen, 5);
    }
}

static void end_life(struct history *history)
{
    struct random *random = &history->random;
    uint32_t dice = random_below(random, 100);

    if (!is_dead(history) && history->store && random_percent(random, 10))
        drain_store(history);
    if (!is_dead(history) && history->store) {
        if (dice < 40) {
            close_store(history, dice < 35 ? DRAIN_US : 0);
            return;
        }
        if (dice < 60 && history->swarm.kills) {
            kill_process(history);
            return;
        }
    }
    die(history);
}

/* ---- a history ------------------------------------------------------------------------------- */

static const uint64_t segment_sizes[] = {16 << 10, 32 << 10,  32 << 10, 48 << 10,
                                         64 << 10, 128 << 10, 256 << 10};
static const uint32_t space_sizes[] = {8 << 10, 8 << 10, 16 << 10, 64 << 10};
static const uint32_t batch_records[] = {1, 2, 5, 65536, 65536};
static const uint32_t batch_sizes[] = {1, 4096, 20000, 1 << 20, 1 << 20};
static const uint32_t batch_delays[] = {0, 0, 0, 50, 2000, 100000};
static const uint32_t queue_records[] = {8, 16, 1 << 20, 1 << 20, 1 << 20};
static const uint64_t queue_sizes[] = {32 << 10, 64 << 20, 64 << 20, 64 << 20};
static const uint32_t idle_marks[] = {0, 500, 20000, 200000};
static const uint32_t ring_sizes[] = {8, 16, 256};
static const uint32_t record_sizes[] = {16, 100, 600, 3000, 9000};
static const uint32_t handle_limits[] = {1, 2, 64};
static const uint32_t retained_records[] = {0, 0, 1, 5, 40};
static const uint32_t retained_bytes[] = {0, 0, 1, 1000, 20000};
static const uint32_t retained_ages[] = {0, 0, 1, 1000000};
static const uint32_t latencies[] = {0, 0, 20, 1000};

static void draw_config(struct history *history)
{
    struct random *random = &history->random;
    struct swarm *swarm = &history->swarm;
    struct store_config *config = &swarm->config;

    store_config_default(config);
    config->threads = false;
    config->worker = false;
    config->pack = random_percent(random, 70);
    if (random_percent(random, 50))
        config->pack_compression = STORE_COMPRESSION_ZSTD;
    config->committers = random_percent(random, 85) ? 1 : 2;
    config->ring_entries = RANDOM_PICK(random, ring_sizes);
    config->logs_max =
        random_percent(random, 80) ? 64 : random_between(random, 1, swarm->log_count);
    config->write_handles_max = RANDOM_PICK(random, handle_limits);
    config->log.segment_bytes = RANDOM_PICK(random, segment_sizes);
    config->log.space_bytes = RANDOM_PICK(random, space_sizes);
    config->log.batch_records_max = RANDOM_PICK(random, batch_records);
    config->log.batch_bytes_max = RANDOM_PICK(random, batch_sizes);
    config->log.batch_delay_us = RANDOM_PICK(random, batch_delays);
    config->log.queue_records_max = RANDOM_PICK(random, queue_records);
    config->log.queue_bytes_max = RANDOM_PICK(random, queue_sizes);
    config->log.mark_idle_us = RANDOM_PICK(random, idle_marks);
    config->limits.retain_records = RANDOM_PICK(random, retained_records);
    config->limits.retain_bytes = RANDOM_PICK(random, retained_bytes);
    config->limits.retain_age_us = RANDOM_PICK(random, retained_ages);

    const char *field = "";

    if (store_config_check(config, &field) < 0)
        violation(history, NULL, "a configuration of the test is refused: %s", field);
}

static void draw_disk(struct history *history)
{
    struct random *random = &history->random;
    struct sim_options *disk = &history->swarm.disk;

    *disk = (struct sim_options){
        .direct = random_percent(random, 60),
        .no_allocate = random_percent(random, 30),
        .split_renames = random_percent(random, 50),
        .ext4_like = random_percent(random, 20),
        .garbage = history->options->damage && random_percent(random, 30),
        .check_buffers = random_percent(random, 5),
        .tear = random_percent(random, 80) ? SIM_TEAR_BY_SEED
                                           : (enum sim_tear)random_below(random, SIM_TEAR_COUNT),
        .latency_us = RANDOM_PICK(random, latencies),
        .clock_jump_ppm = random_percent(random, 15) ? 50000 : 0,
        .trace = history->options->trace_disk ? stderr : NULL,
    };
    /* Five the store needs for itself; what a log lacks must not make it fail. */
    if (!history->options->damage && random_percent(random, 8))
        disk->handles_max = random_between(random, 6, 14);
    disk->no_direct = !disk->direct && random_percent(random, 30);
    if (disk->garbage)
        history->swarm.lives = 1; /* the judge alone may meet what it leaves */
}

static void draw_swarm(struct history *history)
{
    struct random *random = &history->random;
    struct swarm *swarm = &history->swarm;
    bool damage = history->options->damage;

    memset(swarm, 0, sizeof(*swarm));
    swarm->log_count = random_percent(random, 50) ? 1 : random_between(random, 2, LOGS_MAX);
    swarm->lives = damage ? random_between(random, 1, 2) : random_between(random, 1, 4);
    swarm->operations = random_percent(random, 70) ? 20 : 60;
    draw_config(history);
    draw_disk(history);
    for (unsigned i = 0; i < workload_operations(); i++)
        swarm->weights[i] =
            (uint8_t)(random_percent(random, 25) ? 0 : random_between(random, 1, 8));
    swarm->record_bytes = RANDOM_PICK(random, record_sizes);
    swarm->big_percent = random_percent(random, 50) ? 0 : random_between(random, 1, 15);
    swarm->zeros_percent = random_percent(random, 50) ? 0 : random_between(random, 5, 60);
    swarm->attributes_percent = random_percent(random, 50) ? 0 : random_between(random, 5, 60);
    swarm->updates_percent = random_percent(random, 40) ? 0 : random_between(random, 5, 60);
    swarm->handler_percent = random_between(random, 0, 100);
    swarm->again_percent = random_percent(random, 70) ? 0 : 10;
    swarm->batch_records = random_percent(random, 50)   ? 1
                           : random_percent(random, 90) ? random_between(random, 2, 8)
                                                        : BATCH_RECORDS_MAX;
    swarm->big_state = random_percent(random, 3);
    swarm->faults = !damage && random_percent(random, 40);
    swarm->disk_full = !damage && random_percent(random, 20);
    swarm->kills = random_percent(random, 50);
    /* A forged frame that is also misdirected to where its salt belongs is beyond any log. */
    swarm->forgeries = !damage && random_percent(random, 20);
}

static void begin(struct history *history, uint64_t seed)
{
    history->seed = seed;
    history->random = (struct random){splitmix64_mix(seed ^ UINT64_C(0x5eed))};
    history->next_sequence = 0;
    history->next_content = 0;
    history->hash = 0;
    history->is_over = history->is_full = history->was_full = false;
    history->is_closing = history->is_appending = false;
    history->is_scrubbing = false;
    history->pools->unit_count = history->pools->record_count = 0;
    history->pools->update_count = history->pools->id_count = 0;
    history->pools->stored_bytes = 0;
    current = history;

    draw_swarm(history);
    sim_reset(history->disk, seed);
    *sim_options_of(history->disk) = history->swarm.disk;
    for (unsigned i = 0; i < LOGS_MAX; i++) {
        struct log_model *log = &history->logs[i];

        log->history = history;
        log->number = i;
        snprintf(log->name, sizeof(log->name), "log%u", i);
        log->existence = LOG_GONE;
        log->wal = NULL;
        log->cursor = NULL;
        log->was_checked = log->is_unreadable = log->is_clean = false;
        log->handlers_due = 0;
        log->handler_sequence = 0;
        model_clear(log);
    }
}

static void check_disk(struct history *history)
{
    const struct sim_counters *counters = sim_counters(history->disk);

    if (counters->misuses > 0)
        violation(history, NULL, "%llu misuses of the disk's interface",
                  (unsigned long long)counters->misuses);
    if (counters->idle_waits > 0)
        violation(history, NULL, "a wait without limit while nothing was in flight");
    if (sim_handles(history->disk) > 0 || sim_rings(history->disk) > 0)
        violation(history, NULL, "%u handles and %u rings were left open",
                  sim_handles(history->disk), sim_rings(history->disk));
}

/* The last life: a healthy disk, everything must be well and take appends. */
static void last_life(struct history *history)
{
    plan_life(history, true);
    sim_options_of(history->disk)->handles_max = 0;
    if (history->options->damage) {
        damage_inflict(history);
        damage_judge(history);
        return;
    }
    if (!history_open(history) || !check_store(history))
        violation(history, NULL, "a healthy disk does not open");
    workload_prove_alive(history);
    close_store(history, DRAIN_US);
    if (!history_open(history) || !check_store(history))
        violation(history, NULL, "a closed store does not open");
    close_store(history, DRAIN_US);
    for (unsigned i = 0; i < history->swarm.log_count; i++) {
        if (history->logs[i].existence == LOG_PRESENT)
            check_files(history, &history->logs[i]);
    }
}

uint64_t history_run(struct history *history, uint64_t seed)
{
    begin(history, seed);
    trace(history, "history 0x%llx: %u logs, %u lives, segments of %llu", (unsigned long long)seed,
          history->swarm.log_count, history->swarm.lives,
          (unsigned long long)history->swarm.config.log.segment_bytes);
    for (unsigned life = 0; life < history->swarm.lives; life++) {
        trace(history, "---- life %u", life);
        plan_life(history, false);
        if (history_open(history) && check_store(history))
            workload_run(history, random_between(&history->random, 0, history->swarm.operations));
        end_life(history);
        check_disk(history);
    }
    trace(history, "---- last life");
    last_life(history);
    check_disk(history);

    history->totals->histories++;
    remember(history, sim_trace_hash(history->disk));
    return history->hash;
}

void history_init(struct history *history, const struct run_options *options, struct totals *totals)
{
    memset(history, 0, sizeof(*history));
    history->options = options;
    history->totals = totals;
    history->pools = malloc(sizeof(*history->pools));
    must(history->pools);
    must(sim_disk_new(NULL, &history->disk) == 0);
    spy_init(&history->spy, history->disk);
    content_init();
}

void history_done(struct history *history)
{
    spy_done(&history->spy);
    sim_disk_free(history->disk);
    free(history->pools);
    current = NULL;
}
