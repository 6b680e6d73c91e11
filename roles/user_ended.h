/*
 * roles/user_ended.h: which sessions have ended within the life of a token, in memory: what resuming is checked against.
 *
 * Read whole at the start, then every second what ended since. When the store is away, what is known serves on; which
 * sessions were resumed on old knowledge is remembered. One of them that turns out to have ended before is given a later
 * end in the store, since proxies, which look only USER_ENDED_SLACK_MS back, may have been told of its end before it
 * was bound to them. (Should this node die before, such a session lasts until its connection ends.)
 * Loop thread only.
 */
#ifndef BT_ROLES_USER_ENDED_H
#define BT_ROLES_USER_ENDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/err.h"

struct net_loop;
struct store;

enum {
    USER_ENDED_POLL_MS = 1000,
    USER_ENDED_SLACK_MS = 10000, /* how far back is read, here and by proxies */
    USER_ENDED_STALE_MS = 4000,  /* what was read is old from then on */
    /* A session's end may be committed that long after the time that is written for it: what a write may wait. */
    USER_ENDED_LATE_MAX_MS = USER_ENDED_SLACK_MS - USER_ENDED_STALE_MS,
};

/* A set of session ids, each with the time of its end. Zeroed before first use. */
struct ended_set {
    struct ended_slot {
        uint64_t session_id;     /* 0: free */
        int64_t ended_ms;
    } *slots;
    size_t cap, count;           /* cap: a power of 2, or 0 */
};

/* Add, once. Ends before oldest_ms may be forgotten when room is made. BT_ENOMEM: not added. */
enum bt_err ended_set_add(struct ended_set *set, uint64_t session_id, int64_t ended_ms, int64_t oldest_ms);
bool ended_set_has(const struct ended_set *set, uint64_t session_id);
void ended_set_deinit(struct ended_set *set);

struct user_ended;

/* Begin to read. tick(arg) runs before every reading, for what else is due each second. *out is ended by user_ended_stop(). BT_ENOMEM. */
enum bt_err user_ended_start(struct net_loop *loop, struct store *st, int64_t token_life_ms, void (*tick)(void *arg), void *arg,
                             struct user_ended **out);
void user_ended_stop(struct user_ended *ended, void (*stopped_cb)(void *arg), void *arg); /* not inside this call */

/* False until all was read once: until then nobody can be resumed. */
bool user_ended_is_known(const struct user_ended *ended);

bool user_ended_has(const struct user_ended *ended, uint64_t session_id);

/* This node is about to resume a session that it does not know to have ended. BT_ENOMEM: it must not. */
enum bt_err user_ended_resuming(struct user_ended *ended, uint64_t session_id);

/* This node ended a session just now. */
void user_ended_add(struct user_ended *ended, uint64_t session_id, int64_t ended_ms);

/* This node ended sessions that it does not know: read at once. */
void user_ended_poke(struct user_ended *ended);

#endif
