/* test/unit/redis_env.c: see redis_env.h. */
#include "test/unit/redis_env.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "port_aid.h"

enum { TRIES = 500, TRY_US = 10000 };

static redisContext *dial(const struct redis_env *env)
{
    struct timeval timeout = { 5, 0 };
    redisContext *c = redisConnectWithTimeout("127.0.0.1", env->port, timeout);
    assert_non_null(c);
    if (c->err != 0) {
        redisFree(c);
        return NULL;
    }
    redisSetTimeout(c, timeout);
    return c;
}

static void launch(struct redis_env *env, const char *option, const char *value)
{
    char port[16], name[32] = "";
    snprintf(port, sizeof port, "%u", env->port);
    if (option != NULL)
        snprintf(name, sizeof name, "--%s", option);
    env->pid = fork();
    assert_true(env->pid >= 0);
    if (env->pid == 0) {
        int log;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (chdir(env->dir) == 0) {
            log = open("redis.log", O_CREAT | O_WRONLY | O_APPEND, 0600);
            dup2(log, 1);
            dup2(log, 2);
            execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                   "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", option != NULL ? name : (char *)NULL, value,
                   (char *)NULL);
        }
        fprintf(stderr, "can't start redis-server\n");
        _exit(127);
    }
}

static void await_answer(struct redis_env *env)
{
    for (int i = 0; i < TRIES; i++) {
        redisContext *c = dial(env);
        if (c != NULL) {
            redisReply *reply = redisCommand(c, "PING");
            bool answers = reply != NULL;
            freeReplyObject(reply);
            redisFree(c);
            if (answers)
                return;
        }
        assert_int_equal(waitpid(env->pid, NULL, WNOHANG), 0);
        usleep(TRY_US);
    }
    fail_msg("redis-server does not answer");
}

void redis_env_start(struct redis_env *env, const char *option, const char *value)
{
    memset(env, 0, sizeof *env);
    snprintf(env->dir, sizeof env->dir, "/tmp/bytetalk-redis-XXXXXX");
    assert_non_null(mkdtemp(env->dir));
    if (option != NULL && strcmp(option, "requirepass") == 0)
        snprintf(env->password, sizeof env->password, "%s", value);
    env->port = port_hold();
    launch(env, option, value);
    await_answer(env);
}

void redis_env_kill(struct redis_env *env)
{
    if (env->pid == 0)
        return;
    kill(env->pid, SIGKILL);
    waitpid(env->pid, NULL, 0);
    env->pid = 0;
}

void redis_env_restart(struct redis_env *env)
{
    redis_env_kill(env);
    launch(env, NULL, NULL);
    await_answer(env);
}

void redis_env_freeze(struct redis_env *env)
{
    int status;
    kill(env->pid, SIGSTOP);
    assert_int_equal(waitpid(env->pid, &status, WUNTRACED), env->pid);
}

void redis_env_thaw(struct redis_env *env)
{
    kill(env->pid, SIGCONT);
}

void redis_env_stop(struct redis_env *env)
{
    char path[512];
    struct dirent *entry;
    DIR *dir;
    if (env->dir[0] == '\0')
        return;
    redis_env_kill(env);
    dir = opendir(env->dir);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) { /* its log, a copy of its master */
        snprintf(path, sizeof path, "%s/%s", env->dir, entry->d_name);
        unlink(path);
    }
    closedir(dir);
    assert_int_equal(rmdir(env->dir), 0);
    env->dir[0] = '\0';
}

static redisReply *ask(struct redis_env *env, const char *format, va_list args)
{
    char line[1024], *words[16], *rest = NULL;
    size_t n = 0;
    redisContext *c = dial(env);
    redisReply *reply;
    assert_non_null(c);
    if (env->password[0] != '\0')
        freeReplyObject(redisCommand(c, "AUTH %s", env->password));
    vsnprintf(line, sizeof line, format, args);
    for (char *word = strtok_r(line, " ", &rest); word != NULL && n < 16; word = strtok_r(NULL, " ", &rest))
        words[n++] = word;
    reply = redisCommandArgv(c, (int)n, (const char **)words, NULL);
    redisFree(c);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", words[0], reply->str);
    return reply;
}

long long redis_env_command(struct redis_env *env, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = ask(env, format, args);
    va_end(args);
    long long n = reply->type == REDIS_REPLY_INTEGER ? reply->integer : reply->type == REDIS_REPLY_STRING ? atoll(reply->str) : 0;
    freeReplyObject(reply);
    return n;
}

const char *redis_env_text(struct redis_env *env, const char *format, ...)
{
    static char text[8192];
    va_list args;
    va_start(args, format);
    redisReply *reply = ask(env, format, args);
    va_end(args);
    snprintf(text, sizeof text, "%s", reply->type == REDIS_REPLY_STRING ? reply->str : "");
    freeReplyObject(reply);
    return text;
}

void redis_env_follow(struct redis_env *env, struct redis_env *master)
{
    redis_env_command(env, "REPLICAOF 127.0.0.1 %u", master->port);
    for (int i = 0; i < TRIES; i++) {
        if (strstr(redis_env_text(env, "INFO replication"), "master_link_status:up") != NULL)
            return;
        usleep(TRY_US);
    }
    fail_msg("the replica does not get its copy");
}
