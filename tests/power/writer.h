/*
 * power_writer, the program under test: a process that works on a store and says on stdout what it
 * was promised (journal.h), or, started again after a kill or a power cut, reads the store and
 * compares it with that journal.
 */
#ifndef POWER_WRITER_H
#define POWER_WRITER_H

#include "wal/store.h"

#include "tests/power/journal.h"

struct options {
    const char *dir;
    const char *journal; /* verify only */
    uint64_t seed;       /* of contents: one per directory */
    uint32_t run;        /* one per process on a directory */
    enum store_io io;
    enum store_direct direct;
    unsigned trim_kib; /* a log that takes more is trimmed */
    bool expect_clean; /* verify: the last run closed the store in good order */
    bool leave_open;   /* verify: end without closing, as a crash of an idle process would */
};

/* Exit statuses of power_writer, and of power_driver beside 77 of a skipped test. A lost record and
 * a failure of another kind are told apart, so that a test that is to find a loss is not content
 * with a writer that does not even start. */
enum {
    EXIT_VIOLATION = 1, /* verification: something is lost, or wrong with what is there */
    EXIT_USAGE = 2,
    EXIT_STORE = 3,  /* the store cannot be opened */
    EXIT_BROKEN = 4, /* a crash, a hang, an error on a healthy disk */
};

/* The configuration of a run: the same for each process with the same seed and run, and different
 * from run to run, so that settings are tried against what other settings left behind. */
void power_store_config(struct store_config *config, const struct options *options);

/* Both return the exit status. */
int work(const struct options *options);
int verify(const struct options *options);

#endif
