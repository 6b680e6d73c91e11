/* client/cli_cmd_read.c: commands that read: history, conversations, what comes. */
#include <stdlib.h>
#include <string.h>

#include "client/cli.h"

enum { PAGE = 500, DEFAULT_COUNT = 20 };

/* ---- history ---- */

struct history {
    uint64_t count, from, before;
};

static void history_shown(void *arg)
{
    cli_end(arg);
}

/* The text shown is the latest; that it was another once, a message after it says, if the page reaches that far. */
static bool was_edited(const struct bt_message *rows, size_t n, size_t k)
{
    for (size_t later = k + 1; later < n && rows[k].kind == BT_TEXT; later++)
        if (rows[later].kind == BT_EDIT && rows[later].refers_to_seq == rows[k].seq)
            return true;
    return false;
}

static void history_told(const struct bt_result *r, const struct bt_message *rows, size_t n, uint64_t first_seq, uint64_t head_seq, void *arg)
{
    struct cli_run *run = arg;
    struct cli *cli = run->cli;
    (void)first_seq;
    if (cli_failed(run, r))
        return;
    unsigned read = cli->is_terminal || run->mark_read ? CLI_SHOW_READ : 0;
    for (size_t k = 0; k < n; k++)
        cli_show_message(cli, &rows[k], read | CLI_SHOW_DATE | (run->json ? CLI_SHOW_JSON : 0) | (was_edited(rows, n, k) ? CLI_SHOW_EDITED : 0));
    if (n == 0)
        cli_notice(cli, head_seq ? "Nothing there; the conversation ends at #%llu." : "Nothing was written yet.", (unsigned long long)head_seq);
    cli_show_then(cli, history_shown, run);
}

static void history_found(struct cli_run *run, uint64_t target)
{
    const struct history *h = run->state;
    run->target = target;
    cli_armed(run, bt_history(run->cli->client, target, h->from, h->before, (uint32_t)h->count, history_told, run));
}

/* COUNT, before N, from N, in any order. */
static bool history_words(struct cli_run *run, int at, struct history *h)
{
    for (; at < run->count; at++) {
        uint64_t *number = &h->count;
        if (strcmp(run->words[at], "before") == 0 && at + 1 < run->count)
            number = &h->before, at++;
        else if (strcmp(run->words[at], "from") == 0 && at + 1 < run->count)
            number = &h->from, at++;
        if (!cli_parse_u64(run->words[at], number) || *number == 0)
            return false;
    }
    return h->count <= PAGE && !(h->from && h->before);
}

void cli_cmd_history(struct cli_run *run)
{
    struct history *h = run->state = calloc(1, sizeof *h);
    uint64_t number;
    const char *first = run->count ? run->words[0] : NULL;
    bool is_named = first && strcmp(first, "before") != 0 && strcmp(first, "from") != 0 &&
                    !(run->cli->current && *first != '#' && cli_parse_u64(first, &number));
    if (!h) {
        cli_end_failed(run, CLI_REFUSED, "Out of memory.");
        return;
    }
    h->count = DEFAULT_COUNT;
    if (!history_words(run, is_named, h))
        cli_end_usage(run, "Up to 500 messages, before or from a number.");
    else
        cli_run_current(run, is_named ? first : NULL, history_found);
}

/* ---- conversations ---- */

static void show_conversation(struct cli *cli, const struct bt_conversation *conv, bool is_json)
{
    cli_name_set(cli, conv->target, conv->name);
    if (is_json) {
        bool is_group = conv->target & BT_GROUP;
        cli_json_begin(cli);
        printf("\"%s\":%llu,", is_group ? "group_id" : "peer_id", (unsigned long long)(conv->target & ~BT_GROUP));
        cli_json_bytes(stdout, "name", conv->name);
        printf(",\"head_seq\":%llu,\"first_seq\":%llu,\"left_seq\":%llu,\"delivered_seq\":%llu,\"read_seq\":%llu,\"unread\":%u",
               (unsigned long long)conv->head_seq, (unsigned long long)conv->first_seq, (unsigned long long)conv->left_seq,
               (unsigned long long)conv->delivered_seq, (unsigned long long)conv->read_seq, conv->unread);
        cli_json_end(cli);
        return;
    }
    char *label = cli_label(cli, conv->target), *last = conv->last && conv->last->kind == BT_TEXT ? cli_escape(conv->last->body, false) : NULL;
    cli_say(cli, "%s%-20s%s %s%4u unread%s, up to #%llu%s%s%.60s", cli_paint(cli, conv->target & BT_GROUP ? CLI_MAGENTA : CLI_CYAN),
            label ? label : "?", cli_paint(cli, CLI_PLAIN), cli_paint(cli, conv->unread ? CLI_BOLD : CLI_DIM), conv->unread,
            cli_paint(cli, CLI_PLAIN), (unsigned long long)conv->head_seq, conv->left_seq ? ", left" : "", last && *last ? ": " : "", last ? last : "");
    free(label);
    free(last);
}

