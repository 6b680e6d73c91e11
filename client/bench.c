/* client/bench.c: bytetalk-bench: drives a server, or the bare router, and says what that did and cost. */
#include "client/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

const struct bench_workload bench_workloads[] = {
    { "pairs", "A", "messages", "200 clients in pairs, 32 messages of each under way", 200, 32, true, true, bench_load_pairs },
    { "single", "B", "messages", "1000 clients in pairs, 1 message of each under way", 1000, 1, true, true, bench_load_pairs },
    { "group", "F", "deliveries", "a group of 500, 8 messages under way; counts deliveries", 500, 8, true, true, bench_load_group },
    { .name = NULL },
};

static uint32_t clients_of(const struct bench_options *o, const struct bench_workload *w)
{
    uint32_t clients = o->clients ? o->clients : w->clients;
    return clients < 2 ? 2 : clients + clients % 2; /* they talk in pairs */
}

static uint32_t users_of(const struct bench_options *o, const struct bench_workload *w)
{
    uint32_t users = clients_of(o, w);
    if (w->run == bench_load_group && o->members > users)
        users = o->members;
    return o->users > users ? o->users : users;
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
        bench_report_row(o, r);
    return is_ok;
}

/* One after the other, so that whatever the machine does meanwhile befalls all alike. */
static bool run_round(const struct bench_options *o, struct bench_state *s, unsigned round, struct bench_result *results, unsigned *count)
{
    for (unsigned w = 0; w < o->workload_count; w++) {
        for (unsigned t = 0; t < o->target_count; t++) {
            const struct bench_workload *work = o->workloads[w];
            bool is_router = o->targets[t].wire == &bench_wire_router;
            if (is_router && !work->has_router)
                continue;
            for (int kind = BENCH_SIGNALS; kind <= BENCH_MESSAGES; kind++) {
                if (work->has_kinds && !is_router ? !o->has_kind[kind] : kind != BENCH_SIGNALS)
                    continue;
                struct bench_result *r = &results[*count];
                *r = (struct bench_result){ .workload = work, .kind = (enum bench_kind)kind, .round = round };
                if (*count == BENCH_RESULTS || !run_one(o, s, &o->targets[t], r))
                    return false;
                ++*count;
            }
        }
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
