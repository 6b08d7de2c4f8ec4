/*
 * Reading everything again, in the background, so that damage is found while there is still a backup
 * or a good copy, and not by the reader who needed the record.
 *
 * A thread of its own goes through all logs, open or not, and has each inspected (inspect.c) past the
 * page cache, no faster than it was told to. It changes nothing and holds no log: what is trimmed
 * meanwhile is passed over, what is packed is read packed, and a log that is deleted is gone. What is
 * found is believed when a second look finds it in the same place, and kept in a table of places, which follows the files: what a
 * repair has set aside, and what was trimmed or deleted, leaves it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wal/defects.h"
#include "wal/inspect.h"
#include "wal/inspect_end.h"
#include "wal/log.h"

#define WINDOW_BYTES (256u << 10)
#define NAMES_AT_A_TIME 256
#define FIRST_WAIT_US (UINT64_C(300) * 1000000)
/* A pause shorter than that costs more than it gives to others. */
#define PAUSE_MIN_US 20000
/* How often a log is begun with again of which nothing was left that had been listed. */
#define LOOKS_MAX 4

/* A pass through the logs, or a part of it. */
struct pass {
    struct store *store;
    uint64_t bytes_per_s; /* 0: as fast as it goes */
    uint64_t bytes;       /* of the log at hand */
    uint64_t read_bytes;  /* of this pass … */
    uint64_t began_us;    /* … since then */
};

/* ---- the table of places; the caller holds the lock of the scrub ---- */

static bool is_same(const struct store_damage *a, const struct store_damage *b)
{
    return a->segment_no == b->segment_no && a->position == b->position &&
           strcmp(a->log, b->log) == 0;
}

static struct scrub_place *find_locked(struct scrub *scrub, const struct store_damage *damage)
{
    for (size_t i = 0; i < scrub->place_count; i++) {
        if (is_same(&scrub->places[i].damage, damage))
            return &scrub->places[i];
    }
    return NULL;
}

static void drop_locked(struct scrub *scrub, const char *log)
{
    size_t kept = 0;
    for (size_t i = 0; i < scrub->place_count; i++) {
        if (strcmp(scrub->places[i].damage.log, log) != 0 || scrub->places[i].is_found)
            scrub->places[kept++] = scrub->places[i];
    }
    scrub->place_count = kept;
}

static void add_locked(struct scrub *scrub, const struct store_damage *damage)
{
    struct scrub_place *known = find_locked(scrub, damage);
    if (known) {
        known->damage = *damage;
        known->is_found = true;
        return;
    }
    scrub->found++;
    if (scrub->place_count == SCRUB_PLACES_MAX)
        return;
    struct scrub_place *places = realloc(scrub->places, (scrub->place_count + 1) * sizeof(*places));
    if (!places)
        return; /* the next pass finds it again */
    scrub->places = places;
    places[scrub->place_count++] = (struct scrub_place){.damage = *damage, .is_found = true};
}

/* What was found in a log takes the place of what had been. */
static void replace(struct scrub *scrub, const char *log, const struct store_damage *found,
                    size_t count)
{
    pthread_mutex_lock(&scrub->lock);
    for (size_t i = 0; i < count; i++)
        add_locked(scrub, &found[i]);
    drop_locked(scrub, log);
    for (size_t i = 0; i < scrub->place_count; i++)
        scrub->places[i].is_found = false;
    pthread_mutex_unlock(&scrub->lock);
}

/* ---- one log ---- */

/* Frames that end there at the latest are durable and never change; what stands behind may be on its
 * way. Of a log that is not open all that stands is as it is, and so it is of one that takes no appends
 * because it is damaged. */
struct settled {
    bool is_open;
    uint64_t segment_no, end;
};

static struct settled settled_of(struct store *store, const char *name)
{
    struct settled settled = {.segment_no = UINT64_MAX, .end = UINT64_MAX};
    pthread_mutex_lock(&store->lock);
    struct wal *wal = registry_find_locked(store, name);
    settled.is_open = wal != NULL;
    if (wal && wal->opening)
        settled.segment_no = settled.end = 0;
    else if (wal) {
        pthread_mutex_lock(&wal->lock);
        if (wal->segment_count > 0 && !wal->damaged) {
            const struct segment *last = wal->segments[wal->segment_count - 1];
            settled.segment_no = last->header.segment_no;
            settled.end = last->end;
        }
        pthread_mutex_unlock(&wal->lock);
    }
    pthread_mutex_unlock(&store->lock);
    return settled;
}

