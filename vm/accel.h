/* SPDX-License-Identifier: MIT
 *
 * Accelerators: what the user wants, and what this host can do.
 *
 *     #include "vm/qemu.h"
 *     // given struct qemu qemu; enum accel accel;
 *     accel_choose(session, text, qemu.version, &accel, &err);
 *     ...                                                            // start QEMU
 *     if (accel == ACCEL_KVM) accel_worked(session, qemu.version);   // once the guest has answered
 *
 * KVM is chosen when it runs a test program in time (vm/kvm_probe.h). What was found is remembered
 * in <cache>/kvm.json for this boot of the host, its kernel, its KVM module and this QEMU: that a
 * guest ran, until one of these changes; that none did, for an hour.
 */
#ifndef VM_ACCEL_H
#define VM_ACCEL_H

#include "base/error.h"
#include "base/vector.h"

#include <stdbool.h>

struct buf;
struct session;

enum accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };

/* "auto", "kvm" or "tcg"; NULL = the session's KILN_ACCEL, or auto when that is not set. ERR_USAGE. */
int accel_parse(const struct session *s, const char *text, enum accel *ret, struct error **err);
const char *accel_name(enum accel a);

/* The cheap checks: /dev/kvm opens for reading and writing, KVM_GET_API_VERSION is 12,
 * KVM_CREATE_VM works. 0: KVM may be usable. -1: it is not, and the message says why, the hint what
 * to do (ERR_SYSTEM, ERR_NOT_FOUND when no /dev/kvm). */
int accel_kvm_check(struct error **err);

enum accel_found {
    ACCEL_FOUND_NOTHING, /* not tried, or too long ago */
    ACCEL_FOUND_FAILED,  /* no guest ran */
    ACCEL_FOUND_PROBED,  /* the test program ran */
    ACCEL_FOUND_BOOTED,  /* a VM has booted, or was restored and answered */
};
struct accel_verdict {
    enum accel_found found;
    char *why; /* of FAILED: one phrase; owned; NULL = none */
};
#define ACCEL_VERDICT_INIT \
    { \
        ACCEL_FOUND_NOTHING, NULL \
    }
/* Never fails: what cannot be read was not found. Clears what *ret held. */
void accel_verdict_load(const struct session *s, const char *qemu_version,
                        struct accel_verdict *ret);
/* why: of FAILED; else NULL. Errors: ERR_SYSTEM; callers may go on without. */
int accel_verdict_store(const struct session *s, const char *qemu_version, enum accel_found found,
                        const char *why, struct error **err);
void accel_verdict_clear(struct accel_verdict *v);

/*
 * Which accelerator to use: `wish` as accel_parse takes it. "auto" is KVM if it runs guests here
 * (asked by the probe when it is not known yet), else TCG, and notice (may be NULL) gets one line
 * that says why, once since the host booted. Errors: ERR_USAGE; with "kvm", those of
 * accel_kvm_check and kvm_probe.
 */
int accel_choose(const struct session *s, const char *wish, const char *qemu_version,
                 enum accel *ret, struct error **err);
/* A guest ran under KVM: that is remembered, and mends an older verdict. */
void accel_worked(const struct session *s, const char *qemu_version);
/* The line for the user that TCG is used, and why (a phrase): to notice if accel_tell_once, else to
 * the debug output. */
void accel_tell_tcg(const struct session *s, const char *why);

/* Whether the user is still to be told why KVM is not used: true at the first call with this reason
 * since the host booted, or where that can't be noted. */
bool accel_tell_once(const struct session *s, const char *why);

/* What a guest under KVM sees of this host, in lines: a state of one is of use on no other. */
void accel_add_host(struct buf *b);

/* The value of -cpu: all that the accelerator offers, less what makes trouble or is slow here. */
const char *accel_cpu(enum accel a);

#endif
