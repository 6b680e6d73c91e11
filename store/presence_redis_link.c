/*
 * store/presence_redis_link.c: a connection with one address: hiredis on our loop, commands, silence, trying again.
 *
 * Each address has one, kept up all the time, so that a server that becomes master is seen within a check. hiredis knows no
 * timeouts: a connection on which commands wait and nothing comes for [presence] timeout_ms is given up.
 */
#define LOG_MODULE "presence"
#include <arpa/inet.h>
#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "net/log.h"
#include "net/mem.h"
#include "store/presence_redis.h"

enum { TRY_MIN_MS = 50, TRY_MAX_MS = 2000, LASTED_MS = 5000, LOOK_AGAIN_MS = 20 };

static void link_try(void *arg);

/* ---- the end of a connection ------------------------------------------------------------------------------------------ */

/* Once per cause, not once per try. */
static void link_log_fault(struct redis_link *link, const char *why)
{
    char fault[sizeof link->fault];
    snprintf(fault, sizeof fault, "%s", why);
    if (strcmp(fault, link->fault) != 0)
        log_warn("redis %s:%u: %s", link->host->name, link->host->port, fault);
    memcpy(link->fault, fault, sizeof fault);
}

static void link_wait(struct redis_link *link)
{
    uint64_t ceiling_ms = TRY_MIN_MS;
    if (link->state == REDIS_LINK_UP && net_now_ms(link->redis->loop) - link->up_ms >= LASTED_MS)
        link->tries = 0;
    for (uint32_t i = 0; i < link->tries && ceiling_ms < TRY_MAX_MS; i++)
        ceiling_ms *= 2;
    if (ceiling_ms > TRY_MAX_MS)
        ceiling_ms = TRY_MAX_MS;
    link->tries++;
    link->state = REDIS_LINK_WAITING;
    link->is_master = false;
    link->unanswered = 0;
    net_timer_start(link->redis->loop, &link->timer, ceiling_ms / 2 + randombytes_uniform((uint32_t)ceiling_ms / 2 + 1), link_try, link);
    redis_choose_soon(link->redis);
}

void redis_link_drop(struct redis_link *link, const char *why)
{
    redisAsyncContext *ac = link->ac;
    if (ac == NULL)
        return;
    link->ac = NULL; /* before hiredis tells the commands under way, from here or when the callback it runs is over */
    link_log_fault(link, why);
    link_wait(link);
    redisAsyncFree(ac);
}

/* hiredis found it broken, and is about to free it. */
static void link_lost(struct redis_link *link, const redisAsyncContext *ac, const char *why)
{
    if (link->ac != ac)
        return;
    link->ac = NULL;
    link_log_fault(link, why);
    link_wait(link);
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
    (void)status;
    link_lost(ac->data, ac, ac->errstr != NULL && ac->errstr[0] != '\0' ? ac->errstr : "the connection ended");
}

/* ---- the descriptor on our loop --------------------------------------------------------------------------------------- */

static void link_ready(int events, void *arg)
{
    struct redis_link *link = arg;
    redisAsyncContext *ac = link->ac;
    if (ac != NULL && (events & NET_READABLE)) {
        link->heard_ms = net_now_ms(link->redis->loop);
        link->is_suspect = false;
        redisAsyncHandleRead(ac);
    }
    if (ac != NULL && link->ac == ac && (events & NET_WRITABLE))
        redisAsyncHandleWrite(ac);
}

static void link_watch(struct redis_link *link, int add, int del)
{
    link->events = (link->events | add) & ~del;
    net_poll_set(link->poll, link->events);
}

static void add_read(void *link)
{
    link_watch(link, NET_READABLE, 0);
}

static void del_read(void *link)
{
    link_watch(link, 0, NET_READABLE);
}

static void add_write(void *link)
{
    link_watch(link, NET_WRITABLE, 0);
}

static void del_write(void *link)
{
    link_watch(link, 0, NET_WRITABLE);
}

/* Before hiredis closes the descriptor. */
static void unwatch(void *arg)
{
    struct redis_link *link = arg;
    net_poll_close(link->poll);
    link->poll = NULL;
}

/* ---- commands --------------------------------------------------------------------------------------------------------- */

static void link_check_silence(void *arg)
{
    struct redis_link *link = arg;
    struct redis *r = link->redis;
    char why[96];
    uint64_t silent_ms = net_now_ms(r->loop) - link->heard_ms;
    if (link->unanswered == 0 && link->state == REDIS_LINK_UP)
        return;
    if (silent_ms < r->timeout_ms) {
        net_timer_start(r->loop, &link->timer, r->timeout_ms - silent_ms, link_check_silence, link);
    } else if (!link->is_suspect) {
        link->is_suspect = true;
        net_timer_start(r->loop, &link->timer, LOOK_AGAIN_MS, link_check_silence, link);
    } else {
        link->is_silent = true;
        snprintf(why, sizeof why, "no answer within %u ms", r->timeout_ms);
        redis_link_drop(link, why);
    }
}

static void link_expect(struct redis_link *link)
{
    link->heard_ms = net_now_ms(link->redis->loop);
    link->is_suspect = false;
    net_timer_start(link->redis->loop, &link->timer, link->redis->timeout_ms, link_check_silence, link);
}

static void on_reply(redisAsyncContext *ac, void *reply, void *arg)
{
    struct redis_cmd *cmd = arg;
    struct redis_link *link = ac->data;
    if (link->ac != ac)
        reply = NULL; /* given up meanwhile */
    else if (link->unanswered > 0)
        link->unanswered--;
    cmd->cb(link, reply, cmd);
}

