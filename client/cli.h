/*
 * client/cli.h: what the files of bytetalk-cli share.
 *
 *   cli.c           start, end, exit codes
 *   cli_options.c   the command line
 *   cli_session.c   opening a client for a user: state, password, login
 *   cli_term.c      output that does not tear the line being typed
 *   cli_edit.c      the line editor: keys, drawing, history
 *   cli_complete.c  completion
 *   cli_input.c     lines: from the editor, from a pipe; questions
 *   cli_text.c      escaping, numbers, JSON
 *   cli_names.c     names of users and groups
 *   cli_find.c      what the user typed to whom it means
 *   cli_show.c      messages on the screen
 *   cli_event.c     what the server tells
 *   cli_run.c       the table of commands; running one
 *   cli_cmd_*.c     the commands
 *   cli_admin*.c    admin: what those who run the servers ask of nodes; see cli_admin.h
 */
#ifndef BT_CLI_H
#define BT_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "client/bytetalk.h"
#include "net/loop.h"
#include "net/timer.h"

enum cli_exit { CLI_OK = 0, CLI_REFUSED = 1, CLI_USAGE = 2, CLI_NO_SERVER = 3, CLI_UNSURE = 4 };
enum { CLI_MAX_SERVERS = 16, CLI_MAX_WORDS = 64, CLI_NAME_SIZE = 260 };

struct cli;
struct cli_run;

/* ---- options ---- */

struct cli_options {
    const char *servers[CLI_MAX_SERVERS];
    size_t server_count;
    const char *user;            /* NULL: not told */
    const char *password_file;   /* NULL: none */
    const char *state_dir;       /* NULL: the usual place */
    bool debug, json;
    int argc;                    /* the command and its words; 0: interactive */
    char **argv;
};
/* -1: go on; else exit with that. */
int cli_options_parse(int argc, char **argv, struct cli_options *out);

/* ---- admin ---- */

bool cli_is_admin(const struct cli_options *o);               /* the command is admin, which no chat knows */
enum cli_exit cli_admin_main(const struct cli_options *o);    /* all of it: opens what it needs, says what is wrong */
void cli_admin_usage(FILE *out);

/* ---- text ---- */

/* Copy with control characters, and what is not UTF-8, shown as escapes, so that no text can command the terminal. Freed by the caller; NULL: no memory. */
char *cli_escape(struct bt_text text, bool keep_newlines);
bool cli_is_utf8(struct bt_text text);
struct bt_text cli_text(const char *s);
bool cli_parse_u64(const char *word, uint64_t *out);          /* "12" or "#12" */
bool cli_parse_duration(const char *word, uint64_t *ms_out);  /* "30s", "10m", "2h", "1d"; a bare number is minutes */
char *cli_time(int64_t ms, bool with_date, char buf[32]);
void cli_json_string(FILE *out, struct bt_text text);         /* quoted; must be UTF-8 */
void cli_json_bytes(FILE *out, const char *key, struct bt_text bytes); /* "key":"text", or "key_base64":"..." */

/* ---- terminal ---- */

