/* tls: OpenSSL under a BIO of ours, since its own writes with write(2), which raises SIGPIPE. Owns contexts and sessions; the descriptor is
 * connection's. Fails by a status; the reason is put in words here, where OpenSSL's queue of errors is. */
#include "tls.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum { FILES = 3, WHO = 160, HOST = 256, PEER = WHO + HOST };

struct redis_tls {
    atomic_int refs;
    SSL_CTX *context;
    const char *ca, *name; /* of the configuration; NULL as there */
    struct seen {          /* a file as it was read */
        const char *path;  /* NULL: none */
        struct stat stat;
    } files[FILES];
    pthread_mutex_t mutex; /* of */
    SSL_SESSION *last;     /* the session to resume; NULL: none */
    char last_peer[PEER];  /* and whose it is */
};

struct redis_tls_session {
    SSL *ssl;
    struct redis_tls *tls;
    int fd;
    int error;     /* errno of the socket when it failed; 0: the peer closed it */
    bool lost;     /* the socket failed */
    short events;  /* waited for */
    char who[WHO]; /* for people */
    char date[16]; /* by which the certificate is refused, "2026-11-23" */
    char host[HOST];
    char peer[PEER]; /* both */
};

static BIO_METHOD *socket_method; /* made once, for good */
static int session_index;         /* of the struct redis_tls_session in an SSL */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* ---- the socket ---- */

static int socket_result(BIO *bio, ssize_t n)
{
    struct redis_tls_session *session = BIO_get_data(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return -1;
    session->lost = true;
    session->error = n < 0 ? errno : 0;
    return n < 0 ? -1 : 0;
}

static int socket_write(BIO *bio, const char *bytes, int n)
{
    const struct redis_tls_session *session = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t sent = send(session->fd, bytes, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0)
        return (int)sent;
    int rc = socket_result(bio, sent);
    if (!session->lost)
        BIO_set_retry_write(bio);
    return rc;
}

static int socket_read(BIO *bio, char *bytes, int n)
{
    const struct redis_tls_session *session = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t got = recv(session->fd, bytes, (size_t)n, MSG_DONTWAIT);
    if (got > 0)
        return (int)got;
    int rc = socket_result(bio, got);
    if (!session->lost)
        BIO_set_retry_read(bio);
    return rc;
}

static long socket_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* Its clean-up at exit is left out: other threads may still be under way then. */
static void initialise(void)
{
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL) != 1)
        return;
    session_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    socket_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "rcptgate socket");
    if (socket_method == NULL || session_index < 0 || BIO_meth_set_write(socket_method, socket_write) != 1 ||
        BIO_meth_set_read(socket_method, socket_read) != 1 ||
        BIO_meth_set_ctrl(socket_method, socket_control) != 1) {
        BIO_meth_free(socket_method);
        socket_method = NULL;
    }
}

/* ---- the session to resume ---- */

static int64_t end_of(const X509 *certificate)
{
    struct tm tm;
    if (certificate == NULL || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm);
}

static bool ends_soon(const X509 *certificate)
{
    return certificate != NULL && end_of(certificate) < clock_now_ms() / 1000 + REDIS_CERTIFICATE_SOON_S;
}

/* OpenSSL has a new one, by a ticket that came, from whatever call. 1: it is kept. */
static int keep_session(SSL *ssl, SSL_SESSION *made)
{
    const struct redis_tls_session *session = SSL_get_ex_data(ssl, session_index);
    struct redis_tls *tls = session->tls;
    pthread_mutex_lock(&tls->mutex);
    SSL_SESSION *old = tls->last;
    tls->last = made;
    memcpy(tls->last_peer, session->peer, sizeof tls->last_peer);
    pthread_mutex_unlock(&tls->mutex);
    SSL_SESSION_free(old);
    return 1;
}

/* Who resumes is not shown the certificate again: so only with the peer that showed it, and while it is valid for long. */
static void resume_session(struct redis_tls_session *session)
{
    struct redis_tls *tls = session->tls;
    pthread_mutex_lock(&tls->mutex);
    SSL_SESSION *last = tls->last;
    if (last != NULL && strcmp(tls->last_peer, session->peer) == 0 && SSL_SESSION_is_resumable(last) &&
        !ends_soon(SSL_SESSION_get0_peer(last)))
        SSL_set_session(session->ssl, last);
    pthread_mutex_unlock(&tls->mutex);
}

/* ---- the files ---- */

static const char *first_error(void)
{
    unsigned long code = ERR_peek_error();
    const char *reason = ERR_reason_error_string(code);
    return ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
           : reason != NULL       ? reason
                                  : "it cannot be used";
}

static int no_passphrase(char *buffer, int size, int writing, void *arg)
{
    (void)buffer, (void)size, (void)writing, (void)arg;
    return -1; /* nobody is there who could type one */
}

static int judge_file(const char *key, const char *path, bool good, struct error *err)
{
    if (!good)
        error_set(err, "cannot use counters.tls.%s %s: %s", key, path, first_error());
    return good ? 0 : -1;
}

