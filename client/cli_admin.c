/* client/cli_admin.c: bytetalk-cli admin: the command line, and what can be asked. */
#include "client/cli_admin.h"

#include <getopt.h>
#include <stdarg.h>
#include <string.h>

static const struct question {
    const char *name, *usage, *help;
    int min_words, max_words;
    admin_fn *fn;
} questions[] = {
    { "nodes", "", "List the nodes: roles, addresses, load, and who is passed over.", 0, 0, admin_nodes },
    { "ring", "[add | del ADDRESS [WEIGHT]]", "Show the chat nodes' shares of the ring; what a change would move, without making it.", 0, 3, admin_ring },
    { "sessions", "USER", "List a user's sessions, and where he is connected.", 1, 1, admin_sessions },
    { "owner", "USER USER | GROUP | -", "Show which chat node owns a conversation; -: each line of the input.", 1, 2, admin_owner },
    { "drain", "NODE", "Let a node (its name or address) finish what it has begun and end, as SIGTERM does.", 1, 1, admin_drain },
};

void cli_admin_usage(FILE *out)
{
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++)
        fprintf(out, "  admin %s%s%s\n      %s\n", questions[i].name, *questions[i].usage ? " " : "", questions[i].usage, questions[i].help);
    fprintf(out,
            "  They take these options, after the word admin:\n"
            "      --node HOST:PORT     the listener of any node (default: [node] listen of the ini)\n"
            "      --config FILE        the server's ini (default: bytetalk.ini in this directory, if there is one)\n"
            "      --secret-file FILE   what nodes prove themselves with (default: [node] secret_file of the ini)\n"
            "      --json               print JSON, one object a line\n"
            "  USER is a name or #ID, GROUP is #ID.\n");
}

bool cli_is_admin(const struct cli_options *o)
{
    return o->argc > 0 && strcmp(o->argv[0], "admin") == 0;
}

void admin_say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

enum cli_exit admin_usage(const struct admin *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    if (a->usage)
        fprintf(stderr, " Usage: bytetalk-cli admin %s%s%s", a->argv[0], *a->usage ? " " : "", a->usage);
    fprintf(stderr, "%s\n", a->usage ? "" : " See bytetalk-cli admin --help.");
    return CLI_USAGE;
}

/* -1: go on; else exit with that. */
static int parse(const struct cli_options *o, struct admin *a)
{
    static const struct option longs[] = {
        { "node", required_argument, NULL, 'n' }, { "config", required_argument, NULL, 'c' },
        { "secret-file", required_argument, NULL, 's' }, { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' }, { 0 },
    };
    int c;
    optind = 0; /* anew, in the words of this command */
    opterr = 0;
    while ((c = getopt_long(o->argc, o->argv, "h", longs, NULL)) != -1) {
        switch (c) {
        case 'n': a->node = optarg; break;
        case 'c': a->config = optarg; break;
        case 's': a->secret_file = optarg; break;
        case 'j': a->json = true; break;
        case 'h':
            printf("Usage: bytetalk-cli admin [OPTIONS] WHAT\n\n");
            cli_admin_usage(stdout);
            return CLI_OK;
        default: return (int)admin_usage(a, "There is no option %s, or its value is missing.", o->argv[optind - 1]);
        }
    }
    a->argc = o->argc - optind;
    a->argv = o->argv + optind;
    return -1;
}

static const struct question *find(const char *word)
{
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++)
        if (strcmp(questions[i].name, word) == 0)
            return &questions[i];
    return NULL;
}

static enum cli_exit connect_and_ask(struct admin *a, const struct question *q)
{
    char address[ADMIN_ADDRESS_SIZE], secret_file[ADMIN_PATH_SIZE], why[512];
    enum cli_exit code = admin_settings(a, address, secret_file);

    if (code == CLI_OK && *secret_file && rpc_secret_read(secret_file, &a->secret, why, sizeof why) != BT_OK) {
        admin_say("%s", why);
        code = CLI_REFUSED;
    }
    if (code == CLI_OK)
        code = admin_dial(a, address, &a->link);
    if (code == CLI_OK)
        code = q->fn(a);
    if (a->link)
        admin_close(a->link);
    rpc_secret_free(a->secret);
    return code;
}

enum cli_exit cli_admin_main(const struct cli_options *o)
{
    struct admin a = { .json = o->json };
    int parsed = parse(o, &a);

    if (parsed >= 0)
        return (enum cli_exit)parsed;
    if (a.argc == 0)
        return admin_usage(&a, "Say what you want to know.");
    const struct question *q = find(a.argv[0]);
    if (!q)
        return admin_usage(&a, "There is no admin %s.", a.argv[0]);
    a.usage = q->usage;
    if (a.argc - 1 < q->min_words || a.argc - 1 > q->max_words)
        return admin_usage(&a, "admin %s needs %s.", q->name, a.argc - 1 < q->min_words ? "more" : "less");
    if (net_loop_new(&a.loop) != BT_OK) {
        admin_say("This can't be started: out of memory or file descriptors.");
        return CLI_REFUSED;
    }
    enum cli_exit code = connect_and_ask(&a, q);
    net_loop_free(a.loop);
    return fflush(stdout) != 0 && code == CLI_OK ? CLI_REFUSED : code;
}
