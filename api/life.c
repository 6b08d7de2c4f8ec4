#include "api/life.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/request.h"
#include "wal/base.h"

/* Errands of our own at a time, which share the syncs of their deletions. */
#define SWEEPING_MAX 16u

/* Of the time, as much goes into looking after logs that nobody asks for: one part in so many. */
#define SWEEP_SHARE 20u
#define SWEEP_REST_MIN_US UINT64_C(2000)
#define SWEEP_REST_MAX_US UINT64_C(1000000)

/* Changes of state that nobody waits for: beyond it a dead reference stays, which does no harm. */
#define NOTES_MAX 1024u

/* ---- what a log is ---- */

enum lifetime life_of(struct api *api, struct wal *wal, enum stream_view view, bool uses,
                      struct wal_token *rests_on)
{
    struct lifespan lifespan;
    uint8_t id[16];
    if (stream_has(wal, view, STREAM_KEY_MAKING, rests_on))
        return LIFETIME_UNFINISHED;
    if (stream_has(wal, view, STREAM_KEY_DELETED, rests_on))
        return LIFETIME_SOFT_DELETED;
    lifespan_of(wal, &lifespan);
    if ((!lifespan.has_ttl && !lifespan.has_time) || life_is_making(api, wal_name(wal)))
        return LIFETIME_LIVING;
    wal_id(wal, id);
    const struct expiry_meeting meeting = {.name = wal_name(wal),
                                           .id = id,
                                           .lifespan = &lifespan,
                                           .uses = uses,
                                           .now_us = api_now_us(),
                                           .realtime_ns = expiry_realtime_ns()};
    return expiry_meet(&api->life.expiry, &meeting) ? LIFETIME_ENDED : LIFETIME_LIVING;
}

/* ---- names that are being made ---- */

void life_making_begin(struct api *api, struct making *making, const char *name)
{
    making->name = name;
    making->next = api->life.makings;
    making->link = &api->life.makings;
    if (making->next)
        making->next->link = &making->next;
    api->life.makings = making;
}

void life_making_end(struct making *making)
{
    *making->link = making->next;
    if (making->next)
        making->next->link = making->link;
}

bool life_is_making(const struct api *api, const char *name)
{
    for (const struct making *making = api->life.makings; making; making = making->next) {
        if (strcmp(making->name, name) == 0)
            return true;
    }
    return false;
}

/* ---- changes of state that nobody waits for ---- */

struct note {
    struct wal_handler handler;
    struct api *api;
    struct wal *wal;
};

static void noted(struct wal_handler *handler, struct wal_token token, int status)
{
    struct note *note = container_of(handler, struct note, handler);
    note->api->life.notes--;
    store_put(note->api->config.store, note->wal);
    free(note);
}

/* Takes a dead reference from a log that the caller holds, and goes on holding. */
static void forget_fork(struct api *api, struct wal *source, const char *fork)
{
    char key[FORK_KEY_BYTES];
    const struct wal_state_update update = fork_unrefer(key, fork);
    const struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
    struct note *note = NULL;
    struct wal *held;
    if (api->life.notes < NOTES_MAX)
        note = malloc(sizeof(*note));
    if (!note)
        return;
    if (store_get_open(api->config.store, wal_name(source), &held) < 0) {
        free(note);
        return;
    }
    *note = (struct note){{.done = noted}, api, held};
    if (wal_append(held, NULL, 0, &options, &note->handler, NULL) < 0) {
        store_put(api->config.store, held);
        free(note);
        return;
    }
    api->life.notes++;
}

/* ---- errands ---- */

/*
 * An errand looks at a log and does what has to be done:
 *
 *   begin() ... opened()      the log is there, or it is not
 *   look_for_forks() ...      does one of its references lead to a fork that lives?
 *   remove_log() ... removed()      no: it goes for good; its own source is told, by another errand
 *   delete_softly() ... deleted()   yes: it keeps its name
 *   end()                     whoever asked is told, and the next errand of this name begins
 */
enum errand_kind {
    ERRAND_CLEAR,   /* removes what is dead */
    ERRAND_DELETE,  /* removes what lives, too */
    ERRAND_RELEASE, /* forgets a fork, and then as ERRAND_CLEAR */
};

