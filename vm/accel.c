// SPDX-License-Identifier: MIT
//
// The verdict is a small JSON file in the cache. Its key is one string of boot id, kernel release,
// KVM module with its parameters, and QEMU version; another key means that something else is to be
// judged, and the old verdict is worth nothing then. No history is kept.
#include "vm/accel.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "vm/kvm_probe.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <time.h>

/* How long a verdict against KVM counts: what was too slow may have been so for a while only. */
enum { FAILED_SECONDS = 3600 };

static const char *const names[] = {"auto", "kvm", "tcg"};

int accel_parse(const struct session *s, const char *text, enum accel *ret, struct error **err)
{
    const char *env = session_setting(s, "KILN_ACCEL");
    const char *from = text ? "argument --accel" : "KILN_ACCEL";
    if (!text)
        text = env ? env : "auto";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]))
            continue;
        *ret = (enum accel)i;
        return 0;
    }
    return error_set(err, ERR_USAGE, "%s: '%s' is not one of auto, kvm, tcg", from, text);
}

const char *accel_name(enum accel a)
{
    return names[a];
}

static int open_error(struct error **err)
{
    switch (errno) {
    case ENOENT:
        error_set(err, ERR_NOT_FOUND, "no /dev/kvm");
        return error_hint(err,
                          "turn on virtualization in the firmware, or nested virtualization "
                          "if this is a VM; load the module kvm_intel or kvm_amd");
    case EACCES:
    case EPERM:
        error_errno(err, "no permission to use /dev/kvm");
        return error_hint(err,
                          "add yourself to its group: usermod -aG kvm $USER, then log in "
                          "again");
    default:
        return error_errno(err, "/dev/kvm cannot be opened");
    }
}

int accel_kvm_check(struct error **err)
{
    AUTO_CLOSE int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        return open_error(err);
    int version = ioctl(kvm, KVM_GET_API_VERSION, 0);
    if (version < 0)
        return error_errno(err, "/dev/kvm does not answer");
    if (version != KVM_API_VERSION)
        return error_set(err, ERR_SYSTEM, "/dev/kvm speaks version %d of its interface, not %d",
                         version, KVM_API_VERSION);
    AUTO_CLOSE int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0)
        return error_errno(err, "KVM cannot make a VM");
    return 0;
}

static char *verdict_key(const char *qemu_version)
{
    CLEANUP(buf_clear) struct buf boot = BUF_INIT;
    struct utsname u;
    if (file_read("/proc/sys/kernel/random/boot_id", 100, &boot, NULL) < 0 || uname(&u) < 0)
        return NULL;
    while (boot.len && boot.data[boot.len - 1] == '\n')
        boot.data[--boot.len] = '\0';
    AUTO_FREE char *module = kvm_module_text();
    return xasprintf("boot %s kernel %s, %s, qemu %s", boot.data, u.release, module, qemu_version);
}

void accel_verdict_clear(struct accel_verdict *v)
{
    free(v->why);
    *v = (struct accel_verdict)ACCEL_VERDICT_INIT;
}

static const char *const found_names[] = {"nothing", "failed", "probed", "booted"};

void accel_verdict_load(const struct session *s, const char *qemu_version,
                        struct accel_verdict *ret)
{
    AUTO_FREE char *path = path_join(s->cache, "kvm.json");
    AUTO_FREE char *key = verdict_key(qemu_version);
    json_auto_t *v = json_read_file(path, NULL);
    accel_verdict_clear(ret);
    const char *of = json_str(v, "of"), *found = json_str(v, "found"), *why = json_str(v, "why");
    long long age = (long long)time(NULL) - json_int(v, "time", 0);
    if (!key || !of || !found || strcmp(of, key))
        return;
    for (size_t i = 0; i < sizeof found_names / sizeof *found_names; i++)
        if (!strcmp(found, found_names[i]))
            ret->found = (enum accel_found)i;
    if (ret->found == ACCEL_FOUND_FAILED && (age < 0 || age > FAILED_SECONDS))
        ret->found = ACCEL_FOUND_NOTHING;
    if (ret->found == ACCEL_FOUND_FAILED && why)
        ret->why = xstrdup(why);
}

int accel_verdict_store(const struct session *s, const char *qemu_version, enum accel_found found,
                        const char *why, struct error **err)
{
    AUTO_FREE char *path = path_join(s->cache, "kvm.json");
    AUTO_FREE char *key = verdict_key(qemu_version);
    if (!key)
        return error_set(err, ERR_SYSTEM, "cannot tell one boot of this host from another");
    json_auto_t *v = json_pack("{s:s, s:s, s:s*, s:I}", "of", key, "found", found_names[found],
                               "why", why, "time", (json_int_t)time(NULL));
    if (make_dirs(s->cache, 0700, err) < 0)
        return -1;
    return json_write_file(path, 0644, v, err);
}

