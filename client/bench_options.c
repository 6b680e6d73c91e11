/* client/bench_options.c: the command line. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/bench.h"

static void usage(FILE *out)
{
    fprintf(out,
            "Usage: bytetalk-bench [OPTIONS] WORKLOAD...\n"
            "\n"
            "Drives a ByteTalk server over its client protocol and says what it did and cost. One thread; what it used itself is\n"
            "shown beside, so that one sees which of the two was the slower.\n"
            "\n"
            "Workloads:\n");
    for (const struct bench_workload *w = bench_workloads; w->name; w++)
        fprintf(out, "  %-8s %1s  %s\n", w->name, w->letter, w->what);
    fprintf(out,
            "\n"
            "Target:\n"
            "  -s, --server ADDR[,ADDR...]    one proxy or several, taken in turn (127.0.0.1:7400)\n"
            "  -p, --pid [LABEL=]PID[,PID...] its processes on this machine: their CPU and memory; may be given several times, the\n"
            "                                 first is what is measured, others (redis=123) are shown beside\n"
            "  -r, --router ADDR              drive a bare router too, in turn, and show ratios to it\n"
            "  -P, --router-pid PID\n"
            "\n"
            "Load (each workload has its own defaults):\n"
            "  -k, --kind signals|messages|both  what is sent (both): signals are not stored, messages are answered when synced\n"
            "  -c, --clients N                connections (login: under way at once)\n"
            "  -w, --window N                 messages under way: of each client; in a group in all\n"
            "  -b, --size BYTES[:SHARE],...   bodies (64); several sizes with their shares; servers take signals up to [chat] signal_max\n"
            "  -t, --seconds S                measured (5)         -W, --warm S   before that (1)\n"
            "  -n, --messages N               measure so many instead\n"
            "  -R, --rounds N                 of everything; the summary shows medians and spread (1)\n"
            "      --rate N                   messages per second, paced (5000)\n"
            "      --members N                of the group, absent ones included\n"
            "      --conversations N --zipf S skew: how many, and how unlike they are (1000, 1.0)\n"
            "      --users N                  prepare, login: accounts\n"
            "      --hold                     idle: say when all are connected, and after a line on standard input send each a message\n"
            "      --dir DIR --bytes N        disk: where, and how much at a time (., 4096)\n"
            "\n"
            "Output:\n"
            "  -S, --state FILE               accounts and their sessions are kept here (bytetalk-bench.state)\n"
            "  -j, --json FILE                all figures, for programs\n"
            "  -q, --quiet                    no progress\n"
            "  -h, --help  -V, --version\n"
            "\n"
            "Accounts are made when there are too few, and stay. Hashing their passwords is what takes long then: give a server that is only for\n"
            "measuring --set user.hash_ops=1 --set user.hash_memory=8. Latencies count from when a message was due, not from when it could be sent.\n"
            "\n"
            "  taskset -c 1 bytetalk-bench -s 127.0.0.1:7400 -p $(pidof bytetalk) pairs single\n"
            "\n"
            "Exit codes: 0 done; 1 failed (a line says why); 2 wrong usage.\n");
}

static int usage_error(const char *what, const char *word)
{
    fprintf(stderr, "bytetalk-bench: %s%s. See bytetalk-bench --help.\n", what, word);
    return 2;
}

static bool parse_u64(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long long v = strtoull(text, &end, 10);
    *out = v;
    return *end == '\0' && v > 0 && v <= max;
}

static int set_u32(const char *text, uint32_t max, uint32_t *out)
{
    uint64_t v;
    if (!parse_u64(text, max, &v))
        return usage_error("no number, or out of range: ", text);
    *out = (uint32_t)v;
    return -1;
}

static int set_seconds(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end == text || *end || !(*out >= 0 && *out <= 86400) ? usage_error("no number of seconds: ", text) : -1;
}

static int add_addresses(const char *list, const char *name, const struct bench_wire *wire, struct bench_options *o)
{
    struct bench_target *t = NULL;
    char text[256];
    for (unsigned n = 0; n < o->target_count; n++)
        if (o->targets[n].wire == wire)
            t = &o->targets[n];
    if (!t)
        t = &o->targets[o->target_count++];
    t->name = name;
    t->wire = wire;
    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        size_t len = strcspn(p, ",");
        if (len >= sizeof text || t->address_count == BENCH_ADDRESSES)
            return usage_error("too long, or too many: ", list);
        memcpy(text, p, len);
        text[len] = '\0';
        enum bt_err err = bench_address_parse(text, &t->addresses[t->address_count++]);
        if (err != BT_OK)
            return usage_error(err == BT_EINVAL ? "an address is HOST:PORT, not " : "no such host: ", text);
    }
    return -1;
}

static int set_kinds(const char *text, struct bench_options *o)
{
    bool is_both = strcmp(text, "both") == 0;
    o->has_kind[BENCH_SIGNALS] = is_both || strcmp(text, "signals") == 0;
    o->has_kind[BENCH_MESSAGES] = is_both || strcmp(text, "messages") == 0;
    return o->has_kind[BENCH_SIGNALS] || o->has_kind[BENCH_MESSAGES] ? -1 : usage_error("no kind of load: ", text);
}

static int set_sizes(const char *text, struct bench_options *o)
{
    double sum = 0;
    o->size_count = 0;
    for (const char *p = text; *p;) {
        char *end;
        unsigned long bytes = strtoul(p, &end, 10);
        double share = 1;
        if (end != p && *end == ':') {
            p = end + 1;
            share = strtod(p, &end);
        }
        if (end == p || (*end && *end != ',') || bytes < BENCH_STAMP || bytes > BENCH_BODY_MAX || !(share > 0) || o->size_count == BENCH_SIZES)
            return usage_error("sizes are from 16 to 65536, eight at most: ", text);
        sum += share;
        o->sizes[o->size_count++] = (struct bench_size){ (uint32_t)bytes, sum };
        p = *end ? end + 1 : end;
    }
    for (unsigned n = 0; n < o->size_count; n++)
        o->sizes[n].share /= sum;
    return o->size_count ? -1 : usage_error("no size: ", text);
}

static int add_workload(const char *word, struct bench_options *o)
{
    for (const struct bench_workload *w = bench_workloads; w->name; w++) {
        if (strcmp(word, w->name) != 0 && strcmp(word, w->letter) != 0)
            continue;
        if (o->workload_count == BENCH_WORKLOADS)
            return usage_error("too many workloads", "");
        o->workloads[o->workload_count++] = w;
        return -1;
    }
    return usage_error("no such workload: ", word);
}

static int check(struct bench_options *o)
{
    if (o->workload_count == 0)
        return usage_error("what is to be done? No workload is named", "");
    if (o->target_count == 0)
        return add_addresses("127.0.0.1:7400", "server", &bench_wire_bytetalk, o);
    for (unsigned n = 0; n < o->target_count; n++)
        if (o->targets[n].address_count == 0)
            return usage_error("processes are named, but no address of the ", o->targets[n].name);
    return -1;
}

static int set_option(int c, const char *word, struct bench_options *o, struct bench_procs *procs, struct bench_procs *router_procs)
{
    switch (c) {
    case 's': return add_addresses(optarg, "server", &bench_wire_bytetalk, o);
    case 'r': return add_addresses(optarg, "router", &bench_wire_router, o);
    case 'p': return bench_procs_parse(optarg, "server", procs) ? -1 : usage_error("no processes: ", optarg);
    case 'P': return bench_procs_parse(optarg, "router", router_procs) ? -1 : usage_error("no processes: ", optarg);
    case 'k': return set_kinds(optarg, o);
    case 'c': return set_u32(optarg, 1000000, &o->clients);
    case 'w': return set_u32(optarg, BENCH_CALLS * 1000, &o->window);
    case 'b': return set_sizes(optarg, o);
    case 't': return set_seconds(optarg, &o->seconds);
    case 'W': return set_seconds(optarg, &o->warm_seconds);
    case 'n': return parse_u64(optarg, UINT64_C(1) << 40, &o->messages) ? -1 : usage_error("no number: ", optarg);
    case 'R': return set_u32(optarg, 100, &o->rounds);
    case '1': return set_u32(optarg, 10000000, &o->rate);
    case '2': return set_u32(optarg, 1000000, &o->members);
    case '3': return set_u32(optarg, 10000000, &o->conversations);
    case '4': return set_seconds(optarg, &o->zipf);
    case '5': return set_u32(optarg, 1000000, &o->users);
    case '6': o->dir = optarg; return -1;
    case '7': return set_u32(optarg, 1 << 24, &o->bytes);
    case 'S': o->state_path = optarg; return -1;
    case 'j': o->json_path = optarg; return -1;
    case 'q': o->is_quiet = true; return -1;
    case '8': o->is_held = true; return -1;
    case 'h': usage(stdout); return 0;
    case 'V': printf("bytetalk-bench %s\n", BT_VERSION); return 0;
    default: return usage_error("no such option, or its value is missing: ", word);
    }
}

int bench_options_parse(int argc, char **argv, struct bench_options *o)
{
    static const struct option longs[] = {
        { "server", required_argument, NULL, 's' }, { "pid", required_argument, NULL, 'p' }, { "router", required_argument, NULL, 'r' },
        { "router-pid", required_argument, NULL, 'P' }, { "kind", required_argument, NULL, 'k' }, { "clients", required_argument, NULL, 'c' },
        { "window", required_argument, NULL, 'w' }, { "size", required_argument, NULL, 'b' }, { "seconds", required_argument, NULL, 't' },
        { "warm", required_argument, NULL, 'W' }, { "messages", required_argument, NULL, 'n' }, { "rounds", required_argument, NULL, 'R' },
        { "rate", required_argument, NULL, '1' }, { "members", required_argument, NULL, '2' }, { "conversations", required_argument, NULL, '3' },
        { "zipf", required_argument, NULL, '4' }, { "users", required_argument, NULL, '5' }, { "dir", required_argument, NULL, '6' },
        { "bytes", required_argument, NULL, '7' }, { "hold", no_argument, NULL, '8' }, { "state", required_argument, NULL, 'S' }, { "json", required_argument, NULL, 'j' },
        { "quiet", no_argument, NULL, 'q' }, { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
    };
    struct bench_procs procs = { 0 }, router_procs = { 0 };
    int c, code = -1;
    opterr = 0;
    *o = (struct bench_options){ .has_kind = { true, true }, .sizes = { { 64, 1 } }, .size_count = 1, .seconds = 5, .warm_seconds = 1, .rounds = 1,
                                 .rate = 5000, .conversations = 1000, .zipf = 1, .state_path = "bytetalk-bench.state", .dir = ".", .bytes = 4096 };
    while (code < 0 && (c = getopt_long(argc, argv, "s:p:r:P:k:c:w:b:t:W:n:R:S:j:qhV", longs, NULL)) != -1)
        code = set_option(c, argv[optind - 1], o, &procs, &router_procs);
    for (int n = optind; code < 0 && n < argc; n++)
        code = add_workload(argv[n], o);
    if (code < 0)
        code = check(o);
    for (unsigned n = 0; n < o->target_count; n++)
        o->targets[n].procs = o->targets[n].wire == &bench_wire_router ? router_procs : procs;
    return code;
}