struct reference {
    char fork[LIFE_NAME_BYTES];
    uint8_t bytes[FORK_REFERENCE_BYTES];
};

struct errand {
    struct api *api;
    enum errand_kind kind;
    char name[LIFE_NAME_BYTES];
    struct life_waiter *waiter; /* NULL: nobody */
    bool sweeps;                /* one of our own */
    bool opens;                 /* a log that nobody had open */
    uint64_t begun_us;
    struct errand *next, **link; /* of all */
    struct errand *behind;       /* the next one of this name, which waits */
    bool waits;

    struct store_log_waiter store_waiter;
    struct wal_handler handler;
    struct wal *wal; /* held */
    enum lifetime found;
    struct reference *references;
    size_t reference_count, reference_at;

    /* ERRAND_RELEASE */
    char fork[LIFE_NAME_BYTES];
    struct fork_origin origin;
};

static void begin(struct errand *errand);
static void look_for_forks(struct errand *errand);
static void collect_references(struct errand *errand);

/* After something that has been done since begun_us. */
static void rest(struct life *life, uint64_t begun_us)
{
    uint64_t now_us = api_now_us();
    uint64_t rest_us = min_u64((now_us - begun_us) * SWEEP_SHARE, SWEEP_REST_MAX_US);
    life->rest_until_us = now_us + max_u64(rest_us, SWEEP_REST_MIN_US);
}

static void end(struct errand *errand, int status)
{
    struct api *api = errand->api;
    struct errand *behind = errand->behind;
    struct life_waiter *waiter = errand->waiter;
    if (errand->wal)
        store_put(api->config.store, errand->wal);
    *errand->link = errand->next;
    if (errand->next)
        errand->next->link = errand->link;
    api->life.errand_count--;
    if (errand->sweeps) {
        rest(&api->life, errand->begun_us);
        api->life.sweeping--;
    }
    if (errand->opens && status == -EEXIST)
        memcpy(api->life.opened, errand->name, sizeof(api->life.opened));
    free(errand->references);
    free(errand);
    if (waiter)
        waiter->done(waiter, status);
    if (behind) {
        behind->waits = false;
        begin(behind);
    }
}

static void removed(struct store_log_waiter *store_waiter)
{
    struct errand *errand = container_of(store_waiter, struct errand, store_waiter);
    struct api *api = errand->api;
    int rc = store_waiter->status;
    if (rc == -ENOENT)
        rc = 0;
    watch_log_closed(api, errand->name, rc == 0 ? -ENOENT : 0);
    if (rc == 0) {
        expiry_forget(&api->life.expiry, errand->name);
        if (errand->origin.source[0])
            life_release(api, errand->name, &errand->origin);
        if (errand->kind == ERRAND_DELETE && errand->found != LIFETIME_LIVING)
            rc = -ENOENT; /* for the client it had gone before */
    }
    end(errand, rc);
}

static int find_unknown(void *context, const char *fork, const uint8_t bytes[FORK_REFERENCE_BYTES])
{
    const struct errand *errand = context;
    for (size_t i = 0; i < errand->reference_count; i++) {
        if (strcmp(errand->references[i].fork, fork) == 0 &&
            memcmp(errand->references[i].bytes, bytes, FORK_REFERENCE_BYTES) == 0)
            return 0;
    }
    return 1;
}

static void remove_log(struct errand *errand)
{
    /* A clock that was set back may have brought it to life again while its forks were looked for. */
    if (errand->kind != ERRAND_DELETE &&
        life_of(errand->api, errand->wal, STREAM_NEWEST, false, NULL) == LIFETIME_LIVING) {
        end(errand, -EEXIST);
        return;
    }
    if (!fork_origin_of(errand->wal, &errand->origin))
        errand->origin.source[0] = '\0';
    store_put(errand->api->config.store, TAKE(errand->wal));
    errand->store_waiter = (struct store_log_waiter){.done = removed};
    int rc = store_delete_async(errand->api->config.store, errand->name, &errand->store_waiter);
    if (rc < 0)
        end(errand, rc);
}

/* A disk that is full or fails keeps a log from saying that it is deleted, and must not keep it from
 * being deleted: its forks are whole without it, and only its name is free too early. */
static void fall_back(struct errand *errand, int error)
{
    if (error == -EAGAIN || error == -ENOMEM || error == -ESHUTDOWN)
        end(errand, error);
    else
        remove_log(errand);
}

