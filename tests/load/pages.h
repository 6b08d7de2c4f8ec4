/* Reading the program's answers: JSON, and pages of records. */
#ifndef LOAD_PAGES_H
#define LOAD_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/load/client.h"

struct receipt {
    char log[32];
    uint64_t offset, count, next_offset, committed_offset, bytes;
    bool committed; /* the durability it claims */
};

/* False: it is none. */
bool receipt_read(const struct answer *answer, struct receipt *ret_receipt);

struct positions {
    uint64_t first_offset, committed_offset, next_offset;
};

bool positions_read(const struct answer *answer, struct positions *ret_positions);

/* One record of a page. The data is the callee's to change, but not to keep; a byte is free behind
 * it. */
typedef bool visit_fn(void *context, uint64_t offset, char *data, size_t size);

/* Calls visit for each record of a page of lines of JSON until it returns false. Returns NULL, or
 * what is wrong with the page. */
const char *page_read(const struct answer *answer, visit_fn *visit, void *context);

#endif
