// SPDX-License-Identifier: MIT
//
// kiln ci gitlab prepare: a job's VM. Its disk is an overlay whose name goes as soon as QEMU has it, so
// whatever happens nothing of a job stays. QEMU has a session, and files in place of the runner's pipes
// (vm/detached.h): the runner waits for their end.
#include "base/alloc.h"
#include "base/file.h"
#include "base/process.h"
#include "builder/build/image_chain.h"
#include "cli/build_ui.h"
#include "cli/ci_job.h"
#include "cli/cmd_ci.h"
#include "cli/config.h"
#include "cli/registry_options.h"
#include "cli/vm_image.h"
#include "cli/vm_live.h"
#include "cli/vm_options.h"
#include "cli/vm_prepare.h"
#include "cli/vm_store.h"
#include "cli/vm_warm.h"
#include "image/backend.h"
#include "image/spec.h"
#include "qcow2/qcow2.h"
#include "registry/reference.h"
#include "vm/ssh_keep.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const struct option_spec options[] = {
    {"allow-image", 0, "GLOB",
     "Images that jobs may name; several times [default: those of 'kiln image ls']", NULL},
    {"default-image", 0, "IMAGE", "For jobs that name none", NULL},
    {"pull", 0, "missing|always|never", "When to fetch images again [default: missing]", NULL},
    REGISTRY_FETCH_OPTIONS,
    {"cpus", 0, "N|auto",
     "CPUs of a VM; auto: the host's by --concurrency [default: 2, or 1 on a host with one]", NULL},
    {"memory", 'm', "SIZE|auto",
     "Memory of a VM; auto: most of the host's by --concurrency [default: 1GB]", NULL},
    {"concurrency", 0, "N", "How many jobs the runner takes at a time [default: 1]", NULL},
    DISK_SIZE_OPTION,
    {"prepare-script", 0, "FILE",
     "A script to run in the guest before the job's; -: standard input", NULL},
    {"copy-runner", 0, NULL,
     "Put this host's gitlab-runner into the guest, for caches and artifacts", NULL},
    {"ssh-user", 0, "USER", "User of the guest that scripts run as [default: as of 'kiln run']",
     NULL},
    {"ssh-timeout", 0, "SECONDS", "How long to wait for SSH [default: 90, without KVM 270]", NULL},
    {"uefi", 0, NULL, "Boot by UEFI firmware (the package ovmf) instead of a BIOS", NULL},
    {"accel", 0, "auto|kvm|tcg", "Accelerator [default: KILN_ACCEL or auto]", NULL},
    KERNEL_OPTIONS,
    PREPARE_OPTIONS,
    WARM_OPTIONS,
    CONFIG_OPTION,
    {0},
};

/* A VM that is being made for a job. */
struct making {
    const struct args *args;
    const struct ci_job *job;
    char *image; /* as kiln names it; owned */
    struct vm_spec spec;
};

static void making_clear(struct making *m)
{
    free(m->image);
    vm_spec_clear(&m->spec);
}

/* --- which image --- */

/* "host.example/repo:tag", as users of docker write it. */
static bool names_a_host(const char *text)
{
    size_t n = strcspn(text, "/");
    return text[n] && (memchr(text, '.', n) || memchr(text, ':', n) ||
                       (n == 9 && !strncmp(text, "localhost", n)));
}

static bool is_here(const struct session *s, const char *image)
{
    AUTO_FREE char *of_step = image_step_name(s->backend, image);
    return !reference_is(image) && (of_step || backend_has(s->backend, image));
}

/* "user/name:version", which would be fetched from Vagrant's cloud. */
static bool is_box(const char *text)
{
    CLEANUP(image_spec_clear) struct image_spec spec = {0};
    return !reference_is(text) && image_spec_parse(str_of(text), &spec, NULL) == 0 &&
           spec.kind == SPEC_VAGRANT;
}

static bool is_allowed(const struct session *s, const struct args *a, const char *given,
                       const char *image)
{
    const char *glob, *bare = strncmp(image, "oci://", 6) == 0 ? image + 6 : image;
    if (!args_has(a, "allow-image"))
        return is_here(s, image);
    for (size_t i = 0; (glob = args_nth(a, "allow-image", i)); i++)
        if (!fnmatch(glob, given, 0) || !fnmatch(glob, image, 0) || !fnmatch(glob, bare, 0))
            return true;
    return false;
}

