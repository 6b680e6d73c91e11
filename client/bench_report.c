/* client/bench_report.c: what people read: progress, a row for each run, the summary of several rounds. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/bench.h"
#include "client/bench_stat.h"

static const char *kind_name(const struct bench_result *r)
{
    return !r->workload->has_kinds || r->target->wire == &bench_wire_router ? "-" : r->kind == BENCH_SIGNALS ? "signals" : "messages";
}

void bench_progress(const struct bench_run *run, double seconds, uint64_t units)
{
    if (!run->o->is_quiet)
        fprintf(stderr, "  %s %s: %3.0f s  %" PRIu64 " %s, %.0f/s\n", run->target->name, run->workload->name, seconds, units, run->workload->unit,
                (double)units / seconds);
}

static double per_million(uint64_t ns, const struct bench_result *r)
{
    return r->units ? (double)ns / 1e9 / ((double)r->units / 1e6) : 0;
}

double bench_result_cost(const struct bench_result *r)
{
    return r->bytes_each > 0 ? r->bytes_each : per_million(r->cpu_ns[0], r);
}

static void print_latency(const char *what, const struct bench_hist *h)
{
    if (h->count > 0)
        printf("  %s p50 %.2f p99 %.2f p99.9 %.2f max %.2f ms", what, (double)bench_hist_quantile(h, 0.5) / 1e3,
               (double)bench_hist_quantile(h, 0.99) / 1e3, (double)bench_hist_quantile(h, 0.999) / 1e3, (double)h->max / 1e3);
}

static void print_faults(const struct bench_result *r)
{
    for (unsigned n = 1; n < BENCH_STATUSES; n++)
        if (r->errors[n])
            printf("           %" PRIu64 " times %s\n", r->errors[n], rpc_status_name((uint8_t)n));
    if (r->lost)
        printf("           %" PRIu64 " connections broke\n", r->lost);
    bool has_replies = r->target->wire && r->target->wire->has_replies;
    if (has_replies && r->all.ok + r->all.failed < r->all.sent)
        printf("           %" PRIu64 " of %" PRIu64 " were not answered\n", r->all.sent - r->all.ok - r->all.failed, r->all.sent);
    if (r->all.delivered != r->expected)
        printf("           %" PRIu64 " deliveries came, %" PRIu64 " should have\n", r->all.delivered, r->expected);
}

void bench_report_row(const struct bench_result *r)
{
    fflush(stderr);
    printf("%-8s %-8s %-8s %9.0f/s %10" PRIu64 " %s", r->workload->name, r->target->name, kind_name(r),
           r->seconds > 0 ? (double)r->units / r->seconds : 0, r->units, r->workload->unit);
    for (unsigned n = 0; n < r->target->procs.count; n++)
        printf("  %s %.3f s/M (%.0f %%)", r->target->procs.groups[n].label, per_million(r->cpu_ns[n], r), (double)r->cpu_ns[n] / r->seconds / 1e7);
    printf("  own %.3f s/M (%.0f %%)", per_million(r->own_cpu_ns, r), (double)r->own_cpu_ns / r->seconds / 1e7);
    if (r->memory)
        printf("  %.1f MB", (double)r->memory / 1e6);
    if (r->bytes_each > 0)
        printf("  %.0f bytes each", r->bytes_each);
    putchar('\n');
    if (r->answer.count + r->delivery.count > 0) {
        printf("         ");
        print_latency("answered", &r->answer);
        print_latency("delivered", &r->delivery);
        putchar('\n');
    }
    print_faults(r);
    fflush(stdout);
}

/* ---- several rounds ---- */

static bool is_same(const struct bench_result *a, const struct bench_result *b)
{
    return a->workload == b->workload && a->kind == b->kind && a->target == b->target;
}

/* The figure of one thing in all rounds; kind: any for the router, of which there is one. */
static struct bench_stat stat_of(const struct bench_result *results, unsigned count, const struct bench_result *like,
                                 double (*figure)(const struct bench_result *r))
{
    double values[BENCH_RESULTS];
    unsigned found = 0;
    for (unsigned n = 0; n < count && found < BENCH_RESULTS; n++)
        if (is_same(&results[n], like))
            values[found++] = figure(&results[n]);
    return bench_stat_of(values, found);
}

static double rate_of(const struct bench_result *r)
{
    return r->seconds > 0 ? (double)r->units / r->seconds : 0;
}

static double own_of(const struct bench_result *r)
{
    return per_million(r->own_cpu_ns, r);
}

static const struct bench_result *router_like(const struct bench_result *results, unsigned count, const struct bench_result *like)
{
    for (unsigned n = 0; n < count; n++)
        if (results[n].workload == like->workload && results[n].target->wire == &bench_wire_router && like->target->wire == &bench_wire_bytetalk)
            return &results[n];
    return NULL;
}

static void summary_row(const struct bench_result *results, unsigned count, const struct bench_result *r)
{
    struct bench_stat cost = stat_of(results, count, r, bench_result_cost), rate = stat_of(results, count, r, rate_of);
    struct bench_stat own = stat_of(results, count, r, own_of);
    const struct bench_result *router = router_like(results, count, r);
    printf("%-8s %-8s %-8s %11.0f %11.3f %9.3f-%-9.3f %7.3f", r->workload->name, r->target->name, kind_name(r), rate.median, cost.median, cost.min,
           cost.max, own.median);
    if (router) {
        double base = stat_of(results, count, router, bench_result_cost).median;
        if (base > 0)
            printf(" %8.2f", cost.median / base);
    }
    putchar('\n');
}

void bench_report_summary(const struct bench_options *o, const struct bench_result *results, unsigned count)
{
    if (count == 0)
        return;
    printf("\nmedians of %u round%s; cost: CPU seconds per million, or bytes each; own: this program's\n", o->rounds, o->rounds > 1 ? "s" : "");
    printf("%-8s %-8s %-8s %11s %11s %9s-%-9s %7s %8s\n", "workload", "target", "kind", "rate/s", "cost", "min", "max", "own", "x router");
    for (unsigned n = 0; n < count; n++) {
        bool is_first = true;
        for (unsigned k = 0; k < n && is_first; k++)
            is_first = !is_same(&results[k], &results[n]);
        if (is_first)
            summary_row(results, count, &results[n]);
    }
}
