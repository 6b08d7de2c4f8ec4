/*
 * What callers that do not wait want of logs: opening, making and deleting them.
 *
 * An order waits behind those of the same name, and is then begun: that is a look at the table of
 * open logs, and after it a worker's chore. Openings are chores of their own. Creations and deletions
 * wait for the chore that is at work on their like, and all that have come by then are the next
 * batch, which shares its directory syncs. A log that has to be closed first, to be deleted or to
 * make room, is closed by its committer, and nobody waits for that either.
 *
 * Everything but the chores themselves happens on committer 0 or in the call that brings the order,
 * under the store's lock.
 */
#include <errno.h>
#include <string.h>

#include "wal/log.h"

enum deed { DEED_OPEN, DEED_CREATE, DEED_DELETE };

/* ---- lists ---- */

static void list_init(struct order_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_add(struct order_list *list, struct store_log_waiter *order)
{
    order->next = NULL;
    *list->end = order;
    list->end = &order->next;
}

/* The first one, or NULL. */
static struct store_log_waiter *list_take(struct order_list *list)
{
    struct store_log_waiter *order = list->first;
    if (order)
        list->first = order->next;
    if (!list->first)
        list->end = &list->first;
    return order;
}

static void list_move(struct order_list *from, struct order_list *to)
{
    struct store_log_waiter *order;
    while ((order = list_take(from)) != NULL)
        list_add(to, order);
}

/* ---- one after the other for each name ---- */

static struct store_log_waiter **bucket_of(struct orders *orders, const char *name)
{
    return &orders->buckets[registry_hash(name) % ORDER_BUCKETS];
}

/* Puts it behind those of its name; true: it is the first. */
static bool queue_up_locked(struct orders *orders, struct store_log_waiter *order)
{
    struct store_log_waiter **bucket = bucket_of(orders, order->name);
    struct store_log_waiter *first = *bucket;
    while (first && strcmp(first->name, order->name) != 0)
        first = first->next_in_bucket;
    order->next = NULL;
    if (first) {
        *first->followers_end = order;
        first->followers_end = &order->next;
        return false;
    }
    order->followers = NULL;
    order->followers_end = &order->followers;
    order->next_in_bucket = *bucket;
    *bucket = order;
    return true;
}

/* The next one of the name takes its place, and the others with it. */
static void step_aside_locked(struct orders *orders, struct store_log_waiter *order)
{
    struct store_log_waiter **link = bucket_of(orders, order->name);
    while (*link != order)
        link = &(*link)->next_in_bucket;
    struct store_log_waiter *next = order->followers;
    if (!next) {
        *link = order->next_in_bucket;
        return;
    }
    next->followers = next->next;
    next->followers_end = next->followers ? order->followers_end : &next->followers;
    next->next_in_bucket = order->next_in_bucket;
    *link = next;
    list_add(&orders->due, next);
}

static void decide_locked(struct store *store, struct store_log_waiter *order, int status)
{
    struct orders *orders = &store->orders;
    order->status = status;
    order->wal = status == 0 && order->deed != DEED_DELETE ? order->entry : NULL;
    order->entry = NULL;
    if (order->plan) {
        orders->bytes -= order->plan->state.bytes;
        log_free(TAKE(order->plan));
    }
    step_aside_locked(orders, order);
    list_add(&orders->decided, order);
}

/* ---- closing ---- */

static void begin_close_locked(struct store *store, struct wal *wal)
{
    registry_busy_locked(store, wal);
    wal->removing = true;
    wal->next_closing = store->orders.closing;
    store->orders.closing = wal;
    pthread_mutex_lock(&wal->lock);
    wal->tells_closed = true;
    pthread_mutex_unlock(&wal->lock);
    log_begin_close(wal, false);
}

static bool is_closed(struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    bool closed = wal->closed && !wal->ready;
    pthread_mutex_unlock(&wal->lock);
    return closed;
}

static void closed_locked(struct store *store, struct wal *wal)
{
    struct orders *orders = &store->orders;
    if (wal->order) {
        list_add(&orders->removals, TAKE(wal->order));
        return;
    }
    orders->evicting--;
    registry_remove_locked(store, wal);
    log_free(wal);
    registry_changed_locked(store);
}

static void look_at_closing_locked(struct store *store)
{
    struct wal **link = &store->orders.closing;
    while (*link) {
        struct wal *wal = *link;
        if (!is_closed(wal)) {
            link = &wal->next_closing;
            continue;
        }
        *link = wal->next_closing;
        closed_locked(store, wal);
    }
}

/* Whether there is room in the table; or whether there may be soon (-EAGAIN). */
static int make_room_locked(struct store *store)
{
    struct orders *orders = &store->orders;
    if (store->open_count < store->config.logs_max)
        return 0;
    if (orders->evicting <= orders->blocked_count && store->idle_oldest) {
        begin_close_locked(store, store->idle_oldest);
        orders->evicting++;
    }
    return orders->evicting > 0 ? -EAGAIN : -EMFILE;
}

/* ---- opening ---- */

static void open_run(struct chore *chore)
{
    struct wal *wal = chore->wal;
    int rc = dir_names_error(wal->store);
    wal->open_error = rc < 0 ? rc : log_recover(wal);
}

static void take_turn(struct store *store);

static void open_done(struct chore *chore)
{
    struct wal *wal = chore->wal;
    struct store *store = wal->store;
    pthread_mutex_lock(&store->lock);
    struct store_log_waiter *order = TAKE(wal->order);
    decide_locked(store, order, registry_opened_locked(store, wal, wal->open_error));
    pthread_mutex_unlock(&store->lock);
    take_turn(store);
}

/* ---- beginning an order ---- */

static int enter_locked(struct store *store, struct store_log_waiter *order)
{
    struct wal *wal = log_new(store, order->name);
    if (!wal)
        return -ENOMEM;
    order->entry = wal;
    registry_insert_locked(store, wal);
    return 0;
}

/* Errors: -EAGAIN: later. */
static int begin_opening_locked(struct store *store, struct store_log_waiter *order)
{
    int rc = make_room_locked(store);
    if (rc == 0)
        rc = enter_locked(store, order);
    if (rc < 0)
        return rc;
    struct wal *wal = order->entry;
    wal->opening = true;
    wal->references = 1;
    if (order->deed == DEED_CREATE) {
        list_add(&store->orders.makings, order);
        return 0;
    }
    wal->order = order;
    wal->opener = (struct chore){.lane = LANE_OPEN, .run = open_run, .done = open_done, .wal = wal};
    chore_start(&store->committers[0], &wal->opener);
    return 0;
}

static int begin_deletion_locked(struct store *store, struct store_log_waiter *order,
                                 struct wal *wal)
{
    if (wal) {
        order->entry = wal;
        wal->order = order;
        begin_close_locked(store, wal);
        return 0;
    }
    /* A place holder, so that nobody opens it meanwhile. */
    int rc = enter_locked(store, order);
    if (rc < 0)
        return rc;
    order->entry->closed = true;
    order->entry->phase = PHASE_CLOSED;
    order->entry->removing = true;
    list_add(&store->orders.removals, order);
    return 0;
}

static void begin_locked(struct store *store, struct store_log_waiter *order)
{
    struct wal *wal = registry_find_locked(store, order->name);
    int rc = 0;
    if (store->closing) {
        rc = -ESHUTDOWN;
    } else if (wal && (wal->opening || wal->removing)) {
        rc = -EAGAIN; /* somebody is at it who waits himself, or it is being closed to make room */
    } else if (order->deed == DEED_DELETE) {
        rc = begin_deletion_locked(store, order, wal);
    } else if (!wal) {
        rc = begin_opening_locked(store, order);
    } else if (order->deed == DEED_CREATE) {
        rc = -EEXIST;
    } else {
        registry_hold_locked(store, wal);
        order->entry = wal;
        decide_locked(store, order, 0);
    }
    if (rc == -EAGAIN) {
        list_add(&store->orders.blocked, order);
        store->orders.blocked_count++;
    } else if (rc < 0) {
        decide_locked(store, order, rc);
    }
}

/* ---- batches of names ---- */

static void change_made(struct wal *wal, const struct name_change *change)
{
    wal->just_made = change->rc == 0;
    wal->open_error = change->rc < 0 ? change->rc : log_recover(wal);
}

static void batch_run(struct chore *chore)
{
    struct store *store = container_of(chore, struct store, orders.batch);
    struct orders *orders = &store->orders;
    struct name_change changes[NAME_CHANGES_MAX];
    unsigned count = 0;

    pthread_mutex_lock(&store->lock);
    while (count < NAME_CHANGES_MAX && (orders->makings.first || orders->removals.first)) {
        bool makes = orders->makings.first;
        struct store_log_waiter *order = list_take(makes ? &orders->makings : &orders->removals);
        list_add(makes ? &orders->batch_makings : &orders->batch_removals, order);
        changes[count++] = (struct name_change){.plan = order->plan, .name = order->entry->name};
    }
    pthread_mutex_unlock(&store->lock);
    for (struct store_log_waiter *order = orders->batch_removals.first; order;
         order = order->next) {
        pthread_mutex_lock(&order->entry->lock);
        order->entry->deleted = true;
        pthread_mutex_unlock(&order->entry->lock);
        read_handles_forget(order->entry, UINT64_MAX);
    }
    dir_change_names(store, changes, count);

    unsigned i = 0;
    for (struct store_log_waiter *order = orders->batch_makings.first; order; order = order->next)
        change_made(order->entry, &changes[i++]);
    for (struct store_log_waiter *order = orders->batch_removals.first; order;
         order = order->next, i++) {
        order->entry->open_error = changes[i].rc;
        memcpy(order->entry->trash_name, changes[i].tmp_name, TMP_NAME_BYTES);
    }
}

/* Gives up a log that was deleted, or not; its files, if there are any, are removed later. */
static void removed_locked(struct store *store, struct store_log_waiter *order)
{
    struct wal *wal = order->entry;
    int rc = wal->open_error;
    registry_remove_locked(store, wal);
    wal->detached = true;
    if (rc == 0) {
        wal->references++;
        wal->next_closing = store->orders.trash;
        store->orders.trash = wal;
    } else if (wal->references == 0) {
        log_free(wal);
    }
    registry_changed_locked(store);
    decide_locked(store, order, rc);
}

static void batch_done(struct chore *chore)
{
    struct store *store = container_of(chore, struct store, orders.batch);
    struct orders *orders = &store->orders;
    struct store_log_waiter *order;
    pthread_mutex_lock(&store->lock);
    orders->batch_busy = false;
    while ((order = list_take(&orders->batch_makings)) != NULL)
        decide_locked(store, order,
                      registry_opened_locked(store, order->entry, order->entry->open_error));
    while ((order = list_take(&orders->batch_removals)) != NULL)
        removed_locked(store, order);
    pthread_mutex_unlock(&store->lock);
    take_turn(store);
}

/* ---- removing the files of deleted logs ---- */

static void purge_run(struct chore *chore)
{
    struct store *store = container_of(chore, struct store, orders.purge);
    for (struct wal *wal = store->orders.purging; wal; wal = wal->next_closing)
        dir_empty_trash(store, wal->trash_name);
}

static void purge_done(struct chore *chore)
{
    struct store *store = container_of(chore, struct store, orders.purge);
    struct wal *wal = TAKE(store->orders.purging);
    while (wal) {
        struct wal *next = wal->next_closing;
        store_put(store, wal);
        wal = next;
    }
    pthread_mutex_lock(&store->lock);
    store->orders.purge_busy = false;
    pthread_mutex_unlock(&store->lock);
    take_turn(store);
}

/* ---- turns, on committer 0 ---- */

static void start_chores_locked(struct store *store)
{
    struct orders *orders = &store->orders;
    if (!orders->batch_busy && (orders->makings.first || orders->removals.first)) {
        orders->batch_busy = true;
        chore_start(&store->committers[0], &orders->batch);
    }
    if (!orders->purge_busy && orders->trash) {
        orders->purge_busy = true;
        orders->purging = TAKE(orders->trash);
        chore_start(&store->committers[0], &orders->purge);
    }
}

static void begin_due_locked(struct store *store)
{
    struct store_log_waiter *order;
    while ((order = list_take(&store->orders.due)) != NULL)
        begin_locked(store, order);
    start_chores_locked(store);
}

static void take_turn(struct store *store)
{
    struct orders *orders = &store->orders;
    struct order_list decided;
    list_init(&decided);
    store->committers[0].has_news = true; /* orders_wait() may have been waiting for just that */

    pthread_mutex_lock(&store->lock);
    look_at_closing_locked(store);
    list_move(&orders->blocked, &orders->due);
    orders->blocked_count = 0;
    begin_due_locked(store);
    list_move(&orders->decided, &decided);
    pthread_mutex_unlock(&store->lock);

    unsigned told = 0;
    struct store_log_waiter *order;
    while ((order = list_take(&decided)) != NULL) {
        order->done(order);
        told++;
    }
    pthread_mutex_lock(&store->lock);
    orders->count -= told;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
}

static void kick_done(struct chore *chore)
{
    struct store *store = container_of(chore, struct store, orders.kick);
    pthread_mutex_lock(&store->lock);
    store->orders.kicked = false;
    pthread_mutex_unlock(&store->lock);
    take_turn(store);
}

void orders_kick_locked(struct store *store)
{
    if (store->orders.kicked)
        return;
    store->orders.kicked = true;
    chore_hand_back(&store->committers[0], &store->orders.kick);
}

void orders_kick(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    orders_kick_locked(store);
    pthread_mutex_unlock(&store->lock);
}

/* ---- for callers ---- */

static int check_locked(const struct store *store, uint64_t bytes)
{
    const struct orders *orders = &store->orders;
    if (store->closing)
        return -ESHUTDOWN;
    /* What nothing else stands in the way of is never refused for its size alone. */
    if (orders->count >= STORE_WAITERS_MAX ||
        (orders->bytes > 0 && orders->bytes + bytes > STORE_WAITERS_BYTES_MAX))
        return -EAGAIN;
    return 0;
}

static int take_order(struct store *store, struct store_log_waiter *order)
{
    struct orders *orders = &store->orders;
    uint64_t bytes = order->plan ? order->plan->state.bytes : 0;
    pthread_mutex_lock(&store->lock);
    int rc = check_locked(store, bytes);
    if (rc == 0) {
        orders->count++;
        orders->bytes += bytes;
        if (queue_up_locked(orders, order)) {
            list_add(&orders->due, order);
            begin_due_locked(store);
        }
        if (orders->decided.first)
            orders_kick_locked(store);
    }
    pthread_mutex_unlock(&store->lock);
    return rc;
}

static int ask(struct store *store, const char *name, enum deed deed,
               struct store_log_waiter *waiter)
{
    if (!store_name_is_valid(name))
        return -EINVAL;
    waiter->name = name;
    waiter->deed = (uint8_t)deed;
    waiter->wal = waiter->entry = NULL;
    return take_order(store, waiter);
}

int store_open_async(struct store *store, const char *name, struct store_log_waiter *waiter)
{
    waiter->plan = NULL;
    return ask(store, name, DEED_OPEN, waiter);
}

int store_create_async(struct store *store, const char *name,
                       const struct wal_state_update *updates, size_t update_count,
                       struct store_log_waiter *waiter)
{
    if (!store_name_is_valid(name))
        return -EINVAL;
    int rc = dir_plan_log(store, name, updates, update_count, &waiter->plan);
    if (rc < 0)
        return rc;
    rc = ask(store, name, DEED_CREATE, waiter);
    if (rc < 0)
        log_free(TAKE(waiter->plan));
    return rc;
}

int store_delete_async(struct store *store, const char *name, struct store_log_waiter *waiter)
{
    waiter->plan = NULL;
    return ask(store, name, DEED_DELETE, waiter);
}

/* ---- with the store ---- */

void orders_init(struct store *store)
{
    struct orders *orders = &store->orders;
    struct order_list *lists[] = {&orders->due,           &orders->blocked, &orders->makings,
                                  &orders->removals,      &orders->decided, &orders->batch_makings,
                                  &orders->batch_removals};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        list_init(lists[i]);
    orders->kick = (struct chore){.done = kick_done};
    orders->batch = (struct chore){.lane = LANE_NAMES, .run = batch_run, .done = batch_done};
    orders->purge = (struct chore){.lane = LANE_OPEN, .run = purge_run, .done = purge_done};
}

static bool is_quiet_locked(const struct store *store)
{
    const struct orders *orders = &store->orders;
    return orders->count == 0 && !orders->kicked && !orders->batch_busy && !orders->purge_busy &&
           !orders->trash && !orders->closing;
}

/* Of a store that its caller drives: also what other committers have to close. */
static void drive(struct store *store)
{
    uint64_t timeout_us = store->committer_count == 1 ? UINT64_MAX : 1000;
    for (unsigned i = store->committer_count; i-- > 0;)
        committer_run(&store->committers[i], i == 0 ? timeout_us : 0);
}

/* A committer that closed a log may have told so after somebody had seen it already. */
void orders_done(struct store *store)
{
    struct committer *committer = &store->committers[0];
    if (!store->orders.kicked)
        return;
    must(committer->chores_done == &store->orders.kick && !store->orders.kick.next);
    committer->chores_done = NULL;
    committer->chores_done_end = &committer->chores_done;
}

void orders_wait(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    if (!is_quiet_locked(store))
        orders_kick_locked(store); /* what has not been begun is refused */
    while (!is_quiet_locked(store)) {
        if (store->config.threads) {
            pthread_cond_wait(&store->changed, &store->lock);
            continue;
        }
        pthread_mutex_unlock(&store->lock);
        drive(store);
        pthread_mutex_lock(&store->lock);
    }
    pthread_mutex_unlock(&store->lock);
}
