#include "api/errors.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/json.h"
#include "api/space.h"
#include "wal/base.h"
#include "wal/wal.h"

#define RETRY_AFTER_SECONDS 1

static const struct {
    unsigned status;
    const char *type, *title, *detail;
} kinds[PROBLEM_COUNT] = {
    [PROBLEM_BAD_REQUEST_LINE] = {400, "bad-request-line", "The request line is malformed", NULL},
    [PROBLEM_BAD_TARGET] = {400, "bad-target", "The request target is not acceptable",
                            "Send a path that begins with '/', in printable ASCII and without "
                            "percent-encoding: no name here needs it."},
    [PROBLEM_BAD_HEADER] = {400, "bad-header", "A header is malformed or ambiguous", NULL},
    [PROBLEM_BAD_NAME] =
        {400, "bad-name", "Not a name for a log",
         "A name is 1 to 128 of the characters A-Z a-z 0-9 . _ - and begins with a "
         "letter or a digit. Nothing is percent-decoded."},
    [PROBLEM_BAD_PARAMETER] = {400, "bad-parameter", "A query parameter is not acceptable", NULL},
    [PROBLEM_BAD_SETTINGS] = {400, "bad-settings", "Not settings that a log can have", NULL},
    [PROBLEM_EMPTY_RECORD] = {400, "empty-record", "A record cannot be empty",
                              "Send the record as the body of the request; with curl: "
                              "--data-binary @file"},
    [PROBLEM_UNEXPECTED_BODY] = {400, "unexpected-body", "This request takes no body",
                                 "Send it again without a body."},
    [PROBLEM_UNSUPPORTED_HEADER] = {400, "unsupported-header",
                                    "A header asks for what this version cannot do", NULL},
    [PROBLEM_UNAUTHORIZED] = {401, "unauthorized", "The request needs a token",
                              "Send one as Authorization: Bearer TOKEN. An operator of the service "
                              "makes them with wald token. Nothing was looked at or changed."},
    [PROBLEM_FORBIDDEN] = {403, "forbidden", "The token does not give this right", NULL},
    [PROBLEM_FOREIGN_ORIGIN] = {403, "foreign-origin", "A page of another origin made this request",
                                "Pages of other origins may call this service from a browser only "
                                "if it was started with --cors-origin and the origin of the page. "
                                "Instead of following a link, type its address. Other clients: "
                                "send no Origin header."},
    [PROBLEM_PATH_NOT_FOUND] = {404, "path-not-found", "There is nothing at this path",
                                "Logs are below /logs; GET /logs lists them."},
    [PROBLEM_LOG_NOT_FOUND] = {404, "log-not-found", "There is no log of this name",
                               "The first append to it makes it: POST a record to its path. GET "
                               "/logs lists the logs there are."},
    [PROBLEM_RECORD_NOT_FOUND] = {404, "record-not-found", "There is no record at this offset yet",
                                  NULL},
    [PROBLEM_METHOD_NOT_ALLOWED] = {405, "method-not-allowed", "This path has no such method",
                                    "The Allow header lists the methods it has."},
    [PROBLEM_TIMEOUT] = {408, "timeout", "The request did not arrive in time",
                         "Nothing was changed. Send it again, whole and without long pauses, or in "
                         "smaller parts; --header-timeout and --body-timeout say how long it may "
                         "take."},
    [PROBLEM_NOT_ACCEPTABLE] = {406, "not-acceptable", "Not to be had in the form asked for", NULL},
    [PROBLEM_CONFLICT] = {409, "conflict", "The log is not in the state the request wants",
                          "Ask for its offsets, and decide anew."},
    [PROBLEM_TRIMMED] = {410, "trimmed", "The record was trimmed away",
                         "Ask for the log's offsets: first_offset is the oldest record kept."},
    [PROBLEM_DELETED] = {410, "deleted", "The log was deleted",
                         "It is gone, and keeps its name as long as forks of it are there. Use "
                         "another name, or delete the forks first."},
    [PROBLEM_RECORD_TOO_LARGE] = {413, "record-too-large", "The record is too large",
                                  "Split it, or start the service with a larger "
                                  "--max-record-bytes."},
    [PROBLEM_DOCUMENT_TOO_LARGE] = {413, "document-too-large", "The body is too large", NULL},
    [PROBLEM_TARGET_TOO_LONG] = {414, "target-too-long", "The request target is too long", NULL},
    [PROBLEM_UNSUPPORTED_ENCODING] = {415, "unsupported-encoding",
                                      "The body is encoded in a way this request does not take",
                                      "Send it as it is, without Content-Encoding. Bodies of "
                                      "appends may be compressed, as Content-Encoding: gzip."},
    [PROBLEM_BAD_ENCODING] = {400, "bad-encoding", "The body is not whole and sound gzip",
                              "It is damaged, cut off, or followed by something else. Compress it "
                              "again, or send it as it is, without Content-Encoding."},
    [PROBLEM_STALE_EPOCH] = {403, "stale-epoch", "The producer has a newer epoch", NULL},
    [PROBLEM_PRODUCER_GAP] = {409, "producer-gap", "An append before this one is missing", NULL},
    [PROBLEM_TOO_MANY_PRODUCERS] =
        {409, "too-many-producers", "The log knows as many producers as it can",
         "Nothing was changed. It remembers each producer as long as the log is there, since it "
         "would store the retries of a forgotten one twice. Give producers names that last: take "
         "over from one that is gone by its name, with a higher Producer-Epoch and Producer-Seq 0. "
         "Or append to another log."},
    [PROBLEM_STATE_FULL] =
        {409, "state-full", "The log remembers as much as it can",
         "Nothing was changed. What it remembers of settings, producers and idempotency keys has "
         "reached its limit. Send the append without those headers, or to another log."},
    [PROBLEM_DURABILITY_FLOOR] =
        {409, "durability-floor", "The log takes no appends with less durability",
         "Nothing was changed. Its settings want every append to be durable before it is answered: "
         "send it without ack=none."},
    [PROBLEM_PRECONDITION] = {412, "precondition-failed", "The condition does not hold", NULL},
    [PROBLEM_BATCH_TOO_LARGE] = {413, "batch-too-large", "The batch is too large",
                                 "Send it in parts."},
    [PROBLEM_KEY_REUSED] =
        {422, "idempotency-key-reused", "This Idempotency-Key came with another body",
         "Nothing was changed. A key stands for one append and its retries: send what is new with a "
         "new key."},
    [PROBLEM_RANGE_NOT_SATISFIABLE] = {416, "range-not-satisfiable",
                                       "The range lies outside the record", NULL},
    [PROBLEM_UNKNOWN_HOST] =
        {421, "unknown-host", "The service does not go by this name",
         "On a loopback address it answers to loopback names only, so that no web "
         "page can reach it under a name of its own. Start it with --host "
         "NAME to add a name."},
    [PROBLEM_QUOTA] = {429, "quota", "The log is at its quota",
                       "Nothing was changed. With this append the log would keep more than it is "
                       "to. Trim it, let it retain less, or raise its quota: PATCH /logs/{log}."},
    [PROBLEM_TOO_MANY_HEADERS] = {431, "too-many-headers",
                                  "The request has too many headers, or too long ones", NULL},
    [PROBLEM_TOO_MANY_REQUESTS] = {429, "too-many-requests", "This client asks for too much", NULL},
    [PROBLEM_OUTCOME_UNKNOWN] = {500, "outcome-unknown", "The disk failed while this was written",
                                 "Whether the record is durable cannot be told: it may appear, "
                                 "whole, once the log is opened again. Sending it again may store "
                                 "it twice, unless it has an Idempotency-Key or the headers of a "
                                 "producer. The log takes no appends until an operator has "
                                 "looked at the disk and restarted the service."},
    [PROBLEM_RECORD_DAMAGED] = {500, "record-damaged", "The record is damaged on the disk",
                                "Restore it from a backup."},
    [PROBLEM_READ_FAILED] = {500, "read-failed", "The disk could not be read",
                             "The log of the service names the cause. Trying again does no harm."},
    [PROBLEM_DISK_FAILED] = {500, "disk-failed", "The disk refused",
                             "The log of the service names the cause, for an operator to look at."},
    [PROBLEM_NEWER_FORMAT] = {500, "newer-format", "A newer version of the service wrote this log",
                              "Run that version, or a later one, on this data directory."},
    [PROBLEM_BUSY] = {503, "busy", "Too much is waiting for the disk",
                      "Nothing was changed. Send the request again after a moment."},
    [PROBLEM_NO_MEMORY] = {503, "no-memory", "The service is short of memory",
                           "Nothing was changed. Send the request again after a moment; if that "
                           "goes on, the service needs more memory or smaller requests."},
    [PROBLEM_TOO_MANY_FILES] =
        {503, "too-many-files", "Too many files or logs are open",
         "Nothing was changed. Send the request again after a moment; if "
         "that goes on, raise the limit of open files (ulimit -n) or, if as many "
         "logs are in use at a time, --logs-max."},
    [PROBLEM_TOO_MANY_FOLLOWERS] = {503, "too-many-followers",
                                    "Too many streams of events are open", NULL},
    [PROBLEM_STOPPING] = {503, "stopping", "The service is stopping, or the log is being deleted",
                          "Nothing was changed. Send the request again after a moment."},
    [PROBLEM_LOG_FAILED] = {503, "log-failed", "The disk failed under this log earlier",
                            "Nothing was changed. Its records can be read, but it takes no appends "
                            "until an operator has looked at the disk and restarted the service."},
    [PROBLEM_LOG_DAMAGED] =
        {503, "log-damaged", "The log is damaged",
         "Nothing was changed. Its sound records can be read, but it takes no "
         "appends. An operator can stop the service and repair it (wald repair), or "
         "restore it from a backup."},
    [PROBLEM_NO_SPACE] = {507, "no-space", "The disk is full",
                          "Nothing was changed. Delete logs or make room on the disk; appends "
                          "work again as soon as there is space, without a restart."},
    [PROBLEM_SPACE_FLOOR] = {507, "space-floor", "Too little is free on the disk",
                             "Nothing was changed. Trim or delete logs, or make room on the disk; "
                             "appends work again as soon as there is space, without a restart."},
    [PROBLEM_TOO_MANY_LOGS] = {507, "too-many-logs", "There are as many logs as there may be",
                               "Nothing was changed, and no log was made. Delete logs that nobody "
                               "needs, or start the service with a larger --log-count-max."},
    [PROBLEM_CLOSED] = {409, "closed", "The log is closed",
                        "Nothing was changed. A log that was closed takes no appends any more, and "
                        "cannot be opened again: append to another one."},
    [PROBLEM_CONTENT_TYPE] = {409, "content-type", "The log has another content type", NULL},
    [PROBLEM_STREAM_SEQ] = {409, "stream-seq", "Stream-Seq has been passed already",
                            "Nothing was changed. Each Stream-Seq has to be greater than the last "
                            "one that was accepted, compared byte by byte: \"10\" is less than "
                            "\"2\"."},
    [PROBLEM_BAD_JSON] = {400, "bad-json", "The body is not JSON that the log can take", NULL},
    [PROBLEM_NOT_READY] = {503, "not-ready", "The service is not ready", NULL},
};

