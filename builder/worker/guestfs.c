// SPDX-License-Identifier: MIT
//
// All but mount and commands is what the builder VM does: see runner.c. libguestfs's program is started
// with the first mount; it and the VM are waited for together.
#include "builder/worker/guestfs.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/session.h"
#include "builder/worker/guestfs_disk.h"
#include "builder/worker/internal.h"
#include "builder/worker/runner.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern const char guestfs_blob[], guestfs_blob_end[];

/* The appliance's: the last one, which no step takes as long as it uses no more than five disks. */
enum { DISK_SLOT = RUNNER_SLOTS - 1 };
enum { ASK_MS = 900 * 1000, START_MS = 120 * 1000 };

/* What the appliance's own /init does before it starts the daemon, but for udev: nobody else makes
 * the names that are looked for, and there is no helper in this VM that loads modules for the kernel.
 */
static const char script[] =
    "export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/root LVM_SYSTEM_DIR=/tmp/lvm "
    "DM_DISABLE_UDEV=1\n"
    "for m in fuse dm_mod dm_crypt xts ecb cbc aesni_intel algif_skcipher raid0 raid1 raid10 "
    "raid456 dm_mirror dm_raid hfsplus hfs ufs exfat ntfs3 f2fs; do modprobe -q $m; done\n"
    "mkdir -p /tmp/lvm /dev/disk/by-path /dev/virtio-ports\n"
    "[ -e /etc/mtab ] || ln -s /proc/mounts /etc/mtab\n"
    "for p in /sys/class/virtio-ports/*; do\n"
    "  read -r name <$p/name && ln -sf ../${p##*/} /dev/virtio-ports/$name\n"
    "done\n"
    // what is in by-path is all that the daemon takes for disks; there is no end of line
    "for b in /sys/block/vd*; do\n"
    "  read -r name <$b/serial; [ \"$name\" = kiln0 ] && disk=${b##*/}\n"
    "done\n"
    "ln -sf ../../$disk /dev/disk/by-path/kiln\n"
    "echo \"DEVICE /dev/$disk* /dev/mapper/*\" >/etc/mdadm/mdadm.conf\n"
    "printf 'devices {\\n\\tuse_devicesfile = 0\\n\\tfilter = [ \"a|^/dev/%s|\", "
    "\"a|^/dev/mapper/|\", "
    "\"a|^/dev/md|\", \"r|.*|\" ]\\n}\\n' $disk >/tmp/lvm/lvm.conf\n"
    "mdadm -As --auto=yes --run\n"
    "lvm vgchange -q -ay\n"
    "ldmtool create all\n"
    "exec guestfsd\n";

struct guestfs {
    struct process p;
    struct buf said;
    bool started;     /* the daemon, and the program */
    char *key;        /* of LUKS, or NULL */
    char *no_command; /* why no command may run; NULL = it may */
};

static struct builder_vm *vm_of(const struct runner *r)
{
    return (struct builder_vm *)((char *)r - offsetof(struct builder_vm, runner));
}

void guestfs_free(struct guestfs *g)
{
    enum { END_MS = 5000 };
    if (!g)
        return;
    if (g->p.in >= 0)
        close(STEAL_FD(g->p.in));
    if (g->p.pid)
        (void)process_wait(&g->p, END_MS, NULL);
    process_clear(&g->p);
    buf_clear(&g->said);
    if (g->key)
        explicit_bzero(g->key, strlen(g->key));
    free(g->key);
    free(g->no_command);
    free(g);
}

/* The key as it is typed: what an editor puts behind it is not part of it. */
static int take_key(struct guestfs *g, struct str key, struct error **err)
{
    while (key.len && (key.ptr[key.len - 1] == '\n' || key.ptr[key.len - 1] == '\r'))
        key.len--;
    json_auto_t *text = json_stringn(key.ptr ? key.ptr : "", key.len);
    if (!text || (key.len && memchr(key.ptr, '\0', key.len)))
        return error_set(err, ERR_USER,
                         "the secret 'disk-key' is not text: a LUKS key in a file of "
                         "bytes is not supported");
    g->key = key.len ? str_dup(key) : NULL;
    return 0;
}

int guestfs_start(const struct session *s, const struct runner_options *o, struct runner **ret,
                  struct error **err)
{
    struct guestfs *g = xcalloc(1, sizeof *g);
    struct builder_vm *vm;
    g->p = (struct process)PROCESS_INIT;
    buf_init(&g->said);
    if (take_key(g, o->disk_key, err) < 0 || builder_vm_start(s, o, &vm, err) < 0) {
        guestfs_free(g);
        return -1;
    }
    vm->guestfs = g;
    vm->runner.ops = &guestfs_runner;
    *ret = &vm->runner;
    return 0;
}

