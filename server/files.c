#include "server/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "wal/base.h"
#include "wal/inspect.h"
#include "wal/store.h"

#define BAR_EVERY_US 100000
#define BAR_CELLS 30

static const char *command = "";

/* ---- what is said ---- */

void files_name_command(const char *name)
{
    command = name;
}

void files_complain(const char *format, ...)
{
    va_list arguments;
    (void)fflush(stdout);
    fprintf(stderr, "wald %s: ", command);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

int files_error(const char *what, int error)
{
    switch (error) {
    case -EPROTONOSUPPORT:
        files_complain("%s was written by a newer version of wald: use that one.", what);
        return FILES_NEWER;
    case -ENODATA:
        files_complain("%s holds no segment of a log (a file such as 00000000000000000000.seg).",
                       what);
        return FILES_IO;
    case -EWOULDBLOCK:
        files_complain("%s is in use by another process: stop that service first.", what);
        return FILES_IN_USE;
    case -ENOMEM: files_complain("Out of memory."); return FILES_SYSTEM;
    default: files_complain("%s: %s", what, strerror(-error)); return FILES_IO;
    }
}

int files_finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    files_complain("stdout cannot be written to: %s", strerror(errno));
    return FILES_IO;
}

/* The length of the UTF-8 sequence that the text begins with; 0: it begins with none. */
static size_t utf8_length(const uint8_t *text, size_t bytes)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = text[0] < 0x80             ? 1
                    : (text[0] & 0xe0) == 0xc0 ? 2
                    : (text[0] & 0xf0) == 0xe0 ? 3
                    : (text[0] & 0xf8) == 0xf0 ? 4
                                               : 0;
    if (length < 2 || length > bytes)
        return length > bytes ? 0 : length;
    uint32_t code = text[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3f);
    }
    bool is_good = code >= least[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return is_good ? length : 0;
}

void files_json_text(FILE *out, const void *text, size_t bytes)
{
    const uint8_t *at = text;
    fputc('"', out);
    while (bytes > 0) {
        size_t length = utf8_length(at, bytes);
        if (length == 0)
            fputs("\\ufffd", out);
        else if (*at == '"' || *at == '\\')
            fprintf(out, "\\%c", *at);
        else if (*at < 0x20 || *at == 0x7f)
            fprintf(out, "\\u%04x", *at);
        else
            fwrite(at, 1, length, out);
        length += length == 0;
        at += length;
        bytes -= length;
    }
    fputc('"', out);
}

/* ---- options ---- */

static void print_help(const struct files_usage *usage)
{
    printf("usage: wald %s [OPTION]... %s\n\n%s\n", command, usage->arguments, usage->about);
    for (size_t i = 0; i < usage->option_count; i++) {
        const struct files_option *option = &usage->options[i];
        const char *rest = strstr(option->help, "  ");
        char left[40];
        int value = rest ? (int)(rest - option->help) : 0;
        snprintf(left, sizeof(left), "--%s%s%.*s", option->name, value ? " " : "", value,
                 option->help);
        printf("  %-18s %s\n", left, rest ? rest + 2 : option->help);
    }
    printf("  %-18s %s\n\n%s", "--help", "this text", usage->statuses);
}

static const struct files_option *find_option(const struct files_usage *usage, const char *name,
                                              size_t bytes)
{
    for (size_t i = 0; i < usage->option_count; i++) {
        const char *known = usage->options[i].name;
        if (strlen(known) == bytes && memcmp(known, name, bytes) == 0)
            return &usage->options[i];
    }
    return NULL;
}

static bool set_option(const struct files_option *option, const char *value)
{
    if (option->text) {
        *option->text = value;
        return true;
    }
    char *end;
    errno = 0;
    *option->number = strtoull(value, &end, 10);
    if (errno == 0 && *value >= '0' && *value <= '9' && *end == '\0')
        return true;
    files_complain("--%s takes a number from 0, in digits, not \"%s\".", option->name, value);
    return false;
}

