/*
 * supervise.c: the life of a unit: starts its nodes, starts again those that end, ends them in order.
 *
 * One thread that waits for signals, with a time limit when something is due. All it knows of a node is its process.
 */
#include "supervise.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_MODULE "unit"
#include "net/log.h"
#include "net/loop.h"
#include "net/mem.h"
#include "supervise_copy.h"

enum {
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 10000,
    RAN_WELL_MS = 10000,     /* who ran for that long is started again without much ado */
    STOP_MORE_MS = 5000,     /* beyond [node] drain_ms; then a node is killed */
    WAIT_MAX_MS = 60000,
    EXIT_NO_EXEC = 127,
};

#define UNIT_KEY(role, count)                                                                                     \
    { .section = "unit", .name = role, .type = CONF_INT, .def = count, .min = 0, .max = 64, .unit = "processes",  \
      .help = "How many processes of the " role " role --unit starts." }

const struct conf_key supervise_keys[] = {
    UNIT_KEY("proxy", "1"),   UNIT_KEY("user", "1"), UNIT_KEY("friend", "1"), UNIT_KEY("group", "1"),
    UNIT_KEY("offline", "1"), UNIT_KEY("chat", "1"), { .section = NULL },
};

/* The order of ending: who calls goes before who is called. */
enum stage { STAGE_SERVING, STAGE_PROXIES, STAGE_OTHERS, STAGE_CHAT, STAGE_ENDED };

struct child {
    const struct role *role;
    unsigned number;          /* among those of its role, from 1 */
    char role_arg[32];
    struct supervise_copy copy;
    pid_t pid;                /* 0: does not run */
    uint64_t started_ms;
    uint64_t due_ms;          /* when it is started again; counts while pid is 0 and the unit serves */
    uint32_t backoff_ms;      /* how long its last pause was */
};

struct unit {
    const struct options *options;
    const struct conf *conf;
    char exe[PATH_MAX];
    pid_t pid;
    sigset_t signals, old_signals;
    struct child *children;
    size_t count;
    enum stage stage;
    uint64_t limit_ms;        /* of the stage, from STAGE_PROXIES on */
    bool is_killed;
    int exit_code;
};

static uint64_t now_ms(void)
{
    return net_clock_us() / 1000;
}

/* ---- starting ------------------------------------------------------------------------------------------------------ */

/* In the new process, until it becomes a node. */
__attribute__((noreturn)) static void become(const struct unit *unit, char *const *argv)
{
    static const char failed[] = "bytetalk: can't start a copy of this program\n";
    int null = open("/dev/null", O_RDONLY);

    if (null >= 0)
        dup2(null, STDIN_FILENO);
    if (null > STDIN_FILENO)
        close(null);
    /* A group of its own: Control-C is for the unit, which ends its nodes in order. */
    setpgid(0, 0);
    signal(SIGHUP, SIG_IGN); /* until the node knows what to do with one */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != unit->pid) /* it died before that was set */
        _exit(EXIT_FAILED);
    sigprocmask(SIG_SETMASK, &unit->old_signals, NULL);
    execv(unit->exe, argv);
    (void)!write(STDERR_FILENO, failed, sizeof failed - 1);
    _exit(EXIT_NO_EXEC);
}

/* After a pause, which grows as long as it does not run well. */
static uint32_t child_plan(struct child *c)
{
    uint64_t now = now_ms();

    if (c->backoff_ms == 0 || now - c->started_ms >= RAN_WELL_MS)
        c->backoff_ms = BACKOFF_MIN_MS;
    else
        c->backoff_ms = c->backoff_ms * 2 < BACKOFF_MAX_MS ? c->backoff_ms * 2 : BACKOFF_MAX_MS;
    c->due_ms = now + c->backoff_ms;
    return c->backoff_ms;
}

static void child_start(struct unit *unit, struct child *c)
{
    char **argv = supervise_copy_argv(unit->exe, unit->options, c->role_arg, &c->copy);
    pid_t pid = -1;

    assert(c->pid == 0);
    c->started_ms = now_ms();
    if (argv)
        pid = fork();
    if (pid == 0)
        become(unit, argv);
    if (pid > 0) {
        c->pid = pid;
        log_info("%s %u: started pid=%d", c->role->name, c->number, (int)pid);
    } else {
        const char *why = argv ? strerror(errno) : "no memory";

        log_error("%s %u: can't be started: %s; trying again in %u ms", c->role->name, c->number, why, child_plan(c));
    }
    bt_free(argv);
}

