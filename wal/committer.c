/*
 * A committer serves many logs with one ring and one thread: its own, or a caller's event loop. It
 * takes logs from its ready list in turn, lets each start its next frame, starts all of them with
 * one system call, sleeps until some are durable, and goes round again. Here are the lists, timers,
 * chores and open handles; what happens to one log is in commit.c.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "wal/log.h"

/* A step submits at most a frame and space ahead of it. */
#define OPS_OF_STEP 2

int committer_init(struct committer *committer, struct store *store, unsigned number)
{
    memset(committer, 0, sizeof(*committer));
    committer->store = store;
    committer->number = number;
    committer->ready_end = &committer->ready;
    committer->chores_done_end = &committer->chores_done;
    committer->chores_end = &committer->chores;
    committer->told_end = &committer->told;
    committer->asleep = true;
    totals_init(&committer->totals);
    return -pthread_mutex_init(&committer->lock, NULL);
}

void committer_free_ring(struct committer *committer)
{
    pthread_mutex_lock(&committer->lock);
    struct wal_ring *ring = TAKE(committer->ring);
    pthread_mutex_unlock(&committer->lock);
    if (ring)
        committer->store->io->ops->ring_free(ring);
}

void committer_done(struct committer *committer)
{
    must(!committer->ready && !committer->chores && !committer->chores_done);
    must(committer->in_flight == 0 && !committer->told);
    committer_free_ring(committer);
    totals_done(&committer->totals);
    pthread_mutex_destroy(&committer->lock);
}

/* ---- the list of handles open for writing, least recently used last ---- */

void handle_add(struct wal *wal)
{
    struct committer *committer = wal->committer;
    unsigned share = committer->store->config.write_handles_max / committer->store->committer_count;
    while (committer->handles >= max_u64(share, 1) && handle_close_oldest(committer))
        continue;

    wal->newer_handle = NULL;
    wal->older_handle = committer->newest_handle;
    if (committer->newest_handle)
        committer->newest_handle->newer_handle = wal;
    else
        committer->oldest_handle = wal;
    committer->newest_handle = wal;
    atomic_store_explicit(&committer->handles_open, ++committer->handles, memory_order_relaxed);
}

void handle_remove(struct wal *wal)
{
    struct committer *committer = wal->committer;
    if (wal->newer_handle)
        wal->newer_handle->older_handle = wal->older_handle;
    else
        committer->newest_handle = wal->older_handle;
    if (wal->older_handle)
        wal->older_handle->newer_handle = wal->newer_handle;
    else
        committer->oldest_handle = wal->newer_handle;
    wal->newer_handle = wal->older_handle = NULL;
    atomic_store_explicit(&committer->handles_open, --committer->handles, memory_order_relaxed);
}

void handle_touch(struct wal *wal)
{
    if (wal->committer->newest_handle == wal)
        return;
    handle_remove(wal);
    handle_add(wal);
}

bool handle_close_oldest(struct committer *committer)
{
    for (struct wal *wal = committer->oldest_handle; wal; wal = wal->newer_handle) {
        if (wal->phase == PHASE_IDLE && !wal->space_busy) {
            log_close_handle(wal);
            return true;
        }
    }
    return false;
}

/* ---- timers ---- */

static struct timer_list *list_of(struct wal *wal, enum timer timer)
{
    return timer == TIMER_DELAY ? &wal->committer->delayed : &wal->committer->idle;
}

void timer_clear(struct wal *wal)
{
    if (wal->timer == TIMER_NONE)
        return;
    struct timer_list *list = list_of(wal, wal->timer);
    if (wal->timer_previous)
        wal->timer_previous->timer_next = wal->timer_next;
    else
        list->first = wal->timer_next;
    if (wal->timer_next)
        wal->timer_next->timer_previous = wal->timer_previous;
    else
        list->last = wal->timer_previous;
    wal->timer_next = wal->timer_previous = NULL;
    wal->timer = TIMER_NONE;
}

