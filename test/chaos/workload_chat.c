/* test/chaos/workload_chat.c: chats, and operations on messages: send, edit, recall, signal, mark, read. */
#include <string.h>

#include "test/chaos/workload.h"
#include "test/chaos/workload_body.h"

enum { APPLICATION_EVERY = 20, PAGE = 100, LIST_PAGE = 200 };

/* ---- chats ---- */

uint64_t wl_chat_target(const struct wl_chat *chat, const struct wl_user *user)
{
    if (chat->is_group)
        return BT_GROUP | chat->hi;
    return chat->hi == user->id ? chat->lo : chat->hi;
}

struct wl_member *wl_chat_member(const struct wl_chat *chat, const struct wl_user *user)
{
    for (size_t n = 0; n < chat->member_count; n++)
        if (chat->members[n].user == user)
            return &chat->members[n];
    return NULL;
}

static size_t bucket_of(uint64_t hi, uint64_t lo)
{
    return (size_t)(wl_random_mix(hi * 31 + lo) % WL_BUCKETS);
}

void wl_chat_key(struct workload *w, struct wl_chat *chat, uint64_t hi, uint64_t lo)
{
    size_t bucket = bucket_of(hi, lo);
    chat->hi = hi;
    chat->lo = lo;
    chat->next = w->buckets[bucket];
    w->buckets[bucket] = chat;
}

struct wl_chat *wl_chat_find(const struct workload *w, uint64_t hi, uint64_t lo)
{
    struct wl_chat *chat = w->buckets[bucket_of(hi, lo)];
    while (chat && (chat->hi != hi || chat->lo != lo))
        chat = chat->next;
    return chat;
}

struct wl_chat *wl_chat_of_target(const struct workload *w, const struct wl_user *user, uint64_t target)
{
    if (target & BT_GROUP)
        return wl_chat_find(w, target & ~BT_GROUP, 0);
    return user->id > target ? wl_chat_find(w, user->id, target) : wl_chat_find(w, target, user->id);
}

size_t wl_chat_count(const struct wl_chat *chat, bool is_in)
{
    size_t count = 0;
    for (size_t n = 0; n < chat->member_count; n++)
        count += (chat->members[n].role != BT_NOT_A_MEMBER) == is_in;
    return count;
}

struct wl_member *wl_chat_pick(const struct wl_chat *chat, uint64_t n, uint8_t least, uint8_t most)
{
    for (size_t k = 0; k < chat->member_count; k++) {
        struct wl_member *m = &chat->members[(n + k) % chat->member_count];
        if (m->role >= least && m->role <= most)
            return m;
    }
    return NULL;
}

static struct wl_user *user_of(const struct workload *w, uint64_t id)
{
    for (size_t n = 0; n < w->user_count; n++)
        if (w->users[n].id == id)
            return &w->users[n];
    return NULL;
}

/* NULL: no user of ours. */
static struct wl_member *member_of(struct workload *w, struct wl_chat *chat, uint64_t user_id)
{
    struct wl_user *u = user_of(w, user_id);
    struct wl_member *m = u ? wl_chat_member(chat, u) : NULL;
    if (u && !m && chat->member_count < w->user_count) {
        m = &chat->members[chat->member_count++];
        m->user = u;
    }
    return m;
}

static void role_set(struct workload *w, struct wl_chat *chat, uint64_t user_id, uint8_t role)
{
    struct wl_member *m = member_of(w, chat, user_id);
    if (m)
        m->role = role;
}

static void muted_set(struct workload *w, struct wl_chat *chat, uint64_t user_id, bool is_muted)
{
    struct wl_member *m = member_of(w, chat, user_id);
    if (m)
        m->is_muted = is_muted;
}

void wl_chat_heard(struct workload *w, struct wl_chat *chat, const struct bt_message *m)
{
    if (m->seq > chat->head)
        chat->head = m->seq;
    if (!m->membership || m->seq <= chat->change_seq)
        return;
    chat->change_seq = m->seq;
    switch (m->membership->change) {
    case BT_CREATED:
        role_set(w, chat, m->sender_id, BT_OWNER);
        break;
    case BT_JOINED:
        role_set(w, chat, m->membership->user_id, BT_MEMBER);
        break;
    case BT_LEFT:
    case BT_KICKED:
        role_set(w, chat, m->membership->user_id, BT_NOT_A_MEMBER);
        break;
    case BT_ROLE_SET:
        role_set(w, chat, m->membership->user_id, (uint8_t)m->membership->role);
        break;
    case BT_TRANSFERRED:
        role_set(w, chat, m->sender_id, BT_ADMIN);
        role_set(w, chat, m->membership->user_id, BT_OWNER);
        break;
    case BT_DISBANDED:
        wl_group_forget(w, chat);
        break;
    case BT_MUTED:
        muted_set(w, chat, m->membership->user_id, m->membership->until_ms != 0);
        break;
    case BT_CHANGE_NONE:
    case BT_UPDATED:
        break;
    }
}

/* ---- writing ---- */

static void sent(const struct bt_result *r, uint64_t seq, int64_t sent_ms, void *arg)
{
    struct wl_op *op = arg;
    struct wl_chat *chat = op->chat;
    (void)sent_ms;
    if (r->outcome == BT_DONE && seq > chat->head)
        chat->head = seq;
    if (r->outcome == BT_DONE && op->what == HISTORY_SEND)
        chat->recent[chat->recent_count++ % WL_RECENT] = (struct wl_sent){ seq, op->device->user, op->is_text };
    wl_op_end(op, r, &(struct wl_made){ .seq = seq });
}

