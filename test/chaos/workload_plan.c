/* test/chaos/workload_plan.c: who there is and who talks to whom: from the seed and the number of users, nothing else. */
#include <math.h>
#include <stdio.h>

#include "net/mem.h"
#include "test/chaos/workload.h"

enum { GROUP_LARGE = 200, GROUP_MIDDLE = 50, MIDDLE_COUNT = 3, SMALL_LEAST = 5, SMALL_MOST = 20, SMALL_COUNT = 15, SMALL_QUIET = 3 };
enum { PLAN_USERS = 1, PLAN_PAIRS, PLAN_GROUPS, PLAN_CHOICE, PLAN_QUIET, PLAN_USER };

/* How many of a hundred users have one, two and three devices; a device that holds nothing; one that loses saves. */
enum { ONE_DEVICE = 50, TWO_DEVICES = 85, FRESH = 15, DROPS = 25, LATE = 8, GOES_AWAY = 12, HAS_RAW = 10 };

/* ---- users and devices ---- */

static void devices_plan(struct workload *w, struct wl_random *r, struct wl_user *u)
{
    uint64_t percent = wl_random_below(r, 100);
    size_t count = percent < ONE_DEVICE ? 1 : percent < TWO_DEVICES ? 2 : 3;
    for (size_t n = 0; n < count; n++) {
        struct wl_device *d = &w->devices[w->device_count++];
        wl_device_init(d, w, u, (uint32_t)w->device_count);
        /* Who has one device keeps it from the start: somebody has to be there. */
        bool is_fresh = wl_random_chance(r, FRESH), drops = wl_random_chance(r, DROPS), is_late = wl_random_chance(r, LATE);
        d->is_fresh = is_fresh && n > 0;
        d->drops_saves = drops && !d->is_fresh;
        d->is_late = is_late && n > 0;
        u->devices[u->device_count++] = d;
    }
}

static void users_plan(struct workload *w)
{
    struct wl_random r = wl_random_of(w->o.seed, PLAN_USERS, 0);
    w->user_count = w->o.users;
    w->users = wl_alloc(w->user_count, sizeof *w->users);
    w->devices = wl_alloc(w->user_count * WL_MAX_DEVICES, sizeof *w->devices);
    w->raws = wl_alloc(w->user_count, sizeof *w->raws);
    for (size_t n = 0; n < w->user_count; n++) {
        struct wl_user *u = &w->users[n];
        u->w = w;
        snprintf(u->name, sizeof u->name, "chaos %llu %zu", (unsigned long long)w->o.seed, n + 1);
        snprintf(u->password, sizeof u->password, "%016llx", (unsigned long long)wl_random_next(&r));
        u->random = wl_random_of(w->o.seed, PLAN_USER, n);
        devices_plan(w, &r, u);
        u->goes_away = wl_random_chance(&r, GOES_AWAY);
    }
    /* Behind all devices: numbers of raw senders. */
    for (size_t n = 0; n < w->user_count; n++)
        if (w->o.raw_percent > 0 && n % (100 / HAS_RAW) == 1) {
            struct wl_user *u = &w->users[n];
            u->raw = wl_raw_new(w, u, (uint32_t)(w->device_count + w->raw_count + 1));
            w->raws[w->raw_count++] = u->raw;
        }
}

/* ---- chats of two ---- */

static struct wl_chat *pair_new(struct wl_user *a, struct wl_user *b)
{
    struct wl_chat *chat = wl_alloc(1, sizeof *chat);
    chat->members = wl_alloc(2, sizeof *chat->members);
    chat->members[0] = (struct wl_member){ .user = a, .role = BT_MEMBER };
    chat->members[1] = (struct wl_member){ .user = b, .role = BT_MEMBER };
    chat->member_count = a == b ? 1 : 2;
    chat->is_lasting = true;
    return chat;
}

static bool has_pair(struct wl_chat *const *chats, size_t count, const struct wl_user *a, const struct wl_user *b)
{
    for (size_t n = 0; n < count; n++) {
        const struct wl_user *x = chats[n]->members[0].user, *y = chats[n]->members[chats[n]->member_count - 1].user;
        if ((x == a && y == b) || (x == b && y == a))
            return true;
    }
    return false;
}

