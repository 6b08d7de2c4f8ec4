/*
 * power_driver: starts power_writer, keeps its journal, ends it by a kill (kill.c) or by a power
 * cut (cut.c), and has what is left verified. Children are ended by their process id alone, and die
 * with the driver.
 */
#ifndef POWER_DRIVER_H
#define POWER_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/power/journal.h"

#define EXIT_SKIPPED 77

struct driver {
    const char *verb;   /* kill or cut */
    const char *writer; /* path of power_writer */
    const char *parent; /* where the folder is made */
    const char *defect; /* switched on in the writer; NULL: none */
    bool expect_loss;   /* succeed if a violation is found, fail if none is */
    bool keep;          /* keep the folder in any case */
    const char *io;     /* NULL: uring and posix in turn */
    const char *direct; /* NULL: auto and off in turn */
    uint64_t seed;
    unsigned cycles;
    unsigned moment_ms_min, moment_ms_max; /* from the first acknowledgement */
    /* Of cuts alone. */
    const char *fs;     /* ext4 or xfs */
    bool device_cache;  /* the device loses what it was not told to flush */
    unsigned per_image; /* cycles on one file system */

    char folder[512];
    char dir[600];     /* the store */
    char journal[600]; /* its journal; outside of what is cut */
    int journal_fd;
    uint64_t random;
    uint32_t run; /* of the next process on this directory */
    uint64_t content_seed;
    unsigned cycle;
    /* Tallies for the last line. */
    uint64_t began_us, appends_acked, verified, ready_us_max, verify_us_max;
};

/* A running power_writer. */
struct child {
    struct driver *driver;
    pid_t pid;
    int output;
    bool ended; /* no more lines will come */
    size_t held;
    unsigned char buffer[64u << 10];
    uint64_t lines[LINE_KINDS];
    struct line error; /* the first LINE_ERROR */
};

/* Makes the folder, prints the seed, and installs the handlers that end a loop early. 0, or an exit
 * status with the reason printed. */
int driver_open(struct driver *driver);
/* Prints the last line, removes the folder or says where it is, and returns the exit status.
 * status: 0, EXIT_VIOLATION for what verification found, or another for trouble. */
int driver_close(struct driver *driver, int status);
/* A signal asked the driver to end. */
bool driver_interrupted(void);
/* A new, empty journal, for a new directory. */
int driver_new_journal(struct driver *driver);

/* Starts `power_writer verb` with the next run number and these words more (NULL at the end). */
int child_start(struct driver *driver, struct child *child, const char *verb, const char *io,
                const char *direct, const char *const *more);
/* The same, for a verification that is to be cut short: what it complains of is not shown. */
int child_start_doomed(struct driver *driver, struct child *child);
/* Takes lines for `us` microseconds, or until there are none for now (us 0), or until `until` of
 * kind has come. Returns whether the output is still open. */
bool child_read(struct child *child, uint64_t us, enum line_kind until);
/* Sends a signal (0: none), takes lines to the end and waits for the process: its wait status, or
 * -ETIMEDOUT after a minute and a half, when it is killed. */
int child_end(struct child *child, int signal_number);

/* Adds a line of the driver's own to the journal. */
void journal_note(struct driver *driver, enum line_kind kind);

/* Waits for the first acknowledgement, and then for a random time. 0, or an exit status with the
 * reason printed. */
int run_until_moment(struct driver *driver, struct child *child);
/* Runs `power_writer verify`. 0, or an exit status with the reason printed. */
int run_verify(struct driver *driver, const char *io, const char *direct, bool expect_clean,
               bool leave_open);
/* What a child that was killed must look like: no crash, and no error while the disk was fine. */
int check_killed(struct driver *driver, const struct child *child, int wait_status,
                 bool errors_allowed);

/* One cycle each; cut_open() makes what all cuts need, or explains why it cannot and returns
 * EXIT_SKIPPED. */
int kill_cycle(struct driver *driver);
int cut_open(struct driver *driver);
int cut_cycle(struct driver *driver);
void cut_close(void);

/* The backend and direct I/O of a cycle: all four pairs in turn. */
const char *driver_io(const struct driver *driver);
const char *driver_direct(const struct driver *driver);

void complain(const struct driver *driver, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t clock_us(void);
void sleep_us(uint64_t us);

#endif
