/* client/bench_net.c: the load tool's connections over epoll. */
#include "client/bench_net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { OUT_FIRST = 1024, IN_FIRST = 256, SOURCES = 250, PORTS_PER_SOURCE = 4096 };

uint64_t bench_clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

enum bt_err bench_net_init(struct bench_net *net, const struct bench_net_ops *ops, void *arg)
{
    *net = (struct bench_net){ .ops = ops, .arg = arg, .now_us = bench_clock_us() };
    net->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (net->epoll < 0)
        return BT_EINTERNAL;
    net->read_buf = malloc(BENCH_READ_SIZE);
    if (!net->read_buf) {
        close(net->epoll);
        return BT_ENOMEM;
    }
    return BT_OK;
}

void bench_net_free(struct bench_net *net)
{
    close(net->epoll);
    free(net->read_buf);
    free(net->dirty);
}

/* ---- addresses ---- */

enum bt_err bench_address_parse(const char *text, struct bench_address *out)
{
    const char *colon = strrchr(text, ':');
    char host[256];
    struct addrinfo want = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *found;
    if (!colon || colon == text || (size_t)(colon - text) >= sizeof host)
        return BT_EINVAL;
    size_t len = (size_t)(colon - text);
    if (text[0] == '[' && colon[-1] == ']') {
        text++;
        len -= 2;
    }
    memcpy(host, text, len);
    host[len] = '\0';
    int code = getaddrinfo(host, colon + 1, &want, &found);
    if (code != 0)
        return code == EAI_SERVICE ? BT_EINVAL : BT_EDOWN;
    memcpy(&out->to, found->ai_addr, found->ai_addrlen);
    out->len = found->ai_addrlen;
    freeaddrinfo(found);
    return BT_OK;
}

bool bench_address_is_loopback(const struct bench_address *a)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->to;
    return a->to.ss_family == AF_INET && ntohl(v4->sin_addr.s_addr) >> 24 == 127;
}

/* A closed connection keeps its pair of ports for a minute: over loopback, take another source before they run out. */
static void bind_source(struct bench_net *net, int fd)
{
    struct sockaddr_in from = { .sin_family = AF_INET };
    int on = 1;
    uint32_t source = net->dials++ / PORTS_PER_SOURCE % SOURCES;
    from.sin_addr.s_addr = htonl(UINT32_C(0x7f010001) + source); /* 127.1.0.1 and on */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&from, sizeof from) != 0)
        net->dials--; /* then from whatever the kernel takes */
}

/* ---- opening and closing ---- */

