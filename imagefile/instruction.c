// SPDX-License-Identifier: MIT
// The table, and the help text made from it.
#include "imagefile/instruction.h"

#include "base/alloc.h"
#include "base/nearest.h"

#include <stdint.h>
#include <strings.h>

static const struct flag from_flags[] = {
    {"platform", "--platform=<linux/amd64>",
     "Accepted for Dockerfiles, with $BUILDPLATFORM and $TARGETPLATFORM: everything is "
     "linux/amd64, and any other platform is an error.",
     0},
    {0},
};

static const struct flag copy_flags[] = {
    {"from", "--from=<stage or image>",
     "Copy from an earlier stage or another image instead of the build directory.", 0},
    {"chown", "--chown=<user>[:<group>]",
     "Owner of the copied files and of the folders created for them, looked up in the image's own "
     "passwd and group. Default: root, or with --from the owner in the source; a copied folder's "
     "content keeps its owners, and the new folder itself belongs to root.",
     0},
    {"chmod", "--chmod=<mode>",
     "Mode of the copied files and of the folders created for them: octal, such as 0755, or "
     "symbolic, "
     "such as "
     "u=rwX,go=rX.",
     0},
    {"exclude", "--exclude=<pattern>",
     "Exclude matching files, by the rules of .imageignore; may be repeated.", FLAG_REPEATS},
    {"parents", "--parents",
     "Keep the folders of each <src> below <dest>: all of them, or those after /./ in it. ** in a "
     "<src> is any number of folders then.",
     FLAG_BARE},
    {"link", "--link", "Accepted for Dockerfiles; it has no effect on a disk.", FLAG_BARE},
    {0},
};

static const struct flag add_flags[] = {
    {"checksum", "--checksum=<sha256:<64 hex digits>|commit>",
     "Expected SHA-256 of the one URL, of the one container image's manifest, or of the archive "
     "that "
     "holds it; what matched is not downloaded again. Of a git repository: its commit, or 7 or "
     "more "
     "of its first digits.",
     0},
    {"chown", "--chown=<user>[:<group>]",
     "Owner of the added files and of the folders created for them, looked up in the image's own "
     "passwd "
     "and group.",
     0},
    {"chmod", "--chmod=<mode>",
     "Mode of the added files and of the folders created for them: octal, such as 0755, or "
     "symbolic, such "
     "as "
     "u=rwX,go=rX.",
     0},
    {"exclude", "--exclude=<pattern>",
     "Exclude matching files, by the rules of .imageignore; may be repeated.", FLAG_REPEATS},
    {"unpack", "--unpack=<true|false>",
     "Whether to unpack archives; the default is true for local ones, false for URLs.", FLAG_BARE},
    {"keep-git-dir", "--keep-git-dir", "Keep the .git folder of a git repository.", FLAG_BARE},
    {"platform", "--platform=<os>/<arch>",
     "Which image of a container image for several platforms; the default is linux/amd64.", 0},
    {"link", "--link", "Accepted for Dockerfiles; it has no effect on a disk.", FLAG_BARE},
    {0},
};

static const struct flag run_flags[] = {
    {"mount", "--mount=type=<cache|secret|ssh|bind|tmpfs>,…",
     "A mount that exists during this RUN only; may be repeated.", FLAG_REPEATS},
    {"network", "--network=<default|none>", "none: without network.", 0},
    {"security", "--security=<sandbox|insecure>",
     "insecure: this RUN may also change the builder VM's kernel.", 0},
    {0},
};

