#include "client/service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/json.h"
#include "wal/base.h"

#define RETRY_DEFAULT_US UINT64_C(60000000)
#define PAUSE_FIRST_US UINT64_C(50000)
#define PAUSE_MAX_US UINT64_C(2000000)
#define RETRY_AFTER_MAX_S 30u
#define NAME_BYTES_MAX 128u

/* What a header could not carry is no token, and would be sent as another header. */
static bool token_is_fine(const char *token)
{
    size_t bytes = strspn(token, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "-._~+/=");
    return bytes > 0 && token[bytes] == '\0';
}

static int read_token_file(const char *path, char **ret_token)
{
    FILE *file = fopen(path, "re");
    size_t capacity = 0;
    ssize_t bytes = file ? getline(ret_token, &capacity, file) : -1;
    int error = errno;
    if (file)
        fclose(file);
    if (bytes < 0) {
        free(TAKE(*ret_token)); /* nothing is in what was allocated */
        complain("%s, the file of the token: %s.", path,
                 file ? "there is no line in it" : strerror(error));
        return EXIT_USAGE;
    }
    (*ret_token)[strcspn(*ret_token, "\r\n")] = '\0';
    return 0;
}

/* NULL: none is wanted. */
static int find_token(const struct options *options, char **ret_token)
{
    const char *token = getenv("WALD_TOKEN");
    int status = 0;
    if (options->token_file)
        status = read_token_file(options->token_file, ret_token);
    else if (token && *token && !(*ret_token = strdup(token)))
        return complain_memory();
    if (status == 0 && *ret_token && !token_is_fine(*ret_token)) {
        complain("%s is no token: that has letters, digits and - . _ ~ + / = alone, and is not "
                 "empty.",
                 options->token_file ? "The first line of the file of --token-file"
                                     : "What WALD_TOKEN holds");
        return EXIT_USAGE;
    }
    return status;
}

int service_open(struct service *ret_service, const struct options *options)
{
    size_t bytes = strlen(options->url);
    while (bytes > 0 && options->url[bytes - 1] == '/')
        bytes--;
    *ret_service = (struct service){
        .url = strndup(options->url, bytes),
        .retry_us = options->retry_us == OPTION_UNSET ? RETRY_DEFAULT_US : options->retry_us,
    };
    if (!ret_service->url)
        return complain_memory();
    int status = find_token(options, &ret_service->token);
    if (status == 0) {
        ret_service->http = http_open(ret_service->url, ret_service->token, options->ca_file);
        status = ret_service->http ? 0 : EXIT_SYSTEM;
    }
    if (status != 0)
        service_close(ret_service);
    return status;
}

void service_close(struct service *service)
{
    http_close(service->http);
    free(service->url);
    if (service->token)
        explicit_bzero(service->token, strlen(service->token));
    free(service->token);
    service->token = NULL;
    service->http = NULL;
    service->url = NULL;
}

/* ---- in vain ---- */

static int give_up_connection(const struct service *service, const struct ask *ask)
{
    const char *trouble = http_trouble(service->http);
    if (http_url_is_wrong(service->http)) {
        complain("\"%s\" is no address of a service: %s. It is to look like http://127.0.0.1:8080.",
                 service->url, trouble);
        return EXIT_USAGE;
    }
    if (http_is_distrusted(service->http)) {
        complain(
            "Whether the service at %s is the one it claims to be cannot be told: %s. --ca-file "
            "or WALD_CA_FILE names the certificate to believe.",
            service->url, trouble);
        return EXIT_UNREACHABLE;
    }
    if (!service->answered && http_nobody_is_there(service->http))
        complain("The service at %s cannot be reached: %s. Is it running? --url or WALD_URL says "
                 "where it is.",
                 service->url, trouble);
    else
        complain("The service at %s is lost: %s. %s%s", service->url, trouble, ask->what,
                 ask->changes ? " has not been answered, and may have been done or not."
                              : " could not be finished.");
    return EXIT_UNREACHABLE;
}

/* The end of "/problems/bad-name". */
static const char *kind_of(const char *type)
{
    const char *slash = type ? strrchr(type, '/') : NULL;
    return slash ? slash + 1 : "";
}

static int give_up_answer(const struct service *service, const struct ask *ask,
                          const struct http_answer *answer)
{
    CLEANUP(json_freep)
    struct json *problem =
        answer->is_problem ? json_read(answer->body.data, answer->body.bytes) : NULL;
    const char *title = problem ? json_text(problem, "title") : NULL;
    const char *detail = problem ? json_text(problem, "detail") : NULL;
    bool is_temporary = service_is_temporary(0, answer);
    if (!title || !detail) {
        complain("%s answered with status %ld and not as a wald service does. Is --url right, or "
                 "is there a proxy before it that has lost it?",
                 service->url, answer->status);
        return EXIT_UNREACHABLE;
    }
    complain("%s was refused: %s. %s (%ld %s)%s", ask->what, title, detail, answer->status,
             kind_of(json_text(problem, "type")),
             service->unsure ? " An attempt before had no answer that is sure, and may have been "
                               "done."
                             : "");
    bool is_unknown = json_text(problem, "outcome") != NULL;
    return is_temporary && (answer->status != 500 || is_unknown) ? EXIT_TEMPORARY : EXIT_REFUSED;
}

