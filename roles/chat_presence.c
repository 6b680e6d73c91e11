/*
 * roles/chat_presence.c: this node's copy of presence: which users are connected where.
 *
 * A table of (user, node) pairs, kept up by reading the log of changes past the copy's position. A push looks at it only
 * after a read that began after its commit, so that whoever connected before he compared positions is found. While presence is away, and
 * until proxies have written again, the copy is kept up by asking the proxies (chat_doors.c).
 */
#include "roles/chat.h"

#include <string.h>

#include "net/mem.h"
#include "net/planted.h"

#define LOG_MODULE "chat"
#include "net/log.h"

enum { YOUNG_MS = 3000 }; /* proxies see within a second that it is back or made anew, and write their users again */

static size_t home_of(const struct chat *chat, uint64_t user_id)
{
    uint64_t x = user_id * UINT64_C(0x9e3779b97f4a7c15);

    return (size_t)(x >> 24) & (chat->traces_cap - 1);
}

/* The first of a user's places from slot i on. There is always a free slot to end at. */
static const struct chat_trace *trace_from(const struct chat *chat, uint64_t user_id, size_t i)
{
    for (;; i++) {
        const struct chat_trace *t = &chat->traces[i & (chat->traces_cap - 1)];
        if (t->user_id == 0)
            return NULL;
        if (t->user_id == user_id)
            return t;
    }
}

const struct chat_trace *chat_presence_first(const struct chat *chat, uint64_t user_id)
{
    return chat->traces_cap > 0 ? trace_from(chat, user_id, home_of(chat, user_id)) : NULL;
}

const struct chat_trace *chat_presence_next(const struct chat *chat, const struct chat_trace *t)
{
    return trace_from(chat, t->user_id, (size_t)(t - chat->traces) + 1);
}

bool chat_presence_has(const struct chat *chat, uint64_t user_id)
{
    return chat_presence_first(chat, user_id) != NULL;
}

static void place(struct chat *chat, uint64_t user_id, uint32_t node)
{
    size_t i = home_of(chat, user_id);

    while (chat->traces[i].user_id != 0) {
        if (chat->traces[i].user_id == user_id && chat->traces[i].node == node)
            return;
        i = (i + 1) & (chat->traces_cap - 1);
    }
    chat->traces[i] = (struct chat_trace){ user_id, node };
    chat->ntraces++;
}

static enum bt_err grow(struct chat *chat, size_t want)
{
    size_t old_cap = chat->traces_cap, cap = old_cap != 0 ? old_cap : 256;
    struct chat_trace *old = chat->traces, *traces;

    while (cap * 3 < want * 4) /* at most three quarters full */
        cap *= 2;
    if (cap == old_cap)
        return BT_OK;
    traces = bt_calloc(cap, sizeof *traces);
    if (traces == NULL)
        return BT_ENOMEM;
    chat->traces = traces;
    chat->traces_cap = cap;
    chat->ntraces = 0;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].user_id != 0)
            place(chat, old[i].user_id, old[i].node);
    bt_free(old);
    return BT_OK;
}

/* Take one out, and move up those that stand after it on its run. */
static void take(struct chat *chat, uint64_t user_id, uint32_t node)
{
    size_t mask = chat->traces_cap - 1, hole, i;

    if (chat->traces_cap == 0)
        return;
    for (hole = home_of(chat, user_id); chat->traces[hole].user_id != user_id || chat->traces[hole].node != node; hole = (hole + 1) & mask)
        if (chat->traces[hole].user_id == 0)
            return;
    chat->ntraces--;
    for (i = (hole + 1) & mask; chat->traces[i].user_id != 0; i = (i + 1) & mask) {
        size_t home = home_of(chat, chat->traces[i].user_id);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            chat->traces[hole] = chat->traces[i];
            hole = i;
        }
    }
    chat->traces[hole].user_id = 0;
}

/* Large groups keep a list of their connected members. */
static void tell_large(struct chat *chat, uint64_t user_id, bool is_online)
{
    for (struct chat_conv *c = chat->large; c != NULL; c = c->large_next) {
        if (!c->online_known || chat_conv_member(c, user_id) == NULL)
            continue;
        if (is_online && c->nonline < c->online_cap) {
            c->online[c->nonline++] = user_id;
        } else if (is_online) {
            c->online_known = false; /* no room: made anew when it is needed */
        } else {
            for (size_t i = 0; i < c->nonline; i++)
                if (c->online[i] == user_id) {
                    c->online[i] = c->online[--c->nonline];
                    break;
                }
        }
    }
}

static void apply(struct chat *chat, const struct presence_item *item)
{
    bool was = chat_presence_has(chat, item->user_id), is;

    if (item->is_here)
        place(chat, item->user_id, item->node);
    else
        take(chat, item->user_id, item->node);
    is = chat_presence_has(chat, item->user_id);
    if (was != is)
        tell_large(chat, item->user_id, is);
}

static bool is_young(const struct chat *chat)
{
    return net_now_ms(chat->env.loop) < chat->presence_young_ms;
}

