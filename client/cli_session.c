/* client/cli_session.c: whose client it is: the state on disk, passwords, logging in. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli.h"

enum { CONNECT_MS = 5000, LOCK_WAIT_MS = 3000, SHORT_WAIT_MS = 500, LOOK_AGAIN_MS = 20, PATH_MAX_SIZE = 1024, SECRET_MAX = 1100 };

/* ---- places ---- */

/* Letters, digits and a few more as they are, the rest as %XX: any name is a file name. */
static void quote(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (; *text && n + 4 < size; text++) {
        bool is_plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || (*text >= '0' && *text <= '9') ||
                        strchr("_-", *text) || (*text == '.' && n > 0);
        if (is_plain)
            out[n++] = *text;
        else
            n += (size_t)sprintf(out + n, "%%%02X", (unsigned char)*text);
    }
    out[n] = '\0';
}

static bool base_dir(const struct cli *cli, char *path, size_t size)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int len;
    if (cli->options.state_dir)
        len = snprintf(path, size, "%s", cli->options.state_dir);
    else if (xdg && *xdg == '/')
        len = snprintf(path, size, "%s/bytetalk", xdg);
    else if (home && *home)
        len = snprintf(path, size, "%s/.local/state/bytetalk", home);
    else
        return false;
    return len > 0 && (size_t)len < size;
}

static bool user_dir(const struct cli *cli, const char *user, char *path, size_t size)
{
    char base[PATH_MAX_SIZE], server[3 * 64], name[3 * CLI_NAME_SIZE];
    if (!base_dir(cli, base, sizeof base))
        return false;
    quote(server, sizeof server, cli->options.servers[0]);
    quote(name, sizeof name, user);
    int len = snprintf(path, size, "%s/%s+%s", base, server, name);
    return len > 0 && (size_t)len < size;
}

static void make_dirs(char *path)
{
    for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        mkdir(path, 0700); /* what fails here shows when the file is opened */
        *at = '/';
    }
}

bool cli_state_path(struct cli *cli, const char *name, char *path, size_t size)
{
    char base[PATH_MAX_SIZE];
    if (!base_dir(cli, base, sizeof base))
        return false;
    int len = snprintf(path, size, "%s/%s", base, name);
    if (len <= 0 || (size_t)len >= size)
        return false;
    make_dirs(path);
    return true;
}

/* ---- passwords ---- */

