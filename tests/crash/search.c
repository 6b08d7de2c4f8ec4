#include "tests/crash/search.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "wal/base.h"

#define SECONDS_OF_ONE_HISTORY 20
#define REPEAT_EVERY 256
#define LOOK_EVERY 64
#define BATCH_OF_BOTH 128
#define JOBS_MAX 64

/* What the processes of a search share. */
struct board {
    struct totals totals[JOBS_MAX];
    volatile bool has_failed;
};

/* ---- dying with a word ----------------------------------------------------------------------- */

static volatile sig_atomic_t progress, progress_seen;

/* What it calls is not made for signal handlers; but the process has one thread, and ends here. */
static void on_death(int number)
{
    signal(number, SIG_DFL);
    /* NOLINTNEXTLINE(bugprone-signal-handler,cert-sig30-c) */
    history_report_death(number == SIGABRT ? "a broken assertion" : "a fatal signal");
    raise(number);
}

/* The timer counts time of this process alone, so a debugger may take as long as it likes. */
static void on_tick(int number)
{
    (void)number;
    if (progress == progress_seen) {
        /* NOLINTNEXTLINE(bugprone-signal-handler,cert-sig30-c) */
        history_report_death("it hangs");
        _exit(1);
    }
    progress_seen = progress;
}

/* A sanitizer ends the process without a signal, but tells before it does. */
/* NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c): the sanitizers' own name */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void on_sanitizer_death(void)
{
    history_report_death("a report of the sanitizer");
}

static void watch_over(bool has_limit)
{
    struct itimerval tick = {.it_interval = {.tv_sec = SECONDS_OF_ONE_HISTORY},
                             .it_value = {.tv_sec = SECONDS_OF_ONE_HISTORY}};

    signal(SIGABRT, on_death);
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(on_sanitizer_death);
    } else {
        signal(SIGSEGV, on_death);
        signal(SIGBUS, on_death);
        signal(SIGFPE, on_death);
    }
    signal(SIGPROF, on_tick);
    if (has_limit)
        setitimer(ITIMER_PROF, &tick, NULL);
}

/* ---- one process ----------------------------------------------------------------------------- */

static double now_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct history the_history;

/* A store's large buffers come and go with every life: asking the kernel for each of them, and for
 * its pages, would take most of the time. */
static void keep_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 256 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
}

static void run_one(uint64_t seed, bool repeat)
{
    struct totals *totals = the_history.totals;
    uint64_t hash = history_run(&the_history, seed);

    progress++;
    totals->hash += splitmix64_mix(hash);
    if (!repeat)
        return;

    struct totals ignored = {0};

    the_history.totals = &ignored;
    uint64_t again = history_run(&the_history, seed);

    the_history.totals = totals;
    totals->repeated++;
    if (again != hash)
        violation(&the_history, NULL, "two runs of one seed differ");
}

static void run_share(const struct search_options *options, unsigned job, struct board *board,
                      double deadline)
{
    struct run_options run = {.damage = options->damage, .flags = options->flags};
    bool shows_progress = job == 0 && isatty(STDERR_FILENO);
    uint64_t done = 0;

    keep_memory();
    watch_over(true);
    history_init(&the_history, &run, &board->totals[job]);
    for (uint64_t i = job; i < options->histories; i += options->jobs, done++) {
        if (done % LOOK_EVERY == 0) {
            if (board->has_failed || (deadline > 0 && now_seconds() > deadline))
                break;
            if (shows_progress && done % (16ull * LOOK_EVERY) == 0)
                fprintf(stderr, "\r%llu histories", (unsigned long long)(done * options->jobs));
        }
        run_one(options->first_seed + i, options->meta || done % REPEAT_EVERY == 0);
    }
    if (shows_progress)
        fprintf(stderr, "\r");
    history_done(&the_history);
}

/* ---- several --------------------------------------------------------------------------------- */

static void add_totals(struct totals *sum, const struct totals *part)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)part;

    _Static_assert(sizeof(struct totals) % sizeof(uint64_t) == 0, "counters only");
    for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
        to[i] += from[i];
}

