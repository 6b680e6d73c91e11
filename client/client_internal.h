/*
 * client/client_internal.h: what the files of the client library share among themselves.
 *
 *   client.c          open, close, state, the session's record
 *   client_link.c     one connection: Hello, Resume, heartbeat
 *   client_connect.c  which connection is in use: dialling, backoff, going over to another server
 *   client_servers.c  the servers known, and which to take
 *   client_resolve.c  names to addresses
 *   client_call.c     calls: waiting, sending, trying again, ending
 *   client_send.c     writing messages: ids, one order per conversation
 *   client_conv.c     conversations: order, positions
 *   client_gap.c      fetching what is missing
 *   client_pull.c     finding out what was missed
 *   client_mark.c     confirmations
 *   client_receipt.c  how far others have got
 *   client_event.c    what the server pushes
 *   client_convert.c  wire messages to the structs of bytetalk.h
 *   client_api*.c     the typed calls
 */
#ifndef BT_CLIENT_INTERNAL_H
#define BT_CLIENT_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/bytetalk.h"
#include "client/client_backoff.h"
#include "client/client_ids.h"
#include "client/client_order.h"
#include "net/loop.h"
#include "net/timer.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "rpc/bytes.h"
#include "rpc/link.h"
#include "rpc/method.h"

enum {
    CLIENT_PROTOCOL = 1,
    CLIENT_DIAL_MS = 3000,
    CLIENT_GREET_MS = 10000,          /* for the answers to Hello and Resume */
    CLIENT_PING_ANSWER_MS = 10000,
    CLIENT_PULL_MIN_MS = 250,         /* before positions are compared again after that failed; grows up to the next */
    CLIENT_PULL_MAX_MS = 2000,
    CLIENT_STABLE_MS = 5000,          /* a connection that stood so long, and longer
                                       * than the longest wait, starts the backoff anew */
    CLIENT_LEAVE_MS = 5000,           /* how long calls on a connection that is left are waited for */
    CLIENT_LAST_MS = 1000,            /* how long a closing client waits for its last answers */
    CLIENT_TRY_MS = 10000,            /* one try of a call */
    CLIENT_AGAIN_MAX_MS = 2000,       /* at most between two tries of a call that was
                                       * not done: it is soon over, and somebody waits */
    CLIENT_GAP_MS = 200,
    CLIENT_COMPARE_MS = 5 * 60 * 1000,
    CLIENT_MARK_MS = 1000,
    CLIENT_PULL_POSITIONS = 500,      /* positions in one request */
    CLIENT_MARKS_AT_ONCE = 200,
    CLIENT_SHUN_MS = 5000,            /* a server that failed is passed over, longer each time */
    CLIENT_MAX_SERVERS = 256,
    CLIENT_SERVER_MAX = 264,          /* "host:port" */
    CLIENT_TOKEN_MAX = 256,
};

/* ---- servers --------------------------------------------------------------------------------------------------------- */

struct client_server {
    char name[CLIENT_SERVER_MAX];
    bool is_given;                   /* by the application; never forgotten */
    bool is_learnt;                  /* named by a server */
    uint64_t connections, weight;    /* as learnt: of all that serve there */
    uint32_t failures;               /* in a row */
    uint64_t shun_until_ms;          /* by net_now_ms() */
};
struct client_servers {
    struct client_server *rows;
    size_t count, cap;
};
bool client_servers_give(struct client_servers *s, const char *name);             /* false: too long, or no memory */
void client_servers_learn(struct client_servers *s, const DirectoryEntry *rows, size_t n); /* replaces what was learnt */
const char *client_servers_pick(const struct client_servers *s, uint64_t now_ms, uint64_t random); /* lent until the next learn; NULL: none */
void client_servers_failed(struct client_servers *s, const char *name, uint64_t now_ms);
void client_servers_worked(struct client_servers *s, const char *name);
void client_servers_shun(struct client_servers *s, const char *name, uint64_t until_ms);
void client_servers_deinit(struct client_servers *s);

/* ---- a connection -------------------------------------------------------------------------------------------------------- */

