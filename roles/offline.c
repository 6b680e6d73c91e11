/*
 * roles/offline.c: the offline role: what was missed, what was said before, and who has got how far.
 *
 * It keeps nothing but marks on their way to the store: any instance serves any user.
 */
#include <assert.h>

#include "net/conf.h"
#include "net/mem.h"
#include "proto/offline_methods.h"
#include "roles/offline_internal.h"

static const struct conf_key offline_keys[] = {
    { .section = "offline", .name = "reply_max_bytes", .type = CONF_INT, .def = "524288", .min = 16384, .max = 8388608, .unit = "bytes",
      .help = "Texts in one reply; a longer one is cut and continued. Must leave room for one message below the longest frame." },
    { .section = "offline", .name = "max_positions", .type = CONF_INT, .def = "4000", .min = 100, .max = 100000, .unit = "positions",
      .help = "Positions in one Pull." },
    { .section = "offline", .name = "max_marks", .type = CONF_INT, .def = "1000", .min = 1, .max = 10000, .unit = "marks", .help = "Marks in one Mark." },
    { .section = "offline", .name = "max_reads", .type = CONF_INT, .def = "256", .min = 1, .max = 100000, .unit = "calls",
      .help = "Reading calls under way at once; more are refused with RESOURCE_EXHAUSTED." },
    { .section = "offline", .name = "mark_batch_ms", .type = CONF_INT, .def = "20", .min = 0, .max = 1000, .unit = "ms",
      .help = "How long marks wait for others to be written with." },
    { .section = "offline", .name = "mark_batch", .type = CONF_INT, .def = "256", .min = 1, .max = 10000, .unit = "marks",
      .help = "As many marks are written without waiting." },
    { .section = "offline", .name = "mark_queue", .type = CONF_INT, .def = "20000", .min = 1, .max = 1000000, .unit = "marks",
      .help = "Marks waiting or under way at once; more are refused with RESOURCE_EXHAUSTED." },
    { .section = NULL },
};

bool offline_read_begin(struct offline_role *self, struct rpc_call *call)
{
    if (self->stopped_cb) {
        rpc_fail(call, BT_ECLOSING, NULL);
        return false;
    }
    if (self->reads >= self->max_reads) {
        rpc_fail_retry(call, BT_EBUSY, 100, "too many reads under way");
        return false;
    }
    self->reads++;
    return true;
}

void offline_read_end(struct offline_role *self)
{
    assert(self->reads > 0);
    self->reads--;
    offline_settle(self);
}

bool offline_message_fill(struct arena *arena, const struct store_logged *row, Message *out)
{
    const void *type = arena_copy(arena, row->content_type, row->content_type_len);
    const void *body = arena_copy(arena, row->body, row->body_len);
    if (!type || !body)
        return false;
    *out = (Message){
        .hi = row->hi,
        .lo = row->lo,
        .seq = row->seq,
        .sender_id = row->sender_id,
        .client_msg_id = row->client_msg_id,
        .sent_ms = row->sent_ms,
        .kind = (MessageKind)row->kind,
        .refers_to_seq = row->refers_to_seq,
        .content_type = rpc_bytes(type, row->content_type_len),
        .body = rpc_bytes(body, row->body_len),
    };
    return true;
}

static void offline_stop_done(void *arg)
{
    struct offline_role *self = arg;
    void (*stopped_cb)(void *) = self->stopped_cb;
    void *stopped_arg = self->stopped_arg;
    bt_free(self);
    stopped_cb(stopped_arg);
}

void offline_settle(struct offline_role *self)
{
    if (self->stopped_cb && self->reads == 0 && !offline_marks_open(self))
        net_defer(self->loop, &self->stop_task, offline_stop_done, self);
}

static void offline_stop(void *self_arg, void (*stopped_cb)(void *arg), void *arg)
{
    struct offline_role *self = self_arg;
    self->stopped_cb = stopped_cb;
    self->stopped_arg = arg;
    offline_marks_flush(self);
    offline_settle(self);
}

static enum bt_err offline_start(const struct role_env *env, void **self_out, char *why, size_t why_size)
{
    struct offline_role *self = bt_calloc(1, sizeof(*self));
    (void)why;
    (void)why_size;
    if (!self)
        return BT_ENOMEM;
    self->loop = env->loop;
    self->rpc = env->rpc;
    self->store = env->store;
    self->reply_max_bytes = (size_t)conf_int(env->conf, "offline", "reply_max_bytes");
    self->max_positions = (size_t)conf_int(env->conf, "offline", "max_positions");
    self->max_marks = (size_t)conf_int(env->conf, "offline", "max_marks");
    self->max_reads = (size_t)conf_int(env->conf, "offline", "max_reads");
    self->mark_batch_ms = (uint32_t)conf_int(env->conf, "offline", "mark_batch_ms");
    self->mark_batch = (size_t)conf_int(env->conf, "offline", "mark_batch");
    self->mark_queue = (size_t)conf_int(env->conf, "offline", "mark_queue");
    self->marks.last = &self->marks.first;
    *self_out = self;
    return BT_OK;
}

const struct role role_offline = {
    .name = "offline",
    .id = RPC_ROLE_OFFLINE,
    .keys = offline_keys,
    .methods = offline_methods,
    .needs_store = true,
    .start = offline_start,
    .stop = offline_stop,
};
