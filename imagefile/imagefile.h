/* SPDX-License-Identifier: MIT
 *
 * The Imagefile language: text → checked steps, or diagnostics with places. Pure functions over
 * bytes: no files, no network, no VM. The language is described in docs/man/imagefile.5.scd.
 *
 *     CLEANUP(imagefile_freep) struct imagefile *f = imagefile_parse("Imagefile", text, len);
 *     imagefile_lint(f);                                 // optional: adds warnings
 *     if (f->diags.errors) ...                           // print each with diag_format
 *     for (size_t i = 0; i < f->n_steps; i++) switch (f->steps[i].op) { ... }
 *
 * Words stay as they were written until imagefile_expand replaces variables and quotes, since
 * what a variable holds is known only during the build.
 *
 * Everything reached from a struct imagefile lives in its arena until imagefile_free; it copies
 * the text and the path. Strings are bytes: usually UTF-8, but nothing depends on it.
 */
#ifndef IMAGEFILE_IMAGEFILE_H
#define IMAGEFILE_IMAGEFILE_H

#include "base/source.h"
#include "imagefile/rules.h"

#include <jansson.h>
#include <stdint.h>

enum imagefile_op {
    OP_FROM,
    OP_DISK,
    OP_PARTITION,
    OP_COPY,
    OP_ADD,
    OP_RUN,
    OP_ARG,
    OP_ENV,
    OP_WORKDIR,
    OP_USER,
    OP_SHELL,
    OP_LABEL,
    OP_INSPECT,
    /* What only a container runs: kept in the image's metadata (imagefile_is_note). */
    OP_CMD,
    OP_ENTRYPOINT,
    OP_EXPOSE,
    OP_VOLUME,
    OP_HEALTHCHECK,
    OP_STOPSIGNAL,
    OP_MAINTAINER,
    OP_COUNT,
};

/* How much of a word imagefile_expand still has to do. */
enum word_mode {
    WORD_LITERAL, /* nothing: final bytes */
    WORD_VARS,    /* variables, and backslash before '$'; quotes are ordinary bytes */
    WORD_SHELL,   /* variables, quotes and backslashes */
};

struct word {
    struct str raw; /* JSON escapes are already undone */
    enum word_mode mode;
    struct span span; /* where it stands in the source */
};
/* An absent word has raw.ptr == NULL. */
static inline bool word_given(const struct word *w)
{
    return w->raw.ptr != NULL;
}

struct words {
    struct word *ptr;
    size_t len;
};

struct heredoc {
    struct str delimiter; /* without quotes */
    bool quoted;          /* no variables are expanded in the body */
    bool strip_tabs;      /* <<-: leading tabs are already gone from body */
    struct str body;      /* whole lines, each with its LF; CR LF is made LF */
    struct span span;     /* of the "<<EOF" word */
    struct span body_span;
};

enum mount_type { MOUNT_CACHE, MOUNT_SECRET, MOUNT_BIND, MOUNT_TMPFS, MOUNT_SSH };
/* What a second build does with a cache that one is using. Without sharing= it is SHARED. */
enum mount_sharing { SHARING_SHARED, SHARING_PRIVATE, SHARING_LOCKED };

/* RUN --mount=…: the fields as they were written, by their one name. Variables are expanded in all of
 * them, though not in the command. */
enum mount_field {
    MOUNT_TYPE,
    MOUNT_TARGET, /* dst, destination */
    MOUNT_ID,
    MOUNT_SOURCE, /* src */
    MOUNT_FROM,
    MOUNT_ENV,
    MOUNT_MODE,
    MOUNT_UID,
    MOUNT_GID,
    MOUNT_SIZE,
    MOUNT_SHARING,
    MOUNT_REQUIRED,
    MOUNT_READONLY,  /* ro */
    MOUNT_READWRITE, /* rw */
    MOUNT_FIELDS,
};
struct run_mount {
    struct word fields[MOUNT_FIELDS];
    struct span keys[MOUNT_FIELDS]; /* where the names of those stand */
    const char *from_name;          /* as in copy_args */
    /* If imagefile_evaluate could tell, else NULL: what a bind reads of the build directory, and the
     * id of a secret or ssh-agent that is required. */
    const char *bind_source, *needs_secret, *needs_ssh;
    struct span span;
};
/* The same once variables have values; strings are owned, NULL = not given. */
struct mount_spec {
    enum mount_type type;
    char *target; /* NULL: the working directory; for a secret /run/secrets/<id>, or none with env;
                      * for ssh /run/buildkit/ssh_agent.<n> */
    char *id;     /* cache: NULL = the target names it; secret, ssh: always there */
    char *source; /* bind: a path; NULL = the root of `from` or of the build directory */
    char *from;   /* bind: stage or image; NULL = the build directory */
    char *env;    /* secret: the variable that holds it */
    char *mode;   /* cache, secret, ssh: octal digits */
    char *uid, *gid;            /* cache, secret, ssh: decimal digits */
    uint64_t size;              /* tmpfs: bytes; 0 = not given */
    bool required;              /* secret, ssh: a missing one is an error */
    bool read_only;             /* bind (the default there), cache */
    enum mount_sharing sharing; /* cache */
};

