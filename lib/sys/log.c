/* log: owns a ring of 1 MB and the thread that writes it out, so that a slow syslog or terminal never holds a session
 * up. One lock guards the ring. When the ring is full lines are dropped and counted, and the log says so when there is
 * room again; before the start and after the end a line is written at once by who logs it. */
#include "sys/log.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/unzeroed.h"
#include "sys/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

enum {
    RING_BYTES = 1 << 20,
    BATCH_BYTES = 32 * 1024, /* of lines that are written at once */
    PAUSE_NS = 20000000,     /* after that: a busy gate does not wake the writer for every line */
};

/* A line in the ring: priority, length, text. Lines never wrap: what does not fit before the end of the ring
 * starts again at 0 and the rest is skipped. */
struct line {
    uint16_t length;
    uint8_t priority;
    char text[];
};

static struct {
    pthread_mutex_t lock;
    struct worker *writer;
    bool running; /* lines go to the ring; else they are written at once */
    bool to_stderr;
    bool asleep; /* the writer waits for a line */
    char *ring;
    size_t head, tail, used, wrap; /* wrap: where the last line before a jump to 0 ended */
    atomic_int level;
    atomic_uint_fast64_t dropped;
    uint64_t dropped_said;
} self = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_AT_INFO};

static const int syslog_priority[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

static void write_all(const char *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = write(STDERR_FILENO, bytes + done, n - done);
        if (got < 0 && errno != EINTR)
            return; /* nobody to tell */
        if (got > 0)
            done += (size_t)got;
    }
}

static void write_out(bool to_stderr, enum log_priority priority, const char *text)
{
    if (!to_stderr) {
        syslog(syslog_priority[priority], "%s", text);
        return;
    }
    char buffer[LOG_LINE_MAX + 1];
    size_t n = strnlen(text, LOG_LINE_MAX - 1);
    memcpy(buffer, text, n);
    buffer[n++] = '\n';
    write_all(buffer, n);
}

static size_t line_size(size_t length)
{
    return (sizeof(struct line) + length + 1 + 7) / 8 * 8;
}

/* Under the lock. False: no room. */
static bool ring_put(enum log_priority priority, const char *text, size_t length)
{
    size_t size = line_size(length);
    if (self.head >= self.tail && self.used > 0 && self.head == self.tail)
        return false;
    if (self.head >= self.tail) {
        if (RING_BYTES - self.head < size) {
            if (self.tail <= size)
                return false;
            self.wrap = self.head;
            self.head = 0;
        }
    }
    if (self.head < self.tail && self.tail - self.head <= size)
        return false;
    struct line *line = (struct line *)(void *)(self.ring + self.head);
    line->priority = (uint8_t)priority;
    line->length = (uint16_t)length;
    memcpy(line->text, text, length);
    line->text[length] = '\0';
    self.head += size;
    self.used++;
    return true;
}

/* Under the lock, with at least one line there; out has room for LOG_LINE_MAX. Returns its length. */
static size_t ring_take(char *out, enum log_priority *priority)
{
    if (self.tail >= self.wrap) {
        self.tail = 0;
        self.wrap = RING_BYTES;
    }
    const struct line *line = (const struct line *)(const void *)(self.ring + self.tail);
    size_t length = line->length;
    memcpy(out, line->text, length + 1);
    *priority = (enum log_priority)line->priority;
    self.tail += line_size(length);
    if (--self.used == 0) {
        self.head = self.tail = 0;
        self.wrap = RING_BYTES;
    }
    return length;
}

/* Takes what is there, as far as it fits, and writes it, without the lock: syslog gets line by line, stderr
 * all at once. */
static void write_batch(char batch[BATCH_BYTES])
{
    static enum log_priority priorities[BATCH_BYTES / sizeof(struct line)]; /* the writer's own */
    size_t n = 0, bytes = 0;
    while (self.used > 0 && bytes + LOG_LINE_MAX <= BATCH_BYTES &&
           n < sizeof priorities / sizeof priorities[0]) {
        bytes += ring_take(batch + bytes, &priorities[n++]);
        batch[bytes++] = self.to_stderr ? '\n' : '\0';
    }
    pthread_mutex_unlock(&self.lock);
    if (self.to_stderr)
        write_all(batch, bytes);
    else
        for (size_t i = 0, at = 0; i < n; i++, at += strlen(batch + at) + 1)
            write_out(false, priorities[i], batch + at);
    pthread_mutex_lock(&self.lock);
}

