#include "api/deadline.h"

#include <stddef.h>

#include "wal/base.h"

/* How late a loop comes that has other things to do as well. */
#define LATE_US UINT64_C(100000)

void deadlines_init(struct deadlines *deadlines, const uint64_t timeouts_us[DEADLINE_KINDS],
                    uint64_t now_us)
{
    *deadlines = (struct deadlines){.seen_us = now_us};
    for (unsigned kind = 0; kind < DEADLINE_KINDS; kind++)
        deadlines->timeouts_us[kind] = timeouts_us[kind];
}

void deadline_clear(struct deadlines *deadlines, struct deadline *deadline)
{
    if (!deadline->is_set)
        return;
    deadline->is_set = false;
    if (deadline->prev)
        deadline->prev->next = deadline->next;
    else
        deadlines->lists[deadline->kind].first = deadline->next;
    if (deadline->next)
        deadline->next->prev = deadline->prev;
    else
        deadlines->lists[deadline->kind].last = deadline->prev;
}

void deadline_set(struct deadlines *deadlines, struct deadline *deadline, enum deadline_kind kind)
{
    deadline_clear(deadlines, deadline);
    deadline->kind = kind;
    deadline->is_set = true;
    deadline->at_us = deadlines->patience_us + deadlines->timeouts_us[kind];
    deadline->next = NULL;
    deadline->prev = deadlines->lists[kind].last;
    if (deadline->prev)
        deadline->prev->next = deadline;
    else
        deadlines->lists[kind].first = deadline;
    deadlines->lists[kind].last = deadline;
}

void deadlines_look(struct deadlines *deadlines, uint64_t now_us, uint64_t slept_us)
{
    uint64_t passed = now_us - deadlines->seen_us;
    if (slept_us < UINT64_MAX - LATE_US)
        passed = min_u64(passed, slept_us + LATE_US);
    deadlines->patience_us += passed;
    deadlines->seen_us = now_us;
}

struct deadline *deadlines_take(struct deadlines *deadlines)
{
    for (unsigned kind = 0; kind < DEADLINE_KINDS; kind++) {
        struct deadline *first = deadlines->lists[kind].first;
        if (first && first->at_us <= deadlines->patience_us) {
            deadline_clear(deadlines, first);
            return first;
        }
    }
    return NULL;
}

uint64_t deadlines_wait_us(const struct deadlines *deadlines)
{
    uint64_t end_us = UINT64_MAX;
    for (unsigned kind = 0; kind < DEADLINE_KINDS; kind++) {
        const struct deadline *first = deadlines->lists[kind].first;
        if (first)
            end_us = min_u64(end_us, first->at_us);
    }
    if (end_us == UINT64_MAX)
        return UINT64_MAX;
    return end_us > deadlines->patience_us ? end_us - deadlines->patience_us : 0;
}
