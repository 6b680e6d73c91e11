/*
 * test/sim/presence_cost.c: what presence costs Redis and a chat node: the server's own code (store/presence_redis*.c) against a
 * real Redis.
 *
 * One presence stands for a proxy and writes users, another for a chat node and reads. Each phase is told as a line
 * "name count redis_us own_us wall_us": CPU microseconds of the Redis process and of this one. Then the sizes of what a chat node
 * keeps. Usage: presence-cost PORT REDIS_PID USERS
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/conf.h"
#include "net/loop.h"
#include "net/mem.h"
#include "roles/chat.h"
#include "store/presence.h"

enum { READS = 2000, LIMIT_MS = 20000, GROUP_MEMBERS = 150, CHANGES = 300 };

struct bench {
    struct net_loop *loop;
    struct presence *proxy, *chat;
    int redis_pid;
    uint64_t generation, position, items; /* of the chat node's copy */
    uint64_t pending, failed, closed;
};

static void die(const char *why) __attribute__((noreturn));
static void die(const char *why)
{
    fprintf(stderr, "presence-cost: %s\n", why);
    exit(1);
}

static void set_done(enum bt_err err, void *arg)
{
    struct bench *b = arg;
    b->failed += err != BT_OK;
    b->pending--;
}

static void read_done(enum bt_err err, const struct presence_delta *delta, void *arg)
{
    struct bench *b = arg;
    b->pending--;
    if (err != BT_OK) {
        b->failed++;
        return;
    }
    b->generation = delta->generation;
    b->position = delta->position;
    b->items += delta->n;
}

static void wait_for(struct bench *b)
{
    uint64_t until_us = net_clock_us() + LIMIT_MS * UINT64_C(1000);
    while (b->pending > 0) {
        net_loop_turn(b->loop, 50);
        if (net_clock_us() > until_us)
            die("Redis does not answer");
    }
}

/* ---- what processes have used --------------------------------------------------------------------------------------------- */

struct used {
    uint64_t redis_us, own_us, wall_us;
};

static struct used used_now(const struct bench *b)
{
    char path[64];
    unsigned long long ns = 0;
    struct timespec own;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/schedstat", b->redis_pid); /* its one busy thread */
    f = fopen(path, "re");
    if (!f || fscanf(f, "%llu", &ns) != 1)
        die("the CPU time of Redis can't be read");
    fclose(f);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    return (struct used){ ns / 1000, (uint64_t)own.tv_sec * 1000000 + (uint64_t)own.tv_nsec / 1000, net_clock_us() };
}

static void tell(const struct bench *b, const char *name, uint64_t count, struct used before)
{
    struct used now = used_now(b);
    if (b->failed > 0)
        die("a call was refused");
    printf("%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", name, count, now.redis_us - before.redis_us, now.own_us - before.own_us,
           now.wall_us - before.wall_us);
}

/* ---- phases --------------------------------------------------------------------------------------------------------------- */

static void connect_both(struct bench *b)
{
    uint64_t until_us = net_clock_us() + LIMIT_MS * UINT64_C(1000);
    do { /* while it connects, calls may be refused */
        b->failed = 0;
        b->pending = 2;
        presence_set(b->proxy, 1, true, set_done, b);
        presence_read(b->chat, 0, 0, read_done, b);
        wait_for(b);
    } while (b->failed > 0 && net_clock_us() < until_us);
    if (b->failed > 0)
        die("presence does not get ready");
}

/* So many users at a time, as they come to a proxy in one turn of its loop. */
static void set_users(struct bench *b, const char *name, uint64_t first, uint64_t count, uint64_t batch, bool is_here)
{
    struct used before = used_now(b);
    for (uint64_t done = 0; done < count; done += batch) {
        for (uint64_t i = done; i < done + batch && i < count; i++) {
            b->pending++;
            presence_set(b->proxy, first + i, is_here, set_done, b);
        }
        wait_for(b);
    }
    tell(b, name, count, before);
}

static void read_times(struct bench *b, const char *name, uint64_t times, bool is_full)
{
    struct used before = used_now(b);
    for (uint64_t i = 0; i < times; i++) {
        b->pending++;
        presence_read(b->chat, is_full ? 0 : b->generation, is_full ? 0 : b->position, read_done, b);
        wait_for(b);
    }
    tell(b, name, times, before);
}

