/*
 * store/store.h: opens the store that [store] url names, brings its schema up, and lends it to the roles.
 *
 * What is asked of it stands in one header per subject: account.h, session.h, friend.h, group.h, member.h, message.h.
 */
#ifndef BT_STORE_STORE_H
#define BT_STORE_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "net/conf.h"
#include "net/err.h"
#include "store/db.h"

struct net_loop;
struct store;

/* [store] url, durable, queue, timeout_ms, ...; [data] dir. */
extern const struct conf_key store_keys[];

enum store_mode {
    STORE_SERVE,    /* lock the data directory against a second server; upgrade an older schema, after a copy */
    STORE_OPERATE,  /* an operator's command beside a running server: no lock, the schema must be current */
    STORE_MIGRATE,  /* --migrate: make or upgrade the schema and end; *out is NULL */
    STORE_LOOK,     /* --check: no lock, nothing is changed or created; *out is NULL, the answer is all there is */
};

/*
 * Open. Ready when it returns BT_OK (a networked backend may then still be connecting: db_is_up()).
 * On an error `why` gets a line that says what happened, where, and what to do: the data directory is served by
 * process 1234 (BT_EEXIST); the schema is newer than this program (BT_ESTATE); no such directory, no permission.
 */
enum bt_err store_open(struct net_loop *loop, const struct conf *conf, enum store_mode mode, struct store **out, char *why, size_t why_size);

/* Where the store is, for people to read: no password. */
void store_show(const struct conf *conf, char *text, size_t size);
void store_close(struct store *st, void (*closed_cb)(void *arg), void *arg); /* waits for all calls; st is gone when closed_cb runs */

struct db *store_db(struct store *st);
int64_t store_now_ms(struct store *st); /* ms since 1970, the cluster's clock; never goes back within a process */
const char *store_data_dir(const struct store *st);

/*
 * An integer id, unique in the cluster for good, never 0, below 2^62, from a range leased ahead ([store] id_lease at a time).
 * `name` is a string literal: "entity" for users and groups. cb: BT_OK and the id, or the error of the lease's write.
 */
typedef void store_id_cb(enum bt_err err, uint64_t id, void *arg);
void store_next_id(struct store *st, const char *name, store_id_cb *cb, void *arg);

/* Make a store over a db that is open already; closing the store closes it. For tests with a scripted db. BT_ENOMEM. */
enum bt_err store_over(struct net_loop *loop, struct db *db, struct store **out);

/* Copy a running or stopped server's database to `path`, consistent, synced (SQLite). Blocks. BT_EEXIST: path exists. */
enum bt_err store_backup(const struct conf *conf, const char *path, char *why, size_t why_size);

#endif
