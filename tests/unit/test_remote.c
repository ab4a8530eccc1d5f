// SPDX-License-Identifier: MIT
//
// ADD from http URLs, against a server in a thread of this test.
#include "tests/unit/context_fixture.h"

#include "builder/context/remote.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>

/* Serves one file under every path; counts what it did. */
struct server {
    int socket;
    unsigned port;
    pthread_t thread;
    pthread_mutex_t lock;
    const char *content, *etag, *modified; /* etag and modified may be NULL */
    int status;                            /* 0: serve; else: answer this */
    unsigned sent, unchanged;
};

static void answer(struct server *s, int fd, const char *request)
{
    char head[1024];
    const char *etag = s->etag ? s->etag : "-";
    AUTO_FREE char *condition = xasprintf("If-None-Match: %s\r\n", etag);
    AUTO_FREE char *since = xasprintf("If-Modified-Since: %s\r\n", s->modified ? s->modified : "-");
    const char *what = "200 OK", *body = s->content;
    if (s->status) {
        what = s->status == 404 ? "404 Not Found" : "403 Forbidden";
        body = "no";
    } else if (strstr(request, condition) || (!s->etag && strstr(request, since))) {
        what = "304 Not Modified";
        body = "";
        s->unchanged++;
    } else
        s->sent++;
    int n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nConnection: close\r\n%s%s%s%s%s%s", what,
                     s->etag ? "ETag: " : "", s->etag ? s->etag : "", s->etag ? "\r\n" : "",
                     s->modified ? "Last-Modified: " : "", s->modified ? s->modified : "",
                     s->modified ? "\r\n" : "");
    (void)write_all(fd, head, (size_t)n);
    n = *body ? snprintf(head, sizeof head, "Content-Length: %zu\r\n\r\n", strlen(body))
              : snprintf(head, sizeof head, "\r\n");
    (void)write_all(fd, head, (size_t)n);
    (void)write_all(fd, body, strlen(body));
}

static void *serve(void *arg)
{
    struct server *s = arg;
    for (;;) {
        AUTO_CLOSE int fd = accept4(s->socket, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        char request[4096];
        size_t have = 0;
        request[0] = '\0';
        while (have < sizeof request - 1 && !strstr(request, "\r\n\r\n")) {
            ssize_t n = read(fd, request + have, sizeof request - 1 - have);
            if (n <= 0)
                break;
            request[have += (size_t)n] = '\0';
        }
        (void)pthread_mutex_lock(&s->lock);
        answer(s, fd, request);
        (void)pthread_mutex_unlock(&s->lock);
    }
}

static void server_start(struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    *s = (struct server){.lock = PTHREAD_MUTEX_INITIALIZER, .content = "remote content\n"};
    s->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->socket, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s->socket, 8), 0);
    assert_int_equal(getsockname(s->socket, (struct sockaddr *)&a, &len), 0);
    s->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
    (void)shutdown(s->socket, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->socket);
}

static char *fetch_text_of(struct fixture *f, struct server *s, const char *checksum,
                           struct error **err)
{
    AUTO_FREE char *url = xasprintf("http://127.0.0.1:%u/dir/file%%20name.txt?x=/y", s->port);
    CLEANUP(remote_file_clear) struct remote_file file = REMOTE_FILE_INIT;
    if (remote_fetch(&f->session, url, checksum, &file, err) < 0)
        return NULL;
    assert_string_equal(file.name, "file name.txt");
    char *text = xcalloc(file.size + 1, 1);
    assert_int_equal(pread_all(file.fd, text, file.size, 0), file.size);
    struct digest d = digest_of(text, file.size);
    assert_true(digest_eq(&d, &file.digest));
    return text;
}

static void expect_text(struct fixture *f, struct server *s, const char *expected)
{
    CLEANUP(error_freep) struct error *err = NULL;
    AUTO_FREE char *text = fetch_text_of(f, s, NULL, &err);
    if (!text)
        fail_msg("%s", err->message);
    assert_string_equal(text, expected);
}

static void an_unchanged_file_is_not_sent_again(void **state)
{
    struct fixture *f = *state;
    CLEANUP(server_stop) struct server s;
    server_start(&s);
    s.etag = "\"one\"";
    expect_text(f, &s, "remote content\n");
    expect_text(f, &s, "remote content\n");
    assert_int_equal(s.sent, 1);
    assert_int_equal(s.unchanged, 1);

    s.etag = "\"two\"";
    s.content = "other\n";
    expect_text(f, &s, "other\n");
    expect_text(f, &s, "other\n");
    assert_int_equal(s.unchanged, 2);

    s.etag = NULL;
    s.modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    expect_text(f, &s, "other\n");
    unsigned sent = s.sent;
    expect_text(f, &s, "other\n");
    assert_int_equal(s.sent, sent);

    s.modified = NULL; // nothing to ask with
    s.content = "third\n";
    expect_text(f, &s, "third\n");
    expect_text(f, &s, "third\n");
    assert_true(s.sent >= sent + 2);
}

