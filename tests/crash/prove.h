/*
 * The proof that the search can fail: every defect of wal/defects.h is switched on in turn and has
 * to be caught. Only a build with WAL_PLANTED_DEFECTS has defects.
 */
#ifndef CRASH_PROVE_H
#define CRASH_PROVE_H

#include <stdint.h>

/* Each of these returns the exit status, and says so where the build has no defects. */
int prove_list(void);
/* By name or number; 0: it is on now. */
int prove_switch_on(const char *defect);
int prove_all(uint64_t first_seed, uint64_t seconds_each, unsigned jobs);

#endif
