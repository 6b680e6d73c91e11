/*
 * client/bytetalk.h: libbytetalk, the client library: a connection that mends itself, messages in order and once.
 *
 * Threads: a loop and the clients on it belong to one thread; call nothing here from another.
 * Callbacks: each runs exactly once, on the loop, never inside the call that armed it. A function that returns bool has
 *   armed its callback when it returns true; false (out of memory, more than max_queued waiting, client closing) means that
 *   nothing was taken and the callback never runs. A callback may call anything here, bt_client_close() included.
 * Ownership: what goes in is borrowed for the call and copied where needed. What comes in a callback is lent: valid
 *   until that callback returns.
 * Units: names end in _ms (milliseconds; absolute ones since 1970, by the server's clock); sizes are bytes.
 * Text: UTF-8, not NUL-terminated, as others wrote it: it may hold control characters; escape it before printing.
 * Targets: a conversation is named by its target: the other user's id, or BT_GROUP | group id.
 */
#ifndef BYTETALK_H
#define BYTETALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BT_GROUP (UINT64_C(1) << 63)

struct net_loop;  /* the event loop; in the source, net/loop.h has its timers and file descriptors */
struct bt_client;

struct bt_text {
    const char *data; /* may be NULL when len is 0 */
    size_t len;
};

/* ---- loop ---------------------------------------------------------------------------------------------------------- */

struct net_loop *bt_loop_new(void);            /* NULL: out of memory. SIGPIPE is ignored from here on. */
void bt_loop_run(struct net_loop *loop);       /* until bt_loop_stop() or until every client has closed */
void bt_loop_turn(struct net_loop *loop, uint32_t max_wait_ms); /* one turn, waiting no longer than that */
void bt_loop_stop(struct net_loop *loop);
void bt_loop_free(struct net_loop *loop);      /* every client on it has closed (asserted) */

/* ---- results --------------------------------------------------------------------------------------------------------- */

/* gRPC's statuses, as the server answers them. */
enum bt_status {
    BT_STATUS_OK = 0,
    BT_STATUS_CANCELLED = 1,           /* the client was closed meanwhile */
    BT_STATUS_UNKNOWN = 2,
    BT_STATUS_INVALID_ARGUMENT = 3,
    BT_STATUS_DEADLINE_EXCEEDED = 4,
    BT_STATUS_NOT_FOUND = 5,
    BT_STATUS_ALREADY_EXISTS = 6,
    BT_STATUS_PERMISSION_DENIED = 7,
    BT_STATUS_RESOURCE_EXHAUSTED = 8,
    BT_STATUS_FAILED_PRECONDITION = 9,
    BT_STATUS_ABORTED = 10,
    BT_STATUS_OUT_OF_RANGE = 11,
    BT_STATUS_UNIMPLEMENTED = 12,
    BT_STATUS_INTERNAL = 13,
    BT_STATUS_UNAVAILABLE = 14,        /* no server was reached, or a part of it is away */
    BT_STATUS_DATA_LOSS = 15,
    BT_STATUS_UNAUTHENTICATED = 16,    /* not logged in, or wrong name or password */
};
const char *bt_status_name(enum bt_status status); /* "NOT_FOUND"; static */

/* What is known about a call that changes something. */
enum bt_outcome {
    BT_DONE,       /* the server said so */
    BT_NOT_DONE,   /* surely not */
    BT_UNSURE,     /* it may have been done: the server was not heard again before the deadline */
};

struct bt_result {
    enum bt_outcome outcome;
    enum bt_status status;      /* BT_STATUS_OK exactly when outcome is BT_DONE */
    const char *detail;         /* for the programmer, in English; never NULL */
    uint32_t retry_after_ms;    /* 0: not told */
};

/* ---- what the application is told ------------------------------------------------------------------------------------- */

enum bt_message_kind {
    BT_TEXT = 1,
    BT_EDIT = 2,        /* refers_to_seq now says body */
    BT_RECALL = 3,      /* refers_to_seq is taken back */
    BT_MEMBERSHIP = 4,  /* membership says what changed */
    BT_APPLICATION = 5, /* body is the application's own */
};
enum bt_role { BT_NOT_A_MEMBER, BT_MEMBER, BT_ADMIN, BT_OWNER };
enum bt_join_mode { BT_JOIN_OPEN, BT_JOIN_BY_REQUEST, BT_JOIN_BY_INVITATION };
enum bt_pending { BT_NOT_PENDING, BT_INVITED, BT_ASKING };
enum bt_change {
    BT_CHANGE_NONE, BT_CREATED, BT_JOINED, BT_LEFT, BT_KICKED, BT_MUTED, BT_ROLE_SET, BT_TRANSFERRED, BT_UPDATED, BT_DISBANDED,
};

