/*
 * Runs a fuzz target over the files of its corpus, once each, where libFuzzer is not there to do it:
 * with gcc, and in every ordinary run of the tests. Takes files, and folders of files.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned inputs_replayed;

/* The input in a block of exactly its size, so that a sanitizer sees the first byte read past it.
 * NULL on failure, with errno set. */
static uint8_t *file_read(const char *path, size_t *ret_size)
{
    uint8_t *data = NULL;
    long size = -1;

    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;

    if (fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    if (size >= 0 && fseek(file, 0, SEEK_SET) == 0)
        data = malloc((size_t)size);
    if (data && fread(data, 1, (size_t)size, file) != (size_t)size) {
        free(data);
        data = NULL;
        errno = EIO;
    }

    fclose(file);
    *ret_size = (size_t)size;
    return data;
}

static int file_replay(const char *path)
{
    size_t size = 0;
    uint8_t *data = file_read(path, &size);

    if (!data) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    /* Printed first and flushed: the last line before a crash names its input. */
    printf("%s (%zu bytes)\n", path, size);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    inputs_replayed++;
    return 0;
}

static int entry_is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* A file, or each file of a folder by name. */
static int path_replay(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, entry_is_visible, alphasort);
    int error = 0;

    if (count < 0)
        return file_replay(path);

    for (int i = 0; i < count; i++) {
        char file[PATH_MAX];

        snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
        if (error == 0)
            error = file_replay(file);
        free(entries[i]);
    }
    free(entries);
    return error;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (path_replay(argv[i]) < 0)
            return EXIT_FAILURE;
    }
    printf("%u inputs replayed\n", inputs_replayed);
    /* A corpus that is not there must not look like one that passed. */
    return inputs_replayed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
