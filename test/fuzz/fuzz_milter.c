/* fuzz_milter: whatever comes over the milter socket, through the real wire, the real libmilter and the real callbacks: frames in any
 * order, with macros that do not pair, cut off, too long, no frames at all, in any portions. The connection ends, what came back are
 * frames with replies that Postfix may pass on, and no session is left.
 *
 * The input is a script: a byte chooses what is sent next, its arguments follow. */
#include "fuzz_gate.h"

#include "milter/callbacks.h"
#include "milter/wire.h"
#include "sys/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmilter/mfapi.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FRAME = 70000, TEXT = 300, ANSWERS = 1 << 20, PATIENCE_MS = 60000 };

static struct gate gate;
static struct session_list list;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

struct peer { /* Postfix's end of the connection */
    int fd;
    bool ended; /* by the gate */
    unsigned char *out;
    size_t n, answered;
};

static unsigned char answers[ANSWERS];

/* ---- the gate ---- */

static void *milter_main(void *arg)
{
    demand(smfi_main() == MI_SUCCESS);
    return arg;
}

/* At an abstract address, since the path of a tree may be too long for a socket. */
static void listen_somewhere(void)
{
    char spec[32];
    pthread_t thread;
    struct error err = {0};
    snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "rcptgate-fuzz-%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    demand(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 64) == 0);
    demand(callbacks_register(&list, &err) == 0);
    snprintf(spec, sizeof spec, "fd:%d", fd);
    demand(smfi_setconn(spec) == MI_SUCCESS);
    demand(pthread_create(&thread, NULL, milter_main, NULL) == 0);
    pthread_detach(thread);
}

static void start_once(void)
{
    static const char policy_text[] =
        "\"limits\": ["
        "{\"name\": \"soft\", \"per\": \"recipient\", \"max\": 30, \"window\": \"1s\"},"
        "{\"name\": \"hard\", \"per\": \"client\", \"max\": 100, \"window\": \"1s\", \"over\": \"reject\"},"
        "{\"name\": \"drop\", \"per\": \"sender\", \"max\": 30, \"window\": \"1s\", \"over\": \"discard\"},"
        "{\"name\": \"size\", \"per\": \"recipient\", \"count\": \"bytes\", \"max\": \"1MB\", \"window\": "
        "\"1s\"}]";
    static const char rows_text[] =
        "INSERT INTO domains(domain) VALUES ('example.com');"
        "INSERT INTO aliases(address, action) VALUES ('ok@example.com', 'accept'), ('gone@example.com', "
        "'reject'), ('hole@example.com', 'discard')";
    if (gate.counters != NULL)
        return;
    demand(!wire_paused()); /* also what links the wire in */
    signal(SIGPIPE, SIG_IGN);
    log_set_level(
        LOG_AT_ERROR); /* an hour of lines would fill the memory of who reads them; fuzz_callbacks makes them */
    sqlite3_close(fuzz_gate_start(&gate, policy_text, rows_text));
    session_list_init(&list, &gate);
    listen_somewhere();
}

/* ---- the connection ---- */

static void peer_open(struct peer *peer)
{
    *peer = (struct peer){.fd = socket(AF_UNIX, SOCK_STREAM, 0)};
    demand(peer->fd >= 0 && connect(peer->fd, (struct sockaddr *)&address, sizeof address) == 0);
    demand(fcntl(peer->fd, F_SETFL, O_NONBLOCK) == 0);
    peer->out = malloc(FRAME + 4);
    demand(peer->out != NULL);
}

static void peer_receive(struct peer *peer)
{
    ssize_t got = recv(peer->fd, answers + peer->answered, sizeof answers - peer->answered, 0);
    demand(got >= 0 || errno == EAGAIN || errno == ECONNRESET);
    peer->ended = peer->ended || got == 0 || (got < 0 && errno == ECONNRESET);
    peer->answered += got > 0 ? (size_t)got : 0;
    demand(peer->answered < sizeof answers);
}