/* Every errno that means the same whatever the service was doing. */
static const struct {
    int error;
    enum problem problem;
} causes[] = {
    {-EINVAL, PROBLEM_BAD_NAME},       {-ENOENT, PROBLEM_LOG_NOT_FOUND},
    {-EEXIST, PROBLEM_CONFLICT},       {-ESTALE, PROBLEM_CONFLICT},
    {-ERANGE, PROBLEM_TRIMMED},        {-EMSGSIZE, PROBLEM_RECORD_TOO_LARGE},
    {-EAGAIN, PROBLEM_BUSY},           {-ENOMEM, PROBLEM_NO_MEMORY},
    {-EMFILE, PROBLEM_TOO_MANY_FILES}, {-ENFILE, PROBLEM_TOO_MANY_FILES},
    {-ESHUTDOWN, PROBLEM_STOPPING},    {-ENOSPC, PROBLEM_NO_SPACE},
    {-EDQUOT, PROBLEM_NO_SPACE},       {-EPROTONOSUPPORT, PROBLEM_NEWER_FORMAT},
    {-E2BIG, PROBLEM_STATE_FULL},      {-EIDRM, PROBLEM_DELETED},
    {-EXFULL, PROBLEM_QUOTA},          {ERROR_BELOW_FLOOR, PROBLEM_SPACE_FLOOR},
    {-EMLINK, PROBLEM_TOO_MANY_LOGS},
};

