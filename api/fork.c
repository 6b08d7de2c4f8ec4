/*
 * Making a fork. The records before the fork's place are copied, so that afterwards neither log needs
 * the other: a source may be trimmed, damaged or deleted, and reading a fork costs what reading costs.
 * What is left of their relation are the rules of the protocol: a source with forks is deleted softly.
 * For these, both sides keep a reference, 16 random bytes that are new for each attempt:
 *
 *   f:<name of the fork>   on the source: the reference
 *   s:fork                 on the fork: a format byte, the reference, its place in the source (records,
 *                          bytes, sub-offset: 8 bytes each, little endian), the name of the source
 *   s:forking              on the fork while it is not whole: clients do not see it
 *
 * A fork lives, and counts for its source, if there is a log of that name that is whole (or being made
 * by this process), and both have the same reference. Each step is durable before the next begins:
 *
 *   1. the source gets its reference    a crash leaves a reference to a log that is not there, or to
 *                                       one with another reference: it counts for nothing
 *   2. the fork is made with s:fork     a crash leaves a log with s:forking: for clients it is not
 *      and s:forking, in its first      there, whoever meets it removes it, and its reference counts
 *      frame                            for nothing
 *   3. the records are copied           the same
 *   4. one frame has the first content  before it is durable: the same; after: the fork is whole
 *      and takes s:forking away
 *   5. the client is told
 *
 * So there is no order of crashes in which a fork is seen that is not whole, or in which a fork lives and
 * its source does not know: what is whole passed step 1, and the source forgets a reference only when
 * the log that has it is gone, which is durable first. The other way round it may remember too much, and
 * that is found out where it matters, when the source is to be deleted (life.c). References are random
 * since names are used again: a fork that is deleted and made anew, from this source or another, must not
 * pass for its predecessor, and the deletion of the one must not take the reference of the other.
 *
 * Between 1 and 4 other requests are served. The source may be deleted meanwhile: softly, since the fork
 * counts already, and so it is still read to the end. It may be trimmed: then what is missing is noticed
 * when it is read, and the fork is undone. Its appends do not matter, since the place is below its
 * committed end. Everything that can fail undoes the steps in the reverse order, and if that fails, too,
 * leaves what a crash would. A client that has gone away is not noticed, and gets its fork.
 *
 * The copy is as fast as the disk takes it and no faster: two chunks are on their way at a time, and each
 * that is decided makes room for the next. A chunk is small enough for its turn of the loop not to be
 * felt. Offsets stay what they are in the source, since the copy begins at 0 and has every record; each
 * append names the offset that it expects, so if one is refused those behind it are, too.
 */
#include "api/fork.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api/life.h"
#include "api/request.h"
#include "wal/base.h"

#define CHUNK_BYTES (512u << 10)
#define CHUNK_RECORDS 4096u
#define CHUNKS_IN_FLIGHT 2u

/* What plans may bring along of the fork's own state: its type, its end, its floor. */
#define PLAN_UPDATES_MAX 6

struct chunk {
    struct wal_handler handler;
    struct fork *fork;
    bool in_flight;
};

struct fork {
    struct api *api;
    struct making making;
    struct fork_plan plan;
    struct fork_origin origin;
    struct lifespan lifespan;
    char name[LIFE_NAME_BYTES];

    struct wal *made;
    struct wal_cursor *cursor;
    struct wal_handler handler; /* of the reference, and of the end */
    struct store_log_waiter waiter;
    struct chunk chunks[CHUNKS_IN_FLIGHT];
    unsigned in_flight; /* chunks, and the end */
    bool has_ended;     /* the end has been queued */
    int status;         /* the first failure */

    uint64_t next_offset; /* of the record that is read next */
    uint64_t sub_left;
    bool has_entry; /* read, and not gathered yet */
    struct wal_entry entry;

    /* Gathered, and not appended yet. */
    uint64_t gathered_offset;
    size_t gathered, gathered_bytes;
    struct wal_record records[CHUNK_RECORDS];
    uint8_t bytes[CHUNK_BYTES];
};

