/*
 * test/chaos/workload.h: what the files of the chaos workload share: users, their devices, chats, operations.
 *
 *   workload.c          the process: loop, phases, standard input, the line of each second
 *   workload_options.c  the command line
 *   workload_plan.c     who there is and who talks to whom, from the seed alone
 *   workload_setup.c    phase SETUP: accounts, devices, groups
 *   workload_load.c     phase LOAD: the pace, and which operation comes next
 *   workload_chat.c     operations on messages
 *   workload_group.c    operations on groups
 *   workload_friend.c   friendships and blocks
 *   workload_final.c    phase FINAL: everybody catches up and reads
 *   workload_device.c   a device from open to close, its leaving and coming back, what it is handed
 *   workload_raw.c      senders that speak the protocol themselves, to repeat what the library would not
 *   workload_op.c       an operation from CALL to DONE
 *   workload_store.c    what a device keeps
 *   workload_history.c  history.bin
 *   workload_body.c     bodies
 *
 * One loop, one thread. Everything lives until the process ends, so little is freed. Without memory the process ends with
 * an error line: a run that lacks it says nothing. Times ending in _us are CLOCK_MONOTONIC.
 */
#ifndef CHAOS_WORKLOAD_H
#define CHAOS_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/bytetalk.h"
#include "net/loop.h"
#include "net/timer.h"
#include "test/chaos/history.h"
#include "test/chaos/workload_history.h"
#include "test/chaos/workload_random.h"
#include "test/chaos/workload_store.h"

enum { WL_MAX_SERVERS = 32, WL_MAX_DEVICES = 3, WL_RECENT = 32, WL_DEVICE_OPEN = 8, WL_PASSWORD_MAX = 32, WL_BUCKETS = 4096 };

struct workload;
struct wl_device;

struct wl_options {
    const char *servers[WL_MAX_SERVERS];
    size_t server_count;
    const char *dir;
    uint64_t seed;
    uint32_t users, rate, deliveries;  /* per second */
    uint32_t others_percent;           /* of the usual share of what is not a send */
    uint32_t raw_percent;              /* of the sends of users who have a raw sender */
    uint32_t stay_ms;                  /* how long a device stays, on average */
    uint32_t send_timeout_ms, catch_up_ms;
    uint32_t backfill;                 /* messages of each conversation that a device new to the account gets */
    uint32_t seconds;                  /* of LOAD; 0: until told */
    bool stay;                         /* only the servers given */
};
/* False: wrong, said so on stderr. May end the process (--help). */
bool wl_options_parse(struct wl_options *o, int argc, char **argv);

/* ---- who there is -------------------------------------------------------------------------------------------------------- */

struct wl_user {
    uint64_t id;                       /* 0: not registered yet */
    char name[40], password[WL_PASSWORD_MAX];
    struct wl_device *devices[WL_MAX_DEVICES];
    size_t device_count;
    struct wl_raw *raw;                /* NULL: has none */
    bool goes_away;                    /* now and then with all devices */
    bool is_away;
    struct wl_random random;
    struct net_timer timer;
    struct workload *w;
};

/* Whom a chat's member is, as far as the members' devices have heard. */
struct wl_member {
    struct wl_user *user;
    uint8_t role;                      /* enum bt_role */
    bool is_muted;
};

struct wl_sent {                       /* a message that was acknowledged */
    uint64_t seq;
    struct wl_user *user;
    bool is_text;
};

struct wl_chat {
    uint64_t hi, lo;                   /* 0: a group not created yet */
    bool is_group, is_quiet, is_lasting; /* lasting: planned; never disbanded */
    enum bt_join_mode join_mode;
    struct wl_member *members;         /* 1:1: both (one, of a chat with oneself); group: also those who may come */
    size_t member_count;
    uint64_t head;                     /* the highest seq heard of */
    uint64_t change_seq;               /* of the membership message that members is as of */
    struct wl_sent recent[WL_RECENT];
    size_t recent_count;               /* ever */
    uint64_t quiet_due_us;             /* is_quiet: when the next message comes */
    uint64_t unblock_us;               /* 1:1: 0, or when members[0] ends its block */
    struct wl_chat *next;              /* in its bucket */
};

/* ---- devices ---------------------------------------------------------------------------------------------------------------- */

