/*
 * test/storm/storm_herd.c: clients that hold a session and come back with it when their proxy dies, by the rules of the client library.
 *
 * Commands: "check": every client asks for its own profile. "break": figures begin anew. End of input ends the program.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/client.pb.h"
#include "proto/methods.h"
#include "rpc/bytes.h"
#include "rpc/status.h"
#include "test/storm/storm.h"

enum { CONNECTING = 256, CHECKING = 64, STEP_US = 5000, ASK_AGAIN_MAX = 8, STABLE_MS = 5000, CHECK_MS = 10000, QUIET_US = 40000000, PULL_MS = 10000 };

struct herd {
    bool is_gathering;                /* all connect to one door first */
    uint32_t bound, dialled;
    uint64_t began_us, shown_us, pinged_us;
    bool is_storm;                    /* somebody broke since the figures began */
    uint32_t broke, back, shown_back, peak;
    uint64_t dials, shed, refused, wrong, pulls_refused;
    struct bench_hist took;           /* microseconds until back */
    uint32_t check_next, check_done, check_failed;
    bool is_checking;
};

static uint64_t now_ms(const struct storm *s)
{
    return s->net.now_us / 1000;
}

/* ---- going and coming ------------------------------------------------------------------------------------------------------- */

static void wait_for_turn(struct storm *s, struct storm_client *c)
{
    c->state = STORM_WAITING;
    c->due_us = s->net.now_us + client_backoff_next(&c->backoff, bench_random_next(&s->random)) * UINT64_C(1000);
}

static void begin_storm(struct storm *s)
{
    struct herd *h = s->mode;
    h->is_storm = true;
    h->began_us = h->shown_us = s->net.now_us;
    storm_say("{\"event\": \"broke\"}");
}

static void herd_closed(struct storm *s, struct storm_client *c)
{
    struct herd *h = s->mode;
    if (h->is_gathering)
        storm_fail("client %" PRIu32 " lost its connection while all gathered", c->conn.index);
    if (c->state == STORM_BOUND) {
        if (!h->is_storm)
            begin_storm(s);
        client_backoff_held(&c->backoff, (s->net.now_us - c->bound_us) / 1000, STABLE_MS);
        h->bound--;
        h->broke++;
        c->broke_us = s->net.now_us;
    }
    client_servers_failed(&c->servers, c->server, now_ms(s));
    wait_for_turn(s, c);
}

static void is_back(struct storm *s, struct storm_client *c)
{
    struct herd *h = s->mode;
    h->bound++;
    c->state = STORM_BOUND;
    c->bound_us = s->net.now_us;
    if (!h->is_storm || c->broke_us == 0)
        return;
    bench_hist_add(&h->took, s->net.now_us - c->broke_us);
    h->back++;
    c->broke_us = 0;
}

static void learn(struct storm *s, struct storm_client *c, const struct rpc_frame *f)
{
    DirectoryReply reply = { 0 };
    (void)s;
    if (rpc_decode(DirectoryReply_fields, f->payload, f->len, &reply) != BT_OK)
        storm_fail("the answer to Directory can't be read");
    client_servers_learn(&c->servers, reply.proxies, reply.proxies_count);
    rpc_release(DirectoryReply_fields, &reply);
}

static void pull(struct storm *s, struct storm_client *c)
{
    static const PullRequest req;
    c->must_ask_again = false;
    c->due_us = s->net.now_us + PULL_MS * UINT64_C(1000);
    if (!storm_call(s, c, RPC_OFFLINE_PULL, 0, PULL_MS, s->net.now_us, PullRequest_fields, &req))
        storm_fail("out of memory");
}