/* ---- what is kept in the state ---- */

struct origin_value {
    uint8_t format;
    uint8_t reference[FORK_REFERENCE_BYTES];
    uint64_t records_le, bytes_le, sub_offset_le;
    char source[128];
} __attribute__((packed));

static size_t origin_encode(const struct fork_origin *origin, struct origin_value *ret_value)
{
    size_t bytes = strlen(origin->source);
    *ret_value = (struct origin_value){.format = STREAM_FORMAT,
                                       .records_le = htole64(origin->records),
                                       .bytes_le = htole64(origin->bytes),
                                       .sub_offset_le = htole64(origin->sub_offset)};
    memcpy(ret_value->reference, origin->reference, FORK_REFERENCE_BYTES);
    memcpy(ret_value->source, origin->source, bytes);
    return offsetof(struct origin_value, source) + bytes;
}

bool fork_origin_of(struct wal *wal, struct fork_origin *ret_origin)
{
    struct origin_value value;
    size_t bytes;
    if (wal_state_get(wal, STREAM_KEY_FORK, strlen(STREAM_KEY_FORK), &value, sizeof(value), &bytes,
                      NULL) < 0 ||
        bytes <= offsetof(struct origin_value, source) || bytes > sizeof(value) ||
        value.format != STREAM_FORMAT)
        return false;
    *ret_origin = (struct fork_origin){.records = le64toh(value.records_le),
                                       .bytes = le64toh(value.bytes_le),
                                       .sub_offset = le64toh(value.sub_offset_le)};
    memcpy(ret_origin->reference, value.reference, FORK_REFERENCE_BYTES);
    memcpy(ret_origin->source, value.source, bytes - offsetof(struct origin_value, source));
    return true;
}

struct each {
    int (*visit)(void *context, const char *fork, const uint8_t reference[FORK_REFERENCE_BYTES]);
    void *context;
};

static int visit_key(void *context, const void *key, uint16_t key_bytes, const void *value,
                     uint32_t value_bytes)
{
    const struct each *each = context;
    char name[LIFE_NAME_BYTES];
    if (key_bytes < 3 || memcmp(key, "f:", 2) != 0 || value_bytes != FORK_REFERENCE_BYTES ||
        key_bytes - 2u >= sizeof(name))
        return 0;
    memcpy(name, (const char *)key + 2, key_bytes - 2u);
    name[key_bytes - 2] = '\0';
    return each->visit(each->context, name, value);
}

int fork_each(struct wal *source,
              int (*visit)(void *context, const char *fork,
                           const uint8_t reference[FORK_REFERENCE_BYTES]),
              void *context)
{
    struct each each = {visit, context};
    return wal_state_each(source, visit_key, &each);
}

static uint16_t reference_key(char ret_key[FORK_KEY_BYTES], const char *fork)
{
    size_t bytes = strlen(fork);
    must(bytes + 2 < FORK_KEY_BYTES);
    memcpy(ret_key, "f:", 2);
    memcpy(ret_key + 2, fork, bytes + 1);
    return (uint16_t)(bytes + 2);
}

bool fork_is_referred_to(struct wal *source, const char *fork, const struct fork_origin *origin)
{
    char key[FORK_KEY_BYTES];
    uint8_t reference[FORK_REFERENCE_BYTES];
    size_t bytes;
    uint16_t key_bytes = reference_key(key, fork);
    return wal_state_get(source, key, key_bytes, reference, sizeof(reference), &bytes, NULL) == 0 &&
           bytes == sizeof(reference) && memcmp(reference, origin->reference, bytes) == 0;
}

struct wal_state_update fork_unrefer(char key[FORK_KEY_BYTES], const char *fork)
{
    uint16_t key_bytes = reference_key(key, fork);
    return (struct wal_state_update){.key = key, .key_bytes = key_bytes};
}

/* ---- the end of it, good or bad ---- */

