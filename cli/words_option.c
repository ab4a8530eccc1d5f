// SPDX-License-Identifier: MIT
//
// What there is instead of options of docker, packer, virt-builder and QEMU.
#include "base/alloc.h"
#include "base/nearest.h"
#include "base/vector.h"
#include "cli/words.h"

#include <string.h>

static const char for_build[] = "image build", for_run[] = "run";
static const struct {
    const char *command, *option, *sentence; /* option: one letter is that of this command */
} missing_options[] = {
    {for_build, "push",
     "'kiln image push NAME oci://HOST/REPOSITORY' sends an image to a registry"},
    {for_build, "squash", "'kiln image flatten NAME' makes one file of an image's layers"},
    {for_build, "compress", "'kiln image export --compress zstd' writes a compressed image"},
    {for_build, "sbom", "run a scanner in a RUN, and keep its report in the image"},
    {for_build, "provenance", "--metadata-file writes what was built, and its layer"},
    {for_build, "attest", "--metadata-file writes what was built, and its layer"},
    {for_build, "annotation", "--label stores a text in the image"},
    {for_build, "allow", "RUN --security=insecure needs no permission: it only affects its own VM"},
    {for_build, "call", "'kiln image check' looks for mistakes without building"},
    {for_build, "builder", "there is one builder, a VM that each build starts for itself"},
    {for_build, "ulimit", "a RUN may call ulimit itself"},
    {for_build, "shm-size", "/dev/shm of a RUN can use the builder VM's memory: --memory"},
    {for_build, "volume", "RUN --mount=type=bind shows a folder of the build directory"},
    {for_build, "disk-size", "DISK +10 GB after FROM makes the image's disk larger"},
    {for_build, "force-rm", "kiln leaves nothing behind that must be removed: leave it out"},
    {for_build, "env", "ENV in the Imagefile sets a variable, --build-arg one for the build only"},
    {for_build, "cpuset-cpus",
     "--memory and --cpus say how large the builder VM is; a RUN has all of it"},
    {for_build, "cpu-shares",
     "--memory and --cpus say how large the builder VM is; a RUN has all of it"},
    {for_build, "cpu-quota",
     "--memory and --cpus say how large the builder VM is; a RUN has all of it"},
    {for_build, "cpu-period",
     "--memory and --cpus say how large the builder VM is; a RUN has all of it"},
    {for_build, "memory-swap",
     "--memory and --cpus say how large the builder VM is; a RUN has all of it"},
    {for_build, "cgroup-parent",
     "a RUN has a VM of its own, which needs no such limit: leave it out"},
    {for_build, "security-opt",
     "a RUN has a VM of its own, which needs no such limit: leave it out"},
    {for_build, "isolation", "a RUN has a VM of its own, which needs no such limit: leave it out"},
    {for_build, "cap-add", "a RUN has a VM of its own, which needs no such limit: leave it out"},
    {for_build, "userns", "a RUN has a VM of its own, which needs no such limit: leave it out"},
    {for_build, "format", "--output type=raw,dest=FILE writes the image to a file"},
    {for_build, "disable-content-trust",
     "FROM oci://HOST/REPOSITORY@sha256:… names exactly one image"},
    {for_build, "debug", "--on-error=shell opens a shell where a step fails, -v says more"},
    {for_build, "size", "DISK +10 GB after FROM makes the image's disk larger"},
    {for_build, "run", "RUN in the Imagefile runs a command"},
    {for_build, "run-command", "RUN in the Imagefile runs a command"},
    {for_build, "install",
     "RUN in the Imagefile installs packages: RUN apt-get update && apt-get install -y nginx"},
    {for_build, "update",
     "RUN in the Imagefile updates packages: RUN apt-get update && apt-get upgrade -y"},
    {for_build, "upload", "COPY in the Imagefile copies a file into the image"},
    {for_build, "copy-in", "COPY in the Imagefile copies a file into the image"},
    {for_build, "root-password", "RUN in the Imagefile sets it: RUN echo root:secret | chpasswd"},
    {for_build, "ssh-inject",
     "COPY in the Imagefile writes a key to authorized_keys; 'kiln run --inject' writes the VM's"},
    {for_build, "firstboot",
     "RUN in the Imagefile enables a service, which runs when the image boots"},
    {for_build, "firstboot-command",
     "RUN in the Imagefile enables a service, which runs when the image boots"},
    {for_build, "var", "--build-arg NAME=VALUE sets an ARG"},
    {for_build, "var-file", "--build-arg NAME=VALUE sets an ARG"},
    {for_build, "force", "an image of that name is replaced: leave it out"},
    {for_build, "only", "--target STAGE builds one stage"},
    {for_build, "except", "--target STAGE builds one stage"},
    {for_build, "color", "NO_COLOR=1 in the environment: no colours"},
    {for_build, "machine-readable", "--progress=json writes an event a line"},
    {for_run, "mount", "--volume FOLDER:/GUEST shares a folder of the host with the guest"},
    {for_run, "firmware", "--uefi boots by OVMF; after --, options go to QEMU: -- -bios FILE"},
    {for_run, "bios", "--uefi boots by OVMF; after --, options go to QEMU: -- -bios FILE"},
    {for_run, "env", "a VM boots its own system: 'kiln exec NAME env A=B COMMAND' sets a variable"},
    {for_run, "entrypoint", "a VM boots its own init: --ssh-command runs a command in it"},
    {for_run, "privileged", "root in the VM may do anything there, and nothing outside"},
    {for_run, "user", "--ssh-user chooses the user who logs in"},
    {for_run, "restart", "a VM is started again by 'kiln start', or by a unit of your systemd"},
    {for_run, "quiet", "kiln says little of its own accord: 2>/dev/null hides that"},
    {for_run, "image",
     "the image is an argument: its name, or NAME,file=FILE for a disk image file"},
    {for_run, "image-url", "the image is an argument: NAME,http=URL fetches it"},
    {for_run, "disk", "--disk-size 20GB makes the disk larger"},
    {for_run, "bridge", "--network tap,bridge=NAME puts the VM on a bridge"},
    {for_run, "env-file",
     "a VM boots its own system: 'kiln exec NAME env A=B COMMAND' sets a variable"},
    {for_run, "workdir", "a command can change it: kiln run IMAGE sh -c 'cd /srv && make'"},
    {for_run, "cap-add", "root in the VM may do anything there, and nothing outside"},
    {for_run, "cap-drop", "root in the VM may do anything there, and nothing outside"},
    {for_run, "security-opt", "root in the VM may do anything there, and nothing outside"},
    {for_run, "userns", "root in the VM may do anything there, and nothing outside"},
    {for_run, "pid", "root in the VM may do anything there, and nothing outside"},
    {for_run, "ipc", "root in the VM may do anything there, and nothing outside"},
    {for_run, "device", "after --, options go to QEMU: -- -device virtio-rng-pci"},
    {for_run, "gpus", "after --, options go to QEMU: -- -device vfio-pci,host=ADDRESS"},
    {for_run, "net", "--network user, none or tap,bridge=NAME"},
    {for_run, "link", "the VMs of a VMFile can have a network of their own: 'man vmfile'"},
    {for_run, "network-alias", "the VMs of a VMFile can have a network of their own: 'man vmfile'"},
    {for_run, "ip", "the VMs of a VMFile can have addresses of their own: 'man vmfile'"},
    {for_run, "mac-address",
     "after --, options go to QEMU: -- -netdev user,id=n -device "
     "virtio-net-pci,netdev=n,mac=52:54:00:00:00:01"},
    {for_run, "tmpfs", "what the guest changes is thrown away, unless the VM has a --name"},
    {for_run, "read-only", "what the guest changes is thrown away, unless the VM has a --name"},
    {for_run, "snapshot", "what the guest changes is thrown away, unless the VM has a --name"},
    {for_run, "init", "a VM boots its own init: leave it out"},
    {for_run, "label",
     "a VM has a --name, and no labels: LABEL in the Imagefile gives them to the image"},
    {for_run, "platform", "VMs are linux/amd64: leave it out"},
    {for_run, "cidfile", "--detach prints the name of the VM"},
    {for_run, "log-driver",
     "'kiln logs NAME' shows the console of a VM in the background, --console writes it to a file"},
    {for_run, "log-opt",
     "'kiln logs NAME' shows the console of a VM in the background, --console writes it to a file"},
    {for_run, "dns", "the guest gets a name server by DHCP, or its own /etc/resolv.conf names one"},
    {for_run, "add-host",
     "the guest's own /etc/hosts names hosts: write them in a RUN, or with 'kiln exec'"},
    {for_run, "shm-size",
     "the guest's own settings hold; --memory and --cpus say how large the VM is"},
    {for_run, "ulimit",
     "the guest's own settings hold; --memory and --cpus say how large the VM is"},
    {for_run, "memory-swap",
     "the guest's own settings hold; --memory and --cpus say how large the VM is"},
    {for_run, "cpu-shares",
     "the guest's own settings hold; --memory and --cpus say how large the VM is"},
    {for_run, "sysctl",
     "the guest's own settings hold; --memory and --cpus say how large the VM is"},
    {for_run, "oom-kill-disable",
     "the guest's own settings hold; --memory and --cpus say how large the VM is"},
    {for_run, "ram", "--memory 1G"},
    {for_run, "memory-mb", "--memory 1G"},
    {for_run, "smp", "--cpus 2"},
    {for_run, "vnc", "after --, options go to QEMU: -- -vnc :1"},
    {for_run, "graphics", "after --, options go to QEMU: -- -vnc :1"},
    {for_run, "gui", "after --, options go to QEMU: -- -display gtk"},
    {for_run, "display", "after --, options go to QEMU: -- -display gtk"},
    {for_run, "headless", "a VM has no window anyway: leave it out"},
    {for_run, "nographic", "a VM has no window anyway: leave it out"},
    {for_run, "cdrom", "after --, options go to QEMU: -- -cdrom FILE"},
    {for_run, "iso", "after --, options go to QEMU: -- -cdrom FILE"},
    {for_run, "drive", "after --, options go to QEMU: -- -drive file=FILE,if=virtio"},
    {for_run, "hda", "after --, options go to QEMU: -- -drive file=FILE,if=virtio"},
    {for_run, "hdb", "after --, options go to QEMU: -- -drive file=FILE,if=virtio"},
    {for_run, "enable-kvm", "--accel kvm; it is the default where it works"},
    {for_run, "os-variant", "leave it out: nothing depends on the system in the image"},
    {"create", "start", "'kiln run -d --name NAME IMAGE' makes a VM and starts it"},
    {"start", "extra-image",
     "a VM gets its disks when it is made: run and create take --extra-image"},
    {"", "debug,D", "--verbose says more, twice still more"},
    {"", "log-level", "--verbose says more, twice still more"},
    {"", "host,H", "'kiln build --host ssh://HOST' builds on another machine"},
    {"", "context", "'kiln build --host ssh://HOST' builds on another machine"},
    {"", "config", "it stands behind the command: 'kiln run --config FILE'"},
    {"", "json", "it stands behind the command: 'kiln images --json'"},
    {"", "format", "it stands behind the command: 'kiln images --format json'"},
    {"", "quiet", "it stands behind the command: 'kiln build --quiet'"},
    {"image pull", "quiet", "2>/dev/null hides what it says"},
    {"image push", "quiet", "2>/dev/null hides what it says"},
    {"image ls", "sort", "images are listed by their names; --json prints all there is, for jq"},
    {"image ls", "long", "--json prints all there is, for jq"},
    {"image rm", "all", "name them: kiln rmi $(kiln images -q)"},
    {"rm", "all", "name them: kiln rm $(kiln ls -q)"},
    {"stop", "all", "name them: kiln stop $(kiln ps -q)"},
    {"create", "detach",
     "nothing is started: 'kiln run -d --name NAME IMAGE' makes a VM and starts it"},
    {"start", "name",
     "the VM is an argument; 'kiln run -d --name NAME IMAGE' makes one and starts it"},
    {"image ls", "filter",
     "--quiet prints names, one a line, for grep; --json all there is, for jq"},
    {"ps", "filter", "--quiet prints names, one a line, for grep; --json all there is, for jq"},
    {"ls", "filter", "--quiet prints names, one a line, for grep; --json all there is, for jq"},
    {"ps", "last,n,latest,l",
     "VMs are listed by their names; --json has the time of each start, for jq"},
    {"ps", "size,s", "'kiln ls' shows what the VMs' disks take"},
    {"logs", "since,until,timestamps,t",
     "the console has no times of its own: --lines 100 shows its end, --follow what comes"},
    {"logs", "details", "there are no more details: 'kiln ps --json' has what is known of a VM"},
    {"cp", "archive,a",
     "modes, times and links are kept anyway; a copy belongs to you, or to the --user of the "
     "guest"},
    {"cp", "quiet,q", "cp says nothing of its own accord: leave it out"},
    {"cp", "recursive,r,R", "folders are copied with all they hold: leave it out"},
    {"exec", "detach,d", "sh -c 'setsid COMMAND >/dev/null 2>&1 </dev/null &' leaves it running"},
    {"exec", "privileged", "--user root may do anything in the guest"},
    {"exec", "env-file", "--env NAME=VALUE may be given several times"},
    {"exec", "detach-keys", "what is run ends with the connection: leave it out"},
    {"console", "detach-keys,no-stdin,sig-proxy", "Ctrl-] leaves the console; the VM goes on"},
    {for_run, "attach,detach-keys,sig-proxy",
     "without --detach the VM is yours until it ends; 'kiln console' joins one in the background"},
    {for_run, "stop-timeout,stop-signal",
     "--shutdown-timeout says how long the guest may take to power off"},
    {for_run, "annotation,label-file", "LABEL in the Imagefile stores a text in the image"},
    {for_run, "expose",
     "--publish 8080:80 forwards a port; EXPOSE in the Imagefile names those of -P"},
    {for_run, "domainname", "--hostname takes the name with its domain"},
    {for_run, "dns-search,dns-option",
     "the guest's own /etc/resolv.conf, or its DHCP client, says that"},
    {for_run, "volumes-from,volume-driver",
     "--volume FOLDER:/GUEST shares a folder of the host with the guest"},
    {for_run, "storage-opt", "--disk-size 20GB makes the disk larger"},
    {for_run,
     "cpuset-cpus,c,memory-reservation,pids-limit,cgroupns,cgroup-parent,runtime,uts,isolation",
     "--memory and --cpus say how large the VM is"},
    {for_run, "group-add", "RUN usermod in the Imagefile puts a user of the guest into a group"},
    {for_run, "health-cmd,health-interval,no-healthcheck",
     "'kiln exec NAME COMMAND' tells whether a VM does its work"},
    {"create", "interactive,tty,i,t",
     "nothing is started: 'kiln start NAME' boots the VM, with its console"},
    {"stop", "signal,s", "a guest is asked by its power button, and killed with --kill"},
    {"restart", "signal,s", "a guest is asked by its power button: leave it out"},
    {"rm", "volumes,link,l", "a VM's disks go with it: leave it out"},
    {"start", "checkpoint,checkpoint-dir",
     "'kiln suspend --to-disk' and 'kiln resume' keep the memory"},
    {"wait", "condition,interval",
     "wait returns when the VMs have ended; 'kiln ssh --wait NAME' waits for a start"},
    {"image inspect", "size,s,type",
     "the size is shown anyway, and VMs are in 'kiln ls --json': leave it out"},
    {"image ls", "digests,tree",
     "'kiln history --graph' draws the layers; --json has the id of each image's"},
    {"image history", "quiet,q", "--format '{{.Layer}}' prints the ids of the layers"},
    {"image history", "human,H", "--json has the bytes of each size"},
    {"image rm", "no-prune", "layers stay until 'kiln prune': leave it out"},
    {"commit", "message,m,author,a,change,c",
     "an Imagefile that begins with FROM IMAGE adds LABEL and the like"},
    {"commit", "pause,p", "the disk is taken as it is at one moment anyway: leave it out"},
    {"prune", "filter", "--max-age 24h removes what was not used for a day"},
    {"prune", "volumes", "cache mounts are among what --all removes"},
    {"image export", "output", "the file is the second argument: kiln image export NAME FILE"},
    {"image pull", "all-tags", "'kiln image ls --remote HOST/REPOSITORY' lists the tags to pull"},
    {"image push", "all-tags",
     "name each tag: oci://HOST/REPOSITORY:TAG oci://HOST/REPOSITORY:TAG"},
    {"login", "password", "all users of the machine can read it there: --password-stdin"},
    {"up", "build", "images that a VMFile says how to build are built when something changed"},
    {"up", "scale", "write a further VM into the VMFile"},
};

