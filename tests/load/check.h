/*
 * Reads the program's logs back through HTTP and holds them against the journal:
 *
 *   every acknowledged record is there, at its offset, byte for byte, and none twice;
 *   offsets are dense, each writer's records are in his order, and batches are whole;
 *   nothing is there that was not appended;
 *   committed offsets never fall, and everything below them can be read, in pages and one by one;
 *   what one check has read, the next one finds again, acknowledged or not.
 */
#ifndef LOAD_CHECK_H
#define LOAD_CHECK_H

#include "tests/load/client.h"
#include "tests/load/journal.h"

/* Faults of the program that are pretended, to see that the check finds them. */
enum plant {
    PLANT_NONE,
    PLANT_DROP,       /* a record is missing in a page */
    PLANT_ALTER,      /* one bit of it is another */
    PLANT_CUT,        /* its end is missing */
    PLANT_STRANGER,   /* nobody's bytes stand in its place */
    PLANT_DOUBLE,     /* it is there again, in place of a later one of its writer */
    PLANT_SWAP,       /* it and a later one of its writer have changed places */
    PLANT_REORDER,    /* so have they in the acknowledgements */
    PLANT_HALF_BATCH, /* it is one of two of a batch, and the other is not there */
    PLANT_SINGLE,     /* read by itself, it has another bit */
    PLANT_LOST_END,   /* one more record had been acknowledged */
    PLANT_FALL,       /* the committed offset had been greater */
    PLANT_COUNT
};

struct checker {
    struct journal *journal;
    bool learns; /* what is read counts as promised from then on */

    enum plant plant;
    unsigned plant_log;
    uint64_t plant_offset, plant_later; /* two records of one writer */

    unsigned violations;
    char first_violation[256];
    uint64_t records_read;

    /* private */
    struct client client;
    char *wanted; /* CONTENT_BYTES_MAX */
};

void checker_init(struct checker *checker, struct journal *journal);
void checker_done(struct checker *checker);

/* The name of a log, and whether a writer writes lines of text. */
void log_name(unsigned log, char ret_name[32]);
bool writes_text(uint32_t writer);

/* Checks all logs, on from where the last check ended or from their beginning. Returns how many
 * violations there are, or a negative errno if the program cannot be asked. */
int checker_run(struct checker *checker, unsigned port, bool from_begin);

#endif
