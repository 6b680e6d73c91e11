/*
 * roles/offline_walk.c: Pull and ListConversations: a walk over a user's conversations in ascending order of (hi, lo).
 *
 * Numbers have no gaps, so heads and positions alone say which messages a reply will hold, and they are planned before any is read: idle
 * conversations cost a row of a list, no query. The walk goes in turns, each one query: a stretch of the list, planned as it
 * comes; the messages planned; at the end names, the peers' marks and (in a list) unread counts of what the reply shows. Unread
 * messages are not counted for Pull, which all devices of a proxy that failed ask at once: to count is most of the work.
 */
#include <assert.h>

#include "net/mem.h"
#include "net/planted.h"
#include "roles/offline_internal.h"

enum {
    PULL_ROWS = 500,       /* one stretch of the list */
    PULL_LIMIT = 200,
    PULL_LIMIT_MAX = 1000,
    PULL_CONVERSATIONS = 500, /* in one reply */
    LIST_LIMIT = 50,
    LIST_LIMIT_MAX = 200,
    UNREAD_MAX = 1000,
};

struct key {
    uint64_t hi, lo;
};

/* One conversation that the reply will show. */
struct stop {
    struct store_place place;
    struct key before;     /* the one before it in the walk, shown or not: where to go on if this is cut */
    uint64_t next, last;   /* messages planned and not read yet; next > last: none */
    Message *messages;     /* room for all planned; in the arena */
    size_t nmessages;
    struct store_outline outline; /* its name is in the arena */
};

struct walk {
    struct offline_role *role;
    struct rpc_call *call;
    struct arena arena;
    bool is_pull;
    bool is_brief;         /* a list of heads and marks only */
    uint64_t user_id;
    struct key at;         /* the last conversation that the list gave */
    struct key until;
    const Position *positions; /* in the arena, ascending */
    size_t npositions, position;
    size_t messages_left;  /* that may still be planned */
    size_t stops_max;
    size_t list_rows;      /* one stretch of the list */
    size_t bytes_left;
    size_t nread;          /* messages in the reply */
    bool is_listed;        /* nothing is to be planned any more */
    bool more;
    struct key next_after; /* with more */
    struct stop *stops;
    size_t nstops, stops_cap;
    size_t fetched;        /* stops before this one have their messages */
    size_t described;      /* stops before this one have their outlines */
};

static void walk_next(struct walk *w);

static int key_cmp(uint64_t a_hi, uint64_t a_lo, uint64_t b_hi, uint64_t b_lo)
{
    if (a_hi != b_hi)
        return a_hi < b_hi ? -1 : 1;
    return a_lo < b_lo ? -1 : a_lo > b_lo;
}

static void walk_free(struct walk *w)
{
    struct offline_role *role = w->role;
    arena_free(&w->arena);
    bt_free(w->stops);
    bt_free(w);
    offline_read_end(role);
}

static void walk_fail(struct walk *w, enum bt_err err)
{
    rpc_fail(w->call, err, NULL);
    walk_free(w);
}

/* The reply ends before what follows `after`. */
static void walk_cut(struct walk *w, struct key after)
{
    w->is_listed = true;
    w->more = true;
    w->next_after = after;
}

/* ---- planning ------------------------------------------------------------------------------------------------------ */

/* The device's position in a conversation; false: it gave none. Asked in ascending order. */
static bool walk_position(struct walk *w, const struct store_place *p, uint64_t *seq_out)
{
    while (w->position < w->npositions) {
        const Position *pos = &w->positions[w->position];
        int cmp = key_cmp(pos->hi, pos->lo, p->hi, p->lo);
        if (cmp > 0)
            return false;
        w->position++;
        if (cmp == 0) {
            *seq_out = pos->seq;
            return true;
        }
    }
    return false;
}

static struct stop *walk_add(struct walk *w, const struct store_place *p)
{
    struct stop *s;
    if (w->nstops == w->stops_cap) {
        size_t cap = w->stops_cap ? w->stops_cap * 2 : 16;
        struct stop *stops = bt_realloc(w->stops, cap * sizeof(*stops));
        if (!stops)
            return NULL;
        w->stops = stops;
        w->stops_cap = cap;
    }
    s = &w->stops[w->nstops++];
    *s = (struct stop){ .place = *p, .before = w->at, .next = 1, .last = 0 };
    return s;
}