void cli_wipe(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

static char *password_from_file(struct cli *cli, const char *path)
{
    char line[SECRET_MAX];
    FILE *f = fopen(path, "re");
    if (!f || !fgets(line, sizeof line, f)) {
        cli_error(cli, "The password file %s can't be read, or is empty.", path);
        if (f)
            fclose(f);
        return NULL;
    }
    fclose(f);
    line[strcspn(line, "\r\n")] = '\0';
    char *copy = strdup(line);
    explicit_bzero(line, sizeof line);
    return copy;
}

/* It can be had without asking anyone. */
static bool password_is_at_hand(const struct cli *cli)
{
    const char *env = getenv("BYTETALK_PASSWORD");
    return cli->options.password_file || (env && *env);
}

char *cli_password(struct cli *cli, const char *prompt, bool is_new)
{
    const char *env = getenv("BYTETALK_PASSWORD");
    if (cli->options.password_file)
        return password_from_file(cli, cli->options.password_file);
    if (env && *env)
        return strdup(env);
    if (!isatty(STDIN_FILENO)) {
        cli_error(cli, "A password is needed: set BYTETALK_PASSWORD, or give --password-file FILE.");
        return NULL;
    }
    cli_edit_suspend(cli);
    char *first = cli_read_hidden(prompt), *second = first && is_new ? cli_read_hidden("The same again: ") : NULL;
    cli_edit_resume(cli);
    if (first && is_new && (!second || strcmp(first, second) != 0)) {
        cli_error(cli, "The two are not the same. Nothing was done.");
        cli_wipe(first);
        first = NULL;
    }
    cli_wipe(second);
    return first;
}

/* ---- the client ---- */

struct closing {
    struct cli *cli;
    struct bt_store *store;
};

static void closed(void *arg)
{
    struct closing *c = arg;
    struct cli *cli = c->cli;
    bt_file_store_close(c->store);
    free(c);
    if (--cli->clients_open == 0 && cli->is_quitting)
        net_loop_stop(cli->loop);
}

void cli_session_close(struct cli *cli)
{
    struct closing *c = cli->client ? malloc(sizeof *c) : NULL;
    if (c) {
        *c = (struct closing){ cli, cli->store };
        bt_client_close(cli->client, closed, c);
    }
    cli->client = NULL;
    cli->store = NULL;
    cli->is_ready = cli->was_lost = false;
    cli->current = 0;
}

/*
 * The user's state. Another program's command may hold it for a moment: *is_busy_out asks to come again, unless
 * waited_ms is long enough. Who needs no positions then goes on as a visitor: in a session of its own, which ends with it,
 * as the one that is kept here is in use.
 */
static struct bt_store *store_open(struct cli *cli, const char *user, enum bt_inbox inbox, uint32_t waited_ms, bool *is_busy_out)
{
    char path[2 * PATH_MAX_SIZE], why[2 * PATH_MAX_SIZE + 128] = "no HOME is set: give --state DIR";
    struct bt_store *store = NULL;
    if (user_dir(cli, user, path, sizeof path))
        store = bt_file_store_open(path, BT_STORE_WRITE, why, sizeof why);
    if (!store && errno == EWOULDBLOCK) {
        *is_busy_out = waited_ms < (!cli->is_interactive && password_is_at_hand(cli) ? SHORT_WAIT_MS : LOCK_WAIT_MS);
        cli->is_visitor = !*is_busy_out && (inbox != BT_INBOX_KEEP || cli->is_interactive);
        if (cli->is_visitor)
            store = bt_file_store_open(path, BT_STORE_READ, why, sizeof why);
    }
    if (!store && !*is_busy_out)
        cli_error(cli, "The state can't be opened: %s. With --state DIR it can be elsewhere.", why);
    return store;
}

static bool open_client(struct cli *cli, const char *user, enum bt_inbox inbox, uint32_t waited_ms, bool *is_busy_out)
{
    errno = 0;
    cli->is_visitor = false;
    struct bt_store *store = user ? store_open(cli, user, inbox, waited_ms, is_busy_out) : NULL;
    if (user && !store)
        return false;
    if (cli->is_visitor && inbox == BT_INBOX_KEEP)
        inbox = BT_INBOX_FRESH;
    if (cli->is_visitor && (cli->is_interactive || !password_is_at_hand(cli)))
        cli_error(cli, "Another bytetalk-cli is at work in the session that %s has here: this one logs in with the password, and out at its end.", user);
    struct bt_config config = {
        .servers = cli->options.servers,
        .server_count = cli->options.server_count,
        .program = "bytetalk-cli " BT_VERSION,
        .store = store,
        .inbox = inbox,
        .backfill = cli->is_interactive ? 0 : cli->tail_backfill,
        .logs_out = cli->is_visitor,
    };
    cli_session_close(cli);
    cli->client = bt_client_open(cli->loop, &config, &cli_events, cli);
    if (!cli->client) {
        cli_error(cli, "The client can't be started: a server's name is too long, or memory is short.");
        bt_file_store_close(store);
        return false;
    }
    bt_client_hold(cli->client, cli->must_hold);
    cli->clients_open++;
    cli->store = store;
    return true;
}

bool cli_session_nobody(struct cli *cli)
{
    bool is_busy = false;
    cli->user[0] = '\0';
    return open_client(cli, NULL, BT_INBOX_NONE, 0, &is_busy);
}

/* ---- logging in ---- */

struct cli_login {
    bool is_register, is_asked; /* asked: Login is under way, or was refused */
    enum bt_inbox inbox;
    uint32_t waited_ms;         /* for the state */
    cli_login_cb *done;
    void *arg;
    char *password;
};

static void login_end(struct cli *cli, enum cli_exit code)
{
    struct cli_login *l = cli->login;
    cli->login = NULL;
    net_timer_stop(cli->loop, &cli->start_timer);
    cli_wipe(l->password);
    cli_login_cb *done = l->done;
    void *arg = l->arg;
    free(l);
    done(cli, code, arg);
}

static const char *device(void)
{
    static char name[65];
    char host[48] = "";
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "bytetalk-cli on %s", host);
    return name;
}

static void refused(struct cli *cli, const struct bt_result *r, const char *what)
{
    char *detail = cli_escape(cli_text(r->detail), false);
    if (r->status == BT_STATUS_UNAUTHENTICATED)
        cli_error(cli, "The name or the password is wrong. A new account is made with: register NAME");
    else if (!cli->was_connected)
        cli_error(cli, "No server was reached at %s: %s.", cli->options.servers[0], cli->last_why[0] ? cli->last_why : "no answer");
    else
        cli_error(cli, "%s failed: %s: %s", what, bt_status_name(r->status), detail ? detail : "");
    free(detail);
    login_end(cli, !cli->was_connected ? CLI_NO_SERVER : r->outcome == BT_UNSURE ? CLI_UNSURE : CLI_REFUSED);
}

