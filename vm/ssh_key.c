// SPDX-License-Identifier: MIT
//
// The private key is the one truth: the public one is computed from it whenever it is asked for,
// and the .pub file beside it is only for people and ssh(1). A lock makes the first two callers
// agree.
#include "vm/ssh_key.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/session.h"
#include "vm/ssh.h"

#include <libssh/libssh.h>

#include <string.h>
#include <unistd.h>

char *vm_ssh_own_key_path(const struct session *s)
{
    return s && s->data ? path_join(s->data, "ssh/id_ed25519") : NULL;
}

char *vm_ssh_key_new(struct error **err)
{
    ssh_key key = NULL;
    char *text = NULL, *copy = NULL;
    int rc = ssh_pki_generate(SSH_KEYTYPE_ED25519, 0, &key);
    if (rc == SSH_OK)
        rc = ssh_pki_export_privkey_base64(key, NULL, NULL, NULL, &text);
    ssh_key_free(key);
    if (rc == SSH_OK)
        copy = xstrdup(text);
    else
        error_set(err, ERR_SYSTEM, "cannot make an SSH key");
    ssh_string_free_char(text);
    return copy;
}

static int generate(const char *path, struct error **err)
{
    AUTO_FREE char *text = vm_ssh_key_new(err);
    return text ? file_write_whole(path, 0600, text, strlen(text), err) : -1;
}

char *vm_ssh_key_public(const char *private, struct error **err)
{
    ssh_key key = NULL, public = NULL;
    char *text = NULL, *line = NULL;
    if (ssh_pki_import_privkey_base64(private, NULL, NULL, NULL, &key) == SSH_OK &&
        ssh_pki_export_privkey_to_pubkey(key, &public) == SSH_OK &&
        ssh_pki_export_pubkey_base64(public, &text) == SSH_OK)
        line = xasprintf("%s %s kiln", ssh_key_type_to_char(ssh_key_type(public)), text);
    else
        error_set(err, ERR_USER, "it is not an SSH key that can be used");
    ssh_string_free_char(text);
    ssh_key_free(public);
    ssh_key_free(key);
    return line;
}

char *vm_ssh_key_read(const char *path, struct error **err)
{
    enum { LIMIT = 64 * 1024 };
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    return file_read(path, LIMIT, &text, err) < 0 ? NULL : buf_detach(&text, NULL);
}

char *vm_ssh_key_in(const char *dir, struct error **err)
{
    AUTO_FREE char *path = path_join(dir, VM_SSH_KEY);
    if (access(path, F_OK) < 0 && generate(path, err) < 0)
        return NULL;
    return vm_ssh_key_read(path, err);
}

/* "ssh-ed25519 AAAA… kiln"; owned. */
static char *public_line(const char *path, struct error **err)
{
    AUTO_FREE char *text = vm_ssh_key_read(path, err);
    char *line = text ? vm_ssh_key_public(text, err) : NULL;
    if (text && !line)
        (void)error_wrap(err, "'%s'", path);
    return line;
}

char *vm_ssh_own_key(const struct session *s, struct error **err)
{
    AUTO_FREE char *path = vm_ssh_own_key_path(s);
    AUTO_FREE char *dir = path_parent(path);
    AUTO_FREE char *lock_path = path_join(dir, "lock");
    AUTO_FREE char *pub = xasprintf("%s.pub", path);
    if (make_dirs(dir, 0700, err) < 0)
        return NULL;
    AUTO_CLOSE int lock = lock_wait(lock_path, LOCK_EXCLUSIVE, s->cancel_fd, err);
    if (lock < 0)
        return NULL;
    if (access(path, F_OK) < 0 && generate(path, err) < 0)
        return NULL;
    char *line = public_line(path, err);
    if (line && access(pub, F_OK) < 0) {
        AUTO_FREE char *text = xasprintf("%s\n", line);
        if (file_write_whole(pub, 0644, text, strlen(text), NULL) < 0)
            session_debug(s, 1, "cannot write '%s'", pub);
    }
    return line;
}
