#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Registries and layouts that want harm (tests/servers/hostile.py). No VM is needed.
bats_require_minimum_version 1.5.0
load common

# serve FOLDER [PEM]: a registry with this folder; its ports are in FOLDER.ports.
serve() {
  python3 "$BATS_TEST_DIRNAME/../servers/hostile.py" "$@" >"$1.ports" 3>&- &
  echo $! >>pids
  until [ -s "$1.ports" ]; do sleep 0.05; done
}

# certificate NAME: NAME.pem of this name, with its key.
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -days 2 \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$1.key" -out "$1.crt" 2>/dev/null
  cat "$1.crt" "$1.key" >"$1.pem"
}

setup_file() {
  export KILN_ACCEL=none KILN_HTTP_RETRY_MS=10 HOME="$BATS_FILE_TMPDIR" HOST OTHER HOST6
  unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY XDG_CONFIG_HOME XDG_RUNTIME_DIR DOCKER_CONFIG \
    REGISTRY_AUTH_FILE KILN_REGISTRY_USER KILN_REGISTRY_PASSWORD CURL_CA_BUNDLE SSL_CERT_FILE
  cd "$BATS_FILE_TMPDIR" || return
  serve evil
  read -r HOST OTHER HOST6 <evil.ports
  HOST=127.0.0.1:$HOST HOST6=[::1]:$HOST6
}

teardown_file() { xargs kill <"$BATS_FILE_TMPDIR/pids"; }

setup() {
  export KILN_HOME="$BATS_TEST_TMPDIR/home"
  cd "$BATS_FILE_TMPDIR" || return
  rm -f evil/*
}

# pull MODE [PLATFORM]: as the registry then is; fails within a minute.
pull() {
  echo "$1" >evil/mode
  rm -rf "$KILN_HOME/backend" evil/log evil/other
  run timeout 60 "$KILN" image pull ${2:+--platform "$2"} --name x "oci://$HOST/a/b:1"
  echo "$*: $output"
}

nothing_here() {
  [ "$("$KILN" image ls -q | wc -l)" -eq 0 ]
  [ -z "$(find "$KILN_HOME/backend/.layers" -name disk.qcow2 2>/dev/null)" ]
}

@test "answers that never end, or are not what they say, end in words" {
  local want
  for want in loop:'redirects followed' headers:'response headers' chunked:'outstanding read data' \
    longer:'sent more bytes than it should' shorter:'sends too little' file:'Protocol "file" not supported'; do
    pull "${want%%:*}"
    [ "$status" -eq 1 ]
    [[ $output == "error: cannot pull 'oci://$HOST/a/b:1': "*"${want#*:}"* ]]
    nothing_here
  done
  # what is only odd is taken
  for want in normal early packed elsewhere; do
    pull $want
    [ "$status" -eq 0 ]
    [ "$("$KILN" image ls -q)" = x ]
  done
  [ "$(cat evil/other)" = "GET $(tail -n 1 evil/log | cut -d ' ' -f 2) -" ]
  # who answers is named, and a login at the registry is not what helps
  local where="'$OTHER' (registry '$HOST' leads there)" status_there
  for status_there in 400 403 404 410 503; do
    pull denied-$status_there
    [ "$status" -eq 1 ]
    [[ $output == *": $where answers $status_there to the request"* ]]
    [[ $output != *hint:* ]]
    nothing_here
  done
  pull denied-403
  [[ $output == *'to the request for a blob: no, said the storage'* ]]
  pull normal
  for status_there in 403 507; do
    echo denied-$status_there >evil/mode
    run -1 timeout 60 "$KILN" image push x "oci://$HOST/a/new:2"
    echo "$output"
    [[ $output == *": $where answers $status_there to "* ]]
  done
  # what is asked before a push goes round in circles, too
  echo loop >evil/mode
  run -1 timeout 60 "$KILN" image push x "oci://$HOST/a/b:2"
  [[ $output == *'redirects followed'* ]]
}

@test "Retry-After is waited for" {
  local mode
  for mode in wait wait-until; do
    pull $mode
    [ "$status" -eq 0 ]
    [ "$(cat evil/waited)" -ge 1990 ]
    rm evil/waited
  done
}

@test "challenges: the one for Bearer is found among others; the password goes to no other host, nor a token with a line break" {
  export KILN_REGISTRY_USER=u KILN_REGISTRY_PASSWORD=p:w
  pull token
  [ "$status" -eq 0 ]
  grep -qx 'GET /token?account=u&service=s&scope=repository%3Aa%3Apull%20repository%3Ab%2Fc%3Apull%2Cpush Basic dTpwOnc=' evil/log
  # to the other host neither when a blob is fetched, nor when one is sent
  pull away
  [ "$status" -eq 0 ]
  grep -q '^GET .*/blobs/.* Bearer good$' evil/log
  [ "$(grep -c '^GET .* -$' evil/other)" -eq 1 ]
  "$KILN" image push x "oci://$HOST/a/new:1"
  grep -q '^POST .* Bearer good$' evil/log
  [ "$(grep -c '^PUT /upload.* -$' evil/other)" -ge 1 ]
  [ "$(grep -cv ' -$' evil/other)" -eq 0 ]
  local want
  for want in ftp:"a token from 'ftp://127.0.0.1/token'" far:"a token from 'http://localhost@far.invalid/token'" newline:'gives u no token' \
    weak:'answers 401'; do
    pull "${want%%:*}"
    [ "$status" -eq 1 ]
    [ "$(grep -c X-Evil evil/log)" -eq 0 ]
    [[ $output == *"${want#*:}"* ]]
    nothing_here
  done
  [ "$(grep -c '/token' evil/log)" -eq 1 ] # a token that is too weak is not asked for again
}

