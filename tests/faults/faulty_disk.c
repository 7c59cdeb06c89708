/* A disk that fails, for one process and its children: cc -shared -fPIC -o faulty_disk.so faulty_disk.c -ldl

   LD_PRELOAD          this library
   FAULTY_ROOT         only files below this folder are touched
   FAULTY_CALLS        a comma-separated list of faults: CALL=FAULT:PER_MILLE
                       CALL is write, read, fsync, link, rename, unlink or open
                       FAULT is a number (errno; nothing is done), late-NUMBER (the call is made, and its answer is this
                       errno), short (fewer bytes are read or written, as POSIX allows), or slow-NUMBER (milliseconds)
   FAULTY_SEED         seed of the random numbers, to which the process id is added
   FAULTY_LOG          a file to which a line is added for every fault
   FAULTY_LIMIT        number of faults of each call that return an error in one process; without it, there is no limit
*/

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NONE, FAIL, LATE, SHORT, SLOW };
typedef struct { int kind, number; } fault;

static __thread int inside;

/* A number below 2^53, derived from the seed, the process and the number of earlier draws in it (splitmix64). */
static unsigned long draw(void) {
    static unsigned long drawn;
    const char *seed = getenv("FAULTY_SEED");
    unsigned long state = (seed ? (unsigned long)atol(seed) : 0) * 2654435761UL + (unsigned long)getpid() * 40503UL;
    state = (state << 24) + __sync_add_and_fetch(&drawn, 1);
    state *= 0x9e3779b97f4a7c15UL;
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9UL;
    state = (state ^ (state >> 27)) * 0x94d049bb133111ebUL;
    return (state ^ (state >> 31)) >> 11;
}

static int below(const char *path) {
    const char *root = getenv("FAULTY_ROOT");
    return root && path && !strncmp(path, root, strlen(root));
}

static int below_fd(int fd) {
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return below(path);
}

static void note(const char *call, const char *text) {
    const char *log = getenv("FAULTY_LOG");
    if (!log) return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    char line[128];
    int size = snprintf(line, sizeof line, "%s %s\n", call, text);
    if (fd >= 0) { syscall(SYS_write, fd, line, size); syscall(SYS_close, fd); }
}

/* Decides what happens to a call on a file that is below the root. */
static fault fate(const char *call) {
    static int failed;
    fault none = {NONE, 0};
    const char *rules = getenv("FAULTY_CALLS");
    const char *limit = getenv("FAULTY_LIMIT");
    while (rules && *rules) {
        char name[16], text[32];
        int permille, used = 0;
        if (sscanf(rules, "%15[^=]=%31[^:]:%d%n", name, text, &permille, &used) != 3) abort();
        rules += used + (rules[used] == ',');
        if (strcmp(name, call) || (int)(draw() % 1000) >= permille) continue;
        fault found = {FAIL, 0};
        if (!strcmp(text, "short")) found.kind = SHORT;
        else if (!strncmp(text, "late-", 5)) { found.kind = LATE; found.number = atoi(text + 5); }
        else if (!strncmp(text, "slow-", 5)) { found.kind = SLOW; found.number = atoi(text + 5); }
        else found.number = atoi(text);
        if ((found.kind == FAIL || found.kind == LATE) && limit && __sync_fetch_and_add(&failed, 1) >= atoi(limit)) continue;
        note(call, text);
        if (found.kind == SLOW) {
            struct timespec wait = {found.number / 1000, found.number % 1000 * 1000000L};
            nanosleep(&wait, NULL);
            continue;
        }
        return found;
    }
    return none;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define TRANSFER(call, condition, size, made)                                   \
    if (!inside && (condition)) {                                               \
        inside = 1;                                                             \
        fault found = fate(call);                                               \
        inside = 0;                                                             \
        if (found.kind == FAIL) { errno = found.number; return -1; }            \
        if (found.kind == SHORT && (size) > 1) (size) = 1 + draw() % ((size) - 1); \
        if (found.kind == LATE) { (void)!(made); errno = found.number; return -1; } \
    }                                                                           \
    return made;

ssize_t write(int fd, const void *buffer, size_t size) { REAL(write); TRANSFER("write", below_fd(fd), size, real(fd, buffer, size)) }
ssize_t pwrite(int fd, const void *buffer, size_t size, off_t at) { REAL(pwrite); TRANSFER("write", below_fd(fd), size, real(fd, buffer, size, at)) }
ssize_t pwrite64(int fd, const void *buffer, size_t size, off64_t at) { REAL(pwrite64); TRANSFER("write", below_fd(fd), size, real(fd, buffer, size, at)) }
ssize_t read(int fd, void *buffer, size_t size) { REAL(read); TRANSFER("read", below_fd(fd), size, real(fd, buffer, size)) }
ssize_t pread(int fd, void *buffer, size_t size, off_t at) { REAL(pread); TRANSFER("read", below_fd(fd), size, real(fd, buffer, size, at)) }
ssize_t pread64(int fd, void *buffer, size_t size, off64_t at) { REAL(pread64); TRANSFER("read", below_fd(fd), size, real(fd, buffer, size, at)) }

#define CALL(call, condition, made)                                             \
    if (!inside && (condition)) {                                               \
        inside = 1;                                                             \
        fault found = fate(call);                                               \
        inside = 0;                                                             \
        if (found.kind == FAIL) { errno = found.number; return -1; }            \
        if (found.kind == LATE) { (void)!(made); errno = found.number; return -1; } \
    }                                                                           \
    return made;

int fsync(int fd) { REAL(fsync); CALL("fsync", below_fd(fd), real(fd)) }
int fdatasync(int fd) { REAL(fdatasync); CALL("fsync", below_fd(fd), real(fd)) }
int link(const char *from, const char *to) { REAL(link); CALL("link", below(to), real(from, to)) }
int linkat(int in, const char *from, int out, const char *to, int flags) { REAL(linkat); CALL("link", below(to), real(in, from, out, to, flags)) }
int rename(const char *from, const char *to) { REAL(rename); CALL("rename", below(to), real(from, to)) }
int renameat(int in, const char *from, int out, const char *to) { REAL(renameat); CALL("rename", below(to), real(in, from, out, to)) }
int unlink(const char *path) { REAL(unlink); CALL("unlink", below(path), real(path)) }
int unlinkat(int in, const char *path, int flags) { REAL(unlinkat); CALL("unlink", below(path), real(in, path, flags)) }

static int mode_of(int flags, va_list more) { return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, int) : 0; }
#define OPENED(name)                                                            \
    int name(const char *path, int flags, ...) {                                \
        va_list more; va_start(more, flags);                                    \
        int mode = mode_of(flags, more); va_end(more);                          \
        REAL(name);                                                             \
        CALL("open", below(path), real(path, flags, mode))                      \
    }
OPENED(open)
OPENED(open64)
