/*
 * Retention and quotas. The limits stand in the log's own state; a log that says nothing has those of
 * the store. A pass over the open logs, on a worker, looks which of them may have records to let go,
 * from what is in memory, and reads only those. What goes is trimmed as if a caller had asked for it
 * (wal_trim()), under the condition that the limits it was decided by still stand.
 */
#include "wal/retention.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "wal/log.h"

/* So many buckets of the table of open logs are looked through before others may have it. */
#define BUCKETS_AT_ONCE 64

/* ---- limits as text ---- */

static const struct {
    const char *name;
    size_t offset;
} words[] = {
    {"retain-age-us=", offsetof(struct wal_limits, retain_age_us)},
    {"retain-bytes=", offsetof(struct wal_limits, retain_bytes)},
    {"retain-records=", offsetof(struct wal_limits, retain_records)},
    {"quota-bytes=", offsetof(struct wal_limits, quota_bytes)},
    {"quota-records=", offsetof(struct wal_limits, quota_records)},
};

static const uint64_t *limit_in(const struct wal_limits *limits, size_t word)
{
    return (const void *)((const char *)limits + words[word].offset);
}

static uint64_t *limit_of(struct wal_limits *limits, size_t word)
{
    return (void *)((char *)limits + words[word].offset);
}

size_t wal_limits_print(const struct wal_limits *limits, char ret_text[WAL_LIMITS_BYTES_MAX])
{
    size_t bytes = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        uint64_t limit = *limit_in(limits, i);
        if (limit == WAL_LIMIT_DEFAULT)
            continue;
        bytes += (size_t)snprintf(ret_text + bytes, WAL_LIMITS_BYTES_MAX - bytes, "%s%s%" PRIu64,
                                  bytes > 0 ? " " : "", words[i].name, limit);
        must(bytes < WAL_LIMITS_BYTES_MAX);
    }
    return bytes;
}

/* Decimal digits and nothing else; below WAL_LIMIT_DEFAULT. */
static bool parse_limit(const char *text, size_t bytes, uint64_t *ret_limit)
{
    uint64_t limit = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(limit, UINT64_C(10), &limit) ||
            __builtin_add_overflow(limit, (uint64_t)(text[i] - '0'), &limit))
            return false;
    }
    *ret_limit = limit;
    return bytes > 0 && limit != WAL_LIMIT_DEFAULT;
}

void wal_limits_parse(const char *text, size_t bytes, struct wal_limits *ret_limits)
{
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        *limit_of(ret_limits, i) = WAL_LIMIT_DEFAULT;
    const char *end = text + bytes;
    while (text < end) {
        const char *space = memchr(text, ' ', (size_t)(end - text));
        size_t word_bytes = (size_t)((space ? space : end) - text);
        for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
            size_t name_bytes = strlen(words[i].name);
            uint64_t limit;
            if (word_bytes > name_bytes && memcmp(text, words[i].name, name_bytes) == 0 &&
                parse_limit(text + name_bytes, word_bytes - name_bytes, &limit))
                *limit_of(ret_limits, i) = limit;
        }
        text += word_bytes + 1;
    }
}

void limits_merge(struct wal_limits *ret_limits, const struct wal_limits *own,
                  const struct wal_limits *otherwise)
{
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        uint64_t limit = *limit_in(own, i);
        *limit_of(ret_limits, i) = limit == WAL_LIMIT_DEFAULT ? *limit_in(otherwise, i) : limit;
    }
}

/* ---- limits of a log ---- */

/* What the log itself says, durably or newest. */
static void own_limits_locked(struct wal *wal, bool committed, struct wal_limits *ret_limits,
                              uint64_t *ret_ticket)
{
    uint32_t bytes = 0;
    const uint16_t key_bytes = sizeof(WAL_LIMITS_KEY) - 1;
    const char *text = committed
                           ? state_get_committed(&wal->state, WAL_LIMITS_KEY, key_bytes, &bytes)
                           : state_get(&wal->state, WAL_LIMITS_KEY, key_bytes, &bytes, ret_ticket);
    wal_limits_parse(text ? text : "", text ? bytes : 0, ret_limits);
}