static void resumed(struct storm *s, struct storm_client *c, const struct rpc_frame *f)
{
    static const DirectoryRequest directory;
    struct herd *h = s->mode;
    LoginReply reply = { 0 };
    if (f->h.status == RPC_STATUS_OK) {
        if (rpc_decode(LoginReply_fields, f->payload, f->len, &reply) != BT_OK || reply.user_id != c->user_id || reply.session_id != c->session_id)
            h->wrong++;
        rpc_release(LoginReply_fields, &reply);
        client_servers_worked(&c->servers, c->server);
        storm_call(s, c, RPC_PROXY_DIRECTORY, 0, 10000, s->net.now_us, DirectoryRequest_fields, &directory);
        c->is_resumed = true;
        client_backoff_reset(&c->backoff);
        if (s->o.has_pull)
            pull(s, c);
        else
            is_back(s, c);
        return;
    }
    uint32_t after_ms = rpc_status_is_not_done(f->h.status) ? storm_retry_after_ms(f) : 0;
    h->shed += f->h.status == RPC_STATUS_RESOURCE_EXHAUSTED;
    h->refused += f->h.status != RPC_STATUS_RESOURCE_EXHAUSTED;
    if (f->h.status == RPC_STATUS_UNAUTHENTICATED)
        h->wrong++;
    if (after_ms > 0 && c->asked_again++ < ASK_AGAIN_MAX) { /* the connection stays */
        c->must_ask_again = true;
        c->due_us = s->net.now_us + after_ms * UINT64_C(1000);
        return;
    }
    storm_hang_up(s, c);
    herd_closed(s, c);
}

static void checked(struct storm *s, const struct storm_client *c, const struct rpc_frame *f)
{
    struct herd *h = s->mode;
    Profile profile = { 0 };
    bool is_right = f->h.status == RPC_STATUS_OK && rpc_decode(Profile_fields, f->payload, f->len, &profile) == BT_OK;
    if (!is_right || profile.user_id != c->user_id)
        h->check_failed++;
    if (is_right)
        rpc_release(Profile_fields, &profile);
    h->check_done++;
}

static void herd_replied(struct storm *s, struct storm_client *c, uint16_t method, uint64_t due_us, const struct rpc_frame *f)
{
    (void)due_us;
    if (method == RPC_USER_RESUME)
        resumed(s, c, f);
    else if (method == RPC_PROXY_DIRECTORY && f->h.status == RPC_STATUS_OK)
        learn(s, c, f);
    else if (method == RPC_USER_GET_PROFILE)
        checked(s, c, f);
    else if (method == RPC_OFFLINE_PULL && f->h.status == RPC_STATUS_OK)
        is_back(s, c);
    else if (method == RPC_OFFLINE_PULL) { /* asked again as the library does */
        uint32_t wait_ms = client_backoff_next(&c->backoff, bench_random_next(&s->random)), told_ms = storm_retry_after_ms(f);
        ((struct herd *)s->mode)->pulls_refused++;
        c->must_ask_again = true;
        c->due_us = s->net.now_us + (wait_ms > told_ms ? wait_ms : told_ms) * UINT64_C(1000);
    }
}

/* ---- time --------------------------------------------------------------------------------------------------------------------- */

static void dial(struct storm *s, struct storm_client *c)
{
    struct herd *h = s->mode;
    const char *server = client_servers_pick(&c->servers, now_ms(s), bench_random_next(&s->random));
    h->dials++;
    snprintf(c->server, sizeof c->server, "%s", server); /* lent until it learns */
    storm_dial(s, c, c->server);
    if (c->state == STORM_GREETING)
        storm_greet(s, c);
}

static void due(struct storm *s, struct storm_client *c)
{
    if (c->state == STORM_WAITING) {
        dial(s, c);
    } else if (c->must_ask_again && c->is_resumed) {
        pull(s, c);
    } else if (c->must_ask_again) {
        storm_resume(s, c);
    } else { /* no answer in time */
        storm_hang_up(s, c);
        herd_closed(s, c);
    }
}

