/* client/cli_run.c: the table of commands; taking a line apart, running it, ending it. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli.h"

const struct cli_command cli_commands[] = {
    { "help", "?", "[COMMAND]", "What can be typed.", 0, CLI_NO_LOGIN, cli_cmd_help },
    { "register", NULL, "NAME", "Make an account and log in.", 0, CLI_NO_LOGIN, cli_cmd_login },
    { "login", NULL, "NAME", "Log in; later runs go on with this session.", 0, CLI_NO_LOGIN, cli_cmd_login },
    { "logout", "loginout", "", "End this session.", 0, CLI_WORDS, cli_cmd_logout },
    { "passwd", NULL, "", "Change your password; your other sessions end.", 0, CLI_WORDS, cli_cmd_passwd },
    { "profile", NULL, "[about TEXT | avatar URL]", "Show or change your profile.", 0, CLI_TEXT, cli_cmd_profile },
    { "whois", "who find", "USER", "Show a user's profile.", 1, CLI_WORDS, cli_cmd_whois },
    { "sessions", NULL, "", "List where you are logged in.", 0, CLI_WORDS, cli_cmd_sessions },
    { "endsession", NULL, "ID", "Log a device out.", 1, CLI_WORDS, cli_cmd_endsession },
    { "chat", NULL, "[NAME [TEXT]]", "Chat with a user: send TEXT, or make it the current chat.", 0, CLI_TEXT, cli_cmd_chat },
    { "groupchat", "gchat", "[NAME [TEXT]]", "The same with a group.", 0, CLI_TEXT, cli_cmd_groupchat },
    { "close", NULL, "", "Leave the current chat: lines are commands again.", 0, CLI_WORDS, cli_cmd_close },
    { "send", NULL, "[--group] NAME TEXT | -", "Send a message and print its number; -: the text is read from standard input.", 2, CLI_TEXT, cli_cmd_send },
    { "history", NULL, "[NAME] [COUNT] [before N | from N] [--mark-read]", "Show messages of a conversation.", 0, CLI_WORDS, cli_cmd_history },
    { "edit", NULL, "[NAME] N TEXT", "Replace the text of your message number N.", 2, CLI_TEXT, cli_cmd_edit },
    { "recall", NULL, "[NAME] N", "Take message number N back.", 1, CLI_WORDS, cli_cmd_recall },
    { "receipts", NULL, "[NAME] N", "Show who has received and read message N.", 1, CLI_WORDS, cli_cmd_receipts },
    { "typing", NULL, "[NAME]", "Tell that you are typing.", 0, CLI_WORDS, cli_cmd_typing },
    { "conversations", "unread convs", "", "List your conversations, with what is unread.", 0, CLI_WORDS, cli_cmd_conversations },
    { "friends", "showfriendlist", "", "List friends, requests and blocks.", 0, CLI_WORDS, cli_cmd_friends },
    { "addfriend", "add", "USER", "Ask a user to be your friend.", 1, CLI_WORDS, cli_cmd_friend_change },
    { "accept", NULL, "USER", "Accept a user's request.", 1, CLI_WORDS, cli_cmd_friend_change },
    { "decline", NULL, "USER", "Decline a user's request, or take back your own.", 1, CLI_WORDS, cli_cmd_friend_change },
    { "delfriend", "removefriend", "USER", "End a friendship.", 1, CLI_WORDS, cli_cmd_friend_change },
    { "block", NULL, "USER", "Take nothing from a user any more.", 1, CLI_WORDS, cli_cmd_friend_change },
    { "unblock", NULL, "USER", "Take it again.", 1, CLI_WORDS, cli_cmd_friend_change },
    { "groups", "showgrouplist", "", "List your groups and invitations.", 0, CLI_WORDS, cli_cmd_groups },
    { "group", NULL, "GROUP", "Show what a group is.", 1, CLI_WORDS, cli_cmd_group },
    { "creategroup", NULL, "NAME [open | request | invitation]", "Make a group: who may join it.", 1, CLI_WORDS, cli_cmd_creategroup },
    { "setgroup", NULL, "GROUP name | about | join VALUE", "Change a group.", 3, CLI_TEXT, cli_cmd_setgroup },
    { "join", "addgroup", "GROUP", "Join a group, or accept an invitation; a group not yours by its #number.", 1, CLI_WORDS, cli_cmd_join },
    { "leave", "leavegroup", "GROUP", "Leave a group.", 1, CLI_WORDS, cli_cmd_group_alone },
    { "disband", "delgroup", "GROUP", "End a group that is yours.", 1, CLI_WORDS, cli_cmd_group_alone },
    { "members", NULL, "GROUP [invited | asking]", "List a group's members.", 1, CLI_WORDS, cli_cmd_members },
    { "invite", NULL, "GROUP USER", "Invite a user, or let in one who asks.", 2, CLI_WORDS, cli_cmd_group_member },
    { "refuse", NULL, "GROUP [USER]", "Refuse an invitation, or a user's request to join.", 1, CLI_WORDS, cli_cmd_group_member },
    { "kick", NULL, "GROUP USER", "Remove a member.", 2, CLI_WORDS, cli_cmd_group_member },
    { "mute", NULL, "GROUP USER [30s | 10m | 2h | 1d]", "Forbid a member to write for a time; one hour if none is given.", 2, CLI_WORDS, cli_cmd_group_member },
    { "unmute", NULL, "GROUP USER", "Allow it again.", 2, CLI_WORDS, cli_cmd_group_member },
    { "role", NULL, "GROUP USER admin | member", "Make a member an admin, or an admin a member.", 3, CLI_WORDS, cli_cmd_group_member },
    { "transfer", NULL, "GROUP USER", "Make another member the owner.", 2, CLI_WORDS, cli_cmd_group_member },
    { "tail", NULL, "[NAME] [--from-start] [--count N] [--timeout S] [--mark-read]", "Print messages as they come (not at a prompt).", 0, CLI_WORDS, cli_cmd_tail },
    { "directory", NULL, "", "List the servers.", 0, CLI_NO_LOGIN, cli_cmd_directory },
    { "status", NULL, "", "Show the connection and who is logged in.", 0, CLI_NO_LOGIN, cli_cmd_status },
    { "quit", "exit", "", "Leave the program; the session stays.", 0, CLI_NO_LOGIN, cli_cmd_quit },
    { .name = NULL },
};

/* ---- finding ---- */

