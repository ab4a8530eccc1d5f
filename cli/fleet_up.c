// SPDX-License-Identifier: MIT
//
// A VM is made, started and provisioned in this order, and each part is found done or not by what is
// on the disk: its folder in the store, the lock of whoever runs it, and the file "provisioned" in the
// folder, which is removed before each start. So a kiln that is killed anywhere leaves what the next
// `up` goes on with.
#include "cli/fleet_up.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/login_name.h"
#include "cli/fleet_network.h"
#include "cli/fleet_steps.h"
#include "cli/fleet_volume.h"
#include "cli/vm_live.h"
#include "cli/vm_seed.h"
#include "cli/vm_share.h"
#include "cli/vm_store.h"
#include "vm/seed.h"
#include "vm/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

extern const struct command cmd_create, cmd_image_build;

void fleet_state_clear(struct fleet_state *st)
{
    buf_clear(&st->changes);
}

static char *done_path(const struct named_vm *vm)
{
    return path_join(vm->dir, "provisioned");
}

/* ERR_EXISTS: it is of another VMFile, or of none. */
static int check_owner(const struct fleet_file *f, const struct named_vm *vm, struct error **err)
{
    const char *file = json_str(json_object_get(vm->config, "fleet"), "file");
    AUTO_FREE char *what = xasprintf("VM '%s' is", vm->name);
    if (!file)
        error_set(err, ERR_EXISTS, "VM '%s' exists and was not made by 'kiln up'", vm->name);
    else if (fleet_file_owns(f, file, what, err) == 0)
        return 0;
    return err && (*err)->hint ? -1
                               : error_hint(err,
                                            "give it another name in the VMFile, or 'kiln rm %s' "
                                            "first",
                                            vm->name);
}

int fleet_look(const struct session *s, const struct fleet_file *f, const struct fleet_vm *def,
               struct named_vm *vm, struct fleet_state *ret, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    *ret = (struct fleet_state){
        .state = "absent", .joined = true, .mounted = true, .changes = BUF_INIT};
    if (named_vm_open(s->vmstore, def->name, vm, &why) < 0)
        return why->kind == ERR_NOT_FOUND ? 0 : error_propagate(err, STEAL(why));
    json_auto_t *now = fleet_definition(f, def, err);
    if (!now || check_owner(f, vm, err) < 0)
        return -1;
    AUTO_FREE char *done = done_path(vm);
    json_auto_t *state = vm_state_read(vm->dir);
    bool runs = named_vm_runs(vm);
    ret->state = runs && vm_live_halted(vm) ? "paused"
                 : runs                     ? "running"
                 : state                    ? "suspended"
                                            : "stopped";
    ret->provisioned = !def->n_steps || access(done, F_OK) == 0;
    json_auto_t *record = named_vm_running(vm);
    ret->joined = !record || fleet_network_joined(def, record);
    ret->mounted = !record || vm_volumes_mounted(record);
    ret->change = fleet_changes(json_object_get(json_object_get(vm->config, "fleet"), "definition"),
                                now, &ret->changes);
    return 0;
}

/* Only `kiln resume` is for one that is paused. ERR_USER */
static int check_paused(const struct named_vm *vm, const struct fleet_state *st, struct error **err)
{
    return strcmp(st->state, "paused") != 0 ? 0 : vm_live_check_halted(vm, err);
}

static char *lock_path(const struct session *s, const char *name)
{
    return xasprintf("%s/.fleet/%s", s->vmstore, name);
}

/* A lock in the folder of fleets, "its image"; -1. */
static int take_lock(const struct session *s, const char *name, const char *what,
                     struct error **err)
{
    AUTO_FREE char *path = lock_path(s, name), *dir = path_parent(path);
    CLEANUP(error_freep) struct error *why = NULL;
    if (make_dirs_inside(dir, err) < 0)
        return -1;
    int fd = lock_try(path, LOCK_EXCLUSIVE, &why);
    if (fd >= 0 || why->kind != ERR_BUSY)
        return fd >= 0 ? fd : error_propagate(err, STEAL(why));
    printf("waiting for another kiln, which works on %s\n", what);
    fflush(stdout);
    return lock_wait(path, LOCK_EXCLUSIVE, s->cancel_fd, err);
}

