/*
 * client/cli_edit.c: the line editor: libedit, fed one key at a time from the loop.
 *
 * libedit keeps the text and draws it. To print something meanwhile, we take what it drew off the screen and let it
 * draw all of it again below.
 */
#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "client/cli.h"
#include "client/cli_complete.h"

enum { CTRL_D = 4, HISTORY_LINES = 1000, KEYS_AT_ONCE = 512, PROMPT_SIZE = 2 * CLI_NAME_SIZE };

struct cli_edit {
    struct cli *cli;
    EditLine *el;
    History *history;
    struct net_poll *poll;
    struct net_signal *resized, *interrupted;
    char prompt[PROMPT_SIZE];  /* with colours between \001s */
    size_t prompt_width;       /* columns */
    bool saw_end;              /* Ctrl-D on an empty line */
    bool is_busy, is_closed;   /* keys() runs; closed meanwhile, and freed by it */
    int hidden;                /* calls of hide without show */
    char history_path[1024];
};

/* ---- the prompt ---- */

static char *prompt_of(EditLine *el)
{
    static char none[] = "";
    struct cli *cli;
    el_get(el, EL_CLIENTDATA, &cli);
    return cli->edit ? cli->edit->prompt : none;
}

static size_t width_of(const char *text, size_t len)
{
    mbstate_t state;
    size_t width = 0;
    memset(&state, 0, sizeof state);
    for (size_t n = 0; n < len;) {
        wchar_t c;
        size_t used = mbrtowc(&c, text + n, len - n, &state);
        if (used == 0 || used > len - n)
            break;
        int columns = wcwidth(c);
        width += columns > 0 ? (size_t)columns : 0;
        n += used;
    }
    return width;
}

static void prompt_make(struct cli_edit *e)
{
    struct cli *cli = e->cli;
    char *label = cli->current ? cli_label(cli, cli->current) : NULL;
    char plain[CLI_NAME_SIZE + 16];
    if (label)
        snprintf(plain, sizeof plain, "%s%.*s> ", cli->current & BT_GROUP ? "group " : "", (int)CLI_NAME_SIZE, label);
    else
        snprintf(plain, sizeof plain, "%s> ", cli->is_ready ? cli->user : "bytetalk");
    free(label);
    e->prompt_width = width_of(plain, strlen(plain));
    if (cli->has_colours)
        snprintf(e->prompt, sizeof e->prompt, "\001%s\001%s\001%s\001", cli_paint(cli, CLI_BOLD), plain, cli_paint(cli, CLI_PLAIN));
    else
        snprintf(e->prompt, sizeof e->prompt, "%s", plain);
}

/* ---- drawing around it ---- */

/* The row of the cursor, counted from the one the prompt is on. */
static size_t cursor_row(const struct cli_edit *e)
{
    const LineInfo *line = el_line(e->el);
    struct winsize size;
    size_t columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    return (e->prompt_width + width_of(line->buffer, (size_t)(line->cursor - line->buffer))) / columns;
}

void cli_edit_hide(struct cli *cli)
{
    struct cli_edit *e = cli->edit;
    if (!e || e->hidden++ > 0)
        return;
    fputc('\r', stdout);
    for (size_t row = cursor_row(e); row > 0; row--)
        fputs("\033[A", stdout);
    fputs("\033[J", stdout);
    fflush(stdout);
}

void cli_edit_show(struct cli *cli)
{
    struct cli_edit *e = cli->edit;
    if (!e || --e->hidden > 0)
        return;
    el_set(e->el, EL_REFRESH);
}

void cli_edit_suspend(struct cli *cli)
{
    struct cli_edit *e = cli->edit;
    if (!e)
        return;
    if (e->hidden == 0) {
        cli_edit_hide(cli);
        el_set(e->el, EL_UNBUFFERED, 0);
    } else {
        e->hidden++;
    }
}

void cli_edit_resume(struct cli *cli)
{
    struct cli_edit *e = cli->edit;
    if (!e || --e->hidden > 0)
        return;
    prompt_make(e);
    el_set(e->el, EL_UNBUFFERED, 1);
}

void cli_edit_prompt(struct cli *cli)
{
    struct cli_edit *e = cli->edit;
    if (!e)
        return;
    cli_edit_hide(cli);
    prompt_make(e);
    cli_edit_show(cli);
}

/* ---- keys ---- */

/*
 * One character for libedit: read as it would, but noting the end. Between two lines the terminal is in its ordinary mode for a
 * moment; a Ctrl-D that comes then is no key: it is read as nothing, or, once the mode is back, as a zero byte.
 */
static int key_read(EditLine *el, wchar_t *out)
{
    struct cli *cli;
    mbstate_t state;
    char byte;
    el_get(el, EL_CLIENTDATA, &cli);
    memset(&state, 0, sizeof state);
    for (;;) {
        ssize_t got = read(STDIN_FILENO, &byte, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            cli->edit->saw_end |= el_line(el)->lastchar == el_line(el)->buffer;
        if (got <= 0)
            return (int)got;
        if (byte == '\0')
            byte = CTRL_D;
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-1) /* not UTF-8: pass over it */
            memset(&state, 0, sizeof state);
        else if (used != (size_t)-2)
            return 1;
    }
}

