#undef _FORTIFY_SOURCE /* recv() is defined here, and must not be an inline function before */
#include "api/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wal/base.h"

/* In a method, a target, a version, and in the name or value of a header the gate refuses it, and to
 * the library it means nothing. */
#define SPOILT '\001'

#define CHUNK_DIGITS_MAX 15
#define EXTENSION_BYTES_MAX 256
#define LENGTH_DIGITS_MAX 19

/* ---- heads ---- */

static void spoil(struct wire *wire, char *byte)
{
    *byte = SPOILT;
    wire->spoilt = true;
}

static void begin_request(struct wire *wire)
{
    *wire = (struct wire){.heads = wire->heads, .heads_served = wire->heads_served};
}

static bool is_named(const struct wire *wire, const char *name, size_t bytes)
{
    return bytes == wire->name_bytes && strncasecmp(wire->name, name, bytes) == 0;
}

static void end_name(struct wire *wire)
{
    wire->state = WIRE_FIELD_VALUE;
    wire->is_length = is_named(wire, "Content-Length", 14);
    wire->lengths += wire->is_length;
    wire->codings += is_named(wire, "Transfer-Encoding", 17);
}

/* What follows a head that says neither "no body" nor one length nor chunks is nobody's to read. The
 * gate refuses such heads in words. */
static void end_head(struct wire *wire)
{
    bool clear = !wire->spoilt && wire->lengths + wire->codings <= 1 &&
                 (wire->lengths == 0 || (wire->digits > 0 && wire->digits <= LENGTH_DIGITS_MAX));
    wire->heads++;
    wire->chunked = wire->codings == 1;
    wire->digits = 0;
    if (!clear)
        wire->state = WIRE_CUT;
    else if (wire->chunked)
        wire->state = WIRE_CHUNK_SIZE;
    else if (wire->left > 0)
        wire->state = WIRE_BODY;
    else
        begin_request(wire);
}

static void end_line(struct wire *wire)
{
    switch (wire->state) {
    case WIRE_REQUEST_BEGIN: break; /* empty lines before a request mean nothing */
    case WIRE_FIELD_BEGIN: end_head(wire); break;
    default: wire->state = WIRE_FIELD_BEGIN; wire->name_bytes = 0;
    }
}

/* Of the value of Content-Length. The number of digits is out of range if there is anything else. */
static void add_to_length(struct wire *wire, char byte)
{
    if ((byte == ' ' || byte == '\t') && wire->digits == 0)
        return;
    if (byte < '0' || byte > '9' || wire->digits >= LENGTH_DIGITS_MAX) {
        wire->digits = LENGTH_DIGITS_MAX + 1;
        return;
    }
    wire->digits++;
    wire->left = wire->left * 10 + (uint64_t)(byte - '0');
}

static void look_at_request_line(struct wire *wire, char *byte)
{
    bool begins = wire->state == WIRE_REQUEST_BEGIN;
    wire->state = WIRE_REQUEST_LINE;
    if (*byte == ' ' && (begins || wire->after_space || ++wire->spaces > 2))
        spoil(wire, byte);
    wire->after_space = *byte == ' ';
}

static void look_at_field(struct wire *wire, char *byte)
{
    switch (wire->state) {
    case WIRE_FIELD_BEGIN:
        /* The rest of the header before it, for some; and a header without a name. */
        if (*byte == ' ' || *byte == '\t' || *byte == ':')
            spoil(wire, byte);
        wire->state = WIRE_FIELD_NAME;
        break;
    case WIRE_FIELD_VALUE:
        if (wire->is_length)
            add_to_length(wire, *byte);
        return;
    default: break;
    }
    if (*byte == ':')
        end_name(wire);
    else if (wire->name_bytes < sizeof(wire->name))
        wire->name[wire->name_bytes++] = *byte;
}

static void look_at_head(struct wire *wire, char *byte)
{
    bool after_cr = wire->cr;
    wire->cr = *byte == '\r';
    if (after_cr && *byte == '\n') {
        end_line(wire);
        return;
    }
    if (*byte == '\0' || *byte == '\n')
        spoil(wire, byte);
    /* A CR that ends no line is left: to the library it is a byte like others, and the gate refuses
     * it. Here it is one once it is known not to be the end. */
    if (wire->cr && !after_cr)
        return;
    if (after_cr)
        wire->spoilt = true;
    if (wire->state <= WIRE_REQUEST_LINE)
        look_at_request_line(wire, byte);
    else
        look_at_field(wire, byte);
}

