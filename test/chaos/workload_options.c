/* test/chaos/workload_options.c: the command line of chaos-workload. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/mem.h"
#include "test/chaos/workload.h"

static const char usage[] =
    "usage: chaos-workload --servers HOST:PORT,HOST:PORT --dir DIR [options]\n"
    "Lets users chat, and writes down in DIR/history.bin what they did and saw. test/chaos/README.md says more.\n"
    "\n"
    "  --servers LIST      where the proxies are, separated by commas; more are learnt from them\n"
    "  --stay              connect to those only\n"
    "  --dir DIR           where history.bin goes; made if missing\n"
    "  --seed N            who there is, and what they do (1)\n"
    "  --users N           (240)\n"
    "  --rate N            sends per second aimed at (900)\n"
    "  --deliveries N      messages handed to devices per second, at most, about (8000)\n"
    "  --others PERCENT    of the usual share of operations that are not sends, at most 800 (100)\n"
    "  --resend-raw PERCENT  of the sends of users who have a sender that repeats them by itself (10)\n"
    "  --stay-ms N         how long a device stays connected, on average (60000)\n"
    "  --send-timeout-ms N when a send is given up (30000)\n"
    "  --catch-up-ms N     how long FINAL waits for devices that have not got all (60000)\n"
    "  --backfill N        messages of each conversation that a device new to the account is handed (50)\n"
    "  --seconds N         go on to QUIET, FINAL and END after so many seconds of LOAD; 0: lines on standard\n"
    "                      input say when: quiet, final, end (0)\n"
    "\n"
    "A try by hand, against `make run`, on an account database of its own:\n"
    "  chaos-workload --servers 127.0.0.1:7400 --dir /tmp/chaos --users 40 --rate 200 --seconds 10\n";

static bool number(const char *text, const char *name, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || strchr(text, '-') || value < least || value > most) {
        fprintf(stderr, "chaos-workload: --%s %s: wants a number from %llu to %llu\n", name, text, (unsigned long long)least,
                (unsigned long long)most);
        return false;
    }
    *out = value;
    return true;
}

static bool servers_parse(struct wl_options *o, const char *list)
{
    char *copy = wl_alloc(strlen(list) + 1, 1), *rest = copy;
    strcpy(copy, list);
    o->server_count = 0;
    for (char *word; (word = strsep(&rest, ","));) {
        if (!strchr(word, ':') || o->server_count == WL_MAX_SERVERS) {
            fprintf(stderr, "chaos-workload: --servers %s: wants HOST:PORT, separated by commas, at most %d\n", list, WL_MAX_SERVERS);
            bt_free(copy);
            o->server_count = 0;
            return false;
        }
        o->servers[o->server_count++] = word;
    }
    return true;
}

static const struct option options[] = {
    { "servers", required_argument, NULL, 's' },
    { "stay", no_argument, NULL, 'S' },
    { "dir", required_argument, NULL, 'd' },
    { "seed", required_argument, NULL, 'e' },
    { "users", required_argument, NULL, 'u' },
    { "rate", required_argument, NULL, 'r' },
    { "deliveries", required_argument, NULL, 'D' },
    { "others", required_argument, NULL, 'o' },
    { "resend-raw", required_argument, NULL, 'w' },
    { "stay-ms", required_argument, NULL, 'y' },
    { "send-timeout-ms", required_argument, NULL, 't' },
    { "backfill", required_argument, NULL, 'b' },
    { "catch-up-ms", required_argument, NULL, 'c' },
    { "seconds", required_argument, NULL, 'n' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

/* One option; small numbers come through `value`. */
static bool take(struct wl_options *o, int c, const char *name)
{
    static const struct { char c; size_t at; uint64_t least, most; } small[] = {
        { 'u', offsetof(struct wl_options, users), 4, 10000 },
        { 'r', offsetof(struct wl_options, rate), 1, 100000 },
        { 'D', offsetof(struct wl_options, deliveries), 1, 1000000 },
        { 'o', offsetof(struct wl_options, others_percent), 0, 800 },
        { 'w', offsetof(struct wl_options, raw_percent), 0, 100 },
        { 'y', offsetof(struct wl_options, stay_ms), 100, 86400000 },
        { 't', offsetof(struct wl_options, send_timeout_ms), 100, 600000 },
        { 'c', offsetof(struct wl_options, catch_up_ms), 100, 600000 },
        { 'b', offsetof(struct wl_options, backfill), 0, 100000 },
        { 'n', offsetof(struct wl_options, seconds), 0, 1000000 },
    };
    uint64_t value;
    for (size_t n = 0; n < sizeof small / sizeof *small; n++)
        if (small[n].c == c) {
            if (!number(optarg, name, small[n].least, small[n].most, &value))
                return false;
            *(uint32_t *)((char *)o + small[n].at) = (uint32_t)value;
            return true;
        }
    switch (c) {
    case 's':
        return servers_parse(o, optarg);
    case 'S':
        o->stay = true;
        return true;
    case 'd':
        o->dir = optarg;
        return true;
    case 'e':
        return number(optarg, name, 0, UINT64_MAX, &o->seed);
    case 'h':
        fputs(usage, stdout);
        exit(0);
    default:
        fputs("chaos-workload --help says what there is\n", stderr);
        return false;
    }
}

bool wl_options_parse(struct wl_options *o, int argc, char **argv)
{
    int c, index = 0;
    *o = (struct wl_options){
        .seed = 1, .users = 240, .rate = 900, .deliveries = 8000, .others_percent = 100, .raw_percent = 10,
        .stay_ms = 60000, .send_timeout_ms = 30000, .backfill = 50, .catch_up_ms = 60000,
    };
    while ((c = getopt_long(argc, argv, "", options, &index)) != -1)
        if (!take(o, c, c == '?' ? "" : options[index].name))
            return false;
    if (optind < argc || o->server_count == 0 || !o->dir) {
        fputs(usage, stderr);
        return false;
    }
    return true;
}
