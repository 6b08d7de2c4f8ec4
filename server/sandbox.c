#include "server/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wal/base.h"

/* Sanitizers read /proc, trace their own process and write elsewhere: with them there is no sandbox. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER true
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER false
#endif

#define PATH_SHOWN 60 /* of a path, its end */

static const char *const names[SANDBOX_LAYERS] = {
    [SANDBOX_PRIVILEGES] = "privileges", [SANDBOX_DUMPS] = "dumps", [SANDBOX_FILES] = "files",
    [SANDBOX_CALLS] = "calls",           [SANDBOX_RING] = "ring",
};

void sandbox_say(struct sandbox_layer *layer, bool active, const char *format, ...)
{
    va_list arguments;
    layer->active = active;
    va_start(arguments, format);
    vsnprintf(layer->text, sizeof(layer->text), format, arguments);
    va_end(arguments);
}

void sandbox_init(struct sandbox *sandbox, enum sandbox_mode mode)
{
    sandbox->mode = mode;
    for (unsigned i = 0; i < SANDBOX_LAYERS; i++) {
        sandbox->layers[i].name = names[i];
        sandbox_say(&sandbox->layers[i], false, "%s",
                    HAS_SANITIZER         ? "a build with sanitizers has no sandbox"
                    : mode == SANDBOX_OFF ? "switched off (--sandbox off)"
                                          : "not entered yet");
    }
}

static bool is_off(const struct sandbox *sandbox)
{
    return HAS_SANITIZER || sandbox->mode == SANDBOX_OFF;
}

/* ---- privileges ---- */

typedef struct __user_cap_data_struct capability_sets[_LINUX_CAPABILITY_U32S_3];

static int set_capabilities(capability_sets sets)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    return (int)syscall(SYS_capset, &header, sets) < 0 ? -errno : 0;
}

static unsigned permitted_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    capability_sets sets = {{0}};
    return (int)syscall(SYS_capget, &header, sets) < 0 ? 0 : sets[0].permitted;
}

/* What this process has of these, and does not use. */
static void lay_aside(unsigned capabilities)
{
    capability_sets sets = {{0}};
    sets[0].permitted = permitted_capabilities() & capabilities;
    (void)set_capabilities(sets);
}

/* The first of the files that are read again and cannot be, as things are; NULL: none. */
static const char *find_unreadable(const struct sandbox_plan *plan)
{
    for (size_t i = 0; i < plan->readable_count; i++) {
        int fd = open(plan->readable[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 && errno == EACCES)
            return plan->readable[i];
        if (fd >= 0)
            close(fd);
    }
    return NULL;
}

/* What root has to keep since not all that serving takes is root's: it could not open the logs of another
 * user, nor read his tokens again. Everything else is gone when this returns. */
static unsigned find_needed(const struct sandbox_plan *plan, char *why, size_t bytes)
{
    static const unsigned all = 1u << CAP_DAC_OVERRIDE, reading = 1u << CAP_DAC_READ_SEARCH;
    struct stat about;
    const char *unreadable;
    if (geteuid() != 0)
        return 0;
    lay_aside(all | reading);
    unsigned had = permitted_capabilities();
    if (stat(plan->data, &about) == 0 && about.st_uid != 0) {
        snprintf(why, bytes,
                 "root keeps CAP_DAC_OVERRIDE, since the data directory belongs to user %u",
                 about.st_uid);
        return had & all;
    }
    if (!(unreadable = find_unreadable(plan)))
        return 0;
    size_t length = strlen(unreadable);
    snprintf(why, bytes, "root keeps CAP_DAC_%s, to read %s again",
             had & reading ? "READ_SEARCH" : "OVERRIDE",
             unreadable + (length > PATH_SHOWN ? length - PATH_SHOWN : 0));
    return had & reading ? reading : had & all;
}

static void drop_privileges(const struct sandbox_plan *plan, struct sandbox_layer *layer)
{
    capability_sets sets = {{0}};
    char why[128];
    /* The bounding set matters to programs that are executed, and only the mighty may change it. */
    for (int i = 0; i <= CAP_LAST_CAP; i++)
        (void)prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    unsigned kept = find_needed(plan, why, sizeof(why));
    sets[0].effective = sets[0].permitted = kept;
    int rc = set_capabilities(sets);
    if (rc < 0)
        sandbox_say(layer, false, "capabilities cannot be dropped: %s", strerror(-rc));
    else if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        sandbox_say(layer, false, "new privileges cannot be refused: %s", strerror(errno));
    else if (kept)
        sandbox_say(layer, false, "%s: run as that user", why);
    else
        sandbox_say(layer, true, "no capabilities, and no way to new ones");
}

static void refuse_dumps(struct sandbox_layer *layer)
{
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        sandbox_say(layer, false, "%s", strerror(errno));
    else
        sandbox_say(layer, true, "memory is not dumped, nor shown to other processes");
}

/* ---- the steps ---- */

static bool is_fine(const struct sandbox *sandbox, unsigned first, unsigned last)
{
    bool fine = true;
    for (unsigned i = first; i <= last; i++)
        fine = fine && sandbox->layers[i].active;
    return fine || sandbox->mode != SANDBOX_ON;
}

bool sandbox_enter(struct sandbox *sandbox, const struct sandbox_plan *plan)
{
    sandbox_init(sandbox, plan->mode);
    if (!is_off(sandbox)) {
        drop_privileges(plan, &sandbox->layers[SANDBOX_PRIVILEGES]);
        refuse_dumps(&sandbox->layers[SANDBOX_DUMPS]);
        sandbox_files_enter(plan, &sandbox->layers[SANDBOX_FILES]);
    }
    return is_fine(sandbox, SANDBOX_PRIVILEGES, SANDBOX_FILES);
}

bool sandbox_close(struct sandbox *sandbox, bool kill)
{
    if (!is_off(sandbox))
        sandbox_calls_close(kill, &sandbox->layers[SANDBOX_CALLS]);
    return is_fine(sandbox, SANDBOX_CALLS, SANDBOX_RING);
}

void sandbox_note_ring(struct sandbox *sandbox, bool has_ring, bool restricted)
{
    sandbox_say(&sandbox->layers[SANDBOX_RING], !has_ring || restricted, "%s",
                !has_ring    ? "there is no ring"
                : restricted ? "held to the operations of the log"
                             : "the kernel does not take restrictions of rings");
}

/* ---- what is told ---- */

const struct sandbox_layer *sandbox_missing(const struct sandbox *sandbox)
{
    for (unsigned i = 0; i < SANDBOX_LAYERS; i++) {
        if (!sandbox->layers[i].active)
            return &sandbox->layers[i];
    }
    return NULL;
}

void sandbox_list(const struct sandbox *sandbox, bool active, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < SANDBOX_LAYERS && used < bytes; i++) {
        if (sandbox->layers[i].active == active)
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", used > 0 ? "," : "",
                                     sandbox->layers[i].name);
    }
}

bool sandbox_examine(struct sandbox *sandbox)
{
    sandbox_init(sandbox, SANDBOX_AUTO);
    if (HAS_SANITIZER)
        return false;
    sandbox_say(&sandbox->layers[SANDBOX_PRIVILEGES], true, "can be dropped");
    sandbox_say(&sandbox->layers[SANDBOX_DUMPS], true, "can be refused");
    sandbox_files_examine(&sandbox->layers[SANDBOX_FILES]);
    sandbox_calls_examine(&sandbox->layers[SANDBOX_CALLS]);
    return true;
}
