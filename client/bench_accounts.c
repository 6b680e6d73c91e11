/* client/bench_accounts.c: making accounts and groups for the load tool: a few connections, each doing one user after the other. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/bench_drive.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "rpc/bytes.h"
#include "rpc/frame.h"

enum { AT_ONCE = 24, TURN_US = 100000, SILENT_US = 30000000 }; /* fewer than half of [user] hash_queue: none is refused */

/* The users that are to be done, and which of a connection's steps does what. */
struct job {
    const char *what;
    uint32_t next, done, count;
    uint64_t group_id;
    struct bench_later later;
};

enum step { HELLO, REGISTER, LOGIN, CREATE, JOIN };

static void next_user(struct bench_run *run, struct bench_peer *p)
{
    struct job *job = run->load;
    bench_net_close(&run->net, &p->conn);
    p->is_ready = false;
    if (job->next == job->count)
        return;
    p->user = job->next++;
    bench_run_dial(run, p);
}

static void user_done(struct bench_run *run, struct bench_peer *p)
{
    struct job *job = run->load;
    job->done++;
    next_user(run, p);
}

/* ---- accounts ---- */

static void step_call(struct bench_run *run, struct bench_peer *p)
{
    char name[BENCH_NAME];
    struct bench_user *u = &run->state->users[p->user];
    bench_user_name(run->state, p->user, name);
    if (p->step == REGISTER) {
        RegisterRequest reg = { .name = rpc_str(name), .password = rpc_str(run->state->password) };
        bench_call(run, p, RPC_USER_REGISTER, 0, RegisterRequest_fields, &reg);
    } else {
        LoginRequest login = { .name = rpc_str(name), .password = rpc_str(run->state->password), .device_id = u->device_id,
                               .device = rpc_str("bytetalk-bench") };
        bench_call(run, p, RPC_USER_LOGIN, 0, LoginRequest_fields, &login);
    }
}

static void account_begin(struct bench_run *run, struct bench_peer *p)
{
    HelloRequest hello = { .version = 1, .client = rpc_str("bytetalk-bench " BT_VERSION) };
    struct bench_user *u = &run->state->users[p->user];
    while (u->device_id == 0 || u->device_id >> 63)
        u->device_id = bench_random_next(&run->random) >> 1;
    p->step = HELLO;
    bench_call(run, p, RPC_PROXY_HELLO, 0, HelloRequest_fields, &hello);
}

static void keep_session(struct bench_run *run, struct bench_peer *p, const uint8_t *payload, size_t len)
{
    LoginReply reply = { 0 };
    struct bench_user *u = &run->state->users[p->user];
    if (rpc_decode(LoginReply_fields, payload, len, &reply) != BT_OK) {
        bench_run_fail(run, "the server's answer to Login can't be read");
        return;
    }
    if (reply.token.len == 0 || reply.token.len > BENCH_TOKEN) {
        bench_run_fail(run, "the server gave a token of %zu bytes", reply.token.len);
    } else {
        u->id = reply.user_id;
        u->token_len = (uint16_t)reply.token.len;
        memcpy(u->token, reply.token.data, reply.token.len);
    }
    rpc_release(LoginReply_fields, &reply);
}

/* "..." of the Error, for people. */
static void refused(struct bench_run *run, const char *what, uint8_t status, const uint8_t *payload, size_t len)
{
    Error error = { 0 };
    if (rpc_decode(Error_fields, payload, len, &error) == BT_OK) {
        bench_run_fail(run, "%s is refused: %s: %.*s", what, rpc_status_name(status), (int)error.detail.len, (const char *)error.detail.data);
        rpc_release(Error_fields, &error);
    } else {
        bench_run_fail(run, "%s is refused: %s", what, rpc_status_name(status));
    }
}

static void account_replied(struct bench_run *run, struct bench_peer *p, uint8_t status, const uint8_t *payload, size_t len)
{
    static const char *const names[] = { "Hello", "Register", "Login" };
    struct job *job = run->load;
    if (p->step != HELLO && (rpc_status_is_not_done(status) || status == RPC_STATUS_UNKNOWN || status == RPC_STATUS_DEADLINE_EXCEEDED)) {
        bench_later_add(&job->later, run, p, payload, len);
    } else if (status != RPC_STATUS_OK) {
        refused(run, names[p->step], status, payload, len);
    } else if (p->step == LOGIN) {
        keep_session(run, p, payload, len);
        user_done(run, p);
    } else {
        p->step++;
        step_call(run, p);
    }
}

/* ---- groups ---- */

