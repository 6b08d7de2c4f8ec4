#include "api/target.h"

#include <string.h>

#include "wal/base.h"

static void parse_path(char *path, struct target *target)
{
    must(path[0] == '/');
    while (path) {
        char *segment = path + 1;
        path = strchr(segment, '/');
        if (path)
            *path = '\0';
        if (target->segment_count == TARGET_SEGMENTS_MAX) {
            target->segment_count++;
            return;
        }
        target->segments[target->segment_count++] = segment;
    }
}

static void parse_query(char *query, struct target *target)
{
    while (query) {
        char *parameter = query;
        query = strchr(parameter, '&');
        if (query)
            *query++ = '\0';
        if (target->parameter_count == TARGET_PARAMETERS_MAX) {
            target->parameter_count++;
            return;
        }
        char *value = strchr(parameter, '=');
        if (value)
            *value++ = '\0';
        target->parameters[target->parameter_count].name = parameter;
        target->parameters[target->parameter_count++].value = value ? value : "";
    }
}

void target_parse(char *raw, struct target *ret_target)
{
    *ret_target = (struct target){0};
    char *query = strchr(raw, '?');
    if (query)
        *query++ = '\0';
    parse_path(raw, ret_target);
    if (query && *query)
        parse_query(query, ret_target);
}

const char *target_parameter(const struct target *target, const char *name)
{
    for (unsigned i = 0; i < target->parameter_count; i++) {
        if (strcmp(target->parameters[i].name, name) == 0)
            return target->parameters[i].value;
    }
    return NULL;
}

bool number_parse(const char *text, uint64_t *ret_number)
{
    uint64_t number = 0;

    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
            return false;
    }
    *ret_number = number;
    return true;
}
