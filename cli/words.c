// SPDX-License-Identifier: MIT
//
// Tables of words for commands; words_option.c has those for options. Whoever adds a command adds no
// row here: suggestions come from the table of commands, and an alias waits for its command.
#include "cli/words.h"

#include "base/alloc.h"
#include "base/nearest.h"
#include "base/vector.h"

#include <string.h>

const struct word_alias word_aliases[] = {
    {"build", "image build", NULL, false},
    {"buildx build", "image build", NULL, true},
    {"builder build", "image build", NULL, true},
    {"check", "image check", NULL, false},
    {"images", "image ls", NULL, false},
    {"image list", "image ls", NULL, true},
    {"rmi", "image rm", NULL, false},
    {"image remove", "image rm", NULL, true},
    {"image delete", "image rm", NULL, true},
    {"tag", "image tag", NULL, false},
    {"history", "image history", NULL, false},
    {"inspect", "image inspect", NULL, false},
    {"image show", "image inspect", NULL, true},
    {"pull", "image pull", NULL, false},
    {"fetch", "image pull", NULL, true}, // sardinecake's
    {"push", "image push", NULL, false},
    {"import", "image import", NULL, false},
    {"export", "image export", NULL, false},
    {"flatten", "image flatten", NULL, false},
    {"log", "logs", NULL, true},
    {"destroy", "rm", "--force", true},
    {"list", "ls", NULL, false},
    {"container ls", "ls", NULL, true},
    {"container list", "ls", NULL, true},
    {"container ps", "ps", NULL, true},
    {"container run", "run", NULL, true},
    {"container create", "create", NULL, true},
    {"container start", "start", NULL, true},
    {"container stop", "stop", NULL, true},
    {"container restart", "restart", NULL, true},
    {"container kill", "stop", "--kill", true},
    {"container rm", "rm", NULL, true},
    {"container remove", "rm", NULL, true},
    {"container exec", "exec", NULL, true},
    {"container logs", "logs", NULL, true},
    {"container cp", "cp", NULL, true},
    {"container attach", "console", NULL, true},
    {"container pause", "suspend", NULL, true},
    {"container unpause", "resume", NULL, true},
    {"container wait", "wait", NULL, true},
    {"container rename", "rename", NULL, true},
    {"container port", "port", NULL, true},
    {"container commit", "commit", NULL, true},
    {"remove", "rm", NULL, true},
    {"kill", "stop", "--kill", false},
    {"attach", "console", NULL, false},
    {"pause", "suspend", NULL, true},
    {"unpause", "resume", NULL, true},
    {"copy", "cp", NULL, true},
    {"info", "doctor", NULL, false},
    {"system info", "doctor", NULL, true},
    {"df", "system df", NULL, false},
    {"system prune", "prune", NULL, true},
    {"builder prune", "prune", NULL, true},
    {"image prune", "prune", NULL, true},
    {0},
};

