/* server/config.c and server/settings.c: where settings come from, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/settings.h"
#include "tests/support/tempdir.h"
#include "wal/base.h"

#define WORDS_MAX 40

struct run {
    enum config_result result;
    struct config config;
    char *out, *errors;
};

static char folder[4096];

static int make_folder(void **state)
{
    char *path = tempdir_make();
    snprintf(folder, sizeof(folder), "%s", path);
    free(path);
    return 0;
}

/* Loads "wald serve" with the words of two lists, NULL at their ends. */
static struct run load_words(const char *const *words, const char *const *environment)
{
    const char *argv[WORDS_MAX] = {"wald", "serve"};
    int argc = 2;
    for (; *words; words++)
        argv[argc++] = *words;
    assert_true(argc < WORDS_MAX);

    struct run run = {0};
    size_t out_bytes, error_bytes;
    FILE *out = open_memstream(&run.out, &out_bytes);
    FILE *errors = open_memstream(&run.errors, &error_bytes);
    assert_non_null(out);
    assert_non_null(errors);
    run.result = config_load(&run.config, argc, argv, environment, out, errors);
    fclose(out);
    fclose(errors);
    return run;
}

/* A comma stands behind each word. */
#define LIST(...) ((const char *const[]){__VA_ARGS__ NULL})

static void end(struct run *run)
{
    if (run->result == CONFIG_SERVE)
        config_done(&run->config);
    free(run->out);
    free(run->errors);
}

