/* roles/chat_op.c: ops: made, queued, known by their ids while under way, answered, freed. */
#include "roles/chat.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "net/mem.h"
#include "net/planted.h"

void chat_ops_init(struct chat_ops *ops)
{
    ops->first = NULL;
    ops->last = &ops->first;
}

void chat_ops_push(struct chat_ops *ops, struct chat_op *op)
{
    op->next = NULL;
    *ops->last = op;
    ops->last = &op->next;
}

void chat_ops_unshift(struct chat_ops *ops, struct chat_op *op)
{
    op->next = ops->first;
    ops->first = op;
    if (op->next == NULL)
        ops->last = &op->next;
}

void chat_ops_prepend(struct chat_ops *ops, struct chat_ops *front)
{
    if (front->first == NULL)
        return;
    *front->last = ops->first;
    if (ops->first == NULL)
        ops->last = front->last;
    ops->first = front->first;
}

struct chat_op *chat_ops_pop(struct chat_ops *ops)
{
    struct chat_op *op = ops->first;

    if (op == NULL)
        return NULL;
    ops->first = op->next;
    if (ops->first == NULL)
        ops->last = &ops->first;
    op->next = NULL;
    return op;
}

/* What the digest is of, so that the same id with another message is told from a repeat. */
struct digest_head {
    uint64_t refers_to_seq;
    uint32_t kind;
    uint32_t content_type_len;
};

static uint64_t digest_of(const uint8_t *text, size_t len)
{
    static const unsigned char key[crypto_shorthash_KEYBYTES] = "bytetalk digest";
    unsigned char out[crypto_shorthash_BYTES];
    uint64_t digest;

    crypto_shorthash(out, text, len, key);
    memcpy(&digest, out, sizeof digest);
    return digest != 0 ? digest : 1;
}

enum {
    SPARE_TEXT = 256,  /* room for the text of one that is kept for reuse; a longer text's op is not */
    SPARE_MAX = BT_SPARES(1024), /* 600 KiB */
};

static struct chat_op *op_alloc(struct chat *chat, size_t text_len)
{
    size_t room = SPARE_MAX == 0 || text_len > SPARE_TEXT ? text_len : SPARE_TEXT;
    struct chat_op *op = text_len <= SPARE_TEXT ? chat->spare : NULL;

    if (op != NULL) {
        chat->spare = op->next;
        chat->nspare--;
    } else {
        op = bt_malloc(sizeof *op + room);
    }
    if (op != NULL) {
        memset(op, 0, sizeof *op);
        op->size = sizeof *op + text_len;
        op->room = room;
    }
    return op;
}

static void op_dispose(struct chat *chat, struct chat_op *op)
{
    if (op->room > SPARE_TEXT || chat->nspare == SPARE_MAX) {
        bt_free(op);
        return;
    }
    op->next = chat->spare;
    chat->spare = op;
    chat->nspare++;
}

void chat_op_free_spares(struct chat *chat)
{
    struct chat_op *op;

    while ((op = chat->spare) != NULL) {
        chat->spare = op->next;
        bt_free(op);
    }
    chat->nspare = 0;
}

struct chat_op *chat_op_new(struct chat *chat, enum chat_op_kind kind, struct rpc_call *call, int32_t row_kind, uint64_t refers_to_seq,
                            struct rpc_bytes content_type, struct rpc_bytes body)
{
    const struct digest_head head = { refers_to_seq, (uint32_t)row_kind, (uint32_t)content_type.len };
    size_t text_len = sizeof head + content_type.len + body.len;
    const struct rpc_header *h = rpc_call_header(call);
    struct chat_op *op = op_alloc(chat, text_len);
    uint8_t *at;

    if (op == NULL)
        return NULL;
    op->kind = kind;
    op->call = call;
    op->look = (h->flags & RPC_FLAG_RESEND) != 0 && !planted(PLANTED_NO_KEY);
    op->except_session = h->session;
    op->trace = h->trace;
    at = op->text;
    memcpy(at, &head, sizeof head);
    at += sizeof head;
    if (content_type.len > 0)
        memcpy(at, content_type.data, content_type.len);
    op->row.content_type = at;
    op->row.content_type_len = (uint32_t)content_type.len;
    at += content_type.len;
    if (body.len > 0)
        memcpy(at, body.data, body.len);
    op->row.body = at;
    op->row.body_len = (uint32_t)body.len;
    op->row.kind = row_kind;
    op->row.refers_to_seq = refers_to_seq;
    op->row.sender_id = h->caller;
    if (kind != OP_SIGNAL && kind != OP_DROP) /* those are never stored */
        op->row.digest = digest_of(op->text, text_len);
    rpc_key_of(h->caller, h->target, &op->row.hi, &op->row.lo);
    chat->nops++;
    chat->op_bytes += op->size;
    return op;
}

void chat_op_free(struct chat *chat, struct chat_op *op)
{
    assert(op->call == NULL && op->twins == NULL && !op->is_listed);
    chat->nops--;
    chat_load_end(chat, op->is_done);
    chat->op_bytes -= op->size;
    bt_free(op->merged);
    op_dispose(chat, op);
    chat_maybe_idle(chat);
}

/* ---- answering ------------------------------------------------------------------------------------------------------------ */