static void pairs_plan(struct workload *w)
{
    struct wl_random r = wl_random_of(w->o.seed, PLAN_PAIRS, 0);
    size_t possible = w->user_count * (w->user_count - 1) / 2, own = 2;
    size_t busy = possible / 2 < w->user_count * 2 ? possible / 2 : w->user_count * 2, quiet = w->user_count / 6;
    w->pairs = wl_alloc(busy + own, sizeof *w->pairs);
    w->quiet = wl_alloc(quiet + SMALL_QUIET, sizeof *w->quiet);
    while (w->pair_count < busy || w->quiet_count < quiet) { /* these are at most five in six of all that are possible */
        struct wl_user *a = &w->users[wl_random_below(&r, w->user_count)], *b = &w->users[wl_random_below(&r, w->user_count)];
        if (a == b || has_pair(w->pairs, w->pair_count, a, b) || has_pair(w->quiet, w->quiet_count, a, b))
            continue;
        struct wl_chat *chat = pair_new(a, b);
        chat->is_quiet = w->pair_count == busy;
        if (chat->is_quiet)
            w->quiet[w->quiet_count++] = chat;
        else
            w->pairs[w->pair_count++] = chat;
    }
    for (size_t n = 0; n < own; n++) /* notes to oneself */
        w->pairs[w->pair_count++] = pair_new(&w->users[n], &w->users[n]);
    w->pair_sums = wl_alloc(w->pair_count, sizeof *w->pair_sums);
    double sum = 0;
    for (size_t n = 0; n < w->pair_count; n++)
        w->pair_sums[n] = sum += pow((double)(n + 1), -0.8);
}

/* ---- groups ---- */

struct wl_chat *wl_chat_new_group(struct workload *w)
{
    struct wl_chat *chat = wl_alloc(1, sizeof *chat);
    chat->is_group = true;
    chat->members = wl_alloc(w->user_count, sizeof *chat->members);
    if (w->group_count == w->group_cap) {
        size_t cap = w->group_cap ? w->group_cap * 2 : 64;
        struct wl_chat **groups = wl_alloc(cap, sizeof *groups);
        for (size_t n = 0; n < w->group_count; n++)
            groups[n] = w->groups[n];
        bt_free(w->groups);
        w->groups = groups;
        w->group_cap = cap;
    }
    w->groups[w->group_count++] = chat;
    return chat;
}

/* The first of the members is to make it. The roles come with what the server says. */
static struct wl_chat *group_plan(struct workload *w, struct wl_random *r, size_t size)
{
    struct wl_chat *chat = wl_chat_new_group(w);
    chat->is_lasting = true;
    while (chat->member_count < size && chat->member_count < w->user_count) {
        struct wl_user *u = &w->users[wl_random_below(r, w->user_count)];
        if (!wl_chat_member(chat, u))
            chat->members[chat->member_count++].user = u;
    }
    return chat;
}

static void groups_plan(struct workload *w)
{
    struct wl_random r = wl_random_of(w->o.seed, PLAN_GROUPS, 0);
    w->large_count = 1;
    w->middle_count = MIDDLE_COUNT;
    w->small_count = SMALL_COUNT;
    group_plan(w, &r, GROUP_LARGE);
    for (int n = 0; n < MIDDLE_COUNT; n++)
        group_plan(w, &r, GROUP_MIDDLE);
    for (int n = 0; n < SMALL_COUNT; n++) {
        struct wl_chat *chat = group_plan(w, &r, SMALL_LEAST + wl_random_below(&r, SMALL_MOST - SMALL_LEAST + 1));
        chat->join_mode = n % 5 == 3 ? BT_JOIN_BY_REQUEST : n % 5 == 4 ? BT_JOIN_BY_INVITATION : BT_JOIN_OPEN;
        chat->is_quiet = n >= SMALL_COUNT - SMALL_QUIET;
        if (chat->is_quiet)
            w->quiet[w->quiet_count++] = chat;
    }
}

void wl_plan(struct workload *w)
{
    users_plan(w);
    pairs_plan(w);
    groups_plan(w);
    w->choice = wl_random_of(w->o.seed, PLAN_CHOICE, 0);
    w->quiet_choice = wl_random_of(w->o.seed, PLAN_QUIET, 0);
}
