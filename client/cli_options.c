/* client/cli_options.c: the command line. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli.h"

static void usage(FILE *out)
{
    fprintf(out,
            "Usage: bytetalk-cli [OPTIONS] [COMMAND [WORDS]]\n"
            "\n"
            "Without a command, reads commands: at a terminal with editing, from a pipe one after the other.\n"
            "\n"
            "  -s, --server HOST:PORT   where to connect; may be given several times (127.0.0.1:7400, or BYTETALK_SERVER)\n"
            "  -u, --user NAME          who you are (or BYTETALK_USER)\n"
            "      --password-file FILE the password is the file's first line; else BYTETALK_PASSWORD, else it is asked for\n"
            "      --state DIR          where sessions and positions are kept ($XDG_STATE_HOME/bytetalk, ~/.local/state/bytetalk)\n"
            "      --json               print JSON, one object a line, where a command lists something\n"
            "      --debug              log to standard error\n"
            "  -h, --help               this\n"
            "  -V, --version            the version\n"
            "\n"
            "Commands:\n");
    for (const struct cli_command *c = cli_commands; c->name; c++)
        fprintf(out, "  %-14s %s\n", c->name, c->usage);
    fprintf(out, "\nFor those who run the servers, over a node's listener:\n");
    cli_admin_usage(out);
    fprintf(out,
            "\n"
            "  bytetalk-cli -u alice register              make an account; the session is kept for later commands\n"
            "  bytetalk-cli -u alice send bob \"hello\"      prints the message's number once it is on disk\n"
            "  bytetalk-cli -u alice send --group club -   sends standard input\n"
            "  bytetalk-cli -u bob tail --json --count 1   what was missed and what comes; ends with 1 after --timeout\n"
            "\n"
            "Exit codes: 0 done; 1 refused (the status is printed), or nothing came in time; 2 wrong usage;\n"
            "3 no server or node reached; 4 it is not known whether it was done.\n");
}

static int usage_error(const char *what, const char *word)
{
    fprintf(stderr, "bytetalk-cli: %s%s. See bytetalk-cli --help.\n", what, word);
    return CLI_USAGE;
}

static bool has_port(const char *server)
{
    const char *colon = strrchr(server, ':');
    uint64_t port;
    return colon && colon > server && cli_parse_u64(colon + 1, &port) && port > 0 && port < 65536;
}

static int add_server(struct cli_options *o, const char *server)
{
    if (!has_port(server))
        return usage_error("a server is HOST:PORT, not ", server);
    if (o->server_count == CLI_MAX_SERVERS)
        return usage_error("too many servers", "");
    o->servers[o->server_count++] = server;
    return -1;
}

static int defaults(struct cli_options *o)
{
    const char *server = getenv("BYTETALK_SERVER"), *user = getenv("BYTETALK_USER");
    if (!o->user && user && *user)
        o->user = user;
    if (o->user && (*o->user == '\0' || strlen(o->user) >= CLI_NAME_SIZE))
        return usage_error("the user's name is empty or too long", "");
    return o->server_count ? -1 : add_server(o, server && *server ? server : "127.0.0.1:7400");
}

int cli_options_parse(int argc, char **argv, struct cli_options *o)
{
    static const struct option longs[] = {
        { "server", required_argument, NULL, 's' }, { "user", required_argument, NULL, 'u' },
        { "password-file", required_argument, NULL, 'p' }, { "state", required_argument, NULL, 'S' },
        { "json", no_argument, NULL, 'j' }, { "debug", no_argument, NULL, 'd' },
        { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
    };
    int c, code = -1;
    opterr = 0;
    while (code < 0 && (c = getopt_long(argc, argv, "+s:u:hV", longs, NULL)) != -1) {
        switch (c) {
        case 's': code = add_server(o, optarg); break;
        case 'u': o->user = optarg; break;
        case 'p': o->password_file = optarg; break;
        case 'S': o->state_dir = optarg; break;
        case 'j': o->json = true; break;
        case 'd': o->debug = true; break;
        case 'h': usage(stdout); return CLI_OK;
        case 'V': printf("bytetalk-cli %s\n", BT_VERSION); return CLI_OK;
        default: return usage_error("no such option, or its value is missing: ", argv[optind - 1]);
        }
    }
    o->argc = argc - optind;
    o->argv = argv + optind;
    if (code < 0 && o->argc > 0 && !cli_is_admin(o) && !cli_command_find(o->argv[0], strlen(o->argv[0])))
        return usage_error("no such command: ", o->argv[0]);
    return code >= 0 ? code : defaults(o);
}
