/* net/layer_xor.c: a byte layer for tests: changes every byte and passes them on one at a time. */
#include "net/layer_xor.h"

#include "net/mem.h"

enum { XOR_KEY = 0x5a };

static enum bt_err xor_each(struct net_layer *l, const uint8_t *data, size_t len,
                            enum bt_err (*pass_on)(struct net_layer *, const uint8_t *, size_t))
{
    enum bt_err err = BT_OK;

    for (size_t i = 0; i < len && err == BT_OK; i++) {
        uint8_t byte = data[i] ^ XOR_KEY;

        err = pass_on(l, &byte, 1);
    }
    return err;
}

static enum bt_err xor_in(struct net_layer *l, const uint8_t *data, size_t len)
{
    return xor_each(l, data, len, net_layer_up);
}

static enum bt_err xor_out(struct net_layer *l, const uint8_t *data, size_t len)
{
    return xor_each(l, data, len, net_layer_down);
}

static void xor_free(struct net_layer *l)
{
    bt_free(l);
}

static const struct net_layer_ops xor_ops = {
    .name = "xor",
    .in = xor_in,
    .out = xor_out,
    .free = xor_free,
};

struct net_layer *net_layer_xor_new(void)
{
    struct net_layer *l = bt_calloc(1, sizeof *l);

    if (l)
        l->ops = &xor_ops;
    return l;
}
