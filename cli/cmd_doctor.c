// SPDX-License-Identifier: MIT
//
// Each check fills one finding: how it stands, in one phrase, and what to do about it. A failed one
// means that kiln cannot build or run images here (exit status 1); a warning, that it is slower, or
// that some feature is missing.
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/printable.h"
#include "base/process.h"
#include "base/vector.h"
#include "builder/appliance/kernel.h"
#include "builder/worker/vm.h"
#include "cli/command.h"
#include "vm/accel.h"
#include "vm/kvm_probe.h"
#include "vm/qemu.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum state { FINE, WARN, FAIL };

struct finding {
    const char *name;
    enum state state;
    char *text, *hint; /* owned; hint may be NULL */
};
DEFINE_VECTOR(findings, struct finding);

struct doctor {
    const struct session *session;
    struct findings findings;
    struct qemu qemu;
};

static const struct option_spec options[] = {
    {"json", 0, NULL, "The findings as JSON", NULL},
    {0},
};

static void doctor_clear(struct doctor *d)
{
    vec_foreach (struct finding *, f, &d->findings) {
        free(f->text);
        free(f->hint);
    }
    findings_clear(&d->findings);
    qemu_clear(&d->qemu);
}

static struct finding *add(struct doctor *d, const char *name, enum state state, const char *fmt,
                           ...) __attribute__((format(printf, 4, 5)));

static struct finding *add(struct doctor *d, const char *name, enum state state, const char *fmt,
                           ...)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    struct finding *f = findings_push(&d->findings);
    *f = (struct finding){name, state, buf_detach(&b, NULL), NULL};
    return f;
}

static void add_error(struct doctor *d, const char *name, enum state state, const struct error *e)
{
    struct finding *f = add(d, name, state, "%s", e->message);
    f->hint = e->hint ? xstrdup(e->hint) : NULL;
}

static void check_qemu(struct doctor *d)
{
    CLEANUP(error_freep) struct error *err = NULL;
    if (qemu_find(d->session, NULL, &d->qemu, &err) < 0)
        add_error(d, "qemu", FAIL, err);
    else
        add(d, "qemu", FINE, "%s, version %s", d->qemu.path, d->qemu.version);
}

static void check_qemu_img(struct doctor *d)
{
    AUTO_FREE char *path = process_find("qemu-img");
    if (path)
        add(d, "qemu-img", FINE, "%s", path);
    else
        add(d, "qemu-img", FAIL, "qemu-img was not found")->hint =
            xstrdup("apt-get install qemu-utils");
}

/* KVM is tried at each call, whatever was remembered; what comes of it counts from now on. */
static void check_kvm(struct doctor *d)
{
    static const char slow[] =
        "builds work without it (TCG), but what runs in the VM is several "
        "times slower";
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(accel_verdict_clear) struct accel_verdict v = ACCEL_VERDICT_INIT;
    const char *version = d->qemu.version ? d->qemu.version : "";
    AUTO_FREE char *module = kvm_module_text();
    bool opens = accel_kvm_check(&err) == 0;
    if (!opens || kvm_probe(&err) < 0) {
        CLEANUP(error_freep) struct error *known = NULL;
        if (opens) {
            (void)accel_verdict_store(d->session, version, ACCEL_FOUND_FAILED, err->message, NULL);
            (void)kvm_module_check(&known); // says more, where it is the reason
        }
        const char *more = known ? known->message : err->hint;
        add(d, "kvm", WARN, "%s", err->message)->hint =
            xasprintf("%s%s%s", slow, more ? "; " : "", more ? more : "");
        return;
    }
    accel_verdict_load(d->session, version, &v);
    if (v.found == ACCEL_FOUND_BOOTED) {
        add(d, "kvm", FINE, "usable: a VM has run under it (%s)", module);
        return;
    }
    (void)accel_verdict_store(d->session, version, ACCEL_FOUND_PROBED, NULL, NULL);
    if (v.found == ACCEL_FOUND_FAILED && v.why)
        add(d, "kvm", FINE, "usable: a test program ran under it (%s)", module)->hint =
            xasprintf("last time %s; the next build tries again", v.why);
    else
        add(d, "kvm", FINE, "usable: a test program ran under it (%s)", module);
}

