/* milter_load: makes load straight on the milter protocol, as Postfix does, and measures the answers.
 *
 *   milter_load [OPTIONS] SOCKET
 *     -c N     connections (100)             -m N     messages a connection, then a new one (100)
 *     -r N     recipients a message (1)      -p N     population: recipients to draw from (100000)
 *     -z S     draw them by Zipf's law with exponent S (else all alike)
 *     -t       take them in turn instead: the population is through before anybody comes again
 *     -o RATE  open loop: RATE recipients a second come whether or not they are answered (else closed: each waits for the last)
 *     -s SECS  measure (5)                   -u SECS  before that, warm up (1)
 *     -n N     instead: measure N messages, however long they take, then leave as Postfix does (closed loop only)
 *     -a PCT   so many messages are aborted after their last RCPT (0)
 *     -w NAME=PID   also measure the CPU time of that process; up to 8 times
 *     -e SEED  of the drawing (1)            -f N     first number of a recipient (0)
 *     -l FILE  a line for each RCPT that was let in, that of the warming up too: when it was sent (see below) and answered, in seconds
 *              (CLOCK_MONOTONIC)
 *
 * One thread, epoll. Commands that await no answer are sent together with the next that does, like Postfix's buffered stream. Recipients
 * are a0000000@example.com and so on. Prints one JSON object: answers by kind, latency of the RCPT command (from when it was sent; in
 * the open loop from when its message was due, so that a MAIL which awaits an answer is in it), and the CPU time of everybody, this program included. Exit 1: a connection failed. */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { WATCHED = 8, BUFFER = 16384, SUB_BITS = 5, BUCKETS = (64 - SUB_BITS) << SUB_BITS, PENDING = 1 << 16 };

/* SMFIP_ bits of the negotiation: the command is not sent; the command has no reply. */
enum {
    NO_CONNECT = 0x1,
    NO_HELO = 0x2,
    NO_MAIL = 0x4,
    NO_BODY = 0x10,
    NO_HEADERS = 0x20,
    NO_EOH = 0x40,
    NO_DATA = 0x200,
    NR_HEADER = 0x80,
    NR_CONNECT = 0x1000,
    NR_HELO = 0x2000,
    NR_MAIL = 0x4000,
    NR_DATA = 0x10000,
    NR_EOH = 0x40000,
    NR_BODY = 0x80000,
};

struct watched {
    const char *name;
    clockid_t clock;
    double before;
};

struct options {
    const char *socket;
    FILE *log; /* NULL: none */
    long connections, messages, recipients, population, first, abort_percent, count;
    double zipf, rate, seconds, warmup;
    bool in_turn;
    struct watched watched[WATCHED];
    size_t n_watched;
};

enum step {
    STEP_CONNECT,
    STEP_HELO,
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_HEADER,
    STEP_EOH,
    STEP_BODY,
    STEP_EOM,
    STEP_IDLE
};

struct connection {
    int fd;
    uint32_t protocol;
    enum step step;    /* what comes next */
    enum step waiting; /* whose answer is awaited; STEP_IDLE: nobody's */
    bool negotiated;
    long messages, recipients;
    double since; /* the RCPT is awaited: when it went out, or its message was due */
    unsigned char in[BUFFER];
    size_t n_in;
    unsigned char out[BUFFER];
    size_t n_out;
};

enum kind { CONTINUE, TEMPORARY, PERMANENT, OTHER, KINDS };
static const char *const kind_names[KINDS] = {"continue", "4xx", "5xx", "other"};

static struct options options = {
    .connections = 100, .messages = 100, .recipients = 1, .population = 100000, .seconds = 5, .warmup = 1};
static double *zipf_sums; /* cumulated probabilities */
static uint64_t random_state = 88172645463325252U;
static struct connection *connections;
static int poll_fd;
static bool measuring;
static uint64_t answers[KINDS], histogram[BUCKETS], n_messages, n_aborted, n_connects, n_latencies,
    n_rcpts; /* of all: with those of the warming up */
