/*
 * roles/chat_doors.c: while presence is away, the proxies themselves are asked who is connected to them.
 *
 * Each keeps a numbered memory of who came and went (proxy_here.c), so a round brings only that, and goes into the copy of presence: what a
 * message costs is then a small question to each proxy, for all messages that wait, and a push to those who are connected, however
 * large their groups are. A round begins after the commit, as a read of presence does, and finds the same users.
 */
#include "roles/chat.h"

#include <stdio.h>
#include <string.h>

#include "net/mem.h"
#include "proto/methods.h"

#define LOG_MODULE "chat"
#include "net/log.h"

enum { DOOR_MS = 1000 };

static struct chat_door *door_get(struct chat *chat, const char *address)
{
    struct chat_door *d;

    for (size_t i = 0; i < chat->ndoors; i++)
        if (strcmp(chat->doors[i]->address, address) == 0)
            return chat->doors[i];
    if (chat->ndoors == chat->doors_cap) {
        size_t cap = chat->doors_cap != 0 ? chat->doors_cap * 2 : 8;
        struct chat_door **doors = bt_realloc(chat->doors, cap * sizeof *doors);
        if (doors == NULL)
            return NULL;
        chat->doors = doors;
        chat->doors_cap = cap;
    }
    d = strlen(address) < sizeof d->address ? bt_calloc(1, sizeof *d) : NULL;
    if (d == NULL)
        return NULL;
    d->chat = chat;
    snprintf(d->address, sizeof d->address, "%s", address);
    chat->doors[chat->ndoors++] = d;
    return d;
}

/* What the copy has of it may be wrong from now on: presence, too, is read from its beginning when it is back. */
static void forget(struct chat_door *d)
{
    d->position = 0;
    d->is_known = false;
    d->chat->presence_generation = 0;
}

static enum bt_err take(struct chat_door *d, const UsersHereReply *reply)
{
    struct chat *chat = d->chat;
    enum bt_err err = BT_OK;

    if (!d->is_known || reply->epoch != d->epoch)
        err = presence_node_number(chat->env.presence, d->address, reply->epoch, &d->node);
    if (err == BT_OK)
        err = chat_presence_put(chat, d->node, reply->is_full, reply->here, reply->gone);
    d->epoch = reply->epoch;
    d->position = reply->position;
    d->is_known = err == BT_OK;
    return err;
}

static void answered(const struct rpc_reply *raw, void *arg)
{
    struct chat_door *d = arg;
    struct chat *chat = d->chat;
    UsersHereReply reply = { 0 };
    enum bt_err err = rpc_reply_decode(raw, UsersHereReply_fields, &reply);

    d->call = NULL;
    if (err == BT_OK) {
        err = take(d, &reply);
        rpc_release(UsersHereReply_fields, &reply);
    }
    if (err != BT_OK) {
        log_debug("who is connected to %s can't be told: %s", d->address, bt_err_text(err));
        forget(d);
        chat_push_lost(chat, d->node);
    }
    if (--chat->nasked == 0)
        chat_presence_asked(chat, chat->asked_err);
}

void chat_doors_ask(struct chat *chat)
{
    size_t n;
    const struct registry_node *nodes = rpc_nodes(chat->env.rpc, &n);
    enum bt_err err = BT_OK;

    for (size_t i = 0; i < n; i++) {
        const struct rpc_ctx ctx = { .timeout_ms = DOOR_MS };
        struct chat_door *d;
        if (!(nodes[i].roles & 1u << RPC_ROLE_PROXY))
            continue;
        d = door_get(chat, nodes[i].address);
        if (d == NULL || (!d->is_known && presence_node_number(chat->env.presence, d->address, nodes[i].epoch, &d->node) != BT_OK)) {
            err = BT_ENOMEM;
            continue;
        }
        chat->nasked++;
        d->call = rpc_send_to(chat->env.rpc, d->address, RPC_PROXY_USERS_HERE, &ctx,
                              &(UsersHereRequest){ .epoch = d->epoch, .position = d->position }, answered, d);
    }
    chat->asked_err = err;
    if (chat->nasked == 0)
        chat_presence_asked(chat, err);
}

void chat_doors_forget(struct chat *chat)
{
    for (size_t i = 0; i < chat->ndoors; i++) {
        chat->doors[i]->position = 0;
        chat->doors[i]->is_known = false;
    }
}

bool chat_door_is_known(const struct chat *chat, uint32_t node)
{
    for (size_t i = 0; i < chat->ndoors; i++)
        if (chat->doors[i]->is_known && chat->doors[i]->node == node)
            return true;
    return false;
}

void chat_doors_free(struct chat *chat)
{
    for (size_t i = 0; i < chat->ndoors; i++)
        bt_free(chat->doors[i]);
    bt_free(chat->doors);
}