static int read_files(struct redis_tls *tls, const struct redis_config *config, struct error *err)
{
    SSL_CTX *context = tls->context;
    const char *cert = config->tls_cert, *key = config->tls_key != NULL ? config->tls_key : cert;
    const char *const paths[FILES] = {config->tls_ca, cert, cert != NULL ? key : NULL};
    for (int i = 0; i < FILES; i++) { /* before they are read: what changes meanwhile is read again */
        tls->files[i].path = paths[i];
        if (paths[i] != NULL)
            (void)stat(paths[i], &tls->files[i].stat); /* one that cannot be found cannot be read either */
    }
    ERR_clear_error();
    if (config->tls_ca == NULL)
        (void)SSL_CTX_set_default_verify_paths(context); /* none there: then nobody is trusted */
    else if (judge_file("ca", config->tls_ca, SSL_CTX_load_verify_file(context, config->tls_ca) == 1, err) !=
             0)
        return -1;
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (cert == NULL)
        return 0;
    if (judge_file("cert", cert, SSL_CTX_use_certificate_chain_file(context, cert) == 1, err) != 0 ||
        judge_file("key", key, SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1, err) != 0)
        return -1;
    return judge_file("key", key, SSL_CTX_check_private_key(context) == 1, err);
}

/* ---- the certificate of the peer ---- */

static void date_of(const ASN1_TIME *time, char out[16])
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1 || strftime(out, 16, "%Y-%m-%d", &tm) == 0)
        snprintf(out, 16, "%s", "?");
}

/* OpenSSL asks whether its verdict on a certificate stands, which it does; only here the certificate is at hand. */
static int note_verdict(int good, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct redis_tls_session *session = ssl != NULL ? SSL_get_ex_data(ssl, session_index) : NULL;
    const X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    if (!good && session != NULL && certificate != NULL) {
        bool expired = X509_STORE_CTX_get_error(store) == X509_V_ERR_CERT_HAS_EXPIRED;
        date_of(expired ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate), session->date);
    }
    return good;
}

/* ---- the context ---- */

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int64_t redis_tls_expires(const struct redis_tls *tls)
{
    return end_of(SSL_CTX_get0_certificate(tls->context));
}

bool redis_tls_is_fresh(const struct redis_tls *tls)
{
    for (int i = 0; i < FILES; i++) {
        struct stat now;
        const struct seen *seen = &tls->files[i];
        if (seen->path != NULL && stat(seen->path, &now) == 0 && !same_file(&now, &seen->stat))
            return false;
    }
    return true;
}

struct redis_tls *redis_tls_new(const struct redis_config *config, struct error *err)
{
    pthread_once(&once, initialise);
    struct redis_tls *tls = socket_method != NULL ? calloc(1, sizeof *tls) : NULL;
    SSL_CTX *context = tls != NULL ? SSL_CTX_new(TLS_client_method()) : NULL;
    if (context == NULL) {
        error_set(err, "out of memory for TLS");
        free(tls);
        return NULL;
    }
    atomic_init(&tls->refs, 1);
    pthread_mutex_init(&tls->mutex, NULL);
    tls->context = context;
    tls->ca = config->tls_ca;
    tls->name = config->tls_name;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, note_verdict);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 && read_files(tls, config, err) == 0)
        return tls;
    error_set(err, "TLS 1.2 cannot be had here: see openssl.cnf");
    redis_tls_unref(tls);
    return NULL;
}

struct redis_tls *redis_tls_ref(struct redis_tls *tls)
{
    if (tls != NULL)
        atomic_fetch_add(&tls->refs, 1);
    return tls;
}

void redis_tls_unref(struct redis_tls *tls)
{
    if (tls == NULL || atomic_fetch_sub(&tls->refs, 1) != 1)
        return;
    SSL_SESSION_free(tls->last);
    SSL_CTX_free(tls->context);
    pthread_mutex_destroy(&tls->mutex);
    free(tls);
}

/* ---- reasons ---- */

static enum redis_tls_status bad_certificate(const struct redis_tls_session *session, long why,
                                             struct error *err)
{
    const struct redis_tls *tls = session->tls;
    switch (why) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        error_set(err, "the certificate of Redis at %s, or one that signed it, expired on %s: renew it",
                  session->who, session->date);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        error_set(err,
                  "the certificate of Redis at %s is not valid before %s: compare the clocks of both hosts",
                  session->who, session->date);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        error_set(
            err,
            "the certificate of Redis at %s does not name %s: give it one that does (subjectAltName), or set "
            "counters.tls.name to what it names",
            session->who, session->host);
        break;
    default:
        error_set(
            err, "the certificate of Redis at %s is not signed by whom %s trusts (%s): see counters.tls.ca",
            session->who, tls->ca != NULL ? tls->ca : "this system", X509_verify_cert_error_string(why));
    }
    return REDIS_TLS_FAILED;
}

