/*
 * roles/chat.h: what the files of the chat role share. The road of a request:
 *
 *   chat.c (check its form, make an op; chat_load.c: would it wait too long?)
 *   -> chat_sender.c (does its sender repeat too much?) -> chat_conv.c (open the conversation, keep the order)
 *   -> chat_repeat.c (known already?) -> chat_check.c (allowed?)
 *   -> chat_batch.c (many-row insert) or chat_change.c (an atomic list: edit, recall, members, first message);
 *      where another node writes too: chat_rival.c
 *   -> chat_push.c (answer the sender, then push to whom presence knows; chat_doors.c: while it is away, whom proxies
 *      know).
 *
 * A conversation takes its ops in the order in which they came. A signal that nothing stands before goes from chat.c to
 * chat_push.c at once; in a cluster only while presence is being read for another. Loop thread only.
 */
#ifndef BT_ROLES_CHAT_H
#define BT_ROLES_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/loop.h"
#include "net/timer.h"
#include "proto/client.pb.h"
#include "proto/node.pb.h"
#include "roles/role.h"
#include "rpc/call.h"
#include "rpc/rpc.h"
#include "store/conversation.h"
#include "store/message.h"
#include "store/presence.h"

struct chat_conv;
struct chat_batch;
struct chat_sender;

enum chat_op_kind { OP_SEND, OP_EDIT, OP_RECALL, OP_SIGNAL, OP_APPLY, OP_DROP };

struct chat;

/*
 * Anything that waits for a look at presence: a committed op,
 * a notification, a question. err: presence can't be read now.
 */
struct chat_wait {
    struct chat_wait *next;
    void (*run)(struct chat *chat, struct chat_wait *w, enum bt_err err);
};

/* One request on its way. It is freed once it has been answered and, when it stands in the log, pushed. */
struct chat_op {
    struct chat_wait wait;      /* first: it waits to be pushed */
    struct chat_op *next;       /* on one of its conversation's lists, or a batch's, or the push queue */
    struct chat_op *twins;      /* repeats that came while it was under way: answered like it */
    struct chat_op *ids_next;   /* chat->ids, while it is queued or being written */
    struct chat_conv *conv;
    struct rpc_call *call;      /* NULL: nobody waits for the answer any more */
    enum chat_op_kind kind;
    bool look;                  /* look into the log before writing: it may stand there already */
    bool is_looking;            /* that look is under way, perhaps with the busy op's */
    bool is_listed;             /* in chat->ids */
    bool is_verified;           /* its refusal was checked against the log's end */
    bool is_unsure;             /* a write of it was sent and its outcome is not known */
    bool is_done;               /* the store has answered for it: it stands in the log */
    uint64_t asked_ms;          /* net_now_ms() when its row was first given to the store, or the log's end asked for it; 0: never */
    uint8_t tries;              /* those that met the fence, or were not heard of; stays at its largest */
    uint64_t except_session;    /* who needs no push */
    uint64_t trace;
    uint64_t also_push;         /* a user who is no member any more, and is told nevertheless; 0: none */
    struct store_message row;   /* its texts point into text[] */
    Membership change;          /* OP_APPLY; its texts point into text[] */
    uint64_t request_id;        /* OP_APPLY CREATED */
    bool keep_name, keep_about, keep_join_mode; /* OP_APPLY UPDATED: what stays as it stands */
    uint8_t *merged;            /* OP_APPLY UPDATED: the body and texts with what stays; NULL: not yet */
    bool has_row;               /* OP_APPLY: the user it is about has a member row, which was: */
    struct store_member was;
    size_t size;                /* what it counts for: this and its text */
    size_t room;                /* of text[], which may be more */
    uint8_t text[];             /* what the digest is of: fixed fields, content type, body */
};

struct chat_member {
    uint64_t user_id;
    int64_t muted_until_ms;
    uint64_t joined_seq;
    uint32_t role;
};

