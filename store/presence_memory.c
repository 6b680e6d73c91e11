/*
 * store/presence_memory.c: presence inside one process: a hash set of the users that are here, and a ring of the
 * last changes. All roles of the process use the same struct presence, and its one node is the process itself.
 *
 * A call takes effect at once and is answered at the loop's next turn. What a read returns is put together when it is
 * answered, so it also holds changes made after it was asked; more is never wrong here.
 */
#define LOG_MODULE "presence"
#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "net/log.h"
#include "net/loop.h"
#include "net/mem.h"
#include "store/presence_internal.h"

enum { SPARES = 64, FIRST_SLOTS = 256 };

/* A call that waits for its answer. */
struct waiting {
    struct waiting *next;
    bool is_spare;
    presence_done_cb *done_cb;
    presence_read_cb *read_cb;
    void *arg;
    enum bt_err err;
    uint64_t generation, position; /* reads: as asked */
};

struct change {
    uint64_t user_id;
    bool is_here;
};

struct memory {
    struct presence base;
    struct net_loop *loop;
    uint64_t generation;      /* never 0 */
    uint64_t position;        /* changes so far */
    struct change *ring;      /* change number n (from 1) is at n % ring_len */
    size_t ring_len;
    uint64_t *slots;          /* open addressing; user id, 0: free */
    size_t nslots, nusers;    /* nslots is a power of two */
    struct waiting *head, **tail;
    struct net_task task;
    struct waiting spare_mem[SPARES], *spares;
    struct presence_stats stats;
    bool is_closing;
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

static struct memory *self_of(struct presence *p)
{
    return (struct memory *)p;
}

static size_t slot_of(const struct memory *m, uint64_t user_id)
{
    uint64_t h = user_id * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h >> 32) & (m->nslots - 1);
    while (m->slots[i] != 0 && m->slots[i] != user_id)
        i = (i + 1) & (m->nslots - 1);
    return i;
}

/* Keep the table at most three quarters full. False: no memory. */
static bool make_room(struct memory *m)
{
    if ((m->nusers + 1) * 4 <= m->nslots * 3)
        return true;
    uint64_t *old = m->slots;
    size_t old_nslots = m->nslots;
    uint64_t *slots = bt_calloc(old_nslots * 2, sizeof *slots);
    if (slots == NULL)
        return false;
    m->slots = slots;
    m->nslots = old_nslots * 2;
    for (size_t i = 0; i < old_nslots; i++)
        if (old[i] != 0)
            slots[slot_of(m, old[i])] = old[i];
    bt_free(old);
    return true;
}

/* Free slot i, and move up what stands behind it in its run, so that no search ends early. */
static void clear_slot(struct memory *m, size_t i)
{
    m->slots[i] = 0;
    for (size_t j = (i + 1) & (m->nslots - 1); m->slots[j] != 0; j = (j + 1) & (m->nslots - 1)) {
        uint64_t user_id = m->slots[j];
        m->slots[j] = 0;
        m->slots[slot_of(m, user_id)] = user_id;
    }
}

static void log_change(struct memory *m, uint64_t user_id, bool is_here)
{
    m->position++;
    m->ring[m->position % m->ring_len] = (struct change){ user_id, is_here };
}

static enum bt_err apply(struct memory *m, uint64_t user_id, bool is_here)
{
    if (is_here && !make_room(m))
        return BT_ENOMEM;
    size_t i = slot_of(m, user_id);
    if ((m->slots[i] == user_id) == is_here)
        return BT_OK;
    if (is_here) {
        m->slots[i] = user_id;
        m->nusers++;
    } else {
        clear_slot(m, i);
        m->nusers--;
    }
    log_change(m, user_id, is_here);
    return BT_OK;
}

/* All changes after `position` are still in the ring. */
static bool is_in_log(const struct memory *m, uint64_t generation, uint64_t position)
{
    return generation == m->generation && position <= m->position && m->position - position <= m->ring_len;
}

static void fill_changes(const struct memory *m, uint64_t after, struct presence_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct change *c = &m->ring[(after + 1 + i) % m->ring_len];
        items[i] = (struct presence_item){ .user_id = c->user_id, .node = m->base.self, .is_here = c->is_here };
    }
}

static void fill_all(const struct memory *m, struct presence_item *items)
{
    size_t n = 0;
    for (size_t i = 0; i < m->nslots; i++)
        if (m->slots[i] != 0)
            items[n++] = (struct presence_item){ .user_id = m->slots[i], .node = m->base.self, .is_here = true };
    assert(n == m->nusers);
}

static void answer_read(struct memory *m, struct waiting *w)
{
    bool is_full = !is_in_log(m, w->generation, w->position);
    size_t n = is_full ? m->nusers : (size_t)(m->position - w->position);
    struct presence_item *items = NULL;
    if (w->err == BT_OK && n > 0 && (items = bt_malloc(n * sizeof *items)) == NULL)
        w->err = BT_ENOMEM;
    if (w->err != BT_OK) {
        w->read_cb(w->err, NULL, w->arg);
        return;
    }
    if (is_full)
        fill_all(m, items);
    else
        fill_changes(m, w->position, items, n);
    m->stats.reads++;
    m->stats.full_reads += is_full;
    struct presence_delta delta = {
        .generation = m->generation, .position = m->position, .is_full = is_full, .n = n, .items = items,
    };
    w->read_cb(BT_OK, &delta, w->arg);
    bt_free(items);
}

