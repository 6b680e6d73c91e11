/* rpc/slip.c: the memory of frames on their way: got once, and used again. */
#include "rpc/slip.h"

#include "net/mem.h"

enum { SHORT = BT_SPARES(1024) }; /* most are: told without a search */

/* What has room for so many bytes, of which so many are kept: 1 MiB. A longer one is not. */
static const struct {
    size_t room;
    unsigned max;
} sizes[RPC_SLIP_SIZES] = {
    { SHORT, BT_SPARES(512) },
    { 8 * 1024, BT_SPARES(32) },
    { 64 * 1024, BT_SPARES(4) },
};

/* RPC_SLIP_SIZES: longer than all that are kept. */
static size_t size_for(size_t len)
{
    size_t i = 0;

    while (i < RPC_SLIP_SIZES && (sizes[i].max == 0 || len > sizes[i].room))
        i++;
    return i;
}

struct rpc_slip *rpc_slip_new(struct rpc_spare_slips *spare, size_t len)
{
    size_t size = SHORT > 0 && len <= SHORT ? 0 : size_for(len);
    struct rpc_slip *slip = size < RPC_SLIP_SIZES ? spare->of[size].first : NULL;

    if (slip) {
        spare->of[size].first = (struct rpc_slip *)slip->link.next;
        spare->of[size].count--;
        return slip;
    }
    slip = bt_malloc(sizeof *slip + (size < RPC_SLIP_SIZES ? sizes[size].room : len));
    if (slip)
        slip->size = size;
    return slip;
}

void rpc_slip_free(struct rpc_spare_slips *spare, struct rpc_slip *slip)
{
    size_t size = slip->size;

    if (size == RPC_SLIP_SIZES || spare->of[size].count == sizes[size].max) {
        bt_free(slip);
        return;
    }
    slip->link.next = (struct rpc_queue *)spare->of[size].first;
    spare->of[size].first = slip;
    spare->of[size].count++;
}

void rpc_slip_free_spare(struct rpc_spare_slips *spare)
{
    for (size_t i = 0; i < RPC_SLIP_SIZES; i++) {
        while (spare->of[i].first) {
            struct rpc_slip *slip = spare->of[i].first;
            spare->of[i].first = (struct rpc_slip *)slip->link.next;
            bt_free(slip);
        }
        spare->of[i].count = 0;
    }
}
