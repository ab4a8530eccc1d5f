// SPDX-License-Identifier: MIT
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/json.h"
#include "vm/machine.h"
#include "vm/spec.h"

#include <string.h>

static bool has(const struct strv *args, const char *option, const char *value)
{
    for (size_t i = 0; i + 1 < args->len; i++)
        if (!strcmp(args->ptr[i], option) && !strcmp(args->ptr[i + 1], value))
            return true;
    return false;
}

static void a_spec_survives_its_json(void **state)
{
    (void)state;
    CLEANUP(vm_spec_clear) struct vm_spec a, b;
    CLEANUP(error_freep) struct error *err = NULL;
    vm_spec_init(&a);
    vm_spec_init(&b);
    a.memory_mb = 2048;
    a.cpus = 3;
    a.disk_bus = VM_BUS_IDE;
    a.session = VM_SSH_COMMAND;
    a.show_serial = true;
    a.ssh.port = 2222;
    a.ssh.timeout_ms = 5000;
    vm_spec_set(&a.command, "echo \"a b\"; exit 3");
    vm_spec_set(&a.ssh.key, "/k");
    vm_spec_set(&a.accel, "tcg");
    vm_spec_forward(&a, &(struct vm_forward){(char *)"0.0.0.0", 8080, 80, true});
    vm_spec_bridge(&a, "br0", "52:54:00:00:00:02");
    vm_spec_group(&a, "239.255.1.2:20000", "52:54:00:00:00:01");
    strv_add(&a.qemu_args, "-snapshot");
    strv_add(&a.ssh.options, "LogLevel=QUIET");
    vm_spec_share(&a, &(struct vm_share){(char *)"/host", (char *)"/guest", true});
    json_auto_t *v = vm_spec_to_json(&a);
    assert_non_null(v);
    assert_int_equal(vm_spec_from_json(v, &b, &err), 0);
    json_auto_t *again = vm_spec_to_json(&b);
    assert_true(json_equal(v, again));
    assert_int_equal(b.memory_mb, 2048);
    assert_int_equal(b.disk_bus, VM_BUS_IDE);
    assert_string_equal(b.command, "echo \"a b\"; exit 3");
    assert_null(b.ssh.user);
    assert_null(b.qemu);
    assert_int_equal(b.nics.ptr[0].forwards.ptr[0].host_port, 8080);
    assert_true(b.nics.ptr[0].forwards.ptr[0].udp);
    assert_string_equal(b.qemu_args.ptr[0], "-snapshot");
    assert_string_equal(b.ssh.options.ptr[0], "LogLevel=QUIET");
    assert_string_equal(b.nics.ptr[1].bridge, "br0");
    assert_string_equal(vm_spec_bridged(&b)->mac, "52:54:00:00:00:02");
    assert_string_equal(b.nics.ptr[2].group, "239.255.1.2:20000");
    assert_string_equal(b.nics.ptr[2].mac, "52:54:00:00:00:01");
    vm_spec_no_network(&b);
    vm_spec_bridge(&b, "br0", "52:54:00:00:00:02");
    assert_false(vm_spec_has_user_network(&b));
    vm_spec_user_nic(&b); // goes first
    assert_true(vm_spec_has_user_network(&b));
    assert_string_equal(b.shares.ptr[0].guest, "/guest");
    assert_true(b.shares.ptr[0].read_only);
}

static void absent_members_have_the_defaults(void **state)
{
    (void)state;
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    CLEANUP(error_freep) struct error *err = NULL;
    vm_spec_init(&spec);
    spec.memory_mb = 7;
    json_auto_t *v = json_loads("{\"version\": 1, \"later\": [1]}", 0, NULL);
    assert_int_equal(vm_spec_from_json(v, &spec, &err), 0);
    assert_int_equal(spec.memory_mb, 1024);
    assert_int_equal(spec.nics.len, 1);
    assert_string_equal(spec.nics.ptr[0].driver, "virtio-net-pci");
}

