#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "tests/load/load.h"
#include "tests/load/pages.h"
#include "wal/base.h"

static const char usage[] =
    "usage: load_driver SCENARIO --program PATH [options]\n"
    "       load_driver lines     takes pages of records in JSON from stdin, and writes each\n"
    "                             record and an end of line to stdout\n"
    "\n"
    "  kill        kill -9 under load, again and again; everything is read back\n"
    "  plants      the proof that kill would find what it looks for\n"
    "  crowd       2000 connections that all append\n"
    "  lockstep    128, 256 and 512 requests that are there at the same moment\n"
    "  slow        1000 slow and silent connections beside 16 polite ones\n"
    "  memory      clients that never read, and bodies that never end\n"
    "  gone        5000 clients that leave before their receipt\n"
    "\n"
    "  --io NAME           uring or posix (the default)\n"
    "  --parent DIR        where the working folder is made ($TMPDIR or /tmp); no tmpfs\n"
    "  --seed N            repeat the choices of an earlier run (timing differs)\n"
    "  --cycles N          kills (100)\n"
    "  --moment MIN,MAX    milliseconds from the first receipt to the kill (5,80)\n"
    "  --batches HOW       on, off, or auto: if the program takes them\n"
    "  --retries HOW       likewise: writers whose appends can be sent again after a kill\n"
    "  --connections N     in place of the scenario's number\n"
    "  --appends N         of each connection in a round (20)\n"
    "  --stall N           seconds without any receipt that are a failure (20)\n"
    "  --no-memory-bound   print the program's memory without judging it: under sanitizers\n"
    "  --plant WHAT        pretend a fault of the program, which must be found: twice (kill),\n"
    "                      stall or loss (crowd), memory (memory), half (gone)\n"
    "  --serve WORD        pass this on to the program; may be repeated\n"
    "  --keep              keep the working folder, also after success\n";

static const struct scenario {
    const char *name;
    int (*run)(struct program *program);
} scenarios[] = {
    {"kill", run_kill}, {"plants", run_plants}, {"crowd", run_crowd}, {"lockstep", run_lockstep},
    {"slow", run_slow}, {"memory", run_memory}, {"gone", run_gone},
};

static bool parse_moment(struct options *options, const char *value)
{
    char *end;
    options->moment_ms_min = (unsigned)strtoul(value, &end, 10);
    if (*end != ',')
        return false;
    options->moment_ms_max = (unsigned)strtoul(end + 1, NULL, 10);
    return options->moment_ms_max >= options->moment_ms_min;
}

static bool parse_usage(enum usage *ret_usage, const char *value)
{
    static const char *const names[] = {[USE_AUTO] = "auto", [USE_ON] = "on", [USE_OFF] = "off"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        *ret_usage = (enum usage)i;
        if (strcmp(value, names[i]) == 0)
            return true;
    }
    return false;
}

static bool parse_io(struct options *options, const char *value)
{
    options->io = value;
    return strcmp(value, "uring") == 0 || strcmp(value, "posix") == 0;
}

static bool add_word(struct options *options, const char *word)
{
    for (size_t i = 0; i < SERVE_MAX; i++) {
        if (!options->serve[i]) {
            options->serve[i] = word;
            return true;
        }
    }
    return false;
}

static bool parse(struct options *options, int argc, char **argv)
{
    static const struct option names[] = {
        {"program", required_argument, NULL, 'p'},
        {"io", required_argument, NULL, 'i'},
        {"parent", required_argument, NULL, 'd'},
        {"seed", required_argument, NULL, 's'},
        {"cycles", required_argument, NULL, 'c'},
        {"moment", required_argument, NULL, 'm'},
        {"batches", required_argument, NULL, 'b'},
        {"retries", required_argument, NULL, 'r'},
        {"connections", required_argument, NULL, 'n'},
        {"appends", required_argument, NULL, 'a'},
        {"stall", required_argument, NULL, 'S'},
        {"no-memory-bound", no_argument, NULL, 'M'},
        {"plant", required_argument, NULL, 'P'},
        {"serve", required_argument, NULL, 'v'},
        {"keep", no_argument, NULL, 'k'},
        {NULL, 0, NULL, 0},
    };
    int letter;
    bool fine = true;
    while (fine && (letter = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (letter) {
        case 'p': options->program = optarg; break;
        case 'i': fine = parse_io(options, optarg); break;
        case 'd': options->parent = optarg; break;
        case 's': options->seed = strtoull(optarg, NULL, 0); break;
        case 'c': options->cycles = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'm': fine = parse_moment(options, optarg); break;
        case 'b': fine = parse_usage(&options->batches, optarg); break;
        case 'r': fine = parse_usage(&options->retries, optarg); break;
        case 'n': options->connections = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'a': options->appends = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'S': options->stall_s = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'M': options->measure_memory = false; break;
        case 'P': options->plant = optarg; break;
        case 'v': fine = add_word(options, optarg); break;
        case 'k': options->keep = true; break;
        default: fine = false; break;
        }
    }
    return fine && options->program && options->appends > 0 && options->stall_s > 0;
}

/* What was planted has to be found. */
static int judge(const struct options *options, int status)
{
    if (!options->plant || status == EXIT_SKIPPED || status == EXIT_TROUBLE)
        return status;
    if (status == EXIT_VIOLATION) {
        printf("load: the planted %s was found\n", options->plant);
        return 0;
    }
    complain("the planted %s was not found", options->plant);
    return EXIT_TROUBLE;
}

static int run(const struct scenario *scenario, const struct options *options)
{
    struct program program;
    struct statfs info;
    if (statfs(options->parent, &info) == 0 &&
        (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC)) {
        printf("skipped: %s is in memory\n", options->parent);
        return EXIT_SKIPPED;
    }
    int status = program_open(&program, options);
    if (status != 0)
        return status;
    printf("load %s: %s, seed %llu, in %s\n", scenario->name, options->io,
           (unsigned long long)options->seed, program.folder);
    (void)fflush(stdout);
    status = judge(options, scenario->run(&program));
    return program_close(&program, status);
}

/* ---- lines ---- */

static bool print_record(void *context, uint64_t offset, char *data, size_t size)
{
    (void)fwrite(data, 1, size, stdout);
    (void)fputc('\n', stdout);
    return true;
}

static int print_lines(void)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t bytes;
    const char *wrong = NULL;
    while (!wrong && (bytes = getline(&line, &capacity, stdin)) > 0) {
        struct answer answer = {.body = line, .body_bytes = (size_t)bytes};
        wrong = page_read(&answer, print_record, NULL);
    }
    free(line);
    if (wrong)
        (void)fprintf(stderr, "load_driver: %s\n", wrong);
    return wrong ? EXIT_VIOLATION : 0;
}

int main(int argc, char **argv)
{
    const char *parent = getenv("TMPDIR");
    uint32_t seed = 0;
    if (getrandom(&seed, sizeof(seed), 0) < 0)
        seed = (uint32_t)getpid();
    struct options options = {
        .io = "posix",
        .parent = parent ? parent : "/tmp",
        .seed = seed,
        .cycles = 100,
        .appends = 20,
        .stall_s = 20,
        .moment_ms_min = 5,
        .moment_ms_max = 80,
        .measure_memory = true,
    };
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "lines") == 0)
        return print_lines();
    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
        if (strcmp(scenarios[i].name, name) == 0 && parse(&options, argc - 1, argv + 1))
            return run(&scenarios[i], &options);
    }
    (void)fputs(usage, stderr);
    return EXIT_TROUBLE;
}
