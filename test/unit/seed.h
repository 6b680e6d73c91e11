/* test/unit/seed.h: rows written straight into a store: accounts, conversations, messages. Asserts that all goes well. */
#ifndef BT_TEST_SEED_H
#define BT_TEST_SEED_H

#include <stdint.h>

#include "test/unit/store_env.h"

void seed_account(struct store_env *env, uint64_t user_id, const char *name);
void seed_block(struct store_env *env, uint64_t user_id, uint64_t peer_id);

/* A group without members; its creator's request has the id 7000 + group_id. */
void seed_group(struct store_env *env, uint64_t group_id, uint64_t creator_id, const char *name, int join_mode);
void seed_disband(struct store_env *env, uint64_t group_id);

/* One who is in (role > 0) since joined_seq, or was until left_seq (role 0). Marks are 0. */
void seed_member(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t user_id, int role, uint64_t joined_seq, uint64_t left_seq);
void seed_pending(struct store_env *env, uint64_t group_id, uint64_t user_id, int pending);
void seed_marks(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t user_id, uint64_t delivered_seq, uint64_t read_seq);

/* Both rows of a 1:1. */
void seed_pair(struct store_env *env, uint64_t hi, uint64_t lo);

/* A message of any kind, sent at seq milliseconds; a text is kind 1. */
void seed_message(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t seq, uint64_t sender_id, int kind, uint64_t refers_to_seq, const char *body);
/* Texts "m<seq>" from `first` to `last`. */
void seed_texts(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t first, uint64_t last, uint64_t sender_id);
/* What an edit and a recall do to the message they refer to. */
void seed_replace(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t seq, const char *body);
void seed_empty(struct store_env *env, uint64_t hi, uint64_t lo, uint64_t seq);

#endif