/* The log in the pieces in which a busy chat node takes it; the writing is not counted. */
static void read_changes(struct bench *b, uint64_t first, uint64_t times, uint64_t each)
{
    struct used sum = { 0, 0, 0 };
    uint64_t items = b->items;
    for (uint64_t i = 0; i < times; i++) {
        for (uint64_t k = 0; k < each; k++) {
            b->pending++;
            presence_set(b->proxy, first + i * each + k, true, set_done, b);
        }
        wait_for(b);
        struct used before = used_now(b);
        b->pending++;
        presence_read(b->chat, b->generation, b->position, read_done, b);
        wait_for(b);
        struct used now = used_now(b);
        sum.redis_us += now.redis_us - before.redis_us;
        sum.own_us += now.own_us - before.own_us;
        sum.wall_us += now.wall_us - before.wall_us;
    }
    if (b->failed > 0 || b->items - items != times * each)
        die("changes are missing");
    printf("read_changes_%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", each, times, sum.redis_us, sum.own_us, sum.wall_us);
}

/*
 * What a chat node does with each user who comes or goes: its table, and every large group that it has open, for it keeps a list of
 * the connected members of each. Groups of GROUP_MEMBERS, none of which he is in.
 */
static void apply_changes(struct bench *b, size_t groups)
{
    struct chat chat = { .env = { .loop = b->loop, .presence = b->chat } };
    struct chat_conv *convs = calloc(groups + 1, sizeof *convs);
    uint8_t user[8] = { 0 };
    uint64_t seed = 1;

    if (!convs)
        die("out of memory");
    for (size_t i = 0; i < groups; i++) {
        convs[i].chat = &chat;
        convs[i].large_next = chat.large;
        chat.large = &convs[i];
        for (size_t m = 0; m < GROUP_MEMBERS; m++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            if (chat_conv_put_member(&convs[i], &(struct chat_member){ .user_id = (seed >> 33) + 1000 }) != BT_OK)
                die("out of memory");
        }
        convs[i].online_known = true;
    }
    struct used before = used_now(b);
    for (uint64_t i = 0; i < CHANGES; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint64_t id = (seed >> 33) + 1000;
        for (size_t k = 0; k < 8; k++)
            user[k] = (uint8_t)(id >> 8 * k);
        if (chat_presence_put(&chat, presence_self(b->chat), false, (struct rpc_bytes){ user, 8 }, (struct rpc_bytes){ NULL, 0 }) != BT_OK)
            die("out of memory");
    }
    char name[40];
    snprintf(name, sizeof name, "apply_%zu", groups);
    tell(b, name, CHANGES, before);
    for (size_t i = 0; i < groups; i++)
        bt_free(convs[i].members);
    free(convs);
    bt_free(chat.traces);
}

static void closed(void *arg)
{
    ((struct bench *)arg)->closed++;
}

static struct presence *open_as(struct bench *b, const struct conf *conf, const char *address)
{
    struct presence *p;
    char why[256] = "";
    if (presence_open(b->loop, conf, address, 77, &p, why, sizeof why) != BT_OK)
        die(why);
    return p;
}

static void open_all(struct bench *b, const char *port)
{
    char assignment[64], why[256] = "";
    struct conf *conf;
    if (net_loop_new(&b->loop) != BT_OK || conf_new(&conf) != BT_OK)
        die("out of memory");
    conf_declare(conf, presence_keys);
    snprintf(assignment, sizeof assignment, "presence.url=redis://127.0.0.1:%s/0", port);
    if (conf_set(conf, assignment, why, sizeof why) != BT_OK || conf_set(conf, "presence.timeout_ms=20000", why, sizeof why) != BT_OK)
        die(why);
    b->proxy = open_as(b, conf, "10.0.0.1:7500");
    b->chat = open_as(b, conf, "10.0.0.2:7500");
    conf_free(conf);
}

int main(int argc, char **argv)
{
    struct bench b = { 0 };
    uint64_t users = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;

    if (users < 1000) {
        fprintf(stderr, "Usage: presence-cost PORT REDIS_PID USERS (1000 or more)\n");
        return 2;
    }
    b.redis_pid = atoi(argv[2]);
    open_all(&b, argv[1]);
    connect_both(&b);
    set_users(&b, "set_storm", 1000000, users, 256, true);
    set_users(&b, "set_one", 100, 2000, 1, true);
    read_times(&b, "read_full", 3, true);
    read_times(&b, "read_empty", READS, false);
    read_changes(&b, 500000, 300, 20);
    read_changes(&b, 600000, 60, 256);
    apply_changes(&b, 0);
    apply_changes(&b, 5000);
    printf("users %" PRIu64 "\n", users + 2000 + 1);
    printf("sizeof_trace %zu\nsizeof_conv %zu\nsizeof_member %zu\nsizeof_recent %zu\n", sizeof(struct chat_trace), sizeof(struct chat_conv),
           sizeof(struct chat_member), sizeof(struct chat_recent));
    presence_close(b.chat, closed, &b);
    while (b.closed < 1)
        net_loop_turn(b.loop, 50);
    fflush(stdout);
    _Exit(0); /* the users are not taken out one by one */
}
