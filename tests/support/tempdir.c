#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/tempdir.h"

#define OPEN_DIRS_MAX 16

struct folder {
    char *path;
    pid_t owner;
    struct folder *next;
};

static struct folder *folders;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)remove(path);
    return 0;
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_entry, OPEN_DIRS_MAX, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* A forked child inherits list and handler; the folders are still its parent's. */
static void remove_all(void)
{
    for (const struct folder *folder = folders; folder; folder = folder->next) {
        if (folder->owner == getpid())
            remove_tree(folder->path);
    }
}

static void remember(const char *path)
{
    struct folder *folder = calloc(1, sizeof(*folder));

    if (!folder)
        fail("tempdir_make");
    folder->path = strdup(path);
    if (!folder->path)
        fail("tempdir_make");
    if (!folders && atexit(remove_all) != 0)
        fail("tempdir_make");

    folder->owner = getpid();
    folder->next = folders;
    folders = folder;
}

char *tempdir_make(void)
{
    const char *parent = getenv("TMPDIR");
    char *absolute;
    char *path;

    absolute = realpath(parent && parent[0] ? parent : ".", NULL);
    if (!absolute)
        fail("TMPDIR");
    if (asprintf(&path, "%s/wald-test-XXXXXX", absolute) < 0)
        fail("tempdir_make");
    free(absolute);
    if (!mkdtemp(path))
        fail(path);

    remember(path);
    return path;
}

void tempdir_remove(const char *path)
{
    for (struct folder **at = &folders; *at; at = &(*at)->next) {
        struct folder *folder = *at;

        if (strcmp(folder->path, path) != 0)
            continue;
        *at = folder->next;
        free(folder->path);
        free(folder);
        break;
    }
    remove_tree(path);
}
