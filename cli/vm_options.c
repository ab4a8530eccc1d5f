// SPDX-License-Identifier: MIT
#include "cli/vm_options.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/signals.h"
#include "cli/vm_forward.h"
#include "cli/vm_live.h"
#include "cli/waiting.h"
#include "image/pull.h"
#include "qcow2/qcow2.h"
#include "vm/bridge.h"
#include "vm/detached.h"
#include "vm/seed.h"
#include "vm/share.h"
#include "vm/ssh.h"
#include "vm/ssh_key.h"
#include "vm/uefi.h"
#include "vm/warm.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What vm/run.h calls back with. */
struct boot {
    const struct session *session;
    struct vm_run_options o;
    const struct named_vm *named;
    const struct vm_copies *copies; /* over SSH; NULL = none */
    struct waiting waiting;
    bool detach;
};

static void boot_clear(struct boot *b)
{
    waiting_clear(&b->waiting);
}

static void waiting(void *arg, long long ms, const char *line)
{
    struct boot *b = arg;
    waiting_show(&b->waiting, ms, line);
}

static const char *name_of(const struct boot *b)
{
    return b->named ? b->named->name : b->o.image;
}

static int copy_in(void *arg, struct vm_ssh *ssh, struct error **err)
{
    const struct boot *b = arg;
    return vm_copy_in_ssh(ssh, name_of(b), b->copies, err);
}

static int copy_out(void *arg, struct vm_ssh *ssh, struct error **err)
{
    const struct boot *b = arg;
    return vm_copy_out_ssh(ssh, name_of(b), b->copies, err);
}

/* Which ports the kernel chose. */
static void tell_ports(const struct boot *b, const json_t *ports)
{
    const struct vm_spec *spec = b->o.spec;
    size_t i;
    json_t *v;
    json_array_foreach ((json_t *)ports, i, v)
        vec_foreach (const struct vm_forward *, f, &spec->nics.ptr[0].forwards)
            if (!f->host_port && f->guest_port == json_int(v, "guest_port", 0) &&
                f->udp == json_flag(v, "udp"))
                session_notice(b->session, "port %u%s of the guest is %s:%d", f->guest_port,
                               f->udp ? "/udp" : "", f->address, (int)json_int(v, "host_port", 0));
}

/* New reference; NULL: a text is not UTF-8. */
static json_t *make_record(const struct boot *b)
{
    const struct vm_spec *spec = b->o.spec;
    json_t *spec_json = vm_spec_to_json(spec);
    return spec_json
               ? json_pack("{s:s*, s:s*, s:i, s:i, s:I, s:b, s:o, s:s, s:s}", "user",
                           spec->ssh.user, "key", spec->ssh.key, "ssh_timeout_ms",
                           vm_run_ssh_timeout(spec, b->o.accel), "memory_mb", (int)spec->memory_mb,
                           "started", (json_int_t)time(NULL), "detached", b->detach, "spec",
                           spec_json, "accel", accel_name(b->o.accel), "qemu", b->o.qemu->version)
               : NULL;
}

/* A second login finds its way by it. */
static void note(const struct boot *b, pid_t pid, json_t *record)
{
    CLEANUP(error_freep) struct error *why = NULL;
    if (!record || named_vm_set_running(b->named, pid, record, &why) < 0)
        print_note("", why ? why->message : "the VM's state cannot be noted: text is not UTF-8");
}

/* stdout belongs to the command that is run. */
static void started(void *arg, bool restored)
{
    const struct boot *b = arg;
    bool waits = b->o.spec->session != VM_SERIAL && !b->detach;
    FILE *to = b->detach || b->o.spec->session == VM_SSH_COMMAND ? stderr : stdout;
    const char *accel = b->o.accel == ACCEL_KVM   ? " (KVM)"
                        : b->o.accel == ACCEL_TCG ? " (TCG)"
                                                  : "";
    fprintf(to, "%s%s%s\n", restored ? "Restoring" : "Booting", accel,
            waits ? ", waiting for SSH" : "");
    signals_flush_output();
    json_auto_t *record = b->named ? make_record(b) : NULL;
    if (b->named) // should we be killed before `up`: vm_detached_adopt does the rest
        note(b, getpid(), record);
}

