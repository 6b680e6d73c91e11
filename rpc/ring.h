/*
 * rpc/ring.h: the consistent hash ring: which chat node owns a conversation. A pure data structure.
 *
 * Each member has `weight` times RING_POINTS virtual nodes, placed by a hash of its name; a conversation belongs to the first one
 * at or after the hash of its key. Every process that knows the same members computes the same ring.
 */
#ifndef BT_RPC_RING_H
#define BT_RPC_RING_H

#include <stddef.h>
#include <stdint.h>

#include "net/err.h"

enum { RING_POINTS = 160 };

struct ring;
struct ring_member {
    const char *name;   /* unique; copied */
    uint32_t weight;    /* 1 is the ordinary share; 0: none */
    void *arg;          /* handed back by the look-ups */
};

/* Build a ring of n members (n 0: an empty one). *out is owned by the caller. BT_ENOMEM. Rings are not changed, but replaced. */
enum bt_err ring_new(const struct ring_member *members, size_t n, struct ring **out);
void ring_free(struct ring *r);

uint64_t ring_hash(uint64_t hi, uint64_t lo);

/*
 * The owner of a conversation, or the nth member after it on the ring (nth 0: the owner; each member counted once):
 * whom to ask when those before are passed over. NULL: no such, or nth is over 63.
 */
const struct ring_member *ring_find(const struct ring *r, uint64_t hi, uint64_t lo, size_t nth);

size_t ring_members(const struct ring *r);

/* The part of the ring, 0..1, that member `name` owns. For admin and tests. */
double ring_share(const struct ring *r, const char *name);

#endif
