// SPDX-License-Identifier: MIT
//
// A kernel counts only with its modules: beside it (<top>/boot/vmlinuz-V and
// <top>/lib/modules/V, as packages unpack) or in /lib/modules. A download goes
// <cache>/kernel/.working/<random>/ → <cache>/kernel/<package>/, so a folder there is complete.
#include "builder/appliance/kernel.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/process.h"
#include "base/session.h"
#include "base/vector.h"
#include "base/working.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

void kernel_clear(struct kernel *k)
{
    free(k->path);
    free(k->version);
    free(k->modules);
    *k = (struct kernel)KERNEL_INIT;
}

char *kernel_version(const char *path, struct error **err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_errno(err, "cannot read kernel '%s'", path);
        return NULL;
    }
    unsigned char magic[4], at[2];
    char text[128] = "";
    if (pread_all(fd, magic, 4, 0x202) != 4 || memcmp(magic, "HdrS", 4) != 0 ||
        pread_all(fd, at, 2, 0x20e) != 2 ||
        pread_all(fd, text, sizeof text - 1, 0x200 + at[0] + at[1] * 256) < 1) {
        error_set(err, ERR_USER, "'%s' is not a bootable Linux kernel for x86", path);
        return NULL;
    }
    text[strcspn(text, " \n")] = '\0';
    if (!text[0] || strchr(text, '/')) {
        error_set(err, ERR_USER, "cannot read the version of kernel '%s'", path);
        return NULL;
    }
    return xstrdup(text);
}

static bool is_modules(const char *dir)
{
    AUTO_FREE char *dep = path_join(dir, "modules.dep");
    return access(dep, R_OK) == 0;
}

/* Owned folder of the modules, or NULL. */
static char *find_modules(const char *kernel, const char *version)
{
    AUTO_FREE char *boot = path_parent(kernel);
    AUTO_FREE char *top = path_parent(boot);
    AUTO_FREE char *flat = path_join(boot, "modules");
    const struct {
        const char *top, *below;
    } places[] = {
        {top, "lib/modules"}, {top, "usr/lib/modules"}, {"/", "lib/modules"}, {flat, "."}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        AUTO_FREE char *all = path_join(places[i].top, places[i].below);
        AUTO_FREE char *dir = path_join(all, version);
        if (is_modules(dir))
            return STEAL(dir);
    }
    return NULL;
}

static int use(const char *path, struct kernel *ret, struct error **err)
{
    AUTO_FREE char *version = kernel_version(path, err);
    if (!version)
        return -1;
    AUTO_FREE char *modules = find_modules(path, version);
    if (!modules) {
        error_set(err, ERR_NOT_FOUND, "kernel '%s' has no modules in '/lib/modules/%s'", path,
                  version);
        return error_hint(err, "depmod makes the modules.dep that is looked for");
    }
    *ret = (struct kernel){xstrdup(path), STEAL(version), STEAL(modules)};
    return 0;
}

/* Cloud kernels first, then the higher version. */
static int better_first(const struct dirent **a, const struct dirent **b)
{
    bool cloud_a = strstr((*a)->d_name, "cloud"), cloud_b = strstr((*b)->d_name, "cloud");
    if (cloud_a != cloud_b)
        return cloud_a ? -1 : 1;
    return -strverscmp((*a)->d_name, (*b)->d_name);
}

static int is_kernel(const struct dirent *d)
{
    return strncmp(d->d_name, "vmlinuz-", 8) == 0;
}

/* The best usable kernel of a boot folder. *unreadable: one that we may not read was seen. */
static int find_in(const char *boot, struct kernel *ret, bool *unreadable)
{
    struct dirent **list = NULL;
    int n = scandir(boot, &list, is_kernel, better_first), found = -1;
    for (int i = 0; i < n; i++) {
        AUTO_FREE char *path = path_join(boot, list[i]->d_name);
        if (found < 0 && access(path, R_OK) < 0)
            *unreadable = true;
        else if (found < 0)
            found = use(path, ret, NULL);
        free(list[i]);
    }
    free(list);
    return found;
}

