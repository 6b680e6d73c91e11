/* store/mariadb_url.c: takes "mariadb://user:password@host:port,host:port/database" apart. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/data_dir.h"
#include "store/mariadb.h"

static const char scheme[] = "mariadb://";
enum { SCHEME_LEN = sizeof scheme - 1, DEFAULT_PORT = 3306 };

bool mariadb_url_is(const char *url)
{
    return strncmp(url, scheme, SCHEME_LEN) == 0;
}

static int hex_of(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* Copy [from, end) with "%40" replaced by "@". False: too long, or no two digits after a %. */
static bool copy_decoded(char *to, size_t size, const char *from, const char *end)
{
    size_t n = 0;
    for (; from < end; n++) {
        if (n + 1 >= size)
            return false;
        if (*from != '%') {
            to[n] = *from++;
            continue;
        }
        int high = end - from > 2 ? hex_of(from[1]) : -1, low = end - from > 2 ? hex_of(from[2]) : -1;
        if (high < 0 || low < 0 || high + low == 0)
            return false;
        to[n] = (char)(high * 16 + low);
        from += 3;
    }
    to[n] = '\0';
    return true;
}

/* "[::1]:3307", "db1:3307" or "db1". */
static bool parse_host(const char *from, const char *end, struct mariadb_url *out)
{
    const char *name = from, *name_end, *port;
    if (out->nhosts == MARIADB_HOSTS_MAX)
        return false;
    if (from < end && *from == '[') {
        name = from + 1;
        name_end = memchr(name, ']', (size_t)(end - name));
        if (name_end == NULL)
            return false;
        port = name_end + 1;
    } else {
        name_end = memchr(from, ':', (size_t)(end - from));
        if (name_end == NULL)
            name_end = end;
        port = name_end;
    }
    long number = DEFAULT_PORT;
    if (port < end) {
        char *stop;
        if (*port != ':' || !isdigit((unsigned char)port[1]))
            return false;
        number = strtol(port + 1, &stop, 10);
        if (stop != end)
            return false;
    }
    size_t len = (size_t)(name_end - name);
    if (len == 0 || len >= sizeof out->hosts[0].name || number < 1 || number > 65535)
        return false;
    memcpy(out->hosts[out->nhosts].name, name, len);
    out->hosts[out->nhosts].name[len] = '\0';
    out->hosts[out->nhosts++].port = (uint16_t)number;
    return true;
}

static bool parse_hosts(const char *from, const char *end, struct mariadb_url *out)
{
    for (;;) {
        const char *comma = memchr(from, ',', (size_t)(end - from));
        if (!parse_host(from, comma != NULL ? comma : end, out))
            return false;
        if (comma == NULL)
            return true;
        from = comma + 1;
    }
}

/* The name stands in statements of --migrate, so it holds nothing that would have to be quoted. */
static bool parse_database(const char *name, struct mariadb_url *out)
{
    size_t len = strlen(name);
    if (len == 0 || len >= sizeof out->database)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("_-$", name[i]) == NULL)
            return false;
    memcpy(out->database, name, len + 1);
    return true;
}

static bool parse(const char *url, struct mariadb_url *out)
{
    const char *rest = url + SCHEME_LEN, *slash = strrchr(rest, '/');
    if (slash == NULL)
        return false;
    const char *at = memrchr(rest, '@', (size_t)(slash - rest));
    if (at == NULL)
        return false;
    const char *colon = memchr(rest, ':', (size_t)(at - rest));
    return copy_decoded(out->user, sizeof out->user, rest, colon != NULL ? colon : at) && out->user[0] != '\0' &&
           copy_decoded(out->password, sizeof out->password, colon != NULL ? colon + 1 : at, at) &&
           parse_hosts(at + 1, slash, out) && parse_database(slash + 1, out);
}

static enum bt_err read_password(const char *path, char *password, size_t size, char *why, size_t why_size)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return data_dir_errno(path, why, why_size);
    bool is_read = fgets(password, (int)size, f) != NULL;
    bool is_whole = is_read && (strchr(password, '\n') != NULL || fgetc(f) == EOF);
    fclose(f);
    if (!is_whole) {
        snprintf(why, why_size, "%s: %s; its first line shall be the database's password", path,
                 is_read ? "line too long" : "empty, or not readable");
        return BT_EINVAL;
    }
    password[strcspn(password, "\r\n")] = '\0';
    return BT_OK;
}

enum bt_err mariadb_url_parse(const char *url, const char *password_file, struct mariadb_url *out, char *why, size_t why_size)
{
    memset(out, 0, sizeof *out);
    if (!mariadb_url_is(url) || !parse(url, out)) {
        snprintf(why, why_size, "[store] url: not understood; write mariadb://USER:PASSWORD@HOST:3306,HOST:3306/DATABASE");
        return BT_EINVAL;
    }
    if (*password_file == '\0')
        return BT_OK;
    return read_password(password_file, out->password, sizeof out->password, why, why_size);
}

void mariadb_url_show(const char *url, char *text, size_t size)
{
    const char *slash = strrchr(url, '/'), *at = NULL, *colon = NULL;
    if (mariadb_url_is(url) && slash >= url + SCHEME_LEN) {
        at = memrchr(url, '@', (size_t)(slash - url));
        colon = at != NULL ? memchr(url + SCHEME_LEN, ':', (size_t)(at - url - SCHEME_LEN)) : NULL;
    }
    if (colon != NULL)
        snprintf(text, size, "%.*s%s", (int)(colon - url), url, at);
    else
        snprintf(text, size, "%s", url);
}