enum bt_err redis_link_send(struct redis_link *link, struct redis_cmd *cmd, int argc, const char *const *argv)
{
    if (link->ac == NULL)
        return BT_EDOWN;
    if (redisAsyncCommandArgv(link->ac, on_reply, cmd, argc, (const char **)argv, NULL) != REDIS_OK)
        return BT_ENOMEM;
    if (link->unanswered++ == 0)
        link_expect(link);
    return BT_OK;
}

enum bt_err redis_link_run(struct redis_link *link, struct redis_cmd *cmd, enum redis_script script, int argc, const char *const *argv)
{
    enum { HEAD = 5, ARGS_MAX = 12 };
    const char *all[HEAD + ARGS_MAX] = { "EVALSHA", link->shas[script], "1", REDIS_HEAD, link->run };
    assert(argc <= ARGS_MAX);
    for (int i = 0; i < argc; i++)
        all[HEAD + i] = argv[i];
    return redis_link_send(link, cmd, HEAD + argc, all);
}

/* ---- connecting ------------------------------------------------------------------------------------------------------- */

/* hiredis frees ac after a failed connect; after a good one it goes on with it, so it is not given up in here. */
static void on_connect(const redisAsyncContext *ac, int status)
{
    struct redis_link *link = ac->data;
    if (status != REDIS_OK) {
        link_lost(link, ac, ac->c.errstr[0] != '\0' ? ac->c.errstr : "can't connect");
        return;
    }
    link->state = REDIS_LINK_GREETING;
    link->unanswered = 0;
    (void)redis_link_greet(link); /* without memory this state does not last: then nothing comes any more */
}

static void dial(struct redis_link *link, const char *ip)
{
    redisAsyncContext *ac = redisAsyncConnect(ip, link->host->port);
    char why[160];
    if (ac == NULL || ac->err != 0 || net_poll_new(link->redis->loop, ac->c.fd, link_ready, link, &link->poll) != BT_OK) {
        snprintf(why, sizeof why, "can't connect: %s", ac != NULL && ac->err != 0 ? ac->errstr : bt_err_text(BT_ENOMEM));
        link_log_fault(link, why);
        if (ac != NULL)
            redisAsyncFree(ac);
        link_wait(link);
        return;
    }
    link->events = 0;
    link->is_silent = link->is_polling = false;
    link->generation = 0;
    link->ac = ac;
    link->state = REDIS_LINK_DIALLING;
    ac->data = link;
    ac->ev.data = link;
    ac->ev.addRead = add_read;
    ac->ev.delRead = del_read;
    ac->ev.addWrite = add_write;
    ac->ev.delWrite = del_write;
    ac->ev.cleanup = unwatch;
    redisAsyncSetDisconnectCallback(ac, on_disconnect);
    redisAsyncSetConnectCallback(ac, on_connect); /* begins to watch */
    link_expect(link);
}

/* A name, looked up in the thread pool. Names that stand for several servers are tried in turn. */
struct look_up {
    struct redis_link *link;
    uint32_t turn;
    char name[sizeof ((struct redis_host *)0)->name], ip[INET6_ADDRSTRLEN];
};

static void look_up_work(void *arg)
{
    struct look_up *u = arg;
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG }, *list;
    uint32_t n = 0;
    if (getaddrinfo(u->name, NULL, &hints, &list) != 0)
        return;
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next)
        n++;
    n = u->turn % n;
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next)
        if (n-- == 0)
            getnameinfo(ai->ai_addr, ai->ai_addrlen, u->ip, sizeof u->ip, NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(list);
}

static void look_up_done(void *arg, enum bt_err err)
{
    struct look_up *u = arg;
    struct redis_link *link = u->link;
    link->is_resolving = false;
    if (link->state == REDIS_LINK_CLOSED) {
        redis_link_closed(link->redis);
    } else if (err == BT_OK && u->ip[0] != '\0') {
        dial(link, u->ip);
    } else {
        link_log_fault(link, "its name is not known");
        link_wait(link);
    }
    bt_free(u);
}

static void link_try(void *arg)
{
    struct redis_link *link = arg;
    const char *name = link->host->name;
    unsigned char numeric[sizeof(struct in6_addr)];
    struct look_up *u;
    if (inet_pton(AF_INET, name, numeric) == 1 || inet_pton(AF_INET6, name, numeric) == 1) {
        dial(link, name);
        return;
    }
    u = bt_calloc(1, sizeof *u);
    if (u != NULL) {
        u->link = link;
        u->turn = link->tries;
        snprintf(u->name, sizeof u->name, "%s", name);
    }
    if (u == NULL || net_work(link->redis->loop, look_up_work, look_up_done, u) != BT_OK) {
        bt_free(u);
        link_wait(link);
        return;
    }
    link->is_resolving = true;
    link->state = REDIS_LINK_LOOKUP;
}

void redis_link_start(struct redis_link *link, struct redis *r, const struct redis_host *host)
{
    link->redis = r;
    link->host = host;
    link->state = REDIS_LINK_LOOKUP; /* under way, as the master is concerned that is sought */
    net_timer_start(r->loop, &link->timer, 0, link_try, link);
}

bool redis_link_close(struct redis_link *link)
{
    redisAsyncContext *ac = link->ac;
    link->ac = NULL;
    link->state = REDIS_LINK_CLOSED;
    net_timer_stop(link->redis->loop, &link->timer);
    if (ac != NULL)
        redisAsyncFree(ac);
    return !link->is_resolving;
}