/* ---- chunks ---- */

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static void end_chunk_size(struct wire *wire)
{
    wire->final = wire->left == 0;
    wire->state = wire->final ? WIRE_TRAILER_BEGIN : WIRE_BODY;
}

static bool is_text(char byte)
{
    return byte == '\t' || ((unsigned char)byte >= ' ' && byte != 0x7f);
}

/* False: not a byte that may stand here. */
static bool look_at_chunk_size(struct wire *wire, char *byte)
{
    int digit = hex_digit(*byte);
    if (digit >= 0) {
        wire->left = wire->left * 16 + (uint64_t)digit;
        return ++wire->digits <= CHUNK_DIGITS_MAX;
    }
    if (*byte != ';' || wire->digits == 0)
        return false;
    wire->state = WIRE_CHUNK_EXTENSION;
    wire->extension_bytes = 0;
    return true;
}

static bool look_at_trailer(struct wire *wire, char byte)
{
    if (wire->state == WIRE_TRAILER)
        return is_text(byte);
    if (byte == ':' && wire->state == WIRE_TRAILER_NAME) {
        wire->state = WIRE_TRAILER;
        return true;
    }
    wire->state = WIRE_TRAILER_NAME;
    return is_text(byte) && !strchr(" \t\"(),/:;<=>?@[\\]{}", byte);
}

/* A line of what stands between chunks or behind the last one has ended. */
static bool end_chunk_line(struct wire *wire)
{
    switch (wire->state) {
    case WIRE_CHUNK_SIZE:
    case WIRE_CHUNK_EXTENSION:
        if (wire->digits == 0)
            return false;
        end_chunk_size(wire);
        return true;
    case WIRE_CHUNK_END:
        wire->state = WIRE_CHUNK_SIZE;
        wire->digits = 0;
        wire->left = 0;
        return true;
    case WIRE_TRAILER_BEGIN: begin_request(wire); return true;
    default: wire->state = WIRE_TRAILER_BEGIN; return true;
    }
}

static bool look_between_chunks(struct wire *wire, char *byte)
{
    bool after_cr = wire->cr;
    wire->cr = *byte == '\r' && !after_cr;
    if (after_cr)
        return *byte == '\n' && end_chunk_line(wire);
    if (wire->cr)
        return wire->state != WIRE_TRAILER_NAME &&
               (wire->state != WIRE_CHUNK_SIZE || wire->digits > 0);
    switch (wire->state) {
    case WIRE_CHUNK_SIZE: return look_at_chunk_size(wire, byte);
    case WIRE_CHUNK_EXTENSION:
        return is_text(*byte) && ++wire->extension_bytes <= EXTENSION_BYTES_MAX;
    case WIRE_CHUNK_END: return false;
    default: return look_at_trailer(wire, *byte);
    }
}

/* ---- all of it ---- */

static void skip_body(struct wire *wire, uint64_t count)
{
    wire->left -= count;
    if (wire->left > 0)
        return;
    if (wire->chunked)
        wire->state = WIRE_CHUNK_END;
    else
        begin_request(wire);
}

/* Takes the bytes in front that mean nothing but themselves, most of a head, and says how many. */
static size_t take_plain_bytes(struct wire *wire, const char *bytes, size_t count)
{
    size_t i = 0;
    if (wire->cr)
        return 0;
    if (wire->state == WIRE_FIELD_VALUE && !wire->is_length) {
        while (i < count && (unsigned char)bytes[i] >= ' ')
            i++;
    } else if (wire->state == WIRE_REQUEST_LINE && !wire->after_space) {
        while (i < count && (unsigned char)bytes[i] > ' ')
            i++;
    } else if (wire->state == WIRE_FIELD_NAME) {
        for (; i < count && (unsigned char)bytes[i] >= ' ' && bytes[i] != ':'; i++) {
            if (wire->name_bytes < sizeof(wire->name))
                wire->name[wire->name_bytes++] = bytes[i];
        }
    }
    return i;
}

