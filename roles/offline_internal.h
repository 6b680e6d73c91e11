/*
 * roles/offline_internal.h: what the files of the offline role share.
 *
 * offline.c        the role: settings, start, stop, and how many reads are under way
 * offline_walk.c   Pull and ListConversations: a walk over a user's conversations
 * offline_read.c   History and GetReceipts: one conversation
 * offline_mark.c   Mark: collecting marks, writing them in batches, telling who must know
 */
#ifndef BT_ROLES_OFFLINE_INTERNAL_H
#define BT_ROLES_OFFLINE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/arena.h"
#include "net/loop.h"
#include "net/timer.h"
#include "proto/client.pb.h"
#include "roles/role.h"
#include "rpc/call.h"
#include "rpc/rpc.h"
#include "store/history.h"
#include "store/member.h"
#include "store/store.h"

/* What a message costs in a reply besides its texts, and an entry of a list of conversations with its longest name, rounded up. */
enum { OFFLINE_MESSAGE_BYTES = 80, OFFLINE_CONVERSATION_BYTES = 400 };

/* Messages that one query fetches at most: bounds what is read in vain when a reply is full before. */
enum { OFFLINE_FETCH = 128 };

/* Marks that are written together. */
struct mark_call;
struct mark;
struct mark_batch {
    struct offline_role *role;
    struct mark_call *calls;         /* NULL: none is under way */
    size_t entries;                  /* as queued, before merging */
    struct mark *marks;              /* by rising (hi, lo, user_id), each once */
    size_t n;
    size_t reads;                    /* queries under way */
    enum bt_err err;                 /* of any of them */
};
struct mark_queue {
    struct mark_call *first, **last; /* waiting for the next batch */
    size_t entries;                  /* theirs */
    size_t open_entries;             /* theirs and those under way: what the limit counts */
    struct mark_batch batch;
    struct net_timer timer;
};

struct offline_role {
    struct net_loop *loop;
    struct rpc *rpc;
    struct store *store;
    size_t reply_max_bytes;
    size_t max_positions, max_marks; /* in one call */
    size_t max_reads;
    uint32_t mark_batch_ms;
    size_t mark_batch;               /* entries that are written at once */
    size_t mark_queue;               /* entries */
    size_t reads;                    /* under way */
    struct mark_queue marks;
    void (*stopped_cb)(void *arg);   /* set once it shall stop */
    void *stopped_arg;
    struct net_task stop_task;
};

/* Take one of the max_reads places, or fail the call and return false. Every true is followed by one offline_read_end(). */
bool offline_read_begin(struct offline_role *self, struct rpc_call *call);
void offline_read_end(struct offline_role *self);

/* The role may be able to stop: something has ended. */
void offline_settle(struct offline_role *self);

/* Marks are waiting or under way. */
bool offline_marks_open(const struct offline_role *self);
/* Write what waits without waiting for more. */
void offline_marks_flush(struct offline_role *self);

/* Fill a message of a reply; its texts are copied into the arena. False: no memory. */
bool offline_message_fill(struct arena *arena, const struct store_logged *row, Message *out);

/* Its size in a reply, at most. */
static inline size_t offline_message_bytes(const struct store_logged *row)
{
    return OFFLINE_MESSAGE_BYTES + row->content_type_len + row->body_len;
}

rpc_handler offline_pull, offline_list_conversations, offline_history, offline_mark, offline_get_receipts;

#endif