static void effective_limits_locked(struct wal *wal, struct wal_limits *ret_limits)
{
    struct wal_limits own;
    own_limits_locked(wal, true, &own, NULL);
    limits_merge(ret_limits, &own, &wal->store->config.limits);
}

void wal_limits_get(struct wal *wal, struct wal_limits *ret_own, struct wal_token *ret_rests_on,
                    struct wal_limits *ret_effective)
{
    struct wal_limits own;
    uint64_t ticket;
    pthread_mutex_lock(&wal->lock);
    own_limits_locked(wal, false, &own, &ticket);
    if (ret_own)
        *ret_own = own;
    if (ret_rests_on)
        *ret_rests_on = (struct wal_token){wal->next_offset, wal->next_offset, ticket};
    if (ret_effective)
        effective_limits_locked(wal, ret_effective);
    pthread_mutex_unlock(&wal->lock);
}

bool limits_stand_locked(struct wal *wal, const struct wal_limits *limits)
{
    struct wal_limits own, now;
    uint64_t ticket;
    own_limits_locked(wal, false, &own, &ticket);
    limits_merge(&now, &own, &wal->store->config.limits);
    return memcmp(&now, limits, sizeof(now)) == 0;
}

/* ---- decisions ---- */

bool retention_decide(const struct wal_limits *limits, const struct retention_cuts *cuts,
                      uint64_t first_offset, uint64_t *ret_before, enum wal_trim_reason *ret_reason)
{
    const struct {
        uint64_t limit, cut;
        enum wal_trim_reason reason;
    } choices[] = {
        {limits->retain_age_us, cuts->by_age, WAL_TRIM_AGE},
        {limits->retain_bytes, cuts->by_bytes, WAL_TRIM_BYTES},
        {limits->retain_records, cuts->by_records, WAL_TRIM_RECORDS},
    };
    uint64_t before = UINT64_MAX;
    bool any = false;
    for (size_t i = 0; i < ARRAY_SIZE(choices); i++) {
        if (choices[i].limit == WAL_LIMIT_NONE || (any && choices[i].cut >= before))
            continue;
        any = true;
        before = choices[i].cut;
        *ret_reason = choices[i].reason;
    }
    *ret_before = before;
    return any && before > first_offset;
}

static bool fits(uint64_t kept, uint64_t more, uint64_t quota)
{
    uint64_t sum;
    return quota == WAL_LIMIT_NONE || (!__builtin_add_overflow(kept, more, &sum) && sum <= quota);
}

bool quota_admits(const struct wal_limits *limits, const struct quota_facts *facts)
{
    return fits(facts->kept_records, facts->records, limits->quota_records) &&
           fits(facts->kept_bytes, facts->bytes, limits->quota_bytes);
}

/* ---- how much a log keeps ---- */

/* Bytes of the records below first_offset: not more than there are, and exactly so if that is known. */
static uint64_t bytes_below_locked(const struct wal *wal)
{
    uint64_t first_offset = wal->first_offset;
    uint64_t bytes = wal->oldest.bytes_at <= first_offset ? wal->oldest.bytes : 0;
    if (wal->oldest.bytes_at == first_offset)
        return bytes;
    for (size_t i = 0; i < wal->segment_count; i++) {
        const struct segment_header *header = &wal->segments[i]->header;
        if (header->base_offset > first_offset)
            break;
        bytes = max_u64(bytes, header->base_bytes);
    }
    return bytes;
}

static bool kept_is_known_locked(const struct wal *wal, const struct wal_limits *limits)
{
    return limits->quota_bytes == WAL_LIMIT_NONE || wal->oldest.bytes_at == wal->first_offset;
}

