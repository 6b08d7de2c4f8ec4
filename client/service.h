/*
 * Asking a service until it has answered: what is tried again and for how long, and what is said in
 * the end if that was in vain.
 *
 * Tried again is what changes nothing if it is done twice: a lost connection, 408, 429, every 5xx.
 * Before the first answer a service that cannot be reached is waited for by those only who have
 * something to lose (`patient`).
 */
#ifndef CLIENT_SERVICE_H
#define CLIENT_SERVICE_H

#include "client/http.h"
#include "client/options.h"
#include "client/say.h"

struct service {
    struct http *http;
    char *url, *token; /* token: NULL: none */
    uint64_t retry_us; /* OPTION_FOREVER */
    bool patient;
    /* private */
    bool answered;
    bool unsure; /* an earlier attempt of what is asked now may have been done */
};

struct ask {
    struct http_request request;
    const char *what; /* for a person: "The append to orders" */
    long allowed;     /* a status that is as good as 2xx to who asks; 0: none */
    bool changes;     /* if the answer is lost, it is not known whether it was done */
};

/* Returns 0, or the status to exit with when it has been said what is wrong. */
int service_open(struct service *ret_service, const struct options *options);
void service_close(struct service *service);

/* Returns 0 with an answer of 2xx or `allowed`; or the status to exit with, and it has been said
 * why. *answer is as in http_exchange(). */
int service_ask(struct service *service, const struct ask *ask, struct http_answer *answer);

/* Once, and nothing is said: 0 with any answer, -1 without one. */
int service_try(struct service *service, const struct ask *ask, struct http_answer *answer);

/* Whether the answer, or the lack of one (`rc` of service_try()), may be another one later. */
bool service_is_temporary(int rc, const struct http_answer *answer);

/* Sleeps before another attempt: longer each time, or as long as the service says. False: the time
 * is up. *since_us is when the trouble began: 0 at first, and again after success. */
bool service_pause(struct service *service, uint64_t *since_us, unsigned *attempt,
                   const struct http_answer *answer);

/* Says that it is tried again, so that nobody wonders why nothing happens. */
void service_tell(const struct service *service, int rc, const struct http_answer *answer);

/* Says what is wrong, once and for all; returns the status to exit with. */
int service_give_up(const struct service *service, const struct ask *ask, int rc,
                    const struct http_answer *answer);

/* "/logs/NAME...": for the target of a request; the rest as printf(). */
void target_of_log(struct buffer *target, const char *log, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether that can be the name of a log; says what is wrong if not. */
bool log_name_is_fine(const char *name);

#endif