struct bt_membership {
    enum bt_change change;
    uint64_t user_id;          /* whom it is about; the message's sender did it */
    enum bt_role role;         /* BT_ROLE_SET */
    int64_t until_ms;          /* BT_MUTED; 0: may write again */
    struct bt_text name, about;/* BT_CREATED, BT_UPDATED */
    enum bt_join_mode join_mode;
};

struct bt_message {
    uint64_t target;           /* the conversation */
    uint64_t seq;              /* its number there: 1, 2, 3 ... without gaps */
    uint64_t sender_id;
    uint64_t client_msg_id;
    int64_t sent_ms;
    enum bt_message_kind kind;
    uint64_t refers_to_seq;    /* BT_EDIT, BT_RECALL */
    struct bt_text content_type; /* empty: plain text */
    struct bt_text body;       /* this and content_type: empty in a message that was recalled */
    const struct bt_membership *membership; /* NULL unless kind is BT_MEMBERSHIP */
};

struct bt_conversation {
    uint64_t target;
    struct bt_text name;       /* the peer's or the group's */
    uint64_t head_seq;         /* the last seq that the user may see */
    uint64_t first_seq;        /* the first one */
    uint64_t left_seq;         /* not 0: no longer a member since */
    uint64_t delivered_seq, read_seq;           /* the user's marks */
    uint64_t peer_delivered_seq, peer_read_seq; /* 1:1: the other's */
    uint32_t unread;           /* at most 1000; counted for bt_conversations_list() only, else 0 */
    const struct bt_message *last; /* NULL: not told */
};

enum bt_friend_state { BT_NO_FRIEND, BT_REQUEST_SENT, BT_REQUEST_RECEIVED, BT_FRIENDS };
struct bt_friend {
    uint64_t user_id;
    struct bt_text name;
    enum bt_friend_state state;
    bool blocked;              /* the user blocks this one */
    bool online;               /* told of friends only */
    int64_t changed_ms;
};

struct bt_group {
    uint64_t group_id;         /* without BT_GROUP */
    struct bt_text name, about;
    enum bt_join_mode join_mode;
    uint32_t member_count;
    uint64_t owner_id;
    enum bt_role my_role;
    enum bt_pending my_pending;
    int64_t created_ms;
    bool disbanded;
};
struct bt_member {
    uint64_t user_id;
    struct bt_text name;
    enum bt_role role;
    enum bt_pending pending;
    int64_t muted_until_ms;
    uint64_t joined_seq;
};
struct bt_group_news {         /* an invitation or a request to join came (pending) or was settled */
    uint64_t group_id;
    struct bt_text name;
    uint64_t user_id;          /* who invites or asks */
    uint64_t about_user_id;    /* who is invited or asks */
    enum bt_pending pending;
};
struct bt_user {
    uint64_t user_id;
    struct bt_text name, about, avatar;
    int64_t created_ms;
};
struct bt_session {
    uint64_t session_id;
    struct bt_text device;
    int64_t created_ms;
    bool is_this;
};
struct bt_receipt { uint64_t user_id; bool delivered, read; };
struct bt_receipts { uint32_t delivered_count, read_count, member_count; }; /* over all members but the sender */
struct bt_proxy {
    struct bt_text address, unit;
    uint32_t connections, weight;
};

enum bt_state {
    BT_STATE_CONNECTING,
    BT_STATE_WAITING,    /* no server reached; tries again after wait_ms */
    BT_STATE_CONNECTED,  /* a server is there, nobody is logged in */
    BT_STATE_READY,      /* logged in */
    BT_STATE_REFUSED,    /* the servers speak no protocol version of ours: final */
};
struct bt_state_info {
    enum bt_state state;
    const char *server;  /* "127.0.0.1:7400"; "" while none */
    const char *why;     /* BT_STATE_WAITING, _REFUSED: what went wrong; "" otherwise */
    uint32_t wait_ms;    /* BT_STATE_WAITING */
};
enum bt_session_end { BT_SESSION_ENDED, BT_SESSION_REPLACED, BT_SESSION_PASSWORD_CHANGED, BT_SESSION_DISABLED, BT_SESSION_EXPIRED };

/*
 * Every member may be NULL. `message` gets each message of each conversation once and in rising seq, without gaps from
 * the device's position on: other people's, one's own from other devices, and those sent here, once they are answered.
 */