static bool is_settled(const struct settled *settled, const struct inspect_damage *damage)
{
    return damage->segment_no < settled->segment_no ||
           (damage->segment_no == settled->segment_no && damage->end <= settled->end);
}

/* Sleeps until the time has come that what was read may have taken. Errors: -ESHUTDOWN. */
static int keep_pace(void *context, uint64_t bytes, uint64_t total_bytes)
{
    struct pass *pass = context;
    struct scrub *scrub = &pass->store->scrub;
    (void)total_bytes;
    pass->read_bytes += bytes - pass->bytes;
    pass->bytes = bytes;
    uint64_t spent_us = pass->bytes_per_s == 0 ? 0 : store_now_us(pass->store) - pass->began_us;
    uint64_t due_us = pass->bytes_per_s == 0
                          ? 0
                          : (uint64_t)((double)pass->read_bytes / (double)pass->bytes_per_s * 1e6);
    int rc = 0;
    pthread_mutex_lock(&scrub->lock);
    if (due_us > spent_us + PAUSE_MIN_US)
        rc = scrub_sleep_locked(scrub, due_us - spent_us);
    else if (scrub->stop)
        rc = -ESHUTDOWN;
    pthread_mutex_unlock(&scrub->lock);
    return rc;
}

static bool is_known(struct scrub *scrub, const struct store_damage *damage)
{
    pthread_mutex_lock(&scrub->lock);
    bool known = find_locked(scrub, damage);
    pthread_mutex_unlock(&scrub->lock);
    return known;
}

static void collect(struct scrub *scrub, const struct inspection *inspection, const char *name,
                    const struct settled *settled, struct store_damage *found, size_t *ret_count)
{
    *ret_count = 0;
    for (size_t i = 0; i < inspection->damage_count && *ret_count < SCRUB_PLACES_OF_LOG; i++) {
        const struct inspect_damage *damage = &inspection->damages[i];
        struct store_damage *place = &found[*ret_count];
        *place = (struct store_damage){.segment_no = damage->segment_no,
                                       .position = damage->position,
                                       .end = damage->end,
                                       .offset = damage->offset,
                                       .offset_end = damage->offset_end,
                                       .what = damage->what};
        memcpy(place->log, name, strlen(name) + 1);
        if ((DEFECT(SCRUB_FIRST_PLACE) && *ret_count > 0) ||
            (DEFECT(SCRUB_LAST_SEGMENT) && damage->segment_no < inspection->rest->last.segment_no))
            continue;
        if (!damage->known && (is_settled(settled, damage) || is_known(scrub, place)))
            (*ret_count)++;
    }
}

static bool has_news(struct scrub *scrub, const struct store_damage *found, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!is_known(scrub, &found[i]))
            return true;
    }
    return false;
}

/* Leaves of what the second look found what is known or was found by the first one, too. */
static size_t confirm(struct scrub *scrub, const struct store_damage *first, size_t first_count,
                      struct store_damage *second, size_t second_count)
{
    size_t kept = 0;
    for (size_t i = 0; i < second_count; i++) {
        bool confirmed = is_known(scrub, &second[i]);
        for (size_t j = 0; j < first_count && !confirmed; j++)
            confirmed = is_same(&first[j], &second[i]);
        if (confirmed)
            second[kept++] = second[i];
    }
    return kept;
}

/* Errors: -ENOENT: it is gone; -ESTALE: all that was there to be looked at went meanwhile; others from
 * wal_inspect(). */
