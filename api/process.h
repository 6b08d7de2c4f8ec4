/* What the kernel knows of this process: for monitoring. */
#ifndef API_PROCESS_H
#define API_PROCESS_H

#include <stdint.h>

struct process_stats {
    uint64_t cpu_us; /* of all threads, in user space and in the kernel */
    uint64_t resident_bytes, virtual_bytes;
    uint64_t open_fds, max_fds;
};

/* Opens what is read later, before the process may lose the right to. Done by the others where it
 * was not; given back by process_close(). */
void process_open(void);
void process_close(void);

/* Reads /proc/self; what cannot be read is 0. */
void process_stats(struct process_stats *ret_stats);

/* When the process was started, in microseconds since 1970; 0 if it cannot be told. As the clock
 * stood at process_open(). */
uint64_t process_started_us(void);

#endif