void accel_worked(const struct session *s, const char *qemu_version)
{
    CLEANUP(accel_verdict_clear) struct accel_verdict v = ACCEL_VERDICT_INIT;
    accel_verdict_load(s, qemu_version, &v);
    if (v.found != ACCEL_FOUND_BOOTED)
        (void)accel_verdict_store(s, qemu_version, ACCEL_FOUND_BOOTED, NULL, NULL);
}

bool accel_tell_once(const struct session *s, const char *why)
{
    AUTO_FREE char *path = path_join(s->cache, "accel-told.json");
    AUTO_FREE char *key = verdict_key("any");
    json_auto_t *was = json_read_file(path, NULL);
    const char *of = json_str(was, "of"), *told = json_str(was, "why");
    if (key && of && told && !strcmp(of, key) && !strcmp(told, why))
        return false;
    json_auto_t *now = key ? json_pack("{s:s, s:s}", "of", key, "why", why) : NULL;
    if (now && make_dirs(s->cache, 0700, NULL) == 0)
        (void)json_write_file(path, 0644, now, NULL);
    return true;
}

void accel_tell_tcg(const struct session *s, const char *why)
{
    AUTO_FREE char *line = xasprintf("using TCG (slow): %s; 'kiln doctor' says more", why);
    if (s->events.notice && accel_tell_once(s, why))
        session_notice(s, "%s", line);
    else
        session_debug(s, 1, "%s", line);
}

/* 0: KVM runs guests, as far as is known; else an error that says why not. */
static int find_out(const struct session *s, const char *qemu_version, struct error **err)
{
    CLEANUP(accel_verdict_clear) struct accel_verdict v = ACCEL_VERDICT_INIT;
    if (accel_kvm_check(err) < 0)
        return -1;
    accel_verdict_load(s, qemu_version, &v);
    if (v.found == ACCEL_FOUND_FAILED)
        return error_set(err, ERR_GUEST, "%s", v.why ? v.why : "KVM does not run guests");
    if (v.found != ACCEL_FOUND_NOTHING)
        return 0;
    if (kvm_module_check(err) < 0) // costs nothing, so it need not be remembered
        return -1;
    CLEANUP(error_freep) struct error *why = NULL;
    int rc = kvm_probe(&why);
    (void)accel_verdict_store(s, qemu_version, rc < 0 ? ACCEL_FOUND_FAILED : ACCEL_FOUND_PROBED,
                              rc < 0 ? why->message : NULL, NULL);
    return rc < 0 ? error_propagate(err, STEAL(why)) : 0;
}

int accel_choose(const struct session *s, const char *wish, const char *qemu_version,
                 enum accel *ret, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    enum accel a;
    if (accel_parse(s, wish, &a, err) < 0)
        return -1;
    if (a == ACCEL_KVM && (accel_kvm_check(err) < 0 || kvm_probe(err) < 0))
        return error_hint(err, "do without KVM: --accel tcg, or KILN_ACCEL=tcg");
    if (a == ACCEL_AUTO) {
        a = find_out(s, qemu_version, &why) < 0 ? ACCEL_TCG : ACCEL_KVM;
        if (why)
            accel_tell_tcg(s, why->message);
    }
    *ret = a;
    return 0;
}

/* QEMU 7.2 aborts with arch-capabilities on AMD hosts whose own hypervisor shows that MSR; on Intel
 * it is what tells a guest's kernel which work-arounds the processor does not need. */
static bool on_amd(void)
{
    unsigned max, name[3];
    if (!__get_cpuid(0, &max, &name[0], &name[2], &name[1]))
        return false;
    return !memcmp(name, "AuthenticAMD", 12) || !memcmp(name, "HygonGenuine", 12);
}

const char *accel_cpu(enum accel a)
{
    // tcg: "rep movsb" is emulated byte by byte; a guest that does not see ERMS copies by words.
    // Measured on 7.2: 200 MB from /dev/zero to tmpfs cost 4.4 s of CPU with it, 1.8 s without.
    // SMAP ends a translated block and changes the TLB at every copy to or from user memory
    return a != ACCEL_KVM ? "max,-erms,-smap" : on_amd() ? "host,-arch-capabilities" : "host";
}

// The processor's name and flags, and what KVM's module with its parameters makes of them.
void accel_add_host(struct buf *b)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    AUTO_FREE char *line = NULL;
    size_t alloc = 0;
    while (f && getline(&line, &alloc, f) > 1)
        if (strncmp(line, "model name", 10) == 0 || strncmp(line, "flags", 5) == 0)
            buf_adds(b, line);
    if (f)
        fclose(f);
    struct utsname u;
    if (uname(&u) == 0)
        buf_addf(b, "host kernel %s\n", u.release);
    AUTO_FREE char *module = kvm_module_text();
    buf_addf(b, "%s\n", module);
}
