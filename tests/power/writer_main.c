#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wal/base.h"
#include "wal/defects.h"

#include "tests/power/writer.h"

static const char usage[] =
    "usage: power_writer work --dir DIR [options]\n"
    "       power_writer verify --dir DIR --journal FILE [options]\n"
    "\n"
    "work    append to the store in DIR until SIGTERM; write a journal of 40-byte lines to stdout\n"
    "verify  compare the store with the journal, then append a little; exit 1 if anything is lost\n"
    "\n"
    "  --seed N           of the contents, the same for all runs on a directory\n"
    "  --run N            number of this process on the directory, counting up\n"
    "  --io NAME          auto, uring or posix\n"
    "  --direct HOW       auto, on or off: O_DIRECT\n"
    "  --trim-kib N       trim a log that takes more than this (default 6144)\n"
    "  --expect-clean     verify: the run before ended in good order\n"
    "  --leave-open       verify: end without closing the store\n"
    "  --defect NAME      switch on a planted defect (wal/defects.h; power_writer_defects only)\n"
    "  --no-sync          the defect SKIP_DATA_SYNC\n";

void power_store_config(struct store_config *config, const struct options *options)
{
    uint64_t chance = splitmix64_of(options->seed ^ options->run);
    static const uint32_t delays_us[] = {0, 0, 200, 1000};
    static const uint32_t spaces[] = {64u << 10, 64u << 10, 256u << 10, 8192};
    static const uint32_t marks_us[] = {0, 2000, 20000, 200000};
    static const unsigned rings[] = {8, 32, 256, 256};
    static const uint64_t pack_rates[] = {0, 1u << 20, 64u << 20};

    store_config_default(config);
    config->io = options->io;
    config->direct = options->direct;
    config->committers = 1 + power_random(&chance, 2);
    config->ring_entries = rings[power_random(&chance, ARRAY_SIZE(rings))];
    config->log.segment_bytes = (64u << 10) << power_random(&chance, 5);
    config->pack = power_random(&chance, 4) != 0;
    if (power_random(&chance, 2) == 0)
        config->pack_compression = STORE_COMPRESSION_ZSTD;
    config->pack_bytes_per_s = pack_rates[power_random(&chance, ARRAY_SIZE(pack_rates))];
    config->log.record_bytes_max = POWER_RECORD_BYTES_MAX;
    config->log.batch_bytes_max = (32u << 10) << power_random(&chance, 6);
    config->log.batch_delay_us = delays_us[power_random(&chance, ARRAY_SIZE(delays_us))];
    config->log.space_bytes = spaces[power_random(&chance, ARRAY_SIZE(spaces))];
    config->log.mark_idle_us = marks_us[power_random(&chance, ARRAY_SIZE(marks_us))];
    if (power_random(&chance, 4) == 0)
        config->write_handles_max = 3; /* fewer than the logs: files are closed and opened again */
    config->scrub_bytes_per_s = power_random(&chance, 4) != 0 ? 32u << 20 : 0;
    config->scrub_interval_us = 10000;
}

static int defect_set(const char *name)
{
#ifdef WAL_PLANTED_DEFECTS
#define X(id, text)                                                                                \
    if (strcmp(name, #id) == 0)                                                                    \
        wal_defect_on = DEFECT_##id;
    WAL_DEFECT_LIST(X)
#undef X
    if (wal_defect_on != DEFECT_NONE)
        return 0;
    (void)fprintf(stderr, "power_writer: no defect is called %s\n", name);
#else
    (void)fprintf(stderr, "power_writer: %s: this program has no defects\n", name);
#endif
    return -EINVAL;
}

static int choose(const char *word, const char *const *words, int count, int *ret_choice)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(word, words[i]) == 0) {
            *ret_choice = i;
            return 0;
        }
    }
    return -EINVAL;
}

static int parse(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"dir", required_argument, NULL, 'd'},      {"journal", required_argument, NULL, 'j'},
        {"seed", required_argument, NULL, 's'},     {"run", required_argument, NULL, 'r'},
        {"io", required_argument, NULL, 'i'},       {"direct", required_argument, NULL, 'D'},
        {"trim-kib", required_argument, NULL, 't'}, {"expect-clean", no_argument, NULL, 'c'},
        {"leave-open", no_argument, NULL, 'l'},     {"defect", required_argument, NULL, 'x'},
        {"no-sync", no_argument, NULL, 'n'},        {NULL, 0, NULL, 0},
    };
    static const char *const ios[] = {"auto", "uring", "posix"};
    static const char *const directs[] = {"auto", "on", "off"};
    int letter, choice = 0, rc = 0;

    while (rc == 0 && (letter = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (letter) {
        case 'd': options->dir = optarg; break;
        case 'j': options->journal = optarg; break;
        case 's': options->seed = strtoull(optarg, NULL, 0); break;
        case 'r': options->run = (uint32_t)strtoul(optarg, NULL, 0); break;
        case 't': options->trim_kib = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'i':
            rc = choose(optarg, ios, ARRAY_SIZE(ios), &choice);
            options->io = (enum store_io)choice;
            break;
        case 'D':
            rc = choose(optarg, directs, ARRAY_SIZE(directs), &choice);
            options->direct = (enum store_direct)choice;
            break;
        case 'c': options->expect_clean = true; break;
        case 'l': options->leave_open = true; break;
        case 'x': rc = defect_set(optarg); break;
        case 'n': rc = defect_set("SKIP_DATA_SYNC"); break;
        default: rc = -EINVAL; break;
        }
    }
    return rc;
}

int main(int argc, char **argv)
{
    struct options options = {.trim_kib = 6144};
    const char *verb = argc > 1 ? argv[1] : "";
    bool verifies = strcmp(verb, "verify") == 0;
    if (parse(argc, argv, &options) < 0 || !options.dir || (verifies && !options.journal) ||
        (!verifies && strcmp(verb, "work") != 0)) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }

    /* A file system that was shut down raises none of these for us to die of, and neither must a
     * file size limit: each call is to return its error. */
    (void)signal(SIGXFSZ, SIG_IGN);
    return verifies ? verify(&options) : work(&options);
}
