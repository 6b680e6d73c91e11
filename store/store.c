/* store/store.c: opens what [store] url names, and lends it. */
#define LOG_MODULE "store"
#include "store/store.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/log.h"
#include "net/mem.h"
#include "store/data_dir.h"
#include "store/mariadb.h"
#include "store/sqlite.h"
#include "store/store_internal.h"

const struct conf_key store_keys[] = {
    { .section = "data", .name = "dir", .type = CONF_STRING, .def = "data", .min = 1, .max = 1024,
      .help = "Directory of what this server keeps; made at the first start; with SQLite locked while it runs." },
    { .section = "store", .name = "url", .type = CONF_STRING, .def = "sqlite:bytetalk.db", .min = 1, .max = 1024,
      .help = "Where accounts, groups and messages are kept: sqlite:FILE, relative to [data] dir, or "
              "mariadb://USER:PASSWORD@HOST:3306,HOST:3306/DATABASE, whose writable host is used." },
    { .section = "store", .name = "password_file", .type = CONF_STRING, .def = "", .min = 0, .max = 1024,
      .help = "MariaDB: the file whose first line is the password, so that it need not stand in url." },
    { .section = "store", .name = "connections", .type = CONF_INT, .def = "8", .min = 1, .max = 256, .unit = "connections",
      .help = "MariaDB: how many are opened at most, when there is need; one more watches every host." },
    { .section = "store", .name = "durable", .type = CONF_BOOL, .def = "yes",
      .help = "Sync every commit before it is acknowledged, and refuse a MariaDB that does not; with no, a power cut loses "
              "acknowledged messages." },
    { .section = "store", .name = "queue", .type = CONF_INT, .def = "8192", .min = 16, .max = 1000000, .unit = "statements",
      .help = "How many statements may wait for the database; more are refused at once." },
    { .section = "store", .name = "timeout_ms", .type = CONF_INT, .def = "5000", .min = 100, .max = 600000, .unit = "ms",
      .help = "How long a statement may wait, and a query may run; with the user role at most 6000." },
    { .section = "store", .name = "id_lease", .type = CONF_INT, .def = "1000", .min = 1, .max = 1000000, .unit = "ids",
      .help = "How many user and group ids a process takes at a time; a restart skips the rest of them." },
    { .section = "store", .name = "cache_kib", .type = CONF_INT, .def = "16384", .min = 256, .max = 16777216, .unit = "KiB",
      .help = "SQLite: page cache of each of the two connections." },
    { .section = "store", .name = "wal_kib", .type = CONF_INT, .def = "16384", .min = 64, .max = 4194304, .unit = "KiB",
      .help = "SQLite: the write-ahead log is copied into the database when it is longer than this." },
    { .section = NULL },
};

/* "sqlite:bytetalk.db" -> "data/bytetalk.db". */
static enum bt_err sqlite_path(const struct conf *conf, char *path, size_t size, char *why, size_t why_size)
{
    const char *url = conf_str(conf, "store", "url");
    const char *dir = conf_str(conf, "data", "dir");
    if (strncmp(url, "sqlite:", 7) != 0 || url[7] == '\0') {
        snprintf(why, why_size, "[store] url = %s: not understood; write sqlite:FILE or mariadb://USER:PASSWORD@HOST/DATABASE", url);
        return BT_EINVAL;
    }
    const char *file = url + 7;
    int n = file[0] == '/' ? snprintf(path, size, "%s", file) : snprintf(path, size, "%s/%s", dir, file);
    if (n >= (int)size) {
        snprintf(why, why_size, "[store] url = %s: path too long", url);
        return BT_EINVAL;
    }
    return BT_OK;
}

static struct store *store_new(struct net_loop *loop)
{
    struct store *st = bt_calloc(1, sizeof *st);
    if (st == NULL)
        return NULL;
    st->loop = loop;
    st->lock_fd = -1;
    st->id_lease = 1000;
    store_ids_init(st);
    return st;
}

static void store_free(struct store *st)
{
    if (st->lock_fd >= 0)
        close(st->lock_fd);
    store_ids_deinit(st);
    bt_free(st->dir);
    bt_free(st);
}

enum bt_err store_over(struct net_loop *loop, struct db *db, struct store **out)
{
    struct store *st = store_new(loop);
    if (st == NULL)
        return BT_ENOMEM;
    st->dir = bt_strdup(".");
    st->db = db;
    if (st->dir == NULL) {
        store_free(st);
        return BT_ENOMEM;
    }
    *out = st;
    return BT_OK;
}

static enum bt_err start_sqlite(struct net_loop *loop, const struct conf *conf, const char *path, struct db **out, char *why, size_t why_size)
{
    struct sqlite_conf sq = {
        .path = path,
        .is_durable = conf_bool(conf, "store", "durable"),
        .queue = (size_t)conf_int(conf, "store", "queue"),
        .timeout_ms = (uint32_t)conf_int(conf, "store", "timeout_ms"),
        .cache_kib = (uint32_t)conf_int(conf, "store", "cache_kib"),
        .wal_kib = (uint32_t)conf_int(conf, "store", "wal_kib"),
    };
    return sqlite_start(loop, &sq, out, why, why_size);
}

