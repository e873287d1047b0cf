/* run: the daemon. Loads everything, opens its socket last (listening means ready), and ends cleanly. */
#include "command.h"

#include "counters/stores.h"
#include "milter/wire.h"
#include "milter/callbacks.h"
#include "sys/control.h"
#include "gate/gate.h"
#include "gate/holds.h"
#include "gate/housekeeping.h"
#include "sys/ids.h"
#include "sys/listener.h"
#include "gate/policy_file.h"
#include "sys/log.h"
#include "gate/policy_reload.h"
#include "admin/maps.h"
#include "admin/requests.h"
#include "milter/session.h"
#include "gate/state_dir.h"
#include "admin/web.h"
#include "base/text.h"
#include "sys/thread_room.h"

#include <errno.h>
#include <grp.h>
#include <libmilter/mfapi.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <fcntl.h>
#include <unistd.h>

enum {
    PREDECESSOR_MS = 10000, /* an instance that is just ending takes libmilter's 5 s at most */
    COUNTERS_MS = 1000,     /* for the first connection to Redis; mail is served without it, too */
    ALIASES_MS = 60000,     /* to check the alias data: without, all mail would be answered "later" */
    ALIASES_COPY_MS = 5000, /* the same where a last good copy can answer meanwhile */
    CALLBACKS_MS = 5000,
    REMEMBER_MS = 60000, /* what was mended, or written anew, stays a condition so long */
    GIVE_WAY = 5,        /* nice: mail goes before a reload, and before who looks at us */
};

struct daemon {
    struct policy_reload reload;
    struct gate gate;
    struct session_list sessions;
    struct housekeeping housekeeping;
    struct listener listener;
    int milter_fd;     /* libmilter's duplicate of it */
    int64_t socket_ms; /* when it had to be mended last */
    struct control *control;
    struct web *web;
    struct maps *maps;
    int state_lock;
    int64_t holds_ms;          /* when something was wrong with the file of holds as it was read */
    uint64_t holds_kept;       /* what counters_memory_holds() said when it was written */
    atomic_bool milter_failed; /* libmilter gave up by itself */
};

static char *on_control(void *arg, const char *request_line)
{
    struct daemon *daemon = arg;
    json_t *request = json_loads(request_line, 0, NULL);
    json_t *report = request != NULL ? requests_answer(&daemon->gate, request) : NULL;
    char *line = report != NULL ? json_dumps(report, JSON_COMPACT) : NULL;
    json_decref(report);
    json_decref(request);
    return line;
}

/* The state directory, and the lock that keeps a second gate out of it. A directory that cannot be used costs
 * the control socket, not mail. -1: another gate runs on this state. */
static int state_open(struct daemon *daemon, const struct policy *policy, struct error *err)
{
    char path[STATE_DIR_PATH];
    struct error condition = {0};
    switch (state_dir_lock(policy->state, PREDECESSOR_MS, &daemon->state_lock, &condition)) {
    case STATE_DIR_TAKEN:
        error_set(err, "another gate uses %s; stop it, or give this one a \"state\" of its own",
                  policy->state);
        return -1;
    case STATE_DIR_UNUSABLE:
        break;
    case STATE_DIR_LOCKED:
        daemon->control = control_start(state_dir_path(policy->state, STATE_DIR_CONTROL, path), NULL,
                                        on_control, daemon, &condition);
    }
    if (daemon->control == NULL)
        conditions_set(&daemon->gate.context.conditions, CONDITION_STATE, CONDITION_DEGRADED,
                       context_now(&daemon->gate.context), "%s; show, reset and explain cannot ask this gate",
                       condition.text);
    return 0;
}

static void *milter_main(void *arg)
{
    struct daemon *daemon = arg;
    (void)pthread_setname_np(pthread_self(), "milter"); /* and of those that libmilter makes */
    if (smfi_main() != MI_SUCCESS) {
        atomic_store(&daemon->milter_failed, true);
        log_line(LOG_AT_ERROR, "event=milter-failed text=\"libmilter gave up\"");
    }
    kill(getpid(), SIGTERM); /* wakes the main thread when libmilter stopped by itself */
    return NULL;
}

