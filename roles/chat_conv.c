/* roles/chat_conv.c: open conversations: found by key, read from the store, kept by use, taking their ops in order. */
#include "roles/chat.h"

#include <assert.h>
#include <string.h>

#include "net/mem.h"
#include "net/planted.h"
#include "rpc/ring.h"
#include "store/store.h"

#define LOG_MODULE "chat"
#include "net/log.h"

/* ---- the table ------------------------------------------------------------------------------------------------------------ */

static size_t slot_of(const struct chat *chat, uint64_t hi, uint64_t lo)
{
    return (size_t)ring_hash(hi, lo) & (chat->convs_cap - 1);
}

static enum bt_err table_grow(struct chat *chat)
{
    size_t old_cap = chat->convs_cap;
    struct chat_conv **old = chat->convs, **convs;

    chat->convs_cap = old_cap != 0 ? old_cap * 2 : 1024;
    convs = bt_calloc(chat->convs_cap, sizeof *convs);
    if (convs == NULL) {
        chat->convs_cap = old_cap;
        return old_cap != 0 ? BT_OK : BT_ENOMEM; /* a full table is slower, not wrong */
    }
    chat->convs = convs;
    for (size_t i = 0; i < old_cap; i++) {
        struct chat_conv *c, *next;
        for (c = old[i]; c != NULL; c = next) {
            size_t slot = slot_of(chat, c->hi, c->lo);
            next = c->hash_next;
            c->hash_next = convs[slot];
            convs[slot] = c;
        }
    }
    bt_free(old);
    return BT_OK;
}

static void lru_unlink(struct chat_conv *c)
{
    struct chat *chat = c->chat;

    *(c->lru_prev != NULL ? &c->lru_prev->lru_next : &chat->lru_first) = c->lru_next;
    *(c->lru_next != NULL ? &c->lru_next->lru_prev : &chat->lru_last) = c->lru_prev;
    c->lru_prev = c->lru_next = NULL;
}

static void lru_front(struct chat_conv *c)
{
    struct chat *chat = c->chat;

    c->lru_next = chat->lru_first;
    *(chat->lru_first != NULL ? &chat->lru_first->lru_prev : &chat->lru_last) = c;
    chat->lru_first = c;
}

struct chat_conv *chat_conv_find(const struct chat *chat, uint64_t hi, uint64_t lo)
{
    struct chat_conv *c;

    if (chat->convs_cap == 0)
        return NULL;
    for (c = chat->convs[slot_of(chat, hi, lo)]; c != NULL; c = c->hash_next)
        if (c->hi == hi && c->lo == lo)
            return c;
    return NULL;
}

struct chat_conv *chat_conv_get(struct chat *chat, uint64_t hi, uint64_t lo)
{
    struct chat_conv *c = chat_conv_find(chat, hi, lo);
    size_t slot;

    if (c != NULL) {
        if (chat->lru_first != c) {
            lru_unlink(c);
            lru_front(c);
        }
        return c;
    }
    if (chat->nconvs >= chat->convs_cap && table_grow(chat) != BT_OK)
        return NULL;
    c = bt_calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->chat = chat;
    c->hi = hi;
    c->lo = lo;
    chat_ops_init(&c->waiting);
    chat_ops_init(&c->ready);
    slot = slot_of(chat, hi, lo);
    c->hash_next = chat->convs[slot];
    chat->convs[slot] = c;
    chat->nconvs++;
    lru_front(c);
    chat_conv_trim(chat);
    return c;
}

static bool is_in_use(const struct chat_conv *c)
{
    return c->state == CONV_LOADING || c->is_in_line || c->waiting.first != NULL || c->ready.first != NULL || c->busy != NULL || c->batch != NULL || c->pins > 0 ||
           net_timer_is_running(&c->turn);
}

static void large_unlink(struct chat_conv *c)
{
    struct chat_conv **at;

    if (!c->is_large)
        return;
    for (at = &c->chat->large; *at != c; at = &(*at)->large_next)
        ;
    *at = c->large_next;
    c->is_large = false;
}

