/*
 * store/history.h: reading the logs of conversations, as members are served them.
 *
 * What an edit says stands in the message that it edits, so both are read together and the edit is lent with it. All
 * callbacks: exactly once, on the loop thread, never before the call that armed them returned; rows are lent to them.
 * Errors are db.h's.
 */
#ifndef BT_STORE_HISTORY_H
#define BT_STORE_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "store/db.h"
#include "store/member.h"

struct store;

/*
 * A message as it is served: body and content type are empty once it was recalled; those of an edit are what the edited
 * message says now. Body and content type are empty where the text is from an edit after the range's left_seq,
 * or after its reader has left.
 */
struct store_logged {
    uint64_t hi, lo, seq;
    uint64_t sender_id, client_msg_id;
    int64_t sent_ms;
    int32_t kind;
    uint64_t refers_to_seq;
    const void *content_type, *body; /* lent with the rows */
    size_t content_type_len, body_len;
};

/*
 * All messages in up to STORE_RANGES_MAX stretches of different logs, all read by one user, ordered by (hi, lo,
 * seq). The caller keeps their sum small. Rows: store_logged_of().
 */
enum { STORE_RANGES_MAX = 16 };
void store_history(struct store *st, const struct store_range *ranges, size_t n, db_rows_cb *cb, void *arg);
struct store_logged store_logged_of(const struct db_rows *rows, size_t r);

#endif
