/* client/cli_cmd_group.c: commands about groups. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cli.h"

static const char *const role_words[] = { "none", "member", "admin", "owner" };
static const char *const mode_words[] = { "open", "request", "invitation" };
static const char *const pending_words[] = { "none", "invited", "asking" };

static const char *word_of(const char *const *words, size_t n, int value)
{
    return value >= 0 && (size_t)value < n ? words[value] : "?";
}
#define WORD(words, value) word_of(words, sizeof(words) / sizeof *(words), (int)(value))

static bool mode_parse(const char *word, enum bt_join_mode *out)
{
    for (int n = 0; n < 3; n++)
        if (strcmp(mode_words[n], word) == 0) {
            *out = (enum bt_join_mode)n;
            return true;
        }
    return false;
}

/* ---- showing ---- */

static void show_group(struct cli_run *run, const struct bt_group *g)
{
    struct cli *cli = run->cli;
    cli_name_set(cli, BT_GROUP | g->group_id, g->name);
    if (run->json) {
        cli_json_begin(cli);
        printf("\"group_id\":%llu,", (unsigned long long)g->group_id);
        cli_json_bytes(stdout, "name", g->name);
        putchar(',');
        cli_json_bytes(stdout, "about", g->about);
        printf(",\"join\":\"%s\",\"members\":%u,\"owner_id\":%llu,\"my_role\":\"%s\",\"my_pending\":\"%s\",\"created_ms\":%lld,\"disbanded\":%s",
               WORD(mode_words, g->join_mode), g->member_count, (unsigned long long)g->owner_id, WORD(role_words, g->my_role),
               WORD(pending_words, g->my_pending), (long long)g->created_ms, g->disbanded ? "true" : "false");
        cli_json_end(cli);
        return;
    }
    char *name = cli_escape(g->name, false), *about = cli_escape(g->about, false);
    cli_say(cli, "%s%-20s%s #%-6llu %u members, %s%s%s%s%s", cli_paint(cli, CLI_MAGENTA), name ? name : "?", cli_paint(cli, CLI_PLAIN),
            (unsigned long long)g->group_id, g->member_count, g->my_role ? "you are " : "", g->my_role ? WORD(role_words, g->my_role) : "not a member",
            g->my_pending ? ", " : "", g->my_pending ? WORD(pending_words, g->my_pending) : "", g->disbanded ? ", ended" : "");
    if (about && *about)
        cli_say(cli, "    %s", about);
    free(name);
    free(about);
}

static void shown(const struct bt_result *r, const struct bt_group *g, void *arg)
{
    struct cli_run *run = arg;
    if (cli_failed(run, r))
        return;
    show_group(run, g);
    cli_end(run);
}

static void listed(const struct bt_result *r, const struct bt_group *rows, size_t n, bool more, void *arg)
{
    struct cli_run *run = arg;
    if (cli_failed(run, r))
        return;
    for (size_t k = 0; k < n; k++)
        show_group(run, &rows[k]);
    run->seq += n;
    if (more && n > 0) {
        cli_armed(run, bt_groups_list(run->cli->client, rows[n - 1].group_id, 500, listed, run));
        return;
    }
    if (run->seq == 0)
        cli_notice(run->cli, "No groups yet. Type: creategroup NAME, or: join #number");
    cli_end(run);
}

void cli_cmd_groups(struct cli_run *run)
{
    cli_armed(run, bt_groups_list(run->cli->client, 0, 500, listed, run));
}

static void group_found(struct cli_run *run, uint64_t target)
{
    cli_armed(run, bt_group_get(run->cli->client, target & ~BT_GROUP, shown, run));
}

void cli_cmd_group(struct cli_run *run)
{
    cli_find(run, run->words[0], CLI_A_GROUP, group_found);
}

/* ---- members ---- */

static void show_member(struct cli_run *run, const struct bt_member *m)
{
    struct cli *cli = run->cli;
    char when[32];
    cli_name_set(cli, m->user_id, m->name);
    if (run->json) {
        cli_json_begin(cli);
        printf("\"user_id\":%llu,", (unsigned long long)m->user_id);
        cli_json_bytes(stdout, "name", m->name);
        printf(",\"role\":\"%s\",\"pending\":\"%s\",\"muted_until_ms\":%lld,\"joined_seq\":%llu", WORD(role_words, m->role),
               WORD(pending_words, m->pending), (long long)m->muted_until_ms, (unsigned long long)m->joined_seq);
        cli_json_end(cli);
        return;
    }
    char *name = cli_escape(m->name, false);
    cli_say(cli, "%-20s #%-6llu %s%s%s", name ? name : "?", (unsigned long long)m->user_id,
            m->pending ? WORD(pending_words, m->pending) : WORD(role_words, m->role),
            m->muted_until_ms > (int64_t)time(NULL) * 1000 ? ", muted until " : "",
            m->muted_until_ms > (int64_t)time(NULL) * 1000 ? cli_time(m->muted_until_ms, true, when) : "");
    free(name);
}

static void members_listed(const struct bt_result *r, const struct bt_member *rows, size_t n, bool more, void *arg)
{
    struct cli_run *run = arg;
    if (cli_failed(run, r))
        return;
    for (size_t k = 0; k < n; k++)
        show_member(run, &rows[k]);
    if (more && n > 0)
        cli_armed(run, bt_group_members(run->cli->client, run->target, rows[n - 1].user_id, 500, (enum bt_pending)run->seq, members_listed, run));
    else
        cli_end(run);
}

static void members_of(struct cli_run *run, uint64_t target)
{
    run->target = target & ~BT_GROUP;
    cli_armed(run, bt_group_members(run->cli->client, run->target, 0, 500, (enum bt_pending)run->seq, members_listed, run));
}