static void up(void *arg, pid_t pid, unsigned ssh_port, json_t *ports)
{
    const struct boot *b = arg;
    if (b->o.spec->nics.len)
        tell_ports(b, ports);
    json_auto_t *record = b->named ? make_record(b) : NULL;
    if (record)
        (void)json_object_update_new(record,
                                     json_pack("{s:I, s:I, s:O}", "pid", (json_int_t)pid,
                                               "ssh_port", (json_int_t)ssh_port, "ports", ports));
    if (b->named)
        note(b, pid, record);
}

/* Seconds on the command line, milliseconds in the spec. */
static int take_seconds(const struct args *a, const char *name, int *ms, struct error **err)
{
    long long seconds = 0;
    if (!args_has(a, name))
        return 0;
    if (args_seconds(a, name, &seconds, err) < 0)
        return -1;
    if (seconds > INT_MAX / 1000)
        return error_set(err, ERR_USAGE, "argument --%s: at most %d seconds", name, INT_MAX / 1000);
    *ms = (int)seconds * 1000;
    return 0;
}

/* The three options that say how the VM is reached go together: one of them replaces all. A
 * command wins over a console, as in transient. */
static void take_session(const struct args *a, struct vm_spec *spec)
{
    bool console = args_has(a, "ssh-console"), serial = args_has(a, "ssh-with-serial");
    CLEANUP(buf_clear) struct buf words = BUF_INIT;
    if (a->words)
        buf_add_shell_words(&words, (const char *const *)a->words);
    const char *command = a->words ? words.data : args_get(a, "ssh-command");
    if (!command && !console && !serial && !spec->tty)
        return;
    vm_spec_set(&spec->command, command);
    spec->show_serial = serial;
    spec->session = command ? VM_SSH_COMMAND : VM_SSH_CONSOLE;
}

static int take_user(const struct args *a, struct vm_spec *spec, struct error **err)
{
    const char *user = NULL;
    if (args_user(a, "ssh-user", &user, err) < 0)
        return -1;
    if (user)
        vm_spec_set(&spec->ssh.user, user);
    return 0;
}

static void take_text(const struct args *a, const char *name, char **member)
{
    if (args_has(a, name))
        vm_spec_set(member, args_get(a, name));
}

/* "user", "none", "tap,bridge=br0". Names of interfaces have at most 15 bytes. */
static int take_one_network(const char *text, struct vm_spec *spec, struct error **err)
{
    static const char tap[] = "tap,bridge=", letters[] =
                                                 "abcdefghijklmnopqrstuvwxyz"
                                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *bridge = strncmp(text, tap, sizeof tap - 1) == 0 ? text + sizeof tap - 1 : NULL;
    size_t n = bridge ? strspn(bridge, letters) : 0;
    if (bridge ? !n || n > 15 || bridge[n]
               : strcmp(text, "user") != 0 && strcmp(text, "none") != 0) {
        error_set(err, ERR_USAGE, "argument --network: '%s' is not user, none or tap,bridge=NAME",
                  text);
        return error_hint(err,
                          "with user the guest reaches the network through the host, which is "
                          "10.0.2.2 there; -p 8080:80 forwards a port to it");
    }
    AUTO_FREE char *mac = bridge ? bridge_new_mac() : NULL;
    if (bridge)
        vm_spec_bridge(spec, bridge, mac);
    else if (*text == 'u' && !vm_spec_has_user_network(spec))
        vm_spec_user_nic(spec);
    return 0;
}

static int take_network(const struct args *a, struct vm_spec *spec, struct error **err)
{
    const char *network, *driver = args_get(a, "ssh-net-driver");
    for (size_t i = 0; (network = args_nth(a, "network", i)); i++) {
        if (i == 0)
            vm_spec_no_network(spec);
        if (take_one_network(network, spec, err) < 0)
            return -1;
    }
    if (driver && spec->nics.len)
        vm_spec_set(&spec->nics.ptr[0].driver, driver);
    if (vm_spec_has_user_network(spec) || spec->session == VM_SERIAL)
        return vm_forwards_take(a, spec, err);
    error_set(err, ERR_USAGE, "argument --network: SSH needs a network of the kind user");
    return error_hint(err, spec->nics.len ? "give --network user, too"
                                          : "without SSH options the serial console is yours");
}

