/*
 * A strict look at the bytes of a connection before libmicrohttpd reads them.
 *
 * What 0.9.75 hands to the gate is what it made of the bytes, and some of them it reads in its own
 * way: a NUL ends a value or the whole head, a line of a folded header becomes part of the name of
 * the header before it, a header without a name is dropped, a bare LF ends lines, also those of
 * chunks, and extensions of chunks may hold anything. In front of such a reader a request can be
 * hidden in what another reader takes for a header or a body. The gate cannot see any of it.
 *
 * So each byte is looked at as it comes from the socket. In a head, a byte that two readers could
 * read in two ways is turned into one that the gate refuses: the client is told 400. Between chunks,
 * and behind a head whose end or whose body's end is not clear, the connection is cut off. Bytes of
 * bodies are not looked at.
 *
 * This works by defining recv(), which the library calls and the dynamic linker finds here first.
 * Where that fails no request is served at all: see wire_head_was_seen().
 *
 * All of it belongs to the thread that runs the library.
 */
#ifndef API_WIRE_H
#define API_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_state {
    WIRE_REQUEST_BEGIN, /* between requests */
    WIRE_REQUEST_LINE,
    WIRE_FIELD_BEGIN,
    WIRE_FIELD_NAME,
    WIRE_FIELD_VALUE,
    WIRE_BODY,       /* of a known length, or the data of a chunk */
    WIRE_CHUNK_SIZE, /* the first digit has still to come, or a further one */
    WIRE_CHUNK_EXTENSION,
    WIRE_CHUNK_END, /* CRLF behind the data */
    WIRE_TRAILER_BEGIN,
    WIRE_TRAILER_NAME,
    WIRE_TRAILER,
    WIRE_CUT, /* nothing more is read */
};

/* What has been read of a connection. All zero is the beginning. */
struct wire {
    enum wire_state state;
    bool cr;                   /* the byte before was a CR that may end a line */
    bool spoilt;               /* a byte of this head was turned into one that the gate refuses */
    bool chunked, final;       /* chunks; the last of them */
    bool after_space;          /* in the request line */
    bool is_length;            /* the header is Content-Length */
    unsigned spaces;           /* in the request line */
    unsigned lengths, codings; /* how many headers give a length, or a coding */
    unsigned digits;           /* of the length, or of the size of a chunk */
    unsigned extension_bytes;
    uint64_t left; /* of the body or of the chunk */
    char name[20]; /* of the header, as far as it fits */
    unsigned name_bytes;
    uint64_t heads, heads_served; /* complete ones */
};

/* Looks at bytes, and may change some of those of heads and sizes of chunks. Returns how many may be
 * read: all, or those before the cut. */
size_t wire_look(struct wire *wire, char *bytes, size_t count);

/* Looks at all that is received on this descriptor from now on. Errors: -ENOMEM; then no request of
 * this connection will have been seen. */
int wire_open(int fd);
void wire_close(int fd); /* before the descriptor is used again */

/* The connection goes on elsewhere, by another descriptor of the same socket: the library, which is
 * about to close this one, must not say goodbye on it. That works as with recv(): by defining
 * shutdown(), which does nothing from here on until wire_close(). */
void wire_give_away(int fd);

/* What the library sends next on this descriptor does not go out: these bytes do, in its place, and stay
 * where they are until they have. It is told that its own have been sent once they have. `bytes` NULL:
 * no longer so. */
void wire_send_instead(int fd, const void *bytes, size_t count);

/* While the library has a request in its hands and its answer is still to come, it is not told that the
 * client sends no more: some of those who say so wait for their answer, and it would drop them. It is told
 * at once when that is over. */
void wire_hide_end(int fd, bool hides);

/* Whether all that was read of the connection belongs to requests that were served: nothing of another
 * one is in the hands of the library. */
bool wire_is_between(int fd);

/* The connection begins, for the library, with these bytes (on the heap, taken over) instead of those
 * that come from the socket. wire_open() comes before it. */
void wire_unread(int fd, char *bytes, size_t count);

/* No connection is taken: accept4(), which is defined here like the others, says that there is no file
 * left, and the library leaves the backlog alone until it has closed a connection. It must have one. */
extern bool wire_is_full;

/* What there has been since the caller set it to zero: calls of recv() that took all they had room
 * for, and of send() and sendmsg() that were rid of all they had. */
struct wire_traffic {
    uint64_t filled, sent;
};
extern struct wire_traffic wire_traffic;

/* Gives back the memory of all; none may be open. */
void wire_done(void);

/* The library says that a head is complete: whether it was seen here. If not, the bytes have come
 * another way, or were read differently, and the request must not be served. */
bool wire_head_was_seen(int fd);

#endif
