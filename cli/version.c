// SPDX-License-Identifier: MIT
#include "cli/version.h"

#include "base/error.h"
#include "base/session.h"
#include "cli/json_result.h"
#include "cli/store.h"
#include "vm/qemu.h"

#include <archive.h>
#include <bzlib.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <jansson.h>
#include <libssh/libssh.h>
#include <lzma.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

static void print_libraries(void)
{
    printf("jansson      %s\n", jansson_version_str());
    printf("libarchive   %s\n", archive_version_details());
    printf("libbz2       %s\n", BZ2_bzlibVersion());
    printf("libcurl      %s\n", curl_version());
    printf("libcrypto    %s\n", OpenSSL_version(OPENSSL_VERSION));
    printf("liblzma      %s\n", lzma_version_string());
    printf("libssh       %s\n", ssh_version(0));
    unsigned xxh = XXH_versionNumber();
    printf("libxxhash    %u.%u.%u\n", xxh / 10000, xxh / 100 % 100, xxh % 100);
    printf("libzstd      %s\n", ZSTD_versionString());
}

static void print_features(void)
{
    void *guestfs = dlopen("libguestfs.so.0", RTLD_LAZY | RTLD_LOCAL); // stays loaded, as in doctor
    printf("features     libguestfs %s, accelerators kvm and tcg\n",
           guestfs ? "found" : "not found");
}

void version_print_json(void)
{
    json_auto_t *o = json_pack("{s:s, s:s, s:i}", "version", KILN_VERSION, "commit", KILN_COMMIT,
                               "schema", JSON_SCHEMA);
    cli_print_json(o);
}

void version_print(int verbosity)
{
    const char *commit = KILN_COMMIT;
    printf("kiln %s%s%s%s\n", KILN_VERSION, *commit ? " (" : "", commit, *commit ? ")" : "");
    if (!verbosity)
        return;
    CLEANUP(session_clear) struct session s = SESSION_INIT;
    CLEANUP(qemu_clear) struct qemu qemu = QEMU_INIT;
    CLEANUP(error_freep) struct error *err = NULL;
    (void)session_init(&s, environ, NULL); // QEMU is found without a home, too
    if (qemu_find(&s, NULL, &qemu, &err) < 0)
        printf("QEMU         %s\n", err->message);
    else
        printf("QEMU         %s (%s)\n", qemu.version, qemu.path);
    print_libraries();
    print_features();
}
