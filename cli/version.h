/* SPDX-License-Identifier: MIT
 *
 * `kiln --version`: the version and the commit it was built from.
 */
#ifndef CLI_VERSION_H
#define CLI_VERSION_H

/* One line; with verbosity (-v) also QEMU, the libraries in use and what was found at run time. */
void version_print(int verbosity);
/* The same as JSON: version, commit, and the schema of docs/json.md. */
void version_print_json(void);

#endif
