/* fuzz_http: what a Host header must be to be ours, and whole requests to the server over the loopback: no answer is made
 * for a Host that is not ours, and the next request is served. The first byte chooses. */
#include "fuzz.h"

#include "sys/http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000 };

static struct http *http;
static atomic_int answered;

static void on_answer(void *arg, const struct http_request *request, struct http_answer *out)
{
    const char *to = http_query(request, "to");
    (void)arg;
    atomic_fetch_add(&answered, 1);
    demand(strlen(request->path) < 65536 && (to == NULL || strlen(to) < 65536));
    if (strcmp(request->path, "/") == 0)
        *out = (struct http_answer){200, "text/plain", strdup("yes"), 3};
}

static int dial(void)
{
    const struct linger reset = {.l_onoff = 1}; /* no port is kept in TIME_WAIT */
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)http_port(http)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    demand(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
    demand(connect(fd, (const struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

/* The status of the first answer; 0: the server says nothing, and has the end of the request already. */
static int exchange(const void *request, size_t n)
{
    char got[1024];
    size_t have = 0;
    int fd = dial();
    (void)!send(fd, request, n, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    for (ssize_t more; have + 1 < sizeof got; have += (size_t)more) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, PATIENCE_MS) <= 0)
            fuzz_fail(__FILE__, __LINE__, "the server answers or closes");
        more = recv(fd, got + have, sizeof got - 1 - have, 0);
        if (more <= 0)
            break;
    }
    got[have] = '\0';
    close(fd);
    return have > 12 && strncmp(got, "HTTP/1.", 7) == 0 ? atoi(got + 9) : 0;
}

/* Could there be a Host header in it? */
static bool names_host(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i + 4 <= size; i++)
        if (strncasecmp((const char *)data + i, "host", 4) == 0)
            return true;
    return false;
}

static void check_server(const uint8_t *data, size_t size)
{
    static const char good[] = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    static const struct http_user user = {.answer = on_answer};
    struct error err = {0};
    if (http == NULL)
        http = http_start("127.0.0.1", 0, &user, &err);
    demand(http != NULL);
    atomic_store(&answered, 0);
    int status = exchange(data, size);
    if (!names_host(data, size) && memmem(data, size, "HTTP/1.0", 8) == NULL)
        demand(atomic_load(&answered) == 0 && status != 200);
    demand(exchange(good, sizeof good - 1) == 200);
}

/* Ours are names of the loopback and the address that is listened on, with a port or without. */
static void check_host(struct fuzz_input *in)
{
    static const char *const names[] = {"localhost",   "127.0.0.1",   "::1",        "192.0.2.7",
                                        "localhost.",  "[::1]",       "127.0.0.1.", "192.0.2.7.",
                                        "[127.0.0.1]", "[localhost]", "[192.0.2.7]"};
    char host[300];
    fuzz_text(in, host, sizeof host);
    if (!http_host_is_ours(host, "192.0.2.7"))
        return;
    size_t n = strlen(host), digits = 0;
    while (digits < n && host[n - 1 - digits] >= '0' && host[n - 1 - digits] <= '9')
        digits++;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t len = strlen(names[i]);
        bool same = strncasecmp(host, names[i], len) == 0;
        const char *rest = same ? host + len : "";
        if (same && (*rest == '\0' || (*rest == ':' && strspn(rest + 1, "0123456789") == strlen(rest + 1))))
            return;
    }
    if (host[0] == '[') /* brackets around a name with its dot */
        return;
    fprintf(stderr, "\"%s\" is called ours\n", host);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    if (fuzz_byte(&in) % 8 != 0)
        check_host(&in);
    else
        check_server(in.at, in.left);
    return 0;
}