static int take_bus(const struct args *a, struct vm_spec *spec, struct error **err)
{
    static const char *const names[] = {
        [VM_BUS_VIRTIO] = "virtio", [VM_BUS_IDE] = "ide", [VM_BUS_SCSI] = "scsi"};
    const char *bus = args_has(a, "no-virtio") ? "ide" : args_get(a, "disk-bus");
    for (unsigned i = 0; bus && i < sizeof names / sizeof *names; i++)
        if (!strcmp(bus, names[i])) {
            spec->disk_bus = i;
            return 0;
        }
    return bus ? error_set(err, ERR_USAGE, "argument --disk-bus: '%s' is not virtio, scsi or ide",
                           bus)
               : 0;
}

/* A file that is there; as `start` may run in another directory, its path is kept whole. */
static int take_file(const struct args *a, const char *name, char **member, struct error **err)
{
    const char *given = args_get(a, name);
    if (!given)
        return 0;
    AUTO_FREE char *path = access(given, R_OK) == 0 ? realpath(given, NULL) : NULL;
    if (!path)
        return error_errno(err, "argument --%s: cannot read '%s'", name, given);
    vm_spec_set(member, path);
    return 0;
}

int vm_options_kernel(const struct args *a, struct vm_spec *spec, struct error **err)
{
    if (take_file(a, "kernel", &spec->kernel, err) < 0 ||
        take_file(a, "initrd", &spec->initrd, err) < 0)
        return -1;
    take_text(a, "append", &spec->append);
    if (!spec->kernel && (spec->initrd || spec->append))
        return error_set(err, ERR_USAGE, "argument --%s: needs --kernel",
                         spec->initrd ? "initrd" : "append");
    return 0;
}

static int take_console(const struct args *a, struct vm_spec *spec, struct error **err)
{
    const char *given = args_get(a, "console");
    if (!given)
        return 0;
    AUTO_FREE char *here = realpath(".", NULL);
    if (*given != '/' && !here)
        return error_errno(err, "cannot find the current directory");
    AUTO_FREE char *path = *given == '/' ? xstrdup(given) : path_join(here, given);
    vm_spec_set(&spec->console_log, path);
    return 0;
}

/* As `start` may run in another directory, the path is kept whole. */
static int take_key(const struct args *a, struct vm_spec *spec, struct error **err)
{
    const char *given = args_get(a, "ssh-key");
    if (!given)
        return 0;
    AUTO_FREE char *path = access(given, R_OK) == 0 ? realpath(given, NULL) : NULL;
    if (!path)
        return error_errno(err, "cannot read the SSH key '%s'", given);
    vm_spec_set(&spec->ssh.key, path);
    return 0;
}

/* A command for the guest, put where QEMU's arguments stand. QEMU takes a file as its first disk. */
static int check_rest(const struct args *a, struct error **err)
{
    const char *first = a->n_rest ? a->rest[0] : "-";
    if (*first == '-' || (access(first, R_OK) == 0 && access(first, X_OK) < 0))
        return 0;
    AUTO_FREE char *word = shell_word(first);
    error_set(err, ERR_USAGE, "'%s': arguments after -- are for QEMU, and this is not an option",
              first);
    return error_hint(err, "a command for the guest needs no --: kiln run IMAGE %s", word);
}

