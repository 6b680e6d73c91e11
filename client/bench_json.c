/* client/bench_json.c: all figures of all runs, for programs. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/bench.h"

static void write_latency(FILE *f, const char *name, const struct bench_hist *h)
{
    static const struct { const char *name; double q; } quantiles[] = {
        { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 }, { "p9999", 0.9999 },
    };
    fprintf(f, ", \"%s_us\": {\"count\": %" PRIu64, name, h->count);
    for (size_t n = 0; n < sizeof quantiles / sizeof quantiles[0]; n++)
        fprintf(f, ", \"%s\": %" PRIu64, quantiles[n].name, bench_hist_quantile(h, quantiles[n].q));
    fprintf(f, ", \"max\": %" PRIu64 ", \"mean\": %.1f}", h->max, h->count ? (double)h->sum / (double)h->count : 0);
}

static void write_errors(FILE *f, const struct bench_result *r)
{
    const char *comma = "";
    fprintf(f, ", \"errors\": {");
    for (unsigned n = 1; n < BENCH_STATUSES; n++) {
        if (r->errors[n]) {
            fprintf(f, "%s\"%s\": %" PRIu64, comma, rpc_status_name((uint8_t)n), r->errors[n]);
            comma = ", ";
        }
    }
    fprintf(f, "}");
}

static void write_result(FILE *f, const struct bench_result *r)
{
    const struct bench_procs *procs = &r->target->procs;
    fprintf(f, "{\"workload\": \"%s\", \"kind\": \"%s\", \"target\": \"%s\"", r->workload->name,
            r->kind == BENCH_SIGNALS ? "signals" : "messages", r->target->name);
    fprintf(f, ", \"round\": %u, \"clients\": %" PRIu32 ", \"window\": %" PRIu32, r->round, r->clients, r->window);
    fprintf(f, ", \"seconds\": %.6f, \"units\": %" PRIu64, r->seconds, r->units);
    fprintf(f, ", \"sent\": %" PRIu64 ", \"ok\": %" PRIu64 ", \"failed\": %" PRIu64, r->all.sent, r->all.ok, r->all.failed);
    fprintf(f, ", \"delivered\": %" PRIu64 ", \"expected\": %" PRIu64, r->all.delivered, r->expected);
    fprintf(f, ", \"lost\": %" PRIu64 ", \"stray\": %" PRIu64 ", \"resyncs\": %" PRIu64, r->lost, r->stray, r->resyncs);
    fprintf(f, ", \"own_cpu_s\": %.6f, \"memory\": %" PRIu64 ", \"bytes_each\": %.1f", (double)r->own_cpu_ns / 1e9, r->memory, r->bytes_each);
    fprintf(f, ", \"cpu_s\": {");
    for (unsigned n = 0; n < procs->count; n++)
        fprintf(f, "%s\"%s\": %.6f", n ? ", " : "", procs->groups[n].label, (double)r->cpu_ns[n] / 1e9);
    fprintf(f, "}");
    write_errors(f, r);
    write_latency(f, "answered", &r->answer);
    write_latency(f, "delivered", &r->delivery);
    fprintf(f, "}");
}

bool bench_report_json(const struct bench_options *o, const struct bench_result *results, unsigned count)
{
    FILE *f = fopen(o->json_path, "we");
    if (!f) {
        fprintf(stderr, "bytetalk-bench: %s: %s\n", o->json_path, strerror(errno));
        return false;
    }
    fprintf(f, "{\"version\": \"%s\", \"results\": [\n", BT_VERSION);
    for (unsigned n = 0; n < count; n++) {
        write_result(f, &results[n]);
        fprintf(f, n + 1 < count ? ",\n" : "\n");
    }
    fprintf(f, "]}\n");
    bool is_ok = !ferror(f);
    if (fclose(f) != 0 || !is_ok)
        fprintf(stderr, "bytetalk-bench: %s could not be written\n", o->json_path);
    return is_ok;
}