static void show(struct storm *s)
{
    struct herd *h = s->mode;
    const double t = (double)(s->net.now_us - h->began_us) / 1e6;
    if (!h->is_storm || (s->net.now_us - h->shown_us < 1000000 && h->bound < s->count))
        return;
    const double span = (double)(s->net.now_us - h->shown_us) / 1e6;
    if (h->back - h->shown_back > h->peak)
        h->peak = h->back - h->shown_back;
    storm_say("{\"event\": \"second\", \"at\": %.2f, \"span\": %.2f, \"back\": %" PRIu32 ", \"dials\": %" PRIu64 ", \"shed\": %" PRIu64
              ", \"refused\": %" PRIu64 "}", t, span, h->back, h->dials, h->shed, h->refused);
    h->shown_us = s->net.now_us;
    h->shown_back = h->back;
    if (h->bound < s->count)
        return;
    storm_say("{\"event\": \"back\", \"clients\": %" PRIu32 ", \"seconds\": %.3f, \"p50_ms\": %.1f, \"p99_ms\": %.1f, \"max_ms\": %.1f, "
              "\"peak\": %" PRIu32 ", \"dials\": %" PRIu64 ", \"shed\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"wrong\": %" PRIu64 ", \"pulls_refused\": %" PRIu64 "}",
              h->back, t, (double)bench_hist_quantile(&h->took, 0.5) / 1e3, (double)bench_hist_quantile(&h->took, 0.99) / 1e3,
              (double)h->took.max / 1e3, h->peak, h->dials, h->shed, h->refused, h->wrong, h->pulls_refused);
    h->is_storm = false;
    h->back = h->shown_back = h->peak = h->broke = 0;
    h->dials = h->shed = h->refused = h->wrong = h->pulls_refused = 0;
    memset(&h->took, 0, sizeof h->took);
}

static void gather_more(struct storm *s)
{
    struct herd *h = s->mode;
    while (h->dialled < s->count && h->dialled - h->bound < CONNECTING) {
        struct storm_client *c = &s->clients[h->dialled++];
        snprintf(c->server, sizeof c->server, "%s", s->o.only);
        storm_dial(s, c, c->server);
        storm_greet(s, c);
    }
    if (h->bound < s->count)
        return;
    h->is_gathering = false;
    h->shed = h->refused = h->dials = 0;
    storm_say("{\"event\": \"ready\", \"clients\": %" PRIu32 ", \"seconds\": %.2f}", s->count, (double)(bench_clock_us() - h->began_us) / 1e6);
}

static void check_more(struct storm *s)
{
    static const GetProfileRequest req;
    struct herd *h = s->mode;
    while (h->check_next < s->count && h->check_next - h->check_done < CHECKING)
        if (!storm_call(s, &s->clients[h->check_next++], RPC_USER_GET_PROFILE, 0, CHECK_MS, s->net.now_us, GetProfileRequest_fields, &req)) {
            h->check_failed++;
            h->check_done++;
        }
    if (h->check_done < s->count)
        return;
    h->is_checking = false;
    storm_say("{\"event\": \"checked\", \"clients\": %" PRIu32 ", \"failed\": %" PRIu32 "}", s->count, h->check_failed);
}

/* A server closes a connection of which it hears nothing. */
static void ping_quiet(struct storm *s)
{
    static const PingRequest ping;
    struct herd *h = s->mode;
    if (s->net.now_us - h->pinged_us < 1000000)
        return;
    h->pinged_us = s->net.now_us;
    for (uint32_t n = 0; n < s->count; n++) {
        struct storm_client *c = &s->clients[n];
        if (c->state == STORM_BOUND && s->net.now_us - c->conn.written_us > QUIET_US)
            storm_call(s, c, RPC_PROXY_PING, 0, CHECK_MS, s->net.now_us, PingRequest_fields, &ping);
    }
}

static void herd_command(struct storm *s, const char *line)
{
    struct herd *h = s->mode;
    if (strcmp(line, "check") == 0) {
        h->check_next = h->check_done = h->check_failed = 0;
        h->is_checking = true;
    } else {
        storm_fail("no such command: %s", line);
    }
}

int storm_herd(struct storm *s)
{
    struct herd h = { .is_gathering = true, .began_us = bench_clock_us() };
    s->mode = &h;
    s->replied = herd_replied;
    s->closed = herd_closed;
    s->command = herd_command;
    if (!s->o.only)
        storm_fail("herd: -o says where all are at first");
    for (uint32_t n = 0; n < s->count; n++)
        if (!client_servers_give(&s->clients[n].servers, s->o.only))
            storm_fail("out of memory");
    while (!s->must_end) {
        storm_turn(s, STEP_US);
        if (h.is_gathering)
            gather_more(s);
        for (uint32_t n = 0; n < s->count; n++) {
            struct storm_client *c = &s->clients[n];
            if ((c->state == STORM_WAITING || c->state == STORM_GREETING) && c->due_us <= s->net.now_us)
                due(s, c);
        }
        if (h.is_checking)
            check_more(s);
        ping_quiet(s);
        show(s);
    }
    return 0;
}
