/* client/cli_cmd_chat.c: commands that write: chatting, sending, editing, taking back. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli.h"

enum { STDIN_MAX = 16 * 1024 * 1024 };

/* ---- the current chat ---- */

static void enter(struct cli_run *run, uint64_t target)
{
    struct cli *cli = run->cli;
    if (!cli->is_interactive) {
        cli_end_usage(run, "Say the text.");
        return;
    }
    cli->current = target;
    char *label = cli_label(cli, target);
    cli_notice(cli, "What you type goes to %s now; commands begin with a slash: /close, /help.", label ? label : "?");
    free(label);
    uint64_t position = bt_client_position(cli->client, target);
    if (position)
        bt_mark_read(cli->client, target, position);
    cli_edit_prompt(cli);
    cli_end(run);
}

void cli_cmd_close(struct cli_run *run)
{
    run->cli->current = 0;
    cli_edit_prompt(run->cli);
    cli_end(run);
}

/* ---- sending ---- */

/* At a prompt the message is shown as it comes out of the log; a failure is told. */
static void typed_sent(const struct bt_result *r, uint64_t seq, int64_t sent_ms, void *arg)
{
    struct cli_run *run = arg;
    (void)seq, (void)sent_ms;
    if (!cli_failed(run, r))
        cli_end(run);
}

static void send_typed(struct cli_run *run, uint64_t target, const char *text)
{
    struct bt_outgoing m = { .target = target, .body = cli_text(text) };
    if (!cli_is_utf8(m.body))
        cli_end_failed(run, CLI_USAGE, "That is not UTF-8: it was not sent.");
    else
        cli_armed(run, bt_send(run->cli->client, &m, typed_sent, run));
}

void cli_send_text(struct cli *cli, uint64_t target, const char *text)
{
    struct cli_run *run = calloc(1, sizeof *run);
    if (!run)
        return;
    run->cli = cli;
    run->command = cli_command_find("chat", 4);
    cli->running++;
    send_typed(run, target, text);
}

static void chat_found(struct cli_run *run, uint64_t target)
{
    if (run->count > 1)
        send_typed(run, target, run->tails[1]);
    else
        enter(run, target);
}

static void show_current(struct cli_run *run)
{
    struct cli *cli = run->cli;
    char *label = cli->current ? cli_label(cli, cli->current) : NULL;
    cli_say(cli, label ? "The current chat is %s." : "No chat is current. Type: chat NAME", label);
    free(label);
    cli_end(run);
}

void cli_cmd_chat(struct cli_run *run)
{
    if (run->count == 0)
        show_current(run);
    else
        cli_find(run, run->words[0], run->is_group ? CLI_A_GROUP : CLI_A_USER, chat_found);
}

void cli_cmd_groupchat(struct cli_run *run)
{
    if (run->count == 0)
        show_current(run);
    else
        cli_find(run, run->words[0], CLI_A_GROUP, chat_found);
}

static void sent(const struct bt_result *r, uint64_t seq, int64_t sent_ms, void *arg)
{
    struct cli_run *run = arg;
    struct cli *cli = run->cli;
    if (cli_failed(run, r))
        return;
    if (run->json) {
        cli_json_begin(cli);
        printf("\"seq\":%llu,\"sent_ms\":%lld", (unsigned long long)seq, (long long)sent_ms);
        cli_json_end(cli);
    } else {
        cli_say(cli, "#%llu", (unsigned long long)seq);
    }
    cli_end(run);
}

/* All of standard input. NULL: too long, or no memory. */
static char *read_stdin(size_t *len_out)
{
    size_t len = 0, cap = 65536;
    char *buf = malloc(cap);
    ssize_t got;
    while (buf && (got = read(STDIN_FILENO, buf + len, cap - len)) > 0) {
        len += (size_t)got;
        if (len < cap)
            continue;
        char *larger = cap < STDIN_MAX ? realloc(buf, cap * 2) : NULL;
        if (!larger) {
            free(buf);
            return NULL;
        }
        buf = larger;
        cap *= 2;
    }
    *len_out = len;
    return buf;
}

