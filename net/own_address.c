/* net/own_address.c: finds the address of this host that others reach. */
#include "net/own_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net_internal.h"

/* The source address that the kernel would take towards the rest of the world. Nothing is sent. */
static bool find_by_route(int family, char *ip, size_t size)
{
    struct sockaddr_storage to, from;
    socklen_t len = sizeof from;
    bool is_found = false;

    /* Addresses of documentation: routed like any other, and nobody's. */
    if (net_address_parse(family == AF_INET6 ? "[2001:db8::1]:9" : "192.0.2.1:9", &to) != BT_OK)
        return false;
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (connect(fd, (struct sockaddr *)&to, family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) == 0 &&
        getsockname(fd, (struct sockaddr *)&from, &len) == 0) {
        const void *raw = family == AF_INET6 ? (const void *)&((struct sockaddr_in6 *)&from)->sin6_addr : (const void *)&((struct sockaddr_in *)&from)->sin_addr;
        is_found = inet_ntop(family, raw, ip, (socklen_t)size) != NULL;
    }
    close(fd);
    return is_found;
}

/* A host without a default route may have neighbours: the first address of an interface that is up. */
static bool find_by_interface(char *ip, size_t size)
{
    struct ifaddrs *all;
    bool is_found = false;

    if (getifaddrs(&all) != 0)
        return false;
    for (const struct ifaddrs *i = all; i && !is_found; i = i->ifa_next) {
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && (i->ifa_flags & IFF_UP) && !(i->ifa_flags & IFF_LOOPBACK))
            is_found = inet_ntop(AF_INET, &((const struct sockaddr_in *)i->ifa_addr)->sin_addr, ip, (socklen_t)size) != NULL;
    }
    freeifaddrs(all);
    return is_found;
}

static enum bt_err put(char *out, size_t size, const char *ip, const char *port)
{
    bool is_bare6 = ip[0] != '[' && strchr(ip, ':');
    int n = snprintf(out, size, "%s%s%s:%s", is_bare6 ? "[" : "", ip, is_bare6 ? "]" : "", port);

    return n > 0 && (size_t)n < size ? BT_OK : BT_EINVAL;
}

static enum bt_err take_advertised(const char *advertise, const char *port, char *out, size_t size)
{
    struct sockaddr_storage parsed;
    const char *colon = strrchr(advertise, ':');
    bool has_port = colon && (advertise[0] != '[' || colon[-1] == ']');
    char host[64];

    snprintf(host, sizeof host, "%.*s", has_port ? (int)(colon - advertise) : (int)strlen(advertise), advertise);
    enum bt_err err = put(out, size, host, has_port && strcmp(colon, ":0") != 0 ? colon + 1 : port);
    return err == BT_OK ? net_address_parse(out, &parsed) : err;
}

enum bt_err net_own_address(const char *listens, const char *advertise, char *out, size_t size)
{
    const char *port = strrchr(listens, ':') ? strrchr(listens, ':') + 1 : "0";
    bool is_any4 = strncmp(listens, "0.0.0.0:", 8) == 0, is_any6 = strncmp(listens, "[::]:", 5) == 0;
    char ip[INET6_ADDRSTRLEN];

    if (*advertise)
        return take_advertised(advertise, port, out, size);
    if (!is_any4 && !is_any6)
        return (size_t)snprintf(out, size, "%s", listens) < size ? BT_OK : BT_EINVAL;
    if ((is_any6 && find_by_route(AF_INET6, ip, sizeof ip)) || find_by_route(AF_INET, ip, sizeof ip) || find_by_interface(ip, sizeof ip))
        return put(out, size, ip, port);
    return put(out, size, is_any6 ? "::1" : "127.0.0.1", port);
}
