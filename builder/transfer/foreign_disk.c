// SPDX-License-Identifier: MIT
#include "builder/transfer/foreign_disk.h"

#include "base/alloc.h"
#include "base/session.h"
#include "cache/key.h"
#include "cache/store.h"
#include "image/backend.h"
#include "image/convert.h"

#include <fcntl.h>
#include <stdio.h>

int foreign_disk_sound(const struct foreign_disk *d, struct error **err)
{
    if (d->format != FORMAT_QCOW2 && d->format != FORMAT_RAW)
        session_notice(d->session, "Converting the image from %s", format_name(d->format));
    return convert_in(d->session, d->path, d->format, d->max_size, err);
}

int foreign_disk_register(const struct foreign_disk *d, const char *name, const char *metadata,
                          struct error **err)
{
    if (foreign_disk_sound(d, err) < 0 ||
        (metadata && convert_describe(d->session, d->path, metadata, err) < 0))
        return -1;
    if (session_cancelled(d->session))
        return error_set(err, ERR_CANCELLED, "interrupted");
    return backend_register_file(d->session->backend, name, d->path, err);
}

static int digest_of_file(const char *path, char hex[DIGEST_HEX + 1], struct error **err)
{
    struct digest d;
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, "cannot read '%s'", path);
    if (digest_of_fd(fd, &d, err) < 0)
        return -1;
    digest_hex(&d, hex);
    return 0;
}

int foreign_disk_base(const struct foreign_disk *d, struct store *st, struct layer **ret,
                      struct error **err)
{
    char hex[DIGEST_HEX + 1];
    return foreign_disk_sound(d, err) < 0 || digest_of_file(d->path, hex, err) < 0
               ? -1
               : store_import_base(st, d->path, hex, d->from, ret, err);
}

int foreign_disk_overlay(const struct foreign_disk *d, struct store *st, const char *below,
                         const struct layer *parent, struct layer **ret, struct error **err)
{
    CLEANUP(draft_freep) struct draft *draft = NULL;
    char hex[DIGEST_HEX + 1], key[DIGEST_HEX + 1];
    if (d->format != FORMAT_QCOW2)
        return error_set(err, ERR_USER, "it has several disks, and an image of kiln's has one");
    if (digest_of_file(d->path, hex, err) < 0)
        return -1;
    struct key *k = key_begin(parent->id);
    key_field(k, "overlay", hex, DIGEST_HEX);
    key_finish(k, key, NULL);
    AUTO_FREE char *step = xasprintf("FROM %s", d->from);
    struct draft_request r = {.key = key, .parent = parent->id, .step = step};
    int there = store_build_begin(st, &r, ret, &draft, err);
    if (there)
        return there < 0 ? -1 : 0;
    if (convert_overlay(d->session, d->path, below, draft_backing(draft), err) < 0)
        return -1;
    if (rename(d->path, draft_disk(draft)) < 0)
        return error_errno(err, "cannot rename '%s'", d->path);
    return store_commit(draft, NULL, ret, err);
}
