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
    REPAIR_IMPOSSIBLE, /* a segment is missing, or its header is lost and cannot be made again */
};

/* What a repair of this log would have to do; headers that are to be made again come first, and what
 * is behind them is only seen then. */
enum repair_plan repair_plan(const struct inspection *found);

/*
 * Repairs a log of a store; nobody may hold it. Every step is durable before the next one begins, and
 * a repair that was cut short is begun again from the start. *ret_headers: how many headers of
 * segments were made again; *ret_plan: what was done, or what stood in the way.
 *
 * Errors: -ENOENT: no such log; -EBADMSG: REPAIR_IMPOSSIBLE, and nothing but whole headers was
 * written; -EBUSY: the log is open; others as wal_inspect(), and from the disk.
 */
int store_repair(struct store *store, const char *name, enum repair_plan *ret_plan,
                 unsigned *ret_headers);

#endif