static void add_names(struct strv *names, const struct option_spec *o)
{
    for (; o && o->name; o++) {
        strv_add(names, o->name);
        for (const char *p = o->alias; p && *p; p += strcspn(p, ","), p += *p == ',')
            strv_add_take(names, xstrndup(p, strcspn(p, ",")));
    }
}

/* Letters that docker has for what kiln has no option for. */
static const char *long_name(char letter)
{
    switch (letter) {
    case 'i':
        return "interactive";
    case 't':
        return "tty";
    case 'e':
        return "env";
    case 'h':
        return "hostname";
    case 'u':
        return "user";
    case 'p':
        return "password";
    case 'o':
        return "output";
    case 'q':
        return "quiet";
    case 'a':
        return "all";
    case 'w':
        return "workdir";
    case 'l':
        return "label";
    case 'd':
        return "detach";
    case 'f':
        return "format";
    default:
        return "";
    }
}

/* Whether the word is one of a list with commas between. */
static bool is_among(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; n && *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == n && !strncmp(p, word, n))
            return true;
    return false;
}

/* What there is instead of an option that kiln has not; NULL = nothing is known of it. */
static const char *instead(const struct command *c, const char *option)
{
    bool boots = !strcmp(c->name, "create") || !strcmp(c->name, "start");
    for (size_t i = 0; i < sizeof missing_options / sizeof *missing_options; i++)
        if (is_among(missing_options[i].option, option) &&
            (!strcmp(missing_options[i].command, c->name) ||
             (boots && !strcmp(missing_options[i].command, for_run))))
            return missing_options[i].sentence;
    return NULL;
}