struct wl_seen { uint64_t target, first, head; }; /* FINAL: a conversation, as the device's list says */

struct wl_device {
    uint32_t number;
    struct wl_user *user;
    struct workload *w;
    bool is_fresh;                     /* BT_INBOX_FRESH */
    bool drops_saves;                  /* loses what it saved last, now and then */
    bool is_late;                      /* first seen during LOAD */
    struct wl_store store;
    struct bt_client *client;          /* NULL: away */
    bool is_closing, is_logging_in;
    bool is_wanted;                    /* to be opened again as soon as it has closed */
    enum bt_state state;
    uint64_t opens;
    uint32_t open_ops;
    char server[264];                  /* that it was connected to last */
    struct wl_random random;
    struct net_timer timer;            /* the next coming or going, or the next login */
    struct {                           /* FINAL, see workload_final.c */
        uint8_t step;
        bool is_calling;
        struct wl_seen *seen;
        size_t seen_count, at;
        uint64_t from;
        uint32_t tries;
        uint64_t next_us;              /* not before */
    } final;
};

void wl_device_init(struct wl_device *d, struct workload *w, struct wl_user *user, uint32_t number);
void wl_device_open(struct wl_device *d);            /* it must be away */
void wl_device_leave(struct wl_device *d, uint64_t away_ms); /* comes back after that; UINT64_MAX: not by itself */
void wl_device_again(struct wl_device *d);           /* leave, if it is there, and come back at once */
void wl_device_stay(struct wl_device *d);            /* start the time until it leaves */
void wl_user_stay(struct wl_user *u);                /* the same for all of a user's devices */
bool wl_device_can(const struct wl_device *d);       /* take one more operation */
/* One of the user's devices that can, the n-th first; NULL: none. */
struct wl_device *wl_user_device(const struct wl_user *u, uint64_t n);

/* ---- raw senders ------------------------------------------------------------------------------------------------------------- */

struct wl_raw *wl_raw_new(struct workload *w, struct wl_user *user, uint32_t number);
uint32_t wl_raw_number(const struct wl_raw *r);
void wl_raw_start(struct wl_raw *r);                 /* connect; once */
/* Send. False: it is not connected, or has enough under way: nothing was begun. */
bool wl_raw_send(struct wl_raw *r, struct wl_chat *chat, uint64_t random);

/* ---- operations --------------------------------------------------------------------------------------------------------------- */

struct wl_op {
    struct workload *w;
    struct wl_device *device;          /* NULL: none, or a raw sender's */
    uint32_t device_number;
    uint64_t number;
    uint8_t what;
    struct wl_chat *chat;              /* may be NULL */
    struct wl_user *other;             /* whom it is about; may be NULL */
    uint64_t refers;
    uint64_t began_us;
    uint8_t status;
    void (*then)(void *arg, bool is_done); /* may be NULL: called after DONE was written */
    void *arg;
    bool is_text;
};

/* What a CALL says; see history.h. */
struct wl_call {
    uint8_t what, status;
    uint64_t target, seq, user, refers;
};
struct wl_op *wl_op_begin(struct workload *w, struct wl_device *d, const struct wl_call *call);
struct wl_op *wl_op_begin_raw(struct workload *w, uint32_t device_number, const struct wl_call *call);
/* What a DONE says besides the outcome. op is gone afterwards. */
struct wl_made { uint64_t seq, target, user, refers, id; };
void wl_op_end(struct wl_op *op, const struct bt_result *r, const struct wl_made *made);
void wl_op_end_plain(const struct bt_result *r, void *op); /* a bt_done_cb */
/* The library took nothing. */
void wl_op_refused(struct wl_op *op);

/* ---- chats ----------------------------------------------------------------------------------------------------------------------- */

uint64_t wl_chat_target(const struct wl_chat *chat, const struct wl_user *user);
struct wl_member *wl_chat_member(const struct wl_chat *chat, const struct wl_user *user); /* NULL: not one of them */
void wl_chat_key(struct workload *w, struct wl_chat *chat, uint64_t hi, uint64_t lo); /* now it has one */
struct wl_chat *wl_chat_find(const struct workload *w, uint64_t hi, uint64_t lo);
struct wl_chat *wl_chat_of_target(const struct workload *w, const struct wl_user *user, uint64_t target);
void wl_chat_heard(struct workload *w, struct wl_chat *chat, const struct bt_message *m); /* some device was handed it */
struct wl_chat *wl_chat_new_group(struct workload *w);
size_t wl_chat_count(const struct wl_chat *chat, bool is_in); /* members who are in, or not */
/* The n-th (modulo their number) member with a role of least..most; NULL: none. */
struct wl_member *wl_chat_pick(const struct wl_chat *chat, uint64_t n, uint8_t least, uint8_t most);

