// SPDX-License-Identifier: MIT
//
// Requests one after the other, until standard input ends.
#include "builder/guestfs/channel.h"
#include "builder/guestfs/job.h"

#include "base/alloc.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void list_free(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

void list_freep(char ***list)
{
    list_free(*list);
}

int job_failed(struct job *j, const char *text, const char *hint)
{
    const char *why = text ? text : guestfs_last_error(j->g);
    (void)json_object_set_new(j->reply, "error", json_string(why ? why : "unknown error"));
    if (hint)
        (void)json_object_set_new(j->reply, "hint", json_string(hint));
    return -1;
}

void job_warn(struct job *j, const char *text)
{
    json_t *list = json_object_get(j->reply, "warnings");
    if (!list)
        (void)json_object_set_new(j->reply, "warnings", list = json_array());
    (void)json_array_append_new(list, json_string(text));
}

/* What libguestfs takes for an appliance; the real one runs already. */
static int make_appliance(const char *folder)
{
    static const char *const names[] = {"vmlinuz.x86_64", "initramfs.x86_64.img"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = xasprintf("%s/%s", folder, names[i]);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        free(path);
        if (fd < 0)
            return -1;
        close(fd);
    }
    return 0;
}

static int launch(struct job *j, const char *folder, const char *cache)
{
    char *qemu = xasprintf("/proc/%d/exe", (int)getpid());
    char tcg[] = "force_tcg", *settings[] = {tcg, NULL};
    guestfs_h *g = j->g;
    guestfs_set_error_handler(g, NULL, NULL);
    int rc = guestfs_set_backend(g, "direct") < 0 ||
                     guestfs_set_backend_settings(g, settings) < 0 || guestfs_set_hv(g, qemu) < 0 ||
                     guestfs_set_path(g, folder) < 0 || guestfs_set_tmpdir(g, folder) < 0 ||
                     guestfs_set_cachedir(g, cache) < 0 || guestfs_set_autosync(g, 0) < 0 ||
                     guestfs_set_recovery_proc(g, 0) < 0 || guestfs_add_drive(g, "/dev/null") < 0 ||
                     guestfs_launch(g) < 0
                 ? job_failed(j, NULL, NULL)
                 : 0;
    free(qemu);
    return rc;
}

static void serve(struct job *j)
{
    const char *what = json_string_value(json_object_get(j->request, "do"));
    if (what && !strcmp(what, "mount"))
        (void)job_mount(j);
    else if (what && !strcmp(what, "inspect"))
        (void)job_inspect(j);
    else
        (void)job_failed(j, "no such request", NULL);
}

/* A descriptor, as kiln writes it. */
static int number(const char *text)
{
    return text ? (int)strtol(text, NULL, 10) : -1;
}

static void answer(struct job *j, const char *line)
{
    json_t *request = json_loads(line, 0, NULL);
    j->request = request;
    if (!json_object_get(j->reply, "error"))
        serve(j);
    (void)json_dumpf(j->reply, stdout, JSON_COMPACT);
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(request);
    json_decref(j->reply);
}

int main(int argc, char **argv)
{
    struct job j = {.g = NULL};
    char *line = NULL;
    size_t size = 0;
    (void)signal(SIGPIPE, SIG_IGN);
    if (channel_is_qemu())
        return channel_qemu(argv);
    if (argc != 4)
        return 2;
    // as other processes see it
    char *folder = xasprintf("/proc/%d/fd/%d", (int)getpid(), number(argv[2]));
    if (make_appliance(folder) < 0 || channel_start(number(argv[1]), folder) < 0 ||
        !(j.g = guestfs_create()))
        return 1;
    for (bool launched = false; getline(&line, &size, stdin) > 0; launched = true) {
        j.reply = json_object();
        if (!launched)
            (void)launch(&j, folder, argv[3]);
        answer(&j, line);
    }
    guestfs_close(j.g);
    return 0;
}