static const struct {
    const char *words, *sentence;
} missing_commands[] = {
    {"search",
     "kiln has no registry of its own to search: 'kiln image pull' takes an image from a URL or a "
     "registry"},
    {"save", "'kiln image export NAME FILE' writes an image with all its layers to one file"},
    {"load", "'kiln image import FILE NAME' takes an image from a file"},
    {"clone", "'kiln create --name NAME IMAGE' makes another VM of an image"},
    {"volume", "a VM keeps its files on its own disk: 'kiln create' makes one that lasts"},
    {"network",
     "VMs of one VMFile have networks of their own; else 'kiln run -p 8080:80' forwards a port"},
    {"compose", "'kiln up' starts the VMs of a file, VMFile.kdl: 'man vmfile'"},
    {"top", "'kiln exec NAME top' shows the processes in a VM"},
    {"stats", "'kiln ps' lists the VMs that run, 'kiln exec NAME top' shows one's load"},
    {"diff", "'kiln image history NAME' shows what each step added"},
    {"events", "'kiln ps --json' shows what runs, 'kiln wait NAME' waits until a VM has ended"},
    {"update", "a VM that is stopped is changed by making it again: 'kiln create --help'"},
    {"context", "kiln has no daemon; 'kiln build --host ssh://HOST' builds on another machine"},
    {"vm",
     "VMs have no group of commands: 'kiln ls' lists them; see also 'kiln create', 'start', 'stop' "
     "and 'rm'"},
    {"container",
     "VMs have no group of commands: 'kiln ls' lists them, 'kiln rm' removes them; see 'kiln "
     "--help'"},
    {"machine",
     "kiln needs no machine to run in: 'kiln create IMAGE' and 'kiln start NAME' make a VM"},
    {"builder",
     "each build starts its own builder VM, so there is none to manage; 'kiln prune' removes "
     "what no build uses"},
    {"buildx", "kiln has one builder: 'kiln build' uses it"},
    {"manifest", "'kiln image inspect oci://HOST/REPOSITORY:TAG' shows what a registry has"},
    {"daemon", "kiln has no daemon: each command does its work itself"},
    {"swarm", "kiln runs VMs on this machine only; 'kiln up' starts those of a VMFile"},
    {"vmfile", "'man vmfile' has the language of VMFile.kdl, which 'kiln up' reads"},
    {"virsh", "'kiln libvirt define NAME' makes a domain of libvirt, which virsh starts and stops"},
    {"halt", "'kiln stop NAME' powers a VM off"},
    {"snapshot",
     "'kiln commit NAME IMAGE' keeps a VM's disk as an image, 'kiln suspend --to-disk' its memory"},
    {"resize",
     "DISK +10 GB after FROM grows an image, --disk-size of 'kiln run' and 'create' a VM's disk"},
    {"init", "write a file 'Imagefile' that begins with FROM: 'kiln help imagefile'"},
    {"new", "write a file 'Imagefile' that begins with FROM: 'kiln help imagefile'"},
    {"validate", "'kiln image check' finds mistakes in an Imagefile"},
    {"lint", "'kiln image check' finds mistakes in an Imagefile"},
    {"fmt", "'kiln image check' finds mistakes in an Imagefile; kiln doesn't rewrite one"},
    {"bake",
     "'kiln build --target STAGE' builds one stage of an Imagefile, 'kiln up' what a "
     "VMFile needs"},
    {"scout", "'kiln shell IMAGE -c COMMAND' runs a scanner on what is in an image"},
    {"sbom", "'kiln shell IMAGE -c COMMAND' runs a scanner on what is in an image"},
    {"debug",
     "'kiln build --on-error=shell' opens a shell where a step fails, 'kiln shell NAME@STEP' "
     "after one"},
    {"secret", "'kiln build --secret id=NAME,src=FILE' gives one to RUN --mount=type=secret"},
    {"docker", "kiln takes docker's commands as they are: 'kiln build', 'kiln run', 'kiln ps'"},
    {"podman", "kiln takes podman's commands as they are: 'kiln build', 'kiln run', 'kiln ps'"},
    {"service", "'kiln run -d' leaves a VM in the background; a unit of your systemd may start it"},
    {"stack", "'kiln up' starts the VMs of a file, VMFile.kdl: 'man vmfile'"},
    {"play", "'kiln up' starts the VMs of a file, VMFile.kdl: 'man vmfile'"},
    {"node", "kiln runs VMs on this machine only; 'kiln up' starts those of a VMFile"},
    {"generate", "a unit of your systemd may call 'kiln start NAME' and 'kiln stop NAME'"},
    {"autostart", "a unit of your systemd may call 'kiln start NAME' and 'kiln stop NAME'"},
    {"trust", "an image is pinned by its digest: oci://HOST/REPOSITORY@sha256:…"},
    {"sign", "an image is pinned by its digest: oci://HOST/REPOSITORY@sha256:…"},
    {"cache", "'kiln df' shows what the cache takes, 'kiln prune' removes what nothing needs"},
    {"clean", "'kiln prune' removes what nothing needs, 'kiln df' shows what there is"},
    {"gc", "'kiln prune' removes what nothing needs, 'kiln df' shows what there is"},
    {"tree", "'kiln history --graph' draws the layers of all images"},
    {"graph", "'kiln history --graph' draws the layers of all images"},
    {"layers", "'kiln history NAME' lists an image's layers, 'kiln history --graph' draws all"},
    {"launch", "'kiln run -d --name NAME IMAGE' starts a VM in the background"},
    {"edit", "a VM that is stopped is changed by making it again: 'kiln create --help'"},
    {"set", "a VM that is stopped is changed by making it again: 'kiln create --help'"},
    {"disk",
     "DISK +10 GB after FROM grows an image, --disk-size of 'kiln run' and 'create' a VM's "
     "disk"},
    {"box", "'kiln pull NAME,vagrant=BOX:VERSION' takes a Vagrant box, 'kiln images' lists images"},
    {"package",
     "'kiln commit NAME IMAGE' keeps a VM's disk as an image, 'kiln export' writes a "
     "file"},
    {"global-status", "'kiln ls' lists all VMs, 'kiln ps' those that run"},
    {"sudo", "'kiln exec NAME sudo COMMAND' runs it in a VM"},
    {"factory-reset", "'kiln rm NAME' and 'kiln create --name NAME IMAGE' start afresh"},
    {"reset", "'kiln kill NAME' cuts the power, 'kiln start NAME' boots again"},
    {"reboot", "'kiln restart NAME' boots a VM again"},
    {"shutdown", "'kiln stop NAME' powers a VM off"},
    {"poweroff", "'kiln stop NAME' powers a VM off"},
    {"transfer", "'kiln cp FILE NAME:PATH' copies into a VM that runs"},
    {"scp", "'kiln cp FILE NAME:PATH' copies into a VM that runs"},
    {"rsync", "'kiln cp FILE NAME:PATH' copies into a VM that runs"},
    {"mount",
     "'kiln run -v FOLDER:/GUEST' shares a folder of the host; 'kiln shell IMAGE -c ls' looks "
     "into an image"},
    {"umount", "folders shared by -v are there until the VM stops"},
    {"find", "'kiln pull --list' shows the images that can be fetched by name"},
    {"template", "'kiln pull --list' shows the images that can be fetched by name"},
    {"plugin", "kiln has no plugins"},
    {"plugins", "kiln has no plugins"},
    {"config",
     "options can be set in the environment and in files: 'man kiln', 'kiln run --config'"},
    {"checkpoint",
     "'kiln commit NAME IMAGE' keeps a VM's disk as an image, 'kiln suspend --to-disk' its memory"},
    {"protect", "'kiln rm' removes only the VMs that it is told to"},
    {"tunnel", "'kiln run -p 8080:80' forwards a port of the host to the guest"},
    {"networks",
     "VMs of one VMFile have networks of their own; else 'kiln run -p 8080:80' forwards a "
     "port"},
    {"ip", "'kiln port NAME' shows the ports that are forwarded, 'kiln ssh NAME' logs in"},
    {"domifaddr", "'kiln port NAME' shows the ports that are forwarded, 'kiln ssh NAME' logs in"},
    {"show-ssh", "'kiln ssh NAME' logs in, 'kiln ps' shows the port"},
    {"ssh-config", "'kiln ssh NAME' logs in, 'kiln ps' shows the port"},
    {"get", "'kiln pull NAME' fetches an image, 'kiln cp NAME:PATH .' a file of a VM"},
    {"unshare", "kiln needs no namespace of yours: it runs without root"},
    {"define", "'kiln libvirt define NAME' makes a domain of libvirt"},
    {"undefine", "'kiln rm NAME' removes a VM, 'virsh undefine' a domain of libvirt"},
    {"dumpxml", "'kiln libvirt define NAME --print-xml' prints the XML of a domain"},
    {"install",
     "'kiln pull debian-12' fetches an image, 'kiln build' makes one: FROM debian-12 and a "
     "RUN"},
    {"upgrade", "images are built anew: 'kiln build --pull --no-cache'"},
    {"man", "'kiln help COMMAND', 'kiln help imagefile'; after 'make install' also 'man kiln'"},
    {"manual", "'kiln help COMMAND', 'kiln help imagefile'; after 'make install' also 'man kiln'"},
    {"docs", "'kiln help COMMAND', 'kiln help imagefile'; after 'make install' also 'man kiln'"},
    {"tutorial", "docs/tutorial.md, in /usr/share/doc/kiln where the package is installed"},
    {"examples", "in examples/, or in /usr/share/doc/kiln/examples where the package is installed"},
    {"virt-builder",
     "'kiln build' makes an image: FROM debian-12 and a RUN; 'kiln pull --list' lists what FROM "
     "knows"},
    {"virt-customize", "'kiln build' makes a changed image: FROM IMAGE and a RUN"},
    {"virt-install",
     "'kiln create --name NAME IMAGE' makes a VM, 'kiln libvirt define' a domain of libvirt"},
    {"packer", "'kiln build' makes an image of an Imagefile: docs/from-packer.md"},
    {"limactl",
     "kiln has limactl's commands: 'kiln start', 'kiln ls', 'kiln cp'; 'kiln exec' is its shell"},
    {"vagrant", "'kiln up' starts the VMs of a file, VMFile.kdl: 'man vmfile'"},
    {"transient", "kiln takes transient's commands as they are: docs/from-transient.md"},
    {"vmctl", "'kiln up' starts the VMs of a file, VMFile.kdl: 'man vmfile'"},
    {"hcl2_upgrade", "'kiln build' makes an image of an Imagefile: docs/from-packer.md"},
    {"dominfo", "'kiln ls --json' tells what there is to know of VMs"},
    {"domblklist", "'kiln ls --json' tells what there is to know of VMs"},
    {"send",
     "'kiln suspend --to-disk' keeps a VM's memory, 'kiln commit' its disk, 'kiln push' sends an "
     "image"},
    {"receive", "'kiln pull oci://HOST/REPOSITORY' fetches an image"},
    {"start-at-login", "a unit of your systemd may call 'kiln start NAME' and 'kiln stop NAME'"},
    {"sudoers", "kiln needs no root"},
    {"cloud", "'kiln push NAME oci://HOST/REPOSITORY' sends an image to a registry"},
    {"powershell", "'kiln exec NAME COMMAND' runs a command in a VM"},
    {"rdp", "'kiln ssh NAME' logs in to a VM"},
    {"mv", "'kiln tag OLD NEW' and 'kiln rmi OLD' rename an image"},
    {"cp", "'kiln tag NAME NEW' gives an image a second name, and copies nothing"},
    {"create", "'kiln build' makes an image, 'kiln import' takes one from a file"},
    {"info", "'kiln inspect NAME' shows what there is to know of an image"},
    {"verify", "'kiln system verify' reads every layer and compares its digest"},
    {"rename", "'kiln tag OLD NEW' and 'kiln rmi OLD' rename an image"},
};

