/* test/unit/fake_server.c: a server for the client's tests. */
#include "fake_server.h"

#include <stdlib.h>
#include <string.h>

#include "net/conn.h"
#include "proto/methods.h"
#include "rpc/call.h"
#include "rpc/link.h"

/* A test can't go on without. */
#define MUST(x)                                                                                                              \
    do {                                                                                                                     \
        if (!(x))                                                                                                            \
            abort();                                                                                                         \
    } while (0)

static const struct rpc_link_limits limits = {
    .max_frame_bytes = 1 << 20,
    .max_calls = 256,
    .allowed_flags = RPC_FLAGS_CLIENT,
    .net = { .out_high_bytes = 1 << 22, .out_low_bytes = 1 << 20, .in_max_bytes = 1 << 21 },
};

static void key_of(uint64_t target, uint64_t *hi, uint64_t *lo)
{
    bool is_group = target & RPC_TARGET_GROUP;
    target &= ~RPC_TARGET_GROUP;
    *hi = is_group || target > FAKE_USER ? target : FAKE_USER;
    *lo = is_group ? 0 : target > FAKE_USER ? FAKE_USER : target;
}

uint64_t fake_server_head(const struct fake_server *s, uint64_t hi, uint64_t lo)
{
    uint64_t head = 0;
    for (size_t n = 0; n < s->log_count; n++)
        if (s->log[n].hi == hi && s->log[n].lo == lo)
            head = s->log[n].seq;
    return head;
}

static struct fake_message *append(struct fake_server *s, uint64_t hi, uint64_t lo, uint64_t sender_id, uint64_t id, const void *body,
                                   size_t len)
{
    MUST(s->log_count < FAKE_MAX_MESSAGES);
    uint64_t seq = fake_server_head(s, hi, lo) + 1;
    struct fake_message *m = &s->log[s->log_count++];
    *m = (struct fake_message){ .hi = hi, .lo = lo, .seq = seq, .sender_id = sender_id, .id = id, .kind = MessageKind_TEXT };
    if (len > 0)
        memcpy(m->body, body, len < sizeof m->body - 1 ? len : sizeof m->body - 1);
    return m;
}

static Message wire_of(const struct fake_message *m)
{
    return (Message){ .hi = m->hi, .lo = m->lo, .seq = m->seq, .sender_id = m->sender_id, .client_msg_id = m->id, .sent_ms = 1000,
                      .kind = (MessageKind)m->kind, .body = rpc_str(m->body) };
}

/* The messages of a conversation from a seq on, at most `max` (0: all). */
static size_t messages_from(const struct fake_server *s, uint64_t hi, uint64_t lo, uint64_t from, size_t max, Message *out)
{
    size_t n = 0;
    for (size_t k = 0; k < s->log_count && (max == 0 || n < max); k++)
        if (s->log[k].hi == hi && s->log[k].lo == lo && s->log[k].seq >= from)
            out[n++] = wire_of(&s->log[k]);
    return n;
}

/* ---- methods ---- */

static void reply_login(const struct fake_server *s, struct rpc_call *call)
{
    bool is_other = s->login_user != 0 && s->login_user != FAKE_USER;
    LoginReply reply = { .user_id = is_other ? s->login_user : FAKE_USER, .session_id = 1, .token = rpc_str(is_other ? "other" : "token"),
                         .name = rpc_str(is_other ? "bob" : "alice"), .now_ms = 1000 };
    rpc_reply(call, &reply);
}

static void reply_hello(struct fake_server *s, struct rpc_call *call)
{
    HelloReply reply = { .version = 1, .max_frame_bytes = 1 << 20, .max_body_bytes = 65536, .max_calls = 16,
                         .idle_timeout_ms = s->idle_timeout_ms };
    rpc_reply(call, &reply);
}

static void hello(struct fake_server *s, struct rpc_call *call)
{
    s->hellos++;
    if (s->refuses_version)
        rpc_fail(call, BT_ESTATE, "no common version");
    else if (s->holds_hello)
        s->held_hello = call;
    else
        reply_hello(s, call);
}

static void resume(struct fake_server *s, struct rpc_call *call)
{
    s->resumes++;
    if (s->put_off_resumes > 0) {
        s->put_off_resumes--;
        rpc_fail_retry(call, BT_EBUSY, 50, "too many logins at once");
        return;
    }
    if (s->held_hello) {
        reply_hello(s, s->held_hello);
        s->held_hello = NULL;
    }
    struct rpc_link *l = rpc_call_link(call);
    if (s->refuses_token)
        rpc_fail(call, BT_ENOAUTH, "no such session");
    else
        reply_login(s, call);
    if (s->drops_resumed)
        rpc_link_finish(l, 100);
}

