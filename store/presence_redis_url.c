/* store/presence_redis_url.c: where Redis is and how to log in, from [presence] url and password_file. */
#include "store/presence_redis.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* %40 and the like to bytes, with a NUL. False: malformed or too long. */
static bool decode(const char *text, size_t len, char *out, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 2 < len ? hex_of(text[i + 1]) : -1, low = i + 2 < len ? hex_of(text[i + 2]) : -1;
            if (high < 0 || low < 0 || (high | low) == 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (n + 1 >= size)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

static bool parse_number(const char *text, size_t len, uint32_t max, uint32_t *out)
{
    uint32_t n = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(text[i] - '0');
    }
    *out = n;
    return n <= max;
}

/* host, host:port, [v6], [v6]:port */
static bool parse_host(const char *text, size_t len, struct redis_host *out)
{
    const char *end = text + len, *name_end, *close;
    uint32_t port = 6379;
    if (len > 0 && *text == '[') {
        close = memchr(text, ']', len);
        if (close == NULL)
            return false;
        text++;
        name_end = close;
        close++;
    } else {
        close = memchr(text, ':', len);
        name_end = close = close != NULL ? close : end;
    }
    if (close != end && (*close != ':' || !parse_number(close + 1, (size_t)(end - close - 1), 65535, &port) || port == 0))
        return false;
    out->port = (uint16_t)port;
    return name_end > text && decode(text, (size_t)(name_end - text), out->name, sizeof out->name);
}

static bool parse_login(const char *text, size_t len, struct redis_target *out)
{
    const char *colon = memchr(text, ':', len);
    size_t user_len = colon != NULL ? (size_t)(colon - text) : len;
    if (!decode(text, user_len, out->user, sizeof out->user))
        return false;
    return colon == NULL || decode(colon + 1, len - user_len - 1, out->password, sizeof out->password);
}

static const char *parse(const char *url, struct redis_target *out)
{
    static const char scheme[] = "redis://";
    const char *rest = url + strlen(scheme), *at, *end;
    if (strncmp(url, scheme, strlen(scheme)) != 0)
        return "is no redis:// url";
    at = strrchr(rest, '@');
    if (at != NULL) {
        if (!parse_login(rest, (size_t)(at - rest), out))
            return "user or password is malformed; write @ : / , % in them as %40 %3a %2f %2c %25";
        rest = at + 1;
    }
    end = strchr(rest, '/');
    if (end != NULL && end[1] != '\0' && !parse_number(end + 1, strlen(end + 1), 99999, &out->database))
        return "what stands after the / is not the number of a database";
    if (end == NULL)
        end = rest + strlen(rest);
    for (;;) {
        const char *comma = memchr(rest, ',', (size_t)(end - rest)), *stop = comma != NULL ? comma : end;
        if (out->nhosts == REDIS_HOSTS_MAX)
            return "too many addresses";
        if (!parse_host(rest, (size_t)(stop - rest), &out->hosts[out->nhosts++]))
            return "an address is malformed";
        if (comma == NULL)
            return NULL;
        rest = comma + 1;
    }
}

/* The first line. */
static enum bt_err read_password(const char *path, struct redis_target *out, char *why, size_t why_size)
{
    FILE *f = fopen(path, "re");
    enum bt_err err = BT_EINVAL;
    if (f == NULL) {
        snprintf(why, why_size, "[presence] password_file = %s: %s", path, strerror(errno));
        return BT_EINVAL;
    }
    if (fgets(out->password, sizeof out->password, f) == NULL)
        snprintf(why, why_size, "[presence] password_file = %s: %s", path, ferror(f) ? strerror(errno) : "is empty");
    else if (strlen(out->password) == sizeof out->password - 1)
        snprintf(why, why_size, "[presence] password_file = %s: its first line is too long for a password", path);
    else
        err = BT_OK;
    out->password[strcspn(out->password, "\r\n")] = '\0';
    if (err == BT_OK && out->password[0] == '\0') {
        snprintf(why, why_size, "[presence] password_file = %s: its first line is empty", path);
        err = BT_EINVAL;
    }
    fclose(f);
    return err;
}

enum bt_err redis_target_parse(const char *url, const char *password_file, struct redis_target *out, char *why, size_t why_size)
{
    memset(out, 0, sizeof *out);
    const char *fault = parse(url, out);
    if (fault != NULL) {
        snprintf(why, why_size, "[presence] url: %s; write redis://[user[:password]@]host:6379[,host:6379...][/database]", fault);
        return BT_EINVAL;
    }
    if (password_file[0] != '\0') {
        if (out->password[0] != '\0') {
            snprintf(why, why_size, "[presence]: a password stands in url and in password_file; leave one out");
            return BT_EINVAL;
        }
        return read_password(password_file, out, why, why_size);
    }
    if (out->user[0] != '\0' && out->password[0] == '\0') {
        snprintf(why, why_size, "[presence] url: user %s has no password; write it into the url or a file, and password_file = its path",
                 out->user);
        return BT_EINVAL;
    }
    return BT_OK;
}
