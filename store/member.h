/*
 * store/member.h: what a user has in conversations: which ones, from where to where, and how far he has got them.
 *
 * Writing members is the conversation's owner's part (conversation.h); here marks alone are written. All callbacks: exactly
 * once, on the loop thread, never before the call that armed them returned; rows are lent to them. Errors are db.h's.
 */
#ifndef BT_STORE_MEMBER_H
#define BT_STORE_MEMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/db.h"

struct store;

/* One conversation, as one of its present or former members has it. */
struct store_place {
    uint64_t hi, lo, user_id;
    uint64_t joined_seq, left_seq;       /* left_seq 0: still in; joined_seq 0: never was (invited, asking) */
    uint64_t delivered_seq, read_seq;
    uint64_t head_seq;                   /* of the log; 0: empty */
};

/* The last seq that he may see. */
static inline uint64_t store_place_top(const struct store_place *p)
{
    return p->left_seq && p->left_seq < p->head_seq ? p->left_seq : p->head_seq;
}

/*
 * The conversations in which a user is or was, and whose log is not empty, ordered by (hi, lo): after one key (not
 * included) up to another (included). At most `limit` rows. Rows: store_place_of().
 */
void store_places(struct store *st, uint64_t user_id, uint64_t after_hi, uint64_t after_lo, uint64_t until_hi, uint64_t until_lo, size_t limit,
                  db_rows_cb *cb, void *arg);

/* Up to STORE_PLACES_MAX places by (hi, lo, user_id), as the first three fields say, ordered by them; those that are not there are left out. */
enum { STORE_PLACES_MAX = 16 };
void store_places_find(struct store *st, const struct store_place *keys, size_t n, db_rows_cb *cb, void *arg);

struct store_place store_place_of(const struct db_rows *rows, size_t r);

/* A stretch of a log, both ends included; first > last: empty. */
struct store_range {
    uint64_t hi, lo;
    uint64_t first, last;
    uint64_t left_seq;                   /* for reading texts: who reads left by that message, and sees nothing written after; 0: he was in */
    uint64_t user_id;                    /* for reading texts: who reads, as he may leave any moment; 0: no matter */
};

/* What a list of conversations shows besides. name is lent with the rows. */
struct store_outline {
    uint64_t hi, lo;
    uint32_t unread;                     /* within the range asked, if counted */
    const void *name;                    /* the peer's or the group's */
    size_t name_len;
    uint64_t peer_delivered_seq, peer_read_seq; /* 1:1 */
};

/*
 * Outlines of up to STORE_OUTLINES_MAX places of one user, ordered by (hi, lo). Unread are those messages in the range (which
 * the caller keeps short: each row of it is looked at) that others wrote, that are text or application's, and not recalled;
 * with is_counted false they are 0 and the range is of no matter, which spares most of the work.
 */
enum { STORE_OUTLINES_MAX = 16 };
void store_outlines(struct store *st, uint64_t user_id, const struct store_range *ranges, size_t n, bool is_counted, db_rows_cb *cb,
                    void *arg);
struct store_outline store_outline_of(const struct db_rows *rows, size_t r);

/* Part of an atomic list: let the marks of a place rise to these; a mark that stands higher stays. */
void store_marks_add(struct db_list *list, const struct store_place *marks);

/*
 * May user_id ask who has message seq, and how many have it: one row if he is in the conversation and the message stands there,
 * else none. Counted are those who were in when it was written and still are, but for the sender; with is_counted false
 * nobody is, which spares reading them all.
 */
struct store_receipt_counts {
    uint64_t joined_seq;                 /* of user_id */
    uint64_t sender_id;
    uint32_t members, delivered, read;
};
void store_receipt_counts(struct store *st, uint64_t hi, uint64_t lo, uint64_t seq, uint64_t user_id, bool is_counted, db_rows_cb *cb, void *arg);
struct store_receipt_counts store_receipt_counts_of(const struct db_rows *rows);

/* Those members after one user id, by rising id, at most `limit`. */
struct store_receipt {
    uint64_t user_id;
    bool delivered, read;
};
void store_receipts(struct store *st, uint64_t hi, uint64_t lo, uint64_t seq, uint64_t sender_id, uint64_t after_user_id, size_t limit, db_rows_cb *cb, void *arg);
struct store_receipt store_receipt_of(const struct db_rows *rows, size_t r, uint64_t seq);

#endif
