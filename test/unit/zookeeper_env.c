/* test/unit/zookeeper_env.c: see zookeeper_env.h. */
#include "test/unit/zookeeper_env.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/loop.h"
#include "port_aid.h"

enum { READY_US = 30 * 1000000, POLL_US = 20000 };

static void write_config(const struct zk_env *env, size_t i, const char *members)
{
    char path[192];
    snprintf(path, sizeof path, "%s/zoo.cfg", env->servers[i].dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "tickTime=500\nminSessionTimeout=1000\nmaxSessionTimeout=60000\ninitLimit=10\nsyncLimit=4\ndataDir=%s\n"
            "clientPort=%u\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=*\nmaxClientCnxns=0\n%s",
            env->servers[i].dir, (unsigned)env->servers[i].port, members);
    fclose(f);
    snprintf(path, sizeof path, "%s/myid", env->servers[i].dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%zu\n", i + 1);
    fclose(f);
}

void zk_env_init(struct zk_env *env, size_t count)
{
    char members[256] = "";

    memset(env, 0, sizeof *env);
    env->count = count;
    snprintf(env->dir, sizeof env->dir, "/tmp/bytetalk-test-XXXXXX");
    assert_non_null(mkdtemp(env->dir));
    for (size_t i = 0; i < count; i++) {
        struct zk_server *s = &env->servers[i];
        size_t hosts = strlen(env->hosts), used = strlen(members);
        s->port = port_hold();
        snprintf(s->dir, sizeof s->dir, "%s/%zu", env->dir, i + 1);
        assert_int_equal(mkdir(s->dir, 0700), 0);
        snprintf(env->hosts + hosts, sizeof env->hosts - hosts, "%s127.0.0.1:%u", i > 0 ? "," : "", (unsigned)s->port);
        if (count > 1)
            snprintf(members + used, sizeof members - used, "server.%zu=127.0.0.1:%u:%u\n", i + 1, (unsigned)port_hold(), (unsigned)port_hold());
    }
    for (size_t i = 0; i < count; i++)
        write_config(env, i, members);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void zk_env_deinit(struct zk_env *env)
{
    for (size_t i = 0; i < env->count; i++)
        zk_env_kill(env, i);
    nftw(env->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void run(const struct zk_server *s, pid_t parent)
{
    char config[192], log[192];
    snprintf(config, sizeof config, "%s/zoo.cfg", s->dir);
    snprintf(log, sizeof log, "%s/log", s->dir);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    execlp("java", "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dzookeeper.forceSync=no", "-cp",
           "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar", "org.apache.zookeeper.server.quorum.QuorumPeerMain", config, (char *)NULL);
    _exit(127);
}

void zk_env_start(struct zk_env *env, size_t i)
{
    pid_t self = getpid();
    assert_int_equal(env->servers[i].pid, 0);
    env->servers[i].pid = fork();
    assert_true(env->servers[i].pid >= 0);
    if (env->servers[i].pid == 0)
        run(&env->servers[i], self);
}

void zk_env_kill(struct zk_env *env, size_t i)
{
    struct zk_server *s = &env->servers[i];
    if (s->pid == 0)
        return;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

void zk_env_freeze(struct zk_env *env, size_t i, bool on)
{
    assert_int_equal(kill(env->servers[i].pid, on ? SIGSTOP : SIGCONT), 0);
}

/* What the server says about itself; false: it does not serve. */
static bool ask(const struct zk_server *s, char *out, size_t size)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(s->port) };
    const struct timeval limit = { .tv_usec = 300000 }; /* one that is just starting may answer and never close */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t len = 0;
    ssize_t n = 0;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && send(fd, "srvr", 4, MSG_NOSIGNAL) == 4) {
        while (len + 1 < size && (n = recv(fd, out + len, size - len - 1, 0)) > 0)
            len += (size_t)n;
    }
    out[len] = '\0';
    close(fd);
    return strstr(out, "Mode:") != NULL;
}

static bool is_serving(const struct zk_server *s, const char *mode)
{
    char text[2048];
    return s->pid != 0 && ask(s, text, sizeof text) && strstr(text, mode) != NULL;
}

void zk_env_wait(const struct zk_env *env)
{
    uint64_t end = net_clock_us() + READY_US;
    for (size_t i = 0; i < env->count; i++) {
        while (env->servers[i].pid != 0 && !is_serving(&env->servers[i], "Mode:")) {
            assert_true(net_clock_us() < end);
            usleep(POLL_US);
        }
    }
}

size_t zk_env_leader(const struct zk_env *env)
{
    for (size_t i = 0; i < env->count; i++) {
        if (is_serving(&env->servers[i], "Mode: leader"))
            return i;
    }
    fail_msg("no server leads");
    return 0;
}

unsigned long zk_env_received(const struct zk_env *env, size_t i)
{
    static const char label[] = "Received: ";
    char text[2048];
    assert_true(ask(&env->servers[i], text, sizeof text));
    assert_non_null(strstr(text, label));
    return strtoul(strstr(text, label) + sizeof label - 1, NULL, 10);
}
