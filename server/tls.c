#include "server/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "wal/base.h"

/* What NORMAL of GnuTLS means is Debian's to decide, and to change where it has to; the versions are
 * ours. */
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"

struct tls_identity {
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priorities;
    long long expires;
    atomic_uint holders;
};

struct tls_session {
    gnutls_session_t session;
    struct tls_identity *identity; /* NULL: a client */
    gnutls_certificate_credentials_t own;
    int fd;
    uint64_t sent_bytes;
};

/* ---- certificates ---- */

static int fail(char reason[TLS_REASON_BYTES], const char *what, const char *why)
{
    snprintf(reason, TLS_REASON_BYTES, "%s: %s", what, why);
    return -EINVAL;
}

/* GnuTLS has one error for all that is wrong with a file. */
static bool is_readable(const char *path, char reason[TLS_REASON_BYTES])
{
    FILE *file = fopen(path, "re");
    int c = file ? getc(file) : EOF;
    int error = errno;
    bool fine = c != EOF;
    if (!file)
        fail(reason, path, strerror(error));
    else if (!fine)
        fail(reason, path, ferror(file) ? strerror(error) : "the file is empty");
    if (file)
        fclose(file);
    return fine;
}

static long long expiry_of(gnutls_certificate_credentials_t credentials)
{
    gnutls_x509_crt_t *chain = NULL;
    unsigned count = 0;
    long long expires = 0;
    if (gnutls_certificate_get_x509_crt(credentials, 0, &chain, &count) < 0)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        if (i == 0)
            expires = (long long)gnutls_x509_crt_get_expiration_time(chain[i]);
        gnutls_x509_crt_deinit(chain[i]);
    }
    gnutls_free(chain);
    return expires;
}

/* Reads what there is of certificates in a file, and forgets it again. GnuTLS (3.7.9) loses the memory of
 * one that ends too early when it reads it together with its key, and with each reload there may be
 * another. Errors: of GnuTLS. */
static int try_certificates(const char *path)
{
    gnutls_datum_t text = {0};
    gnutls_x509_crt_t *chain = NULL;
    unsigned count = 0;
    int rc = gnutls_load_file(path, &text);
    if (rc == 0)
        rc = gnutls_x509_crt_list_import2(&chain, &count, &text, GNUTLS_X509_FMT_PEM, 0);
    gnutls_free(text.data);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(chain[i]);
    gnutls_free(chain);
    return 0;
}

static int fill(struct tls_identity *identity, const char *certificate, const char *key,
                char reason[TLS_REASON_BYTES])
{
    if (!is_readable(certificate, reason) || !is_readable(key, reason))
        return -EINVAL;
    int rc = gnutls_certificate_allocate_credentials(&identity->credentials);
    if (rc == 0)
        rc = gnutls_priority_init(&identity->priorities, PRIORITIES, NULL);
    if (rc < 0)
        return fail(reason, "GnuTLS", gnutls_strerror(rc));
    rc = try_certificates(certificate);
    if (rc == 0)
        rc = gnutls_certificate_set_x509_key_file2(identity->credentials, certificate, key,
                                                   GNUTLS_X509_FMT_PEM, NULL, 0);
    if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
        return fail(reason, key, "this is not the key of the certificate");
    if (rc < 0) {
        snprintf(reason, TLS_REASON_BYTES,
                 "%s and %s: %s; they are to be a certificate and its key in PEM, the key without "
                 "a password",
                 certificate, key, gnutls_strerror(rc));
        return -EINVAL;
    }
    gnutls_certificate_set_known_dh_params(identity->credentials, GNUTLS_SEC_PARAM_MEDIUM);
    identity->expires = expiry_of(identity->credentials);
    return 0;
}

static void free_identity(struct tls_identity *identity)
{
    if (identity->credentials)
        gnutls_certificate_free_credentials(identity->credentials);
    if (identity->priorities)
        gnutls_priority_deinit(identity->priorities);
    free(identity);
}

int tls_identity_load(struct tls_identity **ret_identity, const char *certificate, const char *key,
                      char ret_reason[TLS_REASON_BYTES])
{
    struct tls_identity *identity = calloc(1, sizeof(*identity));
    if (!identity)
        return fail(ret_reason, certificate, "there is no memory for it");
    atomic_init(&identity->holders, 1);
    int rc = fill(identity, certificate, key, ret_reason);
    if (rc < 0)
        free_identity(identity);
    else
        *ret_identity = identity;
    return rc;
}

struct tls_identity *tls_identity_hold(struct tls_identity *identity)
{
    atomic_fetch_add(&identity->holders, 1);
    return identity;
}

void tls_identity_put(struct tls_identity *identity)
{
    if (identity && atomic_fetch_sub(&identity->holders, 1) == 1)
        free_identity(identity);
}

long long tls_identity_expires(const struct tls_identity *identity)
{
    return identity->expires;
}

/* ---- the socket ----
 *
 * GnuTLS would call recv() and send(), which api/wire.c defines anew for the descriptors of the HTTP
 * library, and which belong to another thread for that. */

static ssize_t pull(gnutls_transport_ptr_t context, void *bytes, size_t count)
{
    struct tls_session *session = context;
    ssize_t got = recvfrom(session->fd, bytes, count, 0, NULL, NULL);
    if (got < 0)
        gnutls_transport_set_errno(session->session, errno);
    return got;
}

