/* SPDX-License-Identifier: MIT
 *
 * kiln-guestfs: the one program that is linked with libguestfs. kiln carries it in itself, so that
 * kiln needs no libguestfs. It is
 *
 *   kiln-guestfs CHANNEL FOLDER CACHE
 *
 * CHANNEL and FOLDER are numbers of descriptors: what leads to libguestfs's daemon in the builder VM
 * (channel.h), and a folder for what is gone afterwards; CACHE is where libguestfs keeps what it found
 * out about QEMU. A request is a line of JSON on its standard input, an answer one on its standard
 * output; it ends with its standard input:
 *
 *   {"do": "mount", "read_only": false, "keys": ["…"], "mounts": [[1, "/"], …]}
 *      "mounts" of a disk that kiln partitioned; without it they are found by inspection
 *      → {"mounts": [["/", "/dev/sda1"], …], "type": "linux", "arch": "x86_64", "product": "…"}
 *        of an operating system that was found, else only "mounts"
 *   {"do": "inspect", "keys": ["…"]}
 *      → {"systems": [{"root": "/dev/sda1", "type": "linux", "distro": "debian", "applications": [{"name":
 *        "bash", "version": "5.2"}, …], "mounts": [["/", "/dev/sda1"]], …}], "filesystems": [{"device":
 *        "/dev/sda1", "type": "ext4", "size": bytes, …}]}; what is not known is left out
 *
 * The target is the only disk that libguestfs sees, /dev/sda. A failure is {"error": "…", "hint": "…"},
 * the hint being optional; "warnings": ["…"] may be in any. Keys open
 * what is encrypted with LUKS.
 */
#ifndef BUILDER_GUESTFS_JOB_H
#define BUILDER_GUESTFS_JOB_H

#include <guestfs.h>
#include <jansson.h>
#include <stdbool.h>

struct job {
    guestfs_h *g;
    const json_t *request;
    json_t *reply;
};

/* "error" of the reply; libguestfs's own message if text is NULL. Returns -1. */
int job_failed(struct job *j, const char *text, const char *hint);
void job_warn(struct job *j, const char *text);
/* Frees what libguestfs gives; NULL is fine. */
void list_free(char **list);
void list_freep(char ***list);
#define AUTO_LIST __attribute__((cleanup(list_freep))) char **

/* mount.c */
int job_mount(struct job *j);
/* Opens what the request's keys open. *ret_locked: something stays encrypted. */
int job_unlock(struct job *j, bool *ret_locked);
/* The file systems of a root that inspection found, its own first; others that fail are warned of. */
int job_mount_root(struct job *j, const char *root, bool read_only);

/* inspect.c */
int job_inspect(struct job *j);

#endif
