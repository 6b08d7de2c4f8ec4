/*
 * What can be set, as one table: it makes the flags, the names in the environment, the keys of a
 * file, the help, and the table in README.md.
 */
#ifndef SERVER_SETTINGS_H
#define SERVER_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "server/config.h"

enum setting_type {
    SETTING_TEXT,    /* const char * */
    SETTING_NAMES,   /* struct config_names */
    SETTING_ORIGINS, /* the same */
    SETTING_CHOICE,  /* unsigned: which of the choices */
    SETTING_SET,     /* unsigned: a bit for each of the choices; the last is none of them */
    SETTING_SWITCH,  /* bool */
    SETTING_MODE,    /* unsigned: permissions, in octal */
    SETTING_COUNT,   /* uint64_t */
    SETTING_SIZE,    /* uint64_t, bytes */
    SETTING_TIME,    /* uint64_t, microseconds */
    SETTING_FLOOR,   /* struct space_floor */
};

struct setting {
    const char *name;     /* "max-record-bytes": --max-record-bytes, WALD_MAX_RECORD_BYTES */
    const char *values;   /* choices: "logfmt|json"; else what to call a value: "SIZE" */
    const char *fallback; /* the default as a text to parse; NULL: none, and `otherwise` applies */
    const char *otherwise;
    const char *help;
    uint64_t min, max; /* of numbers */
    size_t offset;     /* in struct config */
    enum setting_type type;
    bool not_in_file;
};

extern const struct setting settings[];
extern const unsigned setting_count;

/* NULL: no setting has that name. */
const struct setting *setting_find(const char *name, size_t bytes);

#define SETTING_NAME_BYTES 64

/* "WALD_MAX_RECORD_BYTES" */
void setting_variable(const struct setting *setting, char ret_name[SETTING_NAME_BYTES]);

/* Whether it is a list, to which each value adds. */
bool setting_is_list(const struct setting *setting);

/* What a value has to be, as the end of a sentence: "a size from 1 to 16MiB, such as 64KiB". */
void setting_describe(const struct setting *setting, char *text, size_t bytes);

/* Sets the field of `config`; a list grows. The text is copied. False: that is no value of this
 * setting, or there is no memory for it. */
bool setting_parse(const struct setting *setting, const char *text, struct config *config);

/* The value as setting_parse() reads it. False: there is none, or it is a list. */
bool setting_print(const struct setting *setting, const struct config *config, FILE *out);

/* What a setting that has no value of its own comes to, or its default: for people. */
const char *setting_default(const struct setting *setting);

#endif
