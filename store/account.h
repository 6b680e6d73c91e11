/*
 * store/account.h: accounts: who there is, by id and by name, and whether they may log in.
 *
 * Reads hand the rows of the database to a db_rows_cb; the store_..._at() function of the same name reads one of them.
 * Errors are those of store/db.h. Loop thread only; parameters are borrowed for the call.
 */
#ifndef BT_STORE_ACCOUNT_H
#define BT_STORE_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/db.h"

struct store;

/* Some bytes of text, not terminated. p NULL: absent. */
struct store_text {
    const void *p;
    size_t len;
};

struct store_account {
    uint64_t user_id;
    struct store_text name; /* as typed */
    struct store_text hash; /* of the password */
    struct store_text about, avatar;
    int64_t created_ms;
    int64_t disabled_ms;    /* 0: may log in */
};

enum { STORE_ACCOUNT_NAMES_MAX = 200 };

/* One account by the canonical form of its name (store/name.h), or by id: no row, or one. */
void store_account_by_name(struct store *st, struct store_text canon, db_rows_cb *cb, void *arg);
void store_account_by_id(struct store *st, uint64_t user_id, db_rows_cb *cb, void *arg);

/* Read row r of either; views point into the rows. False: there is no such row. */
bool store_account_at(const struct db_rows *rows, size_t r, struct store_account *out);

/* Ids and names of those of n ids that exist, by rising id. n in 1 .. STORE_ACCOUNT_NAMES_MAX (asserted). */
void store_account_names(struct store *st, const uint64_t *ids, size_t n, db_rows_cb *cb, void *arg);
bool store_account_names_at(const struct db_rows *rows, size_t r, uint64_t *id_out, struct store_text *name_out);

/* Make an account: user_id, name, hash and created_ms of `a` are written. BT_EEXIST: the name is taken. */
void store_account_insert(struct store *st, const struct store_account *a, struct store_text canon, db_done_cb *cb, void *arg);

/* Change the profile; a text that is absent stays. BT_ECONFLICT: no such account. */
void store_account_set_profile(struct store *st, uint64_t user_id, struct store_text about, struct store_text avatar,
                               db_done_cb *cb, void *arg);

/*
 * Change the password and end all sessions but `keep_session` (0: all) with `reason`, at once or not at all.
 * BT_ECONFLICT: the account has another hash than old_hash, or is not there.
 */
void store_account_set_password(struct store *st, uint64_t user_id, struct store_text old_hash, struct store_text new_hash,
                                uint64_t keep_session, int reason, db_done_cb *cb, void *arg);

/* The same password in another hash; no session ends. BT_ECONFLICT as above. */
void store_account_set_hash(struct store *st, uint64_t user_id, struct store_text old_hash, struct store_text new_hash, db_done_cb *cb, void *arg);

/* Shut an account and end all its sessions with `reason`; open it again. Repeating is OK. BT_ECONFLICT: no such account. */
void store_account_disable(struct store *st, uint64_t user_id, int reason, db_done_cb *cb, void *arg);
void store_account_enable(struct store *st, uint64_t user_id, db_done_cb *cb, void *arg);

#endif
