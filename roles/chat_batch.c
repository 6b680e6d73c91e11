/*
 * roles/chat_batch.c: ready messages of all conversations go out together, in one many-row insert.
 *
 * While one batch is being written the next collects, so batches grow with the load and cost no delay without it. The
 * keys of the table are the fence: when a seq or an id stands already, nothing of the batch was written, and a look at
 * what stands tells what to answer and what to write again. A write whose outcome is unknown is written again with the same
 * seqs until the outcome is known, and its conversations wait for that.
 *
 * Conversations that met the fence lately may meet it again, and would hold up all others of their batch. They stand in a line of
 * their own and go together, as many as it has gone well with lately: half as many after each fence, twice as many after each write.
 */
#include "roles/chat.h"

#include <assert.h>
#include <stdlib.h>

#include "net/mem.h"
#include "net/planted.h"
#include "store/store.h"

#define LOG_MODULE "chat"
#include "net/log.h"

struct chat_batch {
    struct chat_batch *next, *prev; /* chat->flying */
    struct chat *chat;
    struct chat_ops ops;            /* by conversation, then seq */
    size_t n;
    size_t open;                    /* queries of a settlement under way */
    enum bt_err settle_err;
    uint32_t tries;
    bool is_unsure;
    bool is_fenced;                 /* of those that met the fence lately */
    struct net_timer retry;
    struct chat_conv **convs;
    size_t nconvs;
    struct store_message_id *found; /* by op: what stands under its id; then by conversation: what stands at its next seq */
};

static void batch_write(struct chat_batch *b);

uint32_t chat_backoff_ms(uint32_t tries)
{
    return tries < 5 ? 50u << tries : 1000;
}

enum { FENCED_FIRST = 8, FENCED_MOST = 64, FENCED_MS = 5000 };

void chat_batch_init(struct chat *chat)
{
    for (int line = 0; line < CHAT_LINES; line++)
        chat->lines[line].last = &chat->lines[line].first;
    chat->fenced_most = FENCED_FIRST;
}

static void line_add(struct chat_conv *c)
{
    struct chat *chat = c->chat;
    struct chat_line *line = &chat->lines[net_now_ms(chat->env.loop) < c->fenced_until_ms ? CHAT_FENCED : CHAT_CALM];

    c->is_in_line = true;
    c->line_next = NULL;
    *line->last = c;
    line->last = &c->line_next;
}

static struct chat_conv *line_pop(struct chat_line *line)
{
    struct chat_conv *c = line->first;

    line->first = c->line_next;
    if (line->first == NULL)
        line->last = &line->first;
    c->is_in_line = false;
    return c;
}

static bool has_line(const struct chat *chat)
{
    return chat->lines[CHAT_CALM].first != NULL || chat->lines[CHAT_FENCED].first != NULL;
}

/* Both lines take turns. */
static enum chat_line_kind next_line(struct chat *chat)
{
    if (chat->lines[CHAT_CALM].first == NULL || chat->lines[CHAT_FENCED].first == NULL)
        return chat->lines[CHAT_CALM].first != NULL ? CHAT_CALM : CHAT_FENCED;
    chat->was_calm = !chat->was_calm;
    return chat->was_calm ? CHAT_CALM : CHAT_FENCED;
}

void chat_batch_schedule(struct chat_conv *c)
{
    struct chat *chat = c->chat;

    if (!c->is_in_line && c->batch == NULL && c->ready.first != NULL && !net_timer_is_running(&c->turn))
        line_add(c);
    if (has_line(chat) && chat->nflying < chat->set.batches)
        net_defer(chat->env.loop, &chat->flush_task, chat_batch_flush, chat);
}

/* ---- the end of a batch ---------------------------------------------------------------------------------------------------- */

