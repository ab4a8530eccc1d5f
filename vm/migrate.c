// SPDX-License-Identifier: MIT
#include "vm/migrate.h"

#include "base/json.h"
#include "base/session.h"
#include "vm/qmp.h"

#include <string.h>

enum { ANSWER_MS = 10000, LOOK_MS = 200, DEVICES_MS = 60000 };

static int failed(struct qmp *q, struct error **err)
{
    json_auto_t *told = NULL;
    (void)qmp_command(q, "query-migrate", NULL, ANSWER_MS, &told, NULL);
    const char *desc = json_str(told, "error-desc");
    return error_set(err, ERR_SYSTEM, "QEMU cannot pass on the VM's state: %s",
                     desc ? desc : "it does not say why");
}

/* Memory takes as long as the disk does; devices are written in a moment. */
static int wait_end(const struct session *s, struct qmp *q, bool devices_only, struct error **err)
{
    long long deadline = now_ms() + DEVICES_MS;
    for (;;) {
        json_auto_t *data = NULL;
        CLEANUP(error_freep) struct error *why = NULL;
        long long began = now_ms();
        if (qmp_wait_event(q, "MIGRATION", LOOK_MS, &data, &why) < 0) {
            if (session_cancelled(s))
                return error_set(err, ERR_CANCELLED, "interrupted");
            bool late = devices_only && now_ms() > deadline;
            if (late || now_ms() - began < LOOK_MS) // not because nothing came yet
                return error_propagate(err, STEAL(why));
            continue;
        }
        const char *status = json_str(data, "status");
        if (status && !strcmp(status, "completed"))
            return 0;
        if (!status || !strcmp(status, "failed") || !strcmp(status, "cancelled"))
            return failed(q, err);
    }
}

int vm_migrate(const struct session *s, struct qmp *q, enum vm_migrate way, int fd,
               bool devices_only, struct error **err)
{
    if (qmp_lend(q, fd, "state", err) < 0 ||
        qmp_callf(q, ANSWER_MS, NULL, err, "migrate-set-capabilities",
                  "{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities", "capability", "events", "state",
                  1, "capability", "x-ignore-shared", "state", (int)devices_only) < 0 ||
        qmp_callf(q, ANSWER_MS, NULL, err, way == VM_MIGRATE_OUT ? "migrate" : "migrate-incoming",
                  "{s:s}", "uri", "fd:state") < 0)
        return -1;
    return wait_end(s, q, devices_only, err);
}
