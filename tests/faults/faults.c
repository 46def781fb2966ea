/* A library that is loaded before libc and makes the system misbehave, for tests/faults.rs:
 *
 *     FAULTS_ROOT       only files below this folder are meddled with
 *     FAULTS_FULL=FILE  the disk is full at the first operation that FILE does not name yet; its name is added to FILE, and
 *                       from then on everything that needs space fails in this process
 *     FAULTS_NO_LOCKS   no file can be locked, as on a file system over the network without a lock service
 *     FAULTS_OUTSIDE=FILE  files that are opened for writing and are not below FAULTS_ROOT are named in FILE
 *
 * An operation's name is what is done to which file. Temporary names have their random part cut out; to records, the number
 * of those that are there is added, to checkpoints the step of the one that is there, so that each record and each
 * checkpoint has operations of its own.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define LONGEST 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int full;

#define REAL(name, type, ...)                                    \
    static type (*real)(__VA_ARGS__);                            \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static ssize_t real_write(int fd, const void *bytes, size_t count) {
    REAL("write", ssize_t, int, const void *, size_t);
    return real(fd, bytes, count);
}

static int real_open(const char *path, int flags, mode_t mode) {
    REAL("open", int, const char *, int, ...);
    return real(path, flags, mode);
}

/* The part of a path below the root, or NULL. */
static const char *below(const char *path) {
    const char *root = getenv("FAULTS_ROOT");
    size_t length = root ? strlen(root) : 0;
    if (!root || strncmp(path, root, length) || (path[length] && path[length] != '/')) return NULL;
    return path + length;
}

/* Adds a line to a file in one write. */
static void note(const char *file, const char *line) {
    char text[LONGEST + 64];
    int length = snprintf(text, sizeof text, "%s\n", line);
    int fd = real_open(file, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0) return;
    if (real_write(fd, text, (size_t)length) < 0) abort();
    close(fd);
}

static int is_noted(const char *file, const char *line) {
    char text[LONGEST + 64];
    FILE *open = fopen(file, "re");
    int found = 0;
    if (!open) return 0;
    while (!found && fgets(text, sizeof text, open)) {
        text[strcspn(text, "\n")] = 0;
        found = !strcmp(text, line);
    }
    fclose(open);
    return found;
}

static int hex_run(const char *text) {
    int run = 0;
    while (isxdigit((unsigned char)text[run])) run++;
    return run;
}

/* The number of records, or the step of a checkpoint, that stands where this is going to be. */
static long stage(const char *path) {
    char other[LONGEST];
    const char *records = strstr(path, "/ledger/records/.tmp-");
    if (records) {
        long count = 0;
        snprintf(other, sizeof other, "%.*s/ledger/records", (int)(records - path), path);
        DIR *folder = opendir(other);
        for (struct dirent *entry; folder && (entry = readdir(folder));) count += entry->d_name[0] != '.';
        if (folder) closedir(folder);
        return count;
    }
    const char *model = strstr(path, "/models/.");
    if (model) {
        const char *name = model + strlen("/models/.");
        snprintf(other, sizeof other, "%.*s/models/%.*s/state.json", (int)(model - path), path, (int)strcspn(name, "."), name);
        FILE *state = fopen(other, "re");
        char line[LONGEST];
        long step = 0;
        while (state && fgets(line, sizeof line, state))
            if (sscanf(line, " \"step\": %ld", &step) == 1) break;
        if (state) fclose(state);
        return step;
    }
    return 0;
}

/* Whether an operation fails for want of space. */
static int fails(const char *what, const char *path) {
    const char *log = getenv("FAULTS_FULL");
    const char *inside = below(path);
    if (!log || !inside) return 0;
    char name[LONGEST];
    size_t at = (size_t)snprintf(name, sizeof name, "%s %ld ", what, stage(path));
    for (const char *from = inside; *from && at + 1 < sizeof name;) {
        int run = hex_run(from);
        if (run == 16 && from[run] == '-') {
            /* The writer's random word, and a count. */
            from += run + 1;
            while (isdigit((unsigned char)*from)) from++;
            name[at++] = 'T';
        } else {
            int take = run ? run : 1;
            while (take-- && at + 1 < sizeof name) name[at++] = *from++;
        }
    }
    name[at] = 0;
    pthread_mutex_lock(&lock);
    if (!full && !is_noted(log, name)) {
        note(log, name);
        full = 1;
    }
    int result = full;
    pthread_mutex_unlock(&lock);
    if (result) errno = ENOSPC;
    return result;
}

static int fails_open(int fd, const char *what) {
    char link[64], path[LONGEST];
    if (!getenv("FAULTS_FULL")) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    struct stat about;
    /* A folder is synced for its names' sake; that needs no space of its own, but may be what tells. */
    if (fstat(fd, &about) || !(S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) return 0;
    return fails(what, path);
}

static int opens(const char *path, int flags) {
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT)) return 0;
    const char *outside = getenv("FAULTS_OUTSIDE");
    if (outside && !below(path) && strncmp(path, "/dev/", 5) && strncmp(path, "/proc/", 6)) note(outside, path);
    return (flags & O_CREAT) && access(path, F_OK) && fails("create", path);
}

static mode_t mode_of(int flags, va_list list) {
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(list, int) : 0;
}

#define OPEN(name)                                     \
    int name(const char *path, int flags, ...) {       \
        va_list list;                                  \
        va_start(list, flags);                         \
        mode_t mode = mode_of(flags, list);            \
        va_end(list);                                  \
        REAL(#name, int, const char *, int, ...);      \
        return opens(path, flags) ? -1 : real(path, flags, mode); \
    }

OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t count) {
    return fails_open(fd, "write") ? -1 : real_write(fd, bytes, count);
}

int fsync(int fd) {
    REAL("fsync", int, int);
    return fails_open(fd, "sync") ? -1 : real(fd);
}

int rename(const char *from, const char *to) {
    REAL("rename", int, const char *, const char *);
    return fails("rename", to) ? -1 : real(from, to);
}

int link(const char *from, const char *to) {
    REAL("link", int, const char *, const char *);
    return fails("link", to) ? -1 : real(from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    REAL("linkat", int, int, const char *, int, const char *, int);
    return fails("link", to) ? -1 : real(from_folder, from, to_folder, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL("mkdir", int, const char *, mode_t);
    return access(path, F_OK) && fails("mkdir", path) ? -1 : real(path, mode);
}

int flock(int fd, int operation) {
    REAL("flock", int, int, int);
    if (getenv("FAULTS_NO_LOCKS")) {
        errno = ENOLCK;
        return -1;
    }
    return real(fd, operation);
}
