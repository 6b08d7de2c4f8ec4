/* GET /openapi.yaml: the description of the service, as it stood where the program was built. */
#include "api/etag.h"
#include "api/request.h"
#include "wal/base.h"

/* The bytes of the file go into the program as they are. */
__asm__(".pushsection .rodata\n"
        ".global openapi_begin, openapi_end\n"
        "openapi_begin:\n"
        ".incbin \"" OPENAPI_FILE "\"\n"
        "openapi_end:\n"
        ".popsection\n");

extern const char openapi_begin[], openapi_end[];

static const char openapi_etag[] = "\"" OPENAPI_DIGEST "\"";

enum progress answer_openapi(struct request *request)
{
    struct response *response = &request->response;
    const char *known = request->facts.headers[HTTP_IF_NONE_MATCH];
    struct text body = {0};

    if (known && (etag_list_is_any(known) || etag_list_has(known, openapi_etag, ETAG_WEAK))) {
        response->status = 304;
    } else {
        text_add(&body, openapi_begin, (size_t)(openapi_end - openapi_begin));
        response_text(response, 200, "application/yaml", &body);
        if (response->status != 200)
            return PROGRESS_ANSWERED;
    }
    response_header(response, "ETag", "%s", openapi_etag);
    response_header(response, "Cache-Control", "no-cache");
    return PROGRESS_ANSWERED;
}