/* Runs another command of kiln's in this process. */
static int run_command(struct session *s, const struct command *c, const struct strv *words,
                       struct error **err)
{
    CLEANUP(args_clear) struct args a = {0};
    return args_parse(c, (int)words->len, words->ptr, &a, err) < 0 ? -1 : c->run(s, &a, err);
}

static int build(const struct fleet_work *w, const struct fleet_vm *vm, struct error **err)
{
    CLEANUP(strv_clear) struct strv words = {0};
    AUTO_FREE char *name = fleet_build_name(vm);
    strv_addf(&words, "--tag=%s", name);
    strv_add(&words, "--progress=plain");
    strv_add(&words, "--load"); // with KILN_HOST the VM is still of this machine
    if (vm->build.file)
        strv_addf(&words, "--file=%s", vm->build.file);
    if (vm->build.target)
        strv_addf(&words, "--target=%s", vm->build.target);
    for (size_t i = 0; i < vm->build.n_args; i++)
        strv_addf(&words, "--build-arg=%s", vm->build.args[i]);
    strv_add(&words, vm->image);
    int rc = run_command(w->session, &cmd_image_build, &words, err);
    return rc > 0 ? error_set(err, ERR_REPORTED, "the build failed") : rc;
}

static json_t *make_note(const struct fleet_work *w, const struct fleet_vm *vm, struct error **err)
{
    json_auto_t *definition = fleet_definition(w->file, vm, err);
    json_t *note = definition
                       ? json_pack("{s:s, s:O}", "file", w->file->path, "definition", definition)
                       : NULL;
    if (definition && !note)
        error_set(err, ERR_USER, "'%s' is not UTF-8", w->file->path);
    return note;
}

/* Two VMs of one image fetch or build it once. */
static int lock_image(const struct session *s, const char *image, struct error **err)
{
    AUTO_FREE char *name = named_vm_name(image);
    AUTO_FREE char *lock = xasprintf("image,%s", name);
    return take_lock(s, lock, "its image", err);
}

/* The options of `create` for its disk, and its cloud-init or inject block. */
static void add_options(const struct fleet_vm *vm, struct strv *words)
{
    const char *hostname = vm->hostname ? vm->hostname : vm->name;
    if (vm->disk_gb)
        strv_addf(words, "--disk-size=%uG", vm->disk_gb);
    if (vm->no_grow)
        strv_add(words, "--no-grow");
    if (vm->inject)
        strv_add(words, "--inject");
    // a VM's name may be none of a host
    if (vm->cloud_init || (vm->inject && is_host_name(hostname, HOST_NAME_BYTES)))
        strv_addf(words, "--hostname=%s", hostname);
    if (!vm->cloud_init)
        return;
    strv_addf(words, "--cloud-init=%s", vm->user_data ? vm->user_data : "-");
    if (vm->ssh_key)
        strv_addf(words, "--public-key=%s", vm->ssh_key);
    if (vm->network_config)
        strv_addf(words, "--network-config=%s", vm->network_config);
}

static int create(const struct fleet_work *w, const struct fleet_vm *vm, struct named_vm *ret,
                  struct vm_spec *spec, struct error **err)
{
    CLEANUP(strv_clear) struct strv words = {0};
    CLEANUP(args_clear) struct args a = {0};
    AUTO_FREE char *image = fleet_image(vm);
    json_auto_t *note = make_note(w, vm, err);
    AUTO_CLOSE int lock = note ? lock_image(w->session, image, err) : -1;
    if (lock < 0 || (vm->source == FLEET_BUILD && build(w, vm, err) < 0))
        return -1;
    add_options(vm, &words);
    strv_add(&words, image);
    fleet_spec(w->session, w->file, vm, spec);
    if (args_parse(&cmd_create, (int)words.len, words.ptr, &a, err) < 0 ||
        fleet_volumes_make(w->session, w->file, vm, err) < 0 ||
        vm_store_create(w->session, &a, spec, vm->name, NULL, false, note, ret, err) < 0)
        return -1;
    printf("created from '%s'\n", vm->image);
    return 0;
}

