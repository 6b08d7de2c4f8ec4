/*
 * The callers' side of a log: queueing appends, waiting for them, and telling where the log stands.
 *
 * The life of an append: wal_append() computes checksums, takes the lock, gives out offsets and a
 * ticket, encodes the records into the last waiting batch, and puts the log on its committer's ready
 * list unless the committer is at work on it anyway. The committer (commit.c) takes whole batches,
 * so everything that queued during one durable write is the next one. When that write is durable it
 * publishes committed_offset, decides the tickets and runs the handlers.
 */
#include "wal/wal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/log.h"

#define BATCH_BYTES_DEFAULT (4u << 20)
#define CRCS_INLINE 16
#define BATCH_HINT_BYTES_MAX (1u << 20)

/* ---- configuration ---- */

void wal_config_default(struct wal_config *ret_config)
{
    *ret_config = (struct wal_config){
        .batch_records_max = 65536,
        .batch_bytes_max = BATCH_BYTES_DEFAULT,
        .batch_delay_us = 0,
        .record_bytes_max = 1u << 20,
        .queue_records_max = 1u << 20,
        .queue_bytes_max = 64u << 20,
        .segment_bytes = 64u << 20,
        .space_bytes = 64u << 10,
        .mark_idle_us = 200 * 1000,
    };
}