int words_no_option(const struct command *c, const char *word, struct error **err)
{
    error_set(err, ERR_USAGE, "unrecognized arguments: %s", word);
    size_t dashes = strspn(word, "-");
    AUTO_FREE char *name = xstrndup(word + dashes, strcspn(word + dashes, "="));
    const char *known = dashes == 1 && name[0] && !name[1] ? long_name(name[0]) : name;
    const char *own = dashes == 1 ? instead(c, name) : NULL;
    if (dashes == 1 && !own && name[0]) // of a cluster, -it, or with its value, -n3
        own = instead(c, (const char[]){name[0], '\0'});
    const char *sentence = own ? own : instead(c, known);
    if (sentence)
        return error_hint(err, "%s", sentence);
    if (!strcmp(known, "format"))
        for (const struct option_spec *o = c->options; o && o->name; o++)
            if (!strcmp(o->name, "json"))
                return error_hint(err, "--json prints all there is, for jq");
    CLEANUP(strv_clear) struct strv names = {0};
    add_names(&names, c->options);
    add_names(&names, common_options);
    const char *near =
        dashes == 2 || name[1] ? nearest_name(str_of(name), (const char *const *)names.ptr) : NULL;
    return near ? error_hint(err, "did you mean --%s?", near) : -1;
}

