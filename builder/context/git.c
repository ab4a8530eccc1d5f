// SPDX-License-Identifier: MIT
//
// git's environment lacks what a calling git (a hook, say) has put into ours. Its settings are a file of
// ours that begins with the user's own for transfers, and none for the checkout. Submodules are fetched
// and checked out at once, with the user's settings: a template gives their repositories attributes that
// turn filters off, and beat those of the commit. A server that gives no single commits is asked for the
// ref, and then for everything.
#include "builder/context/git.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/path.h"
#include "base/process.h"
#include "base/session.h"
#include "base/vector.h"
#include "image/fetch.h"

#include <fcntl.h>
#include <fts.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHECKSUM_MIN = 7 }; // hex digits

static const char settings[] =
    "[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n"
    "\tautocrlf = false\n\teol = lf\n\tsymlinks = true\n"
    "\tsparseCheckout = false\n\tattributesFile = /dev/null\n"
    "\texcludesFile = /dev/null\n\tlogAllRefUpdates = false\n"
    "[filter \"lfs\"]\n\tsmudge =\n\tprocess =\n\trequired = false\n"
    "[submodule]\n\trecurse = false\n[init]\n\tdefaultBranch = main\n"
    "[advice]\n\tdetachedHead = false\n"
    "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n";

/* info/attributes of submodules, while they are checked out. */
#define NO_FILTERS "* -filter\n"
#define ATTRIBUTES "/info/attributes"

void git_source_clear(struct git_source *src)
{
    free(src->url);
    free(src->ref);
    free(src->subdir);
    free(src->commit);
    *src = (struct git_source){0};
}

void git_tree_clear(struct git_tree *t)
{
    free(t->dir);
    working_clear(&t->work);
}

static bool is_hex(const char *text, size_t least, size_t most)
{
    size_t n = strspn(text, "0123456789abcdef");
    return !text[n] && n >= least && n <= most;
}

static bool is_commit(const char *ref)
{
    return ref && (is_hex(ref, 40, 40) || is_hex(ref, 64, 64));
}

/* What git-check-ref-format(1) allows, as far as it could be taken for something else. */
static bool is_ref(const char *ref)
{
    for (const char *p = ref; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f || strchr("~^:?*[\\", *p))
            return false;
    return *ref != '-' && !strstr(ref, "..") && !strstr(ref, "@{");
}

int git_parse(const char *text, struct git_source *ret, struct error **err)
{
    size_t n = strcspn(text, "#");
    const char *fragment = text[n] ? text + n + 1 : "";
    size_t ref = strcspn(fragment, ":");
    CLEANUP(buf_clear) struct buf dir = BUF_INIT;
    struct str part;
    for (size_t at = 0; path_part(str_of(fragment + ref + (fragment[ref] == ':')), &at, &part);)
        if (!str_is(part, ".."))
            path_push(&dir, part);
        else
            (void)path_pop(&dir);
    ret->url = xstrndup(text, n);
    ret->ref = ref ? xstrndup(fragment, ref) : NULL;
    ret->subdir = dir.len ? xstrdup(dir.data) : NULL;
    if (!ret->ref || is_ref(ret->ref))
        return 0;
    error_set(err, ERR_USER, "'%s' is not a branch, tag or commit of git", ret->ref);
    return error_hint(err, "the form is URL#REF:FOLDER");
}

