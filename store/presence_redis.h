/*
 * store/presence_redis.h: what the files of the Redis backend share. Nobody else includes it.
 *
 *   presence_redis_url.c     [presence] url and password_file -> struct redis_target
 *   presence_redis_link.c    a connection with each address: commands, silence, trying again
 *   presence_redis_hello.c   logging in, asking a server who it is, understanding its refusals
 *   presence_redis_script.c  what runs inside Redis: Lua, one script per step
 *   presence_redis.c         opening, calls, closing
 *   presence_redis_master.c  which address is used, the generation and its checks, the node's place in it
 *   presence_redis_users.c   this node's users: what was asked for and what is written
 *   presence_redis_read.c    reads, and what Redis answers turned into a delta
 *
 * What stands in Redis, all under one key H (REDIS_HEAD):
 *   H                    hash: generation; run, the run id of the server that made it; position, changes so far
 *   H:<gen>:log          list: the last changes, "+<user> <node>" or "-<user> <node>"; a node is "<address>/<epoch>"
 *   H:<gen>:nodes        hash: node -> number of its connection; older connections of the node write nothing any more
 *   H:<gen>:users:<node> set: the node's users
 *   H:<gen>:alive:<node> expires [presence] forget_s after the node was last heard of; then others may remove its traces
 *
 * A server that is not the one named by `run` holds a copy of unknown age, or what it found on its disk: what it holds
 * is thrown away and a new generation begins. Generations are microseconds of the wall clock, and only rise: of two
 * masters in view, as there may be around a fail-over, everyone takes the one with the newer generation.
 */
#ifndef BT_STORE_PRESENCE_REDIS_H
#define BT_STORE_PRESENCE_REDIS_H

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include "net/loop.h"
#include "net/timer.h"
#include "store/presence_internal.h"

#define REDIS_HEAD "bytetalk:presence"

enum {
    REDIS_HOSTS_MAX = 16,
    REDIS_CHECK_MS = 1000,   /* the generation, and who is master, are checked this often */
    REDIS_SEEK_MS = 250,     /* ... while there is no master */
    REDIS_AWAY_MS = 500,     /* calls wait this long for a master; then presence counts as away */
    REDIS_BATCH = 256,       /* users in one write; well below what Lua can unpack */
    REDIS_BATCHES_MAX = 8,   /* writes under way, so that reads are not held up by many users written anew */
    REDIS_SPARES = 64,
    REDIS_NODE_MAX = 300,    /* bytes of "<address>/<epoch>" */
};

/* ---- presence_redis_url.c --------------------------------------------------------------------------------------------- */

struct redis_host {
    char name[256]; /* numeric or to be looked up */
    uint16_t port;
};

struct redis_target {
    struct redis_host hosts[REDIS_HOSTS_MAX];
    size_t nhosts;
    uint32_t database;
    char user[128], password[512]; /* "": none */
};

/* Read redis://[user[:password]@]host[:port][,host[:port]...][/database]. BT_EINVAL, with a line in why that holds no password. */
enum bt_err redis_target_parse(const char *url, const char *password_file, struct redis_target *out, char *why, size_t why_size);

/* ---- presence_redis_script.c ------------------------------------------------------------------------------------------ */

enum redis_script { REDIS_TICK, REDIS_RENEW, REDIS_SET, REDIS_READ, REDIS_DROP, REDIS_NSCRIPTS };
extern const char *const redis_scripts[REDIS_NSCRIPTS];

/* ---- presence_redis_link.c -------------------------------------------------------------------------------------------- */

struct redis;
struct redis_link;

/* A command under way, embedded in what it is about. cb runs once; reply (lent) is NULL when the connection ended first. */
struct redis_cmd {
    void (*cb)(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd);
};

enum redis_link_state {
    REDIS_LINK_WAITING,  /* for the next try */
    REDIS_LINK_LOOKUP,   /* the name is being looked up */
    REDIS_LINK_DIALLING,
    REDIS_LINK_GREETING, /* logging in, asking who it is */
    REDIS_LINK_UP,
    REDIS_LINK_CLOSED,
};

struct redis_link {
    struct redis *redis;
    const struct redis_host *host;
    enum redis_link_state state;
    redisAsyncContext *ac;      /* NULL: not connected */
    struct net_poll *poll;
    int events;
    struct net_timer timer;     /* WAITING: the next try; else the longest silence */
    uint32_t unanswered;        /* commands */
    uint64_t heard_ms;          /* since when there is silence */
    bool is_suspect;            /* silent for too long; one more look at the socket, for this process may have been stopped */
    bool is_silent;             /* the connection was given up for its silence */
    bool is_resolving;
    uint32_t tries;             /* in a row that did not last */
    uint64_t up_ms;             /* since when it is UP */
    bool is_master;
    uint64_t generation;        /* that the server holds; 0: none */
    char run[48];               /* the server's run id */
    char shas[REDIS_NSCRIPTS][48];
    char fault[256];            /* why it was last lost, as logged; "": is well */
    struct redis_cmd greet[4], role_cmd, generation_cmd, load_cmds[REDIS_NSCRIPTS];
    bool is_polling;
};

void redis_link_start(struct redis_link *link, struct redis *r, const struct redis_host *host);

/* Send a command. Errors: BT_EDOWN, BT_ENOMEM: not sent, cb does not run. */
enum bt_err redis_link_send(struct redis_link *link, struct redis_cmd *cmd, int argc, const char *const *argv);
/* Run a script on REDIS_HEAD, with its arguments. */
enum bt_err redis_link_run(struct redis_link *link, struct redis_cmd *cmd, enum redis_script script, int argc, const char *const *argv);

/* Give the connection up; what is under way gets NULL; tries again later. */
void redis_link_drop(struct redis_link *link, const char *why);

