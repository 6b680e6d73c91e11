/* store/presence_redis_read.c: reading the log or everything, in one round trip, and making a delta of the answer. */
#define LOG_MODULE "presence"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/log.h"
#include "net/mem.h"
#include "store/db_internal.h"
#include "store/presence_redis.h"

struct items {
    struct presence_item *rows;
    size_t n, cap;
    /* The node last named, since most lines name the one before. Its text is lent by the reply. */
    const char *node_text;
    size_t node_len;
    uint32_t node;
};

static enum bt_err items_add(struct items *items, uint64_t user_id, bool is_here)
{
    if (!db_grow((void **)&items->rows, &items->cap, items->n + 1, sizeof *items->rows))
        return BT_ENOMEM;
    items->rows[items->n++] = (struct presence_item){ .user_id = user_id, .node = items->node, .is_here = is_here };
    return BT_OK;
}

/* A decimal number at *at, which moves behind it. 0: there is none. */
static uint64_t take_number(const char **at, const char *end)
{
    uint64_t n = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; ++*at) {
        if (n > (UINT64_MAX - 9) / 10)
            return 0;
        n = n * 10 + (uint64_t)(**at - '0');
    }
    return n;
}

/* "<address>/<epoch>" */
static enum bt_err name_node(struct redis *r, struct items *items, const char *text, size_t len)
{
    char address[REDIS_NODE_MAX];
    const char *slash = memrchr(text, '/', len), *at;
    if (items->node_text != NULL && items->node_len == len && memcmp(items->node_text, text, len) == 0)
        return BT_OK;
    if (slash == NULL || (size_t)(slash - text) >= sizeof address)
        return BT_EPROTO;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    at = slash + 1;
    uint64_t epoch = take_number(&at, text + len);
    if (at == slash + 1 || at != text + len)
        return BT_EPROTO;
    items->node_text = text;
    items->node_len = len;
    return presence_node_number(&r->base, address, epoch, &items->node);
}

/* Lines of "+<user> <node>" or "-<user> <node>", without a newline at the end. */
static enum bt_err parse_log(struct redis *r, struct items *items, const char *text, size_t len)
{
    const char *end = text + len;
    enum bt_err err = BT_OK;
    while (err == BT_OK && text < end) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text)), *at = text + 1;
        if (line_end == NULL)
            line_end = end;
        uint64_t user_id = take_number(&at, line_end);
        if ((*text != '+' && *text != '-') || user_id == 0 || at == line_end || *at != ' ')
            return BT_EPROTO;
        at++;
        err = name_node(r, items, at, (size_t)(line_end - at));
        if (err == BT_OK)
            err = items_add(items, user_id, *text == '+');
        text = line_end < end ? line_end + 1 : end;
    }
    return err;
}

/* Users of the node last named, with blanks between. */
static enum bt_err parse_users(struct items *items, const char *text, size_t len)
{
    const char *end = text + len;
    enum bt_err err = BT_OK;
    while (err == BT_OK && text < end) {
        uint64_t user_id = take_number(&text, end);
        if (user_id == 0 || (text < end && *text++ != ' '))
            return BT_EPROTO;
        err = items_add(items, user_id, true);
    }
    return err;
}

static enum bt_err parse(struct redis *r, const redisReply *reply, struct items *items)
{
    enum bt_err err = BT_OK;
    if (strcmp(reply->element[0]->str, "log") == 0)
        return reply->elements == 4 ? parse_log(r, items, reply->element[3]->str, reply->element[3]->len) : BT_EPROTO;
    if (strcmp(reply->element[0]->str, "full") != 0 || reply->elements % 2 != 1)
        return BT_EPROTO;
    for (size_t i = 3; err == BT_OK && i < reply->elements; i += 2) {
        err = name_node(r, items, reply->element[i]->str, reply->element[i]->len);
        if (err == BT_OK)
            err = parse_users(items, reply->element[i + 1]->str, reply->element[i + 1]->len);
    }
    return err;
}

static void tell(struct redis *r, struct redis_call *call, const redisReply *reply)
{
    struct items items = { 0 };
    struct presence_delta delta = {
        .generation = strtoull(reply->element[1]->str, NULL, 10),
        .position = strtoull(reply->element[2]->str, NULL, 10),
        .is_full = reply->element[0]->str[0] == 'f',
    };
    enum bt_err err = parse(r, reply, &items);
    if (err == BT_EPROTO) {
        log_error("what stands under " REDIS_HEAD " in Redis is not readable; somebody else writes there?");
        err = BT_EDOWN;
    }
    delta.n = items.n;
    delta.items = items.rows;
    if (err == BT_OK) {
        r->stats.reads++;
        r->stats.full_reads += delta.is_full;
    }
    call->read_cb(err, err == BT_OK ? &delta : NULL, call->arg);
    bt_free(items.rows);
    redis_call_free(r, call);
}

/* What was read is of another generation than ours, or of a state that has lost changes: find out and mend it. */
static bool is_as_known(struct redis *r, const redisReply *reply, bool *is_back_out)
{
    uint64_t generation = strtoull(reply->element[1]->str, NULL, 10), position = strtoull(reply->element[2]->str, NULL, 10);
    *is_back_out = generation == r->generation && position < r->position;
    if (generation == r->generation && position > r->position)
        r->position = position;
    return generation == r->generation && !*is_back_out;
}

static void read_done(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd)
{
    struct redis_call *call = (struct redis_call *)cmd;
    struct redis *r = link->redis;
    bool again = false, is_back = false;
    r->nreading--;
    if (reply == NULL) {
        redis_answer(r, call, link->is_silent ? BT_ETIMEOUT : BT_EDOWN);
    } else if (!redis_link_is_good(link, reply, 3, &again)) {
        if (again)
            redis_calls_add(&r->reads, call);
        else
            redis_answer(r, call, BT_EDOWN);
    } else {
        bool is_lost = strcmp(reply->element[0]->str, "lost") == 0;
        if (is_lost || !is_as_known(r, reply, &is_back))
            redis_reenter(r);
        if (!is_lost && !is_back)
            tell(r, call, reply);
        else if (r->is_away)
            redis_answer(r, call, BT_EDOWN);
        else
            redis_calls_add(&r->reads, call);
    }
    redis_flush_soon(r);
}

void redis_reads_flush(struct redis *r)
{
    char generation[24], position[24];
    struct redis_call *call;
    while ((call = redis_calls_take(&r->reads)) != NULL) {
        snprintf(generation, sizeof generation, "%" PRIu64, call->generation);
        snprintf(position, sizeof position, "%" PRIu64, call->position);
        const char *argv[] = { generation, position };
        call->cmd.cb = read_done;
        enum bt_err err = redis_link_run(r->active, &call->cmd, REDIS_READ, 2, argv);
        if (err == BT_OK)
            r->nreading++;
        else
            redis_answer(r, call, err);
    }
}

void redis_reads_fail(struct redis *r, enum bt_err err)
{
    struct redis_call *call;
    while ((call = redis_calls_take(&r->reads)) != NULL)
        redis_answer(r, call, err);
}