int wal_config_check(const struct wal_config *config, const char **ret_field)
{
    const struct {
        uint64_t value, min, max;
        const char *text;
    } fields[] = {
        {config->batch_records_max, 1, WAL_APPEND_RECORDS_MAX, "batch_records_max: 1 to 65536"},
        {config->batch_bytes_max, 1, WAL_APPEND_BYTES_MAX, "batch_bytes_max: 1 to 16777216"},
        {config->batch_delay_us, 0, 10 * 1000 * 1000, "batch_delay_us: 0 to 10000000"},
        {config->record_bytes_max, 1, WAL_RECORD_BYTES_MAX, "record_bytes_max: 1 to 16777216"},
        {config->queue_records_max, 1, UINT32_MAX, "queue_records_max: 1 to 4294967295"},
        {config->queue_bytes_max, 1, UINT64_MAX >> 1, "queue_bytes_max: at least 1"},
        {config->segment_bytes, 4 * WAL_BLOCK_BYTES, UINT64_C(1) << 40,
         "segment_bytes: 16384 to 1099511627776"},
        {config->space_bytes, 2 * WAL_BLOCK_BYTES, ZEROS_BYTES, "space_bytes: 8192 to 1048576"},
        {config->space_bytes % WAL_BLOCK_BYTES, 0, 0, "space_bytes: a multiple of 4096"},
        {config->mark_idle_us, 0, UINT32_MAX, "mark_idle_us: 0 to 4294967295"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        if (fields[i].value < fields[i].min || fields[i].value > fields[i].max) {
            if (ret_field)
                *ret_field = fields[i].text;
            return -EINVAL;
        }
    }
    return 0;
}

/* ---- objects ---- */

struct segment *segment_new(void)
{
    return calloc(1, sizeof(struct segment));
}

void segment_free(struct segment *segment)
{
    if (!segment)
        return;
    frame_index_done(&segment->index);
    free(segment);
}

void segment_name(char ret_name[SEGMENT_NAME_BYTES], uint64_t segment_no)
{
    snprintf(ret_name, SEGMENT_NAME_BYTES, "%020llu.seg", (unsigned long long)segment_no);
}

bool segment_number(const char *name, uint64_t *ret_segment_no)
{
    char expected[SEGMENT_NAME_BYTES];
    errno = 0;
    uint64_t number = strtoull(name, NULL, 10);
    if (errno != 0)
        return false;
    segment_name(expected, number);
    *ret_segment_no = number;
    return strcmp(name, expected) == 0;
}

int log_add_segment_locked(struct wal *wal, struct segment *segment)
{
    struct segment **segments =
        realloc(wal->segments, (wal->segment_count + 1) * sizeof(*wal->segments));
    if (!segments)
        return -ENOMEM;
    wal->segments = segments;
    wal->segments[wal->segment_count++] = segment;
    return 0;
}

struct batch *batch_new(void)
{
    struct batch *batch = calloc(1, sizeof(*batch));
    if (batch)
        batch->handlers_end = &batch->handlers;
    return batch;
}

void batch_free(struct buffer_pool *pool, struct batch *batch)
{
    if (!batch)
        return;
    buffer_put(pool, batch->frame, batch->capacity);
    free(batch);
}

struct wal *log_new(struct store *store, const char *name)
{
    struct wal *wal = calloc(1, sizeof(*wal));
    if (!wal)
        return NULL;

    must(strlen(name) <= NAME_BYTES_MAX);
    strcpy(wal->name, name);
    wal->store = store;
    wal->config = store->config.log;
    wal->committer = &store->committers[store_committer_of(store, name)];
    wal->handle = wal->rotate_handle = -1;
    wal->commit.wal = wal->space.wal = wal;
    wal->rotate.wal = wal->prepare.wal = wal->sweep.wal = wal;
    wal->space_step = wal->config.space_bytes;
    wal->recovery.damaged_offset = UINT64_MAX;

    pthread_mutex_init(&wal->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&wal->decided, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return wal;
}

void log_free(struct wal *wal)
{
    if (!wal)
        return;
    must(!wal->queue_first && !wal->held && wal->handle < 0 && !wal->packing);
    if (wal->segment_count > 0)
        read_handles_forget(wal, UINT64_MAX);
    for (size_t i = 0; i < wal->segment_count; i++)
        segment_free(wal->segments[i]);
    free(wal->segments);
    state_done(&wal->state);
    pthread_cond_destroy(&wal->decided);
    pthread_mutex_destroy(&wal->lock);
    free(wal);
}

void log_freep(struct wal **wal)
{
    log_free(*wal);
}

int log_open_dir(struct wal *wal)
{
    struct wal_io *io = wal->store->io;
    int dir = io->ops->open_dir(io, wal->store->logs_dir, wal->name);
    if (dir < 0)
        return dir;

    /* Asked after opening: a directory made anew under the name cannot be older than the answer. */
    pthread_mutex_lock(&wal->lock);
    bool deleted = wal->deleted;
    pthread_mutex_unlock(&wal->lock);
    if (!deleted)
        return dir;
    io->ops->close(io, dir);
    return -ENOENT;
}

/* ---- appending ---- */

/* What one call wants to queue. */
struct request {
    const struct wal_record *records;
    size_t count;
    const uint32_t *crcs; /* of the records, computed before the lock is taken */
    const struct wal_state_update *updates;
    size_t update_count;
    uint64_t trim_before; /* 0: no trim */
    enum wal_trim_reason trim_reason;
    const struct wal_limits *limits; /* not NULL: only as long as they stand */
    uint64_t expected_offset;
    uint64_t body_bytes;    /* what all of it takes in a frame */
    uint64_t payload_bytes; /* of the records */
};

static int measure_records(const struct wal *wal, struct request *request)
{
    if (request->count > WAL_APPEND_RECORDS_MAX)
        return -EMSGSIZE;

    uint64_t total = 0;
    for (size_t i = 0; i < request->count; i++) {
        const struct wal_record *record = &request->records[i];
        if (record->size == 0 || !record->data)
            return -EINVAL;
        if (record->size > wal->config.record_bytes_max)
            return -EMSGSIZE;
        if (record->attribute_bytes > 0 &&
            !attributes_are_well_formed(record->attributes, record->attribute_bytes))
            return -EINVAL;
        total += record->size + record->attribute_bytes;
        if (total > WAL_APPEND_BYTES_MAX)
            return -EMSGSIZE;
        request->body_bytes += item_bytes(record->attribute_bytes, record->size);
        request->payload_bytes += record->size;
    }
    return 0;
}

static int measure_updates(struct request *request)
{
    if (request->update_count > WAL_APPEND_RECORDS_MAX)
        return -EMSGSIZE;
    for (size_t i = 0; i < request->update_count; i++) {
        const struct wal_state_update *update = &request->updates[i];
        if (!update->key || update->key_bytes == 0 || update->key_bytes > WAL_STATE_KEY_BYTES_MAX)
            return -EINVAL;
        if (update->value && update->value_bytes > WAL_STATE_BYTES_MAX)
            return -E2BIG;
        request->body_bytes +=
            item_bytes(update->key_bytes, update->value ? update->value_bytes : 0);
    }
    if (request->trim_before > 0)
        request->body_bytes += item_bytes(0, sizeof(uint64_t));
    return request->body_bytes > FRAME_BODY_BYTES_MAX ? -EMSGSIZE : 0;
}

static int refuses_appends_locked(const struct wal *wal)
{
    if (wal->failed)
        return wal->failed;
    if (wal->damaged)
        return -EBADMSG;
    if (wal->closing)
        return -ESHUTDOWN;
    return 0;
}

static int check_limits_locked(struct wal *wal, const struct request *request)
{
    if (request->expected_offset != WAL_ANY_OFFSET && request->expected_offset != wal->next_offset)
        return -ESTALE;
    if (request->limits && !limits_stand_locked(wal, request->limits))
        return -ESTALE;

    const struct wal_config *config = &wal->config;
    bool full =
        wal->queue_last && (wal->queue_records + request->count > config->queue_records_max ||
                            wal->queue_bytes + request->body_bytes > config->queue_bytes_max);
    struct buffer_pool *pool = &wal->store->pool;
    uint64_t used = atomic_load_explicit(&pool->used_bytes, memory_order_relaxed);
    /* What nothing else stands in the way of is never refused for its size alone. */
    if (full || (used > 0 && used + request->body_bytes > wal->store->config.memory_bytes_max)) {
        wal->counters.refusals_queue++;
        totals_add_refusals(&wal->committer->totals, 1, -EAGAIN);
        return -EAGAIN;
    }
    return request->count > 0 ? quota_check_locked(wal, request->count, request->payload_bytes) : 0;
}

/* Makes room for `bytes` more of body. */
static int batch_reserve_locked(struct wal *wal, struct batch *batch, uint64_t bytes)
{
    struct buffer_pool *pool = &wal->store->pool;
    uint64_t needed = FRAME_HEADER_BYTES + batch->body_bytes + bytes + 1; /* the end mark */
    if (needed <= batch->capacity)
        return 0;

    /* A new batch is made as large as the last one was: growing means copying. */
    uint64_t hint = batch->frame ? 0 : min_u64(wal->batch_hint, BATCH_HINT_BYTES_MAX);
    size_t capacity;
    uint8_t *frame = buffer_get(pool, max_u64(needed, hint), &capacity);
    if (!frame)
        return -ENOMEM;
    if (batch->frame) {
        memcpy(frame, batch->frame, FRAME_HEADER_BYTES + batch->body_bytes);
        buffer_put(pool, batch->frame, batch->capacity);
    }
    batch->frame = frame;
    batch->capacity = capacity;
    return 0;
}

/* The waiting batch that takes `request`: the last one, or a new one behind it. */
static struct batch *batch_for_locked(struct wal *wal, const struct request *request)
{
    const struct wal_config *config = &wal->config;
    struct batch *last = wal->queue_last;
    if (last && (last->item_count == 0 ||
                 (last->record_count + request->count <= config->batch_records_max &&
                  last->body_bytes + request->body_bytes <= config->batch_bytes_max &&
                  last->item_count + request->update_count + 1 <= FRAME_ITEMS_MAX)))
        return last;

    struct batch *batch = batch_new();
    if (!batch)
        return NULL;
    if (last)
        last->next = batch;
    else
        wal->queue_first = batch;
    wal->queue_last = batch;
    return batch;
}

static void put_item(struct batch *batch, struct item *item, uint64_t timestamp_ns)
{
    if (batch->item_count == 0) {
        batch->timestamp_ns = timestamp_ns;
    }
    uint64_t delta_us = (timestamp_ns - batch->timestamp_ns) / 1000;
    item->timestamp_delta_us = (uint32_t)min_u64(delta_us, UINT32_MAX);
    batch->items_crc =
        item_encode(item, batch->items_crc, batch->frame + FRAME_HEADER_BYTES + batch->body_bytes);
    batch->body_bytes += (uint32_t)item_bytes(item->attribute_bytes, item->data_bytes);
    batch->item_count++;
}

static void put_records(struct batch *batch, const struct request *request, uint64_t timestamp_ns)
{
    for (size_t i = 0; i < request->count; i++) {
        const struct wal_record *record = &request->records[i];
        struct item item = {.kind = ITEM_RECORD,
                            .attributes = record->attributes,
                            .attribute_bytes = record->attribute_bytes,
                            .data = record->data,
                            .data_bytes = (uint32_t)record->size,
                            .crc = request->crcs[i]};
        put_item(batch, &item, timestamp_ns);
    }
    batch->record_count += (uint32_t)request->count;
    batch->payload_bytes += request->payload_bytes;
}

static void put_updates(struct batch *batch, const struct request *request, uint64_t timestamp_ns)
{
    for (size_t i = 0; i < request->update_count; i++) {
        const struct wal_state_update *update = &request->updates[i];
        struct item item = {.kind = update->value ? ITEM_STATE_SET : ITEM_STATE_REMOVE,
                            .attributes = update->key,
                            .attribute_bytes = update->key_bytes,
                            .data = update->value,
                            .data_bytes = update->value ? update->value_bytes : 0};
        item.crc = item_crc(item.attributes, item.attribute_bytes, item.data, item.data_bytes);
        put_item(batch, &item, timestamp_ns);
    }
    if (request->trim_before > 0) {
        uint8_t before[sizeof(uint64_t)];
        for (size_t i = 0; i < sizeof(before); i++)
            before[i] = (uint8_t)(request->trim_before >> (8 * i));
        struct item item = {.kind = ITEM_TRIM, .data = before, .data_bytes = sizeof(before)};
        item.crc = item_crc(NULL, 0, before, sizeof(before));
        put_item(batch, &item, timestamp_ns);
        if (request->trim_before > batch->trim_before) {
            batch->trim_before = request->trim_before;
            batch->trim_reason = request->trim_reason;
        }
    }
}

static int change_state_locked(struct wal *wal, const struct request *request, uint64_t ticket)
{
    int rc = 0;
    for (size_t i = 0; i < request->update_count && rc == 0; i++) {
        const struct wal_state_update *update = &request->updates[i];
        rc = state_change(&wal->state, update->key, update->key_bytes, update->value,
                          update->value_bytes, ticket);
    }
    if (rc == 0 && request->update_count > 0 && wal->state.bytes > WAL_STATE_BYTES_MAX)
        rc = -E2BIG;
    if (rc < 0)
        state_refuse_ticket(&wal->state, ticket);
    return rc;
}

/* An empty batch that was made for a request which then failed must not stay in the queue: an empty
 * batch is a barrier, and nobody asked for one. It can only be the last. */
static void drop_if_unused_locked(struct wal *wal, struct batch *batch)
{
    if (batch->item_count > 0 || batch->handlers)
        return;
    struct batch **link = &wal->queue_first, *previous = NULL;
    while (*link != batch) {
        previous = *link;
        link = &previous->next;
    }
    *link = NULL;
    wal->queue_last = previous;
    batch_free(&wal->store->pool, batch);
}

static void add_handler(struct batch *batch, struct wal_handler *handler, struct wal_token token)
{
    handler->token = token;
    handler->next = NULL;
    *batch->handlers_end = handler;
    batch->handlers_end = &handler->next;
}

bool log_first_batch_is_full_locked(const struct wal *wal)
{
    const struct batch *first = wal->queue_first;
    return first &&
           (first != wal->queue_last || first->record_count >= wal->config.batch_records_max ||
            first->body_bytes >= wal->config.batch_bytes_max);
}

/* Whether the committer has to be told. Set `ready` only together with committer_ready(). */
static bool claim_ready_locked(struct wal *wal)
{
    if (wal->ready || wal->busy)
        return false;
    if (wal->delaying && !wal->hurry && !log_first_batch_is_full_locked(wal))
        return false;
    wal->ready = true;
    return true;
}

static int queue_locked(struct wal *wal, const struct request *request, struct wal_handler *handler,
                        struct wal_token *token)
{
    int rc = refuses_appends_locked(wal);
    if (rc == 0)
        rc = check_limits_locked(wal, request);
    if (rc < 0)
        return rc;

    struct batch *batch = batch_for_locked(wal, request);
    if (!batch)
        return -ENOMEM;
    rc = batch_reserve_locked(wal, batch, request->body_bytes);
    if (rc == 0)
        rc = change_state_locked(wal, request, wal->last_ticket + 1);
    if (rc < 0) {
        drop_if_unused_locked(wal, batch);
        return rc;
    }

    struct wal_io *io = wal->store->io;
    uint64_t timestamp_ns = max_u64(io->ops->realtime_ns(io), wal->last_timestamp_ns);
    wal->last_timestamp_ns = timestamp_ns;
    if (batch->item_count == 0)
        batch->opened_us = store_now_us(wal->store);
    if (batch->record_count == 0)
        batch->base_offset = wal->next_offset;
    *token = (struct wal_token){.begin = wal->next_offset,
                                .end = wal->next_offset + request->count,
                                .ticket = ++wal->last_ticket};
    put_records(batch, request, timestamp_ns);
    put_updates(batch, request, timestamp_ns);
    batch->last_ticket = token->ticket;
    wal->next_offset = token->end;
    wal->next_bytes += request->payload_bytes;
    wal->queue_records += request->count;
    wal->queue_bytes += request->body_bytes;
    if (handler)
        add_handler(batch, handler, *token);
    return 0;
}

static int queue_request(struct wal *wal, const struct request *request,
                         struct wal_handler *handler, struct wal_token *ret_token)
{
    struct wal_token token;
    pthread_mutex_lock(&wal->lock);
    int rc = queue_locked(wal, request, handler, &token);
    bool tell = rc == 0 && claim_ready_locked(wal);
    pthread_mutex_unlock(&wal->lock);

    if (tell)
        committer_ready(wal->committer, wal);
    if (rc == 0 && ret_token)
        *ret_token = token;
    return rc;
}

static void compute_crcs(const struct request *request, uint32_t *crcs)
{
    for (size_t i = 0; i < request->count; i++) {
        const struct wal_record *record = &request->records[i];
        crcs[i] = item_crc(record->attributes, record->attribute_bytes, record->data, record->size);
    }
}

#ifdef WAL_PLANTED_DEFECTS
/* STATE_OUTSIDE_FRAME: the same append, torn in two. */
static int append_in_two(struct wal *wal, const struct wal_record *records, size_t count,
                         const struct wal_append_options *options, struct wal_handler *handler,
                         struct wal_token *ret_token)
{
    struct wal_append_options first = {.expected_offset = options->expected_offset};
    struct wal_append_options second = *options;
    second.expected_offset = WAL_ANY_OFFSET;
    int rc = wal_append(wal, records, count, &first, NULL, NULL);
    if (rc < 0)
        return rc;
    rc = wal_append(wal, NULL, 0, &second, handler, ret_token);
    if (rc == 0 && ret_token)
        ret_token->begin = ret_token->end - count;
    return rc;
}
#endif

int wal_append(struct wal *wal, const struct wal_record *records, size_t count,
               const struct wal_append_options *options, struct wal_handler *handler,
               struct wal_token *ret_token)
{
    struct request request = {
        .records = records, .count = count, .expected_offset = WAL_ANY_OFFSET};
    if (options) {
        request.updates = options->updates;
        request.update_count = options->update_count;
        request.expected_offset = options->expected_offset;
    }
    if (count == 0 && request.update_count == 0)
        return -EINVAL;
#ifdef WAL_PLANTED_DEFECTS
    if (DEFECT(STATE_OUTSIDE_FRAME) && count > 0 && request.update_count > 0)
        return append_in_two(wal, records, count, options, handler, ret_token);
#endif

    int rc = measure_records(wal, &request);
    if (rc == 0)
        rc = measure_updates(&request);
    if (rc < 0)
        return rc;

    uint32_t crcs_inline[CRCS_INLINE], *crcs = crcs_inline;
    if (count > CRCS_INLINE) {
        crcs = malloc(count * sizeof(*crcs));
        if (!crcs)
            return -ENOMEM;
    }
    compute_crcs(&request, crcs);
    request.crcs = crcs;
    rc = queue_request(wal, &request, handler, ret_token);
    if (crcs != crcs_inline)
        free(crcs);
    return rc;
}

/* ---- waiting ---- */

bool wal_error_is_refusal(int error)
{
    switch (error) {
    case -ENOSPC:
    case -EDQUOT:
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -ESHUTDOWN: return true;
    default: return false;
    }
}

/* The status that a ticket has; the caller holds the lock. -EINPROGRESS: not decided. */
static int ticket_status_locked(const struct wal *wal, uint64_t ticket)
{
    if (ticket > wal->decided_ticket)
        return wal->failed ? wal->failed : -EINPROGRESS;

    unsigned kept = wal->refusal_count < REFUSALS_KEPT ? wal->refusal_count : REFUSALS_KEPT;
    for (unsigned i = 0; i < kept; i++) {
        const struct refusal *refusal = &wal->refusals[i];
        if (refusal->first <= ticket && ticket <= refusal->last)
            return refusal->error;
    }
    if (wal->refusal_count > REFUSALS_KEPT) {
        /* The slot that will be overwritten next is the oldest one kept. */
        const struct refusal *oldest = &wal->refusals[wal->refusal_count % REFUSALS_KEPT];
        if (ticket > 0 && ticket < oldest->first)
            return -ESTALE;
    }
    return 0;
}

int wal_poll(struct wal *wal, struct wal_token token)
{
    pthread_mutex_lock(&wal->lock);
    int status = ticket_status_locked(wal, token.ticket);
    pthread_mutex_unlock(&wal->lock);
    return status;
}

static int wait_locked(struct wal *wal, uint64_t ticket, uint64_t timeout_us)
{
    uint64_t now_us = store_now_us(wal->store);
    uint64_t deadline_us = timeout_us > UINT64_MAX - now_us ? UINT64_MAX : now_us + timeout_us;
    int status;
    wal->waiters++;
    while ((status = ticket_status_locked(wal, ticket)) == -EINPROGRESS) {
        int rc = committer_wait_locked(wal, deadline_us);
        if (rc < 0) {
            status = ticket_status_locked(wal, ticket);
            if (status == -EINPROGRESS)
                status = rc;
            break;
        }
    }
    wal->waiters--;
    return status;
}

int wal_wait(struct wal *wal, struct wal_token token, uint64_t timeout_us)
{
    pthread_mutex_lock(&wal->lock);
    int status = wait_locked(wal, token.ticket, timeout_us);
    pthread_mutex_unlock(&wal->lock);
    return status;
}

/* Ends a batch delay, if one is running. */
static bool hurry_locked(struct wal *wal)
{
    if (!wal->queue_first)
        return false;
    wal->hurry = true;
    return claim_ready_locked(wal);
}

void wal_submit(struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    bool tell = hurry_locked(wal);
    pthread_mutex_unlock(&wal->lock);
    if (tell)
        committer_ready(wal->committer, wal);
}

int wal_flush(struct wal *wal, uint64_t timeout_us)
{
    wal_submit(wal);
    pthread_mutex_lock(&wal->lock);
    uint64_t ticket = wal->last_ticket;
    int status = wal->failed;
    if (DEFECT(FLUSH_IGNORES_IN_FLIGHT) && !wal->queue_first)
        ticket = wal->decided_ticket;
    if (status == 0)
        status = wait_locked(wal, ticket, timeout_us);
    pthread_mutex_unlock(&wal->lock);
    return status;
}

/* Queues a barrier: a batch, or the end of one, that holds nothing but a handler. */
static int queue_barrier(struct wal *wal, struct wal_handler *handler, struct wal_token *ret_token)
{
    pthread_mutex_lock(&wal->lock);
    int rc = refuses_appends_locked(wal);
    struct batch *batch = wal->queue_last;
    if (rc == 0 && !batch) {
        batch = wal->queue_first = wal->queue_last = batch_new();
        if (!batch)
            rc = -ENOMEM;
    }
    bool tell = false;
    if (rc == 0) {
        struct wal_token token = {wal->next_offset, wal->next_offset, ++wal->last_ticket};
        batch->last_ticket = token.ticket;
        add_handler(batch, handler, token);
        if (ret_token)
            *ret_token = token;
        wal->hurry = true;
        tell = claim_ready_locked(wal);
    }
    pthread_mutex_unlock(&wal->lock);
    if (tell)
        committer_ready(wal->committer, wal);
    return rc;
}

int wal_flush_async(struct wal *wal, struct wal_handler *handler)
{
    return queue_barrier(wal, handler, NULL);
}

/* ---- trimming ---- */

int log_trim(struct wal *wal, uint64_t before, enum wal_trim_reason reason,
             const struct wal_limits *limits, struct wal_handler *handler,
             struct wal_token *ret_token)
{
    /* Pairs with the store in commit.c; the bound only rises, so it may be checked without the
     * lock. */
    if (before > atomic_load_explicit(&wal->committed_offset, memory_order_acquire))
        return -ERANGE;

    struct request request = {.trim_before = before,
                              .trim_reason = reason,
                              .limits = limits,
                              .expected_offset = WAL_ANY_OFFSET};
    pthread_mutex_lock(&wal->lock);
    bool nothing_to_do = before <= wal->first_offset;
    int rc = refuses_appends_locked(wal);
    pthread_mutex_unlock(&wal->lock);
    if (rc < 0)
        return rc;
    if (nothing_to_do) {
        if (handler)
            return queue_barrier(wal, handler, ret_token);
        if (ret_token)
            *ret_token = (struct wal_token){0}; /* decided long ago */
        return 0;
    }
    rc = measure_updates(&request);
    return rc < 0 ? rc : queue_request(wal, &request, handler, ret_token);
}

int wal_trim(struct wal *wal, uint64_t before, struct wal_handler *handler,
             struct wal_token *ret_token)
{
    return log_trim(wal, before, WAL_TRIM_REQUEST, NULL, handler, ret_token);
}

/* ---- state ---- */

int wal_state_get(struct wal *wal, const void *key, uint16_t key_bytes, void *value,
                  size_t capacity, size_t *ret_bytes, struct wal_token *ret_token)
{
    pthread_mutex_lock(&wal->lock);
    uint32_t bytes = 0;
    uint64_t ticket;
    const void *found = state_get(&wal->state, key, key_bytes, &bytes, &ticket);
    if (found && capacity > 0)
        memcpy(value, found, min_u64(bytes, capacity));
    if (ret_token)
        *ret_token = (struct wal_token){wal->next_offset, wal->next_offset, ticket};
    pthread_mutex_unlock(&wal->lock);

    if (!found)
        return -ENOENT;
    *ret_bytes = bytes;
    return 0;
}

int wal_state_get_committed(struct wal *wal, const void *key, uint16_t key_bytes, void *value,
                            size_t capacity, size_t *ret_bytes)
{
    pthread_mutex_lock(&wal->lock);
    uint32_t bytes = 0;
    const void *found = state_get_committed(&wal->state, key, key_bytes, &bytes);
    if (found && capacity > 0)
        memcpy(value, found, min_u64(bytes, capacity));
    pthread_mutex_unlock(&wal->lock);

    if (!found)
        return -ENOENT;
    *ret_bytes = bytes;
    return 0;
}

int wal_state_each(struct wal *wal,
                   int (*visit)(void *context, const void *key, uint16_t key_bytes,
                                const void *value, uint32_t value_bytes),
                   void *context)
{
    pthread_mutex_lock(&wal->lock);
    int rc = state_each(&wal->state, false, visit, context);
    pthread_mutex_unlock(&wal->lock);
    return rc;
}

/* ---- where the log stands ---- */

static void positions_locked(struct wal *wal, struct wal_positions *ret_positions)
{
    *ret_positions = (struct wal_positions){
        .first_offset = wal->first_offset,
        .committed_offset = atomic_load_explicit(&wal->committed_offset, memory_order_relaxed),
        .next_offset = wal->next_offset,
        .committed_bytes = wal->committed_bytes,
        .next_bytes = wal->next_bytes,
    };
}

void wal_positions(struct wal *wal, struct wal_positions *ret_positions)
{
    pthread_mutex_lock(&wal->lock);
    positions_locked(wal, ret_positions);
    pthread_mutex_unlock(&wal->lock);
}

int wal_status(struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    int status = refuses_appends_locked(wal);
    pthread_mutex_unlock(&wal->lock);
    return status;
}

const char *wal_name(const struct wal *wal)
{
    return wal->name;
}

void wal_id(const struct wal *wal, uint8_t ret_id[16])
{
    memcpy(ret_id, wal->id.bytes, sizeof(wal->id.bytes));
}

uint64_t wal_created_ns(struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    const struct segment *first = wal->segment_count > 0 ? wal->segments[0] : NULL;
    uint64_t created_ns = first && first->header.segment_no == 0 ? first->header.created_ns : 0;
    pthread_mutex_unlock(&wal->lock);
    return created_ns;
}

void wal_set_user(struct wal *wal, void *user)
{
    wal->user = user;
}

void *wal_user(const struct wal *wal)
{
    return wal->user;
}

void wal_stats(struct wal *wal, struct wal_stats *ret_stats)
{
    struct wal_stats stats = {0};
    pthread_mutex_lock(&wal->lock);
    positions_locked(wal, &stats.positions);
    stats.total_bytes_written = wal->committed_bytes;
    stats.total_operations = stats.positions.committed_offset;
    stats.current_offset = stats.positions.next_offset;
    stats.pending_entries = wal->queue_records;
    stats.pending_bytes = wal->queue_bytes;
    stats.commits = wal->counters.commits;
    stats.syncs = wal->counters.syncs;
    stats.commit_records = wal->counters.commit_records;
    stats.commit_bytes = wal->counters.commit_bytes;
    stats.commit_records_max = wal->counters.commit_records_max;
    stats.rotations = wal->counters.rotations;
    stats.refusals_queue = wal->counters.refusals_queue;
    stats.refusals_space = wal->counters.refusals_space;
    stats.refusals_other = wal->counters.refusals_other;
    stats.refusals_quota = wal->counters.refusals_quota;
    memcpy(stats.trims, wal->counters.trims, sizeof(stats.trims));
    stats.write_retries = wal->counters.write_retries;
    stats.segments = wal->segment_count;
    for (size_t i = 0; i < wal->segment_count; i++)
        stats.bytes_on_disk += wal->segments[i]->file_bytes;
    latency_of(&stats.commit_latency, &wal->counters.commit_us);
    latency_of(&stats.sync_latency, &wal->counters.sync_us);
    stats.recovery = wal->recovery;
    stats.status = refuses_appends_locked(wal);
    stats.failed_with = wal->failed_with;
    pthread_mutex_unlock(&wal->lock);
    *ret_stats = stats;
}

int wal_attribute_put(void *list, size_t capacity, uint16_t *bytes, uint16_t type,
                      const void *value, uint16_t value_bytes)
{
    return attribute_put(list, capacity, bytes, type, value, value_bytes);
}

int wal_attribute_find(const void *list, uint16_t bytes, uint16_t type, const void **ret_value,
                       uint16_t *ret_value_bytes)
{
    return attribute_find(list, bytes, type, ret_value, ret_value_bytes);
}
