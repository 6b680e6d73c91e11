/*
 * client/cli_admin_conf.c: where the node listens and what its secret is, by the server's ini.
 *
 * The server checks every word of its ini, and this program does not know its settings; so of the file only what is needed here is
 * looked at, by the server's rules for comments and blanks.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/cli_admin.h"

enum { LINE_SIZE = 512 };

static const char default_file[] = "bytetalk.ini";

/* With the server's defaults. */
struct found {
    char listen[ADMIN_ADDRESS_SIZE], secret_file[ADMIN_PATH_SIZE], local[16], url[16], nodes[16]; /* of the last two, how they begin */
};

static char *trim(char *text)
{
    text += strspn(text, " \t\r\n");
    for (size_t len = strlen(text); len > 0 && strchr(" \t\r\n", text[len - 1]); len--)
        text[len - 1] = '\0';
    return text;
}

/* A comment begins with ; or # at the start of a line or after a blank. */
static void cut_comment(char *text)
{
    for (char *p = text; *p; p++) {
        if ((*p == '#' || *p == ';') && (p == text || p[-1] == ' ' || p[-1] == '\t')) {
            *p = '\0';
            return;
        }
    }
}

static void take(struct found *f, const char *section, const char *name, const char *value)
{
    const struct {
        const char *section, *name;
        char *to;
        size_t size;
    } wanted[] = {
        { "node", "listen", f->listen, sizeof f->listen },
        { "node", "secret_file", f->secret_file, sizeof f->secret_file },
        { "rpc", "local", f->local, sizeof f->local },
        { "registry", "url", f->url, sizeof f->url },
        { "registry", "nodes", f->nodes, sizeof f->nodes },
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (strcmp(wanted[i].section, section) == 0 && strcmp(wanted[i].name, name) == 0)
            snprintf(wanted[i].to, wanted[i].size, "%s", value);
}

static void read_line(struct found *f, char section[64], char *line)
{
    char *text = trim(line), *end;

    cut_comment(text);
    if (*text == '[' && (end = strchr(text, ']'))) {
        *end = '\0';
        snprintf(section, 64, "%s", text + 1);
    } else if ((end = text + strcspn(text, "=:")), *end) {
        *end = '\0';
        take(f, section, trim(text), trim(end + 1));
    }
}

static bool read_file(struct found *f, const char *path)
{
    char line[LINE_SIZE], section[64] = "";
    FILE *file = fopen(path, "r");

    if (!file) {
        admin_say("%s can't be read: %s.", path, strerror(errno));
        return false;
    }
    while (fgets(line, sizeof line, file))
        read_line(f, section, line);
    fclose(file);
    return true;
}

static enum cli_exit no_address(const struct found *f, const char *path)
{
    bool is_embedded = strcmp(f->local, "direct") == 0 && strncmp(f->url, "local:", 6) == 0 && !*f->nodes;

    if (!path)
        admin_say("Say which node is asked: --node HOST:PORT, its node listener; or --config FILE, the server's ini.");
    else if (is_embedded)
        admin_say("By %s the server runs alone, without a listener for nodes: nobody can ask it anything. Set [rpc] local = socket and [node] listen = "
                  "127.0.0.1:7500 there and start it again; or, if it was started with other settings, say --node HOST:PORT.", path);
    else
        admin_say("%s says [node] listen = %s: the node finds a free port at each start. Set a port there; or say --node HOST:PORT with the port that the "
                  "node logged at its start (\"ready ... nodes=HOST:PORT\").", path, f->listen);
    return CLI_USAGE;
}

/* Who listens on all addresses is reached by the loopback one. */
static void reach(const char *listen, char out[ADMIN_ADDRESS_SIZE])
{
    const char *port = strrchr(listen, ':');
    bool is_any4 = strncmp(listen, "0.0.0.0:", 8) == 0, is_any6 = strncmp(listen, "[::]:", 5) == 0;

    if (is_any4 || is_any6)
        snprintf(out, ADMIN_ADDRESS_SIZE, "%s%.6s", is_any4 ? "127.0.0.1" : "[::1]", port);
    else
        snprintf(out, ADMIN_ADDRESS_SIZE, "%.63s", listen);
}

static bool has_port(const char *address)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;
    return colon && colon > address && cli_parse_u64(colon + 1, &port) && port > 0 && port < 65536;
}

enum cli_exit admin_settings(const struct admin *a, char address_out[ADMIN_ADDRESS_SIZE], char secret_file_out[ADMIN_PATH_SIZE])
{
    struct found f = { .listen = "127.0.0.1:0", .local = "direct", .url = "local:" };
    const char *path = a->config ? a->config : access(default_file, F_OK) == 0 ? default_file : NULL;

    if (path && !read_file(&f, path))
        return CLI_USAGE;
    snprintf(secret_file_out, ADMIN_PATH_SIZE, "%s", a->secret_file ? a->secret_file : f.secret_file);
    if (a->node && (!has_port(a->node) || strlen(a->node) >= ADMIN_ADDRESS_SIZE)) {
        admin_say("A node is HOST:PORT, not %s.", a->node);
        return CLI_USAGE;
    }
    if (!a->node && !has_port(f.listen))
        return no_address(&f, path);
    reach(a->node ? a->node : f.listen, address_out);
    return CLI_OK;
}