static void finish(struct fork *fork)
{
    struct api *api = fork->api;
    struct fork_plan plan = fork->plan;
    struct wal *made = fork->made;
    int status = fork->status;
    wal_cursor_close(fork->cursor);
    store_put(api->config.store, plan.source);
    life_making_end(&fork->making);
    api->life.fork_count--;
    free(fork);
    plan.done(plan.context, made, status);
}

static void undone(struct store_log_waiter *waiter)
{
    struct fork *fork = container_of(waiter, struct fork, waiter);
    if (waiter->wal)
        store_put(fork->api->config.store, waiter->wal);
    /* Whether it is gone or not: with s:forking it counts for nothing. */
    life_release(fork->api, fork->name, &fork->origin);
    finish(fork);
}

/* Nothing is on its way any more. */
static void undo(struct fork *fork)
{
    bool was_made = fork->made;
    if (fork->made)
        store_put(fork->api->config.store, TAKE(fork->made));
    fork->waiter = (struct store_log_waiter){.done = undone};
    if (!was_made || store_delete_async(fork->api->config.store, fork->name, &fork->waiter) < 0) {
        life_release(fork->api, fork->name, &fork->origin);
        finish(fork);
    }
}

static void fail(struct fork *fork, int status)
{
    if (fork->status == 0)
        fork->status = status;
    if (fork->in_flight == 0)
        undo(fork);
}

/* ---- copying ---- */

static void pump(struct fork *fork);

/* How much of a record belongs to the fork. */
static size_t share_of(const struct fork *fork, const struct wal_entry *entry)
{
    if (entry->offset < fork->origin.records || fork->plan.by_messages)
        return entry->size;
    return (size_t)min_u64(entry->size, fork->sub_left);
}

static bool has_more(const struct fork *fork)
{
    return fork->next_offset < fork->origin.records || fork->sub_left > 0;
}

static int read_entry(struct fork *fork)
{
    if (fork->has_entry)
        return 0;
    int rc = wal_cursor_next(fork->cursor, &fork->entry);
    if (rc == 0 && fork->entry.offset != fork->next_offset)
        rc = -EBADMSG;
    fork->has_entry = rc == 0;
    return rc == -ENODATA ? -EIO : rc; /* it had been there */
}

static uint8_t *gather_bytes(struct fork *fork, const void *data, size_t bytes)
{
    uint8_t *at = fork->bytes + fork->gathered_bytes;
    if (bytes > 0)
        memcpy(at, data, bytes);
    fork->gathered_bytes += bytes;
    return at;
}

/* A record that has no room in a chunk is one by itself, and is not copied: it goes to the log before
 * the next one is read. */
static void gather_entry(struct fork *fork, size_t share, bool copies)
{
    const struct wal_entry *entry = &fork->entry;
    struct wal_record *record = &fork->records[fork->gathered++];
    *record = (struct wal_record){entry->data, share, entry->attributes, entry->attribute_bytes};
    if (copies) {
        record->data = gather_bytes(fork, entry->data, share);
        record->attributes = gather_bytes(fork, entry->attributes, entry->attribute_bytes);
    }
    if (entry->attribute_bytes == 0)
        record->attributes = NULL;
    if (entry->offset >= fork->origin.records)
        fork->sub_left -= fork->plan.by_messages ? 1 : share;
    fork->next_offset = entry->offset + 1;
    fork->has_entry = false;
}

static int gather(struct fork *fork)
{
    if (fork->gathered > 0)
        return 0; /* there was no room for it before */
    fork->gathered_bytes = 0;
    fork->gathered_offset = fork->next_offset;
    while (has_more(fork) && fork->gathered < CHUNK_RECORDS) {
        int rc = read_entry(fork);
        if (rc < 0)
            return rc;
        size_t share = share_of(fork, &fork->entry);
        size_t bytes = share + fork->entry.attribute_bytes;
        bool fits = bytes <= sizeof(fork->bytes) - fork->gathered_bytes;
        if (!fits && fork->gathered > 0)
            break;
        gather_entry(fork, share, fits);
        if (!fits)
            break;
    }
    return 0;
}

