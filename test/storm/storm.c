/* test/storm/storm.c: options, accounts, calls of one client, commands. */
#include "test/storm/storm.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/client.pb.h"
#include "proto/methods.h"
#include "rpc/bytes.h"
#include "rpc/status.h"

enum { AT_ONCE = 24, GREET_MS = 10000, FRAME_MAX = 1 << 24 };

void storm_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

void storm_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "storm: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

/* ---- one client -------------------------------------------------------------------------------------------------------- */

/* Calls rise, wrap, and skip those that are open. 0: none is free. */
static uint32_t take_call(struct storm_client *c, uint64_t due_us, uint64_t until_us)
{
    if (c->open == STORM_CALLS)
        return 0;
    do
        c->next_call++;
    while (c->next_call == 0 || c->calls[c->next_call % STORM_CALLS].due_us != 0);
    c->calls[c->next_call % STORM_CALLS] = (struct storm_open){ due_us, until_us };
    c->open++;
    return c->next_call;
}

bool storm_call(struct storm *s, struct storm_client *c, uint16_t method, uint64_t target, uint32_t timeout_ms, uint64_t due_us,
                const void *fields, const void *msg)
{
    size_t len = rpc_size(fields, msg);
    uint32_t number = c->conn.is_open ? take_call(c, due_us, s->net.now_us + timeout_ms * UINT64_C(1000)) : 0;
    uint8_t *out = number ? bench_net_room(&s->net, &c->conn, (uint32_t)(RPC_HEADER_SIZE + len)) : NULL;
    struct rpc_header h = { .length = (uint32_t)(RPC_HEADER_SIZE - RPC_LENGTH_SIZE + len), .kind = RPC_REQUEST, .method = method,
                            .timeout_ms = timeout_ms, .call = number, .target = target };
    if (!out)
        return false;
    rpc_header_encode(&h, out);
    rpc_encode(fields, msg, out + RPC_HEADER_SIZE, len);
    return true;
}

void storm_dial(struct storm *s, struct storm_client *c, const char *door)
{
    struct bench_address to;
    if (bench_address_parse(door, &to) != BT_OK)
        storm_fail("%s is no address", door);
    memset(c->calls, 0, STORM_CALLS * sizeof *c->calls);
    c->open = 0;
    if (door != c->server)
        snprintf(c->server, sizeof c->server, "%s", door);
    enum bt_err err = bench_net_dial(&s->net, &c->conn, &to);
    if (err == BT_EINTERNAL)
        storm_fail("too few descriptors: %s", strerror(errno));
    if (err != BT_OK) {
        s->closed(s, c);
        return;
    }
    c->state = STORM_GREETING;
    c->must_ask_again = c->is_resumed = false;
    c->asked_again = 0;
    c->due_us = s->net.now_us + GREET_MS * UINT64_C(1000);
}

void storm_hang_up(struct storm *s, struct storm_client *c)
{
    bench_net_close(&s->net, &c->conn);
    c->state = STORM_OFF;
}

bool storm_resume(struct storm *s, struct storm_client *c)
{
    ResumeRequest resume = { .token = rpc_bytes(c->token, c->token_len) };
    c->must_ask_again = false;
    c->due_us = s->net.now_us + GREET_MS * UINT64_C(1000);
    return storm_call(s, c, RPC_USER_RESUME, 0, GREET_MS, s->net.now_us, ResumeRequest_fields, &resume);
}

void storm_greet(struct storm *s, struct storm_client *c)
{
    HelloRequest hello = { .version = 1, .client = rpc_str("storm") };
    if (!storm_call(s, c, RPC_PROXY_HELLO, 0, GREET_MS, s->net.now_us, HelloRequest_fields, &hello) || !storm_resume(s, c))
        storm_fail("out of memory");
}

uint32_t storm_retry_after_ms(const struct rpc_frame *f)
{
    Error error = { 0 };
    uint32_t ms = 0;
    if (rpc_decode(Error_fields, f->payload, f->len, &error) == BT_OK) {
        ms = error.retry_after_ms;
        rpc_release(Error_fields, &error);
    }
    return ms;
}

/* ---- what comes ---------------------------------------------------------------------------------------------------------- */

