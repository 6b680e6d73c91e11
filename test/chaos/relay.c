/*
 * test/chaos/relay.c: a TCP relay that can be made slow, for faults that no kernel needs a module for.
 *
 * It takes lines on standard input and ends with it:
 *     listen NAME ADDRESS PORT TARGET PORT     answered with "listening NAME", or with a line that says why not
 *     set NAME DELAY_MS JITTER_MS BYTES_PER_S  from now on; 0: none, none, as fast as it goes
 * What arrives in one read leaves in its order, after DELAY_MS and a random part of JITTER_MS, at BYTES_PER_S at most for
 * all connections of that NAME in one direction together. What is read and not yet written is bounded: then the sender waits.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_BYTES = 64 * 1024,
    HELD_BYTES = 1024 * 1024, /* of one direction of one connection */
    NAME_BYTES = 32,
    EVENTS = 64,
};

struct link {
    struct end *listener;
    struct link *next;
    struct sockaddr_in target;
    char name[NAME_BYTES];
    unsigned delay_ms, jitter_ms, bytes_per_s;
    uint64_t busy_until_us[2]; /* of each direction: when what was taken so far has left, at bytes_per_s */
};

struct chunk {
    struct chunk *next;
    uint64_t due_us;
    size_t len, off;
    char data[];
};

/* One direction of a connection: what was read at one end, and waits to be written at the other. */
struct way {
    struct chunk *first, **last;
    size_t held;
    uint64_t last_due_us;
    bool is_read_out; /* the reading end has said all */
    bool is_shut;     /* and the other end was told */
};

/* What epoll knows: a socket of a connection, or a listener (conn NULL). */
struct end {
    struct link *link;
    struct conn *conn;
    int fd;
    uint32_t watched;
    bool is_connecting;
    bool is_done; /* nothing more is read or written: epoll would go on telling of its end */
};

struct conn {
    struct conn *prev, *next;
    struct end ends[2];  /* 0: who came, 1: the target */
    struct way ways[2];  /* way i is read at end i */
    bool is_closed;
};

static int poll_fd;
static struct link *links;
static struct conn *conns;

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void *must(void *p)
{
    if (p == NULL) {
        fputs("relay: no memory\n", stderr);
        exit(1);
    }
    return p;
}

static void watch(struct end *e, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.ptr = e };

    if (events != e->watched && !e->is_done)
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, e->fd, &ev);
    e->watched = events;
}

static void watch_new(struct end *e, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.ptr = e };

    epoll_ctl(poll_fd, EPOLL_CTL_ADD, e->fd, &ev);
    e->watched = events;
}