enum client_link_state { CLIENT_LINK_GREETING, CLIENT_LINK_OPEN, CLIENT_LINK_BOUND, CLIENT_LINK_CLOSING };
struct client_link {
    struct client_link *next;        /* client->links */
    struct bt_client *client;
    struct rpc_link *rpc;
    enum client_link_state state;
    char server[CLIENT_SERVER_MAX];  /* as it is listed */
    char address[64];                /* as it was dialled */
    struct rpc_out hello, resume, ping;
    bool hello_out, resume_out, ping_out; /* under way */
    bool is_leaving;                 /* another connection is in use: closes when its calls are done */
    bool is_shared;                  /* it goes away, and says that others serve at the same address */
    struct net_timer ping_timer, leave_timer, resume_timer; /* resume_timer: the server is full, and said when to ask again */
    uint32_t resumes;                /* how often it was asked to resume */
    uint32_t calls;                  /* of ours, under way on it */
    uint32_t max_calls, max_frame_bytes, idle_timeout_ms;
    uint64_t ready_ms;               /* when it came into use; 0: never */
    uint32_t resume_serial;          /* which token Resume was sent with */
};

/* Dial; tells client_connect_ready() or client_connect_lost(). NULL: it could not even be tried. */
struct client_link *client_link_open(struct bt_client *c, const char *server, const char *address);
void client_link_resume(struct client_link *l);                /* bind it to the client's session, unless that is under way or done */
void client_link_bound(struct client_link *l);                 /* Login did it */
void client_link_leave(struct client_link *l, uint32_t wait_ms); /* take no new calls; close when the open ones are answered, or after that */
void client_link_close(struct client_link *l, enum bt_err why);
void client_link_finish(struct client_link *l, uint32_t linger_ms);
void client_link_call_done(struct client_link *l);             /* one call less on it */

/* ---- calls ------------------------------------------------------------------------------------------------------------------ */

struct client_call;
struct client_queue;
/* The end of a call: msg is the decoded reply, NULL unless r->outcome is BT_DONE; both lent. */
typedef void client_call_done_cb(struct client_call *call, const struct bt_result *r, const void *msg);
typedef void client_any_cb(void);    /* any of the application's callback types, cast */

struct client_call {
    struct client_call *next, *prev; /* client->calls: all there are */
    struct bt_client *client;
    const struct rpc_method_info *method;
    uint64_t target;
    uint64_t user_id;                /* who makes it; nobody else may be taken for him */
    uint8_t *payload;                /* behind this struct */
    size_t len;
    uint64_t deadline_ms;            /* by net_now_ms() */
    uint64_t not_before_ms;          /* the server asked to come again then; 0: at once */
    uint32_t tries;
    bool maybe_done;                 /* an earlier try may have been done */
    bool is_internal;                /* of the library itself: not counted against max_queued */
    struct client_link *link;        /* not NULL: under way there */
    struct client_link *came_on;     /* in done, of an answer that came: over which */
    struct rpc_out out;
    struct net_timer timer;          /* the next thing to do, when not under way */
    struct client_backoff backoff;
    client_call_done_cb *done;
    client_any_cb *cb;               /* the application's */
    void *arg;
    struct client_queue *queue;      /* not NULL: one of a conversation's messages */
    struct client_call *queue_next;
    bool is_starting;                /* inside the function that armed it: it may not end there */
    uint8_t last_status;             /* what to say when time is up */
    char last_detail[128];
};

/* What a call is made of; msg is encoded there and then. timeout_ms 0: the client's. */
struct client_ask {
    uint16_t method;
    uint64_t target;
    const void *msg;
    uint32_t timeout_ms;
    bool is_internal;
    client_call_done_cb *done;
    client_any_cb *cb;
    void *arg;
};
extern const struct bt_result client_no_memory;  /* the call was answered, but its answer can't be shown */
struct client_call *client_call_new(struct bt_client *c, const struct client_ask *ask); /* NULL: see bytetalk.h on bool */
bool client_call(struct bt_client *c, const struct client_ask *ask);   /* new and start */
void client_call_start(struct client_call *call);
void client_call_drop(struct client_call *call);                       /* made, and not started after all */
void client_call_try_timer(void *call);
void client_call_try(struct client_call *call);
bool client_call_is_foreign(const struct client_call *call);           /* its user is not, or no longer, the one logged in */
void client_calls_try_all(struct bt_client *c);                        /* a connection came into use, or has room again */
void client_calls_no_session(struct bt_client *c);                     /* fail what waits for a login that is not coming */
void client_calls_cancel_all(struct bt_client *c);                     /* closing */

/* ---- sending ---------------------------------------------------------------------------------------------------------------------- */

struct client_queue {
    struct client_queue *next;       /* client->queues: conversations with messages waiting */
    uint64_t target;
    struct client_call *first, *last;
};
/* The first of a conversation's queue, and only that, may be on its way. */
bool client_queue_may_send(const struct client_call *call);
void client_queue_remove(struct client_call *call);                    /* it has ended */
void client_queue_next(struct bt_client *c, uint64_t target);          /* the next one may go */

