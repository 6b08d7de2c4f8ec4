/* The parts of a request target. Nothing is percent-decoded, anywhere: no name here needs it. */
#ifndef API_TARGET_H
#define API_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#define TARGET_SEGMENTS_MAX 4
#define TARGET_PARAMETERS_MAX 8

struct target {
    const char *segments[TARGET_SEGMENTS_MAX];
    unsigned segment_count; /* TARGET_SEGMENTS_MAX + 1: more than there is room for */
    struct {
        const char *name, *value;
    } parameters[TARGET_PARAMETERS_MAX];
    unsigned parameter_count; /* likewise */
};

/* Takes "/a/b?c=d" apart in place; the parts point into `raw`, which begins with '/'. */
void target_parse(char *raw, struct target *ret_target);

/* NULL if there is none. */
const char *target_parameter(const struct target *target, const char *name);

/* Decimal digits only, no sign, no leading zero but "0" itself. */
bool number_parse(const char *text, uint64_t *ret_number);

#endif