/* For good. True: is closed now; else redis_link_closed() is called. */
bool redis_link_close(struct redis_link *link);

/* ---- presence_redis_hello.c ------------------------------------------------------------------------------------------- */

/* Say what a new connection begins with; when all is answered it is UP. */
enum bt_err redis_link_greet(struct redis_link *link);

/* Ask the server whether it is master, and for its generation. redis_choose_soon() when something is new. */
void redis_link_poll(struct redis_link *link);

/*
 * Judge the reply to a script. True: it is an array of at least n strings, and of nothing else. Else the link was given
 * up, or, when the server has only forgotten the scripts, these were sent again and *again_out is set.
 */
bool redis_link_is_good(struct redis_link *link, const redisReply *reply, size_t n, bool *again_out);

/* Give the connection up for a reply that is an error or makes no sense. */
void redis_link_refuse(struct redis_link *link, const redisReply *reply);

/* ---- presence_redis.c ------------------------------------------------------------------------------------------------- */

/* A call of presence_set() or presence_read() that waits for its answer. */
struct redis_call {
    struct redis_cmd cmd;
    struct redis_call *next;
    bool is_spare;
    presence_done_cb *done_cb;
    presence_read_cb *read_cb;
    void *arg;
    enum bt_err err;
    struct redis_user *user;       /* sets: the user it waits for */
    uint64_t generation, position; /* reads: as asked */
};

struct redis_calls {
    struct redis_call *head, **tail;
};

enum redis_phase {
    REDIS_SEEKING,  /* no master */
    REDIS_ENTERING, /* making sure of the generation, and of the node's place in it */
    REDIS_READY,
};

struct redis_user;

struct redis {
    struct presence base;
    struct net_loop *loop;
    struct redis_target target;
    uint32_t timeout_ms, forget_s;
    size_t queue_max;
    char address[256], node[REDIS_NODE_MAX];  /* this node */
    char epoch_text[24], log_text[24], forget_text[24];

    /* presence_redis_master.c */
    struct redis_link links[REDIS_HOSTS_MAX], *active; /* active: the master that is used, or NULL */
    enum redis_phase phase;
    bool is_away, was_away;        /* was_away: since the watcher was last told */
    bool is_grace_over;            /* nobody waits any more for servers that have not answered */
    bool has_entered, is_replaced;
    char run[48];                  /* of the server last entered */
    uint64_t connection;           /* number of this node's connection; rises */
    uint64_t generation, position; /* the newest that was seen */
    struct net_task choose_task;
    struct net_timer check_timer, away_timer, settle_timer, sweep_timer;
    struct redis_cmd tick_cmd, renew_cmd, drop_cmd;
    bool is_ticking, is_renewing, is_dropping;
    bool is_leaving;               /* the drop under way takes this node's own traces */
    int64_t tick_expects;          /* traces of ours that should stand, -1: not known */

    /* presence_redis_users.c */
    struct redis_user **users;     /* hash table, chained */
    size_t users_cap, nusers, nhere;
    struct redis_user *dirty, **dirty_last;
    size_t nbatches, nrestoring;
    bool must_tell;                /* the watcher, once nothing is left to be restored */

    /* presence_redis.c, presence_redis_read.c */
    struct redis_calls reads, answers; /* waiting to be sent; to be told */
    size_t nwaiting, nreading;     /* calls not yet answered; reads under way */
    struct redis_call spare_mem[REDIS_SPARES], *spares;
    struct net_task flush_task;
    struct presence_stats stats;
    bool is_closing, is_cut, is_told;
    struct net_timer close_timer;
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

void redis_calls_init(struct redis_calls *calls);
void redis_calls_add(struct redis_calls *calls, struct redis_call *call);
struct redis_call *redis_calls_take(struct redis_calls *calls); /* NULL: none */

/* Tell the caller at the loop's next turn. Takes call. */
void redis_answer(struct redis *r, struct redis_call *call, enum bt_err err);
void redis_call_free(struct redis *r, struct redis_call *call);

/* Send what waits, tell what is to be told, soon. */
void redis_flush_soon(struct redis *r);

/* This node's traces are gone, or can't be taken any more; while closing. */
void redis_left(struct redis *r);
void redis_link_closed(struct redis *r);

/* ---- presence_redis_master.c ------------------------------------------------------------------------------------------ */

void redis_master_start(struct redis *r);
void redis_master_stop(struct redis *r);
void redis_choose_soon(struct redis *r);

/* A reply told that the generation, or our place in it, is gone: look, and mend it. */
void redis_reenter(struct redis *r);

/* Take this node's traces out. redis_left() follows while closing, else the node enters again. False: could not be sent. */
bool redis_leave(struct redis *r);

/* All that was to be restored is written. */
void redis_restored(struct redis *r);

/* ---- presence_redis_users.c ------------------------------------------------------------------------------------------- */

enum bt_err redis_users_init(struct redis *r);
void redis_users_free(struct redis *r);

/* Note what is wanted; takes call, which may be NULL. */
void redis_users_set(struct redis *r, uint64_t user_id, bool is_here, struct redis_call *call);
void redis_users_flush(struct redis *r);                 /* send batches of what is not written */
void redis_users_fail(struct redis *r, enum bt_err err); /* answer all that wait; what they wanted stays noted */

/* From now until redis_restored(): all users, or only those not written, are to be written (again). */
void redis_users_restore(struct redis *r, bool all);
bool redis_users_are_written(const struct redis *r);

/* ---- presence_redis_read.c -------------------------------------------------------------------------------------------- */

void redis_reads_flush(struct redis *r);
void redis_reads_fail(struct redis *r, enum bt_err err); /* those not sent */

#endif
