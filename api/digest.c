/*
 * The only file that knows nettle. Debian's libmicrohttpd brings it along (through gnutls), so it
 * costs no further library, and it takes the processor's own instructions for SHA-256 where there
 * are any: a batch of 16 MiB is hashed on the thread that serves everybody.
 */
#include "api/digest.h"

#include <nettle/memops.h>
#include <nettle/sha2.h>

void digest_of(uint8_t ret_digest[DIGEST_BYTES], char kind, const void *data, size_t bytes)
{
    struct sha256_ctx context;
    sha256_init(&context);
    sha256_update(&context, 1, (const uint8_t *)&kind);
    sha256_update(&context, bytes, data);
    sha256_digest(&context, DIGEST_BYTES, ret_digest);
}

void digest_sha256(uint8_t ret_digest[SHA256_BYTES], const void *data, size_t bytes)
{
    struct sha256_ctx context;
    sha256_init(&context);
    sha256_update(&context, bytes, data);
    sha256_digest(&context, SHA256_BYTES, ret_digest);
}

bool digest_is_same(const void *a, const void *b, size_t bytes)
{
    return memeql_sec(a, b, bytes) != 0;
}
