/* net/log.c: puts a log line together, escapes it, and writes it whole. */
#include "net/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* With its newline a line stays within PIPE_BUF, so that lines of several threads never mix in a pipe. */
enum { LOG_LINE_SIZE = 4096, LOG_TEXT_SIZE = 2048, LOG_NODE_SIZE = 64 };

static const char *const log_level_names[] = { "error", "warn", "info", "debug" };
static _Atomic int log_level_max = LOG_LEVEL_INFO;

/* Guards what follows: set at start and rarely later, read by every line. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_node[LOG_NODE_SIZE] = "-";
static log_sink_fn *log_sink;
static void *log_sink_arg;

void log_set_level(enum log_level level)
{
    log_level_max = (int)level;
}

bool log_level_parse(const char *text, enum log_level *level_out)
{
    for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
        if (strcmp(text, log_level_names[i]) == 0) {
            *level_out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_set_node(const char *name)
{
    pthread_mutex_lock(&log_lock);
    snprintf(log_node, sizeof log_node, "%s", *name ? name : "-");
    pthread_mutex_unlock(&log_lock);
}

void log_set_sink(log_sink_fn *fn, void *arg)
{
    pthread_mutex_lock(&log_lock);
    log_sink = fn;
    log_sink_arg = arg;
    pthread_mutex_unlock(&log_lock);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level_max, memory_order_relaxed);
}

static bool is_control(const unsigned char *p)
{
    if (*p < 0x20 || *p == 0x7f)
        return true;
    return *p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f; /* C1 in UTF-8: terminals obey those too */
}

/* Append text, control characters as \n, \t or \xNN; ends with "..." where it does not fit. Returns the new length. */
static size_t append_escaped(char *line, size_t len, size_t size, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    for (; *p; p++) {
        if (len + 8 >= size) { /* room for one more escape and the dots */
            memcpy(line + len, "...", 3);
            return len + 3;
        }
        if (!is_control(p))
            line[len++] = (char)*p;
        else if (*p == '\n' || *p == '\t' || *p == '\r') {
            line[len++] = '\\';
            line[len++] = *p == '\n' ? 'n' : *p == '\t' ? 't' : 'r';
        } else {
            len += (size_t)snprintf(line + len, size - len, "\\x%02x", *p);
            if (*p == 0xc2) /* its second half would be invalid alone */
                len += (size_t)snprintf(line + len, size - len, "\\x%02x", *++p);
        }
    }
    return len;
}

static size_t append_stamp(char *line, size_t size)
{
    struct timespec now;
    struct tm tm;
    size_t len;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    len = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
    return len + (size_t)snprintf(line + len, size - len, ".%03ldZ ", now.tv_nsec / 1000000);
}

static void write_whole(const char *line, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, line, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody is left to be told */
        line += n;
        len -= (size_t)n;
    }
}

void log_line(enum log_level level, const char *module, const char *fmt, ...)
{
    int saved_errno = errno; /* callers log between a system call and looking at errno */
    char text[LOG_TEXT_SIZE], node[LOG_NODE_SIZE], line[LOG_LINE_SIZE];
    log_sink_fn *sink;
    void *sink_arg;
    va_list args;
    size_t len;

    va_start(args, fmt);
    if (vsnprintf(text, sizeof text, fmt, args) >= (int)sizeof text)
        memcpy(text + sizeof text - 4, "...", 4);
    va_end(args);

    pthread_mutex_lock(&log_lock);
    memcpy(node, log_node, sizeof node);
    sink = log_sink;
    sink_arg = log_sink_arg;
    pthread_mutex_unlock(&log_lock);

    len = append_stamp(line, sizeof line);
    len += (size_t)snprintf(line + len, sizeof line - len, "%s ", log_level_names[level]);
    len = append_escaped(line, len, sizeof line - 1, node);
    len += (size_t)snprintf(line + len, sizeof line - len, " %s: ", module);
    len = append_escaped(line, len, sizeof line - 1, text);
    line[len] = '\0';

    if (sink) {
        sink(level, line, sink_arg);
    } else {
        line[len++] = '\n';
        write_whole(line, len);
    }
    errno = saved_errno;
}
