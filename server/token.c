/* wald token: makes a token, and the line of the file of tokens that makes it known. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/auth.h"
#include "server/file_commands.h"
#include "server/files.h"
#include "wal/base.h"

static const char about[] =
    "Makes a token of 256 random bits and prints it, for the client, and then the line for the file\n"
    "of tokens (wald serve --tokens), which has its hash alone. With --tokens the line is added to\n"
    "that file, and the token alone is printed. NAME is for people; RIGHTS are one or more of read,\n"
    "append and admin, and LOGS names of logs, both with commas between them: \"carts-*\" is all that\n"
    "begin with carts-, and \"*\" every log. A service that runs reads the file again on SIGHUP.\n";

static const char statuses[] =
    "Exit status: 0 done, 64 the command line is wrong, 71 no memory or no "
    "randomness,\n74 the file cannot be read or written.\n";

/* Errors: -errno; that there is no file is none. *ret_text is on the heap. */
static int read_all(int fd, char **ret_text, size_t *ret_bytes)
{
    char *text = malloc(AUTH_FILE_BYTES_MAX + 1);
    size_t bytes = 0;
    if (!text)
        return -ENOMEM;
    while (fd >= 0 && bytes <= AUTH_FILE_BYTES_MAX) {
        ssize_t got = read(fd, text + bytes, AUTH_FILE_BYTES_MAX + 1 - bytes);
        if (got < 0) {
            int error = -errno;
            free(text);
            return error;
        }
        if (got == 0)
            break;
        bytes += (size_t)got;
    }
    *ret_text = text;
    *ret_bytes = bytes;
    return 0;
}

/* Whether the file would be fine with the line behind it. */
static int check(const char *before, size_t before_bytes, const char *line)
{
    char reason[AUTH_REASON_BYTES];
    struct auth *auth = NULL;
    char *all = NULL;
    if (asprintf(&all, "%.*s\n%s", (int)before_bytes, before, line) < 0)
        return files_error("the token", -ENOMEM);
    int rc =
        before_bytes > AUTH_FILE_BYTES_MAX ? -EFBIG : auth_parse(&auth, all, strlen(all), reason);
    if (rc == -EFBIG)
        files_complain("The file is larger than 1 MiB.");
    else if (rc < 0)
        files_complain("That cannot be a line of the file of tokens; %s.", reason);
    auth_free(auth);
    free(all);
    return rc < 0 ? FILES_USAGE : FILES_OK;
}

/* In one piece, so that a service never reads half of it. */
static int write_line(int fd, const char *path, const char *line, bool begins_line)
{
    char *piece = NULL;
    int bytes = asprintf(&piece, "%s%s", begins_line ? "" : "\n", line);
    if (bytes < 0)
        return files_error(path, -ENOMEM);
    ssize_t written = write(fd, piece, (size_t)bytes);
    free(piece);
    if (written < 0 || fsync(fd) < 0)
        return files_error(path, -errno);
    return written == bytes ? FILES_OK : files_error(path, -ENOSPC);
}

static int add_to_file(const char *path, const char *line)
{
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    char *before = NULL;
    size_t bytes = 0;
    int rc = fd < 0 ? -errno : read_all(fd, &before, &bytes);
    int status = rc < 0 ? files_error(path, rc) : check(before, bytes, line);
    if (status == FILES_OK)
        status = write_line(fd, path, line, bytes == 0 || before[bytes - 1] == '\n');
    free(before);
    if (fd >= 0)
        close(fd);
    return status;
}

int command_token(int argc, const char *const *argv)
{
    const char *arguments[3], *path = NULL;
    unsigned count;
    char token[AUTH_TOKEN_BYTES + 1];
    const struct files_option options[] = {
        {.name = "tokens", .help = "FILE  add the line to this file", .text = &path},
    };
    const struct files_usage usage = {
        .arguments = "NAME RIGHTS LOGS",
        .about = about,
        .statuses = statuses,
        .options = options,
        .option_count = ARRAY_SIZE(options),
        .arguments_min = 3,
        .arguments_max = 3,
    };
    int status = files_options(&usage, argc, argv, arguments, &count);
    if (status >= 0)
        return status;
    int rc = auth_make_token(token);
    if (rc < 0) {
        files_complain("The system has no randomness to give: %s.", strerror(-rc));
        return FILES_SYSTEM;
    }
    char *line = auth_make_line(arguments[0], token, arguments[1], arguments[2]);
    if (!line)
        return files_error("the token", -ENOMEM);
    status = path ? add_to_file(path, line) : check("", 0, line);
    if (status == FILES_OK)
        printf("%s\n%s", token, path ? "" : line);
    free(line);
    explicit_bzero(token, sizeof(token));
    return files_finish(status);
}
