/*
 * Every refusal the service knows, and the one table from errno to them. A refusal is a problem
 * document (RFC 9457): `type` and `title` belong to the kind, `detail` tells a person what happened
 * and what to do about it.
 */
#ifndef API_ERRORS_H
#define API_ERRORS_H

#include <stdint.h>

#include "api/response.h"

enum problem {
    PROBLEM_BAD_REQUEST_LINE,
    PROBLEM_BAD_TARGET,
    PROBLEM_BAD_HEADER,
    PROBLEM_BAD_NAME,
    PROBLEM_BAD_PARAMETER,
    PROBLEM_BAD_SETTINGS,
    PROBLEM_EMPTY_RECORD,
    PROBLEM_UNEXPECTED_BODY,
    PROBLEM_UNSUPPORTED_HEADER,
    PROBLEM_UNAUTHORIZED,
    PROBLEM_FORBIDDEN,
    PROBLEM_FOREIGN_ORIGIN,
    PROBLEM_PATH_NOT_FOUND,
    PROBLEM_LOG_NOT_FOUND,
    PROBLEM_RECORD_NOT_FOUND,
    PROBLEM_METHOD_NOT_ALLOWED,
    PROBLEM_TIMEOUT,
    PROBLEM_NOT_ACCEPTABLE,
    PROBLEM_CONFLICT,
    PROBLEM_TRIMMED,
    PROBLEM_DELETED,
    PROBLEM_RECORD_TOO_LARGE,
    PROBLEM_DOCUMENT_TOO_LARGE,
    PROBLEM_TARGET_TOO_LONG,
    PROBLEM_UNSUPPORTED_ENCODING,
    PROBLEM_BAD_ENCODING,
    PROBLEM_STALE_EPOCH,
    PROBLEM_PRODUCER_GAP,
    PROBLEM_TOO_MANY_PRODUCERS,
    PROBLEM_STATE_FULL,
    PROBLEM_DURABILITY_FLOOR,
    PROBLEM_PRECONDITION,
    PROBLEM_BATCH_TOO_LARGE,
    PROBLEM_KEY_REUSED,
    PROBLEM_RANGE_NOT_SATISFIABLE,
    PROBLEM_UNKNOWN_HOST,
    PROBLEM_QUOTA,
    PROBLEM_TOO_MANY_HEADERS,
    PROBLEM_TOO_MANY_REQUESTS,
    PROBLEM_OUTCOME_UNKNOWN,
    PROBLEM_RECORD_DAMAGED,
    PROBLEM_READ_FAILED,
    PROBLEM_DISK_FAILED,
    PROBLEM_NEWER_FORMAT,
    PROBLEM_BUSY,
    PROBLEM_NO_MEMORY,
    PROBLEM_TOO_MANY_FILES,
    PROBLEM_TOO_MANY_FOLLOWERS,
    PROBLEM_STOPPING,
    PROBLEM_LOG_FAILED,
    PROBLEM_LOG_DAMAGED,
    PROBLEM_NO_SPACE,
    PROBLEM_SPACE_FLOOR,
    PROBLEM_TOO_MANY_LOGS,
    PROBLEM_NOT_READY,
    PROBLEM_CLOSED,
    PROBLEM_CONTENT_TYPE,
    PROBLEM_STREAM_SEQ,
    PROBLEM_BAD_JSON,
    PROBLEM_COUNT
};

/* Fills an empty response. `format` NULL: the kind's own detail. What goes into the detail is valid
 * UTF-8 and no longer than a few hundred bytes. */
void response_problem(struct response *response, enum problem problem, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with one number as a further member, such as "first_offset". */
void response_problem_number(struct response *response, enum problem problem, const char *member,
                             uint64_t number, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The same with what was looked at as a further member, "checks", if check_count is not 0. */
struct json_check;
void response_problem_checks(struct response *response, enum problem problem,
                             const struct json_check *checks, size_t check_count,
                             const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The last part of its "type", such as "busy", and its status. */
const char *problem_type(enum problem problem);
unsigned problem_status(enum problem problem);

/* What the service was doing when a negative errno came. */
enum moment {
    WHEN_OPENING,   /* getting a log */
    WHEN_APPENDING, /* queueing an append: nothing was written */
    WHEN_COMMITTED, /* after it had been queued */
    WHEN_READING,
    WHEN_DELETING,
};

enum problem problem_of_errno(enum moment moment, int error);

/* Whether an operator should hear of it: nothing a client did, and no passing shortage. */
bool problem_is_grave(enum problem problem);

#endif