/* COPY and ADD */
struct copy_source {
    struct word path;              /* for a here-document: the name of the file it makes */
    const char *known;             /* its value, as copy_args.from_name */
    const struct heredoc *heredoc; /* NULL: path names something in the context */
    bool url;       /* ADD of http:// or https:// (as far as the text tells), not git */
    bool git;       /* ADD of a repository, likewise */
    bool container; /* ADD of a container image, likewise: oci://, docker-archive:… */
};
struct copy_args {
    struct copy_source *sources;
    size_t n_sources;      /* at least 1 */
    struct word dest;      /* with several sources a folder, whether it ends in '/' or not */
    struct word from;      /* COPY --from=<stage or image> */
    const char *from_name; /* what that is, if imagefile_evaluate could tell; NULL = not yet */
    struct word chown;     /* "user[:group]" */
    struct word chmod;     /* checked once it is expanded: imagefile_mode */
    struct word checksum;  /* ADD --checksum=sha256:… */
    const char *checksum_known;
    struct word platform; /* ADD --platform=<os>/<arch>, of container images */
    struct words excludes;
    int unpack;        /* ADD --unpack: 1 true, 0 false, -1 not given */
    bool parents;      /* COPY --parents: sources keep their folders */
    bool keep_git_dir; /* ADD --keep-git-dir */
};

enum run_network { NETWORK_DEFAULT, NETWORK_NONE };
enum run_security { SECURITY_SANDBOX, SECURITY_INSECURE };

struct run_args {
    /* Shell form: the whole text for `SHELL… <script>`, here-documents and their delimiters
     * included, so that the shell reads them; only for "RUN <<EOF" and nothing else is it the
     * body alone. JSON form: empty. */
    struct str script;
    bool shebang;      /* script is such a body and starts with "#!": run it as a program */
    struct words argv; /* JSON form, literal */
    struct run_mount *mounts;
    size_t n_mounts;
    enum run_network network;
    enum run_security security;
};

/* ARG, ENV, LABEL */
struct pair {
    struct word name;  /* ARG: literal. ENV, LABEL: WORD_SHELL */
    struct word value; /* absent only for "ARG name" */
};

struct imagefile_step {
    enum imagefile_op op;
    size_t stage;          /* index into stages; NO_STAGE for an ARG before the first FROM */
    unsigned line, column; /* of the instruction word */
    struct span span;      /* from the instruction word to its end, without here-documents */
    struct str text;       /* one line for people: "RUN apt-get install -y x"; NUL-terminated */
    bool json;             /* given in JSON list form */
    struct heredoc *heredocs;
    size_t n_heredocs;
    union {
        struct {
            struct word image;    /* unless it is a stage's name: what image/ understands */
            struct str as;        /* name of the stage, lower case; len 0 = none */
            struct word platform; /* --platform */
        } from;
        struct copy_args copy; /* COPY, ADD */
        struct run_args run;
        struct {
            struct pair *ptr;
            size_t len;
        } pairs;            /* ARG, ENV, LABEL: at least 1 */
        struct word word;   /* WORKDIR, USER */
        struct words words; /* SHELL (literal argv); DISK, PARTITION: see imagefile_disk; notes: the
                             * list or the words, or the whole text as one (CMD, ENTRYPOINT not as
                             * a list, HEALTHCHECK, MAINTAINER) */
    };
};

#define NO_STAGE ((size_t)-1)
struct imagefile_stage {
    struct str name;   /* lower case; len 0 = none */
    size_t first, end; /* its steps are [first, end); steps[first] is its FROM */
    bool scratch;      /* FROM scratch as written; for a variable see imagefile_check_from */
};

struct imagefile {
    struct source source;
    struct diags diags;           /* sorted by place after parse and lint */
    struct imagefile_step *steps; /* flat, in file order */
    size_t n_steps;
    struct imagefile_stage *stages;
    size_t n_stages;
    struct arena *arena;
};

/* Never fails: mistakes are in ->diags, and steps that had none are there. Build only when
 * diags.errors is 0. */
