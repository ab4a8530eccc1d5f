// SPDX-License-Identifier: MIT
#include "builder/build/imagefile_path.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"

#include <string.h>
#include <unistd.h>

char *imagefile_path(const char *dir, const char *file)
{
    bool here = !strcmp(dir, ".");
    if (file)
        return xstrdup(strcmp(file, "-") != 0 ? file : "/dev/stdin");
    AUTO_FREE char *first = here ? xstrdup("Imagefile") : path_join(dir, "Imagefile");
    AUTO_FREE char *second = here ? xstrdup("Dockerfile") : path_join(dir, "Dockerfile");
    return access(first, F_OK) < 0 && access(second, F_OK) == 0 ? STEAL(second) : STEAL(first);
}