/* What a command wrote while no gate ran, and what was in force before. A file that cannot be read costs the
 * blocks in it, unless Redis has them. */
static void blocks_read(struct daemon *daemon, const char *state)
{
    char path[STATE_DIR_PATH];
    struct error err = {0};
    state_dir_path(state, STATE_DIR_BLOCKS, path);
    if (blocks_load(daemon->gate.blocks, path, &err) < 0)
        log_line(LOG_AT_ERROR, "event=blocks-file text=\"%s\"", err.text);
    struct blocklist *list = blocks_list(daemon->gate.blocks);
    if (blocklist_live(list) > 0)
        log_line(LOG_AT_WARNING, "event=blocks-loaded file=%s networks=%zu", path, blocklist_live(list));
    blocklist_unref(list);
}

/* Where the counters are in this process alone. */
static bool holds_are_kept(const struct daemon *daemon)
{
    return daemon->gate.local == NULL && daemon->state_lock >= 0;
}

/* A hold began, or somebody was let go: a process that is killed shall not have forgotten it. */
static bool holds_have_changed(const struct daemon *daemon)
{
    return holds_are_kept(daemon) && counters_memory_holds(daemon->gate.counters) != daemon->holds_kept;
}

static void holds_read(struct daemon *daemon, const struct policy *policy)
{
    char path[STATE_DIR_PATH];
    struct error err = {0};
    state_dir_path(policy->state, STATE_DIR_HOLDS, path);
    if (holds_are_kept(daemon) &&
        holds_load(daemon->gate.counters, path, context_now(&daemon->gate.context), &err) < 0) {
        daemon->holds_ms = context_now(&daemon->gate.context);
        conditions_set(&daemon->gate.context.conditions, CONDITION_HOLDS, CONDITION_DEGRADED,
                       daemon->holds_ms, "%s", err.text);
    }
}

static void holds_keep(struct daemon *daemon)
{
    char path[STATE_DIR_PATH];
    struct error err = {0};
    state_dir_path(daemon->reload.state, STATE_DIR_HOLDS,
                   path); /* a new policy's state is the next start's */
    int64_t now = context_now(&daemon->gate.context);
    if (holds_are_kept(daemon)) {
        daemon->holds_kept = counters_memory_holds(daemon->gate.counters);
        (void)holds_save(daemon->gate.counters, path, now, &err); /* is a condition */
    }
    if (err.text[0] != '\0')
        daemon->holds_ms = 0; /* this is told from now on, in place of what could not be read */
    if (err.text[0] != '\0' || now < daemon->holds_ms || now - daemon->holds_ms > REMEMBER_MS)
        conditions_follow(&daemon->gate.context.conditions, CONDITION_HOLDS, CONDITION_DEGRADED, now, &err);
}

static void reload(struct daemon *daemon)
{
    sd_notify(0, "RELOADING=1");
    policy_reload_look(&daemon->reload, &daemon->gate, true);
    blocks_read(daemon, daemon->reload.state);
    if (daemon->gate.rules != NULL)
        aliases_reload(daemon->gate.rules);
    sd_notify(0, "READY=1");
}

/* A socket that nobody finds, or may open, is an outage that only looks like peace. */
static void look_at_socket(struct daemon *daemon, int64_t now)
{
    struct conditions *conditions = &daemon->gate.context.conditions;
    struct error what = {0};
    const struct policy *policy = context_policy(&daemon->gate.context);
    int rc =
        listener_mend(&daemon->listener, policy->milter.group, policy->milter.mode, daemon->milter_fd, &what);
    policy_unref(policy);
    if (rc != 0) {
        conditions_set(conditions, CONDITION_SOCKET, rc > 0 ? CONDITION_NOTE : CONDITION_DOWN, now, "%s",
                       what.text);
        daemon->socket_ms = now;
    } else if (wire_paused()) {
        conditions_set(conditions, CONDITION_SOCKET, CONDITION_DEGRADED, now,
                       "out of file descriptors: new connections wait; raise LimitNOFILE, or lower Postfix's "
                       "default_process_limit");
        daemon->socket_ms = now - REMEMBER_MS;
    } else if (now - daemon->socket_ms > REMEMBER_MS) {
        conditions_clear(conditions, CONDITION_SOCKET, now);
    }
}

