/* test/unit/zk_members.c: registries in ZooKeeper, all on one loop. */
#include <stdio.h>
#include <string.h>

#include "net/log.h"
#include "test/unit/zk_members.h"

struct zk_ground zk;

/* ---- a node ---- */

static void view_changed(const struct registry_node *nodes, size_t n, void *arg)
{
    struct member *m = arg;
    assert_true(n <= VIEW_MAX);
    if (n > 0)
        memcpy(m->view, nodes, n * sizeof *nodes);
    m->count = n;
    m->changes++;
    if (n < m->smallest)
        m->smallest = n;
}

void member_set(struct member *m, const char *key, const char *value)
{
    char line[400], why[512];
    snprintf(line, sizeof line, "registry.%s=%s", key, value);
    assert_int_equal(conf_set(m->conf, line, why, sizeof why), BT_OK);
}

void member_prepare(struct member *m, const char *name, uint64_t epoch, uint32_t roles, const char *path, uint32_t session_ms)
{
    char text[256];
    memset(m, 0, sizeof *m);
    assert_int_equal(conf_new(&m->conf), BT_OK);
    conf_declare(m->conf, registry_keys);
    snprintf(text, sizeof text, "zookeeper://%s/%s", zk.env.hosts, path);
    member_set(m, "url", text);
    snprintf(text, sizeof text, "%u", session_ms);
    member_set(m, "session_ms", text);
    snprintf(m->self.name, sizeof m->self.name, "%s", name);
    snprintf(m->self.unit, sizeof m->self.unit, "unit1");
    snprintf(m->self.address, sizeof m->self.address, "10.0.0.%u:%s", (unsigned)epoch, "7400");
    snprintf(m->self.version, sizeof m->self.version, "0.1.0");
    m->self.epoch = epoch;
    m->self.roles = roles;
    m->self.weight = 1;
}

enum bt_err member_try_open(struct member *m, char *why, size_t why_size)
{
    return registry_open(zk.loop, m->conf, &m->self, view_changed, m, &m->registry, why, why_size);
}

void member_open(struct member *m)
{
    char why[512] = "";
    enum bt_err err = member_try_open(m, why, sizeof why);
    if (err != BT_OK)
        fail_msg("%s: %s", bt_err_name(err), why);
}

void member_join(struct member *m, const char *name, uint64_t epoch, const char *path)
{
    member_prepare(m, name, epoch, 1u << RPC_ROLE_CHAT, path, SESSION_MS);
    member_open(m);
    registry_join(m->registry);
}

static void member_closed(void *arg)
{
    ((struct member *)arg)->is_closed = true;
}

void member_close(struct member *m)
{
    uint64_t end = net_clock_us() + 5000000;
    registry_close(m->registry, member_closed, m);
    assert_false(m->is_closed);
    while (!m->is_closed && net_clock_us() < end)
        net_loop_turn(zk.loop, 20);
    assert_true(m->is_closed);
    conf_free(m->conf);
}

const struct registry_node *member_find(const struct member *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++) {
        if (strcmp(m->view[i].name, name) == 0)
            return &m->view[i];
    }
    return NULL;
}

void zk_turn_for(uint32_t ms)
{
    uint64_t end = net_clock_us() + ms * UINT64_C(1000);
    while (net_clock_us() < end)
        net_loop_turn(zk.loop, 10);
}

/* ---- the servers ---- */

static void keep_line(enum log_level level, const char *line, void *arg)
{
    size_t used = strlen(zk.said);
    (void)level;
    (void)arg;
    snprintf(zk.said + used, sizeof zk.said - used, "%s\n", line);
}

int zk_clear_log(void **state)
{
    (void)state;
    zk.said[0] = '\0';
    return 0;
}

int zk_start_servers(size_t count)
{
    log_set_sink(keep_line, NULL);
    zk_env_init(&zk.env, count);
    for (size_t i = 0; i < count; i++)
        zk_env_start(&zk.env, i);
    assert_int_equal(net_loop_new(&zk.loop), BT_OK);
    zk_env_wait(&zk.env);
    return 0;
}

int zk_stop_servers(void **state)
{
    (void)state;
    net_loop_turn(zk.loop, 0);
    net_loop_turn(zk.loop, 0);
    net_loop_free(zk.loop);
    zk_env_deinit(&zk.env);
    log_set_sink(NULL, NULL);
    return 0;
}
