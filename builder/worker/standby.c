// SPDX-License-Identifier: MIT
//
// The thread has a session of its own: a standby that is not needed any more is interrupted, while
// the build goes on. What the VM has to say to the user waits until it is taken. Its target is
// first an empty disk that the guest looks through: what TCG translates for that serves the real
// one.
#include "builder/worker/standby.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "base/vector.h"
#include "builder/worker/internal.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { PRACTICE_BYTES = 64 << 20 }; /* unlike AGENT_EMPTY_SIZE, so that the guest sees a change */

struct standby {
    const struct session *build; /* of whoever takes it */
    struct session *own;         /* of the thread; the VM's once it is taken */
    struct runner_options options;
    int cancel_fd;
    struct strv notices;
    pthread_t thread;
    struct builder_vm *vm; /* NULL: it did not come up, as err says */
    struct error *err;
};

static void keep_notice(void *standby, const char *line)
{
    struct standby *sb = standby;
    strv_add(&sb->notices, line);
}

static void *start(void *standby)
{
    struct standby *sb = standby;
    struct runner_options o = sb->options;
    struct runner_disk practice = {.size = PRACTICE_BYTES};
    o.target = (struct runner_disk){.n_files = 0};
    if (builder_vm_start(sb->own, &o, &sb->vm, &sb->err) == 0 &&
        builder_vm_set_disk(sb->vm, AGENT_DISK_TARGET, &practice, &sb->err) < 0)
        builder_vm_free(STEAL(sb->vm));
    return NULL;
}

/* Once the thread has ended. */
static void clear(struct standby *sb)
{
    builder_vm_free(sb->vm);
    strv_clear(&sb->notices);
    error_free(sb->err);
    auto_closep(&sb->cancel_fd);
    free(sb->own);
    free(sb);
}

struct standby *standby_start(const struct session *s, const struct runner_options *o)
{
    struct standby *sb = xcalloc(1, sizeof *sb);
    sb->build = s;
    sb->options = *o;
    sb->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sb->own = xmalloc(sizeof *sb->own);
    *sb->own = *s;
    sb->own->cancel_fd = sb->cancel_fd;
    sb->own->events = (struct session_events){.arg = sb, .notice = keep_notice};
    if (sb->cancel_fd >= 0 && pthread_create(&sb->thread, NULL, start, sb) == 0)
        return sb;
    clear(sb);
    return NULL;
}

/* From now on the VM is its taker's. */
static void hand_over(struct standby *sb)
{
    struct builder_vm *vm = sb->vm;
    sb->own->cancel_fd = sb->build->cancel_fd;
    vm->own_session = STEAL(sb->own);
    vm->own_session->events = sb->build->events;
    vec_foreach (char **, line, &sb->notices)
        session_notice(sb->build, "%s", *line);
}

struct builder_vm *standby_take(struct standby *sb, const struct runner_disk *target)
{
    CLEANUP(error_freep) struct error *why = NULL;
    pthread_join(sb->thread, NULL);
    struct builder_vm *vm = NULL;
    if (sb->vm) {
        hand_over(sb);
        if (builder_vm_exchange(sb->vm, AGENT_DISK_TARGET, target, &why) == 0)
            vm = STEAL(sb->vm);
    }
    if (!vm)
        session_debug(sb->build, 1, "the VM that was started ahead cannot be used: %s",
                      why ? why->message : sb->err->message);
    clear(sb);
    return vm;
}

void standby_free(struct standby *sb)
{
    if (!sb)
        return;
    (void)eventfd_write(sb->cancel_fd, 1);
    pthread_join(sb->thread, NULL);
    clear(sb);
}
