/*
 * Runs a fuzz target over the files of its corpus, once each, where libFuzzer is not there to do it:
 * with gcc, and in every ordinary run of the tests.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        size_t size = 0;
        uint8_t *data = file_read(argv[i], &size);
        if (!data) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
            return EXIT_FAILURE;
        }

        /* Printed first and flushed: the last line before a crash names its input. */
        printf("%s (%zu bytes)\n", argv[i], size);
        fflush(stdout);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    printf("%d inputs replayed\n", argc - 1);
    return argc > 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