static bool is_among(const char *words, const char *word, size_t len)
{
    while (words && *words) {
        size_t n = strcspn(words, " ");
        if (n == len && strncasecmp(words, word, len) == 0)
            return true;
        words += n + (words[n] == ' ');
    }
    return false;
}

const struct cli_command *cli_command_find(const char *word, size_t len)
{
    for (const struct cli_command *c = cli_commands; c->name; c++)
        if ((strlen(c->name) == len && strncasecmp(c->name, word, len) == 0) || is_among(c->aliases, word, len))
            return c;
    return NULL;
}

/* ---- ending ---- */

static void next(void *arg)
{
    cli_input_next(arg);
}

static void end(struct cli_run *run, enum cli_exit code)
{
    struct cli *cli = run->cli;
    free(run->state);
    free(run->line);
    free(run->raw);
    free(run);
    cli->running--;
    if (code != CLI_OK)
        cli->exit_code = code;
    if (!cli->is_interactive)
        cli_quit(cli, code);
    else if (!cli->is_terminal)
        net_defer(cli->loop, &cli->next_task, next, cli);
}

void cli_end(struct cli_run *run)
{
    end(run, CLI_OK);
}

void cli_end_failed(struct cli_run *run, enum cli_exit code, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    cli_error(run->cli, "%s", text);
    end(run, code);
}

void cli_end_usage(struct cli_run *run, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    cli_error(run->cli, "%s Usage: %s %s", text, run->command->name, run->command->usage);
    end(run, CLI_USAGE);
}

enum cli_exit cli_exit_of(const struct cli *cli, const struct bt_result *r)
{
    if (r->outcome == BT_UNSURE)
        return CLI_UNSURE;
    return r->status == BT_STATUS_UNAVAILABLE && !cli->was_connected ? CLI_NO_SERVER : CLI_REFUSED;
}