/* Each list holds timers of much the same length, so a new one belongs at or near the end. */
void timer_set(struct wal *wal, enum timer timer, uint64_t at_us)
{
    timer_clear(wal);
    struct timer_list *list = list_of(wal, timer);
    struct wal *before = list->last;
    while (before && before->timer_us > at_us)
        before = before->timer_previous;

    wal->timer = timer;
    wal->timer_us = at_us;
    wal->timer_previous = before;
    wal->timer_next = before ? before->timer_next : list->first;
    if (wal->timer_next)
        wal->timer_next->timer_previous = wal;
    else
        list->last = wal;
    if (before)
        before->timer_next = wal;
    else
        list->first = wal;
}

static uint64_t next_timer_us(const struct committer *committer)
{
    uint64_t next = UINT64_MAX;
    if (committer->delayed.first)
        next = min_u64(next, committer->delayed.first->timer_us);
    if (committer->idle.first)
        next = min_u64(next, committer->idle.first->timer_us);
    return next;
}

uint64_t committer_next_timer_us(const struct committer *committer)
{
    uint64_t next = next_timer_us(committer);
    if (next == UINT64_MAX)
        return next;
    uint64_t now = store_now_us(committer->store);
    return next > now ? next - now : 0;
}

static bool has_room(const struct committer *committer)
{
    return committer->in_flight + OPS_OF_STEP <= committer->store->config.ring_entries;
}

static void run_timers(struct committer *committer)
{
    if (!committer->delayed.first && !committer->idle.first)
        return;
    uint64_t now = store_now_us(committer->store);
    struct timer_list *lists[] = {&committer->delayed, &committer->idle};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        while (lists[i]->first && lists[i]->first->timer_us <= now) {
            struct wal *wal = lists[i]->first;
            timer_clear(wal);
            log_step_later(wal); /* never at once: it may be on the ready list already */
        }
    }
}

/* ---- the ready list and waking ---- */

/* Wakes the committer for the work that was put on one of its lists under its lock. */
static void unlock_and_wake(struct committer *committer)
{
    bool wake = committer->asleep;
    committer->asleep = false;
    struct wal_ring *ring = committer->ring;
    pthread_mutex_unlock(&committer->lock);
    if (wake && ring)
        committer->store->io->ops->ring_wake(ring);
}

void committer_ready(struct committer *committer, struct wal *wal)
{
    pthread_mutex_lock(&committer->lock);
    wal->next_ready = NULL;
    *committer->ready_end = wal;
    committer->ready_end = &wal->next_ready;
    unlock_and_wake(committer);
}

void committer_wake(struct committer *committer)
{
    pthread_mutex_lock(&committer->lock);
    committer->asleep = false;
    struct wal_ring *ring = committer->ring;
    pthread_mutex_unlock(&committer->lock);
    if (ring)
        committer->store->io->ops->ring_wake(ring);
}

void committer_stop(struct committer *committer)
{
    /* Its thread frees the ring once it sees `stop`, and takes this lock to do so: the ring is there
     * until it has been woken. */
    pthread_mutex_lock(&committer->lock);
    committer->stop = true;
    committer->asleep = false;
    if (committer->ring)
        committer->store->io->ops->ring_wake(committer->ring);
    pthread_mutex_unlock(&committer->lock);
}

/* One turn for each log that is ready now; what gets ready meanwhile has its turn in the next pass,
 * after the frames of this one have been started. */
static void run_ready(struct committer *committer)
{
    pthread_mutex_lock(&committer->lock);
    struct wal *list = committer->ready;
    committer->ready = NULL;
    committer->ready_end = &committer->ready;
    pthread_mutex_unlock(&committer->lock);

    while (list && has_room(committer)) {
        struct wal *wal = list;
        list = wal->next_ready;
        wal->next_ready = NULL;
        log_step(wal);
    }
    if (!list)
        return;

    /* No room for the rest: they keep their place at the head. */
    struct wal *last = list;
    while (last->next_ready)
        last = last->next_ready;
    pthread_mutex_lock(&committer->lock);
    last->next_ready = committer->ready;
    if (!committer->ready)
        committer->ready_end = &last->next_ready;
    committer->ready = list;
    pthread_mutex_unlock(&committer->lock);
}

/* ---- chores ---- */

