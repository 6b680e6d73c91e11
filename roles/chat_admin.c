/* roles/chat_admin.c: where users are connected, by presence, for operators. */
#include "roles/chat.h"

#include <string.h>

#include "net/mem.h"
#include "proto/chat_methods.h"

/* A question that waits for presence. */
struct where {
    struct chat_wait wait; /* first */
    struct rpc_call *call;
    size_t nusers;
    uint64_t users[];
};

static size_t places_of(struct chat *chat, const struct where *q, UserPlace *out)
{
    size_t n = 0;

    for (size_t i = 0; i < q->nusers; i++) {
        const struct chat_trace *t = chat_presence_first(chat, q->users[i]);
        for (; t != NULL; t = chat_presence_next(chat, t), n++) {
            const struct presence_node *p = presence_node(chat->env.presence, t->node);
            if (out != NULL)
                out[n] = (UserPlace){ .user_id = q->users[i], .address = rpc_str(p->address), .epoch = p->epoch };
        }
    }
    return n;
}

static void where_run(struct chat *chat, struct chat_wait *w, enum bt_err err)
{
    struct where *q = (struct where *)w;
    WhoIsWhereReply reply = { 0 };

    if (err != BT_OK) {
        rpc_fail(q->call, BT_EDOWN, "presence is away");
        bt_free(q);
        return;
    }
    reply.places = bt_calloc(places_of(chat, q, NULL) + 1, sizeof *reply.places);
    if (reply.places == NULL) {
        rpc_fail(q->call, BT_ENOMEM, NULL);
        bt_free(q);
        return;
    }
    reply.places_count = (pb_size_t)places_of(chat, q, reply.places);
    rpc_reply(q->call, &reply);
    bt_free(reply.places);
    bt_free(q);
}

void chat_who_is_where(struct rpc_call *call, const void *msg, void *self)
{
    const WhoIsWhereRequest *req = msg;
    size_t n = req->users.len / 8;
    struct where *q = bt_calloc(1, sizeof *q + n * sizeof q->users[0]);

    if (q == NULL) {
        rpc_fail(call, BT_ENOMEM, NULL);
        return;
    }
    q->call = call;
    q->nusers = n;
    for (size_t i = 0; i < n; i++)
        q->users[i] = rpc_bytes_u64(req->users, i);
    q->wait.run = where_run;
    chat_presence_look(self, &q->wait);
}
