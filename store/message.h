/*
 * store/message.h: writing the log of conversations, and knowing a repeat when it comes.
 *
 * Reading pages of it for members is history.h. All callbacks: exactly once, on the loop thread, never before the call
 * that armed them returned; rows are lent to them. Errors are db.h's.
 */
#ifndef BT_STORE_MESSAGE_H
#define BT_STORE_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "store/db.h"

struct store;

/* The numbers of `message.kind`. They are the protocol's (MessageKind); the roles assert it. */
enum store_message_kind { STORE_TEXT = 1, STORE_EDIT = 2, STORE_RECALL = 3, STORE_MEMBERSHIP = 4, STORE_APPLICATION = 5 };

/* One row. digest: of what the sender sent; never 0 but in a message that was recalled. */
struct store_message {
    uint64_t hi, lo, seq;
    uint64_t sender_id, client_msg_id;
    int64_t sent_ms;
    int32_t kind;
    uint64_t refers_to_seq;
    uint64_t digest;
    const void *content_type, *body;
    uint32_t content_type_len, body_len;
};

/* What a repeat is known by, and where it stands: seq 0 says that it does not. */
struct store_message_id {
    uint64_t hi, lo;
    uint64_t sender_id, client_msg_id;
    uint64_t seq;
    uint64_t digest;
    int64_t sent_ms;
};

/*
 * Write rows of any conversations in one commit, all or none; best
 * sorted by (hi, lo, seq). BT_EEXIST: a seq or an id stands already.
 */
void store_message_insert(struct store *st, const struct store_message *rows, size_t n, db_done_cb *cb, void *arg);

/* The same row as part of an atomic list. */
void store_message_add(struct db_list *list, const struct store_message *row);

/*
 * Part of a recall's or an edit's list: take body and content type of message seq
 * away, or replace them by the edit's. Exactly one row that has not been recalled.
 */
void store_message_add_empty(struct db_list *list, uint64_t hi, uint64_t lo, uint64_t seq);
void store_message_add_replace(struct db_list *list, const struct store_message *edit);

/*
 * The newest n (at least 1) ids of a conversation, newest first; none: the log is empty. Rows: store_message_id_of().
 */
void store_message_newest(struct store *st, uint64_t hi, uint64_t lo, size_t n, db_rows_cb *cb, void *arg);

/*
 * Those of up to STORE_FIND_MAX ids (their first four fields) that stand
 * in a log, in no order. One round trip. Rows: store_message_id_of().
 */
enum { STORE_FIND_MAX = 16 };
void store_message_find(struct store *st, const struct store_message_id *ids, size_t n, db_rows_cb *cb, void *arg);
/* The same by hi, lo and seq. */
void store_message_find_seqs(struct store *st, const struct store_message_id *ids, size_t n, db_rows_cb *cb, void *arg);
struct store_message_id store_message_id_of(const struct db_rows *rows, size_t r);

/*
 * One message by seq: what an edit or recall must know of what
 * it refers to; no row: there is none. Rows: store_message_of().
 */
void store_message_at(struct store *st, uint64_t hi, uint64_t lo, uint64_t seq, db_rows_cb *cb, void *arg);
struct store_message store_message_of(const struct db_rows *rows, size_t r); /* without its texts */

#endif