static void batch_free(struct chat_batch *b)
{
    struct chat *chat = b->chat;

    *(b->prev != NULL ? &b->prev->next : &chat->flying) = b->next;
    if (b->next != NULL)
        b->next->prev = b->prev;
    chat->nflying--;
    net_timer_stop(chat->env.loop, &b->retry);
    bt_free(b->convs);
    bt_free(b->found);
    bt_free(b);
}

/* Its conversations go on; then the next batch goes out. */
static void batch_end(struct chat_batch *b)
{
    struct chat *chat = b->chat;

    assert(b->ops.first == NULL);
    for (size_t i = 0; i < b->nconvs; i++)
        b->convs[i]->batch = NULL;
    for (size_t i = 0; i < b->nconvs; i++) {
        chat_batch_schedule(b->convs[i]);
        chat_conv_run(b->convs[i]);
    }
    batch_free(b);
    if (has_line(chat))
        net_defer(chat->env.loop, &chat->flush_task, chat_batch_flush, chat);
    chat_conv_trim(chat);
    chat_maybe_idle(chat);
}

static void batch_fail(struct chat_batch *b, enum bt_err err)
{
    struct chat_op *op;
    enum bt_err told = err == BT_ETIMEOUT ? BT_EDOWN : err; /* dropped from the store's queue: nothing was done */

    log_warn("batch of %zu messages not written: %s", b->n, bt_err_text(err));
    while ((op = chat_ops_pop(&b->ops)) != NULL)
        chat_op_end(b->chat, op, told, NULL);
    batch_end(b);
}

/* Try again after a while; when the role stops, give up: the senders are told UNKNOWN. */
static void arm(struct chat_batch *b, net_timer_cb *retry)
{
    if (b->chat->is_stopping)
        batch_fail(b, BT_EUNSURE);
    else
        net_timer_start(b->chat->env.loop, &b->retry, chat_backoff_ms(b->tries++), retry, b);
}

void chat_committed(struct chat_conv *c, struct chat_op *op)
{
    const struct store_message *m = &op->row;

    op->is_done = true;
    chat_owner_saw(c, op->asked_ms);
    if (m->seq > c->head_seq) {
        c->head_seq = m->seq;
        c->head_ms = m->sent_ms;
    }
    chat_conv_remember(c, &(struct chat_recent){ m->sender_id, m->client_msg_id, m->seq, m->digest, m->sent_ms });
    chat_ids_remove(c->chat, op);
    c->pins++;
    chat_push_op(c->chat, op);
}

/* ---- the fence ---------------------------------------------------------------------------------------------------------------- */

/* The next try of an op that the fence threw back. Its place is before everything that its conversation still holds. */
static void try_again(struct chat_op *op, bool has_moved, struct chat_ops *back)
{
    if (op->tries < UINT8_MAX && (op->tries == 0 || has_moved)) /* an innocent one counts once: it has been looked up */
        op->tries++;
    if (planted(PLANTED_BLIND_RETRY) && op->tries > 3)
        chat_op_end(op->conv->chat, op, BT_ECONFLICT, NULL);
    else if (!has_moved || chat_rival_may_retry(op))
        chat_ops_push(back, op);
}

/* What the fence was met by must be found: an id or a seq. If it is not, all of the batch is in doubt, and is not tried at once. */
static bool is_explained(const struct chat_batch *b)
{
    for (size_t i = 0; i < b->n + b->nconvs; i++)
        if (b->found[i].seq != 0)
            return true;
    return false;
}