static void send_found(struct cli_run *run, uint64_t target)
{
    struct bt_outgoing m = { .target = target, .body = cli_text(run->tails[1]) };
    bool from_stdin = run->count == 2 && strcmp(run->words[1], "-") == 0 && !run->cli->is_interactive;
    if (from_stdin) {
        run->state = read_stdin(&m.body.len);
        m.body.data = run->state;
        if (!m.body.data) {
            cli_end_failed(run, CLI_REFUSED, "Standard input is longer than any message may be.");
            return;
        }
    }
    if (!cli_is_utf8(m.body)) { /* text must be; bytes of any kind go as the application's */
        m.kind = BT_APPLICATION;
        m.content_type = cli_text("application/octet-stream");
    }
    cli_armed(run, bt_send(run->cli->client, &m, sent, run));
}

void cli_cmd_send(struct cli_run *run)
{
    cli_find(run, run->words[0], run->is_group ? CLI_A_GROUP : CLI_A_USER, send_found);
}

/* ---- a message by its number: [NAME] N ---- */

/* In the current chat the name may be left out. Returns how many words came before N; -1: ended. */
static int numbered(struct cli_run *run)
{
    int at = run->cli->current && cli_parse_u64(run->words[0], &run->seq) ? 0 : 1;
    if (at < run->count && cli_parse_u64(run->words[at], &run->seq) && run->seq > 0)
        return at;
    cli_end_usage(run, "A message is given by its number in the conversation.");
    return -1;
}

static void edit_found(struct cli_run *run, uint64_t target)
{
    struct bt_outgoing m = { .target = target, .body = cli_text(run->tails[run->user_id]) };
    cli_armed(run, bt_edit(run->cli->client, run->seq, &m, run->cli->is_terminal ? typed_sent : sent, run));
}

void cli_cmd_edit(struct cli_run *run)
{
    int at = numbered(run);
    if (at < 0)
        return;
    run->user_id = (uint64_t)at + 1; /* where the text begins */
    if (at + 1 >= run->count)
        cli_end_usage(run, "Say the new text.");
    else
        cli_run_current(run, at ? run->words[0] : NULL, edit_found);
}

static void recall_found(struct cli_run *run, uint64_t target)
{
    cli_armed(run, bt_recall(run->cli->client, target, run->seq, run->cli->is_terminal ? typed_sent : sent, run));
}

void cli_cmd_recall(struct cli_run *run)
{
    int at = numbered(run);
    if (at >= 0)
        cli_run_current(run, at ? run->words[0] : NULL, recall_found);
}

static void receipts_told(const struct bt_result *r, const struct bt_receipt *rows, size_t n, bool more, const struct bt_receipts *sums, void *arg);

static void receipts_found(struct cli_run *run, uint64_t target)
{
    run->target = target;
    cli_armed(run, bt_receipts_get(run->cli->client, target, run->seq, run->user_id, receipts_told, run));
}

static void receipts_told(const struct bt_result *r, const struct bt_receipt *rows, size_t n, bool more, const struct bt_receipts *sums, void *arg)
{
    struct cli_run *run = arg;
    struct cli *cli = run->cli;
    if (cli_failed(run, r))
        return;
    if (run->user_id == 0 && !run->json)
        cli_say(cli, "Of %u, %u have it, %u have read it.", sums->member_count, sums->delivered_count, sums->read_count);
    for (size_t k = 0; k < n; k++) {
        run->user_id = rows[k].user_id;
        if (run->json) {
            cli_json_begin(cli);
            printf("\"user_id\":%llu,\"delivered\":%s,\"read\":%s", (unsigned long long)rows[k].user_id, rows[k].delivered ? "true" : "false",
                   rows[k].read ? "true" : "false");
            cli_json_end(cli);
            continue;
        }
        char *who = cli_label(cli, rows[k].user_id);
        cli_say(cli, "%-20s %s", who ? who : "?", rows[k].read ? "has read it" : rows[k].delivered ? "has it" : "does not have it yet");
        free(who);
    }
    if (more && n > 0)
        receipts_found(run, run->target);
    else
        cli_end(run);
}

void cli_cmd_receipts(struct cli_run *run)
{
    int at = numbered(run);
    if (at >= 0)
        cli_run_current(run, at ? run->words[0] : NULL, receipts_found);
}

static void typing_told(const struct bt_result *r, void *arg)
{
    struct cli_run *run = arg;
    if (!cli_failed(run, r))
        cli_end(run);
}

static void typing_found(struct cli_run *run, uint64_t target)
{
    cli_armed(run, bt_signal(run->cli->client, target, "typing", (struct bt_text){ 0 }, typing_told, run));
}

void cli_cmd_typing(struct cli_run *run)
{
    cli_run_current(run, run->count ? run->words[0] : NULL, typing_found);
}