static double latency_sum, latency_max;
static struct connection **idle;     /* open loop: waiting for work */
static long n_idle, n_begun, n_left; /* messages begun; connections that have left since all of them were */
static double pending[PENDING];      /* open loop: when messages were due that nobody could take yet */
static size_t pending_head, n_pending;
static uint64_t n_lost; /* due, but more than PENDING waited */

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
    fprintf(stderr, "milter_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- drawing ---- */

static double draw(void) /* [0, 1) */
{
    random_state ^= random_state << 13; /* xorshift64 */
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

static void zipf_prepare(void)
{
    size_t n = (size_t)options.population;
    double sum = 0;
    zipf_sums = calloc(n, sizeof *zipf_sums);
    if (zipf_sums == NULL)
        die("memory");
    for (size_t i = 0; i < n; i++)
        zipf_sums[i] = sum += pow((double)(i + 1), -options.zipf);
    for (size_t i = 0; i < n; i++)
        zipf_sums[i] /= sum;
}

static long draw_recipient(void)
{
    static long turn;
    if (options.in_turn)
        return options.first + turn++ % options.population;
    double at = draw();
    if (zipf_sums == NULL)
        return options.first + (long)(at * (double)options.population);
    long low = 0, high = options.population - 1;
    while (low < high) {
        long middle = (low + high) / 2;
        if (zipf_sums[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return options.first + low;
}

/* ---- latencies: buckets of 1/32 of a power of two, in ns ---- */

static size_t bucket_of(double seconds)
{
    uint64_t ns = seconds > 0 ? (uint64_t)(seconds * 1e9) : 0;
    if (ns < 1U << SUB_BITS)
        return (size_t)ns;
    unsigned exponent = 63U - (unsigned)__builtin_clzll(ns);
    return ((size_t)(exponent - SUB_BITS) << SUB_BITS) + (size_t)(ns >> (exponent - SUB_BITS));
}

static double bucket_us(size_t bucket) /* its middle */
{
    if (bucket < 1U << SUB_BITS)
        return (double)bucket / 1e3;
    size_t exponent = (bucket >> SUB_BITS) - 1;
    double low = ldexp((double)((bucket & ((1U << SUB_BITS) - 1)) + (1U << SUB_BITS)), (int)exponent);
    return (low + ldexp(0.5, (int)exponent)) / 1e3;
}

static void latency_note(double seconds)
{
    histogram[bucket_of(seconds)]++;
    n_latencies++;
    latency_sum += seconds;
    if (seconds > latency_max)
        latency_max = seconds;
}

static double percentile(double share)
{
    uint64_t want = (uint64_t)(share * (double)n_latencies), seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > want)
            return bucket_us(i);
    }
    return latency_max * 1e6;
}

/* ---- packets: length, command, data ---- */

static void put(struct connection *c, char command, const void *data, size_t n)
{
    uint32_t length = htonl((uint32_t)n + 1);
    if (c->n_out + 5 + n > BUFFER)
        die("a message is too long");
    memcpy(c->out + c->n_out, &length, 4);
    c->out[c->n_out + 4] = (unsigned char)command;
    memcpy(c->out + c->n_out + 5, data, n);
    c->n_out += 5 + n;
}

/* Macros come as name NUL value NUL, after the command that they are for. */
static void put_macros(struct connection *c, char command, const char *first, const char *value)
{
    char data[512];
    int n = snprintf(data, sizeof data, "%c%s%c%s", command, first, 0, value);
    put(c, 'D', data, (size_t)n + 1);
}

static void put_connect(struct connection *c)
{
    unsigned char data[64] = "client.example.net";
    size_t n = strlen((char *)data) + 1;
    long number = c - connections;
    put_macros(c, 'C', "j", "mx.example.net");
    data[n++] = '4';
    data[n++] = 40000 >> 8;
    data[n++] = 40000 & 255;
    n += (size_t)snprintf((char *)data + n, sizeof data - n, "192.0.2.%ld", number % 250 + 1) + 1;
    put(c, 'C', data, n);
}

static void put_mail(struct connection *c)
{
    char sender[64];
    int n = snprintf(sender, sizeof sender, "<sender%ld@example.org>", (long)(draw() * 1000));
    char plain[64];
    snprintf(plain, sizeof plain, "%.*s", n - 2, sender + 1);
    put_macros(c, 'M', "{mail_addr}", plain);
    put(c, 'M', sender, (size_t)n + 1);
}

static void put_rcpt(struct connection *c)
{
    char raw[64], plain[64];
    int n = snprintf(raw, sizeof raw, "<a%07ld@example.com>", draw_recipient());
    snprintf(plain, sizeof plain, "%.*s", n - 2, raw + 1);
    put_macros(c, 'R', "{rcpt_addr}", plain);
    put(c, 'R', raw, (size_t)n + 1);
}

/* ---- the dialogue ---- */

static void take_work(struct connection *c);

static void connection_open(struct connection *c)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", options.socket);
    *c = (struct connection){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .waiting = STEP_CONNECT};
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die(options.socket);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("epoll_ctl");
    const uint32_t offer[3] = {htonl(6), htonl(0x1ff), htonl(0x1fffff)};
    put(c, 'O', offer, sizeof offer);
    n_connects += measuring;
}

static void connection_close(struct connection *c)
{
    put(c, 'Q', "", 0);
    if (send(c->fd, c->out, c->n_out, MSG_NOSIGNAL) < 0)
        die("send");
    c->n_out = 0;
    close(c->fd);
    c->fd = -1;
}

static void connection_renew(struct connection *c)
{
    connection_close(c);
    connection_open(c);
}

/* Every message that was asked for is begun: this connection is not needed any more. */
static void connection_leave(struct connection *c)
{
    connection_close(c);
    c->step = STEP_IDLE;
    n_left++;
}

static void message_over(struct connection *c, bool aborted)
{
    n_messages += measuring;
    n_aborted += measuring && aborted;
    c->recipients = 0;
    c->step = options.rate > 0 ? STEP_IDLE : STEP_MAIL;
    if (++c->messages == options.messages)
        connection_renew(c);
    else if (options.rate > 0)
        take_work(c);
}

/* Sends a step; true when its answer is awaited. */
static bool say(struct connection *c, char command, const void *data, size_t n, uint32_t not_sent,
                uint32_t no_reply)
{
    if ((c->protocol & not_sent) != 0)
        return false;
    put(c, command, data, n);
    return (c->protocol & no_reply) == 0;
}

static bool step_rcpt(struct connection *c)
{
    if (c->recipients < options.recipients) {
        put_rcpt(c);
        c->recipients++;
        if (options.rate == 0 || c->recipients > 1)
            c->since = now();
        c->step = STEP_RCPT;
        return true;
    }
    if (draw() * 100 < (double)options.abort_percent) {
        put(c, 'A', "", 0);
        message_over(c, true);
    } else {
        c->step = STEP_DATA;
    }
    return false;
}

/* One step forward; true when an answer is awaited. */
static bool step_on(struct connection *c)
{
    enum step step = c->step;
    c->step = step == STEP_EOM || step == STEP_IDLE ? step : step + 1;
    switch (step) {
    case STEP_CONNECT:
        put_connect(c);
        return (c->protocol & NR_CONNECT) == 0;
    case STEP_HELO:
        c->step = options.rate > 0 ? STEP_IDLE : STEP_MAIL;
        return say(c, 'H', "client.example.net", 19, NO_HELO, NR_HELO);
    case STEP_MAIL:
        if (options.count > 0 && n_begun++ >= options.count) {
            connection_leave(c);
            return false;
        }
        put_mail(c);
        return (c->protocol & NR_MAIL) == 0;
    case STEP_RCPT:
        return step_rcpt(c);
    case STEP_DATA:
        return say(c, 'T', "", 0, NO_DATA, NR_DATA);
    case STEP_HEADER:
        return say(c, 'L', "Subject\0 load", 14, NO_HEADERS, NR_HEADER);
    case STEP_EOH:
        return say(c, 'N', "", 0, NO_EOH, NR_EOH);
    case STEP_BODY: /* there is none */
        return false;
    case STEP_EOM:
        put_macros(c, 'E', "i", "4cXqueue");
        put(c, 'E', "", 0);
        return true;
    default:
        return false;
    }
}

static void go_on(struct connection *c)
{
    while (c->waiting == STEP_IDLE && c->step != STEP_IDLE) {
        enum step step = c->step;
        if (step_on(c))
            c->waiting = step;
    }
    if (c->step == STEP_IDLE && c->waiting == STEP_IDLE)
        idle[n_idle++] = c;
    size_t n = c->n_out;
    c->n_out = 0;
    if (n > 0 && send(c->fd, c->out, n, MSG_NOSIGNAL) != (ssize_t)n)
        die("send");
}

static enum kind kind_of(const unsigned char *packet, size_t n)
{
    char class = packet[0] == 'y' && n > 1 ? (char)packet[1] : 0;
    if (packet[0] == 'c')
        return CONTINUE;
    if (packet[0] == 't' || class == '4')
        return TEMPORARY;
    return packet[0] == 'r' || class == '5' ? PERMANENT : OTHER;
}

static void answered(struct connection *c, const unsigned char *packet, size_t n)
{
    enum step step = c->waiting;
    c->waiting = STEP_IDLE;
    if (!c->negotiated) {
        uint32_t protocol = 0;
        if (packet[0] != 'O' || n < 13)
            die("negotiation was refused");
        memcpy(&protocol, packet + 9, 4);
        c->protocol = ntohl(protocol);
        c->negotiated = true;
        c->step = STEP_CONNECT;
    } else if (step == STEP_RCPT) {
        n_rcpts++;
        if (options.log != NULL && kind_of(packet, n) == CONTINUE)
            fprintf(options.log, "%.6f %.6f\n", c->since, now());
        if (measuring) {
            answers[kind_of(packet, n)]++;
            latency_note(now() - c->since);
        }
    } else if (step == STEP_EOM) {
        message_over(c, false);
    }
    go_on(c);
}

static bool is_change(char command) /* of the message, at its end; or news of progress */
{
    return strchr("+-bhimefq4p", command) != NULL;
}

static void readable(struct connection *c)
{
    ssize_t got = recv(c->fd, c->in + c->n_in, BUFFER - c->n_in, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        die("the milter closed a connection");
    c->n_in += (size_t)got;
    uint32_t length = 0;
    int fd = c->fd;
    while (c->fd == fd && c->n_in >= 5) {
        memcpy(&length, c->in, 4);
        length = ntohl(length);
        if (length == 0 || length + 4 > BUFFER)
            die("the milter sent no packet");
        if (c->n_in < length + 4)
            return;
        unsigned char packet[BUFFER];
        memcpy(packet, c->in + 4, length);
        c->n_in -= length + 4;
        memmove(c->in, c->in + 4 + length, c->n_in);
        if (!is_change((char)packet[0]) || !c->negotiated)
            answered(c, packet, length);
    }
}

/* ---- the open loop ---- */

static void take_work(struct connection *c)
{
    if (n_pending == 0)
        return;
    c->since = pending[pending_head];
    pending_head = (pending_head + 1) % PENDING;
    n_pending--;
    c->step = STEP_MAIL;
}

/* The messages that are due by now; returns when the next one is. */
static double arrive(double due)
{
    double at = now(), gap = (double)options.recipients / options.rate;
    for (; due <= at; due -= gap * log(1 - draw())) {
        if (n_pending == PENDING) {
            n_lost++;
            continue;
        }
        pending[(pending_head + n_pending++) % PENDING] = due;
        if (n_idle > 0) {
            struct connection *c = idle[--n_idle];
            take_work(c);
            go_on(c);
        }
    }
    return due;
}

static bool all_left(void)
{
    return options.count > 0 && n_left == options.connections;
}

static void serve_until(double end, double *due)
{
    struct epoll_event events[256];
    double at;
    while (!all_left() && (at = now()) < end) {
        double wake = end;
        if (options.rate > 0) {
            *due = arrive(*due);
            wake = *due < end ? *due : end;
            at = now();
        }
        double left = wake > at ? wake - at : 0;
        const struct timespec wait = {.tv_sec = (time_t)left,
                                      .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
        int n = epoll_pwait2(poll_fd, events, 256, &wait, NULL);
        if (n < 0 && errno != EINTR)
            die("epoll");
        for (int i = 0; i < n; i++)
            readable(events[i].data.ptr);
    }
}

/* ---- the report ---- */

static double cpu_of(clockid_t clock)
{
    struct timespec ts;
    if (clock_gettime(clock, &ts) < 0)
        die("the CPU time of a watched process");
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void report(double seconds)
{
    uint64_t n = 0;
    for (int i = 0; i < KINDS; i++)
        n += answers[i];
    printf("{\"seconds\": %.4f, \"rcpts_in_all\": %llu, \"rcpts\": %llu, \"rcpts_per_second\": %.1f, "
           "\"messages\": %llu, "
           "\"aborted\": %llu, \"connections_made\": %llu, \"never_begun\": %llu, \"answers\": {",
           seconds, (unsigned long long)n_rcpts, (unsigned long long)n, (double)n / seconds,
           (unsigned long long)n_messages, (unsigned long long)n_aborted, (unsigned long long)n_connects,
           (unsigned long long)(n_lost + n_pending));
    for (int i = 0; i < KINDS; i++)
        printf("%s\"%s\": %llu", i > 0 ? ", " : "", kind_names[i], (unsigned long long)answers[i]);
    printf("}, \"latency_us\": {\"mean\": %.2f, \"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"p999\": %.2f, "
           "\"max\": %.2f}, \"cpu_seconds\": {",
           n_latencies > 0 ? latency_sum / (double)n_latencies * 1e6 : 0, percentile(0.5), percentile(0.9),
           percentile(0.99), percentile(0.999), latency_max * 1e6);
    for (size_t i = 0; i < options.n_watched; i++)
        printf("%s\"%s\": %.6f", i > 0 ? ", " : "", options.watched[i].name,
               cpu_of(options.watched[i].clock) - options.watched[i].before);
    printf("}, \"histogram_us\": [");
    const char *comma = "";
    for (size_t i = 0; i < BUCKETS; i++) {
        if (histogram[i] == 0)
            continue;
        printf("%s[%.2f, %llu]", comma, bucket_us(i), (unsigned long long)histogram[i]);
        comma = ", ";
    }
    printf("]}\n");
}

static void watch(char *word)
{
    char *equals = strchr(word, '=');
    if (equals == NULL || options.n_watched == WATCHED) {
        fprintf(stderr, "milter_load: -w NAME=PID, at most %d\n", WATCHED);
        exit(2);
    }
    *equals = '\0';
    struct watched *w = &options.watched[options.n_watched++];
    w->name = word;
    if (clock_getcpuclockid((pid_t)atol(equals + 1), &w->clock) != 0)
        die("no such process to watch");
}

static void open_log(const char *path)
{
    options.log = fopen(path, "w");
    if (options.log == NULL)
        die(path);
}

static void parse(int argc, char **argv)
{
    static char self[] = "load";
    int option;
    options.watched[options.n_watched++] = (struct watched){.name = self, .clock = CLOCK_PROCESS_CPUTIME_ID};
    while ((option = getopt(argc, argv, "c:m:n:r:p:z:to:s:u:a:w:e:f:l:")) > 0) {
        switch (option) {
        case 'c':
            options.connections = atol(optarg);
            break;
        case 'm':
            options.messages = atol(optarg);
            break;
        case 'n':
            options.count = atol(optarg);
            break;
        case 'r':
            options.recipients = atol(optarg);
            break;
        case 'p':
            options.population = atol(optarg);
            break;
        case 'f':
            options.first = atol(optarg);
            break;
        case 'a':
            options.abort_percent = atol(optarg);
            break;
        case 'z':
            options.zipf = atof(optarg);
            break;
        case 't':
            options.in_turn = true;
            break;
        case 'o':
            options.rate = atof(optarg);
            break;
        case 's':
            options.seconds = atof(optarg);
            break;
        case 'u':
            options.warmup = atof(optarg);
            break;
        case 'e':
            random_state ^= strtoull(optarg, NULL, 10) * 0x9e3779b97f4a7c15U;
            break;
        case 'w':
            watch(optarg);
            break;
        case 'l':
            open_log(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (optind + 1 != argc || options.connections < 1 || options.messages < 1 || options.recipients < 1 ||
        options.population < 1 || options.seconds <= 0 || (options.count > 0 && options.rate > 0)) {
        fprintf(stderr,
                "usage: milter_load [OPTIONS] SOCKET; the options stand at the head of milter_load.c\n");
        exit(2);
    }
    options.socket = argv[optind];
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    if (options.zipf > 0)
        zipf_prepare();
    connections = calloc((size_t)options.connections, sizeof *connections);
    idle = calloc((size_t)options.connections, sizeof(struct connection *));
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    measuring = options.count > 0;
    if (connections == NULL || idle == NULL || poll_fd < 0)
        die("memory");
    for (long i = 0; i < options.connections; i++) {
        connection_open(&connections[i]);
        go_on(&connections[i]);
    }
    double due = now(), start;
    serve_until(now() + (options.count > 0 ? 0 : options.warmup), &due);
    measuring = true;
    for (size_t i = 0; i < options.n_watched; i++)
        options.watched[i].before = cpu_of(options.watched[i].clock);
    start = now();
    serve_until(start + (options.count > 0 ? 1e9 : options.seconds), &due);
    report(now() - start);
    if (options.log != NULL && fclose(options.log) != 0)
        die("the log");
    return 0;
}