static void conversations_told(const struct bt_result *r, const struct bt_conversation *rows, size_t n, bool more, void *arg)
{
    struct cli_run *run = arg;
    if (cli_failed(run, r))
        return;
    for (size_t k = 0; k < n; k++)
        show_conversation(run->cli, &rows[k], run->json);
    run->seq += n;
    if (more && n > 0) {
        cli_armed(run, bt_conversations_list(run->cli->client, rows[n - 1].target, 200, conversations_told, run));
        return;
    }
    if (run->seq == 0)
        cli_notice(run->cli, "No conversations yet. Type: chat NAME");
    cli_end(run);
}

void cli_cmd_conversations(struct cli_run *run)
{
    cli_armed(run, bt_conversations_list(run->cli->client, 0, 200, conversations_told, run));
}

/* ---- at login: what is unread; and the names that completion knows ---- */

static void summary_told(const struct bt_result *r, const struct bt_conversation *rows, size_t n, bool more, void *arg)
{
    struct cli *cli = arg;
    if (r->outcome != BT_DONE || cli->is_quitting)
        return;
    for (size_t k = 0; k < n; k++) {
        cli_name_set(cli, rows[k].target, rows[k].name);
        char *label = rows[k].unread ? cli_label(cli, rows[k].target) : NULL;
        if (label)
            cli_notice(cli, "%u unread %s %s", rows[k].unread, rows[k].target & BT_GROUP ? "in the group" : "from", label);
        free(label);
    }
    if (more && n > 0)
        bt_conversations_list(cli->client, rows[n - 1].target, 200, summary_told, cli); /* not taken: a shorter summary */
}

static void friends_told(const struct bt_result *r, const struct bt_friend *rows, size_t n, bool more, void *arg)
{
    struct cli *cli = arg;
    (void)r, (void)more;
    for (size_t k = 0; k < n; k++) {
        cli_name_set(cli, rows[k].user_id, rows[k].name);
        char *who = rows[k].state == BT_REQUEST_RECEIVED && !cli->is_quitting ? cli_label(cli, rows[k].user_id) : NULL;
        if (who)
            cli_notice(cli, "%s asks to be your friend. Type: accept %s, or: decline %s", who, who, who);
        free(who);
    }
}

static void groups_told(const struct bt_result *r, const struct bt_group *rows, size_t n, bool more, void *arg)
{
    struct cli *cli = arg;
    (void)r, (void)more;
    for (size_t k = 0; k < n; k++) {
        cli_name_set(cli, BT_GROUP | rows[k].group_id, rows[k].name);
        char *group = rows[k].my_pending == BT_INVITED && !cli->is_quitting ? cli_label(cli, BT_GROUP | rows[k].group_id) : NULL;
        if (group)
            cli_notice(cli, "You are invited to the group %s. Type: join %s, or: refuse %s", group, group, group);
        free(group);
    }
}

void cli_summary(struct cli *cli)
{
    /* What is not taken for want of room is not shown: it can be asked for by its command. */
    (void)(bt_conversations_list(cli->client, 0, 200, summary_told, cli) && bt_friends_list(cli->client, 0, 500, friends_told, cli) &&
           bt_groups_list(cli->client, 0, 500, groups_told, cli));
}

/* ---- tail ---- */

static void tail_done(void *arg)
{
    struct cli_run *run = arg;
    if (run->seq == CLI_OK)
        cli_end(run);
    else
        cli_end_failed(run, (enum cli_exit)run->seq, "Not so many messages came in time.");
}

void cli_tail_end(struct cli *cli, enum cli_exit code)
{
    struct cli_run *run = cli->tail;
    cli->tail = NULL;
    net_timer_stop(cli->loop, &cli->tail_timer);
    bt_client_hold(cli->client, true);
    run->seq = code;
    cli_show_then(cli, tail_done, run);
}

static void tail_late(void *arg)
{
    struct cli *cli = arg;
    cli_tail_end(cli, cli->tail_left > 0 ? CLI_REFUSED : CLI_OK);
}

static void tail_start(struct cli_run *run, uint64_t target)
{
    struct cli *cli = run->cli;
    cli->tail = run;
    cli->tail_target = target;
    if (run->user_id)
        net_timer_start(cli->loop, &cli->tail_timer, run->user_id, tail_late, cli);
    bt_client_hold(cli->client, false);
}

void cli_cmd_tail(struct cli_run *run)
{
    const char *name = NULL;
    uint64_t seconds = 0;
    for (int n = 0; n < run->count; n++) {
        const char *word = run->words[n], *value = n + 1 < run->count ? run->words[n + 1] : "";
        if (strcmp(word, "--from-start") == 0) {
            continue; /* seen before the session began */
        } else if (strcmp(word, "--count") == 0 && cli_parse_u64(value, &run->cli->tail_left) && run->cli->tail_left > 0) {
            n++;
        } else if (strcmp(word, "--timeout") == 0 && cli_parse_u64(value, &seconds) && seconds > 0 && seconds < 1000000) {
            n++;
        } else if (*word != '-' && !name) {
            name = word;
        } else {
            cli_end_usage(run, "What was meant?");
            return;
        }
    }
    run->user_id = seconds * 1000;
    if (run->cli->is_interactive)
        cli_end_failed(run, CLI_USAGE, "Here messages are shown as they come anyway.");
    else if (name)
        cli_find(run, name, CLI_ANYONE, tail_start);
    else
        tail_start(run, 0);
}
