/* roles/group_read.c: GetGroup, ListMembers and MyGroups: what is told about groups, and to whom. */
#include "roles/group_internal.h"

enum { LIMIT = 100, LIMIT_MAX = 500 };

/* ---- GetGroup ------------------------------------------------------------------------------------------------------ */

static void get_viewed(struct group_job *job)
{
    const struct store_group_view *v = &job->view;
    if (v->role > STORE_NOBODY || v->pending == STORE_INVITED || v->join_mode != JoinMode_BY_INVITATION)
        group_reply_info(job);
    else
        group_fail(job, BT_ENOTFOUND, "no such group");
}

void group_get_group(struct rpc_call *call, const void *msg, void *self)
{
    struct group_job *job = group_begin(self, call);
    (void)msg;
    if (job)
        group_view(job, get_viewed);
}

/* ---- pages --------------------------------------------------------------------------------------------------------- */

/* What a page asks for; in the job's arena. */
struct page {
    struct group_job *job;
    uint64_t after;
    size_t limit;
    int32_t pending;
};

static bool limit_is_fit(struct rpc_call *call, uint32_t limit)
{
    if (limit > LIMIT_MAX)
        rpc_fail(call, BT_EINVAL, "limit above %d", LIMIT_MAX);
    return limit <= LIMIT_MAX;
}

/* How many rows of the answer are shown: one more was asked, to know whether there is more. */
static size_t page_rows(const struct page *page, const struct db_rows *rows, bool *more_out)
{
    *more_out = rows->nrows > page->limit;
    return *more_out ? page->limit : rows->nrows;
}

/* ---- ListMembers --------------------------------------------------------------------------------------------------- */

static void members_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct page *page = arg;
    struct group_job *job = page->job;
    ListMembersReply reply = { 0 };
    size_t n = err == BT_OK ? page_rows(page, rows, &reply.more) : 0;
    MemberInfo *members = arena_array(&job->arena, n, sizeof(*members));
    if (err == BT_OK && !members)
        err = BT_ENOMEM;
    if (err != BT_OK) {
        group_fail(job, err, NULL);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct store_group_member m = store_group_member_of(rows, i);
        members[i] = (MemberInfo){
            .user_id = m.user_id,
            .name = rpc_bytes(m.name, m.name_len),
            .role = (MemberRole)m.role,
            .pending = m.role > STORE_NOBODY ? Pending_NOT_PENDING : (Pending)m.pending,
            .muted_until_ms = m.muted_until_ms,
            .joined_seq = m.role > STORE_NOBODY ? m.joined_seq : 0,
        };
    }
    reply.members = members;
    reply.members_count = (pb_size_t)n;
    group_reply(job, &reply);
}

static void members_viewed(struct group_job *job)
{
    struct page *page = job->page;
    if (job->view.role == STORE_NOBODY)
        group_fail(job, BT_EDENIED, "only members see the members");
    else if (page->pending != STORE_NOT_PENDING && job->view.role < STORE_ADMIN)
        group_fail(job, BT_EDENIED, "only owner and admins see who is invited or asks");
    else
        store_group_members(job->role->store, job->group_id, page->pending, page->after, page->limit + 1, members_done, page);
}

/* Begin with a page; NULL: the job has ended. */
static struct page *page_new(struct group_job *job, uint64_t after, uint32_t limit)
{
    struct page *page = arena_alloc(&job->arena, sizeof(*page));
    if (!page) {
        group_fail(job, BT_ENOMEM, NULL);
        return NULL;
    }
    *page = (struct page){ .job = job, .after = after, .limit = limit ? limit : LIMIT };
    job->page = page;
    return page;
}

void group_list_members(struct rpc_call *call, const void *msg, void *self)
{
    const ListMembersRequest *req = msg;
    struct group_job *job;
    struct page *page;
    if (!limit_is_fit(call, req->limit))
        return;
    if (req->pending != Pending_NOT_PENDING && req->pending != Pending_INVITED && req->pending != Pending_ASKING) {
        rpc_fail(call, BT_EINVAL, "unknown pending state");
        return;
    }
    job = group_begin(self, call);
    page = job ? page_new(job, req->after_user_id, req->limit) : NULL;
    if (!page)
        return;
    page->pending = (int32_t)req->pending;
    group_view(job, members_viewed);
}

/* ---- MyGroups ------------------------------------------------------------------------------------------------------ */

static void my_groups_done(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct page *page = arg;
    struct group_job *job = page->job;
    MyGroupsReply reply = { 0 };
    size_t n = err == BT_OK ? page_rows(page, rows, &reply.more) : 0;
    GroupInfo *groups = arena_array(&job->arena, n, sizeof(*groups));
    if (err == BT_OK && !groups)
        err = BT_ENOMEM;
    if (err != BT_OK) {
        group_fail(job, err, NULL);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct store_group_view v = store_group_view_of(rows, i);
        groups[i] = group_info_of(&v);
    }
    reply.groups = groups;
    reply.groups_count = (pb_size_t)n;
    group_reply(job, &reply);
}

void group_my_groups(struct rpc_call *call, const void *msg, void *self)
{
    const MyGroupsRequest *req = msg;
    struct group_job *job;
    struct page *page;
    if (!limit_is_fit(call, req->limit))
        return;
    job = group_begin_any(self, call);
    page = job ? page_new(job, req->after_group_id, req->limit) : NULL;
    if (page)
        store_group_list(job->role->store, job->caller, page->after, page->limit + 1, my_groups_done, page);
}
