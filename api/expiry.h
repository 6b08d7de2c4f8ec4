/*
 * Logs that end by themselves: when, and which of them have.
 *
 *   s:ttl      seconds, decimal: the log ends so long after it was last read or appended to
 *   s:expires  a time of RFC 3339, at which it ends whatever happens
 *
 * Both are part of the log's first state and never change. When a log with a TTL was last used is
 * known here and nowhere else: after a restart a full TTL begins. It is counted on the monotonic clock,
 * which nobody sets. Times of day need the other clock, and that one may be set wrongly: it is held
 * against the monotonic one, and while it has jumped nothing ends by it (struct clock_guard).
 *
 * The table has every log with an end that was met since the start, up to EXPIRY_LOGS_MAX. What it has
 * no room for never ends early: it counts as used when it was turned away last. For one thread.
 */
#ifndef API_EXPIRY_H
#define API_EXPIRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/heap.h"
#include "wal/wal.h"

#define EXPIRY_LOGS_MAX (1u << 18) /* of some 200 bytes each */

/* A jump of the realtime clock that is not believed, and how long it has to stand to be. */
#define CLOCK_JUMP_NS INT64_C(60000000000)
#define CLOCK_CONFIRMED_US UINT64_C(600000000)

/* ---- what a log was told ---- */

#define LIFESPAN_TEXT_BYTES 64

/* With neither, a log has no end. */
struct lifespan {
    bool has_ttl, has_time;
    uint64_t ttl_us;     /* UINT64_MAX: longer than anybody will wait */
    uint64_t expires_ns; /* of realtime */
    /* As the client wrote it: digits, or a time. */
    char text[LIFESPAN_TEXT_BYTES];
};

/* Values of Stream-TTL and Stream-Expires-At; false: malformed, or longer than is kept. */
bool lifespan_read_ttl(struct lifespan *ret_lifespan, const char *text);
bool lifespan_read_time(struct lifespan *ret_lifespan, const char *text);

/* What the state of a log has. A value that a newer version wrote is none. */
void lifespan_of(struct wal *wal, struct lifespan *ret_lifespan);

/* The change of the state that makes it so; false: there is none to make. It points into the struct. */
bool lifespan_update(const struct lifespan *lifespan, struct wal_state_update *ret_update);

bool lifespan_equals(const struct lifespan *a, const struct lifespan *b);

/* ---- the clock ---- */

/* Realtime, as long as it goes on with the monotonic clock. After a jump of more than a minute, to
 * whichever side, it is not believed: until it is back, or has stood by its new time for ten minutes. */
struct clock_guard {
    int64_t believed_ns, doubted_ns; /* realtime less monotonic */
    uint64_t doubted_since_us;
    bool doubts;
};

uint64_t expiry_realtime_ns(void);

struct expiry;

/* Whether this is to be believed; a clock that is looked at often is known better. */
bool expiry_believes(struct expiry *expiry, uint64_t now_us, uint64_t realtime_ns);

/* ---- the table ---- */

struct expiring;

struct expiry {
    struct expiring *logs;
    size_t count, count_max;
    struct heap_node
        *by_use; /* the end of a TTL when it was looked at last, on the monotonic clock */
    struct heap_node *by_time; /* realtime */
    uint64_t base_us;          /* what is not in the table was used then */
    bool is_full;              /* something was turned away */
    struct clock_guard clock;
};

void expiry_init(struct expiry *expiry, size_t count_max, uint64_t now_us, uint64_t realtime_ns);
void expiry_done(struct expiry *expiry);

/*
 * A log was met: whether it has ended. One that has not and is used lives a full TTL from now on. `id`
 * is wal_id()'s, so that nothing of a log passes to the next of its name.
 */
struct expiry_meeting {
    const char *name;
    const uint8_t *id; /* 16 bytes */
    const struct lifespan *lifespan;
    bool uses;
    uint64_t now_us, realtime_ns;
};
bool expiry_meet(struct expiry *expiry, const struct expiry_meeting *meeting);

/* A log of this name is about to be made: it lives a full TTL from now on. It is known by its name
 * alone until it is met. */
void expiry_expect(struct expiry *expiry, const char *name, const struct lifespan *lifespan,
                   uint64_t now_us);

/* It is gone, or of no further interest. */
void expiry_forget(struct expiry *expiry, const char *name);

/* A log that has ended, into ret_name (129 bytes): whoever asks removes it, and has it forgotten. If
 * it is not, it comes again after some seconds. False: there is none. */
bool expiry_take(struct expiry *expiry, uint64_t now_us, uint64_t realtime_ns, char *ret_name);

/* When to ask expiry_take() again, in microseconds from now; UINT64_MAX: nothing is going to end. */
uint64_t expiry_wait_us(const struct expiry *expiry, uint64_t now_us, uint64_t realtime_ns);

#endif
