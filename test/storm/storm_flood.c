/*
 * test/storm/storm_flood.c: more messages than the cluster can take.
 *
 * Clients in pairs write to each other. Commands, each answered by a line a second and one at its end:
 * "closed S" keeps a window of sends of each client under way for S seconds, as well-behaved clients do: who is refused comes
 * again after as long as he was told; its throughput is the capacity. "open S" offers so many times the last capacity, whatever
 * is answered. A send that has no answer a second after its deadline is unanswered.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/client.pb.h"
#include "proto/methods.h"
#include "rpc/bytes.h"
#include "rpc/status.h"
#include "test/storm/storm.h"

enum { WINDOW = 4, BODY = 64, GRACE_US = 1000000, RETRY_MS = 100, LOOK_US = 100000, STEP_US = 1000, LOGIN_US = 60000000 };

struct figures {
    uint64_t sent, ok, exhausted, unavailable, other, unanswered, late, held;
};

struct flood {
    char phase[8];              /* "closed", "open"; "": none */
    uint64_t began_us, shown_us, looked_us, until_us;
    double capacity, owed;      /* per second; sends that are due */
    uint64_t paced_us;
    uint32_t next;              /* whose turn it is */
    struct figures all, shown;
    struct bench_hist ok_took, refused_took;
    uint64_t *again_us;         /* by client: refused until then; 0: not */
    uint32_t bound, lost;
};

/* ---- a send --------------------------------------------------------------------------------------------------------------- */

static bool send_one(struct storm *s, struct storm_client *c)
{
    static uint8_t body[BODY];
    struct flood *f = s->mode;
    memset(body, 'x', sizeof body);
    SendRequest send = { .client_msg_id = ++s->next_msg_id, .kind = MessageKind_TEXT, .body = rpc_bytes(body, sizeof body) };
    if (c->state != STORM_BOUND ||
        !storm_call(s, c, RPC_CHAT_SEND, s->clients[c->conn.index ^ 1].user_id, s->o.timeout_ms, s->net.now_us, SendRequest_fields, &send)) {
        f->all.held++;
        return false;
    }
    f->all.sent++;
    return true;
}

static void count_answer(struct flood *f, uint8_t status, uint64_t took_us, uint32_t timeout_ms)
{
    f->all.ok += status == RPC_STATUS_OK;
    f->all.exhausted += status == RPC_STATUS_RESOURCE_EXHAUSTED;
    f->all.unavailable += status == RPC_STATUS_UNAVAILABLE;
    f->all.other += status != RPC_STATUS_OK && status != RPC_STATUS_RESOURCE_EXHAUSTED && status != RPC_STATUS_UNAVAILABLE;
    f->all.late += took_us > timeout_ms * UINT64_C(1000) + GRACE_US;
    bench_hist_add(status == RPC_STATUS_OK ? &f->ok_took : &f->refused_took, took_us);
}

static void flood_replied(struct storm *s, struct storm_client *c, uint16_t method, uint64_t due_us, const struct rpc_frame *frame)
{
    struct flood *f = s->mode;
    if (method == RPC_USER_RESUME && frame->h.status == RPC_STATUS_OK) {
        c->state = STORM_BOUND;
        f->bound++;
    } else if (method == RPC_USER_RESUME) {
        c->must_ask_again = true;
        c->due_us = s->net.now_us + (storm_retry_after_ms(frame) + 10) * UINT64_C(1000);
    }
    if (method != RPC_CHAT_SEND)
        return;
    count_answer(f, frame->h.status, s->net.now_us - due_us, s->o.timeout_ms);
    if (strcmp(f->phase, "closed") != 0)
        return;
    if (frame->h.status == RPC_STATUS_OK) {
        send_one(s, c);
    } else {
        uint32_t after_ms = storm_retry_after_ms(frame);
        f->again_us[c->conn.index] = s->net.now_us + (after_ms ? after_ms : RETRY_MS) * UINT64_C(1000);
    }
}

static void flood_closed(struct storm *s, struct storm_client *c)
{
    struct flood *f = s->mode;
    f->lost++;
    f->bound -= c->state == STORM_BOUND;
    c->state = STORM_OFF;
    (void)s;
}

/* ---- time ------------------------------------------------------------------------------------------------------------------ */

static uint32_t give_up(struct storm_client *c, uint64_t now_us)
{
    uint32_t n = 0;
    for (uint32_t k = 0; c->open > 0 && k < STORM_CALLS; k++)
        if (c->calls[k].due_us != 0 && now_us > c->calls[k].until_us + GRACE_US) {
            c->calls[k].due_us = 0;
            c->open--;
            n++;
        }
    return n;
}

static void fill(struct storm *s, struct storm_client *c)
{
    while (c->state == STORM_BOUND && c->open < WINDOW && send_one(s, c))
        ;
}

/* Ten times a second: who waits for ever, and who may come again. */
static void look(struct storm *s)
{
    struct flood *f = s->mode;
    if (s->net.now_us - f->looked_us < LOOK_US)
        return;
    f->looked_us = s->net.now_us;
    for (uint32_t n = 0; n < s->count; n++) {
        f->all.unanswered += give_up(&s->clients[n], s->net.now_us);
        if (strcmp(f->phase, "closed") == 0 && f->again_us[n] <= s->net.now_us) {
            f->again_us[n] = 0;
            fill(s, &s->clients[n]);
        }
    }
}

