/* test/chaos/workload_group.c: operations on groups: create, join, leave, invite, kick, mute, roles, disband. */
#include <stdio.h>
#include <time.h>

#include "net/mem.h"
#include "test/chaos/workload.h"

enum { EXTRA_MOST = 24, EXTRA_MEMBERS = 8, SMALL_MEMBERS_LEAST = 4, MUTE_MS = 86400000 };

static struct wl_op *begin(struct wl_device *d, struct wl_chat *chat, const struct wl_call *call)
{
    struct wl_op *op = wl_op_begin(d->w, d, call);
    op->chat = chat;
    return op;
}

static uint64_t target_of(const struct wl_chat *chat)
{
    return BT_GROUP | chat->hi;
}

/* Nothing more is done in it; it stays where its messages are looked up, unless nobody can have written to it. */
void wl_group_forget(struct workload *w, struct wl_chat *chat)
{
    size_t kept = 0;
    if (chat->is_lasting)
        return;
    for (size_t n = 0; n < w->group_count; n++)
        if (w->groups[n] != chat)
            w->groups[kept++] = w->groups[n];
    w->group_count = kept;
    if (!chat->hi) {
        bt_free(chat->members);
        bt_free(chat);
    }
}

/* ---- used by SETUP too ---- */

static void created(const struct bt_result *r, const struct bt_group *group, void *arg)
{
    struct wl_op *op = arg;
    struct workload *w = op->w;
    struct wl_chat *chat = op->chat;
    struct wl_made made = { 0 };
    if (group && !chat->hi) {
        wl_chat_key(w, chat, group->group_id, 0);
        made.target = target_of(chat);
        struct wl_member *m = wl_chat_member(chat, op->device->user);
        if (m)
            m->role = BT_OWNER;
    }
    wl_op_end(op, r, &made);
    if (!group)
        wl_group_forget(w, chat);
}

void wl_group_create(struct wl_device *d, struct wl_chat *chat, void (*then)(void *, bool), void *arg)
{
    char name[48];
    struct wl_op *op = begin(d, chat, &(struct wl_call){ .what = HISTORY_GROUP_CREATE });
    op->then = then;
    op->arg = arg;
    snprintf(name, sizeof name, "group %llu", (unsigned long long)op->number);
    if (!bt_group_create(d->client, name, "", chat->join_mode, created, op)) {
        struct workload *w = d->w;
        wl_op_refused(op);
        wl_group_forget(w, chat);
    }
}

static void joined(const struct bt_result *r, bool pending, void *arg)
{
    wl_op_end(arg, r, &(struct wl_made){ .id = pending });
}

void wl_group_join(struct wl_device *d, struct wl_chat *chat, void (*then)(void *, bool), void *arg)
{
    struct wl_op *op = begin(d, chat, &(struct wl_call){ .what = HISTORY_GROUP_JOIN, .target = target_of(chat) });
    op->then = then;
    op->arg = arg;
    if (!bt_group_join(d->client, chat->hi, joined, op))
        wl_op_refused(op);
}

void wl_group_invite(struct wl_device *d, struct wl_chat *chat, struct wl_user *user, void (*then)(void *, bool), void *arg)
{
    struct wl_op *op = begin(d, chat, &(struct wl_call){ .what = HISTORY_GROUP_INVITE, .target = target_of(chat), .user = user->id });
    op->then = then;
    op->arg = arg;
    if (!bt_group_invite(d->client, chat->hi, user->id, wl_op_end_plain, op))
        wl_op_refused(op);
}

/* ---- one step of some kind ---- */

struct step {
    struct workload *w;
    struct wl_chat *chat;   /* a small group that was planned, or one made since */
    uint64_t a, b;          /* random */
};

static struct wl_device *device_of(const struct wl_member *m, uint64_t n)
{
    return m ? wl_user_device(m->user, n) : NULL;
}

/* Somebody who is not in it: one who was, or who is new to it. */
static struct wl_user *outsider(const struct step *s)
{
    const struct wl_member *was = wl_chat_pick(s->chat, s->a, BT_NOT_A_MEMBER, BT_NOT_A_MEMBER);
    if (was && s->b % 4 != 0)
        return was->user;
    for (size_t n = 0; n < s->w->user_count; n++) {
        struct wl_user *u = &s->w->users[(s->a + n) % s->w->user_count];
        const struct wl_member *m = wl_chat_member(s->chat, u);
        if (!m || m->role == BT_NOT_A_MEMBER)
            return u;
    }
    return NULL;
}

static void join(const struct step *s)
{
    struct wl_user *u = outsider(s);
    struct wl_device *d = u ? wl_user_device(u, s->b) : NULL;
    if (d)
        wl_group_join(d, s->chat, NULL, NULL);
}

static void leave(const struct step *s)
{
    struct wl_device *d = device_of(wl_chat_pick(s->chat, s->a, BT_MEMBER, BT_ADMIN), s->b);
    if (!d || wl_chat_count(s->chat, true) <= SMALL_MEMBERS_LEAST)
        return;
    struct wl_op *op = begin(d, s->chat, &(struct wl_call){ .what = HISTORY_GROUP_LEAVE, .target = target_of(s->chat) });
    if (!bt_group_leave(d->client, s->chat->hi, wl_op_end_plain, op))
        wl_op_refused(op);
}

/* The invited joins when the invitation was taken. */
struct invited { struct wl_chat *chat; struct wl_user *user; };

static void invited_done(void *arg, bool is_done)
{
    struct invited *i = arg;
    struct wl_device *d = is_done ? wl_user_device(i->user, 0) : NULL;
    if (d && d->w->phase == HISTORY_LOAD)
        wl_group_join(d, i->chat, NULL, NULL);
    bt_free(i);
}