void chat_conv_free(struct chat_conv *c)
{
    struct chat *chat = c->chat;
    struct chat_conv **at;

    assert(!is_in_use(c));
    for (at = &chat->convs[slot_of(chat, c->hi, c->lo)]; *at != c; at = &(*at)->hash_next)
        ;
    *at = c->hash_next;
    chat->nconvs--;
    lru_unlink(c);
    large_unlink(c);
    bt_free(c->members);
    bt_free(c->online);
    bt_free(c->window);
    bt_free(c);
}

void chat_conv_trim(struct chat *chat)
{
    enum { TRIES = 16 }; /* those in use are passed over, and looked at again by the next */
    struct chat_conv *c = chat->lru_last;

    for (int i = 0; i < TRIES && chat->nconvs > chat->set.conversations && c != NULL && c != chat->lru_first; i++) {
        struct chat_conv *prev = c->lru_prev;
        if (!is_in_use(c))
            chat_conv_free(c);
        c = prev;
    }
}

/* ---- members and the window ------------------------------------------------------------------------------------------------ */

static size_t member_at(const struct chat_conv *c, uint64_t user_id)
{
    size_t lo = 0, hi = c->nmembers;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->members[mid].user_id < user_id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct chat_member *chat_conv_member(const struct chat_conv *c, uint64_t user_id)
{
    size_t i = member_at(c, user_id);

    return i < c->nmembers && c->members[i].user_id == user_id ? &c->members[i] : NULL;
}

/* A large group's list of its connected members follows who comes and goes, so that a change costs no look at all of them. */
static void online_put(struct chat_conv *c, uint64_t user_id)
{
    if (!c->online_known || !chat_presence_has(c->chat, user_id))
        return;
    if (c->nonline < c->online_cap)
        c->online[c->nonline++] = user_id;
    else
        c->online_known = false; /* made anew, with room for more, when it is needed */
}

static void online_drop(struct chat_conv *c, uint64_t user_id)
{
    for (size_t i = 0; c->online_known && i < c->nonline; i++)
        if (c->online[i] == user_id) {
            c->online[i] = c->online[--c->nonline];
            return;
        }
}

enum bt_err chat_conv_put_member(struct chat_conv *c, const struct chat_member *m)
{
    size_t i = member_at(c, m->user_id);

    if (m->joined_seq > c->newest_joined_seq)
        c->newest_joined_seq = m->joined_seq;
    if (i < c->nmembers && c->members[i].user_id == m->user_id) {
        c->members[i] = *m;
        return BT_OK;
    }
    if (c->nmembers == c->members_cap) {
        size_t cap = c->members_cap != 0 ? c->members_cap * 2 : 4;
        struct chat_member *members = bt_realloc(c->members, cap * sizeof *members);
        if (members == NULL)
            return BT_ENOMEM;
        c->members = members;
        c->members_cap = cap;
    }
    memmove(&c->members[i + 1], &c->members[i], (c->nmembers - i) * sizeof c->members[0]);
    c->members[i] = *m;
    c->nmembers++;
    online_put(c, m->user_id);
    return BT_OK;
}

void chat_conv_drop_member(struct chat_conv *c, uint64_t user_id)
{
    size_t i = member_at(c, user_id);

    if (i == c->nmembers || c->members[i].user_id != user_id)
        return;
    c->nmembers--;
    memmove(&c->members[i], &c->members[i + 1], (c->nmembers - i) * sizeof c->members[0]);
    online_drop(c, user_id);
}

const struct chat_recent *chat_conv_recall(const struct chat_conv *c, uint64_t sender_id, uint64_t client_msg_id)
{
    if (client_msg_id > c->window_max_id) /* as ids rise, that is most often so */
        return NULL;
    for (uint32_t i = 0; i < c->window_n; i++)
        if (c->window[i].client_msg_id == client_msg_id && c->window[i].sender_id == sender_id)
            return &c->window[i];
    return NULL;
}

void chat_conv_remember(struct chat_conv *c, const struct chat_recent *r)
{
    uint32_t max = c->chat->set.window;

    if (max == 0)
        return;
    if (c->window_n == c->window_cap && c->window_cap < max) {
        uint32_t cap = c->window_cap != 0 ? c->window_cap * 2 : 4;
        struct chat_recent *window;
        cap = cap < max ? cap : max;
        window = bt_realloc(c->window, cap * sizeof *window);
        if (window != NULL) { /* else: a shorter memory; the unique key remembers everything */
            c->window = window;
            c->window_cap = cap;
            c->window_at = c->window_n;
        }
    }
    if (c->window_cap == 0)
        return;
    if (c->window_at >= c->window_cap)
        c->window_at = 0;
    c->window[c->window_at++] = *r;
    if (r->client_msg_id > c->window_max_id)
        c->window_max_id = r->client_msg_id;
    if (c->window_n < c->window_cap)
        c->window_n++;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------- */

/* Ready ops wait again, before what waits already: what they were checked against has changed. */
void chat_conv_recheck(struct chat_conv *c)
{
    struct chat_ops ready = c->ready;

    chat_ops_init(&c->ready);
    chat_ops_prepend(&c->waiting, &ready);
}

void chat_conv_forget(struct chat_conv *c)
{
    c->is_stale = true;
    chat_conv_recheck(c);
}

void chat_conv_outrun(struct chat_conv *c)
{
    c->is_outrun = true;
    chat_conv_recheck(c);
}

/* Tells whether a group's members and their rights have changed. Never 0. */
static uint64_t print_rights(const struct chat_conv *c)
{
    uint64_t x = 1 + c->group_exists + 2u * c->group_disbanded;

    for (size_t i = 0; i < c->nmembers; i++) {
        const struct chat_member *m = &c->members[i];
        x = ring_hash(x ^ m->user_id, (uint64_t)m->muted_until_ms ^ m->joined_seq << 8 ^ m->role);
    }
    return x | 1;
}

static void load_failed(struct chat_conv *c, enum bt_err err)
{
    struct chat_op *op;

    c->state = CONV_UNKNOWN;
    c->is_reading_log = false;
    while ((op = chat_ops_pop(&c->waiting)) != NULL)
        chat_op_end(c->chat, op, op->is_unsure ? BT_EUNSURE : err == BT_ECLOSING ? err : err == BT_EBUSY ? err : BT_EDOWN, "the conversation can't be read now");
}

static void load_end(struct chat_conv *c)
{
    c->state = CONV_READY;
    if (c->is_reading_log)
        chat_owner_read(c);
    c->is_reading_log = false;
    if (c->rights_print != 0 && c->lo == 0 && print_rights(c) != c->rights_print)
        log_info("conv %llu/0: its rights have changed unheard, through another node, found at seq %llu", (unsigned long long)c->hi,
                 (unsigned long long)c->head_seq);
    c->rights_print = 0;
    chat_conv_run(c);
}

static void load_pair_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct chat_conv *c = arg;

    if (err != BT_OK) {
        load_failed(c, err);
        return;
    }
    c->pair = store_pair_of(rows, c->hi, c->lo);
    load_end(c);
}

static void load_pair(struct chat_conv *c)
{
    c->rights_ms = net_now_ms(c->chat->env.loop); /* before the read: what it sees is at least that new */
    store_conversation_pair(c->chat->env.store, c->hi, c->lo, load_pair_done, c);
}

static void load_group_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct chat_conv *c = arg;

    if (err != BT_OK) {
        load_failed(c, err);
        return;
    }
    c->group_exists = rows->nrows == 1;
    if (c->group_exists) {
        struct store_group g = store_group_of(rows);
        c->group_disbanded = g.disbanded_ms != 0;
        c->join_mode = g.join_mode;
    }
    load_end(c);
}