enum problem problem_of_errno(enum moment moment, int error)
{
    /* After the append had been queued only a few errors say that nothing was written. */
    if (moment == WHEN_COMMITTED && !wal_error_is_refusal(error))
        return PROBLEM_OUTCOME_UNKNOWN;
    for (size_t i = 0; i < ARRAY_SIZE(causes); i++) {
        if (causes[i].error == error)
            return causes[i].problem;
    }
    switch (moment) {
    case WHEN_APPENDING: return error == -EBADMSG ? PROBLEM_LOG_DAMAGED : PROBLEM_LOG_FAILED;
    case WHEN_READING: return error == -EBADMSG ? PROBLEM_RECORD_DAMAGED : PROBLEM_READ_FAILED;
    default: return PROBLEM_DISK_FAILED;
    }
}

bool problem_is_grave(enum problem problem)
{
    return kinds[problem].status == 500 || problem == PROBLEM_NO_SPACE ||
           problem == PROBLEM_LOG_FAILED || problem == PROBLEM_LOG_DAMAGED ||
           problem == PROBLEM_TOO_MANY_FILES || problem == PROBLEM_NO_MEMORY;
}

/* `extra`: the members that go beyond those of every problem. */
static void fill(struct response *response, enum problem problem, const struct json_problem *extra,
                 const char *format, va_list arguments) __attribute__((format(printf, 4, 0)));

