/*
 * roles/chat_load.c: how long a message would wait, so that the newest are refused at once
 * rather than all answered too late.
 *
 * What is under way, but for what waits for its sender's sake, divided by how much was done lately: what the store has
 * answered for. What is refused costs next to nothing, and however much of it there is says nothing of how soon a
 * message is written. Where nothing is done any more (the database hangs) the estimate grows by itself, and only as
 * much is let in as it takes to notice when it goes on.
 */
#include "roles/chat.h"

#include <sodium.h>

enum {
    SPAN_MS = 200,       /* over which is counted what was done */
    ALWAYS = 1000,       /* as many may always be under way: fewer make no queue */
    RETRY_MIN_MS = 100,
    RETRY_MAX_MS = 5000,
};

static size_t under_way(const struct chat *chat)
{
    return chat->nops - chat->nheld;
}

static void look(struct chat *chat)
{
    struct chat_load *l = &chat->load;
    uint64_t now_ms = net_now_ms(chat->env.loop), span_ms = now_ms - l->since_ms;
    double rate = span_ms > 0 ? (double)l->done / (double)span_ms : 0;

    if (span_ms < SPAN_MS)
        return;
    if (!l->was_idle)
        l->rate = l->rate > 0 ? 0.7 * l->rate + 0.3 * rate : rate;
    else if (rate > l->rate) /* it could have done more */
        l->rate = rate;
    l->done = 0;
    l->since_ms = now_ms;
    l->was_idle = under_way(chat) == 0;
}

void chat_load_end(struct chat *chat, bool is_done)
{
    chat->load.done += is_done;
    chat->load.was_idle |= under_way(chat) == 0;
    look(chat);
}

uint32_t chat_load_wait_ms(struct chat *chat)
{
    look(chat);
    if (under_way(chat) < ALWAYS || chat->load.rate <= 0)
        return 0;
    double wait_ms = (double)under_way(chat) / chat->load.rate;
    return wait_ms < UINT32_MAX ? (uint32_t)wait_ms : UINT32_MAX;
}

bool chat_load_takes(struct chat *chat, uint32_t left_ms, uint32_t *retry_ms_out)
{
    uint32_t wait_ms = chat_load_wait_ms(chat), limit_ms = left_ms / 2 < chat->set.wait_ms ? left_ms / 2 : chat->set.wait_ms;

    if (chat->nops < chat->set.queue && chat->op_bytes < chat->set.queue_bytes && wait_ms <= limit_ms)
        return true;
    if (wait_ms < RETRY_MIN_MS)
        wait_ms = RETRY_MIN_MS;
    else if (wait_ms > RETRY_MAX_MS)
        wait_ms = RETRY_MAX_MS;
    *retry_ms_out = wait_ms / 2 + randombytes_uniform(wait_ms + 1); /* not all at the same moment */
    return false;
}