static void invite(const struct step *s)
{
    struct wl_user *u = outsider(s);
    struct wl_device *d = device_of(wl_chat_pick(s->chat, s->b, s->chat->join_mode == BT_JOIN_OPEN ? BT_MEMBER : BT_ADMIN, BT_OWNER), s->a);
    if (!u || !d)
        return;
    struct invited *i = wl_alloc(1, sizeof *i);
    *i = (struct invited){ s->chat, u };
    wl_group_invite(d, s->chat, u, invited_done, i);
}

/* Who is above the member; now and then somebody who is not. */
static struct wl_device *superior(const struct step *s, const struct wl_member *m)
{
    uint8_t least = s->b % 8 == 0 ? BT_MEMBER : m->role == BT_MEMBER ? BT_ADMIN : BT_OWNER;
    const struct wl_member *by = wl_chat_pick(s->chat, s->b >> 8, least, BT_OWNER);
    return by != m ? device_of(by, s->b >> 16) : NULL;
}

static void kick(const struct step *s)
{
    const struct wl_member *m = wl_chat_pick(s->chat, s->a, BT_MEMBER, BT_ADMIN);
    struct wl_device *d = m ? superior(s, m) : NULL;
    if (!d || wl_chat_count(s->chat, true) <= SMALL_MEMBERS_LEAST)
        return;
    struct wl_op *op = begin(d, s->chat, &(struct wl_call){ .what = HISTORY_GROUP_KICK, .target = target_of(s->chat), .user = m->user->id });
    if (!bt_group_kick(d->client, s->chat->hi, m->user->id, wl_op_end_plain, op))
        wl_op_refused(op);
}

/* Whoever is muted is let write again; else somebody is muted, for longer than any run lasts. */
static void mute(const struct step *s)
{
    struct timespec now;
    const struct wl_member *m = wl_chat_pick(s->chat, s->a, BT_MEMBER, BT_ADMIN);
    for (size_t n = 0; n < s->chat->member_count; n++)
        if (s->chat->members[n].is_muted && s->chat->members[n].role)
            m = &s->chat->members[n];
    struct wl_device *d = m ? superior(s, m) : NULL;
    if (!d)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t until_ms = m->is_muted ? 0 : (int64_t)now.tv_sec * 1000 + MUTE_MS;
    struct wl_op *op = begin(d, s->chat, &(struct wl_call){
        .what = HISTORY_GROUP_MUTE, .target = target_of(s->chat), .user = m->user->id, .seq = (uint64_t)until_ms });
    if (!bt_group_mute(d->client, s->chat->hi, m->user->id, until_ms, wl_op_end_plain, op))
        wl_op_refused(op);
}

static void role(const struct step *s)
{
    const struct wl_member *m = wl_chat_pick(s->chat, s->a, BT_MEMBER, BT_ADMIN);
    struct wl_device *d = device_of(wl_chat_pick(s->chat, s->b, s->b % 8 == 0 ? BT_MEMBER : BT_OWNER, BT_OWNER), s->b >> 8);
    if (!m || !d || d->user == m->user)
        return;
    enum bt_role to = m->role == BT_ADMIN ? BT_MEMBER : BT_ADMIN;
    struct wl_op *op = begin(d, s->chat, &(struct wl_call){
        .what = HISTORY_GROUP_ROLE, .target = target_of(s->chat), .user = m->user->id, .status = (uint8_t)to });
    if (!bt_group_set_role(d->client, s->chat->hi, m->user->id, to, wl_op_end_plain, op))
        wl_op_refused(op);
}

/* A group that nobody planned: who is to be in it is known when it is there. */
static void create(const struct step *s)
{
    struct workload *w = s->w;
    struct wl_device *d = wl_user_device(&w->users[s->a % w->user_count], s->b);
    if (!d || w->group_count - w->large_count - w->middle_count - w->small_count >= EXTRA_MOST)
        return;
    struct wl_chat *chat = wl_chat_new_group(w);
    chat->members[chat->member_count++].user = d->user;
    for (size_t n = 0; n < EXTRA_MEMBERS; n++) {
        struct wl_user *u = &w->users[(s->b + n * 7) % w->user_count];
        if (!wl_chat_member(chat, u))
            chat->members[chat->member_count++].user = u;
    }
    wl_group_create(d, chat, NULL, NULL);
}

static void disband(const struct step *s)
{
    struct wl_device *d = device_of(wl_chat_pick(s->chat, s->a, BT_OWNER, BT_OWNER), s->b);
    if (!d || s->chat->is_lasting)
        return;
    struct wl_op *op = begin(d, s->chat, &(struct wl_call){ .what = HISTORY_GROUP_DISBAND, .target = target_of(s->chat) });
    if (!bt_group_disband(d->client, s->chat->hi, wl_op_end_plain, op))
        wl_op_refused(op);
}

/* Those that empty a group are outweighed by those that fill it. */
static void (*const steps[])(const struct step *) = {
    join, invite, leave, join, mute, role, invite, kick, join, create, invite, mute, role, join, leave, join, disband, invite,
};

void wl_group_step(struct workload *w, const uint64_t random[4])
{
    void (*kind)(const struct step *) = steps[w->group_turn++ % (sizeof steps / sizeof *steps)];
    size_t planned = w->large_count + w->middle_count, extra = planned + w->small_count;
    /* Those made since are few, and come and go: they are filled rather than emptied. */
    uint64_t some = kind == join || kind == invite ? 2 : 6;
    size_t from = (kind == disband || random[0] % some == 0) && w->group_count > extra ? extra : planned;
    struct wl_chat *chat = w->groups[from + random[1] % (w->group_count - from)];
    if (chat->hi || kind == create)
        kind(&(struct step){ w, chat, random[2], random[3] });
}