/* Until told to stop. smfi_main() runs in a thread of its own, so that this one gets the signals. */
static void serve(struct daemon *daemon, const sigset_t *signals)
{
    const struct timespec look = {.tv_nsec = (long)POLICY_LOOK_MS * 1000000};
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), GIVE_WAY); /* this thread, and the HTTP server's */
    int64_t last_tick = 0, last_holds = context_now(&daemon->gate.context);
    for (;;) {
        web_look(daemon->web);
        int signal = sigtimedwait(signals, NULL, &look);
        if (signal == SIGUSR1)
            reload(daemon);
        else if (signal > 0)
            break;
        policy_reload_look(&daemon->reload, &daemon->gate, false);
        int64_t now = context_now(&daemon->gate.context);
        if (now >= last_tick &&
            now - last_tick < HOUSEKEEPING_MS) /* a clock that jumps back ends no housekeeping */
            continue;
        last_tick = now;
        look_at_socket(daemon, now);
        maps_look(daemon->maps);
        housekeeping_tick(&daemon->housekeeping, &daemon->gate);
        if (now - last_holds >= HOLDS_EVERY_MS || now < last_holds || holds_have_changed(daemon)) {
            holds_keep(daemon);
            last_holds = now;
        }
        sd_notify(0, "WATCHDOG=1"); /* harmless where no watchdog is set */
    }
}

/* libmilter is not told: when it stops, it frees sessions under callbacks that are still under way. It ends
 * with the process, once no callback is left and no new one is let in. */
static void stop(struct daemon *daemon)
{
    sd_notify(0, "STOPPING=1");
    web_free(daemon->web);
    listener_close(&daemon->listener); /* before our last word: whoever comes now is for our successor */
    bool ended = session_list_stop(&daemon->sessions, CALLBACKS_MS);
    bool alone = maps_free(daemon->maps); /* after the last message that Postfix has to expand */
    alone = control_stop(daemon->control) && alone;
    if (ended && alone) {
        gate_done(&daemon->gate);
        policy_reload_done(&daemon->reload);
    } else if (!ended) {
        log_line(LOG_AT_WARNING, "event=stop text=\"a session did not end in time; what it has reserved ends "
                                 "with its window\"");
    }
    if (daemon->state_lock >= 0)
        close(daemon->state_lock);
    log_line(LOG_AT_WARNING, "event=stopped");
    log_stop();
}

/* libmilter begins and ends threads all the time. glibc keeps 40 MB of stacks for the next ones, which are 5
 * of the usual size; of this one all that a busy gate has, so that none is mapped and given back. A callback
 * touches some 40 KiB. Where there is no room in it for what each thread has by itself (ThreadSanitizer's is
 * 800 KiB), it stays as it was. */
static int milter_thread(struct daemon *daemon)
{
    enum { STACK_BYTES = 256 * 1024 };
    pthread_t milter;
    pthread_attr_t small;
    int rc = pthread_attr_init(&small);
    if (rc == 0) {
        (void)pthread_attr_setstacksize(&small, STACK_BYTES);
        rc = pthread_create(&milter, &small, milter_main, daemon);
        if (rc == 0)
            (void)pthread_setattr_default_np(&small);
        (void)pthread_attr_destroy(&small);
    }
    if (rc != 0)
        rc = pthread_create(&milter, NULL, milter_main, daemon);
    if (rc == 0)
        (void)pthread_detach(milter);
    return rc;
}

