/* store/data_dir.c: makes and locks the data directory. */
#include "store/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum bt_err data_dir_errno(const char *path, char *why, size_t why_size)
{
    int sys = errno;
    snprintf(why, why_size, "%s: %s", path, strerror(sys));
    switch (sys) {
    case EEXIST:
        return BT_EEXIST;
    case ENOENT:
    case ENOTDIR:
        return BT_ENOTFOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return BT_EDENIED;
    case ENOSPC:
    case EDQUOT:
        return BT_EFULL;
    default:
        return BT_EDOWN;
    }
}

enum bt_err data_dir_make(const char *dir, char *why, size_t why_size)
{
    struct stat st;
    if (mkdir(dir, 0700) == 0)
        return data_dir_sync_parent(dir, why, why_size);
    if (errno != EEXIST)
        return data_dir_errno(dir, why, why_size);
    if (stat(dir, &st) == 0 && !S_ISDIR(st.st_mode))
        errno = ENOTDIR;
    else if (access(dir, R_OK | W_OK | X_OK) == 0)
        return BT_OK;
    return data_dir_errno(dir, why, why_size);
}

/* Who holds the lock, as it wrote itself; "unknown" when it had no time to. */
static void read_owner(int fd, char *owner, size_t size)
{
    ssize_t n = pread(fd, owner, size - 1, 0);
    owner[n > 0 ? n : 0] = '\0';
    owner[strspn(owner, "0123456789")] = '\0';
    if (owner[0] == '\0')
        snprintf(owner, size, "unknown");
}

enum bt_err data_dir_lock(const char *dir, int *fd_out, char *why, size_t why_size)
{
    char path[PATH_MAX], owner[16];
    if (snprintf(path, sizeof path, "%s/bytetalk.lock", dir) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return data_dir_errno(dir, why, why_size);
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return data_dir_errno(path, why, why_size);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        bool is_held = errno == EWOULDBLOCK;
        enum bt_err err = is_held ? BT_EEXIST : data_dir_errno(path, why, why_size);
        if (is_held) {
            read_owner(fd, owner, sizeof owner);
            snprintf(why, why_size, "%s: served by process %s; stop it, or set another [data] dir", dir, owner);
        }
        close(fd);
        return err;
    }
    /* The number is a help for people; the lock holds without it, also on a full disk. */
    int len = snprintf(owner, sizeof owner, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, owner, (size_t)len, 0) != len)
        (void)ftruncate(fd, 0);
    *fd_out = fd;
    return BT_OK;
}

enum bt_err data_dir_sync_parent(const char *path, char *why, size_t why_size)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash != NULL ? (size_t)(slash - path) : 0;
    if (len >= sizeof dir) {
        errno = ENAMETOOLONG;
        return data_dir_errno(path, why, why_size);
    }
    snprintf(dir, sizeof dir, "%.*s", (int)len, path);
    int fd = open(slash == NULL ? "." : slash == path ? "/" : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return data_dir_errno(dir, why, why_size);
    enum bt_err err = fsync(fd) == 0 || errno == EINVAL ? BT_OK : data_dir_errno(path, why, why_size); /* EINVAL: it cannot be synced */
    close(fd);
    return err;
}
