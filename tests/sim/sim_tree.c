#include "tests/sim/sim_image.h"

#include <errno.h>
#include <string.h>

/*
 * Names. An entry says that a directory holds an inode under a name, now, durably, or both; a
 * change takes one entry's durable side away, gives it to another, or both at once for a rename.
 * Changes wait in order until a sync of their directory commits them or a power cut decides on
 * each.
 *
 * Two rules keep what is left a file system: changes of one inode persist in their order, so that
 * no file is lost or doubled on its way through several renames; and where two durable entries of
 * one name would meet, since the removal of the older was lost, the newer replaces it.
 */

/* --- Entries ---------------------------------------------------------------------------------- */

static uint32_t name_hash(const char *name, size_t size)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)name[i]) * 16777619u;
    return hash;
}

struct sim_entry *sim_dir_find(const struct sim_inode *dir, const char *name, size_t size,
                               enum sim_image image)
{
    uint32_t hash = name_hash(name, size);
    for (struct sim_entry *entry = dir->entries; entry; entry = entry->next) {
        if (entry->hash == hash && entry->size == size && memcmp(entry->name, name, size) == 0 &&
            (image == SIM_DURABLE ? entry->durable : entry->live))
            return entry;
    }
    return NULL;
}

static struct sim_entry *entry_new(struct sim_store *store, struct sim_inode *dir, const char *name,
                                   struct sim_inode *inode)
{
    /* Names are never released before the reset: traces and counters point at them. */
    size_t size = strlen(name);
    char *copy = sim_store_alloc(store, size + 1);
    memcpy(copy, name, size + 1);

    struct sim_entry *entry = sim_store_alloc(store, sizeof(*entry));
    *entry = (struct sim_entry){
        .next = dir->entries,
        .link = &dir->entries,
        .dir = dir,
        .inode = inode,
        .name = copy,
        .hash = name_hash(name, size),
        .size = (uint32_t)size,
        .live = true,
    };
    if (entry->next)
        entry->next->link = &entry->next;
    dir->entries = entry;
    dir->live_entries++;
    inode->links++;
    inode->name = copy;
    return entry;
}

static void entry_hide(struct sim_entry *entry)
{
    entry->live = false;
    entry->dir->live_entries--;
    entry->inode->links--;
}

static void entry_free(struct sim_store *store, struct sim_entry *entry)
{
    *entry->link = entry->next;
    if (entry->next)
        entry->next->link = entry->link;
    sim_store_release(store, entry, sizeof(*entry));
}

/* --- Inodes ----------------------------------------------------------------------------------- */

static struct sim_inode *inode_new(struct sim_store *store, bool is_dir)
{
    struct sim_inode *inode = sim_store_alloc(store, sizeof(*inode));
    *inode = (struct sim_inode){.next = store->inodes,
                                .link = &store->inodes,
                                .id = store->next_id++,
                                .name = "/",
                                .is_dir = is_dir,
                                .blocks = is_dir ? 1 : 0};
    inode->writes_tail = &inode->writes;
    if (inode->next)
        inode->next->link = &inode->next;
    store->inodes = inode;
    store->used_blocks += inode->blocks;
    return inode;
}

void sim_store_format(struct sim_store *store)
{
    store->root = inode_new(store, true);
    store->root->links = store->root->links_durable = 1;
}

static void inode_free(struct sim_store *store, struct sim_inode *inode)
{
    sim_file_free_blocks(store, inode);
    while (inode->read_faults) {
        struct sim_read_fault *fault = inode->read_faults;
        inode->read_faults = fault->next;
        sim_store_release(store, fault, sizeof(*fault));
    }
    *inode->link = inode->next;
    if (inode->next)
        inode->next->link = inode->link;
    sim_store_release(store, inode, sizeof(*inode));
}

void sim_inode_settle(struct sim_store *store, struct sim_inode *inode)
{
    if (inode->links > 0 || inode->opens > 0)
        return;
    store->used_blocks -= inode->blocks;
    inode->blocks = 0;
    /* Directories stay until the next crash, since entries and changes point at them. */
    if (!inode->is_dir && inode->links_durable == 0 && inode->changes == 0)
        inode_free(store, inode);
}

/* --- Changes ---------------------------------------------------------------------------------- */