static int milter_start(struct daemon *daemon, const struct policy *policy, struct error *err)
{
    char spec[32];
    if (callbacks_register(&daemon->sessions, err) < 0 ||
        listener_open(&daemon->listener, policy->milter.socket, policy->milter.group, policy->milter.mode,
                      PREDECESSOR_MS, err) < 0)
        return -1;
    daemon->milter_fd =
        fcntl(daemon->listener.fd, F_DUPFD_CLOEXEC, 3); /* libmilter closes what it is given */
    snprintf(spec, sizeof spec, "fd:%d", daemon->milter_fd);
    if (daemon->milter_fd < 0 || smfi_setconn(spec) != MI_SUCCESS) {
        error_set(err, "libmilter does not take the listener");
        return -1;
    }
    int rc = milter_thread(daemon);
    if (rc != 0)
        error_set(err, "cannot start a thread: %s", strerror(rc));
    return rc == 0 ? 0 : -1;
}

static int run(struct daemon *daemon, const struct policy *policy, const sigset_t *signals, struct error *err)
{
    struct error condition = {0};
    session_list_init(&daemon->sessions, &daemon->gate);
    if (gate_init(&daemon->gate, policy, housekeeping_counters_event, err) < 0 ||
        state_open(daemon, policy, err) < 0)
        return -1;
    if (policy->counters.kind != COUNTERS_MEMORY &&
        (daemon->gate.context.redis == NULL || !redis_client_wait(daemon->gate.context.redis, COUNTERS_MS))) {
        counters_condition(daemon->gate.counters, &condition);
        housekeeping_counters_event(&daemon->gate.context, true,
                                    condition.text[0] != '\0' ? condition.text : "Redis does not answer");
    }
    if (ids_are_roots())
        conditions_set(&daemon->gate.context.conditions, CONDITION_ROOT, CONDITION_NOTE,
                       context_now(&daemon->gate.context),
                       "the gate has root's rights: name a \"user\", or give %s to one", policy->state);
    holds_read(daemon, policy);
    blocks_read(daemon, policy->state);
    if (blocks_start(daemon->gate.blocks, err) < 0)
        return -1;
    daemon->gate.policy_file = daemon->reload.file;
    policy_reload_notify(&daemon->reload, &daemon->gate);
    if (daemon->gate.rules != NULL && aliases_start(daemon->gate.rules, ALIASES_MS, ALIASES_COPY_MS, err) < 0)
        return -1;
    housekeeping_tick(&daemon->housekeeping, &daemon->gate);
    ramp_clock_begin(&daemon->gate.ramp, &daemon->gate.context, "start");
    condition = (struct error){0};
    if (queue_monitor_start(daemon->gate.backlog, &condition) < 0)
        conditions_set(&daemon->gate.context.conditions, CONDITION_QUEUE, CONDITION_DEGRADED,
                       context_now(&daemon->gate.context), "%s", condition.text);
    daemon->maps = maps_new(&daemon->gate); /* first: what the milter lets in Postfix has to expand */
    if (daemon->maps == NULL)
        error_set(err, "out of memory for the map socket");
    if (daemon->maps == NULL || milter_start(daemon, policy, err) < 0)
        return -1;
    log_line(LOG_AT_WARNING, "event=ready version=" RCPTGATE_VERSION " socket=%s limits=%zu mode=%s",
             policy->milter.socket, policy->n_limits, policy->shadow ? "shadow" : "enforce");
    daemon->web = web_new(&daemon->gate);
    if (daemon->web == NULL)
        conditions_set(&daemon->gate.context.conditions, CONDITION_HTTP, CONDITION_NOTE,
                       context_now(&daemon->gate.context), "out of memory for the HTTP server");
    sd_notify(0, "READY=1");
    serve(daemon, signals);
    holds_keep(daemon);
    if (!atomic_load(&daemon->milter_failed))
        return 0;
    error_set(err, "libmilter gave up; what it logged says why");
    return -1; /* so that systemd starts the gate again */
}

