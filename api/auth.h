/*
 * Who may do what: bearer tokens, each with rights to some logs.
 *
 * The tokens are in a file, one a line, by their SHA-256 alone:
 *
 *   # name  token            rights       logs
 *   shop    sha256:64 digits read,append  orders,carts-*
 *
 * A log is named, or all whose names begin in one way ("carts-*"), or all ("*"). A right does not bring
 * another along. Tokens are random and long (auth_make_token()), so a hash without salt and rounds
 * tells nothing about them; and they are compared by their hashes, each with all there are, in a time
 * that does not depend on what is in them.
 */
#ifndef API_AUTH_H
#define API_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rights, as bits. */
enum auth_right {
    AUTH_READ = 1 << 0,   /* records, and what a log is like */
    AUTH_APPEND = 1 << 1, /* and making logs by it */
    AUTH_ADMIN = 1 << 2,  /* settings, trimming, deleting */
};

#define AUTH_DIGEST_BYTES 32
#define AUTH_TOKENS_MAX 1000
#define AUTH_FILE_BYTES_MAX (1u << 20)
#define AUTH_REASON_BYTES 320

/* "wald_" and 256 random bits, as 43 characters. */
#define AUTH_TOKEN_BYTES 48

/* A token that is presented and longer than this is none. */
#define AUTH_PRESENTED_BYTES_MAX 512

/* A table of tokens, which never changes. */
struct auth;

/* Who presented a token: which may have gone from the table since. */
struct auth_identity {
    uint8_t digest[AUTH_DIGEST_BYTES];
    bool is_known;
};

/* Reads the text of a file. Errors: -EINVAL, with what is wrong as a sentence that quotes nothing of
 * the file; -ENOMEM. */
int auth_parse(struct auth **ret_auth, const char *text, size_t bytes,
               char ret_reason[AUTH_REASON_BYTES]);

/* Reads a file. Errors: the same, and those of the system. */
int auth_load(struct auth **ret_auth, const char *path, char ret_reason[AUTH_REASON_BYTES]);
void auth_free(struct auth *auth); /* NULL is fine */
unsigned auth_count(const struct auth *auth);

/* Whether the value of an Authorization header is a token of the table; then *ret_who is set. */
bool auth_identify(const struct auth *auth, const char *authorization,
                   struct auth_identity *ret_who);

/* Whether the token is (still) in the table. */
bool auth_knows(const struct auth *auth, const struct auth_identity *who);

/* Whether it has the right to this log; NULL: to all. */
bool auth_may(const struct auth *auth, const struct auth_identity *who, enum auth_right right,
              const char *log);

/* Whether it may read at all: some log, if there is one. */
bool auth_reads_any(const struct auth *auth, const struct auth_identity *who);

/* "read", "append", "admin". */
const char *auth_right_name(enum auth_right right);

/* A new token. Errors: those of the system's source of randomness. */
int auth_make_token(char ret_token[AUTH_TOKEN_BYTES + 1]);

/* The line of the file for it, with its end; to be freed. NULL: no memory. */
char *auth_make_line(const char *name, const char *token, const char *rights, const char *logs);

#endif
