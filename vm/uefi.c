// SPDX-License-Identifier: MIT
#include "vm/uefi.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "vm/qemu.h"

#include <stdlib.h>
#include <unistd.h>

enum { VARS_MAX = 16 << 20 };

/* Code and the template of its variables: Debian, Fedora. */
static const struct {
    const char *code, *vars;
} firmware[] = {
    {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
    {"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
    {"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
};

void vm_uefi_clear(struct vm_uefi *u)
{
    free(u->code);
    free(u->vars);
    *u = (struct vm_uefi){0};
}

static int copy_vars(const char *template, const char *path, struct error **err)
{
    CLEANUP(buf_clear) struct buf bytes = BUF_INIT;
    if (access(path, F_OK) == 0)
        return 0;
    return file_read(template, VARS_MAX, &bytes, err) < 0
               ? -1
               : file_write_whole(path, 0600, bytes.data, bytes.len, err);
}

int vm_uefi_open(const char *dir, struct vm_uefi *ret, struct error **err)
{
    for (size_t i = 0; i < sizeof firmware / sizeof *firmware; i++) {
        if (access(firmware[i].code, R_OK) < 0 || access(firmware[i].vars, R_OK) < 0)
            continue;
        ret->code = xstrdup(firmware[i].code);
        ret->throw_away = !dir;
        AUTO_FREE char *whole = dir ? realpath(dir, NULL) : NULL; // QEMU may run elsewhere
        if (dir && !whole)
            return error_errno(err, "cannot find '%s'", dir);
        ret->vars = dir ? path_join(whole, VM_UEFI_VARS) : xstrdup(firmware[i].vars);
        return dir ? copy_vars(firmware[i].vars, ret->vars, err) : 0;
    }
    error_set(err, ERR_NOT_FOUND, "no UEFI firmware (OVMF) was found");
    return error_hint(err, "apt-get install ovmf");
}

void vm_uefi_args(struct strv *args, const struct vm_uefi *u)
{
    AUTO_FREE char *code = qemu_escape(u->code), *vars = qemu_escape(u->vars);
    strv_add(args, "-drive");
    strv_addf(args, "if=pflash,unit=0,format=raw,readonly=on,file=%s", code);
    strv_add(args, "-drive");
    strv_addf(args, "if=pflash,unit=1,format=raw,file=%s%s", vars,
              u->throw_away ? ",snapshot=on" : "");
}