/* Put a conversation into the reply with n messages from `first` on. */
static enum bt_err walk_plan(struct walk *w, const struct store_place *p, uint64_t first, uint64_t n)
{
    size_t take = n < w->messages_left ? (size_t)n : w->messages_left;
    struct stop *s;
    if (w->nstops == w->stops_max || w->bytes_left < OFFLINE_CONVERSATION_BYTES || (n > 0 && take == 0)) {
        walk_cut(w, w->at);
        return BT_OK;
    }
    s = walk_add(w, p);
    if (!s)
        return BT_ENOMEM;
    w->bytes_left -= OFFLINE_CONVERSATION_BYTES;
    if (n == 0)
        return BT_OK;
    s->messages = arena_array(&w->arena, take, sizeof(*s->messages));
    if (!s->messages)
        return BT_ENOMEM;
    s->next = first;
    s->last = first + take - 1;
    w->messages_left -= take;
    if (take < n)
        walk_cut(w, w->at);
    return BT_OK;
}

/* One conversation of the list. */
static enum bt_err walk_see(struct walk *w, const struct store_place *p)
{
    uint64_t top = store_place_top(p), position, first;
    enum bt_err err = BT_OK;
    if (!w->is_pull) {
        err = walk_plan(w, p, top, w->is_brief ? 0 : 1);
    } else if (!walk_position(w, p, &position)) {
        err = walk_plan(w, p, 0, 0);
    } else if (planted(PLANTED_MARK_WITHHOLDS) && p->delivered_seq >= top) {
        err = BT_OK; /* a device of his has it */
    } else if (position < top) {
        first = position + 1 > p->joined_seq ? position + 1 : p->joined_seq;
        if (first <= top)
            err = walk_plan(w, p, first, top - first + 1);
    }
    w->at = (struct key){ p->hi, p->lo };
    return err;
}

static void walk_list_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct walk *w = arg;
    for (size_t r = 0; err == BT_OK && r < rows->nrows && !w->is_listed; r++) {
        struct store_place p = store_place_of(rows, r);
        err = walk_see(w, &p);
    }
    if (err != BT_OK) {
        walk_fail(w, err);
        return;
    }
    if (rows->nrows < w->list_rows)
        w->is_listed = true;
    walk_next(w);
}

/* ---- messages ------------------------------------------------------------------------------------------------------ */

/* The reply is full at a message of stop i: it is shown with what it has, or not at all, and nothing behind it is. */
static void walk_cut_at(struct walk *w, size_t i)
{
    walk_cut(w, w->stops[i].before);
    w->nstops = w->stops[i].nmessages ? i + 1 : i;
    w->fetched = w->nstops;
}

static void walk_fetch_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct walk *w = arg;
    size_t i = w->fetched;
    for (size_t r = 0; err == BT_OK && r < rows->nrows; r++) {
        struct store_logged m = store_logged_of(rows, r);
        struct stop *s;
        size_t bytes = offline_message_bytes(&m);
        while (i < w->nstops && key_cmp(w->stops[i].place.hi, w->stops[i].place.lo, m.hi, m.lo) != 0)
            i++; /* rows come in the stops' order, and of these alone */
        assert(i < w->nstops);
        s = &w->stops[i];
        if (planted(PLANTED_PULL_BY_TIME) && w->is_pull && m.sent_ms < store_now_ms(w->role->store) - PLANTED_AGE_MS)
            continue;
        if (bytes > w->bytes_left && w->nread > 0) {
            walk_cut_at(w, i);
            break;
        }
        w->bytes_left -= bytes < w->bytes_left ? bytes : w->bytes_left;
        w->nread++;
        if (!offline_message_fill(&w->arena, &m, &s->messages[s->nmessages++]))
            err = BT_ENOMEM;
    }
    if (err != BT_OK)
        walk_fail(w, err);
    else
        walk_next(w);
}