/* What the window remembers of a message. */
struct chat_recent {
    uint64_t sender_id, client_msg_id, seq, digest;
    int64_t sent_ms;
};

struct chat_ops {
    struct chat_op *first, **last;
};

enum chat_conv_state {
    CONV_UNKNOWN,  /* nothing is known, or what was known may be stale */
    CONV_LOADING,  /* reading tail and window, then members or rights */
    CONV_READY,
};

struct chat_conv {
    struct chat_conv *hash_next;
    struct chat_conv *lru_prev, *lru_next;
    struct chat_conv *line_next;       /* in one of chat->lines: has ready ops and no batch */
    struct chat *chat;
    uint64_t hi, lo;
    enum chat_conv_state state;
    bool is_in_line;
    uint32_t quota;                    /* so many of its ready ops go into the batch that is being made */
    bool is_reading_log;               /* not only a 1:1's rights */
    bool is_read_again;                /* the process stood still while its log was read */
    bool is_others;                    /* another node's by the ring, when that was last looked at */
    bool is_stale;                     /* what is known may be wrong: read anew once nothing is being written */
    bool is_outrun;                    /* another node may have written here: the log's
                                        * end is read anew, and what has changed with it */
    bool is_loading_all;               /* CONV_LOADING: members and rights too, whether the log has moved or not */
    bool is_large;                     /* on chat->large: keeps `online` */
    bool is_unborn;                    /* a 1:1 without member rows: the first message writes them */
    bool group_exists, group_disbanded;
    int32_t join_mode;
    struct store_pair pair;            /* lo != 0 */
    uint64_t rights_ms;                /* net_now_ms() when a 1:1's rights were read; 0: never */
    uint64_t db_generation;            /* of the store's connection when the tail was read */
    uint64_t known_ms;                 /* net_now_ms() when that was asked of the store which showed head_seq to be the last */
    uint64_t owned_ms;                 /* net_now_ms() when the ring last said that it is this node's, or what
                                        * others may have written had just been read */
    uint64_t head_seq;                 /* of the last message that stands */
    int64_t head_ms;
    uint64_t fenced_until_ms;          /* until then it goes with others that met the fence lately */

    struct chat_ops waiting;           /* came, not yet checked */
    struct chat_ops ready;             /* checked, to be written by the next batch */
    struct chat_op *busy;              /* the op that everything else here waits for: a look-up or a list under way */
    uint32_t nlooking;                 /* waiting ops that are being looked up: the busy one, and those that go along */
    struct net_timer retry;            /* until the busy op, whose outcome is unknown, is written again */
    struct chat_batch *batch;          /* under way, at most one */
    struct net_timer turn;             /* while it runs nothing is checked or written here: it is another node's turn */
    uint64_t rival_until_ms;           /* until then another node is taken to write here too */
    uint32_t losses;                   /* tries in a row that met its rows */
    uint32_t pins;                     /* committed ops that wait to be pushed */

    struct chat_member *members;       /* by rising user id */
    size_t nmembers, members_cap;
    uint64_t *online;                  /* is_large: members that presence knows to be connected */
    size_t nonline, online_cap;
    bool online_known;
    uint64_t newest_joined_seq;        /* no member joined after that */
    uint64_t rights_print;             /* of a group's members and their rights as
                                        * they were before they are read anew; 0: none */
    struct chat_conv *large_next;

    struct chat_recent *window;        /* a ring of the newest; allocated as it fills */
    uint32_t window_n, window_cap, window_at;
    uint64_t window_max_id;            /* no id in the window is above it */
};

/* One user at one node, in the copy of presence: an open-addressed table, a user at two nodes has two places. */
struct chat_trace {
    uint64_t user_id; /* 0: free */
    uint32_t node;
};

/* Receivers of one push at one proxy. */
struct chat_fan {
    uint64_t *users;
    size_t n, cap;
    const char *caller; /* its address, as rpc_call_node() gives it; NULL: not seen yet */
    bool has_lost;    /* its queue refused a push: told when there is room */
};