static void line_done(struct cli_edit *e, const char *text, int len)
{
    struct cli *cli = e->cli;
    HistEvent event;
    char *line = strndup(text, (size_t)len);
    el_set(e->el, EL_UNBUFFERED, 0); /* the text is dropped, and drawing starts anew below */
    e->hidden = 1;
    if (line && len > 0 && !cli->is_secret)
        history(e->history, &event, H_ENTER, line);
    if (line)
        cli_input_line(cli, line);
    free(line);
    if (e->is_closed)
        return;
    cli_edit_resume(cli);
}

static bool is_waiting(void)
{
    struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
    return poll(&p, 1, 0) > 0;
}

static bool is_hung_up(void)
{
    struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

static void keys(int events, void *arg)
{
    struct cli_edit *e = arg;
    struct cli *cli = e->cli;
    (void)events;
    e->is_busy = true;
    for (int n = 0; !e->is_closed && n < KEYS_AT_ONCE && is_waiting(); n++) {
        int count = 0;
        const char *text = el_gets(e->el, &count);
        if (count > 0 && text && (text[count - 1] == '\n' || text[count - 1] == '\r')) {
            line_done(e, text, count - 1);
        } else if (e->saw_end || (!text && is_hung_up())) {
            cli_input_line(cli, NULL);
            break;
        }
    }
    e->is_busy = false;
    if (e->is_closed)
        free(e);
}

/* Ctrl-D on an empty line; elsewhere it deletes. */
static unsigned char end_or_delete(EditLine *el, int key)
{
    struct cli *cli;
    const LineInfo *line = el_line(el);
    (void)key;
    el_get(el, EL_CLIENTDATA, &cli);
    if (line->lastchar == line->buffer) {
        cli->edit->saw_end = true;
        return CC_NORM;
    }
    if (line->cursor < line->lastchar) {
        el_cursor(el, 1);
        el_deletestr(el, 1);
    }
    return CC_REFRESH;
}

void cli_edit_interrupt(struct cli *cli)
{
    struct cli_edit *e = cli->edit;
    fputs("^C\n", stdout);
    fflush(stdout);
    el_set(e->el, EL_UNBUFFERED, 0);
    prompt_make(e);
    el_set(e->el, EL_UNBUFFERED, 1);
}

static void resized(int signum, void *arg)
{
    struct cli_edit *e = arg;
    (void)signum;
    el_resize(e->el);
}

static void interrupted(int signum, void *arg)
{
    struct cli_edit *e = arg;
    (void)signum;
    cli_input_interrupt(e->cli);
}

/* ---- open, close ---- */

static void history_open(struct cli_edit *e)
{
    HistEvent event;
    e->history = history_init();
    if (!e->history)
        return;
    history(e->history, &event, H_SETSIZE, HISTORY_LINES);
    history(e->history, &event, H_SETUNIQUE, 1);
    if (cli_state_path(e->cli, "history", e->history_path, sizeof e->history_path))
        history(e->history, &event, H_LOAD, e->history_path);
    el_set(e->el, EL_HIST, history, e->history);
}

static void history_close(struct cli_edit *e)
{
    HistEvent event;
    if (!e->history)
        return;
    if (e->history_path[0]) {
        mode_t old = umask(077); /* what was typed is nobody else's business */
        history(e->history, &event, H_SAVE, e->history_path);
        umask(old);
    }
    history_end(e->history);
}

static void utf8_locale(void)
{
    setlocale(LC_ALL, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8"); /* what is typed and shown is UTF-8, whatever else is set */
}

bool cli_edit_open(struct cli *cli)
{
    struct cli_edit *e = calloc(1, sizeof *e);
    if (!e)
        return false;
    utf8_locale();
    e->cli = cli;
    e->el = el_init("bytetalk-cli", stdin, stdout, stderr);
    if (!e->el || net_poll_new(cli->loop, STDIN_FILENO, keys, e, &e->poll) != BT_OK) {
        if (e->el)
            el_end(e->el);
        free(e);
        return false;
    }
    cli->edit = e;
    prompt_make(e);
    el_set(e->el, EL_CLIENTDATA, cli);
    el_set(e->el, EL_EDITOR, "emacs");
    el_set(e->el, EL_SIGNAL, 0);
    el_set(e->el, EL_GETCFN, key_read);
    el_set(e->el, EL_PROMPT_ESC, prompt_of, '\001');
    history_open(e);
    el_set(e->el, EL_ADDFN, "bt-complete", "Complete commands and names", cli_complete);
    el_set(e->el, EL_BIND, "^I", "bt-complete", NULL);
    el_set(e->el, EL_ADDFN, "bt-end", "End of input, or delete", end_or_delete);
    el_set(e->el, EL_BIND, "^D", "bt-end", NULL);
    el_set(e->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    net_signal_new(cli->loop, SIGWINCH, resized, e, &e->resized);
    net_signal_new(cli->loop, SIGINT, interrupted, e, &e->interrupted);
    net_poll_set(e->poll, NET_READABLE);
    cli_make_blocking(STDIN_FILENO);
    el_set(e->el, EL_UNBUFFERED, 1);
    return true;
}

void cli_edit_close(struct cli *cli)
{
    struct cli_edit *e = cli->edit;
    if (!e)
        return;
    if (e->hidden == 0)
        cli_edit_hide(cli);
    cli->edit = NULL; /* nothing is drawn any more */
    net_poll_close(e->poll);
    if (e->resized)
        net_signal_close(e->resized);
    if (e->interrupted)
        net_signal_close(e->interrupted);
    el_set(e->el, EL_UNBUFFERED, 0);
    history_close(e);
    el_end(e->el);
    if (e->is_busy)
        e->is_closed = true;
    else
        free(e);
}
