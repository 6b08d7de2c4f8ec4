#include "api/etag.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "api/text.h"

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t");
}

/* Takes one tag with its quotes and what stands around it. False: there is no tag. */
static bool take_tag(const char **at, const char **ret_tag, size_t *ret_bytes, bool *ret_weak)
{
    const char *tag = skip_space(*at);
    *ret_weak = strncmp(tag, "W/", 2) == 0;
    if (*ret_weak)
        tag += 2;
    if (*tag != '"')
        return false;
    const char *end = tag + 1;
    while (*end && *end != '"' && *end != ' ' && *end != '\t')
        end++;
    if (*end != '"')
        return false;
    *ret_tag = tag;
    *ret_bytes = (size_t)(end + 1 - tag);
    *at = skip_space(end + 1);
    return true;
}

bool etag_list_is_any(const char *list)
{
    return strcmp(list, "*") == 0;
}

bool etag_list_is_valid(const char *list)
{
    const char *tag;
    size_t bytes;
    bool weak;
    if (etag_list_is_any(list))
        return true;
    while (take_tag(&list, &tag, &bytes, &weak)) {
        if (!*list)
            return true;
        if (*list++ != ',')
            return false;
    }
    return false;
}

bool etag_list_has(const char *list, const char *etag, enum etag_comparison comparison)
{
    while (*(list += strspn(list, " \t,"))) {
        const char *tag;
        size_t bytes;
        bool weak;
        if (!take_tag(&list, &tag, &bytes, &weak))
            return false;
        if ((!weak || comparison == ETAG_WEAK) && bytes == strlen(etag) &&
            memcmp(tag, etag, bytes) == 0)
            return true;
        if (*list && *list != ',')
            return false;
    }
    return false;
}

void etag_print(char ret_etag[ETAG_BYTES], struct wal *wal, uint64_t offset)
{
    uint8_t id[16];
    wal_id(wal, id);
    char *end = ret_etag;
    *end++ = '"';
    for (size_t i = 0; i < sizeof(id); i++) {
        *end++ = "0123456789abcdef"[id[i] >> 4];
        *end++ = "0123456789abcdef"[id[i] & 15];
    }
    *end++ = '-';
    end = number_print(end, offset);
    *end++ = '"';
    *end = '\0';
}
