/* SPDX-License-Identifier: MIT
 *
 * How commands print lists: as a table, as JSON (--json), and as --format says. What a list can show are
 * columns, each made from a member of an item, which is the JSON object that --json prints.
 *
 *     static const struct option_spec options[] = {LIST_FORMAT_OPTION("{{.Name}}"), {0}};
 *     static const struct list_column columns[] = {
 *         {.field = "Name", .head = "NAME", .key = "name"},
 *         {.field = "RealSize", .head = "REAL SIZE", .key = "real_size", .add = list_add_size, .right = true},
 *         {0},
 *     };
 *     static int run(struct session *s, const struct args *a, struct error **err)
 *     {
 *         if (list_check(a, columns, err) < 0) // before work is done for it
 *             return -1;
 *         json_auto_t *items = json_array();
 *         return list_print(a, columns, items, err);
 *     }
 *
 * --format is a text with {{.Field}}, {{json .Field}} (or {{.Field | json}}) and {{json .}} in it, and \t, \n and \\; printed with
 * a newline for each item. After "table " it is the rows of a table, whose columns are parted by \t; "json" is
 * {{json .}}, "table" and nothing are the table without --format. Fields are written in any case.
 */
#ifndef CLI_LIST_H
#define CLI_LIST_H

#include "base/buf.h"
#include "cli/command.h"

struct list_column {
    const char *field; /* "RealSize", for {{.RealSize}}; NULL ends the table */
    const char *alias; /* docker's names for it, "Names,ID"; or NULL */
    const char *head;  /* above its column; NULL: not in the table without --format */
    const char *key;   /* the item's member */
    /* Adds its text, which may be a stranger's; NULL: strings and numbers as they are. Nothing: "-". */
    void (*add)(struct buf *b, const json_t *item, const char *key);
    int least;  /* narrowest column of a table */
    bool right; /* flush right in a table */
    bool text;  /* {{json .Field}} is its text, too: the member is another column's */
    bool blank; /* of the first: a blank stands before each row of the table without --format */
};

/* The member as "1.05 GiB". */
void list_add_size(struct buf *b, const json_t *item, const char *key);
/* Seconds since 1970 as how long ago that is, "12m"; and as a date of local time. */
void list_add_age(struct buf *b, const json_t *item, const char *key);
void list_add_time(struct buf *b, const json_t *item, const char *key);

/* Checks --format, and that --json and --quiet (if the command has that) are not with it. ERR_USAGE. */
int list_check(const struct args *a, const struct list_column *columns, struct error **err);
/* Prints the array of objects on stdout as --json, --quiet (the first column alone), --format or nothing
 * asks. In the table without --format, the reason "broken" of an item stands behind it. */
int list_print(const struct args *a, const struct list_column *columns, const json_t *items,
               struct error **err);

// clang-format off
/* Columns that several commands have. */
#define LIST_AGE(member) \
    .field = "Age", .key = (member), .add = list_add_age, .text = true
/* virtual: the least width of the first */
#define LIST_SIZE_COLUMNS(virtual) \
    {.field = "VirtSize", .head = "VIRT SIZE", .key = "virtual_size", .add = list_add_size, .least = (virtual), .right = true}, \
    {.field = "RealSize", .alias = "Size", .head = "REAL SIZE", .key = "real_size", .add = list_add_size, .least = 10, .right = true}
/* A row of a command's table of options; the example has fields that its list has. */
#define LIST_FORMAT_OPTION(example) \
    {"format", 0, "TEMPLATE", "Print each as TEMPLATE says, '" example "'; 'table …': with a head; json: an object a line", NULL}
// clang-format on

#endif
