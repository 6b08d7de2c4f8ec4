#include "server/config.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"

#define LISTEN_DEFAULT "127.0.0.1:8080"
#define RECORD_BYTES_DEFAULT (1u << 20)

static const char help[] =
    "usage: wald serve --data DIR [OPTION]...\n"
    "       wald --version | --help\n"
    "\n"
    "Serves durable logs over HTTP. A record is acknowledged once it survives a power cut.\n"
    "\n"
    "  --data DIR               where the logs are; made if missing. One process at a time\n"
    "  --listen ADDRESS:PORT    default " LISTEN_DEFAULT "; port 0 takes a free one, and the\n"
    "                           line with event=ready tells which. [::1]:8080 for IPv6\n"
    "  --host NAME              a name to answer to in Host; may be repeated. By default\n"
    "                           loopback names on a loopback address, else any name\n"
    "  --io auto|uring|posix    how to write: io_uring, plain system calls, or io_uring where\n"
    "                           it is allowed (auto, the default)\n"
    "  --max-record-bytes N     larger records are refused; 1 to 16777216, default 1048576\n"
    "  --allow-volatile         accept a data directory in memory (tmpfs, ramfs), which loses\n"
    "                           everything with the power; receipts then say so\n"
    "  --log-format logfmt      one line of key=value pairs for each event, on stderr\n"
    "\n"
    "SIGTERM and SIGINT stop the service in good order: appends are refused, those under way\n"
    "are committed and answered, and the exit status is 0. A second signal ends it at once.\n";

enum flag {
    DATA = 1,
    LISTEN,
    HOST,
    IO,
    MAX_RECORD_BYTES,
    ALLOW_VOLATILE,
    LOG_FORMAT,
    HELP,
    VERSION
};

static const struct option flags[] = {
    {"data", required_argument, NULL, DATA},
    {"listen", required_argument, NULL, LISTEN},
    {"host", required_argument, NULL, HOST},
    {"io", required_argument, NULL, IO},
    {"max-record-bytes", required_argument, NULL, MAX_RECORD_BYTES},
    {"allow-volatile", no_argument, NULL, ALLOW_VOLATILE},
    {"log-format", required_argument, NULL, LOG_FORMAT},
    {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

static enum config_result wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

static enum config_result wrong(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "wald: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\nTry: wald --help\n");
    va_end(arguments);
    return CONFIG_WRONG;
}

static enum config_result parse_io(struct config *config, const char *value)
{
    static const char *const names[] = {
        [STORE_IO_AUTO] = "auto", [STORE_IO_URING] = "uring", [STORE_IO_POSIX] = "posix"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], value) == 0) {
            config->io = (enum store_io)i;
            return CONFIG_SERVE;
        }
    }
    return wrong("--io is auto, uring or posix, not \"%s\".", value);
}

static enum config_result parse_record_bytes(struct config *config, const char *value)
{
    char *end;
    unsigned long long bytes = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || bytes < 1 || bytes > WAL_RECORD_BYTES_MAX)
        return wrong("--max-record-bytes is a number from 1 to %u, not \"%s\".",
                     WAL_RECORD_BYTES_MAX, value);
    config->record_bytes_max = (uint32_t)bytes;
    return CONFIG_SERVE;
}

static enum config_result add_host(struct config *config, const char *name)
{
    if (config->host_count == CONFIG_HOSTS_MAX)
        return wrong("--host may be given %d times at most.", CONFIG_HOSTS_MAX);
    config->hosts[config->host_count++] = name;
    return CONFIG_SERVE;
}

static enum config_result say(const char *text)
{
    fputs(text, stdout);
    return CONFIG_DONE;
}

static enum config_result apply(struct config *config, int flag, const char *value)
{
    switch (flag) {
    case DATA: config->data = value; return CONFIG_SERVE;
    case LISTEN: config->listen = value; return CONFIG_SERVE;
    case HOST: return add_host(config, value);
    case IO: return parse_io(config, value);
    case MAX_RECORD_BYTES: return parse_record_bytes(config, value);
    case ALLOW_VOLATILE: config->allow_volatile = true; return CONFIG_SERVE;
    case LOG_FORMAT:
        return strcmp(value, "logfmt") == 0
                   ? CONFIG_SERVE
                   : wrong("--log-format is logfmt in this version, not \"%s\".", value);
    case HELP: return say(help);
    case VERSION: return say("wald " WALD_VERSION "\n");
    default: return wrong("that is not an option, or it lacks its value.");
    }
}

enum config_result config_parse(struct config *ret_config, int argc, char **argv)
{
    struct config config = {
        .listen = LISTEN_DEFAULT, .io = STORE_IO_AUTO, .record_bytes_max = RECORD_BYTES_DEFAULT};
    int flag;
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) {
        enum config_result result = apply(&config, flag, optarg);
        if (result != CONFIG_SERVE)
            return result;
    }
    if (optind == argc)
        return wrong("say what to do: wald serve --data DIR");
    if (strcmp(argv[optind], "serve") != 0 || optind + 1 != argc)
        return wrong("\"%s\" is not understood.",
                     strcmp(argv[optind], "serve") != 0 ? argv[optind] : argv[optind + 1]);
    if (!config.data || !config.data[0])
        return wrong("serve wants --data DIR, the directory of the logs.");
    *ret_config = config;
    return CONFIG_SERVE;
}
