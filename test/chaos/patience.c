/*
 * test/chaos/patience.c: loaded into MariaDB, which waits for a minute before it looks whether a full disk has room again; with
 * this it looks every second, so that a test need not wait for it.
 *
 * It waits on a condition that nobody signals: a wait of about a minute is ended after a second as if by chance, which every
 * user of conditions has to bear.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <time.h>

enum { LEAST_S = 55, MOST_S = 61, LOOK_S = 1 };

typedef int wait_fn(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex, const struct timespec *restrict until)
{
    static wait_fn *next;
    struct timespec at;
    wait_fn *wait = __atomic_load_n(&next, __ATOMIC_RELAXED);
    int result;

    if (wait == NULL) {
        wait = (wait_fn *)dlsym(RTLD_NEXT, "pthread_cond_timedwait");
        __atomic_store_n(&next, wait, __ATOMIC_RELAXED);
    }
    clock_gettime(CLOCK_REALTIME, &at);
    if (until->tv_sec < at.tv_sec + LEAST_S || until->tv_sec > at.tv_sec + MOST_S)
        return wait(cond, mutex, until);
    at.tv_sec += LOOK_S;
    result = wait(cond, mutex, &at);
    return result == ETIMEDOUT ? 0 : result;
}