static void settle(struct chat_batch *b)
{
    struct chat *chat = b->chat;
    size_t i = 0;
    bool is_known = is_explained(b);

    for (size_t k = 0; k < b->nconvs; k++) {
        struct chat_conv *c = b->convs[k];
        struct chat_ops back;
        uint64_t head = c->head_seq;
        /* Somebody else writes here, or an unheard try of ours did. */
        bool has_moved = planted(PLANTED_BLIND_RETRY) || !is_known || b->found[b->n + k].seq != 0;
        chat_ops_init(&back);
        while (b->ops.first != NULL && b->ops.first->conv == c) {
            struct chat_op *op = chat_ops_pop(&b->ops);
            const struct store_message_id *at = &b->found[i++];
            if (at->seq == 0) {
                op->is_unsure = false;
                try_again(op, has_moved, &back);
            } else if (at->seq == c->head_seq + 1 && at->digest == op->row.digest) {
                op->row.seq = at->seq; /* written by a try of which nothing was heard, or through another node: push it (again) */
                op->row.sent_ms = at->sent_ms;
                chat_committed(c, op);
            } else if (at->seq > head && at->digest == op->row.digest) {
                op->is_unsure = op->look = true; /* behind rows of another: its receivers are known when those have been read */
                chat_ops_push(&back, op);
            } else {
                op->is_done = true;
                chat_set_solo(chat, op->row.sender_id);
                chat_answer_known(chat, op, at->seq, at->digest, at->sent_ms);
            }
        }
        if (has_moved) {
            rpc_refresh(chat->env.rpc); /* who owns it by now? */
            c->fenced_until_ms = net_now_ms(chat->env.loop) + FENCED_MS;
            chat_rival_met(c);
            chat_conv_outrun(c);
        }
        chat_conv_recheck(c);
        chat_ops_prepend(&c->waiting, &back);
    }
    batch_end(b);
}

static void settle_retry(void *arg);

static void settle_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct chat_batch *b = arg;
    size_t i = 0;

    if (err != BT_OK)
        b->settle_err = err;
    for (size_t r = 0; err == BT_OK && r < rows->nrows; r++) {
        struct store_message_id id = store_message_id_of(rows, r);
        i = 0;
        for (struct chat_op *op = b->ops.first; op != NULL; op = op->next, i++)
            if (op->row.client_msg_id == id.client_msg_id && op->row.sender_id == id.sender_id && op->row.hi == id.hi && op->row.lo == id.lo)
                b->found[i] = id;
        for (size_t k = 0; k < b->nconvs; k++)
            if (b->convs[k]->hi == id.hi && b->convs[k]->lo == id.lo && b->convs[k]->head_seq + 1 == id.seq)
                b->found[b->n + k] = id;
    }
    if (--b->open > 0)
        return;
    if (b->settle_err == BT_OK)
        settle(b);
    else
        arm(b, settle_retry);
}

/* Ask what stands under the ids of the batch, and whether somebody else has written the next seq of its conversations. */
static void settle_start(struct chat_batch *b)
{
    struct store_message_id ids[STORE_FIND_MAX];
    struct chat_op *op = b->ops.first;
    size_t queries = (b->n + STORE_FIND_MAX - 1) / STORE_FIND_MAX + (b->nconvs + STORE_FIND_MAX - 1) / STORE_FIND_MAX;

    b->open = queries;
    b->settle_err = BT_OK;
    for (size_t at = 0; at < b->n; at += STORE_FIND_MAX) {
        size_t k = 0;
        for (; op != NULL && k < STORE_FIND_MAX; op = op->next, k++)
            ids[k] = (struct store_message_id){ .hi = op->row.hi, .lo = op->row.lo, .sender_id = op->row.sender_id, .client_msg_id = op->row.client_msg_id };
        store_message_find(b->chat->env.store, ids, k, settle_done, b);
    }
    for (size_t at = 0; at < b->nconvs; at += STORE_FIND_MAX) {
        size_t k = 0;
        for (; at + k < b->nconvs && k < STORE_FIND_MAX; k++)
            ids[k] = (struct store_message_id){ .hi = b->convs[at + k]->hi, .lo = b->convs[at + k]->lo, .seq = b->convs[at + k]->head_seq + 1 };
        store_message_find_seqs(b->chat->env.store, ids, k, settle_done, b);
    }
}