static int not_allowed(const struct args *a, const char *given, struct error **err)
{
    CLEANUP(buf_clear) struct buf globs = BUF_INIT;
    const char *glob;
    for (size_t i = 0; (glob = args_nth(a, "allow-image", i)); i++)
        buf_addf(&globs, "%s'%s'", i ? ", " : "", glob);
    error_set(err, ERR_USER, "image '%s' is not allowed for jobs on this runner", given);
    return globs.len ? error_hint(err, "allowed is what matches %s", globs.data)
                     : error_hint(err, "allowed are the images that 'kiln image ls' lists on it");
}

static int choose_image(const struct session *s, struct making *m, struct error **err)
{
    const char *given = m->job->image, *otherwise = args_get(m->args, "default-image");
    if (!given && !otherwise) {
        error_set(err, ERR_USER, "the job names no image");
        return error_hint(err,
                          "image: in .gitlab-ci.yml names one, --default-image is for all jobs");
    }
    if (!given) {
        m->image = xstrdup(otherwise);
        return 0;
    }
    // these read the host's files or any URL
    if (strchr(given, ',') || !strncmp(given, "oci-layout:", 11)) {
        error_set(err, ERR_USER, "'%s' is not an image that a job may name", given);
        return error_hint(err, "an image of the runner's host, NAME@STEP, or oci://HOST/REPO:TAG");
    }
    bool remote = !reference_is(given) && !is_here(s, given) && names_a_host(given);
    if (!remote && is_box(given) && !is_here(s, given)) {
        error_set(err, ERR_USER, "'%s' is a Vagrant box, which jobs may name only once it is here",
                  given);
        return error_hint(err, "'kiln image pull %s' on the runner's host fetches it", given);
    }
    m->image = remote ? xasprintf("oci://%s", given) : xstrdup(given);
    return is_allowed(s, m->args, given, m->image) ? 0 : not_allowed(m->args, given, err);
}

/* The job's own login, for its registry and no other. */
static int take_login(const struct making *m, struct registry_options *ret, struct error **err)
{
    const struct ci_job *job = m->job;
    CLEANUP(reference_clear) struct reference ref = {0};
    if (!reference_is(m->image))
        return 0;
    if (reference_parse(m->image, &ref, err) < 0)
        return -1;
    if (ref.host && job->registry && !strcasecmp(ref.host, job->registry) && job->registry_user &&
        job->registry_password) {
        ret->user = job->registry_user;
        ret->password = job->registry_password;
    }
    return 0;
}

/* --- the VM --- */

static bool is_auto(const struct args *a, const char *name)
{
    return args_has(a, name) && !strcmp(args_get(a, name), "auto");
}

/* A share of the host; the eighth that is left is for QEMU itself and the host. */
static int take_size(const struct args *a, struct vm_spec *spec, struct error **err)
{
    enum { LEAST_MB = 256 };
    long long jobs = 1, cpus = spec->cpus;
    if (args_num(a, "concurrency", 1, 1000, &jobs, err) < 0 ||
        (!is_auto(a, "cpus") && args_num(a, "cpus", 1, 256, &cpus, err) < 0) ||
        (!is_auto(a, "memory") && args_memory(a, &spec->memory_mb, err) < 0))
        return -1;
    if (is_auto(a, "cpus"))
        cpus = sysconf(_SC_NPROCESSORS_ONLN) / jobs;
    spec->cpus = cpus < 1 ? 1 : (unsigned)cpus;
    if (!is_auto(a, "memory"))
        return 0;
    long long mb = ((long long)sysconf(_SC_PHYS_PAGES) >> 10) * sysconf(_SC_PAGESIZE) >> 10;
    mb = mb / 8 * 7 / jobs;
    spec->memory_mb = mb < LEAST_MB ? LEAST_MB : (unsigned)mb;
    return 0;
}

