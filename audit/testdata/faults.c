/*
 * faults.so stands between SQLite and the system in tests: preloaded, it fails calls on the files below
 * POSTERN_FAULTS_DIR as the octets of POSTERN_FAULTS_CONTROL say, a file shared with the test, and writes down in
 * POSTERN_FAULTS_TRACE every write, truncation, removal and sync of them, in the order in which they returned.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the control file holds, an octet each. */
enum {
	WRITE_ERRNO, /* writes and truncations fail with it; 0: they go well */
	SYNC_ERRNO,  /* so do syncs */
	OPEN_ERRNO,  /* and opening for writing */
	SHORT,       /* not 0: half of each write is written before it fails with WRITE_ERRNO */
	DELAY,       /* a sync takes this many hundredths of a second more */
	SEEN,        /* set to 1 by the first write that is seen */
	CONTROLS
};

static volatile unsigned char nothing[CONTROLS], *control = nothing;
static char dir[4096];
static size_t dirlen;
static int trace = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
	const char *d = getenv("POSTERN_FAULTS_DIR"), *c = getenv("POSTERN_FAULTS_CONTROL"), *t = getenv("POSTERN_FAULTS_TRACE");
	if (d && realpath(d, dir))
		dirlen = strlen(dir);
	if (c) {
		int fd = syscall(SYS_openat, AT_FDCWD, c, O_RDWR);
		void *p = fd < 0 ? MAP_FAILED : mmap(NULL, CONTROLS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p != MAP_FAILED)
			control = p;
	}
	if (t && *t)
		trace = syscall(SYS_openat, AT_FDCWD, t, O_WRONLY | O_APPEND | O_CREAT, 0600);
}

/* watched tells whether path lies below the directory; *rest is then what follows. */
static int watched(const char *path, const char **rest) {
	if (!dirlen || strncmp(path, dir, dirlen) || path[dirlen] != '/')
		return 0;
	*rest = path + dirlen + 1;
	return 1;
}

/* name finds the file of fd; it returns 0 if it is none of those watched. A -shm does not outlive the system. */
static int name(int fd, char *buf, size_t size) {
	char link[64], path[4096];
	const char *rest;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	if (n < 0)
		return 0;
	path[n] = 0;
	if (!watched(path, &rest) || strlen(rest) >= size || strstr(rest, "-shm"))
		return 0;
	strcpy(buf, rest);
	return 1;
}

/* tell appends an entry: op, length of the name, length of the data, offset; name; data. */
static void tell(char op, const char *file, int64_t offset, const void *data, uint32_t size) {
	struct __attribute__((packed)) { uint8_t op, name; uint32_t size; int64_t offset; } head =
		{ op, (uint8_t)strlen(file), size, offset };
	if (trace < 0)
		return;
	size_t all = sizeof head + head.name + size;
	char *entry = malloc(all);
	memcpy(entry, &head, sizeof head);
	memcpy(entry + sizeof head, file, head.name);
	if (size)
		memcpy(entry + sizeof head + head.name, data, size);
	if (syscall(SYS_write, trace, entry, all) != (ssize_t)all)
		abort();
	free(entry);
}

static ssize_t do_write(int fd, const void *data, size_t size, off_t offset) {
	char file[256];
	if (!name(fd, file, sizeof file))
		return syscall(SYS_pwrite64, fd, data, size, offset);
	pthread_mutex_lock(&mutex);
	ssize_t n = -1;
	int err = control[WRITE_ERRNO];
	control[SEEN] = 1;
	if (!err || (control[SHORT] && size > 1)) {
		n = syscall(SYS_pwrite64, fd, data, err ? size / 2 : size, offset);
		if (n > 0)
			tell('W', file, offset, data, n);
		err = errno;
	}
	pthread_mutex_unlock(&mutex);
	if (n < 0)
		errno = err;
	return n;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return do_write(fd, data, size, offset); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return do_write(fd, data, size, offset); }

ssize_t write(int fd, const void *data, size_t size) {
	char file[256];
	if (!name(fd, file, sizeof file))
		return syscall(SYS_write, fd, data, size);
	off_t at = lseek(fd, 0, SEEK_CUR);
	ssize_t n = do_write(fd, data, size, at);
	if (n > 0)
		lseek(fd, at + n, SEEK_SET);
	return n;
}

static int do_truncate(int fd, off_t size) {
	char file[256];
	if (!name(fd, file, sizeof file))
		return syscall(SYS_ftruncate, fd, size);
	pthread_mutex_lock(&mutex);
	int n = -1, err = control[WRITE_ERRNO];
	if (!err) {
		n = syscall(SYS_ftruncate, fd, size);
		err = errno;
		if (!n)
			tell('T', file, size, NULL, 0);
	}
	pthread_mutex_unlock(&mutex);
	if (n)
		errno = err;
	return n;
}

int ftruncate64(int fd, off_t size) { return do_truncate(fd, size); }
int ftruncate(int fd, off_t size) { return do_truncate(fd, size); }

static int do_sync(int fd, long call) {
	char file[256];
	if (!name(fd, file, sizeof file))
		return syscall(call, fd);
	if (control[DELAY])
		usleep(control[DELAY] * 10000);
	pthread_mutex_lock(&mutex);
	int n = -1, err = control[SYNC_ERRNO];
	if (!err) {
		n = syscall(call, fd);
		err = errno;
	}
	tell(n ? 'F' : 'S', file, 0, NULL, 0);
	pthread_mutex_unlock(&mutex);
	if (n)
		errno = err;
	return n;
}

int fsync(int fd) { return do_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync); }

int unlink(const char *path) {
	const char *rest;
	pthread_mutex_lock(&mutex);
	int n = syscall(SYS_unlinkat, AT_FDCWD, path, 0), err = errno;
	if (!n && watched(path, &rest) && !strstr(rest, "-shm"))
		tell('U', rest, 0, NULL, 0);
	pthread_mutex_unlock(&mutex);
	if (n)
		errno = err;
	return n;
}

static int do_open(const char *path, int flags, mode_t mode) {
	const char *rest;
	if (control[OPEN_ERRNO] && watched(path, &rest) && (flags & O_ACCMODE) != O_RDONLY) {
		errno = control[OPEN_ERRNO];
		return -1;
	}
	return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

#define OPEN(function)                                                  \
	int function(const char *path, int flags, ...) {                    \
		mode_t mode = 0;                                                \
		if (flags & (O_CREAT | O_TMPFILE)) {                            \
			va_list args;                                               \
			va_start(args, flags);                                      \
			mode = va_arg(args, mode_t);                                \
			va_end(args);                                               \
		}                                                               \
		return do_open(path, flags, mode);                              \
	}
OPEN(open)
OPEN(open64)