static int inspect_once(struct pass *pass, const char *name, struct store_damage *found,
                        size_t *ret_count)
{
    struct store *store = pass->store;
    const struct inspect_visitor visitor = {.context = pass,
                                            .progress = keep_pace,
                                            .window_bytes = WINDOW_BYTES,
                                            .direct = store->io->direct,
                                            .live = true};
    struct settled settled = settled_of(store, name);
    struct inspection inspection;
    int dir = store->io->ops->open_dir(store->io, store->logs_dir, name);
    if (dir < 0)
        return dir;
    pass->bytes = 0;
    int rc = wal_inspect(store->io, dir, &visitor, &inspection);
    store->io->ops->close(store->io, dir);
    if (rc != 0)
        return rc == -ENOENT || rc == -ENODATA ? -ESTALE : rc;

    /* It was opened meanwhile, and may have been written to. */
    const struct settled now = settled_of(store, name);
    if (!settled.is_open && now.is_open && now.segment_no < UINT64_MAX)
        settled =
            (struct settled){.segment_no = inspection.rest ? inspection.rest->last.segment_no : 0};
    collect(&store->scrub, &inspection, name, &settled, found, ret_count);
    inspection_done(&inspection);
    return 0;
}

/* What was put in after the deletion had taken the log's places out would stay for ever. */
static void forget_deleted(struct store *store, const char *name)
{
    int dir = store->io->ops->open_dir(store->io, store->logs_dir, name);
    if (dir == -ENOENT)
        scrub_forget(store, name);
    else if (dir >= 0)
        store->io->ops->close(store->io, dir);
}

static int inspect_patiently(struct pass *pass, const char *name, struct store_damage *found,
                             size_t *ret_count)
{
    int rc = -ESTALE;
    for (unsigned i = 0; i < LOOKS_MAX && rc == -ESTALE; i++)
        rc = inspect_once(pass, name, found, ret_count);
    return rc;
}

/* Errors: -ESHUTDOWN. Whatever else is in the way counts, and the log is looked at in the next pass. */
static int scrub_log(struct pass *pass, const char *name)
{
    struct scrub *scrub = &pass->store->scrub;
    struct store_damage first[SCRUB_PLACES_OF_LOG], found[SCRUB_PLACES_OF_LOG];
    size_t first_count, count;
    int rc = inspect_patiently(pass, name, found, &count);
    bool news = rc == 0 && has_news(scrub, found, count);
    if (news && !DEFECT(SCRUB_BELIEVE_AT_ONCE)) {
        memcpy(first, found, count * sizeof(*found));
        first_count = count;
        rc = inspect_patiently(pass, name, found, &count);
        if (rc == 0)
            count = confirm(scrub, first, first_count, found, count);
    }
    pthread_mutex_lock(&scrub->lock);
    scrub->logs += rc == 0;
    scrub->errors += rc < 0 && rc != -ENOENT && rc != -ESHUTDOWN;
    pthread_mutex_unlock(&scrub->lock);
    if (rc == 0)
        replace(scrub, name, found, count);
    if (rc == 0 && count > 0)
        forget_deleted(pass->store, name);
    if (news)
        committer_wake(&pass->store->committers[0]); /* whoever drives it wants to tell */
    return rc == -ESHUTDOWN ? rc : 0;
}

/* ---- all logs ---- */

struct names {
    char names[NAMES_AT_A_TIME][NAME_BYTES_MAX + 1];
    size_t count;
};

static int collect_name(void *context, const char *name)
{
    struct names *names = context;
    strcpy(names->names[names->count++], name);
    return names->count == NAMES_AT_A_TIME;
}

static int scrub_all(struct pass *pass, struct names *names)
{
    char after[NAME_BYTES_MAX + 1] = "";
    int rc;
    do {
        names->count = 0;
        rc = store_list(pass->store, "", after, collect_name, names);
        for (size_t i = 0; i < names->count && rc >= 0; i++) {
            int broken = scrub_log(pass, names->names[i]);
            rc = broken < 0 ? broken : rc;
        }
        if (names->count > 0)
            strcpy(after, names->names[names->count - 1]);
    } while (rc > 0);
    return rc;
}

static int run_pass(struct store *store, uint64_t bytes_per_s)
{
    struct scrub *scrub = &store->scrub;
    struct pass pass = {
        .store = store, .bytes_per_s = bytes_per_s, .began_us = store_now_us(store)};
    struct names *names = malloc(sizeof(*names));
    if (!names)
        return -ENOMEM;
    int rc = scrub_all(&pass, names);
    free(names);
    pthread_mutex_lock(&scrub->lock);
    scrub->bytes += pass.read_bytes;
    if (rc == 0) {
        scrub->passes++;
        scrub->passed_us = store_now_us(store);
    }
    pthread_mutex_unlock(&scrub->lock);
    return rc;
}

int store_scrub(struct store *store)
{
    return run_pass(store, 0);
}