int words_one_dash(const struct command *c, const char *word, struct error **err)
{
    static const char *const qemu[] = {
        "boot",   "chardev", "cpu", "device", "hda", "kernel", "drive", "machine", "monitor",
        "netdev", "nic",     "net", "serial", "usb", "vga",    "cdrom", "display", "vnc"};
    AUTO_FREE char *name = xstrndup(word + 1, strcspn(word + 1, "="));
    if (strlen(name) < 3)
        return 0;
    CLEANUP(strv_clear) struct strv names = {0};
    add_names(&names, c->options);
    add_names(&names, common_options);
    strv_add(&names, "version");
    bool known = false, boots = false;
    for (size_t i = 0; i < names.len; i++) {
        known |= !strcmp(names.ptr[i], name);
        boots |= !strcmp(names.ptr[i], "qemu-bin-name");
    }
    const char *sentence = instead(c, name);
    for (size_t i = 0; !sentence && boots && i < sizeof qemu / sizeof *qemu; i++)
        if (!strcmp(qemu[i], name))
            sentence = "options of QEMU stand at the end, after --";
    if (!known && !sentence)
        return 0;
    error_set(err, ERR_USAGE, "unrecognized arguments: %s", word);
    if (sentence)
        return error_hint(err, "%s", sentence);
    return error_hint(err, "did you mean --%s?", name);
}
