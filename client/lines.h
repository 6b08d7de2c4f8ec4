/* Lines of a file or pipe, byte for byte, as they come. */
#ifndef CLIENT_LINES_H
#define CLIENT_LINES_H

#include <stdint.h>

#include "client/buffer.h"

struct lines {
    const char *name; /* for a person */
    int fd;           /* the caller's */
    size_t line_bytes_max;
    /* private */
    struct buffer buffer;
    size_t begin, looked; /* of the line that is searched for; up to there it has no end */
    uint64_t number;      /* of lines taken */
    bool ended;
};

void lines_begin(struct lines *lines, int fd, const char *name, size_t line_bytes_max);
void lines_done(struct lines *lines);

enum lines_result { LINES_ONE, LINES_NONE_YET, LINES_END, LINES_FAILED };

/* The next line, without its end; the last one may lack that, and then *ret_is_whole is false. It
 * stays until the next call. `may_block` false: LINES_NONE_YET, rather than waiting for more.
 * LINES_FAILED: it has been said why; *ret_status is what to exit with. */
enum lines_result lines_next(struct lines *lines, bool may_block, const char **ret_line,
                             size_t *ret_bytes, bool *ret_is_whole, int *ret_status);

#endif