void wl_send(struct wl_device *d, struct wl_chat *chat);
void wl_edit(struct wl_chat *chat, uint64_t random);
void wl_recall(struct wl_chat *chat, uint64_t random);
void wl_signal(struct wl_device *d, struct wl_chat *chat);
void wl_mark_read(struct wl_device *d, struct wl_chat *chat);
void wl_history_read(struct wl_device *d, struct wl_chat *chat, uint64_t random);
void wl_list(struct wl_device *d);
void wl_history_rows(struct workload *w, struct wl_device *d, uint64_t op, const struct bt_message *rows, size_t n);
void wl_list_rows(struct workload *w, struct wl_device *d, uint64_t op, const struct bt_conversation *rows, size_t n);

void wl_group_create(struct wl_device *d, struct wl_chat *chat, void (*then)(void *, bool), void *arg);
void wl_group_join(struct wl_device *d, struct wl_chat *chat, void (*then)(void *, bool), void *arg);
void wl_group_invite(struct wl_device *d, struct wl_chat *chat, struct wl_user *user, void (*then)(void *, bool), void *arg);
void wl_group_forget(struct workload *w, struct wl_chat *chat);
void wl_group_step(struct workload *w, const uint64_t random[4]);  /* one operation of some kind, kinds taking turns */

void wl_friend_do(struct wl_device *d, enum bt_friend_action action, struct wl_user *user);
void wl_friend_step(struct workload *w, const uint64_t random[4]);
void wl_block_step(struct workload *w, const uint64_t random[4]);
void wl_block_tick(struct workload *w, uint64_t now_us);           /* end blocks whose time has come */

/* ---- the whole -------------------------------------------------------------------------------------------------------------------- */

struct wl_counts {
    uint64_t acked, not_done, unsure, refused, skipped, messages, operations;
    uint64_t retried;                /* messages of raw connections, refused with the promise that nothing was done, and sent again */
    uint64_t open;
    uint64_t slowest_us;               /* since the last line */
};

struct workload {
    struct wl_options o;
    struct net_loop *loop;
    struct wl_history history;
    enum history_phase phase;
    bool phase_is_done;
    uint64_t begun_us;                 /* of the phase */
    uint64_t last_op;
    struct wl_counts counts;

    struct wl_user *users;
    size_t user_count;
    struct wl_device *devices;
    size_t device_count;
    struct wl_raw **raws;
    size_t raw_count;

    struct wl_chat **pairs;            /* by rank: Zipf */
    double *pair_sums;                 /* cumulative weights */
    size_t pair_count;
    struct wl_chat **quiet;
    size_t quiet_count;
    struct wl_chat **groups;           /* large ones first, then middling, then small; those made later behind */
    size_t group_count, group_cap, large_count, middle_count, small_count;
    struct wl_chat *buckets[WL_BUCKETS];

    struct wl_random choice;           /* which operation comes next */
    struct wl_random quiet_choice;     /* the same in quiet chats: when is up to the clock there */
    uint64_t decisions, paced, ticks;  /* paced: sends that the pace has been given */
    double budget;                     /* deliveries that group sends may cost now */
    uint32_t group_turn, friend_turn;
    struct net_timer tick_timer, line_timer, phase_timer;

    struct wl_setup *setup;
    struct wl_final *final;
};

void wl_plan(struct workload *w);
void wl_setup_start(struct workload *w);
void wl_load_start(struct workload *w);
void wl_load_stop(struct workload *w);
void wl_final_start(struct workload *w);
void wl_phase_done(struct workload *w);              /* the phase has done what it is there for */

void *wl_alloc(size_t count, size_t size);           /* zeroed; never NULL */
_Noreturn void wl_fail(const char *form, ...) __attribute__((format(printf, 1, 2)));

#endif
