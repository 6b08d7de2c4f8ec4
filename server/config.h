/* The command line. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "wal/store.h"

#define CONFIG_HOSTS_MAX 16

struct config {
    const char *data;                    /* the data directory */
    const char *listen;                  /* "address:port" */
    enum store_io io;                    /* default: auto */
    uint32_t record_bytes_max;           /* bytes, default 1 MiB */
    bool allow_volatile;                 /* a data directory in memory is fine */
    const char *hosts[CONFIG_HOSTS_MAX]; /* names to answer to */
    unsigned host_count;
};

enum config_result {
    CONFIG_SERVE, /* *ret_config is filled */
    CONFIG_DONE,  /* --help or --version was answered */
    CONFIG_WRONG, /* a sentence on stderr said what is wrong */
};

enum config_result config_parse(struct config *ret_config, int argc, char **argv);

#endif
