/* test/chaos/workload.c: chaos-workload: the process: its loop, the phases, standard input, the line of each second. */
#include "test/chaos/workload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/mem.h"

enum { LINE_MS = 1000, QUIET_POLL_MS = 50, QUIET_SPARE_MS = 30000 };

static const char *const phase_names[] = {
    [HISTORY_SETUP] = "setup", [HISTORY_LOAD] = "load", [HISTORY_QUIET] = "quiet", [HISTORY_FINAL] = "final", [HISTORY_END] = "end",
};

struct process {
    struct workload w;
    enum history_phase wanted;       /* as far as we have been told to go */
    char input[256];
    size_t input_len;
    struct net_poll *input_poll;
    bool ends;
};

static struct process process; /* what it holds is in use until the very end */

static void phase_next(struct process *p);

_Noreturn void wl_fail(const char *form, ...)
{
    va_list args;
    fputs("chaos-workload: ", stderr);
    va_start(args, form);
    vfprintf(stderr, form, args);
    va_end(args);
    fputc('\n', stderr);
    if (process.w.history.count > 0)
        wl_history_flush(&process.w.history);
    exit(1);
}

void *wl_alloc(size_t count, size_t size)
{
    void *memory = bt_calloc(count ? count : 1, size);
    if (!memory)
        wl_fail("out of memory");
    return memory;
}

/* ---- the line of each second ---- */

static void line_print(struct workload *w)
{
    size_t ready = 0;
    uint64_t queued = 0;
    for (size_t n = 0; n < w->device_count; n++) {
        ready += w->devices[n].client && w->devices[n].state == BT_STATE_READY;
        queued += w->devices[n].state == BT_STATE_READY ? 0 : w->devices[n].open_ops;
    }
    printf("{\"at_us\": %" PRIu64 ", \"phase\": \"%s\", \"done\": %s, \"acked\": %" PRIu64 ", \"not_done\": %" PRIu64
           ", \"refused\": %" PRIu64 ", \"unsure\": %" PRIu64 ", \"skipped\": %" PRIu64 ", \"open\": %" PRIu64 ", \"queued\": %" PRIu64
           ", \"devices_ready\": %zu, \"slowest_ms\": %" PRIu64 ", \"messages\": %" PRIu64 ", \"operations\": %" PRIu64 ", \"retried\": %" PRIu64 "}\n",
           net_clock_us(), phase_names[w->phase], w->phase_is_done ? "true" : "false", w->counts.acked, w->counts.not_done,
           w->counts.refused, w->counts.unsure, w->counts.skipped, w->counts.open, queued, ready, w->counts.slowest_us / 1000,
           w->counts.messages, w->counts.operations, w->counts.retried);
    w->counts.slowest_us = 0;
    if (fflush(stdout) != 0)
        wl_fail("standard output: %s", strerror(errno));
}

static void line_due(void *arg)
{
    struct workload *w = arg;
    net_timer_start(w->loop, &w->line_timer, LINE_MS, line_due, w);
    line_print(w);
    wl_history_flush(&w->history);
}

/* ---- phases ---- */

/* QUIET: until nothing is open; what has no end of its own is not waited for for ever. */
static void quiet_poll(void *arg)
{
    struct workload *w = arg;
    uint64_t most_us = ((uint64_t)w->o.send_timeout_ms + QUIET_SPARE_MS) * 1000;
    if (w->counts.open > 0 && net_clock_us() - w->begun_us < most_us) {
        net_timer_start(w->loop, &w->phase_timer, QUIET_POLL_MS, quiet_poll, w);
        return;
    }
    if (w->counts.open > 0)
        fprintf(stderr, "chaos-workload: quiet: %" PRIu64 " operations are still open\n", w->counts.open);
    wl_phase_done(w);
}

static void load_over(void *arg)
{
    struct process *p = arg;
    p->wanted = HISTORY_END;
    phase_next(p);
}