/* Read the next messages that are planned; false: there are none. */
static bool walk_fetch(struct walk *w)
{
    struct store_range ranges[STORE_RANGES_MAX];
    size_t n = 0, total = 0;
    while (w->fetched < w->nstops && w->stops[w->fetched].next > w->stops[w->fetched].last)
        w->fetched++;
    for (size_t i = w->fetched; i < w->nstops && n < STORE_RANGES_MAX && total < OFFLINE_FETCH; i++) {
        struct stop *s = &w->stops[i];
        uint64_t last = s->last;
        if (s->next > last)
            continue;
        if (last - s->next >= OFFLINE_FETCH - total)
            last = s->next + (OFFLINE_FETCH - total) - 1;
        ranges[n++] = (struct store_range){ s->place.hi, s->place.lo, s->next, last, s->place.left_seq, w->user_id };
        total += (size_t)(last - s->next + 1);
        s->next = last + 1;
    }
    if (n == 0)
        return false;
    store_history(w->role->store, ranges, n, walk_fetch_done, w);
    return true;
}

/* ---- names, unread, the peers' marks ------------------------------------------------------------------------------- */

static void walk_describe_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct walk *w = arg;
    size_t end = w->described + STORE_OUTLINES_MAX < w->nstops ? w->described + STORE_OUTLINES_MAX : w->nstops;
    size_t i = w->described;
    for (size_t r = 0; err == BT_OK && r < rows->nrows; r++) {
        struct store_outline o = store_outline_of(rows, r);
        while (i < end && key_cmp(w->stops[i].place.hi, w->stops[i].place.lo, o.hi, o.lo) != 0)
            i++;
        if (i == end)
            break;
        o.name = arena_copy(&w->arena, o.name, o.name_len);
        if (!o.name)
            err = BT_ENOMEM;
        w->stops[i].outline = o;
    }
    w->described = end;
    if (err != BT_OK)
        walk_fail(w, err);
    else
        walk_next(w);
}

/* The stretch in which unread messages are counted: short, however long ago he read. */
static struct store_range unread_range(const struct store_place *p)
{
    uint64_t first = p->read_seq + 1 > p->joined_seq ? p->read_seq + 1 : p->joined_seq;
    uint64_t top = store_place_top(p);
    return (struct store_range){
        .hi = p->hi,
        .lo = p->lo,
        .first = first,
        .last = top < first + UNREAD_MAX - 1 ? top : first + UNREAD_MAX - 1,
    };
}

static bool walk_describe(struct walk *w)
{
    struct store_range ranges[STORE_OUTLINES_MAX];
    size_t n = 0;
    for (size_t i = w->described; i < w->nstops && n < STORE_OUTLINES_MAX; i++)
        ranges[n++] = unread_range(&w->stops[i].place);
    if (n == 0)
        return false;
    store_outlines(w->role->store, w->user_id, ranges, n, !w->is_pull && !w->is_brief, walk_describe_done, w);
    return true;
}

/* ---- the reply ----------------------------------------------------------------------------------------------------- */

static Conversation conversation_of(const struct stop *s)
{
    const struct store_place *p = &s->place;
    bool has_peer = p->lo != 0;
    return (Conversation){
        .hi = p->hi,
        .lo = p->lo,
        .head_seq = planted(PLANTED_PULL_BY_TIME) && s->messages != NULL && s->nmessages == 0 ? 0 : store_place_top(p),
        .first_seq = p->joined_seq,
        .left_seq = p->left_seq,
        .delivered_seq = p->delivered_seq,
        .read_seq = p->read_seq,
        .unread = s->outline.unread,
        .name = rpc_bytes(s->outline.name, s->outline.name_len),
        .peer_delivered_seq = has_peer ? s->outline.peer_delivered_seq : 0,
        .peer_read_seq = has_peer ? s->outline.peer_read_seq : 0,
        .messages_count = (pb_size_t)s->nmessages,
        .messages = s->messages,
    };
}