static const char *make_file(const char *text)
{
    static char path[4200];
    snprintf(path, sizeof(path), "%s/wald.conf", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    fclose(file);
    return path;
}

static void must_serve(const struct run *run)
{
    if (run->result != CONFIG_SERVE)
        print_error("%s", run->errors);
    assert_int_equal(run->result, CONFIG_SERVE);
}

/* Wants a refusal that has each of these in its sentence. */
static void must_refuse(struct run *run, const char *first, const char *second)
{
    assert_int_equal(run->result, CONFIG_WRONG);
    if (!strstr(run->errors, first) || !strstr(run->errors, second))
        print_error("wanted \"%s\" and \"%s\": %s", first, second, run->errors);
    assert_non_null(strstr(run->errors, first));
    assert_non_null(strstr(run->errors, second));
    end(run);
}

/* Everybody expects the value that was given last and closest. */
static void flags_go_before_the_environment_before_the_file_before_defaults(void **state)
{
    const char *path = make_file("# a comment\n"
                                 "data = /from/file\n"
                                 "listen=1.1.1.1:1\n"
                                 "idle-timeout = 7s ; and a remark\n"
                                 "header-timeout = 3s\n");
    char config[4300];
    snprintf(config, sizeof(config), "--config=%s", path);
    struct run run = load_words(LIST(config, "--data", "/from/flag", ),
                                LIST("WALD_DATA=/from/env", "WALD_LISTEN=2.2.2.2:2", "HOME=/", ));
    must_serve(&run);
    assert_string_equal(run.config.data, "/from/flag");
    assert_string_equal(run.config.listen, "2.2.2.2:2");
    assert_int_equal(run.config.idle_timeout_us, 7000000);
    assert_int_equal(run.config.header_timeout_us, 3000000);
    assert_int_equal(run.config.body_timeout_us, 30000000);
    assert_int_equal(run.config.strangers.count, 0);
    end(&run);

    char variable[4300];
    snprintf(variable, sizeof(variable), "WALD_CONFIG=%s", path);
    run = load_words(LIST(), LIST(variable, ));
    must_serve(&run);
    assert_string_equal(run.config.data, "/from/file");
    assert_string_equal(run.config.listen, "1.1.1.1:1");
    end(&run);
}

/* Whoever reads only the help has to be able to set all there is. */
static void every_setting_can_be_set_from_each_source(void **state)
{
    static const char *const samples[SETTING_FLOOR + 1] = {
        [SETTING_TEXT] = "some text",
        [SETTING_NAMES] = "a.example, b.example",
        [SETTING_ORIGINS] = "https://a.example, http://[::1]:3000, capacitor://localhost, *",
        [SETTING_SET] = "metrics, health",
        [SETTING_MODE] = "600",
        [SETTING_SWITCH] = "off",
        [SETTING_COUNT] = "77",
        [SETTING_FLOOR] = "7%",
    };
    for (unsigned i = 0; i < setting_count; i++) {
        const struct setting *setting = &settings[i];
        const char *value = samples[setting->type];
        char number[32], choice[32], flag[128], variable[128], line[256];
        if (setting->type == SETTING_SIZE) {
            snprintf(number, sizeof(number), "%llu", (unsigned long long)setting->max);
            value = number;
        } else if (setting->type == SETTING_TIME) {
            value = "1s";
        } else if (setting->type == SETTING_CHOICE) {
            snprintf(choice, sizeof(choice), "%s", strrchr(setting->values, '|') + 1);
            value = choice;
        }
        if (setting->not_in_file)
            continue;
        snprintf(flag, sizeof(flag), "--%s", setting->name);
        setting_variable(setting, variable);
        strcat(variable, "=");
        strcat(variable, value);
        snprintf(line, sizeof(line), "%s = %s\n", setting->name, value);
        char config[4300];
        snprintf(config, sizeof(config), "--config=%s", make_file(line));
        char flag_and_value[256];
        snprintf(flag_and_value, sizeof(flag_and_value), "%s=%s", flag, value);

        const char *const *words[] = {LIST(flag_and_value, "--print-config", ),
                                      LIST("--print-config", ), LIST(config, "--print-config", )};
        const char *const *environments[] = {LIST(), LIST(variable, ), LIST()};
        const char *origins[] = {flag, "# from the environment, ", "# from the file "};
        for (unsigned source = 0; source < 3; source++) {
            struct run run = load_words(words[source], environments[source]);
            assert_int_equal(run.result, CONFIG_DONE);
            assert_non_null(strstr(run.out, origins[source]));
            end(&run);
        }
    }
}

/* A value that is silently taken for another is found out in production. */
static void what_is_malformed_or_out_of_range_is_refused_with_its_source_and_range(void **state)
{
    static const struct {
        const char *flag, *value;
    } cases[] = {
        {"--max-record-bytes", "0"},
        {"--max-record-bytes", "16777217"},
        {"--max-record-bytes", "17MiB"},
        {"--max-record-bytes", "1k"},
        {"--max-record-bytes", "1KB"},
        {"--max-record-bytes", "1 KiB"},
        {"--max-record-bytes", "-1"},
        {"--max-record-bytes", "+1"},
        {"--max-record-bytes", ""},
        {"--max-record-bytes", "1.5MiB"},
        {"--max-record-bytes", "0x10"},
        {"--max-record-bytes", "KiB"},
        {"--segment-bytes", "16TiBs"},
        {"--segment-bytes", "18446744073709551616"},
        {"--segment-bytes", "16777216TiB"},
        {"--connections-max", "0"},
        {"--connections-max", "1KiB"},
        {"--idle-timeout", "30"},
        {"--idle-timeout", "30 s"},
        {"--idle-timeout", "0s"},
        {"--idle-timeout", "2h"},
        {"--idle-timeout", "1d"},
        {"--batch-delay", "11s"},
        {"--retain-age", "36501d"},
        {"--retain-age", "1w"},
        {"--space-floor", "0%"},
        {"--space-floor", "91%"},
        {"--space-floor", "18446744073709551617%"},
        {"--space-floor", "%"},
        {"--space-floor", "5 %"},
        {"--space-floor", "2TiB"},
        {"--io", "fast"},
        {"--io", ""},
        {"--io", "auto|uring"},
        {"--io", "AUTO"},
        {"--allow-volatile", "yes"},
        {"--data", ""},
        {"--data", "a\nb"},
        {"--data", "a ; b"},
        {"--data", " a"},
        {"--host", "a,,b"},
        {"--host", ""},
        {"--host", "a b"},
        {"--host", "a/b"},
        {"--host", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"},
        {"--cors-origin", "a.example"},
        {"--cors-origin", "https://a.example/"},
        {"--cors-origin", "https://a.example:443"},
        {"--cors-origin", "http://a.example:80"},
        {"--cors-origin", "https://*.example"},
        {"--cors-origin", "https://"},
        {"--cors-origin", "://a.example"},
        {"--cors-origin", "null"},
        {"--cors-origin", "**"},
        {"--cors-origin", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char word[128], variable[SETTING_NAME_BYTES + 64], wanted[256];
        const struct setting *setting = setting_find(cases[i].flag + 2, strlen(cases[i].flag) - 2);
        assert_non_null(setting);
        setting_describe(setting, wanted, sizeof(wanted));
        snprintf(word, sizeof(word), "%s=%s", cases[i].flag, cases[i].value);
        struct run run = load_words(LIST("--data=/d", word, ), LIST());
        must_refuse(&run, cases[i].flag, wanted);

        setting_variable(setting, variable);
        char source[SETTING_NAME_BYTES + 80];
        snprintf(source, sizeof(source), "%s is ", variable);
        strcat(variable, "=");
        strcat(variable, cases[i].value);
        run = load_words(LIST("--data=/d", ), LIST(variable, ));
        must_refuse(&run, source, wanted);
    }
}

/* The edges themselves are fine, and so is each unit. */
static void the_ends_of_a_range_and_every_unit_are_taken(void **state)
{
    struct run run =
        load_words(LIST("--data=/d", "--max-record-bytes=16MiB", "--batch-delay=0s",
                        "--idle-timeout=1h", "--header-timeout=100ms", "--body-timeout=5m",
                        "--segment-bytes=1TiB", "--body-memory=3GiB", "--max-batch-bytes=1",
                        "--shutdown-timeout=1500us", "--allow-volatile", "--auto-create", "off", ),
                   LIST());
    must_serve(&run);
    assert_int_equal(run.config.record_bytes_max, 16 << 20);
    assert_int_equal(run.config.batch_delay_us, 0);
    assert_int_equal(run.config.idle_timeout_us, UINT64_C(3600000000));
    assert_int_equal(run.config.header_timeout_us, 100000);
    assert_int_equal(run.config.body_timeout_us, 300000000);
    assert_int_equal(run.config.segment_bytes, UINT64_C(1) << 40);
    assert_int_equal(run.config.body_memory_bytes, UINT64_C(3) << 30);
    assert_int_equal(run.config.batch_bytes_max, 1);
    assert_int_equal(run.config.shutdown_timeout_us, 1500);
    assert_true(run.config.allow_volatile);
    assert_false(run.config.auto_create);
    end(&run);
    run = load_words(LIST("--data=/d", "--allow-volatile=off", "--auto-create=off", "--auto-create",
                          "on", "--allow-volatile", ),
                     LIST());
    must_serve(&run);
    assert_true(run.config.allow_volatile);
    assert_true(run.config.auto_create);
    assert_true(run.config.space_floor.is_default);
    end(&run);
    run = load_words(LIST("--data=/d", "--space-floor=90%", "--retain-age=36500d", ), LIST());
    must_serve(&run);
    assert_false(run.config.space_floor.is_default);
    assert_int_equal(run.config.space_floor.percent, 90);
    assert_int_equal(run.config.retain_age_us, UINT64_C(36500) * 86400 * 1000000);
    end(&run);
    run = load_words(LIST("--data=/d", "--space-floor=90%", "--space-floor=3MiB", ), LIST());
    must_serve(&run);
    assert_int_equal(run.config.space_floor.percent, 0);
    assert_int_equal(run.config.space_floor.bytes, 3 << 20);
    end(&run);
}

static void what_is_no_setting_is_refused(void **state)
{
    static const struct {
        const char *word, *reason;
    } cases[] = {
        {"--loud", "--loud is not an option"},
        {"--dat=/d", "--dat is not an option"},
        {"--max_record_bytes=1", "--max_record_bytes is not an option"},
        {"--", "-- is not an option"},
        {"-d", "\"-d\" is not understood"},
        {"twice", "\"twice\" is not understood"},
        {"--io", "--io wants a value"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct run run = load_words(LIST("--data=/d", cases[i].word, ), LIST());
        must_refuse(&run, "wald: ", cases[i].reason);
    }
}

/* A misspelt key of a file must not pass for the default, and the line is named. */
static void a_file_is_held_to_its_form(void **state)
{
    static const struct {
        const char *text, *first, *second;
    } cases[] = {
        {"data = /d\nlouder = yes\n", ":2: louder", "not a setting"},
        {"data = /d\nconfig = other\n", ":2: config", "not a setting"},
        {"[server]\ndata = /d\n", ":2: ", "no [section]"},
        {"data = /d\nio = auto\nio = posix\n", ":3: io", "twice"},
        {"data = /d\nthis is no setting\n", ":2: ", "name = value"},
        {"data = /d\nio = fast\n", ":2: io is one of auto|uring|posix", "not \"fast\""},
        {"io =\n", ":1: io is one of", "not \"\""},
    };
    char config[4300];
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        snprintf(config, sizeof(config), "--config=%s", make_file(cases[i].text));
        struct run run = load_words(LIST(config, ), LIST());
        must_refuse(&run, cases[i].first, cases[i].second);
    }

    char text[512] = "data = /";
    memset(text + 8, 'a', 300);
    snprintf(config, sizeof(config), "--config=%s", make_file(text));
    struct run run = load_words(LIST(config, ), LIST());
    must_refuse(&run, ":1: ", "longer than is read");

    char name[4200];
    snprintf(name, sizeof(name), "%s", make_file("data = /d\n"));
    FILE *file = fopen(name, "a");
    assert_non_null(file);
    assert_int_equal(fwrite("io =\0auto\n", 1, 10, file), 10);
    fclose(file);
    snprintf(config, sizeof(config), "--config=%s", name);
    run = load_words(LIST(config, ), LIST());
    must_refuse(&run, ":2: ", "NUL");

    run = load_words(LIST("--config=/nowhere/at/all", ), LIST());
    must_refuse(&run, "/nowhere/at/all", "No such file");
    snprintf(config, sizeof(config), "--config=%s", folder);
    run = load_words(LIST(config, ), LIST());
    must_refuse(&run, folder, "directory");
}

/* A line that just fits is read whole, and so is one without an end. */
static void the_longest_line_of_a_file_is_read_whole(void **state)
{
    char text[256] = "data = /", config[4300];
    memset(text + 8, 'a', 190);
    snprintf(config, sizeof(config), "--config=%s", make_file(text));
    struct run run = load_words(LIST(config, ), LIST());
    must_serve(&run);
    assert_int_equal(strlen(run.config.data), 191);
    end(&run);
    strcat(text, "\nio = posix");
    snprintf(config, sizeof(config), "--config=%s", make_file(text));
    run = load_words(LIST(config, ), LIST());
    must_serve(&run);
    assert_int_equal(strlen(run.config.data), 191);
    assert_int_equal(run.config.io, STORE_IO_POSIX);
    end(&run);
}

/* A list of a stronger source replaces the weaker one's; within one source it grows. */
static void lists_grow_within_a_source_and_are_replaced_by_a_stronger_one(void **state)
{
    char config[4300];
    snprintf(config, sizeof(config), "--config=%s",
             make_file("data = /d\nhost = a.example, b.example\nhost = c.example\n"));
    struct run run = load_words(LIST(config, ), LIST());
    must_serve(&run);
    assert_int_equal(run.config.hosts.count, 3);
    assert_string_equal(run.config.hosts.names[2], "c.example");
    end(&run);
    run = load_words(LIST(config, "--host", "d.example", "--host=[::1],e", ),
                     LIST("WALD_HOST=f.example", ));
    must_serve(&run);
    assert_int_equal(run.config.hosts.count, 3);
    assert_string_equal(run.config.hosts.names[0], "d.example");
    assert_string_equal(run.config.hosts.names[1], "[::1]");
    end(&run);
}

/* What is printed is a file that sets the same, or an operator cannot rely on it. */
static void what_is_printed_is_a_file_that_sets_the_same(void **state)
{
    const char *words[] = {"--data=/some where/else",
                           "--host=a,b",
                           "--host=c",
                           "--io=posix",
                           "--batch-delay=1500us",
                           "--connections-max=12",
                           "--segment-bytes=16385",
                           "--print-config",
                           NULL};
    struct run first = load_words(words, LIST("WALD_LOG_FORMAT=json", ));
    assert_int_equal(first.result, CONFIG_DONE);
    assert_non_null(strstr(first.out, "# from --data\ndata = /some where/else\n"));
    assert_non_null(
        strstr(first.out, "# from the environment, WALD_LOG_FORMAT\nlog-format = json"));
    assert_non_null(strstr(first.out, "# the default\nlisten = 127.0.0.1:8080\n"));
    assert_non_null(strstr(first.out, "host = a\nhost = b\nhost = c\n"));
    assert_non_null(strstr(first.out, "batch-delay = 1500us\n"));

    char config[4300];
    snprintf(config, sizeof(config), "--config=%s", make_file(first.out));
    struct run second = load_words(LIST(config, ), LIST());
    must_serve(&second);
    assert_string_equal(second.config.data, "/some where/else");
    assert_int_equal(second.config.hosts.count, 3);
    assert_int_equal(second.config.io, STORE_IO_POSIX);
    assert_int_equal(second.config.log_format, LOG_JSON);
    assert_int_equal(second.config.batch_delay_us, 1500);
    assert_int_equal(second.config.connections_max, 12);
    assert_int_equal(second.config.segment_bytes, 16385);
    end(&second);
    end(&first);
}

/* Misspelt in the environment, a setting would do nothing and say nothing. */
static void unknown_variables_are_noted(void **state)
{
    struct run run =
        load_words(LIST("--data=/d", ), LIST("WALD_MAX_RECORD_BYTE=1", "WALDO=1", "WALD_=x",
                                             "WALD_IO=auto", "XWALD_IO=1", ));
    must_serve(&run);
    assert_int_equal(run.config.strangers.count, 2);
    assert_string_equal(run.config.strangers.names[0], "WALD_MAX_RECORD_BYTE");
    assert_string_equal(run.config.strangers.names[1], "WALD_");
    end(&run);
}

/* Each size and time that can be set comes back as it was, in whatever unit it is printed. */
static void numbers_are_printed_as_they_are_read(void **state)
{
    static const uint64_t numbers[] = {
        16384, 16385, 1u << 20, (1u << 20) + 1024, 5u << 20, UINT64_C(1) << 40};
    const struct setting *setting = setting_find("segment-bytes", 13);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        struct config config = {.segment_bytes = numbers[i]}, again = {0};
        char *text = NULL;
        size_t bytes;
        FILE *out = open_memstream(&text, &bytes);
        assert_true(setting_print(setting, &config, out));
        fclose(out);
        assert_true(setting_parse(setting, text, &again));
        assert_int_equal(again.segment_bytes, numbers[i]);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_go_before_the_environment_before_the_file_before_defaults),
        cmocka_unit_test(every_setting_can_be_set_from_each_source),
        cmocka_unit_test(what_is_malformed_or_out_of_range_is_refused_with_its_source_and_range),
        cmocka_unit_test(the_ends_of_a_range_and_every_unit_are_taken),
        cmocka_unit_test(what_is_no_setting_is_refused),
        cmocka_unit_test(a_file_is_held_to_its_form),
        cmocka_unit_test(the_longest_line_of_a_file_is_read_whole),
        cmocka_unit_test(lists_grow_within_a_source_and_are_replaced_by_a_stronger_one),
        cmocka_unit_test(what_is_printed_is_a_file_that_sets_the_same),
        cmocka_unit_test(unknown_variables_are_noted),
        cmocka_unit_test(numbers_are_printed_as_they_are_read),
    };

    return cmocka_run_group_tests_name("config", tests, make_folder, NULL);
}
