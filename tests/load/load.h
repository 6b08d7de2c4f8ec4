/*
 * load_driver: takes the program itself, on a directory of a real disk, through kills and crowds.
 * Each scenario is a function that returns an exit status; main.c has their names. Everything runs
 * on one thread; the program is another process, and is ended by its process id alone.
 */
#ifndef LOAD_LOAD_H
#define LOAD_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/support/splitmix64.h"

#define EXIT_VIOLATION 1 /* the program broke a promise */
#define EXIT_TROUBLE 2   /* something is wrong with the test or the machine */
#define EXIT_SKIPPED 77

#define SECOND_US UINT64_C(1000000)

#define SERVE_MAX 8

enum usage {
    USE_AUTO, /* if the program has it */
    USE_ON,
    USE_OFF,
};

struct options {
    const char *program;          /* path of wald */
    const char *io;               /* uring or posix */
    const char *parent;           /* where the folder is made */
    const char *plant;            /* a fault of the program that is pretended; NULL: none */
    const char *serve[SERVE_MAX]; /* more words for its command line */
    enum usage batches, retries;
    uint64_t seed;
    unsigned cycles;      /* of kill */
    unsigned connections; /* 0: as the scenario has it */
    unsigned appends;     /* of each connection */
    unsigned stall_s;     /* no progress for so long is a stall */
    unsigned moment_ms_min, moment_ms_max;
    bool keep;           /* the folder, in any case */
    bool measure_memory; /* hold the program's memory against a bound: not under sanitizers */
};

/* ---- the program ---- */

struct program {
    const struct options *options;
    char folder[512]; /* its data is in "data", what it says in "log" */
    pid_t pid;        /* 0: not running */
    unsigned port;
    long log_begin; /* where what this process said begins in the log */
};

/* Makes the folder. 0, or an exit status with the reason printed. */
int program_open(struct program *program, const struct options *options);
/* Starts it without waiting. 0, or an exit status. */
int program_launch(struct program *program);
/* Starts it and waits until it takes connections. 0, or an exit status. */
int program_start(struct program *program);
/* kill -9, which it must have lived to see. 0, or an exit status. */
int program_kill(struct program *program);
/* SIGTERM: it must end with status 0 in good order. 0, or an exit status. */
int program_stop(struct program *program);
/* False: it has ended by itself, which is complained about. */
bool program_is_running(struct program *program);
/* Ends what still runs. Removes the folder after success, else shows what the program said last.
 * Returns the status. */
int program_close(struct program *program, int status);

/* Bytes of memory the process has now, or 0. */
uint64_t program_memory(const struct program *program);
/* Files the process has open. */
unsigned program_files(const struct program *program);
/* Waits until it has no more than that, as it must once the deadlines of its clients have passed.
 * 0, or EXIT_VIOLATION. */
int program_files_return(const struct program *program, unsigned files);
/* The program takes so many connections, and we can make them. Prints why not. */
bool files_suffice(unsigned connections);

/* ---- words that all share ---- */

void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool is_planted(const struct program *program, const char *plant);
uint64_t clock_us(void);
void sleep_us(uint64_t us);
/* The next number of a sequence, below `limit`. */
uint64_t random_below(uint64_t *state, uint64_t limit);

/* ---- the scenarios ---- */

int run_kill(struct program *program);
int run_plants(struct program *program);
int run_crowd(struct program *program);
int run_lockstep(struct program *program);
int run_slow(struct program *program);
int run_memory(struct program *program);
int run_gone(struct program *program);

#endif
