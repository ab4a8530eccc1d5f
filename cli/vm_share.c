// SPDX-License-Identifier: MIT
#include "cli/vm_share.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/vm_live.h"
#include "vm/sftp_server.h"
#include "vm/share.h"

#include <string.h>
#include <sys/stat.h>

static int wrong(const char *text, struct error **err)
{
    error_set(err, ERR_USAGE, "argument --volume: '%s' is not FOLDER:/GUEST[:ro]", text);
    return error_hint(err, "-v ./src:/src shows the folder src at /src in the guest");
}

/* "ro", or words of docker and podman about what is not so here: labels of SELinux, caches of a Mac. */
static bool take_mode(const char *mode, bool *ret_ro)
{
    static const char *const ignored[] = {"rw", "z", "Z", "cached", "delegated", "consistent"};
    for (struct str rest = str_of(mode); rest.len;) {
        struct str word = str_cut(&rest, ',');
        bool known = str_eq(word, STR("ro"));
        *ret_ro |= known;
        for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
            known |= str_eq(word, str_of(ignored[i]));
        if (!known)
            return false;
    }
    return *mode;
}

/* "src:/src", "/a/b:/c:ro". */
static int take_volume(struct vm_spec *spec, const char *text, struct error **err)
{
    AUTO_FREE char *copy = xstrdup(text);
    char *guest = strstr(copy, ":/");
    char *mode = guest ? strchr(guest + 1, ':') : NULL;
    struct stat st;
    if (!guest || guest == copy)
        return wrong(text, err);
    *guest++ = '\0';
    if (mode)
        *mode++ = '\0';
    bool ro = false;
    if (mode && !take_mode(mode, &ro))
        return wrong(text, err);
    if (!guest[strspn(guest, "/.")]) {
        error_set(err, ERR_USAGE, "argument --volume: '%s' is the guest's root folder", guest);
        return error_hint(err, "name a folder below it, as in -v ./src:/src");
    }
    AUTO_FREE char *host = realpath(copy, NULL); // as `start` may run in another directory
    if (!host || stat(host, &st) < 0) {
        error_errno(err, "argument --volume: cannot open '%s'", copy);
        AUTO_FREE char *word = shell_word(copy);
        return error_hint(err, "make the folder first: mkdir -p %s; volumes have no other names",
                          word);
    }
    if (!S_ISDIR(st.st_mode))
        return error_set(err, ERR_USER, "argument --volume: '%s' is not a folder", copy);
    vm_spec_share(spec, &(struct vm_share){host, guest, ro});
    return 0;
}

int vm_volumes_take(const struct args *a, struct vm_spec *spec, struct error **err)
{
    const char *text;
    for (size_t i = 0; (text = args_nth(a, "volume", i)); i++)
        if (take_volume(spec, text, err) < 0)
            return -1;
    const char *server = args_get(a, "sftp-bin-name");
    AUTO_FREE char *found = server ? sftp_server_find(server, err) : NULL;
    AUTO_FREE char *path = found ? realpath(found, NULL) : NULL;
    if (server && !path)
        return found ? error_errno(err, "argument --sftp-bin-name: cannot find '%s'", found) : -1;
    if (path)
        vm_spec_set(&spec->ssh.sftp_server, path);
    return 0;
}

int vm_volumes_mount(const struct session *s, const char *name, const struct vm_spec *spec,
                     struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    if (!spec->shares.len)
        return 0;
    if (vm_live_open(s, name, &live, err) < 0)
        return -1;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_live_first_login(s, &live, 0, err);
    return ssh ? vm_volumes_mount_rest(s, ssh, &live, err) : -1;
}

bool vm_volumes_mounted(const json_t *record)
{
    const json_t *shares = json_object_get(json_object_get(record, "spec"), "shares");
    return !json_flag(record, "detached") ||
           json_int(record, "mounted", 0) >= (long long)json_array_size(shares);
}

int vm_volumes_mount_rest(const struct session *s, struct vm_ssh *ssh, struct vm_live *live,
                          struct error **err)
{
    size_t done = (size_t)json_int(live->record, "mounted", 0);
    int rc = vm_share_mount(s, ssh, &live->login, &live->spec, &done, err);
    json_auto_t *now = named_vm_running(&live->vm);
    if (now && json_object_set_new(now, "mounted", json_integer((json_int_t)done)) == 0)
        (void)named_vm_note(&live->vm, now, NULL);
    return rc;
}

void vm_volumes_tell(const struct session *s, const struct vm_spec *spec)
{
    for (size_t i = 0; i < spec->shares.len; i++) {
        AUTO_FREE char *command = vm_share_command(spec, i);
        session_notice(s, "this mounts '%s' in the guest: %s", spec->shares.ptr[i].host, command);
    }
}
