/*
 * store/session.h: sessions: begun by a login, found again by their device, ended for good.
 *
 * Reads hand the rows of the database to a db_rows_cb; the store_..._at() function of the same name reads one of them.
 * Errors are those of store/db.h. Loop thread only; parameters are borrowed for the call.
 */
#ifndef BT_STORE_SESSION_H
#define BT_STORE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/account.h"
#include "store/db.h"

struct store;

struct store_session {
    uint64_t session_id;
    int64_t device_id;        /* > 0: chosen by the device; -session_id: it chose none */
    struct store_text device; /* what it calls itself */
    int64_t created_ms;
};

/* A user's live sessions, newest first. */
void store_session_live(struct store *st, uint64_t user_id, db_rows_cb *cb, void *arg);
bool store_session_live_at(const struct db_rows *rows, size_t r, struct store_session *out);

/* One session, live or ended: no row, or one. _at: its end, 0 when it is live. */
void store_session_find(struct store *st, uint64_t user_id, uint64_t session_id, db_rows_cb *cb, void *arg);
bool store_session_find_at(const struct db_rows *rows, size_t r, int64_t *ended_ms_out);

/* A login that was decided on the account's hash and live sessions as they were read. */
struct store_login {
    uint64_t user_id;
    struct store_text hash;     /* the account's: must be the same still */
    struct store_session session;
    const uint64_t *replaced;   /* live sessions that give way, */
    size_t nreplaced;           /* and how many they are */
    size_t nleft;               /* live sessions besides those */
    int reason;                 /* why the replaced ones end */
};

/*
 * Begin a session and end those it replaces, at once or not at all: BT_ECONFLICT, BT_EEXIST: the password, the
 * account's being enabled, or its sessions changed since they were read: read again.
 */
void store_session_begin(struct store *st, const struct store_login *login, db_done_cb *cb, void *arg);

/* Log in to a session that stands (session_id; device becomes its name). BT_ECONFLICT as above; replaced and nleft are not looked at. */
void store_session_again(struct store *st, const struct store_login *login, db_done_cb *cb, void *arg);

/* End a session at `now_ms`. changed is 0 when there is no such live session. */
void store_session_end(struct store *st, uint64_t user_id, uint64_t session_id, int reason, int64_t now_ms, db_done_cb *cb, void *arg);

/* Move the end of a session that has ended to `now_ms`: who reads by time hears of it again. changed is 0 when it has not ended before that. */
void store_session_end_later(struct store *st, uint64_t user_id, uint64_t session_id, int64_t now_ms, db_done_cb *cb, void *arg);

/*
 * Sessions that ended at or after since_ms (> 0), oldest first: STORE_ENDED_PAGE of them and those that ended in the
 * same millisecond as the last. Fewer than STORE_ENDED_PAGE: there are no more; else ask on from the last one's end + 1.
 */
enum { STORE_ENDED_PAGE = 1000 };
struct store_ended {
    uint64_t user_id, session_id;
    int64_t ended_ms;
    int reason;
};
void store_session_ended(struct store *st, int64_t since_ms, db_rows_cb *cb, void *arg);
bool store_session_ended_at(const struct db_rows *rows, size_t r, struct store_ended *out);

#endif