int service_give_up(const struct service *service, const struct ask *ask, int rc,
                    const struct http_answer *answer)
{
    return rc < 0 ? give_up_connection(service, ask) : give_up_answer(service, ask, answer);
}

/* ---- asking ---- */

int service_try(struct service *service, const struct ask *ask, struct http_answer *answer)
{
    int rc = http_exchange(service->http, &ask->request, answer);
    service->answered = service->answered || rc == 0;
    return rc;
}

bool service_is_temporary(int rc, const struct http_answer *answer)
{
    return rc < 0 || answer->status == 408 || answer->status == 429 || answer->status >= 500;
}

static uint64_t pause_us(unsigned attempt, const struct http_answer *answer)
{
    if (answer->retry_after_s != HTTP_NO_NUMBER)
        return min_u64(answer->retry_after_s, RETRY_AFTER_MAX_S) * 1000000;
    return min_u64(PAUSE_FIRST_US << (attempt < 6 ? attempt : 6), PAUSE_MAX_US);
}

bool service_pause(struct service *service, uint64_t *since_us, unsigned *attempt,
                   const struct http_answer *answer)
{
    uint64_t now = now_us();
    if (*since_us == 0) {
        *since_us = now;
        *attempt = 0;
    }
    uint64_t passed = now - *since_us;
    if (service->retry_us != OPTION_FOREVER && passed >= service->retry_us)
        return false;
    uint64_t pause = pause_us((*attempt)++, answer);
    if (service->retry_us != OPTION_FOREVER)
        pause = min_u64(pause, service->retry_us - passed);
    struct timespec time = {(time_t)(pause / 1000000), (long)(pause % 1000000) * 1000};
    nanosleep(&time, NULL);
    return true;
}

void service_tell(const struct service *service, int rc, const struct http_answer *answer)
{
    if (rc < 0)
        complain("%s: %s; trying again.", service->url, http_trouble(service->http));
    else
        complain("%s answered with status %ld; trying again.", service->url, answer->status);
}

/* After an exchange without an answer. */
static bool is_worth_waiting(const struct service *service)
{
    bool was_there = service->answered || !http_nobody_is_there(service->http);
    return (was_there || service->patient) && !http_url_is_wrong(service->http) &&
           !http_is_distrusted(service->http);
}

/* Of a record that is damaged, another attempt will say the same. */
static bool is_final(const struct http_answer *answer)
{
    return answer->status == 500 && answer->is_problem && answer->body.data &&
           strstr(answer->body.data, "/problems/record-damaged");
}

int service_ask(struct service *service, const struct ask *ask, struct http_answer *answer)
{
    uint64_t since_us = 0;
    unsigned attempt = 0;
    service->unsure = false;
    for (;;) {
        int rc = service_try(service, ask, answer);
        if (rc == 0 &&
            ((answer->status >= 200 && answer->status < 300) || answer->status == ask->allowed))
            return 0;
        bool is_hopeless = rc < 0 ? !is_worth_waiting(service) : is_final(answer);
        if (is_hopeless || !service_is_temporary(rc, answer))
            return service_give_up(service, ask, rc, answer);
        if (since_us == 0 && service->retry_us > 0)
            service_tell(service, rc, answer);
        if (!service_pause(service, &since_us, &attempt, answer))
            return service_give_up(service, ask, rc, answer);
        service->unsure = service->unsure || (ask->changes && (rc < 0 || answer->status == 500));
    }
}

/* ---- names ---- */

void target_of_log(struct buffer *target, const char *log, const char *format, ...)
{
    va_list arguments;
    char *rest = NULL;
    va_start(arguments, format);
    int bytes = vasprintf(&rest, format, arguments);
    va_end(arguments);
    buffer_clear(target);
    if (bytes < 0) {
        target->failed = true;
        return;
    }
    buffer_format(target, "/logs/%s%s", log, rest);
    free(rest);
}

bool log_name_is_fine(const char *name)
{
    static const char letters[] =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-";
    size_t bytes = strlen(name);
    if (bytes > 0 && bytes <= NAME_BYTES_MAX && strspn(name, letters) == bytes &&
        !strchr("._-", name[0]))
        return true;
    complain("\"%s\" is no name of a log: that has up to %u letters, digits and . _ -, and begins "
             "with a letter or a digit.",
             name, NAME_BYTES_MAX);
    return false;
}