/* A proxy that was asked who is connected to it. */
struct chat_door {
    struct chat *chat;
    struct rpc_pending *call;  /* NULL: not being asked */
    uint64_t epoch, position;  /* of its last answer; 0: all is asked */
    uint32_t node;             /* of that epoch */
    bool is_known;             /* the copy has what it answered */
    char address[64];
};

/* Conversations that have something to be written, longest first; those that met the fence lately have a line of their own. */
enum chat_line_kind { CHAT_CALM, CHAT_FENCED, CHAT_LINES };
struct chat_line {
    struct chat_conv *first, **last;
};

/* What was done lately (chat_load.c). */
struct chat_load {
    uint64_t since_ms, done;  /* net_now_ms(), and how many ops the store has answered for since */
    bool was_idle;            /* meanwhile there was a time with nothing to do */
    double rate;              /* ops per ms; 0: not known */
};

struct chat_settings {
    uint32_t window, body_max, signal_max, batch_rows, batches, repeats, wait_ms;
    size_t repeats_waiting, queue, queue_bytes, conversations, batch_bytes, max_members;
    bool strangers;
};

struct chat {
    struct role_env env;
    struct chat_settings set;

    struct chat_conv **convs;          /* hash by key, power of two */
    size_t nconvs, convs_cap;
    struct chat_conv *lru_first, *lru_last; /* first: used last */
    struct chat_line lines[CHAT_LINES];
    bool was_calm;                     /* whose turn it was, when both wait */
    uint32_t fenced_most;              /* so many conversations go into a batch of those that met the fence lately */
    struct chat_conv *large;

    struct chat_op **ids;              /* hash of the ids that are queued or being written */
    size_t nids, ids_cap;
    size_t nops, op_bytes;
    size_t nheld, held_bytes;          /* of these: what waits in chat_sender.c, for its sender's sake */
    struct chat_op *spare;             /* for reuse, by next */
    size_t nspare;
    struct chat_load load;

    struct net_task flush_task;
    uint32_t nflying;
    struct store_message *rows;        /* room for batch_rows, while a statement is made */
    struct chat_batch *flying;         /* those under way */

    struct chat_trace *traces;         /* power of two */
    size_t ntraces, traces_cap;
    uint64_t presence_generation, presence_position;
    uint64_t presence_as_of_ms;        /* net_now_ms() when the read began that the copy is of */
    uint64_t presence_began_ms;        /* of the last read */
    bool presence_reading;
    bool presence_is_lost;             /* the last read failed */
    uint64_t presence_young_ms;        /* until then it may lack users that proxies have yet to write */
    struct chat_door **doors;
    size_t ndoors, doors_cap, nasked;  /* nasked: that have yet to answer */
    enum bt_err asked_err;             /* BT_ENOMEM: some could not be asked */
    struct chat_wait *waits, **waits_last;   /* for the next read */
    struct chat_wait *reading;               /* for the read under way */

    struct chat_fan *fan;              /* by presence node number */
    uint32_t *fan_used;
    size_t nfan, nfan_used;
    bool has_lost_everywhere;          /* any proxy may lack pushes */
    struct net_timer lost_timer;
    uint8_t *event, *push;             /* an encoded event; an encoded PushEvent */
    size_t event_cap, push_cap;

    struct chat_sender **senders;      /* hash by user, power of two: those who repeated lately */
    size_t nsenders, senders_cap;
    struct chat_sender *sender_oldest, *sender_newest; /* by last use */
    bool senders_are_free;             /* draining: nobody's repeats wait any more */

    uint64_t owners_print;             /* of the chat nodes in the last view */
    struct net_timer pulse_timer;      /* while there are other chat nodes */
    uint64_t pulse_ms, away_ms;        /* net_now_ms() of the last pulse; when it had stood still for long, 0: never */
    bool is_stopping;                  /* nothing of unknown outcome is tried again */
    void (*idle_cb)(void *arg);        /* draining or stopping: called once nothing is under way */
    void *idle_arg;
    struct net_task idle_task;
};