static void check_kernel(struct doctor *d)
{
    CLEANUP(kernel_clear) struct kernel k = KERNEL_INIT;
    CLEANUP(error_freep) struct error *err = NULL;
    bool unreadable;
    int found = kernel_here(d->session, &k, &unreadable, &err);
    if (found < 0)
        add_error(d, "kernel", FAIL, err);
    else if (found)
        add(d, "kernel", FINE, "%s, readable, with its modules", k.path);
    else if (unreadable)
        add(d, "kernel", WARN, "the kernels in /boot are readable by root only")->hint = xstrdup(
            "the next build downloads the distribution's kernel package with apt-get; to use "
            "/boot's: chmod 0644 /boot/vmlinuz-*");
    else
        add(d, "kernel", WARN, "no kernel with modules in /boot")->hint = xstrdup(
            "apt-get install linux-image-cloud-amd64; or the next build downloads it with apt-get");
}

/* Where `path` will be made: itself or the nearest folder above that exists. */
static char *existing(const char *path)
{
    char *p = xstrdup(path);
    struct stat st;
    while (stat(p, &st) < 0 && strcmp(p, "/") && strcmp(p, ".")) {
        char *up = path_parent(p);
        free(p);
        p = up;
    }
    return p;
}

static void check_space(struct doctor *d, const char *name, const char *path)
{
    enum { GIB_LOW = 5, MIB_NEEDED = 200 };
    AUTO_FREE char *at = existing(path);
    CLEANUP(buf_clear) struct buf size = BUF_INIT;
    uint64_t free_now = free_bytes(at);
    buf_add_size(&size, free_now);
    struct stat st;
    bool folder = stat(at, &st) == 0 && S_ISDIR(st.st_mode);
    if (!folder || access(at, W_OK) < 0) {
        add(d, name, FAIL, folder ? "'%s' may not be written" : "'%s' is not a folder", at)->hint =
            xstrdup("choose another folder with KILN_HOME");
        return;
    }
    bool full = free_now >> 20 < MIB_NEEDED;
    struct finding *f = add(d, name,
                            full                       ? FAIL
                            : free_now >> 30 < GIB_LOW ? WARN
                                                       : FINE,
                            "%s%s free for '%s'", full ? "only " : "", size.data, path);
    if (f->state != FINE)
        f->hint = xstrdup(
            "images take gigabytes: 'kiln prune' frees what is not used, "
            "KILN_HOME chooses another disk");
}

/* Optional: only the program of --runner guestfs is linked with it. */
static void check_libguestfs(struct doctor *d)
{
    // it stays loaded: some of what comes with it loses memory when it is unloaded
    if (dlopen("libguestfs.so.0", RTLD_NOW | RTLD_LOCAL))
        add(d, "libguestfs", FINE, "installed");
    else
        add(d, "libguestfs", WARN, "not installed; only NTFS, LUKS and inspect --deep need it");
}

/* proc(5): a line a route. IPv4: interface, destination in hex …; IPv6: destination, its prefix
 * length in hex, …, and the interface last; the kernel's own default route is "lo". */