int vm_options_take(const struct args *a, struct vm_spec *spec, struct error **err)
{
    long long port = spec->ssh.port, cpus = spec->cpus;
    enum accel wish;
    take_text(a, "accel", &spec->accel);
    take_text(a, "qemu-bin-name", &spec->qemu);
    take_session(a, spec);
    spec->uefi |= args_has(a, "uefi");
    if (take_user(a, spec, err) < 0 || take_key(a, spec, err) < 0 ||
        ssh_options_take(a, spec, err) < 0 || take_network(a, spec, err) < 0 ||
        take_bus(a, spec, err) < 0 || vm_options_kernel(a, spec, err) < 0 ||
        take_console(a, spec, err) < 0 || vm_volumes_take(a, spec, err) < 0 ||
        args_num(a, "ssh-port", 1, 65535, &port, err) < 0 ||
        args_num(a, "cpus", 1, VM_CPUS_MAX, &cpus, err) < 0 ||
        args_memory(a, &spec->memory_mb, err) < 0 ||
        take_seconds(a, "ssh-timeout", &spec->ssh.timeout_ms, err) < 0 ||
        take_seconds(a, "timeout", &spec->timeout_ms, err) < 0 ||
        take_seconds(a, "shutdown-timeout", &spec->shutdown_timeout_ms, err) < 0 ||
        take_seconds(a, "qmp-timeout", &spec->qmp_timeout_ms, err) < 0 ||
        (spec->accel && accel_parse(NULL, spec->accel, &wish, err) < 0))
        return -1;
    spec->cpus = (unsigned)cpus;
    spec->ssh.port = (unsigned)port;
    if (vm_forwards_check(spec, err) < 0 || check_rest(a, err) < 0)
        return -1;
    for (size_t i = 0; i < a->n_rest; i++)
        strv_add(&spec->qemu_args, a->rest[i]);
    return 0;
}

int vm_options_disk_size(const struct args *a, uint64_t *size, struct error **err)
{
    unsigned long long wanted = 0;
    if (!args_has(a, "disk-size"))
        return 0;
    if (args_size(a, "disk-size", &wanted, err) < 0)
        return -1;
    if (wanted < *size) {
        CLEANUP(buf_clear) struct buf given = BUF_INIT, has = BUF_INIT;
        buf_add_size(&given, wanted);
        buf_add_size(&has, *size);
        error_set(err, ERR_USER, "a disk of %s is too small: the image's has %s", given.data,
                  has.data);
        return error_hint(err, "a disk can be made larger than its image's, not smaller");
    }
    if (wanted > QCOW2_SIZE_MAX)
        return error_set(err, ERR_USAGE, "argument --disk-size: at most 8T");
    *size = (wanted + 511) / 512 * 512;
    return 0;
}

int vm_options_check_command(const struct args *a, struct error **err)
{
    if (a->words && args_has(a, "ssh-command"))
        return error_set(err, ERR_USAGE, "'%s': not with --ssh-command", a->words[0]);
    if (a->words && args_has(a, "detach")) {
        error_set(err, ERR_USAGE, "--detach and a command do not go together");
        return error_hint(err, "'kiln exec' runs it once the VM is in the background");
    }
    if (args_has(a, "tty") && !args_has(a, "detach") && !isatty(STDIN_FILENO))
        return error_set(err, ERR_USAGE, "argument --tty: standard input is not a terminal");
    return 0;
}

int vm_options_check_detach(const struct args *a, struct error **err)
{
    static const char *const names[] = {"ssh-command", "ssh-console", "ssh-with-serial",
                                        "timeout",     "console",     "copy-out-after",
                                        "direct-copy"};
    if (args_has(a, "json") && !args_has(a, "detach"))
        return error_set(err, ERR_USAGE, "--json is for --detach");
    for (size_t i = 0; args_has(a, "detach") && i < sizeof names / sizeof *names; i++)
        if (args_has(a, names[i])) {
            error_set(err, ERR_USAGE, "--detach and --%s do not go together", names[i]);
            return error_hint(err, "kiln ssh and kiln exec reach a VM in the background");
        }
    return 0;
}

/* The keys for a guest that somebody may log in to with them: the VM's own, and kiln's; they are
 * NULL for others. */
static int make_keys(const struct session *s, const struct boot *b, const struct vm_spec *spec,
                     char **ret_private, char **ret_public, struct error **err)
{
    if (spec->ssh.key || !spec->nics.len ||
        (spec->session == VM_SERIAL && !b->o.keep && !b->o.wish))
        return 0;
    if (b->o.wish) { // the saved guest knows only what all its copies have
        *ret_public = vm_ssh_own_key(s, err);
        return *ret_public ? 0 : -1;
    }
    *ret_private = b->named ? vm_ssh_key_in(b->named->dir, err) : vm_ssh_key_new(err);
    AUTO_FREE char *own = *ret_private ? vm_ssh_own_key(s, err) : NULL;
    AUTO_FREE char *line = own ? vm_ssh_key_public(*ret_private, err) : NULL;
    if (line)
        *ret_public = xasprintf("%s\n%s", line, own);
    return line ? 0 : -1;
}

