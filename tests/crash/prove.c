#include "tests/crash/prove.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/defects.h"

#ifdef WAL_PLANTED_DEFECTS

#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash/search.h"
#include "wal/base.h"

static const struct {
    const char *name, *text;
} defects[DEFECT_COUNT] = {
#define X(name, text) [DEFECT_##name] = {#name, text},
    WAL_DEFECT_LIST(X)
#undef X
};

/* One defect being searched for by a process of its own. */
struct proof {
    pid_t child; /* 0: not started, -1: it has ended */
    FILE *output;
    double begin, seconds;
    char what[400]; /* empty: not caught */
};

static double now_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int prove_list(void)
{
    for (int i = 1; i < DEFECT_COUNT; i++)
        printf("%2d  %-26s %s\n", i, defects[i].name, defects[i].text);
    return 0;
}

int prove_switch_on(const char *defect)
{
    char *end;
    long number = strtol(defect, &end, 10);

    if (*end == '\0' && number > 0 && number < DEFECT_COUNT) {
        wal_defect_on = (enum wal_defect_id)number;
        return 0;
    }
    for (int i = 1; i < DEFECT_COUNT; i++) {
        if (strcmp(defects[i].name, defect) == 0) {
            wal_defect_on = (enum wal_defect_id)i;
            return 0;
        }
    }
    fprintf(stderr, "crash_sim: no defect %s; --list-defects tells them\n", defect);
    return 2;
}

static void search(int defect, uint64_t first_seed, uint64_t seconds, uint64_t *histories)
{
    char flags[96];
    struct search_options options = {.first_seed = first_seed, .seconds = seconds, .flags = flags};

    snprintf(flags, sizeof(flags), " --defect %s", defects[defect].name);
    wal_defect_on = (enum wal_defect_id)defect;
    search_both(&options, histories);
}

static void start(struct proof *proof, int defect, uint64_t first_seed, uint64_t seconds,
                  uint64_t *histories)
{
    int ends[2];

    fflush(NULL);
    must(pipe(ends) == 0);
    proof->begin = now_seconds();
    proof->child = fork();
    must(proof->child >= 0);
    if (proof->child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO); /* where broken assertions are told */
        close(ends[0]);
        close(ends[1]);
        search(defect, first_seed, seconds, histories);
        _exit(0);
    }
    close(ends[1]);
    proof->output = fdopen(ends[0], "r");
    must(proof->output);
}

/* The child has ended with this status; what it wrote fits into the pipe. */
static void finish(struct proof *proof, int status)
{
    char line[1024];

    proof->child = -1;
    proof->seconds = now_seconds() - proof->begin;
    while (fgets(line, sizeof(line), proof->output)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "replay: ", 8) == 0)
            snprintf(proof->what, sizeof(proof->what), "%.399s", line + 8);
    }
    fclose(proof->output);
    if (status == 0)
        proof->what[0] = '\0';
    else if (proof->what[0] == '\0')
        snprintf(proof->what, sizeof(proof->what), "died without a word, status %d", status);
}

static void finish_any(struct proof *proofs)
{
    int status;
    pid_t child = wait(&status);

    must(child > 0);
    for (int i = 1; i < DEFECT_COUNT; i++) {
        if (proofs[i].child == child)
            finish(&proofs[i], status);
    }
}

int prove_all(uint64_t first_seed, uint64_t seconds_each, unsigned jobs)
{
    uint64_t *histories = mmap(NULL, DEFECT_COUNT * sizeof(*histories), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct proof proofs[DEFECT_COUNT] = {0};
    int next = 1;
    int missed = 0;

    must(histories != MAP_FAILED);
    printf("%-26s %10s %8s  %s\n", "defect", "histories", "seconds", "caught by");
    for (int i = 1; i < DEFECT_COUNT; i++) {
        for (; next < DEFECT_COUNT && next < i + (int)jobs; next++)
            start(&proofs[next], next, first_seed, seconds_each, &histories[next]);
        while (proofs[i].child > 0)
            finish_any(proofs);
        printf("%-26s %10llu %8.1f  %s\n", defects[i].name, (unsigned long long)histories[i],
               proofs[i].seconds, proofs[i].what[0] ? proofs[i].what : "NOT CAUGHT");
        fflush(stdout);
        missed += proofs[i].what[0] == '\0';
    }
    printf("%d of %d defects caught\n", DEFECT_COUNT - 1 - missed, DEFECT_COUNT - 1);
    munmap(histories, DEFECT_COUNT * sizeof(*histories));
    return missed > 0;
}

#else

static int no_defects(void)
{
    fprintf(stderr, "crash_sim: this build has no defects; crash_sim_defects has\n");
    return 2;
}

int prove_list(void)
{
    return no_defects();
}

int prove_switch_on(const char *defect)
{
    (void)defect;
    return no_defects();
}

int prove_all(uint64_t first_seed, uint64_t seconds_each, unsigned jobs)
{
    (void)first_seed;
    (void)seconds_each;
    (void)jobs;
    return no_defects();
}

#endif