/* One option at argv[*at]. */
static bool take_option(const struct files_usage *usage, int argc, const char *const *argv, int *at)
{
    const char *name = argv[*at] + 2;
    size_t bytes = strcspn(name, "=");
    const struct files_option *option = find_option(usage, name, bytes);
    if (!option) {
        files_complain("%s is not an option. Try: wald %s --help", argv[*at], command);
        return false;
    }
    if (option->flag) {
        *option->flag = true;
        if (name[bytes] == '\0')
            return true;
        files_complain("--%s takes no value.", option->name);
        return false;
    }
    if (name[bytes] == '=')
        return set_option(option, name + bytes + 1);
    if (*at + 1 < argc)
        return set_option(option, argv[++*at]);
    files_complain("--%s needs a value. Try: wald %s --help", option->name, command);
    return false;
}

int files_options(const struct files_usage *usage, int argc, const char *const *argv,
                  const char **ret_arguments, unsigned *ret_count)
{
    bool only_arguments = false;
    *ret_count = 0;
    for (int i = 1; i < argc; i++) {
        if (!only_arguments && strcmp(argv[i], "--help") == 0) {
            print_help(usage);
            return files_finish(FILES_OK);
        }
        if (!only_arguments && strcmp(argv[i], "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && argv[i][0] == '-' && argv[i][1] != '\0') {
            if (argv[i][1] != '-') {
                files_complain("%s is not an option. Try: wald %s --help", argv[i], command);
                return FILES_USAGE;
            }
            if (!take_option(usage, argc, argv, &i))
                return FILES_USAGE;
        } else if (*ret_count < usage->arguments_max) {
            ret_arguments[(*ret_count)++] = argv[i];
        } else {
            files_complain("%s is one argument too many. Try: wald %s --help", argv[i], command);
            return FILES_USAGE;
        }
    }
    if (*ret_count >= usage->arguments_min)
        return -1;
    files_complain("It wants to know where: wald %s %s", command, usage->arguments);
    return FILES_USAGE;
}

/* ---- which logs ---- */

int files_worse(int a, int b)
{
    /* Errors go before findings, damage before a torn end. */
    static const int order[] = {FILES_OK, FILES_TORN, FILES_DAMAGED};
    size_t rank_a = ARRAY_SIZE(order), rank_b = ARRAY_SIZE(order);
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        rank_a = a == order[i] ? i : rank_a;
        rank_b = b == order[i] ? i : rank_b;
    }
    return rank_b > rank_a ? b : a;
}

bool files_is_log(const char *path)
{
    DIR *folder = opendir(path);
    bool found = false;
    struct dirent *entry;
    uint64_t number;
    if (!folder)
        return false;
    while (!found && (entry = readdir(folder)))
        found = inspect_segment_number(entry->d_name, &number);
    closedir(folder);
    return found;
}

/* DIR/logs/NAME */
bool files_split(const char *path, char *ret_dir, char *ret_name, size_t capacity)
{
    char *whole = realpath(path, NULL), *name = whole ? strrchr(whole, '/') : NULL;
    bool fits = name && name != whole && strlen(whole) < capacity;
    if (fits) {
        *name++ = '\0';
        char *logs = strrchr(whole, '/');
        fits = logs && strcmp(logs, "/logs") == 0 && store_name_is_valid(name);
        if (fits) {
            *logs = '\0';
            snprintf(ret_dir, capacity, "%s", *whole ? whole : "/");
            snprintf(ret_name, capacity, "%s", name);
        }
    }
    free(whole);
    return fits;
}

/* A shared lock, which writes nothing and that a service refuses to start beside. Returns a descriptor;
 * -ENOENT: no service was ever here; -EWOULDBLOCK: one is. */
