// SPDX-License-Identifier: MIT
//
// kiln up, down, reload, provision: the VMs of a VMFile.
#include "cli/fleet_run.h"
#include "cli/vm_live.h"

#include <stdint.h>

#define NO_PROVISION_OPTION \
    { \
        "no-provision", 0, NULL, "Do not run the provisions", NULL \
    }

static const struct option_spec up_options[] = {
    FLEET_OPTIONS,
    FLEET_ADOPT_OPTION,
    NO_PROVISION_OPTION,
    FLEET_TIMEOUT_OPTION,
    {"explain", 0, NULL, "Only tell what would be done, and why", "dry-run"},
    {"detach", 'd', NULL, "Accepted, as docker has it: the VMs run in the background anyway", NULL},
    {0},
};
static const struct option_spec reload_options[] = {FLEET_OPTIONS,       FLEET_ADOPT_OPTION,
                                                    NO_PROVISION_OPTION, FLEET_TIMEOUT_OPTION,
                                                    STOP_TIMEOUT_OPTION, {0}};
static const struct option_spec down_options[] = {
    FLEET_OPTIONS,
    FLEET_ADOPT_OPTION,
    {"destroy", 0, NULL, "Remove the VMs, too; their volumes stay", NULL},
    {"volumes", 0, NULL, "With --destroy: remove their volumes as well", NULL},
    STOP_TIMEOUT_OPTION,
    {0},
};
static const struct option_spec provision_options[] = {FLEET_OPTIONS, FLEET_TIMEOUT_OPTION, {0}};

static int run_up(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(fleet_file_clear) struct fleet_file file = {0};
    if (fleet_file_open(s, a, &file, err) < 0)
        return -1;
    fleet_file_add_needed(&file);
    struct fleet_work w = {.session = s,
                           .file = &file,
                           .provision = !args_has(a, "no-provision"),
                           .is_done = fleet_is_up};
    return fleet_run(&w, args_has(a, "explain") ? fleet_explain : fleet_up, FLEET_IN_ORDER, err);
}

static int run_down(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(fleet_file_clear) struct fleet_file file = {0};
    struct fleet_work w = {.session = s,
                           .file = &file,
                           .destroy = args_has(a, "destroy"),
                           .volumes = args_has(a, "volumes")};
    if (w.volumes && !w.destroy)
        return error_set(err, ERR_USAGE, "--volumes goes with --destroy");
    if (vm_live_stop_timeout(a, &w.timeout_ms, err) < 0 || fleet_file_open(s, a, &file, err) < 0)
        return -1;
    return fleet_run(&w, fleet_down, FLEET_REVERSED, err);
}

static int run_reload(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(fleet_file_clear) struct fleet_file file = {0};
    struct fleet_work w = {.session = s, .file = &file, .provision = !args_has(a, "no-provision")};
    if (vm_live_stop_timeout(a, &w.timeout_ms, err) < 0 || fleet_file_open(s, a, &file, err) < 0)
        return -1;
    return fleet_run(&w, fleet_reload, FLEET_IN_ORDER, err);
}

static int run_provision(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(fleet_file_clear) struct fleet_file file = {0};
    struct fleet_work w = {.session = s, .file = &file, .provision = true};
    return fleet_file_open(s, a, &file, err) < 0
               ? -1
               : fleet_run(&w, fleet_provision, FLEET_IN_ORDER, err);
}

const struct command cmd_up = {
    .name = "up",
    .summary = "Make, start and provision the VMs of a VMFile",
    .usage = "[options] [NAME...]",
    .detail =
        "What runs already is left alone, but provisions that an earlier 'up' did not finish\n"
        "are run; a VM that is stopped is started and provisioned again. VMs are started at\n"
        "the same time, after those that they name with 'after'.\n",
    .options = up_options,
    .max_args = SIZE_MAX,
    .run = run_up,
};

const struct command cmd_down = {
    .name = "down",
    .summary = "Power off the VMs of a VMFile",
    .usage = "[options] [NAME...]",
    .detail = "Their disks stay, for the next 'kiln up', unless --destroy is given.\n",
    .options = down_options,
    .max_args = SIZE_MAX,
    .run = run_down,
};

const struct command cmd_reload = {
    .name = "reload",
    .summary = "Make the VMs of a VMFile anew",
    .usage = "[options] [NAME...]",
    .detail =
        "Each is powered off and removed, made as the VMFile has it now, started and\n"
        "provisioned. What the guest wrote is gone, but for its volumes.\n",
    .options = reload_options,
    .max_args = SIZE_MAX,
    .run = run_reload,
};

const struct command cmd_provision = {
    .name = "provision",
    .summary = "Run the provisions of VMs of a VMFile that run",
    .usage = "[options] [NAME...]",
    .detail = "All of them, in order, up to the first that fails.\n",
    .options = provision_options,
    .max_args = SIZE_MAX,
    .run = run_provision,
};
