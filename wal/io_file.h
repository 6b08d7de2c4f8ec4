/*
 * What the two backends on a real disk share: the synchronous half of the seam on Linux system
 * calls, and the list that rings keep their operations in. Knows nothing of rings themselves.
 * Internal to wal/; io.h says what each operation promises.
 */
#ifndef WAL_IO_FILE_H
#define WAL_IO_FILE_H

#include "wal/io.h"

int io_file_open_dir(struct wal_io *io, int dir, const char *name);
int io_file_open_file(struct wal_io *io, int dir, const char *name, unsigned flags);
void io_file_close(struct wal_io *io, int handle);
int io_file_make_dir(struct wal_io *io, int dir, const char *name);
int io_file_replace(struct wal_io *io, int dir, const char *from, const char *to);
int io_file_rename(struct wal_io *io, int from_dir, const char *from, int to_dir, const char *to);
int io_file_remove_file(struct wal_io *io, int dir, const char *name);
int io_file_remove_dir(struct wal_io *io, int dir, const char *name);
int io_file_list(struct wal_io *io, int dir,
                 int (*visit)(void *context, const char *name, bool is_dir), void *context);
int io_file_sync(struct wal_io *io, int handle);
int64_t io_file_read(struct wal_io *io, int handle, void *data, size_t size, uint64_t position);
int io_file_write(struct wal_io *io, int handle, const void *data, size_t size, uint64_t position,
                  bool durable);
int io_file_allocate(struct wal_io *io, int handle, uint64_t position, uint64_t size);
int64_t io_file_bytes(struct wal_io *io, int handle);
int io_file_lock(struct wal_io *io, int dir, const char *name);
int io_file_free_bytes(struct wal_io *io, int dir, uint64_t *ret_free, uint64_t *ret_total);
uint64_t io_file_monotonic_us(struct wal_io *io);
uint64_t io_file_realtime_ns(struct wal_io *io);
int io_file_random(struct wal_io *io, void *data, size_t size);

/* The synchronous half of a backend's table. */
#define IO_FILE_OPS                                                                                \
    .open_dir = io_file_open_dir, .open_file = io_file_open_file, .close = io_file_close,          \
    .make_dir = io_file_make_dir, .rename = io_file_rename, .replace = io_file_replace,            \
    .remove_file = io_file_remove_file, .remove_dir = io_file_remove_dir, .list = io_file_list,    \
    .sync = io_file_sync, .read = io_file_read, .write = io_file_write,                            \
    .allocate = io_file_allocate, .file_bytes = io_file_bytes, .lock = io_file_lock,               \
    .free_bytes = io_file_free_bytes, .monotonic_us = io_file_monotonic_us,                        \
    .realtime_ns = io_file_realtime_ns, .random = io_file_random

/*
 * One write by one system call, the bytes written or a negative errno: it neither continues a
 * short write nor repeats one that was interrupted. `durable`: those bytes are synced as well, and
 * the error of the sync is returned in their place.
 */
int64_t io_file_write_once(int handle, const void *data, size_t size, uint64_t position,
                           bool durable);

/* First in, first out, linked by wal_op.next. All zero is the empty list. */
struct op_list {
    struct wal_op *first, *last;
};

static inline void op_list_push(struct op_list *list, struct wal_op *op)
{
    op->next = NULL;
    if (list->last)
        list->last->next = op;
    else
        list->first = op;
    list->last = op;
}

static inline struct wal_op *op_list_pop(struct op_list *list)
{
    struct wal_op *op = list->first;

    if (op) {
        list->first = op->next;
        if (!list->first)
            list->last = NULL;
        op->next = NULL;
    }
    return op;
}

/* Empties the list and returns what was in it, linked by next. */
static inline struct wal_op *op_list_take(struct op_list *list)
{
    struct wal_op *first = list->first;

    list->first = NULL;
    list->last = NULL;
    return first;
}

#endif
