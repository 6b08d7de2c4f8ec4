#include "server/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/wrap.h"
#include "server/commands.h"
#include "server/settings.h"
#include "wal/base.h"

struct config_text {
    struct config_text *next;
    char text[];
};

static const char commands[] =
    "usage: wald serve --data DIR [OPTION]...   serves durable logs over HTTP\n"
    "       wald serve --help                   lists the options\n"
    "       wald serve --print-config ...       prints them as they are set, and from where, in\n"
    "                                           the form of a file of settings; starts nothing\n"
    "       wald healthcheck [OPTION]...        asks the service that these options, or the same\n"
    "                                           environment, started: is it ready? --live: is it\n"
    "                                           alive? Exit status 0: yes, 1: no\n"
    "       wald help | --help                  this text; help COMMAND: more about one\n"
    "       wald help table                     the options as a table in Markdown\n"
    "       wald --version\n";

/* ---- the texts ---- */

const char *config_keep(struct config *config, const char *text, size_t bytes)
{
    struct config_text *kept = malloc(sizeof(*kept) + bytes + 1);
    if (!kept)
        return NULL;
    memcpy(kept->text, text, bytes);
    kept->text[bytes] = '\0';
    kept->next = config->texts;
    config->texts = kept;
    return kept->text;
}

void config_done(struct config *config)
{
    while (config->texts) {
        struct config_text *next = config->texts->next;
        free(config->texts);
        config->texts = next;
    }
}

/* ---- one setting from one source ---- */

#define NO_MEMORY "there is no memory to start."

struct loading {
    struct config config;
    FILE *errors;
    const char *path; /* of the file that is being read */
    enum config_result command;
    bool print;
};

