/* bytetalk.c: the server: reads the command line and the settings, then serves, or does what the operator asked for. */
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>

#include "net/conf.h"
#include "node.h"
#include "operate.h"
#include "options.h"
#include "roles/role.h"
#include "settings.h"
#include "supervise.h"

/* In the order of starting: who is called first, who calls last. Without --role every row is served. */
static const struct role *const roles[] = {
    &role_chat, &role_offline, &role_group, &role_friend, &role_user, &role_proxy, NULL,
};

static int print_config(void)
{
    struct conf *conf;

    if (settings_new(roles, &conf) != BT_OK)
        return EXIT_FAILED;
    puts("# ByteTalk's settings. Every key stands here with its default; what is left out keeps it. An unknown key or a bad\n"
         "# value stops the start. docs/OPERATIONS.md says more. Printed by bytetalk --print-config.\n");
    conf_print(conf, stdout);
    conf_free(conf);
    return EXIT_DONE;
}

static int act_with(const struct options *options, const struct conf *conf)
{
    switch (options->action) {
    case ACTION_SERVE:
        return node_run(options, roles, conf);
    case ACTION_UNIT:
        return supervise(options, roles, conf);
    default:
        return operate(options, roles, conf);
    }
}

/* What needs the settings. */
static int run(const struct options *options)
{
    struct conf *conf;
    char why[512];
    int exit_code;

    if (settings_load(options, roles, &conf, why, sizeof why) != BT_OK) {
        fprintf(stderr, "bytetalk: %s\n", why);
        return EXIT_USAGE;
    }
    settings_apply_log(conf);
    if (sodium_init() < 0) {
        fputs("bytetalk: the system gives no random numbers\n", stderr);
        conf_free(conf);
        return EXIT_FAILED;
    }
    exit_code = act_with(options, conf);
    conf_free(conf);
    return exit_code;
}

static int act(const struct options *options)
{
    switch (options->action) {
    case ACTION_HELP:
        options_print_help(stdout);
        return EXIT_DONE;
    case ACTION_VERSION:
        puts("ByteTalk " BT_VERSION);
        return EXIT_DONE;
    case ACTION_PRINT_CONFIG:
        return print_config();
    default:
        return run(options);
    }
}

int main(int argc, char **argv)
{
    struct options options;
    int exit_code = EXIT_USAGE;

    umask(077); /* whatever is made here holds people's messages */
    if (options_parse(argc, argv, roles, &options))
        exit_code = act(&options);
    options_deinit(&options);
    return exit_code;
}