struct bt_events {
    void (*state)(struct bt_client *c, const struct bt_state_info *info, void *arg);
    void (*session_ended)(struct bt_client *c, enum bt_session_end why, void *arg); /* log in again with the password */
    void (*conversation)(struct bt_client *c, const struct bt_conversation *conv, void *arg); /* one that is new to this device */
    void (*message)(struct bt_client *c, const struct bt_message *m, void *arg);
    void (*synced)(struct bt_client *c, void *arg); /* what was missed before connecting has been handed over */
    /* Somebody's marks rose; those of the other in a 1:1 chat while this device was away too, once it is connected. */
    void (*receipt)(struct bt_client *c, uint64_t target, uint64_t user_id, uint64_t delivered_seq, uint64_t read_seq, void *arg);
    void (*signal)(struct bt_client *c, uint64_t target, uint64_t sender_id, struct bt_text type, struct bt_text body, void *arg);
    void (*presence)(struct bt_client *c, uint64_t user_id, bool online, void *arg);
    void (*friend_changed)(struct bt_client *c, uint64_t user_id, struct bt_text name, enum bt_friend_state state, void *arg);
    void (*group)(struct bt_client *c, const struct bt_group_news *news, void *arg);
};

/* ---- what a device keeps ------------------------------------------------------------------------------------------------ */

enum bt_record_kind {
    BT_RECORD_DEVICE,          /* number: the device's id */
    BT_RECORD_ID_RESERVE,      /* number: ids of messages may have been used up to here */
    BT_RECORD_SESSION,         /* number: user id; name; token; empty token: logged out */
    BT_RECORD_SYNCED,          /* number: 1 once all conversations are known */
    BT_RECORD_POSITION,        /* hi, lo, number: a conversation and its position */
    BT_RECORD_FORGET,          /* another user logged in: drop the positions and SYNCED */
};
struct bt_record {
    enum bt_record_kind kind;
    uint64_t hi, lo, number;
    struct bt_text name, token; /* the token is a secret */
};

/*
 * Where the device's id, session and positions live between runs. `load` is called once, inside bt_client_open(), and
 * hands every record saved last to each(); `save` replaces the record of that kind (and hi, lo). A failed save costs no
 * message: what was not kept is handed over again. Without a store nothing outlives the process.
 */
typedef void bt_record_cb(const struct bt_record *record, void *each_arg);
struct bt_store {
    bool (*load)(struct bt_store *store, bt_record_cb *each, void *each_arg);
    bool (*save)(struct bt_store *store, const struct bt_record *record);
};

/*
 * A store in a directory of its own (made with mode 0700 if missing): an append-only log, compacted into a new file that
 * replaces the old in one step. One process writes; others may read. On failure NULL, and why (may be NULL) says what to do;
 * errno is EWOULDBLOCK when another process writes.
 */
enum bt_file_store_mode {
    BT_STORE_WRITE,
    BT_STORE_READ,   /* takes no lock, and save() does nothing; the device and its session stay the writer's: a client logs in as one of its own */
};
struct bt_store *bt_file_store_open(const char *dir, enum bt_file_store_mode mode, char *why, size_t why_size);
void bt_file_store_close(struct bt_store *store); /* after the client has closed */

/* ---- client --------------------------------------------------------------------------------------------------------------- */

enum bt_inbox {
    BT_INBOX_KEEP,   /* hand over messages from the positions on, and save the positions */
    BT_INBOX_FRESH,  /* as a device that holds nothing; positions are not saved */
    BT_INBOX_NONE,   /* no messages: the client only calls */
};

struct bt_config {
    const char *const *servers;   /* "host:port", at least one; more are learnt from them */
    size_t server_count;
    const char *program;          /* name and version, for the server's log */
    struct bt_store *store;       /* borrowed until closed; NULL: none */
    enum bt_inbox inbox;
    uint32_t backfill;            /* messages per conversation that a device new to the account is handed, besides those that no device has received */
    uint32_t call_timeout_ms;     /* 0: 10000 */
    uint32_t send_timeout_ms;     /* 0: 60000. For bt_send, bt_edit, bt_recall: waiting for a connection included */
    uint32_t max_queued;          /* 0: 1024 calls under way or waiting */
    uint32_t backoff_min_ms, backoff_max_ms; /* 0: 100, 15000. Between connections; between two tries of a call at most 2000 */
    uint32_t compare_ms;          /* 0: 300000. Positions are compared when nothing came for so long, and after three times that in any case */
    bool stay;                    /* only the servers given; never those learnt */
    bool logs_out;                /* closing ends the session too: one that nobody could resume */
};

/* Make a client; it starts to connect on the next turn. config and events are borrowed for the call. NULL: out of memory, or no server. */
struct bt_client *bt_client_open(struct net_loop *loop, const struct bt_config *config, const struct bt_events *events, void *arg);

