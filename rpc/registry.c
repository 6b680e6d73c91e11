/* rpc/registry.c: which backend the registry's URL names. */
#include "rpc/registry.h"

#include <stdio.h>
#include <string.h>

#include "rpc/registry_internal.h"

const struct conf_key registry_keys[] = {
    { .section = "registry", .name = "url", .type = CONF_STRING, .def = "local:", .min = 1, .max = 256,
      .help = "Where nodes find each other. local: this process, and those that nodes names; or zookeeper://host:port,host:port/path." },
    { .section = "registry", .name = "nodes", .type = CONF_STRING, .def = "", .min = 0, .max = 180,
      .help = "With local: other processes, as role[+role]@address[*weight], separated by commas." },
    { .section = "registry", .name = "session_ms", .type = CONF_INT, .def = "4000", .min = 1000, .max = 60000, .unit = "ms",
      .help = "ZooKeeper: a node that it hears nothing of for that long is taken out." },
    { .section = "registry", .name = "auth", .type = CONF_STRING, .def = "", .min = 0, .max = 180,
      .help = "ZooKeeper: user:password; then only who knows them reads and changes what nodes write there." },
    { .section = "registry", .name = "auth_file", .type = CONF_STRING, .def = "", .min = 0, .max = 180,
      .help = "The same in a file's first line, readable by nobody else." },
    { .section = NULL },
};

static bool url_is(const char *url, const char *scheme)
{
    return strncmp(url, scheme, strlen(scheme)) == 0;
}

enum bt_err registry_open(struct net_loop *loop, const struct conf *conf, const struct registry_node *self, registry_changed_cb *changed, void *arg,
                          struct registry **out, char *why, size_t why_size)
{
    const struct registry_open_args args = { loop, conf, self, changed, arg };
    const char *url = conf_str(conf, "registry", "url");

    if (url_is(url, "local:"))
        return registry_local_open(&args, out, why, why_size);
    if (url_is(url, "zookeeper:"))
        return registry_zookeeper_open(&args, out, why, why_size);
    snprintf(why, why_size, "[registry] url: no such kind of registry: %s", url);
    return BT_EINVAL;
}

void registry_set_self(struct registry *r, const struct registry_node *self)
{
    r->ops->set_self(r, self);
}

void registry_join(struct registry *r)
{
    r->ops->join(r);
}

void registry_leave(struct registry *r)
{
    r->ops->leave(r);
}

void registry_set_load(struct registry *r, uint32_t load)
{
    r->ops->set_load(r, load);
}

void registry_refresh(struct registry *r)
{
    r->ops->refresh(r);
}

void registry_close(struct registry *r, void (*closed_cb)(void *arg), void *arg)
{
    r->ops->close(r, closed_cb, arg);
}