void cli_cmd_members(struct cli_run *run)
{
    const char *which = run->count > 1 ? run->words[1] : "";
    run->seq = strcmp(which, "invited") == 0 ? BT_INVITED : strcmp(which, "asking") == 0 ? BT_ASKING : BT_NOT_PENDING;
    if (*which && run->seq == BT_NOT_PENDING)
        cli_end_usage(run, "Besides the members there are the invited and the asking.");
    else
        cli_find(run, run->words[0], CLI_A_GROUP, members_of);
}

/* ---- making and changing ---- */

void cli_cmd_creategroup(struct cli_run *run)
{
    enum bt_join_mode mode = BT_JOIN_OPEN;
    if (run->count > 1 && !mode_parse(run->words[1], &mode))
        cli_end_usage(run, "Names with blanks go in quotes.");
    else
        cli_armed(run, bt_group_create(run->cli->client, run->words[0], "", mode, shown, run));
}

static void setgroup_found(struct cli_run *run, uint64_t target)
{
    struct bt_client *c = run->cli->client;
    const char *what = run->words[1];
    uint64_t id = target & ~BT_GROUP;
    enum bt_join_mode mode;
    if (strcmp(what, "name") == 0)
        cli_armed(run, bt_group_update(c, id, run->words[2], NULL, NULL, shown, run));
    else if (strcmp(what, "about") == 0)
        cli_armed(run, bt_group_update(c, id, NULL, run->tails[2], NULL, shown, run));
    else if (strcmp(what, "join") == 0 && mode_parse(run->words[2], &mode))
        cli_armed(run, bt_group_update(c, id, NULL, NULL, &mode, shown, run));
    else
        cli_end_usage(run, "What can be set is name, about, or join open | request | invitation.");
}

void cli_cmd_setgroup(struct cli_run *run)
{
    cli_find(run, run->words[0], CLI_A_GROUP, setgroup_found);
}

static void joined(const struct bt_result *r, bool pending, void *arg)
{
    struct cli_run *run = arg;
    if (cli_failed(run, r))
        return;
    cli_say(run->cli, pending ? "Asked; the owner or an admin decides." : "Joined.");
    cli_end(run);
}

static void join_found(struct cli_run *run, uint64_t target)
{
    cli_armed(run, bt_group_join(run->cli->client, target & ~BT_GROUP, joined, run));
}

void cli_cmd_join(struct cli_run *run)
{
    cli_find(run, run->words[0], CLI_A_GROUP, join_found);
}

/* ---- one group, or one member of it ---- */

static void done(const struct bt_result *r, void *arg)
{
    struct cli_run *run = arg;
    if (cli_failed(run, r))
        return;
    cli_say(run->cli, "Done.");
    cli_end(run);
}

static void alone_found(struct cli_run *run, uint64_t target)
{
    struct bt_client *c = run->cli->client;
    uint64_t id = target & ~BT_GROUP;
    if (strcmp(run->command->name, "leave") == 0)
        cli_armed(run, bt_group_leave(c, id, done, run));
    else
        cli_armed(run, bt_group_disband(c, id, done, run));
}

void cli_cmd_group_alone(struct cli_run *run)
{
    cli_find(run, run->words[0], CLI_A_GROUP, alone_found);
}

static void mute(struct cli_run *run, uint64_t user_id)
{
    uint64_t ms = 3600000;
    if (run->count > 2 && !cli_parse_duration(run->words[2], &ms))
        cli_end_usage(run, "A time is a number with s, m, h or d.");
    else
        cli_armed(run, bt_group_mute(run->cli->client, run->target, user_id, (int64_t)time(NULL) * 1000 + (int64_t)ms, done, run));
}

static void set_role(struct cli_run *run, uint64_t user_id)
{
    bool is_admin = strcmp(run->words[2], "admin") == 0;
    if (!is_admin && strcmp(run->words[2], "member") != 0)
        cli_end_usage(run, "A role is admin or member; a new owner is made with transfer.");
    else
        cli_armed(run, bt_group_set_role(run->cli->client, run->target, user_id, is_admin ? BT_ADMIN : BT_MEMBER, done, run));
}

static void unmute(struct cli_run *run, uint64_t user_id)
{
    cli_armed(run, bt_group_mute(run->cli->client, run->target, user_id, 0, done, run));
}

static void invite(struct cli_run *run, uint64_t user_id)
{
    cli_armed(run, bt_group_invite(run->cli->client, run->target, user_id, done, run));
}

static void refuse(struct cli_run *run, uint64_t user_id)
{
    cli_armed(run, bt_group_refuse(run->cli->client, run->target, user_id, done, run));
}

static void kick(struct cli_run *run, uint64_t user_id)
{
    cli_armed(run, bt_group_kick(run->cli->client, run->target, user_id, done, run));
}

static void transfer(struct cli_run *run, uint64_t user_id)
{
    cli_armed(run, bt_group_transfer(run->cli->client, run->target, user_id, done, run));
}

static const struct {
    const char *command;
    cli_found_cb *fn;
} member_commands[] = {
    { "invite", invite }, { "refuse", refuse }, { "kick", kick }, { "mute", mute }, { "unmute", unmute }, { "role", set_role }, { "transfer", transfer },
};

static void member_group_found(struct cli_run *run, uint64_t target)
{
    size_t n = 0;
    while (strcmp(member_commands[n].command, run->command->name) != 0)
        n++;
    run->target = target & ~BT_GROUP;
    if (run->count > 1)
        cli_find(run, run->words[1], CLI_A_USER, member_commands[n].fn);
    else
        member_commands[n].fn(run, 0); /* refuse: one's own invitation */
}

void cli_cmd_group_member(struct cli_run *run)
{
    cli_find(run, run->words[0], CLI_A_GROUP, member_group_found);
}
