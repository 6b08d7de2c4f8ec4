/*
 * Who has to be done with something by when. Every wait of one kind takes the same time, so the
 * lists are in the order of their ends by themselves, and each operation costs the same however many
 * there are.
 *
 * The clock is one of patience: it stands still while this process did not look, so that nobody is
 * cut off for what he sent while the loop was busy with something else. For one thread.
 */
#ifndef API_DEADLINE_H
#define API_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

enum deadline_kind {
    DEADLINE_HEAD,   /* the head of a request has to be complete */
    DEADLINE_BODY,   /* its body */
    DEADLINE_ANSWER, /* the answer has to be taken */
    DEADLINE_IDLE,   /* the next request has to come */

    /* Of followers. */
    DEADLINE_TAKING,    /* some of what was sent has to be taken */
    DEADLINE_HEARTBEAT, /* something has to be sent, at /logs … */
    DEADLINE_CONTROL,   /* … and at /v1/stream */
    DEADLINE_LIFE,      /* a stream has to end */
    DEADLINE_KINDS
};

/* All zero: none is set. In place, since lists run through it. */
struct deadline {
    struct deadline *prev, *next;
    uint64_t at_us;
    enum deadline_kind kind;
    bool is_set;
};

struct deadlines {
    uint64_t timeouts_us[DEADLINE_KINDS];
    struct {
        struct deadline *first, *last;
    } lists[DEADLINE_KINDS];
    uint64_t seen_us;     /* the time of deadlines_look(), in the caller's clock */
    uint64_t patience_us; /* the time that counts */
};

void deadlines_init(struct deadlines *deadlines, const uint64_t timeouts_us[DEADLINE_KINDS],
                    uint64_t now_us);

/* Begins anew, whatever was set before. */
void deadline_set(struct deadlines *deadlines, struct deadline *deadline, enum deadline_kind kind);
void deadline_clear(struct deadlines *deadlines, struct deadline *deadline);

/* It is now_us, and the caller meant to look again after slept_us: what has passed beyond that, and
 * a little, does not count. */
void deadlines_look(struct deadlines *deadlines, uint64_t now_us, uint64_t slept_us);

/* One that has passed, cleared; NULL: none. */
struct deadline *deadlines_take(struct deadlines *deadlines);

/* How long until one passes; UINT64_MAX: none is set. */
uint64_t deadlines_wait_us(const struct deadlines *deadlines);

#endif
