/*
 * TLS over a socket that never blocks: the only file that knows GnuTLS. 1.2 and 1.3, with certificates
 * that can be replaced while connections go on with the ones they began with.
 */
#ifndef SERVER_TLS_H
#define SERVER_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TLS_REASON_BYTES 512

/* What tls_receive() has room for has to be no less: then nothing of it is left inside. */
#define TLS_RECORD_BYTES 16384

/* A certificate with its key. Held by each session that began with it. */
struct tls_identity;
struct tls_session;

/* Reads two files in PEM: the certificate with what leads from it to a root behind it, and its key.
 * Errors: -EINVAL, with a sentence that says what is wrong. */
int tls_identity_load(struct tls_identity **ret_identity, const char *certificate, const char *key,
                      char ret_reason[TLS_REASON_BYTES]);
struct tls_identity *tls_identity_hold(struct tls_identity *identity);
void tls_identity_put(struct tls_identity *identity); /* NULL is fine */

/* The last day of the certificate, in seconds since 1970. */
long long tls_identity_expires(const struct tls_identity *identity);

/* A session on a connection that was accepted. The descriptor stays the caller's. NULL: no memory. */
struct tls_session *tls_open(struct tls_identity *identity, int fd);

/* The other side of one, for a question to a service of this machine: whose certificate that is is not
 * asked. NULL: no memory. */
struct tls_session *tls_open_client(int fd);
void tls_close(struct tls_session *session); /* NULL is fine */

/* 0: done; -EAGAIN: when the socket is ready for what tls_wants_to_send() says; -EPROTO: failed, and
 * the other side has been told, if it could be. */
int tls_handshake(struct tls_session *session);
bool tls_wants_to_send(const struct tls_session *session);

/* At least TLS_RECORD_BYTES. 0: nothing more will come. Errors: -EAGAIN, -EPROTO, those of the
 * socket. */
ssize_t tls_receive(struct tls_session *session, void *bytes, size_t count);

/* How many were sent, at least one. -EAGAIN: call it again with the same bytes, when the socket takes
 * more. Other errors: as tls_receive(). */
ssize_t tls_send(struct tls_session *session, const void *bytes, size_t count);

/* How much has gone to the socket ever: whether the other side takes anything. */
uint64_t tls_sent_bytes(const struct tls_session *session);

/* Says that nothing more comes from here. Errors: as tls_handshake(). */
int tls_say_end(struct tls_session *session);

#endif
