/*
 * roles/group_internal.h: what the files of the group role share.
 *
 * group.c         the role, and the steps that handlers are made of: reading the group, asking its owner, telling users
 * group_create.c  CreateGroup, UpdateGroup: what a group is
 * group_join.c    JoinGroup, Invite, Refuse: how one comes in, and the pending states before
 * group_change.c  LeaveGroup, Kick, Mute, SetRole, Transfer, Disband: one question to the owner each
 * group_read.c    GetGroup, ListMembers, MyGroups
 *
 * The role checks the form of a request, reads what it needs to know which change is meant, and asks the conversation's owner, the
 * chat role, to make it: he alone decides on rights, at the log's fence. Only pending states are written here.
 */
#ifndef BT_ROLES_GROUP_INTERNAL_H
#define BT_ROLES_GROUP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/arena.h"
#include "net/loop.h"
#include "proto/client.pb.h"
#include "roles/role.h"
#include "rpc/call.h"
#include "rpc/rpc.h"
#include "store/conversation.h"
#include "store/group.h"
#include "store/store.h"

struct group_role {
    struct net_loop *loop;
    struct rpc *rpc;
    struct store *store;
    size_t max_members, max_joined, max_pending;
    size_t name_max, about_max;      /* bytes */
    size_t max_calls;
    size_t open;                     /* jobs */
    void (*stopped_cb)(void *arg);   /* set once it shall stop */
    void *stopped_arg;
    struct net_task stop_task;
};

struct group_job;
struct page; /* group_read.c */
typedef void group_step(struct group_job *job);

/* One call on its way. Its steps run one after the other; the last one ends it. */
struct group_job {
    struct group_role *role;
    struct rpc_call *call;           /* NULL once it was ended */
    struct rpc_ctx ctx;
    struct arena arena;
    uint64_t caller, group_id;
    uint64_t user_id;                /* the other, where the request names one; 0: none */
    group_step *next;                /* what comes after the step under way */
    group_step *exists;              /* group_apply: after ALREADY_EXISTS; NULL: that is passed on */
    group_step *again;               /* group_set_pending: when the state changed meanwhile */
    struct store_group_view view;    /* group_view; its texts are in the arena */
    struct store_group_other other;  /* group_other */
    uint32_t joined;                 /* group_joined */
    struct page *page;               /* group_read.c; in the arena */
    uint64_t seq;                    /* group_apply */
    bool is_written;                 /* the owner has, or had already: no failure may say any more that nothing was done */
    int tries;                       /* of writing a pending state */
    int32_t pending_was;             /* group_set_pending: before */
    bool has_row;                    /* group_new_pending: as read */
    uint64_t pending_user;
    int32_t pending_new;
    group_step *pending_next;
    GroupEvent event;                /* group_tell */
    uint64_t tell_user;
    uint64_t request_id;             /* CreateGroup, UpdateGroup: as asked; texts in the arena, data NULL: not asked */
    struct rpc_bytes name, about;
    bool has_join_mode;
    JoinMode join_mode;
};

/* Begin a job about the call's target; NULL: the call was failed (not a group: NOT_FOUND; too many calls; no memory). */
struct group_job *group_begin(struct group_role *self, struct rpc_call *call);
/* The same for calls that have no group as target; group_id is 0. */
struct group_job *group_begin_any(struct group_role *self, struct rpc_call *call);

/*
 * End the call, then the job. fail: detail is a literal, or NULL for the error's own text; of what was written it is only said
 * that it is not sure.
 */
void group_end(struct group_job *job);
void group_fail(struct group_job *job, enum bt_err err, const char *detail);
void group_reply(struct group_job *job, const void *msg);
void group_reply_seq(struct group_job *job);     /* GroupReply with job->seq */
void group_reply_info(struct group_job *job);    /* GroupInfo of job->view */

/* Steps. Each runs next once it went well; else the call fails, and the job ends. */
void group_view(struct group_job *job, group_step *next);           /* reads job->view; NOT_FOUND: no such group */
void group_other(struct group_job *job, group_step *next);          /* reads job->other, of job->user_id */
void group_joined(struct group_job *job, group_step *next);         /* counts job->joined, of the caller */
void group_apply(struct group_job *job, const Membership *change, group_step *next); /* asks the owner; job->seq */
void group_update(struct group_job *job, const Membership *change, group_step *next); /* the same; what the job did not ask stays */

/*
 * Write a pending state of user_id, from what was read; next when it stands. When it changed meanwhile, `again` runs (it reads
 * anew), at most a few times.
 */
void group_set_pending(struct group_job *job, uint64_t user_id, bool has_row, int32_t was, int32_t pending, group_step *next, group_step *again);

/* The same for one who was neither invited nor asking; RESOURCE_EXHAUSTED when too many are. */
void group_new_pending(struct group_job *job, uint64_t user_id, bool has_row, int32_t pending, group_step *next, group_step *again);

/*
 * The call was answered: push job->event to tell_user (0: nobody), and with to_admins to owner and admins, in one event; then end the
 * job. The acting session is left out.
 */
void group_tell(struct group_job *job, bool to_admins);

/* A view as it is replied; its texts are borrowed. */
GroupInfo group_info_of(const struct store_group_view *v);
/* Copy what a row lends. False: no memory. */
bool group_keep_view(struct arena *arena, struct store_group_view *v);

rpc_handler group_create_group, group_update_group, group_join_group, group_leave_group, group_invite, group_refuse, group_kick, group_mute,
    group_set_role, group_transfer, group_disband, group_get_group, group_list_members, group_my_groups;

#endif