/* A seed that is another than before has another instance-id: cloud-init runs again. */
static int change_seed(const struct fleet_vm *def, const struct named_vm *vm, const json_t *now,
                       struct vm_spec *spec, struct error **err)
{
    CLEANUP(strv_clear) struct strv words = {0};
    CLEANUP(args_clear) struct args a = {0};
    const json_t *old = json_object_get(json_object_get(vm->config, "fleet"), "definition");
    const char *was = json_str(old, "cloud-init"), *is = json_str(now, "cloud-init");
    AUTO_FREE char *path = path_join(vm->dir, VM_SEED);
    if ((!was && !is) || (was && is && !strcmp(was, is)))
        return 0;
    if (unlink(path) < 0 && errno != ENOENT)
        return error_errno(err, "cannot remove '%s'", path);
    add_options(def, &words);
    strv_add(&words, def->image);
    return args_parse(&cmd_create, (int)words.len, words.ptr, &a, err) < 0
               ? -1
               : vm_seed_make(&a, def->name, spec, vm->dir, err);
}

/* The definition of a stopped VM follows the file, but for its disk. */
static int apply_changes(const struct fleet_work *w, const struct fleet_vm *def,
                         struct named_vm *vm, struct vm_spec *spec, struct error **err)
{
    json_auto_t *note = make_note(w, def, err);
    AUTO_FREE char *user = spec->ssh.user ? xstrdup(spec->ssh.user) : NULL;
    if (!note)
        return -1;
    vm_spec_clear(spec);
    vm_spec_init(spec);
    fleet_spec(w->session, w->file, def, spec);
    if (!spec->ssh.user && user)
        vm_spec_set(&spec->ssh.user, user); // the image's
    if (change_seed(def, vm, json_object_get(note, "definition"), spec, err) < 0)
        return -1;
    json_t *definition = vm_spec_to_json(spec);
    if (!definition)
        return error_set(err, ERR_USER, "an argument is not UTF-8");
    (void)json_object_set_new(vm->config, "spec", definition);
    (void)json_object_set(vm->config, "fleet", note);
    return named_vm_rewrite(vm, err);
}

bool fleet_is_finished(const struct fleet_state *st)
{
    return st->mounted && st->joined && st->provisioned;
}

/* Of one that runs or is suspended, and stays as it is. */
static void tell_state(const struct fleet_work *w, const struct fleet_vm *def,
                       const struct fleet_state *st)
{
    bool again = !st->provisioned && w->provision; // they are run now
    if (!st->mounted)
        printf("%s, but its shares are not mounted yet\n", st->state);
    if (!st->joined)
        printf("%s, but its networks are not set up yet\n", st->state);
    if (again)
        printf("%s, but its provisions have not finished yet\n", st->state);
    else if (!st->provisioned)
        printf("%s, but its provisions have not finished; 'kiln provision %s' runs them\n",
               st->state, def->name);
    if (st->change == FLEET_SAME && fleet_is_finished(st))
        printf("%s, unchanged\n", st->state);
    else if (st->change == FLEET_PROVISION && !again)
        printf("%s; changed: %s; 'kiln provision %s' runs it\n", st->state, st->changes.data,
               def->name);
    else if (st->change == FLEET_RESTART)
        printf("%s; changed: %s; 'kiln down %s', then 'kiln up %s' applies it\n", st->state,
               st->changes.data, def->name, def->name);
    else if (st->change == FLEET_RELOAD)
        printf("%s; changed: %s; 'kiln reload %s' makes the VM anew\n", st->state, st->changes.data,
               def->name);
}

