/* test/chaos/workload_load.c: phase LOAD: at which pace operations begin, and which one comes next. */
#include "test/chaos/workload.h"

enum { TICK_MS = 4, DEBT_US = 500000, BLOCK_TICKS = 50, QUIET_US = 20000000, BURST = 4, BURST_PERCENT = 1, OTHERS_ASKED = 4 };
enum { LATE_LEAST_MS = 2000, LATE_MOST_MS = 60000 };

/* Of a thousand sends: in groups, and of these to the large and middling ones. The rest are in chats of two. */
enum { GROUP_SHARE = 400, LARGE_SHARE = 3, MIDDLE_SHARE = 12, OUTSIDER_SHARE = 4 };

/* What comes besides the sends: of a thousand decisions. */
enum other { EDIT, RECALL, READ, MARK, SIGNAL, LIST, FRIEND, BLOCK, GROUP, OTHERS };
static const uint16_t shares[OTHERS] = {
    [EDIT] = 20, [RECALL] = 8, [READ] = 8, [MARK] = 50, [SIGNAL] = 15, [LIST] = 2, [FRIEND] = 3, [BLOCK] = 1, [GROUP] = 6,
};

/* ---- which chat ---- */

static struct wl_chat *pair_pick(const struct workload *w, uint64_t random)
{
    double at = wl_random_unit(random) * w->pair_sums[w->pair_count - 1];
    size_t low = 0, high = w->pair_count - 1;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (w->pair_sums[mid] <= at)
            low = mid + 1;
        else
            high = mid;
    }
    return w->pairs[low];
}

/* The smaller a group the more often; those that are quiet never. */
static struct wl_chat *small_pick(const struct workload *w, uint64_t random)
{
    size_t from = w->large_count + w->middle_count;
    for (size_t tries = 0; tries < 8; tries++, random = wl_random_mix(random)) {
        struct wl_chat *chat = w->groups[from + random % (w->group_count - from)];
        size_t count = wl_chat_count(chat, true);
        if (chat->hi && !chat->is_quiet && count > 0 && (random >> 32) % count < 5)
            return chat;
    }
    return NULL;
}

/* What a message to a group costs, in messages handed over. */
static double cost_of(const struct workload *w, const struct wl_chat *chat)
{
    return (double)wl_chat_count(chat, true) * (double)w->device_count / (double)w->user_count;
}

static struct wl_chat *chat_pick(struct workload *w, uint64_t a, uint64_t b)
{
    uint64_t share = a % 1000;
    struct wl_chat *chat = NULL;
    if (share < LARGE_SHARE)
        chat = w->groups[b % w->large_count];
    else if (share < LARGE_SHARE + MIDDLE_SHARE)
        chat = w->groups[w->large_count + b % w->middle_count];
    else if (share < GROUP_SHARE)
        chat = small_pick(w, b);
    double cost = chat ? cost_of(w, chat) : 0;
    if (!chat || cost > w->budget)
        return pair_pick(w, b);
    w->budget -= cost;
    return chat;
}

/* ---- sends ---- */

/* Mostly one who is in; in groups now and then one who is not. */
static struct wl_user *sender_pick(const struct wl_chat *chat, uint64_t random)
{
    bool is_outsider = chat->is_group && random % 1000 < OUTSIDER_SHARE;
    const struct wl_member *m = is_outsider ? wl_chat_pick(chat, random >> 16, BT_NOT_A_MEMBER, BT_NOT_A_MEMBER) : NULL;
    if (!m)
        m = wl_chat_pick(chat, random >> 16, BT_MEMBER, BT_OWNER);
    return m ? m->user : NULL;
}

/* False: nobody there could. */
static bool send_one(struct workload *w, struct wl_chat *chat, uint64_t a, uint64_t b)
{
    struct wl_user *u = sender_pick(chat, a);
    if (!u)
        return false;
    if (u->raw && b % 100 < w->o.raw_percent && wl_raw_send(u->raw, chat, wl_random_mix(b)))
        return true;
    struct wl_device *d = wl_user_device(u, b >> 8);
    if (d)
        wl_send(d, chat);
    return d != NULL;
}

/* Answers how many sends it made. */
static uint32_t send_step(struct workload *w, const uint64_t random[4])
{
    struct wl_chat *chat = chat_pick(w, random[0], random[1]);
    bool is_sent = send_one(w, chat, random[2], random[3]);
    /* Somebody is away, or has enough under way: others are there. */
    for (uint64_t n = 1; n <= OTHERS_ASKED && !is_sent; n++) {
        chat = pair_pick(w, wl_random_mix(random[1] + n));
        is_sent = send_one(w, chat, wl_random_mix(random[2] + n), wl_random_mix(random[3] + n));
    }
    w->counts.skipped += !is_sent;
    /* Now and then several at the same moment. */
    bool is_burst = (random[0] >> 32) % 100 < BURST_PERCENT;
    for (uint32_t n = 0; is_burst && n < BURST; n++)
        send_one(w, chat, wl_random_mix(random[2] + n + 1), wl_random_mix(random[3] + n + 1));
    return is_burst ? 1 + BURST : 1;
}