static void print_summary(const struct search_options *options, const struct board *board,
                          double seconds)
{
    typedef unsigned long long ull;
    struct totals sum = {0};

    for (unsigned i = 0; i < options->jobs; i++)
        add_totals(&sum, &board->totals[i]);
    printf(
        "crash_sim%s: %llu histories, %llu operations, %llu power cuts, %llu kills, %llu closes, "
        "%llu records acknowledged, %llu verified, %llu torn tails, %llu refused, "
        "%llu logs failed by faults, %llu logs damaged, %llu repaired, %llu beyond repair, "
        "%llu gaps, %llu tails cut, "
        "%llu logs refused without damage, %llu segments packed, %llu frames compressed, %llu scrubs, %llu of them disturbed, "
        "%llu places told, %llu run twice, %.0f histories/s, hash 0x%016llx\n",
        options->damage ? " --damage" : "", (ull)sum.histories, (ull)sum.operations,
        (ull)sum.crashes, (ull)sum.kills, (ull)sum.closes, (ull)sum.acknowledged, (ull)sum.verified,
        (ull)sum.torn, (ull)sum.refused_units, (ull)sum.failed_logs, (ull)sum.damaged_logs,
        (ull)sum.repaired_logs, (ull)sum.beyond_repair, (ull)sum.gaps, (ull)sum.cut_tails,
        (ull)sum.refused_undamaged, (ull)sum.packed, (ull)sum.compressed, (ull)sum.scrubs,
        (ull)sum.disturbed_scrubs, (ull)sum.scrub_places, (ull)sum.repeated,
        seconds > 0 ? (double)sum.histories / seconds : 0.0, (ull)sum.hash);
}

static int run_jobs(const struct search_options *options, struct board *board, double deadline)
{
    int result = 0;

    fflush(NULL);
    for (unsigned job = 0; job < options->jobs; job++) {
        pid_t child = fork();

        must(child >= 0);
        if (child == 0) {
            run_share(options, job, board, deadline);
            _exit(0);
        }
    }
    for (unsigned job = 0; job < options->jobs; job++) {
        int status;

        must(wait(&status) > 0);
        if (status != 0) {
            board->has_failed = true;
            result = 1;
        }
    }
    return result;
}

int search_run(const struct search_options *options)
{
    struct board *board =
        mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double begin = now_seconds();
    double deadline = options->seconds > 0 ? begin + (double)options->seconds : 0;
    int result = 0;

    must(board != MAP_FAILED && options->jobs <= JOBS_MAX);
    if (options->jobs > 1)
        result = run_jobs(options, board, deadline);
    else
        run_share(options, 0, board, deadline);
    if (result == 0)
        print_summary(options, board, now_seconds() - begin);
    munmap(board, sizeof(*board));
    return result;
}

int search_replay(const struct search_options *options, uint64_t seed)
{
    struct totals totals = {0};
    struct run_options run = {.damage = options->damage,
                              .trace = true,
                              .trace_disk = options->verbose,
                              .flags = options->flags};

    watch_over(false);
    history_init(&the_history, &run, &totals);
    run_one(seed, false);
    history_done(&the_history);
    printf("crash_sim --seed 0x%llx%s: no violation\n", (unsigned long long)seed, options->flags);
    return 0;
}

void search_both(const struct search_options *options, uint64_t *ret_histories)
{
    static char damage_flags[128];
    struct totals totals = {0};
    struct run_options run = {.flags = options->flags};
    double deadline = now_seconds() + (double)options->seconds;

    snprintf(damage_flags, sizeof(damage_flags), "%s --damage", options->flags);
    keep_memory();
    watch_over(true);
    history_init(&the_history, &run, &totals);
    for (uint64_t seed = options->first_seed; now_seconds() < deadline;) {
        for (unsigned i = 0; i < BATCH_OF_BOTH; i++) {
            run.damage = i >= BATCH_OF_BOTH / 2;
            run.flags = run.damage ? damage_flags : options->flags;
            run_one(seed++, false);
            ++*ret_histories;
        }
    }
    history_done(&the_history);
}
