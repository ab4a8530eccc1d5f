// SPDX-License-Identifier: MIT
//
// The verdict is a small JSON file in the cache. Its key is one string of boot id, kernel release
// and QEMU version; another key means another host boot, kernel or QEMU, and the old verdict is
// worth nothing then. No history is kept.
#include "vm/accel.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>

static const char *const names[] = {"auto", "kvm", "tcg"};

int accel_parse(const char *text, enum accel *ret, struct error **err)
{
    const char *env = getenv("KILN_ACCEL");
    const char *from = text ? "argument --accel" : "KILN_ACCEL";
    if (!text)
        text = env && *env ? env : "auto";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]))
            continue;
        *ret = (enum accel)i;
        return 0;
    }
    return error_set(err, ERR_USAGE, "%s: '%s' is none of auto, kvm, tcg", from, text);
}

const char *accel_name(enum accel a)
{
    return names[a];
}

static int open_error(struct error **err)
{
    switch (errno) {
    case ENOENT:
        error_set(err, ERR_NOT_FOUND, "there is no /dev/kvm");
        return error_hint(err,
                          "turn on virtualization in the firmware, or nested virtualization "
                          "if this is a VM; load the module kvm_intel or kvm_amd");
    case EACCES:
    case EPERM:
        error_errno(err, "/dev/kvm may not be used");
        return error_hint(err,
                          "add yourself to its group: usermod -aG kvm $USER, then log in "
                          "again");
    default:
        return error_errno(err, "/dev/kvm does not open");
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
    return xasprintf("boot %s kernel %s qemu %s", boot.data, u.release, qemu_version);
}

void accel_verdict_clear(struct accel_verdict *v)
{
    free(v->why);
    *v = (struct accel_verdict)ACCEL_VERDICT_INIT;
}

void accel_verdict_load(const struct session *s, const char *qemu_version,
                        struct accel_verdict *ret)
{
    AUTO_FREE char *path = path_join(s->cache, "kvm.json");
    AUTO_FREE char *key = verdict_key(qemu_version);
    json_auto_t *v = json_read_file(path, NULL);
    accel_verdict_clear(ret);
    const char *of = json_str(v, "of"), *why = json_str(v, "why");
    if (!key || !of || strcmp(of, key) || !json_is_boolean(json_object_get(v, "usable")))
        return;
    ret->known = true;
    ret->usable = json_flag(v, "usable");
    ret->why = why ? xstrdup(why) : NULL;
}

int accel_verdict_store(const struct session *s, const char *qemu_version, bool usable,
                        const char *why, struct error **err)
{
    AUTO_FREE char *path = path_join(s->cache, "kvm.json");
    AUTO_FREE char *key = verdict_key(qemu_version);
    if (!key)
        return error_set(err, ERR_SYSTEM, "cannot tell one boot of this host from another");
    json_auto_t *v =
        json_pack("{s:s, s:b, s:s}", "of", key, "usable", usable, "why", why ? why : "");
    if (make_dirs(s->cache, 0755, err) < 0)
        return -1;
    return json_write_file(path, 0644, v, err);
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
    if (now && make_dirs(s->cache, 0755, NULL) == 0)
        (void)json_write_file(path, 0644, now, NULL);
    return true;
}

const char *accel_cpu(enum accel a)
{
    // kvm: with arch-capabilities QEMU aborts on AMD hosts whose own hypervisor shows that MSR.
    // tcg: "rep movsb" is emulated byte by byte; a guest that does not see ERMS copies by words.
    // Measured on 7.2: 200 MB from /dev/zero to tmpfs cost 4.4 s of CPU with it, 1.8 s without.
    // SMAP ends a translated block and changes the TLB at every copy to or from user memory
    return a == ACCEL_KVM ? "host,-arch-capabilities" : "max,-erms,-smap";
}

void accel_args(struct strv *args, enum accel a)
{
    strv_add(args, "-accel");
    strv_add(args, a == ACCEL_KVM ? "kvm" : "tcg,thread=multi");
    strv_add(args, "-cpu");
    strv_add(args, accel_cpu(a));
}