static int lock_shared(const char *dir)
{
    char path[4096 + 8];
    snprintf(path, sizeof(path), "%s/lock", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

struct names {
    char **names;
    size_t count, room;
};

static void names_done(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free((void *)names->names);
}

static bool names_add(struct names *names, const char *name)
{
    if (names->count == names->room) {
        size_t room = names->room ? names->room * 2 : 64;
        char **larger = realloc((void *)names->names, room * sizeof(*larger));
        if (!larger)
            return false;
        names->names = larger;
        names->room = room;
    }
    names->names[names->count] = strdup(name);
    return names->names[names->count] && ++names->count;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_names(const char *path, struct names *names)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    int rc = 0;
    if (!folder)
        return -errno;
    while (rc == 0 && (entry = readdir(folder))) {
        if (store_name_is_valid(entry->d_name) && !names_add(names, entry->d_name))
            rc = -ENOMEM;
    }
    closedir(folder);
    if (names->count > 0)
        qsort((void *)names->names, names->count, sizeof(*names->names), compare_names);
    return rc;
}

static int each_name(const char *dir, const char *log, files_visit *visit, void *context)
{
    CLEANUP(names_done) struct names names = {0};
    char path[4096 + 256];
    snprintf(path, sizeof(path), "%s/logs", dir);
    int rc = list_names(path, &names);
    if (rc == -ENOENT || rc == -ENOTDIR) {
        files_complain("%s is neither a data directory of wald nor the folder of a log.", dir);
        return FILES_USAGE;
    }
    if (rc < 0)
        return files_error(path, rc);
    int status = FILES_OK;
    bool found = !log;
    for (size_t i = 0; i < names.count; i++) {
        if (log && strcmp(log, names.names[i]) != 0)
            continue;
        found = true;
        snprintf(path, sizeof(path), "%s/logs/%s", dir, names.names[i]);
        status = files_worse(status, visit(context, names.names[i], path));
    }
    if (found)
        return status;
    files_complain("There is no log \"%s\" in %s.", log, dir);
    return FILES_USAGE;
}

int files_each_log(const char *path, const char *log, bool live, files_visit *visit, void *context)
{
    char dir[4096], name[4096];
    bool is_log = files_is_log(path), has_dir = is_log && files_split(path, dir, name, sizeof(dir));
    int lock = -ENOENT;
    if (!is_log)
        snprintf(dir, sizeof(dir), "%s", path);
    if (!live && (has_dir || !is_log))
        lock = lock_shared(dir);
    if (lock == -EWOULDBLOCK) {
        files_complain("%s is in use by a service. Stop it, or give --live to look at the files as "
                       "they are.",
                       dir);
        return FILES_IN_USE;
    }
    if (lock < 0 && lock != -ENOENT && lock != -ENOTDIR)
        return files_error(dir, lock);
    int status =
        is_log ? visit(context, has_dir ? name : path, path) : each_name(dir, log, visit, context);
    if (lock >= 0)
        close(lock);
    return status;
}

/* ---- how far it has come ---- */

uint64_t files_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void files_bar_show(struct files_bar *bar, uint64_t done, uint64_t total)
{
    if (bar->is_off)
        return;
    uint64_t now = files_now_us();
    if (bar->shown_us == 0) {
        bar->shown_us = now; /* what is done at once needs no bar */
        bar->is_off = !isatty(STDERR_FILENO);
        return;
    }
    if (now - bar->shown_us < BAR_EVERY_US || total == 0)
        return;
    bar->shown_us = now;
    bar->is_shown = true;
    unsigned cells = (unsigned)(min_u64(done, total) * BAR_CELLS / total);
    fprintf(stderr, "\r%s [%.*s%*s] %3" PRIu64 "%%\033[K", bar->what, (int)cells,
            "##############################", (int)(BAR_CELLS - cells), "",
            min_u64(done, total) * 100 / total);
    fflush(stderr);
}

void files_bar_clear(struct files_bar *bar)
{
    if (bar->is_shown)
        fputs("\r\033[K", stderr);
    bar->is_shown = false;
    bar->shown_us = 0;
}