static void chunk_decided(struct wal_handler *handler, struct wal_token token, int status)
{
    struct chunk *chunk = container_of(handler, struct chunk, handler);
    struct fork *fork = chunk->fork;
    chunk->in_flight = false;
    fork->in_flight--;
    if (status < 0 || fork->status < 0)
        fail(fork, status);
    else
        pump(fork);
}

static struct chunk *free_chunk(struct fork *fork)
{
    for (unsigned i = 0; i < CHUNKS_IN_FLIGHT; i++) {
        if (!fork->chunks[i].in_flight)
            return &fork->chunks[i];
    }
    return NULL;
}

static int append_chunk(struct fork *fork, struct chunk *chunk)
{
    struct wal_append_options options = {.expected_offset = fork->gathered_offset};
    chunk->handler = (struct wal_handler){.done = chunk_decided};
    int rc = space_append(fork->api, fork->made, fork->records, fork->gathered, &options,
                          &chunk->handler);
    if (rc < 0)
        return rc;
    chunk->in_flight = true;
    fork->in_flight++;
    fork->gathered = 0;
    return 0;
}

static void ended(struct wal_handler *handler, struct wal_token token, int status)
{
    struct fork *fork = container_of(handler, struct fork, handler);
    fork->in_flight--;
    if (status < 0 || fork->status < 0) {
        fail(fork, status);
        return;
    }
    expiry_expect(&fork->api->life.expiry, fork->name, &fork->lifespan, api_now_us());
    finish(fork);
}

static int append_end(struct fork *fork)
{
    const struct wal_state_update finishing = stream_set(STREAM_KEY_MAKING, NULL);
    fork->handler = (struct wal_handler){.done = ended};
    int rc = fork->plan.append_end(fork->plan.context, fork->made, fork->next_offset, &finishing,
                                   &fork->handler);
    if (rc < 0)
        return rc;
    fork->has_ended = true;
    fork->in_flight++;
    return 0;
}

/* The next chunk, or what comes behind the last. */
static int copy_more(struct fork *fork, struct chunk *chunk)
{
    int rc = gather(fork);
    if (rc == 0 && fork->gathered > 0)
        rc = append_chunk(fork, chunk);
    if (rc == 0 && !has_more(fork))
        rc = append_end(fork);
    return rc;
}

static void pump(struct fork *fork)
{
    struct chunk *chunk;
    int rc = 0;
    while (rc == 0 && !fork->has_ended && (chunk = free_chunk(fork)) != NULL)
        rc = copy_more(fork, chunk);
    if (rc == -EAGAIN && fork->in_flight > 0)
        return; /* the queue is full: what is on its way makes room */
    if (rc < 0)
        fail(fork, rc);
}

/* ---- the steps before ---- */

static void made(struct store_log_waiter *waiter)
{
    struct fork *fork = container_of(waiter, struct fork, waiter);
    int rc = waiter->status;
    fork->made = waiter->wal;
    if (rc == 0)
        rc = wal_cursor_open(&fork->cursor, fork->plan.source, 0);
    if (rc < 0)
        fail(fork, rc);
    else
        pump(fork);
}

static int make(struct fork *fork)
{
    struct origin_value origin;
    size_t origin_bytes = origin_encode(&fork->origin, &origin);
    struct wal_state_update updates[PLAN_UPDATES_MAX + 3] = {
        {STREAM_KEY_FORK, strlen(STREAM_KEY_FORK), &origin, (uint32_t)origin_bytes},
        stream_set(STREAM_KEY_MAKING, ""),
    };
    size_t count = 2;
    if (lifespan_update(&fork->lifespan, &updates[count]))
        count++;
    for (size_t i = 0; i < fork->plan.update_count; i++)
        updates[count++] = fork->plan.updates[i];
    fork->waiter = (struct store_log_waiter){.done = made};
    return store_create_async(fork->api->config.store, fork->name, updates, count, &fork->waiter);
}

