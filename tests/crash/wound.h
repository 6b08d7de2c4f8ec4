/* What damage.c did to a log: what the judges of the log and of the scrub go by. */
#ifndef CRASH_WOUND_H
#define CRASH_WOUND_H

#include "tests/crash/history.h"
#include "tests/crash/layout.h"

struct wound {
    bool is_hurt; /* any file of the log has changed */
    bool hurt_segments[LAYOUT_SEGMENTS_MAX];
    bool hurt_headers[LAYOUT_SEGMENTS_MAX];
    bool is_missing[LAYOUT_SEGMENTS_MAX];
    bool hurt_frames[LAYOUT_FRAMES_MAX];
    bool cut_frames[LAYOUT_FRAMES_MAX];  /* hurt, and the file ends within */
    bool torn_frames[LAYOUT_FRAMES_MAX]; /* hurt as a torn write could have left them */
    bool whole_records[LOG_RECORDS_MAX];
    uint64_t end;     /* where the log would end, were it not hurt */
    bool is_refusing; /* it takes no appends, and tells that it ends at: */
    uint64_t told_end;
    bool is_mended;
};

/* Whether nobody can tell that frame `cut` and all behind it had been durable. */
bool wound_can_be_cut(const struct layout *layout, const struct wound *wound, unsigned cut);

/* ---- scrub.c ---- */

/* A pass over the broken store, before a log of it is opened, or while some are. */
void scrub_broken(struct history *history);

/* What the last pass told of a log that was `before` when it got its wound. */
void scrub_judge(struct history *history, const struct log_model *log, const struct layout *before,
                 const struct wound *wound);

/* Another pass, after logs were repaired; and that it tells of no damage in this one. */
void scrub_again(struct history *history);
void scrub_judge_mended(struct history *history, const struct log_model *log);

#endif