static ssize_t push(gnutls_transport_ptr_t context, const void *bytes, size_t count)
{
    struct tls_session *session = context;
    ssize_t sent = sendto(session->fd, bytes, count, MSG_NOSIGNAL, NULL, 0);
    if (sent < 0)
        gnutls_transport_set_errno(session->session, errno);
    else
        session->sent_bytes += (size_t)sent;
    return sent;
}

static int pull_timeout(gnutls_transport_ptr_t context, unsigned wait_ms)
{
    const struct tls_session *session = context;
    struct pollfd asked = {.fd = session->fd, .events = POLLIN};
    return poll(&asked, 1, wait_ms > 60000 ? 60000 : (int)wait_ms);
}

/* ---- sessions ---- */

static struct tls_session *open_session(int fd, unsigned flags)
{
    struct tls_session *session = calloc(1, sizeof(*session));
    if (!session || gnutls_init(&session->session, flags) < 0) {
        free(session);
        return NULL;
    }
    session->fd = fd;
    gnutls_transport_set_ptr(session->session, session);
    gnutls_transport_set_pull_function(session->session, pull);
    gnutls_transport_set_pull_timeout_function(session->session, pull_timeout);
    gnutls_transport_set_push_function(session->session, push);
    /* Its caller has a deadline for all of it. */
    gnutls_handshake_set_timeout(session->session, GNUTLS_INDEFINITE_TIMEOUT);
    return session;
}

struct tls_session *tls_open(struct tls_identity *identity, int fd)
{
    static const gnutls_datum_t protocols[] = {{(unsigned char *)"http/1.1", 8}};
    struct tls_session *session =
        open_session(fd, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    if (!session)
        return NULL;
    session->identity = tls_identity_hold(identity);
    if (gnutls_priority_set(session->session, identity->priorities) < 0 ||
        gnutls_credentials_set(session->session, GNUTLS_CRD_CERTIFICATE, identity->credentials) <
            0 ||
        gnutls_alpn_set_protocols(session->session, protocols, 1, 0) < 0) {
        tls_close(session);
        return NULL;
    }
    gnutls_certificate_server_set_request(session->session, GNUTLS_CERT_IGNORE);
    return session;
}

struct tls_session *tls_open_client(int fd)
{
    struct tls_session *session =
        open_session(fd, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    if (!session)
        return NULL;
    if (gnutls_certificate_allocate_credentials(&session->own) < 0 ||
        gnutls_priority_set_direct(session->session, PRIORITIES, NULL) < 0 ||
        gnutls_credentials_set(session->session, GNUTLS_CRD_CERTIFICATE, session->own) < 0) {
        tls_close(session);
        return NULL;
    }
    return session;
}

void tls_close(struct tls_session *session)
{
    if (!session)
        return;
    gnutls_deinit(session->session);
    if (session->own)
        gnutls_certificate_free_credentials(session->own);
    tls_identity_put(session->identity);
    free(session);
}

/* A new handshake in the middle, which TLS 1.2 has, is an error: nobody needs it, and it has been a
 * weapon. After an alert that is only a warning there may be more to read at once, which the next
 * event tells: so nobody holds up the others with warnings. */
static int error_of(ssize_t rc)
{
    switch (rc) {
    case GNUTLS_E_AGAIN:
    case GNUTLS_E_WARNING_ALERT_RECEIVED:
    case GNUTLS_E_INTERRUPTED: return -EAGAIN;
    case GNUTLS_E_PUSH_ERROR:
    case GNUTLS_E_PULL_ERROR: return -ECONNRESET;
    default: return -EPROTO;
    }
}

int tls_handshake(struct tls_session *session)
{
    int rc = gnutls_handshake(session->session);
    if (rc == 0)
        return 0;
    int error = error_of(rc);
    if (error == -EPROTO)
        (void)gnutls_alert_send_appropriate(session->session, rc);
    return error;
}

bool tls_wants_to_send(const struct tls_session *session)
{
    return gnutls_record_get_direction(session->session) == 1;
}

ssize_t tls_receive(struct tls_session *session, void *bytes, size_t count)
{
    must(count >= TLS_RECORD_BYTES);
    ssize_t rc = gnutls_record_recv(session->session, bytes, count);
    if (rc >= 0)
        return rc;
    /* Without a goodbye: whether a request was whole is told by its own length. */
    if (rc == GNUTLS_E_PREMATURE_TERMINATION)
        return 0;
    int error = error_of(rc);
    if (error == -EPROTO && rc != GNUTLS_E_REHANDSHAKE)
        (void)gnutls_alert_send_appropriate(session->session, (int)rc);
    return error;
}

ssize_t tls_send(struct tls_session *session, const void *bytes, size_t count)
{
    must(count > 0);
    ssize_t rc = gnutls_record_send(session->session, bytes, count);
    return rc < 0 ? error_of(rc) : rc;
}

uint64_t tls_sent_bytes(const struct tls_session *session)
{
    return session->sent_bytes;
}

int tls_say_end(struct tls_session *session)
{
    int rc = gnutls_bye(session->session, GNUTLS_SHUT_WR);
    return rc < 0 ? error_of(rc) : 0;
}