/*
 * Close: from anywhere, once. Callbacks of open calls run first (CANCELLED), then closed_cb (may be NULL), once;
 * the client is gone then. What was delivered is confirmed and what was called is written before the connection ends.
 */
void bt_client_close(struct bt_client *c, void (*closed_cb)(void *arg), void *arg);

/*
 * Back-pressure: while held, no message is handed over and no position moves; calls go on. Released, what waits comes in
 * order. May be called inside the message callback: the next message is already held.
 */
void bt_client_hold(struct bt_client *c, bool is_held);

uint64_t bt_client_user_id(const struct bt_client *c);      /* 0: nobody is logged in */
const char *bt_client_user_name(const struct bt_client *c); /* lent until the next login; "" */
enum bt_state bt_client_state(const struct bt_client *c);
uint32_t bt_client_max_body(const struct bt_client *c);     /* longest body the server takes; 0 before it said so */
uint64_t bt_client_position(const struct bt_client *c, uint64_t target); /* highest seq handed over; 0: none */

/* ---- accounts and sessions --------------------------------------------------------------------------------------------------- */

typedef void bt_done_cb(const struct bt_result *r, void *arg);
typedef void bt_user_cb(const struct bt_result *r, const struct bt_user *user, void *arg); /* user NULL unless BT_DONE; likewise below */
typedef void bt_users_cb(const struct bt_result *r, const struct bt_user *users, size_t n, void *arg); /* ids and names only */
typedef void bt_sessions_cb(const struct bt_result *r, const struct bt_session *sessions, size_t n, void *arg);

bool bt_register(struct bt_client *c, const char *name, const char *password, bt_user_cb *cb, void *arg); /* id only; does not log in */
bool bt_login(struct bt_client *c, const char *name, const char *password, const char *device, bt_done_cb *cb, void *arg);
bool bt_logout(struct bt_client *c, bt_done_cb *cb, void *arg);
bool bt_user_get(struct bt_client *c, uint64_t user_id, bt_user_cb *cb, void *arg);       /* 0: oneself */
bool bt_user_find(struct bt_client *c, const char *name, bt_user_cb *cb, void *arg);
bool bt_users_get(struct bt_client *c, const uint64_t *user_ids, size_t n, bt_users_cb *cb, void *arg); /* n <= 200; unknown ones are left out */
bool bt_profile_update(struct bt_client *c, const char *about, const char *avatar, bt_user_cb *cb, void *arg); /* NULL: stays */
bool bt_password_change(struct bt_client *c, const char *old_password, const char *new_password, bt_done_cb *cb, void *arg);
bool bt_sessions_list(struct bt_client *c, bt_sessions_cb *cb, void *arg);
bool bt_session_end(struct bt_client *c, uint64_t session_id, bt_done_cb *cb, void *arg);

/* ---- friends --------------------------------------------------------------------------------------------------------------------- */

enum bt_friend_action { BT_FRIEND_ADD, BT_FRIEND_ACCEPT, BT_FRIEND_DECLINE, BT_FRIEND_REMOVE, BT_FRIEND_BLOCK, BT_FRIEND_UNBLOCK };
typedef void bt_friend_cb(const struct bt_result *r, enum bt_friend_state state, bool blocked, void *arg);
typedef void bt_friends_cb(const struct bt_result *r, const struct bt_friend *friends, size_t n, bool more, void *arg);

bool bt_friend_do(struct bt_client *c, enum bt_friend_action action, uint64_t user_id, bt_friend_cb *cb, void *arg);
bool bt_friends_list(struct bt_client *c, uint64_t after_user_id, uint32_t limit, bt_friends_cb *cb, void *arg); /* limit 0: 100 */

/* ---- groups ------------------------------------------------------------------------------------------------------------------------ */

typedef void bt_group_cb(const struct bt_result *r, const struct bt_group *group, void *arg);
typedef void bt_groups_cb(const struct bt_result *r, const struct bt_group *groups, size_t n, bool more, void *arg);
typedef void bt_join_cb(const struct bt_result *r, bool pending, void *arg); /* pending: asked; somebody decides */
typedef void bt_members_cb(const struct bt_result *r, const struct bt_member *members, size_t n, bool more, void *arg);

bool bt_group_create(struct bt_client *c, const char *name, const char *about, enum bt_join_mode mode, bt_group_cb *cb, void *arg);
bool bt_group_update(struct bt_client *c, uint64_t group_id, const char *name, const char *about, const enum bt_join_mode *mode,
                     bt_group_cb *cb, void *arg); /* NULL: stays */
