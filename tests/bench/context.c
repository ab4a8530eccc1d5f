// SPDX-License-Identifier: MIT
//
// How fast the host side of COPY and ADD is:
//
//     build/plain/tests/bench/context select DIR      selecting all of DIR, best of ten
//     build/plain/tests/bench/context send DIR [SRC]  the stream of it, to nowhere
//     build/plain/tests/bench/context add DIR FILE    the same for an archive that is unpacked
//
// KILN_HOME says where the index of digests is kept; empty it first to measure cold.
#include "builder/context/context.h"
#include "base/alloc.h"
#include "base/session.h"
#include "builder/context/send.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int fail(const struct error *err)
{
    fprintf(stderr, "%s\n", err->message);
    return 1;
}

static void print_memory(void)
{
    struct rusage use;
    (void)getrusage(RUSAGE_SELF, &use);
    printf("peak memory %.1f MiB\n", (double)use.ru_maxrss / 1024);
}

static int drain(const struct session *s, struct selection *sel, struct error **err)
{
    CLEANUP(sender_freep) struct sender *snd = sender_new(s, sel);
    enum { ROOM = 1 << 20 };
    AUTO_FREE char *bytes = xmalloc(ROOM);
    double start = seconds();
    uint64_t total = 0;
    for (ssize_t n; (n = sender_read(snd, bytes, ROOM)) > 0;)
        total += (uint64_t)n;
    double took = seconds() - start;
    struct sender_progress p;
    sender_progress(snd, &p);
    printf("stream %.1f MB, %llu entries in %.3f s: %.0f MB/s, %.0f entries/s\n",
           (double)total / 1e6, (unsigned long long)p.entries, took, (double)total / 1e6 / took,
           (double)p.entries / took);
    return sender_result(snd, err);
}

int main(int argc, char **argv)
{
    CLEANUP(error_freep) struct error *err = NULL;
    struct session s;
    if (argc < 3 || session_init(&s, environ, &err) < 0)
        return 2;
    bool send = strcmp(argv[1], "select") != 0;
    struct context_source src = {.text = argc > 3 ? argv[3] : "."};
    struct context_request r = {.instruction = "COPY",
                                .sources = &src,
                                .n_sources = 1,
                                .dest = "/",
                                .unpack_local = !strcmp(argv[1], "add")};
    for (int i = 0; i < (send ? 1 : 10); i++) {
        double start = seconds();
        CLEANUP(context_freep) struct context *ctx = NULL;
        CLEANUP(selection_freep) struct selection *sel = NULL;
        if (context_open(&s, &(struct context_options){.dir = argv[2]}, &ctx, &err) < 0)
            return fail(err);
        double opened = seconds();
        if (context_select(ctx, &r, &sel, &err) < 0)
            return fail(err);
        double took = seconds() - opened;
        struct context_stats st = context_stats(ctx);
        printf(
            "open %.2f ms, select %.2f ms: %llu entries, %.1f MB; hashed %llu files, %.0f MB/s\n",
            (opened - start) * 1e3, took * 1e3, (unsigned long long)selection_entries(sel),
            (double)selection_bytes(sel) / 1e6, (unsigned long long)st.hashed_files,
            (double)st.hashed_bytes / 1e6 / took);
        if (send && drain(&s, sel, &err) < 0)
            return fail(err);
    }
    print_memory();
    session_clear(&s);
    return 0;
}
