/*
 * store/presence_redis_users.c: this node's users: what the proxy wants to stand, and what is known to stand.
 *
 * A user is "dirty" when what is wanted may not stand: then he is in a list, from which batches are sent. Only the last wish
 * is written, and it is written until Redis says that it stands; so it is the same whether a lost write had happened.
 */
#define LOG_MODULE "presence"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/log.h"
#include "net/mem.h"
#include "store/presence_redis.h"

struct redis_user {
    uint64_t id;
    struct redis_user *hash_next, *dirty_next;
    struct redis_call *last;  /* of those that wait for the next batch that he is in, a ring: it points to the first; NULL: none */
    uint8_t flying;           /* batches he is in */
    bool is_wanted, is_dirty, is_restoring;
};
_Static_assert(sizeof(struct redis_user) <= 40, "there is one for each user who is here: it must stay small");
_Static_assert(REDIS_BATCHES_MAX <= UINT8_MAX, "he may be in all of them");

struct batch {
    struct redis_cmd cmd;
    uint64_t generation;      /* it was meant for */
    struct redis_calls calls; /* of all its users */
    size_t n;
    struct redis_user *users[REDIS_BATCH];
};

/* ---- calls that wait for a user ---------------------------------------------------------------------------------------- */

static void user_add_call(struct redis_user *u, struct redis_call *call)
{
    call->next = call;
    if (u->last != NULL) {
        call->next = u->last->next;
        u->last->next = call;
    }
    u->last = call;
}

/* The oldest; NULL: none. */
static struct redis_call *user_take_call(struct redis_user *u)
{
    struct redis_call *call = u->last != NULL ? u->last->next : NULL;
    if (call == NULL)
        return NULL;
    if (call == u->last)
        u->last = NULL;
    else
        u->last->next = call->next;
    call->next = NULL;
    return call;
}

/* ---- the table -------------------------------------------------------------------------------------------------------- */

static size_t slot_of(const struct redis *r, uint64_t user_id)
{
    return (size_t)(user_id * UINT64_C(0x9e3779b97f4a7c15) >> 24) & (r->users_cap - 1);
}

static struct redis_user *user_find(const struct redis *r, uint64_t user_id)
{
    struct redis_user *u = r->users[slot_of(r, user_id)];
    while (u != NULL && u->id != user_id)
        u = u->hash_next;
    return u;
}

/* Without memory for a larger table the chains grow longer. */
static void table_grow(struct redis *r)
{
    size_t old_cap = r->users_cap;
    struct redis_user **old = r->users, **users = bt_calloc(old_cap * 2, sizeof *users);
    if (users == NULL)
        return;
    r->users = users;
    r->users_cap = old_cap * 2;
    for (size_t i = 0; i < old_cap; i++) {
        struct redis_user *u = old[i], *next;
        for (; u != NULL; u = next) {
            size_t slot = slot_of(r, u->id);
            next = u->hash_next;
            u->hash_next = users[slot];
            users[slot] = u;
        }
    }
    bt_free(old);
}

static struct redis_user *user_get(struct redis *r, uint64_t user_id)
{
    struct redis_user *u = user_find(r, user_id);
    size_t slot;
    if (u != NULL)
        return u;
    u = bt_calloc(1, sizeof *u);
    if (u == NULL)
        return NULL;
    if (r->nusers >= r->users_cap)
        table_grow(r);
    slot = slot_of(r, user_id);
    u->id = user_id;
    u->hash_next = r->users[slot];
    r->users[slot] = u;
    r->nusers++;
    return u;
}

/* One who is away, and of whom nothing is left to be done, is forgotten. */
static void user_settle(struct redis *r, struct redis_user *u)
{
    struct redis_user **at = &r->users[slot_of(r, u->id)];
    if (u->is_wanted || u->is_dirty || u->flying > 0)
        return;
    assert(u->last == NULL && !u->is_restoring);
    while (*at != u)
        at = &(*at)->hash_next;
    *at = u->hash_next;
    r->nusers--;
    bt_free(u);
}

static void make_dirty(struct redis *r, struct redis_user *u)
{
    if (u->is_dirty)
        return;
    u->is_dirty = true;
    u->dirty_next = NULL;
    *r->dirty_last = u;
    r->dirty_last = &u->dirty_next;
}

/* ---- what is wanted --------------------------------------------------------------------------------------------------- */

void redis_users_set(struct redis *r, uint64_t user_id, bool is_here, struct redis_call *call)
{
    struct redis_user *u = user_find(r, user_id);
    bool is_known = u != NULL ? u->is_wanted == is_here && !u->is_dirty && u->flying == 0 : !is_here;
    if (call == NULL && is_known)
        return; /* stands already; whether it still does is found by the checks */
    u = user_get(r, user_id);
    if (u == NULL) {
        if (call != NULL)
            redis_answer(r, call, BT_ENOMEM);
        else
            log_error("out of memory: presence of user %" PRIu64 " is not noted", user_id);
        return;
    }
    r->nhere += (size_t)is_here - (size_t)u->is_wanted;
    u->is_wanted = is_here;
    make_dirty(r, u);
    if (call == NULL)
        return;
    if (r->is_away || r->nwaiting > r->queue_max) {
        redis_answer(r, call, r->is_away ? BT_EDOWN : BT_EBUSY);
        return;
    }
    call->user = u;
    user_add_call(u, call);
}

bool redis_users_are_written(const struct redis *r)
{
    return r->dirty == NULL && r->nbatches == 0;
}

/* ---- batches ---------------------------------------------------------------------------------------------------------- */

