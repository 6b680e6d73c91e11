/*
 * test/chaos/patience.c: loaded into MariaDB, which sleeps for a minute before it looks whether a full disk has room again;
 * with this it looks every second, so that a test need not wait for it.
 */
#include <time.h>
#include <unistd.h>

enum { LONGEST_S = 1 };

unsigned int sleep(unsigned int seconds)
{
    struct timespec left = { .tv_sec = seconds < LONGEST_S ? seconds : LONGEST_S };

    nanosleep(&left, NULL);
    return 0;
}
