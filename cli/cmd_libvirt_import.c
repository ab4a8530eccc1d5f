// SPDX-License-Identifier: MIT
//
// kiln libvirt import. The disk of a domain that `kiln libvirt define` made is compared with the layer it was
// made from, and becomes one layer on it: a push then sends what the domain has changed. Every other disk is
// taken file by file, as a stranger's.
#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/working.h"
#include "builder/build/commit.h"
#include "builder/transfer/foreign_disk.h"
#include "cache/store.h"
#include "cli/command.h"
#include "cli/libvirt_options.h"
#include "cli/progress.h"
#include "image/backend.h"
#include "image/difference.h"
#include "image/name.h"
#include "image/receive.h"
#include "libvirt/chain.h"

#include <stdio.h>
#include <string.h>

static const struct option_spec options[] = {
    LIBVIRT_CONNECT_OPTION,
    {"disk", 0, "TARGET", "Which disk of several, by its name in the guest: vda", NULL},
    {"force", 'f', NULL, "Replace an image of that name", NULL},
    {"raw", 0, NULL, "Take a raw disk without a known partition table or file system", NULL},
    {"max-size", 0, "SIZE", "Most bytes a file may have [default: 8T and by ratio]", NULL},
    JSON_OPTION,
    {0},
};

struct importing {
    const struct session *session;
    const struct args *args;
    const char *name; /* of the image */
    struct virsh virsh;
    struct domain domain;
    struct chain chain;
    struct working work;
    struct store *store;
    struct image_pull_options how;
    char *from; /* for people */
};

static void importing_clear(struct importing *m)
{
    virsh_clear(&m->virsh);
    domain_clear(&m->domain);
    chain_clear(&m->chain);
    working_clear(&m->work);
    store_freep(&m->store);
    free(m->from);
}

/* --- which disk --- */

static bool info_says(const struct buf *info, const char *field, const char *value)
{
    const char *line = strstr(info->data, field);
    while (line && line != info->data && line[-1] != '\n') // a domain's name may be anything
        line = strstr(line + 1, field);
    if (!line)
        return false;
    line += strlen(field);
    line += strspn(line, ": ");
    return strcspn(line, "\n") == strlen(value) && !strncmp(line, value, strlen(value));
}

static int check_state(const struct importing *m, const char *domain, struct error **err)
{
    CLEANUP(buf_clear) struct buf info = BUF_INIT;
    if (virsh_run(&m->virsh, ARGV("dominfo", "--domain", domain), &info, err) < 0)
        return error_hint(err, "'virsh -c %s list --all' lists the domains", m->virsh.uri);
    if (!info_says(&info, "State", "shut off") && !info_says(&info, "State", "crashed")) {
        error_set(err, ERR_BUSY, "domain '%s' is not shut off", domain);
        return error_hint(err, "'virsh -c %s shutdown %s' asks its guest to power off",
                          m->virsh.uri, domain);
    }
    if (!info_says(&info, "Managed save", "yes"))
        return 0;
    error_set(err, ERR_BUSY, "domain '%s' has saved memory, which its disk belongs to", domain);
    return error_hint(
        err, "start it and shut it down, or drop that: 'virsh -c %s managedsave-remove %s'",
        m->virsh.uri, domain);
}

static int read_domain(struct importing *m, const char *domain, struct error **err)
{
    CLEANUP(buf_clear) struct buf xml = BUF_INIT;
    if (check_state(m, domain, err) < 0 ||
        virsh_run(&m->virsh, ARGV("dumpxml", "--inactive", "--domain", domain), &xml, err) < 0)
        return -1;
    return domain_read(buf_str(&xml), &m->domain, err) < 0 ? error_wrap(err, "domain '%s'", domain)
                                                           : 0;
}

