/*
 * A short name for many bytes: SHA-256, cut to its first 16 bytes. Nobody finds two texts with the
 * same name by chance, and nobody who does not look for 2^64 tries on purpose.
 */
#ifndef API_DIGEST_H
#define API_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES 16

/* `kind` keeps apart what is the same text but does not mean the same. */
void digest_of(uint8_t ret_digest[DIGEST_BYTES], char kind, const void *data, size_t bytes);

#endif
