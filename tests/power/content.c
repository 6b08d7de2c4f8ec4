#include "tests/power/content.h"

#include <string.h>

#include "wal/base.h"

#define ID_MAGIC 0x64695750u

/* How an id stands in a record: at the head of its data, or, where the data is too small for it, in
 * an attribute. */
struct id_bytes {
    uint32_t magic;
    uint32_t run;
    uint32_t log;
    uint32_t append;
    uint16_t writer;
    uint16_t index;
    uint32_t check;
};
_Static_assert(sizeof(struct id_bytes) == 24, "no padding");

uint64_t power_random(uint64_t *state, uint64_t limit)
{
    *state = splitmix64_of(*state);
    return *state % limit;
}

bool power_id_equal(struct power_id a, struct power_id b)
{
    return a.run == b.run && a.log == b.log && a.append == b.append && a.writer == b.writer &&
           a.index == b.index;
}

static uint64_t id_hash(uint64_t seed, struct power_id id)
{
    uint64_t hash = splitmix64_of(seed ^ ((uint64_t)id.run << 32 | id.log));
    return splitmix64_of(hash ^ ((uint64_t)id.append << 32 | (uint32_t)id.writer << 16 | id.index));
}

/* Of the append as a whole, whichever of its records is asked about. */
static uint64_t append_hash(uint64_t seed, struct power_id id)
{
    id.index = UINT16_MAX;
    return id_hash(seed, id);
}

unsigned power_append_count(uint64_t seed, struct power_id id)
{
    uint64_t hash = append_hash(seed, id);
    unsigned choice = hash % 100;
    if (choice < 80)
        return 1;
    if (choice < 97)
        return 2 + (hash >> 32) % 7;
    return 9 + (hash >> 32) % (POWER_BATCH_MAX - 8);
}

bool power_append_changes_state(uint64_t seed, struct power_id id)
{
    return (append_hash(seed, id) >> 16) % 8 == 0;
}

/* Mostly small records, now and then one of many blocks. Large batches hold small records, so that
 * an append never outgrows struct power_append. */
static size_t record_bytes(uint64_t hash, unsigned count)
{
    uint64_t choice = hash % 1000;
    uint64_t spread = hash >> 20;
    if (count > 8 || choice < 600)
        return 1 + spread % 512;
    if (choice < 900 || count > 1)
        return 1 + spread % (8u << 10);
    if (choice < 995)
        return 1 + spread % (64u << 10);
    return 1 + spread % POWER_RECORD_BYTES_MAX;
}

/* Random bytes, zeros, or random bytes with zeros in the middle: recovery tells torn writes by
 * their zeros, so records must be able to look like one. */
static void fill(unsigned char *data, size_t size, uint64_t hash)
{
    unsigned shape = hash % 8;
    if (shape == 0) {
        memset(data, 0, size);
        return;
    }
    uint64_t state = hash;
    for (size_t at = 0; at < size; at += sizeof(state)) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        memcpy(data + at, &state, min_u64(sizeof(state), size - at));
    }
    if (shape == 1)
        memset(data + size / 4, 0, size / 2);
}

static unsigned char *take(struct power_append *append, size_t size)
{
    must(size <= sizeof(append->bytes) - append->used);
    unsigned char *taken = append->bytes + append->used;
    append->used += size;
    return taken;
}

static void make_record(struct power_append *append, uint64_t seed, struct power_id id)
{
    uint64_t hash = id_hash(seed, id);
    size_t size = record_bytes(hash, append->count);
    struct id_bytes tag = {ID_MAGIC,  id.run,   id.log,        id.append,
                           id.writer, id.index, (uint32_t)hash};

    unsigned char *data = take(append, size);
    fill(data, size, hash);
    if (size >= sizeof(tag))
        memcpy(data, &tag, sizeof(tag));

    struct wal_record record = {.data = data, .size = size};
    bool has_header = (hash >> 8) % 4 == 0;
    if (has_header || size < sizeof(tag)) {
        unsigned char header[64];
        fill(header, sizeof(header), hash | 2);
        uint16_t header_bytes = 1 + (hash >> 12) % sizeof(header);
        unsigned char *list = take(append, 128);
        int rc = 0;
        if (has_header)
            rc = wal_attribute_put(list, 128, &record.attribute_bytes, WAL_ATTRIBUTE_HEADER, header,
                                   header_bytes);
        must(rc == 0);
        if (size < sizeof(tag))
            rc = wal_attribute_put(list, 128, &record.attribute_bytes, WAL_ATTRIBUTE_USER, &tag,
                                   sizeof(tag));
        must(rc == 0);
        record.attributes = list;
    }
    append->records[id.index] = record;
}

void power_append_make(struct power_append *append, uint64_t seed, struct power_id id)
{
    id.index = 0;
    append->id = id;
    append->count = power_append_count(seed, id);
    append->used = 0;
    for (unsigned i = 0; i < append->count; i++) {
        id.index = (uint16_t)i;
        make_record(append, seed, id);
    }

    append->options = (struct wal_append_options){.expected_offset = WAL_ANY_OFFSET};
    if (!power_append_changes_state(seed, id))
        return;
    power_state_key(id.writer, append->key);
    append->update = (struct wal_state_update){
        .key = append->key,
        .key_bytes = sizeof(append->key),
        .value = append->value,
        .value_bytes = (uint32_t)power_state_make(append->value, id.run, id.append),
    };
    append->options.updates = &append->update;
    append->options.update_count = 1;
}

void power_state_key(unsigned writer, char ret_key[2])
{
    ret_key[0] = 'r';
    ret_key[1] = (char)('0' + writer);
}

bool power_id_read(const void *data, size_t size, const void *attributes, uint16_t attribute_bytes,
                   struct power_id *ret_id)
{
    struct id_bytes tag;
    if (size >= sizeof(tag)) {
        memcpy(&tag, data, sizeof(tag));
    } else {
        const void *value;
        uint16_t value_bytes;
        if (attribute_bytes == 0 ||
            wal_attribute_find(attributes, attribute_bytes, WAL_ATTRIBUTE_USER, &value,
                               &value_bytes) < 0 ||
            value_bytes != sizeof(tag))
            return false;
        memcpy(&tag, value, sizeof(tag));
    }
    *ret_id = (struct power_id){tag.run, tag.log, tag.append, tag.writer, tag.index};
    return tag.magic == ID_MAGIC;
}

size_t power_state_make(unsigned char value[POWER_STATE_BYTES_MAX], uint32_t run, uint32_t number)
{
    size_t size = sizeof(run) + sizeof(number) + number % 200;
    memset(value, (unsigned char)number, size);
    memcpy(value, &run, sizeof(run));
    memcpy(value + sizeof(run), &number, sizeof(number));
    return size;
}

bool power_state_read(const unsigned char *value, size_t size, uint32_t *ret_run,
                      uint32_t *ret_number)
{
    uint32_t run, number;
    if (size < sizeof(run) + sizeof(number))
        return false;
    memcpy(&run, value, sizeof(run));
    memcpy(&number, value + sizeof(run), sizeof(number));

    unsigned char again[POWER_STATE_BYTES_MAX];
    if (size != power_state_make(again, run, number) || memcmp(value, again, size) != 0)
        return false;
    *ret_run = run;
    *ret_number = number;
    return true;
}
