/*
 * What the tests of the program need of a data directory and cannot ask the program for:
 *
 *   http_helper trim DIR LOG OFFSET       drops the records below OFFSET
 *   http_helper state DIR LOG KEY VALUE   sets a key of the log's state
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/store.h"

/* What is done to the log. Like wal_append(): queued when it returns. */
typedef int changer(struct wal *wal, char **arguments, struct wal_token *ret_token);

static int trim(struct wal *wal, char **arguments, struct wal_token *ret_token)
{
    return wal_trim(wal, strtoull(arguments[0], NULL, 10), NULL, ret_token);
}

static int set_state(struct wal *wal, char **arguments, struct wal_token *ret_token)
{
    const struct wal_state_update update = {arguments[0], (uint16_t)strlen(arguments[0]),
                                            arguments[1], (uint32_t)strlen(arguments[1])};
    const struct wal_append_options options = {WAL_ANY_OFFSET, &update, 1};
    return wal_append(wal, NULL, 0, &options, NULL, ret_token);
}

static int change_log(const char *dir, const char *log, changer *change, char **arguments)
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
        rc = change(wal, arguments, &token);
        if (rc == 0)
            rc = wal_wait(wal, token, UINT64_MAX);
        store_put(store, wal);
    }
    int close_rc = store_close(store, UINT64_MAX);
    return rc < 0 ? rc : close_rc;
}

int main(int argc, char **argv)
{
    changer *change = NULL;
    if (argc == 5 && strcmp(argv[1], "trim") == 0)
        change = trim;
    if (argc == 6 && strcmp(argv[1], "state") == 0)
        change = set_state;
    if (!change) {
        fprintf(stderr, "usage: http_helper trim DIR LOG OFFSET\n"
                        "       http_helper state DIR LOG KEY VALUE\n");
        return 2;
    }
    int rc = change_log(argv[2], argv[3], change, argv + 4);
    if (rc < 0)
        fprintf(stderr, "http_helper: %s\n", strerror(-rc));
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
