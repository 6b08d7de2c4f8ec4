/* The file of tokens, and who may do what by it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/auth.h"

#define TOKEN_A "wald_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TOKEN_B "wald_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct auth *table_of(const char *first_rights, const char *first_logs)
{
    struct auth *auth = NULL;
    char reason[AUTH_REASON_BYTES] = "", *all = NULL;
    char *first = auth_make_line("first", TOKEN_A, first_rights, first_logs);
    char *second = auth_make_line("second", TOKEN_B, "admin", "other");
    assert_true(asprintf(&all, "# a comment\n\n \t\r\n%s%s", first, second) > 0);
    assert_int_equal(auth_parse(&auth, all, strlen(all), reason), 0);
    assert_string_equal(reason, "");
    free(first);
    free(second);
    free(all);
    return auth;
}

static struct auth_identity first_of(const struct auth *auth)
{
    struct auth_identity who;
    assert_true(auth_identify(auth, "Bearer " TOKEN_A, &who));
    return who;
}

/* A prefix must not be taken for a name, nor a name for a prefix. */
static void rights_are_for_the_logs_that_are_named(void **state)
{
    static const struct {
        const char *logs, *log;
        bool may;
    } cases[] = {
        {"orders", "orders", true},  {"orders", "orders-2", false},
        {"orders", "order", false},  {"orders*", "orders-2", true},
        {"orders*", "orders", true}, {"orders*", "order", false},
        {"a,b*,c", "b", true},       {"a,b*,c", "bb", true},
        {"a,b*,c", "c", true},       {"a,b*,c", "cc", false},
        {"a,b*,c", "a,b", false},    {"*", "anything", true},
        {"*", NULL, true},           {"a*", NULL, false},
        {"a", NULL, false},          {"ORDERS", "orders", false},
        {"a.b", "a.b", true},        {"a.b", "axb", false},
        {"a,*", NULL, true},         {"a,*", "z", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct auth *auth = table_of("read", cases[i].logs);
        struct auth_identity who = first_of(auth);
        assert_int_equal(auth_may(auth, &who, AUTH_READ, cases[i].log), cases[i].may);
        assert_false(auth_may(auth, &who, AUTH_APPEND, cases[i].log));
        assert_false(auth_may(auth, &who, AUTH_ADMIN, cases[i].log));
        auth_free(auth);
    }
}

/* Rights are bits, and none brings another along. */
static void each_right_is_by_itself(void **state)
{
    static const char *const names[] = {"read", "append", "admin"};
    static const enum auth_right rights[] = {AUTH_READ, AUTH_APPEND, AUTH_ADMIN};
    for (unsigned set = 1; set < 8; set++) {
        char text[64] = "";
        for (unsigned i = 0; i < 3; i++) {
            if (set >> i & 1)
                snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
                         text[0] ? "," : "", names[i]);
        }
        struct auth *auth = table_of(text, "*");
        struct auth_identity who = first_of(auth);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(auth_may(auth, &who, rights[i], "log"), (set >> i & 1) != 0);
        assert_int_equal(auth_reads_any(auth, &who), (set & 1) != 0);
        auth_free(auth);
    }
}

/* Who was known to one table is nobody to the next that has not its token. */
static void a_token_that_is_gone_has_no_rights(void **state)
{
    struct auth *before = table_of("read,append,admin", "*"), *after = NULL;
    struct auth_identity who = first_of(before), nobody = {.is_known = false};
    char reason[AUTH_REASON_BYTES];
    char *line = auth_make_line("second", TOKEN_B, "read", "*");
    assert_int_equal(auth_parse(&after, line, strlen(line), reason), 0);
    assert_int_equal(auth_count(before), 2);
    assert_int_equal(auth_count(after), 1);
    assert_true(auth_knows(before, &who));
    assert_false(auth_knows(after, &who));
    assert_false(auth_may(after, &who, AUTH_READ, "log"));
    assert_false(auth_reads_any(after, &who));
    assert_false(auth_may(before, &nobody, AUTH_READ, "log"));
    assert_false(auth_knows(before, &nobody));
    free(line);
    auth_free(before);
    auth_free(after);
}

static void new_tokens_are_long_and_all_different(void **state)
{
    char tokens[64][AUTH_TOKEN_BYTES + 1];
    for (int i = 0; i < 64; i++) {
        assert_int_equal(auth_make_token(tokens[i]), 0);
        assert_int_equal(strlen(tokens[i]), AUTH_TOKEN_BYTES);
        assert_int_equal(strncmp(tokens[i], "wald_", 5), 0);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(tokens[i], tokens[k]);
    }
}

/* What is not exactly a line is never half of one, and the reason quotes nothing of it. */
static void lines_that_are_cut_or_longer_are_refused(void **state)
{
    char *line = auth_make_line("secretname", TOKEN_A, "read,append", "a,b*");
    char reason[AUTH_REASON_BYTES];
    struct auth *auth = NULL;
    size_t bytes = strlen(line);
    for (size_t cut = 1; cut < bytes - 1; cut++) {
        int rc = auth_parse(&auth, line, cut, reason);
        if (rc ==
            0) { /* of the names of logs something may be missing, and of the end of the line */
            assert_true(cut > bytes - 5);
            auth_free(auth);
            continue;
        }
        assert_int_equal(rc, -EINVAL);
        assert_null(strstr(reason, "secretname"));
        assert_int_equal(strncmp(reason, "line 1: ", 8), 0);
    }
    assert_int_equal(auth_parse(&auth, line, bytes + 1, reason), -EINVAL); /* a NUL */
    free(line);
    assert_int_equal(auth_parse(&auth, "", 0, reason), 0);
    assert_int_equal(auth_count(auth), 0);
    auth_free(auth);
}

static void there_is_room_for_a_thousand_and_no_more(void **state)
{
    char *all = NULL, reason[AUTH_REASON_BYTES], token[AUTH_TOKEN_BYTES + 1], name[16];
    size_t bytes = 0;
    FILE *out = open_memstream(&all, &bytes);
    struct auth *auth = NULL;
    for (int i = 0; i <= AUTH_TOKENS_MAX; i++) {
        assert_int_equal(auth_make_token(token), 0);
        snprintf(name, sizeof(name), "n%d", i);
        char *line = auth_make_line(name, token, "read", "*");
        fputs(line, out);
        free(line);
        if (i + 1 == AUTH_TOKENS_MAX) {
            fflush(out);
            assert_int_equal(auth_parse(&auth, all, bytes, reason), 0);
            assert_int_equal(auth_count(auth), AUTH_TOKENS_MAX);
            auth_free(auth);
        }
    }
    fclose(out);
    assert_int_equal(auth_parse(&auth, all, bytes, reason), -EINVAL);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_are_for_the_logs_that_are_named),
        cmocka_unit_test(each_right_is_by_itself),
        cmocka_unit_test(a_token_that_is_gone_has_no_rights),
        cmocka_unit_test(new_tokens_are_long_and_all_different),
        cmocka_unit_test(lines_that_are_cut_or_longer_are_refused),
        cmocka_unit_test(there_is_room_for_a_thousand_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
