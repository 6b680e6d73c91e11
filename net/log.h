/*
 * net/log.h: structured log lines on stderr: "2026-11-21T05:16:44.123Z info NODE chat: conv 12/7: text key=value".
 *
 * error: a human must act. warn: degraded, went on. info: lifecycle. debug: per request. No passwords, tokens or bodies.
 * Lines are whole (one write each, at most 4 KiB, "..." where cut), control characters in arguments come out escaped. Any thread.
 */
#ifndef BT_NET_LOG_H
#define BT_NET_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* The lowest level that is written. Set at start and by SIGHUP. */
void log_set_level(enum log_level level);

/* "error", "warn", "info", "debug". False: no such level. */
bool log_level_parse(const char *text, enum log_level *level_out);

/* The node's name in every line; copied. Empty (shown as "-") before it is known. */
void log_set_node(const char *name);

/* Hand each finished line (no newline; lent) to fn instead of stderr; NULL: back to stderr. For tests and, later, syslog. */
typedef void log_sink_fn(enum log_level level, const char *line, void *arg);
void log_set_sink(log_sink_fn *fn, void *arg);

bool log_enabled(enum log_level level);
void log_line(enum log_level level, const char *module, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Each .c that logs defines LOG_MODULE ("chat") before it includes this. */
#define log_at(level, ...)                                                                         \
    do {                                                                                           \
        if (log_enabled(level))                                                                    \
            log_line(level, LOG_MODULE, __VA_ARGS__);                                              \
    } while (0)
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
