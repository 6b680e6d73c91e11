/*
 * store/mariadb.h: the MariaDB backend as store.c uses it. <mysql.h> is included by store/mariadb*.c alone.
 *
 * A bounded pool of connections to the one writable host of a list, all driven by the loop with the library's
 * non-blocking calls; one connection more to every host watches what it is. The functions that take no loop block, and
 * are for the start and for operators' commands.
 */
#ifndef BT_STORE_MARIADB_H
#define BT_STORE_MARIADB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/err.h"
#include "store/db.h"
#include "store/schema.h"
#include "store/store.h"

enum { MARIADB_HOSTS_MAX = 16 };

/* What [store] url says: "mariadb://user:password@host1:3306,[::1]:3307/bytetalk". */
struct mariadb_url {
    char user[129];
    char password[256];
    char database[65];
    size_t nhosts;
    struct {
        char name[256]; /* a host name or an address, without brackets */
        uint16_t port;
    } hosts[MARIADB_HOSTS_MAX];
};

/* Whether the url is one for this backend. */
bool mariadb_url_is(const char *url);

/*
 * Take a url apart; '%40' and the like in user and password are what they stand for. A password_file that is not empty
 * wins over the url's password: its first line. Errors, with why: BT_EINVAL, BT_ENOTFOUND and BT_EDENIED (the file).
 */
enum bt_err mariadb_url_parse(const char *url, const char *password_file, struct mariadb_url *out, char *why, size_t why_size);

/* The url without its password, for people to read. */
void mariadb_url_show(const char *url, char *text, size_t size);

struct mariadb_conf {
    struct mariadb_url url;
    const struct schema *schema;  /* borrowed for good */
    bool is_durable;              /* false: a server that loses commits at a power cut is accepted */
    size_t connections;           /* to the writable host; from 1 */
    size_t queue;                 /* statements */
    uint32_t timeout_ms;
};

/*
 * Look at every host once. STORE_MIGRATE makes the database and its tables on the writable host, or brings older tables
 * up; any number of processes may do so at once. The other modes change nothing. In STORE_SERVE a host that can't be
 * reached is logged and no error: it may come.
 * Errors, with why: BT_EDOWN (nobody can be reached, or nobody is writable), BT_EDENIED (the password), BT_ESTATE (the
 * schema is missing, older or newer, or not ours; the server's settings are not safe; two hosts are writable), BT_EINTERNAL.
 */
enum bt_err mariadb_bring_up(const struct mariadb_conf *conf, enum store_mode mode, char *why, size_t why_size);

/* Begin to connect. *out is ended by db_close(). BT_ENOMEM, with why. conf is copied. */
enum bt_err mariadb_start(struct net_loop *loop, const struct mariadb_conf *conf, struct db **out, char *why, size_t why_size);

#endif
