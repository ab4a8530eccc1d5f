/* SPDX-License-Identifier: MIT
 *
 * The VMFile that `up` and its kin are about, and which of its VMs.
 *
 *     // given struct session *session; struct args *args;
 *     CLEANUP(fleet_file_clear) struct fleet_file file = {0};
 *     fleet_file_open(session, args, &file, &err);
 *     for (size_t i = 0; i < file.fleet->n_vms; i++)
 *         if (file.chosen[i]) puts(file.fleet->vms[i].name);
 */
#ifndef CLI_FLEET_FILE_H
#define CLI_FLEET_FILE_H

#include "cli/command.h"
#include "fleet/fleet.h"

#define VMFILE "VMFile.kdl"

struct fleet_file {
    char *path; /* absolute */
    struct fleet *fleet;
    bool *chosen; /* for each VM */
    size_t n_chosen;
    int login_ms;    /* --ssh-timeout; 0 = not given */
    bool adopt;      /* VMs and volumes whose VMFile is not there are this one's: --adopt */
    unsigned *hosts; /* for each VM: fleet_network_number */
    struct fleet_subnets {
        const char **names; /* of the networks, sorted; borrowed from fleet */
        unsigned *numbers;
        size_t n;
    } subnets;
};

/* Why something is not this file's, whose VMFile is `owner`: what is "VM 'web' is". ERR_EXISTS. 0: it is
 * this one's, or becomes so by --adopt. */
int fleet_file_owns(const struct fleet_file *f, const char *owner, const char *what,
                    struct error **err);

/* By --file, and the names that args have: all VMs if they have none. Mistakes in the file are printed:
 * ERR_REPORTED. ERR_NOT_FOUND: no such file, or no such VM in it. */
int fleet_file_open(const struct session *s, const struct args *a, struct fleet_file *ret,
                    struct error **err);
void fleet_file_clear(struct fleet_file *f);
/* Chooses those, too, that the chosen ones start after. */
void fleet_file_add_needed(struct fleet_file *f);

/* Rows of a command's table of options. */
// clang-format off
#define FLEET_OPTIONS \
    {"file", 'f', "FILE", "The VMFile [default: " VMFILE " in the current folder]", NULL}, \
    {"name", 0, "NAME", "Only this VM; as NAME without the option", NULL}
#define FLEET_ADOPT_OPTION \
    {"adopt", 0, NULL, "Take over VMs and volumes of a VMFile that is not there any more", NULL}
#define FLEET_TIMEOUT_OPTION \
    {"ssh-timeout", 0, "SECONDS", "How long to wait for SSH [default: 120 or more]", NULL}
// clang-format on

#endif
