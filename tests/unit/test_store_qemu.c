// SPDX-License-Identifier: MIT
//
// Layers are committed (synced, digested, renamed) while a real QEMU has them open: it must go on
// reading them, and must not change them any more, not even when it closes them.
#include "tests/unit/store_fixture.h"

#include "base/process.h"
#include "base/session.h"
#include "qcow2/nodes.h"
#include "qcow2/qcow2.h"
#include "vm/qemu.h"
#include "vm/vm.h"

enum { LAYERS = 5, MIB = 1 << 20 };

/* An HMP command; its output must not contain "failed" or "error". */
static void monitor(struct vm *vm, const char *line)
{
    struct error *err = NULL;
    json_auto_t *reply = NULL;
    if (qmp_callf(vm_qmp(vm), 10000, &reply, &err, "human-monitor-command", "{s:s}", "command-line",
                  line) < 0)
        fail_msg("%s", err->message);
    const char *text = json_string_value(reply);
    if (!text || strstr(text, "rror") || strstr(text, "failed"))
        fail_msg("%s: %s", line, text);
}

static void write_and_read(struct vm *vm, int layer)
{
    AUTO_FREE char *write =
        xasprintf("qemu-io -d /machine/peripheral/disk/virtio-backend \"write -P %d %dM 1M\"",
                  layer + 1, layer);
    monitor(vm, write);
    for (int i = 0; i <= layer; i++) { // what the layers below hold, through the chain
        AUTO_FREE char *read = xasprintf(
            "qemu-io -d /machine/peripheral/disk/virtio-backend \"read -P %d %dM 1M\"", i + 1, i);
        monitor(vm, read);
    }
}

static void add_node(struct vm *vm, const char *file, int layer)
{
    struct error *err = NULL;
    AUTO_FREE char *node = xasprintf("n%d", layer);
    AUTO_FREE char *below = xasprintf("n%d", layer - 1);
    struct qcow2_disk disk = {.node = node, .files = &file, .n_files = 1, .writable = true};
    json_auto_t *nodes = qcow2_nodes(&disk, &err);
    json_t *o = json_incref(json_array_get(nodes, 0));
    if (!o || qmp_command(vm_qmp(vm), "blockdev-add", o, 10000, NULL, &err) < 0 ||
        (!layer && qmp_callf(vm_qmp(vm), 10000, NULL, &err, "device_add", "{s:s,s:s,s:s}", "driver",
                             "virtio-blk-pci", "drive", node, "id", "disk") < 0) ||
        (layer && qmp_callf(vm_qmp(vm), 10000, NULL, &err, "blockdev-snapshot", "{s:s,s:s}", "node",
                            below, "overlay", node) < 0))
        fail_msg("%s", err->message);
}

static struct draft *begin(struct store *st, const char *parent, int layer)
{
    char key[DIGEST_HEX + 1], step[20];
    struct error *err = NULL;
    struct layer *l = NULL;
    struct draft *d = NULL;
    snprintf(step, sizeof step, "RUN %d", layer);
    key_of(parent, step, key);
    struct draft_request r = {.key = key, .parent = parent, .step = step};
    assert_int_equal(store_build_begin(st, &r, &l, &d, &err), 0);
    struct qcow2_overlay o = {.size = 64 * MIB, .backing = draft_backing(d)};
    if (qcow2_create_overlay(draft_disk(d), &o, &err) < 0)
        fail_msg("%s", err->message);
    return d;
}

