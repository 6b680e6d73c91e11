/*
 * roles/chat_owner.c: what another node owns, or may have owned meanwhile, is not taken to stand as it was left.
 *
 * The keys of the table keep a wrong guess from doing harm, but each one costs the whole batch it is in a second try. When a node
 * comes or goes, all that moves would be guessed wrong, and come back wrong when it returns; and a node that was stopped for a
 * while comes back to logs that others have written. So conversations that are not this node's by the ring, or were not until now,
 * and all of them after such a stop, read the end of their log before the next write.
 */
#include "roles/chat.h"

#include "rpc/ring.h"

enum {
    PULSE_MS = 500,
    AWAY_MS = 1000, /* without a pulse: others will soon pass over this node, or have */
};

/* Is called often enough to tell that the process stood still, or its machine. */
static void pulse(void *chat_arg)
{
    struct chat *chat = chat_arg;
    uint64_t now_ms = net_now_ms(chat->env.loop);

    if (chat->pulse_ms != 0 && now_ms >= chat->pulse_ms + AWAY_MS)
        chat->away_ms = now_ms;
    chat->pulse_ms = now_ms;
    net_timer_start(chat->env.loop, &chat->pulse_timer, PULSE_MS, pulse, chat);
}

static bool has_others(const struct registry_node *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!nodes[i].is_self && (nodes[i].roles & UINT32_C(1) << RPC_ROLE_CHAT) != 0)
            return true;
    return false;
}

/* Changes when chat nodes come, go or are started anew; not with their load. */
static uint64_t print_owners(const struct registry_node *nodes, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t hash = nodes[i].weight;
        if ((nodes[i].roles & UINT32_C(1) << RPC_ROLE_CHAT) == 0)
            continue;
        for (const char *p = nodes[i].address; *p != '\0'; p++)
            hash = hash * 31 + (uint8_t)*p;
        sum += ring_hash(hash, nodes[i].epoch);
    }
    return sum;
}

void chat_owner_view(const struct registry_node *nodes, size_t n, void *chat_arg)
{
    struct chat *chat = chat_arg;
    uint64_t print = print_owners(nodes, n);

    if (print == chat->owners_print)
        return;
    chat->owners_print = print;
    if (!has_others(nodes, n))
        chat_owner_stop(chat);
    else if (!net_timer_is_running(&chat->pulse_timer))
        pulse(chat);
    for (struct chat_conv *c = chat->lru_first, *next; c != NULL; c = next) {
        bool comes_back = c->is_others && net_now_ms(chat->env.loop) >= c->known_ms + CHAT_FRESH_MS;
        next = c->lru_next;
        c->is_others = !rpc_owns(chat->env.rpc, c->hi, c->lo);
        if (!c->is_others && !comes_back)
            continue;
        chat_conv_outrun(c);
        chat_conv_run(c);
    }
}

/* What comes first after a standstill is looked at before the timer. */
static void look_at_pulse(struct chat *chat, uint64_t now_ms)
{
    if (net_timer_is_running(&chat->pulse_timer) && now_ms >= chat->pulse_ms + AWAY_MS)
        pulse(chat);
}

/* What the answer says was so when it was asked for: it may have lain here while the process stood still. */
void chat_owner_saw(struct chat_conv *c, uint64_t asked_ms)
{
    if (asked_ms > c->known_ms)
        c->known_ms = asked_ms;
}

/* However long the read took, what waits for it goes on. Only one that the process stood still in is made again, once. */
void chat_owner_read(struct chat_conv *c)
{
    uint64_t now_ms = net_now_ms(c->chat->env.loop);

    look_at_pulse(c->chat, now_ms);
    c->is_read_again = !c->is_read_again && c->known_ms < c->chat->away_ms;
    if (!c->is_read_again)
        c->owned_ms = now_ms;
}

bool chat_owner_may_differ(struct chat_conv *c)
{
    struct chat *chat = c->chat;
    uint64_t now_ms = net_now_ms(chat->env.loop);

    look_at_pulse(chat, now_ms);
    bool is_from_before = c->known_ms < chat->away_ms && c->owned_ms < chat->away_ms;
    if (!is_from_before && (now_ms < c->known_ms + CHAT_FRESH_MS || now_ms < c->owned_ms + CHAT_FRESH_MS))
        return false;
    c->is_others = !rpc_owns(chat->env.rpc, c->hi, c->lo);
    if (!c->is_others)
        c->owned_ms = now_ms;
    return is_from_before || c->is_others;
}

void chat_owner_stop(struct chat *chat)
{
    net_timer_stop(chat->env.loop, &chat->pulse_timer);
    chat->pulse_ms = 0;
}
