/*
 * roles/chat_rival.c: two nodes write one conversation for a while, since their views of the ring differ: they take turns.
 *
 * Whoever meets rows of the other writes again at once, behind them; that alone would let the faster one win again and again, and
 * the other's senders wait for ever. So he who met such rows lately and has written now leaves the other a pause to write
 * in; and who loses twice in a row tries at odd moments, so that the two do not go in step. Both pauses are a few
 * milliseconds, end a second after rows of another were last met, and what waits meanwhile goes in one write. A sender's message is tried
 * as long as he waits for it; shortly before he would give up he is told ABORTED: it was surely not written.
 */
#include "roles/chat.h"

#include <sodium.h>

#define LOG_MODULE "chat"
#include "net/log.h"

enum {
    RIVAL_MS = 1000,
    LOSER_MS = 12,                          /* at most */
    WINNER_MIN_MS = 4, WINNER_SPREAD_MS = 16, /* at least as long as a look at what stands and a write take */
    ANSWER_MS = 50,                         /* for the answer's way back: a try that began later could not be told in time */
};

/* Time that is left to the most patient of those who wait for the op. */
static uint32_t left_ms(const struct chat_op *op)
{
    uint32_t most = 0;

    for (; op != NULL; op = op->twins) {
        uint32_t left = op->call != NULL && !rpc_call_is_dead(op->call) ? rpc_call_left_ms(op->call) : 0;
        most = left > most ? left : most;
    }
    return most;
}

bool chat_rival_may_retry(struct chat_op *op)
{
    if (left_ms(op) > ANSWER_MS)
        return true;
    chat_op_end(op->conv->chat, op, BT_ECONFLICT, "another node writes this conversation too");
    return false;
}

/* What stands by now is read before anything is written. */
static void turn_ended(void *conv_arg)
{
    struct chat_conv *c = conv_arg;

    if (c->waiting.first != NULL || c->ready.first != NULL)
        chat_conv_outrun(c);
    chat_conv_run(c);
}

static void give_way(struct chat_conv *c, uint32_t ms)
{
    if (!c->chat->is_stopping)
        net_timer_start(c->chat->env.loop, &c->turn, ms, turn_ended, c);
}

void chat_rival_met(struct chat_conv *c)
{
    uint64_t now_ms = net_now_ms(c->chat->env.loop);

    if (now_ms >= c->rival_until_ms)
        log_debug("conv %llu/%llu: another node has written behind seq %llu, and owns it now or did", (unsigned long long)c->hi,
                  (unsigned long long)c->lo, (unsigned long long)c->head_seq);
    c->rival_until_ms = now_ms + RIVAL_MS;
    if (c->losses++ > 0)
        give_way(c, randombytes_uniform(LOSER_MS + 1));
}

void chat_rival_passed(struct chat_conv *c)
{
    c->losses = 0;
    if (net_now_ms(c->chat->env.loop) < c->rival_until_ms)
        give_way(c, WINNER_MIN_MS + randombytes_uniform(WINNER_SPREAD_MS + 1));
}

void chat_rival_stop(struct chat_conv *c)
{
    if (!net_timer_is_running(&c->turn))
        return;
    net_timer_stop(c->chat->env.loop, &c->turn);
    turn_ended(c);
}
