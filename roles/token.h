/*
 * roles/token.h: tokens that prove a session without a look into the store, and the keys that make them.
 *
 * A token is made of bytes: version, key id, user, session, when it was issued, when it expires, the user's name as
 * typed, and a MAC of all that under the key (keyed BLAKE2b). Whoever holds one is the session, until it expires or the
 * session ends. The keys stand in a file, one line "id key created_ms" each (key: 64 hex digits): all verify, the newest
 * of those that are not still to come signs; so an operator adds one that begins when every node has read it, and takes
 * an old one out when its last token has expired. Nodes of one cluster have the same file. Loop thread only.
 */
#ifndef BT_ROLES_TOKEN_H
#define BT_ROLES_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "net/err.h"

enum {
    TOKEN_NAME_MAX = 160, /* bytes of a name that fit */
    TOKEN_MAX = 256,      /* no token is longer */
    TOKEN_KEY_SIZE = 32,
    TOKEN_KEYS_MAX = 16,
};

struct token_key {
    uint32_t id;
    int64_t created_ms;
    uint8_t key[TOKEN_KEY_SIZE];
};

struct token_keys {
    char path[1024];
    struct token_key keys[TOKEN_KEYS_MAX];
    size_t nkeys;
    struct stat seen;    /* the file as it was read */
    bool is_stale;       /* it is another one now, and can't be read */
};

struct token {
    uint64_t user_id, session_id;
    int64_t issued_ms, expires_ms; /* the store's clock */
    const uint8_t *name;           /* as typed; of a verified token: points into the token's bytes */
    size_t name_len;               /* <= TOKEN_NAME_MAX */
};

/*
 * Read the keys at `path`; when there is no such file, make it with one new key, mode 0600, synced. Of several
 * processes that do so at once, one wins and all read the same key. On an error `why` says what to do.
 * Errors: BT_EDENIED (others may read the file, or we may not), BT_EINVAL (not such a file), BT_EINTERNAL.
 */
enum bt_err token_keys_open(struct token_keys *keys, const char *path, int64_t now_ms, char *why, size_t why_size);

/* Read the file again when it changed; on an error, logged, the keys stay as they are. True: they were read anew. */
bool token_keys_refresh(struct token_keys *keys);

/* Whether the keys are those that the file had when it was last looked at. */
bool token_keys_are_current(const struct token_keys *keys);

/* Overwrite the keys in memory. */
void token_keys_wipe(struct token_keys *keys);

/*
 * Write the token's bytes, signed with the newest key that was created when it is issued, or the oldest if none was;
 * returns how many.
 */
size_t token_sign(const struct token_keys *keys, const struct token *t, uint8_t out[TOKEN_MAX]);

/*
 * Check a token's form, MAC (in constant time), expiry, and that it was issued within the last life_ms.
 * BT_ENOAUTH: it proves nothing; nothing is said about why. BT_ENOTFOUND: nor can it: there is no such key here.
 */
enum bt_err token_verify(const struct token_keys *keys, const uint8_t *data, size_t len, int64_t now_ms, int64_t life_ms,
                         struct token *out);

/* A random id of 62 bits, never 0. */
uint64_t token_random_id(void);

#endif
