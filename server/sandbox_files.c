/*
 * Landlock: from here on files can be opened, made and removed in the data directory alone. It works
 * where the kernel itself opens files, so it holds for rings, too.
 *
 * ABI 1 (Linux 5.13) refuses every rename from one folder to another, which is how logs are made and
 * deleted, so ABI 2 (5.19) is the least. What later ones add is used where it is there: cutting files
 * (3), TCP (4), commands to devices (5), signals and abstract sockets (6).
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/sandbox.h"
#include "wal/base.h"

#define ABI_LEAST 2
#define ABI_NETWORK 4

/* What Debian 12's headers do not name yet. */
#define FS_TRUNCATE (UINT64_C(1) << 14)
#define FS_IOCTL_DEV (UINT64_C(1) << 15)
#define NET_BIND_TCP (UINT64_C(1) << 0)
#define NET_CONNECT_TCP (UINT64_C(1) << 1)
#define SCOPE_ABSTRACT_SOCKET (UINT64_C(1) << 0)
#define SCOPE_SIGNAL (UINT64_C(1) << 1)

/* As of ABI 6; an older kernel is told of as much as it knows. */
struct ruleset {
    uint64_t fs, net, scoped;
};

#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_REMOVE LANDLOCK_ACCESS_FS_REMOVE_FILE
#define FS_DATA                                                                                    \
    (FS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |                    \
     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |   \
     LANDLOCK_ACCESS_FS_REFER | FS_TRUNCATE)
#define FS_NEVER                                                                                   \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_SOCK |    \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM |  \
     FS_IOCTL_DEV)

/* 0 or a negative errno where there is none. */
static int landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return abi < 0 ? -errno : (int)abi;
}

static struct ruleset rules_of(int abi)
{
    struct ruleset rules = {.fs = FS_DATA | FS_NEVER};
    if (abi < 3)
        rules.fs &= ~FS_TRUNCATE;
    if (abi < 5)
        rules.fs &= ~FS_IOCTL_DEV;
    if (abi >= ABI_NETWORK)
        rules.net = NET_BIND_TCP | NET_CONNECT_TCP;
    if (abi >= 6)
        rules.scoped = SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL;
    return rules;
}

static size_t ruleset_bytes(int abi)
{
    if (abi < ABI_NETWORK)
        return offsetof(struct ruleset, net);
    return abi < 6 ? offsetof(struct ruleset, scoped) : sizeof(struct ruleset);
}

static int allow(int ruleset, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {
        .allowed_access = access,
        .parent_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC),
    };
    if (rule.parent_fd < 0)
        return -errno;
    int rc = (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    rc = rc < 0 ? -errno : 0;
    close(rule.parent_fd);
    return rc;
}

/* The folder that a path is in, and the one where the file is that it leads to. */
static int allow_beside(int ruleset, const char *path, uint64_t access)
{
    char folder[PATH_MAX], target[PATH_MAX];
    if ((size_t)snprintf(folder, sizeof(folder), "%s", path) >= sizeof(folder))
        return -ENAMETOOLONG;
    int rc = allow(ruleset, dirname(folder), access);
    if (rc == 0 && realpath(path, target))
        rc = allow(ruleset, dirname(target), access);
    return rc;
}

/* Where a link on the way leads to, there its next target will be, such as another release beside the one
 * that is current. What lies in "/" is too much. */
static int allow_releases(int ruleset, const char *path, uint64_t access)
{
    char way[PATH_MAX], target[PATH_MAX];
    struct stat about;
    int rc = 0;
    for (const char *end = strchr(path + 1, '/'); end && rc == 0; end = strchr(end + 1, '/')) {
        snprintf(way, sizeof(way), "%.*s", (int)(end - path), path);
        if (lstat(way, &about) < 0 || !S_ISLNK(about.st_mode) || !realpath(way, target))
            continue;
        const char *folder = dirname(target);
        rc = strcmp(folder, "/") == 0 ? 0 : allow(ruleset, folder, access);
    }
    return rc;
}

static int allow_reading(int ruleset, const char *path, uint64_t access)
{
    int rc = allow_beside(ruleset, path, access);
    return rc == 0 ? allow_releases(ruleset, path, access) : rc;
}

static int add_rules(int ruleset, const struct sandbox_plan *plan, uint64_t known,
                     const char **ret_path)
{
    int rc = allow(ruleset, *ret_path = plan->data, FS_DATA & known);
    for (size_t i = 0; i < plan->readable_count && rc == 0; i++)
        rc = allow_reading(ruleset, *ret_path = plan->readable[i], FS_READ);
    for (size_t i = 0; i < plan->removable_count && rc == 0; i++)
        rc = allow_beside(ruleset, *ret_path = plan->removable[i], FS_REMOVE);
    return rc;
}

static void describe_missing(int abi, struct sandbox_layer *layer)
{
    if (abi > 0)
        sandbox_say(layer, false,
                    "Landlock is too old here (ABI %d), %d is needed: Linux 5.19 or newer", abi,
                    ABI_LEAST);
    else if (abi == -EOPNOTSUPP)
        sandbox_say(layer, false,
                    "Landlock is switched off: it has to be in lsm= of the kernel's "
                    "command line");
    else
        sandbox_say(layer, false,
                    "no Landlock (%s): the kernel is older than 5.19, was built without it, or a "
                    "seccomp filter forbids it",
                    strerrorname_np(-abi));
}

static void describe(int abi, struct sandbox_layer *layer)
{
    sandbox_say(layer, true, "the data directory alone%s (Landlock ABI %d)",
                abi >= ABI_NETWORK ? ", and no new TCP connections or listeners" : "", abi);
}

void sandbox_files_enter(const struct sandbox_plan *plan, struct sandbox_layer *layer)
{
    int abi = landlock_abi();
    if (abi < ABI_LEAST) {
        describe_missing(abi, layer);
        return;
    }
    const struct ruleset rules = rules_of(abi);
    const char *path = "";
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, ruleset_bytes(abi), 0);
    int rc = ruleset < 0 ? -errno : add_rules(ruleset, plan, rules.fs, &path);
    /* Allowed to whoever cannot gain privileges. */
    if (rc == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                    syscall(SYS_landlock_restrict_self, ruleset, 0) < 0))
        rc = -errno;
    if (ruleset >= 0)
        close(ruleset);
    if (rc < 0)
        sandbox_say(layer, false, "Landlock refuses: %.80s%s%s", path, path[0] ? ": " : "",
                    strerror(-rc));
    else
        describe(abi, layer);
}

void sandbox_files_examine(struct sandbox_layer *layer)
{
    int abi = landlock_abi();
    if (abi < ABI_LEAST)
        describe_missing(abi, layer);
    else
        describe(abi, layer);
}