static void deleted(struct wal_handler *handler, struct wal_token token, int status)
{
    struct errand *errand = container_of(handler, struct errand, handler);
    if (status < 0) {
        fall_back(errand, status);
        return;
    }
    watch_log_closed(errand->api, errand->name, -EIDRM);
    expiry_forget(&errand->api->life.expiry, errand->name);
    bool was_asked_for = errand->kind == ERRAND_DELETE && errand->found == LIFETIME_LIVING;
    end(errand, was_asked_for ? 0 : -EIDRM);
}

static void delete_softly(struct errand *errand)
{
    const struct wal_state_update update = stream_set(STREAM_KEY_DELETED, "");
    const struct wal_append_options options = {
        .expected_offset = WAL_ANY_OFFSET, .updates = &update, .update_count = 1};
    if (errand->found == LIFETIME_SOFT_DELETED) {
        end(errand, -EIDRM);
        return;
    }
    errand->handler.done = deleted;
    int rc = wal_append(errand->wal, NULL, 0, &options, &errand->handler, NULL);
    if (rc < 0)
        fall_back(errand, rc);
}

/* ---- which of its references are forks that live ---- */

static bool is_fork(struct errand *errand, struct wal *wal, const struct reference *reference)
{
    struct fork_origin origin;
    return fork_origin_of(wal, &origin) && strcmp(origin.source, errand->name) == 0 &&
           memcmp(origin.reference, reference->bytes, FORK_REFERENCE_BYTES) == 0 &&
           !stream_has(wal, STREAM_NEWEST, STREAM_KEY_MAKING, NULL);
}

static void fork_opened(struct store_log_waiter *store_waiter)
{
    struct errand *errand = container_of(store_waiter, struct errand, store_waiter);
    const struct reference *reference = &errand->references[errand->reference_at++];
    bool lives = false;
    if (store_waiter->status == 0) {
        lives = is_fork(errand, store_waiter->wal, reference) ||
                life_is_making(errand->api, reference->fork);
        store_put(errand->api->config.store, store_waiter->wal);
    } else if (store_waiter->status != -ENOENT) {
        lives = true; /* who can tell */
    }
    if (lives) {
        delete_softly(errand);
        return;
    }
    forget_fork(errand->api, errand->wal, reference->fork);
    look_for_forks(errand);
}

static void look_for_forks(struct errand *errand)
{
    if (errand->reference_at == errand->reference_count) {
        /* Some time has passed: a fork may have begun meanwhile. */
        if (fork_each(errand->wal, find_unknown, errand) == 0)
            remove_log(errand);
        else
            collect_references(errand);
        return;
    }
    const struct reference *reference = &errand->references[errand->reference_at];
    if (life_is_making(errand->api, reference->fork)) {
        delete_softly(errand);
        return;
    }
    errand->store_waiter = (struct store_log_waiter){.done = fork_opened};
    int rc = store_open_async(errand->api->config.store, reference->fork, &errand->store_waiter);
    if (rc < 0)
        end(errand, rc);
}

static int count_reference(void *context, const char *fork,
                           const uint8_t bytes[FORK_REFERENCE_BYTES])
{
    ++*(size_t *)context;
    return 0;
}

static int add_reference(void *context, const char *fork, const uint8_t bytes[FORK_REFERENCE_BYTES])
{
    struct errand *errand = context;
    struct reference *reference = &errand->references[errand->reference_count++];
    memcpy(reference->fork, fork, strlen(fork) + 1);
    memcpy(reference->bytes, bytes, FORK_REFERENCE_BYTES);
    return 0;
}

static void collect_references(struct errand *errand)
{
    size_t count = 0;
    free(TAKE(errand->references));
    errand->reference_count = errand->reference_at = 0;
    fork_each(errand->wal, count_reference, &count);
    if (count > 0) {
        errand->references = calloc(count, sizeof(*errand->references));
        if (!errand->references) {
            end(errand, -ENOMEM);
            return;
        }
        fork_each(errand->wal, add_reference, errand);
    }
    look_for_forks(errand);
}

/* ---- their beginning ---- */