/* ---- chat_op.c ------------------------------------------------------------------------------------------------------------ */

void chat_ops_init(struct chat_ops *ops);
void chat_ops_push(struct chat_ops *ops, struct chat_op *op);
void chat_ops_unshift(struct chat_ops *ops, struct chat_op *op);
void chat_ops_prepend(struct chat_ops *ops, struct chat_ops *front); /* front's ops before its own; front is spent */
struct chat_op *chat_ops_pop(struct chat_ops *ops);

/*
 * An op with room for its texts, its digest's input filled in;
 * NULL: no memory. Counts towards the queue's limits until freed.
 */
struct chat_op *chat_op_new(struct chat *chat, enum chat_op_kind kind, struct rpc_call *call, int32_t row_kind, uint64_t refers_to_seq,
                            struct rpc_bytes content_type, struct rpc_bytes body);
void chat_op_free(struct chat *chat, struct chat_op *op);
void chat_op_free_spares(struct chat *chat);

/* Answer everybody who waits for it. */
void chat_op_reply(struct chat_op *op);                                                         /* SendReply or GroupReply of its row */
void chat_op_fail(struct chat_op *op, enum bt_err err, const char *detail);
void chat_op_expire(struct chat_op *op); /* it may have been written: those whose deadline has passed are told UNKNOWN */
void chat_op_end(struct chat *chat, struct chat_op *op, enum bt_err err, const char *detail);   /* unlist, fail, free */

/* The ids under way. chat_ids_find: the op with that id in that conversation, or NULL. */
enum bt_err chat_ids_add(struct chat *chat, struct chat_op *op);
void chat_ids_remove(struct chat *chat, struct chat_op *op);
struct chat_op *chat_ids_find(const struct chat *chat, const struct chat_op *like);

/* ---- chat_load.c ---------------------------------------------------------------------------------------------------------- */

/*
 * May a request of which so much of its deadline is left come
 * in? False: what to tell its sender about when to come again.
 */
bool chat_load_takes(struct chat *chat, uint32_t left_ms, uint32_t *retry_ms_out);
uint32_t chat_load_wait_ms(struct chat *chat); /* how long it would wait */
void chat_load_end(struct chat *chat, bool is_done); /* an op has ended; is_done: the store has answered for it */

/* ---- chat_conv.c ---------------------------------------------------------------------------------------------------------- */

/* The open conversation, opened now if need be; NULL: no memory. chat_conv_find only looks. */
struct chat_conv *chat_conv_get(struct chat *chat, uint64_t hi, uint64_t lo);
struct chat_conv *chat_conv_find(const struct chat *chat, uint64_t hi, uint64_t lo);
void chat_conv_free(struct chat_conv *c);
void chat_conv_trim(struct chat *chat);              /* close the least used beyond the limit */
void chat_conv_submit(struct chat_conv *c, struct chat_op *op);
bool chat_conv_is_free(struct chat_conv *c);         /* a signal that came now would wait for nothing; notes
                                                      * on the way that what is known has become stale */
void chat_conv_run(struct chat_conv *c);             /* take waiting ops as far as they can go */
void chat_conv_recheck(struct chat_conv *c);         /* ready ops are to be checked again */
void chat_conv_forget(struct chat_conv *c);          /* the same, and what it knows is read anew before */
void chat_conv_outrun(struct chat_conv *c);          /* the same, but members and rights only
                                                      * where they can have changed with the log */
void chat_conv_unbusy(struct chat_conv *c);          /* the busy op is done with: go on */

struct chat_member *chat_conv_member(const struct chat_conv *c, uint64_t user_id);
enum bt_err chat_conv_put_member(struct chat_conv *c, const struct chat_member *m);
void chat_conv_drop_member(struct chat_conv *c, uint64_t user_id);