static void load_members_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct chat_conv *c = arg;

    if (err == BT_OK) {
        c->nmembers = 0;
        c->online_known = false;
    }
    for (size_t r = 0; err == BT_OK && r < rows->nrows; r++) {
        struct store_member m = store_member_of(rows, r);
        err = chat_conv_put_member(c, &(struct chat_member){ m.user_id, m.muted_until_ms, m.joined_seq, (uint32_t)m.role });
    }
    if (err != BT_OK) {
        load_failed(c, err);
        return;
    }
    c->is_unborn = c->lo != 0 && c->nmembers == 0;
    if (c->lo != 0)
        load_pair(c);
    else
        store_conversation_group(c->chat->env.store, c->hi, load_group_done, c);
}

static void load_tail_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct chat_conv *c = arg;
    uint64_t known_seq = c->head_seq;

    if (err != BT_OK) {
        load_failed(c, err);
        return;
    }
    c->head_seq = 0;
    c->head_ms = 0;
    c->window_n = c->window_at = 0;
    c->window_max_id = 0;
    for (size_t r = rows->nrows; r-- > 0;) { /* newest first: remembered oldest first */
        struct store_message_id id = store_message_id_of(rows, r);
        c->head_seq = id.seq;
        c->head_ms = id.sent_ms;
        chat_conv_remember(c, &(struct chat_recent){ id.sender_id, id.client_msg_id, id.seq, id.digest, id.sent_ms });
    }
    if (!c->is_loading_all && (c->lo != 0 || c->head_seq == known_seq)) { /* members of a 1:1 never change, those of a group with its log */
        load_end(c);
        return;
    }
    if (planted(PLANTED_STALE_RIGHTS) && c->nmembers > 0) {
        load_end(c);
        return;
    }
    c->rights_print = c->lo == 0 && c->group_exists ? print_rights(c) : 0;
    store_conversation_members(c->chat->env.store, c->hi, c->lo, load_members_done, c);
}