/* ---- conversations ------------------------------------------------------------------------------------------------------------------ */

enum client_whose { CLIENT_PEERS, CLIENT_OWN }; /* 1:1: the other's marks; one's own, by another device */
struct client_marks {
    uint64_t delivered_seq, read_seq;
};
struct client_conv {
    uint64_t hi, lo;
    struct bt_client *client;
    struct client_order order;
    struct net_timer gap_timer;
    uint32_t gap_tries;              /* fetches in a row that brought nothing */
    bool is_fetching, is_dirty;      /* dirty: the position is to be saved */
    uint64_t delivered_seq, read_seq;           /* confirmed, as the server knows */
    uint64_t to_deliver_seq, to_read_seq;       /* to be confirmed */
    struct client_marks heard[2], told[2];      /* by enum client_whose: of other devices and
                                                 * users, and what of it the application was told */
    bool are_marks_known;                       /* the server has said them since this client was made */
};
struct client_convs {
    struct client_conv **rows;       /* by rising (hi, lo) */
    size_t count, cap;
};
uint64_t client_target_of(const struct bt_client *c, uint64_t hi, uint64_t lo);
void client_key_of(const struct bt_client *c, uint64_t target, uint64_t *hi_out, uint64_t *lo_out);
struct client_conv *client_conv_find(const struct bt_client *c, uint64_t hi, uint64_t lo);  /* NULL: none */
struct client_conv *client_conv_get(struct bt_client *c, uint64_t hi, uint64_t lo);         /* made if missing; NULL: no memory */
size_t client_convs_after(const struct bt_client *c, uint64_t hi, uint64_t lo);             /* index of the first row after a key */
void client_convs_clear(struct bt_client *c);
void client_conv_learn(struct bt_client *c, const Message *m);          /* by reply, push or pull */
void client_conv_note_head(struct bt_client *c, uint64_t hi, uint64_t lo, uint64_t seq);
void client_conv_summary(struct bt_client *c, const Conversation *row); /* from Pull: with what follows the position */
void client_conv_take_page(struct client_conv *conv, const HistoryReply *reply);
void client_conv_check_gap(struct client_conv *conv);                   /* something may be missing, or no longer */
void client_convs_fetch_all(struct bt_client *c);                       /* every gap, at once */
void client_check_synced(struct bt_client *c);                          /* tell the application if nothing is missing any more */
void client_conv_restore(struct bt_client *c, uint64_t hi, uint64_t lo, uint64_t position); /* from the store */
void client_convs_save(struct bt_client *c);                            /* what is dirty, now */

/* ---- what was missed --------------------------------------------------------------------------------------------------------------------- */

void client_pull_start(struct bt_client *c);   /* once more, if it is running */
void client_pull_stop(struct bt_client *c);    /* nobody is logged in any more */
void client_pull_idle(struct bt_client *c);    /* something came: the idle time starts anew */

/* ---- confirmations --------------------------------------------------------------------------------------------------------------------- */

void client_mark_wake(struct bt_client *c);    /* something is to be confirmed: within a second */
void client_mark_now(struct bt_client *c);     /* on the way out */
void client_last_call(struct bt_client *c, uint16_t method, const void *msg); /* likewise: the connection waits for its answer for a while */
void client_mark_forget(struct bt_client *c);

/* ---- receipts ----------------------------------------------------------------------------------------------------------------------------- */

void client_receipt_learn(struct bt_client *c, const ReceiptEvent *e);        /* pushed: the other's of a 1:1 chat, or one's own */
void client_receipt_row(struct client_conv *conv, const Conversation *row);   /* as the server lists them */
void client_receipts_start(struct bt_client *c); /* learn those of all conversations, once per connection */
void client_receipts_stop(struct bt_client *c);  /* nobody is logged in any more */

/* ---- events, conversion ------------------------------------------------------------------------------------------------------------------- */

void client_event(struct bt_client *c, const struct rpc_frame *frame);

static inline struct bt_text client_text(struct rpc_bytes b) { return (struct bt_text){ (const char *)b.data, b.len }; }
static inline struct rpc_bytes client_bytes(struct bt_text t) { return rpc_bytes(t.data, t.len); }
struct bt_message client_message_of(const struct bt_client *c, const Message *m); /* membership is left NULL */
/* Read the body of a membership message. False: it is none. On true, rpc_release()d by nobody: it has no lists. */
bool client_membership_of(const struct bt_message *m, struct bt_membership *out);
struct bt_conversation client_conversation_of(const struct bt_client *c, const Conversation *row);
struct bt_user client_user_of(const Profile *p);
struct bt_group client_group_of(const GroupInfo *g);

