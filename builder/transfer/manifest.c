// SPDX-License-Identifier: MIT
#include "builder/transfer/manifest.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/json.h"
#include "registry/client.h"

#include <string.h>

json_t *manifest_descriptor(const char *type, const char *hex, uint64_t size)
{
    AUTO_FREE char *digest = xasprintf("sha256:%s", hex);
    return json_pack("{s:s,s:s,s:I}", "mediaType", type, "digest", digest, "size",
                     (json_int_t)size);
}

json_t *manifest_put_config(struct registry *r, const json_t *config, struct error **err)
{
    char hex[DIGEST_HEX + 1];
    AUTO_FREE char *text = json_text(config);
    size_t n = strlen(text);
    if (registry_put_bytes(r, text, n, hex, err) < 0)
        return NULL;
    return manifest_descriptor(MANIFEST_CONFIG_TYPE, hex, n);
}

int manifest_put(struct registry *r, const char *tag, const json_t *manifest,
                 char digest[DIGEST_HEX + 1], struct error **err)
{
    CLEANUP(buf_clear) struct buf body = BUF_INIT;
    AUTO_FREE char *text = json_text(manifest);
    struct digest d = digest_of(text, strlen(text));
    buf_adds(&body, text);
    digest_hex(&d, digest);
    return registry_put_manifest(r, tag, MANIFEST_TYPE, &body, err);
}