static void walk_reply(struct walk *w)
{
    Conversation *conversations = arena_array(&w->arena, w->nstops, sizeof(*conversations));
    if (!conversations) {
        walk_fail(w, BT_ENOMEM);
        return;
    }
    for (size_t i = 0; i < w->nstops; i++)
        conversations[i] = conversation_of(&w->stops[i]);
    if (w->is_pull) {
        PullReply reply = { .conversations_count = (pb_size_t)w->nstops, .conversations = conversations, .more = w->more, .has_next_after = w->more };
        reply.next_after = (ConversationKey){ .hi = w->next_after.hi, .lo = w->next_after.lo };
        rpc_reply(w->call, &reply);
    } else {
        ListConversationsReply reply = { .conversations_count = (pb_size_t)w->nstops, .conversations = conversations, .more = w->more };
        rpc_reply(w->call, &reply);
    }
    walk_free(w);
}

/* The next turn: whatever is left to do. */
static void walk_next(struct walk *w)
{
    if (rpc_call_is_dead(w->call)) {
        walk_fail(w, BT_ECANCELLED);
        return;
    }
    if (walk_fetch(w))
        return;
    if (!w->is_listed)
        store_places(w->role->store, w->user_id, w->at.hi, w->at.lo, w->until.hi, w->until.lo, w->list_rows, walk_list_done, w);
    else if (!walk_describe(w))
        walk_reply(w);
}

/* ---- handlers ------------------------------------------------------------------------------------------------------ */

static struct walk *walk_new(struct offline_role *self, struct rpc_call *call)
{
    struct walk *w;
    if (!offline_read_begin(self, call))
        return NULL;
    w = bt_calloc(1, sizeof(*w));
    if (!w) {
        rpc_fail(call, BT_ENOMEM, NULL);
        offline_read_end(self);
        return NULL;
    }
    w->role = self;
    w->call = call;
    w->user_id = rpc_call_header(call)->caller;
    w->bytes_left = self->reply_max_bytes;
    w->until = (struct key){ UINT64_MAX, UINT64_MAX };
    return w;
}

static bool positions_rise(const Position *p, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (key_cmp(p[i - 1].hi, p[i - 1].lo, p[i].hi, p[i].lo) >= 0)
            return false;
    return true;
}

void offline_pull(struct rpc_call *call, const void *msg, void *self_arg)
{
    const PullRequest *req = msg;
    struct offline_role *self = self_arg;
    struct walk *w;
    if (req->limit > PULL_LIMIT_MAX) {
        rpc_fail(call, BT_EINVAL, "limit above %d", PULL_LIMIT_MAX);
        return;
    }
    if (req->positions_count > self->max_positions) {
        rpc_fail(call, BT_EINVAL, "more than %zu positions", self->max_positions);
        return;
    }
    if (!positions_rise(req->positions, req->positions_count)) {
        rpc_fail(call, BT_EINVAL, "positions are not in ascending order of (hi, lo)");
        return;
    }
    w = walk_new(self, call);
    if (!w)
        return;
    w->is_pull = true;
    w->messages_left = req->limit ? req->limit : PULL_LIMIT;
    w->stops_max = PULL_CONVERSATIONS;
    w->list_rows = PULL_ROWS;
    if (req->has_after)
        w->at = (struct key){ req->after.hi, req->after.lo };
    if (req->has_until)
        w->until = (struct key){ req->until.hi, req->until.lo };
    w->npositions = req->positions_count;
    w->positions = arena_copy(&w->arena, req->positions, w->npositions * sizeof(*w->positions));
    if (!w->positions) {
        walk_fail(w, BT_ENOMEM);
        return;
    }
    walk_next(w);
}

void offline_list_conversations(struct rpc_call *call, const void *msg, void *self_arg)
{
    const ListConversationsRequest *req = msg;
    struct walk *w;
    if (req->limit > LIST_LIMIT_MAX) {
        rpc_fail(call, BT_EINVAL, "limit above %d", LIST_LIMIT_MAX);
        return;
    }
    w = walk_new(self_arg, call);
    if (!w)
        return;
    w->is_brief = req->brief;
    w->stops_max = req->limit ? req->limit : LIST_LIMIT;
    w->messages_left = w->stops_max;
    w->list_rows = w->stops_max + 1; /* one more tells whether there is more */
    if (req->has_after)
        w->at = (struct key){ req->after.hi, req->after.lo };
    walk_next(w);
}