/* What the user can do about it. */
static const char *advice(const struct bt_result *r)
{
    if (r->outcome == BT_UNSURE)
        return " It is not known whether this was done; look before you do it again.";
    switch (r->status) {
    case BT_STATUS_UNAVAILABLE: return " Nothing was done; try again in a while.";
    case BT_STATUS_RESOURCE_EXHAUSTED: return r->retry_after_ms ? " Nothing was done; try again in a moment." : " Nothing was done.";
    case BT_STATUS_UNAUTHENTICATED: return " Log in first: login NAME";
    case BT_STATUS_PERMISSION_DENIED: return " You may not do this.";
    case BT_STATUS_NOT_FOUND: return " Check the name or number.";
    default: return "";
    }
}

void cli_end_refused(struct cli_run *run, const struct bt_result *r)
{
    enum cli_exit code = cli_exit_of(run->cli, r);
    char *detail = cli_escape(cli_text(r->detail), false);
    const char *name = r->outcome == BT_UNSURE && r->status == BT_STATUS_OK ? "UNKNOWN" : bt_status_name(r->status);
    cli_error(run->cli, "%s%s%s.%s", name, detail && *detail ? ": " : "", detail ? detail : "", advice(r));
    free(detail);
    end(run, code);
}

bool cli_failed(struct cli_run *run, const struct bt_result *r)
{
    if (r->outcome == BT_DONE)
        return false;
    cli_end_refused(run, r);
    return true;
}

bool cli_armed(struct cli_run *run, bool is_armed)
{
    if (!is_armed)
        cli_end_failed(run, CLI_REFUSED, "Too much is waiting already: nothing was done. Try again in a moment.");
    return is_armed;
}

/* ---- running ---- */

static void start(struct cli_run *run)
{
    struct cli *cli = run->cli;
    cli->running++;
    if (!run->command) {
        char *word = cli_escape(cli_text(run->raw), false);
        cli_end_failed(run, CLI_USAGE, "There is no command %s. Type help%s.", word ? word : "", cli->current ? " after a slash: /help" : "");
        free(word);
    } else if (run->count < run->command->min_words) {
        cli_end_usage(run, "%s needs more.", run->command->name);
    } else if (!(run->command->flags & CLI_NO_LOGIN) && !cli->is_ready && !cli->was_lost) {
        cli_end_failed(run, CLI_REFUSED, "You are not logged in. Type: login NAME; or, for a new account: register NAME");
    } else if (!cli->client && run->command->fn != cli_cmd_help && run->command->fn != cli_cmd_login && run->command->fn != cli_cmd_quit) {
        cli_end_failed(run, CLI_REFUSED, "Logging in; a moment, please.");
    } else {
        run->command->fn(run);
    }
}

/* Take --json, --group and --mark-read out from among the words; in commands that end in text only from before it. */
static void take_flags(struct cli_run *run)
{
    for (int n = 0; n < run->count;) {
        bool is_json = strcmp(run->words[n], "--json") == 0;
        bool is_group = strcmp(run->words[n], "--group") == 0 || strcmp(run->words[n], "-g") == 0;
        bool is_mark = strcmp(run->words[n], "--mark-read") == 0;
        if (!is_json && !is_group && !is_mark) {
            if (run->command->flags & CLI_TEXT)
                return;
            n++;
            continue;
        }
        run->json |= is_json;
        run->is_group |= is_group;
        run->mark_read |= is_mark;
        memmove(run->words + n, run->words + n + 1, (size_t)(run->count - n) * sizeof *run->words);
        memmove(run->tails + n, run->tails + n + 1, (size_t)(run->count - n) * sizeof *run->tails);
        run->count--;
    }
}

/* Words are parted by blanks; "double quotes" hold one together. */
static void take_words(struct cli_run *run, char *at)
{
    run->count = 0;
    for (;;) {
        at += strspn(at, " \t");
        if (*at == '\0' || run->count == CLI_MAX_WORDS - 1)
            break;
        run->tails[run->count] = run->raw + (at - run->line);
        char end_at = *at == '"' && strchr(at + 1, '"') ? '"' : ' ';
        at += end_at == '"';
        run->words[run->count++] = at;
        while (*at && *at != end_at && !(end_at == ' ' && *at == '\t'))
            at++;
        if (*at)
            *at++ = '\0';
    }
}

