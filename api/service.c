/* The service as a whole: which program it is, and how busy. */
#include <sys/utsname.h>

#include "api/json.h"
#include "api/metrics.h"
#include "api/request.h"
#include "wal/base.h"

enum progress answer_version(struct request *request)
{
    struct snapshot snapshot;
    struct utsname system;
    struct text body = {0};
    snapshot_take(request->api, &snapshot);
    must(uname(&system) == 0);
    json_add_version(&body, &snapshot, system.release);
    response_text(&request->response, 200, "application/json", &body);
    return PROGRESS_ANSWERED;
}

enum progress answer_stats(struct request *request)
{
    struct snapshot snapshot;
    struct text body = {0};
    snapshot_take(request->api, &snapshot);
    json_add_stats(&body, &snapshot);
    response_text(&request->response, 200, "application/json", &body);
    return PROGRESS_ANSWERED;
}

enum progress answer_metrics(struct request *request)
{
    const struct api *api = request->api;
    CLEANUP(log_samples_done) struct log_samples logs;
    struct snapshot snapshot;
    struct text body = {0};
    snapshot_take(api, &snapshot);
    snapshot_logs(api, &snapshot, &logs);
    metrics_add(&body, &snapshot, &logs);
    response_text(&request->response, 200, METRICS_CONTENT_TYPE, &body);
    return PROGRESS_ANSWERED;
}