/* Never answered, but ended in the end, as every call must be. */
static void ignore(struct fake_server *s, struct rpc_call *call)
{
    MUST(s->ignored_count < FAKE_MAX_IGNORED);
    s->ignored[s->ignored_count++] = call;
}

/* False: ended (a test took the memory away). */
static bool decode(struct rpc_call *call, const pb_msgdesc_t *fields, const struct rpc_frame *frame, void *msg)
{
    if (rpc_decode(fields, frame->payload, frame->len, msg) == BT_OK)
        return true;
    rpc_fail(call, BT_EBUSY, "no memory");
    return false;
}

static bool take(int *left)
{
    return *left > 0 && (*left)--;
}

static void send_message(struct fake_server *s, struct rpc_call *call, const struct rpc_frame *frame)
{
    struct rpc_link *l = rpc_call_link(call);
    SendRequest req = { 0 };
    uint64_t hi, lo;
    s->sends++;
    s->resends += (frame->h.flags & RPC_FLAG_RESEND) != 0;
    if (!decode(call, SendRequest_fields, frame, &req))
        return;
    key_of(frame->h.target, &hi, &lo);
    if (s->ignores_sends) {
        ignore(s, call);
        return;
    }
    if (take(&s->lose_sends)) {
        rpc_fail(call, BT_EDOWN, "lost");
        rpc_link_close(l, BT_EDOWN);
        return;
    }
    if (take(&s->refuse_sends)) {
        rpc_fail_retry(call, BT_EDOWN, 20, "the store is away");
        return;
    }
    const struct fake_message *m = NULL;
    for (size_t n = 0; n < s->log_count && !m; n++)
        if (s->log[n].hi == hi && s->log[n].lo == lo && s->log[n].sender_id == FAKE_USER && s->log[n].id == req.client_msg_id)
            m = &s->log[n];
    if (!m)
        m = append(s, hi, lo, FAKE_USER, req.client_msg_id, req.body.data, req.body.len);
    if (take(&s->lose_answers)) {
        rpc_link_close(l, BT_EDOWN); /* what is queued is dropped, the answer with it */
        rpc_fail(call, BT_EDOWN, "lost");
        return;
    }
    if (take(&s->unsure_sends)) {
        rpc_fail(call, BT_EUNSURE, "perhaps");
        return;
    }
    SendReply reply = { .seq = m->seq, .sent_ms = 1000 };
    rpc_reply(call, &reply);
}

static void history(struct fake_server *s, struct rpc_call *call, const struct rpc_frame *frame)
{
    HistoryRequest req = { 0 };
    uint64_t hi, lo;
    s->histories++;
    if (!decode(call, HistoryRequest_fields, frame, &req))
        return;
    key_of(frame->h.target, &hi, &lo);
    Message *rows = calloc(FAKE_MAX_MESSAGES, sizeof *rows);
    HistoryReply reply = { .messages = rows, .head_seq = fake_server_head(s, hi, lo), .first_seq = 1 };
    reply.messages_count = (pb_size_t)messages_from(s, hi, lo, req.from_seq, s->page ? (size_t)s->page : req.limit, rows);
    rpc_reply(call, &reply);
    free(rows);
}

static uint64_t position_in(const PullRequest *req, uint64_t hi, uint64_t lo, bool *is_known)
{
    for (size_t n = 0; n < req->positions_count; n++)
        if (req->positions[n].hi == hi && req->positions[n].lo == lo) {
            *is_known = true;
            return req->positions[n].seq;
        }
    *is_known = false;
    return 0;
}

