/*
 * store/presence_redis_hello.c: what is said first to a server, and every second: logging in, its run id, its role; and what
 * its refusals mean to a person.
 */
#define LOG_MODULE "presence"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/log.h"
#include "store/presence_redis.h"

static bool is_error(const redisReply *reply, const char *word)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, word, strlen(word)) == 0;
}

/* What Redis says, and what to do about it. */
void redis_link_refuse(struct redis_link *link, const redisReply *reply)
{
    static const struct {
        const char *word, *hint;
    } hints[] = {
        { "WRONGPASS", "correct user and password in [presence] url or password_file" },
        { "NOAUTH", "the server wants a password: write it into a file, and its path into [presence] password_file" },
        { "ERR invalid password", "correct the password in [presence] url or password_file" },
        { "ERR AUTH", "the server wants no password: take it out of [presence] url or password_file" },
        { "ERR Client sent AUTH", "the server wants no password: take it out of [presence] url or password_file" },
        { "NOPERM", "the user needs ~" REDIS_HEAD "* and +@all -@admin -@dangerous +info +role" },
        { "ERR DB index", "take another database in [presence] url, or raise databases in redis.conf" },
        { "READONLY", "it is no master any more" },
        { "MISCONF", "the server can't save; see its log" },
    };
    char why[sizeof link->fault];
    const char *hint = NULL;
    if (reply->type != REDIS_REPLY_ERROR) {
        redis_link_drop(link, "answered what was not asked; is it Redis?");
        return;
    }
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (is_error(reply, hints[i].word))
            hint = hints[i].hint;
    snprintf(why, sizeof why, "%.120s%s%s", reply->str, hint != NULL ? "; " : "", hint != NULL ? hint : "");
    redis_link_drop(link, why);
}

static void loaded(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd)
{
    size_t script = (size_t)(cmd - link->load_cmds);
    if (reply == NULL)
        return;
    if (reply->type != REDIS_REPLY_STRING || reply->len >= sizeof link->shas[0])
        redis_link_refuse(link, reply);
    else
        memcpy(link->shas[script], reply->str, reply->len + 1);
}

static enum bt_err load_scripts(struct redis_link *link)
{
    enum bt_err err = BT_OK;
    for (size_t i = 0; err == BT_OK && i < REDIS_NSCRIPTS; i++) {
        link->load_cmds[i].cb = loaded;
        err = redis_link_send(link, &link->load_cmds[i], 3, (const char *[]){ "SCRIPT", "LOAD", redis_scripts[i] });
    }
    return err;
}

bool redis_link_is_good(struct redis_link *link, const redisReply *reply, size_t n, bool *again_out)
{
    *again_out = false;
    if (is_error(reply, "NOSCRIPT") && load_scripts(link) == BT_OK) {
        *again_out = true;
        return false;
    }
    bool is_good = reply->type == REDIS_REPLY_ARRAY && reply->elements >= n;
    for (size_t i = 0; is_good && i < reply->elements; i++)
        is_good = reply->element[i]->type == REDIS_REPLY_STRING;
    if (!is_good)
        redis_link_refuse(link, reply);
    return is_good;
}

static void told_role(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd)
{
    (void)cmd;
    if (reply == NULL)
        return;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1 || reply->element[0]->type != REDIS_REPLY_STRING) {
        redis_link_refuse(link, reply);
    } else if (strcmp(reply->element[0]->str, "sentinel") == 0) {
        redis_link_drop(link, "is a Sentinel; name the Redis servers themselves in [presence] url");
    } else {
        bool is_master = strcmp(reply->element[0]->str, "master") == 0;
        if (is_master != link->is_master && link->state == REDIS_LINK_UP)
            log_info("redis %s:%u: is %s now", link->host->name, link->host->port, is_master ? "the master" : "a replica");
        link->is_master = is_master;
    }
}

