/* client/cli_cmd_friend.c: commands about friends. */
#include <stdlib.h>
#include <string.h>

#include "client/cli.h"

/* ---- changing ---- */

static const struct {
    const char *command;
    enum bt_friend_action action;
} actions[] = {
    { "addfriend", BT_FRIEND_ADD },       { "accept", BT_FRIEND_ACCEPT }, { "decline", BT_FRIEND_DECLINE },
    { "delfriend", BT_FRIEND_REMOVE },    { "block", BT_FRIEND_BLOCK },   { "unblock", BT_FRIEND_UNBLOCK },
};

static const char *state_text(enum bt_friend_state state)
{
    switch (state) {
    case BT_NO_FRIEND: return "no friend";
    case BT_REQUEST_SENT: return "asked, no answer yet";
    case BT_REQUEST_RECEIVED: return "asks to be your friend";
    case BT_FRIENDS: return "friend";
    }
    return "?";
}

static void changed(const struct bt_result *r, enum bt_friend_state state, bool blocked, void *arg)
{
    struct cli_run *run = arg;
    if (cli_failed(run, r))
        return;
    char *who = cli_label(run->cli, run->target);
    cli_say(run->cli, "%s: %s%s", who ? who : "?", state_text(state), blocked ? ", blocked" : "");
    free(who);
    cli_end(run);
}

static void change(struct cli_run *run, uint64_t target)
{
    size_t n = 0;
    while (strcmp(actions[n].command, run->command->name) != 0)
        n++;
    run->target = target;
    cli_armed(run, bt_friend_do(run->cli->client, actions[n].action, target, changed, run));
}

void cli_cmd_friend_change(struct cli_run *run)
{
    cli_find(run, run->words[0], CLI_A_USER, change);
}

/* ---- listing ---- */

static void show_friend(struct cli_run *run, const struct bt_friend *f)
{
    static const char *const words[] = { "none", "request_sent", "request_received", "friends" };
    struct cli *cli = run->cli;
    cli_name_set(cli, f->user_id, f->name);
    if (run->json) {
        cli_json_begin(cli);
        printf("\"user_id\":%llu,", (unsigned long long)f->user_id);
        cli_json_bytes(stdout, "name", f->name);
        printf(",\"state\":\"%s\",\"blocked\":%s,\"online\":%s,\"changed_ms\":%lld", words[(size_t)f->state < 4 ? f->state : 0],
               f->blocked ? "true" : "false", f->online ? "true" : "false", (long long)f->changed_ms);
        cli_json_end(cli);
        return;
    }
    char *name = cli_escape(f->name, false);
    cli_say(cli, "%s%-20s%s #%-6llu %s%s%s", cli_paint(cli, f->online ? CLI_GREEN : CLI_PLAIN), name ? name : "?", cli_paint(cli, CLI_PLAIN),
            (unsigned long long)f->user_id, state_text(f->state), f->state == BT_FRIENDS ? f->online ? ", online" : ", offline" : "",
            f->blocked ? ", blocked" : "");
    free(name);
}

static void listed(const struct bt_result *r, const struct bt_friend *rows, size_t n, bool more, void *arg)
{
    struct cli_run *run = arg;
    if (cli_failed(run, r))
        return;
    for (size_t k = 0; k < n; k++)
        show_friend(run, &rows[k]);
    run->seq += n;
    if (more && n > 0) {
        cli_armed(run, bt_friends_list(run->cli->client, rows[n - 1].user_id, 500, listed, run));
        return;
    }
    if (run->seq == 0)
        cli_notice(run->cli, "No friends yet. Type: addfriend NAME");
    cli_end(run);
}

void cli_cmd_friends(struct cli_run *run)
{
    cli_armed(run, bt_friends_list(run->cli->client, 0, 500, listed, run));
}