static bool complain(struct loading *loading, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool complain(struct loading *loading, const char *format, ...)
{
    va_list arguments;
    fprintf(loading->errors, "wald: ");
    va_start(arguments, format);
    vfprintf(loading->errors, format, arguments);
    fprintf(loading->errors, "\n");
    va_end(arguments);
    return false;
}

/* `source` names the place for a person: "--listen", "WALD_LISTEN", "wald.conf:3: listen". */
static bool set(struct loading *loading, const struct setting *setting, const char *text,
                enum config_origin origin, const char *source)
{
    struct config *config = &loading->config;
    enum config_origin *known = &config->origins[setting - settings];
    /* A stronger source replaces the list of a weaker one. */
    if (setting_is_list(setting) && *known != origin)
        *(struct config_names *)(void *)((char *)config + setting->offset) =
            (struct config_names){.count = 0};
    *known = origin;
    errno = 0;
    if (setting_parse(setting, text, config))
        return true;
    if (errno == ENOMEM)
        return complain(loading, NO_MEMORY);

    char wanted[256];
    setting_describe(setting, wanted, sizeof(wanted));
    return complain(loading, "%s is %s, not \"%s\".", source, wanted, text);
}

static bool set_defaults(struct loading *loading)
{
    loading->config.space_floor.is_default = true;
    for (unsigned i = 0; i < setting_count; i++) {
        if (settings[i].fallback &&
            !set(loading, &settings[i], settings[i].fallback, ORIGIN_DEFAULT, settings[i].name))
            return false;
    }
    return true;
}

/* ---- the file ---- */

static bool set_from_file(void *context, const char *key, const char *value, unsigned line)
{
    struct loading *loading = context;
    char source[512];
    snprintf(source, sizeof(source), "%s:%u: %s", loading->path, line, key);
    const struct setting *setting = setting_find(key, strlen(key));
    if (!setting || setting->not_in_file)
        return complain(loading, "%s is not a setting of a file. wald serve --help lists them.",
                        source);
    if (!setting_is_list(setting) && loading->config.origins[setting - settings] == ORIGIN_FILE)
        return complain(loading,
                        "%s is there twice (or the line begins with a blank, which makes "
                        "it part of the one before).",
                        source);
    return set(loading, setting, value, ORIGIN_FILE, source);
}

/* ---- the environment ---- */

/* "NAME=value": the value if that is the setting's name. */
static const char *value_of(const struct setting *setting, const char *variable)
{
    char name[SETTING_NAME_BYTES];
    setting_variable(setting, name);
    size_t bytes = strlen(name);
    return strncmp(variable, name, bytes) == 0 && variable[bytes] == '=' ? variable + bytes + 1
                                                                         : NULL;
}

static const char *find_variable(const struct setting *setting, const char *const *environment)
{
    const char *value = NULL;
    for (; *environment && !value; environment++)
        value = value_of(setting, *environment);
    return value;
}

static bool set_from_environment(struct loading *loading, const char *const *environment)
{
    for (unsigned i = 0; i < setting_count; i++) {
        char name[SETTING_NAME_BYTES];
        const char *value = find_variable(&settings[i], environment);
        setting_variable(&settings[i], name);
        if (value && !set(loading, &settings[i], value, ORIGIN_ENVIRONMENT, name))
            return false;
    }
    return true;
}

/* A misspelt variable would otherwise be a setting that does not act, unnoticed. */
static void note_strangers(struct config *config, const char *const *environment)
{
    struct config_names *strangers = &config->strangers;
    for (; *environment && strangers->count < CONFIG_NAMES_MAX; environment++) {
        /* WALD_URL, WALD_TOKEN and WALD_CA_FILE are for the commands that are not the service. */
        bool known = strncmp(*environment, "WALD_", 5) != 0 ||
                     strncmp(*environment, "WALD_URL=", 9) == 0 ||
                     strncmp(*environment, "WALD_TOKEN=", 11) == 0 ||
                     strncmp(*environment, "WALD_CA_FILE=", 13) == 0;
        for (unsigned i = 0; i < setting_count && !known; i++)
            known = value_of(&settings[i], *environment) != NULL;
        const char *name =
            known ? NULL : config_keep(config, *environment, strcspn(*environment, "="));
        if (name)
            strangers->names[strangers->count++] = name;
    }
}

/* ---- the flags ---- */

struct flag {
    const struct setting *setting;
    const char *name; /* "--listen", and perhaps "=..." */
    const char *value;
};

/* The flag at *index, which moves past it and its value. */
static bool read_flag(struct loading *loading, int argc, const char *const *argv, int *index,
                      struct flag *ret_flag)
{
    const char *argument = argv[(*index)++];
    size_t bytes = strcspn(argument, "=");
    if (strncmp(argument, "--", 2) != 0)
        return complain(loading,
                        "\"%s\" is not understood: options begin with --. Try: wald serve --help",
                        argument);
    *ret_flag = (struct flag){setting_find(argument + 2, bytes - 2), argument, NULL};
    if (!ret_flag->setting)
        return complain(loading, "%.*s is not an option. Try: wald serve --help", (int)bytes,
                        argument);
    if (argument[bytes] == '=')
        ret_flag->value = argument + bytes + 1;
    else if (ret_flag->setting->type == SETTING_SWITCH &&
             (*index == argc ||
              (strcmp(argv[*index], "on") != 0 && strcmp(argv[*index], "off") != 0)))
        ret_flag->value = "on"; /* nothing else could follow but another flag */
    else if (*index < argc)
        ret_flag->value = argv[(*index)++];
    else
        return complain(loading, "%s wants a value: --%s %s", argument, ret_flag->setting->name,
                        ret_flag->setting->values);
    return true;
}

static bool set_from_flag(struct loading *loading, const struct flag *flag)
{
    char source[SETTING_NAME_BYTES + 2];
    snprintf(source, sizeof(source), "--%s", flag->setting->name);
    return set(loading, flag->setting, flag->value, ORIGIN_FLAG, source);
}

/* ---- all of them ---- */

/* Which file to read has to be known before anything else. */
static bool find_file(struct loading *loading, const struct flag *flags, int flag_count,
                      const char *const *environment, const char **ret_path)
{
    const struct setting *setting = setting_find("config", 6);
    *ret_path = find_variable(setting, environment);
    for (int i = 0; i < flag_count; i++) {
        if (flags[i].setting == setting)
            *ret_path = flags[i].value;
    }
    if (*ret_path && !(*ret_path)[0])
        return complain(loading, "--config and WALD_CONFIG want the name of a file.");
    return true;
}

static bool set_all(struct loading *loading, const struct flag *flags, int flag_count,
                    const char *const *environment)
{
    if (!set_defaults(loading) ||
        !find_file(loading, flags, flag_count, environment, &loading->path))
        return false;
    if (loading->path && !config_file_read(loading->path, set_from_file, loading, loading->errors))
        return false;
    if (!set_from_environment(loading, environment))
        return false;
    for (int i = 0; i < flag_count; i++) {
        if (!set_from_flag(loading, &flags[i]))
            return false;
    }
    note_strangers(&loading->config, environment);
    return loading->print || loading->command == CONFIG_HEALTHCHECK || loading->config.data ||
           complain(loading, "serve wants --data DIR, the directory of the logs.");
}

/* ---- what is printed ---- */

#define HELP_COLUMN 28

/* "1 to 16MiB; default 1MiB" */
static void describe_range(const struct setting *setting, char *text, size_t bytes)
{
    char wanted[256];
    text[0] = '\0';
    if (setting->type == SETTING_COUNT || setting->type == SETTING_SIZE ||
        setting->type == SETTING_TIME) {
        setting_describe(setting, wanted, sizeof(wanted));
        const char *from = strstr(wanted, " from ");
        must(from);
        from += 6;
        snprintf(text, bytes, "%.*s", (int)strcspn(from, ","), from);
    }
}

static void print_help(FILE *out)
{
    fprintf(
        out,
        "usage: wald serve --data DIR [OPTION]...\n"
        "\n"
        "Serves durable logs over HTTP. A record is acknowledged once it survives a power cut.\n"
        "\n");
    for (unsigned i = 0; i < setting_count; i++) {
        const struct setting *setting = &settings[i];
        char text[1024], range[256];
        unsigned at = (unsigned)fprintf(out, "  --%s %s", setting->name, setting->values);
        if (at + 2 > HELP_COLUMN) {
            fprintf(out, "\n");
            at = 0;
        }
        describe_range(setting, range, sizeof(range));
        snprintf(text, sizeof(text), "%s. %s%sDefault: %s", setting->help, range,
                 range[0] ? ". " : "", setting_default(setting));
        wrap_print(out, HELP_COLUMN, text, at);
    }
    fprintf(
        out,
        "  --print-config            prints all of these as they are set, and from where, in\n"
        "                            the form of a file of settings; starts nothing\n"
        "  --help                    this text\n"
        "\n"
        "An option that is on or off is switched on by its name alone. Each option may also be\n"
        "set in the environment (--max-record-bytes as WALD_MAX_RECORD_BYTES) or, but for\n"
        "--config, in a file (max-record-bytes = 64KiB). Sizes: 4096, 64KiB, 1MiB, 1GiB. Times:\n"
        "500us, 20ms, 30s, 5m, 1h.\n"
        "\n"
        "SIGTERM and SIGINT stop the service in good order: appends are refused, those under\n"
        "way are committed and answered, and the exit status is 0. A second signal ends it at\n"
        "once.\n");
}

/* A bar would end the cell. */
static void print_cell(FILE *out, const char *text)
{
    for (; *text; text++)
        fprintf(out, *text == '|' ? "\\|" : "%c", *text);
}

static void print_table(FILE *out)
{
    fprintf(out, "| option | default | |\n|---|---|---|\n");
    for (unsigned i = 0; i < setting_count; i++) {
        const struct setting *setting = &settings[i];
        char range[256];
        describe_range(setting, range, sizeof(range));
        fprintf(out, "| `--%s ", setting->name);
        print_cell(out, setting->values);
        fprintf(out, "` | %s | %s%s%s |\n", setting_default(setting), setting->help,
                range[0] ? ". " : "", range);
    }
}

static void print_origin(FILE *out, const struct setting *setting, const struct config *config)
{
    char variable[SETTING_NAME_BYTES];
    switch (config->origins[setting - settings]) {
    case ORIGIN_DEFAULT: fprintf(out, "# the default\n"); break;
    case ORIGIN_FILE: fprintf(out, "# from the file %s\n", config->file); break;
    case ORIGIN_ENVIRONMENT:
        setting_variable(setting, variable);
        fprintf(out, "# from the environment, %s\n", variable);
        break;
    case ORIGIN_FLAG: fprintf(out, "# from --%s\n", setting->name); break;
    }
}

/* A longer line of a file is not read. */
#define FILE_LINE_MAX 198

/* What has no value, or cannot stand in a file, is printed as a comment. */
static void print_value(FILE *out, const struct setting *setting, const char *value)
{
    bool fits = strlen(setting->name) + 3 + strlen(value) <= FILE_LINE_MAX;
    if (!fits)
        fprintf(out, "# too long for a line of a file:\n");
    fprintf(out, "%s%s = %s\n", setting->not_in_file || !fits ? "# " : "", setting->name, value);
}

static void print_setting(FILE *out, const struct setting *setting, const struct config *config)
{
    print_origin(out, setting, config);
    if (setting_is_list(setting)) {
        const struct config_names *names = (const void *)((const char *)config + setting->offset);
        for (unsigned i = 0; i < names->count; i++)
            print_value(out, setting, names->names[i]);
        if (names->count > 0)
            return;
    }
    char *value = NULL;
    size_t bytes = 0;
    FILE *text = open_memstream(&value, &bytes);
    bool there = text && setting_print(setting, config, text);
    if (text)
        fclose(text);
    if (there)
        print_value(out, setting, value);
    else
        fprintf(out, "# %s = %s\n", setting->name, setting_default(setting));
    free(value);
}

static void print_config(FILE *out, const struct config *config)
{
    for (unsigned i = 0; i < setting_count; i++) {
        print_setting(out, &settings[i], config);
        if (i + 1 < setting_count)
            fprintf(out, "\n");
    }
}

/* ---- the command line ---- */

static enum config_result say(FILE *out, const char *text)
{
    fputs(text, out);
    return CONFIG_DONE;
}

static enum config_result say_commands(FILE *out)
{
    fputs(commands, out);
    commands_list(out);
    return CONFIG_DONE;
}

/* What there is to say of healthcheck, and of help itself, stands there. */
static bool wants_list(int argc, const char *const *argv)
{
    if (argc == 2)
        return strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0;
    return argc == 3 && strcmp(argv[1], "help") == 0 &&
           (strcmp(argv[2], "healthcheck") == 0 || strcmp(argv[2], "help") == 0);
}

/* The words that are no flags. */
static enum config_result read_command(int argc, const char *const *argv, FILE *out, FILE *errors)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "serve") == 0)
        return CONFIG_SERVE;
    if (strcmp(command, "healthcheck") == 0)
        return CONFIG_HEALTHCHECK;
    if (strcmp(command, "help") == 0 && argc == 3 && strcmp(argv[2], "table") == 0) {
        print_table(out);
        return CONFIG_DONE;
    }
    if (strcmp(command, "help") == 0 && argc == 3 && strcmp(argv[2], "serve") == 0) {
        print_help(out);
        return CONFIG_DONE;
    }
    if (wants_list(argc, argv))
        return say_commands(out);
    if (argc == 2 && strcmp(command, "--version") == 0)
        return say(out, "wald " WALD_VERSION "\n");

    if (argc < 2)
        fprintf(errors, "wald: say what to do: wald serve --data DIR\n\n");
    else if (strcmp(command, "help") == 0 || command[0] == '-')
        fprintf(errors, "wald: \"%s\" is not understood.\n\n", argc > 2 ? argv[2] : command);
    else
        fprintf(errors, "wald: \"%s\" is not a command.\n\n", command);
    say_commands(errors);
    return CONFIG_WRONG;
}