void chore_start(struct committer *committer, struct chore *chore)
{
    struct store *store = committer->store;
    chore->committer = committer;
    chore->busy = true;
    chore->next = NULL;
    if (store->worker_count == 0) {
        *committer->chores_end = chore;
        committer->chores_end = &chore->next;
        return;
    }
    pthread_mutex_lock(&store->chore_lock);
    *store->lanes[chore->lane].chores_end = chore;
    store->lanes[chore->lane].chores_end = &chore->next;
    pthread_cond_signal(&store->lanes[chore->lane].ready);
    pthread_mutex_unlock(&store->chore_lock);
}

void chore_hand_back(struct committer *committer, struct chore *chore)
{
    pthread_mutex_lock(&committer->lock);
    chore->next = NULL;
    *committer->chores_done_end = chore;
    committer->chores_done_end = &chore->next;
    unlock_and_wake(committer);
}

void *store_worker(void *argument)
{
    const struct worker *worker = argument;
    struct store *store = worker->store;
    __typeof__(&store->lanes[0]) lane = &store->lanes[worker->lane];
    pthread_mutex_lock(&store->chore_lock);
    for (;;) {
        while (!lane->chores && !store->worker_stop)
            pthread_cond_wait(&lane->ready, &store->chore_lock);
        struct chore *chore = lane->chores;
        if (!chore)
            break;
        lane->chores = chore->next;
        if (!lane->chores)
            lane->chores_end = &lane->chores;
        pthread_mutex_unlock(&store->chore_lock);
        chore->run(chore);
        chore_hand_back(chore->committer, chore);
        pthread_mutex_lock(&store->chore_lock);
    }
    pthread_mutex_unlock(&store->chore_lock);
    return NULL;
}

static void run_own_chores(struct committer *committer)
{
    while (committer->chores) {
        struct chore *chore = committer->chores;
        committer->chores = chore->next;
        if (!committer->chores)
            committer->chores_end = &committer->chores;
        chore->run(chore);
        chore_hand_back(committer, chore);
    }
}

static void finish_chores(struct committer *committer)
{
    for (;;) {
        pthread_mutex_lock(&committer->lock);
        struct chore *chore = committer->chores_done;
        if (chore) {
            committer->chores_done = chore->next;
            if (!committer->chores_done)
                committer->chores_done_end = &committer->chores_done;
        }
        pthread_mutex_unlock(&committer->lock);
        if (!chore)
            return;
        chore->busy = false;
        chore->done(chore);
    }
}

/* ---- one pass ---- */

void committer_submit(struct committer *committer, struct ring_op *op)
{
    committer->in_flight++;
    committer->unsent++;
    committer->store->io->ops->ring_submit(committer->ring, &op->op);
}

bool committer_is_mine(struct committer *committer)
{
    /* Pairs with the store in committer_run(). */
    return atomic_load_explicit(&committer->has_driver, memory_order_acquire) &&
           pthread_equal(committer->driver, pthread_self());
}

static int ensure_ring(struct committer *committer)
{
    if (committer->ring)
        return 0;
    struct store *store = committer->store;
    struct wal_ring *ring;
    int rc =
        store->io->ops->ring_new(store->io, store->config.ring_entries, store->lock_handle, &ring);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&committer->lock);
    committer->ring = ring;
    pthread_mutex_unlock(&committer->lock);
    return 0;
}

/* How long this pass may sleep; marks the committer as asleep if it will. */
static uint64_t sleep_time(struct committer *committer, uint64_t timeout_us)
{
    timeout_us = min_u64(timeout_us, committer_next_timer_us(committer));
    pthread_mutex_lock(&committer->lock);
    bool work = (committer->ready && has_room(committer)) || committer->chores_done ||
                committer->chores || committer->stop;
    if (work)
        timeout_us = 0;
    committer->asleep = !work;
    pthread_mutex_unlock(&committer->lock);
    return timeout_us;
}

static void finish_ops(struct committer *committer, uint64_t timeout_us)
{
    committer->unsent = 0;
    struct wal_op *op = committer->store->io->ops->ring_wait(committer->ring, timeout_us);
    /* Awake: what the ops below bring about needs no wake. */
    pthread_mutex_lock(&committer->lock);
    committer->asleep = false;
    pthread_mutex_unlock(&committer->lock);
    while (op) {
        struct wal_op *next = op->next;
        struct ring_op *done = container_of(op, struct ring_op, op);
        must(committer->in_flight > 0);
        committer->in_flight--;
        done->done(done);
        op = next;
    }
}