static size_t on_bytes(struct bench_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    struct storm *s = arg;
    struct storm_client *c = (struct storm_client *)conn;
    size_t at = 0, used, need;
    struct rpc_frame f;

    while (conn->is_open) {
        if (rpc_frame_take(data + at, len - at, FRAME_MAX, RPC_FLAGS_CLIENT, &f, &used, &need) != BT_OK)
            storm_fail("the server sent what is no frame");
        if (used == 0)
            break;
        at += used;
        if (f.h.kind == RPC_EVENT) {
            if (s->evented)
                s->evented(s, c, &f);
            continue;
        }
        struct storm_open *open = &c->calls[f.h.call % STORM_CALLS];
        uint64_t due_us = open->due_us;
        if (due_us == 0)
            continue; /* given up */
        open->due_us = 0;
        c->open--;
        s->replied(s, c, f.h.method, due_us, &f);
    }
    return conn->is_open ? at : len;
}

static void on_closed(struct bench_conn *conn, int error, void *arg)
{
    struct storm *s = arg;
    (void)error;
    s->closed(s, (struct storm_client *)conn);
}

static const struct bench_net_ops ops = { .bytes = on_bytes, .closed = on_closed };

static void read_command(struct storm *s)
{
    struct pollfd in = { .fd = 0, .events = POLLIN };
    char line[64];
    if (!s->command || poll(&in, 1, 0) <= 0)
        return;
    ssize_t n = read(0, line, sizeof line - 1); /* the other side waits for an answer before it says more */
    if (n <= 0) {
        s->must_end = true;
        return;
    }
    line[n] = '\0';
    line[strcspn(line, "\n")] = '\0';
    s->command(s, line);
}

void storm_turn(struct storm *s, uint64_t wait_us)
{
    bench_net_turn(&s->net, wait_us);
    read_command(s);
}

/* ---- accounts: a few at once; each user's first device registers him --------------------------------------------------------- */

struct making {
    uint32_t next, done;
    bool are_users;
};

static void make_next(struct storm *s, struct storm_client *c);

/* The work moves on; the connection is another client's from here on, who has none. */
static void make_ask(struct storm *s, struct storm_client *c)
{
    const struct making *m = s->mode;
    char name[64], device[32];
    snprintf(name, sizeof name, "storm-%s-%" PRIu32, s->tag, c->user);
    snprintf(device, sizeof device, "device %" PRIu64, c->device_id % 1000);
    HelloRequest hello = { .version = 1, .client = rpc_str("storm") };
    RegisterRequest reg = { .name = rpc_str(name), .password = rpc_str("correct horse") };
    LoginRequest login = { .name = rpc_str(name), .password = rpc_str("correct horse"), .device_id = c->device_id, .device = rpc_str(device) };
    storm_call(s, c, RPC_PROXY_HELLO, 0, 20000, s->net.now_us, HelloRequest_fields, &hello);
    if (m->are_users)
        storm_call(s, c, RPC_USER_REGISTER, 0, 20000, s->net.now_us, RegisterRequest_fields, &reg);
    else
        storm_call(s, c, RPC_USER_LOGIN, 0, 20000, s->net.now_us, LoginRequest_fields, &login);
}

static void make_next(struct storm *s, struct storm_client *c)
{
    struct making *m = s->mode;
    if (c)
        storm_hang_up(s, c);
    if (m->next >= s->count)
        return;
    c = &s->clients[m->next];
    m->next += m->are_users ? s->o.devices : 1;
    storm_dial(s, c, s->o.doors[c->conn.index % s->o.ndoors]);
    make_ask(s, c);
}

static void made_reply(struct storm *s, struct storm_client *c, uint16_t method, uint64_t due_us, const struct rpc_frame *f)
{
    struct making *m = s->mode;
    LoginReply reply = { 0 };
    (void)due_us;
    if (method == RPC_PROXY_HELLO)
        return;
    if (rpc_status_is_not_done(f->h.status)) { /* as many as this are refused by nobody for long */
        storm_hang_up(s, c);
        storm_dial(s, c, c->server);
        make_ask(s, c);
        return;
    }
    if (f->h.status != RPC_STATUS_OK)
        storm_fail("an account could not be made: %s", rpc_status_name(f->h.status));
    if (method == RPC_USER_LOGIN) {
        if (rpc_decode(LoginReply_fields, f->payload, f->len, &reply) != BT_OK || reply.token.len > STORM_TOKEN)
            storm_fail("the answer to Login can't be read");
        c->user_id = reply.user_id;
        c->session_id = reply.session_id;
        c->token_len = (uint16_t)reply.token.len;
        memcpy(c->token, reply.token.data, reply.token.len);
        rpc_release(LoginReply_fields, &reply);
    }
    m->done++;
    make_next(s, c);
}

