/* Files of settings: the only file that knows libinih. */
#include <errno.h>
#include <ini.h>
#include <string.h>

#include "server/config.h"

struct reading {
    FILE *file;
    const char *path;
    config_file_visit visit;
    void *context;
    FILE *errors;
    unsigned line; /* the one read last, from 1 */
    bool wrong;
};

static void complain(struct reading *reading, const char *what)
{
    if (!reading->wrong)
        fprintf(reading->errors, "wald: %s:%u: %s\n", reading->path, reading->line, what);
    reading->wrong = true;
}

/* As fgets(). What the library would cut off or take apart wrongly is not shown to it. */
static char *read_line(char *text, int room, void *stream)
{
    struct reading *reading = stream;
    int bytes = 0, c = EOF;

    reading->line++;
    while (!reading->wrong && bytes < room - 1 && (c = getc(reading->file)) != EOF) {
        if (c == '\0')
            complain(reading, "there is a NUL byte in this line; a file of settings is text.");
        text[bytes++] = (char)c;
        if (c == '\n')
            break;
    }
    text[bytes] = '\0';
    if (bytes == room - 1 && c != '\n' && (c = getc(reading->file)) != EOF)
        complain(reading, "this line is longer than is read; give the value as a flag or in the "
                          "environment.");
    if (c == EOF && ferror(reading->file))
        complain(reading, strerror(errno));
    return bytes > 0 && !reading->wrong ? text : NULL;
}

static int found(void *context, const char *section, const char *key, const char *value)
{
    struct reading *reading = context;
    if (reading->wrong)
        return 0;
    if (section[0] != '\0')
        complain(reading, "settings stand in no [section] here; leave it out.");
    else if (!reading->visit(reading->context, key, value ? value : "", reading->line))
        reading->wrong = true;
    return !reading->wrong;
}

bool config_file_read(const char *path, config_file_visit visit, void *context, FILE *errors)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        fprintf(errors, "wald: %s: this file of settings cannot be read: %s\n", path,
                strerror(errno));
        return false;
    }
    struct reading reading = {file, path, visit, context, errors, 0, false};
    int bad_line = ini_parse_stream(read_line, &reading, found, &reading);
    if (bad_line != 0 && !reading.wrong) {
        reading.line = bad_line > 0 ? (unsigned)bad_line : reading.line;
        complain(&reading, "this is no line of settings; write: name = value");
    }
    fclose(file);
    return !reading.wrong;
}
