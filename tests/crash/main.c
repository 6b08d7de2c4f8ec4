/*
 * crash_sim: a seeded search for a history of crashes after which the log is not what it promised.
 * README.md beside this file says what is promised, and how to run more of it.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/prove.h"
#include "tests/crash/search.h"

enum option_id {
    OPTION_HISTORIES = 256,
    OPTION_SEED,
    OPTION_FIRST_SEED,
    OPTION_SECONDS,
    OPTION_DAMAGE,
    OPTION_META,
    OPTION_VERBOSE,
    OPTION_JOBS,
    OPTION_LIST_DEFECTS,
    OPTION_DEFECT,
    OPTION_PROVE,
    OPTION_SECONDS_EACH,
    OPTION_HELP,
};

static const struct option long_options[] = {
    {"histories", required_argument, NULL, OPTION_HISTORIES},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"first-seed", required_argument, NULL, OPTION_FIRST_SEED},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"damage", no_argument, NULL, OPTION_DAMAGE},
    {"meta", no_argument, NULL, OPTION_META},
    {"verbose", no_argument, NULL, OPTION_VERBOSE},
    {"jobs", required_argument, NULL, OPTION_JOBS},
    {"list-defects", no_argument, NULL, OPTION_LIST_DEFECTS},
    {"defect", required_argument, NULL, OPTION_DEFECT},
    {"prove", no_argument, NULL, OPTION_PROVE},
    {"seconds-each", required_argument, NULL, OPTION_SECONDS_EACH},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static const char usage[] =
    "usage: crash_sim [--histories N] [--first-seed S] [--seconds N] [--damage] [--meta]\n"
    "                 [--jobs N]\n"
    "       crash_sim --seed S [--damage] [--verbose]     one history, traced on stderr; with\n"
    "                                               --verbose what the disk does too\n"
    "       crash_sim_defects --list-defects\n"
    "       crash_sim_defects --defect NAME ...           with one defect switched on\n"
    "       crash_sim_defects --prove [--seconds-each N] [--jobs N]\n";

struct command {
    struct search_options search;
    bool has_histories, has_seed, prove, list_defects;
    uint64_t seed, seconds_each;
    const char *defect;
    char flags[128];
};

static bool parse_number(const char *text, uint64_t *ret_number)
{
    char *end;

    *ret_number = strtoull(text, &end, 0);
    if (*text != '\0' && *end == '\0')
        return true;
    fprintf(stderr, "crash_sim: %s is not a number\n", text);
    return false;
}

static bool take_option(struct command *command, int option, const char *value)
{
    struct search_options *search = &command->search;
    uint64_t number = 0;

    switch (option) {
    case OPTION_HISTORIES:
        command->has_histories = true;
        return parse_number(value, &search->histories);
    case OPTION_SEED: command->has_seed = true; return parse_number(value, &command->seed);
    case OPTION_FIRST_SEED: return parse_number(value, &search->first_seed);
    case OPTION_SECONDS: return parse_number(value, &search->seconds);
    case OPTION_SECONDS_EACH: return parse_number(value, &command->seconds_each);
    case OPTION_JOBS:
        if (!parse_number(value, &number) || number < 1 || number > 64)
            return false;
        search->jobs = (unsigned)number;
        return true;
    case OPTION_DAMAGE: search->damage = true; return true;
    case OPTION_META: search->meta = true; return true;
    case OPTION_VERBOSE: search->verbose = true; return true;
    case OPTION_LIST_DEFECTS: command->list_defects = true; return true;
    case OPTION_DEFECT: command->defect = value; return true;
    case OPTION_PROVE: command->prove = true; return true;
    default: return false;
    }
}

int main(int argc, char **argv)
{
    struct command command = {
        .search = {.first_seed = 1, .histories = 2000, .jobs = 1},
        .seconds_each = 60,
    };
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (!take_option(&command, option, optarg)) {
            fputs(usage, option == OPTION_HELP ? stdout : stderr);
            return option == OPTION_HELP ? 0 : 2;
        }
    }
    if (optind < argc) {
        fputs(usage, stderr);
        return 2;
    }
    if (command.search.seconds > 0 && !command.has_histories)
        command.search.histories = UINT64_MAX;
    snprintf(command.flags, sizeof(command.flags), "%s%s%s",
             command.search.damage ? " --damage" : "", command.defect ? " --defect " : "",
             command.defect ? command.defect : "");
    command.search.flags = command.flags;

    if (command.list_defects)
        return prove_list();
    if (command.prove)
        return prove_all(command.search.first_seed, command.seconds_each, command.search.jobs);
    if (command.defect && prove_switch_on(command.defect) != 0)
        return 2;
    if (command.has_seed)
        return search_replay(&command.search, command.seed);
    return search_run(&command.search);
}