static const struct domain_disk *choose_disk(const struct importing *m, struct error **err)
{
    const char *wanted = args_get(m->args, "disk");
    const struct domain_disk *found = NULL;
    CLEANUP(buf_clear) struct buf targets = BUF_INIT;
    vec_foreach (const struct domain_disk *, d, &m->domain.disks) {
        const char *target = d->target ? d->target : "";
        buf_addf(&targets, "%s%s", targets.len ? ", " : "", target);
        if (!wanted || !strcmp(wanted, target))
            found = d;
    }
    if (!m->domain.disks.len)
        error_set(err, ERR_USER, "domain '%s' has no disk", m->domain.name);
    else if (!found)
        error_set(err, ERR_NOT_FOUND, "domain '%s' has no disk '%s': it has %s", m->domain.name,
                  wanted, targets.data);
    else if (!wanted && m->domain.disks.len > 1) {
        error_set(err, ERR_USER, "domain '%s' has several disks, and an image has one: %s",
                  m->domain.name, targets.data);
        error_hint(err, "--disk %s takes that one; import each by a name of its own",
                   m->domain.disks.ptr[0].target ? m->domain.disks.ptr[0].target : "TARGET");
    } else
        return found;
    return NULL;
}

/* --- its files --- */

/* Copies a file of the chain into our folder, judged by its bytes; *ret borrows from m. */
static int take_file(struct importing *m, const struct chain_file *f, const char *path,
                     struct foreign_disk *ret, struct error **err)
{
    CLEANUP(received_clear) struct received got = {0};
    struct receive_options r = {
        .dir = m->work.dir, .path = f->local, .overlay = f->backing != NULL, .pull = &m->how};
    if (receive(m->session, &r, &got, err) < 0)
        return error_wrap(err, "'%s'", f->path);
    if (f->format && strcmp(f->format, format_name(got.format)) != 0)
        return error_set(err, ERR_USER, "'%s' is described as %s, and its bytes are %s", f->path,
                         f->format, format_name(got.format));
    *ret = (struct foreign_disk){m->session, path, got.format, m->how.max_size, m->from};
    return 0;
}

/* What the files say that they are of an image, and of the domain that it boots by UEFI; NULL = nothing. */
static json_t *make_metadata(const struct importing *m)
{
    json_t *all = NULL;
    vec_foreach (const struct chain_file *, f, &m->chain.files)
        if (!all)
            all = json_parse_object(f->metadata);
    if (!m->domain.uefi)
        return all;
    if (!all)
        all = json_object();
    json_t *labels = json_pack("{s:{s:{s:s}}}", "config", "labels", IMAGE_LABEL_UEFI, "yes");
    (void)json_object_update_recursive(all, labels);
    json_decref(labels);
    return all;
}

/* --- as an image --- */

struct comparison {
    const struct session *session;
    const struct strv *below;
    const char *file;
};

/* a commit_copy_fn */
static int copy_difference(void *arg, const char *path, const char *backing, struct error **err)
{
    const struct comparison *d = arg;
    return image_difference(d->session, &(struct image_difference){d->below, d->file, backing},
                            path, err);
}

/* The layer the domain was made from, if it is here: adds its files. */
static bool find_layer(struct importing *m, struct strv *files)
{
    CLEANUP(error_freep) struct error *why = NULL;
    const char *layer = m->domain.layer;
    if (!layer || m->chain.files.len > 1)
        return false;
    if (store_chain(m->store, layer, files, &why) == 0)
        return true;
    session_notice(m->session,
                   "The layers of image '%s', which the domain was made from, are not here: the "
                   "disk is taken whole",
                   m->domain.image ? m->domain.image : "");
    return false;
}

static int import_difference(struct importing *m, const struct strv *below, const char *path,
                             struct error **err)
{
    struct foreign_disk disk;
    json_auto_t *metadata = make_metadata(m);
    AUTO_FREE char *step = xasprintf("kiln libvirt import %s", m->domain.name);
    struct comparison d = {m->session, below, path};
    struct commit_request r = {.image = m->name,
                               .replace = true,
                               .step = step,
                               .parent = m->domain.layer,
                               .metadata = metadata,
                               .copy = copy_difference,
                               .arg = &d};
    return take_file(m, &m->chain.files.ptr[0], path, &disk, err) < 0 ||
                   foreign_disk_sound(&disk, err) < 0
               ? -1
               : commit_image(m->session, m->store, &r, err);
}

