/*
 * store/presence.h: which nodes hold connected sessions of which users: a state and a numbered log of its changes.
 *
 * A trace (user, node) says that the node holds at least one connected session of the user. Proxies write the traces
 * of their own users; chat nodes keep a copy of all traces: they read everything once, and after that only what
 * changed past their position. Position p of generation g stands for the state after the first p changes of g;
 * another generation means that the state was made anew, and nothing that was known of it holds.
 *
 * What makes a push reach everyone: a user's presence is written (the callback of presence_set() has run) before his
 * client compares positions, and a chat node reads the log after the commit, before it pushes. One of the two always
 * catches the message.
 *
 * In embedded mode all roles of the process share one struct presence with the memory backend. All functions and
 * callbacks: loop thread. Every callback runs exactly once, never before the call that armed it returned.
 */
#ifndef BT_STORE_PRESENCE_H
#define BT_STORE_PRESENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/conf.h"
#include "net/err.h"

struct net_loop;
struct presence;

/* [presence] url, log; for Redis: password_file, timeout_ms, forget_s, queue. */
extern const struct conf_key presence_keys[];

/*
 * Open the presence that [presence] url names, as the node at `node_address` ("10.0.0.4:7500": what others dial;
 * copied) in its `node_epoch` (new at every start of a process). Traces of an older epoch of the same address end.
 * Ready when it returns BT_OK; a networked backend may then still be connecting. On an error `why` gets a line.
 * Errors: BT_EINVAL (url), BT_ENOMEM, BT_EINTERNAL.
 */
enum bt_err presence_open(struct net_loop *loop, const struct conf *conf, const char *node_address, uint64_t node_epoch,
                          struct presence **out, char *why, size_t why_size);

/* Remove this node's traces, finish what is under way, close. closed_cb runs after every other callback; p is gone then. */
void presence_close(struct presence *p, void (*closed_cb)(void *arg), void *arg);

/*
 * This node holds, or no longer holds, connected sessions of the user. Setting what is set already is fine, and still
 * answered. Calls about one user take effect in the order they were made.
 * cb (may be NULL): BT_OK: every read that starts from now on sees it. BT_EDOWN, BT_ETIMEOUT, BT_EBUSY (too many calls
 * wait): it may not stand; the backend remembers it, and writes it when it can. BT_ENOMEM: not done. BT_ECLOSING.
 */
typedef void presence_done_cb(enum bt_err err, void *arg);
void presence_set(struct presence *p, uint64_t user_id, bool is_here, presence_done_cb *cb, void *arg);

/* A node as presence names it: a number, small and dense from 0, that stands for one (address, epoch); both live as long as p. */
struct presence_node {
    uint64_t epoch;
    char address[];
};
enum bt_err presence_node_number(struct presence *p, const char *address, uint64_t epoch, uint32_t *node_out); /* given on first sight; BT_ENOMEM */
const struct presence_node *presence_node(const struct presence *p, uint32_t node); /* node came from an item (asserted) */
uint32_t presence_self(const struct presence *p);                                  /* this node's own number */

struct presence_item {
    uint64_t user_id;
    uint32_t node;
    bool is_here; /* always true in a full delta */
};

/* What a reader has to do to his copy: forget everything if is_full, then apply the items in order. */
struct presence_delta {
    uint64_t generation;
    uint64_t position; /* of the copy when this is applied */
    bool is_full;      /* the asked generation is gone, or its log was cut: items are all traces, in no order */
    size_t n;
    const struct presence_item *items; /* lent to the callback */
};

/*
 * Read what changed since `position` of `generation`; generation 0 (which never exists) asks for everything.
 * delta is NULL unless BT_OK. Errors: BT_EDOWN, BT_ETIMEOUT (nobody knows who is where: ask every live proxy), BT_EBUSY (too
 * many calls wait), BT_ENOMEM, BT_ECLOSING.
 */
typedef void presence_read_cb(enum bt_err err, const struct presence_delta *delta, void *arg);
void presence_read(struct presence *p, uint64_t generation, uint64_t position, presence_read_cb *cb, void *arg);

/* True: a read would surely bring nothing, and can be left out. A networked backend, which cannot know, says false. */
bool presence_is_current(const struct presence *p, uint64_t generation, uint64_t position);

/*
 * Call cb(arg) whenever this node's traces may have been unseen for a while: the state was made anew without them, or was
 * away. A networked backend has then written again all that it was told to, so that a client who is made to compare
 * positions now is seen by whoever reads from now on; setting all again costs nothing, and a trace that was not noted for
 * lack of memory gets there. It may be called several times for one cause. One watcher, a proxy; NULL ends it. Never called
 * by the memory backend, which loses nothing while the process lives.
 */
void presence_watch(struct presence *p, void (*cb)(void *arg), void *arg);

/* For metrics. */
struct presence_stats {
    uint64_t generation, position;
    size_t traces;
    uint64_t reads, full_reads, sets;
};
void presence_stats(const struct presence *p, struct presence_stats *out);

/* The backends' side: a table like this one, behind a struct presence that each backend embeds first. */
struct presence_driver {
    const char *scheme; /* "memory", "redis" */
    void (*set)(struct presence *p, uint64_t user_id, bool is_here, presence_done_cb *cb, void *arg);
    void (*read)(struct presence *p, uint64_t generation, uint64_t position, presence_read_cb *cb, void *arg);
    bool (*is_current)(const struct presence *p, uint64_t generation, uint64_t position);
    void (*stats)(const struct presence *p, struct presence_stats *out);
    void (*close)(struct presence *p, void (*closed_cb)(void *arg), void *arg);
};
struct presence {
    const struct presence_driver *driver;
    struct presence_node **nodes; /* index: node number */
    uint32_t nnodes, nodes_cap, self;
    void (*watch_cb)(void *arg);
    void *watch_arg;
};

#endif
