/* prompt.c: reads a password without showing it. */
#include "prompt.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum {
    PROMPT_SIZE = 1024 + 2, /* the longest there is, its newline and the end */
    CTRL_C = 3,
};

/* Byte by byte: a buffered reader would keep a copy of the secret, and take what follows. */
static enum bt_err read_line(char *buf, size_t size, char *why, size_t why_size)
{
    size_t len = 0;
    char c;

    while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n') {
        if (c == CTRL_C) {
            snprintf(why, why_size, "given up");
            return BT_EINVAL;
        }
        if (len + 1 >= size) {
            snprintf(why, why_size, "the password is too long");
            return BT_EINVAL;
        }
        buf[len++] = c;
    }
    buf[len] = '\0';
    if (len == 0) {
        snprintf(why, why_size, "no password was given");
        return BT_EINVAL;
    }
    return BT_OK;
}

static enum bt_err ask(const char *prompt, char *buf, size_t size, char *why, size_t why_size)
{
    enum bt_err err;

    fputs(prompt, stderr);
    fflush(stderr);
    err = read_line(buf, size, why, why_size);
    fputc('\n', stderr);
    return err;
}

static enum bt_err ask_twice(const char *prompt, char *buf, size_t size, char *why, size_t why_size)
{
    char again[PROMPT_SIZE];
    enum bt_err err = ask(prompt, buf, size, why, why_size);

    if (err == BT_OK)
        err = ask("And again: ", again, sizeof again, why, why_size);
    if (err == BT_OK && strcmp(buf, again) != 0) {
        snprintf(why, why_size, "the two passwords differ");
        err = BT_EINVAL;
    }
    explicit_bzero(again, sizeof again);
    return err;
}

enum bt_err prompt_new_password(const char *prompt, char *buf, size_t size, char *why, size_t why_size)
{
    struct termios shown, hidden;
    enum bt_err err;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &shown) != 0)
        return read_line(buf, size, why, why_size);
    hidden = shown;
    /* Control-C comes as a character that ends the line: as a signal it would leave the terminal without echo. */
    hidden.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
    hidden.c_cc[VEOL] = CTRL_C;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    err = ask_twice(prompt, buf, size, why, why_size);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    return err;
}
