#include "tests/crash/spy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wal/base.h"

/* Rings carry no pointer of ours, so the functions below find the spy here. */
static struct spy *active;

static struct spy_log *find_log(struct spy *spy, const char *name)
{
    for (unsigned i = 0; i < spy->log_count; i++) {
        if (strcmp(spy->logs[i].name, name) == 0)
            return &spy->logs[i];
    }
    return NULL;
}

static uint8_t number_of(const char *name)
{
    struct spy_log *log = find_log(active, name);

    if (!log) {
        must(active->log_count < SPY_LOGS);
        log = &active->logs[active->log_count++];
        *log = (struct spy_log){0};
        snprintf(log->name, sizeof(log->name), "%s", name);
    }
    return (uint8_t)(log - active->logs + 1);
}

static void set_handle(int handle, uint8_t log)
{
    if (handle >= 0)
        active->handle_log[(unsigned)handle % SPY_HANDLES] = log;
}

static struct spy_log *log_of(int handle)
{
    uint8_t number = active->handle_log[(unsigned)handle % SPY_HANDLES];

    return number > 0 ? &active->logs[number - 1] : NULL;
}

/* What the process does next changes the disk, or would have if it had lived. Kills come between
 * two operations, so one that begins is always ended. */
static bool dies_before(void)
{
    if (active->is_killed || active->kill_in == 0 || --active->kill_in > 0)
        return active->is_killed;
    if (sim_is_dead(active->disk))
        return false;
    active->is_killed = true;
    sim_kill(active->disk);
    return true;
}

/* The process looks at a name or at bytes: what it has seen so far may be old when it looks again. */
static void meet_before_look(void)
{
    if (active->meet_in > 0 && --active->meet_in == 0)
        active->meet(active->meet_context);
}

static int spy_open_dir(struct wal_io *io, int dir, const char *name)
{
    meet_before_look();
    if (active->is_killed)
        return -EIO;
    int handle = active->real->open_dir(io, dir, name);

    set_handle(handle, 0);
    if (handle >= 0 && strcmp(name, "logs") == 0)
        active->logs_dir = handle;
    else if (handle >= 0 && dir == active->logs_dir)
        set_handle(handle, number_of(name));
    return handle;
}

static int spy_open_file(struct wal_io *io, int dir, const char *name, unsigned flags)
{
    meet_before_look();
    if (active->is_killed || ((flags & WAL_OPEN_CREATE) && dies_before()))
        return -EIO;
    int handle = active->real->open_file(io, dir, name, flags);

    set_handle(handle, dir >= 0 ? active->handle_log[(unsigned)dir % SPY_HANDLES] : 0);
    return handle;
}

static int64_t spy_read(struct wal_io *io, int handle, void *data, size_t size, uint64_t position)
{
    meet_before_look();
    return active->real->read(io, handle, data, size, position);
}

static int spy_list(struct wal_io *io, int dir,
                    int (*visit)(void *context, const char *name, bool is_dir), void *context)
{
    meet_before_look();
    return active->real->list(io, dir, visit, context);
}

static int spy_make_dir(struct wal_io *io, int dir, const char *name)
{
    return dies_before() ? -EIO : active->real->make_dir(io, dir, name);
}

static int spy_rename(struct wal_io *io, int from_dir, const char *from, int to_dir, const char *to)
{
    return dies_before() ? -EIO : active->real->rename(io, from_dir, from, to_dir, to);
}

static int spy_replace(struct wal_io *io, int dir, const char *from, const char *to)
{
    return dies_before() ? -EIO : active->real->replace(io, dir, from, to);
}

static int spy_remove_file(struct wal_io *io, int dir, const char *name)
{
    return dies_before() ? -EIO : active->real->remove_file(io, dir, name);
}

static int spy_remove_dir(struct wal_io *io, int dir, const char *name)
{
    return dies_before() ? -EIO : active->real->remove_dir(io, dir, name);
}

static int spy_sync(struct wal_io *io, int handle)
{
    return dies_before() ? -EIO : active->real->sync(io, handle);
}

static int spy_write(struct wal_io *io, int handle, const void *data, size_t size,
                     uint64_t position, bool durable)
{
    return dies_before() ? -EIO : active->real->write(io, handle, data, size, position, durable);
}

static int spy_allocate(struct wal_io *io, int handle, uint64_t position, uint64_t size)
{
    return dies_before() ? -EIO : active->real->allocate(io, handle, position, size);
}

static int spy_lock(struct wal_io *io, int dir, const char *name)
{
    return active->is_killed ? -EIO : active->real->lock(io, dir, name);
}

static void spy_ring_submit(struct wal_ring *ring, struct wal_op *op)
{
    struct spy_log *log = log_of(op->handle);

    if (log && log->write_error < 0 && op->kind == WAL_OP_WRITE_DURABLE)
        log->later_writes++;
    dies_before(); /* a ring of a dead process hands back what it is given */
    active->real->ring_submit(ring, op);
}

static struct wal_op *spy_ring_wait(struct wal_ring *ring, uint64_t timeout_us)
{
    struct wal_op *done = active->real->ring_wait(ring, timeout_us);

    if (active->is_killed || sim_is_dead(active->disk))
        return done;
    for (struct wal_op *op = done; op; op = op->next) {
        struct spy_log *log = log_of(op->handle);

        if (!log || log->write_error < 0 || op->kind != WAL_OP_WRITE_DURABLE ||
            op->result == (int64_t)op->size || op->result == -EINTR || op->result == -EAGAIN)
            continue;
        log->write_error = op->result < 0 ? (int)op->result : -EIO;
    }
    return done;
}

void spy_init(struct spy *spy, struct sim_disk *disk)
{
    must(!active);
    active = spy;
    spy->disk = disk;
    spy->io = sim_io(disk);
    spy->real = spy->io->ops;
    spy->ops = *spy->real;
    spy->ops.open_dir = spy_open_dir;
    spy->ops.open_file = spy_open_file;
    spy->ops.read = spy_read;
    spy->ops.list = spy_list;
    spy->ops.make_dir = spy_make_dir;
    spy->ops.rename = spy_rename;
    spy->ops.replace = spy_replace;
    spy->ops.remove_file = spy_remove_file;
    spy->ops.remove_dir = spy_remove_dir;
    spy->ops.sync = spy_sync;
    spy->ops.write = spy_write;
    spy->ops.allocate = spy_allocate;
    spy->ops.lock = spy_lock;
    spy->ops.ring_submit = spy_ring_submit;
    spy->ops.ring_wait = spy_ring_wait;
    spy->io->ops = &spy->ops;
}

void spy_done(struct spy *spy)
{
    spy->io->ops = spy->real;
    active = NULL;
}

void spy_reset(struct spy *spy)
{
    spy->logs_dir = -1;
    spy->log_count = 0;
    spy->is_killed = false;
    spy->meet_in = 0;
    memset(spy->handle_log, 0, sizeof(spy->handle_log));
}

void spy_forget_log(struct spy *spy, const char *name)
{
    for (unsigned i = 0; i < spy->log_count; i++) {
        if (strcmp(spy->logs[i].name, name) == 0) {
            spy->logs[i].write_error = 0;
            spy->logs[i].later_writes = 0;
        }
    }
}

const struct spy_log *spy_find_log(struct spy *spy, const char *name)
{
    return find_log(spy, name);
}
