/* net/wake.c: what reaches the loop from outside its thread: finished work, bells that other threads ring, signals. */
#include "net/mem.h"
#include "net/net_internal.h"

struct net_work_item {
    uv_work_t req;
    net_work_cb *work;
    net_work_done_cb *done;
    void *arg;
};

static void work_run(uv_work_t *req)
{
    struct net_work_item *item = req->data;

    item->work(item->arg);
}

static void work_done(uv_work_t *req, int status)
{
    struct net_work_item item = *(struct net_work_item *)req->data;
    struct net_loop *loop = req->loop->data;

    bt_free(req->data);
    loop->works_open--;
    item.done(item.arg, status == UV_ECANCELED ? BT_ECANCELLED : BT_OK);
}

enum bt_err net_work(struct net_loop *loop, net_work_cb *work, net_work_done_cb *done, void *arg)
{
    struct net_work_item *item = bt_malloc(sizeof *item);

    if (!item)
        return BT_ENOMEM;
    item->req.data = item;
    item->work = work;
    item->done = done;
    item->arg = arg;
    if (uv_queue_work(&loop->uv, &item->req, work_run, work_done) != 0) {
        bt_free(item);
        return BT_ENOMEM;
    }
    loop->works_open++;
    return BT_OK;
}

struct net_wake {
    uv_async_t async; /* first: handle and bell convert by a cast */
    net_task_cb *cb;
    void *arg;
};

static void free_handle(uv_handle_t *handle)
{
    bt_free(handle);
}

static void wake_rung(uv_async_t *async)
{
    struct net_wake *wake = (struct net_wake *)async;

    wake->cb(wake->arg);
}

enum bt_err net_wake_new(struct net_loop *loop, net_task_cb *cb, void *arg, struct net_wake **out)
{
    struct net_wake *wake = bt_malloc(sizeof *wake);

    if (!wake)
        return BT_ENOMEM;
    if (uv_async_init(&loop->uv, &wake->async, wake_rung) != 0) {
        bt_free(wake);
        return BT_EINTERNAL;
    }
    wake->cb = cb;
    wake->arg = arg;
    *out = wake;
    return BT_OK;
}

void net_wake_ring(struct net_wake *wake)
{
    uv_async_send(&wake->async);
}

void net_wake_close(struct net_wake *wake)
{
    uv_close((uv_handle_t *)&wake->async, free_handle);
}

struct net_signal {
    uv_signal_t signal; /* first, as above */
    net_signal_cb *cb;
    void *arg;
};

static void signal_came(uv_signal_t *handle, int signum)
{
    struct net_signal *sig = (struct net_signal *)handle;

    sig->cb(signum, sig->arg);
}

enum bt_err net_signal_new(struct net_loop *loop, int signum, net_signal_cb *cb, void *arg, struct net_signal **out)
{
    struct net_signal *sig = bt_malloc(sizeof *sig);

    if (!sig)
        return BT_ENOMEM;
    if (uv_signal_init(&loop->uv, &sig->signal) != 0) {
        bt_free(sig);
        return BT_EINTERNAL;
    }
    sig->cb = cb;
    sig->arg = arg;
    if (uv_signal_start(&sig->signal, signal_came, signum) != 0) {
        uv_close((uv_handle_t *)&sig->signal, free_handle);
        return BT_EINVAL;
    }
    uv_unref((uv_handle_t *)&sig->signal);
    *out = sig;
    return BT_OK;
}

void net_signal_close(struct net_signal *sig)
{
    uv_close((uv_handle_t *)&sig->signal, free_handle);
}