/* Read-only, as a file that is open for writing cannot be run. */
static int program_file(struct error **err)
{
    AUTO_CLOSE int fd = memfd_create("kiln-guestfs", MFD_CLOEXEC);
    // cppcheck-suppress comparePointers ; the two ends of one array
    size_t n = (size_t)(guestfs_blob_end - guestfs_blob);
    // always of the same age: libguestfs asks a QEMU that it has not seen for its features
    const struct timespec age[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    if (fd < 0 || write_all(fd, guestfs_blob, n) < 0 || futimens(fd, age) < 0)
        return error_errno(err, "cannot make the program for libguestfs");
    AUTO_FREE char *path = xasprintf("/proc/self/fd/%d", fd);
    int again = open(path, O_RDONLY | O_CLOEXEC);
    return again < 0 ? error_errno(err, "cannot open '%s'", path) : again;
}

static int start_program(struct builder_vm *vm, struct error **err)
{
    AUTO_CLOSE int program = program_file(err);
    AUTO_CLOSE int folder = open(vm->work.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (program < 0)
        return -1;
    if (folder < 0)
        return error_errno(err, "cannot open '%s'", vm->work.dir);
    int keep[] = {vm_port(vm->vm, "guestfs"), folder};
    AUTO_FREE char *path = xasprintf("/proc/self/fd/%d", program),
                   *channel = xasprintf("%d", keep[0]), *place = xasprintf("%d", folder),
                   *cache = path_join(vm->session->cache, "guestfs");
    struct process_spec spec = {.argv = (char *const *)ARGV(path, channel, place, cache),
                                .in = PROCESS_PIPE,
                                .out = PROCESS_PIPE,
                                .errors = PROCESS_NULL,
                                .keep = keep,
                                .n_keep = 2,
                                .own_session = true,
                                .outlives = true}; // it ends by itself, and removes its files
    return process_start(&vm->guestfs->p, &spec, err);
}

/* The appliance is in its slot, its daemon and the program that talks to it run. */
static int start_daemon(struct builder_vm *vm, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT, reply = MESSAGE_INIT;
    struct guestfs *g = vm->guestfs;
    struct str device;
    uint64_t size;
    if (g->started)
        return 0;
    AUTO_FREE char *path = guestfs_disk_get(vm->session, &vm->machine.appliance.kernel, &size, err);
    if (!path)
        return -1;
    const char *files[] = {path};
    struct runner_disk disk = {.files = files, .n_files = 1, .size = size};
    message_put_num(&m, AGENT_TAG_SLOT, DISK_SLOT);
    message_puts(&m, AGENT_TAG_SCRIPT, script);
    if (builder_vm_set_disk(vm, DISK_SLOT, &disk, err) < 0 ||
        builder_vm_call(vm, AGENT_APPLIANCE, &m, START_MS, NULL, NULL, &reply, err) < 0 ||
        start_program(vm, err) < 0)
        return -1;
    if (message_get(&reply, AGENT_TAG_DEVICE, &device))
        session_debug(vm->session, 1, "libguestfs's /dev/sda is '" STR_FMT "'", STR_ARG(device));
    g->started = true;
    return 0;
}

static int program_ended(struct guestfs *g, struct error **err)
{
    enum { END_MS = 5000 };
    if (process_wait(&g->p, END_MS, err) < 0)
        return -1;
    if (WIFEXITED(g->p.status) && WEXITSTATUS(g->p.status) == 127)
        return guestfs_missing(err); // by the dynamic linker
    AUTO_FREE char *how = process_failed_text(g->p.status);
    return error_set(err, ERR_SYSTEM, "the program that calls libguestfs %s", how);
}

/* Until it has said a line. */
static int hear(struct builder_vm *vm, struct error **err)
{
    struct guestfs *g = vm->guestfs;
    long long deadline = now_ms() + ASK_MS;
    while (!g->said.len || g->said.data[g->said.len - 1] != '\n') {
        struct pollfd p = {.fd = g->p.out, .events = POLLIN};
        char bytes[4096];
        int rc = builder_vm_wait(vm, &p, 1, deadline, err);
        if (rc < 0)
            return -1;
        if (rc == 0) {
            error_set(err, ERR_GUEST, "libguestfs did not answer in time");
            return vm_add_console(vm->vm, err);
        }
        if (!p.revents)
            continue;
        ssize_t n = read(g->p.out, bytes, sizeof bytes);
        if (n <= 0)
            return program_ended(g, err);
        buf_add(&g->said, bytes, (size_t)n);
    }
    return 0;
}

static int judge(struct builder_vm *vm, const json_t *reply, struct error **err)
{
    const json_t *line;
    size_t i;
    const char *why = json_str(reply, "error"), *hint = json_str(reply, "hint");
    json_array_foreach (json_object_get(reply, "warnings"), i, line)
        session_notice(vm->session, "libguestfs: %s", json_string_value(line));
    if (!json_is_object(reply))
        return error_set(err, ERR_SYSTEM, "the program that calls libguestfs said nothing useful");
    if (!why)
        return 0;
    error_set(err, ERR_USER, "%s", why);
    return hint ? error_hint(err, "%s", hint) : -1;
}

/* One request and its answer, owned. Takes the request. */
static json_t *ask(struct builder_vm *vm, json_t *taken, struct error **err)
{
    struct guestfs *g = vm->guestfs;
    json_auto_t *request = taken, *reply = NULL;
    if (start_daemon(vm, err) < 0)
        return NULL;
    if (g->key)
        (void)json_object_set_new(request, "keys", json_pack("[s]", g->key));
    AUTO_FREE char *text = json_dumps(request, JSON_COMPACT);
    size_t n = strlen(text);
    buf_reset(&g->said);
    int sent = write_all(g->p.in, text, n) < 0 || write_all(g->p.in, "\n", 1) < 0 ? -1 : 0;
    explicit_bzero(text, n);
    if (sent < 0 ? program_ended(g, err) < 0 : hear(vm, err) < 0)
        return NULL;
    reply = json_loadb(g->said.data, g->said.len, 0, NULL);
    return judge(vm, reply, err) < 0 ? NULL : json_incref(reply);
}

json_t *guestfs_inspect(struct runner *r, struct error **err)
{
    return ask(vm_of(r), json_pack("{s:s}", "do", "inspect"), err);
}

/* What a RUN would need, and is not so. fs: types of the mounted file systems. */
static char *reason(const json_t *found, const struct message *adopted)
{
    const char *type = json_str(found, "type"), *arch = json_str(found, "arch"),
               *product = json_str(found, "product");
    struct field f = {0};
    product = product ? product : type;
    if (type && strcmp(type, "linux") != 0)
        return xasprintf("the guest is no Linux, but %s", product);
    if (arch && strcmp(arch, "x86_64") != 0 && strcmp(arch, "i386") != 0 &&
        strcmp(arch, "unknown") != 0)
        return xasprintf("the guest is for %s, and the builder VM is x86_64", arch);
    while (message_next(adopted, &f))
        if (f.tag == AGENT_TAG_FS &&
            !strncmp(f.value.ptr, "fuse", f.value.len < 4 ? f.value.len : 4))
            return xstrdup(
                "one of its file systems (NTFS, for example) is served by a program "
                "that would end with the command");
    return NULL;
}

int guestfs_mount(struct runner *r, int slot, bool read_only, const json_t *mounts,
                  struct error **err)
{
    struct builder_vm *vm = vm_of(r);
    CLEANUP(message_clear) struct message adopted = MESSAGE_INIT;
    if (slot != RUNNER_TARGET)
        return builder_vm_runner.mount(r, slot, read_only, mounts, err);
    json_t *request = json_pack("{s:s, s:b}", "do", "mount", "read_only", read_only);
    if (mounts)
        (void)json_object_set_new(request, "mounts", json_deep_copy(mounts));
    json_auto_t *found = ask(vm, request, err);
    if (!found || builder_vm_call(vm, AGENT_ADOPT, NULL, START_MS, NULL, NULL, &adopted, err) < 0)
        return error_wrap(err, "cannot mount the disk with libguestfs");
    size_t i;
    const json_t *pair;
    json_array_foreach (json_object_get(found, "mounts"), i, pair)
        session_debug(vm->session, 1, "libguestfs: %s is '%s'",
                      json_string_value(json_array_get(pair, 1)),
                      json_string_value(json_array_get(pair, 0)));
    free(vm->guestfs->no_command);
    vm->guestfs->no_command = reason(found, &adopted);
    return 0;
}

static int may_run(struct runner *r, struct error **err)
{
    const char *why = vm_of(r)->guestfs->no_command;
    return why ? error_set(err, ERR_USER, "no command can run in this image: %s", why) : 0;
}

int guestfs_exec(struct runner *r, const struct runner_exec *e, struct runner_wait w,
                 int *ret_status, char **ret_changed, struct error **err)
{
    return may_run(r, err) < 0 ? -1 : builder_vm_runner.exec(r, e, w, ret_status, ret_changed, err);
}

int guestfs_terminal(struct runner *r, const struct runner_exec *e, int *ret_status,
                     struct error **err)
{
    return may_run(r, err) < 0 ? -1 : builder_vm_runner.terminal(r, e, ret_status, err);
}

int guestfs_set_disk(struct runner *r, int slot, const struct runner_disk *disk, struct error **err)
{
    if (slot == DISK_SLOT && disk)
        return error_set(err, ERR_USER,
                         "a step can use at most %d other disks with --runner guestfs",
                         DISK_SLOT - RUNNER_EXTRA);
    return builder_vm_set_disk(vm_of(r), slot, disk, err);
}