@test "challenges: an IPv6 address is the registry's own only if all of it is" {
  [ "$HOST6" != '[::1]:0' ] || skip 'no IPv6 here'
  export KILN_REGISTRY_USER=u KILN_REGISTRY_PASSWORD=p:w HOST=$HOST6
  pull token
  [ "$status" -eq 0 ]
  pull far6
  [ "$status" -eq 1 ]
  [[ $output == *"wants a token from 'http://[::ffff:127.0.0.1]:${OTHER#*:}/token', which is not https: not asked"* ]]
  [ ! -e evil/other ]
}

# tls_pull MODE: as pull, from the registry that speaks TLS; TLS is its address, FAR the one of the other server.
tls_pull() {
  echo "$1" >tls/mode
  rm -rf "$KILN_HOME/backend" tls/log tls/other
  run timeout 60 "$KILN" image pull --name x "oci://$TLS/a/b:1"
  echo "$1: $output"
}

@test "certs.d: the authorities are also for where tokens are given, the client's certificate is for the registry only" {
  local dir
  certificate own
  certificate foreign
  serve tls own.pem
  read -r TLS FAR _ <tls.ports
  TLS=127.0.0.1:$TLS dir=.config/containers/certs.d/$TLS
  mkdir -p "$dir"
  cp own.crt "$dir/ca.crt"
  cp own.crt "$dir/client.cert"
  cp own.key "$dir/client.key"
  tls_pull elsewhere-token
  [ "$status" -eq 0 ]
  [[ $(cat tls/other) == 'GET /token?'*' -' ]]
  [ "$(grep -c ' Bearer good cert$' tls/log)" -eq 2 ]
  # what a redirect leads to is trusted as any other address is
  tls_pull elsewhere
  [ "$status" -eq 1 ]
  [[ $output == *"cannot talk to '$FAR' (registry '$TLS' leads there): "*certificate* ]]
  SSL_CERT_FILE=$PWD/own.crt tls_pull elsewhere
  [ "$status" -eq 0 ]
  [[ $(cat tls/other) == 'GET /v2/'*' -' ]]
  [ "$(grep -cv ' cert$' tls/log)" -eq 0 ]
  # but by the authorities in its own folder, and it is shown the certificate there alone
  local far=.config/containers/certs.d/$FAR mode
  mkdir -p "$far"
  cp own.crt "$far/ca.crt"
  tls_pull elsewhere
  [ "$status" -eq 0 ]
  [[ $(cat tls/other) == 'GET /v2/'*' -' ]]
  echo away >tls/mode
  KILN_REGISTRY_USER=u KILN_REGISTRY_PASSWORD=p:w "$KILN" image push x "oci://$TLS/a/b:2"
  [ "$(grep -c '^PUT /upload.* -$' tls/other)" -ge 1 ]
  [ "$(grep -c ' cert$' tls/other)" -eq 0 ]
  cp own.crt "$far/client.cert"
  tls_pull elsewhere
  [ "$status" -eq 1 ]
  [[ $output == *"cannot talk to '$FAR' (registry '$TLS' leads there): "*"client.cert' has no "*"client.key' beside it"* ]]
  cp own.key "$far/client.key"
  for mode in elsewhere elsewhere-token; do
    tls_pull $mode
    [ "$status" -eq 0 ]
    [[ $(cat tls/other) == 'GET /'*' cert' ]]
  done
  # the registry's authorities are for its tokens, also then
  cp foreign.crt "$far/ca.crt"
  tls_pull elsewhere-token
  [ "$status" -eq 0 ]
  tls_pull elsewhere
  [ "$status" -eq 1 ]
  rm -r "$far"
  # SSL_CERT_FILE and CURL_CA_BUNDLE count besides certs.d
  cp foreign.crt "$dir/ca.crt"
  tls_pull normal
  [ "$status" -eq 1 ]
  [[ $output == *"cannot talk to registry '$TLS': "*certificate* ]]
  SSL_CERT_FILE=$PWD/own.crt tls_pull normal
  [ "$status" -eq 0 ]
  CURL_CA_BUNDLE=$PWD/own.crt tls_pull elsewhere-token
  [ "$status" -eq 0 ]
  SSL_CERT_FILE=/none tls_pull normal
  [ "$status" -eq 1 ]
  [[ $output == *"'/none'"* ]]
}

