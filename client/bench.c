/* client/bench.c: bytetalk-bench: drives a server, or the bare router, and says what that did and cost. */
#include "client/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

const struct bench_workload bench_workloads[] = {
    { "pairs", "A", "messages", "200 clients in pairs, 32 messages of each under way", 200, 32, 0, true, true, bench_load_pairs },
    { "single", "B", "messages", "1000 clients in pairs, 1 message of each under way", 1000, 1, 0, true, true, bench_load_pairs },
    { "group", "F", "deliveries", "a group of 500, all connected; one sends, 8 messages under way", 500, 8, 0, true, true, bench_load_group },
    { "idle", "I", "connections", "memory of connections that do nothing, from 5000 up to 19000", 19000, 0, 0, false, true, bench_idle },
    { "login", "L", "logins", "connect, resume by token, leave; 1000 users, 64 under way", 64, 0, 1000, false, true, bench_login },
    { "paced", "", "messages", "200 clients in pairs, 5000 messages a second, whatever the answers", 200, 0, 0, true, true, bench_paced },
    { "skew", "", "messages", "1000 conversations of 200 clients, drawn by Zipf; 4 messages a client under way", 200, 4, 0, true, true, bench_load_skew },
    { "store", "", "messages", "100 clients write to 100 who are away, 32 messages of each under way", 200, 32, 0, false, false, bench_store },
    { "drain", "", "messages", "what store stored is fetched by those who were away; measured without the storing", 200, 32, 0, false, false, bench_drain },
    { "disk", "", "syncs", "no server: append to a file and sync it", 0, 0, 0, false, false, bench_disk },
    { "prepare", "", "accounts", "make the accounts that are missing (--users), nothing else", 0, 0, 1000, false, false, NULL },
    { .name = NULL },
};

/* What the disk is measured as. */
static const struct bench_target no_target = { .name = "file" };

static uint32_t clients_of(const struct bench_options *o, const struct bench_workload *w)
{
    uint32_t clients = o->clients && w->clients ? o->clients : w->clients;
    return clients + clients % 2; /* they talk in pairs */
}

static uint32_t users_of(const struct bench_options *o, const struct bench_workload *w)
{
    uint32_t users = o->users && w->users ? o->users : w->users;
    if (users < clients_of(o, w))
        users = clients_of(o, w);
    return w->run == bench_load_group && o->members > users ? o->members : users;
}

static bool run_one(const struct bench_options *o, struct bench_state *s, const struct bench_target *t, struct bench_result *r)
{
    const struct bench_workload *w = r->workload;
    r->target = t;
    r->clients = clients_of(o, w);
    r->window = o->window ? o->window : w->window;
    if (t->wire == &bench_wire_bytetalk && !bench_accounts_make(o, t, s, users_of(o, w)))
        return false;
    struct bench_run run = { .o = o, .target = t, .workload = w, .state = s, .kind = r->kind, .result = r };
    bool is_ok = w->run(&run) && !run.has_failed;
    bench_run_end(&run);
    if (is_ok)
        bench_report_row(r);
    return is_ok;
}

/* Whether a workload is run against a target with a kind of message. */
static bool is_wanted(const struct bench_options *o, const struct bench_workload *w, const struct bench_target *t, enum bench_kind kind)
{
    if (t->wire == &bench_wire_router || !w->has_kinds)
        return kind == BENCH_MESSAGES && (w->has_router || t->wire != &bench_wire_router);
    return o->has_kind[kind];
}

static bool run_workload(const struct bench_options *o, struct bench_state *s, const struct bench_workload *w, unsigned round,
                         struct bench_result *results, unsigned *count)
{
    for (unsigned t = 0; t < o->target_count; t++) {
        for (int kind = BENCH_SIGNALS; kind <= BENCH_MESSAGES; kind++) {
            if (!is_wanted(o, w, &o->targets[t], (enum bench_kind)kind))
                continue;
            struct bench_result *r = &results[*count];
            *r = (struct bench_result){ .workload = w, .kind = (enum bench_kind)kind, .round = round };
            if (*count == BENCH_RESULTS || !run_one(o, s, w->run == bench_disk ? &no_target : &o->targets[t], r))
                return false;
            ++*count;
        }
        if (w->run == bench_disk)
            break;
    }
    return true;
}

static bool prepare(const struct bench_options *o, struct bench_state *s, const struct bench_workload *w)
{
    for (unsigned t = 0; t < o->target_count; t++)
        if (o->targets[t].wire == &bench_wire_bytetalk && !bench_accounts_make(o, &o->targets[t], s, users_of(o, w)))
            return false;
    printf("%u accounts in %s\n", s->user_count, s->path);
    return true;
}

/* One after the other, so that whatever the machine does meanwhile befalls all alike. */
static bool run_round(const struct bench_options *o, struct bench_state *s, unsigned round, struct bench_result *results, unsigned *count)
{
    for (unsigned n = 0; n < o->workload_count; n++) {
        const struct bench_workload *w = o->workloads[n];
        if (w->run ? !run_workload(o, s, w, round, results, count) : !prepare(o, s, w))
            return false;
    }
    return true;
}

/* As many connections as the kernel allows this process at all; and waits as short as they are asked for. */
static void prepare_process(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    prctl(PR_SET_TIMERSLACK, 1);
}

int main(int argc, char **argv)
{
    static struct bench_options o;
    struct bench_state s;
    unsigned count = 0;
    int code = bench_options_parse(argc, argv, &o);
    if (code >= 0)
        return code;
    prepare_process();
    struct bench_result *results = calloc(BENCH_RESULTS + 1, sizeof *results);
    if (!results || !bench_state_load(&s, o.state_path)) {
        free(results);
        return 1;
    }
    bool is_ok = true;
    for (unsigned round = 0; round < o.rounds && is_ok; round++)
        is_ok = run_round(&o, &s, round, results, &count);
    bench_report_summary(&o, results, count);
    if (o.json_path)
        is_ok = bench_report_json(&o, results, count) && is_ok;
    bench_state_free(&s);
    free(results);
    return is_ok ? 0 : 1;
}