static void start_due(struct unit *unit)
{
    uint64_t now = now_ms();

    for (size_t i = 0; unit->stage == STAGE_SERVING && i < unit->count; i++) {
        if (unit->children[i].pid == 0 && unit->children[i].due_ms <= now)
            child_start(unit, &unit->children[i]);
    }
}

/* ---- ending -------------------------------------------------------------------------------------------------------- */

static enum stage stage_of(const struct child *c)
{
    switch (c->role->id) {
    case RPC_ROLE_PROXY:
        return STAGE_PROXIES;
    case RPC_ROLE_CHAT:
        return STAGE_CHAT;
    default:
        return STAGE_OTHERS;
    }
}

static void signal_children(const struct unit *unit, enum stage stage, int signum)
{
    for (size_t i = 0; i < unit->count; i++) {
        const struct child *c = &unit->children[i];

        if (c->pid > 0 && (stage == STAGE_SERVING || stage_of(c) == stage))
            kill(c->pid, signum);
    }
}

static bool any_runs(const struct unit *unit, enum stage stage)
{
    for (size_t i = 0; i < unit->count; i++) {
        if (unit->children[i].pid > 0 && stage_of(&unit->children[i]) == stage)
            return true;
    }
    return false;
}

/* On to the next stage in which somebody runs. */
static void end_next(struct unit *unit)
{
    while (unit->stage != STAGE_SERVING && unit->stage != STAGE_ENDED && !any_runs(unit, unit->stage)) {
        unit->stage++;
        unit->limit_ms = now_ms() + (uint64_t)conf_int(unit->conf, "node", "drain_ms") + STOP_MORE_MS;
        signal_children(unit, unit->stage, unit->is_killed ? SIGKILL : SIGTERM);
    }
}

static void end_asked(struct unit *unit, int signum)
{
    if (unit->stage == STAGE_SERVING) {
        log_info("ending: proxies first, chat last");
        unit->stage = STAGE_PROXIES;
        unit->limit_ms = now_ms() + (uint64_t)conf_int(unit->conf, "node", "drain_ms") + STOP_MORE_MS;
        signal_children(unit, STAGE_PROXIES, SIGTERM);
    } else {
        log_warn("signal %d again: killing what still runs", signum);
        unit->is_killed = true;
        signal_children(unit, STAGE_SERVING, SIGKILL);
    }
}

static void end_overdue(struct unit *unit)
{
    if (unit->stage == STAGE_SERVING || unit->stage == STAGE_ENDED || now_ms() < unit->limit_ms)
        return;
    for (size_t i = 0; i < unit->count; i++) {
        const struct child *c = &unit->children[i];

        if (c->pid > 0 && stage_of(c) == unit->stage)
            log_warn("%s %u: does not end; killed pid=%d", c->role->name, c->number, (int)c->pid);
    }
    signal_children(unit, unit->stage, SIGKILL);
    unit->limit_ms = now_ms() + STOP_MORE_MS;
}

/* ---- what became of them ------------------------------------------------------------------------------------------- */

static void child_ended(struct unit *unit, struct child *c, int status)
{
    bool is_signal = WIFSIGNALED(status);
    int number = is_signal ? WTERMSIG(status) : WEXITSTATUS(status), pid = (int)c->pid;
    const char *what = is_signal ? "signal" : "status";

    c->pid = 0;
    if (unit->stage != STAGE_SERVING) {
        log_info("%s %u: ended pid=%d %s=%d", c->role->name, c->number, pid, what, number);
        if (status != 0 && !(is_signal && number == SIGTERM)) /* which ends one that has just been started */
            unit->exit_code = EXIT_FAILED;
    } else if (status == 0) { /* it was told to: so one is replaced by a new version */
        log_info("%s %u: ended pid=%d %s=%d; starting it again in %u ms", c->role->name, c->number, pid, what, number, child_plan(c));
    } else {
        log_error("%s %u: ended pid=%d %s=%d; starting it again in %u ms", c->role->name, c->number, pid, what, number, child_plan(c));
    }
}

/* Others' children may be among them: in a container this process is the first one. */
static void reap(struct unit *unit)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < unit->count; i++) {
            if (unit->children[i].pid == pid)
                child_ended(unit, &unit->children[i], status);
        }
    }
}

/* ---- the unit ------------------------------------------------------------------------------------------------------ */