struct imagefile *imagefile_parse(const char *path, const char *text, size_t len);
/* The same; check, which may be NULL, is what a "# check=" of the text could say: "skip=NAME;error=true". */
struct imagefile *imagefile_parse_checked(const char *path, const char *text, size_t len,
                                          const char *check);
/* The --build-arg that gives it, as in BuildKit. */
#define IMAGEFILE_CHECK_ARG "BUILDKIT_DOCKERFILE_CHECK"
void imagefile_free(struct imagefile *f); /* NULL is fine */
DEFINE_CLEANUP(struct imagefile, imagefile_free);

#define IMAGEFILE_MAX (64u << 20)      /* bytes of a text; more is an error */
#define IMAGEFILE_LINE_MAX (1u << 20)  /* bytes of an instruction without its here-documents */
#define IMAGEFILE_DEPTH_MAX 16         /* levels of ${a:-${b:-…}} */
#define IMAGEFILE_VALUE_MAX (1u << 20) /* bytes that one expansion may give */

/* The stage that `name` means in a FROM or --from of step `from_step`: an earlier stage by its name
 * (letters of either case); `by_number` also takes "0", "1"… as COPY --from does. NO_STAGE = none:
 * it is an image. */
size_t imagefile_find_stage(const struct imagefile *f, struct str name, size_t from_step,
                            bool by_number);
const char *imagefile_op_name(enum imagefile_op op); /* "RUN" */
static inline bool imagefile_is_note(enum imagefile_op op)
{
    return op >= OP_CMD && op <= OP_MAINTAINER;
}
/* A source of ADD that is a git repository, as Dockerfile has it: git@…, git://…, ssh://…, and an http or
 * https URL whose path ends in .git; "#ref:folder" may follow. */
bool imagefile_is_git(struct str source);
/* A port of EXPOSE, once expanded: "80", "53/udp", "7000-7010/tcp". */
bool imagefile_port_valid(const char *text);
/* Whether what --platform names is what kiln builds: linux/amd64, or no platform at all. */
bool imagefile_platform_ours(const char *text);
/* A stage from scratch without DISK: it holds files for COPY --from, and is not an image. `image` is
 * its FROM's, expanded. */
bool imagefile_holds_files(const struct imagefile *f, size_t stage, const char *image);
/* The error of a build whose target is such a stage. ERR_USER with its place. */
int imagefile_needs_disk(const struct imagefile *f, size_t stage, struct error **err);
/* Whether a --from of the step may have this name: -1 with ERR_USER (no place) for a number that no
 * stage has, for a stage that begins below, and for the step's own. 0: a stage, or an image. */
int imagefile_check_source(const struct imagefile *f, struct str name, size_t step,
                           struct error **err);
/* What may have been meant by a --from or FROM that names neither a stage nor an image. Owned.
 * *ret_near (may be NULL): a stage has nearly this name. */
char *imagefile_stage_advice(const struct imagefile *f, struct str name, size_t step,
                             bool *ret_near);

/* The ARGs that a FROM sees without a declaration, and a stage with one ("ARG TARGETARCH"). */
struct platform_arg {
    const char *name, *value;
};
enum { IMAGEFILE_PLATFORM_ARGS = 11 };
extern const struct platform_arg imagefile_platform_args[IMAGEFILE_PLATFORM_ARGS];
/* PATH where nothing sets it. */
extern const char imagefile_default_path[];

/* Where values of variables come from. `get` returns a borrowed C string that lives until its next
 * call, or NULL for a variable that is not set. It is called once for each use of a name, so it can
 * note which were used. */
struct imagefile_vars {
    const char *(*get)(void *ctx, struct str name);
    void *ctx;
    /* May be NULL. Told of each $name and ${name} (not of ${name:-…} and its like) that is not set,
     * with its place. */
    void (*missing)(void *ctx, struct str name, struct span at);
};

/* Appends the final bytes of a word, according to its mode, to out. Known: $name ${name} ${name:-d}
 * ${name-d} ${name:+a} ${name+a} ${name:?m} ${name?m}; what stands for d, a and m is expanded too.
 * Quotes as in Dockerfile: '…' literal; "…" with variables, \" \$ \\; \x outside = x.
 * vars NULL: no variable is set. Errors: ERR_USER with the place. */
int imagefile_expand(const struct imagefile *f, const struct word *w,
                     const struct imagefile_vars *vars, struct buf *out, struct error **err);
/* The body of a here-document of COPY or ADD: variables unless its delimiter was quoted. (The ones
 * of RUN belong to the shell.) */
int imagefile_expand_heredoc(const struct imagefile *f, const struct heredoc *h,
                             const struct imagefile_vars *vars, struct buf *out,
                             struct error **err);

