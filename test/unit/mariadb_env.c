/* test/unit/mariadb_env.c: see mariadb_env.h. */
#include "test/unit/mariadb_env.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "port_aid.h"

enum { ARGS_MAX = 40, START_TRIES = 1000, TRY_MS = 10 };

/* Start a program whose output goes to a file. It ends when we do. */
static pid_t spawn(char *const *args, const char *log)
{
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    /* Temporary files stand beside the log: from a shared directory a server removes what others are using. */
    char dir[256];
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(log, '/') - log), log);
    setenv("TMPDIR", dir, 1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || fd < 0)
        _exit(126);
    dup2(fd, 1);
    dup2(fd, 2);
    for (int other = 3; other < 1024; other++)
        close(other);
    execvp(args[0], args);
    _exit(127);
}

static int wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return status;
}

static void run(char *const *args, const char *log)
{
    if (wait_for(spawn(args, log)) != 0)
        fail_msg("%s failed; is mariadb-server installed? It said in %s why", args[0], log);
}

/* Whether a server greets there. */
static bool greets(int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port) };
    char byte;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd p = { .fd = fd, .events = POLLIN };
    bool is_there = connect(fd, (struct sockaddr *)&a, sizeof a) == 0 && poll(&p, 1, 1000) == 1 && read(fd, &byte, 1) == 1;
    close(fd);
    return is_there;
}

void mariadb_server_init(struct mariadb_server *s)
{
    char datadir[96], log[96];
    memset(s, 0, sizeof *s);
    snprintf(s->dir, sizeof s->dir, "/tmp/bytetalk-mariadb-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    s->port = port_hold();
    snprintf(datadir, sizeof datadir, "--datadir=%s/data", s->dir);
    snprintf(log, sizeof log, "%s/install.log", s->dir);
    char *args[] = { "mariadb-install-db", "--no-defaults", datadir, "--auth-root-authentication-method=normal", "--skip-test-db",
                     "--innodb-log-file-size=16M", geteuid() == 0 ? "--user=root" : NULL, NULL };
    run(args, log);
}

void mariadb_server_start(struct mariadb_server *s, const char *option)
{
    char datadir[96], sock[96], pid_file[96], port[32], log[96];
    assert_int_equal(s->pid, 0);
    snprintf(datadir, sizeof datadir, "--datadir=%s/data", s->dir);
    snprintf(sock, sizeof sock, "--socket=%s/sock", s->dir);
    snprintf(pid_file, sizeof pid_file, "--pid-file=%s/pid", s->dir);
    snprintf(port, sizeof port, "--port=%d", s->port);
    snprintf(log, sizeof log, "%s/server.log", s->dir);
    char *args[ARGS_MAX] = { "mariadbd", "--no-defaults", datadir, sock, pid_file, port, "--bind-address=127.0.0.1", "--skip-name-resolve",
                             "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--performance-schema=OFF", "--log-bin=bin",
                             "--sync-binlog=1" };
    size_t n = 13;
    if (geteuid() == 0)
        args[n++] = "--user=root";
    if (option != NULL)
        args[n++] = (char *)(uintptr_t)option;
    s->pid = spawn(args, log);
    for (int i = 0; i < START_TRIES && !greets(s->port); i++) {
        int status;
        if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
            s->pid = 0;
            fail_msg("mariadbd ended; it said in %s why", log);
        }
        usleep(TRY_MS * 1000);
    }
    assert_true(greets(s->port));
}

void mariadb_server_stop(struct mariadb_server *s)
{
    if (s->pid == 0)
        return;
    mariadb_server_thaw(s);
    kill(s->pid, SIGTERM);
    wait_for(s->pid);
    s->pid = 0;
}

void mariadb_server_kill(struct mariadb_server *s)
{
    if (s->pid == 0)
        return;
    kill(s->pid, SIGKILL);
    wait_for(s->pid);
    s->pid = 0;
    s->is_frozen = false;
}

void mariadb_server_freeze(struct mariadb_server *s)
{
    int status;
    kill(s->pid, SIGSTOP);
    assert_int_equal(waitpid(s->pid, &status, WUNTRACED), s->pid); /* every thread stands */
    assert_true(WIFSTOPPED(status));
    s->is_frozen = true;
}

void mariadb_server_thaw(struct mariadb_server *s)
{
    if (s->is_frozen)
        kill(s->pid, SIGCONT);
    s->is_frozen = false;
}

void mariadb_server_deinit(struct mariadb_server *s)
{
    char *args[] = { "rm", "-rf", s->dir, NULL };
    mariadb_server_kill(s);
    if (s->dir[0] != '\0')
        run(args, "/dev/null");
    s->dir[0] = '\0';
}

void mariadb_server_sql(const struct mariadb_server *s, const char *sql)
{
    char sock[96], log[96];
    snprintf(sock, sizeof sock, "--socket=%s/sock", s->dir);
    snprintf(log, sizeof log, "%s/client.log", s->dir);
    char *args[] = { "mariadb", "--no-defaults", sock, "--user=root", "--delimiter=$$", "--execute", (char *)(uintptr_t)sql, NULL };
    run(args, log);
}

/* ---- one for all tests of a program ---- */

struct mariadb_server mariadb;

int mariadb_group_setup(void **state)
{
    (void)state;
    mariadb_server_init(&mariadb);
    mariadb_server_start(&mariadb, NULL);
    return 0;
}

int mariadb_group_teardown(void **state)
{
    (void)state;
    mariadb_server_deinit(&mariadb);
    return 0;
}

/* ---- a test's own database ---- */

int mariadb_setup(void **state)
{
    static int nth;
    char url[128];
    env_setup(state);
    struct store_env *env = *state;
    snprintf(url, sizeof url, "store.url=mariadb://root@127.0.0.1:%d/bytetalk_%d", mariadb.port, ++nth);
    env_set(env, url);
    env_set(env, "store.queue=100");
    assert_int_equal(env_open(env, STORE_MIGRATE, NULL), BT_OK);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    return 0;
}

int mariadb_teardown(void **state)
{
    mariadb_server_thaw(&mariadb);
    return env_teardown(state);
}

void mariadb_reopen(struct store_env *env, const char *assignment)
{
    env_close(env);
    env_set(env, assignment);
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
}

void mariadb_wait_up(struct store_env *env, bool is_up)
{
    uint64_t end = net_clock_us() + 10 * 1000000;
    while (db_is_up(env->db) != is_up && net_clock_us() < end)
        net_loop_turn(env->loop, 20);
    assert_int_equal(db_is_up(env->db), is_up);
}
