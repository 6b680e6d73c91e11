/*
 * store/friend.h: friendships, requests and blocks: what two users are to each other, changed together.
 *
 * Each of a pair has a row for the other; a row that would say nothing is not there. Reads hand the rows of the
 * database to a db_rows_cb; the store_..._at() function of the same name reads them. Errors are those of
 * store/db.h. Loop thread only; parameters are borrowed for the call.
 */
#ifndef BT_STORE_FRIEND_H
#define BT_STORE_FRIEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/account.h"
#include "store/db.h"

struct store;

/* FriendState of client.proto, as the table has it. */
enum store_friend_state { STORE_NO_FRIEND, STORE_REQUEST_SENT, STORE_REQUEST_RECEIVED, STORE_FRIENDS };

/* How one of the two sees the other. */
struct store_friend_side {
    enum store_friend_state state;
    bool blocked;            /* he blocks the other */
};
struct store_friend_pair {
    struct store_friend_side own, peer;
};

/* All there is about a pair: its two sides, and of each user whether he exists, his name, his friends and requests. */
struct store_friend_facts {
    struct store_friend_pair pair;
    bool own_exists, peer_exists;
    struct store_text own_name, peer_name;  /* point into the rows */
    int64_t own_count, peer_count;
    int64_t peer_asked;                     /* requests that the peer has received */
};
void store_friend_facts(struct store *st, uint64_t user_id, uint64_t peer_id, db_rows_cb *cb, void *arg);
void store_friend_facts_at(const struct db_rows *rows, uint64_t user_id, struct store_friend_facts *out);

/*
 * Make `old`, as it was read, `new`, which differs from it: both sides or none. BT_ECONFLICT, BT_EEXIST: it is no longer
 * as it was read. A side that stays as it was is not looked at.
 */
void store_friend_change(struct store *st, uint64_t user_id, uint64_t peer_id, const struct store_friend_pair *old,
                         const struct store_friend_pair *new, db_done_cb *cb, void *arg);

/* A user's rows after `after_id`, by rising id, at most limit of them. */
struct store_friend {
    uint64_t user_id;
    struct store_text name;
    struct store_friend_side side;
    int64_t changed_ms;
};
void store_friend_list(struct store *st, uint64_t user_id, uint64_t after_id, size_t limit, db_rows_cb *cb, void *arg);
bool store_friend_list_at(const struct db_rows *rows, size_t r, struct store_friend *out);

/* The ids of a user's friends (STORE_FRIENDS) after `after_id`, by rising id, at most limit of them. */
void store_friend_ids(struct store *st, uint64_t user_id, uint64_t after_id, size_t limit, db_rows_cb *cb, void *arg);
bool store_friend_ids_at(const struct db_rows *rows, size_t r, uint64_t *id_out);

#endif
