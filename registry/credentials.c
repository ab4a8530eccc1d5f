// SPDX-License-Identifier: MIT
//
// Files are read each time: they are small, and another program may have logged in meanwhile.
#include "registry/credentials.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/session.h"
#include "base/vector.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

static void wipe(char *secret)
{
    if (secret)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}

void credentials_clear(struct credentials *c)
{
    free(c->user);
    wipe(c->password);
    wipe(c->identity);
    memset(c, 0, sizeof *c);
}

static char *config_path(const struct session *s, const char *name)
{
    const char *config = session_setting(s, "XDG_CONFIG_HOME"), *home = session_setting(s, "HOME");
    if (config)
        return path_join(config, name);
    return home ? xasprintf("%s/.config/%s", home, name) : NULL;
}

static int own_file(const struct session *s, char **ret, struct error **err)
{
    *ret = config_path(s, "kiln/auth.json");
    return *ret ? 0 : error_set(err, ERR_USER, "neither XDG_CONFIG_HOME nor HOME is set");
}

/* "user:password" in base64, split at the first colon: passwords may have more. */
static int take_auth(const char *text, struct credentials *ret)
{
    size_t n = strlen(text);
    if (!n || n % 4 || n > 65536)
        return -1;
    AUTO_FREE unsigned char *plain = xcalloc(1, n / 4 * 3 + 1);
    int len = EVP_DecodeBlock(plain, (const unsigned char *)text, (int)n);
    size_t pad = text[n - 1] != '=' ? 0 : text[n - 2] != '=' ? 1 : 2;
    if (len < (int)pad)
        return -1;
    plain[(size_t)len - pad] = '\0';
    char *colon = strchr((char *)plain, ':');
    if (!colon)
        return -1;
    *colon = '\0';
    ret->user = xstrdup((char *)plain);
    ret->password = xstrdup(colon + 1);
    OPENSSL_cleanse(plain, (size_t)len);
    return 0;
}

static char *encode_auth(const char *user, const char *password)
{
    AUTO_FREE char *plain = xasprintf("%s:%s", user, password);
    size_t n = strlen(plain);
    char *text = xcalloc(1, (n + 2) / 3 * 4 + 1);
    EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)plain, (int)n);
    OPENSSL_cleanse(plain, n);
    return text;
}

/* The helper reads the host from stdin; what it prints has the secret and goes nowhere else. */
static int run_helper(const char *helper, const char *host, struct buf *out, struct error **err)
{
    AUTO_FREE char *program = xasprintf("docker-credential-%s", helper);
    CLEANUP(process_clear) struct process p = PROCESS_INIT;
    struct process_spec spec = {.argv = ARGV(program, "get"),
                                .in = PROCESS_PIPE,
                                .out = PROCESS_PIPE,
                                .errors = PROCESS_INHERIT};
    if (strchr(helper, '/'))
        return error_set(err, ERR_USER, "'%s' is not the name of a credential helper", helper);
    if (process_start(&p, &spec, err) < 0)
        return -1;
    (void)write_all(p.in, host, strlen(host));
    (void)close(STEAL_FD(p.in));
    char chunk[4096];
    for (ssize_t n; out->len < (1 << 20) && (n = read(p.out, chunk, sizeof chunk)) > 0;)
        buf_add(out, chunk, (size_t)n);
    if (process_wait(&p, 60000, err) < 0)
        return error_wrap(err, "'%s'", program);
    if (!p.status)
        return 1;
    if (strstr(out->data, "not found"))
        return 0;
    AUTO_FREE char *how = process_failed_text(p.status);
    return error_set(err, ERR_SYSTEM, "'%s get' %s", program, how);
}

static int ask_helper(const char *helper, const char *host, struct credentials *ret,
                      struct error **err)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    int found = run_helper(helper, host, &out, err);
    if (found <= 0)
        return found;
    json_auto_t *answer = json_loadb(out.data, out.len, 0, NULL);
    OPENSSL_cleanse(out.data, out.len);
    const char *user = json_str(answer, "Username"), *secret = json_str(answer, "Secret");
    if (!user || !secret)
        return error_set(err, ERR_SYSTEM, "'docker-credential-%s' gave no user and secret", helper);
    if (!strcmp(user, "<token>"))
        ret->identity = xstrdup(secret);
    else
        ret->password = xstrdup(secret);
    ret->user = xstrdup(user);
    return 1;
}

static const json_t *entry_of(const json_t *auths, const char *host, const char *repo)
{
    CLEANUP(buf_clear) struct buf key = BUF_INIT;
    buf_addf(&key, "%s/%s", host, repo ? repo : "");
    for (size_t n = key.len; n >= strlen(host); n--) {
        if (key.data[n] != '/' && key.data[n])
            continue;
        key.data[n] = '\0';
        const json_t *found = json_object_get(auths, key.data);
        if (found)
            return found;
    }
    AUTO_FREE char *a = xasprintf("https://%s", host), *b = xasprintf("https://%s/v1/", host);
    const json_t *found = json_object_get(auths, a);
    return found ? found : json_object_get(auths, b);
}