static enum bt_err apply_all(struct chat *chat, const struct presence_delta *delta)
{
    if (chat->presence_is_lost ||
        (delta->is_full && chat->presence_generation != 0 && chat->presence_generation != delta->generation))
        chat->presence_young_ms = net_now_ms(chat->env.loop) + YOUNG_MS;
    if (delta->is_full) {
        if (chat->presence_generation != 0 && chat->presence_generation != delta->generation)
            log_info("presence was made anew; all proxies are asked for %d ms", YOUNG_MS);
        chat_doors_forget(chat);
        if (chat->traces_cap > 0)
            memset(chat->traces, 0, chat->traces_cap * sizeof *chat->traces);
        chat->ntraces = 0;
        for (struct chat_conv *c = chat->large; c != NULL; c = c->large_next)
            c->online_known = false;
    }
    if (grow(chat, chat->ntraces + delta->n) != BT_OK) {
        chat->presence_generation = 0; /* read everything again */
        return BT_ENOMEM;
    }
    for (size_t i = 0; i < delta->n; i++)
        if (!is_young(chat) || !chat_door_is_known(chat, delta->items[i].node)) /* what it said itself is newer */
            apply(chat, &delta->items[i]);
    chat->presence_generation = delta->generation;
    chat->presence_position = delta->position;
    chat->presence_as_of_ms = chat->presence_began_ms;
    return BT_OK;
}

/* Nobody is known there any more. What moves up on the way is looked at too. */
static void drop_node(struct chat *chat, const char *address)
{
    for (size_t i = 0; i < chat->traces_cap; i++)
        while (chat->traces[i].user_id != 0 && strcmp(presence_node(chat->env.presence, chat->traces[i].node)->address, address) == 0)
            take(chat, chat->traces[i].user_id, chat->traces[i].node);
    for (struct chat_conv *c = chat->large; c != NULL; c = c->large_next)
        c->online_known = false;
}

enum bt_err chat_presence_put(struct chat *chat, uint32_t node, bool is_full, struct rpc_bytes here, struct rpc_bytes gone)
{
    if (grow(chat, chat->ntraces + here.len / 8) != BT_OK)
        return BT_ENOMEM;
    if (is_full)
        drop_node(chat, presence_node(chat->env.presence, node)->address);
    for (size_t i = 0; i < gone.len / 8; i++)
        apply(chat, &(struct presence_item){ .user_id = rpc_bytes_u64(gone, i), .node = node });
    for (size_t i = 0; i < here.len / 8; i++)
        apply(chat, &(struct presence_item){ .user_id = rpc_bytes_u64(here, i), .node = node, .is_here = true });
    return BT_OK;
}

static void read_start(struct chat *chat);

/* One line when it is lost, and one when it is found again. */
static void tell_change(struct chat *chat, enum bt_err err)
{
    bool is_lost = err != BT_OK;

    if (is_lost && !chat->presence_is_lost)
        log_warn("presence lost: %s; all proxies are asked who is connected", bt_err_text(err));
    else if (!is_lost && chat->presence_is_lost)
        log_info("presence found again: %zu traces of users", chat->ntraces);
    chat->presence_is_lost = is_lost;
}

void chat_presence_asked(struct chat *chat, enum bt_err err)
{
    struct chat_wait *w;

    while ((w = chat->reading) != NULL) {
        chat->reading = w->next;
        w->run(chat, w, err);
    }
    chat->presence_reading = false;
    if (chat->waits != NULL)
        read_start(chat);
    chat_maybe_idle(chat);
}

static void read_done(enum bt_err err, const struct presence_delta *delta, void *arg)
{
    struct chat *chat = arg;

    if (err == BT_OK)
        err = apply_all(chat, delta);
    tell_change(chat, err);
    if (chat->presence_is_lost || is_young(chat)) {
        chat_doors_ask(chat);
        return;
    }
    chat_doors_forget(chat);
    chat_presence_asked(chat, BT_OK);
}

static void read_start(struct chat *chat)
{
    chat->reading = chat->waits;
    chat->waits = NULL;
    chat->waits_last = &chat->waits;
    chat->presence_reading = true;
    chat->presence_began_ms = net_now_ms(chat->env.loop);
    presence_read(chat->env.presence, chat->presence_generation, chat->presence_position, read_done, chat);
}

#ifdef BYTETALK_PLANTED
void chat_presence_early(struct chat *chat)
{
    if (!chat->presence_reading)
        read_start(chat);
}
#endif

bool chat_presence_is_current(const struct chat *chat)
{
    return !chat->presence_reading && !chat->presence_is_lost && !is_young(chat) &&
           presence_is_current(chat->env.presence, chat->presence_generation, chat->presence_position);
}

bool chat_presence_is_recent(const struct chat *chat)
{
    return chat->presence_reading && !chat->presence_is_lost && !is_young(chat) && chat->presence_generation != 0 &&
           net_now_ms(chat->env.loop) < chat->presence_as_of_ms + CHAT_RECENT_MS;
}

void chat_presence_look(struct chat *chat, struct chat_wait *w)
{
    if (planted(PLANTED_EARLY_PRESENCE) || chat_presence_is_current(chat)) {
        w->run(chat, w, BT_OK);
        return;
    }
    w->next = NULL;
    *chat->waits_last = w;
    chat->waits_last = &w->next;
    if (!chat->presence_reading)
        read_start(chat);
}