enum bt_err bench_net_dial(struct bench_net *net, struct bench_conn *c, const struct bench_address *to)
{
    int on = 1, fd = socket(to->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
    if (fd < 0)
        return BT_EINTERNAL;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bench_address_is_loopback(to))
        bind_source(net, fd);
    if (connect(fd, (const struct sockaddr *)&to->to, to->len) != 0 && errno != EINPROGRESS) {
        close(fd);
        return BT_EDOWN;
    }
    if (epoll_ctl(net->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        close(fd);
        return BT_EINTERNAL;
    }
    c->fd = fd;
    c->is_open = true;
    c->life++;
    c->is_blocked = false;
    c->in_len = c->out_start = c->out_len = 0;
    return BT_OK;
}

void bench_net_close(struct bench_net *net, struct bench_conn *c)
{
    if (!c->is_open)
        return;
    c->is_open = false;
    close(c->fd);
    free(c->in);
    free(c->out);
    c->in = c->out = NULL;
    c->in_len = c->in_cap = c->out_start = c->out_len = c->out_cap = 0;
    for (uint32_t n = 0; c->is_dirty && n < net->dirty_count; n++) {
        if (net->dirty[n] == c) {
            net->dirty[n] = net->dirty[--net->dirty_count];
            c->is_dirty = false;
        }
    }
}

static void fail(struct bench_net *net, struct bench_conn *c, int error)
{
    bench_net_close(net, c);
    net->ops->closed(c, error, net->arg);
}

/* ---- output ---- */

static bool make_dirty(struct bench_net *net, struct bench_conn *c)
{
    if (c->is_dirty)
        return true;
    if (net->dirty_count == net->dirty_cap) {
        uint32_t cap = net->dirty_cap ? net->dirty_cap * 2 : BENCH_EVENTS;
        struct bench_conn **dirty = realloc(net->dirty, cap * sizeof(struct bench_conn *));
        if (!dirty)
            return false;
        net->dirty = dirty;
        net->dirty_cap = cap;
    }
    net->dirty[net->dirty_count++] = c;
    c->is_dirty = true;
    return true;
}

uint8_t *bench_net_room(struct bench_net *net, struct bench_conn *c, uint32_t len)
{
    if (c->out_cap - c->out_len < len) {
        uint32_t cap = c->out_cap ? c->out_cap : OUT_FIRST;
        while (cap - c->out_len < len)
            cap *= 2;
        uint8_t *out = realloc(c->out, cap);
        if (!out)
            return NULL;
        c->out = out;
        c->out_cap = cap;
    }
    if (!make_dirty(net, c))
        return NULL;
    c->out_len += len;
    return c->out + c->out_len - len;
}

static void set_blocked(struct bench_net *net, struct bench_conn *c, bool is_blocked)
{
    struct epoll_event event = { .events = EPOLLIN | (is_blocked ? (uint32_t)EPOLLOUT : 0), .data.ptr = c };
    if (c->is_blocked != is_blocked)
        epoll_ctl(net->epoll, EPOLL_CTL_MOD, c->fd, &event);
    c->is_blocked = is_blocked;
}

static void flush(struct bench_net *net, struct bench_conn *c)
{
    ssize_t n = send(c->fd, c->out + c->out_start, c->out_len - c->out_start, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        fail(net, c, errno);
        return;
    }
    if (n > 0)
        c->out_start += (uint32_t)n;
    c->written_us = net->now_us;
    bool is_done = c->out_start == c->out_len;
    if (is_done)
        c->out_start = c->out_len = 0;
    set_blocked(net, c, !is_done);
}

static void flush_all(struct bench_net *net)
{
    /* In the order in which they were written to: partners stay neighbours. A failing one may change the list's end. */
    for (uint32_t n = 0; n < net->dirty_count; n++) {
        struct bench_conn *c = net->dirty[n];
        c->is_dirty = false;
        if (c->is_open && !c->is_blocked)
            flush(net, c);
    }
    net->dirty_count = 0;
}

/* ---- input ---- */

static bool keep_rest(struct bench_conn *c, const uint8_t *rest, uint32_t len)
{
    if (len > c->in_cap) {
        uint32_t cap = c->in_cap ? c->in_cap : IN_FIRST;
        while (cap < len)
            cap *= 2;
        uint8_t *in = realloc(c->in, cap);
        if (!in)
            return false;
        c->in = in;
        c->in_cap = cap;
    }
    if (len > 0)
        memmove(c->in, rest, len);
    c->in_len = len;
    return true;
}

static void read_from(struct bench_net *net, struct bench_conn *c)
{
    uint8_t *buf = net->read_buf;
    uint32_t had = c->in_len, life = c->life;
    if (had > 0)
        memcpy(buf, c->in, had);
    ssize_t n = recv(c->fd, buf + had, BENCH_READ_SIZE - had, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            fail(net, c, n == 0 ? 0 : errno);
        return;
    }
    size_t len = had + (size_t)n;
    net->now_us = bench_clock_us();
    size_t used = net->ops->bytes(c, buf, len, net->arg);
    if (!c->is_open || c->life != life)
        return;
    if (len - used == BENCH_READ_SIZE)
        fail(net, c, EMSGSIZE);
    else if (!keep_rest(c, buf + used, (uint32_t)(len - used)))
        fail(net, c, ENOMEM);
}

void bench_net_turn(struct bench_net *net, uint64_t wait_us)
{
    struct epoll_event events[BENCH_EVENTS];
    struct timespec wait = { .tv_sec = (time_t)(wait_us / 1000000), .tv_nsec = (long)(wait_us % 1000000) * 1000 };
    flush_all(net);
    int count = epoll_pwait2(net->epoll, events, BENCH_EVENTS, &wait, NULL);
    net->now_us = bench_clock_us();
    for (int n = 0; n < count; n++) {
        struct bench_conn *c = events[n].data.ptr;
        /* One that was closed meanwhile, or even dialled anew, finds nothing to read. */
        if (c->is_open && events[n].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            read_from(net, c);
        if (c->is_open && c->is_blocked && events[n].events & EPOLLOUT)
            flush(net, c);
    }
}
