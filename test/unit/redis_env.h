/* test/unit/redis_env.h: real redis-servers on free ports of the loopback address, in directories of their own. */
#ifndef BT_TEST_REDIS_ENV_H
#define BT_TEST_REDIS_ENV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* One server. It keeps nothing on disk, and dies with the test. Everything asserts that it goes well. */
struct redis_env {
    char dir[64];
    uint16_t port;
    pid_t pid; /* 0: does not run */
    char password[64]; /* for redis_env_command(); "": none */
};

/* option, value (may be NULL): one more setting, as "requirepass", "pw". Returns when it answers. */
void redis_env_start(struct redis_env *env, const char *option, const char *value);
void redis_env_kill(struct redis_env *env);    /* as kill -9 */
void redis_env_restart(struct redis_env *env); /* on the same port, empty */
void redis_env_freeze(struct redis_env *env);
void redis_env_thaw(struct redis_env *env);
void redis_env_stop(struct redis_env *env);    /* kill, and remove the directory */

/* A command with blanks between its words; an integer answer, the number that a string is, else 0. Fails on an error answer. */
long long redis_env_command(struct redis_env *env, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, answering text (valid until the next call; "" if nil). */
const char *redis_env_text(struct redis_env *env, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Make it a copy of master, and wait until it is. */
void redis_env_follow(struct redis_env *env, struct redis_env *master);

#endif
