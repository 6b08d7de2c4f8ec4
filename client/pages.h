/* The records of a log, page by page. */
#ifndef CLIENT_PAGES_H
#define CLIENT_PAGES_H

#include "client/service.h"

struct record {
    uint64_t offset;
    const void *data;
    size_t bytes;
};

struct pages {
    struct service *service;
    const char *log;
    bool as_lines;             /* the body of a page is NDJSON, else frames for pages_record() */
    bool base64;               /* with as_lines: all data so */
    uint64_t limit;            /* records of the next page at most; 0: as many as fit */
    uint64_t next_offset;      /* where the next page begins, once there was one */
    uint64_t committed_offset; /* as of the last page */
    struct http_answer answer; /* the page is its body */
    /* private */
    struct buffer target;
    bool begun;
    size_t at; /* of the next frame */
};

void pages_done(struct pages *pages);

enum pages_result {
    PAGES_ONE,     /* a page, which may be empty */
    PAGES_DAMAGED, /* records from next_offset to *ret_gap_end cannot be read; it has been said */
    PAGES_FAILED,  /* *ret_status is what to exit with; it has been said why */
};

/* The next page; the first begins at `where`, a part of a query such as "offset=-10". `wait_s`: a
 * service that has nothing yet may let us wait so long. */
enum pages_result pages_next(struct pages *pages, const char *where, unsigned wait_s,
                             uint64_t *ret_gap_end, int *ret_status);

/* Goes on at this offset. */
void pages_jump(struct pages *pages, uint64_t offset);

/* The next record of the page; false: that was all. *ret_is_wrong: the page is cut or malformed. */
bool pages_record(struct pages *pages, struct record *ret_record, bool *ret_is_wrong);

#endif
