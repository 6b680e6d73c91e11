/*
 * store/sqlite.h: the SQLite backend as store.c uses it. <sqlite3.h> is included by store/sqlite*.c alone.
 *
 * One thread writes, a second one reads and checkpoints; the loop's thread only queues and takes answers.
 * The functions that take a path block, and are for the start and for operators' commands.
 */
#ifndef BT_STORE_SQLITE_H
#define BT_STORE_SQLITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/err.h"
#include "store/db.h"
#include "store/schema.h"
#include "store/store.h"

struct sqlite_conf {
    const char *path;     /* of the database file */
    bool is_durable;      /* false: nothing is synced; a power cut loses what was acknowledged */
    size_t queue;         /* statements */
    uint32_t timeout_ms;
    uint32_t cache_kib;   /* page cache of each of the two connections */
    uint32_t wal_kib;     /* the log is checkpointed when it grew beyond this */
};

/*
 * Bring the file to the schema that `schema` describes: make it (STORE_SERVE), upgrade it after a copy to
 * "<path>.v<old>" (STORE_SERVE), or only look whether it is current. STORE_LOOK finds a missing file in order.
 * Errors, with why: BT_ENOTFOUND (no file), BT_ESTATE (newer, or not current, or not ours), BT_EFULL, BT_EDENIED,
 * BT_EDOWN, BT_ENOMEM.
 */
enum bt_err sqlite_bring_up(const char *path, enum store_mode mode, const struct schema *schema, char *why, size_t why_size);

/* Copy a database, which may be in use, to a new file: consistent, synced, mode 0600. BT_EEXIST unless may_replace. */
enum bt_err sqlite_copy(const char *from, const char *to, bool may_replace, char *why, size_t why_size);

/* Open the file, which was brought up, and start the threads. *out is ended by db_close(). */
enum bt_err sqlite_start(struct net_loop *loop, const struct sqlite_conf *conf, struct db **out, char *why, size_t why_size);

#endif