static int take_spec(const struct args *a, struct vm_spec *spec, struct error **err)
{
    long long seconds = -1;
    const char *accel = NULL, *user = NULL;
    if (args_user(a, "ssh-user", &user, err) < 0 || vm_prepare_check(a, err) < 0 ||
        take_size(a, spec, err) < 0 || vm_options_kernel(a, spec, err) < 0 ||
        args_accel(a, &accel, err) < 0 || args_seconds(a, "ssh-timeout", &seconds, err) < 0)
        return -1;
    if (seconds > 86400)
        return error_set(err, ERR_USAGE, "argument --ssh-timeout: at most a day");
    spec->ssh.timeout_ms = seconds < 0 ? -1 : (int)seconds * 1000;
    vm_spec_set(&spec->accel, accel);
    vm_spec_set(&spec->ssh.user, user);
    spec->uefi = args_has(a, "uefi");
    for (size_t i = 0; i < a->n_rest; i++)
        strv_add(&spec->qemu_args, a->rest[i]);
    return 0;
}

static int make_disk(const struct session *s, struct making *m, const struct named_vm *vm,
                     struct image_chain *chain, struct error **err)
{
    AUTO_FREE char *below = realpath(chain->files.ptr[chain->files.len - 1], NULL);
    if (!below)
        return error_errno(err, "cannot find '%s'", chain->files.ptr[chain->files.len - 1]);
    struct qcow2_overlay overlay = {.size = chain->size, .backing = below};
    if (qcow2_create_overlay(vm->disk, &overlay, err) < 0)
        return -1;
    strv_add(&chain->files, vm->disk);
    if (!vm_prepare_wanted(m->args, NULL))
        return 0;
    struct offline_options o = {.files = (const char *const *)chain->files.ptr,
                                .n_files = chain->files.len,
                                .size = chain->size,
                                .mounts = json_object_get(chain->metadata, "mounts"),
                                .scratch = vm->dir};
    return vm_prepare(s, m->args, &m->spec, NULL, &o, err);
}

static int boot(const struct session *s, struct making *m, struct image_chain *chain,
                struct error **err)
{
    CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
    AUTO_FREE char *layer = image_chain_layer(s, chain->store, chain, err);
    CLEANUP(vm_warm_request_clear) struct vm_warm_request warm = {0};
    if (!layer || vm_warm_take_job(s, m->args, m->image, layer, &warm, err) < 0)
        return -1;
    json_auto_t *ci = json_pack("{s:{s:s, s:s?}}", "ci", "job", m->job->id, "tmp", m->job->tmp);
    struct vm_store_place place = {
        .image = m->image, .layer = layer, .size = chain->size, .more = ci};
    if (vm_store_appear(s, &m->spec, &place, m->job->vm, &vm, err) < 0)
        return -1;
    if (make_disk(s, m, &vm, chain, err) < 0)
        return -1;
    struct vm_run_disk disk = {(const char *const *)chain->files.ptr, chain->files.len,
                               chain->size};
    // nobody resumes a guest that waits for space: the job has the error instead, and ends
    struct vm_run_options o = {.disks = &disk,
                               .n_disks = 1,
                               .keep = true,
                               .hold = vm.lock,
                               .image = m->image,
                               .wish = warm.wanted ? &warm.wish : NULL,
                               .stop_when_full = false};
    if (vm_options_boot(s, &m->spec, &o, &vm, NULL, true, err) < 0)
        return -1;
    return unlink(vm.disk) < 0 ? error_errno(err, "cannot remove '%s'", vm.disk) : 0;
}

static int fetch_and_boot(struct session *s, struct making *m, struct error **err)
{
    CLEANUP(image_chain_clear) struct image_chain chain = {0};
    CLEANUP(build_shown_clear) struct build_shown shown = {0};
    struct image_request request = {.ref = m->image};
    const char *pull = args_get(m->args, "pull");
    if (pull_policy_parse(pull, &request.pull, err) < 0 ||
        registry_options_take(m->args, &request.transfer, err) < 0 ||
        take_login(m, &request.transfer.registry, err) < 0 ||
        build_shown_init(&shown, s, NULL, err) < 0)
        return -1;
    progress_init(&shown.bar, stderr, PROGRESS_AUTO);
    session_notice(s, "Image '%s' for VM '%s': %u CPUs, %u MB", m->image, m->job->vm, m->spec.cpus,
                   m->spec.memory_mb);
    if (image_chain_open(s, &request, &chain, err) < 0 ||
        vm_options_disk_size(m->args, &chain.size, err) < 0)
        return -1;
    return vm_image_take_labels(chain.metadata, &m->spec, err) < 0 ? -1 : boot(s, m, &chain, err);
}

