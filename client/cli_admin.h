/*
 * client/cli_admin.h: what the files of bytetalk-cli admin share.
 *
 *   cli_admin.c        the command line, the table of what can be asked
 *   cli_admin_conf.c   where the node listens and what its secret is, by the server's ini
 *   cli_admin_link.c   a connection to a node, and calls on it, which are waited for
 *   cli_admin_node.c   nodes, drain
 *   cli_admin_session.c  sessions
 *   cli_admin_user.c   owner
 *   cli_admin_ring.c   ring
 *   cli_admin_table.c  tables for people
 */
#ifndef BT_CLI_ADMIN_H
#define BT_CLI_ADMIN_H

#include "client/cli.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "proto/node.pb.h"
#include "rpc/bytes.h"
#include "rpc/proof.h"

enum { ADMIN_PATH_SIZE = 200, ADMIN_ADDRESS_SIZE = 64, ADMIN_TIMEOUT_MS = 5000 };

struct admin_link;

struct admin {
    struct net_loop *loop;
    bool json;
    const char *node, *config, *secret_file; /* as they were typed; NULL: not */
    int argc;                                /* what is asked, and its words */
    char **argv;
    const char *usage;                       /* of what is asked */
    struct rpc_secret *secret;               /* NULL: there is none */
    struct admin_link *link;                 /* to the node that is asked */
};

void admin_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  /* a line to stderr */
enum cli_exit admin_usage(const struct admin *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- settings ---- */

/* Fill what was not typed from the ini: where the node is (address_out), the secret's file ("": none). Else says what to do. */
enum cli_exit admin_settings(const struct admin *a, char address_out[ADMIN_ADDRESS_SIZE], char secret_file_out[ADMIN_PATH_SIZE]);

/* ---- connections ---- */

/* Connect to "host:port" and prove ourselves there. *out is for admin_close(). An error has been said. */
enum cli_exit admin_dial(struct admin *a, const char *address, struct admin_link **out);
void admin_close(struct admin_link *l);

/*
 * Call and wait. On CLI_OK *reply_out (zeroed by the caller) holds views that live until the link is closed or called again, and
 * admin_done() is due for it. An error has been said.
 */
enum cli_exit admin_call(struct admin_link *l, uint16_t method, const void *req, void *reply_out);
void admin_done(uint16_t method, void *reply);

/* cli_admin_user.c: a user, by name or "#id", and his sessions; as admin_call(), RPC_NODE_ADMIN_SESSIONS. */
enum cli_exit admin_ask_sessions(struct admin *a, const char *user, SessionsOfReply *reply);

/* ---- tables ---- */

enum { ADMIN_COLUMNS_MAX = 12 };

/* Cells are added row by row; the first row is the head. What is wrong with memory shows as an empty cell. */
struct admin_table {
    size_t columns, count, cap;
    char **cells;
};
void admin_table_text(struct admin_table *t, struct rpc_bytes text);  /* escaped; "" shows as "-" */
void admin_table_word(struct admin_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void admin_table_end(struct admin_table *t);                           /* print and forget */
void admin_json_text(const char *key, struct rpc_bytes text);          /* "key":"text" */

/* "proxy,user" of bits 1 << enum rpc_role. */
void admin_roles(uint32_t roles, char *out, size_t size);

/* ---- what can be asked ---- */

typedef enum cli_exit admin_fn(struct admin *a);
admin_fn admin_nodes, admin_drain, admin_sessions, admin_owner, admin_ring;

static inline struct bt_text admin_text(struct rpc_bytes b) { return (struct bt_text){ .data = b.data ? (const char *)b.data : "", .len = b.len }; }
static inline bool admin_is(struct rpc_bytes b, const char *word) { return b.len == strlen(word) && (b.len == 0 || memcmp(b.data, word, b.len) == 0); }

#endif
