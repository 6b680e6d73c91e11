/*
 * roles/chat_sender.c: what is remembered of senders who repeat: a limit on how much of it is looked for in the store.
 *
 * A repeat that the window does not know costs a look-up. Each sender has [chat] repeats of them a second, a second's worth
 * at once, which a device that comes back with all its open sends does not use up. More wait here, everything else of that sender
 * behind them, so that his messages keep their order, and go on in portions, so that one SELECT serves many; beyond [chat]
 * repeats_waiting, or when half of the node's queue waits so, they are refused with RESOURCE_EXHAUSTED and a time to wait. So who repeats
 * for ever slows himself only.
 */
#include "roles/chat.h"

#include <assert.h>

#include "net/mem.h"
#include "rpc/ring.h"
#include "store/message.h"

#define LOG_MODULE "chat"
#include "net/log.h"

enum { SECOND_US = 1000000, FORGET_STEP = 2, SOLO_MS = 5000 };

struct chat_sender {
    struct chat_sender *hash_next;
    struct chat_sender *older, *newer; /* by last use */
    struct chat *chat;
    uint64_t user_id;
    uint64_t solo_until_ms;            /* until then all he sends is looked up first: his repeats met the fence */
    uint64_t paid_until_us;            /* his look-ups so far, spread evenly, reach to then */
    struct chat_ops held;
    size_t nheld;
    struct net_timer timer;            /* while any are held */
};

/* ---- the table --------------------------------------------------------------------------------------------------------------- */

static size_t slot_of(const struct chat *chat, uint64_t user_id)
{
    return (size_t)ring_hash(user_id, 0) & (chat->senders_cap - 1);
}

static struct chat_sender *find(const struct chat *chat, uint64_t user_id)
{
    struct chat_sender *s;

    if (chat->nsenders == 0)
        return NULL;
    for (s = chat->senders[slot_of(chat, user_id)]; s != NULL; s = s->hash_next)
        if (s->user_id == user_id)
            return s;
    return NULL;
}

static enum bt_err grow(struct chat *chat)
{
    size_t old_cap = chat->senders_cap;
    struct chat_sender **old = chat->senders, **senders = bt_calloc(old_cap != 0 ? old_cap * 2 : 64, sizeof *senders);

    if (senders == NULL)
        return old_cap != 0 ? BT_OK : BT_ENOMEM; /* a full table is slower, not wrong */
    chat->senders = senders;
    chat->senders_cap = old_cap != 0 ? old_cap * 2 : 64;
    for (size_t i = 0; i < old_cap; i++)
        for (struct chat_sender *s = old[i], *next; s != NULL; s = next) {
            size_t slot = slot_of(chat, s->user_id);
            next = s->hash_next;
            s->hash_next = senders[slot];
            senders[slot] = s;
        }
    bt_free(old);
    return BT_OK;
}

static void use_unlink(struct chat_sender *s)
{
    struct chat *chat = s->chat;

    *(s->older != NULL ? &s->older->newer : &chat->sender_oldest) = s->newer;
    *(s->newer != NULL ? &s->newer->older : &chat->sender_newest) = s->older;
}

static void use_now(struct chat_sender *s)
{
    struct chat *chat = s->chat;

    s->newer = NULL;
    s->older = chat->sender_newest;
    *(s->older != NULL ? &s->older->newer : &chat->sender_oldest) = s;
    chat->sender_newest = s;
}

static void forget(struct chat_sender *s)
{
    struct chat *chat = s->chat;
    struct chat_sender **at;

    assert(s->nheld == 0);
    for (at = &chat->senders[slot_of(chat, s->user_id)]; *at != s; at = &(*at)->hash_next)
        ;
    *at = s->hash_next;
    chat->nsenders--;
    use_unlink(s);
    net_timer_stop(chat->env.loop, &s->timer);
    bt_free(s);
}

static uint64_t now_us(const struct chat *chat)
{
    return net_now_ms(chat->env.loop) * 1000;
}

static bool is_forgettable(const struct chat_sender *s)
{
    return s->nheld == 0 && s->solo_until_ms <= net_now_ms(s->chat->env.loop) && s->paid_until_us <= now_us(s->chat);
}

/* NULL: no memory. Each new one takes the place of some that need no longer be remembered. */
static struct chat_sender *get(struct chat *chat, uint64_t user_id)
{
    struct chat_sender *s = find(chat, user_id);
    size_t slot;

    if (s != NULL) {
        use_unlink(s);
        use_now(s);
        return s;
    }
    for (int i = 0; i < FORGET_STEP && chat->sender_oldest != NULL && is_forgettable(chat->sender_oldest); i++)
        forget(chat->sender_oldest);
    if (chat->nsenders >= chat->senders_cap && grow(chat) != BT_OK)
        return NULL;
    s = bt_calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->chat = chat;
    s->user_id = user_id;
    chat_ops_init(&s->held);
    slot = slot_of(chat, user_id);
    s->hash_next = chat->senders[slot];
    chat->senders[slot] = s;
    chat->nsenders++;
    use_now(s);
    return s;
}

/* ---- whose repeats met the fence ------------------------------------------------------------------------------------------------ */

bool chat_is_solo(const struct chat *chat, uint64_t sender_id)
{
    const struct chat_sender *s = find(chat, sender_id);

    return s != NULL && net_now_ms(chat->env.loop) < s->solo_until_ms;
}

