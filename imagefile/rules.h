/* SPDX-License-Identifier: MIT
 *
 * The names of warnings and notes, and what "# check=skip=NAME,NAME;error=true" at the top of an
 * Imagefile says about them. Where a check means what one of BuildKit's does, it has that name
 * (https://docs.docker.com/reference/build-checks/); BuildKit's other names are known and skip nothing.
 *
 *     // given struct diags *d; const struct source *s; struct span at;
 *     diag_help(diag_warn(d, s, RULE_UNDEFINED_VAR, at, "undefined variable '%s'", "x"),
 *               "set it above");
 */
#ifndef IMAGEFILE_RULES_H
#define IMAGEFILE_RULES_H

#include "base/source.h"

enum rule {
    RULE_APT_UPDATE_ALONE,
    RULE_PIPED_SCRIPT,
    RULE_MALFORMED_LIST,
    RULE_SECRETS_IN_ARG_OR_ENV,
    RULE_DESTINATION_NOT_FOLDER,
    RULE_UNCHECKED_URL,
    RULE_WORKDIR_RELATIVE_PATH,
    RULE_UNUSED_ARG,
    RULE_UNUSED_STAGE,
    RULE_ESCAPE_DIRECTIVE,
    RULE_CHECK_DIRECTIVE,
    RULE_INVISIBLE_CHARACTER,
    RULE_NO_EMPTY_CONTINUATION,
    RULE_MAINTAINER_DEPRECATED, /* a note */
    RULE_CONTAINER_ONLY,        /* a note */
    RULE_NO_DISK,               /* a note */
    RULE_DUPLICATE_STAGE_NAME,
    RULE_UNDEFINED_VAR,
    RULE_UNDEFINED_ARG_IN_FROM,
    RULE_UNKNOWN_IMAGE,
    RULE_PARTITION_NOT_FORMATTED,
    RULE_PARTITION_ZERO,
    RULE_COUNT,
};

/* A warning or note under a rule's name, as diag_add adds it. NULL: the directive skips it. With error=true
 * a warning is an error. */
#define diag_warn(d, s, rule, at, ...) \
    (rule_skipped(d, rule) \
         ? NULL \
         : diag_rule(diag_add(d, s, rule_severity(d, rule), at, __VA_ARGS__), rule))

bool rule_skipped(const struct diags *d, enum rule rule);
enum diag_severity rule_severity(const struct diags *d, enum rule rule);
struct diag *diag_rule(struct diag *d, enum rule rule); /* names it; NULL is fine */
const char *rule_name(enum rule rule);                  /* "UndefinedVar" */

/* Reads the directives: the lines "# name=value" that stand above all else. To be called before any
 * diag_warn; what is wrong with them is a warning itself. given: what a check directive could say, too;
 * may be NULL. */
void rules_read_directives(const struct source *s, struct diags *d, const char *given);

#endif
