/*
 * test/unit/fake_server.h: a server for the client's tests: real frames on a real socket, one user, logs in memory,
 * and misbehaviour to order.
 */
#ifndef BT_TEST_FAKE_SERVER_H
#define BT_TEST_FAKE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/loop.h"
#include "proto/client.pb.h"
#include "rpc/frame.h"

enum { FAKE_USER = 7, FAKE_MAX_MESSAGES = 4096, FAKE_MAX_LINKS = 32, FAKE_MAX_IGNORED = 64 };

struct fake_message {
    uint64_t hi, lo, seq, sender_id, id;
    int kind;
    char body[64];
};

struct fake_server {
    struct net_loop *loop;
    struct net_listener *listener;
    struct rpc_link *links[FAKE_MAX_LINKS];  /* NULL: closed */
    const char *address;

    struct fake_message log[FAKE_MAX_MESSAGES];
    size_t log_count;

    /* What to do. */
    uint32_t idle_timeout_ms;      /* told in Hello */
    bool holds_hello;              /* Hello is answered only when Resume has come */
    bool refuses_token;
    int put_off_resumes;           /* the next n are answered RESOURCE_EXHAUSTED, with 50 ms to wait */
    bool drops_resumed;            /* the connection ends as soon as Resume is answered */
    uint64_t login_user;           /* whom Login lets in; 0: FAKE_USER */
    bool holds_marks;              /* Mark is answered by fake_server_answer_mark() */
    bool pull_stalls;              /* every answer to Pull brings the first message again, and says that there is more */
    int refuse_pulls;              /* the next n pulls are answered UNAVAILABLE */
    bool holds_lists;              /* a list of conversations (of one page) is answered by fake_server_answer_list() */
    uint64_t peer_seq;             /* the other's marks in every 1:1 */
    bool refuses_version;
    bool ignores_pings;
    int lose_answers;              /* the next n sends are stored, and the connection ends instead of an answer */
    int lose_sends;                /* the next n sends are not stored, and the connection ends */
    int refuse_sends;              /* the next n sends are answered UNAVAILABLE */
    int unsure_sends;              /* the next n sends are stored, and answered UNKNOWN */
    bool ignores_sends;            /* no answer at all */
    uint64_t delivered_seq;        /* the user's mark in every conversation */
    int page;                      /* messages per conversation in an answer to Pull or History; 0: all */
    const char *directory[4];      /* what Directory says; NULL ends it */

    /* What happened. */
    int hellos, resumes, logins, logouts, pings, pulls, histories, marks, directories, accepts, lists;
    int sends, resends;            /* frames of Send; those with the resend flag */
    struct rpc_call *held_hello, *held_mark, *held_list, *ignored[FAKE_MAX_IGNORED];
    Conversation held_row;
    size_t ignored_count;
    uint64_t marked_seq, read_seq; /* of the last Mark */
    int open_links;
};

void fake_server_start(struct fake_server *s, struct net_loop *loop);
void fake_server_stop(struct fake_server *s);           /* and turns the loop until all is closed */
void fake_server_drop(struct fake_server *s);           /* close every connection */
void fake_server_refuse(struct fake_server *s);         /* stop listening, and close every connection */

/* Append a message of a 1:1 with `peer` (or of group `peer`), and push it if asked. Returns its seq. */
uint64_t fake_server_write(struct fake_server *s, uint64_t peer, bool is_group, uint64_t sender_id, const char *body, bool is_pushed);
void fake_server_answer_mark(struct fake_server *s);
void fake_server_answer_list(struct fake_server *s);
void fake_server_push(struct fake_server *s, uint64_t hi, uint64_t lo, uint64_t seq);  /* again, or late */
void fake_server_event(struct fake_server *s, uint16_t method, const pb_msgdesc_t *fields, const void *msg);
uint64_t fake_server_head(const struct fake_server *s, uint64_t hi, uint64_t lo);

#endif
