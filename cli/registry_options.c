// SPDX-License-Identifier: MIT
#include "cli/registry_options.h"

struct registry_options registry_options_of(const struct args *a)
{
    return (struct registry_options){.plain_http = args_has(a, "plain-http"),
                                     .insecure = args_has(a, "insecure")};
}

int registry_options_take(const struct args *a, struct transfer_options *ret, struct error **err)
{
    long long jobs = 0;
    if (args_num(a, "jobs", 1, TRANSFER_JOBS_MAX, &jobs, err) < 0)
        return -1;
    ret->jobs = (unsigned)jobs;
    ret->registry = registry_options_of(a);
    return 0;
}