/* A mount with its variables expanded; an absent `type` is bind. Errors: ERR_USER with its place. */
int imagefile_mount(const struct imagefile *f, const struct run_mount *m,
                    const struct imagefile_vars *vars, struct mount_spec *ret, struct error **err);
void mount_spec_clear(struct mount_spec *s);

enum disk_table { TABLE_GPT, TABLE_MBR, TABLE_NOT_GIVEN };
struct disk_spec {
    uint64_t size; /* bytes */
    bool more;     /* "+3 GB": so much is added to the image's disk */
    enum disk_table table;
};
enum partition_flag { PARTITION_BOOT = 1, PARTITION_EFI = 2, PARTITION_BIOS_GRUB = 4 };
struct partition_spec {
    unsigned number; /* as written; 0 = the next one, which is also what any other must be */
    uint64_t size;   /* bytes, whole MiB; 0 = what is left */
    const char *fs;  /* "ext4"…, static; NULL = not formatted */
    char *options;   /* for mkfs, "" if none; owned */
    char *mount;     /* absolute path; NULL = not mounted; owned */
    unsigned flags;  /* of enum partition_flag */
};
/* The values of a DISK or PARTITION step after expansion; words with blanks from variables are
 * split again. Units as transient gives them to qemu-img and sfdisk, so that the disks are the
 * same: in DISK, MB and GB are 2^20 and 2^30 bytes; in PARTITION they are 10^6 and 10^9. Errors:
 * the first mistake as ERR_USER with its place. */
int imagefile_disk(const struct imagefile *f, const struct imagefile_step *step,
                   const struct imagefile_vars *vars, struct disk_spec *ret, struct error **err);
int imagefile_partition(const struct imagefile *f, const struct imagefile_step *step,
                        const struct imagefile_vars *vars, struct partition_spec *ret,
                        struct error **err);
void partition_spec_clear(struct partition_spec *p);
/* "boot,efi" of a set of flags; owned. */
char *partition_flags_text(unsigned flags);
/* "scratch" in letters of either case: no base image. */
bool imagefile_is_scratch(const char *image);
/* What FROM, DISK and PARTITION must agree on once FROM's image is expanded: scratch has a DISK,
 * others have no PARTITION, and the name is not empty. */
int imagefile_check_from(const struct imagefile *f, size_t stage, const char *image,
                         struct error **err);
/* What a DISK must have in a stage from scratch, and may lack where it grows an image's disk: a
 * table, and a size that is not added to another. ERR_USER with its place. */
int imagefile_check_new_disk(const struct imagefile *f, const struct imagefile_step *step,
                             const struct disk_spec *disk, struct error **err);
/* What concerns the DISK and PARTITION steps of a stage together (numbers in order, only the last
 * without SIZE, all fit on the disk, one mounts /, no mount twice). `parts` are in step order. */
int imagefile_check_disk(const struct imagefile *f, size_t stage, const struct disk_spec *disk,
                         const struct partition_spec *parts, size_t n, struct error **err);
/* An expanded --chmod, octal or symbolic (base/mode.h): 0, or -1 with ERR_USER at w. */
int imagefile_mode(const struct imagefile *f, const struct word *w, const char *text,
                   struct error **err);

/* Adds the warnings that need nothing but the text. */
void imagefile_lint(struct imagefile *f);
/* What a text does not say by itself. */
struct imagefile_given {
    struct imagefile_vars build_args; /* --build-arg; NULL for those that were not given */
    const char *target;               /* --target, or NULL */
    /* ENV of an image of the backend, a JSON object, borrowed until the next call. NULL: there is no
     * such image, or nobody knows. May be NULL itself. */
    const json_t *(*image_env)(void *ctx, const char *image);
    void *ctx;
    /* What to do about an image that is not a stage, not in the backend, and can't be fetched: owned; NULL:
     * it is there, or may be. May be NULL itself: nobody asks. */
    char *(*image_missing)(void *ctx, const char *image);
};
/* Adds what shows only once variables have values. Errors: a FROM without an image, DISK and
 * PARTITION of expanded words, a --from of a stage that is not there or comes later. Warnings:
 * variables that nothing sets. Sets from_name and the other values that are known, of COPY, ADD and
 * mounts. */
void imagefile_evaluate(struct imagefile *f, const struct imagefile_given *given);
/* Adds a warning of the rule at `at`, for what only a caller can know (a variable that the base image
 * does not set), and keeps the diagnostics sorted. */
void imagefile_warn(struct imagefile *f, enum rule rule, struct span at, const char *help,
                    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Is `name` declared by any ARG of the file, or one of Dockerfile's predefined ones (http_proxy,
 * NO_PROXY…)? A --build-arg that is not deserves a warning. */
bool imagefile_declares(const struct imagefile *f, struct str name);

#endif
