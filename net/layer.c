/* net/layer.c: byte layers between the socket and the framer of a connection. */
#include "net/mem.h"
#include "net/net_internal.h"

void net_conn_push_layer(struct net_conn *c, struct net_layer *l)
{
    struct net_stack *stack = c->stack;

    assert(!c->is_reading); /* bytes that have passed cannot be fed to it */
    if (!stack) {
        assert(c->queued == 0);
        stack = c->stack = bt_calloc(1, sizeof *stack);
        if (!stack) {
            l->ops->free(l);
            net_conn_fail(c, BT_ENOMEM);
            return;
        }
    }
    l->conn = c;
    l->is_server = c->is_server;
    l->above = NULL;
    l->below = stack->top;
    if (stack->top)
        stack->top->above = l;
    else
        stack->bottom = l;
    stack->top = l;
}

enum bt_err net_layer_up(struct net_layer *l, const uint8_t *data, size_t len)
{
    if (l->conn->is_closing)
        return BT_ECLOSING;
    if (l->above)
        return l->above->ops->in(l->above, data, len);
    return net_conn_input(l->conn, data, len);
}

enum bt_err net_layer_down(struct net_layer *l, const uint8_t *data, size_t len)
{
    if (l->conn->is_closing)
        return BT_ECLOSING;
    if (l->below)
        return l->below->ops->out(l->below, data, len);
    return net_conn_wire(l->conn, data, len);
}

enum bt_err net_stack_open(struct net_conn *c)
{
    enum bt_err err = BT_OK;

    for (struct net_layer *l = c->stack ? c->stack->bottom : NULL; l && !err && !c->is_closing; l = l->above)
        if (l->ops->open)
            err = l->ops->open(l);
    return err;
}

enum bt_err net_stack_ended(struct net_conn *c)
{
    enum bt_err err = BT_OK;

    for (struct net_layer *l = c->stack ? c->stack->bottom : NULL; l && !err && !c->is_closing; l = l->above)
        if (l->ops->ended)
            err = l->ops->ended(l);
    return err;
}

void net_stack_finish(struct net_conn *c)
{
    for (struct net_layer *l = c->stack ? c->stack->top : NULL; l && !c->is_closing; l = l->below)
        if (l->ops->finish)
            l->ops->finish(l);
}

static void remove_layer(struct net_stack *stack, struct net_layer *l)
{
    *(l->below ? &l->below->above : &stack->bottom) = l->above;
    *(l->above ? &l->above->below : &stack->top) = l->below;
    l->ops->free(l);
}

void net_stack_thin(struct net_conn *c)
{
    struct net_stack *stack = c->stack;
    struct net_layer *above;

    if (c->is_closing)
        return;
    for (struct net_layer *l = stack->bottom; l; l = above) {
        above = l->above;
        if (l->is_done)
            remove_layer(stack, l);
    }
    if (stack->bottom)
        return;
    net_chain_move(&c->out, &stack->plain); /* it would have passed as it is */
    c->stack = NULL;
    bt_free(stack);
}

void net_stack_free(struct net_conn *c)
{
    struct net_stack *stack = c->stack;

    if (!stack)
        return;
    c->stack = NULL;
    while (stack->bottom) {
        struct net_layer *l = stack->bottom;

        stack->bottom = l->above;
        l->ops->free(l);
    }
    net_chain_drop(net_loop_of(c), &stack->plain);
    bt_free(stack);
}
