#include "api/expiry.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Out of memory while the table grows is for us to bear, and not the end of the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "api/parse.h"
#include "api/stream_state.h"
#include "api/target.h"
#include "wal/base.h"

/* How often the realtime clock is looked at while something may end by it: it is often set by steps. */
#define CLOCK_LOOK_US UINT64_C(30000000)

/* A log that should have gone, and is still there: it was not whole yet, or its removal failed, and
 * neither need be so for ever. */
#define RETRY_US UINT64_C(5000000)

struct expiring {
    UT_hash_handle hh;
    struct heap_node node; /* in by_use or by_time */
    bool by_time, is_expected;
    uint8_t id[16];
    uint64_t ends_us; /* by_use; the node's key may lag behind it */
    char name[];
};

/* ---- what a log was told ---- */

static bool keep_text(struct lifespan *lifespan, const char *text)
{
    size_t bytes = strlen(text);
    if (bytes >= sizeof(lifespan->text))
        return false;
    memcpy(lifespan->text, text, bytes + 1);
    return true;
}

/* Any number of seconds is a time to live: those that do not fit into 64 bits last as long. */
bool lifespan_read_ttl(struct lifespan *ret_lifespan, const char *text)
{
    struct lifespan lifespan = {.has_ttl = true};
    size_t digits = strspn(text, "0123456789");
    uint64_t seconds;
    if (digits == 0 || text[digits] || (text[0] == '0' && digits > 1) ||
        !keep_text(&lifespan, text))
        return false;
    if (!number_parse(text, &seconds) ||
        __builtin_mul_overflow(seconds, UINT64_C(1000000), &lifespan.ttl_us))
        lifespan.ttl_us = UINT64_MAX;
    *ret_lifespan = lifespan;
    return true;
}

bool lifespan_read_time(struct lifespan *ret_lifespan, const char *text)
{
    struct lifespan lifespan = {.has_time = true};
    if (!timestamp_parse(text, &lifespan.expires_ns) || !keep_text(&lifespan, text))
        return false;
    *ret_lifespan = lifespan;
    return true;
}

static bool get_text(struct wal *wal, const char *key, char ret_text[LIFESPAN_TEXT_BYTES])
{
    size_t bytes;
    if (wal_state_get(wal, key, (uint16_t)strlen(key), ret_text, LIFESPAN_TEXT_BYTES, &bytes,
                      NULL) < 0 ||
        bytes >= LIFESPAN_TEXT_BYTES)
        return false;
    ret_text[bytes] = '\0';
    return true;
}

void lifespan_of(struct wal *wal, struct lifespan *ret_lifespan)
{
    char text[LIFESPAN_TEXT_BYTES];
    *ret_lifespan = (struct lifespan){0};
    if (get_text(wal, STREAM_KEY_TTL, text))
        (void)lifespan_read_ttl(ret_lifespan, text);
    else if (get_text(wal, STREAM_KEY_EXPIRES, text))
        (void)lifespan_read_time(ret_lifespan, text);
}

bool lifespan_update(const struct lifespan *lifespan, struct wal_state_update *ret_update)
{
    const char *key = lifespan->has_ttl ? STREAM_KEY_TTL : STREAM_KEY_EXPIRES;
    if (!lifespan->has_ttl && !lifespan->has_time)
        return false;
    *ret_update = (struct wal_state_update){key, (uint16_t)strlen(key), lifespan->text,
                                            (uint32_t)strlen(lifespan->text)};
    return true;
}

bool lifespan_equals(const struct lifespan *a, const struct lifespan *b)
{
    return a->has_ttl == b->has_ttl && a->has_time == b->has_time && strcmp(a->text, b->text) == 0;
}

/* ---- the clock ---- */