static uint64_t next_due_ms(const struct unit *unit)
{
    uint64_t due = now_ms() + WAIT_MAX_MS;

    if (unit->stage != STAGE_SERVING)
        return unit->limit_ms;
    for (size_t i = 0; i < unit->count; i++) {
        if (unit->children[i].pid == 0 && unit->children[i].due_ms < due)
            due = unit->children[i].due_ms;
    }
    return due;
}

/* Wait for a signal or until something is due. */
static void take_signal(struct unit *unit)
{
    uint64_t now = now_ms(), due = next_due_ms(unit), wait = due > now ? due - now : 0;
    struct timespec limit = { .tv_sec = (time_t)(wait / 1000), .tv_nsec = (long)(wait % 1000) * 1000000 };
    int signum = sigtimedwait(&unit->signals, NULL, &limit);

    switch (signum) {
    case SIGTERM:
    case SIGINT:
        end_asked(unit, signum);
        break;
    case SIGHUP:
        signal_children(unit, STAGE_SERVING, SIGHUP);
        break;
    default: /* SIGCHLD, and none at all */
        break;
    }
}

/* A program that is replaced while it runs is found again by its path. */
static enum bt_err find_exe(struct unit *unit, char *why, size_t why_size)
{
    ssize_t len = readlink("/proc/self/exe", unit->exe, sizeof unit->exe - 1);

    if (len > 0 && (size_t)len < sizeof unit->exe - 1) {
        unit->exe[len] = '\0';
        return BT_OK;
    }
    snprintf(why, why_size, "can't find this program's own file: /proc must be mounted");
    return BT_EINTERNAL;
}

static enum bt_err add_children(struct unit *unit, const struct role *role, char *why, size_t why_size)
{
    unsigned wanted = (unsigned)conf_int(unit->conf, "unit", role->name);

    for (unsigned i = 0; i < wanted; i++) {
        struct child *c = &unit->children[unit->count];
        enum bt_err err = supervise_copy_settings(unit->conf, role, i, (unsigned)unit->count, &c->copy, why, why_size);

        if (err != BT_OK)
            return err;
        c->role = role;
        c->number = i + 1;
        snprintf(c->role_arg, sizeof c->role_arg, "--role=%s", role->name);
        unit->count++;
    }
    return BT_OK;
}

static enum bt_err plan(struct unit *unit, const struct role *const *roles, char *why, size_t why_size)
{
    enum bt_err err = supervise_check_shared(unit->conf, why, why_size);
    size_t wanted = 0;

    if (err == BT_OK)
        err = find_exe(unit, why, why_size);
    if (err != BT_OK)
        return err;
    for (size_t i = 0; roles[i]; i++)
        wanted += options_wants(unit->options, roles[i]) ? (size_t)conf_int(unit->conf, "unit", roles[i]->name) : 0;
    if (wanted == 0) {
        snprintf(why, why_size, "[unit] says to start nothing");
        return BT_EINVAL;
    }
    unit->children = bt_calloc(wanted, sizeof *unit->children);
    if (!unit->children) {
        snprintf(why, why_size, "no memory");
        return BT_ENOMEM;
    }
    for (size_t i = 0; err == BT_OK && roles[i]; i++) {
        if (options_wants(unit->options, roles[i]))
            err = add_children(unit, roles[i], why, why_size);
    }
    return err;
}

/* From here on signals wait until they are asked for. */
static void hold_signals(struct unit *unit)
{
    static const int wanted[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP };

    signal(SIGCHLD, SIG_DFL); /* whoever started this may have ignored it, and nothing could be waited for */
    sigemptyset(&unit->signals);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        sigaddset(&unit->signals, wanted[i]);
    sigprocmask(SIG_BLOCK, &unit->signals, &unit->old_signals);
}

int supervise(const struct options *options, const struct role *const *roles, const struct conf *conf)
{
    struct unit unit = { .options = options, .conf = conf, .pid = getpid() };
    char why[512] = "";

    log_set_node(conf_str(conf, "node", "unit"));
    if (plan(&unit, roles, why, sizeof why) != BT_OK) {
        log_error("start: %s", why);
        bt_free(unit.children);
        return EXIT_USAGE;
    }
    hold_signals(&unit);
    while (unit.stage != STAGE_ENDED) {
        start_due(&unit);
        take_signal(&unit);
        reap(&unit);
        end_overdue(&unit);
        end_next(&unit);
    }
    bt_free(unit.children);
    log_info("ended");
    return unit.exit_code;
}