/* Sends what is put together; takes what is answered meanwhile. */
static void peer_push(struct peer *peer)
{
    for (size_t sent = 0; sent < peer->n && !peer->ended;) {
        struct pollfd p = {.fd = peer->fd, .events = POLLIN | POLLOUT};
        demand(poll(&p, 1, PATIENCE_MS) == 1);
        if ((p.revents & (POLLIN | POLLHUP)) != 0)
            peer_receive(peer);
        if ((p.revents & POLLOUT) == 0)
            continue;
        ssize_t n = send(peer->fd, peer->out + sent, peer->n - sent, 0);
        demand(n >= 0 || errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
        peer->ended = peer->ended || (n < 0 && errno != EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
    }
    peer->n = 0;
}

static void peer_close(struct peer *peer)
{
    peer_push(peer);
    (void)shutdown(peer->fd, SHUT_WR);
    while (!peer->ended) {
        struct pollfd p = {.fd = peer->fd, .events = POLLIN};
        demand(poll(&p, 1, PATIENCE_MS) == 1);
        peer_receive(peer);
    }
    close(peer->fd);
    free(peer->out);
}

static void put(struct peer *peer, const void *bytes, size_t n)
{
    if (peer->n + n > FRAME + 4)
        peer_push(peer);
    demand(n <= FRAME);
    memcpy(peer->out + peer->n, bytes, n);
    peer->n += n;
}

static void put_frame(struct peer *peer, unsigned command, const void *data, size_t n)
{
    const uint32_t size = htonl((uint32_t)n + 1);
    const unsigned char byte = (unsigned char)command;
    put(peer, &size, 4);
    put(peer, &byte, 1);
    put(peer, data, n);
}

/* ---- the script ---- */

struct data { /* of a frame */
    unsigned char bytes[FRAME];
    size_t n;
};

static void add(struct data *data, const void *bytes, size_t n)
{
    n = n < FRAME - 5 - data->n ? n : FRAME - 5 - data->n;
    memcpy(data->bytes + data->n, bytes, n);
    data->n += n;
}

/* Something known mostly, or any bytes; with its NUL, mostly. */
static void add_string(struct data *data, struct fuzz_input *in)
{
    static const char *const known[] = {"<ok@example.com>",
                                        "<gone@example.com>",
                                        "<hole@example.com>",
                                        "<no@example.com>",
                                        "<x@other.example>",
                                        "<>",
                                        "<b@example.net>",
                                        "SIZE=1000",
                                        "{rcpt_addr}",
                                        "ok@example.com",
                                        "{mail_addr}",
                                        "bob@example.net",
                                        "i",
                                        "4bXy",
                                        "{auth_authen}",
                                        "postmaster",
                                        "BODY=8BITMIME",
                                        "j",
                                        "",
                                        "<ok+a@EXAMPLE.com>"};
    char buffer[TEXT];
    unsigned how = fuzz_byte(in);
    const char *text =
        how < 200 ? known[how % (sizeof known / sizeof known[0])] : fuzz_text(in, buffer, TEXT);
    add(data, text, strlen(text) + (how < 250));
}

static void put_negotiation(struct peer *peer, struct fuzz_input *in)
{
    unsigned how = fuzz_byte(in);
    uint32_t words[3] = {htonl(how % 16 == 15 ? fuzz_byte(in) : 6), htonl(how % 8 == 7 ? 0 : 0x1ff),
                         htonl(how % 4 == 3 ? 0 : 0x1fffff)};
    put_frame(peer, 'O', words, how < 240 ? sizeof words : how % 12);
}

static void put_connect(struct peer *peer, struct fuzz_input *in)
{
    static const char *const clients[] = {"192.0.2.7", "IPv6:2001:db8::1", "2001:db8::1", "/run/x", "x"};
    struct data data;
    unsigned how = fuzz_byte(in);
    const uint16_t port = htons((uint16_t)(how % 4));
    data.n = 0;
    add(&data, "host.example", 13);
    add(&data, &"446LU4x"[how % 7], 1);
    if (how < 240)
        add(&data, &port, 2);
    const char *client = clients[fuzz_byte(in) % (sizeof clients / sizeof clients[0])];
    add(&data, client, strlen(client) + (how < 250));
    put_frame(peer, 'C', data.bytes, data.n);
}

static void put_strings(struct peer *peer, struct fuzz_input *in, unsigned command, const char *stages)
{
    struct data data;
    data.n = 0;
    if (stages != NULL)
        add(&data, &stages[fuzz_below(in, (unsigned)strlen(stages))], 1);
    for (unsigned k = fuzz_below(in, 7); k > 0; k--)
        add_string(&data, in);
    put_frame(peer, command, data.bytes, data.n);
}

/* MAIL or RCPT as Postfix says it. */
static void put_address(struct peer *peer, struct fuzz_input *in, unsigned command)
{
    struct data data;
    data.n = 0;
    add_string(&data, in);
    put_frame(peer, command, data.bytes, data.n);
}

/* A frame of one byte over and over; a length that is none; bytes that are no frame. */
static void put_odd(struct peer *peer, struct fuzz_input *in)
{
    struct data data;
    unsigned how = fuzz_byte(in), command = fuzz_byte(in);
    char bytes[TEXT];
    if (how % 3 == 0) {
        data.n = (fuzz_byte(in) << 8 | fuzz_byte(in)) + (how > 200 ? 4400U : 0U);
        memset(data.bytes, (int)fuzz_byte(in), data.n);
        put_frame(peer, command, data.bytes, data.n < FRAME - 5 ? data.n : FRAME - 5);
        return;
    }
    if (how % 3 == 1) {
        const uint32_t size = htonl(fuzz_byte(in) << (how >> 3));
        put(peer, &size, 4);
    }
    fuzz_text(in, bytes, sizeof bytes);
    put(peer, bytes, strlen(bytes));
}

static void step(struct peer *peer, struct fuzz_input *in)
{
    switch (fuzz_byte(in) % 14) {
    case 0:
        put_negotiation(peer, in);
        break;
    case 1:
        put_connect(peer, in);
        break;
    case 2:
    case 3:
        put_strings(peer, in, 'D', "CMRE");
        break;
    case 4:
    case 5:
        put_address(peer, in, 'M');
        break;
    case 6:
    case 7:
    case 8:
        put_address(peer, in, 'R');
        break;
    case 9:
        put_strings(peer, in, (unsigned char)"LMRHU"[fuzz_below(in, 5)], NULL);
        break;
    case 10:
        put_strings(peer, in, fuzz_byte(in), NULL);
        break;
    case 11:
        put_frame(peer, (unsigned char)"AAEENNTBKQ"[fuzz_below(in, 10)], "", 0);
        break;
    case 12:
        peer_push(peer);
        break;
    default:
        put_odd(peer, in);
    }
}

/* ---- what came back ---- */

static void check_reply(const unsigned char *text, size_t n)
{
    demand(n > 5 && text[n - 1] == '\0');
    demand(text[0] == '4' || text[0] == '5');
    demand(text[1] >= '0' && text[1] <= '9' && text[2] >= '0' && text[2] <= '9' && text[3] == ' ');
    demand(memcmp(text + 1, "21", 2) != 0);
    for (size_t i = 4; i + 1 < n; i++)
        demand(text[i] >= ' ' && text[i] <= '~');
}

/* The last one may be cut off: the gate need not have sent all before it hung up on us. */
static void check_answers(size_t n)
{
    for (size_t at = 0; at + 5 <= n;) {
        const size_t size = (size_t)answers[at] << 24 | (size_t)answers[at + 1] << 16 |
                            (size_t)answers[at + 2] << 8 | answers[at + 3];
        demand(size > 0 && size <= 65536);
        if (at + 4 + size > n)
            return;
        const unsigned char command = answers[at + 4];
        demand(command != '\0' && strchr("Octrady-", command) != NULL);
        if (command == 'y')
            check_reply(answers + at + 5, size - 1);
        at += 4 + size;
    }
}

static bool is_session_left(void)
{
    pthread_mutex_lock(&list.lock);
    bool left = list.first != NULL;
    pthread_mutex_unlock(&list.lock);
    return left;
}

/* A session is freed before its connection is closed, but where a thread is late. */
static void check_sessions(void)
{
    for (int ms = 0; is_session_left(); ms++) {
        demand(ms < PATIENCE_MS);
        usleep(1000);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct peer peer;
    start_once();
    peer_open(&peer);
    while (in.left > 0 && !peer.ended)
        step(&peer, &in);
    peer_close(&peer);
    check_answers(peer.answered);
    check_sessions();
    return 0;
}
