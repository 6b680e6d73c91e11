/*
 * test/bench/router.c: the bare router that ByteTalk is compared with: about the least that libuv can do for a message.
 *
 * One thread. A frame is two words in the machine's order, {bytes that follow the first word, destination}, then the
 * body; it is copied to the destination's output, and what one turn of the loop gathered for a connection leaves in one
 * write. No protocol, no rights, no store; nothing is allocated per message. Frames that make no sense close the
 * connection.
 *
 *   router [HOST:]PORT      prints "ready HOST:PORT"; ends with SIGTERM
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* Destinations below SPECIAL are numbers of connections, as they gave themselves at the login. */
enum { SPECIAL = 0x01000000, LOGIN = SPECIAL, JOIN, GROUP, MAX_FRAME = 128 * 1024, IN_SIZE = 256 * 1024, OUT_SIZE = 8 * 1024, SPARE_MAX = 2048 };

struct peer {
    uv_tcp_t tcp;
    uint32_t number;       /* SPECIAL: not logged in */
    uint32_t member;       /* 1 + its place in the group; 0: none */
    uint32_t dirty;        /* 1 + its place among those with output */
    uint32_t in_len;       /* of a frame whose rest has not come */
    uint32_t out_len, out_cap;
    char *in, *out;
    unsigned writing : 31, closing : 1;
};

/* What the socket would not take at once; holds the buffer until it is out. */
struct late {
    uv_write_t req;
    char *data;
};

/* A list of connections; each knows its place in it. */
struct list {
    struct peer **at;
    uint32_t count, cap;
};

static uv_loop_t *loop;
static struct list numbered, dirty, group;
static char *spare[SPARE_MAX], *in_buf;
static unsigned spares;

static void *grow(void *p, size_t size)
{
    p = realloc(p, size);
    if (!p) {
        fprintf(stderr, "router: out of memory\n");
        exit(1);
    }
    return p;
}

static void list_reach(struct list *l, uint32_t count)
{
    uint32_t had = l->cap;
    while (l->cap < count)
        l->cap = l->cap ? l->cap * 2 : 256;
    if (l->cap != had) {
        l->at = grow(l->at, l->cap * sizeof(struct peer *));
        memset(l->at + had, 0, (l->cap - had) * sizeof(struct peer *));
    }
}

static uint32_t list_add(struct list *l, struct peer *p)
{
    list_reach(l, l->count + 1);
    l->at[l->count++] = p;
    return l->count;
}

/* ---- closing ---- */

static void closed(uv_handle_t *handle)
{
    struct peer *p = (struct peer *)handle;
    free(p->in);
    free(p->out);
    free(p);
}

static void drop(struct peer *p)
{
    if (p->closing)
        return;
    p->closing = 1;
    if (p->number < SPECIAL && numbered.at[p->number] == p)
        numbered.at[p->number] = NULL;
    if (p->member) {
        struct peer *last = group.at[--group.count];
        group.at[p->member - 1] = last;
        last->member = p->member;
    }
    if (p->dirty)
        dirty.at[p->dirty - 1] = NULL;
    uv_close((uv_handle_t *)&p->tcp, closed);
}

/* ---- output ---- */

static void append(struct peer *p, const char *frame, uint32_t len)
{
    if (!p->out) {
        p->out = spares ? spare[--spares] : grow(NULL, OUT_SIZE);
        p->out_cap = OUT_SIZE;
    }
    if (p->out_cap - p->out_len < len) {
        while (p->out_cap - p->out_len < len)
            p->out_cap *= 2;
        p->out = grow(p->out, p->out_cap);
    }
    memcpy(p->out + p->out_len, frame, len);
    p->out_len += len;
    if (!p->dirty)
        p->dirty = list_add(&dirty, p);
}

static void give_back(char *out, uint32_t cap)
{
    if (cap == OUT_SIZE && spares < SPARE_MAX)
        spare[spares++] = out;
    else
        free(out);
}

static void written(uv_write_t *req, int status)
{
    struct late *l = (struct late *)req;
    struct peer *p = (struct peer *)req->handle;
    free(l->data);
    free(l);
    p->writing--;
    if (status < 0)
        drop(p);
}

static void flush(struct peer *p)
{
    uv_buf_t buf = uv_buf_init(p->out, p->out_len);
    int n = p->writing ? 0 : uv_try_write((uv_stream_t *)&p->tcp, &buf, 1);
    char *out = p->out;
    uint32_t len = p->out_len, cap = p->out_cap;
    p->out = NULL;
    p->out_len = p->out_cap = 0;
    if (n == UV_EAGAIN)
        n = 0;
    if (n < 0 || (uint32_t)n == len) {
        give_back(out, cap);
        if (n < 0)
            drop(p);
        return;
    }
    struct late *l = grow(NULL, sizeof *l);
    l->data = out;
    buf = uv_buf_init(out + n, len - (uint32_t)n);
    p->writing++;
    if (uv_write(&l->req, (uv_stream_t *)&p->tcp, &buf, 1, written) != 0) {
        p->writing--;
        free(l->data);
        free(l);
        drop(p);
    }
}

