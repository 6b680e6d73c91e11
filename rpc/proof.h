/*
 * rpc/proof.h: how the two ends of a connection between nodes prove that they know the cluster's secret, without saying it.
 *
 * Both ends choose a nonce; each proves itself by a MAC over its direction, both nonces, both addresses and both epochs. A proof is
 * therefore good for one connection, one direction and one pair of nodes. It says who opened the connection, and does not
 * protect what is sent on it later.
 */
#ifndef BT_RPC_PROOF_H
#define BT_RPC_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/err.h"
#include "rpc/bytes.h"

enum { RPC_NONCE_SIZE = 32, RPC_PROOF_SIZE = 32, RPC_SECRET_MIN = 16, RPC_SECRET_MAX = 4096 };

enum rpc_end { RPC_DIALLER, RPC_ACCEPTOR };

/* What is proved. By enum rpc_end. */
struct rpc_handshake {
    uint8_t nonce[2][RPC_NONCE_SIZE];
    char address[2][64];
    uint64_t epoch[2];
};

struct rpc_secret;

/*
 * Read it from a file: a line feed at its end does not count. *out is for rpc_secret_free(). Errors, with why: BT_ENOTFOUND,
 * BT_EDENIED (others than the owner may read it), BT_EINVAL (too short, too long, no plain file), BT_ENOMEM, BT_EINTERNAL.
 */
enum bt_err rpc_secret_read(const char *path, struct rpc_secret **out, char *why, size_t why_size);
void rpc_secret_free(struct rpc_secret *s); /* NULL: nothing */

void rpc_nonce_make(uint8_t out[RPC_NONCE_SIZE]);
bool rpc_nonce_take(struct rpc_bytes nonce, uint8_t out[RPC_NONCE_SIZE]); /* false: not of the right length */

/* The proof that `end` gives; and whether one that came is it, in a time that does not depend on where it differs. */
void rpc_proof_make(const struct rpc_secret *s, enum rpc_end end, const struct rpc_handshake *shake, uint8_t out[RPC_PROOF_SIZE]);
bool rpc_proof_check(const struct rpc_secret *s, enum rpc_end end, const struct rpc_handshake *shake, struct rpc_bytes proof);

#endif
