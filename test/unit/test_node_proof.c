/* test/unit/test_node_proof.c: the secret that nodes share: its file, and what comes of connections without, with a wrong, an old and the right proof. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/log.h"
#include "net/mem.h"
#include "rpc/bytes.h"
#include "rpc/frame.h"
#include "rpc/rpc_internal.h"
#include "rpc_nodes.h"

static const char *const proxy_and_user[] = { "proxy+friend", "user", NULL };
static char dir[] = "/tmp/bytetalk-test-XXXXXX";
static char said[16384];

static void keep_line(enum log_level level, const char *line, void *arg)
{
    size_t used = strlen(said);
    (void)level;
    (void)arg;
    snprintf(said + used, sizeof said - used, "%s\n", line);
}

static int count_said(const char *what)
{
    int n = 0;
    for (const char *at = strstr(said, what); at; at = strstr(at + 1, what))
        n++;
    return n;
}

static const char *write_secret(const char *name, const char *content, size_t len, mode_t mode)
{
    static char paths[4][64];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    unlink(path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(content, 1, len, f), len);
    fclose(f);
    chmod(path, mode);
    return path;
}

/* ---- the file ---- */

static void a_secret_file_that_will_not_do_is_refused_with_a_reason(void **state)
{
    static char much[RPC_SECRET_MAX + 1];
    struct rpc_secret *s = NULL;
    char why[512];
    (void)state;
    assert_int_equal(rpc_secret_read("/nowhere/at/all", &s, why, sizeof why), BT_ENOTFOUND);
    assert_non_null(strstr(why, "/nowhere/at/all"));
    assert_int_equal(rpc_secret_read(dir, &s, why, sizeof why), BT_EINVAL);
    assert_int_equal(rpc_secret_read(write_secret("a", "0123456789abcdef", 16, 0640), &s, why, sizeof why), BT_EDENIED);
    assert_non_null(strstr(why, "chmod 600"));
    assert_int_equal(rpc_secret_read(write_secret("a", "0123456789abcdef", 16, 0602), &s, why, sizeof why), BT_EDENIED);
    assert_int_equal(rpc_secret_read(write_secret("a", "0123456789abcde\n", 16, 0600), &s, why, sizeof why), BT_EINVAL);
    assert_non_null(strstr(why, "15 bytes"));
    assert_int_equal(rpc_secret_read(write_secret("a", "", 0, 0600), &s, why, sizeof why), BT_EINVAL);
    assert_int_equal(rpc_secret_read(write_secret("a", much, sizeof much, 0600), &s, why, sizeof why), BT_EINVAL);
    assert_null(s);
    assert_int_equal(rpc_secret_read(write_secret("a", much, sizeof much - 1, 0600), &s, why, sizeof why), BT_OK);
    rpc_secret_free(s);
    bt_mem_fail_after(0);
    assert_int_equal(rpc_secret_read(write_secret("a", "0123456789abcdef", 16, 0400), &s, why, sizeof why), BT_ENOMEM);
    bt_mem_fail_after(-1);
    assert_int_equal(rpc_secret_read(write_secret("a", "0123456789abcdef\n", 17, 0400), &s, why, sizeof why), BT_OK);
    rpc_secret_free(s);
}

static struct rpc_secret *secret_of(const char *content)
{
    struct rpc_secret *s;
    char why[512];
    assert_int_equal(rpc_secret_read(write_secret("s", content, strlen(content), 0600), &s, why, sizeof why), BT_OK);
    return s;
}

/* ---- proofs ---- */

