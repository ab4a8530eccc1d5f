// SPDX-License-Identifier: MIT
// Both files are lines of fields between colons. A name that is all digits is taken as a number
// only when no line has it as a name.
#include "builder/agent/passwd.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PASSWD_FIELDS = 7, GROUP_FIELDS = 4, GROUPS_MAX = 1024 };

void who_clear(struct who *w)
{
    free(w->home);
    gids_clear(&w->groups);
    memset(w, 0, sizeof *w);
}

static bool parse_id(struct str s, unsigned *ret)
{
    uint64_t n = 0;
    if (!s.len || s.len > 10)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    *ret = (unsigned)n;
    return n < UINT32_MAX; // -1 means "leave as it is" to chown
}

static const char *advice(struct str name, const char *command)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] < '0' || name.ptr[i] > '9')
            return command;
    return "a number is at most 4294967294";
}

// Takes the next line into its fields. False at the end of the text.
static bool next_record(struct str *text, struct str *fields, int n_fields)
{
    if (!text->len)
        return false;
    struct str line = str_cut(text, '\n');
    for (int i = 0; i < n_fields; i++)
        fields[i] = i + 1 < n_fields ? str_cut(&line, ':') : line;
    return true;
}

// The line with this name, else the line with this number (field 2 of both files).
static bool find(struct str text, struct str key, struct str *fields, int n_fields)
{
    unsigned id = 0, other;
    struct str rest = text;
    while (next_record(&rest, fields, n_fields))
        if (fields[0].len && str_eq(fields[0], key))
            return true;
    if (!parse_id(key, &id))
        return false;
    rest = text;
    while (next_record(&rest, fields, n_fields))
        if (fields[0].len && parse_id(fields[2], &other) && other == id)
            return true;
    return false;
}

static bool is_member(struct str members, struct str name)
{
    while (members.len)
        if (str_eq(str_cut(&members, ','), name))
            return true;
    return false;
}

static void add_groups_of(struct str name, struct str group, struct who *w)
{
    struct str fields[GROUP_FIELDS];
    while (next_record(&group, fields, GROUP_FIELDS)) {
        unsigned gid;
        if (w->groups.len < GROUPS_MAX && is_member(fields[3], name) && parse_id(fields[2], &gid))
            *gids_push(&w->groups) = gid;
    }
}

static int resolve_group(struct str name, struct str group, gid_t *ret, struct error **err)
{
    struct str fields[GROUP_FIELDS];
    unsigned gid;
    if (find(group, name, fields, GROUP_FIELDS) ? parse_id(fields[2], &gid)
                                                : parse_id(name, &gid)) {
        *ret = gid;
        return 0;
    }
    error_set(err, ERR_USER, "the image has no group '" STR_FMT "'", STR_ARG(name));
    return error_hint(err, "%s",
                      advice(name, "create it first with RUN groupadd, or give a number"));
}

// What both forms share; ret_known tells whether passwd has the user.
static int resolve(struct str user, struct str passwd, struct str *ret_name, struct who *ret,
                   bool *ret_known, struct error **err)
{
    struct str fields[PASSWD_FIELDS];
    unsigned uid, gid;
    *ret_known = find(passwd, user, fields, PASSWD_FIELDS) && parse_id(fields[2], &uid) &&
                 parse_id(fields[3], &gid);
    if (*ret_known) {
        *ret_name = fields[0];
        ret->uid = uid;
        ret->gid = gid;
        ret->home = fields[5].len ? str_dup(fields[5]) : xstrdup("/");
        return 0;
    }
    if (!parse_id(user, &uid)) {
        error_set(err, ERR_USER, "the image has no user '" STR_FMT "'", STR_ARG(user));
        return error_hint(err, "%s",
                          advice(user, "create it first with RUN useradd, or give a number"));
    }
    ret->uid = uid;
    ret->gid = 0;
    ret->home = xstrdup(uid == 0 ? "/root" : "/");
    return 0;
}

static void split(const char *spec, struct str *ret_user, struct str *ret_group)
{
    const char *colon = strchr(spec, ':');
    *ret_user = (struct str){spec, colon ? (size_t)(colon - spec) : strlen(spec)};
    *ret_group = colon ? str_of(colon + 1) : (struct str){"", 0};
}

int who_resolve(const char *spec, struct str passwd, struct str group, struct who *ret,
                struct error **err)
{
    struct str user, group_name, name;
    bool known;
    memset(ret, 0, sizeof *ret);
    split(spec, &user, &group_name);
    if (!user.len)
        user = STR("0");
    if (resolve(user, passwd, &name, ret, &known, err) < 0)
        return -1;
    if (group_name.len)
        return resolve_group(group_name, group, &ret->gid, err);
    if (known)
        add_groups_of(name, group, ret);
    return 0;
}

int owner_resolve(const char *spec, struct str passwd, struct str group, uid_t *ret_uid,
                  gid_t *ret_gid, struct error **err)
{
    struct str user, group_name, name;
    CLEANUP(who_clear) struct who w = {0};
    bool known = false;
    split(spec, &user, &group_name);
    if (user.len && resolve(user, passwd, &name, &w, &known, err) < 0)
        return -1;
    if (user.len && !known)
        w.gid = w.uid;
    if (group_name.len && resolve_group(group_name, group, &w.gid, err) < 0)
        return -1;
    *ret_uid = w.uid;
    *ret_gid = w.gid;
    return 0;
}