static void settle_retry(void *arg)
{
    struct chat_batch *b = arg;

    for (struct chat_op *op = b->ops.first; op != NULL; op = op->next)
        chat_op_expire(op);
    for (size_t i = 0; i < b->n + b->nconvs; i++)
        b->found[i].seq = 0;
    settle_start(b);
}

static void fence_met(struct chat_batch *b);

static void fence_retry(void *arg)
{
    fence_met(arg);
}

static void fence_met(struct chat_batch *b)
{
    if (b->found == NULL)
        b->found = bt_calloc(b->n + b->nconvs, sizeof *b->found);
    if (b->found == NULL) { /* not a refusal: an earlier try may have been done */
        arm(b, fence_retry);
        return;
    }
    log_debug("fence: a batch of %zu messages in %zu conversations met rows that stand", b->n, b->nconvs);
    if (b->is_fenced && b->chat->fenced_most > 1)
        b->chat->fenced_most /= 2;
    if (planted(PLANTED_BLIND_RETRY)) { /* as if nothing stood */
        settle(b);
        return;
    }
    settle_start(b);
}

/* ---- writing -------------------------------------------------------------------------------------------------------------------- */

static void batch_retry(void *arg)
{
    struct chat_batch *b = arg;

    for (struct chat_op *op = b->ops.first; op != NULL; op = op->next)
        chat_op_expire(op);
    batch_write(b);
}

static void batch_done(const struct db_done *done, void *arg)
{
    struct chat_batch *b = arg;
    struct chat_op *op;

    switch (done->err) {
    case BT_OK:
        while ((op = chat_ops_pop(&b->ops)) != NULL)
            chat_committed(op->conv, op);
        for (size_t k = 0; k < b->nconvs; k++)
            chat_rival_passed(b->convs[k]);
        if (b->is_fenced && b->chat->fenced_most < FENCED_MOST)
            b->chat->fenced_most *= 2;
        batch_end(b);
        return;
    case BT_EEXIST:
        fence_met(b);
        return;
    case BT_EUNSURE:
        if (!b->is_unsure)
            log_warn("batch of %zu messages: outcome unknown, writing it again", b->n);
        b->is_unsure = true;
        break;
    default:
        if (!b->is_unsure) {
            batch_fail(b, done->err);
            return;
        }
        break; /* this try did nothing, but an earlier one may have */
    }
    arm(b, batch_retry);
}

static void batch_write(struct chat_batch *b)
{
    struct store_message *rows = b->chat->rows;
    size_t i = 0;

    for (struct chat_op *op = b->ops.first; op != NULL; op = op->next)
        rows[i++] = op->row;
    assert(i == b->n && i > 0);
#ifdef BYTETALK_PLANTED
    if (planted(PLANTED_EARLY_PRESENCE))
        chat_presence_early(b->chat);
#endif
    store_message_insert(b->chat->env.store, rows, i, batch_done, b);
}