/*
 * The tail is read before the members: whoever changes members also writes a message, so members that are newer than
 * the tail fail at the fence, and members that are older can't be.
 */
static void load(struct chat_conv *c)
{
    struct chat *chat = c->chat;

    c->is_loading_all = c->state == CONV_UNKNOWN || c->is_stale || c->is_unborn;
    c->state = CONV_LOADING;
    c->is_reading_log = true;
    c->is_stale = false;
    c->is_outrun = false;
    c->known_ms = net_now_ms(chat->env.loop);
    c->db_generation = db_generation(store_db(chat->env.store));
    store_message_newest(chat->env.store, c->hi, c->lo, chat->set.window > 0 ? chat->set.window : 1, load_tail_done, c);
}

/* ---- order -------------------------------------------------------------------------------------------------------------------- */

void chat_conv_submit(struct chat_conv *c, struct chat_op *op)
{
    op->conv = c;
    chat_ops_push(&c->waiting, op);
    chat_conv_run(c);
}

static bool has_writes(const struct chat_conv *c)
{
    return c->ready.first != NULL || c->batch != NULL;
}

/* Ops that are decided on only when everything before them stands. */
static bool is_barrier(const struct chat_op *op)
{
    return op->kind != OP_SEND && op->kind != OP_SIGNAL;
}

/* Blocks and friendships of a 1:1 are no messages of it, so nothing fences them: they are read again after a while. */
static bool are_rights_old(const struct chat_conv *c)
{
    return c->lo != 0 && (c->rights_ms == 0 || net_now_ms(c->chat->env.loop) >= c->rights_ms + CHAT_RIGHTS_MS);
}

/* What is known of it may be wrong: it is read before anything is decided on. Once found, that is noted until then. */
static bool must_load(struct chat_conv *c)
{
    if (c->db_generation != db_generation(store_db(c->chat->env.store)))
        c->is_stale = true;
    if (!has_writes(c) && chat_owner_may_differ(c))
        c->is_outrun = true;
    return c->state == CONV_UNKNOWN || c->is_stale || c->is_outrun;
}

bool chat_conv_is_free(struct chat_conv *c)
{
    return c->state == CONV_READY && c->waiting.first == NULL && c->busy == NULL && !net_timer_is_running(&c->turn) &&
           !must_load(c) && !are_rights_old(c) && !(c->is_unborn && has_writes(c));
}

void chat_conv_run(struct chat_conv *c)
{
    while (c->waiting.first != NULL && c->busy == NULL && c->state != CONV_LOADING && !net_timer_is_running(&c->turn)) {
        struct chat_op *op = c->waiting.first;
        if (must_load(c)) {
            if (has_writes(c))
                return; /* their end calls again */
            load(c);
            return;
        }
        if (op->kind != OP_DROP && are_rights_old(c)) {
            c->state = CONV_LOADING;
            load_pair(c);
            return;
        }
        if ((is_barrier(op) || c->is_unborn) && has_writes(c))
            return;
        chat_check(c, chat_ops_pop(&c->waiting));
    }
}

void chat_conv_unbusy(struct chat_conv *c)
{
    c->busy = NULL;
    chat_conv_run(c);
}