static void judge(struct errand *errand)
{
    bool deletes = errand->kind == ERRAND_DELETE;
    errand->found = life_of(errand->api, errand->wal, STREAM_NEWEST, false, NULL);
    if (errand->found == LIFETIME_LIVING && !deletes)
        end(errand, -EEXIST);
    else if (errand->found == LIFETIME_UNFINISHED && life_is_making(errand->api, errand->name))
        end(errand, deletes ? -ENOENT : -EAGAIN);
    else if (errand->found == LIFETIME_UNFINISHED)
        remove_log(errand); /* nobody has forked what nobody has seen */
    else
        collect_references(errand);
}

static void opened(struct store_log_waiter *store_waiter)
{
    struct errand *errand = container_of(store_waiter, struct errand, store_waiter);
    int rc = store_waiter->status;
    errand->wal = store_waiter->wal;
    if (rc == -ENOENT) {
        expiry_forget(&errand->api->life.expiry, errand->name);
        end(errand, errand->kind == ERRAND_DELETE ? -ENOENT : 0);
        return;
    }
    if (rc < 0) {
        end(errand, rc);
        return;
    }
    if (errand->kind == ERRAND_RELEASE) {
        if (fork_is_referred_to(errand->wal, errand->fork, &errand->origin))
            forget_fork(errand->api, errand->wal, errand->fork);
        errand->origin.source[0] = '\0'; /* of the log itself, from here on */
    }
    judge(errand);
}

static int open_log(struct errand *errand)
{
    errand->begun_us = api_now_us();
    errand->store_waiter = (struct store_log_waiter){.done = opened};
    return store_open_async(errand->api->config.store, errand->name, &errand->store_waiter);
}

static void begin(struct errand *errand)
{
    int rc = open_log(errand);
    if (rc < 0)
        end(errand, rc);
}

static struct errand *errand_of(const struct api *api, const char *name)
{
    struct errand *errand = api->life.errands;
    while (errand && (errand->waits || strcmp(errand->name, name) != 0))
        errand = errand->next;
    return errand;
}

static struct errand *errand_new(struct api *api, enum errand_kind kind, const char *name,
                                 struct life_waiter *waiter)
{
    struct errand *errand = calloc(1, sizeof(*errand));
    if (!errand)
        return NULL;
    errand->api = api;
    errand->kind = kind;
    errand->waiter = waiter;
    memcpy(errand->name, name, strlen(name) + 1);
    return errand;
}

/* Errors: it has not begun, and is the caller's. */
static int start(struct errand *errand)
{
    struct api *api = errand->api;
    struct errand *first = errand_of(api, errand->name);
    if (!first) {
        int rc = open_log(errand);
        if (rc < 0)
            return rc;
    } else {
        while (first->behind)
            first = first->behind;
        first->behind = errand;
        errand->waits = true;
    }
    errand->next = api->life.errands;
    errand->link = &api->life.errands;
    if (errand->next)
        errand->next->link = &errand->next;
    api->life.errands = errand;
    api->life.errand_count++;
    return 0;
}

static int run_errand(struct api *api, enum errand_kind kind, const char *name,
                      struct life_waiter *waiter)
{
    struct errand *errand = errand_new(api, kind, name, waiter);
    int rc = errand ? start(errand) : -ENOMEM;
    if (rc < 0)
        free(errand);
    return rc;
}

int life_clear(struct api *api, const char *name, struct life_waiter *waiter)
{
    return run_errand(api, ERRAND_CLEAR, name, waiter);
}

int life_delete(struct api *api, const char *name, struct life_waiter *waiter)
{
    return run_errand(api, ERRAND_DELETE, name, waiter);
}

void life_tidy(struct api *api, const char *name)
{
    (void)run_errand(api, ERRAND_CLEAR, name, NULL); /* or it waits for who meets it */
}

void life_met(struct api *api, const char *name)
{
    struct life *life = &api->life;
    if (strcmp(life->opened, name) == 0)
        life->opened[0] = '\0';
    if (life->sweeping == 0)
        return;
    for (struct errand *errand = life->errands; errand; errand = errand->next) {
        if (strcmp(errand->name, name) == 0)
            errand->opens = false;
    }
}

void life_release(struct api *api, const char *fork, const struct fork_origin *origin)
{
    struct errand *errand = errand_new(api, ERRAND_RELEASE, origin->source, NULL);
    if (!errand)
        return;
    memcpy(errand->fork, fork, strlen(fork) + 1);
    errand->origin = *origin;
    if (start(errand) < 0)
        free(errand);
}

