/*
 * roles/proxy_shed.c: how much is taken at once, and when the others are to come again.
 *
 * When a proxy dies, its clients come to the others all at once. As many logins as are under way by [proxy] logins are enough to keep
 * everybody busy; whoever comes on top is given a time of his own, one behind the other, as far apart as logins were finished lately.
 * So they come again at the pace at which they can be served, and waiting costs nothing but their connection.
 */
#include "roles/proxy.h"

#include <sodium.h>

#include "proto/methods.h"

enum {
    SPAN_MS = 100,          /* over which is counted what was done */
    EACH_FIRST_US = 1000,   /* before anything was counted */
    EACH_MIN_US = 20,
    EACH_MAX_US = 100000,
    WAIT_MIN_MS = 50,
    WAIT_MAX_MS = 10000,
};

static enum proxy_shed_kind kind_of(uint16_t method)
{
    return method == RPC_USER_RESUME ? PROXY_RESUMES : PROXY_LOGINS;
}

/* How far apart they were done, over a while in which there was always one that waited. */
static void count(struct proxy_shed_queue *q, uint64_t now_ms)
{
    uint64_t span_ms = now_ms - q->since_ms;

    if (span_ms < SPAN_MS)
        return;
    if (q->has_shed && q->done > 0) {
        uint64_t each_us = span_ms * 1000 / q->done;
        each_us = q->each_us > 0 ? (q->each_us + each_us) / 2 : each_us;
        q->each_us = each_us < EACH_MIN_US ? EACH_MIN_US : each_us > EACH_MAX_US ? EACH_MAX_US : (uint32_t)each_us;
    }
    q->has_shed = q->under_way >= q->limit;
    q->done = 0;
    q->since_ms = now_ms;
}

uint32_t proxy_shed_when(struct proxy_shed_queue *q, uint64_t now_ms, uint32_t random)
{
    uint64_t now_us = now_ms * 1000;

    q->has_shed = true;
    if (q->slot_us < now_us)
        q->slot_us = now_us;
    if (q->slot_us < now_us + WAIT_MAX_MS * UINT64_C(1000))
        q->slot_us += q->each_us > 0 ? q->each_us : EACH_FIRST_US;
    uint32_t wait_ms = (uint32_t)((q->slot_us - now_us) / 1000) + WAIT_MIN_MS;
    return wait_ms + random % (wait_ms / 4 + 1);
}

bool proxy_shed_takes(struct proxy_shed_queue *q, uint64_t now_ms)
{
    count(q, now_ms);
    if (q->under_way >= q->limit)
        return false;
    q->under_way++;
    return true;
}

void proxy_shed_done(struct proxy_shed_queue *q, uint64_t now_ms)
{
    q->under_way--;
    q->done++;
    count(q, now_ms);
}

struct proxy_shed_queue *proxy_shed_login(struct proxy_client *client, struct rpc_call *call)
{
    struct proxy *proxy = client->proxy;
    struct proxy_shed_queue *q = &proxy->shed[kind_of(rpc_call_header(call)->method)];
    uint64_t now_ms = net_now_ms(proxy->env.loop);

    if (proxy_shed_takes(q, now_ms))
        return q;
    rpc_fail_retry(call, BT_EBUSY, proxy_shed_when(q, now_ms, randombytes_random()), "too many logins at once");
    return NULL;
}

bool proxy_shed_forward(struct proxy *proxy, struct rpc_call *call)
{
    enum { RETRY_MIN_MS = 200, RETRY_SPREAD_MS = 600 };

    if (proxy->nforwards < proxy->set.max_forwards)
        return false;
    rpc_fail_retry(call, BT_EBUSY, RETRY_MIN_MS + randombytes_uniform(RETRY_SPREAD_MS), "too many calls at once");
    return true;
}
