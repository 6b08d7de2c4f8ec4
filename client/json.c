#include "client/json.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A struct json is a json_t of the library, which nobody else sees. */
static const json_t *in(const struct json *json)
{
    return (const json_t *)(const void *)json;
}

struct json *json_read(const char *text, size_t bytes)
{
    json_t *root = json_loadb(text, bytes, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return NULL;
    }
    return (struct json *)(void *)root;
}

void json_free(struct json *json)
{
    json_decref((json_t *)(void *)json);
}

void json_freep(struct json **json)
{
    json_free(*json);
}

bool json_number(const struct json *json, const char *name, uint64_t *ret_number)
{
    const json_t *member = json_object_get(in(json), name);
    if (!json_is_integer(member) || json_integer_value(member) < 0)
        return false;
    *ret_number = (uint64_t)json_integer_value(member);
    return true;
}

const char *json_text(const struct json *json, const char *name)
{
    const json_t *member = json_object_get(in(json), name);
    return json_string_value(member);
}

const char *json_data(const struct json *json, const char *name, size_t *ret_bytes)
{
    const json_t *member = json_object_get(in(json), name);
    *ret_bytes = json_string_length(member);
    return json_string_value(member);
}

static int add_to_buffer(const char *text, size_t bytes, void *context)
{
    buffer_add(context, text, bytes);
    return 0;
}

void json_add_object(struct buffer *buffer, const struct json *json, const char *name)
{
    const json_t *member = json_object_get(in(json), name);
    if (json_is_object(member) &&
        json_dump_callback(member, add_to_buffer, buffer, JSON_COMPACT) < 0)
        buffer->failed = true;
}

int json_each_name(const struct json *json, const char *list,
                   int (*visit)(void *context, const char *name), void *context)
{
    const json_t *array = json_object_get(in(json), list);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *name = json_object_get(json_array_get(array, i), "name");
        int rc = json_is_string(name) ? visit(context, json_string_value(name)) : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- tables ---- */

#define NAME_COLUMNS 34

static void print_value(const char *name, const json_t *value, FILE *out);

static void print_members(const char *prefix, const json_t *object, FILE *out)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char name[512];
        snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", key);
        print_value(name, value, out);
    }
}

static void print_elements(const char *prefix, const json_t *array, FILE *out)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        char name[512];
        snprintf(name, sizeof(name), "%s.%zu", prefix, i);
        print_value(name, json_array_get(array, i), out);
    }
}

static void print_value(const char *name, const json_t *value, FILE *out)
{
    if (json_is_object(value)) {
        print_members(name, value, out);
        return;
    }
    if (json_is_array(value)) {
        print_elements(name, value, out);
        return;
    }
    fprintf(out, "%-*s ", NAME_COLUMNS, name);
    if (json_is_string(value))
        fprintf(out, "%s\n", json_string_value(value));
    else if (json_is_integer(value))
        fprintf(out, "%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
    else if (json_is_real(value))
        fprintf(out, "%.3f\n", json_real_value(value));
    else
        fprintf(out, "%s\n", json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "-");
}

void json_print_table(const struct json *json, FILE *out)
{
    print_members("", in(json), out);
}
