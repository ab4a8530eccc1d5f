// SPDX-License-Identifier: MIT
// Domains of libvirt as XML: what is written is read, and hostile texts do no harm.
#include "base/cleanup.h"
#include "libvirt/domain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct domain_plan plan = {.type = "qemu",
                                  .name = "a<b>&'\"c",
                                  .uuid = "fbb7d3f4-9947-4079-9949-c13e7976ad92",
                                  .image = "team/x:1 & more",
                                  .layer = "0123",
                                  .disk = "/dir with 'quotes' & <signs>\n/x.qcow2",
                                  .memory_mb = 512,
                                  .cpus = 3};

static void read_what_was_written(void **state)
{
    CLEANUP(buf_clear) struct buf xml = BUF_INIT;
    CLEANUP(domain_clear) struct domain d = {0};
    (void)state;
    domain_write(&plan, &xml);
    assert_int_equal(domain_read(buf_str(&xml), &d, NULL), 0);
    assert_string_equal(d.name, plan.name);
    assert_string_equal(d.image, plan.image);
    assert_string_equal(d.layer, plan.layer);
    assert_int_equal(d.disks.len, 1);
    assert_string_equal(d.disks.ptr[0].source, plan.disk);
    assert_string_equal(d.disks.ptr[0].format, "qcow2");
    assert_string_equal(d.disks.ptr[0].target, "vda");
    assert_false(d.uefi);
    assert_null(strstr(xml.data, "<interface"));
}

static void kinds_of_machines(void **state)
{
    static const struct {
        const char *type, *network;
        bool uefi;
        const char *there, *absent;
    } cases[] = {
        {"kvm", "user", false, "host-passthrough", "firmware"},
        {"qemu", "br'0", true, "<source network='br&apos;0'/>", "host-passthrough"},
        {"test", NULL, true, "<feature enabled='no' name='secure-boot'/>", "<cpu"},
        {"qemu", "user", false, "<interface type='user'>", "<source network"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(buf_clear) struct buf xml = BUF_INIT;
        CLEANUP(domain_clear) struct domain d = {0};
        struct domain_plan p = plan;
        p.type = cases[i].type;
        p.network = cases[i].network;
        p.uefi = cases[i].uefi;
        domain_write(&p, &xml);
        assert_non_null(strstr(xml.data, cases[i].there));
        assert_null(strstr(xml.data, cases[i].absent));
        assert_int_equal(domain_read(buf_str(&xml), &d, NULL), 0);
        assert_int_equal(d.uefi, cases[i].uefi);
    }
}

static void disks_of_others(void **state)
{
    static const char xml[] =
        "<domain><name>d</name><metadata><image name='not ours'/></metadata><devices>"
        "<disk type='block' device='lun'><source dev='/dev/sdb'/><target dev='sda'/></disk>"
        "<disk type='file' device='cdrom'><source file='/x.iso'/></disk>"
        "<disk type='file' device='floppy'/>"
        "<disk type='network'><driver type='raw'/><source protocol='rbd' name='p/i'/></disk>"
        "<disk type='volume'><source pool='p' volume='v'/></disk>"
        "<disk><source file='/y'><slices><slice/></slices></source></disk>"
        "</devices></domain>";
    CLEANUP(domain_clear) struct domain d = {0};
    (void)state;
    assert_int_equal(domain_read(str_of(xml), &d, NULL), 0);
    assert_null(d.image);
    assert_int_equal(d.disks.len, 4);
    assert_string_equal(d.disks.ptr[0].source, "/dev/sdb");
    assert_string_equal(d.disks.ptr[1].source, "rbd:p/i");
    assert_string_equal(d.disks.ptr[2].source, "v");
    assert_string_equal(d.disks.ptr[2].pool, "p");
    assert_string_equal(d.disks.ptr[3].type, "file");
    assert_true(d.disks.ptr[3].sliced);
}

static void hostile(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "not valid XML"},
        {"<domain><name>x</name>", "not valid XML"},
        {"<domain/>", "without a name"},
        {"<network><name>x</name></network>", "XML of 'network', not of 'domain'"},
        {"<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><domain><name>&e;</name></domain>",
         "document type"},
        {"<domain><name>&none;</name></domain>", "not valid XML"},
        {"<domain xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include "
         "href='/etc/passwd'/></domain>",
         "without a name"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(error_freep) struct error *err = NULL;
        CLEANUP(domain_clear) struct domain d = {0};
        assert_int_equal(domain_read(str_of(cases[i].text), &d, &err), -1);
        assert_non_null(strstr(err->message, cases[i].why));
    }
}

static void names(void **state)
{
    static const char *const wrong[] = {"", "a/b", ".", "a\nb", "\xff", "a\x7f"};
    char longest[130];
    (void)state;
    memset(longest, 'a', sizeof longest);
    longest[129] = '\0';
    assert_int_equal(domain_name_check(longest, NULL), -1);
    longest[128] = '\0';
    assert_int_equal(domain_name_check(longest, NULL), 0);
    assert_int_equal(domain_name_check("my vm <ä>", NULL), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(domain_name_check(wrong[i], NULL), -1);
}

static void pools_and_capabilities(void **state)
{
    CLEANUP(pool_clear) struct pool dir = {0}, logical = {0};
    struct str host =
        STR("<capabilities><guest><arch name='i686'><domain type='xen'/></arch></guest>"
            "<guest><arch name='x86_64'><domain type='qemu'/></arch></guest></capabilities>");
    (void)state;
    assert_int_equal(
        pool_read(STR("<pool type='dir'><target><path>/p</path></target></pool>"), &dir, NULL), 0);
    assert_true(pool_has_files(&dir));
    assert_string_equal(dir.folder, "/p");
    assert_int_equal(pool_read(STR("<pool type='logical'><target><path>/p</path></target></pool>"),
                               &logical, NULL),
                     0);
    assert_false(pool_has_files(&logical));
    assert_true(domain_type_is_known(host, "qemu"));
    assert_false(domain_type_is_known(host, "kvm"));
    assert_false(domain_type_is_known(host, "xen"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_what_was_written),
        cmocka_unit_test(kinds_of_machines),
        cmocka_unit_test(disks_of_others),
        cmocka_unit_test(hostile),
        cmocka_unit_test(names),
        cmocka_unit_test(pools_and_capabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
