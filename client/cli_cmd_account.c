/* client/cli_cmd_account.c: commands about accounts, sessions and servers. */
#include <stdlib.h>
#include <string.h>

#include "client/cli.h"

/* ---- login, register, logout ---- */

static void login_done(struct cli *cli, enum cli_exit code, void *arg)
{
    struct cli_run *run = arg;
    if (code != CLI_OK) {
        if (cli->is_interactive && cli_session_nobody(cli))
            cli_edit_prompt(cli);
        cli_end_failed(run, code, "Not logged in.");
        return;
    }
    char *name = cli_escape(cli_text(bt_client_user_name(cli->client)), false);
    cli_say(cli, "Logged in as %s, user #%llu.", name ? name : cli->user, (unsigned long long)bt_client_user_id(cli->client));
    free(name);
    cli_end(run);
}

void cli_cmd_login(struct cli_run *run)
{
    struct cli *cli = run->cli;
    const char *name = run->count ? run->words[0] : cli->is_interactive ? NULL : cli->options.user;
    if (!name || strlen(name) >= CLI_NAME_SIZE)
        cli_end_usage(run, "Say the name.");
    else if (cli->login)
        cli_end_failed(run, CLI_REFUSED, "Logging in already.");
    else if (cli->is_ready)
        cli_end_failed(run, CLI_REFUSED, "You are logged in as %s: log out first, or start another bytetalk-cli.", cli->user);
    else
        cli_login(cli, name, cli->is_interactive ? BT_INBOX_KEEP : BT_INBOX_NONE, strcmp(run->command->name, "register") == 0, login_done, run);
}

static void logged_out(const struct bt_result *r, void *arg)
{
    struct cli_run *run = arg;
    struct cli *cli = run->cli;
    if (cli_failed(run, r))
        return;
    cli_say(cli, "Logged out.");
    if (cli->is_interactive && cli_session_nobody(cli))
        cli_edit_prompt(cli);
    cli_end(run);
}

void cli_cmd_logout(struct cli_run *run)
{
    struct cli *cli = run->cli;
    if (cli->is_visitor && !cli->is_interactive)
        cli_end_failed(run, CLI_REFUSED, "Another bytetalk-cli is at work in that session: log out there, or end it by its number (sessions, endsession).");
    else
        cli_armed(run, bt_logout(cli->client, logged_out, run));
}

/* ---- password ---- */

static void password_changed(const struct bt_result *r, void *arg)
{
    struct cli_run *run = arg;
    if (cli_failed(run, r))
        return;
    cli_say(run->cli, "Changed. Your other sessions have ended.");
    cli_end(run);
}

static char *new_password(struct cli *cli)
{
    const char *env = getenv("BYTETALK_NEW_PASSWORD");
    if (env && *env)
        return strdup(env);
    if (!cli_can_ask(cli) && (cli->options.password_file || getenv("BYTETALK_PASSWORD"))) {
        cli_error(cli, "The new password is needed: set BYTETALK_NEW_PASSWORD.");
        return NULL;
    }
    return cli_password(cli, "New password: ", true);
}

void cli_cmd_passwd(struct cli_run *run)
{
    struct cli *cli = run->cli;
    char *old = cli_password(cli, "Password now: ", false), *new = old ? new_password(cli) : NULL;
    if (!new)
        cli_end_failed(run, CLI_USAGE, "The password stays as it is.");
    else
        cli_armed(run, bt_password_change(cli->client, old, new, password_changed, run));
    cli_wipe(old);
    cli_wipe(new);
}

/* ---- profiles ---- */

static void show_profile(const struct bt_result *r, const struct bt_user *user, void *arg)
{
    struct cli_run *run = arg;
    struct cli *cli = run->cli;
    char when[32];
    if (cli_failed(run, r))
        return;
    if (run->json) {
        cli_json_begin(cli);
        printf("\"user_id\":%llu,", (unsigned long long)user->user_id);
        cli_json_bytes(stdout, "name", user->name);
        putchar(',');
        cli_json_bytes(stdout, "about", user->about);
        putchar(',');
        cli_json_bytes(stdout, "avatar", user->avatar);
        printf(",\"created_ms\":%lld", (long long)user->created_ms);
        cli_json_end(cli);
        cli_end(run);
        return;
    }
    char *name = cli_escape(user->name, false), *about = cli_escape(user->about, true), *avatar = cli_escape(user->avatar, false);
    cli_say(cli, "%s, user #%llu, since %s", name ? name : "?", (unsigned long long)user->user_id, cli_time(user->created_ms, true, when));
    if (about && *about)
        cli_say(cli, "    %s", about);
    if (avatar && *avatar)
        cli_say(cli, "    picture: %s", avatar);
    free(name);
    free(about);
    free(avatar);
    cli_end(run);
}

