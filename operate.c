/* operate.c: what the operator asks of the command line. */
#include "operate.h"

#include <stdio.h>
#include <string.h>

#include "net/conn.h"
#include "net/loop.h"
#include "prompt.h"
#include "roles/user_operate.h"
#include "rpc/method.h"
#include "store/store.h"

enum { OPERATE_PASSWORD_SIZE = 1024 + 2 };

/* ---- --check ------------------------------------------------------------------------------------------------------- */

/* A listener may be opened there and closed again; nobody is ever accepted. */
static void operate_accept(struct net_conn *c, void *arg)
{
    (void)arg;
    net_conn_close(c);
}

static enum bt_err operate_try_listen(struct net_loop *loop, const char *address)
{
    struct net_listener *l;
    enum bt_err err = net_listen(loop, address, operate_accept, NULL, &l);

    if (err == BT_OK)
        net_listener_close(l);
    return err;
}

/*
 * One line about an address, and whether a server could listen there. A port that is taken is no error: by a running server. It is not
 * shared even where the server would: for that moment the kernel would give us some of its clients.
 */
static bool operate_check_address(struct net_loop *loop, const char *what, const char *address)
{
    const char *note = "";

    if (*address) {
        switch (operate_try_listen(loop, address)) {
        case BT_OK:
            break;
        case BT_EEXIST:
            note = " (in use now)";
            break;
        case BT_EINVAL:
            printf("%-9s %s: not an address; write 127.0.0.1:7400 or [::1]:7400\n", what, address);
            return false;
        case BT_EDENIED:
            printf("%-9s %s: not allowed to listen there; ports below 1024 need rights\n", what, address);
            return false;
        default:
            printf("%-9s %s: can't listen there; is it an address of this machine?\n", what, address);
            return false;
        }
    }
    printf("%-9s %s%s\n", what, *address ? address : "-", note);
    return true;
}

static void operate_check_roles(const struct options *options, const struct role *const *roles, bool *is_proxy,
                                bool *needs_store)
{
    *is_proxy = *needs_store = false;
    fputs("roles    ", stdout);
    for (; *roles; roles++) {
        if (!options_wants(options, *roles))
            continue;
        printf(" %s", (*roles)->name);
        *is_proxy |= (*roles)->id == RPC_ROLE_PROXY;
        *needs_store |= (*roles)->needs_store;
    }
    putchar('\n');
}

static int operate_check(const struct options *options, const struct role *const *roles, const struct conf *conf,
                         struct net_loop *loop)
{
    bool is_proxy, needs_store, is_fine = true;
    struct store *store;
    char why[512] = "", shown[1100];

    operate_check_roles(options, roles, &is_proxy, &needs_store);
    if (is_proxy)
        is_fine = operate_check_address(loop, "clients", conf_str(conf, "proxy", "listen"));
    is_fine = operate_check_address(loop, "nodes", conf_str(conf, "node", "listen")) && is_fine;
    printf("%-9s %s\n", "registry", conf_str(conf, "registry", "url"));
    printf("%-9s %s\n", "presence", conf_str(conf, "presence", "url"));
    if (needs_store) {
        store_show(conf, shown, sizeof shown);
        printf("%-9s %s\n", "store", shown);
        if (store_open(loop, conf, STORE_LOOK, &store, why, sizeof why) != BT_OK) {
            printf("%-9s %s\n", "", why);
            is_fine = false;
        }
    }
    puts(is_fine ? "This would run." : "This would not run.");
    return is_fine ? EXIT_DONE : EXIT_FAILED;
}

/* ---- the others ---------------------------------------------------------------------------------------------------- */

static int operate_backup(const struct conf *conf, const char *path)
{
    char why[512] = "";

    if (store_backup(conf, path, why, sizeof why) != BT_OK) {
        fprintf(stderr, "bytetalk: backup: %s\n", why);
        return EXIT_FAILED;
    }
    printf("backup: everything is in %s\n", path);
    return EXIT_DONE;
}

static int operate_migrate(const struct conf *conf, struct net_loop *loop)
{
    struct store *store;
    char why[512] = "", shown[1100];

    if (store_open(loop, conf, STORE_MIGRATE, &store, why, sizeof why) != BT_OK) {
        fprintf(stderr, "bytetalk: migrate: %s\n", why);
        return EXIT_FAILED;
    }
    store_show(conf, shown, sizeof shown);
    printf("migrate: %s is ready\n", shown);
    return EXIT_DONE;
}

static int operate_passwd(const struct conf *conf, const char *name)
{
    char password[OPERATE_PASSWORD_SIZE], prompt[300], why[512] = "";
    int exit_code = EXIT_FAILED;

    snprintf(prompt, sizeof prompt, "New password for %s: ", name);
    if (prompt_new_password(prompt, password, sizeof password, why, sizeof why) == BT_OK)
        exit_code = user_operate_passwd(conf, name, password) == 0 ? EXIT_DONE : EXIT_FAILED;
    else
        fprintf(stderr, "bytetalk: %s\n", why);
    explicit_bzero(password, sizeof password);
    return exit_code;
}

/* --check and --migrate. */
static int operate_in_loop(const struct options *options, const struct role *const *roles, const struct conf *conf)
{
    struct net_loop *loop;
    int exit_code;

    if (net_loop_new(&loop) != BT_OK) {
        fputs("bytetalk: no event loop: out of memory or file descriptors\n", stderr);
        return EXIT_FAILED;
    }
    exit_code = options->action == ACTION_MIGRATE ? operate_migrate(conf, loop) : operate_check(options, roles, conf, loop);
    net_loop_run(loop); /* what was opened to look closes */
    net_loop_free(loop);
    return exit_code;
}

int operate(const struct options *options, const struct role *const *roles, const struct conf *conf)
{
    switch (options->action) {
    case ACTION_CHECK:
    case ACTION_MIGRATE:
        return operate_in_loop(options, roles, conf);
    case ACTION_BACKUP:
        return operate_backup(conf, options->operand);
    case ACTION_PASSWD:
        return operate_passwd(conf, options->operand);
    case ACTION_DISABLE:
        return user_operate_disable(conf, options->operand) == 0 ? EXIT_DONE : EXIT_FAILED;
    case ACTION_ENABLE:
        return user_operate_enable(conf, options->operand) == 0 ? EXIT_DONE : EXIT_FAILED;
    default:
        return EXIT_USAGE; /* the others are not the operator's */
    }
}