int wal_measure(struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    struct wal_limits limits;
    uint64_t first_offset = wal->first_offset, bytes;
    effective_limits_locked(wal, &limits);
    bool known = kept_is_known_locked(wal, &limits);
    pthread_mutex_unlock(&wal->lock);
    if (known)
        return 0;
    int rc = wal_bytes_before(wal, first_offset, &bytes);
    if (rc == -ERANGE) /* trimmed meanwhile: the next one may find it out */
        return 1;
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&wal->lock);
    wal->oldest.bytes_at = first_offset;
    wal->oldest.bytes = bytes;
    pthread_mutex_unlock(&wal->lock);
    return 1;
}

int quota_check_locked(struct wal *wal, uint64_t records, uint64_t bytes)
{
    struct wal_limits limits;
    effective_limits_locked(wal, &limits);
    if (limits.quota_bytes == WAL_LIMIT_NONE && limits.quota_records == WAL_LIMIT_NONE)
        return 0;
    const struct quota_facts facts = {
        .kept_records = wal->next_offset - wal->first_offset,
        .kept_bytes = wal->next_bytes - bytes_below_locked(wal),
        .records = records,
        .bytes = bytes,
    };
    if (quota_admits(&limits, &facts))
        return 0;
    if (!kept_is_known_locked(wal, &limits))
        return -EXFULL; /* to be tried again once it is: not counted yet */
    wal->counters.refusals_quota++;
    totals_add_refusals(&wal->committer->totals, 1, -EXFULL);
    return -EXFULL;
}

void trim_count_locked(struct wal *wal, const struct batch *batch)
{
    uint64_t first_offset = wal->first_offset;
    if (batch->trim_before <= first_offset)
        return;
    uint64_t records = batch->trim_before - first_offset;
    wal->counters.trims[batch->trim_reason].count++;
    wal->counters.trims[batch->trim_reason].records += records;
    totals_add_trim(&wal->committer->totals, batch->trim_reason, records);
}

/* ---- what may go ---- */

/* The last record behind which, itself included, `keep` bytes or more are kept; first_offset: there
 * are not so many. Where something cannot be read, an earlier one. Errors: from reading. */
static int offset_by_bytes(struct wal *wal, uint64_t keep, uint64_t *ret_offset)
{
    pthread_mutex_lock(&wal->lock);
    uint64_t low = wal->first_offset, total = wal->committed_bytes;
    uint64_t high = atomic_load_explicit(&wal->committed_offset, memory_order_relaxed);
    uint64_t target = total >= keep ? total - keep : 0;
    for (size_t i = 0; i < wal->segment_count; i++) {
        const struct segment_header *header = &wal->segments[i]->header;
        if (header->base_bytes > target) {
            high = min_u64(high, header->base_offset);
            break;
        }
        low = max_u64(low, header->base_offset);
    }
    pthread_mutex_unlock(&wal->lock);

    while (total >= keep && high > low + 1) {
        uint64_t middle = low + (high - low) / 2, bytes;
        int rc = wal_bytes_before(wal, middle, &bytes);
        if (rc < 0 && rc != -EBADMSG && rc != -ERANGE)
            return rc;
        if (rc == -ERANGE || (rc == 0 && bytes <= target))
            low = middle;
        else
            high = middle;
    }
    *ret_offset = low;
    return 0;
}

static uint64_t time_before(uint64_t realtime_ns, uint64_t age_us)
{
    uint64_t age_ns;
    if (__builtin_mul_overflow(age_us, UINT64_C(1000), &age_ns) || age_ns > realtime_ns)
        return 0;
    return realtime_ns - age_ns;
}

/* How old the record at `offset` is, and what is below it: so that the next pass need not read. */
static void look_at_oldest(struct wal *wal, uint64_t offset)
{
    CLEANUP(wal_cursor_closep) struct wal_cursor *cursor = NULL;
    struct wal_entry entry;
    if (wal_cursor_open(&cursor, wal, offset) < 0 || wal_cursor_next(cursor, &entry) < 0)
        return;
    pthread_mutex_lock(&wal->lock);
    wal->oldest.timestamp_at = wal->oldest.bytes_at = entry.offset;
    wal->oldest.timestamp_ns = entry.timestamp_ns;
    wal->oldest.bytes = entry.bytes_before;
    pthread_mutex_unlock(&wal->lock);
}

