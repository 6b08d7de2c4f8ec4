/*
 * What the process gives up once it needs it no more, in two steps:
 *
 *   sandbox_enter()  on the thread that all others are made by, before it makes them: privileges,
 *                    memory dumps, files outside of the data directory
 *   sandbox_close()  when all is set up: every system call that serving does not take, for all
 *                    threads at once
 *
 * Each layer says of itself whether it is there, and if not why; nothing is claimed that the kernel
 * has not confirmed. Neither step can be undone.
 */
#ifndef SERVER_SANDBOX_H
#define SERVER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

enum sandbox_mode { SANDBOX_AUTO, SANDBOX_ON, SANDBOX_OFF };

enum sandbox_layer_id {
    SANDBOX_PRIVILEGES, /* no_new_privs, and no capabilities */
    SANDBOX_DUMPS,      /* memory is neither dumped nor shown to other processes */
    SANDBOX_FILES,      /* Landlock */
    SANDBOX_CALLS,      /* seccomp */
    SANDBOX_RING,       /* io_uring held to the log's operations; wal/ does it */
    SANDBOX_LAYERS,
};

struct sandbox_layer {
    const char *name;
    bool active;
    char text[160]; /* what it does, or why it is not there */
};

struct sandbox_plan {
    enum sandbox_mode mode;
    const char *data; /* has to be there; all in it may be read, written, made and removed */
    /* Files that are read again later, such as certificates. What lies beside them can be read too, and
     * beside the targets of links on the way: a file that is replaced is another file. */
    const char *const *readable;
    size_t readable_count;
    /* Files that are removed at the end, such as a socket; likewise with what lies beside them. */
    const char *const *removable;
    size_t removable_count;
};

struct sandbox {
    enum sandbox_mode mode;
    struct sandbox_layer layers[SANDBOX_LAYERS];
};

/* All layers off. */
void sandbox_init(struct sandbox *sandbox, enum sandbox_mode mode);

/* The first step. False: a layer is missing, and the mode is SANDBOX_ON. */
bool sandbox_enter(struct sandbox *sandbox, const struct sandbox_plan *plan);

/* The second step, likewise. `kill` is for tests: a call that is not on the list ends the process
 * where it would be refused with ENOSYS. */
bool sandbox_close(struct sandbox *sandbox, bool kill);

/* What became of the ring. One that is not used needs no restrictions. */
void sandbox_note_ring(struct sandbox *sandbox, bool has_ring, bool restricted);

/* The first layer that is missing; NULL: none. */
const struct sandbox_layer *sandbox_missing(const struct sandbox *sandbox);

/* Names of the layers that are there, or are not, with commas between them. */
void sandbox_list(const struct sandbox *sandbox, bool active, char *text, size_t bytes);

/* What this kernel and this process could have, without changing anything: for doctor. The ring is
 * left out. False: this build has no sandbox at all. */
bool sandbox_examine(struct sandbox *sandbox);

/* ---- private to sandbox*.c ---- */

/* Landlock, for the calling thread and those that it will make. Fills `layer`. */
void sandbox_files_enter(const struct sandbox_plan *plan, struct sandbox_layer *layer);
void sandbox_files_examine(struct sandbox_layer *layer);

/* seccomp, for all threads. Fills `layer`. */
void sandbox_calls_close(bool kill, struct sandbox_layer *layer);
void sandbox_calls_examine(struct sandbox_layer *layer);

void sandbox_say(struct sandbox_layer *layer, bool active, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