void chat_set_solo(struct chat *chat, uint64_t sender_id)
{
    struct chat_sender *s = get(chat, sender_id);

    if (s != NULL) /* else: his next repeat meets the fence too */
        s->solo_until_ms = net_now_ms(chat->env.loop) + SOLO_MS;
}

/* ---- the limit -------------------------------------------------------------------------------------------------------------------- */

static uint64_t cost_us(const struct chat *chat)
{
    return SECOND_US / chat->set.repeats;
}

/* Microseconds until n more of his look-ups may be made; 0: now. */
static uint64_t until_us(const struct chat_sender *s, size_t n)
{
    uint64_t now = now_us(s->chat), from = s->paid_until_us > now ? s->paid_until_us : now;
    uint64_t reach = from + n * cost_us(s->chat);

    return reach > now + SECOND_US ? reach - now - SECOND_US : 0;
}

static void pay(struct chat_sender *s)
{
    uint64_t now = now_us(s->chat);

    s->paid_until_us = (s->paid_until_us > now ? s->paid_until_us : now) + cost_us(s->chat);
}

/* Will it have to be looked for in the store? */
static bool is_costly(const struct chat *chat, const struct chat_op *op)
{
    const struct chat_conv *c;

    if (!chat_must_look(chat, op))
        return false;
    c = chat_conv_find(chat, op->row.hi, op->row.lo);
    return (c == NULL || chat_conv_recall(c, op->row.sender_id, op->row.client_msg_id) == NULL) && chat_ids_find(chat, op) == NULL;
}

/* Nobody waits for it any more: it goes on to be dropped. */
static bool is_over(const struct chat_op *op)
{
    return rpc_call_is_dead(op->call) || rpc_call_left_ms(op->call) == 0;
}

static struct chat_op *take_held(struct chat_sender *s)
{
    struct chat_op *op = chat_ops_pop(&s->held);

    if (op != NULL) {
        s->nheld--;
        s->chat->nheld--;
        s->chat->held_bytes -= op->size;
    }
    return op;
}

static void go_on(void *sender_arg);

static void arm(struct chat_sender *s)
{
    size_t portion = s->nheld < STORE_FIND_MAX ? s->nheld : STORE_FIND_MAX;

    net_timer_start(s->chat->env.loop, &s->timer, until_us(s, portion) / 1000 + 1, go_on, s);
}

static void go_on(void *sender_arg)
{
    struct chat_sender *s = sender_arg;
    struct chat *chat = s->chat;
    struct chat_ops gone;
    struct chat_op *op;

    chat_ops_init(&gone); /* what they lead to may come back here */
    while (s->held.first != NULL) {
        if (!is_over(s->held.first) && is_costly(chat, s->held.first)) {
            if (until_us(s, 1) > 0)
                break;
            pay(s);
        }
        chat_ops_push(&gone, take_held(s));
    }
    if (s->nheld > 0)
        arm(s);
    while ((op = chat_ops_pop(&gone)) != NULL)
        chat_submit_now(chat, op);
}

static void hold(struct chat_sender *s, struct chat_op *op)
{
    struct chat *chat = s->chat;
    uint64_t wait_ms = until_us(s, s->nheld + 1) / 1000 + 1;

    if (s->nheld >= chat->set.repeats_waiting || chat->nheld >= chat->set.queue / 2 || chat->held_bytes >= chat->set.queue_bytes / 2) {
        rpc_fail_retry(op->call, BT_EBUSY, (uint32_t)wait_ms, "too many repeats of yours are being looked for");
        op->call = NULL;
        chat_op_free(chat, op);
        return;
    }
    if (s->nheld == 0)
        log_debug("user %llu repeats more than is looked for at once: %llu ms", (unsigned long long)s->user_id, (unsigned long long)wait_ms);
    chat_ops_push(&s->held, op);
    s->nheld++;
    chat->nheld++;
    chat->held_bytes += op->size;
    if (s->nheld <= STORE_FIND_MAX)
        arm(s);
}

bool chat_sender_holds(struct chat *chat, struct chat_op *op)
{
    struct chat_sender *s = find(chat, op->row.sender_id);
    bool is_held = s != NULL && s->nheld > 0;

    if (chat->senders_are_free || op->kind == OP_APPLY || op->kind == OP_DROP || op->kind == OP_SIGNAL)
        return false;
    if (!is_held && !is_costly(chat, op))
        return false;
    s = get(chat, op->row.sender_id);
    if (s == NULL) {
        chat_op_end(chat, op, BT_ENOMEM, NULL);
        return true;
    }
    if (is_held || until_us(s, 1) > 0) {
        hold(s, op);
        return true;
    }
    pay(s);
    return false;
}

void chat_senders_free(struct chat *chat)
{
    chat->senders_are_free = true;
    for (struct chat_sender *s = chat->sender_oldest, *next; s != NULL; s = next) {
        struct chat_op *op;
        next = s->newer;
        net_timer_stop(chat->env.loop, &s->timer);
        while ((op = take_held(s)) != NULL)
            chat_submit_now(chat, op);
    }
}

void chat_senders_stop(struct chat *chat)
{
    while (chat->sender_oldest != NULL)
        forget(chat->sender_oldest);
    bt_free(chat->senders);
}
