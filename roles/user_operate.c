/* roles/user_operate.c: the operator's commands on accounts. */
#include "roles/user_operate.h"

#include <stdio.h>
#include <string.h>

#include "net/conf.h"
#include "roles/user.h"

enum { OPERATE_TRIES = 5 };

struct operate {
    const struct conf *conf;
    const char *name;
    const char *password; /* passwd only */
    void (*act)(struct operate *o, const struct store_account *a); /* goes on with operate_done */
    const char *did;      /* "password changed": what is said when it is done */
    struct net_loop *loop;
    struct store *st;
    int tries;
    enum bt_err err;
    uint8_t canon[USER_CANON_MAX];
    size_t canon_len;
    char new_hash[PASSWORD_HASH_SIZE];
};

static void operate_look(struct operate *o);
static void operate_found(enum bt_err err, const struct db_rows *rows, void *arg);
static void operate_done(const struct db_done *done, void *arg);
static void operate_closed(void *arg);

static void operate_end(struct operate *o, enum bt_err err)
{
    o->err = err;
    store_close(o->st, operate_closed, o);
}

static void operate_closed(void *arg)
{
    struct operate *o = arg;
    net_loop_stop(o->loop);
}

static void operate_look(struct operate *o)
{
    store_account_by_name(o->st, (struct store_text){ o->canon, o->canon_len }, operate_found, o);
}

static void operate_found(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct operate *o = arg;
    struct store_account a;

    if (err == BT_OK && !store_account_at(rows, 0, &a))
        err = BT_ENOTFOUND;
    if (err == BT_OK)
        o->act(o, &a);
    else
        operate_end(o, err);
}

static void operate_done(const struct db_done *done, void *arg)
{
    struct operate *o = arg;

    if (done->err == BT_ECONFLICT && o->tries++ < OPERATE_TRIES)
        operate_look(o); /* the user changed it himself just now */
    else
        operate_end(o, done->err);
}

static void act_passwd(struct operate *o, const struct store_account *a)
{
    store_account_set_password(o->st, a->user_id, a->hash, (struct store_text){ o->new_hash, strlen(o->new_hash) }, 0,
                               SessionEnd_PASSWORD_CHANGED, operate_done, o);
}

static void act_disable(struct operate *o, const struct store_account *a)
{
    store_account_disable(o->st, a->user_id, SessionEnd_DISABLED, operate_done, o);
}

static void act_enable(struct operate *o, const struct store_account *a)
{
    store_account_enable(o->st, a->user_id, operate_done, o);
}

/* The password's hash, before anything is opened. */
static bool operate_hash(struct operate *o)
{
    const struct password_opts opts = user_password_opts(o->conf);
    size_t min = (size_t)conf_int(o->conf, "user", "password_min");

    if (!user_password_is_fit(rpc_str(o->password), min)) {
        fprintf(stderr, "bytetalk: the password must have %zu to %d bytes of UTF-8\n", min, PASSWORD_MAX);
        return false;
    }
    enum bt_err err = password_hash(&opts, o->password, strlen(o->password), o->new_hash);
    if (err != BT_OK)
        fprintf(stderr, "bytetalk: the password can't be hashed: %s\n", bt_err_text(err));
    return err == BT_OK;
}

static void operate_report(const struct operate *o)
{
    switch (o->err) {
    case BT_OK:
        printf("%s: %s\n", o->name, o->did);
        break;
    case BT_ENOTFOUND:
        fprintf(stderr, "bytetalk: no account is called %s\n", o->name);
        break;
    case BT_EUNSURE:
        fprintf(stderr, "bytetalk: %s: the connection to the store was lost: it may be done or not; run this again\n", o->name);
        break;
    default:
        fprintf(stderr, "bytetalk: %s: not done: %s\n", o->name, bt_err_text(o->err));
        break;
    }
}

static int operate_run(struct operate *o)
{
    char why[1024] = "";

    if (o->password && !operate_hash(o))
        return 1;
    if (name_canon(o->name, strlen(o->name), TOKEN_NAME_MAX, o->canon, sizeof o->canon, &o->canon_len) != BT_OK) {
        fprintf(stderr, "bytetalk: no account can be called that\n"); /* it is not fit to be printed either */
        return 1;
    }
    enum bt_err err = net_loop_new(&o->loop);
    if (err != BT_OK) {
        fprintf(stderr, "bytetalk: %s\n", bt_err_text(err));
        return 1;
    }
    o->err = store_open(o->loop, o->conf, STORE_OPERATE, &o->st, why, sizeof why);
    if (o->err != BT_OK) {
        fprintf(stderr, "bytetalk: %s\n", why);
    } else {
        operate_look(o);
        net_loop_run(o->loop);
        operate_report(o);
    }
    net_loop_free(o->loop);
    password_wipe(o->new_hash, sizeof o->new_hash);
    return o->err == BT_OK ? 0 : 1;
}

int user_operate_passwd(const struct conf *conf, const char *name, const char *password)
{
    return operate_run(&(struct operate){
        .conf = conf, .name = name, .password = password, .act = act_passwd,
        .did = "password changed; all sessions have ended",
    });
}

int user_operate_disable(const struct conf *conf, const char *name)
{
    return operate_run(&(struct operate){
        .conf = conf, .name = name, .act = act_disable, .did = "disabled; all sessions have ended",
    });
}

int user_operate_enable(const struct conf *conf, const char *name)
{
    return operate_run(&(struct operate){ .conf = conf, .name = name, .act = act_enable, .did = "enabled" });
}