static struct sim_inode *change_inode(const struct sim_change *change)
{
    return change->add ? change->add->inode : change->remove->inode;
}

static void change_add(struct sim_store *store, struct sim_entry *remove, struct sim_entry *add)
{
    struct sim_change *change = sim_store_alloc(store, sizeof(*change));
    *change = (struct sim_change){.previous = store->last_change, .remove = remove, .add = add};
    if (change->previous)
        change->previous->next = change;
    else
        store->first_change = change;
    store->last_change = change;

    change_inode(change)->changes++;
    if (remove)
        remove->changes++;
    if (add)
        add->changes++;
}

static void entry_release(struct sim_store *store, struct sim_entry *entry)
{
    if (!entry)
        return;
    entry->changes--;
    if (!entry->live && !entry->durable && entry->changes == 0 && store->listing == 0)
        entry_free(store, entry);
}

static void change_free(struct sim_store *store, struct sim_change *change)
{
    struct sim_inode *inode = change_inode(change);
    entry_release(store, change->remove);
    entry_release(store, change->add);
    if (change->previous)
        change->previous->next = change->next;
    else
        store->first_change = change->next;
    if (change->next)
        change->next->previous = change->previous;
    else
        store->last_change = change->previous;
    sim_store_release(store, change, sizeof(*change));
    inode->changes--;
    sim_inode_settle(store, inode);
}

static void entry_set_durable(struct sim_entry *entry, bool durable)
{
    if (entry->durable == durable)
        return;
    entry->durable = durable;
    if (durable)
        entry->inode->links_durable++;
    else
        entry->inode->links_durable--;
}

static void change_commit(struct sim_store *store, struct sim_change *change)
{
    struct sim_inode *replaced = NULL;
    if (change->remove)
        entry_set_durable(change->remove, false);
    if (change->add) {
        struct sim_entry *add = change->add;
        struct sim_entry *old = sim_dir_find(add->dir, add->name, add->size, SIM_DURABLE);
        if (old && old != add) {
            entry_set_durable(old, false);
            replaced = old->inode;
            old->changes++;
            entry_release(store, old);
        }
        entry_set_durable(add, true);
    }
    bool other = replaced && replaced != change_inode(change);
    change_free(store, change);
    if (other)
        sim_inode_settle(store, replaced);
}

static bool change_touches(const struct sim_change *change, const struct sim_inode *dir)
{
    return (change->remove && change->remove->dir == dir) ||
           (change->add && change->add->dir == dir);
}

/* Commits what is chosen and, where `discard`, forgets the rest. */
static void changes_finish(struct sim_store *store, bool discard)
{
    struct sim_change *next;
    for (struct sim_change *change = store->first_change; change; change = next) {
        next = change->next;
        change_inode(change)->chosen = false;
        if (change->chosen)
            change_commit(store, change);
        else if (discard)
            change_free(store, change);
    }
}

/* Called from the last to the first: what is chosen takes earlier changes of its inode along. */
static void change_choose(struct sim_change *change, bool wanted)
{
    struct sim_inode *inode = change_inode(change);
    change->chosen = wanted || inode->chosen;
    inode->chosen = change->chosen;
}

void sim_dir_commit(struct sim_store *store, const struct sim_inode *dir)
{
    for (struct sim_change *change = store->last_change; change; change = change->previous)
        change_choose(change, !change->dropped && (!dir || change_touches(change, dir)));
    changes_finish(store, false);
}

void sim_dir_drop(struct sim_store *store, const struct sim_inode *dir)
{
    for (struct sim_change *change = store->first_change; change; change = change->next)
        change->dropped = change->dropped || change_touches(change, dir);
}

/* --- Operations ------------------------------------------------------------------------------- */

int sim_dir_create(struct sim_store *store, struct sim_inode *dir, const char *name, bool is_dir,
                   struct sim_inode **ret_inode)
{
    uint64_t capacity = store->options->capacity_blocks;
    if (sim_dir_find(dir, name, strlen(name), SIM_CACHED))
        return -EEXIST;
    if (capacity && store->used_blocks >= capacity)
        return -ENOSPC;

    struct sim_inode *inode = inode_new(store, is_dir);
    change_add(store, NULL, entry_new(store, dir, name, inode));
    *ret_inode = inode;
    return 0;
}

