/* What is read out of JSON: the only file that knows jansson. Nothing here changes a document. */
#ifndef CLIENT_JSON_H
#define CLIENT_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "client/buffer.h"

struct json; /* a document */

/* NULL: that is no JSON object, or there is no memory. */
struct json *json_read(const char *text, size_t bytes);
void json_free(struct json *json); /* or NULL */
void json_freep(struct json **json);

/* A member that is a number from 0; false: there is none. */
bool json_number(const struct json *json, const char *name, uint64_t *ret_number);

/* A member that is a text; NULL: there is none. It lives as long as the document. */
const char *json_text(const struct json *json, const char *name);

/* The same when it may hold NULs. */
const char *json_data(const struct json *json, const char *name, size_t *ret_bytes);

/* Adds a member that is an object, as JSON in one line, or nothing if there is none. */
void json_add_object(struct buffer *buffer, const struct json *json, const char *name);

/* "name" of each object in the list `list`, in order; stops and returns what `visit` returns if that
 * is not 0. */
int json_each_name(const struct json *json, const char *list,
                   int (*visit)(void *context, const char *name), void *context);

/* Each value on a line of its own behind its name, names of members of members with dots. */
void json_print_table(const struct json *json, FILE *out);

#endif