uint64_t expiry_realtime_ns(void)
{
    struct timespec now;
    must(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int64_t distance_ns(uint64_t now_us, uint64_t realtime_ns)
{
    return (int64_t)(realtime_ns - now_us * 1000);
}

static bool is_near(int64_t a_ns, int64_t b_ns)
{
    return a_ns - b_ns <= CLOCK_JUMP_NS && b_ns - a_ns <= CLOCK_JUMP_NS;
}

static void clock_guard_init(struct clock_guard *guard, uint64_t now_us, uint64_t realtime_ns)
{
    *guard = (struct clock_guard){.believed_ns = distance_ns(now_us, realtime_ns)};
}

/* Whether realtime_ns is to be believed. */
static bool clock_guard_believes(struct clock_guard *guard, uint64_t now_us, uint64_t realtime_ns)
{
    int64_t distance = distance_ns(now_us, realtime_ns);
    if (!is_near(distance, guard->believed_ns)) {
        if (!guard->doubts || !is_near(distance, guard->doubted_ns)) {
            guard->doubts = true;
            guard->doubted_ns = distance;
            guard->doubted_since_us = now_us;
        }
        if (now_us - guard->doubted_since_us < CLOCK_CONFIRMED_US)
            return false;
    }
    /* Small steps add up, and a clock that is set a little at a time is set rightly. */
    guard->believed_ns = distance;
    guard->doubts = false;
    return true;
}

bool expiry_believes(struct expiry *expiry, uint64_t now_us, uint64_t realtime_ns)
{
    return clock_guard_believes(&expiry->clock, now_us, realtime_ns);
}

/* ---- the table ---- */

void expiry_init(struct expiry *expiry, size_t count_max, uint64_t now_us, uint64_t realtime_ns)
{
    *expiry = (struct expiry){.count_max = count_max, .base_us = now_us};
    clock_guard_init(&expiry->clock, now_us, realtime_ns);
}

static struct expiring *find(const struct expiry *expiry, const char *name)
{
    struct expiring *log = NULL;
    HASH_FIND(hh, expiry->logs, name, strlen(name), log);
    return log;
}

static struct heap_node **heap_of(struct expiry *expiry, const struct expiring *log)
{
    return log->by_time ? &expiry->by_time : &expiry->by_use;
}

static void forget(struct expiry *expiry, struct expiring *log)
{
    heap_remove(heap_of(expiry, log), &log->node);
    HASH_DEL(expiry->logs, log);
    free(log);
    expiry->count--;
}

void expiry_forget(struct expiry *expiry, const char *name)
{
    struct expiring *log = find(expiry, name);
    if (log)
        forget(expiry, log);
}

void expiry_done(struct expiry *expiry)
{
    struct expiring *log, *next;
    HASH_ITER(hh, expiry->logs, log, next) {
        forget(expiry, log);
    }
}

static uint64_t later(uint64_t from_us, uint64_t ttl_us)
{
    uint64_t at_us;
    return __builtin_add_overflow(from_us, ttl_us, &at_us) ? UINT64_MAX : at_us;
}

/* There is no room for it, or no memory. From now on, what is not in the table counts as used now. */
static struct expiring *turn_away(struct expiry *expiry, uint64_t now_us)
{
    expiry->base_us = now_us;
    expiry->is_full = true;
    return NULL;
}

static struct expiring *add(struct expiry *expiry, const struct expiry_meeting *meeting)
{
    size_t bytes = strlen(meeting->name);
    struct expiring *log = NULL;
    if (expiry->count < expiry->count_max)
        log = calloc(1, sizeof(*log) + bytes + 1);
    if (!log)
        return turn_away(expiry, meeting->now_us);
    memcpy(log->name, meeting->name, bytes + 1);
    memcpy(log->id, meeting->id, sizeof(log->id));
    HASH_ADD_KEYPTR(hh, expiry->logs, log->name, bytes, log);
    if (!log->hh.tbl) {
        free(log);
        return turn_away(expiry, meeting->now_us);
    }
    log->by_time = meeting->lifespan->has_time;
    log->ends_us = later(expiry->base_us, meeting->lifespan->ttl_us);
    heap_add(heap_of(expiry, log), &log->node,
             log->by_time ? meeting->lifespan->expires_ns : log->ends_us);
    expiry->count++;
    return log;
}

static struct expiring *find_or_add(struct expiry *expiry, const struct expiry_meeting *meeting)
{
    struct expiring *log = find(expiry, meeting->name);
    if (log && log->is_expected) {
        log->is_expected = false;
        memcpy(log->id, meeting->id, sizeof(log->id));
    }
    if (log && memcmp(log->id, meeting->id, sizeof(log->id)) != 0)
        forget(expiry, TAKE(log)); /* an earlier log of that name */
    return log ? log : add(expiry, meeting);
}

void expiry_expect(struct expiry *expiry, const char *name, const struct lifespan *lifespan,
                   uint64_t now_us)
{
    static const uint8_t no_id[16];
    expiry_forget(expiry, name);
    if (!lifespan->has_ttl && !lifespan->has_time)
        return;
    struct expiring *log =
        add(expiry, &(struct expiry_meeting){
                        .name = name, .id = no_id, .lifespan = lifespan, .now_us = now_us});
    if (log) {
        log->is_expected = true;
        log->ends_us = later(now_us, lifespan->ttl_us);
    }
}

bool expiry_meet(struct expiry *expiry, const struct expiry_meeting *meeting)
{
    const struct lifespan *lifespan = meeting->lifespan;
    if (!lifespan->has_ttl && !lifespan->has_time)
        return false;
    struct expiring *log = find_or_add(expiry, meeting);
    if (lifespan->has_time)
        return clock_guard_believes(&expiry->clock, meeting->now_us, meeting->realtime_ns) &&
               meeting->realtime_ns >= lifespan->expires_ns;

    uint64_t ends_us = log ? log->ends_us : later(expiry->base_us, lifespan->ttl_us);
    if (meeting->now_us >= ends_us)
        return true;
    if (log && meeting->uses)
        log->ends_us = later(meeting->now_us, lifespan->ttl_us);
    return false;
}

static struct heap_node *first_due(struct expiry *expiry, uint64_t now_us, uint64_t realtime_ns)
{
    struct heap_node *first;
    while ((first = expiry->by_use) != NULL && first->key <= now_us) {
        struct expiring *log = container_of(first, struct expiring, node);
        if (log->ends_us <= now_us)
            return first;
        /* Used meanwhile: it has come to its new place. */
        heap_remove(&expiry->by_use, first);
        heap_add(&expiry->by_use, first, log->ends_us);
    }
    first = expiry->by_time;
    if (first && clock_guard_believes(&expiry->clock, now_us, realtime_ns) &&
        first->key <= realtime_ns)
        return first;
    return NULL;
}

bool expiry_take(struct expiry *expiry, uint64_t now_us, uint64_t realtime_ns, char *ret_name)
{
    struct heap_node *due = first_due(expiry, now_us, realtime_ns);
    if (!due)
        return false;
    struct expiring *log = container_of(due, struct expiring, node);
    struct heap_node **heap = heap_of(expiry, log);
    heap_remove(heap, due);
    heap_add(heap, due, log->by_time ? realtime_ns + RETRY_US * 1000 : later(now_us, RETRY_US));
    memcpy(ret_name, log->name, strlen(log->name) + 1);
    return true;
}

uint64_t expiry_wait_us(const struct expiry *expiry, uint64_t now_us, uint64_t realtime_ns)
{
    uint64_t wait_us = UINT64_MAX;
    if (expiry->by_use)
        wait_us = expiry->by_use->key > now_us ? expiry->by_use->key - now_us : 0;
    if (expiry->by_time) {
        uint64_t key_ns = expiry->by_time->key;
        uint64_t until_us = key_ns > realtime_ns ? (key_ns - realtime_ns) / 1000 + 1 : 0;
        /* One that is overdue waits for the clock to be believed, which takes a while. */
        if (until_us == 0 && expiry->clock.doubts)
            until_us = CLOCK_LOOK_US;
        wait_us = min_u64(wait_us, min_u64(until_us, CLOCK_LOOK_US));
    }
    return wait_us;
}