/* ---- its thread ---- */

int scrub_sleep_locked(struct scrub *scrub, uint64_t timeout_us)
{
    struct timespec until;
    must(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    uint64_t us = (uint64_t)until.tv_nsec / 1000 + timeout_us;
    until.tv_sec += (time_t)(us / 1000000);
    until.tv_nsec = (long)(us % 1000000 * 1000);
    int rc = 0;
    while (!scrub->stop && rc == 0)
        rc = pthread_cond_timedwait(&scrub->stopped, &scrub->lock, &until);
    return scrub->stop ? -ESHUTDOWN : 0;
}

static void *scrub_thread(void *argument)
{
    struct store *store = argument;
    struct scrub *scrub = &store->scrub;
    uint64_t wait_us = min_u64(store->config.scrub_interval_us, FIRST_WAIT_US);
    int rc;
    do {
        pthread_mutex_lock(&scrub->lock);
        rc = scrub_sleep_locked(scrub, wait_us);
        pthread_mutex_unlock(&scrub->lock);
        if (rc == 0)
            rc = run_pass(store, store->config.scrub_bytes_per_s);
        wait_us = store->config.scrub_interval_us;
    } while (rc != -ESHUTDOWN);
    return NULL;
}

int scrub_start(struct store *store)
{
    if (store->config.scrub_bytes_per_s == 0)
        return 0;
    int rc = -pthread_create(&store->scrub.thread, NULL, scrub_thread, store);
    store->scrub.has_thread = rc == 0;
    return rc;
}

void scrub_stop(struct store *store)
{
    struct scrub *scrub = &store->scrub;
    if (!scrub->has_thread)
        return;
    pthread_mutex_lock(&scrub->lock);
    scrub->stop = true;
    pthread_cond_broadcast(&scrub->stopped);
    pthread_mutex_unlock(&scrub->lock);
    pthread_join(scrub->thread, NULL);
    scrub->has_thread = false;
}

void scrub_init(struct scrub *scrub)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&scrub->stopped, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&scrub->lock, NULL);
}

void scrub_done(struct scrub *scrub)
{
    must(!scrub->has_thread);
    pthread_cond_destroy(&scrub->stopped);
    pthread_mutex_destroy(&scrub->lock);
    free(scrub->places);
}

/* ---- for others ---- */

void scrub_forget(struct store *store, const char *log)
{
    pthread_mutex_lock(&store->scrub.lock);
    drop_locked(&store->scrub, log);
    pthread_mutex_unlock(&store->scrub.lock);
}

bool store_take_damage(struct store *store, struct store_damage *ret_damage)
{
    struct scrub *scrub = &store->scrub;
    bool taken = false;
    pthread_mutex_lock(&scrub->lock);
    for (size_t i = 0; i < scrub->place_count && !taken; i++) {
        taken = !scrub->places[i].is_told;
        scrub->places[i].is_told = true;
        if (taken)
            *ret_damage = scrub->places[i].damage;
    }
    pthread_mutex_unlock(&scrub->lock);
    return taken;
}

size_t store_damages(struct store *store, const char *log, struct store_damage *ret_damages,
                     size_t capacity)
{
    struct scrub *scrub = &store->scrub;
    size_t count = 0;
    pthread_mutex_lock(&scrub->lock);
    for (size_t i = 0; i < scrub->place_count; i++) {
        if (strcmp(scrub->places[i].damage.log, log) != 0)
            continue;
        if (count < capacity)
            ret_damages[count] = scrub->places[i].damage;
        count++;
    }
    pthread_mutex_unlock(&scrub->lock);
    return count;
}

void scrub_stats(struct store *store, struct store_scrub *ret_stats)
{
    struct scrub *scrub = &store->scrub;
    pthread_mutex_lock(&scrub->lock);
    uint64_t now_us = store_now_us(store);
    *ret_stats = (struct store_scrub){
        .bytes = scrub->bytes,
        .logs = scrub->logs,
        .passes = scrub->passes,
        .errors = scrub->errors,
        .found = scrub->found,
        .places = scrub->place_count,
        .age_us = scrub->passes > 0 && now_us > scrub->passed_us ? now_us - scrub->passed_us : 0,
    };
    pthread_mutex_unlock(&scrub->lock);
}