int words_match(const char *name, char **argv, int argc)
{
    for (int i = 0; i < argc; i++) {
        size_t n = strlen(argv[i]);
        if (!n || strncmp(name, argv[i], n) || (name[n] && name[n] != ' '))
            return 0;
        if (!name[n])
            return i + 1;
        name += n + 1;
    }
    return 0;
}

void words_add_aliases(struct buf *out, const struct command *c)
{
    const char *before = " (also: ";
    for (const struct word_alias *a = word_aliases; a->words; a++) {
        if (a->quiet || a->option || strcmp(a->command, c->name) != 0)
            continue;
        buf_addf(out, "%s%s", before, a->words);
        before = ", ";
    }
    if (*before == ',')
        buf_addc(out, ')');
}

static bool is_command(const char *name)
{
    for (const struct command *const *c = commands; *c; c++)
        if (!strcmp((*c)->name, name))
            return true;
    return false;
}

/* Of a group only its own commands, by their second word. */
static void add_name(struct strv *names, const char *name, const char *group)
{
    size_t n = group ? strlen(group) : 0;
    if (!group)
        strv_add(names, name);
    else if (!strncmp(name, group, n) && name[n] == ' ')
        strv_add(names, name + n + 1);
}

/* What one may type in place of `typed`; group: the word before it, NULL = none. Owned, NULL = nothing
 * is like it. */