/* All conversations in one answer; each is cut short at `page` messages, and comes again then. */
static void pull(struct fake_server *s, struct rpc_call *call, const struct rpc_frame *frame)
{
    PullRequest req = { 0 };
    Conversation convs[16] = { 0 };
    size_t used = 0;
    PullReply reply = { .conversations = convs };
    s->pulls++;
    if (s->refuse_pulls > 0) {
        s->refuse_pulls--;
        rpc_fail(call, BT_EDOWN, NULL);
        return;
    }
    if (!decode(call, PullRequest_fields, frame, &req))
        return;
    Message *rows = calloc(FAKE_MAX_MESSAGES, sizeof *rows);
    if (s->pull_stalls) {
        convs[0] = (Conversation){ .hi = s->log[0].hi, .lo = s->log[0].lo, .head_seq = 1, .first_seq = 1, .messages = rows };
        convs[0].messages_count = (pb_size_t)messages_from(s, s->log[0].hi, s->log[0].lo, 1, 1, rows);
        reply.conversations_count = 1;
        reply.more = reply.has_next_after = true;
        reply.next_after = req.after;
    }
    for (size_t n = 0; n < s->log_count && !s->pull_stalls; n++) {
        uint64_t hi = s->log[n].hi, lo = s->log[n].lo;
        bool is_listed = false, is_known;
        for (size_t k = 0; k < reply.conversations_count; k++)
            is_listed |= convs[k].hi == hi && convs[k].lo == lo;
        if (is_listed)
            continue;
        uint64_t position = position_in(&req, hi, lo, &is_known), head = fake_server_head(s, hi, lo);
        if (is_known && position >= head)
            continue;
        Conversation *conv = &convs[reply.conversations_count++];
        *conv = (Conversation){ .hi = hi, .lo = lo, .head_seq = head, .first_seq = 1, .name = rpc_str("somebody"),
                                .delivered_seq = s->delivered_seq, .messages = rows + used,
                                .peer_delivered_seq = lo ? s->peer_seq : 0, .peer_read_seq = lo ? s->peer_seq : 0 };
        if (is_known)
            conv->messages_count = (pb_size_t)messages_from(s, hi, lo, position + 1, (size_t)s->page, rows + used);
        used += conv->messages_count;
        if (is_known && position + conv->messages_count < head) {
            reply.more = reply.has_next_after = true;
            reply.next_after = req.after;
        }
    }
    rpc_reply(call, &reply);
    rpc_release(PullRequest_fields, &req);
    free(rows);
}

static void mark(struct fake_server *s, struct rpc_call *call, const struct rpc_frame *frame)
{
    MarkRequest req = { 0 };
    s->marks++;
    if (!decode(call, MarkRequest_fields, frame, &req))
        return;
    for (size_t n = 0; n < req.marks_count; n++) {
        s->marked_seq = req.marks[n].delivered_seq;
        s->read_seq = req.marks[n].read_seq;
    }
    rpc_release(MarkRequest_fields, &req);
    if (s->holds_marks && !s->held_mark)
        s->held_mark = call;
    else
        rpc_reply(call, &(MarkReply){ 0 });
}

void fake_server_answer_mark(struct fake_server *s)
{
    struct rpc_call *call = s->held_mark;
    s->held_mark = NULL;
    if (call)
        rpc_reply(call, &(MarkReply){ 0 });
}

/* One conversation a page. */
static void list_conversations(struct fake_server *s, struct rpc_call *call, const struct rpc_frame *frame)
{
    ListConversationsRequest req = { 0 };
    Conversation conv = { 0 };
    ListConversationsReply reply = { .conversations = &conv };
    s->lists++;
    if (!decode(call, ListConversationsRequest_fields, frame, &req))
        return;
    for (size_t n = 0; n < s->log_count; n++) {
        const struct fake_message *m = &s->log[n];
        if (m->hi < req.after.hi || (m->hi == req.after.hi && m->lo <= req.after.lo))
            continue;
        bool is_first = reply.conversations_count == 0 || m->hi < conv.hi || (m->hi == conv.hi && m->lo < conv.lo);
        reply.more |= reply.conversations_count > 0 && (m->hi != conv.hi || m->lo != conv.lo);
        if (is_first)
            conv = (Conversation){ .hi = m->hi, .lo = m->lo, .head_seq = fake_server_head(s, m->hi, m->lo), .first_seq = 1, .delivered_seq = s->delivered_seq,
                                   .peer_delivered_seq = m->lo ? s->peer_seq : 0, .peer_read_seq = m->lo ? s->peer_seq : 0 };
        reply.conversations_count = 1;
    }
    if (s->holds_lists && !s->held_list) {
        s->held_list = call;
        s->held_row = conv;
    } else {
        rpc_reply(call, &reply);
    }
}

void fake_server_answer_list(struct fake_server *s)
{
    struct rpc_call *call = s->held_list;
    s->held_list = NULL;
    s->holds_lists = false;
    rpc_reply(call, &(ListConversationsReply){ .conversations = &s->held_row, .conversations_count = 1 });
}

static void directory(struct fake_server *s, struct rpc_call *call)
{
    DirectoryEntry rows[4] = { 0 };
    DirectoryReply reply = { .proxies = rows };
    s->directories++;
    while (reply.proxies_count < 4 && s->directory[reply.proxies_count]) {
        rows[reply.proxies_count] = (DirectoryEntry){ .address = rpc_str(s->directory[reply.proxies_count]), .weight = 1 };
        reply.proxies_count++;
    }
    rpc_reply(call, &reply);
}

/* ---- links ---- */