static int find_cuts(struct wal *wal, const struct wal_limits *limits, uint64_t realtime_ns,
                     const struct wal_positions *positions, struct retention_cuts *cuts)
{
    uint64_t kept = positions->committed_offset - positions->first_offset;
    int rc = 0;
    cuts->by_records = positions->committed_offset - min_u64(kept, limits->retain_records);
    cuts->by_age = cuts->by_bytes = positions->first_offset;
    if (limits->retain_records != WAL_LIMIT_NONE && cuts->by_records == positions->first_offset)
        return 0;
    if (limits->retain_bytes != WAL_LIMIT_NONE)
        rc = offset_by_bytes(wal, limits->retain_bytes, &cuts->by_bytes);
    if (rc == 0 && limits->retain_age_us != WAL_LIMIT_NONE && realtime_ns > 0)
        rc = wal_offset_at(wal, time_before(realtime_ns, limits->retain_age_us), &cuts->by_age);
    return rc;
}

int wal_retain(struct wal *wal, uint64_t realtime_ns, uint64_t *ret_before,
               struct wal_token *ret_token)
{
    struct wal_limits limits;
    struct wal_positions positions;
    struct retention_cuts cuts;
    enum wal_trim_reason reason;
    wal_limits_get(wal, NULL, NULL, &limits);
    wal_positions(wal, &positions);
    *ret_before = positions.first_offset;
    if (ret_token)
        *ret_token = (struct wal_token){0};

    int rc = find_cuts(wal, &limits, realtime_ns, &positions, &cuts);
    uint64_t before;
    if (rc == 0 && retention_decide(&limits, &cuts, positions.first_offset, &before, &reason)) {
        rc = log_trim(wal, before, reason, &limits, NULL, ret_token);
        if (rc == 0)
            *ret_before = before;
    }
    if (limits.retain_age_us != WAL_LIMIT_NONE)
        look_at_oldest(wal, *ret_before);
    return rc;
}

/* ---- a pass over the open logs ---- */

static bool has_retention(const struct wal_limits *limits)
{
    return limits->retain_age_us != WAL_LIMIT_NONE || limits->retain_bytes != WAL_LIMIT_NONE ||
           limits->retain_records != WAL_LIMIT_NONE;
}

static bool may_have_to_go_locked(struct wal *wal, uint64_t realtime_ns)
{
    struct wal_limits limits;
    uint64_t committed = atomic_load_explicit(&wal->committed_offset, memory_order_relaxed);
    uint64_t first = wal->first_offset;
    if (wal->failed || wal->damaged || wal->closing || committed == first)
        return false;
    effective_limits_locked(wal, &limits);
    if (!has_retention(&limits) ||
        (limits.retain_records != WAL_LIMIT_NONE && committed - first <= limits.retain_records) ||
        (limits.retain_bytes != WAL_LIMIT_NONE &&
         wal->committed_bytes - bytes_below_locked(wal) <= limits.retain_bytes))
        return false;
    if (limits.retain_age_us == WAL_LIMIT_NONE)
        return true;
    bool known = wal->oldest.timestamp_at == first && wal->oldest.timestamp_ns > 0;
    return realtime_ns > 0 &&
           (!known || wal->oldest.timestamp_ns < time_before(realtime_ns, limits.retain_age_us));
}

static bool may_have_to_go(struct wal *wal, uint64_t realtime_ns)
{
    pthread_mutex_lock(&wal->lock);
    bool may = may_have_to_go_locked(wal, realtime_ns);
    pthread_mutex_unlock(&wal->lock);
    return may;
}

/* Where a pass is in the table. Logs that come and go meanwhile may be met twice or not at all, and
 * are met by the next pass. */
struct walk {
    size_t bucket;
    unsigned index;
};

