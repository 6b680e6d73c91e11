/* supervise_copy.c: the settings and the command line of each copy of a unit. */
#include "supervise_copy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/mem.h"

enum { PORT_MAX = 65535, NAME_MAX_BYTES = 63 };

static char *next_set(struct supervise_copy *out)
{
    return out->sets[out->nsets++];
}

/* The address of section.key, its port higher by `shift`; nothing is set where there is no port or it is 0. */
static enum bt_err shift_port(const struct conf *conf, const char *section, const char *key, unsigned shift, struct supervise_copy *out,
                              char *why, size_t why_size)
{
    const char *address = conf_str(conf, section, key), *colon = strrchr(address, ':');
    char *end;
    unsigned long port;

    if (!colon || shift == 0)
        return BT_OK;
    port = strtoul(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || port == 0)
        return BT_OK; /* a free port; or no address, of which the copy complains */
    if (port > PORT_MAX || port + shift > PORT_MAX) {
        snprintf(why, why_size, "[%s] %s = %s: each copy takes the next port, and there is none above %d; set a lower one", section, key,
                 address, PORT_MAX);
        return BT_EINVAL;
    }
    snprintf(next_set(out), SUPERVISE_SET_SIZE, "%s.%s=%.*s:%lu", section, key, (int)(colon - address), address, port + shift);
    return BT_OK;
}

static enum bt_err set_name(const struct conf *conf, const struct role *role, unsigned i, struct supervise_copy *out, char *why,
                            size_t why_size)
{
    const char *name = conf_str(conf, "node", "name");
    char *set;
    int len;

    if (*name == '\0')
        return BT_OK; /* host name and process id */
    set = next_set(out);
    len = snprintf(set, SUPERVISE_SET_SIZE, "node.name=%s-%s-%u", name, role->name, i + 1);
    if (len <= NAME_MAX_BYTES + (int)strlen("node.name="))
        return BT_OK;
    snprintf(why, why_size, "[node] name = %s: too long, as role and number are put behind it in a unit", name);
    return BT_EINVAL;
}

enum bt_err supervise_copy_settings(const struct conf *conf, const struct role *role, unsigned i, unsigned p, struct supervise_copy *out,
                                    char *why, size_t why_size)
{
    enum bt_err err;

    out->nsets = 0;
    err = set_name(conf, role, i, out, why, why_size);
    if (err == BT_OK)
        err = shift_port(conf, "node", "listen", p, out, why, why_size);
    if (err == BT_OK)
        err = shift_port(conf, "node", "advertise", p, out, why, why_size);
    if (role->id != RPC_ROLE_PROXY || conf_bool(conf, "proxy", "share_port"))
        return err;
    if (err == BT_OK)
        err = shift_port(conf, "proxy", "listen", i, out, why, why_size);
    if (err == BT_OK)
        err = shift_port(conf, "proxy", "advertise", i, out, why, why_size);
    return err;
}

enum bt_err supervise_check_shared(const struct conf *conf, char *why, size_t why_size)
{
    static const struct {
        const char *section, *alone, *instead;
    } backends[] = {
        { "registry", "local:", "zookeeper://host:2181/bytetalk" },
        { "presence", "memory:", "redis://host:6379/0" },
        { "store", "sqlite:", "mariadb://user@host:3306/bytetalk" },
    };

    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        const char *url = conf_str(conf, backends[i].section, "url");

        if (strncmp(url, backends[i].alone, strlen(backends[i].alone)) != 0)
            continue;
        snprintf(why, why_size, "[%s] url = %s: serves one process, a unit is several; set one like %s, or run bytetalk without --unit",
                 backends[i].section, url, backends[i].instead);
        return BT_EINVAL;
    }
    return BT_OK;
}

char **supervise_copy_argv(const char *exe, const struct options *options, const char *role_arg, const struct supervise_copy *copy)
{
    size_t n = 0, max = 2 + 2 + 2 * (options->nsets + copy->nsets) + 1;
    char **argv = bt_calloc(max, sizeof *argv);

    if (!argv)
        return NULL;
    argv[n++] = (char *)exe; /* exec changes none of them */
    argv[n++] = (char *)role_arg;
    if (options->config) {
        argv[n++] = (char *)"--config";
        argv[n++] = (char *)options->config;
    }
    for (size_t i = 0; i < options->nsets; i++) {
        argv[n++] = (char *)"--set";
        argv[n++] = (char *)options->sets[i];
    }
    for (size_t i = 0; i < copy->nsets; i++) { /* the last one counts */
        argv[n++] = (char *)"--set";
        argv[n++] = (char *)copy->sets[i];
    }
    return argv;
}