static void a_proof_is_good_for_what_it_was_made_for_alone(void **state)
{
    struct rpc_secret *s = secret_of("correct horse battery"), *other = secret_of("correct horse batterY");
    struct rpc_handshake shake = { .address = { "10.0.0.1:7", "10.0.0.2:8" }, .epoch = { 1, 2 } }, changed;
    uint8_t proof[RPC_PROOF_SIZE];
    (void)state;
    rpc_nonce_make(shake.nonce[0]);
    rpc_nonce_make(shake.nonce[1]);
    assert_memory_not_equal(shake.nonce[0], shake.nonce[1], RPC_NONCE_SIZE);
    rpc_proof_make(s, RPC_DIALLER, &shake, proof);
    const struct rpc_bytes given = rpc_bytes(proof, sizeof proof);
    assert_true(rpc_proof_check(s, RPC_DIALLER, &shake, given));
    assert_false(rpc_proof_check(s, RPC_ACCEPTOR, &shake, given));
    assert_false(rpc_proof_check(other, RPC_DIALLER, &shake, given));
    assert_false(rpc_proof_check(s, RPC_DIALLER, &shake, rpc_bytes(proof, sizeof proof - 1)));
    assert_false(rpc_proof_check(s, RPC_DIALLER, &shake, rpc_bytes(NULL, 0)));
    for (int end = 0; end < 2; end++) {
        changed = shake;
        changed.nonce[end][31] ^= 1;
        assert_false(rpc_proof_check(s, RPC_DIALLER, &changed, given));
        changed = shake;
        changed.address[end][9]++;
        assert_false(rpc_proof_check(s, RPC_DIALLER, &changed, given));
        changed = shake;
        changed.epoch[end]++;
        assert_false(rpc_proof_check(s, RPC_DIALLER, &changed, given));
    }
    for (size_t i = 0; i < sizeof proof; i++) {
        proof[i] ^= 0x80;
        assert_false(rpc_proof_check(s, RPC_DIALLER, &shake, given));
        proof[i] ^= 0x80;
    }
    rpc_secret_free(s);
    rpc_secret_free(other);
}

/* ---- between nodes ---- */

static void start(struct nodes *all, size_t i, const char *secret, const char *more)
{
    char line[2][128] = { "rpc.silent_ms=400", "" };
    const char *settings[] = { line[0], secret ? line[1] : more, secret ? more : NULL, NULL };
    if (secret) {
        char name[16];
        snprintf(name, sizeof name, "node%zu", i);
        snprintf(line[1], sizeof line[1], "node.secret_file=%s", write_secret(name, secret, strlen(secret), 0600));
    }
    nodes_start(all, i, settings);
}

static enum bt_err ask_user(struct nodes *all)
{
    struct told t;
    ask(&all->node[0], RPC_USER_GET_PROFILE, 1, 2, 600, &t);
    nodes_until(all, &t.done, 1);
    return t.err;
}

static void nodes_that_share_a_secret_serve_each_other(void **state)
{
    struct nodes all;
    struct told t;
    (void)state;
    nodes_init(&all, proxy_and_user);
    start(&all, 0, "the secret of this cluster", NULL);
    start(&all, 1, "the secret of this cluster\n", NULL);
    assert_int_equal(ask_user(&all), BT_OK);
    ask(&all.node[1], RPC_FRIEND_ADD_FRIEND, 1, 2, 1000, &t); /* the other way, on the same connection */
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    assert_int_equal(node_ready_links(&all.node[0]), 1);
    nodes_stop(&all, 1);
    start(&all, 1, "the secret of this cluster", NULL); /* and again, after a new start */
    ask(&all.node[0], RPC_USER_GET_PROFILE, 1, 2, 4000, &t);
    nodes_until(&all, &t.done, 1);
    assert_int_equal(t.err, BT_OK);
    nodes_deinit(&all);
}

static void of_two_that_dial_at_once_one_connection_stays(void **state)
{
    (void)state;
    for (int round = 0; round < 6; round++) {
        struct nodes all;
        struct told t, u;
        nodes_init(&all, proxy_and_user);
        start(&all, 0, "the secret of this cluster", NULL);
        start(&all, 1, "the secret of this cluster", NULL);
        ask(&all.node[0], RPC_USER_UPDATE_PROFILE, 1, 2, 4000, &t);
        for (int i = 0; i < round; i++)
            net_loop_turn(all.node[round % 2].loop, 0);
        ask(&all.node[1], RPC_FRIEND_ADD_FRIEND, 1, 2, 4000, &u);
        nodes_until(&all, &t.done, 1);
        nodes_until(&all, &u.done, 1);
        assert_int_equal(t.err, BT_OK);
        assert_int_equal(u.err, BT_OK);
        nodes_for_ms(&all, 30);
        assert_int_equal(node_ready_links(&all.node[0]), 1);
        assert_int_equal(node_ready_links(&all.node[1]), 1);
        assert_int_equal(all.node[0].rpc->strangers + all.node[1].rpc->strangers, 0);
        nodes_deinit(&all);
    }
}

static void a_node_calls_itself_over_its_socket(void **state)
{
    struct nodes all;
    (void)state;
    nodes_init(&all, ROLES("user"));
    start(&all, 0, "the secret of this cluster", "rpc.local=socket");
    assert_int_equal(ask_user(&all), BT_OK);
    nodes_deinit(&all);
}

