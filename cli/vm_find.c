// SPDX-License-Identifier: MIT
#include "cli/vm_find.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/session.h"
#include "cli/fleet_file.h"
#include "image/backend.h"

#include <string.h>

/* Whatever else is wrong with the file: that is for `up` to say. */
static bool is_in_vmfile(const char *name)
{
    enum { FILE_MAX = 1 << 20 };
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    struct fleet_given given = {VMFILE, ".", NULL};
    if (file_read(VMFILE, FILE_MAX, &text, NULL) < 0)
        return false;
    CLEANUP(fleet_freep) struct fleet *f = fleet_parse(&given, text.data, text.len);
    return fleet_find(f, name) != NULL;
}

static int rehint(struct error **why, char *hint_take)
{
    free((*why)->hint);
    (*why)->hint = hint_take;
    return -1;
}

/* Owned. */
static char *what_else(const struct session *s, const char *name)
{
    CLEANUP(strv_clear) struct strv names = {0};
    if (is_in_vmfile(name))
        return xasprintf(VMFILE " has it: 'kiln up %s' makes and starts it", name);
    AUTO_FREE char *word = shell_word(name);
    if (backend_has(s->backend, name))
        return xasprintf(
            "'%s' is an image: 'kiln run -d --name %s %s' starts a VM of it, 'kiln rmi "
            "%s' removes it",
            name, word, word, word);
    const char *near = named_vm_list(s->vmstore, &names, NULL) == 0 && names.len
                           ? nearest_name(str_of(name), (const char *const *)names.ptr)
                           : NULL;
    return near ? xasprintf("did you mean '%s'?", near) : xstrdup("'kiln ls' lists the VMs");
}

int vm_find(const struct session *s, const char *name, struct named_vm *ret, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    if (named_vm_open(s->vmstore, name, ret, &why) == 0)
        return 0;
    if (why->kind == ERR_NOT_FOUND)
        (void)rehint(&why, what_else(s, name));
    return error_propagate(err, STEAL(why));
}

int vm_find_instead(const struct session *s, const char *name, const char *then, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (!err || !*err || (*err)->kind != ERR_NOT_FOUND || backend_has(s->backend, name) ||
        named_vm_open(s->vmstore, name, &vm, NULL) < 0)
        return -1;
    const char *at = strstr(then, "%s");
    return rehint(
        err, xasprintf("'%s' is a VM: %.*s%s%s", name, (int)(at - then), then, vm.word, at + 2));
}
