// SPDX-License-Identifier: MIT
#include "vm/login.h"

#include "base/alloc.h"
#include "base/session.h"
#include "vm/ssh.h"

#include <errno.h>
#include <string.h>

/* Users of the cloud images, by a word in the server's greeting or in the image's name. */
static const char *cloud_user(const char *text)
{
    static const struct {
        const char *word, *user;
    } table[] = {{"debian", "debian"},     {"ubuntu", "ubuntu"},   {"fedora", "fedora"},
                 {"centos", "centos"},     {"rocky", "rocky"},     {"alma", "almalinux"},
                 {"opensuse", "opensuse"}, {"freebsd", "freebsd"}, {"alpine", "alpine"},
                 {"amazon", "ec2-user"},   {"rhel", "cloud-user"}, {"arch", "arch"}};
    for (size_t i = 0; text && i < sizeof table / sizeof *table; i++)
        if (strcasestr(text, table[i].word))
            return table[i].user;
    return NULL;
}

static bool denied(const struct error *e)
{
    return e->kind == ERR_GUEST && e->errnum == EACCES;
}

static struct vm_ssh *try_users(const struct vm_ssh_options *given, const char *image,
                                char **ret_user, struct error **err)
{
    AUTO_FREE char *banner = NULL;
    struct vm_ssh_options o = *given;
    const char *users[] = {"vagrant", "root", NULL};
    enum { USERS = sizeof users / sizeof *users };
    CLEANUP(error_freep) struct error *why = NULL;
    o.ret_banner = &banner;
    for (size_t i = 0; i < USERS; i++) {
        const char *by_banner = cloud_user(banner);
        o.user = users[i] ? users[i] : by_banner ? by_banner : cloud_user(image);
        if (!o.user)
            break;
        error_free(STEAL(why));
        struct vm_ssh *ssh = vm_ssh_open(&o, &why);
        if (ssh) {
            *ret_user = xstrdup(o.user);
            if (i)
                session_notice(o.session, "logged in as '%s'; --ssh-user names another user",
                               o.user);
            return ssh;
        }
        if (!denied(why))
            break;
    }
    if (denied(why)) {
        const char *last = o.user ? o.user : "root";
        free(why->message);
        why->message = strcmp(last, "root") != 0
                           ? xasprintf(
                                 "the SSH server lets none of 'vagrant', 'root' and '%s' in "
                                 "with the VM's key, kiln's, the ssh-agent's or those in "
                                 "~/.ssh",
                                 last)
                           : xstrdup(
                                 "the SSH server lets neither 'vagrant' nor 'root' in with the "
                                 "VM's key, kiln's, the ssh-agent's or those in ~/.ssh");
    }
    error_propagate(err, STEAL(why));
    return NULL;
}

struct vm_ssh *vm_login(const struct vm_ssh_options *o, const char *image, char **ret_user,
                        struct error **err)
{
    if (!o->user)
        return try_users(o, image, ret_user, err);
    struct vm_ssh *ssh = vm_ssh_open(o, err);
    if (ssh)
        *ret_user = xstrdup(o->user);
    return ssh;
}
