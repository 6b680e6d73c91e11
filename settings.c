/* settings.c: knows which modules have settings, and where these come from. */
#include "settings.h"

#include <stdio.h>
#include <unistd.h>

#include "net/log.h"
#include "rpc/registry.h"
#include "rpc/rpc.h"
#include "store/presence.h"
#include "store/store.h"
#include "supervise.h"

static const char default_file[] = "bytetalk.ini";

static const struct conf_key main_keys[] = {
    { .section = "log",
      .name = "level",
      .type = CONF_WORD,
      .def = "info",
      .words = "error|warn|info|debug",
      .help = "The least important lines that are written; SIGHUP reads it anew." },
    { .section = "node",
      .name = "drain_ms",
      .type = CONF_INT,
      .def = "10000",
      .min = 0,
      .max = 600000,
      .unit = "ms",
      .help = "How long SIGTERM may take to finish what was begun and to see clients off." },
    { .section = NULL },
};

/* In this order they are printed: what an operator looks for first comes first. */
enum bt_err settings_new(const struct role *const *roles, struct conf **out)
{
    enum bt_err err = conf_new(out);
    size_t n = 0;

    if (err != BT_OK)
        return err;
    conf_declare(*out, store_keys);
    while (roles[n])
        n++;
    /* Those of roles that are not served here too: one file does for all nodes. The proxy is the last to start. */
    while (n-- > 0)
        conf_declare(*out, roles[n]->keys);
    conf_declare(*out, rpc_keys);
    conf_declare(*out, registry_keys);
    conf_declare(*out, presence_keys);
    conf_declare(*out, supervise_keys);
    conf_declare(*out, main_keys);
    return BT_OK;
}

static enum bt_err read_file(const struct options *options, struct conf *conf, char *why, size_t why_size)
{
    const char *path = options->config;

    if (!path) {
        if (access(default_file, F_OK) != 0)
            return BT_OK;
        path = default_file;
    }
    return conf_read(conf, path, why, why_size);
}

enum bt_err settings_load(const struct options *options, const struct role *const *roles, struct conf **out, char *why,
                          size_t why_size)
{
    enum bt_err err = settings_new(roles, out);

    if (err != BT_OK) {
        snprintf(why, why_size, "%s", bt_err_text(err));
        return err;
    }
    err = read_file(options, *out, why, why_size);
    for (size_t i = 0; err == BT_OK && i < options->nsets; i++)
        err = conf_set(*out, options->sets[i], why, why_size);
    if (err != BT_OK) {
        conf_free(*out);
        *out = NULL;
    }
    return err;
}

void settings_apply_log(const struct conf *conf)
{
    enum log_level level;

    if (log_level_parse(conf_str(conf, "log", "level"), &level))
        log_set_level(level);
}
