/*
 * What a person is told on stderr: complaints, and how far a command has come. On a terminal that is
 * a bar which is written over, elsewhere a line now and then; stdout is for what was asked for.
 */
#ifndef CLIENT_SAY_H
#define CLIENT_SAY_H

#include <stdbool.h>
#include <stdint.h>

/* What a command exits with; docs/wald.1 has the same list. */
enum exit_status {
    EXIT_OK = 0,
    EXIT_REFUSED = 1,      /* the service refused it, and said why */
    EXIT_USAGE = 64,       /* the command line is wrong */
    EXIT_DATA = 65,        /* what was to be sent, or came, is damaged or cut */
    EXIT_UNREACHABLE = 69, /* no service there, or it was lost */
    EXIT_SYSTEM = 71,      /* no memory, no random numbers, no libcurl */
    EXIT_IO = 74,          /* a file, stdin or stdout */
    EXIT_TEMPORARY = 75,   /* the service could not do it now, or cannot tell whether it did */
};

/* "wald: ..." and the end of a line. Control characters are left out, since some of it was sent by
 * somebody else. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, and returns EXIT_SYSTEM. */
int complain_memory(void);

struct progress {
    const char *verb; /* "appended" */
    uint64_t records, bytes;
    uint64_t done, total; /* in any unit; total 0: not known */
    bool quiet;
    /* private */
    uint64_t begun_us, shown_us;
    bool is_terminal;
};

/* There is one at a time. `quiet`: nothing is ever shown. */
void progress_begin(struct progress *progress, const char *verb, bool quiet);

/* Shows it, if it is time again. Cheap. */
void progress_show(struct progress *progress);

/* Takes a bar away, before something is printed on what may be the same terminal. */
void progress_hide(void);

/* Shows the last of it, on a line that stays. Without progress_begin() before, does nothing. */
void progress_end(struct progress *progress);

uint64_t now_us(void); /* on the monotonic clock */

#endif
