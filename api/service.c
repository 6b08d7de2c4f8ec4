/* The service as a whole: is it alive, is it ready, which version, how busy. */
#include "api/errors.h"
#include "api/json.h"
#include "api/request.h"

static enum progress answer_ok(struct request *request)
{
    struct text body = {0};
    text_format(&body, "ok\n");
    response_text(&request->response, 200, "text/plain; charset=utf-8", &body);
    return PROGRESS_ANSWERED;
}

enum progress answer_livez(struct request *request)
{
    return answer_ok(request);
}

enum progress answer_readyz(struct request *request)
{
    if (!request->api->draining)
        return answer_ok(request);
    response_problem(&request->response, PROBLEM_STOPPING, NULL);
    return PROGRESS_ANSWERED;
}

enum progress answer_version(struct request *request)
{
    struct text body = {0};
    json_add_version(&body, request->api->config.version);
    response_text(&request->response, 200, "application/json", &body);
    return PROGRESS_ANSWERED;
}

enum progress answer_stats(struct request *request)
{
    const struct api *api = request->api;
    struct store_stats store;
    struct text body = {0};
    store_stats(api->config.store, &store);
    json_add_stats(&body,
                   &(struct json_service){
                       .version = api->config.version,
                       .draining = api->draining,
                       .uptime_us = api_uptime_us(api),
                       .requests = api->requests,
                       .in_progress = api->in_progress,
                       .appends_waiting = api->appends_waiting,
                   },
                   &store);
    response_text(&request->response, 200, "application/json", &body);
    return PROGRESS_ANSWERED;
}
