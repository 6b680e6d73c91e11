/*
 * test/chaos/workload_setup.c: phase SETUP: accounts, then devices, then groups and who is in them; each stage some at a time.
 *
 * Nothing is broken yet, but servers may be busy: what fails is tried again after a while, and ends the process when that has
 * gone on for long.
 */
#include <stdio.h>

#include "test/chaos/workload.h"

enum { POLL_MS = 10, AGAIN_US = 500000, TRIES = 60, AT_ONCE = 8, CALLS_AT_ONCE = 24, REGISTER_MS = 60000 };

enum stage { REGISTER, DEVICES, CREATE, INVITE, JOIN, LET_IN, STAGES };
enum item_state { TODO, BUSY, DONE };

struct item {
    struct workload *w;
    struct wl_user *user;
    struct wl_device *device;
    struct wl_chat *chat;
    enum item_state state;
    uint32_t tries;
    uint64_t again_us;
};

struct wl_setup {
    enum stage stage;
    struct item *items;
    size_t count, cap, done;
    size_t busy;
    struct bt_client *client;  /* for registering: nobody's */
    struct net_timer timer;
};

static void ended(void *arg, bool is_done)
{
    struct item *i = arg;
    struct wl_setup *s = i->w->setup;
    s->busy--;
    s->done += is_done;
    i->state = is_done ? DONE : TODO;
    i->again_us = net_clock_us() + AGAIN_US;
    if (!is_done && ++i->tries == TRIES)
        wl_fail("setup: stage %d: given up after %d tries", (int)s->stage, TRIES);
}

/* ---- accounts and devices ---- */

static void registered(const struct bt_result *r, const struct bt_user *user, void *arg)
{
    struct wl_op *op = arg;
    struct item *i = op->arg;
    if (user)
        i->user->id = user->user_id;
    else if (r->status == BT_STATUS_ALREADY_EXISTS)
        wl_fail("the name \"%s\" is taken: these servers know another run of this seed", i->user->name);
    wl_op_end(op, r, &(struct wl_made){ .user = i->user->id });
}

static void register_start(struct item *i)
{
    struct wl_op *op = wl_op_begin(i->w, NULL, &(struct wl_call){ .what = HISTORY_REGISTER });
    op->then = ended;
    op->arg = i;
    if (!bt_register(i->w->setup->client, i->user->name, i->user->password, registered, op))
        wl_op_refused(op);
}

static void all_registered(struct workload *w)
{
    for (size_t n = 0; n < w->user_count; n++)
        wl_history_add(&w->history, &(struct history_record){ .type = HISTORY_USER, .user = w->users[n].id });
    for (size_t n = 0; n < w->device_count; n++)
        wl_history_add(&w->history, &(struct history_record){
            .type = HISTORY_DEVICE, .device = w->devices[n].number, .user = w->devices[n].user->id,
            .what = w->devices[n].is_fresh ? HISTORY_FRESH : HISTORY_KEEP,
        });
    for (size_t n = 0; n < w->user_count; n++)
        if (w->users[n].raw)
            wl_history_add(&w->history, &(struct history_record){
                .type = HISTORY_DEVICE, .device = wl_raw_number(w->users[n].raw), .user = w->users[n].id, .what = HISTORY_NONE,
            });
    for (size_t n = 0; n < w->pair_count + w->quiet_count; n++) {
        struct wl_chat *chat = n < w->pair_count ? w->pairs[n] : w->quiet[n - w->pair_count];
        if (chat->is_group)
            continue;
        uint64_t a = chat->members[0].user->id, b = chat->members[chat->member_count - 1].user->id;
        wl_chat_key(w, chat, a > b ? a : b, a > b ? b : a);
    }
    bt_client_close(w->setup->client, NULL, NULL);
}

/* ---- what each stage has to do ---- */

static void item_add(struct workload *w, struct wl_user *user, struct wl_device *device, struct wl_chat *chat)
{
    struct wl_setup *s = w->setup;
    s->items[s->count++] = (struct item){ .w = w, .user = user, .device = device, .chat = chat };
}

static size_t most_items(const struct workload *w)
{
    size_t most = w->user_count * WL_MAX_DEVICES;
    for (size_t n = 0; n < w->group_count; n++)
        most += w->groups[n]->member_count;
    return most;
}