/* Handlers take time: what waited for the frames that were decided is on its way to the disk before
 * they run, where that does not make them wait in turn. */
static void start_next_frames(struct committer *committer)
{
    if (committer->ring_error < 0 || !committer->store->io->ops->overlaps)
        return;
    run_ready(committer);
    if (committer->unsent > 0)
        finish_ops(committer, 0);
}

static int run_pass(struct committer *committer, uint64_t timeout_us)
{
    /* Without a ring nothing is written, but what waits is failed and logs can be closed. */
    committer->ring_error = ensure_ring(committer);

    committer->decided = 0;
    committer->has_news = false;
    run_own_chores(committer);
    finish_chores(committer);
    run_timers(committer);
    run_ready(committer);
    if (committer->ring_error == 0) {
        if (committer->has_news) /* the caller may have waited for just that */
            timeout_us = 0;
        finish_ops(committer, sleep_time(committer, timeout_us));
        if (committer->told)
            start_next_frames(committer);
    }
    bool told = committer->told;
    commit_run_handlers(committer);
    if (told && !committer->store->config.threads)
        start_next_frames(committer); /* nobody may call again soon */
    commit_run_handlers(committer);
    atomic_fetch_add_explicit(&committer->rounds, 1, memory_order_relaxed);
    return committer->ring_error < 0 ? committer->ring_error : (int)committer->decided;
}

/* The first thread that asks gets it, for good. */
bool committer_claim(struct committer *committer)
{
    pthread_mutex_lock(&committer->lock);
    if (!atomic_load_explicit(&committer->has_driver, memory_order_relaxed)) {
        committer->driver = pthread_self();
        atomic_store_explicit(&committer->has_driver, true, memory_order_release);
    }
    pthread_mutex_unlock(&committer->lock);
    return committer_is_mine(committer);
}

/* Until the caller's event loop comes back, whoever makes work has to wake it, and what is there
 * already has to show on the descriptor that it polls. */
static void rest(struct committer *committer)
{
    pthread_mutex_lock(&committer->lock);
    /* What has to be sent again, after EINTR or EAGAIN, goes out in the next pass. */
    bool work = (committer->ready && has_room(committer)) || committer->chores_done ||
                committer->chores || committer->unsent > 0;
    committer->asleep = true;
    struct wal_ring *ring = committer->ring;
    pthread_mutex_unlock(&committer->lock);
    if (work && ring)
        committer->store->io->ops->ring_wake(ring);
}

int committer_run(struct committer *committer, uint64_t timeout_us)
{
    if (!committer_claim(committer))
        return -EPERM;
    must(!committer->is_running); /* a handler must not wait: see wal.h */
    committer->is_running = true;
    int rc = run_pass(committer, timeout_us);
    committer->is_running = false;
    if (!committer->store->config.threads)
        rest(committer);
    return rc;
}

/* ---- waiting for a decision ---- */

static int sleep_on_decided(struct wal *wal, uint64_t deadline_us)
{
    if (deadline_us == UINT64_MAX) {
        pthread_cond_wait(&wal->decided, &wal->lock);
        return 0;
    }
    struct timespec until = {.tv_sec = (time_t)(deadline_us / 1000000),
                             .tv_nsec = (long)(deadline_us % 1000000 * 1000)};
    return -pthread_cond_timedwait(&wal->decided, &wal->lock, &until);
}

int committer_wait_locked(struct wal *wal, uint64_t deadline_us)
{
    struct committer *committer = wal->committer;
    bool mine =
        wal->store->config.threads ? committer_is_mine(committer) : committer_claim(committer);
    if (!mine)
        return sleep_on_decided(wal, deadline_us);

    pthread_mutex_unlock(&wal->lock);
    uint64_t now = store_now_us(wal->store);
    int rc = -ETIMEDOUT;
    if (now < deadline_us)
        rc = committer_run(committer, deadline_us == UINT64_MAX ? UINT64_MAX : deadline_us - now);
    pthread_mutex_lock(&wal->lock);
    return rc < 0 ? rc : 0;
}