/* ---- logs that nobody asks for ---- */

static int add_name(void *context, const char *name)
{
    struct life *life = context;
    size_t bytes = strlen(name) + 1;
    if (life->names_bytes + bytes > life->names_capacity) {
        size_t capacity = 2 * life->names_capacity + 4096;
        char *names = realloc(life->names, capacity);
        if (!names)
            return -ENOMEM;
        life->names = names;
        life->names_capacity = capacity;
    }
    memcpy(life->names + life->names_bytes, name, bytes);
    life->names_bytes += bytes;
    return 0;
}

/* All names at once: to list them costs the same however many are wanted. */
static void begin_walk(struct api *api)
{
    struct life *life = &api->life;
    life->has_walked = true;
    life->expiry.is_full = false;
    life->names_at = life->names_bytes = 0;
    store_list(api->config.store, "", "", add_name, life); /* as far as it comes */
}

/* The next name of the walk; NULL: it is at its end. */
static const char *next_name(struct life *life)
{
    if (life->names_at == life->names_bytes) {
        free(TAKE(life->names));
        life->names_at = life->names_bytes = life->names_capacity = 0;
        return NULL;
    }
    const char *name = life->names + life->names_at;
    life->names_at += strlen(name) + 1;
    return name;
}

static bool is_open(struct api *api, const char *name)
{
    struct wal *wal;
    int rc = store_get_open(api->config.store, name, &wal);
    if (rc == 0)
        store_put(api->config.store, wal);
    return rc != -EAGAIN;
}

static bool sweep(struct api *api, const char *name)
{
    struct errand *errand = errand_new(api, ERRAND_CLEAR, name, NULL);
    if (!errand)
        return false;
    errand->sweeps = true;
    errand->opens = !is_open(api, name);
    if (start(errand) < 0) {
        free(errand);
        return false;
    }
    api->life.sweeping++;
    return true;
}

/* Another walk, since the table had no room for all, and has now. */
static bool is_walk_due(const struct life *life)
{
    return !life->has_walked ||
           (life->expiry.is_full && life->expiry.count < life->expiry.count_max / 2);
}

uint64_t life_run(struct api *api)
{
    struct life *life = &api->life;
    char ended[LIFE_NAME_BYTES];
    if (api->draining)
        return UINT64_MAX;
    uint64_t now_us = api_now_us();
    if (life->rest_until_us > now_us)
        return life->rest_until_us - now_us;
    uint64_t realtime_ns = expiry_realtime_ns();

    if (life->opened[0]) { /* not where it ended: who closes a log waits for its committer */
        if (!store_is_retained(api->config.store, life->opened))
            store_close_idle(api->config.store, life->opened);
        life->opened[0] = '\0';
        rest(life, now_us);
        return SWEEP_REST_MIN_US;
    }
    while (life->sweeping < SWEEPING_MAX &&
           expiry_take(&life->expiry, now_us, realtime_ns, ended) && sweep(api, ended))
        continue;
    if (life->sweeping > 0)
        return UINT64_MAX; /* its end wakes us */
    /* Nobody is refused a log for the sake of one that is looked at. */
    if ((life->names || is_walk_due(life)) && !store_has_room(api->config.store))
        return min_u64(SWEEP_REST_MAX_US, expiry_wait_us(&life->expiry, now_us, realtime_ns));
    if (is_walk_due(life))
        begin_walk(api);
    const char *name = next_name(life);
    if (name) {
        sweep(api, name);
        return life->sweeping > 0 ? UINT64_MAX : SWEEP_REST_MIN_US;
    }
    return expiry_wait_us(&life->expiry, now_us, realtime_ns);
}

/* ---- beginning and end ---- */

void life_init(struct api *api)
{
    expiry_init(&api->life.expiry, EXPIRY_LOGS_MAX, api_now_us(), expiry_realtime_ns());
}

void life_done(struct api *api)
{
    must(life_in_progress(api) == 0);
    free(api->life.names);
    expiry_done(&api->life.expiry);
}

uint64_t life_in_progress(const struct api *api)
{
    const struct life *life = &api->life;
    return (uint64_t)life->errand_count + life->fork_count + life->notes;
}