/* The file is ours alone while we serve it or change its schema. */
static enum bt_err open_sqlite(struct store *st, const struct conf *conf, enum store_mode mode, const struct schema *schema, char *why,
                               size_t why_size)
{
    char path[PATH_MAX];
    bool is_alone = mode == STORE_SERVE || mode == STORE_MIGRATE;
    enum bt_err err = sqlite_path(conf, path, sizeof path, why, why_size);
    if (err == BT_OK && is_alone)
        err = data_dir_make(st->dir, why, why_size);
    if (err == BT_OK && is_alone)
        err = data_dir_lock(st->dir, &st->lock_fd, why, why_size);
    if (err == BT_OK)
        err = sqlite_bring_up(path, is_alone ? STORE_SERVE : mode, schema, why, why_size);
    if (err == BT_OK && (mode == STORE_SERVE || mode == STORE_OPERATE))
        err = start_sqlite(st->loop, conf, path, &st->db, why, why_size);
    return err;
}

/* Any number of processes may share the database, and the data directory; what else they keep there is theirs to make. */
static enum bt_err open_mariadb(struct store *st, const struct conf *conf, enum store_mode mode, const struct schema *schema, char *why,
                                size_t why_size)
{
    struct mariadb_conf m = {
        .schema = schema,
        .is_durable = conf_bool(conf, "store", "durable"),
        .connections = (size_t)conf_int(conf, "store", "connections"),
        .queue = (size_t)conf_int(conf, "store", "queue"),
        .timeout_ms = (uint32_t)conf_int(conf, "store", "timeout_ms"),
    };
    enum bt_err err = mariadb_url_parse(conf_str(conf, "store", "url"), conf_str(conf, "store", "password_file"), &m.url, why, why_size);
    if (err == BT_OK && mode == STORE_SERVE && data_dir_make(st->dir, why, why_size) != BT_OK)
        log_warn("%s", why);
    if (err == BT_OK)
        err = mariadb_bring_up(&m, mode, why, why_size);
    if (err == BT_OK && (mode == STORE_SERVE || mode == STORE_OPERATE))
        err = mariadb_start(st->loop, &m, &st->db, why, why_size);
    explicit_bzero(&m, sizeof m);
    return err;
}

enum bt_err store_open_schema(struct net_loop *loop, const struct conf *conf, enum store_mode mode, const struct schema *schema,
                              struct store **out, char *why, size_t why_size)
{
    *out = NULL;
    snprintf(why, why_size, "no memory");
    struct store *st = store_new(loop);
    if (st == NULL)
        return BT_ENOMEM;
    st->id_lease = conf_int(conf, "store", "id_lease");
    st->dir = bt_strdup(conf_str(conf, "data", "dir"));
    enum bt_err err = st->dir != NULL ? BT_OK : BT_ENOMEM;
    if (err == BT_OK) {
        why[0] = '\0';
        err = mariadb_url_is(conf_str(conf, "store", "url")) ? open_mariadb(st, conf, mode, schema, why, why_size)
                                                             : open_sqlite(st, conf, mode, schema, why, why_size);
    }
    if (err != BT_OK || st->db == NULL) {
        store_free(st);
        return err;
    }
    why[0] = '\0';
    *out = st;
    return BT_OK;
}

enum bt_err store_open(struct net_loop *loop, const struct conf *conf, enum store_mode mode, struct store **out, char *why, size_t why_size)
{
    return store_open_schema(loop, conf, mode, &store_schema, out, why, why_size);
}

void store_closed_maybe(struct store *st)
{
    if (!st->is_db_closed || st->open_ids > 0)
        return;
    void (*closed_cb)(void *arg) = st->closed_cb;
    void *closed_arg = st->closed_arg;
    store_free(st);
    closed_cb(closed_arg);
}

static void store_close_done(void *arg)
{
    struct store *st = arg;
    st->is_db_closed = true;
    store_closed_maybe(st);
}

void store_close(struct store *st, void (*closed_cb)(void *arg), void *arg)
{
    assert(!st->is_closing);
    st->is_closing = true;
    st->closed_cb = closed_cb;
    st->closed_arg = arg;
    db_close(st->db, store_close_done, st);
}

struct db *store_db(struct store *st)
{
    return st->db;
}

int64_t store_now_ms(struct store *st)
{
    int64_t now = db_now_ms(st->db);
    if (now > st->last_ms)
        st->last_ms = now;
    return st->last_ms;
}

const char *store_data_dir(const struct store *st)
{
    return st->dir;
}

enum bt_err store_backup(const struct conf *conf, const char *path, char *why, size_t why_size)
{
    char from[PATH_MAX];
    if (mariadb_url_is(conf_str(conf, "store", "url"))) {
        snprintf(why, why_size, "the store is MariaDB's to back up: mariadb-backup, or mariadb-dump --single-transaction");
        return BT_ESTATE;
    }
    enum bt_err err = sqlite_path(conf, from, sizeof from, why, why_size);
    return err == BT_OK ? sqlite_copy(from, path, false, why, why_size) : err;
}

void store_show(const struct conf *conf, char *text, size_t size)
{
    const char *url = conf_str(conf, "store", "url");
    if (mariadb_url_is(url))
        mariadb_url_show(url, text, size);
    else
        snprintf(text, size, "%s in %s", url, conf_str(conf, "data", "dir"));
}