/* The environment of every git. `config`: the file of settings; NULL = the repository's alone. */
static void add_environment(struct strv *env, const char *config)
{
    // what says where a repository is, or what its settings are
    static const char *const foreign[] = {"GIT_DIR=",
                                          "GIT_WORK_TREE=",
                                          "GIT_INDEX_FILE=",
                                          "GIT_OBJECT_DIRECTORY=",
                                          "GIT_NAMESPACE=",
                                          "GIT_COMMON_DIR=",
                                          "GIT_CONFIG",
                                          "GIT_PREFIX=",
                                          "GIT_ALTERNATE_OBJECT_DIRECTORIES=",
                                          "GIT_QUARANTINE_PATH=",
                                          "GIT_SHALLOW_FILE=",
                                          "GIT_DEFAULT_HASH=",
                                          "GIT_TEMPLATE_DIR=",
                                          "GIT_ALLOW_PROTOCOL=",
                                          "GIT_TERMINAL_PROMPT=",
                                          "LC_ALL=",
                                          NULL};
    for (char **e = environ; *e; e++) {
        bool theirs = false;
        for (const char *const *name = foreign; *name; name++)
            theirs |= !strncmp(*e, *name, strlen(*name));
        if (!theirs)
            strv_add(env, *e);
    }
    strv_add(env, "GIT_ALLOW_PROTOCOL=https:http:ssh:git");
    strv_add(env, "GIT_TERMINAL_PROMPT=0");
    strv_add(env, "GIT_ATTR_NOSYSTEM=1");
    strv_add(env, "LC_ALL=C");
    if (!config)
        strv_add(env, "GIT_CONFIG_NOSYSTEM=1");
    strv_addf(env, "GIT_CONFIG_GLOBAL=%s", config ? config : "/dev/null");
}

static int run(const struct session *s, const char *config, struct strv *argv, struct buf *out,
               struct error **err)
{
    CLEANUP(strv_clear) struct strv env = {0};
    add_environment(&env, config);
    return process_run_env(s, argv->ptr, env.ptr, out, err);
}

/* The last '@' of a URL's host, whose beginning this is; NULL: there is none. */
static const char *login_end(const char *start)
{
    const char *at = NULL;
    for (const char *p = start; *p && !strchr("/?#'\" \n", *p); p++)
        at = *p == '@' ? p : at;
    return at;
}

char *git_public_url(const char *url)
{
    const char *start = strstr(url, "://"), *at = start ? login_end(start + 3) : NULL;
    if (!at)
        return xstrdup(url);
    start += 3;
    size_t user = strncasecmp(url, "http", 4) ? strcspn(start, ":@") : 0;
    return xasprintf("%.*s%s", (int)(start + user - url), url, at + !user);
}

/* What git says may hold URLs of others, such as submodules: without what logs in. */
static void mask_logins(char *text)
{
    for (char *p = text; (p = strstr(p, "://"));) {
        p += 3;
        const char *at = login_end(p);
        if (at)
            memmove(p, at + 1, strlen(at + 1) + 1);
    }
}

static int failed(const struct git_source *src, const char *what, struct error **err)
{
    if (err && *err)
        mask_logins((*err)->message);
    AUTO_FREE char *shown = fetch_shown_url(src->url);
    return error_wrap(err, "cannot %s the git repository '%s'", what, shown);
}

/* A setting, "[section]\n\tname", whose value is a path. */
static void add_path(struct buf *b, const char *name, const char *path)
{
    buf_addf(b, "%s = \"", name);
    for (const char *p = path; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_addc(b, '\\');
        buf_addc(b, *p);
    }
    buf_adds(b, "\"\n");
}

#define INCLUDE "[include]\n\tpath"

static int write_template(const char *template, struct error **err)
{
    AUTO_FREE char *path = xasprintf("%s" ATTRIBUTES, template), *dir = path_parent(path);
    return make_dirs(dir, 0700, err) < 0
               ? -1
               : file_write_whole(path, 0600, NO_FILTERS, strlen(NO_FILTERS), err);
}

static int write_settings(const struct session *s, const char *path, const char *template,
                          struct error **err)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    const char *given = session_env(s, "GIT_CONFIG_GLOBAL"), *home = session_env(s, "HOME");
    const char *xdg = session_env(s, "XDG_CONFIG_HOME");
    AUTO_FREE char *in_xdg = xdg    ? xasprintf("%s/git/config", xdg)
                             : home ? xasprintf("%s/.config/git/config", home)
                                    : NULL;
    AUTO_FREE char *in_home = home ? xasprintf("%s/.gitconfig", home) : NULL;
    if (!session_env(s, "GIT_SSH")) // a setting beats it; the user's own beats ours
        buf_adds(&b, "[core]\n\tsshCommand = ssh -o BatchMode=yes\n");
    if (given)
        add_path(&b, INCLUDE, given);
    if (!given && in_xdg)
        add_path(&b, INCLUDE, in_xdg);
    if (!given && in_home)
        add_path(&b, INCLUDE, in_home);
    buf_adds(&b, settings);
    add_path(&b, "[init]\n\ttemplateDir", template);
    return file_write_whole(path, 0600, b.data, b.len, err);
}

