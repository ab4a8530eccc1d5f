/* SPDX-License-Identifier: MIT
 *
 * Files: whole reads and writes, folders, and files that appear whole or not at all.
 *
 *     CLEANUP(atomic_file_abandon) struct atomic_file f = ATOMIC_FILE_INIT;
 *     if (atomic_file_open(&f, path, 0644, &err) < 0) ...
 *     if (write_all(f.fd, bytes, n) < 0) ...
 *     if (atomic_file_commit(&f, &err) < 0) ...      // fsync, rename, fsync of the folder
 *
 * Until the commit the bytes are in a file of a random name in the same folder, which the cleanup
 * removes.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"
#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

struct atomic_file {
    int fd;     /* open for reading and writing; -1 when closed */
    char *path; /* where the file will be */
    char *temp; /* where it is */
};
#define ATOMIC_FILE_INIT \
    { \
        -1, NULL, NULL \
    }
int atomic_file_open(struct atomic_file *f, const char *path, mode_t mode, struct error **err);
int atomic_file_commit(struct atomic_file *f, struct error **err);
void atomic_file_abandon(struct atomic_file *f); /* nothing to do after a commit */
/* The three in one: path then holds exactly these bytes, durably. */
int file_write_whole(const char *path, mode_t mode, const void *bytes, size_t n,
                     struct error **err);
/* The same, but after a crash of the machine path may hold nothing, or what it held before. */
int file_write_unsynced(const char *path, mode_t mode, const void *bytes, size_t n,
                        struct error **err);

/* Whole file into *ret (emptied first). More than `limit` bytes is an error (ERR_USER). A missing
 * file is ERR_NOT_FOUND. */
int file_read(const char *path, size_t limit, struct buf *ret, struct error **err);
int write_all(int fd, const void *bytes, size_t n);            /* 0, or -1 with errno */
ssize_t read_all(int fd, void *bytes, size_t n);               /* less than n only at the end */
int pwrite_all(int fd, const void *bytes, size_t n, off_t at); /* 0, or -1 with errno */
ssize_t pread_all(int fd, void *bytes, size_t n, off_t at);
void fd_drain(int fd); /* reads to the end, or until an error, and drops it */

/* Gives the empty file `to` the bytes of `from`: shared where the file system can, else copied without
 * the holes. */
int file_copy(int from, int to, struct error **err);

int make_dirs(const char *path, mode_t mode, struct error **err); /* as mkdir -p */
/* The same for a folder of kiln's in one that somebody may have made to share it: it gets the
 * permissions of the folder it lies in. Folders above that are missing are for us alone (0700). */
int make_dirs_inside(const char *path, struct error **err);
int remove_tree(const char *path, struct error **err); /* never follows links; absent is fine */
int fsync_dir(const char *path, struct error **err);
/* fsync of the folder that holds path. */
int fsync_parent(const char *path, struct error **err);
/* rename(2) that replaces nothing: -1 with errno EEXIST. Where the file system has no such call, it
 * is looked first. */
int rename_new(const char *from, const char *to);
char *path_join(const char *dir, const char *name); /* an absolute name stays as it is; owned */
char *path_parent(const char *path);                /* "." for a bare name; owned */
/* Free bytes an ordinary user may still write where path lies; 0 when it can't be told. */
uint64_t free_bytes(const char *path);

#endif
