/* SPDX-License-Identifier: MIT */
/* Shared libraries that are loaded when one of their functions is first called.
 *
 * kiln uses a dozen libraries, which bring fifty; no command needs most of them, and to load all took 40 of the 45 ms
 * of processor time of `kiln ps`. So kiln is not linked with them: tools/late-libs lists what it calls of each, and
 * cli/late_calls.S makes a function of that name, which jumps through a pointer. The pointer first leads to late_load,
 * then to the function itself. Callers see nothing of this. Test programs are linked as usual.
 */
#ifndef CLI_LATE_H
#define CLI_LATE_H

struct late_function {
    void **at; /* where its address goes */
    const char *name;
    const char *library; /* "libcurl.so.4" */
};

/* Loads the library, which stays, and stores and returns the function's address. May be called by several threads at
 * once; keeps errno. If the library is not there, ends the program as the dynamic linker would: a message, status 127.
 * Called by cli/late_calls.S alone. */
void *late_load(const struct late_function *f);

#endif
