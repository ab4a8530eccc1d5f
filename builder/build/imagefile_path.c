// SPDX-License-Identifier: MIT
#include "builder/build/imagefile_path.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/url.h"
#include "imagefile/imagefile.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
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

int imagefile_hint(const char *file, struct error **err)
{
    if (file)
        return error_hint(err, "the path of --file starts in the current folder");
    return error_hint(err,
                      "write one ('kiln help imagefile' has the language), or name it with --file");
}

static int no_directory(const char *dir, struct error **err)
{
    error_set(err, ERR_NOT_FOUND, "build directory '%s' does not exist", dir);
    if (imagefile_is_git(str_of(dir)))
        return error_hint(err, "clone it first: git clone %s", dir);
    if (is_url(dir))
        return error_hint(err, "fetch it first: curl -L %s | kiln build -t NAME -", dir);
    return error_hint(err,
                      "it is the folder with the Imagefile: 'kiln build .' is the one you are in");
}

int imagefile_check_dir(const char *dir, struct error **err)
{
    struct stat st;
    if (stat(dir, &st) < 0)
        return errno == ENOENT ? no_directory(dir, err) : 0;
    if (S_ISDIR(st.st_mode))
        return 0;
    size_t n = strlen(dir);
    error_set(err, ERR_USER, "the build directory '%s' is a file", dir);
    if (n > 4 && !strcmp(dir + n - 4, ".hcl"))
        return error_hint(err, "docs/from-packer.md tells how to make an Imagefile of a template");
    return error_hint(err, "give the directory that it is in, and the file with --file");
}
