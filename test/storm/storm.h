/*
 * test/storm/storm.h: a load program for what users feel: 15,000 clients whose proxy dies, and more messages than the cluster can
 * take. Clients follow the rules of the client library (client_backoff.h, client_servers_*), driven raw over frames.
 *
 * storm.c: options, accounts, one client's calls. storm_herd.c: clients that come back. storm_flood.c: overload. Each line that
 * is printed is a JSON object; commands are read from stdin, one a line. One thread.
 */
#ifndef BT_TEST_STORM_H
#define BT_TEST_STORM_H

#include <stdbool.h>
#include <stdint.h>

#include "client/bench_hist.h"
#include "client/bench_net.h"
#include "client/bench_random.h"
#include "client/client_backoff.h"
#include "client/client_internal.h"
#include "rpc/frame.h"

enum { STORM_TOKEN = 256, STORM_DOORS = 16, STORM_CALLS = 64 };

enum storm_state { STORM_OFF, STORM_WAITING, STORM_GREETING, STORM_BOUND };

struct storm_open {
    uint64_t due_us;             /* when it was to be sent; 0: not open */
    uint64_t until_us;           /* its deadline */
};

struct storm_client {
    struct bench_conn conn;      /* first */
    uint32_t user;
    enum storm_state state;
    uint64_t device_id, user_id, session_id;
    uint16_t token_len;
    uint8_t token[STORM_TOKEN];
    uint64_t due_us;             /* WAITING: when to dial; GREETING: when to give up, or to ask to resume again */
    bool must_ask_again;         /* GREETING: what was asked was refused for a while; the connection stays */
    bool is_resumed;             /* GREETING: it still compares positions */
    uint32_t asked_again;
    struct client_backoff backoff;
    struct client_servers servers;
    char server[CLIENT_SERVER_MAX];
    uint64_t bound_us;           /* when it was bound last */
    uint64_t broke_us;           /* not back since; 0: it is */
    uint32_t next_call, open;
    struct storm_open *calls;    /* STORM_CALLS of them, by call % STORM_CALLS */
};

struct storm_options {
    const char *doors[STORM_DOORS];  /* proxies */
    unsigned ndoors;
    const char *only;                /* herd: all connect there first */
    uint32_t users, devices;
    uint32_t timeout_ms;             /* of each send */
    double factor;                   /* flood: how many times the capacity is offered */
    bool has_pull;                   /* herd: who is back compares positions */
};

struct storm {
    struct storm_options o;
    struct bench_net net;
    struct storm_client *clients;
    uint32_t count;
    char tag[20];
    struct bench_random random;
    uint64_t next_msg_id;
    /* What a mode does about a client's events. */
    void (*replied)(struct storm *s, struct storm_client *c, uint16_t method, uint64_t due_us, const struct rpc_frame *f);
    void (*evented)(struct storm *s, struct storm_client *c, const struct rpc_frame *f);
    void (*closed)(struct storm *s, struct storm_client *c);
    void (*command)(struct storm *s, const char *line);
    void *mode;
    bool must_end;
};

/* False: no call is free, or no memory. timeout_ms travels in the header; the deadline is kept in c->calls. */
bool storm_call(struct storm *s, struct storm_client *c, uint16_t method, uint64_t target, uint32_t timeout_ms, uint64_t due_us,
                const void *fields, const void *msg);
void storm_dial(struct storm *s, struct storm_client *c, const char *door);
void storm_hang_up(struct storm *s, struct storm_client *c);
/* Hello and Resume in one write. */
void storm_greet(struct storm *s, struct storm_client *c);
bool storm_resume(struct storm *s, struct storm_client *c);
/* One turn of at most wait_us, and a command, if one has come. */
void storm_turn(struct storm *s, uint64_t wait_us);
uint32_t storm_retry_after_ms(const struct rpc_frame *f);
void storm_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void storm_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Every user registered, every device logged in: done when it returns. */
void storm_accounts(struct storm *s);

int storm_herd(struct storm *s);
int storm_flood(struct storm *s);

#endif
