/*
 * client/bench_net.h: the load tool's connections: one epoll, one thread, no allocation per message.
 *
 * Not net/conn.h: a load tool wants its clock read per connection, waits shorter than a tick of net/timer.h, and source
 * addresses of its own. Reads go through one shared buffer; what one turn wrote to a connection leaves in one write.
 */
#ifndef BT_CLIENT_BENCH_NET_H
#define BT_CLIENT_BENCH_NET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/err.h"

enum { BENCH_READ_SIZE = 1024 * 1024, BENCH_EVENTS = 1024 };

struct bench_net;

/* Where to connect: a numeric address. */
struct bench_address {
    struct sockaddr_storage to;
    socklen_t len;
};

/* Zeroed by its owner before the first bench_net_dial(); the fields up to `in` may be read. */
struct bench_conn {
    int fd;
    uint32_t index;       /* the owner's */
    uint32_t life;        /* how often it was dialled: what was read in an earlier life is not to be looked at any more */
    bool is_open;
    bool is_dirty;        /* waits for the turn's writes */
    bool is_blocked;      /* the socket is full, or not connected yet: epoll tells when it goes on */
    uint64_t written_us;  /* when something left last */
    uint8_t *in;          /* the beginning of a frame whose rest has not come */
    uint32_t in_len, in_cap;
    uint8_t *out;
    uint32_t out_start, out_len, out_cap;
};

struct bench_net_ops {
    /* What came, lent. Returns how many bytes were consumed (whole frames); the rest is shown again with what follows. May
       close the connection, and dial it anew. */
    size_t (*bytes)(struct bench_conn *c, const uint8_t *data, size_t len, void *arg);
    /* It broke, or the other side closed it; never from bench_net_close(). error: an errno, 0 at an orderly end. */
    void (*closed)(struct bench_conn *c, int error, void *arg);
};

struct bench_net {
    int epoll;
    uint64_t now_us;              /* monotonic; read when waiting ends, and before each connection's bytes */
    const struct bench_net_ops *ops;
    void *arg;
    struct bench_conn **dirty;
    uint32_t dirty_count, dirty_cap;
    uint32_t dials;               /* for source addresses */
    uint8_t *read_buf;
};

/* BT_ENOMEM, BT_EINTERNAL (no descriptors). ops and arg are borrowed until bench_net_free(). */
enum bt_err bench_net_init(struct bench_net *net, const struct bench_net_ops *ops, void *arg);

/* Close nothing: the owner has closed his connections. */
void bench_net_free(struct bench_net *net);

/* "127.0.0.1:7400", "[::1]:7400", or a name, which is looked up (blocking). BT_EINVAL; BT_EDOWN: no such host. */
enum bt_err bench_address_parse(const char *text, struct bench_address *out);
bool bench_address_is_loopback(const struct bench_address *a);

/*
 * Begin to connect; what is written meanwhile leaves when it stands, and ops->closed tells when it fails. To loopback
 * addresses, connections come from many source addresses, so that ports do not run out. BT_EDOWN, BT_EINTERNAL.
 */
enum bt_err bench_net_dial(struct bench_net *net, struct bench_conn *c, const struct bench_address *to);

/* Now; what is queued is dropped. Its memory is given back. The connection may be dialled anew. */
void bench_net_close(struct bench_net *net, struct bench_conn *c);

/* Room for len bytes that leave at the end of the turn; filled by the caller at once. NULL: no memory. */
uint8_t *bench_net_room(struct bench_net *net, struct bench_conn *c, uint32_t len);

/* Write what is queued, wait for wait_us at most, handle what came. */
void bench_net_turn(struct bench_net *net, uint64_t wait_us);

/* Monotonic, now. */
uint64_t bench_clock_us(void);

#endif