/* The next log to be looked at, held; NULL: none before the bucket `end`. */
static struct wal *find_next_locked(struct store *store, struct walk *walk, size_t end)
{
    for (; walk->bucket < end; walk->bucket++, walk->index = 0) {
        struct wal *wal = store->buckets[walk->bucket];
        for (unsigned i = 0; wal; i++, wal = wal->next_in_bucket) {
            if (i < walk->index || wal->opening || wal->removing ||
                !may_have_to_go(wal, store->retention.realtime_ns))
                continue;
            walk->index = i + 1;
            registry_hold_locked(store, wal);
            return wal;
        }
    }
    return NULL;
}

static struct wal *find_next(struct store *store, struct walk *walk)
{
    struct wal *wal = NULL;
    while (!wal && walk->bucket < store->bucket_count) {
        size_t end = min_u64(walk->bucket + BUCKETS_AT_ONCE, store->bucket_count);
        pthread_mutex_lock(&store->lock);
        wal = find_next_locked(store, walk, end);
        pthread_mutex_unlock(&store->lock);
    }
    return wal;
}

static bool is_stopped(struct retention *retention)
{
    pthread_mutex_lock(&retention->lock);
    bool stop = retention->stop;
    pthread_mutex_unlock(&retention->lock);
    return stop;
}

static void pass_run(struct chore *chore)
{
    struct store *store = container_of(chore, struct store, retention.chore);
    struct walk walk = {0, 0};
    struct wal *wal;
    while (!is_stopped(&store->retention) && (wal = find_next(store, &walk)) != NULL) {
        /* What cannot be read or queued now is looked at again by the next pass. */
        uint64_t before;
        (void)wal_retain(wal, store->retention.realtime_ns, &before, NULL);
        store_put(store, wal);
    }
}

static void pass_done(struct chore *chore)
{
    struct store *store = container_of(chore, struct store, retention.chore);
    chore->committer->has_news = true; /* retention_stop() may have been waiting for just that */
    pthread_mutex_lock(&store->retention.lock);
    store->retention.running = false; /* from here on the chore is that of the next pass */
    pthread_cond_broadcast(&store->retention.changed);
    pthread_mutex_unlock(&store->retention.lock);
}

void store_retain(struct store *store, uint64_t realtime_ns)
{
    struct retention *retention = &store->retention;
    pthread_mutex_lock(&retention->lock);
    bool start = !retention->running && !retention->stop;
    if (start) {
        retention->running = true;
        retention->realtime_ns = realtime_ns;
    }
    pthread_mutex_unlock(&retention->lock);
    if (!start)
        return;
    retention->chore.lane = LANE_KEEP;
    retention->chore.run = pass_run;
    retention->chore.done = pass_done;
    chore_start(&store->committers[0], &retention->chore);
    committer_wake(&store->committers[0]);
}

bool store_is_retained(struct store *store, const char *name)
{
    struct wal *wal;
    struct wal_limits limits = {0};
    if (store_get_open(store, name, &wal) == 0) {
        wal_limits_get(wal, NULL, NULL, &limits);
        store_put(store, wal);
    }
    return has_retention(&limits);
}

void retention_init(struct retention *retention)
{
    pthread_mutex_init(&retention->lock, NULL);
    pthread_cond_init(&retention->changed, NULL);
}

void retention_done(struct retention *retention)
{
    must(!retention->running);
    pthread_mutex_destroy(&retention->lock);
    pthread_cond_destroy(&retention->changed);
}

void retention_stop(struct store *store)
{
    struct retention *retention = &store->retention;
    pthread_mutex_lock(&retention->lock);
    retention->stop = true;
    while (retention->running) {
        pthread_mutex_unlock(&retention->lock);
        /* -EPERM: another thread drives it. */
        int rc = store->config.threads ? -EPERM : committer_run(&store->committers[0], UINT64_MAX);
        pthread_mutex_lock(&retention->lock);
        if (rc == -EPERM && retention->running)
            pthread_cond_wait(&retention->changed, &retention->lock);
    }
    pthread_mutex_unlock(&retention->lock);
}