static void a_damaged_copy_is_fetched_again(void **state)
{
    struct fixture *f = *state;
    CLEANUP(server_stop) struct server s;
    server_start(&s);
    s.etag = "\"one\"";
    expect_text(f, &s, "remote content\n");
    struct digest d = digest_of(s.content, strlen(s.content));
    char hex[DIGEST_HEX + 1];
    digest_hex(&d, hex);
    AUTO_FREE char *path = xasprintf("%s/remote/%s", f->session.cache, hex);
    assert_int_equal(file_write_whole(path, 0644, "damaged content", 15, NULL), 0);
    expect_text(f, &s, "remote content\n");
    assert_int_equal(s.sent, 2);
}

static void a_checksum_decides(void **state)
{
    struct fixture *f = *state;
    CLEANUP(server_stop) struct server s;
    server_start(&s);
    struct digest d = digest_of(s.content, strlen(s.content));
    char hex[DIGEST_HEX + 1];
    digest_hex(&d, hex);
    AUTO_FREE char *good = xasprintf("sha256:%s", hex);
    CLEANUP(error_freep) struct error *err = NULL;
    AUTO_FREE char *first = fetch_text_of(f, &s, good, &err);
    assert_string_equal(first, s.content);
    s.status = 403; // nobody is asked again
    AUTO_FREE char *again = fetch_text_of(f, &s, good, &err);
    assert_string_equal(again, s.content);
    s.status = 0;

    hex[0] = hex[0] == '0' ? '1' : '0';
    AUTO_FREE char *bad = xasprintf("sha256:%s", hex);
    assert_null(fetch_text_of(f, &s, bad, &err));
    assert_int_equal(err->kind, ERR_USER);
    assert_non_null(strstr(err->message, "not what its checksum says"));
    error_free(STEAL(err));
    assert_null(fetch_text_of(f, &s, "md5:abc", &err));
    assert_non_null(strstr(err->message, "'md5:abc' is not of the form sha256:"));
}

static void what_is_not_there_is_said(void **state)
{
    struct fixture *f = *state;
    CLEANUP(server_stop) struct server s;
    server_start(&s);
    s.status = 404;
    CLEANUP(error_freep) struct error *err = NULL;
    assert_null(fetch_text_of(f, &s, NULL, &err));
    assert_int_equal(err->kind, ERR_NOT_FOUND);
    error_free(STEAL(err));
    struct remote_file file = REMOTE_FILE_INIT;
    assert_int_equal(remote_fetch(&f->session, "ftp://x/y", NULL, &file, &err), -1);
    assert_non_null(strstr(err->message, "not an http or https URL"));
    error_free(STEAL(err));
    assert_int_equal(remote_fetch(&f->session, "file:///etc/passwd", NULL, &file, &err), -1);
}

static void add_copies_what_it_fetched(void **state)
{
    struct fixture *f = *state;
    CLEANUP(server_stop) struct server s;
    server_start(&s);
    s.modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    AUTO_FREE char *url = xasprintf("http://127.0.0.1:%u/a/tool", s.port);
    AUTO_FREE char *nameless = xasprintf("http://127.0.0.1:%u/", s.port);
    struct context_source src = {.kind = SOURCE_URL, .text = url};
    struct context_request r = {
        .instruction = "ADD", .sources = &src, .n_sources = 1, .dest = "/bin/"};
    assert_int_equal(
        context_open(&f->session, &(struct context_options){.dir = f->dir}, &f->ctx, NULL), 0);
    assert_int_equal(context_select(f->ctx, &r, &f->sel, NULL), 0);
    CLEANUP(gots_free) struct gots all = sent(f);
    const struct got *g = find(&all, "tool");
    assert_string_equal(g->content.data, "remote content\n");
    assert_int_equal(g->head.mode, 0600);
    assert_int_equal(g->head.mtime, 784111777);

    selection_free(STEAL(f->sel));
    CLEANUP(error_freep) struct error *err = NULL;
    src.text = nameless;
    assert_int_equal(context_select(f->ctx, &r, &f->sel, &err), -1);
    assert_non_null(strstr(err->message, "does not end in a file name"));
    r.dest = "/bin/tool";
    assert_int_equal(context_select(f->ctx, &r, &f->sel, NULL), 0);
    CLEANUP(gots_free) struct gots named = sent(f);
    assert_string_equal(named.ptr[0].path, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_unchanged_file_is_not_sent_again),
        TEST(a_damaged_copy_is_fetched_again),
        TEST(a_checksum_decides),
        TEST(what_is_not_there_is_said),
        TEST(add_copies_what_it_fetched),
    };
    return cmocka_run_group_tests_name("remote", tests, NULL, NULL);
}
