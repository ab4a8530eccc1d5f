/* SPDX-License-Identifier: MIT
 *
 * Accelerators: what the user wants, what the host seems able to do, and what was proved.
 *
 * A /dev/kvm that opens, and even a vCPU that runs code, proves nothing: there are hosts where
 * every kernel then hangs at 100 % CPU. The proof is that our builder VM boots to its agent in time
 * under KVM. The builder does it; here its verdict is remembered, for this boot of the host, its
 * kernel and this QEMU.
 *
 *     #include "vm/qemu.h"
 *     // given enum accel wish; struct accel_verdict verdict; struct qemu qemu;
 *     accel_parse(text, &wish, &err);
 *     if (wish == ACCEL_AUTO && accel_kvm_check(&err) == 0) {
 *         accel_verdict_load(session, qemu.version, &verdict);
 *         ...                        // not known: boot the builder, then accel_verdict_store
 *     }
 */
#ifndef VM_ACCEL_H
#define VM_ACCEL_H

#include "base/error.h"
#include "base/vector.h"

#include <stdbool.h>

struct session;

enum accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };

/* "auto", "kvm" or "tcg"; NULL = KILN_ACCEL, or auto when that is not set. ERR_USAGE. */
int accel_parse(const char *text, enum accel *ret, struct error **err);
const char *accel_name(enum accel a);

/* The cheap checks: /dev/kvm opens for reading and writing, KVM_GET_API_VERSION is 12,
 * KVM_CREATE_VM works. 0: KVM may be usable. -1: it is not, and the message says why, the hint what
 * to do (ERR_SYSTEM, ERR_NOT_FOUND when there is no /dev/kvm). */
int accel_kvm_check(struct error **err);

struct accel_verdict {
    bool known;  /* proved or disproved on this host boot with this kernel and QEMU */
    bool usable; /* KVM ran a guest */
    char *why;   /* one phrase: "the builder VM did not boot in 10 s"; owned; NULL = none */
};
#define ACCEL_VERDICT_INIT \
    { \
        false, false, NULL \
    }
/* Never fails: what cannot be read is not known. Clears what *ret held. */
void accel_verdict_load(const struct session *s, const char *qemu_version,
                        struct accel_verdict *ret);
/* why may be NULL. Errors: ERR_SYSTEM; callers may go on without. */
int accel_verdict_store(const struct session *s, const char *qemu_version, bool usable,
                        const char *why, struct error **err);
void accel_verdict_clear(struct accel_verdict *v);

/* Whether the user is still to be told why KVM is not used: true at the first call with this reason
 * since the host booted, or where that can't be noted. */
bool accel_tell_once(const struct session *s, const char *why);

/* The value of -cpu: all that the accelerator offers, less what makes trouble or is slow. */
const char *accel_cpu(enum accel a);
/* "-accel kvm" or "-accel tcg,thread=multi", and "-cpu" with accel_cpu's; not for ACCEL_AUTO. */
void accel_args(struct strv *args, enum accel a);

#endif