/* Starts one that is there and stopped. */
static int start_stopped(const struct fleet_work *w, const struct fleet_vm *def,
                         struct named_vm *vm, const struct fleet_state *st, struct error **err)
{
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    vm_spec_init(&spec);
    if (named_vm_lock(vm, err) < 0 || vm_store_spec(vm, &spec, err) < 0)
        return -1;
    if (!strcmp(st->state, "suspended")) { // its memory is of what it was
        tell_state(w, def, st);
        return vm_store_boot(w->session, vm, &spec, true, NULL, NULL, err);
    }
    if (fleet_volumes_make(w->session, w->file, def, err) < 0 ||
        ((st->change == FLEET_RESTART || st->change == FLEET_PROVISION) &&
         apply_changes(w, def, vm, &spec, err) < 0))
        return -1;
    if (st->changes.len)
        printf(st->change == FLEET_RELOAD ? "changed: %s; 'kiln reload %s' makes the VM anew\n"
                                          : "changed: %s\n",
               st->changes.data, def->name);
    AUTO_FREE char *done = done_path(vm);
    (void)unlink(done);
    return vm_store_boot(w->session, vm, &spec, true, NULL, NULL, err);
}

static int make(const struct fleet_work *w, const struct fleet_vm *def, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    vm_spec_init(&spec);
    if (create(w, def, &vm, &spec, err) < 0)
        return -1;
    return vm_store_boot(w->session, &vm, &spec, true, NULL, NULL, err);
}

static int provision(const struct fleet_work *w, const struct fleet_vm *def, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    if (!def->n_steps)
        return 0;
    if (named_vm_open(w->session->vmstore, def->name, &vm, err) < 0)
        return -1;
    AUTO_FREE char *done = done_path(&vm);
    (void)unlink(done);
    if (fleet_run_steps(w->session, w->file, def, err) < 0)
        return -1;
    json_auto_t *note = make_note(w, def, err);
    if (!note)
        return -1;
    // what was run is what the file says now
    json_t *kept = json_object_get(json_object_get(vm.config, "fleet"), "definition");
    json_t *steps = json_object_get(json_object_get(note, "definition"), "provision");
    if (kept && json_object_set(kept, "provision", steps) == 0 && named_vm_rewrite(&vm, err) < 0)
        return -1;
    return file_write_whole(done, 0600, "", 0, err);
}

/* After --adopt: it is of this file from now on. */
static int note_owner(const struct fleet_file *f, const struct named_vm *vm, struct error **err)
{
    json_t *note = json_object_get(vm->config, "fleet");
    const char *file = json_str(note, "file");
    if (!file || !strcmp(file, f->path))
        return 0;
    (void)json_object_set_new(note, "file", json_string(f->path));
    return named_vm_rewrite(vm, err);
}

/* Those of its start, which an earlier up could not mount. */
static int mount_shares(const struct fleet_work *w, const struct fleet_vm *def, struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    if (vm_live_open(w->session, def->name, &live, err) < 0)
        return -1;
    if (vm_volumes_mounted(live.record))
        return 0;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = fleet_login(w->session, w->file, def, &live, err);
    return ssh ? vm_volumes_mount_rest(w->session, ssh, &live, err) : -1;
}

/* The lock of the VM is held. */
static int up(const struct fleet_work *w, const struct fleet_vm *def, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(fleet_state_clear) struct fleet_state st = {0};
    if (fleet_look(w->session, w->file, def, &vm, &st, err) < 0 ||
        note_owner(w->file, &vm, err) < 0 || check_paused(&vm, &st, err) < 0)
        return -1;
    bool runs = !strcmp(st.state, "running"), absent = !strcmp(st.state, "absent");
    if (runs)
        tell_state(w, def, &st);
    else if ((absent ? make(w, def, err) : start_stopped(w, def, &vm, &st, err)) < 0)
        return -1;
    bool done = (runs || !strcmp(st.state, "suspended")) && st.provisioned;
    if ((!st.mounted && mount_shares(w, def, err) < 0) ||
        fleet_network_join(w->session, w->file, def, err) < 0 ||
        (w->provision && !done && provision(w, def, err) < 0))
        return -1;
    if (!runs || !fleet_is_finished(&st))
        printf(w->provision || done || !def->n_steps ? "is up\n"
                                                     : "is up, without its provisions\n");
    return 0;
}

