// SPDX-License-Identifier: MIT
//
// What we write ourselves is JSON, which is YAML, too: no name needs quoting rules of its own. The
// times in the image are 0, so that equal seeds are equal but for libarchive's own stamps.
#include "vm/seed.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/json.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct part {
    const char *name;
    struct str bytes;
};

/* New reference; NULL: something is not UTF-8. */
static json_t *make_user(const struct vm_seed *seed)
{
    json_t *keys = json_array();
    for (const char *at = seed->public_keys; at && *at;) {
        size_t n = strcspn(at, "\n");
        if (n)
            (void)json_array_append_new(keys, json_stringn(at, n));
        at += n + (at[n] == '\n');
    }
    return json_pack("{s:s, s:[s], s:s, s:s, s:b, s:o}", "name", seed->user, "groups", "sudo",
                     "sudo", "ALL=(ALL) NOPASSWD:ALL", "shell", "/bin/bash", "lock_passwd", 1,
                     "ssh_authorized_keys", keys);
}

/* root is there already: its keys are those of the top, and it is not shut out. */
static json_t *make_config(const struct vm_seed *seed)
{
    bool root = seed->user && !strcmp(seed->user, "root");
    json_t *user = seed->user ? make_user(seed) : NULL;
    if (!seed->user)
        return json_pack("{s:b}", "ssh_pwauth", 0);
    if (!user)
        return NULL;
    return json_pack("{s:[o], s:b, s:b, s:{s:b}}", "users", user, "ssh_pwauth", 0, "disable_root",
                     !root, "chpasswd", "expire", 0);
}

static int add_user_data(const struct vm_seed *seed, struct buf *out, struct error **err)
{
    if (seed->user_data.ptr) {
        buf_add_str(out, seed->user_data);
        return 0;
    }
    json_auto_t *config = make_config(seed);
    AUTO_FREE char *text = config ? json_dumps(config, JSON_INDENT(2)) : NULL;
    if (!text)
        return error_set(err, ERR_USER, "a name for cloud-init is not UTF-8");
    buf_addf(out, "#cloud-config\n%s\n", text);
    return 0;
}

static int add_meta_data(const struct vm_seed *seed, const struct buf *user_data, struct buf *out,
                         struct error **err)
{
    const char *hostname = seed->hostname ? seed->hostname : seed->name;
    struct sha256 *h = sha256_new();
    char hex[DIGEST_HEX + 1];
    sha256_add(h, hostname, strlen(hostname) + 1);
    sha256_add(h, user_data->data, user_data->len);
    sha256_add(h, seed->network_config.ptr ? seed->network_config.ptr : "",
               seed->network_config.len);
    struct digest d = sha256_finish(h);
    digest_hex(&d, hex);
    AUTO_FREE char *id = xasprintf("%s-%.16s", seed->name, hex);
    json_auto_t *v = json_pack("{s:s, s:s}", "instance-id", id, "local-hostname", hostname);
    AUTO_FREE char *text = v ? json_dumps(v, JSON_INDENT(2)) : NULL;
    if (!text)
        return error_set(err, ERR_USER, "the host name is not UTF-8");
    buf_addf(out, "%s\n", text);
    return 0;
}

static int failed(struct archive *a, const char *path, struct error **err)
{
    return error_set(err, ERR_SYSTEM, "cannot write '%s': %s", path, archive_error_string(a));
}

static int write_part(struct archive *a, const char *path, const struct part *p, struct error **err)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, p->name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0444);
    archive_entry_set_size(e, (la_int64_t)p->bytes.len);
    archive_entry_set_mtime(e, 0, 0);
    int rc = archive_write_header(a, e);
    archive_entry_free(e);
    bool good = rc == ARCHIVE_OK &&
                archive_write_data(a, p->bytes.ptr, p->bytes.len) == (la_ssize_t)p->bytes.len;
    return good ? 0 : failed(a, path, err);
}

static int write_image(int fd, const char *path, const struct part *parts, size_t n,
                       struct error **err)
{
    struct archive *a = archive_write_new();
    int rc = 0;
    if (archive_write_set_format_iso9660(a) != ARCHIVE_OK ||
        archive_write_set_options(a, "iso9660:volume-id=cidata,iso9660:!pad") != ARCHIVE_OK ||
        archive_write_open_fd(a, fd) != ARCHIVE_OK)
        rc = failed(a, path, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (parts[i].bytes.ptr)
            rc = write_part(a, path, &parts[i], err);
    if (rc == 0 && archive_write_close(a) != ARCHIVE_OK)
        rc = failed(a, path, err);
    archive_write_free(a);
    return rc;
}

int vm_seed_write(const char *path, const struct vm_seed *seed, struct error **err)
{
    CLEANUP(buf_clear) struct buf user_data = BUF_INIT, meta_data = BUF_INIT;
    if (add_user_data(seed, &user_data, err) < 0 ||
        add_meta_data(seed, &user_data, &meta_data, err) < 0)
        return -1;
    struct part parts[] = {{"meta-data", buf_str(&meta_data)},
                           {"user-data", buf_str(&user_data)},
                           {"network-config", seed->network_config}};
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return error_set(err, ERR_EXISTS, "'%s' exists", path);
    if (fd < 0)
        return error_errno(err, "cannot make '%s'", path);
    if (write_image(fd, path, parts, sizeof parts / sizeof *parts, err) < 0)
        return -1;
    return fsync(fd) < 0 ? error_errno(err, "cannot write '%s'", path) : 0;
}