size_t wire_look(struct wire *wire, char *bytes, size_t count)
{
    size_t i = 0;
    while (i < count && wire->state != WIRE_CUT) {
        if (wire->state == WIRE_BODY) {
            uint64_t skipped = wire->left < count - i ? wire->left : count - i;
            i += (size_t)skipped;
            skip_body(wire, skipped);
        } else if (wire->state < WIRE_BODY) {
            i += take_plain_bytes(wire, &bytes[i], count - i);
            if (i < count)
                look_at_head(wire, &bytes[i++]);
        } else if (look_between_chunks(wire, &bytes[i])) {
            i++;
        } else {
            /* Where the library reads no further for this byte, it says 400 before the cut. */
            bytes[i++] = SPOILT;
            wire->state = WIRE_CUT;
        }
    }
    return i;
}

/* ---- by descriptor ---- */

struct wire_traffic wire_traffic;

bool wire_is_full;

static struct slot {
    struct wire wire;
    bool open, given_away, hides_end, hidden_end;
    const char *instead; /* NULL: the library sends its own bytes */
    size_t instead_bytes;
    char *unread; /* what comes before the socket's bytes, from here … */
    size_t unread_at, unread_bytes;
} * wires;
static size_t wire_count;

int wire_open(int fd)
{
    size_t wanted = (size_t)fd + 1;
    if (wanted > wire_count) {
        size_t count = wanted > 2 * wire_count ? wanted : 2 * wire_count;
        void *more = realloc(wires, count * sizeof(*wires));
        if (!more)
            return -ENOMEM;
        wires = more;
        memset(&wires[wire_count], 0, (count - wire_count) * sizeof(*wires));
        wire_count = count;
    }
    wires[fd] = (struct slot){.open = true};
    return 0;
}

static struct wire *wire_of(int fd)
{
    return fd >= 0 && (size_t)fd < wire_count && wires[fd].open ? &wires[fd].wire : NULL;
}

void wire_close(int fd)
{
    if (!wire_of(fd))
        return;
    free(wires[fd].unread);
    wires[fd] = (struct slot){.open = false};
}

bool wire_is_between(int fd)
{
#ifdef API_PLANTED_LENIENCE
    return false;
#endif
    const struct wire *wire = wire_of(fd);
    return wire && wire->state == WIRE_REQUEST_BEGIN && !wire->cr &&
           wire->heads == wire->heads_served;
}

void wire_unread(int fd, char *bytes, size_t count)
{
    must(wire_of(fd) && !wires[fd].unread);
    wires[fd].unread = bytes;
    wires[fd].unread_at = 0;
    wires[fd].unread_bytes = count;
}

void wire_give_away(int fd)
{
    must(wire_of(fd));
    wires[fd].given_away = true;
}

void wire_send_instead(int fd, const void *bytes, size_t count)
{
    must(wire_of(fd));
    wires[fd].instead = bytes;
    wires[fd].instead_bytes = count;
}

void wire_hide_end(int fd, bool hides)
{
    must(wire_of(fd));
    wires[fd].hides_end = hides;
    if (!hides && wires[fd].hidden_end) /* its epoll tells of it once more */
        shutdown(fd, SHUT_RD);
}

/* In place of the C library's, for all callers. */
int shutdown(int fd, int how)
{
    if (wire_of(fd) && wires[fd].given_away)
        return 0;
    return (int)syscall(SYS_shutdown, fd, how);
}

/* Kept open so that it can be given up for a moment; -1: there is none. */
static int spare_fd = -1;

static void keep_spare(void)
{
    if (spare_fd < 0)
        spare_fd = eventfd(0, EFD_CLOEXEC);
}

static void give_up_spare(void)
{
    if (spare_fd >= 0)
        close(spare_fd);
    spare_fd = -1;
}

void wire_done(void)
{
    free(wires);
    wires = NULL;
    wire_count = 0;
    give_up_spare();
}

bool wire_head_was_seen(int fd)
{
#ifdef API_PLANTED_LENIENCE
    return true;
#endif
    struct wire *wire = wire_of(fd);
    return wire && wire->heads_served++ < wire->heads;
}

/* Whether the client has sent all that it ever will. An end that arrives together with bytes before it
 * is no news to the library's epoll: a request that is not complete would wait for its deadline. */
static bool has_ended(int fd)
{
    char byte;
    return recvfrom(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL) == 0;
}

