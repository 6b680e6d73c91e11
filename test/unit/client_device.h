/*
 * test/unit/client_device.h: a client of the fake server, as a device that keeps what it is told, on one loop with it.
 * For the tests of client/.
 */
#ifndef BT_TEST_CLIENT_DEVICE_H
#define BT_TEST_CLIENT_DEVICE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/bytetalk.h"
#include "fake_server.h"
#include "net/loop.h"

enum { MAX_SEEN = 512 };

/* A client and what it was told. */
struct device {
    struct bt_client *client;
    struct bt_store store; /* hands back and keeps the session and positions below */
    bool has_token, is_synced_before;
    uint64_t positions[64]; /* by peer; UINT64_MAX: none */
    int positions_saved;

    enum bt_state state;
    int waits, ended, conversations, synced, closed, receipts;
    uint64_t receipt_target, receipt_user, receipt_delivered_seq, receipt_read_seq; /* of the last one */
    enum bt_session_end ended_why;
    char server[64];
    uint64_t seen_target[MAX_SEEN], seen_seq[MAX_SEEN];
    char seen_body[MAX_SEEN][32];
    size_t seen;

    int sent, failed, unsure;   /* callbacks of bt_send */
    enum bt_status status;
    uint64_t order[MAX_SEEN];   /* seqs as answered */
    bool closes_in_message;
};

extern struct net_loop *loop;
extern struct fake_server server;

/* cmocka fixtures: the loop and, on it, the server. */
int device_setup(void **state);
int device_teardown(void **state);

void device_init(struct device *d);                                  /* it holds nothing */
void device_init_logged_in(struct device *d);                        /* it holds a session, and no message */
void device_init_returning(struct device *d, uint64_t position);     /* and the conversation with user 9 up to there */

/* It hears all events; the configuration's store and program are set here. False: there was no memory. */
bool device_try_open(struct device *d, struct bt_config config);
void device_open_config(struct device *d, struct bt_config config);
void device_open_with(struct device *d, const char *const *servers, size_t n, uint32_t backfill, uint32_t send_timeout_ms);
void device_open(struct device *d);                                  /* to the server, with a backfill of 10 */
void device_close(struct device *d);                                 /* and waits for it, also when the test began it */

void send_text(struct device *d, uint64_t target, const char *text);
void on_sent(const struct bt_result *r, uint64_t seq, int64_t sent_ms, void *arg); /* for bt_send; arg is the device */
void on_done(const struct bt_result *r, void *arg);                  /* for other calls; arg is an enum bt_status */

/* What it was told of target is from..to, each once and in order. */
void assert_in_order(const struct device *d, uint64_t target, uint64_t from, uint64_t to);

void turn_for(uint32_t ms);

#define WAIT_UNTIL(condition)                                                                                                \
    do {                                                                                                                     \
        uint64_t limit_ms = net_clock_us() / 1000 + 8000;                                                                    \
        while (!(condition)) {                                                                                               \
            if (net_clock_us() / 1000 > limit_ms)                                                                            \
                fail_msg("not in time: %s", #condition);                                                                     \
            net_loop_turn(loop, 10);                                                                                         \
        }                                                                                                                    \
    } while (0)

#endif
