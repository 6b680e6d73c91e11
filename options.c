/* options.c: reads the command line. */
#include "options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "net/mem.h"

enum {
    OPT_ROLE = 256, /* above every short option */
    OPT_CONFIG,
    OPT_SET,
    OPT_ACTION, /* OPT_ACTION + enum action */
};

static const struct option long_options[] = {
    { "role", required_argument, NULL, OPT_ROLE },
    { "config", required_argument, NULL, OPT_CONFIG },
    { "set", required_argument, NULL, OPT_SET },
    { "help", no_argument, NULL, OPT_ACTION + ACTION_HELP },
    { "version", no_argument, NULL, OPT_ACTION + ACTION_VERSION },
    { "print-config", no_argument, NULL, OPT_ACTION + ACTION_PRINT_CONFIG },
    { "check", no_argument, NULL, OPT_ACTION + ACTION_CHECK },
    { "backup", required_argument, NULL, OPT_ACTION + ACTION_BACKUP },
    { "passwd", required_argument, NULL, OPT_ACTION + ACTION_PASSWD },
    { "disable", required_argument, NULL, OPT_ACTION + ACTION_DISABLE },
    { "enable", required_argument, NULL, OPT_ACTION + ACTION_ENABLE },
    { "unit", no_argument, NULL, OPT_ACTION + ACTION_UNIT },
    { "migrate", no_argument, NULL, OPT_ACTION + ACTION_MIGRATE },
    { NULL, 0, NULL, 0 },
};

void options_print_help(FILE *out)
{
    fputs("bytetalk: a chat server\n"
          "\n"
          "Serve:\n"
          "  bytetalk                       every role in one process; no other server is needed\n"
          "  bytetalk --role=NAME[,NAME...] some roles: proxy, user, friend, group, offline, chat; all (the default)\n"
          "  bytetalk --unit                the nodes that [unit] counts, each role in processes of its own, kept running\n"
          "\n"
          "Settings, with any command:\n"
          "  --config=FILE                  read FILE; without it bytetalk.ini of the current directory, if there is one\n"
          "  --set SECTION.KEY=VALUE        set one key; wins over the file; may be given many times\n"
          "  --print-config                 print a commented ini with every key and its default\n"
          "\n"
          "For the operator, beside a running server too:\n"
          "  --check                        read the settings, look at the store, say what would run; change nothing\n"
          "  --migrate                      make the store's tables, or bring older ones up; MariaDB's nodes need it before\n"
          "                                 their first start and for a new version; several may run it at once\n"
          "  --backup=FILE                  copy the whole store to FILE, consistent and synced; FILE must not exist\n"
          "  --passwd=USER                  give USER a new password and end his sessions; it is asked for on the\n"
          "                                 terminal, or is the first line of standard input\n"
          "  --disable=USER                 end USER's sessions and let him log in no more\n"
          "  --enable=USER                  let him log in again\n"
          "  --version, --help\n"
          "\n"
          "Signals: TERM or INT drains and ends (a second one ends at once), HUP reads the log level anew.\n"
          "Exit status: 0 done; 1 failed, or ended by a second signal; 2 wrong arguments or settings; 70 the disk failed; 71 no memory.\n"
          "\n"
          "To chat: start bytetalk, then in another terminal bytetalk-cli. To try it out: make run.\n"
          "docs/OPERATIONS.md says more.\n",
          out);
}

static bool fail(const char *what, const char *which)
{
    fprintf(stderr, "bytetalk: %s%s; bytetalk --help says what there is\n", what, which);
    return false;
}

/* One word of --role. */
static bool add_role(const char *word, size_t len, const struct role *const *roles, uint32_t *bits)
{
    bool is_all = len == 3 && memcmp(word, "all", len) == 0, found = is_all;

    for (; *roles; roles++) {
        if (is_all || (strlen((*roles)->name) == len && memcmp((*roles)->name, word, len) == 0)) {
            *bits |= UINT32_C(1) << (*roles)->id;
            found = true;
        }
    }
    return found;
}

static bool parse_roles(const char *list, const struct role *const *roles, uint32_t *bits)
{
    *bits = 0;
    for (;;) {
        size_t len = strcspn(list, ",");

        if (!add_role(list, len, roles, bits))
            return fail("no such role: ", len > 0 ? list : "(empty)");
        if (list[len] == '\0')
            return true;
        list += len + 1;
    }
}

static bool set_action(struct options *out, enum action action, const char *operand)
{
    if (out->action != ACTION_SERVE)
        return fail("one command at a time", "");
    if (operand && *operand == '\0')
        return fail("the command needs a name", "");
    out->action = action;
    out->operand = operand;
    return true;
}

static bool take(struct options *out, int opt, const struct role *const *roles)
{
    switch (opt) {
    case OPT_ROLE:
        return parse_roles(optarg, roles, &out->roles);
    case OPT_CONFIG:
        out->config = optarg;
        return true;
    case OPT_SET:
        out->sets[out->nsets++] = optarg;
        return true;
    default:
        if (opt < OPT_ACTION) { /* getopt has said what is wrong */
            fputs("bytetalk --help says what there is\n", stderr);
            return false;
        }
        return set_action(out, (enum action)(opt - OPT_ACTION), optarg);
    }
}

bool options_parse(int argc, char **argv, const struct role *const *roles, struct options *out)
{
    int opt;

    memset(out, 0, sizeof *out);
    parse_roles("all", roles, &out->roles);
    out->sets = bt_calloc((size_t)argc, sizeof *out->sets);
    if (!out->sets)
        return fail("no memory", "");
    optind = 0; /* start anew: a process of the tests parses many command lines */
    while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (!take(out, opt, roles))
            return false;
    }
    if (optind < argc)
        return fail("what is meant by ", argv[optind]);
    return true;
}

void options_deinit(struct options *options)
{
    bt_free(options->sets);
    options->sets = NULL;
}

bool options_wants(const struct options *options, const struct role *role)
{
    return options->roles & UINT32_C(1) << role->id;
}
