/*
 * Prints, as lines of JSON, what routes.py holds against openapi.yaml: every route of the service
 * with what it takes, and every kind of refusal.
 */
#include <stdio.h>
#include <string.h>

#include "api/errors.h"
#include "api/gate.h"
#include "api/request.h"
#include "wal/base.h"

static void print_words(const char *words)
{
    const char *comma = "";
    while (*words) {
        int bytes = (int)strcspn(words, " ");
        printf("%s\"%.*s\"", comma, bytes, words);
        words += bytes;
        words += strspn(words, " ");
        comma = ",";
    }
}

static void print_headers(uint32_t heeds)
{
    const char *comma = "";
    for (int i = 0; i < HTTP_KNOWN_COUNT; i++) {
        if (!(heeds & HEEDS(i)))
            continue;
        printf("%s\"%s\"", comma, gate_header_name((enum http_known)i));
        comma = ",";
    }
}

static void print_access(const struct route *route)
{
    static const char *const rights[] = {
        [ACCESS_LOG_READ] = "read",  [ACCESS_LOG_APPEND] = "append", [ACCESS_LOG_ADMIN] = "admin",
        [ACCESS_NAMES] = "read-any", [ACCESS_ALL_LOGS] = "read-all", [ACCESS_TOKEN] = "token",
    };
    static const char *const opens[] = {"health", "metrics", "stats", "version", "openapi"};
    must(route->access < ARRAY_SIZE(rights) && rights[route->access]);
    printf("\"right\":\"%s\",\"open\":", rights[route->access]);
    if (route->opened_by == 0)
        printf("null");
    for (unsigned i = 0; i < ARRAY_SIZE(opens); i++) {
        if (route->opened_by & 1u << i)
            printf("\"%s\"", opens[i]);
    }
    printf(",");
}

static void print_route(void *context, const struct route *route)
{
    static const char *const methods[] = {
        [HTTP_GET] = "get",     [HTTP_POST] = "post",     [HTTP_PUT] = "put",
        [HTTP_PATCH] = "patch", [HTTP_DELETE] = "delete",
    };
    static const char *const bodies[] = {
        [BODY_NONE] = "none", [BODY_RECORDS] = "records", [BODY_JSON] = "json"};

    must((size_t)route->method < ARRAY_SIZE(methods) && methods[route->method]);
    const char *body =
        route->is_stream && route->body == BODY_RECORDS ? "stream" : bodies[route->body];
    printf("{\"path\":\"%s\",\"method\":\"%s\",\"body\":\"%s\",\"parameters\":[", route->path,
           methods[route->method], body);
    print_words(route->parameters);
    printf("],");
    print_access(route);
    printf("\"headers\":[");
    print_headers(route->heeds);
    printf("],\"ignores\":%s}\n", route->is_stream ? "true" : "false");
}

int main(void)
{
    api_routes_each(print_route, NULL);
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        enum problem problem = (enum problem)i;
        printf("{\"problem\":\"/problems/%s\",\"status\":%u}\n", problem_type(problem),
               problem_status(problem));
    }
    return 0;
}