/* The last answer of a greeting, and of a poll. */
static void told_generation(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd)
{
    (void)cmd;
    link->is_polling = false;
    if (reply == NULL)
        return;
    if (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_NIL) {
        redis_link_refuse(link, reply);
        return;
    }
    link->generation = reply->type == REDIS_REPLY_STRING ? strtoull(reply->str, NULL, 10) : 0;
    if (link->state == REDIS_LINK_GREETING) {
        link->state = REDIS_LINK_UP;
        link->up_ms = net_now_ms(link->redis->loop);
        log_info("redis %s:%u: connected, %s", link->host->name, link->host->port, link->is_master ? "master" : "replica");
        link->fault[0] = '\0';
    }
    redis_choose_soon(link->redis);
}

void redis_link_poll(struct redis_link *link)
{
    link->role_cmd.cb = told_role;
    link->generation_cmd.cb = told_generation;
    if (link->is_polling || redis_link_send(link, &link->role_cmd, 1, (const char *[]){ "ROLE" }) != BT_OK)
        return;
    if (redis_link_send(link, &link->generation_cmd, 3, (const char *[]){ "HGET", REDIS_HEAD, "generation" }) == BT_OK)
        link->is_polling = true;
}

static void told_ok(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd)
{
    (void)cmd;
    if (reply != NULL && reply->type != REDIS_REPLY_STATUS)
        redis_link_refuse(link, reply);
}

/* The value of one line of INFO. */
static bool info_value(const char *info, const char *name, char *out, size_t size)
{
    const char *at = strstr(info, name);
    size_t len;
    if (at == NULL)
        return false;
    at += strlen(name);
    len = strcspn(at, "\r\n");
    if (len == 0 || len >= size)
        return false;
    memcpy(out, at, len);
    out[len] = '\0';
    return true;
}

static void told_server(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd)
{
    (void)cmd;
    if (reply == NULL)
        return;
    if (reply->type != REDIS_REPLY_STRING || !info_value(reply->str, "run_id:", link->run, sizeof link->run))
        redis_link_refuse(link, reply);
}

/* Traces that are evicted one by one are missed by nobody but those who write to their owners. */
static void told_memory(struct redis_link *link, const redisReply *reply, struct redis_cmd *cmd)
{
    char policy[32], limit[24];
    (void)cmd;
    if (reply == NULL || reply->type != REDIS_REPLY_STRING)
        return;
    if (info_value(reply->str, "maxmemory_policy:", policy, sizeof policy) && strncmp(policy, "allkeys", 7) == 0 &&
        info_value(reply->str, "maxmemory:", limit, sizeof limit) && strcmp(limit, "0") != 0)
        log_warn("redis %s:%u: maxmemory-policy %s lets it forget who is connected; set noeviction", link->host->name,
                 link->host->port, policy);
}

enum bt_err redis_link_greet(struct redis_link *link)
{
    const struct redis_target *t = &link->redis->target;
    char database[16];
    enum bt_err err = BT_OK;
    snprintf(database, sizeof database, "%u", t->database);
    link->greet[0].cb = link->greet[1].cb = told_ok;
    link->greet[2].cb = told_server;
    link->greet[3].cb = told_memory;
    if (t->user[0] != '\0')
        err = redis_link_send(link, &link->greet[0], 3, (const char *[]){ "AUTH", t->user, t->password });
    else if (t->password[0] != '\0')
        err = redis_link_send(link, &link->greet[0], 2, (const char *[]){ "AUTH", t->password });
    if (err == BT_OK && t->database != 0)
        err = redis_link_send(link, &link->greet[1], 2, (const char *[]){ "SELECT", database });
    if (err == BT_OK)
        err = redis_link_send(link, &link->greet[2], 2, (const char *[]){ "INFO", "server" });
    if (err == BT_OK)
        err = redis_link_send(link, &link->greet[3], 2, (const char *[]){ "INFO", "memory" });
    if (err == BT_OK)
        err = load_scripts(link);
    if (err == BT_OK)
        redis_link_poll(link);
    return err;
}