const struct chat_recent *chat_conv_recall(const struct chat_conv *c, uint64_t sender_id, uint64_t client_msg_id);
void chat_conv_remember(struct chat_conv *c, const struct chat_recent *r);

/* ---- chat_owner.c ---------------------------------------------------------------------------------------------------------- */

registry_changed_cb chat_owner_view;                       /* arg: struct chat */
bool chat_owner_may_differ(struct chat_conv *c);           /* another node may have written since something was last heard of it */
void chat_owner_saw(struct chat_conv *c, uint64_t asked_ms); /* the store's answer to what was asked then: its log ends where it is known to */
void chat_owner_read(struct chat_conv *c);                 /* the log's end has been read, and what changed with it */
void chat_owner_stop(struct chat *chat);

/* ---- chat_check.c ----------------------------------------------------------------------------------------------------------- */

/* Decide on an op whose turn has come: answer it, make it ready, or make it busy. */
void chat_check(struct chat_conv *c, struct chat_op *op);

/* A signal that need not wait, and that may be sent: answered and pushed, without an op. False: nothing was done. */
bool chat_signal_at_once(struct chat_conv *c, struct rpc_call *call, const SignalEvent *event);

enum { CHAT_RIGHTS_MS = 5000, CHAT_FRESH_MS = 1000, CHAT_RECENT_MS = 100 };

/* ---- chat_sender.c ---------------------------------------------------------------------------------------------------------- */

/*
 * True: it waits until more of its sender's repeats may be looked
 * for, or was refused. It comes back by chat_submit_now().
 */
bool chat_sender_holds(struct chat *chat, struct chat_op *op);

/* Is all that he sends looked up first, since his repeats met the fence? And remember that they did. */
bool chat_is_solo(const struct chat *chat, uint64_t sender_id);
void chat_set_solo(struct chat *chat, uint64_t sender_id);

void chat_senders_free(struct chat *chat); /* nothing waits there any more */
void chat_senders_stop(struct chat *chat); /* after that */

/* ---- chat_repeat.c ---------------------------------------------------------------------------------------------------------- */

/* True: the op was answered, joined to the one under way, or is being looked up. */
bool chat_is_repeat(struct chat_conv *c, struct chat_op *op);
void chat_look(struct chat_conv *c, struct chat_op *op);              /* makes it busy, waiting in its place;
                                                                       * then answers it or has it checked again */
bool chat_must_look(const struct chat *chat, const struct chat_op *op); /* unless it is known otherwise */

/* Answer an op whose id stands in the log already: its seq, or ALREADY_EXISTS when it was another message. Frees it. */
void chat_answer_known(struct chat *chat, struct chat_op *op, uint64_t seq, uint64_t digest, int64_t sent_ms);

/* ---- chat_batch.c ----------------------------------------------------------------------------------------------------------- */

void chat_batch_init(struct chat *chat);
void chat_batch_schedule(struct chat_conv *c); /* it has ready ops */
void chat_batch_flush(void *chat_arg);
void chat_batch_stop(struct chat *chat);       /* nothing goes out any more; give up what waits
                                                * to be settled: its senders are told UNKNOWN */
uint32_t chat_backoff_ms(uint32_t tries);

/* An op stands in the log at its row.seq: remember it, answer, push. Takes op. */
void chat_committed(struct chat_conv *c, struct chat_op *op);

/* ---- chat_rival.c ------------------------------------------------------------------------------------------------------------ */

/*
 * Another node writes this conversation too. A write met its rows; a write went well; begin the stop: no more pauses.
 */
void chat_rival_met(struct chat_conv *c);
void chat_rival_passed(struct chat_conv *c);
void chat_rival_stop(struct chat_conv *c);

/*
 * May an op that met its rows be tried again? False: too little
 * of its callers' time is left; it was answered and freed.
 */
bool chat_rival_may_retry(struct chat_op *op);

/* ---- chat_change.c ------------------------------------------------------------------------------------------------------------ */