int sim_dir_rename(struct sim_store *store, struct sim_inode *from_dir, const char *from,
                   struct sim_inode *to_dir, const char *to)
{
    struct sim_entry *remove = sim_dir_find(from_dir, from, strlen(from), SIM_CACHED);
    if (!remove)
        return -ENOENT;
    if (sim_dir_find(to_dir, to, strlen(to), SIM_CACHED))
        return -EEXIST;

    struct sim_entry *add = entry_new(store, to_dir, to, remove->inode);
    entry_hide(remove);
    /* A directory under two names would lose its files to whoever clears one of them; a file system
     * check would not leave it so. */
    if (store->options->split_renames && !remove->inode->is_dir) {
        change_add(store, NULL, add);
        change_add(store, remove, NULL);
    } else {
        change_add(store, remove, add);
    }
    return 0;
}

int sim_dir_replace(struct sim_store *store, struct sim_inode *dir, const char *from,
                    const char *to)
{
    struct sim_entry *remove = sim_dir_find(dir, from, strlen(from), SIM_CACHED);
    struct sim_entry *old = sim_dir_find(dir, to, strlen(to), SIM_CACHED);
    if (!remove || !old)
        return -ENOENT;
    if (remove->inode->is_dir || old->inode->is_dir)
        return -EISDIR;

    struct sim_inode *replaced = old->inode;
    struct sim_entry *add = entry_new(store, dir, to, remove->inode);
    entry_hide(remove);
    entry_hide(old); /* its durable side goes when the change that replaces it is committed */
    if (store->options->split_renames) {
        change_add(store, NULL, add);
        change_add(store, remove, NULL);
    } else {
        change_add(store, remove, add);
    }
    sim_inode_settle(store, replaced);
    return 0;
}

int sim_dir_remove(struct sim_store *store, struct sim_inode *dir, const char *name, bool is_dir)
{
    struct sim_entry *entry = sim_dir_find(dir, name, strlen(name), SIM_CACHED);
    if (!entry)
        return -ENOENT;
    struct sim_inode *inode = entry->inode;
    if (inode->is_dir != is_dir)
        return is_dir ? -ENOTDIR : -EISDIR;
    if (is_dir && inode->live_entries > 0)
        return -ENOTEMPTY;

    entry_hide(entry);
    change_add(store, entry, NULL);
    sim_inode_settle(store, inode);
    return 0;
}

void sim_dir_erase(struct sim_store *store, struct sim_entry *entry)
{
    struct sim_inode *inode = entry->inode;
    struct sim_change *next;
    inode->opens++;
    entry->changes++;
    for (struct sim_change *change = store->first_change; change; change = next) {
        next = change->next;
        if (change->remove == entry || change->add == entry)
            change_free(store, change);
    }
    if (entry->live)
        entry_hide(entry);
    entry_set_durable(entry, false);
    entry_release(store, entry);
    inode->opens--;
    sim_inode_settle(store, inode);
}

/* --- Paths ------------------------------------------------------------------------------------ */

static bool name_is(const char *name, size_t size, const char *other)
{
    return strlen(other) == size && memcmp(name, other, size) == 0;
}

int sim_dir_walk(struct sim_inode *dir, const char *path, enum sim_image image,
                 struct sim_inode **ret_dir, const char **ret_name)
{
    for (;;) {
        path += strspn(path, "/");
        size_t size = strcspn(path, "/");
        const char *rest = path + size + strspn(path + size, "/");
        must(!name_is(path, size, ".."));
        if (*rest == '\0') {
            /* A trailing '/' would end up in a name. */
            must(path[size] == '\0');
            *ret_dir = dir;
            *ret_name = size == 0 ? "." : path;
            return 0;
        }
        if (!name_is(path, size, ".")) {
            struct sim_entry *entry = sim_dir_find(dir, path, size, image);
            if (!entry)
                return -ENOENT;
            if (!entry->inode->is_dir)
                return -ENOTDIR;
            dir = entry->inode;
        }
        path = rest;
    }
}

