#include "tests/crash/spy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wal/base.h"

/* Rings carry no pointer of ours, so the functions below find the spy here. */
static struct spy *active;

static struct spy_log *find_log(const char *name)
{
    for (unsigned i = 0; i < active->log_count; i++) {
        if (strcmp(active->logs[i].name, name) == 0)
            return &active->logs[i];
    }
    return NULL;
}

static uint8_t number_of(const char *name)
{
    struct spy_log *log = find_log(name);

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

static int spy_open_dir(struct wal_io *io, int dir, const char *name)
{
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
    if (flags & WAL_OPEN_UNCACHED)
        sim_drop_caches(active->disk);
    int handle = active->real->open_file(io, dir, name, flags);

    set_handle(handle, dir >= 0 ? active->handle_log[(unsigned)dir % SPY_HANDLES] : 0);
    return handle;
}

static void spy_ring_submit(struct wal_ring *ring, struct wal_op *op)
{
    struct spy_log *log = log_of(op->handle);

    if (log && log->write_error < 0 && op->kind == WAL_OP_WRITE_DURABLE)
        log->later_writes++;
    active->real->ring_submit(ring, op);
}

static struct wal_op *spy_ring_wait(struct wal_ring *ring, uint64_t timeout_us)
{
    struct wal_op *done = active->real->ring_wait(ring, timeout_us);

    if (sim_is_dead(active->disk))
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

const struct spy_log *spy_find_log(const struct spy *spy, const char *name)
{
    for (unsigned i = 0; i < spy->log_count; i++) {
        if (strcmp(spy->logs[i].name, name) == 0)
            return &spy->logs[i];
    }
    return NULL;
}
