/* client/client_resolve.c: "host:port" to an address that can be dialled; names are looked up in the thread pool. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "client/client_internal.h"
#include "net/mem.h"

/* Owned by the look-up; the client waits for it before it goes. */
struct look_up {
    struct bt_client *client;
    client_resolved_cb *cb;
    void *arg;
    uint64_t random;
    struct net_task task;
    char name[CLIENT_SERVER_MAX];
    char address[64]; /* "" : not found */
};

/* "host:port" and "[v6]:port" to their parts. */
static bool split(const char *name, char *host, size_t host_size, const char **port_out)
{
    const char *colon = strrchr(name, ':');
    if (!colon || colon[1] == '\0')
        return false;
    size_t len = (size_t)(colon - name);
    if (len >= 2 && name[0] == '[' && name[len - 1] == ']')
        name++, len -= 2;
    if (len == 0 || len >= host_size)
        return false;
    memcpy(host, name, len);
    host[len] = '\0';
    *port_out = colon + 1;
    return true;
}

static void print(const struct addrinfo *ai, char *buf, size_t size)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getnameinfo(ai->ai_addr, ai->ai_addrlen, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    if (strlen(host) + strlen(port) + 4 <= size)
        snprintf(buf, size, ai->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* A name may stand for several addresses, not all of them served: a later try draws another. */
static void look_up(struct look_up *u, int flags)
{
    char host[CLIENT_SERVER_MAX];
    const char *port;
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV }, *list;
    if (!split(u->name, host, sizeof host, &port) || getaddrinfo(host, port, &hints, &list) != 0)
        return;
    size_t count = 0;
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
        count++;
    size_t skip = u->random % count;
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
        if (skip-- == 0)
            print(ai, u->address, sizeof u->address);
    freeaddrinfo(list);
}

static void look_up_work(void *arg)
{
    look_up(arg, AI_ADDRCONFIG);
}

static void finish(void *arg)
{
    struct look_up *u = arg;
    struct bt_client *c = u->client;
    c->works--;
    if (!c->is_closing)
        u->cb(c, u->address[0] ? u->address : NULL, u->arg);
    bt_free(u);
    client_check_gone(c);
}

static void look_up_done(void *arg, enum bt_err err)
{
    (void)err; /* cancelled: the address is empty */
    finish(arg);
}

bool client_resolve(struct bt_client *c, const char *name, client_resolved_cb *cb, void *arg)
{
    struct look_up *u = bt_calloc(1, sizeof *u);
    if (!u)
        return false;
    u->client = c;
    u->cb = cb;
    u->arg = arg;
    u->random = client_random();
    strncpy(u->name, name, sizeof u->name - 1);
    look_up(u, AI_NUMERICHOST); /* does not leave the process */
    if (u->address[0])
        net_defer(c->loop, &u->task, finish, u);
    else if (net_work(c->loop, look_up_work, look_up_done, u) != BT_OK)
        goto fail;
    c->works++;
    return true;
fail:
    bt_free(u);
    return false;
}