void chat_op_reply(struct chat_op *op)
{
    struct chat_op *twin;

    if (op->call != NULL) {
        switch (op->kind) {
        case OP_SEND:
        case OP_EDIT:
        case OP_RECALL:
            rpc_reply(op->call, &(SendReply){ .seq = op->row.seq, .sent_ms = op->row.sent_ms });
            break;
        case OP_SIGNAL:
            rpc_reply(op->call, &(SignalReply){ 0 });
            break;
        case OP_APPLY:
            rpc_reply(op->call, &(GroupReply){ .seq = op->row.seq });
            break;
        case OP_DROP:
            rpc_reply(op->call, &(DropRightsReply){ 0 });
            break;
        }
        op->call = NULL;
    }
    while ((twin = op->twins) != NULL) {
        op->twins = twin->twins;
        twin->twins = NULL;
        twin->row.seq = op->row.seq;
        twin->row.sent_ms = op->row.sent_ms;
        chat_op_reply(twin);
        chat_op_free(twin->conv->chat, twin);
    }
}

void chat_op_fail(struct chat_op *op, enum bt_err err, const char *detail)
{
    enum { RETRY_MS = 200 };
    struct chat_op *twin;

    if (op->call != NULL) {
        bool later = err == BT_EBUSY || err == BT_EDOWN || err == BT_EFULL;
        rpc_fail_retry(op->call, err, later ? RETRY_MS : 0, "%s", detail != NULL ? detail : bt_err_text(err));
        op->call = NULL;
    }
    while ((twin = op->twins) != NULL) {
        op->twins = twin->twins;
        twin->twins = NULL;
        chat_op_fail(twin, err, detail);
        chat_op_free(twin->conv->chat, twin);
    }
}

static bool is_late(const struct rpc_call *call)
{
    return call != NULL && rpc_call_left_ms(call) == 0;
}

void chat_op_expire(struct chat_op *op)
{
    static const char detail[] = "written perhaps; send it again";

    for (struct chat_op **at = &op->twins; *at != NULL;) {
        struct chat_op *twin = *at;
        if (!is_late(twin->call)) {
            at = &twin->twins;
            continue;
        }
        *at = twin->twins;
        twin->twins = NULL;
        chat_op_fail(twin, BT_EUNSURE, detail);
        chat_op_free(twin->conv->chat, twin);
    }
    if (is_late(op->call)) {
        rpc_fail(op->call, BT_EUNSURE, detail);
        op->call = NULL;
    }
}

void chat_op_end(struct chat *chat, struct chat_op *op, enum bt_err err, const char *detail)
{
    chat_ids_remove(chat, op);
    chat_op_fail(op, err, detail);
    chat_op_free(chat, op);
}

/* ---- ids under way ---------------------------------------------------------------------------------------------------------- */

static size_t ids_slot(const struct chat *chat, const struct chat_op *op)
{
    uint64_t x = op->row.client_msg_id * UINT64_C(0x9e3779b97f4a7c15) ^ op->row.sender_id * UINT64_C(0xff51afd7ed558ccd) ^ op->row.hi ^ op->row.lo << 32;

    x ^= x >> 29;
    return (size_t)(x * UINT64_C(0xbf58476d1ce4e5b9) >> 20) & (chat->ids_cap - 1);
}

static enum bt_err ids_grow(struct chat *chat)
{
    size_t old_cap = chat->ids_cap, cap = old_cap != 0 ? old_cap * 2 : 256;
    struct chat_op **old = chat->ids, **ids = bt_calloc(cap, sizeof *ids);

    if (ids == NULL)
        return BT_ENOMEM;
    chat->ids = ids;
    chat->ids_cap = cap;
    for (size_t i = 0; i < old_cap; i++) {
        struct chat_op *op, *next;
        for (op = old[i]; op != NULL; op = next) {
            size_t slot = ids_slot(chat, op);
            next = op->ids_next;
            op->ids_next = ids[slot];
            ids[slot] = op;
        }
    }
    bt_free(old);
    return BT_OK;
}

enum bt_err chat_ids_add(struct chat *chat, struct chat_op *op)
{
    size_t slot;

    assert(!op->is_listed);
    if (chat->nids >= chat->ids_cap && ids_grow(chat) != BT_OK && chat->ids_cap == 0)
        return BT_ENOMEM;
    slot = ids_slot(chat, op);
    op->ids_next = chat->ids[slot];
    chat->ids[slot] = op;
    op->is_listed = true;
    chat->nids++;
    return BT_OK;
}

void chat_ids_remove(struct chat *chat, struct chat_op *op)
{
    struct chat_op **at;

    if (!op->is_listed)
        return;
    for (at = &chat->ids[ids_slot(chat, op)]; *at != op; at = &(*at)->ids_next)
        assert(*at != NULL);
    *at = op->ids_next;
    op->ids_next = NULL;
    op->is_listed = false;
    chat->nids--;
}

struct chat_op *chat_ids_find(const struct chat *chat, const struct chat_op *like)
{
    struct chat_op *op;

    if (chat->ids_cap == 0)
        return NULL;
    for (op = chat->ids[ids_slot(chat, like)]; op != NULL; op = op->ids_next)
        if (op->row.client_msg_id == like->row.client_msg_id && op->row.sender_id == like->row.sender_id && op->row.hi == like->row.hi &&
            op->row.lo == like->row.lo)
            return op;
    return NULL;
}