static enum config_result load(struct loading *loading, struct flag *flags, int argc,
                               const char *const *argv, const char *const *environment, FILE *out)
{
    int flag_count = 0;
    for (int i = 2; i < argc;) {
        bool healthcheck = loading->command == CONFIG_HEALTHCHECK;
        if (strcmp(argv[i], "--help") == 0) {
            if (healthcheck)
                return say_commands(out);
            print_help(out);
            return CONFIG_DONE;
        }
        if (strcmp(argv[i], "--print-config") == 0 && !healthcheck) {
            loading->print = true;
            i++;
        } else if (strcmp(argv[i], "--live") == 0 && healthcheck) {
            loading->config.live = true;
            i++;
        } else if (!read_flag(loading, argc, argv, &i, &flags[flag_count++])) {
            return CONFIG_WRONG;
        }
    }
    if (!set_all(loading, flags, flag_count, environment))
        return CONFIG_WRONG;
    if (!loading->print)
        return loading->command;
    print_config(out, &loading->config);
    return CONFIG_DONE;
}

enum config_result config_load(struct config *ret_config, int argc, const char *const *argv,
                               const char *const *environment, FILE *out, FILE *errors)
{
    enum config_result result = read_command(argc, argv, out, errors);
    if (result != CONFIG_SERVE && result != CONFIG_HEALTHCHECK)
        return result;

    struct loading loading = {.errors = errors, .command = result};
    struct flag *flags = calloc((size_t)argc, sizeof(*flags));
    if (!flags) {
        complain(&loading, NO_MEMORY);
        return CONFIG_WRONG;
    }
    result = load(&loading, flags, argc, argv, environment, out);
    free(flags);
    if (result == CONFIG_SERVE || result == CONFIG_HEALTHCHECK)
        *ret_config = loading.config;
    else
        config_done(&loading.config);
    return result;
}