# as_user COMMAND...: as one whom files without any rights are closed to; his home is $TOP.
as_user() {
  local become=()
  [ "$(id -u)" -ne 0 ] || become=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
  "${become[@]}" env HOME="$TOP" KILN_HOME="$TOP/kiln-home" TMPDIR="$TOP" "$@"
}

@test "certs.d: what the user may not read is left out; of a registry without TLS nothing is looked at" {
  local dir=.config/containers/certs.d TOP
  mkdir -p "$dir/$HOST"
  touch "$dir/$HOST/client.cert"
  pull normal
  [ "$status" -eq 0 ]
  [ -z "$output" ]
  certificate closed
  serve closed closed.pem
  read -r TLS _ _ <closed.ports
  TLS=127.0.0.1:$TLS TOP=$(mktemp -d "${TMPDIR:-/tmp}/kiln-certs.XXXXXX")
  dir=$TOP/.config/containers/certs.d/$TLS
  mkdir -p "$dir"
  cp "$KILN" "$TOP/kiln"
  cp closed.crt "$dir/ca.crt"
  cp closed.crt "$dir/client.cert"
  cp closed.key "$dir/client.key"
  touch "$dir/more.crt"
  mkdir "$TOP/.config/containers/certs.d/$HOST"
  chmod 0 "$dir/client.key" "$dir/more.crt" "$TOP/.config/containers/certs.d/$HOST"
  [ "$(id -u)" -ne 0 ] || chown -R nobody "$TOP"
  run -0 as_user "$TOP/kiln" image pull --name x "oci://$TLS/a/b:1"
  echo "$output"
  [[ $output == *"warning: cannot read '$dir/client.cert' and '$dir/client.key': Permission denied"* ]]
  [[ $output == *"warning: cannot open '$dir/more.crt': Permission denied"* ]]
  run -0 as_user "$TOP/kiln" image inspect "oci://$HOST/a/b:1"
  [[ $output != *warning* ]]
  chmod 0 "$dir"
  run -1 --separate-stderr as_user "$TOP/kiln" image inspect "oci://$TLS/a/b:1"
  chmod 700 "$dir"
  rm -rf "$TOP"
  [ "$output" = "" ]
  [[ $stderr == "warning: cannot read '$dir': Permission denied"*"cannot talk to registry '$TLS'"*certificate* ]]
}

