/* client/cli_input.c: where lines come from: the editor, or a pipe; and questions that the next line answers. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "client/cli.h"

enum { PIPE_LINE_MAX = 1024 * 1024 };

struct cli_input {
    struct net_poll *poll;   /* of a pipe; NULL: the editor reads, or a file was read whole */
    char *buf;
    size_t len, cap;
    bool is_at_end, is_ended; /* nothing more comes; and cli_input_line() was told */
    cli_answer_cb *answer;   /* not NULL: a question stands */
    void *answer_arg;
};

/* ---- questions ---- */

void cli_make_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK); /* the descriptor is shared with whoever started us */
}

/* One key at a time, with nothing shown. False: given up. */
static bool read_keys(char *line, size_t size)
{
    size_t len = 0;
    char key;
    for (;;) {
        ssize_t got = read(STDIN_FILENO, &key, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || key == 3 || (key == 4 && len == 0))
            return false;
        if (key == '\r' || key == '\n') {
            line[len] = '\0';
            return true;
        }
        if (key == 0x7f || key == '\b')
            len -= len > 0;
        else if (key == 21)
            len = 0;
        else if (len + 1 < size)
            line[len++] = key;
    }
}

char *cli_read_hidden(const char *prompt)
{
    struct termios old, raw;
    char line[1100];
    if (tcgetattr(STDIN_FILENO, &old) != 0)
        return NULL;
    raw = old;
    raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | ISIG);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw); /* before it is asked for: some type fast */
    fprintf(stderr, "%s", prompt);
    fflush(stderr);
    bool is_read = read_keys(line, sizeof line);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &old);
    fputc('\n', stderr);
    char *copy = is_read ? strdup(line) : NULL;
    explicit_bzero(line, sizeof line);
    return copy;
}

bool cli_can_ask(const struct cli *cli)
{
    return cli->is_terminal && !cli->is_quitting;
}

void cli_ask(struct cli *cli, const char *question, cli_answer_cb *cb, void *arg)
{
    if (!cli_can_ask(cli) || cli->input->answer) {
        cb(cli, NULL, arg);
        return;
    }
    cli_say(cli, "%s", question);
    cli->input->answer = cb;
    cli->input->answer_arg = arg;
    cli->is_secret = true; /* an answer is no command to be had again */
}

static void answered(struct cli *cli, const char *line)
{
    cli_answer_cb *cb = cli->input->answer;
    cli->input->answer = NULL;
    cli->is_secret = false;
    cb(cli, line, cli->input->answer_arg);
}

/* ---- lines ---- */

void cli_input_line(struct cli *cli, char *line)
{
    if (cli->input->answer)
        answered(cli, line);
    else if (line)
        cli_run_line(cli, line);
    if (!line)
        cli_quit(cli, cli->exit_code);
}

void cli_input_interrupt(struct cli *cli)
{
    if (cli->edit)
        cli_edit_interrupt(cli);
    if (cli->input->answer)
        answered(cli, NULL);
}

/* ---- a pipe ---- */

static void take_line(struct cli *cli, struct cli_input *in, size_t len)
{
    char *line = strndup(in->buf, len);
    size_t used = len < in->len ? len + 1 : len;
    memmove(in->buf, in->buf + used, in->len - used);
    in->len -= used;
    if (line)
        cli_input_line(cli, line);
    free(line);
}

/* One command at a time: what a script says later may depend on what it said before. */
void cli_input_next(struct cli *cli)
{
    struct cli_input *in = cli->input;
    while (in && !cli->edit && cli->running == 0 && !cli->is_quitting && !in->is_ended && cli->is_settled) {
        char *end = in->len ? memchr(in->buf, '\n', in->len) : NULL;
        if (end) {
            take_line(cli, in, (size_t)(end - in->buf));
        } else if (in->is_at_end && in->len > 0) {
            take_line(cli, in, in->len);
        } else if (in->is_at_end) {
            in->is_ended = true;
            cli_input_line(cli, NULL);
        } else {
            break;
        }
    }
}

static bool room(struct cli_input *in)
{
    if (in->cap - in->len >= 4096)
        return true;
    size_t cap = in->cap ? in->cap * 2 : 16384;
    char *buf = cap <= 2 * PIPE_LINE_MAX ? realloc(in->buf, cap) : NULL;
    if (!buf)
        return false;
    in->buf = buf;
    in->cap = cap;
    return true;
}

static void readable(int events, void *arg)
{
    struct cli *cli = arg;
    struct cli_input *in = cli->input;
    (void)events;
    ssize_t got = room(in) ? read(STDIN_FILENO, in->buf + in->len, in->cap - in->len) : -1;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        in->is_at_end = true;
        net_poll_set(in->poll, 0);
    } else {
        in->len += (size_t)got;
        if (in->len >= PIPE_LINE_MAX)
            net_poll_set(in->poll, 0); /* the commands in hand come first */
    }
    cli_input_next(cli);
    if (cli->input && !in->is_at_end && in->len < PIPE_LINE_MAX)
        net_poll_set(in->poll, NET_READABLE);
}

/* A regular file can't be watched, and is always there: read it whole. */
static void read_all(struct cli_input *in)
{
    ssize_t got = 1;
    while (got > 0 && room(in)) {
        got = read(STDIN_FILENO, in->buf + in->len, in->cap - in->len);
        in->len += got > 0 ? (size_t)got : 0;
    }
    in->is_at_end = true;
}

bool cli_input_open(struct cli *cli)
{
    cli->input = calloc(1, sizeof *cli->input);
    if (!cli->input)
        return false;
    if (cli->is_terminal)
        return cli_edit_open(cli);
    if (!cli->is_interactive)
        return true;
    if (net_poll_new(cli->loop, STDIN_FILENO, readable, cli, &cli->input->poll) == BT_OK) {
        cli_make_blocking(STDIN_FILENO);
        net_poll_set(cli->input->poll, NET_READABLE);
    } else {
        read_all(cli->input);
    }
    return true;
}

void cli_input_close(struct cli *cli)
{
    cli_edit_close(cli);
    if (!cli->input)
        return;
    if (cli->input->answer)
        answered(cli, NULL);
    if (cli->input->poll)
        net_poll_close(cli->input->poll);
    free(cli->input->buf);
    free(cli->input);
    cli->input = NULL;
}
