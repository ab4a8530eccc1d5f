// SPDX-License-Identifier: MIT
//
// When a boot is saved (--ready-when), besides that SSH answers.
#include "vm/warm.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/session.h"
#include "vm/ssh.h"
#include "vm/vm.h"
#include "vm/warm_private.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

enum { CONSOLE_LINES = 2000, RE_FLAGS = REG_EXTENDED | REG_NOSUB | REG_NEWLINE };

/* --- what the user wrote --- */

static int wrong(const char *text, const char *what, struct error **err)
{
    error_set(err, ERR_USAGE, "argument --ready-when: '%s' %s", text, what);
    return error_hint(err,
                      "it is serial:REGEX, port:NUMBER or file:/PATH; port:80 saves the boot once "
                      "the guest listens on port 80");
}

static int check_regex(const char *text, const char *pattern, struct error **err)
{
    regex_t re;
    char why[200];
    int rc = regcomp(&re, pattern, RE_FLAGS);
    if (rc == 0 && *pattern) {
        regfree(&re);
        return 0;
    }
    if (rc == 0)
        regfree(&re);
    (void)regerror(rc, &re, why, sizeof why);
    AUTO_FREE char *what = xasprintf("has no regular expression that is valid: %s", why);
    return wrong(text, rc ? what : "has no regular expression", err);
}

int vm_warm_ready_parse(const char *text, struct vm_warm_ready *ret, struct error **err)
{
    struct vm_warm_ready r = {0};
    const char *colon = strchr(text, ':'), *value = colon ? colon + 1 : NULL;
    if (value && !strncmp(text, "serial:", 7)) {
        r.serial = value;
        if (check_regex(text, value, err) < 0)
            return -1;
    } else if (value && !strncmp(text, "file:", 5)) {
        r.file = value;
        if (*value != '/')
            return wrong(text, "does not name an absolute path", err);
    } else if (value && !strncmp(text, "port:", 5)) {
        char *end = NULL;
        unsigned long port = *value >= '0' && *value <= '9' ? strtoul(value, &end, 10) : 0;
        if (!port || port > 65535 || *end)
            return wrong(text, "does not name a port from 1 to 65535", err);
        r.port = (unsigned)port;
    } else {
        return wrong(text, "is not of a known kind", err);
    }
    *ret = r;
    return 0;
}

int warm_ready_check(const struct vm_warm_wish *wish, const struct vm_spec *spec,
                     struct error **err)
{
    if ((!wish->ready.port && !wish->ready.file) || vm_spec_has_user_network(spec))
        return 0;
    error_set(err, ERR_USAGE, "argument --ready-when: '%s' needs SSH, and so --network user",
              wish->ready_text);
    return error_hint(err, "serial:REGEX looks at the console alone");
}

/* --- waiting for it --- */

static int not_ready(const struct vm_run_options *o, struct error **err)
{
    error_set(err, ERR_GUEST, "the guest was not ready in time: --ready-when %s did not come true",
              o->warm->wish->ready_text);
    return error_hint(err,
                      "--ssh-timeout waits longer; --ssh-with-serial shows the guest's console");
}

static int await_console(const struct vm_run_options *o, struct vm *vm, long long deadline,
                         struct error **err)
{
    regex_t re;
    int rc = regcomp(&re, o->warm->wish->ready.serial, RE_FLAGS);
    if (rc)
        return error_set(err, ERR_USAGE, "'%s' is not a regular expression",
                         o->warm->wish->ready.serial);
    for (rc = 1; rc > 0;) {
        AUTO_FREE char *text = vm_console_text(vm, CONSOLE_LINES);
        if (*text && regexec(&re, text, 0, NULL, 0) == 0)
            break;
        rc = vm_wait(vm, NULL, 0, deadline, err);
    }
    regfree(&re);
    return rc > 0 ? 0 : rc < 0 ? -1 : not_ready(o, err);
}

/* Until the command succeeds in the guest. */
static int await_command(const struct vm_run_options *o, struct vm_ssh *ssh, const char *test,
                         int timeout_ms, struct error **err)
{
    AUTO_FREE char *loop =
        xasprintf("i=0; until %s; do i=$((i+1)); [ $i -lt %d ] || exit 1; sleep 1; done", test,
                  timeout_ms / 1000 + 1);
    CLEANUP(buf_clear) struct buf command = BUF_INIT;
    int status = 0;
    buf_adds(&command, "sh -c ");
    buf_add_shell_word(&command, loop);
    if (vm_ssh_run(ssh, command.data, &status, err) < 0)
        return -1;
    return status ? not_ready(o, err) : 0;
}

int warm_await_ready(const struct vm_run_options *o, struct vm *vm, struct vm_ssh *ssh,
                     struct error **err)
{
    const struct vm_warm_ready *ready = &o->warm->wish->ready;
    int timeout = vm_run_ssh_timeout(o->spec, o->accel);
    CLEANUP(buf_clear) struct buf test = BUF_INIT;
    if (ready->serial)
        return await_console(o, vm, now_ms() + timeout, err);
    if (!ssh || (!ready->port && !ready->file))
        return 0;
    if (ready->file) {
        CLEANUP(buf_clear) struct buf path = BUF_INIT;
        buf_add_shell_word(&path, ready->file);
        // a folder that only root may enter
        buf_addf(&test, "{ [ -e %s ] || sudo -n test -e %s 2>/dev/null; }", path.data, path.data);
    } else { // its line of a socket that listens, proc(5)
        buf_addf(&test,
                 "grep -qi ':%04X [0-9A-F]*:0000 0A' /proc/net/tcp /proc/net/tcp6 2>/dev/null",
                 ready->port);
    }
    return await_command(o, ssh, test.data, timeout, err);
}
