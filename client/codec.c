#include "client/codec.h"

#include <nettle/base64.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>

struct digest {
    struct sha256_ctx context;
};

struct digest *digest_new(void)
{
    struct digest *digest = malloc(sizeof(*digest));
    if (digest)
        sha256_init(&digest->context);
    return digest;
}

void digest_free(struct digest *digest)
{
    free(digest);
}

void digest_freep(struct digest **digest)
{
    digest_free(*digest);
}

void digest_add(struct digest *digest, const void *data, size_t bytes)
{
    sha256_update(&digest->context, bytes, data);
}

void digest_end(struct digest *digest, char ret_text[DIGEST_TEXT_BYTES])
{
    uint8_t bytes[SHA256_DIGEST_SIZE];
    sha256_digest(&digest->context, sizeof(bytes), bytes);
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(ret_text + 2 * i, 3, "%02x", bytes[i]);
}

bool base64_add(struct buffer *buffer, const char *text, size_t bytes)
{
    struct base64_decode_ctx context;
    size_t added = 0;
    if (!buffer_reserve(buffer, BASE64_DECODE_LENGTH(bytes)))
        return false;
    base64_decode_init(&context);
    if (!base64_decode_update(&context, &added, (uint8_t *)buffer->data + buffer->bytes, bytes,
                              text) ||
        !base64_decode_final(&context))
        return false;
    buffer->bytes += added;
    buffer->data[buffer->bytes] = '\0';
    return true;
}