static void fill(struct response *response, enum problem problem, const struct json_problem *extra,
                 const char *format, va_list arguments)
{
    char detail[512];
    if (format)
        vsnprintf(detail, sizeof(detail), format, arguments);
    must(format || kinds[problem].detail);
    if (response->note) {
        if (!format)
            snprintf(detail, sizeof(detail), "%s", kinds[problem].detail);
        size_t bytes = strlen(detail);
        snprintf(detail + bytes, sizeof(detail) - bytes, "%s", response->note);
    }

    struct text body = {0};
    struct json_problem document = *extra;
    document.status = kinds[problem].status;
    document.type = kinds[problem].type;
    document.title = kinds[problem].title;
    document.detail = format || response->note ? detail : kinds[problem].detail;
    document.outcome_unknown = problem == PROBLEM_OUTCOME_UNKNOWN;
    json_add_problem(&body, &document);
    must(response->status == 0);
    response->status = kinds[problem].status;
    response->problem = 1 + (unsigned)problem;
    if (body.failed)
        text_done(&body); /* without memory the status has to speak for itself */
    response->body = body.data;
    response->body_bytes = body.bytes;
    if (body.data)
        response_header(response, "Content-Type", "application/problem+json");
    if (kinds[problem].status == 503)
        response_header(response, "Retry-After", "%d", RETRY_AFTER_SECONDS);
}

void response_problem(struct response *response, enum problem problem, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(response, problem, &(struct json_problem){0}, format, arguments);
    va_end(arguments);
}

void response_problem_number(struct response *response, enum problem problem, const char *member,
                             uint64_t number, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(response, problem, &(struct json_problem){.member = member, .number = number}, format,
         arguments);
    va_end(arguments);
}

void response_problem_checks(struct response *response, enum problem problem,
                             const struct json_check *checks, size_t check_count,
                             const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(response, problem, &(struct json_problem){.checks = checks, .check_count = check_count},
         format, arguments);
    va_end(arguments);
}

const char *problem_type(enum problem problem)
{
    return kinds[problem].type;
}

unsigned problem_status(enum problem problem)
{
    return kinds[problem].status;
}
