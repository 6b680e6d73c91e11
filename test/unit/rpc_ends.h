/*
 * test/unit/rpc_ends.h: two ends of a link for tests, over sockets or as a pair, that note what happens to them.
 */
#ifndef BT_TEST_RPC_ENDS_H
#define BT_TEST_RPC_ENDS_H

#include "net/loop.h"
#include "rpc/call.h"
#include "rpc/link.h"

enum { ENDS_CALLS_MAX = 2048, ENDS_TURNS_MAX = 20000 };
enum { ENDLESS_MS = 20000 }; /* a deadline that no test meets */

enum end_answers { END_ECHOES, END_KEEPS };

struct end {
    struct rpc_link *link;           /* NULL: not there yet, or closed */
    enum end_answers answers;        /* what it does with requests */
    struct rpc_call *kept[ENDS_CALLS_MAX];
    size_t kept_count;
    size_t requests, events, drained, dead;
    size_t lost;                     /* pushes, in answers to calls that were given up */
    char last_event[64];
    int closed;
    enum bt_err why;
};

struct ends {
    struct net_loop *loop;
    struct net_listener *listener;
    struct rpc_link_limits limits_a, limits_b;
    struct end a, b;                 /* a dialled, b accepted */
    bool b_only_serves;
};

/* One call and what came of it. */
struct asked {
    struct rpc_out out;
    int done;
    enum bt_err err;
    uint8_t status;
    bool came, was_sent;
    size_t len;                      /* of the answer, of which text is the beginning */
    char text[64];
};

typedef void ends_join_fn(struct ends *e);             /* ends_join_sockets() or ends_join_pair() */

const struct rpc_link_ops *ends_ops(void);             /* their arg is a struct end */
void ends_init(struct ends *e);                       /* limits may be changed before ends_join*() */
void ends_join_sockets(struct ends *e);
void ends_join_pair(struct ends *e);                  /* both have limits_a */
void ends_join_raw(struct ends *e, int *fd_out);      /* b is joined to a bare, blocking socket */
void ends_open(struct ends *e, ends_join_fn *join, enum end_answers answers); /* inits and joins them; both answer so */
void ends_deinit(struct ends *e);                     /* closes what is open, asserts that closed came once each */

/* cmocka fixtures: *state is a struct ends, a pair of which both keep what they are asked. */
int ends_pair_setup(void **state);
int ends_pair_teardown(void **state);

/* Turn until *counter is at least n; fails the test when that does not happen soon. */
void ends_until(struct ends *e, const size_t *counter, size_t n);
void ends_until_int(struct ends *e, const int *counter, int n);
void ends_turns(struct ends *e, int n);

void asked_start(struct asked *q, struct rpc_link *l, uint32_t timeout_ms, const char *text);
void asked_until_kept(struct ends *e, struct asked *q, size_t i); /* by a; b keeps it as its i-th, all of which are open */
void kept_answer(struct end *end, size_t i, const char *text);

#endif
