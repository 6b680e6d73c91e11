/* client/bench_state.c: the file that keeps the accounts which the load tool has made on a server, with their sessions. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/bench.h"

#define FIRST_LINE "bytetalk-bench accounts 1\n"

void bench_user_name(const struct bench_state *s, uint32_t number, char out[BENCH_NAME])
{
    snprintf(out, BENCH_NAME, "bench-%s-%" PRIu32, s->tag, number);
}

void bench_state_reach(struct bench_state *s, uint32_t users)
{
    if (users <= s->user_cap)
        return;
    struct bench_user *all = realloc(s->users, users * sizeof *all);
    if (!all) {
        fprintf(stderr, "bytetalk-bench: out of memory\n");
        exit(1);
    }
    memset(all + s->user_cap, 0, (users - s->user_cap) * sizeof *all);
    s->users = all;
    s->user_cap = users;
}

void bench_state_free(struct bench_state *s)
{
    free(s->users);
}

static bool begin_anew(struct bench_state *s)
{
    uint8_t seed[24];
    if (getrandom(seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        return false;
    for (int n = 0; n < 6; n++)
        snprintf(s->tag + 2 * n, 3, "%02x", seed[n]);
    for (int n = 0; n < 18; n++)
        snprintf(s->password + 2 * n, 3, "%02x", seed[6 + n]);
    return true;
}

static bool read_token(const char *hex, struct bench_user *u)
{
    size_t len = strlen(hex);
    unsigned byte;
    if (len % 2 != 0 || len / 2 > BENCH_TOKEN)
        return false;
    for (size_t n = 0; n < len / 2; n++) {
        if (sscanf(hex + 2 * n, "%2x", &byte) != 1)
            return false;
        u->token[n] = (uint8_t)byte;
    }
    u->token_len = (uint16_t)(len / 2);
    return true;
}

static bool read_line(struct bench_state *s, const char *line)
{
    char hex[2 * BENCH_TOKEN + 1];
    struct bench_user u = { 0 };
    struct bench_chat_group g;
    if (sscanf(line, "tag %19s", s->tag) == 1 || sscanf(line, "password %39s", s->password) == 1)
        return true;
    if (sscanf(line, "user %" SCNu64 " %" SCNu64 " %512s", &u.id, &u.device_id, hex) == 3 && read_token(hex, &u)) {
        if (s->user_count == s->user_cap)
            bench_state_reach(s, s->user_cap ? s->user_cap * 2 : 1024);
        s->users[s->user_count++] = u;
        return true;
    }
    if (sscanf(line, "group %" SCNu64 " %" SCNu32, &g.id, &g.members) == 2 && s->group_count < BENCH_SIZES) {
        s->groups[s->group_count++] = g;
        return true;
    }
    return false;
}

bool bench_state_load(struct bench_state *s, const char *path)
{
    char line[1024];
    *s = (struct bench_state){ .path = path };
    FILE *f = fopen(path, "re");
    if (!f && errno == ENOENT)
        return begin_anew(s);
    bool is_ok = f && fgets(line, sizeof line, f) && strcmp(line, FIRST_LINE) == 0;
    while (is_ok && fgets(line, sizeof line, f))
        is_ok = read_line(s, line);
    if (!is_ok)
        fprintf(stderr, "bytetalk-bench: %s: %s\n", path, f ? "is no file of accounts" : strerror(errno));
    if (f)
        fclose(f);
    return is_ok;
}

static void write_user(FILE *f, const struct bench_user *u)
{
    fprintf(f, "user %" PRIu64 " %" PRIu64 " ", u->id, u->device_id);
    for (unsigned n = 0; n < u->token_len; n++)
        fprintf(f, "%02x", u->token[n]);
    fputc('\n', f);
}

/* Tokens are as good as passwords: nobody else may read them. Written anew and renamed, so that no half file is left. */
bool bench_state_save(const struct bench_state *s)
{
    char path[4096];
    int len = snprintf(path, sizeof path, "%s.new", s->path);
    int fd = len < (int)sizeof path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR) : -1;
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (f) {
        fprintf(f, FIRST_LINE "tag %s\npassword %s\n", s->tag, s->password);
        for (uint32_t n = 0; n < s->user_count; n++)
            write_user(f, &s->users[n]);
        for (unsigned n = 0; n < s->group_count; n++)
            fprintf(f, "group %" PRIu64 " %" PRIu32 "\n", s->groups[n].id, s->groups[n].members);
        bool is_bad = ferror(f);
        if (fclose(f) == 0 && !is_bad && rename(path, s->path) == 0)
            return true;
    } else if (fd >= 0) {
        close(fd);
    }
    fprintf(stderr, "bytetalk-bench: %s: %s\n", s->path, strerror(errno));
    return false;
}
