/* store/store_internal.h: what store.c and store_id.c share. */
#ifndef BT_STORE_STORE_INTERNAL_H
#define BT_STORE_STORE_INTERNAL_H

#include "net/loop.h"
#include "store/schema.h"
#include "store/store.h"

enum { STORE_SPARE_WAITERS = 64 };

/* Somebody who waits for an id. */
struct store_waiter {
    struct store_waiter *next;
    bool is_spare;
    enum bt_err err;
    uint64_t id;
    store_id_cb *cb;
    void *arg;
};
struct store_waiters {
    struct store_waiter *head, **tail;
};

/* The ids of one name: what is leased, what is being leased, who waits. */
struct store_range {
    struct store_range *next;
    struct store *store;
    const char *name;
    uint64_t next_id, end_id;    /* leased and not given out: [next_id, end_id) */
    uint64_t ahead_id, ahead_end; /* the lease after it */
    uint64_t asked_id;           /* the first id of the lease that is being written */
    uint64_t generation;         /* of the db when these were leased */
    int tries;                   /* of the lease under way */
    bool is_leasing;
    struct store_waiters waiting;
};

struct store {
    struct net_loop *loop;
    struct db *db;
    char *dir;
    int lock_fd;                 /* -1: not locked */
    int64_t last_ms;
    int64_t id_lease;
    struct store_range *ranges;
    struct store_waiters answers; /* ready to be given at the next turn */
    struct net_task answer_task;
    struct store_waiter spare_mem[STORE_SPARE_WAITERS], *spares;
    size_t open_ids;             /* asked and not answered */
    bool is_closing;
    bool is_db_closed;
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

/* store.c: open with another schema than ours: how tests make old and new databases. */
enum bt_err store_open_schema(struct net_loop *loop, const struct conf *conf, enum store_mode mode, const struct schema *schema,
                              struct store **out, char *why, size_t why_size);
void store_closed_maybe(struct store *st); /* frees st when the db has closed and no id is owed any more */

/* store_id.c */
void store_ids_init(struct store *st);
void store_ids_deinit(struct store *st);

#endif
