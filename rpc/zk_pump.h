/*
 * rpc/zk_pump.h: a ZooKeeper session on the loop: made, kept alive, made again when it expired.
 *
 * Loop thread only. The client library's calls are made by the owner with zk_pump_handle(); after such calls from outside of
 * a callback of the library he says zk_pump_kick(). Completions come with a negative rc when the connection or the
 * handle went; they may then make no call of the library.
 */
#ifndef BT_RPC_ZK_PUMP_H
#define BT_RPC_ZK_PUMP_H

#include <stdbool.h>
#include <stdint.h>
#include <zookeeper/zookeeper.h>

#include "net/err.h"

struct net_loop;
struct zk_pump;
struct zk_url;

struct zk_pump_ops {
    /* Connected. is_new: a new session, without any watch or ephemeral node; else the one before, with all of its watches. */
    void (*connected)(bool is_new, void *arg);
    void (*lost)(void *arg);   /* no longer connected; the session may live on */
    void (*denied)(void *arg); /* the server refused the user and password */
    void (*event)(int type, const char *path, void *arg); /* a watch fired: ZOO_*_EVENT; path lent */
};

/* url, ops and auth ("user:password", NULL: none) are borrowed as long as it lives. It connects by itself. BT_ENOMEM. */
enum bt_err zk_pump_new(struct net_loop *loop, const struct zk_url *url, const char *auth, uint32_t session_ms, const struct zk_pump_ops *ops,
                        void *arg, struct zk_pump **out);

zhandle_t *zk_pump_handle(const struct zk_pump *p);  /* NULL: there is none now */
bool zk_pump_is_connected(const struct zk_pump *p);
int64_t zk_pump_session(const struct zk_pump *p);    /* 0: none yet */
void zk_pump_kick(struct zk_pump *p);

/*
 * End the session. Open completions are called with ZCLOSING before this returns, later closed_cb, which is the last. When the server
 * answers, this blocks for its answer to the end of the session (at most 1.5 s); is_hung: it is not even told, and
 * drops the session at its timeout. Not inside a callback of the library.
 */
void zk_pump_close(struct zk_pump *p, bool is_hung, void (*closed_cb)(void *arg), void *arg);

#endif