static void waiting_free(struct memory *m, struct waiting *w)
{
    if (w->is_spare) {
        w->next = m->spares;
        m->spares = w;
    } else {
        bt_free(w);
    }
}

static void memory_free(struct memory *m)
{
    presence_nodes_free(&m->base);
    bt_free(m->ring);
    bt_free(m->slots);
    bt_free(m);
}

/* Answer what was asked before this turn; what the callbacks ask comes at the next one. */
static void answer_all(void *arg)
{
    struct memory *m = arg;
    struct waiting *w = m->head, *next;
    m->head = NULL;
    m->tail = &m->head;
    for (; w != NULL; w = next) {
        next = w->next;
        if (w->read_cb != NULL)
            answer_read(m, w);
        if (w->done_cb != NULL)
            w->done_cb(w->err, w->arg);
        waiting_free(m, w);
    }
    if (!m->is_closing || m->head != NULL)
        return;
    void (*closed_cb)(void *arg2) = m->closed_cb;
    void *closed_arg = m->closed_arg;
    memory_free(m);
    closed_cb(closed_arg);
}

static struct waiting *waiting_new(struct memory *m, void *arg)
{
    struct waiting *w = bt_calloc(1, sizeof *w);
    if (w == NULL) {
        w = m->spares;
        if (w == NULL) {
            log_error("out of memory, and %d calls wait to be told: ending", SPARES);
            _exit(71);
        }
        m->spares = w->next;
        memset(w, 0, sizeof *w);
        w->is_spare = true;
    }
    w->arg = arg;
    w->err = m->is_closing ? BT_ECLOSING : BT_OK;
    *m->tail = w;
    m->tail = &w->next;
    net_defer(m->loop, &m->task, answer_all, m);
    return w;
}

static void memory_set(struct presence *p, uint64_t user_id, bool is_here, presence_done_cb *cb, void *arg)
{
    struct memory *m = self_of(p);
    assert(user_id != 0);
    enum bt_err err = m->is_closing ? BT_ECLOSING : apply(m, user_id, is_here);
    m->stats.sets++;
    if (cb == NULL)
        return;
    struct waiting *w = waiting_new(m, arg);
    w->done_cb = cb;
    w->err = err;
}

static void memory_read(struct presence *p, uint64_t generation, uint64_t position, presence_read_cb *cb, void *arg)
{
    struct waiting *w = waiting_new(self_of(p), arg);
    w->read_cb = cb;
    w->generation = generation;
    w->position = position;
}

static bool memory_is_current(const struct presence *p, uint64_t generation, uint64_t position)
{
    const struct memory *m = (const struct memory *)p;
    return generation == m->generation && position == m->position;
}

static void memory_stats(const struct presence *p, struct presence_stats *out)
{
    const struct memory *m = (const struct memory *)p;
    *out = m->stats;
    out->generation = m->generation;
    out->position = m->position;
    out->traces = m->nusers;
}

static void memory_close(struct presence *p, void (*closed_cb)(void *arg), void *arg)
{
    struct memory *m = self_of(p);
    assert(!m->is_closing);
    m->is_closing = true;
    m->closed_cb = closed_cb;
    m->closed_arg = arg;
    net_defer(m->loop, &m->task, answer_all, m);
}

static const struct presence_driver memory_driver = {
    .scheme = "memory",
    .set = memory_set,
    .read = memory_read,
    .is_current = memory_is_current,
    .stats = memory_stats,
    .close = memory_close,
};

enum bt_err presence_memory_open(struct net_loop *loop, size_t log_len, const char *node_address, uint64_t node_epoch,
                                 struct presence **out)
{
    struct memory *m = bt_calloc(1, sizeof *m);
    if (m == NULL)
        return BT_ENOMEM;
    m->base.driver = &memory_driver;
    m->loop = loop;
    m->tail = &m->head;
    m->generation = net_clock_us() | 1;
    m->ring_len = log_len;
    m->nslots = FIRST_SLOTS;
    for (size_t i = 0; i < SPARES; i++) {
        m->spare_mem[i].next = m->spares;
        m->spares = &m->spare_mem[i];
    }
    m->ring = bt_calloc(m->ring_len, sizeof *m->ring);
    m->slots = bt_calloc(m->nslots, sizeof *m->slots);
    enum bt_err err = m->ring != NULL && m->slots != NULL ? BT_OK : BT_ENOMEM;
    if (err == BT_OK)
        err = presence_node_number(&m->base, node_address, node_epoch, &m->base.self);
    if (err != BT_OK) {
        memory_free(m);
        return err;
    }
    *out = &m->base;
    return BT_OK;
}
