/*
 * test/unit/chat_aid.h: a node with the chat role, over a database that answers from a script, and a proxy that writes down
 * what it is pushed. Ben is online there.
 */
#ifndef BT_TEST_CHAT_AID_H
#define BT_TEST_CHAT_AID_H

#include "net/conf.h"
#include "net/loop.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "roles/role.h"
#include "rpc/rpc.h"
#include "store/presence.h"
#include "store/store.h"
#include "test/unit/fake_db.h"

enum { ANN = 1, BEN = 2, CHAT_AID_CALLS = 2048, CHAT_AID_PUSHES = 1024 };

#define TAIL "SELECT hi, lo, sender_id, client_msg_id, seq, digest, sent_ms FROM message WHERE hi = ? AND lo = ? ORDER BY"
#define BY_ID "SELECT hi, lo, sender_id, client_msg_id, seq, digest, sent_ms FROM message WHERE hi = ? AND lo = ? AND sender_id"
#define BY_SEQ "SELECT hi, lo, sender_id, client_msg_id, seq, digest, sent_ms FROM message WHERE hi = ? AND lo = ? AND seq"
#define MEMBERS "SELECT user_id, role"
#define PAIR "SELECT 1, user_id"
#define INSERT "INSERT INTO message"
#define I(x) { .type = DB_INT, .i = (x) }

struct chat_aid;

/* A call, and what came of it. */
struct chat_answer {
    struct chat_aid *aid;
    bool is_done;
    uint8_t status;
    uint64_t seq;
    size_t npushed; /* pushes that had come when it was answered */
};

struct chat_aid {
    struct net_loop *loop;
    struct conf *conf;
    struct fake_db *db;
    struct store *store;
    struct presence *presence;
    struct rpc *rpc;
    void *chat;                       /* NULL: stopped */
    struct chat_answer answers[CHAT_AID_CALLS];
    size_t ncalls;
    uint64_t pushed[CHAT_AID_PUSHES]; /* seqs of messages, alone or with an answer; 0: a signal */
    size_t npushed, nlost;            /* nlost: how often the proxy was told that it missed some */
    size_t nreceivers;                /* of all pushes */
    size_t nasked, push_bytes;        /* how often the proxy was asked who is there; the payloads of its pushes and answers */
    bool is_mute;                     /* the proxy does not answer that */
    uint64_t late;                    /* who has come to it by now besides Ben; 0: nobody */
};

/* As cmocka takes them; chat_aid_setup_with() for a setup of the test's own: settings "section.name=value", ended by NULL, or NULL. */
int chat_aid_setup(void **state);
int chat_aid_setup_with(void **state, const char *const settings[]);
int chat_aid_teardown(void **state);

/* As a stopping process does. False: it has not stopped after limit_ms, and goes on stopping. */
bool chat_aid_stop(struct chat_aid *c, uint32_t limit_ms);

/* A 1:1 of Ann and Ben that stands at seq `head`; who reads it again finds `later`. */
void chat_aid_script(struct chat_aid *c, int64_t head, int64_t later);

/* A call by Ann's session 11; the answer lives as long as c. */
struct chat_answer *chat_aid_ask(struct chat_aid *c, uint16_t method, uint64_t target, const void *req, uint32_t timeout_ms,
                                 struct rpc_pending **pending_out);
struct chat_answer *chat_aid_send(struct chat_aid *c, uint64_t client_msg_id, uint32_t timeout_ms);

void chat_aid_turn_until(struct chat_aid *c, const bool *flag);
void chat_aid_turn_for(struct chat_aid *c, uint32_t ms);
void chat_aid_wait(struct chat_aid *c, const struct chat_answer *a);
void chat_aid_wait_asked(struct chat_aid *c, const char *prefix, size_t n);   /* until n calls began with prefix */
void chat_aid_wait_count(struct chat_aid *c, const size_t *count, size_t n); /* until it is at least n */

/* Value `col` of row `row` of the last insert of messages. */
int64_t chat_aid_inserted(struct chat_aid *c, size_t row, size_t col);

#endif