const struct instruction instructions[] = {
    {"FROM", OP_FROM, 0, 1, 3, from_flags, "[<flags>] <image> [AS <stage>]",
     "Starts a stage from an image of the backend, a well-known image such as debian-12 (kiln "
     "image pull --list), an image spec (name,http=URL, name,file=PATH, "
     "name,vagrant=box:version, box:version), an image of a registry (oci://HOST/REPOSITORY:TAG, "
     "oci-layout:DIR:TAG), an earlier stage, or from nothing (scratch). Only ARG may come before "
     "the first FROM."},
    {"DISK", OP_DISK, 0, 1, 4, NULL, "[+]<size> <MB|GB> [<GPT|MBR>]",
     "After FROM scratch: size and partition table of the new disk. After any other FROM: grows "
     "the image's disk to this size or, with '+', by this size; the last partition and its file "
     "system fill the new space. MB and GB are 2^20 and 2^30 bytes here."},
    {"PARTITION", OP_PARTITION, TRAIT_QUOTES, 1, SIZE_MAX, NULL,
     "<n> [SIZE <size> <MB|GB>] [FORMAT <fs> [OPTIONS \"<mkfs options>\"]] [MOUNT <dir>] [FLAGS "
     "<flag>[,<flag>…]]",
     "The next partition of the new disk; one of them must mount at /. Without SIZE it takes the "
     "remaining space. MB and GB are 10^6 and 10^9 bytes here, rounded to whole MiB. File systems: "
     "ext2 ext3 ext4 xfs btrfs vfat swap. Flags: boot efi bios_grub."},
    {"COPY", OP_COPY, TRAIT_HEREDOC | TRAIT_JSON, 2, SIZE_MAX, copy_flags,
     "[<flags>] <src>… <dest>",
     "Copies files and folders of the build directory, with their modes, times, POSIX ACLs, user "
     "attributes and file capabilities. A <src> may contain * ? and […]; such a pattern may match "
     "nothing. A <dest> that ends in / is a folder, and it is one for several sources or matches. "
     "For a folder, its content is copied. A <src> may be a here-document."},
    {"ADD", OP_ADD, TRAIT_HEREDOC | TRAIT_JSON, 2, SIZE_MAX, add_flags, "[<flags>] <src>… <dest>",
     "Like COPY, but unpacks tar archives, plain or compressed with gz, bz2, xz or zst, detected "
     "by their content. A <src> may be an http or https URL, a git repository: "
     "https://HOST/PATH.git#REF:FOLDER, git@HOST:PATH, ssh:// or git:// with the same end, or a "
     "container image (oci://HOST/IMAGE:TAG, oci-layout:DIR:TAG, docker-archive:FILE), whose "
     "layers "
     "are unpacked."},
    {"RUN", OP_RUN, TRAIT_COMMAND | TRAIT_HEREDOC | TRAIT_JSON, 1, SIZE_MAX, run_flags,
     "[<flags>] <command> | [\"<program>\", \"<argument>\"…]",
     "Runs a command in the image: with the shell (/bin/sh -c, see SHELL), or without one in the "
     "list form. Variables are left to the shell."},
    {"ARG", OP_ARG, TRAIT_QUOTES, 1, SIZE_MAX, NULL, "<name>[=<default>]…",
     "A variable that --build-arg can set, for the steps below it in its stage and in stages based "
     "on it; one before the first FROM is for FROM and for an ARG of the same name without a "
     "default."},
    {"ENV", OP_ENV, TRAIT_QUOTES, 1, SIZE_MAX, NULL, "<name>=<value>…",
     "Environment variables for the steps below and in the image's metadata."},
    {"WORKDIR", OP_WORKDIR, TRAIT_QUOTES, 1, 1, NULL, "<dir>",
     "Working folder of the steps below; created for the USER if it is missing; relative to the "
     "previous WORKDIR."},
    {"USER", OP_USER, TRAIT_QUOTES, 1, 1, NULL, "<user>[:<group>]",
     "User that runs the RUN steps below, looked up in the image's own passwd and group."},
    {"SHELL", OP_SHELL, TRAIT_QUOTES | TRAIT_JSON, 1, SIZE_MAX, NULL,
     "[\"<program>\", \"<argument>\"…]",
     "Shell that runs the RUN steps below, such as [\"/bin/bash\", \"-c\"]."},
    {"LABEL", OP_LABEL, TRAIT_QUOTES, 1, SIZE_MAX, NULL, "<name>=<value>…",
     "Metadata that kiln image inspect shows."},
    {"INSPECT", OP_INSPECT, 0, 0, 0, NULL, "",
     "Stops the build here and opens a shell in the image; the build continues when it exits."},
    {"CMD", OP_CMD, TRAIT_COMMAND | TRAIT_JSON, 1, SIZE_MAX, NULL,
     "<command> | [\"<program>\", \"<argument>\"…]",
     "Kept in the image's metadata, with a note: a virtual machine boots its own init."},
    {"ENTRYPOINT", OP_ENTRYPOINT, TRAIT_COMMAND | TRAIT_JSON, 1, SIZE_MAX, NULL,
     "<command> | [\"<program>\", \"<argument>\"…]",
     "Kept in the image's metadata, with a note: a virtual machine boots its own init."},
    {"EXPOSE", OP_EXPOSE, TRAIT_QUOTES, 1, SIZE_MAX, NULL, "<port>[-<port>][/<tcp|udp>]…",
     "Ports that the image's services listen on, kept in its metadata, with a note: kiln run -P "
     "forwards free ports of the host to them."},
    {"VOLUME", OP_VOLUME, TRAIT_QUOTES | TRAIT_JSON, 1, SIZE_MAX, NULL, "<dir>… | [\"<dir>\"…]",
     "Kept in the image's metadata, with a note: the folder is on the image's own disk."},
    {"HEALTHCHECK", OP_HEALTHCHECK, TRAIT_COMMAND, 1, SIZE_MAX, NULL,
     "[<flags>] CMD <command> | NONE",
     "Kept in the image's metadata, with a note: nothing runs it."},
    {"STOPSIGNAL", OP_STOPSIGNAL, TRAIT_QUOTES, 1, 1, NULL, "<signal>",
     "Kept in the image's metadata, with a note: a virtual machine is powered off."},
    {"MAINTAINER", OP_MAINTAINER, 0, 1, SIZE_MAX, NULL, "<text>",
     "Kept as the label maintainer, with a note: use LABEL instead."},
};
_Static_assert(sizeof instructions / sizeof *instructions == OP_COUNT, "one entry for each op");

