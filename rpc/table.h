/*
 * rpc/table.h: open calls by id. Entries are embedded in their owner's object; a table of few is a list and holds no memory.
 */
#ifndef BT_RPC_TABLE_H
#define BT_RPC_TABLE_H

#include <stdint.h>

struct rpc_entry {
    struct rpc_entry *next;
    uint32_t id;
};

/* Zeroed before first use. */
struct rpc_table {
    union {
        struct rpc_entry *list;      /* width 0 */
        struct rpc_entry **buckets;
    };
    uint32_t count;
    uint32_t width;                  /* a power of two, or 0 */
};

/* The id must not be in the table. Never fails: without memory for more buckets, look-ups get slower. */
void rpc_table_add(struct rpc_table *t, struct rpc_entry *entry);
struct rpc_entry *rpc_table_find(const struct rpc_table *t, uint32_t id);   /* NULL: none */
struct rpc_entry *rpc_table_take(struct rpc_table *t, uint32_t id);         /* found and removed; NULL: none */
struct rpc_entry *rpc_table_take_any(struct rpc_table *t);                  /* NULL: empty */
void rpc_table_deinit(struct rpc_table *t);                                 /* of an empty one: frees its buckets */

#endif