/* The members, but for the first, of the groups that one joins so; of all groups when mode is NULL. */
static void items_of_groups(struct workload *w, const enum bt_join_mode *mode)
{
    for (size_t n = 0; n < w->group_count; n++)
        for (size_t m = 1; m < w->groups[n]->member_count; m++)
            if (!mode || w->groups[n]->join_mode == *mode)
                item_add(w, w->groups[n]->members[m].user, NULL, w->groups[n]);
}

static void stage_fill(struct workload *w)
{
    static const enum bt_join_mode by_invitation = BT_JOIN_BY_INVITATION, by_request = BT_JOIN_BY_REQUEST;
    struct wl_setup *s = w->setup;
    s->count = s->done = 0;
    switch (s->stage) {
    case REGISTER:
        for (size_t n = 0; n < w->user_count; n++)
            item_add(w, &w->users[n], NULL, NULL);
        break;
    case DEVICES:
        for (size_t n = 0; n < w->device_count; n++)
            if (!w->devices[n].is_late)
                item_add(w, w->devices[n].user, &w->devices[n], NULL);
        break;
    case CREATE:
        for (size_t n = 0; n < w->group_count; n++)
            item_add(w, w->groups[n]->members[0].user, NULL, w->groups[n]);
        break;
    case INVITE:
        items_of_groups(w, &by_invitation);
        break;
    case JOIN:
        items_of_groups(w, NULL);
        break;
    case LET_IN:
        items_of_groups(w, &by_request);
        break;
    case STAGES:
        break;
    }
}

/* ---- one item ---- */

static void item_start(struct wl_setup *s, struct item *i)
{
    struct wl_user *by = s->stage == INVITE || s->stage == LET_IN ? i->chat->members[0].user : i->user;
    struct wl_device *d = s->stage == REGISTER || s->stage == DEVICES ? NULL : wl_user_device(by, 0);
    if (s->stage > DEVICES && !d)
        return; /* has enough under way, or lost its connection: in a moment */
    i->state = BUSY;
    s->busy++;
    switch (s->stage) {
    case REGISTER:
        register_start(i);
        break;
    case DEVICES:
        wl_device_open(i->device);
        break;
    case CREATE:
        wl_group_create(d, i->chat, ended, i);
        break;
    case INVITE:
    case LET_IN:
        wl_group_invite(d, i->chat, i->user, ended, i);
        break;
    case JOIN:
        wl_group_join(d, i->chat, ended, i);
        break;
    case STAGES:
        break;
    }
}

static void advance(void *arg)
{
    struct workload *w = arg;
    struct wl_setup *s = w->setup;
    size_t most = s->stage <= DEVICES ? AT_ONCE : CALLS_AT_ONCE;
    uint64_t now_us = net_clock_us();
    net_timer_start(w->loop, &s->timer, POLL_MS, advance, w);
    for (size_t n = 0; n < s->count; n++) {
        struct item *i = &s->items[n];
        if (i->state == BUSY && s->stage == DEVICES && i->device->state == BT_STATE_READY)
            ended(i, true);
        if (i->state == TODO && s->busy < most && now_us >= i->again_us)
            item_start(s, i);
    }
    if (s->done < s->count)
        return;
    if (s->stage == REGISTER)
        all_registered(w);
    s->stage++;
    stage_fill(w);
    if (s->stage == STAGES) {
        net_timer_stop(w->loop, &s->timer);
        wl_phase_done(w);
    }
}

void wl_setup_start(struct workload *w)
{
    static const struct bt_events none;
    struct wl_setup *s = w->setup = wl_alloc(1, sizeof *s);
    struct bt_config config = {
        .servers = w->o.servers, .server_count = w->o.server_count, .program = "chaos-workload", .inbox = BT_INBOX_NONE,
        .call_timeout_ms = REGISTER_MS, .stay = w->o.stay,
    };
    s->items = wl_alloc(most_items(w), sizeof *s->items);
    s->client = bt_client_open(w->loop, &config, &none, NULL);
    if (!s->client)
        wl_fail("out of memory for a client");
    stage_fill(w);
    advance(w);
}
