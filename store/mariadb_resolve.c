/* store/mariadb_resolve.c: looks a host's name up in a thread, so that a slow name server does not hold the loop up. */
#include <errmsg.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "net/mem.h"
#include "store/mariadb_internal.h"

/* A look-up of a name, which may outlive the wish for it. */
struct mariadb_resolve {
    struct mariadb_db *db;
    struct mariadb_conn *conn; /* NULL: nobody waits any more */
    char name[256];
    int code;
    char addresses[MARIADB_ADDRESSES_MAX][INET6_ADDRSTRLEN];
    size_t naddresses;
};

static void resolve_work(void *arg)
{
    struct mariadb_resolve *r = arg;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    r->code = getaddrinfo(r->name, NULL, &hints, &list);
    for (struct addrinfo *a = list; r->code == 0 && a != NULL && r->naddresses < MARIADB_ADDRESSES_MAX; a = a->ai_next)
        if (getnameinfo(a->ai_addr, a->ai_addrlen, r->addresses[r->naddresses], sizeof r->addresses[0], NULL, 0, NI_NUMERICHOST) == 0)
            r->naddresses++;
    if (list != NULL)
        freeaddrinfo(list);
}

static void resolve_done(void *arg, enum bt_err err)
{
    struct mariadb_resolve *r = arg;
    struct mariadb_conn *c = r->conn;
    r->db->nresolving--;
    if (c == NULL) {
        mariadb_tidy_soon(r->db);
    } else if (err != BT_OK || r->naddresses == 0) {
        mariadb_conn_fail(c, CR_UNKNOWN_HOST, r->code != 0 ? gai_strerror(r->code) : "no address");
    } else {
        c->resolve = NULL;
        memcpy(c->host->addresses, r->addresses, sizeof r->addresses);
        c->host->naddresses = r->naddresses;
        c->host->next_address = 1;
        memcpy(c->address, r->addresses[0], sizeof c->address);
        mariadb_conn_connect(c);
    }
    bt_free(r);
}

void mariadb_resolve_start(struct mariadb_conn *c, const char *name)
{
    struct mariadb_resolve *r = bt_calloc(1, sizeof *r);
    mariadb_conn_set_state(c, MARIADB_RESOLVING);
    if (r != NULL) {
        r->db = c->db;
        r->conn = c;
        snprintf(r->name, sizeof r->name, "%s", name);
    }
    if (r == NULL || net_work(c->db->loop, resolve_work, resolve_done, r) != BT_OK) {
        bt_free(r);
        mariadb_conn_fail(c, CR_OUT_OF_MEMORY, "no memory");
        return;
    }
    c->resolve = r;
    c->db->nresolving++;
}

void mariadb_resolve_forget(struct mariadb_conn *c)
{
    if (c->resolve != NULL)
        c->resolve->conn = NULL;
    c->resolve = NULL;
}