enum cli_colour { CLI_PLAIN, CLI_DIM, CLI_BOLD, CLI_RED, CLI_GREEN, CLI_YELLOW, CLI_BLUE, CLI_MAGENTA, CLI_CYAN };
void cli_say(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));   /* a line to stdout */
void cli_error(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* a line to stderr */
void cli_notice(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* interactive only: dim */
void cli_print(struct cli *cli, const char *line);            /* as it is, to stdout */
const char *cli_paint(const struct cli *cli, enum cli_colour colour); /* "" without colours */
void cli_json_begin(struct cli *cli);                         /* an object as one line: write its members to stdout, then _end */
void cli_json_end(struct cli *cli);

/* ---- the editor ---- */

bool cli_edit_open(struct cli *cli);                          /* false: no terminal */
void cli_edit_close(struct cli *cli);
void cli_edit_hide(struct cli *cli);                          /* take the line being typed off the screen */
void cli_edit_show(struct cli *cli);                          /* and back */
void cli_edit_prompt(struct cli *cli);                        /* the prompt changed */
void cli_edit_suspend(struct cli *cli);                       /* the terminal as it was, for someone else; drops what is typed */
void cli_edit_resume(struct cli *cli);
void cli_edit_interrupt(struct cli *cli);                     /* Ctrl-C: a fresh line */

/* ---- input ---- */

bool cli_input_open(struct cli *cli);
void cli_input_close(struct cli *cli);
void cli_input_line(struct cli *cli, char *line);             /* a line was typed; NULL: the end */
void cli_input_interrupt(struct cli *cli);                    /* Ctrl-C */
void cli_input_next(struct cli *cli);                         /* a command ended: from a pipe, the next may be read */
typedef void cli_answer_cb(struct cli *cli, const char *answer, void *arg); /* NULL: nobody can be asked, or he gave up */
void cli_ask(struct cli *cli, const char *question, cli_answer_cb *cb, void *arg); /* the next line answers */
bool cli_can_ask(const struct cli *cli);
void cli_make_blocking(int fd);
/* Read a password without showing it, waiting for it; NULL: no terminal, or given up. Freed by the caller. */
char *cli_read_hidden(const char *prompt);

/* ---- names ---- */

struct cli_name {
    uint64_t target;
    char *name;            /* as it is; escaped only when shown */
};
struct cli_names {
    struct cli_name *rows; /* by rising target */
    size_t count, cap;
};
const char *cli_name_find(const struct cli *cli, uint64_t target);            /* NULL: not known */
void cli_name_set(struct cli *cli, uint64_t target, struct bt_text name);
void cli_names_clear(struct cli *cli);
char *cli_label(const struct cli *cli, uint64_t target);                      /* escaped; "#12" if unknown; freed by the caller */
/* Ask the server for those that are not known. cb once, at once if all are known; what can't be known then stays "#12". */
void cli_names_ask(struct cli *cli, const uint64_t *targets, size_t n, void (*cb)(void *arg), void *arg);

enum cli_what { CLI_A_USER = 1, CLI_A_GROUP = 2, CLI_ANYONE = 3 };
/* Find whom a word means: a name, "#12". Says what is wrong itself, and ends the run then; else calls cb. */
typedef void cli_found_cb(struct cli_run *run, uint64_t target);
void cli_find(struct cli_run *run, const char *word, enum cli_what what, cli_found_cb *cb);

/* ---- commands ---- */

struct cli_command {
    const char *name;
    const char *aliases;   /* "a b"; NULL: none */
    const char *usage;     /* words after the name */
    const char *help;      /* a sentence */
    int min_words;
    enum { CLI_WORDS = 0, CLI_TEXT = 1, CLI_NO_LOGIN = 2 } flags; /* _TEXT: options only before the first word; _NO_LOGIN: with nobody logged in */
    void (*fn)(struct cli_run *run);
};
extern const struct cli_command cli_commands[]; /* ends with a NULL name */

/* One command under way. Ended by exactly one of the cli_end*() below, which frees it. */
struct cli_run {
    struct cli *cli;
    const struct cli_command *command;
    char *line, *raw;                  /* own the words and the tails */
    char *words[CLI_MAX_WORDS];        /* after the command's name */
    char *tails[CLI_MAX_WORDS + 1];    /* the raw text from a word on; NULL behind the last word */
    int count;
    bool json, is_group, mark_read;    /* --json, --group, --mark-read were among the words */
    uint64_t target, user_id, seq;     /* what the steps of the command keep */
    void *state;                       /* likewise; freed at the end */
};
void cli_run_line(struct cli *cli, const char *line);
void cli_run_words(struct cli *cli, int argc, char **argv);
const struct cli_command *cli_command_find(const char *word, size_t len);
void cli_end(struct cli_run *run);                                    /* all went well */
void cli_end_refused(struct cli_run *run, const struct bt_result *r); /* says so */
void cli_end_usage(struct cli_run *run, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_end_failed(struct cli_run *run, enum cli_exit code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool cli_armed(struct cli_run *run, bool is_armed);                   /* false: ends the run, telling of the full queue */
bool cli_failed(struct cli_run *run, const struct bt_result *r);      /* true: it was not done; ended with cli_end_refused() */
void cli_run_current(struct cli_run *run, const char *word, cli_found_cb *cb); /* word, or the current chat when it is NULL */
enum cli_exit cli_exit_of(const struct cli *cli, const struct bt_result *r);

void cli_cmd_help(struct cli_run *run);
void cli_cmd_quit(struct cli_run *run);
/* account */
void cli_cmd_login(struct cli_run *run);         /* login, register */
void cli_cmd_logout(struct cli_run *run);
void cli_cmd_passwd(struct cli_run *run);
void cli_cmd_profile(struct cli_run *run);
void cli_cmd_whois(struct cli_run *run);
void cli_cmd_sessions(struct cli_run *run);
void cli_cmd_endsession(struct cli_run *run);
void cli_cmd_directory(struct cli_run *run);
void cli_cmd_status(struct cli_run *run);
/* friend */
void cli_cmd_friends(struct cli_run *run);
void cli_cmd_friend_change(struct cli_run *run); /* addfriend, accept, decline, delfriend, block, unblock */
/* group */
void cli_cmd_creategroup(struct cli_run *run);
void cli_cmd_groups(struct cli_run *run);
void cli_cmd_group(struct cli_run *run);
void cli_cmd_setgroup(struct cli_run *run);
void cli_cmd_members(struct cli_run *run);
void cli_cmd_join(struct cli_run *run);
void cli_cmd_group_alone(struct cli_run *run);   /* leave, disband */
void cli_cmd_group_member(struct cli_run *run);  /* invite, refuse, kick, mute, unmute, role, transfer */
/* chat */
void cli_cmd_chat(struct cli_run *run);
void cli_cmd_groupchat(struct cli_run *run);
void cli_cmd_close(struct cli_run *run);
void cli_cmd_send(struct cli_run *run);
void cli_cmd_edit(struct cli_run *run);
void cli_cmd_recall(struct cli_run *run);
void cli_cmd_history(struct cli_run *run);
void cli_cmd_conversations(struct cli_run *run);
void cli_cmd_receipts(struct cli_run *run);
void cli_cmd_typing(struct cli_run *run);
void cli_cmd_tail(struct cli_run *run);
void cli_send_text(struct cli *cli, uint64_t target, const char *text);  /* a line typed into the current chat */

/* ---- showing ---- */

enum { CLI_SHOW_JSON = 1, CLI_SHOW_DATE = 2, CLI_SHOW_EDITED = 4, CLI_SHOW_READ = 8 }; /* _READ: once shown, it counts as read */
/* Messages leave in the order of these calls, each when the names in it are known. */
void cli_show_message(struct cli *cli, const struct bt_message *m, unsigned how);
void cli_show_then(struct cli *cli, void (*cb)(void *arg), void *arg);   /* cb when all before it was shown */
void cli_show_clear(struct cli *cli);
extern const struct bt_events cli_events;
void cli_tail_end(struct cli *cli, enum cli_exit code);
void cli_summary(struct cli *cli);                                        /* what is unread */

/* ---- session ---- */

bool cli_session_nobody(struct cli *cli);  /* a client without a user, in place of the one there was; false: said why */
void cli_session_close(struct cli *cli);
/* Make the account if asked, then log in or resume; says what is wrong. done exactly once, never inside. */
typedef void cli_login_cb(struct cli *cli, enum cli_exit code, void *arg);
void cli_login(struct cli *cli, const char *user, enum bt_inbox inbox, bool is_register, cli_login_cb *done, void *arg);
void cli_login_state(struct cli *cli, const struct bt_state_info *info);   /* told by the events */
bool cli_login_ended(struct cli *cli);                                     /* likewise: the session is no good; true: login goes on */
/* From --password-file or the environment, or typed; NULL: none, and said so. Freed with cli_wipe(). */
char *cli_password(struct cli *cli, const char *prompt, bool is_new);
void cli_wipe(char *secret);
/* A file of this program's own: in the user's state directory of the server, or, nobody being told, of all. Makes the directory. */
bool cli_state_path(struct cli *cli, const char *name, char *path, size_t size);

/* ---- the program ---- */

struct cli_edit;
struct cli_input;
struct cli_show;
struct cli {
    struct cli_options options;
    struct net_loop *loop;
    struct bt_client *client;   /* NULL: between two */
    struct bt_store *store;
    char user[CLI_NAME_SIZE];   /* who logs in, or is; "" : nobody yet */
    bool is_interactive;        /* lines are typed or piped in */
    bool is_terminal;           /* and typed at a terminal */
    bool has_colours;
    bool is_secret;             /* the line being typed does not go into the history */
    bool is_settled;            /* commands from a pipe may run */
    bool was_connected;         /* a server was reached */
    bool is_ready;              /* logged in, and connected once since */
    bool must_hold;             /* a client begins with its inbox held */
    bool was_lost;              /* the connection, since it was last ready */
    bool must_summarise;        /* once what was missed is there */
    bool is_visitor;            /* in a session that ends with this program */
    bool is_quitting;
    enum cli_exit exit_code;
    int running;                /* commands under way */
    int clients_open;
    char last_why[256];         /* why no server is reached */
    uint64_t current;           /* the current chat; 0: none */
    struct cli_names names;
    struct cli_edit *edit;
    struct cli_input *input;
    struct cli_show *show;
    struct cli_login *login;    /* not NULL: under way */
    struct net_timer start_timer, tail_timer, quit_timer;
    struct net_task next_task;
    uint64_t tail_left;         /* messages to come; 0: no end */
    uint64_t tail_target;       /* 0: all */
    struct cli_run *tail;       /* not NULL: that command is under way */
    uint32_t tail_backfill;
};
void cli_quit(struct cli *cli, enum cli_exit code);

#endif
