// SPDX-License-Identifier: MIT
// The dynamic linker counts how often a library is loaded, so this need not know whether it is.
#include "cli/late.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

void *late_load(const struct late_function *f)
{
    int saved = errno;
    void *library = dlopen(f->library, RTLD_LAZY | RTLD_LOCAL);
    void *function = library ? dlsym(library, f->name) : NULL;
    if (!function) {
        (void)fprintf(stderr, "kiln: error while loading shared libraries: %s\n", dlerror());
        _exit(127);
    }
    __atomic_store_n(f->at, function, __ATOMIC_RELEASE);
    errno = saved;
    return function;
}
