/* The headers of answers: the same whether the library writes them, or the transport past it. */
#ifndef API_HEAD_H
#define API_HEAD_H

#include <stdbool.h>

#include "api/errors.h"
#include "api/text.h"

struct gate_config;
struct gate_facts;
struct request;

typedef bool add_header_fn(void *out, const char *name, const char *value);

/* All but those that say how the body is sent, until add() returns false. `last`: the connection ends
 * behind the answer. Returns whether all were added. */
bool head_each(const struct request *request, bool last, add_header_fn *add, void *out);

/* The line of the status and that of the date. For one thread. */
void head_begin(struct text *head, unsigned status, const char *reason);

/* One more line; `head` is a struct text. Always true: the text remembers what memory was short for. */
bool head_add(void *head, const char *name, const char *value);

/* A whole answer, behind which the connection goes on. */
void head_lay_out(struct text *out, const struct request *request, const char *reason);

/* Sends a whole answer that refuses, behind which the caller closes the connection; what the socket does
 * not take at once is lost. `facts` may be NULL: nothing is known of the request. */
void head_refuse(int fd, enum problem problem, const char *reason, const struct gate_config *gate,
                 const struct gate_facts *facts);

#endif