static void group_call(struct bench_run *run, struct bench_peer *p)
{
    struct job *job = run->load;
    if (p->step == CREATE) {
        CreateGroupRequest create = { .name = rpc_str("bench"), .join_mode = JoinMode_OPEN };
        while (create.request_id == 0)
            create.request_id = bench_random_next(&run->random);
        bench_call(run, p, RPC_GROUP_CREATE_GROUP, 0, CreateGroupRequest_fields, &create);
    } else {
        JoinGroupRequest join = { 0 };
        bench_call(run, p, RPC_GROUP_JOIN_GROUP, job->group_id | RPC_TARGET_GROUP, JoinGroupRequest_fields, &join);
    }
}

static void group_ready(struct bench_run *run, struct bench_peer *p)
{
    const struct job *job = run->load;
    p->step = job->group_id == 0 ? CREATE : JOIN;
    group_call(run, p);
}

static void group_replied(struct bench_run *run, struct bench_peer *p, uint8_t status, const uint8_t *payload, size_t len)
{
    struct job *job = run->load;
    GroupInfo info = { 0 };
    if (rpc_status_is_not_done(status) || status == RPC_STATUS_UNKNOWN || status == RPC_STATUS_DEADLINE_EXCEEDED) {
        bench_later_add(&job->later, run, p, payload, len);
    } else if (status != RPC_STATUS_OK) {
        refused(run, p->step == CREATE ? "CreateGroup" : "JoinGroup", status, payload, len);
    } else if (p->step == CREATE) {
        if (rpc_decode(GroupInfo_fields, payload, len, &info) != BT_OK) {
            bench_run_fail(run, "the server's answer to CreateGroup can't be read");
            return;
        }
        job->group_id = info.group_id;
        rpc_release(GroupInfo_fields, &info);
        user_done(run, p);
    } else {
        user_done(run, p);
    }
}

/* ---- doing it ---- */

static bool work(struct bench_run *run, struct job *job, uint32_t first, uint32_t count, void (*again)(struct bench_run *, struct bench_peer *))
{
    uint64_t show_us = bench_clock_us() + 1000000, progress_us = show_us;
    uint32_t seen = job->done = job->next = first;
    job->count = count;
    for (uint32_t n = 0; n < run->peer_count; n++)
        next_user(run, &run->peers[n]);
    while (job->done < count && bench_run_turn(run, TURN_US)) {
        bench_later_due(&job->later, run, again);
        if (job->done != seen) {
            seen = job->done;
            progress_us = run->net.now_us;
        } else if (run->net.now_us > progress_us + SILENT_US) {
            bench_run_fail(run, "the server does not answer");
        }
        if (run->net.now_us > show_us && !run->o->is_quiet) {
            fprintf(stderr, "%s: %" PRIu32 " of %" PRIu32 "\n", job->what, job->done, count);
            show_us += 1000000;
        }
    }
    return !run->has_failed;
}

static struct bench_run new_run(const struct bench_options *o, const struct bench_target *t, struct bench_state *s, struct job *job,
                                struct bench_result *result)
{
    return (struct bench_run){ .o = o, .target = t, .state = s, .load = job, .result = result };
}

bool bench_accounts_make(const struct bench_options *o, const struct bench_target *t, struct bench_state *s, uint32_t count)
{
    struct job job = { .what = "accounts" };
    if (s->user_count >= count)
        return true;
    struct bench_result *result = calloc(1, sizeof *result);
    struct bench_run run = new_run(o, t, s, &job, result);
    run.login = account_begin;
    run.replied = account_replied;
    bench_state_reach(s, count);
    bool is_ok = result && bench_run_begin(&run, AT_ONCE) && work(&run, &job, s->user_count, count, step_call);
    bench_run_end(&run);
    bench_later_free(&job.later);
    free(result);
    if (is_ok)
        s->user_count = count;
    return is_ok && bench_state_save(s);
}

uint64_t bench_group_make(const struct bench_options *o, const struct bench_target *t, struct bench_state *s, uint32_t members)
{
    struct job job = { .what = "members of the group" };
    for (unsigned n = 0; n < s->group_count; n++)
        if (s->groups[n].members == members)
            return s->groups[n].id;
    if (s->group_count == BENCH_SIZES) {
        fprintf(stderr, "bytetalk-bench: the state file holds %d groups of other sizes already\n", BENCH_SIZES);
        return 0;
    }
    struct bench_result *result = calloc(1, sizeof *result);
    struct bench_run run = new_run(o, t, s, &job, result);
    run.ready = group_ready;
    run.replied = group_replied;
    bool is_ok = result && bench_run_begin(&run, AT_ONCE) && work(&run, &job, 0, 1, group_call) && work(&run, &job, 1, members, group_call);
    bench_run_end(&run);
    bench_later_free(&job.later);
    free(result);
    if (!is_ok)
        return 0;
    s->groups[s->group_count++] = (struct bench_chat_group){ job.group_id, members };
    return bench_state_save(s) ? job.group_id : 0;
}