static char *nearest_command(const char *typed, const char *group)
{
    CLEANUP(strv_clear) struct strv names = {0};
    for (const struct command *const *c = commands; *c; c++)
        add_name(&names, (*c)->name, group);
    for (const struct word_alias *a = word_aliases; a->words; a++)
        if (is_command(a->command))
            add_name(&names, a->words, group);
    if (!group) {
        strv_add(&names, "help imagefile");
        strv_add(&names, "imagefile");
        strv_add(&names, "image");
        strv_add(&names, "system");
        strv_add(&names, "version");
    }
    const char *near = nearest_name(str_of(typed), (const char *const *)names.ptr);
    if (near && group)
        return xasprintf("%s %s", group, near);
    return near ? xasprintf("%s%s", !strcmp(near, "imagefile") ? "help " : "", near) : NULL;
}

int words_no_command(char **argv, int argc, bool group, struct error **err)
{
    static const struct command none = {.name = ""};
    if (group && argv[1][0] == '-') {
        words_no_option(&none, argv[1], err);
        return error_hint(err, "'kiln %s --help' lists the commands", argv[0]);
    }
    AUTO_FREE char *typed = argc > 1 ? xasprintf("%s %s", argv[0], argv[1]) : xstrdup(argv[0]);
    error_set(err, ERR_USAGE, "unknown command '%s'", group ? typed : argv[0]);
    for (size_t i = 0; i < sizeof missing_commands / sizeof *missing_commands; i++)
        if (!strcmp(missing_commands[i].words, argv[group ? 1 : 0]))
            return error_hint(err, "%s", missing_commands[i].sentence);
    AUTO_FREE char *near =
        group ? nearest_command(argv[1], argv[0]) : nearest_command(argv[0], NULL);
    // "kiln imgae build": the second word is a part of the name, too
    if (!near && !group && argc > 1)
        near = nearest_command(typed, NULL);
    if (near)
        return error_hint(err, "did you mean 'kiln %s'?", near);
    if (group)
        return error_hint(err, "'kiln %s --help' lists the commands", argv[0]);
    return error_hint(err, "'kiln --help' lists the commands");
}
