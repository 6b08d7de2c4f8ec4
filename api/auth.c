#include "api/auth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/digest.h"
#include "wal/base.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define NAME_CHARACTERS LETTERS DIGITS "._-"
#define NAME_BYTES_MAX 128
#define HASH_PREFIX "sha256:"
#define RANDOM_BYTES 32

_Static_assert(AUTH_DIGEST_BYTES == SHA256_BYTES, "one and the same");

static const char base64url[] = LETTERS DIGITS "-_";

struct auth_token {
    char name[NAME_BYTES_MAX + 1];
    uint8_t digest[AUTH_DIGEST_BYTES];
    unsigned rights;
    char *logs; /* patterns with commas between them */
};

struct auth {
    unsigned count;
    struct auth_token tokens[AUTH_TOKENS_MAX];
};

static const struct {
    const char *name;
    enum auth_right right;
} rights[] = {{"read", AUTH_READ}, {"append", AUTH_APPEND}, {"admin", AUTH_ADMIN}};

const char *auth_right_name(enum auth_right right)
{
    size_t i = 0;
    while (rights[i].right != right)
        i++;
    return rights[i].name;
}

/* ---- one line ---- */

static bool is_name(const char *text, size_t bytes)
{
    return bytes > 0 && bytes <= NAME_BYTES_MAX && strchr("._-", text[0]) == NULL &&
           strspn(text, NAME_CHARACTERS) >= bytes;
}