/*
 * Write the busy op in an atomic list of its own: an edit, a recall, a change of members, the first message of a 1:1.
 */
void chat_change_start(struct chat_conv *c, struct chat_op *op);
void chat_change_stop(struct chat_conv *c);    /* give up, as chat_batch_stop */

/*
 * chat_apply.c: the rows of a change of a group, from the state that
 * c holds. was: the member row of the user it is about, or NULL.
 */
enum bt_err chat_apply_check(struct chat_conv *c, struct chat_op *op, const struct store_member *was, bool *is_change_out, const char **detail_out);
/* An update, filled up with what stays as it stands now. */
enum bt_err chat_apply_merge(struct chat_op *op, const struct store_group *now);
void chat_apply_add(struct chat_conv *c, struct chat_op *op, struct db_list *list);
void chat_apply_done(struct chat_conv *c, struct chat_op *op); /* the cached state after the commit */

/* ---- chat_presence.c ---------------------------------------------------------------------------------------------------------- */

/*
 * Run w with a copy of presence that is not older than this call: at once, inside it, when nothing has changed and
 * nobody waits, else after a read. In the order of the calls.
 */
void chat_presence_look(struct chat *chat, struct chat_wait *w);
#ifdef BYTETALK_PLANTED
void chat_presence_early(struct chat *chat);            /* read it without waiting for it */
#endif
bool chat_presence_is_current(const struct chat *chat); /* it would run it at once */
/* It is being read for somebody, and the copy was good less than CHAT_RECENT_MS ago: enough for what is not stored. */
bool chat_presence_is_recent(const struct chat *chat);
bool chat_presence_has(const struct chat *chat, uint64_t user_id);

/* A user's first node, and the one after that; NULL: no more. Not while presence changes. */
const struct chat_trace *chat_presence_first(const struct chat *chat, uint64_t user_id);
const struct chat_trace *chat_presence_next(const struct chat *chat, const struct chat_trace *t);

/*
 * What a node itself says: these are there, and these are not;
 * is_full: nobody else is there, nor was at its address. BT_ENOMEM.
 */
enum bt_err chat_presence_put(struct chat *chat, uint32_t node, bool is_full, struct rpc_bytes here, struct rpc_bytes gone);

/* ---- chat_doors.c ------------------------------------------------------------------------------------------------------------- */

/*
 * Ask every live proxy what has changed since its last answer, and put that into the copy; then chat_presence_asked(),
 * perhaps inside this call. One that does not answer is told that it may have missed pushes. One round at a time.
 */
void chat_doors_ask(struct chat *chat);
void chat_presence_asked(struct chat *chat, enum bt_err err); /* BT_ENOMEM: the copy lacks somebody */
void chat_doors_forget(struct chat *chat);                    /* presence is good again, or the copy
                                                               * was emptied: ask for all next time */
bool chat_door_is_known(const struct chat *chat, uint32_t node);
void chat_doors_free(struct chat *chat);

/* ---- chat_push.c ---------------------------------------------------------------------------------------------------------------- */

void chat_push_op(struct chat *chat, struct chat_op *op);      /* a committed op, or a signal: to the members; takes op */
/* A signal, now, to whom presence is known to hold; its answer too. */
void chat_push_signal(struct chat_conv *c, struct rpc_call *call, const SignalEvent *event);
void chat_push_users(struct chat *chat, const PushEvent *push, uint64_t trace, enum bt_err presence_err); /* wherever they are */
void chat_push_lost(struct chat *chat, uint32_t node);         /* a proxy may have missed some: it is told when it can be */
void chat_push_news(const char *address, enum rpc_link_news news, void *chat_arg);
void chat_push_stop(struct chat *chat);

/* ---- chat.c ---------------------------------------------------------------------------------------------------------------------- */

void chat_maybe_idle(struct chat *chat);
void chat_submit_now(struct chat *chat, struct chat_op *op); /* give it to its conversation */

#endif