/* ---- the others ---- */

static enum other other_pick(const struct workload *w, uint64_t random)
{
    uint64_t at = random % 100000;
    for (int kind = 0; kind < OTHERS; kind++) {
        uint64_t share = (uint64_t)shares[kind] * w->o.others_percent;
        if (at < share)
            return (enum other)kind;
        at -= share;
    }
    return OTHERS;
}

static void other_step(struct workload *w, enum other kind, const uint64_t random[4])
{
    struct wl_chat *chat = random[1] % 10 < 6 ? pair_pick(w, random[2]) : small_pick(w, random[2]);
    const struct wl_member *m = chat ? wl_chat_pick(chat, random[3], BT_MEMBER, BT_OWNER) : NULL;
    struct wl_device *d = m ? wl_user_device(m->user, random[3] >> 32) : NULL;
    if (kind == FRIEND)
        wl_friend_step(w, random);
    else if (kind == BLOCK)
        wl_block_step(w, random);
    else if (kind == GROUP)
        wl_group_step(w, random);
    else if (chat && kind == EDIT)
        wl_edit(chat, random[3]);
    else if (chat && kind == RECALL)
        wl_recall(chat, random[3]);
    else if (d && kind == READ)
        wl_history_read(d, chat, random[1] >> 8);
    else if (d && kind == MARK)
        wl_mark_read(d, chat);
    else if (d && kind == SIGNAL)
        wl_signal(d, chat);
    else if (d && kind == LIST)
        wl_list(d);
}

/* The same words are drawn whatever becomes of them, so that a seed's decisions do not depend on answers. */
static uint32_t decide(struct workload *w)
{
    uint64_t words[9];
    for (size_t n = 0; n < sizeof words / sizeof *words; n++)
        words[n] = wl_random_next(&w->choice);
    double share = (double)w->o.deliveries / (double)w->o.rate;
    w->budget = w->budget + share * 0.8 < w->o.deliveries ? w->budget + share * 0.8 : w->o.deliveries;
    w->decisions++;
    enum other kind = other_pick(w, words[8]);
    if (kind != OTHERS)
        other_step(w, kind, words + 4);
    return send_step(w, words);
}

/* ---- the pace ---- */

static void quiet_tick(struct workload *w, uint64_t now_us)
{
    for (size_t n = 0; n < w->quiet_count; n++) {
        struct wl_chat *chat = w->quiet[n];
        if (now_us < chat->quiet_due_us)
            continue;
        uint64_t word = wl_random_next(&w->quiet_choice);
        chat->quiet_due_us = now_us + QUIET_US / 4 * 3 + word % (QUIET_US / 2);
        send_one(w, chat, word, wl_random_mix(word));
    }
}

static void tick(void *arg)
{
    struct workload *w = arg;
    uint64_t now_us = net_clock_us(), since_us = now_us - w->begun_us;
    uint64_t due = since_us * w->o.rate / 1000000, debt = (uint64_t)DEBT_US * w->o.rate / 1000000;
    net_timer_start(w->loop, &w->tick_timer, TICK_MS, tick, w);
    if (due > w->paced + debt)
        w->paced = due - debt; /* what was not begun while the process did not run is not made up for */
    while (w->paced < due)
        w->paced += decide(w);
    quiet_tick(w, now_us);
    if (++w->ticks % BLOCK_TICKS == 0)
        wl_block_tick(w, now_us);
}

/* ---- from and to ---- */

static void late_open(void *arg)
{
    struct wl_device *d = arg;
    if (!d->client)
        wl_device_open(d);
}

void wl_load_start(struct workload *w)
{
    for (size_t n = 0; n < w->quiet_count; n++)
        w->quiet[n]->quiet_due_us = net_clock_us() + n * (QUIET_US / (w->quiet_count + 1));
    for (size_t n = 0; n < w->device_count; n++) {
        struct wl_device *d = &w->devices[n];
        if (d->client)
            wl_device_stay(d);
        else
            net_timer_start(w->loop, &d->timer, LATE_LEAST_MS + wl_random_below(&d->random, LATE_MOST_MS), late_open, d);
    }
    for (size_t n = 0; n < w->user_count; n++)
        wl_user_stay(&w->users[n]);
    for (size_t n = 0; n < w->raw_count; n++)
        wl_raw_start(w->raws[n]);
    w->budget = w->o.deliveries;
    tick(w);
}

void wl_load_stop(struct workload *w)
{
    net_timer_stop(w->loop, &w->tick_timer);
}