/* Marks it; conns_sweep frees it when no event of this round can name it any more. A reset, as whoever broke sent one. */
static void conn_close(struct conn *c)
{
    static const struct linger hard = { .l_onoff = 1 };

    if (c->is_closed)
        return;
    c->is_closed = true;
    for (int i = 0; i < 2; i++) {
        if (!c->ways[0].is_shut || !c->ways[1].is_shut)
            setsockopt(c->ends[i].fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(c->ends[i].fd);
    }
}

static void conns_sweep(void)
{
    for (struct conn *c = conns, *next; c != NULL; c = next) {
        next = c->next;
        if (!c->is_closed)
            continue;
        for (int i = 0; i < 2; i++) {
            for (struct chunk *k = c->ways[i].first, *after; k != NULL; k = after) {
                after = k->next;
                free(k);
            }
        }
        if (c->next != NULL)
            c->next->prev = c->prev;
        if (c->prev != NULL)
            c->prev->next = c->next;
        else
            conns = c->next;
        free(c);
    }
}

/* What is held leaves at once: a fault's end ends what it did. */
static void conn_hurry(struct conn *c)
{
    for (int i = 0; i < 2; i++) {
        for (struct chunk *k = c->ways[i].first; k != NULL; k = k->next)
            k->due_us = 0;
        c->ways[i].last_due_us = 0;
    }
}

/* Write what is due; wait for what can't be written, and read on where there is room. */
static void conn_turn(struct conn *c, uint64_t now)
{
    bool is_stuck[2] = { false, false };

    if (c->ends[1].is_connecting || c->is_closed)
        return;
    for (int i = 0; i < 2; i++) {
        struct way *w = &c->ways[i];
        struct chunk *k;
        while ((k = w->first) != NULL && k->due_us <= now && !is_stuck[i]) {
            ssize_t n = send(c->ends[!i].fd, k->data + k->off, k->len - k->off, MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN) {
                conn_close(c);
                return;
            }
            is_stuck[i] = n < 0;
            k->off += n > 0 ? (size_t)n : 0;
            w->held -= n > 0 ? (size_t)n : 0;
            if (k->off == k->len) {
                w->first = k->next;
                if (w->first == NULL)
                    w->last = &w->first;
                free(k);
            }
        }
        if (w->is_read_out && w->first == NULL && !w->is_shut) {
            w->is_shut = true;
            shutdown(c->ends[!i].fd, SHUT_WR);
        }
    }
    if (c->ways[0].is_shut && c->ways[1].is_shut) {
        conn_close(c);
        return;
    }
    for (int i = 0; i < 2; i++) {
        bool reads = !c->ways[i].is_read_out && c->ways[i].held < HELD_BYTES;
        watch(&c->ends[i], (reads ? EPOLLIN : 0) | (is_stuck[!i] ? EPOLLOUT : 0));
        if (c->ways[i].is_read_out && c->ways[!i].is_shut && !c->ends[i].is_done) {
            c->ends[i].is_done = true;
            epoll_ctl(poll_fd, EPOLL_CTL_DEL, c->ends[i].fd, NULL);
        }
    }
}

static void conn_read(struct conn *c, int i, uint64_t now)
{
    static char buf[READ_BYTES];
    struct way *w = &c->ways[i];
    struct link *l = c->ends[i].link;
    ssize_t n = recv(c->ends[i].fd, buf, sizeof buf, 0);
    struct chunk *k;
    uint64_t leaves = now;

    if (n < 0) {
        if (errno != EAGAIN)
            conn_close(c);
        return;
    }
    if (n == 0) {
        w->is_read_out = true;
        return;
    }
    if (l->bytes_per_s != 0) {
        uint64_t from = l->busy_until_us[i] > now ? l->busy_until_us[i] : now;
        leaves = l->busy_until_us[i] = from + (uint64_t)n * 1000000 / l->bytes_per_s;
    }
    k = must(malloc(sizeof *k + (size_t)n));
    *k = (struct chunk){ .len = (size_t)n };
    memcpy(k->data, buf, (size_t)n);
    k->due_us = leaves + l->delay_ms * 1000ULL + (l->jitter_ms ? (uint64_t)rand() % (l->jitter_ms * 1000ULL) : 0);
    if (k->due_us < w->last_due_us)
        k->due_us = w->last_due_us;
    w->last_due_us = k->due_us;
    w->held += k->len;
    *w->last = k;
    w->last = &k->next;
}

static void accept_one(struct link *l)
{
    int one = 1, fd = accept4(l->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct conn *c;

    if (fd < 0)
        return;
    c = must(calloc(1, sizeof *c));
    c->ends[0] = (struct end){ .link = l, .conn = c, .fd = fd };
    c->ends[1] = (struct end){ .link = l, .conn = c, .is_connecting = true };
    c->ends[1].fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->ends[1].fd < 0) {
        close(fd);
        free(c);
        return;
    }
    for (int i = 0; i < 2; i++) {
        c->ways[i].last = &c->ways[i].first;
        setsockopt(c->ends[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    c->next = conns;
    if (conns != NULL)
        conns->prev = c;
    conns = c;
    watch_new(&c->ends[0], 0);
    watch_new(&c->ends[1], EPOLLOUT);
    if (connect(c->ends[1].fd, (struct sockaddr *)&l->target, sizeof l->target) != 0 && errno != EINPROGRESS)
        conn_close(c);
}

static void on_event(struct end *e, uint32_t events, uint64_t now)
{
    struct conn *c = e->conn;
    int i;

    if (c == NULL) {
        accept_one(e->link);
        return;
    }
    i = e == &c->ends[1];
    if (c->is_closed)
        return;
    if (e->is_connecting && !(events & (EPOLLERR | EPOLLHUP)))
        e->is_connecting = false;
    if (events & EPOLLERR || (e->is_connecting && events & EPOLLHUP)) {
        conn_close(c);
        return;
    }
    if (events & (EPOLLIN | EPOLLHUP) && !c->ways[i].is_read_out && c->ways[i].held < HELD_BYTES)
        conn_read(c, i, now);
    else if (events & EPOLLHUP && c->ways[i].is_read_out)
        conn_close(c); /* nothing more can be written there */
    conn_turn(c, now);
}

static const char *add_link(const char *name, const char *address, unsigned port, const char *to, unsigned to_port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    struct link *l = must(calloc(1, sizeof *l));
    int one = 1;

    snprintf(l->name, sizeof l->name, "%s", name);
    l->target = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)to_port) };
    l->listener = must(calloc(1, sizeof *l->listener));
    *l->listener = (struct end){ .link = l, .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
    l->next = links;
    links = l;
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1 || inet_pton(AF_INET, to, &l->target.sin_addr) != 1)
        return "not an address";
    if (l->listener->fd < 0 || setsockopt(l->listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0
        || bind(l->listener->fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(l->listener->fd, 1024) != 0)
        return strerror(errno);
    watch_new(l->listener, EPOLLIN);
    return NULL;
}

static void on_line(const char *line)
{
    char name[NAME_BYTES], address[64], to[64];
    unsigned a, b, d;

    if (sscanf(line, "listen %31s %63s %u %63s %u", name, address, &a, to, &b) == 5) {
        const char *fault = add_link(name, address, a, to, b);
        printf(fault == NULL ? "listening %s\n" : "not listening: %s: %s\n", name, fault);
    } else if (sscanf(line, "set %31s %u %u %u", name, &a, &b, &d) == 4) {
        for (struct link *l = links; l != NULL; l = l->next) {
            if (strcmp(l->name, name) != 0)
                continue;
            l->delay_ms = a;
            l->jitter_ms = b;
            l->bytes_per_s = d;
            l->busy_until_us[0] = l->busy_until_us[1] = 0;
            for (struct conn *c = conns; c != NULL && a == 0 && b == 0 && d == 0; c = c->next) {
                if (c->ends[0].link == l)
                    conn_hurry(c);
            }
        }
    } else {
        printf("not understood: %s\n", line);
    }
    fflush(stdout);
}

/* False when there is no more. */
static bool read_lines(void)
{
    static char buf[4096];
    static size_t len;
    ssize_t n = read(0, buf + len, sizeof buf - 1 - len);
    char *end;

    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    len += (size_t)n;
    buf[len] = '\0';
    while ((end = strchr(buf, '\n')) != NULL) {
        *end = '\0';
        on_line(buf);
        len -= (size_t)(end + 1 - buf);
        memmove(buf, end + 1, len + 1);
    }
    return len < sizeof buf - 1;
}

/* Milliseconds until something is due, for epoll; -1: nothing is. */
static int next_due_ms(uint64_t now)
{
    uint64_t due = UINT64_MAX;

    for (struct conn *c = conns; c != NULL; c = c->next)
        for (int i = 0; i < 2; i++)
            if (c->ways[i].first != NULL && c->ways[i].first->due_us > now && c->ways[i].first->due_us < due)
                due = c->ways[i].first->due_us;
    return due == UINT64_MAX ? -1 : (int)((due - now + 999) / 1000);
}

int main(void)
{
    struct end input = { .fd = 0 };
    struct epoll_event events[EVENTS];

    signal(SIGPIPE, SIG_IGN);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poll_fd < 0)
        return 1;
    watch_new(&input, EPOLLIN);
    for (;;) {
        uint64_t now = now_us();
        int n = epoll_wait(poll_fd, events, EVENTS, next_due_ms(now));
        now = now_us();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr != &input)
                on_event(events[i].data.ptr, events[i].events, now);
            else if (!read_lines())
                return 0;
        }
        for (struct conn *c = conns; c != NULL; c = c->next)
            if (c->ways[0].first != NULL || c->ways[1].first != NULL)
                conn_turn(c, now);
        conns_sweep();
    }
}