void cli_cmd_profile(struct cli_run *run)
{
    struct bt_client *c = run->cli->client;
    if (run->count == 0)
        cli_armed(run, bt_user_get(c, 0, show_profile, run));
    else if (strcmp(run->words[0], "about") == 0)
        cli_armed(run, bt_profile_update(c, run->tails[1] ? run->tails[1] : "", NULL, show_profile, run));
    else if (strcmp(run->words[0], "avatar") == 0)
        cli_armed(run, bt_profile_update(c, NULL, run->tails[1] ? run->tails[1] : "", show_profile, run));
    else
        cli_end_usage(run, "What is to change is about or avatar.");
}

static void whois_found(struct cli_run *run, uint64_t target)
{
    cli_armed(run, bt_user_get(run->cli->client, target, show_profile, run));
}

void cli_cmd_whois(struct cli_run *run)
{
    cli_find(run, run->words[0], CLI_A_USER, whois_found);
}

/* ---- sessions ---- */

static void show_sessions(const struct bt_result *r, const struct bt_session *rows, size_t n, void *arg)
{
    struct cli_run *run = arg;
    struct cli *cli = run->cli;
    char when[32];
    if (cli_failed(run, r))
        return;
    for (size_t k = 0; k < n; k++) {
        if (run->json) {
            cli_json_begin(cli);
            printf("\"session_id\":%llu,", (unsigned long long)rows[k].session_id);
            cli_json_bytes(stdout, "device", rows[k].device);
            printf(",\"created_ms\":%lld,\"is_this\":%s", (long long)rows[k].created_ms, rows[k].is_this ? "true" : "false");
            cli_json_end(cli);
            continue;
        }
        char *device = cli_escape(rows[k].device, false);
        cli_say(cli, "#%llu  %s  %s%s", (unsigned long long)rows[k].session_id, cli_time(rows[k].created_ms, true, when),
                device && *device ? device : "(no name)", rows[k].is_this ? "  (this one)" : "");
        free(device);
    }
    cli_end(run);
}

void cli_cmd_sessions(struct cli_run *run)
{
    cli_armed(run, bt_sessions_list(run->cli->client, show_sessions, run));
}

static void session_ended(const struct bt_result *r, void *arg)
{
    struct cli_run *run = arg;
    if (cli_failed(run, r))
        return;
    cli_say(run->cli, "Ended.");
    cli_end(run);
}

void cli_cmd_endsession(struct cli_run *run)
{
    uint64_t id;
    if (!cli_parse_u64(run->words[0], &id))
        cli_end_usage(run, "A session is given by its number.");
    else
        cli_armed(run, bt_session_end(run->cli->client, id, session_ended, run));
}

/* ---- servers ---- */

static void show_directory(const struct bt_result *r, const struct bt_proxy *rows, size_t n, void *arg)
{
    struct cli_run *run = arg;
    struct cli *cli = run->cli;
    if (cli_failed(run, r))
        return;
    for (size_t k = 0; k < n; k++) {
        if (run->json) {
            cli_json_begin(cli);
            cli_json_bytes(stdout, "address", rows[k].address);
            putchar(',');
            cli_json_bytes(stdout, "unit", rows[k].unit);
            printf(",\"connections\":%u,\"weight\":%u", rows[k].connections, rows[k].weight);
            cli_json_end(cli);
            continue;
        }
        char *address = cli_escape(rows[k].address, false), *unit = cli_escape(rows[k].unit, false);
        cli_say(cli, "%s  unit %s  %u connected", address ? address : "?", unit ? unit : "?", rows[k].connections);
        free(address);
        free(unit);
    }
    cli_end(run);
}

void cli_cmd_directory(struct cli_run *run)
{
    cli_armed(run, bt_directory(run->cli->client, show_directory, run));
}

void cli_cmd_status(struct cli_run *run)
{
    struct cli *cli = run->cli;
    static const char *const states[] = {
        [BT_STATE_CONNECTING] = "connecting",           [BT_STATE_WAITING] = "not connected, trying again",
        [BT_STATE_CONNECTED] = "connected, not logged in", [BT_STATE_READY] = "connected, logged in",
        [BT_STATE_REFUSED] = "refused by the server",
    };
    cli_say(cli, "%s", states[bt_client_state(cli->client)]);
    if (bt_client_user_id(cli->client)) {
        char *name = cli_escape(cli_text(bt_client_user_name(cli->client)), false);
        cli_say(cli, "%s, user #%llu", name ? name : "?", (unsigned long long)bt_client_user_id(cli->client));
        free(name);
    }
    if (bt_client_state(cli->client) == BT_STATE_WAITING && cli->last_why[0])
        cli_say(cli, "because: %s", cli->last_why);
    cli_end(run);
}