static void nodes_of_different_secrets_do_nothing_for_each_other(void **state)
{
    static const char *const secrets[][2] = {
        { "the secret of this cluster", "the secret of that cluster" },
        { "the secret of this cluster", NULL },
        { NULL, "the secret of that cluster" },
    };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct nodes all;
        said[0] = '\0';
        nodes_init(&all, proxy_and_user);
        start(&all, 0, secrets[i][0], NULL);
        start(&all, 1, secrets[i][1], NULL);
        assert_int_not_equal(ask_user(&all), BT_OK);
        nodes_for_ms(&all, 1500); /* it is tried again and again */
        assert_int_equal(all.node[0].requests + all.node[1].requests, 0);
        assert_int_equal(node_ready_links(&all.node[0]) + node_ready_links(&all.node[1]), 0);
        assert_true(count_said("secret_file") >= 1 && count_said("secret_file") <= 4); /* by either, as dialler and as listener */
        assert_int_equal(count_said("cluster"), 0);
        nodes_deinit(&all);
    }
}

/* ---- by hand ---- */

struct hand {
    struct nodes *all;
    int fd;
    uint32_t call;
    struct rpc_handshake shake;
    uint8_t their_proof[RPC_PROOF_SIZE];
};

static void dial(struct hand *h, struct nodes *all)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    memset(h, 0, sizeof *h);
    h->all = all;
    h->fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_port = htons((uint16_t)atoi(strrchr(all->node[1].address, ':') + 1));
    assert_int_equal(connect(h->fd, (struct sockaddr *)&to, sizeof to), 0);
    snprintf(h->shake.address[RPC_DIALLER], sizeof h->shake.address[RPC_DIALLER], "127.0.0.1:9");
    snprintf(h->shake.address[RPC_ACCEPTOR], sizeof h->shake.address[RPC_ACCEPTOR], "%s", all->node[1].address);
    h->shake.epoch[RPC_DIALLER] = 1;
    rpc_nonce_make(h->shake.nonce[RPC_DIALLER]);
}

static void put(struct hand *h, enum rpc_kind kind, uint16_t method, const void *payload, size_t len)
{
    const struct rpc_header header = {
        .length = (uint32_t)(44 + len), .method = method, .kind = kind, .call = kind == RPC_REQUEST ? ++h->call : 0, .timeout_ms = 1000,
    };
    uint8_t wire[4096];
    rpc_header_encode(&header, wire);
    if (len > 0)
        memcpy(wire + RPC_HEADER_SIZE, payload, len);
    assert_int_equal(send(h->fd, wire, RPC_HEADER_SIZE + len, MSG_NOSIGNAL), RPC_HEADER_SIZE + len);
}

/* The status of one reply, or -1 when the connection ends without one. */
static int get(struct hand *h, NodeHelloReply *hello_out)
{
    static uint8_t wire[4096];
    size_t len = 0, used, need;
    struct rpc_frame f;
    for (uint64_t start_us = net_clock_us(); net_clock_us() - start_us < 8000000; nodes_turn(h->all)) {
        ssize_t n = recv(h->fd, wire + len, 1, MSG_DONTWAIT); /* one reply, and not a byte more */
        if (n == 0)
            return -1;
        if (n < 0)
            continue;
        len += (size_t)n;
        for (; recv(h->fd, wire + len, 1, MSG_DONTWAIT) == 1;) {
            len++;
            assert_int_equal(rpc_frame_take(wire, len, sizeof wire, RPC_FLAGS_NODE, &f, &used, &need), BT_OK);
            if (used == 0)
                continue;
            if (hello_out && f.h.status == RPC_STATUS_OK)
                assert_int_equal(rpc_decode(NodeHelloReply_fields, f.payload, f.len, hello_out), BT_OK);
            return f.h.status;
        }
    }
    fail_msg("neither a reply nor an end");
    return -2;
}

static int say_hello(struct hand *h)
{
    const NodeHelloRequest msg = {
        .version = RPC_VERSION, .address = rpc_str(h->shake.address[RPC_DIALLER]), .epoch = 1, .nonce = rpc_bytes(h->shake.nonce[RPC_DIALLER], RPC_NONCE_SIZE),
    };
    NodeHelloReply reply = { .version = 0 };
    uint8_t payload[256];
    put(h, RPC_REQUEST, RPC_NODE_HELLO, payload, rpc_encode(NodeHelloRequest_fields, &msg, payload, sizeof payload));
    int status = get(h, &reply);
    if (status == RPC_STATUS_OK) {
        assert_true(rpc_nonce_take(reply.nonce, h->shake.nonce[RPC_ACCEPTOR]));
        assert_int_equal(reply.proof.len, RPC_PROOF_SIZE);
        memcpy(h->their_proof, reply.proof.data, RPC_PROOF_SIZE);
        h->shake.epoch[RPC_ACCEPTOR] = reply.epoch;
    }
    return status;
}

