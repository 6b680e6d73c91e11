/* client/cli.c: bytetalk-cli: a chat at the terminal, and commands for scripts, over libbytetalk. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli.h"
#include "net/log.h"

enum { LEAVE_MS = 2000 };

static void no_log(enum log_level level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

static void leave_late(void *arg)
{
    struct cli *cli = arg;
    net_loop_stop(cli->loop);
}

void cli_quit(struct cli *cli, enum cli_exit code)
{
    if (cli->is_quitting)
        return;
    cli->is_quitting = true;
    cli->exit_code = code;
    cli_edit_close(cli);
    cli_session_close(cli);
    if (cli->clients_open == 0)
        net_loop_stop(cli->loop);
    else
        net_timer_start(cli->loop, &cli->quit_timer, LEAVE_MS, leave_late, cli);
}

/* ---- one command ---- */

static void one_shot_ready(struct cli *cli, enum cli_exit code, void *arg)
{
    (void)arg;
    if (code != CLI_OK)
        cli_quit(cli, code);
    else
        cli_run_words(cli, cli->options.argc, cli->options.argv);
}

static bool has_word(const struct cli_options *o, const char *word)
{
    for (int n = 1; n < o->argc; n++)
        if (strcmp(o->argv[n], word) == 0)
            return true;
    return false;
}

static void one_shot(struct cli *cli)
{
    const struct cli_options *o = &cli->options;
    const struct cli_command *command = cli_command_find(o->argv[0], strlen(o->argv[0]));
    bool is_tail = command->fn == cli_cmd_tail, from_start = is_tail && has_word(o, "--from-start");
    if (command->fn == cli_cmd_login && !o->user && o->argc > 1) {
        cli->options.user = o->argv[1];
    } else if (!o->user && !(command->flags & CLI_NO_LOGIN)) {
        cli_error(cli, "Say who you are: -u NAME. See bytetalk-cli --help.");
        cli_quit(cli, CLI_USAGE);
        return;
    }
    if (command->fn == cli_cmd_login || command->fn == cli_cmd_help) {
        cli_run_words(cli, o->argc, o->argv); /* they begin the session themselves, or need none */
    } else if (!o->user) {
        if (cli_session_nobody(cli))
            cli_run_words(cli, o->argc, o->argv);
        else
            cli_quit(cli, CLI_REFUSED);
    } else {
        cli->must_hold = is_tail; /* until the command knows what it wants */
        cli->tail_backfill = from_start ? UINT32_MAX : 0;
        cli_login(cli, o->user, from_start ? BT_INBOX_FRESH : is_tail ? BT_INBOX_KEEP : BT_INBOX_NONE, false, one_shot_ready, NULL);
    }
}

/* ---- many commands ---- */

static void interactive_ready(struct cli *cli, enum cli_exit code, void *arg)
{
    (void)arg;
    if (code == CLI_OK) {
        cli_notice(cli, "Logged in as %s. Type help for what you can do.", cli->user);
    } else if (!cli->is_terminal) {
        cli_quit(cli, code);
        return;
    }
    cli->is_settled = true;
    cli_edit_prompt(cli);
    cli_input_next(cli);
}

static void interactive(struct cli *cli)
{
    if (cli->options.user) {
        cli_login(cli, cli->options.user, BT_INBOX_KEEP, false, interactive_ready, NULL);
        return;
    }
    if (!cli_session_nobody(cli)) {
        cli_quit(cli, CLI_REFUSED);
        return;
    }
    cli->is_settled = true;
    cli_notice(cli, "ByteTalk at %s. Type login NAME, register NAME, or help.", cli->options.servers[0]);
    cli_input_next(cli);
}

static void started(void *arg)
{
    struct cli *cli = arg;
    if (cli->options.argc > 0)
        one_shot(cli);
    else
        interactive(cli);
}

int main(int argc, char **argv)
{
    struct cli cli = { .exit_code = CLI_OK };
    struct net_task start = { 0 };
    int code = cli_options_parse(argc, argv, &cli.options);
    if (code >= 0)
        return code;
    if (cli.options.debug)
        log_set_level(LOG_LEVEL_DEBUG);
    else
        log_set_sink(no_log, NULL);
    if (cli_is_admin(&cli.options))
        return (int)cli_admin_main(&cli.options);
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    cli.is_interactive = cli.options.argc == 0;
    cli.is_terminal = cli.is_interactive && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
    cli.has_colours = isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && !(no_color && *no_color);
    cli.loop = bt_loop_new();
    if (!cli.loop || !cli_input_open(&cli)) {
        fprintf(stderr, "bytetalk-cli: this can't be started: out of memory, or no terminal that can be used.\n");
        return CLI_REFUSED;
    }
    net_defer(cli.loop, &start, started, &cli);
    bt_loop_run(cli.loop);
    cli_input_close(&cli);
    cli_show_clear(&cli);
    cli_names_clear(&cli);
    fflush(stdout);
    /* The process ends: what a server that does not answer still holds open goes with it. */
    _exit(ferror(stdout) && cli.exit_code == CLI_OK ? CLI_REFUSED : cli.exit_code);
}