/* It stands. */
static void batch_written(struct redis *r, struct batch *b)
{
    struct redis_call *call;
    while ((call = redis_calls_take(&b->calls)) != NULL)
        redis_answer(r, call, BT_OK);
    for (size_t i = 0; i < b->n; i++) {
        r->nrestoring -= b->users[i]->is_restoring;
        b->users[i]->is_restoring = false;
    }
}

/* It does not, or perhaps. Who waits is told err; BT_OK: goes on waiting. */
static void batch_not_written(struct redis *r, struct batch *b, enum bt_err err)
{
    struct redis_call *call;
    for (size_t i = 0; i < b->n; i++)
        make_dirty(r, b->users[i]);
    while ((call = redis_calls_take(&b->calls)) != NULL) {
        if (err == BT_OK)
            user_add_call(call->user, call);
        else
            redis_answer(r, call, err);
    }
}

static bool is_word(const redisReply *reply, const char *word)
{
    return strcmp(reply->element[0]->str, word) == 0;
}

static void batch_done(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd)
{
    struct batch *b = (struct batch *)cmd;
    struct redis *r = link->redis;
    bool again = false;
    r->nbatches--;
    for (size_t i = 0; i < b->n; i++)
        b->users[i]->flying--;
    if (reply == NULL) {
        batch_not_written(r, b, link->is_silent ? BT_ETIMEOUT : BT_EDOWN);
    } else if (!redis_link_is_good(link, reply, 1, &again)) {
        batch_not_written(r, b, again ? BT_OK : BT_EDOWN);
    } else if (is_word(reply, "ok") && reply->elements == 3 && b->generation == r->generation) {
        uint64_t position = strtoull(reply->element[2]->str, NULL, 10);
        if (position > r->position)
            r->position = position;
        batch_written(r, b);
    } else { /* the generation is another, or we have no place in it */
        batch_not_written(r, b, r->is_away ? BT_EDOWN : BT_OK);
        if (b->generation == r->generation)
            redis_reenter(r);
    }
    for (size_t i = 0; i < b->n; i++)
        user_settle(r, b->users[i]);
    bt_free(b);
    redis_flush_soon(r);
}

/* Take what is dirty into a batch. text: room for REDIS_BATCH signed numbers. */
static void batch_fill(struct redis *r, struct batch *b, char *text, size_t size)
{
    struct redis_user *u;
    struct redis_call *call;
    size_t len = 0;
    while (b->n < REDIS_BATCH && (u = r->dirty) != NULL) {
        r->dirty = u->dirty_next;
        if (r->dirty == NULL)
            r->dirty_last = &r->dirty;
        u->is_dirty = false;
        u->flying++;
        while ((call = user_take_call(u)) != NULL)
            redis_calls_add(&b->calls, call);
        b->users[b->n++] = u;
        len += (size_t)snprintf(text + len, size - len, "%c%" PRIu64, u->is_wanted ? '+' : '-', u->id);
    }
    assert(len < size);
}

static bool batch_send(struct redis *r)
{
    struct batch *b = bt_calloc(1, sizeof *b);
    char text[REDIS_BATCH * 21 + 1], generation[24], connection[24];
    if (b == NULL)
        return false; /* they stay dirty, and are tried again after the next check */
    b->cmd.cb = batch_done;
    b->generation = r->generation;
    redis_calls_init(&b->calls);
    batch_fill(r, b, text, sizeof text);
    snprintf(generation, sizeof generation, "%" PRIu64, r->generation);
    snprintf(connection, sizeof connection, "%" PRIu64, r->connection);
    const char *argv[] = { generation, r->node, connection, r->log_text, text };
    if (redis_link_run(r->active, &b->cmd, REDIS_SET, sizeof argv / sizeof *argv, argv) == BT_OK) {
        r->nbatches++;
        return true;
    }
    for (size_t i = 0; i < b->n; i++)
        b->users[i]->flying--;
    batch_not_written(r, b, BT_OK);
    bt_free(b);
    return false;
}

void redis_users_flush(struct redis *r)
{
    while (r->dirty != NULL && r->nbatches < REDIS_BATCHES_MAX)
        if (!batch_send(r))
            return;
    if (r->must_tell && r->nrestoring == 0)
        redis_restored(r);
}

/* ---- away and back ---------------------------------------------------------------------------------------------------- */

void redis_users_fail(struct redis *r, enum bt_err err)
{
    struct redis_call *call;
    for (struct redis_user *u = r->dirty; u != NULL; u = u->dirty_next) /* who is waited for is dirty */
        while ((call = user_take_call(u)) != NULL)
            redis_answer(r, call, err);
}

void redis_users_restore(struct redis *r, bool all)
{
    for (size_t i = 0; i < r->users_cap; i++)
        for (struct redis_user *u = r->users[i]; u != NULL; u = u->hash_next) {
            if (all)
                make_dirty(r, u);
            r->nrestoring += u->is_dirty && !u->is_restoring;
            u->is_restoring |= u->is_dirty;
        }
}

enum bt_err redis_users_init(struct redis *r)
{
    enum { FIRST = 256 };
    r->users = bt_calloc(FIRST, sizeof(struct redis_user *));
    r->users_cap = FIRST;
    r->dirty_last = &r->dirty;
    return r->users != NULL ? BT_OK : BT_ENOMEM;
}

void redis_users_free(struct redis *r)
{
    for (size_t i = 0; r->users != NULL && i < r->users_cap; i++) {
        struct redis_user *u = r->users[i], *next;
        for (; u != NULL; u = next) {
            next = u->hash_next;
            bt_free(u);
        }
    }
    bt_free(r->users);
}
