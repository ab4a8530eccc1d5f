// SPDX-License-Identifier: MIT
#include "cli/vm_find.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/session.h"
#include "cli/fleet_file.h"

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

int vm_find(const struct session *s, const char *name, struct named_vm *ret, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    if (named_vm_open(s->vmstore, name, ret, &why) == 0)
        return 0;
    if (why->kind == ERR_NOT_FOUND && is_in_vmfile(name)) {
        free(STEAL(why->hint));
        (void)error_hint(&why, VMFILE " has it: 'kiln up %s' makes and starts it", name);
    }
    return error_propagate(err, STEAL(why));
}