static int by_key(const void *a, const void *b)
{
    const struct chat_conv *x = *(struct chat_conv *const *)a, *y = *(struct chat_conv *const *)b;

    if (x->hi != y->hi)
        return x->hi < y->hi ? -1 : 1;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/* Give the ready ops that are one conversation's part their numbers. Those whose time has passed are not written. */
static void take_ops(struct chat_batch *b, struct chat_conv *c)
{
    struct chat *chat = c->chat;
    int64_t now_ms = store_now_ms(chat->env.store), ms = c->head_ms > now_ms ? c->head_ms : now_ms;
    uint64_t seq = c->head_seq, asked_ms = net_now_ms(chat->env.loop);

    for (; c->quota > 0 && c->ready.first != NULL; c->quota--) {
        struct chat_op *op = chat_ops_pop(&c->ready);
        if (op->call != NULL && op->twins == NULL && (rpc_call_is_dead(op->call) || rpc_call_left_ms(op->call) == 0)) {
            chat_op_end(chat, op, rpc_call_is_dead(op->call) ? BT_ECANCELLED : BT_ETIMEOUT, NULL);
            continue;
        }
        op->row.seq = ++seq;
        op->row.sent_ms = ms;
        op->asked_ms = asked_ms;
        if (planted(PLANTED_EARLY_ACK))
            chat_op_reply(op);
        chat_ops_push(&b->ops, op);
        b->n++;
    }
}

/* How many of its ready ops there is room for; *bytes grows by what they take. */
static uint32_t count_ready(const struct chat_conv *c, size_t max, size_t *bytes)
{
    uint32_t n = 0;

    for (const struct chat_op *op = c->ready.first; op != NULL && n < max && *bytes < c->chat->set.batch_bytes; op = op->next) {
        *bytes += op->size;
        n++;
    }
    return n;
}

/*
 * Which conversations go out together, and with how many messages: those that have waited longest, as far as the batch has room, so
 * that under load each has its turn, whatever its key. Whose messages were all taken back since, to be checked again, has no part in
 * the batch, and perhaps a change under way.
 */
static size_t choose(struct chat *chat, enum chat_line_kind kind, struct chat_conv **convs)
{
    struct chat_line *line = &chat->lines[kind];
    size_t max = chat->set.batch_rows, most = kind == CHAT_FENCED ? chat->fenced_most : max, n = 0, rows = 0, bytes = 0;

    while (n < most && rows < max && bytes < chat->set.batch_bytes && line->first != NULL) {
        struct chat_conv *c = line_pop(line);
        if (c->ready.first == NULL)
            continue;
        convs[n++] = c;
        c->quota = count_ready(c, max - rows, &bytes);
        rows += c->quota;
    }
    return n;
}

static void batch_start(struct chat *chat)
{
    enum chat_line_kind kind = next_line(chat);
    struct chat_batch *b = bt_calloc(1, sizeof *b);
    struct chat_conv **convs = b != NULL ? bt_malloc(chat->set.batch_rows * sizeof *convs) : NULL;

    if (convs == NULL) {
        struct chat_conv *c = line_pop(&chat->lines[kind]);
        struct chat_op *op;
        bt_free(b);
        while ((op = chat_ops_pop(&c->ready)) != NULL)
            chat_op_end(chat, op, BT_ENOMEM, NULL);
        chat_conv_run(c);
        return;
    }
    b->chat = chat;
    b->convs = convs;
    chat_ops_init(&b->ops);
    b->next = chat->flying;
    if (b->next != NULL)
        b->next->prev = b;
    chat->flying = b;
    chat->nflying++;
    b->is_fenced = kind == CHAT_FENCED;
    b->nconvs = choose(chat, kind, convs);
    qsort(convs, b->nconvs, sizeof convs[0], by_key);
    for (size_t i = 0; i < b->nconvs; i++) {
        convs[i]->batch = b;
        take_ops(b, convs[i]);
    }
    if (b->n > 0)
        batch_write(b);
    else
        batch_end(b);
}

void chat_batch_flush(void *chat_arg)
{
    struct chat *chat = chat_arg;

    while (has_line(chat) && chat->nflying < chat->set.batches)
        batch_start(chat);
}

void chat_batch_stop(struct chat *chat)
{
    struct chat_batch *b, *next;

    chat->is_stopping = true;
    for (b = chat->flying; b != NULL; b = next) {
        next = b->next;
        if (net_timer_is_running(&b->retry)) {
            net_timer_stop(chat->env.loop, &b->retry);
            batch_fail(b, BT_EUNSURE);
        }
    }
    net_defer_cancel(chat->env.loop, &chat->flush_task);
    while (has_line(chat)) {
        struct chat_conv *c = line_pop(&chat->lines[next_line(chat)]);
        struct chat_op *op;
        while ((op = chat_ops_pop(&c->ready)) != NULL)
            chat_op_end(chat, op, BT_ECLOSING, NULL);
        chat_conv_run(c);
    }
}