/* Instructions of Dockerfile that mean nothing for a virtual machine. */
static const struct {
    const char *name, *advice;
} foreign[] = {
    {"ONBUILD", "images carry no instructions: put them into the Imagefile that uses FROM"},
};

const char *imagefile_op_name(enum imagefile_op op)
{
    return instructions[op].name;
}

const struct instruction *instruction_find(struct str name)
{
    for (size_t i = 0; i < OP_COUNT; i++)
        if (strlen(instructions[i].name) == name.len &&
            !strncasecmp(instructions[i].name, name.ptr, name.len))
            return &instructions[i];
    return NULL;
}

bool instruction_starts(struct str line)
{
    for (size_t i = 0; i < OP_COUNT; i++) {
        size_t n = strlen(instructions[i].name);
        if (line.len >= n && !memcmp(line.ptr, instructions[i].name, n) &&
            (line.len == n || line.ptr[n] == ' ' || line.ptr[n] == '\t'))
            return true;
    }
    return false;
}

const struct flag *instruction_flag(const struct instruction *in, struct str name)
{
    for (const struct flag *f = in->flags; f && f->name; f++)
        if (str_is(name, f->name))
            return f;
    return NULL;
}

char *instruction_advice(struct str name)
{
    const char *names[OP_COUNT + 1] = {0};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (strlen(foreign[i].name) == name.len &&
            !strncasecmp(foreign[i].name, name.ptr, name.len))
            return xstrdup(foreign[i].advice);
    CLEANUP(buf_clear) struct buf all = BUF_INIT;
    for (size_t i = 0; i < OP_COUNT; i++) {
        names[i] = instructions[i].name;
        if (!imagefile_is_note(instructions[i].op))
            buf_addf(&all, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = nearest_name(name, names);
    return near ? xasprintf("did you mean %s?", near)
                : xasprintf("the instructions are %s", all.data);
}

/* Text broken into lines of at most 78 columns, each after `indent` blanks. */
static void add_wrapped(struct buf *out, const char *text, size_t indent)
{
    size_t column = 0;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " "), wide = 0;
        for (size_t i = 0; i < n; i++)
            wide += ((unsigned char)p[i] & 0xc0) != 0x80;
        if (column && column + 1 + wide > 78) {
            buf_addc(out, '\n');
            column = 0;
        }
        if (!column) {
            buf_addf(out, "%*s", (int)indent, "");
            column = indent;
        } else {
            buf_addc(out, ' ');
            column++;
        }
        buf_add(out, p, n);
        column += wide;
        p += n + strspn(p + n, " ");
    }
    buf_addc(out, '\n');
}

static const char intro[] =
    "An Imagefile has one instruction per line; instruction names are case-insensitive.\n"
    "A line that starts with # is a comment; except in RUN, # after a blank starts one\n"
    "too. A backslash at the end of a line continues the instruction. RUN, COPY and ADD\n"
    "accept here-documents (<<EOF … EOF). $name, ${name}, ${name:-default} and\n"
    "${name:+alternative} are expanded in every instruction but RUN, where the shell does\n"
    "it. FROM scratch is followed by one DISK and at least one PARTITION.\n\n";

void imagefile_help(struct buf *out)
{
    buf_adds(out, intro);
    for (size_t i = 0; i < OP_COUNT; i++) {
        const struct instruction *in = &instructions[i];
        CLEANUP(buf_clear) struct buf head = BUF_INIT;
        buf_addf(&head, "%s%s%s", in->name, *in->form ? " " : "", in->form);
        add_wrapped(out, head.data, 0);
        add_wrapped(out, in->help, 4);
        for (const struct flag *f = in->flags; f && f->name; f++) {
            add_wrapped(out, f->form, 6);
            add_wrapped(out, f->help, 10);
        }
        buf_addc(out, '\n');
    }
    buf_adds(out,
             "Full reference: man 5 imagefile. Example:\n\n"
             "    FROM debian\n"
             "    COPY motd /etc/motd\n"
             "    RUN apt-get update && apt-get install -y nginx\n");
}
