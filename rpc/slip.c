/* rpc/slip.c: the memory of frames on their way: got once, and used again. */
#include "rpc/slip.h"

#include "net/mem.h"

enum {
    ROOM = 1024,     /* a slip with more is not kept */
    SPARE_MAX = 512, /* 600 KB */
};

struct rpc_slip *rpc_slip_new(struct rpc_spare_slips *spare, size_t len)
{
    struct rpc_slip *slip = len <= ROOM ? spare->first : NULL;

    if (slip) {
        spare->first = (struct rpc_slip *)slip->link.next;
        spare->count--;
        return slip;
    }
    size_t room = len <= ROOM ? ROOM : len;
    slip = bt_malloc(sizeof *slip + room);
    if (slip)
        slip->room = room;
    return slip;
}

void rpc_slip_free(struct rpc_spare_slips *spare, struct rpc_slip *slip)
{
    if (slip->room > ROOM || spare->count == SPARE_MAX) {
        bt_free(slip);
        return;
    }
    slip->link.next = (struct rpc_queue *)spare->first;
    spare->first = slip;
    spare->count++;
}

void rpc_slip_free_spare(struct rpc_spare_slips *spare)
{
    while (spare->first) {
        struct rpc_slip *slip = spare->first;
        spare->first = (struct rpc_slip *)slip->link.next;
        bt_free(slip);
    }
    spare->count = 0;
}