static void made_broke(struct storm *s, struct storm_client *c)
{
    (void)s;
    storm_fail("the connection of client %" PRIu32 " broke while accounts were made", c->conn.index);
}

static void make(struct storm *s, struct making *m, uint32_t wanted)
{
    s->mode = m;
    for (int n = 0; n < AT_ONCE; n++)
        make_next(s, NULL);
    while (m->done < wanted)
        storm_turn(s, 100000);
}

void storm_accounts(struct storm *s)
{
    uint64_t began_us = bench_clock_us();
    struct making users = { .are_users = true }, devices = { 0 };
    s->replied = made_reply;
    s->closed = made_broke;
    make(s, &users, s->o.users);
    make(s, &devices, s->count);
    storm_say("{\"event\": \"made\", \"users\": %" PRIu32 ", \"sessions\": %" PRIu32 ", \"seconds\": %.2f}", s->o.users, s->count,
              (double)(bench_clock_us() - began_us) / 1e6);
}

/* ---- start ---------------------------------------------------------------------------------------------------------------------- */

static void begin(struct storm *s)
{
    struct rlimit files;
    s->count = s->o.users * s->o.devices;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        if (files.rlim_cur < s->count + 64)
            storm_fail("ulimit -n is %llu: too few for %" PRIu32 " connections", (unsigned long long)files.rlim_cur, s->count);
    }
    s->clients = calloc(s->count, sizeof *s->clients);
    struct storm_open *calls = calloc((size_t)s->count * STORM_CALLS, sizeof *calls);
    if (!s->clients || !calls || bench_net_init(&s->net, &ops, s) != BT_OK)
        storm_fail("out of memory");
    bench_random_init(&s->random, bench_clock_us() | 1);
    snprintf(s->tag, sizeof s->tag, "%08" PRIx64, bench_random_next(&s->random) >> 32);
    for (uint32_t n = 0; n < s->count; n++) {
        struct storm_client *c = &s->clients[n];
        c->conn.index = n;
        c->user = n / s->o.devices;
        c->device_id = (bench_random_next(&s->random) >> 1) / 1000 * 1000 + n % s->o.devices;
        c->calls = calls + (size_t)n * STORM_CALLS;
        c->backoff = (struct client_backoff){ .min_ms = 100, .max_ms = 15000 }; /* the client library's */
    }
}

static void parse_doors(struct storm_options *o, char *list)
{
    for (char *at = strtok(list, ","); at && o->ndoors < STORM_DOORS; at = strtok(NULL, ","))
        o->doors[o->ndoors++] = at;
}

int main(int argc, char **argv)
{
    struct storm s = { .o = { .users = 100, .devices = 1, .timeout_ms = 5000, .factor = 3 } };
    int c;
    while ((c = getopt(argc, argv, "s:o:u:d:t:f:p")) != -1) {
        switch (c) {
        case 's': parse_doors(&s.o, optarg); break;
        case 'o': s.o.only = optarg; break;
        case 'u': s.o.users = (uint32_t)atoi(optarg); break;
        case 'd': s.o.devices = (uint32_t)atoi(optarg); break;
        case 't': s.o.timeout_ms = (uint32_t)atoi(optarg); break;
        case 'f': s.o.factor = atof(optarg); break;
        case 'p': s.o.has_pull = true; break;
        default: storm_fail("no such option");
        }
    }
    if (s.o.ndoors == 0 || s.o.users == 0 || s.o.devices == 0 || optind + 1 != argc)
        storm_fail("usage: storm -s PROXY,PROXY... [-o PROXY] [-u USERS] [-d DEVICES] [-t TIMEOUT_MS] [-f FACTOR] [-p] herd|flood");
    begin(&s);
    storm_accounts(&s);
    return strcmp(argv[optind], "herd") == 0 ? storm_herd(&s) : storm_flood(&s);
}