/* libmilter needs a thread for each command under way, and where it cannot have one never answers that session. */
static void look_at_threads(void)
{
    enum { ENOUGH = 512 }; /* several times Postfix's default_process_limit */
    long room = thread_room();
    if (room < ENOUGH)
        log_line(LOG_AT_WARNING,
                 "event=threads room=%ld text=\"room for few threads: where one cannot be had, that session "
                 "is not answered until Postfix gives up; raise TasksMax or LimitNPROC\"",
                 room);
}

/* Before any thread exists, so that they all inherit it. */
static void process_prepare(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigaddset(signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of write(), not our end */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* each session takes one; the soft limit serves as well */
    }
    umask(0007);
    (void)mallopt(M_ARENA_MAX,
                  2); /* an arena for each of libmilter's many threads would cost more than it saves */
}

/* Is the milter's socket that of the file itself, and not of its last good version, which is the gate's user's? */
static bool file_names_socket(const char *file, const char *socket)
{
    struct problems ignored = {0};
    struct error err = {0};
    const struct policy *plain = policy_file_load(file, &ignored, &err);
    bool named = plain != NULL && strcmp(plain->milter.socket, socket) == 0;
    problems_done(&ignored);
    policy_unref(plain);
    return named;
}

/* Root goes before anything is opened that others may change. The group of the socket stays, to give it that group. */
static int rights_take(const char *file, const struct policy *policy, struct error *err)
{
    struct ids ids;
    gid_t gid = 0;
    const struct group *group = policy->milter.group != NULL ? getgrnam(policy->milter.group) : NULL;
    if (!ids_are_roots())
        return 0;
    if (group != NULL)
        gid = group->gr_gid;
    if (state_dir_ids(policy, &ids, err) < 0)
        return -1;
    if (file_names_socket(file, policy->milter.socket))
        listener_make_directory(policy->milter.socket, ids.uid, group != NULL ? gid : ids.gid);
    return state_dir_take_ids(policy, &gid, group != NULL ? 1 : 0, err);
}

int cmd_run(int argc, char **argv)
{
    static struct daemon daemon; /* libmilter's threads use it until the process is gone */
    daemon = (struct daemon){.listener = {.fd = -1, .lock_fd = -1}, .state_lock = -1};
    const char *file = POLICY_FILE_DEFAULT;
    const struct option_value options[] = {{"-c", &file, NULL}, {NULL, NULL, NULL}};
    int n = command_options("run", argc, argv, options);
    if (n < 0)
        return EXIT_USAGE;
    if (n > 0)
        return command_usage("run", "unexpected argument %s", argv[1]);

    struct problems problems = {0};
    struct error err = {0};
    sigset_t signals;
    process_prepare(&signals);
    const struct policy *policy = policy_reload_start(&daemon.reload, file, &problems, &err);
    if (policy == NULL) {
        problems_done(&problems);
        policy_reload_done(&daemon.reload);
        fprintf(stderr, "rcptgate: %s\n", err.text);
        return EXIT_CONFIG;
    }
    err = (struct error){0};
    if (rights_take(file, policy, &err) < 0) {
        problems_done(&problems);
        policy_reload_done(&daemon.reload);
        fprintf(stderr, "rcptgate: %s\n", err.text);
        return EXIT_CONFIG;
    }
    if (log_start(policy->log.to_stderr, policy_reload_log_priority(policy), &err) < 0)
        log_line(LOG_AT_ERROR, "event=log text=\"%s\"", err.text);
    policy_reload_log(file, &problems);
    problems_done(&problems);
    look_at_threads();
    err = (struct error){0};
    int status = run(&daemon, policy, &signals, &err);
    if (status < 0) {
        char line[2 * sizeof err.text + 3];
        struct text quoted;
        text_init(&quoted, line, sizeof line);
        text_add_quoted(&quoted, err.text);
        log_line(LOG_AT_ERROR, "event=failed text=%s", line);
        if (!log_goes_to_stderr())
            fprintf(stderr, "rcptgate: %s\n", err.text);
    }
    stop(&daemon);
    return status < 0 ? EXIT_UNAVAILABLE : EXIT_DONE;
}