@test "tags: pages by their Links, on this registry only, and not without end" {
  echo tags >evil/mode
  [ "$("$KILN" image ls --remote "$HOST/a/b" | sort -u | wc -l)" -eq 2500 ]
  echo tags-away >evil/mode
  [ "$("$KILN" image ls --remote "$HOST/a/b" | wc -l)" -eq 1000 ]
  [ ! -e evil/other ]
  for mode in tags-loop million; do
    echo $mode >evil/mode
    run -1 timeout 120 "$KILN" image ls --remote "$HOST/a/b"
    [ "$output" = "error: registry '$HOST' lists more than 1000000 tags" ]
  done
}

# manifest CHANGE: the registry's manifest is one of an artifact, m, changed by this; put(bytes) makes a blob and is its descriptor.
manifest() {
  python3 - "$1" <<'PY'
import gzip, hashlib, io, json, sys, tarfile
def put(data, kind="application/octet-stream", **more):
    digest = hashlib.sha256(data).hexdigest()
    open("evil/" + digest, "wb").write(data)
    return {"mediaType": kind, "digest": "sha256:" + digest, "size": len(data), **more}
def title(text):
    return {"annotations": {"org.opencontainers.image.title": text}}
disk = bytes(510) + b"\x55\xaa" + bytes(range(256)) * 4094
kind = "application/vnd.oci.image.manifest.v1+json"
m = {"schemaVersion": 2, "mediaType": kind, "config": put(b"{}"), "layers": [put(disk)]}
def container(config=b'{"os": "linux", "architecture": "amd64"}'):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as t:
        t.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return dict(m, config=put(config), layers=[put(data.getvalue(), "application/vnd.oci.image.layer.v1.tar")])
def index(*entries):
    return {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": list(entries)}
def nested(n):
    d = put(json.dumps(m).encode(), kind)
    for _ in range(n):
        d = put(json.dumps(index(d)).encode(), "application/vnd.oci.image.index.v1+json")
    return index(d)
exec(sys.argv[1])
text = m if isinstance(m, bytes) else json.dumps(m).encode()
open("evil/made", "wb").write(text)
PY
}

@test "manifests: other digests, sizes and types, nested indexes, titles that lead away" {
  local change
  while IFS='|' read -r change want; do
    manifest "$change"
    pull made
    [ "$status" -eq 1 ]
    [[ $output == "error: cannot pull"*"$want"* ]]
    [[ $output != *$'\e'* && $output != *$'\a'* ]]
    [ "$(grep -c . <<<"$output")" -le 2 ]
    nothing_here
  done <<'EOF2'
m["layers"][0]["digest"] = "sha512:" + "0" * 128|a digest is not SHA-256
m["layers"][0]["digest"] = "md5:00"|a digest is not SHA-256
m["layers"][0]["digest"] = "sha256:../../../etc/passwd"|a digest is not SHA-256
m["layers"][0]["digest"] = 7|a digest is not SHA-256
del m["layers"][0]["digest"]|a digest is not SHA-256
m["layers"][0]["size"] = 0|a size is missing
m["layers"][0]["size"] = -1|a size is missing
m["layers"][0]["size"] = 1e30|a size is missing
m["layers"][0]["size"] = 1 << 62|
m["layers"] = [put(b"")]|a size is missing
m["layers"] = []|its layers are none
m["layers"] = {"a": 1}|its layers are none
m["layers"] = [7, None, "x"]|its layers are ''
m["layers"] *= 70000|sent more bytes than it should
m["layers"] *= 10000|
m["layers"] = [put(disk, **title("../../../a.qcow2")), put(disk, **title("/etc/b.img"))]|it has 2 disks
m["layers"][0]["mediaType"] = "a\x1b[2J\x07\nb"|its layers are
m = b"[" * 100000|it is not JSON
m = b""|it is not JSON
m = b'{"layers": [], "layers": []}'|it is not JSON
m = b"\xff\xfe" + json.dumps(m).encode()|it is not JSON
m = index()|it has no image for 'linux/amd64', but for none that it names
m = index({"digest": "sha256:" + "0" * 64, "platform": {"os": "a\x1b[2J", "architecture": "b\x07"}})|it has no image for 'linux/amd64'
m = index(7, None, [])|it has no image for 'linux/amd64'
m = index({"digest": "sha512:" + "0" * 128})|a digest is not SHA-256
m = index(*[{"digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "arm64"}}] * 9)|'linux/amd64', but for linux/arm64
m = nested(4)|it is of indexes of indexes
m["layers"] = [put(gzip.compress(bytes(1 << 20) * 64))]|
m["layers"] = [put(disk[:100])]|
EOF2
  # letters of a digest may be large ones; a disk's name is not used; a layer that has other addresses, too, is fetched from here
  for change in 'm["layers"][0]["digest"] = m["layers"][0]["digest"].upper().replace("SHA", "sha")' 'm["layers"] = [put(disk, **title("../../../a.img"))]' \
    'm["layers"][0]["urls"] = ["http://far.invalid/x", "file:///etc/passwd"]' 'm = nested(1)' \
    'm["annotations"] = {"a\x1b[2J": "\x07"}; m["layers"][0]["annotations"] = {"org.opencontainers.image.title": "\x1b[2J.img"}'; do
    manifest "$change"
    pull made
    [ "$status" -eq 0 ]
    [ ! -e evil/other ]
  done
  # of several variants the plain one, which need not be written; the others are not there
  local platform
  while IFS='|' read -r platform change; do
    manifest "d = put(json.dumps(m).encode(), kind)
def of(platform, good=True):
    names = dict(zip(('os', 'architecture', 'variant'), platform.split('/')))
    return dict(d if good else {'digest': 'sha256:' + '0' * 64}, platform=names)
m = index($change)"
    pull made "$platform"
    [ "$status" -eq 0 ]
  done <<'EOF2'
linux/amd64|of("linux/amd64/v3", False), of("linux/amd64"), of("linux/amd64/v2", False)
linux/amd64|of("linux/amd64/v3", False), of("linux/amd64/v1")
linux/amd64/v2|of("linux/amd64", False), of("linux/amd64/v2")
linux/arm64/v8|of("linux/arm/v8", False), of("linux/arm64")
linux/arm64|of("linux/arm64/v9", False), of("linux/arm64/v8")
linux/arm|of("linux/arm/v5", False), of("linux/arm/v6", False), of("linux/arm/v7")
linux/arm/v7|of("linux/arm/v6", False), of("linux/arm")
linux/riscv64|of("linux/riscv64/x", False), of("linux/riscv64")
linux/arm|of("linux/arm/v6")
EOF2
  manifest 'm = index(*[{"digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "arm64"}}])'
  pull made linux/arm64/v9
  [ "$status" -eq 1 ]
  [[ $output == *"no image for 'linux/arm64/v9', but for linux/arm64"* ]]
  manifest 'm = nested(1)'
  pull made
  run -0 "$KILN" image inspect "oci://$HOST/a/b:1"
  [[ $output != *$'\e'* && $output != *$'\a'* ]]
}

@test "container images for ADD that are not what they say" {
  local change want
  mkdir -p build
  printf '%s\n' 'FROM scratch' 'DISK 64 MB MBR' 'PARTITION 1 FORMAT ext4 MOUNT /' "ADD oci://$HOST/a/b:1 /" >build/Imagefile
  echo made >evil/mode
  while IFS='|' read -r change want; do
    manifest "m = container(); $change"
    run timeout 60 "$KILN" image build --runner auto --name x build
    echo "$change: $output"
    if [ "$want" = taken ]; then
      [ "$status" -eq 0 ]
      continue
    fi
    [ "$status" -eq 1 ]
    [[ $output == *"build/Imagefile:4:1: error: 'oci://$HOST/a/b:1': "*"$want"* ]]
    [[ $output != *$'\e'* ]]
  done <<'EOF2'
m["layers"] *= 3|taken
m["layers"] = []|taken
m["layers"][0]["size"] = 0|a size is missing, or not positive
m["layers"][0]["size"] += 1|sends too little
m["layers"][0]["size"] -= 1|sent more bytes than it should
m["layers"][0]["size"] = 1 << 61|there is room for
m["layers"][0]["digest"] = "sha512:" + "0" * 128|a digest is not SHA-256
m["layers"][0].update(mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar", digest="sha256:" + "0" * 64, urls=["http://far.invalid/"])|answers 404
m["layers"] *= 2000|it has more than 1024 layers
m["layers"][0]["mediaType"] = "a\nb\x1b"|it has a layer of type 'a\x0ab\x1b'
m = container(b"[1, 2")|config is not valid
m = container(b'{"os": "a\\nb", "architecture": "c\\u001b"}')|it is an image for 'a\x0ab/c\x1b', not for
m["config"]["digest"] = "../../etc"|a digest is not SHA-256
EOF2
}

@test "a layout whose files are pipes, links or folders is refused in words" {
  local lay=$BATS_TEST_TMPDIR/lay file
  mkdir -p "$lay/blobs/sha256"
  for file in oci-layout index.json; do
    echo '{"imageLayoutVersion": "1.0.0"}' >"$lay/oci-layout"
    echo '{"manifests": []}' >"$lay/index.json"
    rm "$lay/$file"
    mkfifo "$lay/$file"
    run -1 timeout -k 1 20 "$KILN" image pull "oci-layout:$lay:1"
    [[ $output == *"is not an OCI image layout"* ]]
    rm "$lay/$file"
    mkdir "$lay/$file"
    run -1 timeout -k 1 20 "$KILN" image pull "oci-layout:$lay:1"
    [[ $output == *"is not an OCI image layout"* ]]
    rmdir "$lay/$file"
    ln -s "$file" "$lay/$file"
    run -1 timeout -k 1 20 "$KILN" image pull "oci-layout:$lay:1"
    [[ $output == *"is not an OCI image layout"* ]]
    rm "$lay/$file"
  done
  echo '{"imageLayoutVersion": "1.0.0"}' >"$lay/oci-layout"
  for file in sha256:../../../../../etc/passwd sha512:00 7; do
    printf '{"manifests": [{"digest": "%s", "size": 3, "annotations": {"org.opencontainers.image.ref.name": "1"}}]}' "$file" >"$lay/index.json"
    run -1 "$KILN" image pull "oci-layout:$lay:1"
    [[ $output == *"is not SHA-256"* ]]
  done
  # a blob that leads to a file elsewhere
  file=$(printf '%064d' 0)
  printf '{"manifests": [{"digest": "sha256:%s", "size": 3, "annotations": {"org.opencontainers.image.ref.name": "1"}}]}' "$file" >"$lay/index.json"
  ln -s /etc/passwd "$lay/blobs/sha256/$file"
  run -1 "$KILN" image pull "oci-layout:$lay:1"
  [[ $output == *"cannot read blob"* ]]
}