static void bad_members_are_named_and_change_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"[]", "not a JSON object"},
        {"{}", "version 0"},
        {"{\"version\": 2}", "version 2"},
        {"{\"version\": 1, \"memory_mb\": \"1\"}", "'memory_mb'"},
        {"{\"version\": 1, \"cpus\": 0}", "'cpus'"},
        {"{\"version\": 1, \"disk_bus\": \"floppy\"}", "'disk_bus'"},
        {"{\"version\": 1, \"show_serial\": 1}", "'show_serial'"},
        {"{\"version\": 1, \"ssh\": {\"port\": 65536}}", "'port'"},
        {"{\"version\": 1, \"ssh\": {\"user\": 1}}", "'user'"},
        {"{\"version\": 1, \"nics\": {}}", "'nics'"},
        {"{\"version\": 1, \"nics\": [{\"forwards\": [{\"host_port\": 1}]}]}", "'forwards'"},
        {"{\"version\": 1, \"qemu_args\": [1]}", "'qemu_args'"},
        {"{\"version\": 1, \"shares\": [{\"host\": \"a\", \"guest\": \"/b\"}]}", "'shares'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP(vm_spec_clear) struct vm_spec spec;
        CLEANUP(error_freep) struct error *err = NULL;
        vm_spec_init(&spec);
        spec.memory_mb = 7;
        json_auto_t *v = json_loads(cases[i].json, 0, NULL);
        assert_int_equal(vm_spec_from_json(v, &spec, &err), -1);
        assert_non_null(strstr(err->message, cases[i].message));
        assert_int_equal(spec.memory_mb, 7);
    }
}

static void text_that_is_not_utf8_has_no_json(void **state)
{
    (void)state;
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    vm_spec_init(&spec);
    vm_spec_set(&spec.command, "\xff");
    assert_null(vm_spec_to_json(&spec));
    vm_spec_set(&spec.command, NULL);
    strv_add(&spec.qemu_args, "\xff");
    assert_null(vm_spec_to_json(&spec));
}

static void a_machine_is_a_command_line(void **state)
{
    (void)state;
    CLEANUP(strv_clear) struct strv args = {0};
    json_auto_t *nodes = json_pack("[{s:s}, {s:s}]", "node-name", "base", "node-name", "top");
    struct vm_forward forwards[] = {{(char *)"127.0.0.1", 0, 22, false},
                                    {(char *)"0.0.0.0", 8080, 80, false}};
    struct vm_machine_disk disk = {nodes, "virtio-blk-pci,bootindex=1"};
    struct vm_machine_nic nic = {
        .id = "n", .device = "e1000", .user = "ipv6=off", .forwards = forwards, .n_forwards = 2};
    struct vm_machine_port port = {"agent", "kiln.agent"};
    struct vm_machine m = {.accel = ACCEL_TCG,
                           .type = "q35",
                           .bare = true,
                           .memory_mb = 512,
                           .cpus = 2,
                           .ram = "/a,b",
                           .kernel = "/k",
                           .incoming = true,
                           .ports = &port,
                           .n_ports = 1,
                           .nics = &nic,
                           .n_nics = 1,
                           .disks = &disk,
                           .n_disks = 1,
                           .extra = (char *[]){(char *)"-snapshot", NULL}};
    vm_machine_args(&args, &m);
    assert_true(has(&args, "-accel", "tcg,thread=multi"));
    assert_true(has(&args, "-machine", "q35,memory-backend=ram"));
    assert_true(
        has(&args, "-object", "memory-backend-file,id=ram,size=512M,mem-path=/a,,b,share=off"));
    assert_true(has(&args, "-nodefaults", "-no-user-config"));
    assert_true(has(&args, "-incoming", "defer"));
    assert_true(has(&args, "-device", "virtserialport,chardev=agent,name=kiln.agent"));
    assert_true(has(&args, "-netdev",
                    "user,id=n,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22,hostfwd=tcp:0.0.0.0:8080-:80"));
    assert_true(has(&args, "-device", "e1000,netdev=n"));
    assert_true(has(&args, "-blockdev", "{\"node-name\":\"base\"}"));
    assert_true(has(&args, "-device", "virtio-blk-pci,bootindex=1,drive=top"));
    assert_string_equal(args.ptr[args.len - 1], "-snapshot");
    // the user's arguments choose the accelerator: none is given
    strv_clear(&args);
    m.accel = ACCEL_AUTO;
    vm_machine_args(&args, &m);
    for (size_t i = 0; i < args.len; i++)
        assert_string_not_equal(args.ptr[i], "-cpu");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spec_survives_its_json),
        cmocka_unit_test(absent_members_have_the_defaults),
        cmocka_unit_test(bad_members_are_named_and_change_nothing),
        cmocka_unit_test(text_that_is_not_utf8_has_no_json),
        cmocka_unit_test(a_machine_is_a_command_line),
    };
    return cmocka_run_group_tests_name("spec", tests, NULL, NULL);
}
