/* test/unit/conn_aid.h: two ends of connections over real loopback sockets, for the tests of net/. */
#ifndef BT_TEST_CONN_AID_H
#define BT_TEST_CONN_AID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/conn.h"
#include "net/loop.h"

enum { AID_DEADLINE_MS = 10000 };

/* One end of a connection: what happened to it, and what it is to do. */
struct end {
    struct aid *aid;
    struct net_conn *c;    /* NULL after closed */
    uint8_t *got;          /* consumed bytes, oldest first */
    size_t got_len, got_cap;
    size_t shown;          /* calls of bytes */
    size_t last_shown_len; /* how many bytes the last one lent */
    int opened, drained, closed;
    enum bt_err why;
    bool is_inside;        /* a call of the test into net is on the stack: closed must not come now */

    bool echoes;
    bool takes_frames;     /* consumes whole frames only: u32 length in big-endian, then that many bytes */
    size_t pause_at;       /* bytes consumed in all at which it pauses; 0: never */
    void (*on_bytes)(struct end *e);   /* called after consuming */
    void (*on_opened)(struct end *e);
    void (*on_drained)(struct end *e);
};

struct aid {
    struct net_loop *loop;
    struct net_listener *listener; /* NULL: none */
    struct net_conn_limits limits;
    struct end server, client;     /* server: the latest accepted */
    int accepted;
    unsigned layers;               /* xor layers pushed on both ends */
    void (*accept_hook)(struct aid *a, struct net_conn *c);
};

extern const struct net_conn_ops end_ops;

/* cmocka fixtures: *state is a struct aid with a loop and a listener on a free port of 127.0.0.1. */
int aid_setup(void **state);
int aid_teardown(void **state); /* closes what is open, asserts that every end was told so once */

void aid_dial(struct aid *a);                       /* client */
void aid_connect(struct aid *a);                    /* client, and wait until both stand */
int aid_raw_connect(struct aid *a);                 /* a plain blocking socket; waits until it is accepted */
void aid_push_layers(struct aid *a, struct net_conn *c);
void aid_turn(struct aid *a);
void end_write(struct end *e, const void *data, size_t len); /* must be taken */
void end_close(struct end *e);
uint8_t *aid_pattern(size_t len);                   /* bytes that differ from place to place; free() it */

/* Run turns until the condition holds; fails the test after AID_DEADLINE_MS. */
#define wait_until(a, condition)                                                                                       \
    do {                                                                                                               \
        uint64_t deadline_us_ = net_clock_us() + AID_DEADLINE_MS * UINT64_C(1000);                                     \
        while (!(condition)) {                                                                                         \
            if (net_clock_us() > deadline_us_)                                                                         \
                fail_msg("timed out waiting for %s", #condition);                                                      \
            net_loop_turn((a)->loop, 10);                                                                              \
        }                                                                                                              \
    } while (0)

#endif