static void on_request(struct rpc_link *l, struct rpc_call *call, const struct rpc_frame *frame, void *arg)
{
    struct fake_server *s = arg;
    (void)l;
    switch (frame->h.method) {
    case RPC_PROXY_HELLO:
        hello(s, call);
        break;
    case RPC_PROXY_PING:
        s->pings++;
        if (s->ignores_pings)
            ignore(s, call);
        else
            rpc_reply(call, &(PingReply){ 0 });
        break;
    case RPC_PROXY_DIRECTORY:
        directory(s, call);
        break;
    case RPC_USER_LOGIN:
        s->logins++;
        reply_login(s, call);
        break;
    case RPC_USER_RESUME:
        resume(s, call);
        break;
    case RPC_USER_LOGOUT:
        s->logouts++;
        rpc_reply(call, &(LogoutReply){ 0 });
        break;
    case RPC_OFFLINE_PULL:
        pull(s, call, frame);
        break;
    case RPC_OFFLINE_HISTORY:
        history(s, call, frame);
        break;
    case RPC_OFFLINE_MARK:
        mark(s, call, frame);
        break;
    case RPC_OFFLINE_LIST_CONVERSATIONS:
        list_conversations(s, call, frame);
        break;
    case RPC_CHAT_SEND:
        send_message(s, call, frame);
        break;
    default:
        rpc_fail(call, BT_ENOMETHOD, NULL);
    }
}

static void on_closed(struct rpc_link *l, enum bt_err why, void *arg)
{
    struct fake_server *s = arg;
    (void)why;
    s->open_links--;
    for (size_t n = 0; n < FAKE_MAX_LINKS; n++)
        if (s->links[n] == l)
            s->links[n] = NULL;
}

static const struct rpc_link_ops ops = { .request = on_request, .closed = on_closed };

static void on_accept(struct net_conn *c, void *arg)
{
    struct fake_server *s = arg;
    size_t n = 0;
    while (n < FAKE_MAX_LINKS && s->links[n])
        n++;
    MUST(n < FAKE_MAX_LINKS);
    if (rpc_link_accept(c, &ops, &limits, s, &s->links[n]) != BT_OK)
        return; /* no memory: c is closed */
    s->accepts++;
    s->open_links++;
}

void fake_server_start(struct fake_server *s, struct net_loop *loop)
{
    s->loop = loop;
    MUST(net_listen(loop, "127.0.0.1:0", on_accept, s, &s->listener) == BT_OK);
    s->address = net_listener_address(s->listener);
}

void fake_server_drop(struct fake_server *s)
{
    for (size_t n = 0; n < FAKE_MAX_LINKS; n++)
        if (s->links[n])
            rpc_link_close(s->links[n], BT_EDOWN);
}

void fake_server_refuse(struct fake_server *s)
{
    if (s->listener)
        net_listener_close(s->listener);
    s->listener = NULL;
    fake_server_drop(s);
}

void fake_server_stop(struct fake_server *s)
{
    fake_server_refuse(s);
    fake_server_answer_mark(s);
    while (s->ignored_count > 0)
        rpc_fail(s->ignored[--s->ignored_count], BT_ECLOSING, NULL);
    while (s->open_links > 0)
        net_loop_turn(s->loop, 10);
    net_loop_turn(s->loop, 0);
}

void fake_server_event(struct fake_server *s, uint16_t method, const pb_msgdesc_t *fields, const void *msg)
{
    uint8_t payload[1024];
    size_t len = rpc_encode(fields, msg, payload, sizeof payload);
    for (size_t n = 0; n < FAKE_MAX_LINKS; n++)
        if (s->links[n] && !rpc_link_is_closing(s->links[n]))
            rpc_link_event(s->links[n], &(struct rpc_header){ .method = method }, payload, len);
}

void fake_server_push(struct fake_server *s, uint64_t hi, uint64_t lo, uint64_t seq)
{
    for (size_t n = 0; n < s->log_count; n++)
        if (s->log[n].hi == hi && s->log[n].lo == lo && s->log[n].seq == seq) {
            Message m = wire_of(&s->log[n]);
            fake_server_event(s, RPC_ON_MESSAGE, Message_fields, &m);
        }
}

uint64_t fake_server_write(struct fake_server *s, uint64_t peer, bool is_group, uint64_t sender_id, const char *body, bool is_pushed)
{
    uint64_t hi, lo;
    key_of(is_group ? peer | RPC_TARGET_GROUP : peer, &hi, &lo);
    const struct fake_message *m = append(s, hi, lo, sender_id, s->log_count + 1, body, strlen(body));
    if (is_pushed)
        fake_server_push(s, hi, lo, m->seq);
    return m->seq;
}