static struct wl_op *write_begin(struct wl_device *d, struct wl_chat *chat, uint8_t what, uint64_t refers)
{
    struct wl_op *op = wl_op_begin(d->w, d, &(struct wl_call){ .what = what, .target = wl_chat_target(chat, d->user), .refers = refers });
    op->chat = chat;
    op->refers = refers;
    return op;
}

void wl_send(struct wl_device *d, struct wl_chat *chat)
{
    char body[WL_BODY_MAX];
    struct wl_op *op = write_begin(d, chat, HISTORY_SEND, 0);
    op->is_text = op->number % APPLICATION_EVERY != 0;
    struct bt_outgoing m = {
        .target = wl_chat_target(chat, d->user),
        .kind = op->is_text ? BT_TEXT : BT_APPLICATION,
        .body = { body, wl_body_make(op->number, body) },
    };
    if (!op->is_text)
        m.content_type = (struct bt_text){ "application/x-chaos", 19 };
    if (!bt_send(d->client, &m, sent, op))
        wl_op_refused(op);
}

/* One of the newest messages; usually of somebody who has a device at hand. */
static const struct wl_sent *recent_of(const struct wl_chat *chat, uint64_t random)
{
    size_t count = chat->recent_count < WL_RECENT ? chat->recent_count : WL_RECENT;
    return count ? &chat->recent[random % count] : NULL;
}

void wl_edit(struct wl_chat *chat, uint64_t random)
{
    char body[WL_BODY_MAX];
    const struct wl_sent *m = recent_of(chat, random);
    struct wl_device *d = m && m->is_text ? wl_user_device(m->user, random >> 32) : NULL;
    if (!d)
        return;
    struct wl_op *op = write_begin(d, chat, HISTORY_EDIT, m->seq);
    struct bt_outgoing out = { .target = wl_chat_target(chat, d->user), .body = { body, wl_body_make(op->number, body) } };
    if (!bt_edit(d->client, m->seq, &out, sent, op))
        wl_op_refused(op);
}

/* By the sender; in a group now and then by an admin, or by somebody who may not. */
void wl_recall(struct wl_chat *chat, uint64_t random)
{
    const struct wl_sent *m = recent_of(chat, random);
    const struct wl_member *admin = chat->is_group && random >> 32 & 1 ? wl_chat_pick(chat, random >> 40, BT_ADMIN, BT_OWNER) : NULL;
    const struct wl_member *any = (random >> 33) % 16 == 0 ? wl_chat_pick(chat, random >> 40, BT_NOT_A_MEMBER, BT_OWNER) : NULL;
    struct wl_user *user = any ? any->user : admin ? admin->user : m ? m->user : NULL;
    struct wl_device *d = m ? wl_user_device(user, random >> 48) : NULL;
    if (!d)
        return;
    struct wl_op *op = write_begin(d, chat, HISTORY_RECALL, m->seq);
    if (!bt_recall(d->client, wl_chat_target(chat, d->user), m->seq, sent, op))
        wl_op_refused(op);
}

void wl_signal(struct wl_device *d, struct wl_chat *chat)
{
    struct wl_op *op = write_begin(d, chat, HISTORY_SIGNAL, 0);
    if (!bt_signal(d->client, wl_chat_target(chat, d->user), "typing", (struct bt_text){ "", 0 }, wl_op_end_plain, op))
        wl_op_refused(op);
}

void wl_mark_read(struct wl_device *d, struct wl_chat *chat)
{
    uint64_t target = wl_chat_target(chat, d->user), seq = bt_client_position(d->client, target);
    if (seq == 0)
        return;
    struct wl_op *op = wl_op_begin(d->w, d, &(struct wl_call){ .what = HISTORY_MARK_READ, .target = target, .seq = seq });
    bt_mark_read(d->client, target, seq);
    wl_op_end(op, &(struct bt_result){ .outcome = BT_UNSURE, .status = BT_STATUS_OK, .detail = "" }, NULL);
}

/* ---- reading ---- */

static void page_read(const struct bt_result *r, const struct bt_message *rows, size_t n, uint64_t first_seq, uint64_t head_seq, void *arg)
{
    struct wl_op *op = arg;
    wl_history_rows(op->w, op->device, op->number, rows, n);
    wl_op_end(op, r, &(struct wl_made){ .seq = head_seq, .refers = first_seq, .id = n });
}

void wl_history_read(struct wl_device *d, struct wl_chat *chat, uint64_t random)
{
    uint64_t target = wl_chat_target(chat, d->user), from = 1 + (chat->head ? random % chat->head : 0);
    struct wl_op *op = wl_op_begin(d->w, d, &(struct wl_call){ .what = HISTORY_HISTORY, .target = target, .seq = from, .refers = PAGE });
    if (!bt_history(d->client, target, from, 0, PAGE, page_read, op))
        wl_op_refused(op);
}

static void listed(const struct bt_result *r, const struct bt_conversation *rows, size_t n, bool more, void *arg)
{
    struct wl_op *op = arg;
    (void)more; /* one page is enough here */
    wl_list_rows(op->w, op->device, op->number, rows, n);
    wl_op_end(op, r, &(struct wl_made){ .id = n });
}

void wl_list(struct wl_device *d)
{
    struct wl_op *op = wl_op_begin(d->w, d, &(struct wl_call){ .what = HISTORY_LIST });
    if (!bt_conversations_list(d->client, 0, LIST_PAGE, listed, op))
        wl_op_refused(op);
}
