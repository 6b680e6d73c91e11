/* client/cli_event.c: what the client library tells, shown to whom is at the terminal. */
#include <stdlib.h>
#include <string.h>

#include "client/cli.h"

static void on_state(struct bt_client *c, const struct bt_state_info *info, void *arg)
{
    struct cli *cli = arg;
    if (c != cli->client)
        return;
    if (info->state == BT_STATE_CONNECTED || info->state == BT_STATE_READY)
        cli->was_connected = true;
    if (info->state == BT_STATE_WAITING) {
        snprintf(cli->last_why, sizeof cli->last_why, "%s", info->why);
        if (cli->is_ready && !cli->was_lost)
            cli_notice(cli, "The connection is lost (%s); trying again. What you send meanwhile waits.", info->why);
        cli->was_lost = cli->is_ready;
    }
    if (info->state == BT_STATE_READY) {
        if (cli->was_lost)
            cli_notice(cli, "Connected again.");
        else
            cli->must_summarise = true;
        cli->is_ready = true;
        cli->was_lost = false;
        cli_edit_prompt(cli);
    }
    cli_login_state(cli, info);
}

static void on_session_ended(struct bt_client *c, enum bt_session_end why, void *arg)
{
    static const char *const reasons[] = {
        [BT_SESSION_ENDED] = "it was ended, here or on another device",
        [BT_SESSION_REPLACED] = "too many devices are logged in",
        [BT_SESSION_PASSWORD_CHANGED] = "the password was changed",
        [BT_SESSION_DISABLED] = "the account is disabled",
        [BT_SESSION_EXPIRED] = "it is too old, or was ended",
    };
    struct cli *cli = arg;
    if (c != cli->client)
        return;
    cli->is_ready = false;
    cli_edit_prompt(cli);
    if (cli_login_ended(cli))
        return;
    cli_error(cli, "Your session is over: %s. Log in again: login %s", reasons[why], cli->user);
    if (!cli->is_interactive)
        cli_quit(cli, CLI_REFUSED);
}

static void on_conversation(struct bt_client *c, const struct bt_conversation *conv, void *arg)
{
    struct cli *cli = arg;
    if (c == cli->client)
        cli_name_set(cli, conv->target, conv->name);
}

static void tail_message(struct cli *cli, const struct bt_message *m)
{
    struct cli_run *run = cli->tail;
    if (cli->tail_target && m->target != cli->tail_target)
        return;
    cli_show_message(cli, m, CLI_SHOW_DATE | (run->json ? CLI_SHOW_JSON : 0) | (run->mark_read ? CLI_SHOW_READ : 0));
    if (cli->tail_left == 0 || --cli->tail_left > 0)
        return;
    bt_client_hold(cli->client, true); /* what comes after is for the next time */
    cli_tail_end(cli, CLI_OK);
}

static void on_message(struct bt_client *c, const struct bt_message *m, void *arg)
{
    struct cli *cli = arg;
    if (c != cli->client)
        return;
    if (m->membership && (m->membership->change == BT_CREATED || m->membership->change == BT_UPDATED))
        cli_name_set(cli, m->target, m->membership->name);
    if (cli->tail) {
        tail_message(cli, m);
        return;
    }
    if (!cli->is_terminal)
        return; /* a script asks for what it wants */
    cli_show_message(cli, m, CLI_SHOW_READ); /* somebody sits there */
}

static void on_synced(struct bt_client *c, void *arg)
{
    struct cli *cli = arg;
    if (c == cli->client && cli->must_summarise && cli->is_terminal)
        cli_summary(cli);
    cli->must_summarise = false;
}

static void on_receipt(struct bt_client *c, uint64_t target, uint64_t user_id, uint64_t delivered_seq, uint64_t read_seq, void *arg)
{
    struct cli *cli = arg;
    (void)delivered_seq;
    if (c != cli->client || target != cli->current || user_id == bt_client_user_id(c) || read_seq == 0)
        return;
    char *who = cli_label(cli, user_id);
    cli_notice(cli, "%s has read up to #%llu", who ? who : "?", (unsigned long long)read_seq);
    free(who);
}

static void on_signal(struct bt_client *c, uint64_t target, uint64_t sender_id, struct bt_text type, struct bt_text body, void *arg)
{
    struct cli *cli = arg;
    (void)body;
    if (c != cli->client || target != cli->current)
        return;
    char *who = cli_label(cli, sender_id), *what = cli_escape(type, false);
    if (what && strcmp(what, "typing") == 0)
        cli_notice(cli, "%s is typing", who ? who : "?");
    else
        cli_notice(cli, "%s signals: %s", who ? who : "?", what ? what : "?");
    free(who);
    free(what);
}

static void on_presence(struct bt_client *c, uint64_t user_id, bool online, void *arg)
{
    struct cli *cli = arg;
    char *who = c == cli->client ? cli_label(cli, user_id) : NULL;
    if (who)
        cli_notice(cli, "%s is %s", who, online ? "online" : "offline");
    free(who);
}

static void on_friend(struct bt_client *c, uint64_t user_id, struct bt_text name, enum bt_friend_state state, void *arg)
{
    struct cli *cli = arg;
    if (c != cli->client)
        return;
    cli_name_set(cli, user_id, name);
    char *who = cli_label(cli, user_id);
    const char *w = who ? who : "?";
    switch (state) {
    case BT_REQUEST_RECEIVED: cli_notice(cli, "%s asks to be your friend. Type: accept %s, or: decline %s", w, w, w); break;
    case BT_FRIENDS: cli_notice(cli, "%s and you are friends now", w); break;
    case BT_NO_FRIEND: cli_notice(cli, "%s and you are not friends now", w); break;
    case BT_REQUEST_SENT: break; /* from another device of ours */
    }
    free(who);
}

static void on_group(struct bt_client *c, const struct bt_group_news *news, void *arg)
{
    struct cli *cli = arg;
    if (c != cli->client)
        return;
    cli_name_set(cli, BT_GROUP | news->group_id, news->name);
    char *group = cli_label(cli, BT_GROUP | news->group_id), *who = cli_label(cli, news->user_id), *about = cli_label(cli, news->about_user_id);
    if (news->pending == BT_INVITED && news->about_user_id == bt_client_user_id(c))
        cli_notice(cli, "%s invites you to the group %s. Type: join %s, or: refuse %s", who ? who : "?", group, group, group);
    else if (news->pending == BT_ASKING)
        cli_notice(cli, "%s asks to join the group %s. Type: invite %s %s, or: refuse %s %s", about ? about : "?", group, group, about, group, about);
    free(group);
    free(who);
    free(about);
}

const struct bt_events cli_events = {
    .state = on_state,
    .session_ended = on_session_ended,
    .conversation = on_conversation,
    .message = on_message,
    .synced = on_synced,
    .receipt = on_receipt,
    .signal = on_signal,
    .presence = on_presence,
    .friend_changed = on_friend,
    .group = on_group,
};
