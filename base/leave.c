// SPDX-License-Identifier: MIT
#include "base/leave.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { KEPT_MAX = 8 };

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void close_others(const int *kept, size_t n)
{
    int sorted[KEPT_MAX];
    unsigned from = 3;
    assert(n <= KEPT_MAX);
    memcpy(sorted, kept, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_number);
    for (size_t i = 0; i < n; i++) {
        if ((unsigned)sorted[i] > from)
            (void)close_range(from, (unsigned)sorted[i] - 1, 0);
        from = (unsigned)sorted[i] + 1;
    }
    (void)close_range(from, ~0U, 0);
}

void leave_caller(const char *name, const int *kept, size_t n)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_DFL); // library-clean: in a process of its own
    (void)setsid();
    (void)prctl(PR_SET_NAME, name);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        (void)dup2(null, i);
    close_others(kept, n);
    if (chdir("/") < 0)
        _exit(1); // library-clean: in a process of its own
}
