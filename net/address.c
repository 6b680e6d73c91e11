/* net/address.c: numeric socket addresses as text, as sockaddr, and in the compact form that connections keep. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "net/net_internal.h"

static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool parse_port(const char *text, uint16_t *out)
{
    unsigned long port = 0;

    if (!*text || strlen(text) > 5)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        port = port * 10 + (unsigned long)(*text - '0');
    }
    *out = (uint16_t)port;
    return port <= 65535;
}

enum bt_err net_address_parse(const char *text, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    const char *colon = strrchr(text, ':');
    char host[64];
    size_t host_len;
    uint16_t port;

    if (!colon || !parse_port(colon + 1, &port))
        return BT_EINVAL;
    host_len = (size_t)(colon - text);
    if (host_len == 0 || host_len >= sizeof host)
        return BT_EINVAL;
    memcpy(host, text, host_len);
    host[host_len] = '\0';

    memset(out, 0, sizeof *out);
    if (host[0] == '[' && host[host_len - 1] == ']') {
        host[host_len - 1] = '\0';
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1 ? BT_OK : BT_EINVAL;
    }
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    return inet_pton(AF_INET, host, &v4->sin_addr) == 1 ? BT_OK : BT_EINVAL;
}

void net_address_split(const struct sockaddr_storage *address, uint8_t ip[16], uint16_t *port)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

    if (address->ss_family == AF_INET6) {
        memcpy(ip, &v6->sin6_addr, 16);
        *port = ntohs(v6->sin6_port);
    } else {
        memcpy(ip, mapped_prefix, sizeof mapped_prefix);
        memcpy(ip + 12, &v4->sin_addr, 4);
        *port = ntohs(v4->sin_port);
    }
}

void net_address_print(const uint8_t ip[16], uint16_t port, char *buf, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (memcmp(ip, mapped_prefix, sizeof mapped_prefix) == 0) {
        inet_ntop(AF_INET, ip + 12, host, sizeof host);
        snprintf(buf, size, "%s:%u", host, port);
    } else {
        inet_ntop(AF_INET6, ip, host, sizeof host);
        snprintf(buf, size, "[%s]:%u", host, port);
    }
}

socklen_t net_address_size(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}