static int open_work(const struct session *s, struct working *w, char **ret_config,
                     struct error **err)
{
    AUTO_FREE char *git = process_find("git");
    AUTO_FREE char *parent = path_join(s->cache, "git");
    if (!git) {
        error_set(err, ERR_USER, "ADD of a git repository needs the program git");
        return error_hint(err, "apt-get install git");
    }
    working_sweep(parent);
    if (working_open(w, parent, err) < 0)
        return -1;
    *ret_config = path_join(w->dir, "config");
    AUTO_FREE char *template = path_join(w->dir, "template");
    return write_template(template, err) < 0 ? -1 : write_settings(s, *ret_config, template, err);
}

/* The commit of one line of ls-remote if it names `ref` better than what was found before. */
static void take_line(struct str line, const char *ref, int *best, char **ret)
{
    AUTO_FREE char *text = str_dup(line);
    char *tab = strchr(text, '\t');
    if (!tab)
        return;
    *tab = '\0';
    const char *name = tab + 1;
    AUTO_FREE char *branch = xasprintf("refs/heads/%s", ref);
    AUTO_FREE char *peeled = xasprintf("refs/tags/%s^{}", ref);
    AUTO_FREE char *tag = xasprintf("refs/tags/%s", ref);
    AUTO_FREE char *short_of = xasprintf("refs/%s", ref);
    AUTO_FREE char *exact_peeled = xasprintf("%s^{}", ref);
    int rank = !strcmp(name, exact_peeled) ? 6
               : !strcmp(name, ref)        ? 5
               : !strcmp(name, branch)     ? 4
               : !strcmp(name, peeled)     ? 3
               : !strcmp(name, tag)        ? 2
               : !strcmp(name, short_of)   ? 1
                                           : 0;
    if (rank <= *best || !is_commit(text))
        return;
    *best = rank;
    free(*ret);
    *ret = xstrdup(text);
}

static int ask_server(const struct session *s, struct git_source *src, struct error **err)
{
    CLEANUP(working_clear) struct working work = WORKING_INIT;
    CLEANUP(strv_clear) struct strv argv = {0};
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    AUTO_FREE char *config = NULL;
    if (open_work(s, &work, &config, err) < 0)
        return -1;
    const char *ref = src->ref ? src->ref : "HEAD";
    AUTO_FREE char *peeled = xasprintf("%s^{}", ref);
    for (char *const *w =
             ARGV("git", "-C", work.dir, "ls-remote", "--quiet", "--", src->url, ref, peeled);
         *w; w++)
        strv_add(&argv, *w);
    if (run(s, config, &argv, &out, err) < 0)
        return failed(src, "read", err);
    int best = 0;
    for (char *p = out.data, *end; p && *p; p = end + 1) {
        end = p + strcspn(p, "\n");
        take_line((struct str){p, (size_t)(end - p)}, ref, &best, &src->commit);
        if (!*end)
            break;
    }
    if (src->commit)
        return 0;
    AUTO_FREE char *shown = fetch_shown_url(src->url);
    error_set(err, ERR_USER, "the git repository '%s' has no branch or tag '%s'", shown, ref);
    return is_hex(ref, 4, 64) ? error_hint(err, "a commit is named by all of its hex digits")
                              : error_hint(err, "'git ls-remote %s' lists them", shown);
}

