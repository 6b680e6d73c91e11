/*
 * test/chaos/history.h: what the chaos workload writes down and the checker reads: records of 64 bytes, little-endian.
 *
 * test/chaos/README.md says what each record means and which other files a run leaves. Times are CLOCK_MONOTONIC in
 * microseconds, the clock of every process of the machine; faults.jsonl uses the same.
 */
#ifndef CHAOS_HISTORY_H
#define CHAOS_HISTORY_H

#include <stdint.h>

enum history_type {
    HISTORY_RUN = 1,   /* op: the seed */
    HISTORY_USER,      /* user: its id */
    HISTORY_DEVICE,    /* device: a new one, of user; what: history_inbox */
    HISTORY_OPEN,      /* device: its client was opened, for the op-th time */
    HISTORY_STATE,     /* device: what: enum bt_state, from now on */
    HISTORY_SYNCED,    /* device: what it had missed has been handed over */
    HISTORY_CLOSED,    /* device: its client is gone; nothing more comes until the next OPEN */
    HISTORY_CALL,      /* device, op: an operation begins; what: enum history_what; target, user, refers as it needs */
    HISTORY_DONE,      /* device, op: it ended; outcome, status: bt_outcome, bt_status; seq, target: what it made */
    HISTORY_MESSAGE,   /* device: handed a message: see below */
    HISTORY_PAGE,      /* the same, as a row of the answer to the HISTORY_CALL whose op is in id */
    HISTORY_RECEIPT,   /* device: told marks of user in target: seq: delivered, refers: read */
    HISTORY_MARKS,     /* a row of a conversation list (op: the call): target, seq: own delivered, refers: own read, id: head */
    HISTORY_PHASE,     /* what: enum history_phase begins */
};

/*
 * HISTORY_MESSAGE and HISTORY_PAGE: target, seq, user (the sender), what (enum bt_message_kind), refers (refers_to_seq), and
 *   op: the operation that its body names; 0: the body is empty; HISTORY_BAD_BODY: it is none that the workload has written;
 *   id: client_msg_id (MESSAGE) or the reading call's op (PAGE);
 *   a membership message has outcome: enum bt_change, refers: whom it is about, status: enum bt_role; of BT_MUTED
 *   status is 1: may not write until after the run, 0: may write again.
 */
#define HISTORY_BAD_BODY UINT64_MAX

enum history_inbox { HISTORY_KEEP = 1, HISTORY_FRESH, HISTORY_NONE }; /* NONE: only calls, is handed no messages, never SYNCED */
enum history_phase { HISTORY_SETUP = 1, HISTORY_LOAD, HISTORY_QUIET, HISTORY_FINAL, HISTORY_END };

enum history_what {
    HISTORY_REGISTER = 1,  /* device 0; DONE has user */
    HISTORY_LOGIN,
    HISTORY_SEND,          /* target */
    HISTORY_EDIT,          /* target, refers */
    HISTORY_RECALL,        /* target, refers */
    HISTORY_SIGNAL,        /* target */
    HISTORY_MARK_READ,     /* target, seq; DONE at once, always BT_UNSURE: the library confirms on its own */
    HISTORY_HISTORY,       /* target, seq: from, refers: at most so many rows; DONE has seq: head, refers: first seq, id: rows */
    HISTORY_LIST,          /* conversations with marks */
    HISTORY_FRIEND,        /* user; status: enum bt_friend_action, in CALL */
    HISTORY_GROUP_CREATE,  /* DONE has target */
    HISTORY_GROUP_JOIN,    /* target; DONE has id: 1 when it was only asked for */
    HISTORY_GROUP_LEAVE,
    HISTORY_GROUP_INVITE,  /* target, user */
    HISTORY_GROUP_KICK,
    HISTORY_GROUP_MUTE,    /* likewise; seq: until, in ms since 1970; 0: may write again */
    HISTORY_GROUP_ROLE,    /* likewise; status: enum bt_role */
    HISTORY_GROUP_DISBAND,
};

struct history_record {
    uint64_t at_us;
    uint64_t target;   /* as this device's user names the conversation: the other user's id, or BT_GROUP | group id */
    uint64_t seq;
    uint64_t user;
    uint64_t op;       /* operations are numbered 1, 2, 3 ... over the whole run */
    uint64_t refers;
    uint64_t id;
    uint32_t device;   /* devices are numbered 1, 2, 3 ...; 0: none */
    uint8_t type, what, outcome, status;
};
_Static_assert(sizeof(struct history_record) == 64, "the checker reads records of 64 bytes");

#endif