bool bt_group_get(struct bt_client *c, uint64_t group_id, bt_group_cb *cb, void *arg);
bool bt_groups_list(struct bt_client *c, uint64_t after_group_id, uint32_t limit, bt_groups_cb *cb, void *arg);
bool bt_group_members(struct bt_client *c, uint64_t group_id, uint64_t after_user_id, uint32_t limit, enum bt_pending pending,
                      bt_members_cb *cb, void *arg);
bool bt_group_join(struct bt_client *c, uint64_t group_id, bt_join_cb *cb, void *arg);
bool bt_group_leave(struct bt_client *c, uint64_t group_id, bt_done_cb *cb, void *arg);
bool bt_group_invite(struct bt_client *c, uint64_t group_id, uint64_t user_id, bt_done_cb *cb, void *arg);
bool bt_group_refuse(struct bt_client *c, uint64_t group_id, uint64_t user_id, bt_done_cb *cb, void *arg); /* 0: an invitation of one's own */
bool bt_group_kick(struct bt_client *c, uint64_t group_id, uint64_t user_id, bt_done_cb *cb, void *arg);
bool bt_group_mute(struct bt_client *c, uint64_t group_id, uint64_t user_id, int64_t until_ms, bt_done_cb *cb, void *arg);
bool bt_group_set_role(struct bt_client *c, uint64_t group_id, uint64_t user_id, enum bt_role role, bt_done_cb *cb, void *arg);
bool bt_group_transfer(struct bt_client *c, uint64_t group_id, uint64_t user_id, bt_done_cb *cb, void *arg);
bool bt_group_disband(struct bt_client *c, uint64_t group_id, bt_done_cb *cb, void *arg);

/* ---- messages ---------------------------------------------------------------------------------------------------------------------- */

/* seq is the message's number; 0 unless BT_DONE. */
typedef void bt_sent_cb(const struct bt_result *r, uint64_t seq, int64_t sent_ms, void *arg);

/*
 * Write. The messages of one conversation are written in the order of these calls: one is sent when the one before it is
 * answered. A lost answer is asked for again under the same id, through whichever server, until timeout_ms (0: send_timeout_ms) has
 * passed; after BT_UNSURE the message may still stand in the log, or come to.
 */
struct bt_outgoing {
    uint64_t target;
    enum bt_message_kind kind;   /* BT_TEXT (also 0) or BT_APPLICATION */
    struct bt_text content_type; /* empty: plain text */
    struct bt_text body;
    uint32_t timeout_ms;
};
bool bt_send(struct bt_client *c, const struct bt_outgoing *m, bt_sent_cb *cb, void *arg);
bool bt_edit(struct bt_client *c, uint64_t refers_to_seq, const struct bt_outgoing *m, bt_sent_cb *cb, void *arg);
bool bt_recall(struct bt_client *c, uint64_t target, uint64_t refers_to_seq, bt_sent_cb *cb, void *arg);
bool bt_signal(struct bt_client *c, uint64_t target, const char *type, struct bt_text body, bt_done_cb *cb, void *arg);

/* Confirm as read, up to seq. Leaves within a second, together with others; sent again after a lost connection. */
void bt_mark_read(struct bt_client *c, uint64_t target, uint64_t seq);

typedef void bt_history_cb(const struct bt_result *r, const struct bt_message *messages, size_t n, uint64_t first_seq, uint64_t head_seq, void *arg);
typedef void bt_conversations_cb(const struct bt_result *r, const struct bt_conversation *convs, size_t n, bool more, void *arg);
typedef void bt_receipts_cb(const struct bt_result *r, const struct bt_receipt *rows, size_t n, bool more, const struct bt_receipts *sums, void *arg);

/* A page in rising order: upwards from from_seq; or the one that ends before before_seq; both 0: the newest. limit 0: 50, at most 500. */
bool bt_history(struct bt_client *c, uint64_t target, uint64_t from_seq, uint64_t before_seq, uint32_t limit, bt_history_cb *cb, void *arg);
bool bt_conversations_list(struct bt_client *c, uint64_t after_target, uint32_t limit, bt_conversations_cb *cb, void *arg); /* 0: from the start */
bool bt_receipts_get(struct bt_client *c, uint64_t target, uint64_t seq, uint64_t after_user_id, bt_receipts_cb *cb, void *arg);

/* ---- servers ------------------------------------------------------------------------------------------------------------------------ */

typedef void bt_proxies_cb(const struct bt_result *r, const struct bt_proxy *proxies, size_t n, void *arg);
bool bt_directory(struct bt_client *c, bt_proxies_cb *cb, void *arg);

#ifdef __cplusplus
}
#endif
#endif
