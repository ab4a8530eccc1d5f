// SPDX-License-Identifier: MIT
//
// `qemu-img rebase` puts into an overlay what its old and its new backing file differ in. The new one is a
// chain, which has no name that fits into a header and is short enough for the kernel (each "../<id>" of a
// header is added to the one above it): so qemu-storage-daemon has it, and qemu-img reads it over a socket
// that has no name either.
#include "image/difference.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/process.h"
#include "base/session.h"
#include "qcow2/nodes.h"
#include "qcow2/qcow2.h"

#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The chain as an NBD export that is named "below". */
struct below {
    struct process daemon;
    int socket; /* connected to it */
};
#define BELOW_INIT \
    { \
        PROCESS_INIT, -1 \
    }

static void below_clear(struct below *b)
{
    auto_closep(&b->socket);
    process_clear(&b->daemon);
}

/* A socket that listens, and one that is connected to it; their name, in the folder, is gone again. */
static int connect_pair(const char *folder, int *ret_listening, int *ret_socket, struct error **err)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    AUTO_CLOSE int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    AUTO_CLOSE int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    // the folder's own path may be too long for it
    (void)snprintf(name.sun_path, sizeof name.sun_path, "/proc/self/fd/%d/nbd-%ld", dir,
                   (long)getpid());
    int rc = dir < 0 || listening < 0 || client < 0 ||
                     bind(listening, (struct sockaddr *)&name, sizeof name) < 0 ||
                     listen(listening, 1) < 0 ||
                     connect(client, (struct sockaddr *)&name, sizeof name) < 0
                 ? error_errno(err, "cannot make a socket in '%s'", folder)
                 : 0;
    (void)unlink(name.sun_path);
    if (rc == 0) {
        *ret_listening = STEAL_FD(listening);
        *ret_socket = STEAL_FD(client);
    }
    return rc;
}

static int add_nodes(struct strv *argv, const struct strv *chain, struct error **err)
{
    struct qcow2_disk disk = {
        .node = "below", .files = (const char *const *)chain->ptr, .n_files = chain->len};
    json_auto_t *nodes = qcow2_nodes(&disk, err);
    json_t *node;
    size_t i;
    if (!nodes)
        return -1;
    json_array_foreach (nodes, i, node) {
        AUTO_FREE char *text = json_dumps(node, JSON_COMPACT);
        strv_add(argv, "--blockdev");
        strv_add(argv, text);
    }
    return 0;
}

static int serve(struct below *b, const struct strv *chain, const char *folder, struct error **err)
{
    CLEANUP(strv_clear) struct strv argv = {0};
    AUTO_CLOSE int listening = -1;
    if (connect_pair(folder, &listening, &b->socket, err) < 0)
        return -1;
    strv_add(&argv, "qemu-storage-daemon");
    if (add_nodes(&argv, chain, err) < 0)
        return -1;
    strv_add(&argv, "--nbd-server");
    strv_addf(&argv, "addr.type=fd,addr.str=%d", listening);
    strv_add(&argv, "--export");
    strv_add(&argv, "type=nbd,id=below,node-name=below,name=below");
    struct process_spec spec = {.argv = argv.ptr,
                                .in = PROCESS_NULL,
                                .out = PROCESS_NULL,
                                .errors = PROCESS_NULL,
                                .keep = &listening,
                                .n_keep = 1};
    return process_start(&b->daemon, &spec, err) < 0
               ? error_hint(err, "apt-get install qemu-system-common")
               : 0;
}

static int rebase(const struct session *s, const struct below *b, const char *path,
                  struct error **err)
{
    AUTO_FREE char *node = xasprintf(
        "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"nbd\",\"export\":\"below\","
        "\"server\":{\"type\":\"fd\",\"str\":\"%d\"}}}",
        b->socket);
    struct process_spec spec = {
        .argv = ARGV("qemu-img", "rebase", "-q", "-f", "qcow2", "-F", "raw", "-b", node, path),
        .keep = &b->socket,
        .n_keep = 1};
    return process_run_spec(s, &spec, NULL, err);
}

int image_difference(const struct session *s, const struct image_difference *d, const char *path,
                     struct error **err)
{
    CLEANUP(below_clear) struct below below = BELOW_INIT;
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    AUTO_FREE char *folder = path_parent(path);
    if (qcow2_read(d->file, 0, &info, err) < 0)
        return -1;
    struct qcow2_overlay overlay = {.size = info.size, .backing = d->file};
    if (qcow2_create_overlay(path, &overlay, err) < 0 || serve(&below, d->chain, folder, err) < 0 ||
        rebase(s, &below, path, err) < 0)
        return error_wrap(err, "cannot compare the disk with the layers it was made from");
    return process_run(s,
                       ARGV("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b",
                            d->backing, path),
                       NULL, err);
}