static void flush_all(uv_prepare_t *handle)
{
    (void)handle;
    for (uint32_t n = 0; n < dirty.count; n++) {
        struct peer *p = dirty.at[n];
        if (p) {
            p->dirty = 0;
            flush(p);
        }
    }
    dirty.count = 0;
}

/* ---- input ---- */

static int log_in(struct peer *p, const char *body, uint32_t len)
{
    uint32_t number;
    if (len != sizeof number)
        return 0;
    memcpy(&number, body, sizeof number);
    if (number >= SPECIAL || p->number != SPECIAL)
        return 0;
    list_reach(&numbered, number + 1);
    numbered.at[number] = p;
    p->number = number;
    return 1;
}

/* Returns 0 for what makes no sense. */
static int route(struct peer *p, const char *frame, uint32_t len)
{
    uint32_t to;
    memcpy(&to, frame + 4, sizeof to);
    if (to < numbered.cap) {
        if (numbered.at[to])
            append(numbered.at[to], frame, len);
        return 1;
    }
    switch (to) {
    case GROUP:
        for (uint32_t n = 0; n < group.count; n++)
            if (group.at[n] != p)
                append(group.at[n], frame, len);
        return 1;
    case JOIN:
        if (!p->member)
            p->member = list_add(&group, p);
        append(p, frame, len);
        return 1;
    case LOGIN:
        if (!log_in(p, frame + 8, len - 8))
            return 0;
        append(p, frame, len);
        return 1;
    default:
        return to < SPECIAL;
    }
}

static void room(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct peer *p = (struct peer *)handle;
    (void)size;
    if (p->in_len)
        memcpy(in_buf, p->in, p->in_len);
    *buf = uv_buf_init(in_buf + p->in_len, IN_SIZE - p->in_len);
}

static void came(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct peer *p = (struct peer *)stream;
    (void)buf;
    if (n < 0) {
        drop(p);
        return;
    }
    uint32_t len = p->in_len + (uint32_t)n, at = 0, follows;
    while (len - at >= 8) {
        memcpy(&follows, in_buf + at, sizeof follows);
        if (follows < 4 || follows > MAX_FRAME) {
            drop(p);
            return;
        }
        if (len - at < follows + 4)
            break;
        if (!route(p, in_buf + at, follows + 4)) {
            drop(p);
            return;
        }
        at += follows + 4;
    }
    if (p->in_len == 0 && at == len)
        return;
    p->in_len = len - at;
    if (p->in_len) {
        p->in = grow(p->in, p->in_len);
        memcpy(p->in, in_buf + at, p->in_len);
    } else {
        free(p->in);
        p->in = NULL;
    }
}

static void accepted(uv_stream_t *listener, int status)
{
    if (status < 0)
        return;
    struct peer *p = grow(NULL, sizeof *p);
    *p = (struct peer){ .number = SPECIAL };
    uv_tcp_init(loop, &p->tcp);
    if (uv_accept(listener, (uv_stream_t *)&p->tcp) != 0) {
        drop(p);
        return;
    }
    uv_tcp_nodelay(&p->tcp, 1);
    uv_read_start((uv_stream_t *)&p->tcp, room, came);
}

static void told_to_end(uv_signal_t *handle, int signum)
{
    (void)handle, (void)signum;
    exit(0);
}

int main(int argc, char **argv)
{
    static uv_tcp_t listener;
    static uv_prepare_t prepare;
    static uv_signal_t term;
    struct sockaddr_in address;
    int len = sizeof address;
    char host[64] = "127.0.0.1";
    const char *where = argc == 2 ? argv[1] : "0", *colon = strrchr(where, ':');
    if (colon && (size_t)(colon - where) < sizeof host) {
        memcpy(host, where, (size_t)(colon - where));
        host[colon - where] = '\0';
    }
    signal(SIGPIPE, SIG_IGN);
    loop = uv_default_loop();
    in_buf = grow(NULL, IN_SIZE);
    uv_tcp_init(loop, &listener);
    int code = uv_ip4_addr(host, atoi(colon ? colon + 1 : where), &address);
    if (code == 0)
        code = uv_tcp_bind(&listener, (struct sockaddr *)&address, 0);
    if (code == 0)
        code = uv_listen((uv_stream_t *)&listener, 4096, accepted);
    if (code != 0) {
        fprintf(stderr, "router: %s: %s\n", where, uv_strerror(code));
        return 1;
    }
    uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &len);
    printf("ready %s:%d\n", host, ntohs(address.sin_port));
    fflush(stdout);
    uv_prepare_init(loop, &prepare);
    uv_prepare_start(&prepare, flush_all);
    uv_signal_init(loop, &term);
    uv_signal_start(&term, told_to_end, SIGTERM);
    return uv_run(loop, UV_RUN_DEFAULT);
}