static void phase_enter(struct process *p, enum history_phase phase)
{
    struct workload *w = &p->w;
    w->phase = phase;
    w->phase_is_done = phase == HISTORY_LOAD;
    w->begun_us = net_clock_us();
    wl_history_add(&w->history, &(struct history_record){ .type = HISTORY_PHASE, .what = (uint8_t)phase });
    switch (phase) {
    case HISTORY_SETUP:
        wl_setup_start(w);
        break;
    case HISTORY_LOAD:
        wl_load_start(w);
        if (w->o.seconds > 0)
            net_timer_start(w->loop, &w->phase_timer, (uint64_t)w->o.seconds * 1000, load_over, p);
        break;
    case HISTORY_QUIET:
        wl_load_stop(w);
        quiet_poll(w);
        break;
    case HISTORY_FINAL:
        wl_final_start(w);
        break;
    case HISTORY_END:
        p->ends = true;
        net_loop_stop(w->loop);
        break;
    }
}

/* Go on, if this phase has done its part and we were told to. */
static void phase_next(struct process *p)
{
    struct workload *w = &p->w;
    if (w->phase_is_done && (w->phase == HISTORY_SETUP || w->phase < p->wanted)) {
        line_print(w);
        phase_enter(p, w->phase + 1);
    }
}

void wl_phase_done(struct workload *w)
{
    w->phase_is_done = true;
    phase_next((struct process *)w); /* its first member */
}

/* ---- from outside ---- */

static void told(struct process *p, const char *line)
{
    if (strcmp(line, "quiet") == 0 && p->wanted < HISTORY_QUIET)
        p->wanted = HISTORY_QUIET;
    else if (strcmp(line, "final") == 0 && p->wanted < HISTORY_FINAL)
        p->wanted = HISTORY_FINAL;
    else if (strcmp(line, "end") == 0)
        p->wanted = HISTORY_END;
    else if (line[0])
        fprintf(stderr, "chaos-workload: \"%s\" is none of quiet, final, end\n", line);
    phase_next(p);
}

static void input_over(struct process *p)
{
    net_poll_close(p->input_poll);
    p->input_poll = NULL;
    if (p->w.o.seconds == 0)
        told(p, "end");
}

static void input_ready(int events, void *arg)
{
    struct process *p = arg;
    char *newline;
    (void)events;
    ssize_t n = read(STDIN_FILENO, p->input + p->input_len, sizeof p->input - 1 - p->input_len);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        input_over(p);
        return;
    }
    p->input_len += (size_t)n;
    p->input[p->input_len] = '\0';
    while ((newline = strchr(p->input, '\n'))) {
        char line[sizeof p->input];
        *newline = '\0';
        strcpy(line, p->input);
        p->input_len -= (size_t)(newline + 1 - p->input);
        memmove(p->input, newline + 1, p->input_len + 1);
        told(p, line);
    }
    if (p->input_len == sizeof p->input - 1)
        p->input_len = 0; /* no line of ours is that long */
}

/* A file or /dev/null can't be watched: it has nothing to say that is worth waiting for. */
static void input_start(struct process *p)
{
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    if (net_poll_new(p->w.loop, STDIN_FILENO, input_ready, p, &p->input_poll) == BT_OK)
        net_poll_set(p->input_poll, NET_READABLE);
    else if (p->w.o.seconds == 0)
        wl_fail("standard input is no pipe: --seconds is needed");
}

static void on_signal(int signum, void *arg)
{
    struct process *p = arg;
    fprintf(stderr, "chaos-workload: ended by signal %d in %s\n", signum, phase_names[p->w.phase]);
    net_loop_stop(p->w.loop);
}

int main(int argc, char **argv)
{
    struct process *p = &process;
    struct workload *w = &p->w;
    struct net_signal *term, *interrupt;
    if (!wl_options_parse(&w->o, argc, argv))
        return 2;
    w->loop = bt_loop_new();
    if (!w->loop || net_signal_new(w->loop, SIGTERM, on_signal, p, &term) != BT_OK ||
        net_signal_new(w->loop, SIGINT, on_signal, p, &interrupt) != BT_OK)
        wl_fail("no event loop");
    wl_history_open(&w->history, w->o.dir);
    wl_history_add(&w->history, &(struct history_record){ .type = HISTORY_RUN, .op = w->o.seed });
    wl_plan(w);
    input_start(p);
    net_timer_start(w->loop, &w->line_timer, LINE_MS, line_due, w);
    phase_enter(p, HISTORY_SETUP);
    net_loop_run(w->loop);
    line_print(w);
    wl_history_flush(&w->history);
    return p->ends ? 0 : 1;
}
