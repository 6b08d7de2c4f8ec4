/* SHA-256: names for many bytes, and tokens that can be known without being kept. */
#ifndef API_DIGEST_H
#define API_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES 16

#define SHA256_BYTES 32

/* A short name for many bytes, cut to its first 16 bytes. Nobody finds two texts with the same name by
 * chance, and nobody who does not look for 2^64 tries on purpose. `kind` keeps apart what is the same
 * text but does not mean the same. */
void digest_of(uint8_t ret_digest[DIGEST_BYTES], char kind, const void *data, size_t bytes);

/* All of it, as any other program computes it. */
void digest_sha256(uint8_t ret_digest[SHA256_BYTES], const void *data, size_t bytes);

/* In a time that does not depend on where they differ. */
bool digest_is_same(const void *a, const void *b, size_t bytes);

#endif
