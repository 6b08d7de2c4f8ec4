#include "client/pages.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

#include "client/json.h"
#include "wal/base.h"

#define LIMIT_MAX 10000u
#define FRAME_HEAD_BYTES 20u

void pages_done(struct pages *pages)
{
    buffer_done(&pages->answer.body);
    buffer_done(&pages->target);
}

static void set_target(struct pages *pages, const char *where, unsigned wait_s)
{
    uint64_t limit = pages->limit > 0 ? min_u64(pages->limit, LIMIT_MAX) : LIMIT_MAX;
    target_of_log(&pages->target, pages->log, "/records?limit=%" PRIu64, limit);
    if (pages->begun)
        buffer_format(&pages->target, "&offset=%" PRIu64, pages->next_offset);
    else
        buffer_format(&pages->target, "&%s", where);
    if (wait_s > 0)
        buffer_format(&pages->target, "&wait=%us", wait_s);
    if (pages->base64)
        buffer_format(&pages->target, "&encoding=base64");
}

/* What cannot be read, if that is what the answer says. */
static bool read_gap(const struct http_answer *answer, uint64_t *ret_gap_end)
{
    CLEANUP(json_freep)
    struct json *problem =
        answer->is_problem ? json_read(answer->body.data, answer->body.bytes) : NULL;
    const char *type = problem ? json_text(problem, "type") : NULL;
    return type && strcmp(type, "/problems/record-damaged") == 0 &&
           json_number(problem, "gap_end", ret_gap_end);
}

/* The positions of a log never go back. */
static bool is_another_log(struct pages *pages)
{
    if (!pages->begun || pages->answer.committed_offset >= pages->next_offset)
        return false;
    complain("%s ends at offset %" PRIu64 " now, before %" PRIu64 ", up to where it has been read: "
             "it is not the same log any more.",
             pages->log, pages->answer.committed_offset, pages->next_offset);
    return true;
}

/* After a wait that came to nothing it is asked without one: what has become of the service, and of
 * the log, is not to be learnt only half a minute later. */
static int ask_page(struct pages *pages, struct ask *ask, const char *where, unsigned wait_s)
{
    if (wait_s > 0) {
        set_target(pages, where, wait_s);
        if (pages->target.failed)
            return complain_memory();
        ask->request.target = pages->target.data;
        ask->request.wait_s = wait_s;
        if (service_try(pages->service, ask, &pages->answer) == 0 && pages->answer.status == 200)
            return 0;
        ask->request.wait_s = 0;
    }
    set_target(pages, where, 0);
    if (pages->target.failed)
        return complain_memory();
    ask->request.target = pages->target.data;
    return service_ask(pages->service, ask, &pages->answer);
}

enum pages_result pages_next(struct pages *pages, const char *where, unsigned wait_s,
                             uint64_t *ret_gap_end, int *ret_status)
{
    CLEANUP(buffer_done) struct buffer what = {0};
    buffer_format(&what, "Reading %s", pages->log);
    struct ask ask = {
        .request = {.headers = {pages->as_lines ? "Accept: application/x-ndjson"
                                                : "Accept: application/octet-stream"}},
        .what = what.data,
    };
    *ret_status = what.failed ? complain_memory() : ask_page(pages, &ask, where, wait_s);
    if (*ret_status == EXIT_REFUSED && read_gap(&pages->answer, ret_gap_end)) {
        *ret_status = EXIT_DATA;
        return PAGES_DAMAGED;
    }
    if (*ret_status != 0)
        return PAGES_FAILED;
    if (pages->answer.status != 200 || pages->answer.next_offset == HTTP_NO_NUMBER ||
        pages->answer.committed_offset == HTTP_NO_NUMBER) {
        *ret_status = service_give_up(pages->service, &ask, 0, &pages->answer);
        return PAGES_FAILED;
    }
    if (is_another_log(pages)) {
        *ret_status = EXIT_REFUSED;
        return PAGES_FAILED;
    }
    pages->begun = true;
    pages->at = 0;
    pages->next_offset = pages->answer.next_offset;
    pages->committed_offset = pages->answer.committed_offset;
    return PAGES_ONE;
}

void pages_jump(struct pages *pages, uint64_t offset)
{
    pages->begun = true;
    pages->next_offset = offset;
}

bool pages_record(struct pages *pages, struct record *ret_record, bool *ret_is_wrong)
{
    const struct buffer *body = &pages->answer.body;
    uint64_t offset_be;
    uint32_t bytes_be;
    size_t left = body->bytes - pages->at;
    *ret_is_wrong = false;
    if (left == 0)
        return false;
    if (left >= FRAME_HEAD_BYTES) {
        memcpy(&offset_be, body->data + pages->at, sizeof(offset_be));
        memcpy(&bytes_be, body->data + pages->at + 16, sizeof(bytes_be));
        if (be32toh(bytes_be) <= left - FRAME_HEAD_BYTES) {
            *ret_record = (struct record){
                be64toh(offset_be), body->data + pages->at + FRAME_HEAD_BYTES, be32toh(bytes_be)};
            pages->at += FRAME_HEAD_BYTES + be32toh(bytes_be);
            return true;
        }
    }
    *ret_is_wrong = true;
    return false;
}
