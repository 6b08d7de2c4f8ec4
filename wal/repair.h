/*
 * Making a damaged log take appends again. Nothing is ever thrown away: the bytes that are not as they
 * were written are copied to files beside the segments first, offsets stay as they were, and what
 * cannot be read stays a gap that readers are told of. README.md has the steps.
 */
#ifndef WAL_REPAIR_H
#define WAL_REPAIR_H

#include "wal/inspect.h"
#include "wal/store.h"

enum repair_plan {
    REPAIR_NOTHING,    /* the log is as it should be, or its damage is known */
    REPAIR_TORN,       /* opening it will set aside and clear the end of a write */
    REPAIR_SET_ASIDE,  /* damage in segments that are full: copied, and known from then on */
    REPAIR_NEW,        /* the same in the last segment: the log goes on in a new one */
    REPAIR_SEGMENTS,   /* a header or a file is lost: made again first, and then looked at anew */
    REPAIR_IMPOSSIBLE, /* two segments claim the same offsets, or not one header is whole */
};

/* What a repair of this log would have to do first. */
enum repair_plan repair_plan(const struct inspection *found);

/*
 * Repairs a log of a store; nobody may hold it. Every step is durable before the next one begins, and
 * a repair that was cut short is begun again from the start. *ret_mended: how many
 * headers and files of segments were made again; *ret_plan: what was done then, or what stood in the
 * way.
 *
 * Errors: -ENOENT: no such log; -EBADMSG: REPAIR_IMPOSSIBLE, and nothing but what was mended has
 * changed; -EBUSY: the log is open; others as wal_inspect(), and from the disk.
 */
int store_repair(struct store *store, const char *name, enum repair_plan *ret_plan,
                 unsigned *ret_mended);

#endif
