/* rpc/proof.c: the secret of a cluster's nodes, and proofs made with it. */
#include "rpc/proof.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/mem.h"

_Static_assert(RPC_PROOF_SIZE == crypto_auth_hmacsha256_BYTES, "a proof is one MAC");

struct rpc_secret {
    size_t len;
    uint8_t bytes[RPC_SECRET_MAX + 1]; /* one more than allowed, to see that it is too long */
};

/* ---- the file ---- */

static enum bt_err fill(struct rpc_secret *s, int fd, const char *path, char *why, size_t why_size)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        snprintf(why, why_size, "[node] secret_file: %s is no plain file", path);
        return BT_EINVAL;
    }
    if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        snprintf(why, why_size, "[node] secret_file: others may read or write %s: chmod 600 %s", path, path);
        return BT_EDENIED;
    }
    for (ssize_t n = 1; n > 0 && s->len < sizeof s->bytes; s->len += n > 0 ? (size_t)n : 0) {
        n = read(fd, s->bytes + s->len, sizeof s->bytes - s->len);
        if (n < 0) {
            snprintf(why, why_size, "[node] secret_file: %s: %s", path, strerror(errno));
            return BT_EINVAL;
        }
    }
    if (s->len > 0 && s->bytes[s->len - 1] == '\n')
        s->len--;
    if (s->len < RPC_SECRET_MIN || s->len > RPC_SECRET_MAX) {
        snprintf(why, why_size, "[node] secret_file: %s holds %zu bytes, %d to %d are needed; for instance: openssl rand -hex 32 > %s", path, s->len,
                 RPC_SECRET_MIN, RPC_SECRET_MAX, path);
        return BT_EINVAL;
    }
    return BT_OK;
}

enum bt_err rpc_secret_read(const char *path, struct rpc_secret **out, char *why, size_t why_size)
{
    struct rpc_secret *s = bt_calloc(1, sizeof *s);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is no secret file, and is not waited for */
    enum bt_err err;

    if (fd < 0) {
        snprintf(why, why_size, "[node] secret_file: %s: %s", path, strerror(errno));
        bt_free(s);
        return BT_ENOTFOUND;
    }
    if (!s) {
        snprintf(why, why_size, "[node] secret_file: out of memory");
        err = BT_ENOMEM;
    } else if (sodium_init() < 0) {
        snprintf(why, why_size, "[node] secret_file: the cryptographic library does not start");
        err = BT_EINTERNAL;
    } else {
        err = fill(s, fd, path, why, why_size);
    }
    close(fd);
    if (err == BT_OK)
        *out = s;
    else
        rpc_secret_free(s);
    return err;
}

void rpc_secret_free(struct rpc_secret *s)
{
    if (s)
        sodium_memzero(s, sizeof *s);
    bt_free(s);
}

/* ---- proofs ---- */

void rpc_nonce_make(uint8_t out[RPC_NONCE_SIZE])
{
    randombytes_buf(out, RPC_NONCE_SIZE);
}

bool rpc_nonce_take(struct rpc_bytes nonce, uint8_t out[RPC_NONCE_SIZE])
{
    if (!nonce.data || nonce.len != RPC_NONCE_SIZE)
        return false;
    memcpy(out, nonce.data, RPC_NONCE_SIZE);
    return true;
}

static void add_u64(crypto_auth_hmacsha256_state *mac, uint64_t v)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(v >> (56 - 8 * i));
    crypto_auth_hmacsha256_update(mac, bytes, sizeof bytes);
}

/* Everything has a fixed length or is led by it: no two handshakes make the same bytes. */
void rpc_proof_make(const struct rpc_secret *s, enum rpc_end end, const struct rpc_handshake *shake, uint8_t out[RPC_PROOF_SIZE])
{
    static const char label[2][24] = { "bytetalk node dialler 1", "bytetalk node accept. 1" };
    crypto_auth_hmacsha256_state mac;

    crypto_auth_hmacsha256_init(&mac, s->bytes, s->len);
    crypto_auth_hmacsha256_update(&mac, (const uint8_t *)label[end], sizeof label[end]);
    for (int i = RPC_DIALLER; i <= RPC_ACCEPTOR; i++) {
        size_t len = strlen(shake->address[i]);
        crypto_auth_hmacsha256_update(&mac, shake->nonce[i], RPC_NONCE_SIZE);
        add_u64(&mac, shake->epoch[i]);
        add_u64(&mac, len);
        crypto_auth_hmacsha256_update(&mac, (const uint8_t *)shake->address[i], len);
    }
    crypto_auth_hmacsha256_final(&mac, out);
    sodium_memzero(&mac, sizeof mac);
}

bool rpc_proof_check(const struct rpc_secret *s, enum rpc_end end, const struct rpc_handshake *shake, struct rpc_bytes proof)
{
    uint8_t right[RPC_PROOF_SIZE];

    if (!proof.data || proof.len != sizeof right)
        return false;
    rpc_proof_make(s, end, shake, right);
    bool is_right = sodium_memcmp(right, proof.data, sizeof right) == 0;
    sodium_memzero(right, sizeof right);
    return is_right;
}
