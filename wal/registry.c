/*
 * The open logs of a store: handing them out, opening each at its first use, closing those that
 * nobody holds when there are too many, and taking a log away from everybody while it is deleted.
 */
#include "wal/store.h"

#include <errno.h>
#include <string.h>

#include "wal/log.h"

/* How often the thread that drives committer 0 looks whether another has ended an opening. */
#define WAIT_TURN_US 1000

bool store_name_is_valid(const char *name)
{
    size_t length = strnlen(name, NAME_BYTES_MAX + 1);
    if (length == 0 || length > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        bool alphanumeric =
            (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alphanumeric && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return false;
    }
    return true;
}

uint32_t registry_hash(const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    /* The last letter has reached few bits by now: without this, log-0 to log-9 would all have the
     * same committer. */
    hash = (hash ^ (hash >> 16)) * 0x85ebca6bu;
    hash = (hash ^ (hash >> 13)) * 0xc2b2ae35u;
    return hash ^ (hash >> 16);
}

unsigned store_committer_of(const struct store *store, const char *name)
{
    return (registry_hash(name) >> 16) % store->committer_count;
}

/* ---- the table of open logs; the caller holds the store's lock ---- */

static struct wal **bucket_of(struct store *store, const char *name)
{
    return &store->buckets[registry_hash(name) % store->bucket_count];
}

struct wal *registry_find_locked(struct store *store, const char *name)
{
    struct wal *wal = *bucket_of(store, name);
    while (wal && strcmp(wal->name, name) != 0)
        wal = wal->next_in_bucket;
    return wal;
}

void registry_insert_locked(struct store *store, struct wal *wal)
{
    struct wal **bucket = bucket_of(store, wal->name);
    wal->next_in_bucket = *bucket;
    *bucket = wal;
    store->open_count++;
}

void registry_remove_locked(struct store *store, struct wal *wal)
{
    struct wal **link = bucket_of(store, wal->name);
    while (*link != wal)
        link = &(*link)->next_in_bucket;
    *link = wal->next_in_bucket;
    wal->next_in_bucket = NULL;
    store->open_count--;
}

static void idle_add_locked(struct store *store, struct wal *wal)
{
    wal->idle = true;
    wal->idle_newer = NULL;
    wal->idle_older = store->idle_newest;
    if (store->idle_newest)
        store->idle_newest->idle_newer = wal;
    else
        store->idle_oldest = wal;
    store->idle_newest = wal;
}

void registry_busy_locked(struct store *store, struct wal *wal)
{
    if (!wal->idle)
        return;
    wal->idle = false;
    if (wal->idle_newer)
        wal->idle_newer->idle_older = wal->idle_older;
    else
        store->idle_newest = wal->idle_older;
    if (wal->idle_older)
        wal->idle_older->idle_newer = wal->idle_newer;
    else
        store->idle_oldest = wal->idle_newer;
    wal->idle_newer = wal->idle_older = NULL;
}

void registry_hold_locked(struct store *store, struct wal *wal)
{
    wal->references++;
    registry_busy_locked(store, wal);
}

void registry_changed_locked(struct store *store)
{
    pthread_cond_broadcast(&store->changed);
    if (store->orders.blocked.first)
        orders_kick_locked(store);
}

/* Until an opening or a removal has ended: one that was ordered ends on committer 0, which the
 * calling thread may have to drive. */
static void wait_changed_locked(struct store *store)
{
    struct committer *committer = &store->committers[0];
    if (store->config.threads || !committer_claim(committer)) {
        pthread_cond_wait(&store->changed, &store->lock);
        return;
    }
    pthread_mutex_unlock(&store->lock);
    committer_run(committer, WAIT_TURN_US);
    pthread_mutex_lock(&store->lock);
}

/* ---- closing one log ---- */

void log_begin_close(struct wal *wal, bool abandon)
{
    pthread_mutex_lock(&wal->lock);
    wal->closing = true;
    wal->abandon = wal->abandon || abandon;
    pthread_mutex_unlock(&wal->lock);
    log_step_later(wal);
}

/* Returns when the committer has done with the log and will not touch it again.
 * Errors: -ETIMEDOUT. */
int log_wait_closed(struct wal *wal, uint64_t deadline_us)
{
    int rc = 0;
    pthread_mutex_lock(&wal->lock);
    wal->waiters++;
    while ((!wal->closed || wal->ready) && rc != -ETIMEDOUT)
        rc = committer_wait_locked(wal, deadline_us);
    wal->waiters--;
    bool closed = wal->closed && !wal->ready;
    pthread_mutex_unlock(&wal->lock);
    return closed ? 0 : rc;
}

static void close_log(struct wal *wal)
{
    log_begin_close(wal, false);
    int rc = log_wait_closed(wal, UINT64_MAX);
    must(rc == 0);
}

/* ---- getting a log ---- */

enum get_mode { GET_EXISTING, GET_OR_CREATE, CREATE_ONLY };

struct get {
    const char *name;
    enum get_mode mode;
    const struct wal_state_update *updates;
    size_t update_count;
};

static int open_log(struct store *store, struct wal *wal, const struct get *get)
{
    int rc = dir_names_error(store);
    if (rc < 0)
        return rc;
    rc = get->mode == CREATE_ONLY ? -ENOENT : log_recover(wal);
    if (rc == -ENOENT && get->mode != GET_EXISTING) {
        rc = dir_make_log(store, get->name, get->updates, get->update_count);
        wal->just_made = rc == 0;
        if (rc == 0)
            rc = log_recover(wal);
    }
    return rc;
}

/* Closes a log that nobody holds and takes it out of the table. The lock is released meanwhile. */
static void close_idle_locked(struct store *store, struct wal *wal)
{
    registry_busy_locked(store, wal);
    wal->removing = true;
    pthread_mutex_unlock(&store->lock);
    close_log(wal);
    pthread_mutex_lock(&store->lock);
    registry_remove_locked(store, wal);
    log_free(wal);
    registry_changed_locked(store);
}

/* Makes room in the table, if a log is idle. */
static int evict_locked(struct store *store)
{
    struct wal *wal = store->idle_oldest;
    if (!wal)
        return -EMFILE;
    close_idle_locked(store, wal);
    return 0;
}

int registry_opened_locked(struct store *store, struct wal *wal, int rc)
{
    wal->opening = false;
    registry_changed_locked(store);
    if (rc < 0) {
        registry_remove_locked(store, wal);
        log_free(wal);
        return rc;
    }
    if (store->draining || store->closing)
        log_begin_close(wal, false);
    else if (wal->mark_due || wal->pack_due)
        log_step_later(wal); /* what recovery found without proof gets its mark */
    return 0;
}

/* The lock is held on entry and on return. */
static int get_locked(struct store *store, const struct get *get, struct wal **ret_wal)
{
    struct wal *wal;
    for (;;) {
        if (store->closing)
            return -ESHUTDOWN;
        wal = registry_find_locked(store, get->name);
        if (wal && (wal->opening || wal->removing)) {
            wait_changed_locked(store);
            continue;
        }
        if (wal || store->open_count < store->config.logs_max)
            break;
        int rc = evict_locked(store);
        if (rc < 0)
            return rc;
    }
    if (wal) {
        if (get->mode == CREATE_ONLY)
            return -EEXIST;
        registry_hold_locked(store, wal);
        *ret_wal = wal;
        return 0;
    }

    wal = log_new(store, get->name);
    if (!wal)
        return -ENOMEM;
    wal->opening = true;
    wal->references = 1;
    registry_insert_locked(store, wal);
    pthread_mutex_unlock(&store->lock);
    int rc = open_log(store, wal, get);
    pthread_mutex_lock(&store->lock);
    rc = registry_opened_locked(store, wal, rc);
    if (rc == 0)
        *ret_wal = wal;
    return rc;
}

static int get(struct store *store, const struct get *get, struct wal **ret_wal)
{
    if (!store_name_is_valid(get->name))
        return -EINVAL;
    pthread_mutex_lock(&store->lock);
    int rc = get_locked(store, get, ret_wal);
    pthread_mutex_unlock(&store->lock);
    return rc;
}

int store_get(struct store *store, const char *name, bool create, struct wal **ret_wal)
{
    struct get request = {.name = name, .mode = create ? GET_OR_CREATE : GET_EXISTING};
    return get(store, &request, ret_wal);
}

int store_get_open(struct store *store, const char *name, struct wal **ret_wal)
{
    if (!store_name_is_valid(name))
        return -EINVAL;
    pthread_mutex_lock(&store->lock);
    struct wal *wal = registry_find_locked(store, name);
    int rc = store->closing ? -ESHUTDOWN : 0;
    if (rc == 0 && (!wal || wal->opening || wal->removing))
        rc = -EAGAIN;
    if (rc == 0) {
        registry_hold_locked(store, wal);
        *ret_wal = wal;
    }
    pthread_mutex_unlock(&store->lock);
    return rc;
}

int store_create(struct store *store, const char *name, const struct wal_state_update *updates,
                 size_t update_count, struct wal **ret_wal)
{
    struct get request = {name, CREATE_ONLY, updates, update_count};
    return get(store, &request, ret_wal);
}

void store_put(struct store *store, struct wal *wal)
{
    pthread_mutex_lock(&store->lock);
    must(wal->references > 0);
    bool last = --wal->references == 0;
    bool gone = last && wal->detached;
    if (last && !gone && !wal->removing)
        idle_add_locked(store, wal);
    pthread_mutex_unlock(&store->lock);
    if (gone)
        log_free(wal);
}

/* ---- deleting ---- */

/* Takes the log out of everybody's reach; a log that is not open gets a place holder, so that
 * nobody opens it meanwhile. */
static struct wal *begin_delete_locked(struct store *store, const char *name)
{
    struct wal *wal;
    while ((wal = registry_find_locked(store, name)) && (wal->opening || wal->removing))
        wait_changed_locked(store);
    if (!wal) {
        wal = log_new(store, name);
        if (!wal)
            return NULL;
        wal->closed = true;
        wal->phase = PHASE_CLOSED;
        registry_insert_locked(store, wal);
    }
    registry_busy_locked(store, wal);
    wal->removing = true;
    return wal;
}

int store_delete(struct store *store, const char *name)
{
    if (!store_name_is_valid(name))
        return -EINVAL;
    pthread_mutex_lock(&store->lock);
    struct wal *wal = store->closing ? NULL : begin_delete_locked(store, name);
    bool closing = store->closing;
    pthread_mutex_unlock(&store->lock);
    if (!wal)
        return closing ? -ESHUTDOWN : -ENOMEM;

    pthread_mutex_lock(&wal->lock);
    bool is_open = !wal->closed;
    pthread_mutex_unlock(&wal->lock);
    if (is_open)
        close_log(wal);
    pthread_mutex_lock(&wal->lock);
    wal->deleted = true;
    pthread_mutex_unlock(&wal->lock);
    read_handles_forget(wal, UINT64_MAX);
    int rc = dir_remove_log(store, name);

    pthread_mutex_lock(&store->lock);
    registry_remove_locked(store, wal);
    wal->detached = true;
    bool unused = wal->references == 0;
    registry_changed_locked(store);
    pthread_mutex_unlock(&store->lock);
    if (unused)
        log_free(wal);
    return rc;
}

int store_close_idle(struct store *store, const char *name)
{
    pthread_mutex_lock(&store->lock);
    struct wal *wal = registry_find_locked(store, name);
    bool held = wal && !wal->idle;
    if (wal && !held)
        close_idle_locked(store, wal);
    pthread_mutex_unlock(&store->lock);
    return held ? -EBUSY : 0;
}

bool store_has_room(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    bool has_room = store->open_count + 1 < store->config.logs_max;
    pthread_mutex_unlock(&store->lock);
    return has_room;
}

int store_reopen(struct store *store, const char *name)
{
    if (!store_name_is_valid(name))
        return -EINVAL;
    int rc = store_close_idle(store, name);
    if (rc < 0)
        return rc;

    struct wal *wal;
    rc = store_get(store, name, false, &wal);
    if (rc == 0)
        store_put(store, wal);
    return rc;
}