/* Builds the layers in one QEMU; ids gets their ids. */
static void build_all(struct fixture *f, struct vm *vm, char ids[LAYERS][DIGEST_HEX + 1])
{
    struct error *err = NULL;
    struct draft *last = NULL;
    for (int i = 0; i <= LAYERS; i++) {
        struct draft *d = NULL;
        if (i < LAYERS) {
            d = begin(f->st, last ? draft_id(last) : NULL, i);
            add_node(vm, draft_disk(d), i); // from now on QEMU only reads the last one
            memcpy(ids[i], draft_id(d), sizeof ids[i]);
        }
        if (last) {
            struct layer *l = NULL;
            if (i == LAYERS)
                monitor(vm, "qemu-io -d /machine/peripheral/disk/virtio-backend flush");
            if (store_commit(last, NULL, &l, &err) < 0)
                fail_msg("%s", err->message);
            layer_free(l);
            draft_free(last);
        }
        if (d)
            write_and_read(vm, i);
        last = d;
    }
    for (int i = 0; i < LAYERS; i++) { // all are renamed by now
        AUTO_FREE char *read = xasprintf(
            "qemu-io -d /machine/peripheral/disk/virtio-backend \"read -P %d %dM 1M\"", i + 1, i);
        monitor(vm, read);
    }
}

/* How many descriptors of disk files QEMU has open for writing. */
static int writable_disks(struct vm *vm)
{
    AUTO_FREE char *fds = xasprintf("/proc/%d/fd", (int)vm_pid(vm));
    DIR *d = opendir(fds);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char target[512] = "";
        struct stat link;
        if (readlinkat(dirfd(d), e->d_name, target, sizeof target - 1) > 0 &&
            strstr(target, "disk.qcow2") &&
            fstatat(dirfd(d), e->d_name, &link, AT_SYMLINK_NOFOLLOW) == 0)
            n += (link.st_mode & S_IWUSR) != 0;
    }
    closedir(d);
    return n;
}

static void layers_committed_under_a_running_qemu_stay_as_they_are(void **state)
{
    struct fixture *f = *state;
    struct error *err = NULL;
    CLEANUP(qemu_clear) struct qemu qemu = QEMU_INIT;
    CLEANUP(strv_clear) struct strv args = {0};
    struct session s = {.cancel_fd = -1, .cache = f->dir};
    char ids[LAYERS][DIGEST_HEX + 1];
    if (qemu_find(&s, NULL, &qemu, &err) < 0)
        fail_msg("%s", err->message);
    static const char *const words[] = {"-M",          "pc", "-accel", "tcg",
                                        "-nodefaults", "-S", "-m",     "64"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        strv_add(&args, words[i]);
    struct vm_start_options spec = {.qemu = qemu.path, .args = &args};
    struct vm *vm = vm_start(&s, &spec, &err);
    if (!vm)
        fail_msg("%s", err->message);
    build_all(f, vm, ids);
    assert_int_equal(writable_disks(vm), 1); // the top
    if (vm_quit(vm, 10000, &err) < 0)
        fail_msg("%s", err->message);
    vm_free(vm);

    struct verify_result r;
    assert_int_equal(store_verify(f->st, false, NULL, NULL, NULL, NULL, &r, NULL), 0);
    assert_int_equal(r.layers, LAYERS);
    assert_int_equal(r.damaged, 0);
    // the names in the headers lead down the chain, also after a move of the backend
    AUTO_FREE char *moved = xasprintf("%s.moved", f->dir);
    store_free(STEAL(f->st));
    assert_int_equal(rename(f->dir, moved), 0);
    AUTO_FREE char *top = xasprintf("%s/.layers/%s/disk.qcow2", moved, ids[LAYERS - 1]);
    const char *const check[] = {
        "qemu-io", "-r", "-f", "qcow2", "-c", "read -P 1 0 1M", "-c", "read -P 5 4M 1M", top, NULL};
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    if (process_run(NULL, (char *const *)check, &out, &err) < 0)
        fail_msg("%s", err->message);
    assert_null(strstr(out.data, "verification failed"));
    assert_int_equal(rename(moved, f->dir), 0);
    f->st = open_store(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(layers_committed_under_a_running_qemu_stay_as_they_are,
                                        setup, teardown),
    };
    return cmocka_run_group_tests_name("store_qemu", tests, NULL, NULL);
}