bool fleet_is_up(const struct fleet_work *w, const struct fleet_vm *def)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(fleet_state_clear) struct fleet_state st = {0};
    AUTO_FREE char *path = lock_path(w->session, def->name);
    AUTO_CLOSE int lock = lock_try(path, LOCK_EXCLUSIVE, NULL);
    if (lock < 0 || fleet_look(w->session, w->file, def, &vm, &st, NULL) < 0 ||
        strcmp(st.state, "running") != 0)
        return false;
    return !w->file->adopt && st.change == FLEET_SAME && fleet_is_finished(&st);
}

int fleet_up(const struct fleet_work *w, const struct fleet_vm *def, struct error **err)
{
    AUTO_CLOSE int lock = take_lock(w->session, def->name, "it", err);
    return lock < 0 ? -1 : up(w, def, err);
}

static int end(const struct fleet_work *w, const struct fleet_vm *def, bool destroy, bool *ret_was,
               struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(error_freep) struct error *why = NULL;
    *ret_was = false;
    if (named_vm_open(w->session->vmstore, def->name, &vm, &why) < 0)
        return why->kind == ERR_NOT_FOUND ? 0 : error_propagate(err, STEAL(why));
    *ret_was = true;
    if (check_owner(w->file, &vm, err) < 0)
        return -1;
    int rc = vm_live_stop(w->session, &vm, false, w->timeout_ms, err);
    if (rc < 0)
        return -1;
    if (rc == 1)
        printf("stopped\n");
    else if (!destroy)
        printf("does not run\n");
    if (!destroy)
        return 0;
    if (named_vm_remove(w->session->vmstore, &vm, err) < 0)
        return -1;
    printf("removed\n");
    return 0;
}

int fleet_down(const struct fleet_work *w, const struct fleet_vm *def, struct error **err)
{
    AUTO_CLOSE int lock = take_lock(w->session, def->name, "it", err);
    bool was;
    if (lock < 0 || end(w, def, w->destroy, &was, err) < 0 ||
        (w->volumes && fleet_volumes_remove(w->session, w->file, def, err) < 0))
        return -1;
    if (!was)
        printf("does not exist\n");
    return 0;
}

int fleet_reload(const struct fleet_work *w, const struct fleet_vm *def, struct error **err)
{
    AUTO_CLOSE int lock = take_lock(w->session, def->name, "it", err);
    bool was;
    return lock < 0 || end(w, def, true, &was, err) < 0 ? -1 : up(w, def, err);
}

int fleet_provision(const struct fleet_work *w, const struct fleet_vm *def, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(fleet_state_clear) struct fleet_state st = {0};
    AUTO_CLOSE int lock = take_lock(w->session, def->name, "it", err);
    if (lock < 0 || fleet_look(w->session, w->file, def, &vm, &st, err) < 0 ||
        check_paused(&vm, &st, err) < 0)
        return -1;
    if (strcmp(st.state, "running") != 0) {
        error_set(err, ERR_NOT_FOUND, "VM '%s' is not running", def->name);
        return error_hint(err, "'kiln up %s' starts and provisions it", def->name);
    }
    if (!def->n_steps)
        printf("has no provisions\n");
    return provision(w, def, err);
}

int fleet_explain(const struct fleet_work *w, const struct fleet_vm *def, struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    CLEANUP(fleet_state_clear) struct fleet_state st = {0};
    if (fleet_look(w->session, w->file, def, &vm, &st, err) < 0 || check_paused(&vm, &st, err) < 0)
        return -1;
    bool runs = !strcmp(st.state, "running"), absent = !strcmp(st.state, "absent");
    bool suspended = !strcmp(st.state, "suspended");
    if (runs || suspended)
        tell_state(w, def, &st);
    else if (absent)
        printf("would be made from %s'%s' and started\n",
               def->source == FLEET_BUILD ? "the build of " : "", def->image);
    else
        printf("%s; would be started%s%s%s\n", st.state, st.changes.len ? "; changed: " : "",
               st.changes.data,
               st.change == FLEET_RELOAD ? "; only 'kiln reload' makes the VM anew" : "");
    if (suspended)
        printf("would be resumed\n");
    if (w->provision && def->n_steps && (!(runs || suspended) || !st.provisioned))
        printf("would be provisioned: %zu step%s\n", def->n_steps, def->n_steps > 1 ? "s" : "");
    return 0;
}
