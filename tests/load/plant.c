/*
 * The check is seen to fail: after a few kills, faults of the program are pretended one by one, and
 * each has to be found, by the words that belong to it.
 */
#include <stdio.h>
#include <string.h>

#include "tests/load/check.h"
#include "tests/load/kill.h"
#include "tests/load/load.h"
#include "wal/base.h"

struct fault {
    const char *name;
    const char *found; /* part of the first violation */
};

static const struct fault faults[PLANT_COUNT] = {
    [PLANT_DROP] = {"drop", "is not there"},
    [PLANT_ALTER] = {"alter", "not what it was"},
    [PLANT_CUT] = {"cut", "not as long as it was"},
    [PLANT_STRANGER] = {"stranger", "in place of a promised record"},
    [PLANT_DOUBLE] = {"double", "belongs to offset"},
    [PLANT_SWAP] = {"swap", "belongs to offset"},
    [PLANT_REORDER] = {"reorder", "out of its writer's order"},
    [PLANT_HALF_BATCH] = {"half-batch", "not whole"},
    [PLANT_SINGLE] = {"single", "differ from those appended"},
    [PLANT_LOST_END] = {"lost-end", "records were promised up to"},
    [PLANT_FALL] = {"fall", "is committed, which had been"},
};

/* Acknowledged, and an append of its own. */
static struct entry *find_alone(struct journal *journal, unsigned log, uint64_t offset,
                                struct content_id *ret_id)
{
    if (!journal_owner(&journal->logs[log], offset, ret_id))
        return NULL;
    struct entry *entry = journal_find(journal, *ret_id);
    return entry->acknowledged && entry->count == 1 ? entry : NULL;
}

/* Two records of one writer, the first in the middle of a log. */
static bool choose(struct checker *checker)
{
    for (unsigned log = 0; log < JOURNAL_LOGS; log++) {
        uint64_t end = checker->journal->logs[log].end;
        for (uint64_t offset = end / 2; offset < end; offset++) {
            struct content_id id, other;
            if (!find_alone(checker->journal, log, offset, &id))
                continue;
            for (uint64_t later = offset + 1; later < end; later++) {
                if (!find_alone(checker->journal, log, later, &other) || other.writer != id.writer)
                    continue;
                checker->plant_log = log;
                checker->plant_offset = offset;
                checker->plant_later = later;
                return true;
            }
        }
    }
    return false;
}

/* What was acknowledged for the two offsets is the other way round. */
static void swap_owners(struct checker *checker)
{
    struct log_book *log = &checker->journal->logs[checker->plant_log];
    struct content_id first = log->who[checker->plant_offset];
    struct content_id second = log->who[checker->plant_later];
    log->who[checker->plant_offset] = second;
    log->who[checker->plant_later] = first;
    journal_find(checker->journal, first)->offset = checker->plant_later;
    journal_find(checker->journal, second)->offset = checker->plant_offset;
}

static int check_with(struct checker *checker, unsigned port)
{
    struct log_book *log = &checker->journal->logs[checker->plant_log];
    const struct log_book as_it_was = *log;
    struct content_id id;
    struct entry *entry =
        find_alone(checker->journal, checker->plant_log, checker->plant_offset, &id);
    must(entry);
    if (checker->plant == PLANT_REORDER)
        swap_owners(checker);
    if (checker->plant == PLANT_HALF_BATCH)
        entry->count = 2;
    if (checker->plant == PLANT_LOST_END)
        log->end++;
    if (checker->plant == PLANT_FALL)
        log->committed_offset += 1000;

    int violations = checker_run(checker, port, true);

    if (checker->plant == PLANT_REORDER)
        swap_owners(checker);
    entry->count = 1;
    log->end = as_it_was.end;
    log->committed_offset = as_it_was.committed_offset;
    return violations;
}

static int try_all(struct checker *checker, unsigned port)
{
    unsigned found = 0;
    checker->learns = false;
    for (unsigned i = PLANT_NONE + 1; i < PLANT_COUNT; i++) {
        checker->plant = (enum plant)i;
        int violations = check_with(checker, port);
        bool fine = violations > 0 && strstr(checker->first_violation, faults[i].found);
        if (violations < 0)
            return EXIT_TROUBLE;
        if (fine)
            found++;
        else
            complain("planted \"%s\": %d violations, the first of them \"%s\", wanted \"%s\"",
                     faults[i].name, violations, checker->first_violation, faults[i].found);
    }
    checker->plant = PLANT_NONE;
    if (checker_run(checker, port, true) != 0) {
        complain("there are violations without a planted fault");
        return EXIT_VIOLATION;
    }
    struct content_id first, second;
    must(journal_owner(&checker->journal->logs[0], 0, &first));
    must(journal_owner(&checker->journal->logs[0], 1, &second));
    if (journal_acknowledge(checker->journal, first, 1) ||
        journal_acknowledge(checker->journal, second, 0)) {
        complain("an offset that was given out twice went unseen");
        return EXIT_TROUBLE;
    }
    printf("load plants: %u of %u planted faults were found\n", found, PLANT_COUNT - 1);
    return found == PLANT_COUNT - 1 ? 0 : EXIT_TROUBLE;
}

int run_plants(struct program *program)
{
    struct kill_run run;
    int status = kill_open(&run, program);
    while (status == 0 && run.cycle < 3)
        status = kill_cycle(&run);
    if (status == 0 && !choose(&run.checker)) {
        complain("no two appends of one writer were acknowledged");
        status = EXIT_TROUBLE;
    }
    if (status == 0)
        status = try_all(&run.checker, program->port);
    if (status == 0)
        status = program_stop(program);
    kill_close(&run);
    return status;
}