static void logged_in(const struct bt_result *r, void *arg)
{
    struct cli *cli = arg;
    if (cli->login && r->outcome != BT_DONE)
        refused(cli, r, "Logging in");
    /* else READY ends it */
}

static void login_ask(struct cli *cli)
{
    struct cli_login *l = cli->login;
    l->is_asked = true;
    if (!bt_login(cli->client, cli->user, l->password, device(), logged_in, cli))
        login_end(cli, CLI_REFUSED);
}

static void registered(const struct bt_result *r, const struct bt_user *user, void *arg)
{
    struct cli *cli = arg;
    if (!cli->login)
        return;
    if (r->status == BT_STATUS_ALREADY_EXISTS) {
        cli_error(cli, "The name %s is taken. Choose another; or, if it is yours: login %s", cli->user, cli->user);
        login_end(cli, CLI_REFUSED);
    } else if (!user) {
        refused(cli, r, "Registering");
    } else {
        login_ask(cli);
    }
}

static void password_login(struct cli *cli)
{
    struct cli_login *l = cli->login;
    char prompt[CLI_NAME_SIZE + 32];
    snprintf(prompt, sizeof prompt, "Password of %s: ", cli->user);
    l->password = cli_password(cli, prompt, l->is_register);
    if (!l->password)
        login_end(cli, CLI_USAGE);
    else if (!l->is_register)
        login_ask(cli);
    else if (!bt_register(cli->client, cli->user, l->password, registered, cli))
        login_end(cli, CLI_REFUSED);
}

static void too_late(void *arg)
{
    struct cli *cli = arg;
    if (cli->login->is_asked)
        return; /* the call ends in its own time */
    cli_error(cli, "No server was reached at %s: %s.", cli->options.servers[0], cli->last_why[0] ? cli->last_why : "no answer");
    login_end(cli, CLI_NO_SERVER);
}

/* The state is opened when the client before has let go of it, and whoever else holds it for a moment. */
static void begin(void *arg)
{
    struct cli *cli = arg;
    struct cli_login *l = cli->login;
    bool is_busy = cli->clients_open > 0 && l->waited_ms < LOCK_WAIT_MS;
    if (!is_busy && open_client(cli, cli->user, l->inbox, l->waited_ms, &is_busy)) {
        net_timer_start(cli->loop, &cli->start_timer, CONNECT_MS, too_late, cli);
        if (bt_client_user_id(cli->client) == 0) {
            password_login(cli);
        } else if (l->is_register) {
            cli_error(cli, "%s is registered and logged in here already.", cli->user);
            login_end(cli, CLI_REFUSED);
        } /* else the session is being resumed */
    } else if (is_busy) {
        l->waited_ms += LOOK_AGAIN_MS;
        net_timer_start(cli->loop, &cli->start_timer, LOOK_AGAIN_MS, begin, cli);
    } else {
        login_end(cli, CLI_REFUSED);
    }
}

void cli_login(struct cli *cli, const char *user, enum bt_inbox inbox, bool is_register, cli_login_cb *done, void *arg)
{
    struct cli_login *l = calloc(1, sizeof *l);
    if (!l)
        abort(); /* a few bytes at the start */
    *l = (struct cli_login){ .is_register = is_register, .inbox = inbox, .done = done, .arg = arg };
    cli->login = l;
    snprintf(cli->user, sizeof cli->user, "%s", user);
    cli_session_close(cli);
    net_timer_start(cli->loop, &cli->start_timer, 0, begin, cli);
}

void cli_login_state(struct cli *cli, const struct bt_state_info *info)
{
    if (cli->login && info->state == BT_STATE_READY) {
        cli_name_set(cli, bt_client_user_id(cli->client), cli_text(bt_client_user_name(cli->client)));
        login_end(cli, CLI_OK);
    } else if (cli->login && info->state == BT_STATE_REFUSED) {
        cli_error(cli, "The server at %s can't be spoken to: %s.", cli->options.servers[0], info->why);
        login_end(cli, CLI_NO_SERVER);
    }
}

bool cli_login_ended(struct cli *cli)
{
    if (!cli->login)
        return false;
    password_login(cli); /* the token was no good any more */
    return true;
}