static void referred(struct wal_handler *handler, struct wal_token token, int status)
{
    struct fork *fork = container_of(handler, struct fork, handler);
    if (status == 0)
        status = make(fork);
    if (status < 0)
        fail(fork, status);
}

static int count_reference(void *context, const char *fork,
                           const uint8_t reference[FORK_REFERENCE_BYTES])
{
    ++*(unsigned *)context;
    return 0;
}

static int check(struct api *api, const struct fork_plan *plan)
{
    unsigned count = 0;
    if (api->life.fork_count >= FORKS_UNDER_WAY_MAX)
        return -EAGAIN;
    if (!space_admits(api, SPACE_OF_LOG_BYTES))
        return ERROR_BELOW_FLOOR;
    fork_each(plan->source, count_reference, &count);
    return count < FORKS_MAX ? 0 : -EMLINK;
}

static size_t state_bytes(const struct fork_plan *plan)
{
    size_t bytes = plan->update_count * sizeof(*plan->updates);
    for (size_t i = 0; i < plan->update_count; i++)
        bytes += plan->updates[i].key_bytes + plan->updates[i].value_bytes;
    return bytes;
}

static const void *keep(uint8_t **at, const void *data, size_t bytes)
{
    void *kept = *at;
    memcpy(kept, data, bytes);
    *at += bytes;
    return kept;
}

/* What the plan points to is kept behind the fork, in the same piece of memory. */
static struct fork *fork_new(struct api *api, const struct fork_plan *plan)
{
    struct fork *fork = malloc(sizeof(*fork) + state_bytes(plan));
    if (!fork)
        return NULL;
    memset(fork, 0, offsetof(struct fork, records));
    struct wal_state_update *updates = (struct wal_state_update *)(fork + 1);
    uint8_t *at = (uint8_t *)(updates + plan->update_count);
    for (size_t i = 0; i < plan->update_count; i++) {
        updates[i] = plan->updates[i];
        updates[i].key = keep(&at, updates[i].key, updates[i].key_bytes);
        updates[i].value = keep(&at, updates[i].value, updates[i].value_bytes);
    }
    fork->api = api;
    fork->plan = *plan;
    fork->plan.updates = updates;
    fork->lifespan = *plan->lifespan;
    fork->sub_left = plan->sub_offset;
    for (unsigned i = 0; i < CHUNKS_IN_FLIGHT; i++)
        fork->chunks[i].fork = fork;
    fork->origin = (struct fork_origin){
        .records = plan->records, .bytes = plan->bytes, .sub_offset = plan->sub_offset};
    memcpy(fork->origin.source, wal_name(plan->source), strlen(wal_name(plan->source)) + 1);
    memcpy(fork->name, plan->name, strlen(plan->name) + 1);
    return fork;
}

int fork_begin(struct api *api, const struct fork_plan *plan)
{
    char key[FORK_KEY_BYTES];
    must(plan->update_count <= PLAN_UPDATES_MAX && strlen(plan->name) < LIFE_NAME_BYTES);
    int rc = check(api, plan);
    if (rc < 0)
        return rc;
    struct fork *fork = fork_new(api, plan);
    if (!fork)
        return -ENOMEM;
    must(getrandom(fork->origin.reference, FORK_REFERENCE_BYTES, 0) == FORK_REFERENCE_BYTES);

    const struct wal_state_update reference = {key, reference_key(key, fork->name),
                                               fork->origin.reference, FORK_REFERENCE_BYTES};
    struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &reference, .update_count = 1};
    fork->handler.done = referred;
    rc = wal_append(plan->source, NULL, 0, &options, &fork->handler, NULL);
    if (rc < 0) {
        free(fork);
        return rc;
    }
    api->life.fork_count++;
    life_making_begin(api, &fork->making, fork->name);
    return 0;
}