static bool parse_hash(const char *text, uint8_t ret_digest[AUTH_DIGEST_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    size_t prefix = strlen(HASH_PREFIX);
    if (strncmp(text, HASH_PREFIX, prefix) != 0 || strlen(text) != prefix + 2 * AUTH_DIGEST_BYTES)
        return false;
    text += prefix;
    for (size_t i = 0; i < AUTH_DIGEST_BYTES; i++) {
        const char *high = memchr(digits, text[2 * i], 16);
        const char *low = memchr(digits, text[2 * i + 1], 16);
        if (!high || !low)
            return false;
        ret_digest[i] = (uint8_t)((high - digits) << 4 | (low - digits));
    }
    return true;
}

static bool parse_rights(const char *text, unsigned *ret_rights)
{
    *ret_rights = 0;
    for (;;) {
        size_t bytes = strcspn(text, ",");
        unsigned found = 0;
        for (size_t i = 0; i < ARRAY_SIZE(rights); i++) {
            if (strlen(rights[i].name) == bytes && memcmp(rights[i].name, text, bytes) == 0)
                found = rights[i].right;
        }
        if (!found || (*ret_rights & found))
            return false;
        *ret_rights |= found;
        if (!text[bytes])
            return true;
        text += bytes + 1;
    }
}

/* A name, the beginning of one and "*" behind it, or "*" alone. */
static bool is_pattern(const char *text, size_t bytes)
{
    bool begins = bytes > 0 && text[bytes - 1] == '*';
    return (begins && bytes == 1) || is_name(text, bytes - begins);
}

static bool are_patterns(const char *text)
{
    for (;;) {
        size_t bytes = strcspn(text, ",");
        if (!is_pattern(text, bytes))
            return false;
        if (!text[bytes])
            return true;
        text += bytes + 1;
    }
}

static bool pattern_matches(const char *pattern, size_t bytes, const char *log)
{
    if (pattern[bytes - 1] == '*')
        return bytes == 1 || (log && strncmp(log, pattern, bytes - 1) == 0);
    return log && strlen(log) == bytes && memcmp(log, pattern, bytes) == 0;
}

static const struct auth_token *find_name(const struct auth *auth, const char *name)
{
    for (unsigned i = 0; i < auth->count; i++) {
        if (strcmp(auth->tokens[i].name, name) == 0)
            return &auth->tokens[i];
    }
    return NULL;
}

static const struct auth_token *find_digest(const struct auth *auth,
                                            const uint8_t digest[AUTH_DIGEST_BYTES])
{
    const struct auth_token *found = NULL;
    for (unsigned i = 0; i < auth->count; i++) {
        if (digest_is_same(auth->tokens[i].digest, digest, AUTH_DIGEST_BYTES))
            found = &auth->tokens[i];
    }
    return found;
}

/* What is wrong with a line of these words; NULL: nothing, and it is in the table. Nothing is quoted:
 * a token that was put where its hash belongs must not get into a log. */
static const char *add_words(struct auth *auth, char *const words[4])
{
    struct auth_token *token = &auth->tokens[auth->count];
    if (auth->count == AUTH_TOKENS_MAX)
        return "there are more tokens than 1000";
    if (!is_name(words[0], strlen(words[0])))
        return "its first word, the name, is to have up to 128 letters, digits and . _ -, and to "
               "begin with a letter or a digit";
    if (find_name(auth, words[0]))
        return "its name is there already, in a line before";
    if (!parse_hash(words[1], token->digest))
        return "its second word is to be sha256: and 64 digits from 0 to 9 and a to f, as wald "
               "token prints it; the token itself has no place in this file";
    if (find_digest(auth, token->digest))
        return "its token is there already, in a line before";
    if (!parse_rights(words[2], &token->rights))
        return "its third word is to be one or more of read, append and admin, each once, with "
               "commas between them";
    if (!are_patterns(words[3]))
        return "its fourth word is to be names of logs, with commas between them; * at the end of "
               "one stands for anything, and * alone for every log";
    token->logs = strdup(words[3]);
    if (!token->logs)
        return "there is no memory for it";
    snprintf(token->name, sizeof(token->name), "%s", words[0]);
    auth->count++;
    return NULL;
}

static const char *add_line(struct auth *auth, char *line)
{
    char *words[4];
    unsigned count = 0;
    char *rest = line;
    if (line[strspn(line, " \t")] == '#')
        return NULL;
    for (char *word; (word = strtok_r(rest, " \t\r", &rest)) != NULL; count++) {
        if (count == ARRAY_SIZE(words))
            return "it has more than four words";
        words[count] = word;
    }
    if (count == 0)
        return NULL;
    if (count < ARRAY_SIZE(words))
        return "it is to have four words: a name, sha256: with the hash of the token, its rights, "
               "and the logs they are for";
    return add_words(auth, words);
}

/* ---- all of them ---- */

int auth_parse(struct auth **ret_auth, const char *text, size_t bytes,
               char ret_reason[AUTH_REASON_BYTES])
{
    struct auth *auth = calloc(1, sizeof(*auth));
    char *copy = strndup(text, bytes);
    const char *reason = NULL;
    unsigned number = 0;
    if (!auth || !copy) {
        snprintf(ret_reason, AUTH_REASON_BYTES, "there is no memory for it");
        auth_free(auth);
        free(copy);
        return -ENOMEM;
    }
    if (strlen(copy) != bytes)
        reason = "there is a NUL in it";
    for (char *line = copy, *end; line && !reason; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        number++;
        reason = add_line(auth, line);
    }
    if (reason)
        snprintf(ret_reason, AUTH_REASON_BYTES, "line %u: %s", number, reason);
    explicit_bzero(copy, bytes);
    free(copy);
    if (reason) {
        auth_free(auth);
        return -EINVAL;
    }
    *ret_auth = auth;
    return 0;
}

/* Returns how many bytes, or an error with its reason. */
static ssize_t read_file(int fd, char *text, char ret_reason[AUTH_REASON_BYTES])
{
    size_t bytes = 0;
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (status.st_mode & S_IWOTH) {
        snprintf(ret_reason, AUTH_REASON_BYTES,
                 "everybody may write to this file, and so give out rights; take that back with "
                 "chmod o-w");
        return -EPERM;
    }
    while (bytes <= AUTH_FILE_BYTES_MAX) {
        ssize_t got = read(fd, text + bytes, AUTH_FILE_BYTES_MAX + 1 - bytes);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got == 0)
            return (ssize_t)bytes;
        bytes += got > 0 ? (size_t)got : 0;
    }
    snprintf(ret_reason, AUTH_REASON_BYTES, "it is larger than 1 MiB");
    return -EFBIG;
}

