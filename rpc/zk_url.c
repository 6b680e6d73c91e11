/* rpc/zk_url.c: takes a ZooKeeper URL apart, and finds the addresses of its hosts. */
#include "rpc/zk_url.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const char scheme[] = "zookeeper://";
static const char default_port[] = "2181";

struct host {
    char name[128]; /* without brackets */
    char port[8];
    bool is_numeric, is_v6;
};

static bool port_is_valid(const char *text)
{
    size_t len = strlen(text);
    long port = strtol(text, NULL, 10);
    return len > 0 && len <= 5 && strspn(text, "0123456789") == len && port >= 1 && port <= 65535;
}

static bool is_name(const char *text)
{
    return *text && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == strlen(text);
}

/* "host", "host:port", "[v6]", "[v6]:port" */
static bool parse_host(const char *text, size_t len, struct host *out)
{
    char buf[sizeof out->name];
    uint8_t ip[16];
    char *port;

    if (len == 0 || len >= sizeof buf)
        return false;
    memcpy(buf, text, len);
    buf[len] = '\0';
    out->is_v6 = buf[0] == '[';
    if (out->is_v6) {
        char *end = strchr(buf, ']');
        if (!end || (end[1] != '\0' && end[1] != ':'))
            return false;
        port = end[1] == ':' ? end + 2 : NULL;
        *end = '\0';
    } else {
        port = strchr(buf, ':');
        if (port)
            *port++ = '\0';
    }
    snprintf(out->name, sizeof out->name, "%s", buf + out->is_v6);
    if (port && !port_is_valid(port))
        return false;
    snprintf(out->port, sizeof out->port, "%.5s", port ? port : default_port);
    out->is_numeric = inet_pton(out->is_v6 ? AF_INET6 : AF_INET, out->name, ip) == 1;
    return out->is_numeric || (!out->is_v6 && is_name(out->name));
}

/* The next of a list; false at its end. */
static bool next_word(const char **rest, const char **word, size_t *len)
{
    if (!*rest)
        return false;
    *word = *rest;
    *len = strcspn(*rest, ",");
    *rest = (*rest)[*len] == ',' ? *rest + *len + 1 : NULL;
    return true;
}

static bool append(char *out, size_t size, const char *open, const char *name, const char *close, const char *port)
{
    size_t used = strlen(out);
    int n = snprintf(out + used, size - used, "%s%s%s%s:%s", used > 0 ? "," : "", open, name, close, port);
    if (n >= 0 && (size_t)n < size - used)
        return true;
    out[used] = '\0';
    return false;
}

bool zk_name_is_valid(const char *name)
{
    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
        if (*p < 0x20 || *p == 0x7f || *p == '/' || (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f))
            return false;
    }
    return true;
}

static bool root_is_valid(const char *root)
{
    char copy[ZK_ROOT_SIZE], *rest = NULL;

    if (strlen(root) >= sizeof copy || strstr(root, "//"))
        return false;
    snprintf(copy, sizeof copy, "%s", root);
    for (char *part = strtok_r(copy, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
        if (!zk_name_is_valid(part) || (part == copy + 1 && strcmp(part, "zookeeper") == 0))
            return false;
    }
    return true;
}

enum bt_err zk_url_parse(const char *url, struct zk_url *out, char *why, size_t why_size)
{
    const char *hosts = url + sizeof scheme - 1, *slash, *rest, *word;
    char list[ZK_HOSTS_SIZE];
    size_t len;

    *out = (struct zk_url){ .has_names = false };
    if (strncmp(url, scheme, sizeof scheme - 1) != 0 || strlen(hosts) >= sizeof list) {
        snprintf(why, why_size, "[registry] url: not zookeeper://host[:port][,host[:port]]/path: %s", url);
        return BT_EINVAL;
    }
    slash = strchr(hosts, '/');
    snprintf(list, sizeof list, "%.*s", (int)strcspn(hosts, "/"), hosts);
    for (rest = list; next_word(&rest, &word, &len);) {
        struct host host;
        if (!parse_host(word, len, &host) ||
            !append(out->hosts, sizeof out->hosts, host.is_v6 ? "[" : "", host.name, host.is_v6 ? "]" : "", host.port)) {
            snprintf(why, why_size, "[registry] url: not a host or host:port: \"%.*s\"", (int)len, word);
            return BT_EINVAL;
        }
        out->has_names |= !host.is_numeric;
    }
    if (slash && !root_is_valid(slash)) {
        snprintf(why, why_size, "[registry] url: not a path for ZooKeeper's tree: \"%s\"", slash);
        return BT_EINVAL;
    }
    snprintf(out->root, sizeof out->root, "%s", slash ? slash : "");
    len = strlen(out->root);
    if (len > 0 && out->root[len - 1] == '/')
        out->root[len - 1] = '\0';
    return BT_OK;
}

static void resolve_name(const struct host *host, char *out, size_t size)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    char ip[NI_MAXHOST];

    if (getaddrinfo(host->name, NULL, &hints, &found) != 0)
        return; /* the others may be enough */
    for (const struct addrinfo *a = found; a; a = a->ai_next) {
        if (getnameinfo(a->ai_addr, a->ai_addrlen, ip, sizeof ip, NULL, 0, NI_NUMERICHOST) == 0)
            (void)append(out, size, "", ip, "", host->port);
    }
    freeaddrinfo(found);
}

bool zk_resolve(const char *hosts, char *out, size_t size)
{
    const char *rest = hosts, *word;
    size_t len;

    out[0] = '\0';
    while (next_word(&rest, &word, &len)) {
        struct host host;
        if (!parse_host(word, len, &host))
            continue;
        /* The library splits at the last colon, and knows no brackets. */
        if (host.is_numeric)
            (void)append(out, size, "", host.name, "", host.port);
        else
            resolve_name(&host, out, size);
    }
    return out[0] != '\0';
}
