/* SHA-256 and base64: the only file that knows nettle. */
#ifndef CLIENT_CODEC_H
#define CLIENT_CODEC_H

#include <stdbool.h>
#include <stddef.h>

#include "client/buffer.h"

struct digest;

#define DIGEST_TEXT_BYTES 65

struct digest *digest_new(void); /* NULL: no memory */
void digest_free(struct digest *digest);
void digest_freep(struct digest **digest);
void digest_add(struct digest *digest, const void *data, size_t bytes);

/* In hexadecimal digits and a NUL; begins anew. */
void digest_end(struct digest *digest, char ret_text[DIGEST_TEXT_BYTES]);

/* Adds what a text in base64 stands for; false: it is none, or there is no memory. */
bool base64_add(struct buffer *buffer, const char *text, size_t bytes);

#endif