/* What comes first comes together with what the socket has behind it, if there is room: the library
 * believes the socket to be empty when it gets less than it asked for. */
static ssize_t receive(int fd, char *bytes, size_t count, int flags)
{
    struct slot *slot = wire_of(fd) ? &wires[fd] : NULL;
    if (!slot || !slot->unread || flags & MSG_PEEK)
        return recvfrom(fd, bytes, count, flags, NULL, NULL);
    size_t first = slot->unread_bytes - slot->unread_at;
    if (first > count)
        first = count;
    memcpy(bytes, &slot->unread[slot->unread_at], first);
    slot->unread_at += first;
    if (slot->unread_at < slot->unread_bytes)
        return (ssize_t)first;
    free(TAKE(slot->unread));
    ssize_t more = 0;
    if (first < count)
        more = recvfrom(fd, bytes + first, count - first, flags | MSG_DONTWAIT, NULL, NULL);
    return (ssize_t)first + (more > 0 ? more : 0);
}

/* In place of the C library's, for all callers; descriptors that nobody looks at are not touched. */
ssize_t recv(int fd, void *bytes, size_t count, int flags)
{
    struct wire *wire = wire_of(fd);
#ifdef API_PLANTED_LENIENCE
    wire = NULL; /* the tests build it so, to see that they would find what is looked for here */
#endif
    if (wire && wire->state == WIRE_CUT) {
        errno = ECONNRESET;
        return -1;
    }
    ssize_t received = receive(fd, bytes, count, flags);
    if (wire && received == 0 && wires[fd].hides_end) {
        wires[fd].hidden_end = true;
        errno = EAGAIN;
        return -1;
    }
    if (!wire || received <= 0 || (flags & MSG_PEEK))
        return received;
    wire_traffic.filled += (size_t)received == count;
    size_t kept = wire_look(wire, bytes, (size_t)received);
    /* Wakes the library up for the error or the end that the next call answers. */
    if (wire->state == WIRE_CUT ||
        (wire->state != WIRE_REQUEST_BEGIN && (size_t)received < count && has_ended(fd)))
        shutdown(fd, SHUT_RD);
    return (ssize_t)kept;
}

static void turn_away(int listen_fd)
{
    give_up_spare();
    int fd = (int)syscall(SYS_accept4, listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        close(fd);
    keep_spare();
}

/* Likewise. Told that there is no descriptor left, the library leaves the backlog alone until one of its
 * connections is closed: which may be never, though descriptors are to be had again. So whoever comes then
 * is taken with the spare one and turned away, and the library hears that there is nobody. */
int accept4(int fd, struct sockaddr *address, socklen_t *address_bytes, int flags)
{
    if (wire_is_full) {
        errno = EMFILE;
        return -1;
    }
    int accepted = (int)syscall(SYS_accept4, fd, address, address_bytes, flags);
    if (accepted >= 0)
        keep_spare();
    if (accepted >= 0 ||
        (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM))
        return accepted;
    turn_away(fd);
    errno = EAGAIN;
    return -1;
}

/* Returns `count`, as if that many bytes of the caller's had been sent, once all have been that go in
 * their place. */
static ssize_t send_instead(int fd, size_t count)
{
    ssize_t sent = sendto(fd, wires[fd].instead, wires[fd].instead_bytes,
                          MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
    if (sent < 0)
        return sent;
    wires[fd].instead += sent;
    wires[fd].instead_bytes -= (size_t)sent;
    if (wires[fd].instead_bytes > 0) {
        errno = EAGAIN;
        return -1;
    }
    wires[fd].instead = NULL;
    wire_traffic.sent++;
    return (ssize_t)count;
}

ssize_t send(int fd, const void *bytes, size_t count, int flags)
{
    if (wire_of(fd) && wires[fd].instead)
        return send_instead(fd, count);
    ssize_t sent = sendto(fd, bytes, count, flags, NULL, 0);
    wire_traffic.sent += sent >= 0 && (size_t)sent == count;
    return sent;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    size_t count = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        count += message->msg_iov[i].iov_len;
    if (wire_of(fd) && wires[fd].instead)
        return send_instead(fd, count);
    ssize_t sent = syscall(SYS_sendmsg, fd, message, flags);
    wire_traffic.sent += sent >= 0 && (size_t)sent == count;
    return sent;
}