struct sim_inode *sim_dir_resolve(struct sim_inode *dir, const char *path, enum sim_image image)
{
    const char *name;
    if (sim_dir_walk(dir, path, image, &dir, &name) < 0)
        return NULL;
    if (name_is(name, strlen(name), "."))
        return dir;
    struct sim_entry *entry = sim_dir_find(dir, name, strlen(name), image);
    return entry ? entry->inode : NULL;
}

/* --- Power cuts ------------------------------------------------------------------------------- */

static void changes_crash(struct sim_store *store, enum sim_tear style, uint64_t *rng)
{
    uint64_t count = 0;
    for (struct sim_change *change = store->first_change; change; change = change->next)
        count++;
    if (count == 0)
        return;

    bool in_order = store->options->ext4_like || rng_below(rng, 4) == 0;
    uint64_t cut = rng_below(rng, count + 1);
    uint64_t place = count;
    for (struct sim_change *change = store->last_change; change; change = change->previous) {
        place--;
        bool keep = in_order ? place < cut : rng_next(rng) & 1;
        if (style != SIM_TEAR_BY_SEED)
            keep = style != SIM_TEAR_LOSE;
        change_choose(change, keep && !change->dropped);
        if (change->chosen)
            store->counters->entries_kept++;
        else
            store->counters->entries_lost++;
    }
    changes_finish(store, true);
}

static void dir_reach(struct sim_inode *dir)
{
    dir->reached = true;
    for (struct sim_entry *entry = dir->entries; entry; entry = entry->next) {
        if (!entry->durable || entry->inode->reached)
            continue;
        if (entry->inode->is_dir)
            dir_reach(entry->inode);
        entry->inode->reached = true;
    }
}

/* The entries of a rebooted directory are its durable ones; those of a lost one go with it. */
static void dir_reboot(struct sim_store *store, struct sim_inode *dir)
{
    struct sim_entry *next;
    dir->live_entries = 0;
    for (struct sim_entry *entry = dir->entries; entry; entry = next) {
        next = entry->next;
        entry->live = entry->durable;
        if (!entry->durable || !dir->reached) {
            entry_free(store, entry);
            continue;
        }
        dir->live_entries++;
        entry->inode->links++;
        entry->inode->name = entry->name;
    }
}

void sim_store_crash(struct sim_store *store, uint64_t *rng)
{
    enum sim_tear style = store->options->tear;
    if (style == SIM_TEAR_BY_SEED) {
        uint64_t choice = rng_below(rng, 8);
        style = choice == 0 ? SIM_TEAR_LOSE : choice == 1 ? SIM_TEAR_KEEP : SIM_TEAR_BY_SEED;
    }
    /* Directories have no sectors to tear: other patterns leave them to chance. */
    bool whole = style == SIM_TEAR_LOSE || style == SIM_TEAR_KEEP;
    struct sim_inode *next;
    for (struct sim_inode *inode = store->inodes; inode; inode = inode->next)
        inode->opens++; /* stays while the changes are decided */
    changes_crash(store, whole ? style : SIM_TEAR_BY_SEED, rng);
    for (struct sim_inode *inode = store->inodes; inode; inode = inode->next) {
        inode->reached = inode->locked = false;
        inode->links = inode->opens = 0;
    }
    dir_reach(store->root);
    store->root->links = 1;
    for (struct sim_inode *inode = store->inodes; inode; inode = inode->next) {
        if (inode->is_dir)
            dir_reboot(store, inode);
    }
    store->used_blocks = 0;
    for (struct sim_inode *inode = store->inodes; inode; inode = next) {
        next = inode->next;
        if (!inode->reached) {
            inode_free(store, inode);
            continue;
        }
        if (!inode->is_dir)
            sim_file_crash(store, inode, style, rng);
        inode->links_durable = inode->links;
        inode->blocks = inode->is_dir ? 1 : sim_file_count_blocks(inode);
        store->used_blocks += inode->blocks;
    }
}

void sim_store_settle(struct sim_store *store)
{
    for (struct sim_change *change = store->first_change; change; change = change->next)
        change->dropped = false;
    sim_dir_commit(store, NULL);
    for (struct sim_inode *inode = store->inodes; inode; inode = inode->next) {
        for (struct sim_write *write = inode->writes; write; write = write->next)
            write->dropped = false;
        if (!inode->is_dir)
            sim_file_commit(store, inode);
    }
}
