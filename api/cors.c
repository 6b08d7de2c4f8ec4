#include "api/cors.h"

#include <string.h>
#include <strings.h>

/* For so long a browser need not ask again. Chromium takes no more than two hours. */
#define PREFLIGHT_SECONDS "3600"

/* tests/http/cors.sh holds both lists against openapi.yaml. */
static const char request_headers[] =
    "Authorization, Content-Type, Content-Encoding, Accept, Prefer, Range, If-Range, If-Match, "
    "If-None-Match, Last-Event-ID, Idempotency-Key, Producer-Id, Producer-Epoch, Producer-Seq, "
    "Stream-Seq, Stream-TTL, Stream-Expires-At, Stream-Closed, Stream-Forked-From, "
    "Stream-Fork-Offset, Stream-Fork-Sub-Offset";

static const char answer_headers[] =
    "Accept-Ranges, Allow, Content-Range, Content-Type, ETag, Idempotency-Replayed, Location, "
    "Log-Committed-Offset, Log-Next-Offset, Log-Timestamp, Preference-Applied, Producer-Epoch, "
    "Producer-Expected-Seq, Producer-Received-Seq, Producer-Seq, Retry-After, Server-Timing, "
    "Stream-Closed, Stream-Cursor, Stream-Expires-At, Stream-Next-Offset, Stream-SSE-Data-Encoding, "
    "Stream-TTL, Stream-Up-To-Date, WWW-Authenticate";

bool cors_is_open(const struct gate_config *config)
{
    return config->origin_count > 0;
}

const char *cors_allowed(const struct gate_config *config, const char *origin)
{
    for (unsigned i = 0; i < config->origin_count; i++) {
        if (strcmp(config->origins[i], "*") == 0)
            return "*";
    }
    for (unsigned i = 0; origin && i < config->origin_count; i++) {
        if (strcasecmp(config->origins[i], origin) == 0)
            return origin;
    }
    return NULL;
}

bool cors_headers(const struct gate_config *config, const struct gate_facts *facts,
                  bool (*add)(void *out, const char *name, const char *value), void *out)
{
    const char *allowed =
        facts && facts->allow_origin ? facts->allow_origin : cors_allowed(config, NULL);

    /* For what a page embeds without asking, such as an image. */
    bool fine = add(out, "Cross-Origin-Resource-Policy", allowed ? "cross-origin" : "same-origin");
    /* Kept for one page, it would be wrong for another. */
    if (cors_is_open(config) && !(allowed && strcmp(allowed, "*") == 0))
        fine = fine && add(out, "Vary", "Origin");
    if (allowed)
        fine = fine && add(out, "Access-Control-Allow-Origin", allowed);
    if (allowed && !(facts && facts->method == HTTP_OPTIONS))
        fine = fine && add(out, "Access-Control-Expose-Headers", answer_headers);
    return fine;
}

void cors_answer_preflight(struct response *response, const struct gate_facts *facts,
                           const char *methods)
{
    if (!facts->headers[HTTP_ORIGIN])
        return;
    response_header(response, "Access-Control-Allow-Methods", "%s", methods);
    response_header_static(response, "Access-Control-Allow-Headers", request_headers);
    if (facts->allow_origin)
        response_header_static(response, "Access-Control-Max-Age", PREFLIGHT_SECONDS);
}
