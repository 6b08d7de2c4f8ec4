#include "wal/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/defects.h"
#include "wal/io.h"

#define WRITE_BYTES_MAX (1u << 20)

int wal_check_io(const char *path, enum store_io io_choice, enum store_direct direct,
                 struct wal_check *ret_check)
{
    static const enum wal_io_choice choices[] = {[STORE_IO_AUTO] = WAL_IO_AUTO,
                                                 [STORE_IO_URING] = WAL_IO_URING,
                                                 [STORE_IO_POSIX] = WAL_IO_POSIX};
    static const enum wal_direct_choice directs[] = {[STORE_DIRECT_AUTO] = WAL_DIRECT_AUTO,
                                                     [STORE_DIRECT_ON] = WAL_DIRECT_ON,
                                                     [STORE_DIRECT_OFF] = WAL_DIRECT_OFF};
    struct wal_io *io;
    *ret_check = (struct wal_check){0};
    int rc = wal_io_probe(path, choices[io_choice], directs[direct], &io, ret_check->reason);
    if (rc < 0)
        return rc;
    ret_check->is_uring = strcmp(io->ops->name, "uring") == 0;
    ret_check->is_direct = io->direct;
    io->ops->free(io);
    return 0;
}

static int compare_us(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static int measure(struct wal_io *io, int handle, unsigned count, uint32_t bytes, uint32_t *ret_us)
{
    uint8_t *data = aligned_alloc(WAL_BLOCK_BYTES, bytes);
    int rc = data ? 0 : -ENOMEM;
    if (data)
        memset(data, 0, bytes);
    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = io->ops->write(io, handle, data, bytes, (uint64_t)i * bytes, false);
    if (rc == 0)
        rc = io->ops->sync(io, handle);
    if (data)
        memset(data, 0x5a, bytes);
    for (unsigned i = 0; i < count && rc == 0; i++) {
        uint64_t began = io->ops->monotonic_us(io);
        rc = io->ops->write(io, handle, data, bytes, (uint64_t)i * bytes, true);
        ret_us[i] = (uint32_t)min_u64(io->ops->monotonic_us(io) - began, UINT32_MAX);
    }
    free(data);
    return rc;
}

static int measure_in(struct wal_io *io, const char *path, unsigned count, uint32_t bytes,
                      uint32_t *ret_us)
{
    char name[32];
    int dir = io->ops->open_dir(io, WAL_IO_CWD, path);
    if (dir < 0)
        return dir;
    snprintf(name, sizeof(name), ".latency-%ld", (long)getpid());
    (void)io->ops->remove_file(io, dir, name);
    unsigned flags = WAL_OPEN_WRITE | WAL_OPEN_CREATE | (io->direct ? WAL_OPEN_DIRECT : 0);
    int handle = io->ops->open_file(io, dir, name, flags);
    int rc = handle;
    if (handle >= 0) {
        rc = measure(io, handle, count, bytes, ret_us);
        io->ops->close(io, handle);
        (void)io->ops->remove_file(io, dir, name);
    }
    io->ops->close(io, dir);
    return rc;
}

int wal_check_latency(const char *path, unsigned count, uint32_t bytes, uint32_t *ret_us)
{
    char reason[sizeof(((struct wal_io *)NULL)->reason)];
    struct wal_io *io;
    if (count == 0 || bytes == 0 || bytes % WAL_BLOCK_BYTES != 0 || bytes > WRITE_BYTES_MAX)
        return -EINVAL;
    int rc = wal_io_probe(path, WAL_IO_POSIX, WAL_DIRECT_AUTO, &io, reason);
    if (rc < 0)
        return rc;
    rc = measure_in(io, path, count, bytes, ret_us);
    io->ops->free(io);
    if (rc == 0)
        qsort(ret_us, count, sizeof(*ret_us), compare_us);
    return rc;
}

void wal_plant_defect(const char *name)
{
#ifdef WAL_PLANTED_DEFECTS
    static const char *const names[] = {[DEFECT_NONE] = "",
#define X(defect, text) [DEFECT_##defect] = #defect,
                                        WAL_DEFECT_LIST(X)
#undef X
    };
    for (size_t i = 0; name && i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], name) == 0)
            wal_defect_on = (enum wal_defect_id)i;
    }
#endif
}