static bool has_default_route(void)
{
    CLEANUP(buf_clear) struct buf v4 = BUF_INIT, v6 = BUF_INIT;
    (void)file_read("/proc/net/route", 1 << 20, &v4, NULL);
    (void)file_read("/proc/net/ipv6_route", 1 << 20, &v6, NULL);
    for (char *save = NULL, *l = strtok_r(v4.data, "\n", &save); l;
         l = strtok_r(NULL, "\n", &save)) {
        unsigned to, mask;
        if (sscanf(l, "%*s %x %*x %*x %*d %*d %*d %x", &to, &mask) == 2 && !to && !mask)
            return true;
    }
    static const char all_v6[] = "00000000000000000000000000000000 00 ";
    for (char *save = NULL, *l = strtok_r(v6.data, "\n", &save); l;
         l = strtok_r(NULL, "\n", &save)) {
        size_t n = strlen(l);
        if (!strncmp(l, all_v6, sizeof all_v6 - 1) && strcmp(l + n - 3, " lo"))
            return true;
    }
    return false;
}

static void check_network(struct doctor *d)
{
    static const char host[] = "deb.debian.org";
    enum { WAIT_MS = 5000 };
    static const char *const proxies[] = {"https_proxy", "HTTPS_PROXY", "http_proxy", "ALL_PROXY"};
    CLEANUP(process_clear) struct process p = PROCESS_INIT;
    struct process_spec ps = {.argv = ARGV("getent", "ahosts", host),
                              .in = PROCESS_NULL,
                              .out = PROCESS_NULL,
                              .errors = PROCESS_NULL};
    bool asked = process_start(&p, &ps, NULL) == 0 && process_wait(&p, WAIT_MS, NULL) == 0;
    if (asked && p.status == 0) {
        add(d, "network", FINE, "names are resolved ('%s')", host);
        return;
    }
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++) {
        const char *v = getenv(proxies[i]);
        if (!v || !*v)
            continue;
        add(d, "network", FINE, "through the proxy of %s", proxies[i]);
        return;
    }
    struct finding *f = has_default_route()
                            ? add(d, "network", WARN, "names are not resolved ('%s'%s)", host,
                                  asked ? "" : ": no answer in 5 s")
                            : add(d, "network", WARN, "no default route");
    f->hint =
        xstrdup("builds that fetch nothing work; else look at /etc/resolv.conf and 'ip route'");
}

static const char *const state_names[] = {"ok", "warning", "failed"};

static void print_text(const struct doctor *d)
{
    vec_foreach (const struct finding *, f, &d->findings) {
        printf("%-8s %-11s ", state_names[f->state], f->name);
        printable_print(stdout, f->text);
        if (f->hint) {
            printf("\n%-8s %-11s ", "", "");
            printable_print(stdout, f->hint);
        }
        putchar('\n');
    }
}

static int print_json(const struct doctor *d, struct error **err)
{
    json_auto_t *all = json_array();
    vec_foreach (const struct finding *, f, &d->findings)
        json_array_append_new(all,
                              json_pack("{s:s, s:s, s:s, s:s*}", "check", f->name, "state",
                                        state_names[f->state], "text", f->text, "hint", f->hint));
    AUTO_FREE char *text = json_dumps(all, JSON_INDENT(2) | JSON_SORT_KEYS);
    if (!text)
        return error_set(err, ERR_SYSTEM, "a finding is not UTF-8");
    puts(text);
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(doctor_clear) struct doctor d = {.session = s, .qemu = QEMU_INIT};
    check_qemu(&d);
    check_qemu_img(&d);
    check_kvm(&d);
    check_kernel(&d);
    check_space(&d, "backend", s->backend);
    check_space(&d, "cache", s->cache);
    check_libguestfs(&d);
    check_network(&d);
    if (args_has(a, "json")) {
        if (print_json(&d, err) < 0)
            return -1;
    } else {
        print_text(&d);
    }
    vec_foreach (const struct finding *, f, &d.findings)
        if (f->state == FAIL)
            return 1;
    return 0;
}

const struct command cmd_doctor = {
    .name = "doctor",
    .summary = "Check what kiln needs on this machine, and say what to do",
    .usage = "[--json]",
    .detail = "The exit status is 1 if something is missing without which kiln cannot work.\n",
    .options = options,
    .max_args = 0,
    .run = run,
};