static int look_in(const char *path, const char *host, const char *repo, struct credentials *ret,
                   struct error **err)
{
    struct error *why = NULL;
    json_auto_t *file = json_read_file(path, &why);
    if (!file && why->kind == ERR_NOT_FOUND) {
        error_free(why);
        return 0;
    }
    if (!file)
        return error_propagate(err, why);
    const char *helper = json_str(json_object_get(file, "credHelpers"), host);
    if (helper)
        return ask_helper(helper, host, ret, err);
    const json_t *entry = entry_of(json_object_get(file, "auths"), host, repo);
    const char *identity = json_str(entry, "identitytoken"), *auth = json_str(entry, "auth");
    if (identity && *identity) {
        ret->identity = xstrdup(identity);
        return 1;
    }
    if (auth && *auth) {
        if (take_auth(auth, ret) < 0)
            return error_set(err, ERR_USER, "'%s' has no valid 'auth' for '%s'", path, host);
        return 1;
    }
    helper = json_str(file, "credsStore");
    return helper && *helper ? ask_helper(helper, host, ret, err) : 0;
}

static bool from_env(const struct session *s, const char *host, struct credentials *ret)
{
    const char *user = session_setting(s, "KILN_REGISTRY_USER"),
               *password = session_setting(s, "KILN_REGISTRY_PASSWORD");
    const char *only = session_setting(s, "KILN_REGISTRY_HOST");
    if (!user || !password || (only && strcasecmp(only, host) != 0))
        return false;
    ret->user = xstrdup(user);
    ret->password = xstrdup(password);
    return true;
}

static void add_path(struct strv *paths, const char *dir, const char *name)
{
    if (dir)
        strv_add_take(paths, path_join(dir, name));
}

static void places(const struct session *s, struct strv *paths)
{
    const char *home = session_setting(s, "HOME"), *docker = session_setting(s, "DOCKER_CONFIG");
    AUTO_FREE char *own = config_path(s, "kiln/auth.json");
    AUTO_FREE char *podman = config_path(s, "containers/auth.json");
    if (session_setting(s, "REGISTRY_AUTH_FILE"))
        strv_add(paths, session_setting(s, "REGISTRY_AUTH_FILE"));
    if (own)
        strv_add(paths, own);
    add_path(paths, session_setting(s, "XDG_RUNTIME_DIR"), "containers/auth.json");
    if (podman)
        strv_add(paths, podman);
    if (docker)
        add_path(paths, docker, "config.json");
    else
        add_path(paths, home, ".docker/config.json");
}

int credentials_find(const struct session *s, const char *host, const char *repo,
                     struct credentials *ret, struct error **err)
{
    CLEANUP(strv_clear) struct strv paths = {0};
    if (from_env(s, host, ret))
        return 1;
    places(s, &paths);
    for (size_t i = 0; i < paths.len; i++) {
        int found = look_in(paths.ptr[i], host, repo, ret, err);
        if (found)
            return found;
    }
    return 0;
}

/* Our file, or an empty one; and its path. */
static json_t *load_own(const struct session *s, char **path, struct error **err)
{
    struct error *why = NULL;
    if (own_file(s, path, err) < 0)
        return NULL;
    json_t *file = json_read_file(*path, &why);
    if (!file && why->kind == ERR_NOT_FOUND) {
        error_free(STEAL(why));
        return json_object();
    }
    if (!file)
        error_propagate(err, why);
    return file;
}

int credentials_store(const struct session *s, const char *host, const char *user,
                      const char *password, struct error **err)
{
    AUTO_FREE char *path = NULL;
    json_auto_t *file = load_own(s, &path, err);
    if (!file)
        return -1;
    AUTO_FREE char *folder = path_parent(path);
    AUTO_FREE char *auth = encode_auth(user, password);
    json_t *auths = json_object_get(file, "auths");
    if (!json_is_object(auths)) {
        auths = json_object();
        json_object_set_new(file, "auths", auths);
    }
    json_object_set_new(auths, host, json_pack("{s:s}", "auth", auth));
    if (make_dirs(folder, 0700, err) < 0)
        return -1;
    return json_write_file(path, 0600, file, err);
}

int credentials_forget(const struct session *s, const char *host, struct error **err)
{
    AUTO_FREE char *path = NULL;
    json_auto_t *file = load_own(s, &path, err);
    if (!file)
        return -1;
    if (json_object_del(json_object_get(file, "auths"), host) < 0)
        return 0;
    return json_write_file(path, 0600, file, err) < 0 ? -1 : 1;
}