/* --- what goes into the guest --- */

/* The host's own, so that no image needs to have one of the right version. */
static int copy_runner(struct vm_ssh *ssh, struct error **err)
{
    static const char command[] =
        "exec sh -c 'for d in " CI_GUEST_BIN " " CI_GUEST_BIN_ELSE
        "; do mkdir -p $d && break; done "
        "2>/dev/null; cat >$d/gitlab-runner && chmod 555 $d/gitlab-runner'";
    int status = 0;
    AUTO_FREE char *path = process_find("gitlab-runner");
    if (!path)
        return error_set(err, ERR_NOT_FOUND,
                         "argument --copy-runner: there is no gitlab-runner in PATH");
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot read '%s'", path);
    if (vm_ssh_run_on(ssh, command, (const int[3]){fd, STDERR_FILENO, STDERR_FILENO}, &status,
                      err) < 0)
        return error_wrap(err, "copy of '%s' into the guest", path);
    return status ? error_set(err, ERR_GUEST, "'%s' could not be copied into the guest", path) : 0;
}

static int enter(struct session *s, const struct making *m, struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    const char *script = args_get(m->args, "prepare-script");
    int status = 0;
    live.late_hint = "--ssh-timeout gives it longer";
    if (vm_live_open(s, m->job->vm, &live, err) < 0)
        return -1;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_live_login(s, NULL, &live, err);
    if (!ssh || (args_has(m->args, "copy-runner") && copy_runner(ssh, err) < 0) ||
        (script && ci_run_script(s, script, &live, ssh, &status, err) < 0))
        return -1;
    if (status)
        return error_set(err, ERR_GUEST, "the prepare script '%s' failed with exit status %d",
                         script, status);
    vm_ssh_keep_take(STEAL(ssh), live.vm.dir);
    return 0;
}

static void tell_services(const struct session *s, const struct ci_job *job)
{
    json_auto_t *list = job->services ? json_loads(job->services, 0, NULL) : NULL;
    if (json_array_size(list))
        session_notice(
            s,
            "The job's services are not supported by this runner, whose jobs run in VMs: "
            "none is started");
}

static int prepare(struct session *s, struct making *m, struct error **err)
{
    long long start = now_ms();
    const char *script = args_get(m->args, "prepare-script");
    tell_services(s, m->job);
    if (take_spec(m->args, &m->spec, err) < 0 || choose_image(s, m, err) < 0)
        return -1;
    if (script && strcmp(script, "-") != 0 && access(script, R_OK) < 0)
        return error_errno(err, "argument --prepare-script: cannot read '%s'", script);
    vm_store_sweep(s);
    // of an attempt that the runner repeats
    if (ci_vm_remove(s, m->job->vm, err) < 0 || fetch_and_boot(s, m, err) < 0)
        return -1;
    session_notice(s, "QEMU runs after %.1f s", (double)(now_ms() - start) / 1000);
    if (enter(s, m, err) < 0)
        return -1;
    session_notice(s, "The VM is ready after %.1f s", (double)(now_ms() - start) / 1000);
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(ci_job_clear) struct ci_job job = {0};
    CLEANUP(making_clear) struct making m = {.args = a, .job = &job};
    vm_spec_init(&m.spec);
    if (ci_job_take(s, &job, err) < 0)
        return -1;
    if (prepare(s, &m, err) == 0)
        return 0;
    (void)ci_job_failed(s, &job, err);
    (void)ci_vm_remove(s, job.vm, NULL);
    return -1;
}

const struct command cmd_ci_gitlab_prepare = {
    .name = "ci gitlab prepare",
    .summary = "Start a VM for a gitlab-runner's job",
    .usage = "[options] [-- QEMU-ARGUMENT...]",
    .detail =
        "For prepare_exec of a runner's custom executor. The VM is made from the job's image, and "
        "its\n"
        "disk is gone when it ends. Options are best written into config.toml, below [ci].\n",
    .options = options,
    .flags = CMD_REST | CMD_CI_JOB,
    .run = run,
};
