/*
 * rpc/slip.h: frames on their way between the two ends of a pair: the queues that they stand in, and their memory.
 * For link_pair.c.
 */
#ifndef BT_RPC_SLIP_H
#define BT_RPC_SLIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/frame.h"

/* A ring: its head, and what stands in it, oldest first. */
struct rpc_queue {
    struct rpc_queue *next, *prev;
};

/* One frame. */
struct rpc_slip {
    struct rpc_queue link; /* first: they convert by a cast */
    struct rpc_frame frame;
    struct rpc_out *out;   /* of a request or reply; NULL: nobody waits for it any more */
    struct rpc_call *call; /* of a cancel; NULL: it has ended */
    size_t size;           /* of bytes[], where the payload is: an index, RPC_SLIP_SIZES: longer than is kept */
    uint8_t bytes[];
};

enum { RPC_SLIP_SIZES = 3 };

/* Kept for reuse, by size; zeroed before first use. */
struct rpc_spare_slips {
    struct {
        struct rpc_slip *first; /* by link.next */
        unsigned count;
    } of[RPC_SLIP_SIZES];
};

/* With room for len bytes, and nothing else set; NULL: no memory. */
struct rpc_slip *rpc_slip_new(struct rpc_spare_slips *spare, size_t len);
void rpc_slip_free(struct rpc_spare_slips *spare, struct rpc_slip *slip);
void rpc_slip_free_spare(struct rpc_spare_slips *spare);

static inline void rpc_queue_init(struct rpc_queue *head)
{
    head->next = head->prev = head;
}

static inline struct rpc_slip *rpc_queue_first(const struct rpc_queue *head) /* NULL: there is none */
{
    return head->next == head ? NULL : (struct rpc_slip *)head->next;
}

static inline void rpc_queue_add(struct rpc_queue *head, struct rpc_slip *slip)
{
    slip->link = (struct rpc_queue){ .next = head, .prev = head->prev };
    head->prev->next = &slip->link;
    head->prev = &slip->link;
}

static inline void rpc_queue_remove(struct rpc_slip *slip)
{
    slip->link.prev->next = slip->link.next;
    slip->link.next->prev = slip->link.prev;
}

/* All of one to another, which is empty. */
static inline void rpc_queue_move(struct rpc_queue *from, struct rpc_queue *to)
{
    if (from->next == from)
        return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    rpc_queue_init(from);
}

#endif