static void pace(struct storm *s)
{
    struct flood *f = s->mode;
    f->owed += (double)(s->net.now_us - f->paced_us) / 1e6 * f->capacity * s->o.factor;
    f->paced_us = s->net.now_us;
    for (; f->owed >= 1; f->owed--)
        send_one(s, &s->clients[f->next++ % s->count]);
}

static void say(const struct flood *f, const char *event, const struct figures *from, double seconds, double at)
{
    const struct figures *a = &f->all;
    double ok = (double)(a->ok - from->ok) / seconds;
    storm_say("{\"event\": \"%s\", \"phase\": \"%s\", \"at\": %.2f, \"ok_s\": %.0f, \"sent\": %" PRIu64 ", \"ok\": %" PRIu64 ", \"exhausted\": %" PRIu64
              ", \"unavailable\": %" PRIu64 ", \"other\": %" PRIu64 ", \"unanswered\": %" PRIu64 ", \"late\": %" PRIu64 ", \"held\": %" PRIu64
              ", \"lost\": %" PRIu32 ", \"ok_p50_ms\": %.1f, \"ok_p99_ms\": %.1f, \"refused_p99_ms\": %.1f, \"refused_max_ms\": %.1f, \"max_ms\": %.1f}",
              event, f->phase, at, ok, a->sent - from->sent, a->ok - from->ok, a->exhausted - from->exhausted, a->unavailable - from->unavailable,
              a->other - from->other, a->unanswered - from->unanswered, a->late - from->late, a->held - from->held, f->lost,
              (double)bench_hist_quantile(&f->ok_took, 0.5) / 1e3, (double)bench_hist_quantile(&f->ok_took, 0.99) / 1e3,
              (double)bench_hist_quantile(&f->refused_took, 0.99) / 1e3, (double)f->refused_took.max / 1e3,
              (double)(f->ok_took.max > f->refused_took.max ? f->ok_took.max : f->refused_took.max) / 1e3);
}

static void show(struct storm *s)
{
    struct flood *f = s->mode;
    if (!f->phase[0])
        return;
    if (s->net.now_us - f->shown_us >= 1000000) {
        say(f, "second", &f->shown, (double)(s->net.now_us - f->shown_us) / 1e6, (double)(s->net.now_us - f->began_us) / 1e6);
        f->shown = f->all;
        f->shown_us = s->net.now_us;
    }
    if (s->net.now_us < f->until_us)
        return;
    double seconds = (double)(s->net.now_us - f->began_us) / 1e6;
    if (strcmp(f->phase, "closed") == 0)
        f->capacity = (double)f->all.ok / seconds;
    say(f, "phase", &(struct figures){ 0 }, seconds, seconds);
    f->phase[0] = '\0';
}

static void flood_command(struct storm *s, const char *line)
{
    struct flood *f = s->mode;
    unsigned seconds;
    if (sscanf(line, "%7s %u", f->phase, &seconds) != 2)
        storm_fail("no such command: %s", line);
    f->began_us = f->shown_us = f->paced_us = s->net.now_us = bench_clock_us();
    f->until_us = f->began_us + seconds * UINT64_C(1000000);
    f->owed = 0;
    memset(&f->all, 0, sizeof f->all);
    memset(&f->shown, 0, sizeof f->shown);
    memset(&f->ok_took, 0, sizeof f->ok_took);
    memset(&f->refused_took, 0, sizeof f->refused_took);
    memset(f->again_us, 0, s->count * sizeof *f->again_us);
}

/* ---- start ------------------------------------------------------------------------------------------------------------------ */

static void log_in(struct storm *s)
{
    struct flood *f = s->mode;
    uint64_t until_us = bench_clock_us() + LOGIN_US;
    for (uint32_t n = 0; n < s->count; n++) {
        storm_dial(s, &s->clients[n], s->o.doors[n / 2 % s->o.ndoors]);
        storm_greet(s, &s->clients[n]);
        if (n % 64 == 0)
            storm_turn(s, 0);
    }
    while (f->bound < s->count) {
        storm_turn(s, STEP_US);
        for (uint32_t n = 0; n < s->count; n++)
            if (s->clients[n].must_ask_again && s->clients[n].due_us <= s->net.now_us)
                storm_resume(s, &s->clients[n]);
        if (f->lost > 0 || s->net.now_us > until_us)
            storm_fail("only %" PRIu32 " of %" PRIu32 " are logged in", f->bound, s->count);
    }
    storm_say("{\"event\": \"ready\", \"clients\": %" PRIu32 "}", s->count);
}

int storm_flood(struct storm *s)
{
    struct flood f = { 0 };
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    s->next_msg_id = ((uint64_t)t.tv_sec * 1000) << 22;
    f.again_us = calloc(s->count, sizeof *f.again_us);
    if (!f.again_us || s->count % 2 != 0)
        storm_fail("flood: an even number of clients");
    s->mode = &f;
    s->replied = flood_replied;
    s->closed = flood_closed;
    log_in(s);
    s->command = flood_command;
    while (!s->must_end) {
        storm_turn(s, STEP_US);
        look(s);
        if (strcmp(f.phase, "open") == 0)
            pace(s);
        show(s);
    }
    free(f.again_us);
    return 0;
}