static int say_proof(struct hand *h, const uint8_t *proof, size_t len)
{
    const NodeProveRequest msg = { .proof = rpc_bytes(proof, len) };
    uint8_t payload[256];
    put(h, RPC_REQUEST, RPC_NODE_PROVE, payload, rpc_encode(NodeProveRequest_fields, &msg, payload, sizeof payload));
    return get(h, NULL);
}

static int call_user(struct hand *h)
{
    put(h, RPC_REQUEST, RPC_USER_GET_PROFILE, NULL, 0);
    return get(h, NULL);
}

static void start_listening(struct nodes *all)
{
    said[0] = '\0';
    nodes_init(all, proxy_and_user);
    start(all, 1, "the secret of this cluster", NULL);
}

static void only_the_right_proof_opens(void **state)
{
    struct rpc_secret *right = secret_of("the secret of this cluster"), *wrong = secret_of("the secret of that cluster");
    uint8_t proof[RPC_PROOF_SIZE], old_nonce[RPC_NONCE_SIZE];
    struct nodes all;
    struct hand h;
    (void)state;
    start_listening(&all);

    dial(&h, &all); /* right */
    assert_int_equal(say_hello(&h), RPC_STATUS_OK);
    assert_true(rpc_proof_check(right, RPC_ACCEPTOR, &h.shake, rpc_bytes(h.their_proof, RPC_PROOF_SIZE)));
    rpc_proof_make(right, RPC_DIALLER, &h.shake, proof);
    memcpy(old_nonce, h.shake.nonce[RPC_DIALLER], sizeof old_nonce);
    assert_int_equal(say_proof(&h, proof, sizeof proof), RPC_STATUS_OK);
    assert_int_equal(call_user(&h), RPC_STATUS_OK);
    assert_int_equal(all.node[1].requests, 1);
    close(h.fd);

    dial(&h, &all); /* replayed, every byte as before */
    memcpy(h.shake.nonce[RPC_DIALLER], old_nonce, sizeof old_nonce);
    assert_int_equal(say_hello(&h), RPC_STATUS_OK);
    assert_int_equal(say_proof(&h, proof, sizeof proof), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(get(&h, NULL), -1);
    close(h.fd);

    dial(&h, &all); /* its own one, sent back */
    assert_int_equal(say_hello(&h), RPC_STATUS_OK);
    assert_int_equal(say_proof(&h, h.their_proof, RPC_PROOF_SIZE), RPC_STATUS_UNAUTHENTICATED);
    close(h.fd);

    dial(&h, &all); /* of another secret */
    assert_int_equal(say_hello(&h), RPC_STATUS_OK);
    rpc_proof_make(wrong, RPC_DIALLER, &h.shake, proof);
    assert_int_equal(say_proof(&h, proof, sizeof proof), RPC_STATUS_UNAUTHENTICATED);
    close(h.fd);

    dial(&h, &all); /* none */
    assert_int_equal(say_hello(&h), RPC_STATUS_OK);
    assert_int_equal(say_proof(&h, proof, 0), RPC_STATUS_UNAUTHENTICATED);
    close(h.fd);

    assert_int_equal(all.node[1].requests, 1);
    assert_int_equal(count_said("its proof is wrong"), 1); /* once a minute and address */
    nodes_deinit(&all);
    rpc_secret_free(right);
    rpc_secret_free(wrong);
}

static void nothing_is_served_out_of_turn(void **state)
{
    static const uint8_t big[2000];
    struct rpc_secret *right = secret_of("the secret of this cluster");
    uint8_t proof[RPC_PROOF_SIZE] = { 0 };
    struct nodes all;
    struct hand h;
    (void)state;
    start_listening(&all);

    dial(&h, &all); /* before hello */
    assert_int_equal(call_user(&h), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(get(&h, NULL), -1);
    close(h.fd);
    dial(&h, &all); /* a proof before hello */
    assert_int_equal(say_proof(&h, proof, sizeof proof), RPC_STATUS_UNAUTHENTICATED);
    close(h.fd);
    dial(&h, &all); /* between hello and proof */
    assert_int_equal(say_hello(&h), RPC_STATUS_OK);
    assert_int_equal(call_user(&h), RPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(get(&h, NULL), -1);
    close(h.fd);
    dial(&h, &all); /* an event there */
    assert_int_equal(say_hello(&h), RPC_STATUS_OK);
    put(&h, RPC_EVENT, RPC_PROXY_PUSH, NULL, 0);
    assert_int_equal(get(&h, NULL), -1);
    close(h.fd);
    dial(&h, &all); /* a second hello, for a second try */
    assert_int_equal(say_hello(&h), RPC_STATUS_OK);
    assert_int_equal(say_hello(&h), RPC_STATUS_UNAUTHENTICATED);
    close(h.fd);
    dial(&h, &all); /* a frame that is too long for a stranger */
    put(&h, RPC_REQUEST, RPC_NODE_HELLO, big, sizeof big);
    assert_int_equal(get(&h, NULL), -1);
    close(h.fd);
    dial(&h, &all); /* nothing more, for too long */
    assert_int_equal(say_hello(&h), RPC_STATUS_OK);
    assert_int_equal(get(&h, NULL), -1);
    close(h.fd);
    dial(&h, &all); /* a second proof */
    assert_int_equal(say_hello(&h), RPC_STATUS_OK);
    rpc_proof_make(right, RPC_DIALLER, &h.shake, proof);
    assert_int_equal(say_proof(&h, proof, sizeof proof), RPC_STATUS_OK);
    assert_int_equal(say_proof(&h, proof, sizeof proof), RPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(get(&h, NULL), -1);
    close(h.fd);

    assert_int_equal(all.node[1].requests + all.node[1].events, 0);
    assert_int_equal(all.node[1].rpc->strangers, 0);
    rpc_secret_free(right);
    nodes_deinit(&all);
}

static void a_bad_nonce_is_refused(void **state)
{
    static const size_t lengths[] = { 0, 1, 31, 33, 64 };
    static const uint8_t nonce[64] = { 1 };
    struct nodes all;
    (void)state;
    start_listening(&all);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct hand h;
        uint8_t payload[256];
        const NodeHelloRequest msg = { .version = 1, .address = rpc_str("127.0.0.1:9"), .epoch = 1, .nonce = rpc_bytes(nonce, lengths[i]) };
        dial(&h, &all);
        put(&h, RPC_REQUEST, RPC_NODE_HELLO, payload, rpc_encode(NodeHelloRequest_fields, &msg, payload, sizeof payload));
        assert_int_equal(get(&h, NULL), RPC_STATUS_UNAUTHENTICATED);
        assert_int_equal(get(&h, NULL), -1);
        close(h.fd);
    }
    for (const struct node_peer *peer = all.node[1].rpc->peers; peer; peer = peer->next)
        assert_string_not_equal(peer->address, "127.0.0.1:9"); /* nothing is kept of a stranger */
    nodes_deinit(&all);
}

static void strangers_are_limited_in_number(void **state)
{
    static struct hand h[RPC_STRANGERS_MAX + 1];
    struct nodes all;
    (void)state;
    start_listening(&all);
    for (size_t i = 0; i <= RPC_STRANGERS_MAX; i++) {
        dial(&h[i], &all);
        nodes_turn(&all);
    }
    assert_int_equal(get(&h[RPC_STRANGERS_MAX], NULL), -1);
    for (size_t i = 0; i <= RPC_STRANGERS_MAX; i++)
        close(h[i].fd);
    nodes_for_ms(&all, 50);
    dial(&h[0], &all);
    assert_int_equal(say_hello(&h[0]), RPC_STATUS_OK);
    close(h[0].fd);
    nodes_deinit(&all);
}

static int make_dir(void **state)
{
    (void)state;
    log_set_sink(keep_line, NULL);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const names[] = { "a", "s", "node0", "node1" };
    char path[64];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_file_that_will_not_do_is_refused_with_a_reason),
        cmocka_unit_test(a_proof_is_good_for_what_it_was_made_for_alone),
        cmocka_unit_test(nodes_that_share_a_secret_serve_each_other),
        cmocka_unit_test(of_two_that_dial_at_once_one_connection_stays),
        cmocka_unit_test(a_node_calls_itself_over_its_socket),
        cmocka_unit_test(nodes_of_different_secrets_do_nothing_for_each_other),
        cmocka_unit_test(only_the_right_proof_opens),
        cmocka_unit_test(nothing_is_served_out_of_turn),
        cmocka_unit_test(a_bad_nonce_is_refused),
        cmocka_unit_test(strangers_are_limited_in_number),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
