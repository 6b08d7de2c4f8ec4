#include "client/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "client/say.h"

#define READ_BYTES (256u << 10)
/* So that who writes into it need not wait while a batch is under way. */
#define PIPE_BYTES (1 << 20)

void lines_begin(struct lines *lines, int fd, const char *name, size_t line_bytes_max)
{
    *lines = (struct lines){.name = name, .fd = fd, .line_bytes_max = line_bytes_max};
    (void)fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES); /* only a wish */
}

void lines_done(struct lines *lines)
{
    buffer_done(&lines->buffer);
}

/* True: something was read, or the end was found. */
static enum lines_result read_more(struct lines *lines, bool may_block, int *ret_status)
{
    struct buffer *buffer = &lines->buffer;
    struct pollfd ready = {.fd = lines->fd, .events = POLLIN};
    if (!may_block && poll(&ready, 1, 0) == 0)
        return LINES_NONE_YET;

    buffer_drop(buffer, lines->begin);
    lines->looked -= lines->begin;
    lines->begin = 0;
    if (!buffer_reserve(buffer, READ_BYTES)) {
        *ret_status = complain_memory();
        return LINES_FAILED;
    }
    ssize_t got;
    do
        got = read(lines->fd, buffer->data + buffer->bytes, READ_BYTES);
    while (got < 0 && (errno == EINTR || (errno == EAGAIN && poll(&ready, 1, -1) >= 0)));
    if (got < 0) {
        complain("%s cannot be read: %s.", lines->name, strerror(errno));
        *ret_status = EXIT_IO;
        return LINES_FAILED;
    }
    lines->ended = got == 0;
    buffer->bytes += (size_t)got;
    return LINES_ONE;
}

static enum lines_result fail_length(const struct lines *lines, int *ret_status)
{
    complain("Line %" PRIu64 " of %s is longer than %zu bytes, the most that there can be in one.",
             lines->number + 1, lines->name, lines->line_bytes_max);
    *ret_status = EXIT_DATA;
    return LINES_FAILED;
}

enum lines_result lines_next(struct lines *lines, bool may_block, const char **ret_line,
                             size_t *ret_bytes, bool *ret_is_whole, int *ret_status)
{
    struct buffer *buffer = &lines->buffer;
    for (;;) {
        const char *end = buffer->bytes > lines->looked ? memchr(buffer->data + lines->looked, '\n',
                                                                 buffer->bytes - lines->looked)
                                                        : NULL;
        size_t stop = end ? (size_t)(end - buffer->data) : buffer->bytes;
        if (stop - lines->begin > lines->line_bytes_max)
            return fail_length(lines, ret_status);
        if (end || (lines->ended && stop > lines->begin)) {
            *ret_line = buffer->data + lines->begin;
            *ret_bytes = stop - lines->begin;
            *ret_is_whole = end;
            lines->begin = lines->looked = end ? stop + 1 : stop;
            lines->number++;
            return LINES_ONE;
        }
        if (lines->ended)
            return LINES_END;
        lines->looked = buffer->bytes;
        enum lines_result result = read_more(lines, may_block, ret_status);
        if (result != LINES_ONE)
            return result;
    }
}
