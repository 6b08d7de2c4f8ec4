/*
 * What the tests of the program need of a data directory and cannot ask the program for:
 *
 *   http_helper trim DIR LOG OFFSET    drops the records below OFFSET
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/store.h"

static int trim(const char *dir, const char *log, uint64_t before)
{
    struct store_config config;
    struct store *store;
    struct wal *wal;
    struct wal_token token;
    store_config_default(&config);
    config.io = STORE_IO_POSIX;

    int rc = store_open(&store, dir, &config, NULL);
    if (rc < 0)
        return rc;
    rc = store_get(store, log, false, &wal);
    if (rc == 0) {
        rc = wal_trim(wal, before, NULL, &token);
        if (rc == 0)
            rc = wal_wait(wal, token, UINT64_MAX);
        store_put(store, wal);
    }
    int close_rc = store_close(store, UINT64_MAX);
    return rc < 0 ? rc : close_rc;
}

int main(int argc, char **argv)
{
    if (argc != 5 || strcmp(argv[1], "trim") != 0) {
        fprintf(stderr, "usage: http_helper trim DIR LOG OFFSET\n");
        return 2;
    }
    int rc = trim(argv[2], argv[3], strtoull(argv[4], NULL, 10));
    if (rc < 0)
        fprintf(stderr, "http_helper: %s\n", strerror(-rc));
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