int git_resolve(const struct session *s, struct git_source *src, const char *checksum,
                struct error **err)
{
    if (checksum && !is_hex(checksum, CHECKSUM_MIN, 64)) {
        error_set(err, ERR_USER, "the checksum '%s' is not a commit of %d or more hex digits",
                  checksum, CHECKSUM_MIN);
        return error_hint(err, "git rev-parse HEAD prints its digits");
    }
    if (is_commit(src->ref))
        src->commit = xstrdup(src->ref);
    else if (ask_server(s, src, err) < 0)
        return -1;
    if (!checksum || !strncmp(src->commit, checksum, strlen(checksum)))
        return 0;
    AUTO_FREE char *shown = fetch_shown_url(src->url);
    error_set(err, ERR_USER, "'%s' is not what its checksum says: it is at commit %s, not %s",
              shown, src->commit, checksum);
    return error_hint(err, "the branch or tag has moved, or the checksum is of another");
}

/* `git -C dir …` in the repository; user: with the user's settings. */
struct repository {
    const struct session *s;
    const char *dir, *config;
};

static int git(const struct repository *r, bool user, char *const *words, struct buf *out,
               struct error **err)
{
    CLEANUP(strv_clear) struct strv argv = {0};
    for (char *const *w = ARGV("git", "-C", r->dir, "-c", "core.hooksPath=/dev/null", "-c",
                               "core.fsmonitor=false", "-c", "core.logAllRefUpdates=false", "-c",
                               "advice.detachedHead=false");
         *w; w++)
        strv_add(&argv, *w);
    for (char *const *w = words; *w; w++)
        strv_add(&argv, *w);
    return run(r->s, user ? r->config : NULL, &argv, out, err);
}

static bool has_commit(const struct repository *r, const char *commit)
{
    AUTO_FREE char *name = xasprintf("%s^{commit}", commit);
    return git(r, false, ARGV("cat-file", "-e", name), NULL, NULL) == 0;
}

/* -1 only when all three ways fail; the error is the last one's. */
static int fetch(const struct repository *r, const struct git_source *src, struct error **err)
{
    CLEANUP(error_freep) struct error *first = NULL;
    CLEANUP(error_freep) struct error *second = NULL;
    if (git(r, true, ARGV("fetch", "-q", "--depth=1", "--no-tags", "origin", src->commit), NULL,
            &first) == 0)
        return 0;
    if (first->kind == ERR_CANCELLED)
        return error_propagate(err, STEAL(first));
    const char *ref = src->ref ? src->ref : "HEAD";
    if (!is_commit(ref) &&
        git(r, true, ARGV("fetch", "-q", "--depth=1", "--no-tags", "origin", ref), NULL, &second) ==
            0 &&
        has_commit(r, src->commit))
        return 0;
    if (git(r, true, ARGV("fetch", "-q", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"),
            NULL, err) < 0)
        return -1;
    if (has_commit(r, src->commit))
        return 0;
    return error_set(err, ERR_USER, "it has no commit %s", src->commit);
}

static int make_uniform(const FTSENT *e, const struct timespec *at)
{
    struct timespec times[2] = {*at, *at};
    bool folder = e->fts_info == FTS_DP;
    mode_t mode = folder || e->fts_statp->st_mode & 0100 ? 0755 : 0644;
    if ((folder || e->fts_info == FTS_F) && chmod(e->fts_accpath, mode) < 0)
        return -1;
    return utimensat(AT_FDCWD, e->fts_accpath, times, AT_SYMLINK_NOFOLLOW);
}

/* Of a submodule's repository: the file that the template gave it; a branch of that name is longer. */
static bool is_ours(const struct repository *r, const FTSENT *e)
{
    size_t n = e->fts_pathlen, tail = strlen(ATTRIBUTES);
    return e->fts_info == FTS_F && e->fts_statp->st_size == (off_t)strlen(NO_FILTERS) && n > tail &&
           !strcmp(e->fts_path + n - tail, ATTRIBUTES) &&
           strstr(e->fts_path + strlen(r->dir), "/.git/");
}

/* Files as the commit has them, whatever the user's umask and clock. A submodule's .git is a file; no
 * commit can have one of that name. */
static int settle(const struct repository *r, bool keep_git_dir, struct error **err)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    AUTO_FREE char *own = path_join(r->dir, ".git");
    if (git(r, false, ARGV("log", "-1", "--format=%ct"), &out, err) < 0 ||
        (!keep_git_dir && remove_tree(own, err) < 0))
        return -1;
    struct timespec at = {.tv_sec = strtoll(out.data, NULL, 10)};
    char *const roots[] = {(char *)r->dir, NULL};
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    int rc = fts ? 0 : -1;
    for (FTSENT *e; rc == 0 && (e = fts_read(fts));) {
        if (e->fts_info == FTS_D)
            continue;
        if (is_ours(r, e) ||
            (!keep_git_dir && e->fts_info == FTS_F && !strcmp(e->fts_name, ".git")))
            rc = unlink(e->fts_accpath);
        else
            rc = make_uniform(e, &at);
    }
    if (rc < 0)
        (void)error_errno(err, "cannot set times and modes in '%s'", r->dir);
    if (fts)
        (void)fts_close(fts);
    return rc;
}

