#include "api/access.h"

#include <string.h>

#include "api/errors.h"
#include "api/request.h"
#include "wal/base.h"

#define REALM "Bearer realm=\"wald\""
#define STREAMS "/v1/stream/"

static bool refuse_stranger(struct request *request, bool has_token)
{
    if (has_token)
        response_problem(&request->response, PROBLEM_UNAUTHORIZED,
                         "What came in Authorization is not a token that this service knows: it is "
                         "to be \"Bearer\" and a token as wald token made it. It may have been "
                         "taken out of the file of tokens.");
    else
        response_problem(&request->response, PROBLEM_UNAUTHORIZED, NULL);
    response_header_static(&request->response, "WWW-Authenticate",
                           has_token ? REALM ", error=\"invalid_token\"" : REALM);
    return false;
}

static bool refuse_right(struct request *request, enum auth_right right, const char *what)
{
    const char *name = auth_right_name(right);
    response_problem(&request->response, PROBLEM_FORBIDDEN,
                     "The token does not give the right \"%s\" to %s. Nothing was looked at, and "
                     "nothing was changed. An operator can add it in the file of tokens.",
                     name, what);
    response_header(&request->response, "WWW-Authenticate",
                    REALM ", error=\"insufficient_scope\", scope=\"%s\"", name);
    return false;
}

static bool may(const struct request *request, enum auth_right right, const char *log)
{
    return auth_may(request->api->auth, &request->who, right, log);
}

/* What is forked is read. A header that names no stream is refused later, in words of its own. */
static bool check_source(struct request *request)
{
    const char *from = request->facts.headers[HTTP_STREAM_FORKED_FROM];
    if (!from || !(request->route->heeds & HEEDS(HTTP_STREAM_FORKED_FROM)) ||
        strncmp(from, STREAMS, strlen(STREAMS)) != 0)
        return true;
    return may(request, AUTH_READ, from + strlen(STREAMS)) ||
           refuse_right(request, AUTH_READ, "the stream that Stream-Forked-From names");
}

static bool check_log(struct request *request, enum auth_right right)
{
    return may(request, right, request->log) || refuse_right(request, right, "this log");
}

/* What a known token is good for. */
static bool check_rights(struct request *request)
{
    switch (request->route->access) {
    case ACCESS_LOG_READ: return check_log(request, AUTH_READ);
    case ACCESS_LOG_APPEND: return check_log(request, AUTH_APPEND) && check_source(request);
    case ACCESS_LOG_ADMIN: return check_log(request, AUTH_ADMIN);
    case ACCESS_NAMES:
        return auth_reads_any(request->api->auth, &request->who) ||
               refuse_right(request, AUTH_READ, "any log");
    case ACCESS_ALL_LOGS:
        return may(request, AUTH_READ, NULL) || refuse_right(request, AUTH_READ, "all logs (*)");
    case ACCESS_TOKEN: return true;
    case ACCESS_NONE: break;
    }
    must(!"a route without access");
    return false;
}

bool access_check(struct request *request)
{
    const struct api *api = request->api;
    const char *authorization = request->facts.headers[HTTP_AUTHORIZATION];
    if (!api->auth)
        return true;
    bool is_known = authorization && auth_identify(api->auth, authorization, &request->who);
    request->judged_by = api->auth_number;
    if (request->route->opened_by & api->config.open)
        return true;
    return is_known ? check_rights(request) : refuse_stranger(request, authorization != NULL);
}

/* Whether the tokens are the ones it was judged by, or no matter. */
static bool is_judged(const struct request *request)
{
    const struct api *api = request->api;
    return !api->auth || request->judged_by == api->auth_number ||
           (request->route->opened_by & api->config.open);
}

bool access_check_again(struct request *request)
{
    if (is_judged(request))
        return true;
    request->judged_by = request->api->auth_number;
    return auth_knows(request->api->auth, &request->who) ? check_rights(request)
                                                         : refuse_stranger(request, true);
}

bool access_is_gone(const struct request *request)
{
    return request->route->access == ACCESS_LOG_READ && !is_judged(request) &&
           !may(request, AUTH_READ, request->log);
}

void access_say_gone(struct request *request)
{
    if (auth_knows(request->api->auth, &request->who))
        refuse_right(request, AUTH_READ, "this log");
    else
        refuse_stranger(request, true);
}

bool access_may_see(const struct request *request, const char *log)
{
    return !request->api->auth || may(request, AUTH_READ, log);
}
