/* test/unit/log_aid.c: see log_aid.h. */
#include "test/unit/log_aid.h"

#include <stddef.h>

#include "net/log.h"

static void pass_over(enum log_level level, const char *line, void *arg)
{
    (void)level, (void)line, (void)arg;
}

void log_nothing(void)
{
    log_set_sink(pass_over, NULL);
}