int auth_load(struct auth **ret_auth, const char *path, char ret_reason[AUTH_REASON_BYTES])
{
    char *text = malloc(AUTH_FILE_BYTES_MAX + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t bytes = fd < 0 ? -errno : -ENOMEM;
    ret_reason[0] = '\0';
    if (fd >= 0 && text)
        bytes = read_file(fd, text, ret_reason);
    if (bytes < 0 && !ret_reason[0])
        snprintf(ret_reason, AUTH_REASON_BYTES, "%s", strerror((int)-bytes));
    int rc = bytes < 0 ? (int)bytes : auth_parse(ret_auth, text, (size_t)bytes, ret_reason);
    if (fd >= 0)
        close(fd);
    if (text)
        explicit_bzero(text, bytes > 0 ? (size_t)bytes : 0);
    free(text);
    return rc;
}

void auth_free(struct auth *auth)
{
    for (unsigned i = 0; auth && i < auth->count; i++)
        free(auth->tokens[i].logs);
    free(auth);
}

unsigned auth_count(const struct auth *auth)
{
    return auth->count;
}

/* ---- who asks ---- */

/* The token in "Bearer TOKEN" (RFC 6750); NULL: that is something else. */
static const char *token_of(const char *authorization)
{
    size_t scheme = strcspn(authorization, " ");
    if (scheme != 6 || strncasecmp(authorization, "Bearer", 6) != 0)
        return NULL;
    const char *token = authorization + scheme;
    token += strspn(token, " ");
    size_t bytes = strspn(token, LETTERS DIGITS "-._~+/");
    size_t padding = strspn(token + bytes, "=");
    return bytes > 0 && !token[bytes + padding] && bytes + padding <= AUTH_PRESENTED_BYTES_MAX
               ? token
               : NULL;
}

bool auth_identify(const struct auth *auth, const char *authorization,
                   struct auth_identity *ret_who)
{
    const char *token = token_of(authorization);
    *ret_who = (struct auth_identity){.is_known = false};
    if (!token)
        return false;
    digest_sha256(ret_who->digest, token, strlen(token));
    ret_who->is_known = find_digest(auth, ret_who->digest) != NULL;
    return ret_who->is_known;
}

bool auth_knows(const struct auth *auth, const struct auth_identity *who)
{
    return who->is_known && find_digest(auth, who->digest);
}

bool auth_may(const struct auth *auth, const struct auth_identity *who, enum auth_right right,
              const char *log)
{
    const struct auth_token *token = who->is_known ? find_digest(auth, who->digest) : NULL;
    if (!token || !(token->rights & right))
        return false;
    for (const char *pattern = token->logs;;) {
        size_t bytes = strcspn(pattern, ",");
        if (pattern_matches(pattern, bytes, log))
            return true;
        if (!pattern[bytes])
            return false;
        pattern += bytes + 1;
    }
}

bool auth_reads_any(const struct auth *auth, const struct auth_identity *who)
{
    const struct auth_token *token = who->is_known ? find_digest(auth, who->digest) : NULL;
    return token && (token->rights & AUTH_READ);
}

/* ---- new tokens ---- */

int auth_make_token(char ret_token[AUTH_TOKEN_BYTES + 1])
{
    uint8_t random[RANDOM_BYTES + 1] = {0}; /* in groups of three bytes */
    char *out = stpcpy(ret_token, "wald_");
    if (getentropy(random, RANDOM_BYTES) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof(random); i += 3) {
        unsigned bits = (unsigned)random[i] << 16 | (unsigned)random[i + 1] << 8 | random[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *out++ = base64url[bits >> shift & 63];
    }
    ret_token[AUTH_TOKEN_BYTES] = '\0'; /* the last character was of the padding */
    explicit_bzero(random, sizeof(random));
    return 0;
}

char *auth_make_line(const char *name, const char *token, const char *right_names, const char *logs)
{
    uint8_t digest[AUTH_DIGEST_BYTES];
    char hex[2 * AUTH_DIGEST_BYTES + 1];
    char *line = NULL;
    digest_sha256(digest, token, strlen(token));
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return asprintf(&line, "%s " HASH_PREFIX "%s %s %s\n", name, hex, right_names, logs) < 0 ? NULL
                                                                                             : line;
}
