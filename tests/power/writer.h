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

/* Exit statuses of power_writer, beside 77 of a skipped test. */
enum {
    EXIT_VIOLATION =
        1, /* something acknowledged is lost, or something is wrong with what is there */
    EXIT_USAGE = 2,
    EXIT_STORE = 3, /* the store cannot be opened */
};

/* The configuration of a run: the same for each process with the same seed and run, and different
 * from run to run, so that settings are tried against what other settings left behind. */
void power_store_config(struct store_config *config, const struct options *options);

/* Both return the exit status. */
int work(const struct options *options);
int verify(const struct options *options);

#endif