static struct cli_run *run_new(struct cli *cli, const char *line)
{
    struct cli_run *run = calloc(1, sizeof *run);
    if (!run || !(run->line = strdup(line)) || !(run->raw = strdup(line)))
        abort(); /* a line's worth of memory: nothing can be done for the user without */
    run->cli = cli;
    run->json = cli->options.json;
    return run;
}

void cli_run_line(struct cli *cli, const char *line)
{
    line += strspn(line, " \t");
    if (*line == '\0')
        return;
    if (*line != '/' && cli->current) {
        cli_send_text(cli, cli->current, line);
        return;
    }
    line += *line == '/';
    size_t len = strcspn(line, " \t");
    struct cli_run *run = run_new(cli, line);
    run->command = cli_command_find(line, len);
    if (run->command) {
        take_words(run, run->line + len);
        take_flags(run);
    } else {
        run->raw[len] = '\0';
    }
    start(run);
}

static char *join(int argc, char **argv)
{
    size_t size = 1;
    for (int n = 0; n < argc; n++)
        size += strlen(argv[n]) + 1;
    char *line = calloc(1, size), *at = line;
    for (int n = 0; line && n < argc; n++)
        at += sprintf(at, n ? " %s" : "%s", argv[n]);
    return line;
}

void cli_run_words(struct cli *cli, int argc, char **argv)
{
    char *line = join(argc, argv);
    struct cli_run *run = run_new(cli, line ? line : "");
    size_t at = strlen(argv[0]);
    free(line);
    run->command = cli_command_find(argv[0], strlen(argv[0]));
    for (int n = 1; n < argc && run->count < CLI_MAX_WORDS - 1; n++) {
        run->words[run->count] = argv[n];
        run->tails[run->count++] = run->raw + at + 1;
        at += 1 + strlen(argv[n]);
    }
    if (run->command)
        take_flags(run);
    else
        run->raw[strlen(argv[0])] = '\0';
    start(run);
}

void cli_run_current(struct cli_run *run, const char *word, cli_found_cb *cb)
{
    if (word)
        cli_find(run, word, CLI_ANYONE, cb);
    else if (run->cli->current)
        cb(run, run->cli->current);
    else
        cli_end_usage(run, "Say in which conversation.");
}

/* ---- help, quit ---- */

static void help_one(struct cli *cli, const struct cli_command *c)
{
    cli_say(cli, "%s%s%s %s", cli_paint(cli, CLI_BOLD), c->name, cli_paint(cli, CLI_PLAIN), c->usage);
    cli_say(cli, "    %s%s%s%s", c->help, c->aliases ? " Also: " : "", c->aliases ? c->aliases : "", c->aliases ? "." : "");
}

void cli_cmd_help(struct cli_run *run)
{
    struct cli *cli = run->cli;
    const char *word = run->count ? run->words[0] + (run->words[0][0] == '/') : NULL;
    const struct cli_command *c = word ? cli_command_find(word, strlen(word)) : NULL;
    if (word && !c) {
        cli_end_usage(run, "There is no such command.");
        return;
    }
    if (c) {
        help_one(cli, c);
        cli_end(run);
        return;
    }
    for (c = cli_commands; c->name; c++)
        cli_say(cli, "  %s%-14s%s %s", cli_paint(cli, CLI_BOLD), c->name, cli_paint(cli, CLI_PLAIN), c->help);
    cli_say(cli, "Type help COMMAND for how it is written. Users and groups are named, or given as #number. Names with blanks go in quotes.");
    cli_say(cli, "While a chat is current (chat NAME), a line is sent to it; commands then begin with a slash: /help, /close.");
    cli_end(run);
}

void cli_cmd_quit(struct cli_run *run)
{
    struct cli *cli = run->cli;
    cli_end(run);
    cli_quit(cli, cli->is_terminal ? CLI_OK : cli->exit_code);
}