static int not_hidden(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static int find_downloaded(const char *store, struct kernel *ret)
{
    struct dirent **list = NULL;
    int n = scandir(store, &list, not_hidden, better_first), found = -1;
    for (int i = 0; i < n; i++) {
        AUTO_FREE char *dir = path_join(store, list[i]->d_name);
        AUTO_FREE char *boot = path_join(dir, "boot");
        bool unreadable;
        if (found < 0)
            found = find_in(boot, ret, &unreadable);
        free(list[i]);
    }
    free(list);
    return found;
}

/* The first dependency of a package whose name starts with prefix and a digit; owned or NULL. */
static char *dependency(const struct session *s, const char *package, const char *prefix)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    if (process_run(s, ARGV("apt-cache", "depends", package), &out, NULL) < 0)
        return NULL;
    size_t n = strlen(prefix);
    for (char *save = NULL, *line = strtok_r(out.data, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char *name = strstr(line, "Depends: ");
        name = name ? name + strlen("Depends: ") : line;
        if (strncmp(name, prefix, n) == 0 && name[n] >= '0' && name[n] <= '9')
            return xstrdup(name);
    }
    return NULL;
}

/* apt-get download of one package into the folder debs; it knows no other way to say where. */
static int download(const struct session *s, const char *debs, const char *package,
                    struct error **err)
{
    CLEANUP(process_clear) struct process p = PROCESS_INIT;
    struct process_spec spec = {.argv = ARGV("apt-get", "-qq", "download", package),
                                .cwd = debs,
                                .in = PROCESS_NULL,
                                .out = PROCESS_NULL,
                                .errors = PROCESS_PIPE};
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    if (process_start(&p, &spec, err) < 0)
        return -1;
    while (p.errors >= 0) {
        struct pollfd f[] = {{.fd = p.errors, .events = POLLIN},
                             {.fd = s->cancel_fd, .events = POLLIN}};
        if (poll(f, 2, -1) > 0 && f[1].revents)
            return error_set(err, ERR_CANCELLED, "interrupted");
        char chunk[512];
        ssize_t n = f[0].revents ? read(p.errors, chunk, sizeof chunk) : 1;
        if (n <= 0) {
            close(p.errors);
            p.errors = -1;
        } else if (f[0].revents && said.len < 2000) {
            buf_add(&said, chunk, (size_t)n);
        }
    }
    if (process_wait(&p, -1, err) < 0)
        return -1;
    if (p.status == 0)
        return 0;
    while (said.len && said.data[said.len - 1] == '\n')
        said.data[--said.len] = '\0';
    AUTO_FREE char *how = process_failed_text(p.status);
    return error_set(err, ERR_SYSTEM, "apt-get download %s %s: %s", package, how, said.data);
}

static int get_package(const struct session *s, const char *dir, const char *package,
                       struct error **err)
{
    AUTO_FREE char *debs = path_join(dir, "debs");
    if (make_dirs(debs, 0700, err) < 0 || download(s, debs, package, err) < 0)
        return -1;
    struct dirent **list = NULL;
    int n = scandir(debs, &list, not_hidden, NULL), rc = n > 0 ? 0 : -1;
    if (n <= 0)
        error_set(err, ERR_SYSTEM, "apt-get download %s gave no package", package);
    for (int i = 0; i < n; i++) {
        AUTO_FREE char *deb = path_join(debs, list[i]->d_name);
        if (rc == 0)
            rc = process_run(s, ARGV("dpkg-deb", "-x", deb, dir), NULL, err);
        free(list[i]);
    }
    free(list);
    return rc < 0 ? -1 : remove_tree(debs, err);
}

/* The name of the distribution's real kernel package; owned or NULL. */
static char *kernel_package(const struct session *s)
{
    static const char *const metas[] = {"linux-image-cloud-amd64", "linux-image-virtual",
                                        "linux-image-amd64", "linux-image-generic"};
    for (size_t i = 0; i < sizeof metas / sizeof *metas; i++) {
        char *name = dependency(s, metas[i], "linux-image-");
        if (name)
            return name;
    }
    return NULL;
}

/* Unpacks kernel and modules into dir and makes modules.dep. */
static int fill(const struct session *s, const char *dir, const char *package, struct error **err)
{
    AUTO_FREE char *modules = dependency(s, package, "linux-modules-");
    if (get_package(s, dir, package, err) < 0 || (modules && get_package(s, dir, modules, err) < 0))
        return -1;
    AUTO_FREE char *boot = path_join(dir, "boot");
    struct dirent **list = NULL;
    int n = scandir(boot, &list, is_kernel, better_first);
    AUTO_FREE char *path = n > 0 ? path_join(boot, list[0]->d_name) : NULL;
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
    if (!path)
        return error_set(err, ERR_SYSTEM, "package '%s' holds no kernel", package);
    AUTO_FREE char *version = kernel_version(path, err);
    if (!version)
        return -1;
    return process_run(s, ARGV("depmod", "-b", dir, version), NULL, err);
}

int kernel_download(const struct session *s, struct kernel *ret, struct error **err)
{
    AUTO_FREE char *store = path_join(s->cache, "kernel");
    AUTO_FREE char *parent = path_join(store, ".working");
    AUTO_FREE char *package = kernel_package(s);
    if (!package) {
        error_set(err, ERR_NOT_FOUND, "apt has no kernel package to download");
        return error_hint(err, "run 'apt-get update', or name a kernel with KILN_KERNEL");
    }
    working_sweep(parent);
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    if (working_open(&w, parent, err) < 0)
        return -1;
    AUTO_FREE char *tree = path_join(w.dir, "tree");
    AUTO_FREE char *dest = path_join(store, package);
    if (fill(s, tree, package, err) < 0)
        return error_wrap(err, "cannot get kernel package '%s'", package);
    if (rename(tree, dest) < 0 && errno != EEXIST && errno != ENOTEMPTY)
        return error_errno(err, "cannot make '%s'", dest);
    AUTO_FREE char *boot = path_join(dest, "boot");
    bool unreadable;
    if (find_in(boot, ret, &unreadable) < 0)
        return error_set(err, ERR_SYSTEM, "package '%s' holds no usable kernel", package);
    return 0;
}

int kernel_here(const struct session *s, struct kernel *ret, bool *ret_unreadable,
                struct error **err)
{
    const char *wish = session_setting(s, "KILN_KERNEL");
    *ret_unreadable = false;
    if (wish)
        return use(wish, ret, err) < 0 ? error_wrap(err, "KILN_KERNEL") : 1;
    AUTO_FREE char *store = path_join(s->cache, "kernel");
    return find_in("/boot", ret, ret_unreadable) == 0 || find_downloaded(store, ret) == 0;
}

int kernel_find(const struct session *s, struct kernel *ret, struct error **err)
{
    bool unreadable;
    int found = kernel_here(s, ret, &unreadable, err);
    if (found)
        return found < 0 ? -1 : 0;
    session_notice(s, "%s: downloading the distribution's kernel package",
                   unreadable ? "the kernels in /boot are readable by root only"
                              : "no kernel with modules in /boot");
    if (kernel_download(s, ret, err) == 0)
        return 0;
    error_wrap(err, unreadable ? "no kernel in /boot may be read" : "no kernel in /boot");
    return error_hint(err,
                      "install linux-image-cloud-amd64, make /boot/vmlinuz-* readable, or "
                      "set KILN_KERNEL");
}