static int import_chain(struct importing *m, const char *path, const char *metadata,
                        struct error **err)
{
    CLEANUP(layer_freep) struct layer *top = NULL;
    for (size_t i = m->chain.files.len; i-- > 0;) {
        struct foreign_disk disk;
        struct layer *layer = NULL;
        const struct chain_file *f = &m->chain.files.ptr[i];
        if (take_file(m, f, path, &disk, err) < 0)
            return -1;
        if ((top ? foreign_disk_overlay(&disk, m->store, f->backing, top, &layer, err)
                 : foreign_disk_base(&disk, m->store, &layer, err)) < 0)
            return error_wrap(err, "'%s'", f->path);
        layer_free(top);
        top = layer;
    }
    struct backend_thin thin = {.layer = top->id, .metadata = metadata};
    return backend_register_thin(m->session->backend, m->name, &thin, err);
}

static int import_files(struct importing *m, struct error **err)
{
    CLEANUP(strv_clear) struct strv below = {0};
    AUTO_FREE char *path = path_join(m->work.dir, "disk");
    json_auto_t *metadata = make_metadata(m);
    AUTO_FREE char *text = metadata ? json_text(metadata) : NULL;
    struct foreign_disk disk;
    if (store_open(m->session, m->session->backend, &m->store, err) < 0)
        return -1;
    if (find_layer(m, &below))
        return import_difference(m, &below, path, err);
    if (m->chain.files.len > 1)
        return import_chain(m, path, text, err);
    return take_file(m, &m->chain.files.ptr[0], path, &disk, err) < 0
               ? -1
               : foreign_disk_register(&disk, m->name, text, err);
}

static int import(struct importing *m, struct error **err)
{
    const char *name = m->args->pos[0];
    AUTO_FREE char *parent = path_join(m->session->backend, ".working");
    if (!args_has(m->args, "force") && backend_has(m->session->backend, m->name)) {
        error_set(err, ERR_EXISTS, "image '%s' exists", m->name);
        return error_hint(err, "--force replaces it");
    }
    if (virsh_open(m->session, args_get(m->args, "connect"), &m->virsh, err) < 0 ||
        read_domain(m, name, err) < 0)
        return -1;
    const struct domain_disk *disk = choose_disk(m, err);
    if (!disk || working_open(&m->work, parent, err) < 0)
        return -1;
    m->from = xasprintf("libvirt domain %s", m->domain.name);
    if (chain_open(&m->virsh, disk, m->work.dir, &m->chain, err) < 0 || import_files(m, err) < 0)
        return error_wrap(err, "disk '%s' of domain '%s'", disk->target ? disk->target : "",
                          m->domain.name);
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(progress_clear) struct progress bar;
    struct importing m = {.session = s, .args = a, .name = a->pos[1], .work = WORKING_INIT};
    unsigned long long max = 0;
    progress_init(&bar, stderr, PROGRESS_AUTO);
    progress_hear(&bar, s);
    if (image_name_check(m.name, err) < 0 || args_size(a, "max-size", &max, err) < 0)
        return -1;
    m.how = (struct image_pull_options){.raw = args_has(a, "raw"), .max_size = max};
    int rc = import(&m, err);
    importing_clear(&m);
    (void)json_object_set_new(a->result, "name", json_string(m.name));
    if (rc == 0 && !a->result)
        printf("Imported domain '%s' as image '%s'\n", a->pos[0], m.name);
    return rc;
}

const struct command cmd_libvirt_import = {
    .name = "libvirt import",
    .summary = "Make an image of the disk of a libvirt domain",
    .usage = "[options] DOMAIN NAME",
    .detail =
        "The domain must be shut off. Of a domain that 'kiln libvirt define' made the image is "
        "the\n"
        "one it was made from and one layer; else each file of the disk's backing chain is a "
        "layer.\n",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .flags = CMD_RESULT,
    .run = run,
};
