#include "tests/crash/content.h"

#include <errno.h>
#include <string.h>

#include "tests/crash/random.h"
#include "wal/base.h"
#include "wal/wal.h"

/* Contents of all sizes begin somewhere in the first NOISE_BEGINS bytes, which a cache can hold. */
#define NOISE_BEGINS 65536u
/* Three of four stretches of this length are letters, so that compression gets somewhere. */
#define LETTERS_BYTES 4096u
static uint8_t noise[CONTENT_BYTES_MAX + NOISE_BEGINS];
static uint8_t scratch[CONTENT_BYTES_MAX];

void content_init(void)
{
    struct random random = {42};

    for (size_t i = 0; i < sizeof(noise); i += sizeof(uint64_t)) {
        uint64_t word = random_next(&random);

        if (i / LETTERS_BYTES % 4 > 0)
            word = (word & UINT64_C(0x0f0f0f0f0f0f0f0f)) | UINT64_C(0x4040404040404040);
        memcpy(noise + i, &word, sizeof(word));
    }
}

/* Noise is shared by all contents; the number in front of it makes each of them unlike the rest. */
static void write_noise(const struct content *content, uint8_t *bytes)
{
    uint64_t stamp = splitmix64_mix(content->number + 1);
    uint64_t begin = splitmix64_mix(stamp) % NOISE_BEGINS;

    memcpy(bytes, noise + begin, content->size);
    memcpy(bytes, &stamp, min_u64(sizeof(stamp), content->size));
}

void content_write(const struct content *content, uint8_t *bytes)
{
    must(content->size <= CONTENT_BYTES_MAX);
    switch ((enum content_kind)content->kind) {
    case CONTENT_NOISE: write_noise(content, bytes); break;
    case CONTENT_ZEROS: memset(bytes, 0, content->size); break;
    case CONTENT_HOLES: {
        uint32_t begin = (uint32_t)(splitmix64_mix(content->number + 2) % (content->size + 1));
        uint32_t room = content->size - begin;

        write_noise(content, bytes);
        memset(bytes + begin, 0, splitmix64_mix(content->number + 3) % (room + 1));
        break;
    }
    case CONTENT_STORED: memcpy(bytes, content->stored, content->size); break;
    }
}

static void put_attribute(uint8_t *list, uint16_t *bytes, uint64_t dice, uint16_t value_bytes)
{
    static const uint16_t types[] = {WAL_ATTRIBUTE_PRODUCER, WAL_ATTRIBUTE_IDEMPOTENCY_KEY,
                                     WAL_ATTRIBUTE_HEADER,   WAL_ATTRIBUTE_CONTENT_TYPE,
                                     WAL_ATTRIBUTE_USER,     WAL_ATTRIBUTE_USER + 7};
    uint16_t type = types[dice % ARRAY_SIZE(types)];
    uint64_t begin = dice % NOISE_BEGINS;
    int error = wal_attribute_put(list, CONTENT_ATTRIBUTE_BYTES_MAX, bytes, type, noise + begin,
                                  value_bytes);

    must(error == 0);
}

uint16_t content_write_attributes(const struct content *content, uint8_t *bytes)
{
    struct random random = {content->number ^ UINT64_C(0xa77718075)};
    uint16_t size = 0;

    if (content->attribute_kind == 0)
        return 0;

    unsigned count = random_between(&random, 1, 2);
    for (unsigned i = 0; i < count; i++)
        put_attribute(bytes, &size, random_next(&random), (uint16_t)random_below(&random, 40));
    if (content->attribute_kind == 2)
        put_attribute(bytes, &size, random_next(&random), (uint16_t)random_below(&random, 6000));
    return size;
}

bool content_is(const struct content *content, const void *data, size_t size, size_t *ret_at)
{
    size_t common = min_u64(size, content->size);
    const uint8_t *bytes = data;

    content_write(content, scratch);
    if (size == content->size && memcmp(bytes, scratch, size) == 0)
        return true;

    *ret_at = 0;
    while (*ret_at < common && bytes[*ret_at] == scratch[*ret_at])
        ++*ret_at;
    return false;
}

bool content_attributes_are(const struct content *content, const void *list, uint16_t bytes)
{
    uint16_t expected = content_write_attributes(content, scratch);

    return bytes == expected && (bytes == 0 || memcmp(list, scratch, bytes) == 0);
}

uint64_t content_hash(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t hash = UINT64_C(0x9e3779b97f4a7c15) + size;

    for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t), bytes += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, bytes, sizeof(word));
        hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
        hash ^= hash >> 32;
    }
    for (; size > 0; size--, bytes++)
        hash = (hash ^ *bytes) * UINT64_C(0x100000001b3);
    return splitmix64_mix(hash);
}