/* What goes in once a VM in the background runs. */
static int copy_in_detached(const struct boot *b, struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    if (!b->copies || !b->copies->direct || !b->copies->in.len)
        return 0;
    if (vm_live_open(b->session, b->named->name, &live, err) < 0)
        return -1;
    CLEANUP(vm_ssh_freep)
    struct vm_ssh *ssh = vm_live_first_login(b->session, &live, 0, err);
    if (ssh && vm_copy_in_ssh(ssh, b->named->name, b->copies, err) == 0)
        return 0;
    return error_wrap(err, "VM '%s' is running, but without its files", b->named->name);
}

/* The VM's seed for cloud-init, owned; NULL = it has none. */
static char *seed_of(const char *dir)
{
    AUTO_FREE char *path = path_join(dir, VM_SEED);
    return realpath(path, NULL);
}

int vm_options_boot(const struct session *s, const struct vm_spec *spec,
                    const struct vm_run_options *disk, const struct named_vm *named,
                    const struct vm_copies *copies, bool detached, struct error **err)
{
    CLEANUP(qemu_clear) struct qemu qemu = QEMU_INIT;
    CLEANUP(boot_clear)
    struct boot b = {.session = s,
                     .o = *disk,
                     .named = named,
                     .copies = copies,
                     .detach = detached,
                     .waiting = {.session = s}};
    AUTO_FREE char *private = NULL, *public = NULL;
    int status = 0;
    if (qemu_find(s, spec->qemu, &qemu, err) < 0 || ssh_options_check(s, spec, err) < 0 ||
        make_keys(s, &b, spec, &private, &public, err) < 0)
        return -1;
    b.o.spec = spec;
    b.o.vm_key = private;
    b.o.public_keys = public;
    b.o.qemu = &qemu;
    b.o.accel = ACCEL_AUTO;
    if (!vm_run_args_choose_accel(spec->qemu_args.ptr) &&
        accel_choose(s, spec->accel, qemu.version, &b.o.accel, err) < 0)
        return -1;
    b.o.started = started;
    b.o.up = up;
    b.o.waiting = waiting;
    CLEANUP(vm_uefi_clear) struct vm_uefi uefi = {0};
    if (spec->uefi && vm_uefi_open(named && disk->keep ? named->dir : NULL, &uefi, err) < 0)
        return -1;
    b.o.uefi = spec->uefi ? &uefi : NULL;
    AUTO_FREE char *seed = named && disk->keep ? seed_of(named->dir) : NULL;
    b.o.seed = seed;
    CLEANUP(vm_share_links_clear) struct vm_share_links links = {0};
    if (!b.o.wish)
        vm_share_links_open(s, spec, &links);
    b.o.share_fds = links.fds;
    if (spec->session == VM_SERIAL && !detached)
        vm_volumes_tell(s, spec);
    if (copies && copies->direct && (copies->in.len || copies->out.len)) {
        if (spec->session == VM_SERIAL && !detached) {
            error_set(err, ERR_USAGE, "argument --direct-copy: needs SSH");
            return error_hint(err, "--ssh or a command connects by it");
        }
        b.o.entered = copy_in;
        b.o.leaving = copy_out;
    }
    b.o.arg = &b;
    if (detached && (b.o.wish ? vm_warm_detach(s, &b.o, b.o.wish, named->dir, err)
                              : vm_detach(s, &b.o, named->dir, err)) < 0)
        return -1;
    if (detached && vm_volumes_mount(s, named->name, spec, err) < 0)
        return error_wrap(err, "VM '%s' is running, but without its folders", named->name);
    if (detached)
        return copy_in_detached(&b, err);
    int rc =
        b.o.wish ? vm_warm_run(s, &b.o, b.o.wish, &status, err) : vm_run(s, &b.o, &status, err);
    return rc < 0 ? -1 : status;
}