static void say_dropped(void)
{
    uint64_t dropped = atomic_load(&self.dropped), unsaid = dropped - self.dropped_said;
    if (unsaid == 0)
        return;
    self.dropped_said = dropped;
    char notice[128];
    snprintf(notice, sizeof notice,
             "event=log-dropped lines=%llu text=\"the reader of the log was too slow\"",
             (unsigned long long)unsaid);
    write_out(self.to_stderr, LOG_AT_WARNING, notice);
}

static int64_t writer_step(void *arg)
{
    (void)arg;
    static char batch[BATCH_BYTES];
    pthread_mutex_lock(&self.lock);
    bool any = self.used > 0;
    self.asleep = !any;
    if (any)
        write_batch(batch);
    bool more = self.used > 0;
    pthread_mutex_unlock(&self.lock);
    if (!any)
        return WORKER_IDLE;
    say_dropped();
    return more ? 0 : clock_monotonic_ns() + PAUSE_NS;
}

static void log_free(void)
{
    worker_free(self.writer);
    free(self.ring);
    self.writer = NULL;
    self.ring = NULL;
}

int log_start(bool to_stderr, enum log_priority level, struct error *err)
{
    atomic_store(&self.level, (int)level);
    self.to_stderr = to_stderr;
    self.ring = malloc(RING_BYTES);
    self.head = self.tail = self.used = 0;
    self.wrap = RING_BYTES;
    self.asleep = true;
    if (self.ring != NULL)
        self.writer = worker_new("log", writer_step, NULL, err);
    if (self.writer == NULL || worker_start(self.writer, err) < 0) {
        error_set(err, "out of memory for the log");
        log_free();
        return -1;
    }
    if (!to_stderr)
        openlog("rcptgate", LOG_PID | LOG_NDELAY, LOG_MAIL);
    self.running = true;
    return 0;
}

void log_stop(void)
{
    enum { WAIT_NS = 1000000000 };
    pthread_mutex_lock(&self.lock);
    bool running = self.running;
    self.running = false;
    pthread_mutex_unlock(&self.lock);
    int64_t until = clock_monotonic_ns() + WAIT_NS;
    if (running && worker_drain(self.writer, until) && worker_stop_by(self.writer, until))
        log_free(); /* else it is still blocked in write(): the ring stays, the process is about to end */
}

void log_set_level(enum log_priority level)
{
    atomic_store(&self.level, (int)level);
}

bool log_wants(enum log_priority priority)
{
    return (int)priority <= atomic_load(&self.level);
}

void log_printable(enum log_priority priority, const char *line, size_t n)
{
    if (!log_wants(priority))
        return;
    pthread_mutex_lock(&self.lock);
    bool queued = self.running;
    if (queued && !ring_put(priority, line, n))
        atomic_fetch_add(&self.dropped, 1);
    if (queued && self.asleep) {
        self.asleep = false;
        worker_wake(self.writer); /* under the lock: after log_stop() there is no writer */
    }
    pthread_mutex_unlock(&self.lock);
    if (!queued)
        write_out(true, priority, line);
}

void log_text(enum log_priority priority, const char *line)
{
    if (!log_wants(priority))
        return;
    char clean[LOG_LINE_MAX] UNZEROED;
    struct text text;
    text_init(&text, clean, sizeof clean);
    text_add_printable(&text, line);
    log_printable(priority, clean, text.len);
}

void log_line(enum log_priority priority, const char *format, ...)
{
    if (!log_wants(priority))
        return;
    char raw[LOG_LINE_MAX] UNZEROED;
    va_list args;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    log_text(priority, raw);
}

uint64_t log_dropped(void)
{
    return atomic_load(&self.dropped);
}

bool log_goes_to_stderr(void)
{
    return self.ring == NULL || self.to_stderr;
}