/* The commits that are pinned and no more, where the server can do that; else their whole histories. */
static int update_submodules(const struct repository *r, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    AUTO_FREE char *fetched = path_join(r->dir, ".git/modules");
    char *const *shallow =
        ARGV("submodule", "--quiet", "update", "--init", "--recursive", "--checkout", "--depth=1");
    char *const *whole =
        ARGV("submodule", "--quiet", "update", "--init", "--recursive", "--checkout");
    if (git(r, true, shallow, NULL, &why) == 0)
        return 0;
    if (why->kind == ERR_CANCELLED)
        return error_propagate(err, STEAL(why));
    // what is shallow would stay so
    if (git(r, false, ARGV("submodule", "--quiet", "deinit", "--force", "--all"), NULL, err) < 0 ||
        remove_tree(fetched, err) < 0)
        return -1;
    return git(r, true, whole, NULL, err) < 0 ? error_wrap(err, "its submodules") : 0;
}

static int check_out(const struct repository *r, const struct git_source *src, bool keep_git_dir,
                     struct error **err)
{
    AUTO_FREE char *modules = path_join(r->dir, ".gitmodules");
    AUTO_FREE char *shown = git_public_url(src->url);
    if (git(r, false, ARGV("checkout", "-q", "--detach", src->commit), NULL, err) < 0)
        return -1;
    if (access(modules, F_OK) == 0 && update_submodules(r, err) < 0)
        return -1;
    if (git(r, false, ARGV("remote", "set-url", "origin", shown), NULL, err) < 0)
        return -1;
    AUTO_FREE char *fetched = path_join(r->dir, ".git/FETCH_HEAD");
    (void)unlink(fetched);
    return settle(r, keep_git_dir, err);
}

int git_checkout(const struct session *s, const struct git_source *src, bool keep_git_dir,
                 struct git_tree *ret, struct error **err)
{
    AUTO_FREE char *config = NULL;
    AUTO_FREE char *shown = fetch_shown_url(src->url);
    if (open_work(s, &ret->work, &config, err) < 0)
        return -1;
    ret->dir = path_join(ret->work.dir, "tree");
    struct repository r = {s, ret->dir, config};
    bool sha1 = strlen(src->commit) == 40;
    char *const *init =
        ARGV("init", "-q", "--template=", sha1 ? "--object-format=sha1" : "--object-format=sha256");
    session_notice(s, "fetching '%s' at commit %.12s", shown, src->commit);
    if (make_dirs(ret->dir, 0755, err) < 0 || git(&r, false, init, NULL, err) < 0 ||
        git(&r, false, ARGV("remote", "add", "origin", src->url), NULL, err) < 0 ||
        fetch(&r, src, err) < 0)
        return failed(src, "fetch", err);
    if (check_out(&r, src, keep_git_dir, err) < 0)
        return failed(src, "check out", err);
    AUTO_FREE char *subdir = src->subdir ? path_join(ret->dir, src->subdir) : NULL;
    struct stat st;
    if (!subdir || (lstat(subdir, &st) == 0 && !S_ISREG(st.st_mode)))
        return 0;
    return error_set(err, ERR_USER, "the git repository '%s' has no folder '%s' at commit %.12s",
                     shown, src->subdir, src->commit);
}
