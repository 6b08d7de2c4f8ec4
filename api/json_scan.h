/*
 * Is it JSON? RFC 8259 as it stands, in UTF-8, with nothing added: what is accepted every parser reads
 * back, so that one message cannot make an array of them unreadable. Besides the grammar that means
 * no half of a surrogate pair in escapes, and no nesting deeper than JSON_SCAN_DEPTH_MAX. Numbers may
 * have any size. The memory it takes is fixed, and text is never changed. Pure functions of text.
 */
#ifndef API_JSON_SCAN_H
#define API_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_SCAN_DEPTH_MAX 512

/* One value with nothing but white space around it. *ret_at is where it stops being that.
 * Errors: -EBADMSG: it is none; -E2BIG: nested too deep. */
int json_scan_document(const char *text, size_t bytes, uint64_t *ret_at);

/* The messages of a body: the elements of an array, flattened this one level, or else the one value
 * that it is. */
struct json_messages {
    uint64_t error_at; /* after an error: where in the text */
    /* private */
    const char *text, *at, *end;
    bool in_array, is_first, is_over;
};

/* Errors: as json_scan_document(), for what stands before the first message. */
int json_messages_begin(struct json_messages *messages, const char *text, size_t bytes);

/* The next message: its own text, without white space around it.
 * Errors: -ENODATA: there are no more, and the text was JSON to its end; others as
 * json_scan_document(). */
int json_messages_next(struct json_messages *messages, const char **ret_message, size_t *ret_bytes);

#endif