/* What the peer said of us, or what is wrong with what it said. */
static enum redis_tls_status bad_protocol(const struct redis_tls_session *session, struct error *err)
{
    unsigned long code = ERR_peek_error();
    const char *text = ERR_reason_error_string(code);
    const char *reason = text != NULL ? text : "no reason";
    switch (ERR_GET_REASON(code)) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        error_set(err, "Redis at %s wants a certificate of ours (%s): set counters.tls.cert", session->who,
                  reason);
        break;
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
        error_set(err,
                  "Redis at %s does not take our certificate (%s): see counters.tls.cert, and who signed it",
                  session->who, reason);
        break;
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_UNSUPPORTED_PROTOCOL:
        error_set(err, "Redis at %s speaks no TLS of 1.2 or later: see its tls-protocols", session->who);
        break;
    default:
        error_set(err, "TLS with Redis at %s failed (%s): is that its tls-port?", session->who, reason);
    }
    return REDIS_TLS_FAILED;
}

/* Of a call that returned rc and did nothing. */
static enum redis_tls_status session_status(struct redis_tls_session *session, int rc, struct error *err)
{
    int why = SSL_get_error(session->ssl, rc);
    if (!session->lost && (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)) {
        session->events = why == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN;
        return REDIS_TLS_WAIT;
    }
    long verified = SSL_get_verify_result(session->ssl);
    if (why == SSL_ERROR_SSL && verified != X509_V_OK && !SSL_is_init_finished(session->ssl))
        return bad_certificate(session, verified, err);
    if (why == SSL_ERROR_SSL)
        return bad_protocol(session, err);
    if (session->error != 0)
        error_set(err, "Redis at %s closed the connection: %s: see its log", session->who,
                  strerror(session->error));
    else
        error_set(err, "Redis at %s closed the connection: see its log", session->who);
    return REDIS_TLS_CLOSED;
}

/* ---- sessions ---- */

/* Whom the certificate must name. */
static bool session_expect(SSL *ssl, const char *host)
{
    struct in6_addr address;
    if (inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    char name[256]; /* a copy: OpenSSL's macro casts the const away */
    size_t n = strlen(host);
    if (n >= sizeof name)
        return false;
    memcpy(name, host, n + 1);
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

struct redis_tls_session *redis_tls_session_new(struct redis_tls *tls, int fd, const char *host,
                                                const char *who)
{
    struct redis_tls_session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return NULL;
    session->tls = redis_tls_ref(tls);
    session->fd = fd;
    snprintf(session->host, sizeof session->host, "%s", tls->name != NULL ? tls->name : host);
    snprintf(session->who, sizeof session->who, "%s", who);
    snprintf(session->peer, sizeof session->peer, "%s %s", session->who, session->host);
    session->ssl = SSL_new(tls->context);
    BIO *bio = session->ssl != NULL ? BIO_new(socket_method) : NULL;
    if (bio == NULL || SSL_set_ex_data(session->ssl, session_index, session) != 1 ||
        !session_expect(session->ssl, session->host)) {
        BIO_free(bio);
        redis_tls_session_free(session);
        return NULL;
    }
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    SSL_set_bio(session->ssl, bio, bio);
    SSL_set_connect_state(session->ssl);
    resume_session(session);
    return session;
}

/* One that is freed without a word could never be resumed; so said, whether it is sent or not. */
void redis_tls_session_free(struct redis_tls_session *session)
{
    if (session == NULL)
        return;
    ERR_clear_error();
    if (session->ssl != NULL && SSL_is_init_finished(session->ssl) && !session->lost) {
        (void)SSL_shutdown(session->ssl);
        SSL_set_shutdown(session->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    ERR_clear_error();
    SSL_free(session->ssl);
    redis_tls_unref(session->tls);
    free(session);
}

enum redis_tls_status redis_tls_session_shake(struct redis_tls_session *session, struct error *err)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(session->ssl);
    return rc == 1 ? REDIS_TLS_DONE : session_status(session, rc, err);
}

enum redis_tls_status redis_tls_session_send(struct redis_tls_session *session, const char *bytes, size_t n,
                                             size_t *done, struct error *err)
{
    ERR_clear_error();
    int rc = SSL_write_ex(session->ssl, bytes, n, done);
    return rc == 1 ? REDIS_TLS_DONE : session_status(session, rc, err);
}

enum redis_tls_status redis_tls_session_receive(struct redis_tls_session *session, char *bytes, size_t n,
                                                size_t *done, struct error *err)
{
    ERR_clear_error();
    int rc = SSL_read_ex(session->ssl, bytes, n, done);
    return rc == 1 ? REDIS_TLS_DONE : session_status(session, rc, err);
}

short redis_tls_session_events(const struct redis_tls_session *session)
{
    return session->events;
}

bool redis_tls_session_pending(const struct redis_tls_session *session)
{
    return SSL_pending(session->ssl) > 0;
}

bool redis_tls_session_is_quiet(struct redis_tls_session *session)
{
    char byte;
    size_t n = 0;
    ERR_clear_error();
    int rc = SSL_peek_ex(session->ssl, &byte, 1, &n);
    return rc != 1 && !session->lost && SSL_get_error(session->ssl, rc) == SSL_ERROR_WANT_READ;
}

int64_t redis_tls_session_expires(const struct redis_tls_session *session)
{
    return end_of(SSL_get0_peer_certificate(session->ssl));
}
