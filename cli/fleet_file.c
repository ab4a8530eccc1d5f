// SPDX-License-Identifier: MIT
#include "cli/fleet_file.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/nearest.h"
#include "cli/fleet_network.h"
#include "vm/named.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 64 << 20, SHOWN_MAX = 100 };

void fleet_file_clear(struct fleet_file *f)
{
    fleet_free(f->fleet);
    free(f->path);
    free(f->chosen);
    free(f->hosts);
    free(f->subnets.names);
    free(f->subnets.numbers);
    *f = (struct fleet_file){0};
}

int fleet_file_owns(const struct fleet_file *f, const char *owner, const char *what,
                    struct error **err)
{
    bool gone = access(owner, F_OK) < 0;
    if (!strcmp(owner, f->path) || (gone && f->adopt))
        return 0;
    if (!gone)
        return error_set(err, ERR_EXISTS, "%s of another VMFile, '%s'", what, owner);
    error_set(err, ERR_EXISTS, "%s of another VMFile, '%s', which is not there now", what, owner);
    return error_hint(err, "if it has become this one, 'kiln up --adopt' takes over what it made");
}

/* What only the store of VMs can say. */
static void check_names(struct fleet *f)
{
    for (size_t i = 0; i < f->n_vms; i++) {
        const struct fleet_vm *vm = &f->vms[i];
        AUTO_FREE char *good = named_vm_name(vm->name);
        if (*vm->name && strcmp(good, vm->name) != 0)
            diag_help(diag_add(&f->doc->diags, &f->doc->source, DIAG_ERROR, vm->span,
                               "'%.80s' can't be the name of a VM", vm->name),
                      "names are up to 64 letters, digits, '.', '_' and '-', such as '%s'", good);
    }
    diags_sort(&f->doc->diags);
}

static int show_mistakes(const struct fleet *f, struct error **err)
{
    const struct diags *d = &f->doc->diags;
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    if (!d->errors)
        return 0;
    for (size_t i = 0; i < d->len && i < SHOWN_MAX; i++)
        diag_format(&f->doc->source, &d->ptr[i], &out);
    fwrite(out.data, 1, out.len, stderr);
    if (d->errors > SHOWN_MAX)
        fprintf(stderr, "… and %zu more mistakes\n", d->errors - SHOWN_MAX);
    return error_set(err, ERR_REPORTED, "mistakes in the VMFile");
}

static int choose(struct fleet_file *f, const char *name, struct error **err)
{
    const struct fleet_vm *vm = fleet_find(f->fleet, name);
    if (vm) {
        f->n_chosen += !f->chosen[vm - f->fleet->vms];
        f->chosen[vm - f->fleet->vms] = true;
        return 0;
    }
    AUTO_FREE const char **names = xcalloc(f->fleet->n_vms + 1, sizeof *names);
    for (size_t i = 0; i < f->fleet->n_vms; i++)
        names[i] = f->fleet->vms[i].name;
    const char *near = nearest_name(str_of(name), names);
    error_set(err, ERR_NOT_FOUND, "no VM '%s' in '%s'", name, f->path);
    return near ? error_hint(err, "did you mean '%s'?", near)
                : error_hint(err, "'kiln status' lists its VMs");
}

static int choose_all(struct fleet_file *f, const struct args *a, struct error **err)
{
    const char *name;
    size_t given = a->n_pos;
    f->chosen = xcalloc(f->fleet->n_vms, sizeof *f->chosen);
    for (size_t i = 0; i < a->n_pos; i++)
        if (choose(f, a->pos[i], err) < 0)
            return -1;
    for (size_t i = 0; (name = args_nth(a, "name", i)); i++, given++)
        if (choose(f, name, err) < 0)
            return -1;
    for (size_t i = 0; !given && i < f->fleet->n_vms; i++)
        f->chosen[i] = true;
    if (!given)
        f->n_chosen = f->fleet->n_vms;
    return 0;
}

void fleet_file_add_needed(struct fleet_file *f)
{
    for (size_t added = 1; added;) {
        added = 0;
        for (size_t i = 0; i < f->fleet->n_vms; i++)
            for (size_t j = 0; f->chosen[i] && j < f->fleet->vms[i].n_after; j++) {
                const struct fleet_vm *vm = fleet_find(f->fleet, f->fleet->vms[i].after[j]);
                added += !f->chosen[vm - f->fleet->vms];
                f->chosen[vm - f->fleet->vms] = true;
            }
        f->n_chosen += added;
    }
}

static int take_timeout(const struct args *a, int *ret_ms, struct error **err)
{
    enum { DAY = 86400 };
    long long seconds = 0;
    if (!command_option(a->command, "ssh-timeout") || !args_has(a, "ssh-timeout"))
        return 0;
    if (args_seconds(a, "ssh-timeout", &seconds, err) < 0)
        return -1;
    if (seconds > DAY)
        return error_set(err, ERR_USAGE, "argument --ssh-timeout: at most a day");
    *ret_ms = seconds ? (int)seconds * 1000 : 1;
    return 0;
}

/* A pipe could not be named as the VMs' VMFile, and might never end. */
static int check_file(const char *path, struct error **err)
{
    struct stat st;
    if (stat(path, &st) < 0 || S_ISREG(st.st_mode)) // what else is wrong is said when it is read
        return 0;
    bool folder = S_ISDIR(st.st_mode);
    error_set(err, ERR_USER, "'%s' is %s", path,
              folder ? "a folder, not a VMFile" : "not a regular file");
    return folder ? error_hint(err, "name the file itself, such as '%s/" VMFILE "'", path) : -1;
}

int fleet_file_open(const struct session *s, const struct args *a, struct fleet_file *ret,
                    struct error **err)
{
    const char *given = args_get(a, "file") ? args_get(a, "file") : VMFILE;
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (take_timeout(a, &ret->login_ms, err) < 0 || check_file(given, err) < 0)
        return -1;
    if (file_read(given, FILE_MAX, &text, err) < 0) {
        if (err && (*err)->kind == ERR_NOT_FOUND)
            error_hint(err, "write one ('man vmfile' has the language), or name it with --file");
        return -1;
    }
    ret->adopt = command_option(a->command, "adopt") && args_has(a, "adopt");
    ret->path = realpath(given, NULL);
    if (!ret->path)
        return error_errno(err, "cannot find '%s'", given);
    AUTO_FREE char *dir = path_parent(ret->path);
    struct fleet_given g = {given, dir, session_setting(s, "HOME")};
    ret->fleet = fleet_parse(&g, text.data, text.len);
    check_names(ret->fleet);
    if (show_mistakes(ret->fleet, err) < 0)
        return -1;
    fleet_network_number(ret);
    return choose_all(ret, a, err);
}