/* ---- which connection -------------------------------------------------------------------------------------------------------------------- */

void client_connect_start(struct bt_client *c);               /* after open: the first try */
void client_connect_ready(struct client_link *l);             /* it may come into use */
void client_connect_lost(struct client_link *l, const char *why, bool is_final); /* it failed or broke; is_final: no version in common */
void client_connect_go_away(struct client_link *l, const GoAwayEvent *e);
void client_connect_stop(struct bt_client *c);
typedef void client_resolved_cb(struct bt_client *c, const char *address, void *arg); /* NULL: no such host */
bool client_resolve(struct bt_client *c, const char *name, client_resolved_cb *cb, void *arg); /* cb never inside; false: no memory */

/* ---- the client --------------------------------------------------------------------------------------------------------------------------- */

struct bt_client {
    struct net_loop *loop;
    struct bt_events events;
    void *arg;
    struct bt_store *store;
    char program[65];
    enum bt_inbox inbox;
    uint32_t backfill, call_timeout_ms, send_timeout_ms, max_queued, compare_ms;
    bool stay, logs_out;

    enum bt_state state;
    bool lacks_memory;               /* while it is opened: what the store holds found no room */
    bool has_state;                  /* the application was told of one */
    bool is_closing;                 /* bt_client_close() was called */
    bool has_closed;                 /* and done: only connections and look-ups are waited for */
    struct net_task start_task, close_task;
    void (*closed_cb)(void *arg);
    void *closed_arg;
    uint32_t works;                  /* look-ups of names under way */

    uint64_t device_id;
    uint64_t user_id;                /* of the session; 0: none */
    uint64_t position_user_id;       /* whose the positions are */
    char *user_name;                 /* "" when NULL */
    uint8_t token[CLIENT_TOKEN_MAX];
    size_t token_len;                /* 0: nobody is logged in */
    uint32_t token_serial;           /* changes with the token */
    struct client_ids ids;

    struct client_servers servers;
    struct client_link *links;       /* all there are */
    struct client_link *cur;         /* in use; NULL: none */
    struct client_link *coming;      /* greeting; to be in use when it is done */
    bool must_move;                  /* cur is going: another is to be found while it serves on */
    char looking_up[CLIENT_SERVER_MAX]; /* a server whose name is being looked up; "" */
    struct net_timer connect_timer;
    struct client_backoff backoff;
    uint32_t max_body_bytes;
    struct rpc_link_limits limits;

    struct client_call *calls, *calls_last; /* oldest first */
    struct client_call *calls_at;    /* where client_calls_try_all() goes on */
    uint32_t queued;                 /* of the application's */
    bool is_choked;                  /* a call waits for room on the connection */
    struct client_queue *queues;

    struct client_convs convs;
    bool is_held;                    /* hand nothing over */
    bool is_synced;                  /* all conversations of the account were seen once */
    struct net_task save_task;
    bool is_pulling, must_pull;
    ConversationKey pull_after, pull_until;
    bool pull_has_until;
    uint64_t moves, pull_moves;      /* how often a position moved, ever; and until this round was asked for */
    uint32_t pull_stalls;            /* comparisons in a row that did not get on */
    uint64_t pulled_ms;              /* when the last comparison ended well */
    bool is_pull_retry;              /* pull_timer runs because the last pull failed */
    struct client_backoff pull_backoff;
    bool must_tell_synced;
    bool must_list, is_listing;      /* the marks: still to be asked for; being asked for */
    bool is_listed;                  /* those of all conversations have been said once */
    ConversationKey listed;          /* up to there */
    uint32_t pull_serial;            /* an answer with an older one is dropped */
    struct net_timer pull_timer;
    bool is_marking;
    uint64_t marked_ms;              /* when marks were last sent */
    struct net_timer mark_timer;
};

uint64_t client_random(void);
uint64_t client_wall_ms(void);
void client_set_state(struct bt_client *c, enum bt_state state, const char *why, uint32_t wait_ms);
void client_session_begun(struct client_link *l, const LoginReply *reply);  /* Login or Resume answered OK */
void client_session_over(struct bt_client *c);                              /* the token is no good any more; tells nobody */
void client_save(struct bt_client *c, const struct bt_record *record);
void client_check_gone(struct bt_client *c);                                /* closing: is that all? */

#endif
