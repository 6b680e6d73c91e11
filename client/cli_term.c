/* client/cli_term.c: output, line by line, that does not tear the line being typed. */
#include <stdarg.h>

#include "client/cli.h"

const char *cli_paint(const struct cli *cli, enum cli_colour colour)
{
    static const char *const codes[] = {
        [CLI_PLAIN] = "\033[0m",  [CLI_DIM] = "\033[2m",   [CLI_BOLD] = "\033[1m",    [CLI_RED] = "\033[31m",  [CLI_GREEN] = "\033[32m",
        [CLI_YELLOW] = "\033[33m", [CLI_BLUE] = "\033[34m", [CLI_MAGENTA] = "\033[35m", [CLI_CYAN] = "\033[36m",
    };
    return cli->has_colours ? codes[colour] : "";
}

void cli_print(struct cli *cli, const char *line)
{
    cli_edit_hide(cli);
    fputs(line, stdout);
    fputc('\n', stdout);
    fflush(stdout);
    cli_edit_show(cli);
}

static void line_to(struct cli *cli, FILE *out, const char *before, const char *fmt, va_list args, const char *after)
{
    cli_edit_hide(cli);
    fputs(before, out);
    vfprintf(out, fmt, args);
    fputs(after, out);
    fputc('\n', out);
    fflush(out);
    cli_edit_show(cli);
}

void cli_say(struct cli *cli, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    line_to(cli, stdout, "", fmt, args, "");
    va_end(args);
}

void cli_error(struct cli *cli, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (cli->is_terminal)
        line_to(cli, stdout, cli_paint(cli, CLI_RED), fmt, args, cli_paint(cli, CLI_PLAIN));
    else
        line_to(cli, stderr, "bytetalk-cli: ", fmt, args, "");
    va_end(args);
}

void cli_notice(struct cli *cli, const char *fmt, ...)
{
    va_list args;
    if (!cli->is_interactive)
        return;
    va_start(args, fmt);
    line_to(cli, stdout, cli_paint(cli, CLI_DIM), fmt, args, cli_paint(cli, CLI_PLAIN));
    va_end(args);
}

void cli_json_begin(struct cli *cli)
{
    cli_edit_hide(cli);
    fputc('{', stdout);
}

void cli_json_end(struct cli *cli)
{
    fputs("}\n", stdout);
    fflush(stdout);
    cli_edit_show(cli);
}
