/* test/chaos/workload_friend.c: friendships, and blocks that end after a while. */
#include "test/chaos/workload.h"

enum { BLOCK_LEAST_US = 1000000, BLOCK_MOST_US = 15000000 };

static void done(const struct bt_result *r, enum bt_friend_state state, bool blocked, void *arg)
{
    (void)state, (void)blocked;
    wl_op_end(arg, r, NULL);
}

void wl_friend_do(struct wl_device *d, enum bt_friend_action action, struct wl_user *user)
{
    struct wl_op *op = wl_op_begin(d->w, d, &(struct wl_call){ .what = HISTORY_FRIEND, .user = user->id, .status = (uint8_t)action });
    if (!bt_friend_do(d->client, action, user->id, done, op))
        wl_op_refused(op);
}

/* Of two who chat: one asks, the other answers; each in his turn, whatever became of the one before. */
void wl_friend_step(struct workload *w, const uint64_t random[4])
{
    static const enum bt_friend_action turns[] = {
        BT_FRIEND_ADD, BT_FRIEND_ACCEPT, BT_FRIEND_ADD, BT_FRIEND_DECLINE, BT_FRIEND_REMOVE, BT_FRIEND_ADD, BT_FRIEND_ADD,
    };
    uint32_t turn = w->friend_turn++;
    enum bt_friend_action action = turns[turn % (sizeof turns / sizeof *turns)];
    /* A pair stays for as many turns as there are, so that they meet a request that is there. */
    const struct wl_chat *chat = w->pairs[turn / (sizeof turns / sizeof *turns) * 7 % w->pair_count];
    bool is_answer = action == BT_FRIEND_ACCEPT || action == BT_FRIEND_DECLINE;
    struct wl_user *by = chat->members[is_answer ? chat->member_count - 1 : 0].user;
    struct wl_user *about = chat->members[is_answer ? 0 : chat->member_count - 1].user;
    struct wl_device *d = wl_user_device(by, random[1]);
    if (d)
        wl_friend_do(d, action, about);
}

/* Blocks are for the chats of the lower ranks, whose refusals do not weigh much. */
void wl_block_step(struct workload *w, const uint64_t random[4])
{
    size_t from = w->pair_count / 5;
    struct wl_chat *chat = w->pairs[from + random[1] % (w->pair_count - from)];
    struct wl_device *d = chat->member_count == 2 && !chat->unblock_us ? wl_user_device(chat->members[0].user, random[2]) : NULL;
    if (!d)
        return;
    chat->unblock_us = net_clock_us() + BLOCK_LEAST_US + random[3] % BLOCK_MOST_US;
    wl_friend_do(d, BT_FRIEND_BLOCK, chat->members[1].user);
}

void wl_block_tick(struct workload *w, uint64_t now_us)
{
    for (size_t n = 0; n < w->pair_count; n++) {
        struct wl_chat *chat = w->pairs[n];
        struct wl_device *d = chat->unblock_us && now_us >= chat->unblock_us ? wl_user_device(chat->members[0].user, 0) : NULL;
        if (!d)
            continue;
        chat->unblock_us = 0;
        wl_friend_do(d, BT_FRIEND_UNBLOCK, chat->members[1].user);
    }
}
