// SPDX-License-Identifier: MIT
// XML of libvirt, as anybody who may define a domain writes it. What must hold: a domain has a name, a disk a type,
// and what is written of a name that was read is read as the same.
#include "libvirt/domain.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_and_read(const struct domain *d)
{
    CLEANUP(buf_clear) struct buf xml = BUF_INIT;
    CLEANUP(domain_clear) struct domain again = {0};
    const char *file = d->disks.len && d->disks.ptr[0].source ? d->disks.ptr[0].source : "/x";
    if (domain_name_check(d->name, NULL) < 0)
        return;
    struct domain_plan plan = {.type = "qemu",
                               .name = d->name,
                               .uuid = "1",
                               .image = d->image ? d->image : "",
                               .layer = d->layer ? d->layer : "",
                               .disk = file,
                               .network = "n",
                               .memory_mb = 1,
                               .cpus = 1,
                               .uefi = d->uefi};
    domain_write(&plan, &xml);
    assert(domain_read(buf_str(&xml), &again, NULL) == 0);
    assert(!strcmp(again.name, d->name) && again.uefi == d->uefi && again.disks.len == 1);
    assert(!strcmp(again.disks.ptr[0].source, file) && !strcmp(again.image, plan.image));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    CLEANUP(domain_clear) struct domain d = {0};
    CLEANUP(pool_clear) struct pool pool = {0};
    if (domain_read(text, &d, NULL) == 0) {
        assert(*d.name);
        for (size_t i = 0; i < d.disks.len; i++)
            assert(d.disks.ptr[i].type);
        write_and_read(&d);
    }
    if (pool_read(text, &pool, NULL) == 0)
        assert(pool.type && (!pool_has_files(&pool) || pool.folder));
    (void)domain_type_is_known(text, "kvm");
    return 0;
}
