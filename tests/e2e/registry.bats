#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154  # stderr comes from run
# Images to and from OCI registries: Debian's docker-registry, with skopeo as the other client, and a
# registry that misbehaves in front of it (tests/servers/registry.py).
bats_require_minimum_version 1.5.0
load common

# free_port: prints a port that nobody listens on.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# serve NAME PORT YAML...: a docker-registry on loopback; what it stores is in data.
serve() {
  local name=$1 port=$2
  shift 2
  printf '%s\n' 'version: 0.1' 'log: {level: error, accesslog: {disabled: true}}' \
    "storage: {filesystem: {rootdirectory: $BATS_FILE_TMPDIR/data}}" "$@" >"$BATS_FILE_TMPDIR/$name.yml"
  docker-registry serve "$BATS_FILE_TMPDIR/$name.yml" >"$BATS_FILE_TMPDIR/$name.log" 2>&1 3>&- &
  echo $! >>"$BATS_FILE_TMPDIR/pids"
  until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
}

setup_file() {
  export KILN_HOME="$BATS_FILE_TMPDIR/a" KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HTTP_RETRY_MS=10 HOME="$BATS_FILE_TMPDIR"
  unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY CURL_CA_BUNDLE SSL_CERT_FILE XDG_CONFIG_HOME \
    XDG_RUNTIME_DIR DOCKER_CONFIG REGISTRY_AUTH_FILE KILN_REGISTRY_USER KILN_REGISTRY_PASSWORD
  local port tls auth
  port=$(free_port) tls=$(free_port) auth=$(free_port)
  cd "$BATS_FILE_TMPDIR" || return
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 -days 2 \
    -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem 2>/dev/null
  python3 -W ignore -c 'import crypt; print("user:" + crypt.crypt("pass:word", crypt.METHOD_BLOWFISH))' >htpasswd
  serve plain "$port" "http: {addr: '127.0.0.1:$port'}"
  serve tls "$tls" "http: {addr: '127.0.0.1:$tls', tls: {certificate: $PWD/cert.pem, key: $PWD/key.pem}}"
  serve auth "$auth" "http: {addr: '127.0.0.1:$auth'}" "auth: {htpasswd: {realm: kiln, path: $PWD/htpasswd}}"
  mkdir bad
  python3 "$BATS_TEST_DIRNAME/../servers/registry.py" "127.0.0.1:$port" bad >bad/port 3>&- &
  echo $! >>pids
  until [ -s bad/port ]; do sleep 0.05; done
  export PLAIN="127.0.0.1:$port" TLS="127.0.0.1:$tls" AUTH="127.0.0.1:$auth" BAD
  BAD="127.0.0.1:$(cat bad/port)"
  share_appliance "$KILN_HOME"
  make_root build/root
  printf '%s\n' 'FROM scratch' 'DISK 64 MB MBR' 'PARTITION 1 FORMAT ext4 MOUNT /' 'COPY root/ /' 'ENV COLOUR=blue' \
    'RUN echo one >/etc/one' >build/Imagefile
  "$KILN" image build --name app build >&2
  "$KILN" image push app "oci://$PLAIN/team/app:1" >pushed
  # an image of 20 MiB that don't shrink
  truncate -s 96M big.raw
  head -c 20M /dev/urandom | dd of=big.raw bs=1M seek=66 conv=notrunc status=none
  printf '\125\252' | dd of=big.raw bs=1 seek=510 conv=notrunc status=none
  "$KILN" image import big.raw big >&2
}

teardown_file() {
  xargs kill <"$BATS_FILE_TMPDIR/pids"
}

# Each test is another machine, with what was built in setup_file in the home "a".
setup() {
  KILN_HOME="$BATS_TEST_TMPDIR/b"
  share_appliance "$KILN_HOME"
  cd "$BATS_FILE_TMPDIR" || return
  rm -f bad/log bad/mode bad/other bad/hangs
}

on_a() { KILN_HOME="$BATS_FILE_TMPDIR/a" "$KILN" "$@"; }

# nothing_here: neither an image nor a piece of one, and no layer but those that were found right.
nothing_here() {
  [ "$("$KILN" image ls | wc -l)" -eq 1 ]
  [ -z "$(find "$KILN_HOME/backend/.working" -path '*pull-*' 2>/dev/null)" ]
  "$KILN" system verify
}

@test "an image that is pulled elsewhere is the same, and a build on it hits the same keys" {
  local layer
  "$KILN" image pull "oci://$PLAIN/team/app:1"
  "$KILN" system verify
  for layer in "$KILN_HOME"/backend/.layers/*/; do (cd "$layer" && qemu-img check -q disk.qcow2); done
  qemu-img compare "$KILN_HOME/backend/app" "$BATS_FILE_TMPDIR/a/backend/app"
  "$KILN" image inspect --json app | grep -q '"COLOUR": "blue"'
  # the whole build is cached here, too: no VM is started
  "$KILN" image build --require-cached --name again build >out 2>&1
  grep -q '(cached)' out
  # a step on top moves only that
  mkdir "$BATS_TEST_TMPDIR/top"
  printf '%s\n' 'FROM app' 'RUN echo two >/etc/two' >"$BATS_TEST_TMPDIR/top/Imagefile"
  "$KILN" image build --name top "$BATS_TEST_TMPDIR/top"
  "$KILN" image push top "oci://$BAD/team/app:2"
  [ "$(grep -c '^PUT .*/blobs/' bad/log)" -eq 2 ] # the layer and the config
  rm bad/log
  on_a image pull --name top "oci://$BAD/team/app:2"
  [ "$(grep -c '^GET .*/blobs/' bad/log)" -eq 2 ]
  qemu-img compare "$KILN_HOME/backend/top" "$BATS_FILE_TMPDIR/a/backend/top"
  on_a image rm top
}

@test "a push of what is there sends nothing but says the digest, and pulls by it" {
  run on_a image push app "oci://$PLAIN/team/app:1" "oci://$PLAIN/team/app:same"
  [ "$status" -eq 0 ]
  [ "${lines[0]}" = "$(cat pushed)" ]
  [ "${lines[1]}" = "$(cat pushed)" ]
  [[ "${lines[0]}" == "oci://$PLAIN/team/app@sha256:"* ]]
  on_a image push app "oci://$BAD/team/app:1"
  [ "$(grep -c '^PUT .*/blobs/' bad/log)" -eq 0 ]
  "$KILN" image pull --name x "${lines[0]}"
  run --separate-stderr "$KILN" image pull --name x "${lines[0]}"
  [ "$status" -eq 0 ]
  [[ "$stderr" == *"Image 'x' is in the backend already"* ]]
}

# synced NAME COMMAND...: kiln, which registers NAME after it has synced the folder of the layers.
synced() {
  local name=$1
  shift
  strace -f -qq -y -s 4096 -e trace=fsync,rename,renameat,renameat2 -o trace "$KILN" "$@"
  grep -q "fsync([0-9]*<$KILN_HOME/backend/.layers>) *= 0" <(sed "/backend\/$name\"/,\$d" trace)
  grep -q "rename.*backend/$name\"" trace
}

@test "the names of layers are on the disk before that of the image, also if they were here" {
  command -v strace >/dev/null || skip 'no strace'
  synced one image pull --name one "oci://$PLAIN/team/app:1"
  synced two image pull --name two "oci://$PLAIN/team/app:1"
  synced three image build --require-cached --name three build
  synced four image build --name four - <<<'FROM one'
}

@test "skopeo reads it, and copies it away and back byte for byte" {
  skopeo inspect --tls-verify=false "docker://$PLAIN/team/app:1" | grep -q '"Architecture": "amd64"'
  skopeo copy -q --src-tls-verify=false "docker://$PLAIN/team/app:1" "oci:$BATS_TEST_TMPDIR/layout:1"
  skopeo copy -q --dest-tls-verify=false "oci:$BATS_TEST_TMPDIR/layout:1" "docker://$PLAIN/other/app:9"
  "$KILN" image pull "oci://$PLAIN/other/app@$(sed 's/.*@//' pushed)"
  "$KILN" system verify
}

@test "image ls --remote and image inspect look at a registry, and fetch no layer" {
  local raw=$BATS_TEST_TMPDIR/raw
  on_a image push app "oci://$PLAIN/look/app:1" "oci://$PLAIN/look/app:2" >/dev/null
  [ "$("$KILN" image ls --remote "$PLAIN/look/app" | sort)" = "oci://$PLAIN/look/app:1
oci://$PLAIN/look/app:2" ]
  "$KILN" image ls --remote "$PLAIN/look/app" --json | python3 -c '
import json, sys
assert sorted(i["tag"] for i in json.load(sys.stdin)) == ["1", "2"]'
  run "$KILN" image ls --remote "$PLAIN/none/here"
  [ "$status" -eq 1 ] && [[ $output == *"answers 404 to the list of tags of 'none/here'"* ]]
  skopeo inspect --tls-verify=false --raw "docker://$PLAIN/look/app:1" >"$raw"
  run "$KILN" image inspect "oci://$PLAIN/look/app:1"
  [ "$status" -eq 0 ] && [[ $output == *"sha256:$(sha256sum <"$raw" | cut -d ' ' -f 1)"*"64.00 MiB"* ]]
  "$KILN" image inspect --json "oci://$PLAIN/look/app:1" | python3 -c '
import json, sys
o, raw = json.load(sys.stdin), json.load(open(sys.argv[1]))
assert o["manifest"] == raw and o["config"]["os"] == "linux", o
assert o["blobs"] == len(raw["layers"]) and o["size"] == sum(l["size"] for l in raw["layers"]), o' "$raw"
  run "$KILN" image inspect "oci://$PLAIN/look/app:3"
  [ "$status" -eq 1 ] && [[ $output == *"answers 404"* ]]
  nothing_here
}

@test "oci-layout: a folder stands for a registry, and skopeo copies it both ways byte for byte" {
  local lay=$BATS_TEST_TMPDIR/lay i pids=()
  cd "$BATS_TEST_TMPDIR" || return
  skopeo copy -q --src-tls-verify=false "docker://$PLAIN/team/app:1" oci:skopeo:1
  "$KILN" image pull --name fromlay oci-layout:skopeo:1
  skopeo copy -q --src-tls-verify=false "docker://$PLAIN/team/app:1" oci:untagged
  "$KILN" image pull --name untagged oci-layout:untagged
  qemu-img compare "$KILN_HOME/backend/fromlay" "$BATS_FILE_TMPDIR/a/backend/app"
  # eight at once: every tag is in the index, and nothing else is left
  for i in 1 2 3 4 5 6 7 8; do
    "$KILN" image push fromlay "oci-layout:lay:$i" 3>&- >"out$i" &
    pids+=($!)
  done
  for i in "${pids[@]}"; do wait "$i"; done
  sed 's/.*@//' out8 | cmp - <(sed 's/.*@//' "$BATS_FILE_TMPDIR/pushed")
  [ "$(cat out8)" = "oci-layout:$lay@$(sed 's/.*@//' out8)" ]
  [ "$("$KILN" image ls --remote oci-layout:lay | sort)" = "$(printf "oci-layout:$lay:%s\n" 1 2 3 4 5 6 7 8)" ]
  [ "$(ls -A lay | sort | xargs)" = "blobs index.json oci-layout" ]
  [ "$(find lay/blobs -type f | wc -l)" -eq "$(find skopeo/blobs -type f | wc -l)" ]
  for i in lay/blobs/sha256/*; do
    [ "$(sha256sum <"$i" | cut -d ' ' -f 1)" = "${i##*/}" ]
    cmp "$i" "skopeo/blobs/sha256/${i##*/}"
  done
  skopeo copy -q --dest-tls-verify=false oci:lay:5 "docker://$PLAIN/from/layout:1"
  "$KILN" image inspect "oci://$PLAIN/from/layout@$(sed 's/.*@//' out8)" | grep -q '64.00 MiB'
  "$KILN" image inspect "oci-layout://$lay:3" | grep -q "$(sed 's/.*@//' out8)"
  # FROM, COPY --from and the cache; another home finds all steps there
  mkdir top
  printf '%s\n' 'FROM oci-layout:lay:1' 'COPY top /etc/top' >top/Imagefile
  echo one >top/top
  "$KILN" image build --cache-to oci-layout:cache --name top top
  printf '%s\n' 'FROM top' 'COPY --from=oci-layout:lay:2 /etc/one /etc/copied' >Imagefile
  "$KILN" image build --name from .
  [ "$("$KILN" shell from -- cat /etc/copied)" = one ]
  rm -rf "$KILN_HOME/backend"
  "$KILN" image build --cache-from oci-layout:cache --require-cached --name top top
  # a cache that is to be made is no failure, also a strict one's
  rm -rf "$KILN_HOME/backend"
  "$KILN" image build --cache-strict --cache-from oci-layout:new --cache-to oci-layout:new --name top top
  "$KILN" create --name vm oci-layout:lay:1
  "$KILN" rm vm
  "$KILN" system verify
}

@test "a layout that is none, or was changed, is refused in words" {
  local blob i
  cd "$BATS_TEST_TMPDIR" || return
  "$KILN" image pull "oci://$PLAIN/team/app:1"
  "$KILN" image push app oci-layout:lay:1 oci-layout:lay:two >/dev/null
  "$KILN" image rm app
  rm -rf "$KILN_HOME/backend"
  run -1 "$KILN" image pull oci-layout:lay:3
  [[ $output == *"has no tag '3'"*"it has '1', 'two'"* ]]
  run -1 "$KILN" image pull oci-layout:none:1
  [[ $output == *"no folder '$PWD/none'"* ]]
  run -1 "$KILN" image pull "oci-layout:$KILN_HOME:1"
  [[ $output == *"is not an OCI image layout"* ]]
  mkdir full
  touch full/mine
  run -1 on_a image push app oci-layout:full:1
  [[ $output == *"has files and is not an OCI image layout"* ]]
  [ "$(ls -A full)" = mine ]
  # what only looks like one of ours on the way: nothing of it is changed
  mkdir full/.working
  run -1 on_a image push app oci-layout:full:1
  [[ $output == *"has files and is not an OCI image layout"* ]]
  mkdir web
  echo '{"mine": 1}' >web/index.json
  run -1 on_a image push app oci-layout:web:1
  [[ $output == *"has files and is not an OCI image layout"* ]]
  [ "$(cat web/index.json)" = '{"mine": 1}' ]
  for blob in oci-layout: oci-layout:/ oci-layout:lay:a:b/c: "oci-layout:lay:a b" oci-layout:lay@sha256:12; do
    run -1 "$KILN" image pull "$blob"
  done
  # a blob with a byte changed, one that is a pipe, one that has gone
  blob=$(find lay/blobs -type f -size +100k | head -n 1)
  cp "$blob" good
  printf x | dd of="$blob" bs=1 seek=1000 conv=notrunc status=none
  run -1 "$KILN" image pull oci-layout:lay:1
  [[ $output == *"other content than its name says"* ]]
  nothing_here
  rm "$blob"
  mkfifo "$blob"
  run -1 timeout 60 "$KILN" image pull oci-layout:lay:1
  [[ $output == *"cannot read blob sha256:${blob##*/}"* ]]
  rm "$blob"
  run -1 "$KILN" image pull oci-layout:lay:1
  [[ $output == *"has no blob sha256:${blob##*/}"* ]]
  # a push mends what is shorter than it should be, a config of other content, and what is not a file
  local config
  for i in 1 2 3; do
    config=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["config"]["digest"][7:])' \
      "lay/blobs/sha256/$(jq -r '.manifests[0].digest[7:]' lay/index.json)")
    case $i in
    1) head -c 100 good >"$blob" ;;
    2) tr a b <"lay/blobs/sha256/$config" >changed && cp -f changed "lay/blobs/sha256/$config" ;;
    3) rm "$blob" && ln -s /dev/null "$blob" ;;
    esac
    on_a image push app oci-layout:lay:1
    cmp good "$blob"
    (cd lay/blobs/sha256 && for blob in *; do echo "$blob  $blob"; done | sha256sum -c --quiet)
  done
  "$KILN" image pull oci-layout:lay:1
  echo '{' >lay/index.json
  run -1 "$KILN" image pull oci-layout:lay:1
  [[ $output == *"is not an image index"* ]]
}

@test "a chain of 60 layers goes there and back" {
  "$KILN" image pull "oci://$PLAIN/team/app:1"
  mkdir "$BATS_TEST_TMPDIR/deep"
  { echo FROM app && seq -f 'RUN echo %g >/etc/n' 57; } >"$BATS_TEST_TMPDIR/deep/Imagefile"
  "$KILN" image build --name deep "$BATS_TEST_TMPDIR/deep"
  "$KILN" image push deep "oci://$PLAIN/deep/chain:1"
  [ "$(skopeo inspect --tls-verify=false --raw "docker://$PLAIN/deep/chain:1" | grep -o '"digest"' | wc -l)" -eq 61 ] # and the config
  KILN_HOME=$BATS_TEST_TMPDIR/c "$KILN" image pull "oci://$PLAIN/deep/chain:1"
  KILN_HOME=$BATS_TEST_TMPDIR/c "$KILN" system verify | grep -q '^60 layers, .* 0 damaged'
  cmp "$BATS_TEST_TMPDIR/c/backend/chain" "$KILN_HOME/backend/deep" # the same top layer; so deep a chain has a path too long for qemu-img
}

@test "another image that has the name stays, unless --force" {
  "$KILN" image pull "oci://$PLAIN/team/app:1"
  mkdir "$BATS_TEST_TMPDIR/top"
  printf '%s\n' 'FROM app' 'ENV A=b' 'WORKDIR /srv' >"$BATS_TEST_TMPDIR/top/Imagefile"
  "$KILN" image build --name top "$BATS_TEST_TMPDIR/top"
  run --separate-stderr "$KILN" image pull --name top "oci://$PLAIN/team/app:1"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"image 'top' exists and is another one"* ]]
  "$KILN" image pull --force --name top "oci://$PLAIN/team/app:1"
  cmp "$KILN_HOME/backend/top" "$KILN_HOME/backend/app"
}

@test "a registry that lies is refused, and nothing is kept" {
  local want
  for want in corrupt:'sent other content' config:'sent other content' bomb:'more bytes than it should' evil:'answers 403'; do
    echo "${want%%:*}" >bad/mode
    run --separate-stderr "$KILN" image pull "oci://$BAD/team/app:1"
    echo "$want: $stderr"
    [ "$status" -eq 1 ]
    [[ "$stderr" == *"${want#*:}"* ]]
    [[ "$stderr" != *$'\e'* ]]
    nothing_here
  done
  echo swap >bad/mode
  run --separate-stderr "$KILN" image pull "oci://$BAD/team/app@$(sed 's/.*@//' pushed)"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"sent another manifest"* ]]
  nothing_here
}

# push_manifest NAME PYTHON: the manifest m and config c of team/app:1, changed, go to that tag.
push_manifest() {
  python3 - "$PLAIN" "$1" "$2" <<'EOF'
import hashlib, json, subprocess, sys, urllib.request
host, tag, change = sys.argv[1:]
def ask(method, path, body=None, **headers):
    url = path if path.startswith("http") else f"http://{host}/v2/team/app/{path}"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as r:
        return r.read(), r.headers
kind = "application/vnd.oci.image.manifest.v1+json"
m = json.loads(ask("GET", "manifests/1", Accept=kind)[0])
c = json.loads(ask("GET", "blobs/" + m["config"]["digest"])[0])
def put(data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    to = ask("POST", "blobs/uploads/", b"")[1]["Location"]
    ask("PUT", to + "&digest=" + digest, data, **{"Content-Type": "application/octet-stream"})
    return {"digest": digest, "size": len(data)}
def zstd(*flags, data):
    return subprocess.run(["zstd", "-qc", *flags], input=data, stdout=subprocess.PIPE, check=True).stdout
# the top layer's file and record
disk = bytearray(zstd("-d", data=ask("GET", "blobs/" + m["layers"][-1]["digest"])[0]))
record = c["dev.kiln"]["layers"][-1]
def layer(blob=None, **fields):
    """Sends the file, as that blob if there is one, and makes the record fit, but for these fields."""
    record.update(seconds=1, size=len(disk), digest=hashlib.sha256(disk).hexdigest(), header=hashlib.sha256(disk[:4096]).hexdigest())
    record.update(fields)
    del record["check"]
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    record["check"] = hashlib.sha256(text.encode()).hexdigest()
    m["layers"][-1].update(put(zstd(data=disk) if blob is None else blob))
exec(change)
m["config"].update(put(json.dumps(c).encode()))
ask("PUT", "manifests/" + tag, json.dumps(m).encode(), **{"Content-Type": kind})
EOF
}

@test "manifests and records that were made up are refused, and no name is given" {
  local change
  for change in 'c["dev.kiln"]["layers"][0]["size"] += 1' 'c["dev.kiln"]["layers"][0]["id"] = "../../x"' \
    'c["dev.kiln"]["layers"] = [c["dev.kiln"]["layers"][1]] * 2' 'c["dev.kiln"]["layers"].reverse()' \
    'c["dev.kiln"]["layers"] *= 200' 'c["dev.kiln"]["version"] = 2' 'c["dev.kiln"]["layers"][0] = 7' \
    'm["layers"].pop()' 'm["layers"].append(m["layers"][0])' 'm["layers"][0]["size"] += 1' \
    'm["layers"][0]["size"] = 1 << 60' 'm["layers"][0], m["layers"][1] = m["layers"][1], m["layers"][0]' \
    'm["layers"][0]["digest"] = m["layers"][1]["digest"]; m["layers"][0]["size"] = m["layers"][1]["size"]' \
    'c["dev.kiln"]["metadata"] = 3' 'c["dev.kiln"]["virtual_size"] = -1' \
    'c["dev.kiln"]["virtual_size"] += 512'; do
    rm -rf "$KILN_HOME/backend"
    push_manifest made-up "$change" || continue # the registry itself refused it
    run --separate-stderr timeout 60 "$KILN" image pull "oci://$PLAIN/team/app:made-up"
    echo "$change: $stderr"
    [ "$status" -eq 1 ]
    [[ "$stderr" == "error: cannot pull"* ]]
    # what a connection that broke has left may go on
    [[ "$stderr" == *"cannot talk to"* ]] || nothing_here
    [ "$("$KILN" image ls | wc -l)" -eq 1 ]
  done
  push_manifest made-up 'm["artifactType"] = "x"; m["layers"][0]["mediaType"] = "application/x-other"'
  run --separate-stderr "$KILN" image pull "oci://$PLAIN/team/app:made-up"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"its layers are 'application/x-other', 'application/vnd.kiln.layer.v1.qcow2+zstd'"* ]]
  # what a cache says of a layer that was not fetched yet
  on_a image build --require-cached --cache-strict --cache-to "oci://$PLAIN/team/app" --name app build
  local key
  key=$(on_a image history --json app | jq -r '[.[].key // empty][-1]')
  push_manifest "k-$key" 'm["annotations"]["dev.kiln.virtual-size"] = "4096"'
  run -1 "$KILN" image build --cache-strict --cache-from "oci://$PLAIN/team/app" --name app build
  [[ "$output" == *"has a disk of 67108864 bytes, not of 4096 as it says"* ]]
  nothing_here
  local want
  while IFS='|' read -r change want; do
    push_manifest "k-$key" "$change"
    run -1 "$KILN" image build --cache-strict --cache-from "oci://$PLAIN/team/app" --name app build
    echo "$change: $output"
    [[ "$output" == *"what the cache has under a key $want"* ]]
    nothing_here
  done <<'EOF'
m["artifactType"] = "x"|is not valid: it is of another key
m["annotations"]["dev.kiln.key"] = "0" * 64|is not valid: it is of another key
del m["annotations"]["dev.kiln.key"]|is not valid: it is of another key
layer(key="0" * 64)|is of another one
m["layers"][-2]["annotations"]["dev.kiln.layer"] = "0" * 64|is not valid: it stands on another layer
m["layers"] = m["layers"][-1:]|is not valid: it stands on another layer
m["layers"].append(m["layers"][0])|is not valid: it stands on another layer
m["layers"][-1]["annotations"]["dev.kiln.layer"] = "x"|is not valid: it does not say which layer it is
m["layers"] = []|is not valid: it does not say which layer it is
del m["annotations"]["dev.kiln.virtual-size"]|is not valid: the disk's size is missing
m["annotations"]["dev.kiln.virtual-size"] = "-1"|is not valid: the disk's size is missing
EOF
}

@test "layers that were made up, with digests that fit, are refused" {
  local change want
  push_manifest made-up 'layer()'
  "$KILN" image pull "oci://$PLAIN/team/app:made-up" # the same layer, said in other words
  while IFS='|' read -r change want; do
    rm -rf "$KILN_HOME/backend"
    push_manifest made-up "$change"
    # no file gets larger than 32 MiB
    run --separate-stderr timeout 60 sh -c 'ulimit -f 65536; exec "$@"' sh "$KILN" image pull "oci://$PLAIN/team/app:made-up"
    echo "$change: $stderr"
    [ "$status" -eq 1 ]
    [[ "$stderr" == "error: cannot pull"*"$want"* ]]
    nothing_here
    [ "$(find "$KILN_HOME/backend/.layers" -name disk.qcow2 2>/dev/null | wc -l)" -le 2 ] # those below
  done <<'EOF'
n = int.from_bytes(disk[8:16], "big"); disk[n:n + 11] = b"/etc/passwd"; layer()|the backing file of
n = int.from_bytes(disk[8:16], "big"); disk[n + 10] ^= 1; layer()|the backing file of
disk[8:20] = bytes(12); layer()|the backing file of
disk[79] += 4; layer()|its data in an external file
disk[79] += 128; layer()|unknown incompatible features
disk[35] = 1; layer()|is encrypted
disk[40:48] = (1 << 40).to_bytes(8, "big"); layer()|
disk[24:32] = (1 << 62).to_bytes(8, "big"); layer(virtual_size=1 << 62); c["dev.kiln"]["virtual_size"] = 1 << 62|
layer(digest="0" * 64)|does not match the digest
layer(header="0" * 64)|does not match the header
layer(virtual_size=4096); c["dev.kiln"]["virtual_size"] = 4096|does not match the virtual_size
layer(parent_digest="0" * 64)|has changed since it was built
layer(parent="0" * 64)|its layers do not stand on one another
layer(parent=None, parent_digest=None)|its layers do not stand on one another
layer(depth=2)|has changed since it was built
layer(blob=zstd(data=bytes(disk) + bytes(32 << 20)))|does not unpack to
layer(blob=zstd(data=b"bomb" * (50 << 20)))|does not unpack to
layer(blob=zstd(data=disk[:-1]))|does not unpack to
layer(blob=zstd(data=disk) + b"more")|does not unpack to
layer(blob=zstd("--long=27", data=disk))|does not unpack to
layer(blob=bytes(disk[:1000]))|does not unpack to
layer(blob=zstd(data=disk)[:-4])|does not unpack to
EOF
}

@test "connections that break, 429, 503 and a blob that another sent are got over" {
  local m
  for m in cut busy; do
    echo $m >bad/mode
    rm -rf "$KILN_HOME/backend"
    "$KILN" image pull "oci://$BAD/team/app:1"
    "$KILN" system verify
  done
  for m in busy raced; do
    echo $m >bad/mode
    on_a image push app "oci://$BAD/new/$m:1"
    rm -rf "$KILN_HOME/backend"
    "$KILN" image pull "oci://$PLAIN/new/$m:1"
  done
  echo short >bad/mode
  rm -rf "$KILN_HOME/backend"
  run --separate-stderr "$KILN" image pull "oci://$BAD/team/app:1"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"cannot talk to registry"* ]]
}

# kill_half_way: a pull of which half a blob is here.
kill_half_way() {
  echo hang >bad/mode
  "$KILN" image pull --jobs 1 "oci://$BAD/team/app:1" 3>&- &
  local pid=$!
  until [ -e bad/hangs ]; do sleep 0.05; done
  # the first half of the blob arrives
  until [ -n "$(find "$KILN_HOME/backend/.working" -path '*pull-*/*' -size +8k)" ]; do sleep 0.05; done
  kill -KILL $pid
  wait $pid || true
  [ "$("$KILN" image ls | wc -l)" -eq 1 ]
  rm bad/mode bad/log bad/hangs
}

@test "a pull that was killed goes on where it was" {
  kill_half_way
  "$KILN" image pull "oci://$BAD/team/app:1"
  grep -q '^GET .*/blobs/.* 206 ' bad/log
  "$KILN" system verify
  [ -z "$(find "$KILN_HOME/backend/.working" -path '*pull-*')" ]
  # what is here and is not what it was is fetched again, once
  rm -rf "$KILN_HOME/backend"
  kill_half_way
  printf kiln | dd of="$(find "$KILN_HOME/backend/.working" -path '*pull-*/*' ! -name 'raw-*' -size +8k)" bs=1 seek=5000 conv=notrunc status=none
  "$KILN" image pull "oci://$BAD/team/app:1"
  grep -q '^GET .*/blobs/.* 206 ' bad/log
  "$KILN" system verify
  [ -z "$(find "$KILN_HOME/backend/.working" -path '*pull-*')" ]
}

@test "blobs go up in chunks where they must, and on where a connection broke" {
  local m
  for m in whole chunks small located resume; do
    echo $m >bad/mode
    rm -f bad/log
    on_a image push --jobs 1 big "oci://$BAD/up/$m:1"
    rm bad/mode
    rm -rf "$KILN_HOME/backend"
    "$KILN" image pull "oci://$PLAIN/up/$m:1" --name "$m"
    "$KILN" system verify
    case $m in
    whole) run ! grep -q '^PATCH' bad/log ;;
    chunks) [ "$(grep -c '^PUT .* 413 ' bad/log)" -ge 1 ] && run ! grep -q '^PATCH .* 416 ' bad/log ;;
    small) [ "$(grep -c '^PATCH .* 416 ' bad/log)" -ge 1 ] && [ "$(grep -c '^PATCH .* 202 ' bad/log)" -ge 3 ] ;;
    located) [ "$(grep -c '^P[AU].*uploads/.* 20[12] ' bad/log)" = "$(grep -c '^P[AU].*uploads/.*?state=a%2Bb.* 20[12] ' bad/log)" ] ;;
    # what came before each break is not sent again: the whole, its second half in a chunk that breaks, the rest
    resume) [ "$(grep -c ' breaks ' bad/log)" -eq 2 ] && [ "$(grep -c '^PATCH .* 202 ' bad/log)" -eq 1 ] &&
      [ "$(grep -c '^GET .*/uploads/.* 204 ' bad/log)" -eq 2 ] ;;
    esac
  done
}

@test "what another repository of the registry has is mounted, not sent" {
  on_a image push app "oci://$PLAIN/mount/from:1"
  rm -f bad/log
  # the memory of layers names the registry by the host that was written
  on_a image push app "oci://$BAD/mount/first:1"
  rm bad/log
  on_a image push app "oci://$BAD/mount/second:1"
  [ "$(grep -c '^POST .*mount=sha256.*from=mount/first 201 ' bad/log)" -eq 3 ]
  [ "$(grep -c '^PUT .*/blobs/' bad/log)" -eq 1 ] # the config
  "$KILN" image pull "oci://$PLAIN/mount/second:1" --name second
  "$KILN" system verify
  # one that can't mount gets them sent
  echo whole >bad/mode
  rm bad/log
  on_a image push app "oci://$BAD/mount/third:1"
  [ "$(grep -c '^PUT .*/blobs/' bad/log)" -eq 4 ]
}

@test "passwords: login checks and keeps them, docker's and a helper's are found, they follow no redirect" {
  run --separate-stderr "$KILN" image pull "oci://$AUTH/team/app:1"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"wants a user and a password"*"'kiln login $AUTH'"* ]]
  run --separate-stderr "$KILN" login -u user --password-stdin "$AUTH" <<<wrong
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"answers 401"* ]]
  [ ! -e .config/kiln/auth.json ]
  "$KILN" login -u user --password-stdin "$AUTH" <<<pass:word
  [ "$(stat -c %a .config/kiln/auth.json)" = 600 ]
  "$KILN" image pull "oci://$AUTH/team/app:1"
  "$KILN" logout "$AUTH"
  run -1 "$KILN" image pull "oci://$AUTH/team/app:1"
  KILN_REGISTRY_USER=user KILN_REGISTRY_PASSWORD=pass:word "$KILN" image pull "oci://$AUTH/team/app:1"
  mkdir -p .docker bin
  echo "{\"auths\": {\"$AUTH\": {\"auth\": \"$(printf user:pass:word | base64)\"}}}" >.docker/config.json
  "$KILN" image pull --force "oci://$AUTH/team/app:1"
  echo "{\"credHelpers\": {\"$AUTH\": \"test\"}}" >.docker/config.json
  # shellcheck disable=SC2016  # for the helper
  printf '%s\n' '#!/bin/sh' 'read -r host' '[ "$1 $host" = "get '"$AUTH"'" ] || exit 1' \
    'echo "{\"ServerURL\":\"$host\",\"Username\":\"user\",\"Secret\":\"pass:word\"}"' >bin/docker-credential-test
  chmod +x bin/docker-credential-test
  PATH=$PWD/bin:$PATH "$KILN" image pull --force "oci://$AUTH/team/app:1"
  rm -r .docker
}

@test "tokens are asked for, renewed in the middle, and sent to no other host" {
  echo token >bad/mode
  run --separate-stderr "$KILN" login -u u --password-stdin "$BAD" <<<wrong
  [ "$status" -eq 1 ]
  "$KILN" login -u u --password-stdin "$BAD" <<<p:w
  "$KILN" image pull --jobs 8 "oci://$BAD/team/app:1"
  on_a image push app "oci://$BAD/new/tokens:1"
  [ "$(grep -c '^GET /token.* 200 ' bad/log)" -gt 2 ]
  grep '^GET /token' bad/log | grep -q 'scope=repository%3Ax%3Apull%2Cpush'
  [ -z "$(grep -v '^GET /token' bad/log | grep 'Basic')" ]
  echo redirect >bad/mode
  rm -rf "$KILN_HOME/backend"
  KILN_REGISTRY_USER=u KILN_REGISTRY_PASSWORD=p:w "$KILN" image pull "oci://$BAD/team/app:1"
  [ -s bad/other ]
  [ -z "$(grep -v ' -$' bad/other)" ]
  "$KILN" logout "$BAD"
}

@test "TLS: an own authority, --insecure, and never HTTP in its place" {
  run --separate-stderr "$KILN" image pull "oci://$TLS/team/app:1"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"certificate"* ]]
  SSL_CERT_FILE=$PWD/cert.pem "$KILN" image pull "oci://$TLS/team/app:1"
  "$KILN" image pull --insecure --name x "oci://$TLS/team/app:1"
}

@test "TLS: certs.d has the authorities and the client's certificate of one registry" {
  local port dir=.config/containers/certs.d
  port=$(free_port)
  serve mutual "$port" "http: {addr: '127.0.0.1:$port', tls: {certificate: $PWD/cert.pem, key: $PWD/key.pem, clientcas: [$PWD/cert.pem]}}"
  mkdir -p "$dir/$TLS" "$dir/127.0.0.1:$port"
  cp cert.pem "$dir/$TLS/ca.crt"
  cp cert.pem "$dir/127.0.0.1:$port/ca.crt"
  "$KILN" image pull --name own "oci://$TLS/team/app:1"
  "$KILN" image inspect "oci://$TLS/team/app:1" >/dev/null
  run -1 "$KILN" image pull --name client "oci://127.0.0.1:$port/team/app:1"
  [[ $output == *"cannot talk to registry '127.0.0.1:$port': "* ]]
  cp cert.pem "$dir/127.0.0.1:$port/client.cert"
  run -1 "$KILN" image pull --name client "oci://127.0.0.1:$port/team/app:1"
  [[ $output == *"client.cert' has no '"*"client.key' beside it"* ]]
  cp key.pem "$dir/127.0.0.1:$port/client.key"
  "$KILN" image pull --name client "oci://127.0.0.1:$port/team/app:1"
  echo nonsense >"$dir/$TLS/ca.crt"
  run -1 "$KILN" image pull --name other "oci://$TLS/team/app:1"
  rm -r "$dir"
}

@test "--insecure and --plain-http hold for images that are used, and for caches" {
  # an address that is not called loopback
  local far=0.0.0.0:${PLAIN#*:}
  mkdir "$BATS_TEST_TMPDIR/top"
  printf '%s\n' "FROM oci://$far/team/app:1" 'COPY a /a' >"$BATS_TEST_TMPDIR/top/Imagefile"
  echo a >"$BATS_TEST_TMPDIR/top/a"
  run -1 "$KILN" create --name vm "oci://$far/team/app:1"
  "$KILN" create --name vm --plain-http --jobs 2 "oci://$far/team/app:1"
  "$KILN" rm vm
  run -1 "$KILN" create --name vm "oci://$TLS/team/app:1"
  [[ $output == *certificate* ]]
  "$KILN" create --name vm --insecure "oci://$TLS/team/app:1"
  "$KILN" rm vm
  "$KILN" image build --plain-http --cache-strict --cache-to "oci://$far/ci/far" --name top "$BATS_TEST_TMPDIR/top"
  rm -rf "$KILN_HOME/backend"
  run -1 "$KILN" image build --name top "$BATS_TEST_TMPDIR/top"
  "$KILN" image build --plain-http --cache-strict --cache-from "oci://$far/ci/far" --require-cached --name top "$BATS_TEST_TMPDIR/top"
}

@test "wrong words are refused before anything is sent" {
  local ref
  run -1 "$KILN" image pull --policy=never "oci://$PLAIN/team/none:1"
  [[ $output == *"unable to find image 'none'"* ]]
  run -1 "$KILN" fetch "$PLAIN/team/app:1"
  [[ $output == *"an image of a registry is written 'oci://$PLAIN/team/app:1'"* ]]
  for ref in oci://app oci://host/ oci://host/UPPER:1 oci://host/a/../b oci://host/a@sha256:12 "oci://host/a:b c" oci://h:x/a; do
    run -1 "$KILN" image pull "$ref"
    run -1 on_a image push app "$ref"
  done
  run --separate-stderr on_a image push app "$(cat pushed)"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"a push needs a tag"* ]]
  run -2 "$KILN" image pull --resumable "oci://$PLAIN/team/app:1"
  run -2 "$KILN" image pull --jobs 9 "oci://$PLAIN/team/app:1"
  run --separate-stderr "$KILN" image pull "oci://$PLAIN/team/none:1"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"answers 404"* ]]
}

@test "FROM, COPY --from, run and shell take a reference, and fetch it once" {
  mkdir "$BATS_TEST_TMPDIR/top"
  printf '%s\n' "FROM oci://$BAD/team/app:1" "COPY --from=oci://$BAD/team/app:1 /etc/one /etc/copied" \
    'RUN test "$COLOUR" = blue && cmp /etc/one /etc/copied' >"$BATS_TEST_TMPDIR/top/Imagefile"
  run -1 "$KILN" image build --pull never --name top "$BATS_TEST_TMPDIR/top"
  [ ! -e bad/log ]
  "$KILN" image build --name top "$BATS_TEST_TMPDIR/top"
  [ "$(grep -c '^GET .*/manifests/' bad/log)" -eq 1 ]
  "$KILN" image ls | grep -q "oci://$BAD/team/app:1"
  rm bad/log
  "$KILN" image build --require-cached --name top "$BATS_TEST_TMPDIR/top"
  [ ! -e bad/log ]
  # another image under the tag is noticed when it is asked for: the manifest alone is looked at
  "$KILN" image build --pull newer --require-cached --name top "$BATS_TEST_TMPDIR/top"
  [ "$(grep -c '^GET .*/blobs/' bad/log)" -le 2 ]
  [ "$("$KILN" shell "oci://$BAD/team/app:1" -- cat /etc/one)" = one ]
  run --separate-stderr "$KILN" create "oci://$BAD/team/none" --name vm
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"cannot pull 'oci://$BAD/team/none:latest'"*"answers 404"* ]]
  "$KILN" create "oci://$BAD/team/app@$(sed 's/.*@//' pushed)" --name vm
  "$KILN" rm vm
  run --separate-stderr "$KILN" image build --checksum "sha256:$(printf '%064d' 0)" "$BATS_TEST_TMPDIR/top"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"a checksum is not for"* ]]
}

# chain NAME: the ids of the image's layers, base first.
chain() { "$KILN" image history --json "$1" | jq -r '.[].layer // empty'; }

@test "of the layers that are here and those of a cache the longer chain is used" {
  local long=$BATS_TEST_TMPDIR/long own
  cp -a build "$long"
  printf '%s\n' 'RUN echo two >/etc/two' >>"$long/Imagefile"
  on_a image build --cache-strict --cache-to "oci://$PLAIN/ci/long" --name long "$long"
  on_a image build --cache-strict --require-cached --cache-to "oci://$PLAIN/ci/short" --name short build
  # this machine made the first ones itself, and so they have other bytes than those in the cache
  "$KILN" image build --name own build
  own=$(chain own)
  KILN_ACCEL=none "$KILN" image build --require-cached --cache-strict --cache-from "oci://$PLAIN/ci/long" \
    --cache-to "oci://$BAD/ci/to" --name long "$long" >out 2>&1
  cat out
  [ "$(grep -c 'A cache has other layers' out)" -eq 1 ]
  [ "$(chain long)" = "$(KILN_HOME=$BATS_FILE_TMPDIR/a chain long)" ]
  # only the layers of the chain that is used go to --cache-to
  [ "$(grep -c '^PUT .*/manifests/k-' bad/log)" -eq "$(chain long | wc -l)" ]
  # what this build has run is not from the cache, also if it began again since
  cp -a "$long" "$long.staged"
  echo a >"$long.staged/a"
  { printf '%s\n' 'FROM scratch AS files' 'COPY a /a' && cat "$long/Imagefile" && echo 'COPY --from=files /a /a'; } >"$long.staged/Imagefile"
  "$KILN" image build --cache-strict --cache-from "oci://$PLAIN/ci/long" --name staged "$long.staged" >out 2>&1
  cat out
  [ "$(grep -c 'A cache has other layers' out)" -eq 1 ]
  grep -q '(4 of 7 layers from the cache)$' out
  # a build that fails has sent what it found
  rm bad/log
  cp -a "$long" "$long.fails"
  echo 'RUN false' >>"$long.fails/Imagefile"
  run -1 "$KILN" image build --cache-from "oci://$PLAIN/ci/long" --cache-to "oci://$BAD/ci/fails" --name fails "$long.fails"
  [ "$(grep -c '^PUT .*/manifests/k-' bad/log)" -eq 4 ]
  "$KILN" system verify
  # a cache that has no more than there is here is not preferred
  cp -a "$long" "$long.mine"
  echo 'RUN echo mine >/etc/mine' >>"$long.mine/Imagefile"
  sed -i '/two/d' "$long.mine/Imagefile"
  "$KILN" image build --cache-strict --cache-from "oci://$PLAIN/ci/short" --name mine "$long.mine" >out 2>&1
  cat out
  [ "$(grep -c 'A cache has other layers' out)" -eq 1 ]
  [[ $(chain mine) == "$own"* ]]
  # nor asked for more when it has the very layers
  on_a image build --cache-strict --require-cached --cache-to "oci://$BAD/ci/same" --name long "$long"
  rm -f bad/log
  echo 'RUN echo three >/etc/three' >>"$long/Imagefile"
  on_a image build --cache-strict --cache-from "oci://$BAD/ci/same" --name long "$long" >out 2>&1
  [ "$(grep -c 'A cache has other layers' out)" -eq 0 ]
  [ "$(grep -c '^GET .*/manifests/k-' bad/log)" -eq 5 ]
  on_a image rm long short
}

@test "a remote cache: built here, cached there, without a VM; what fails is one warning" {
  "$KILN" image build --cache-to "oci://$BAD/ci/cache" --name app build
  [ "$(grep -c '^PUT .*/manifests/k-' bad/log)" -eq 3 ]
  [ -z "$("$KILN" image ls --remote "$BAD/ci/cache")" ]
  rm bad/log
  # nothing is sent again
  "$KILN" image build --cache-to "oci://$BAD/ci/cache" --name app build
  run ! grep -q '^PUT' bad/log
  rm bad/log
  # another machine
  cp -a "$KILN_HOME/backend" first
  rm -rf "$KILN_HOME/backend"
  KILN_CACHE_FROM="oci://$BAD/none oci://$BAD/ci/cache" "$KILN" image build --require-cached --name app build
  qemu-img compare "$KILN_HOME/backend/app" first/app
  "$KILN" system verify
  [ "$(grep -c '^GET .*/none/manifests/k-.* 404' bad/log)" -eq 3 ]
  # after the first miss of a stage it is not asked again; what was built goes up while the build goes on
  rm -rf "$KILN_HOME/backend" first bad/log
  mkdir "$BATS_TEST_TMPDIR/more"
  cp -a build/. "$BATS_TEST_TMPDIR/more"
  cd "$BATS_TEST_TMPDIR/more" || return
  sed -i 's/^FROM scratch/& AS base/' Imagefile
  printf '%s\n' 'FROM base AS other' 'RUN echo two >/etc/two' 'FROM base' 'COPY --from=other /etc/two /etc/two' \
    'RUN echo three >/etc/three' >>Imagefile
  cp Imagefile ends
  echo 'RUN while :; do sleep 1; done' >>Imagefile
  cd "$BATS_FILE_TMPDIR" || return
  "$KILN" image build --cache-from "oci://$BAD/ci/cache" --cache-to "oci://$BAD/ci/cache" --name more "$BATS_TEST_TMPDIR/more" >out 2>&1 3>&- &
  local pid=$! left=600
  until [ "$(grep -cs "^PUT .*/manifests/k-" bad/log)" = 2 ] || [ $((left--)) -eq 0 ]; do sleep 0.2; done
  kill -TERM $pid
  wait $pid || true
  cat out
  [ "$(grep -c '^PUT .*/manifests/k-' bad/log)" -eq 2 ]
  [ "$(grep -c '(cached)' out)" -eq 3 ]
  [ "$(grep -c "^GET .*/manifests/k-.* 404" bad/log)" -eq 2 ]  # looked for: one of each stage
  [ "$(grep -c "^HEAD .*/manifests/k-.* 404" bad/log)" -eq 2 ] # before they are sent
  # mode=all: the other stage's too
  mv "$BATS_TEST_TMPDIR/more/ends" "$BATS_TEST_TMPDIR/more/Imagefile"
  "$KILN" image build --require-cached --cache-to "oci://$BAD/ci/cache,mode=min" --name more "$BATS_TEST_TMPDIR/more"
  [ "$(grep -c '^PUT .*/manifests/k-' bad/log)" -eq 2 ]
  "$KILN" image build --require-cached --cache-to "oci://$BAD/ci/cache,mode=all" --name more "$BATS_TEST_TMPDIR/more"
  [ "$(grep -c '^PUT .*/manifests/k-' bad/log)" -eq 3 ]
  [ "$(grep -c '^PUT .*/manifests/f-' bad/log)" -eq 1 ] # what COPY --from reads
  [ -z "$("$KILN" image ls --remote "$BAD/ci/cache")" ]
  # another machine: every step of every stage is cached, and what only feeds COPY --from is not fetched
  mv "$KILN_HOME/backend" first
  rm bad/log
  KILN_ACCEL=none "$KILN" image build --require-cached --cache-strict --cache-from "oci://$BAD/ci/cache" --name more "$BATS_TEST_TMPDIR/more" >out
  [ "$(grep -c '(cached)' out)" -eq 6 ]
  qemu-img compare "$KILN_HOME/backend/more" first/more
  [ "$(ls "$KILN_HOME/backend/.layers" | wc -l)" -eq 5 ]
  [ "$(grep -c '^GET .*/manifests/' bad/log)" -eq 7 ]
  [ "$(grep -c '^GET .*/blobs/' bad/log)" -eq 7 ] # a config, what is read, five layers
  "$KILN" system verify
  # a step on top has only its own stage fetched, and one that reads the other stage has that fetched, too
  rm -rf "$KILN_HOME/backend"
  echo 'COPY --from=other /etc/two /etc/four' >>"$BATS_TEST_TMPDIR/more/Imagefile"
  "$KILN" image build --cache-strict --cache-from "oci://$BAD/ci/cache" --name more "$BATS_TEST_TMPDIR/more"
  [ "$("$KILN" shell more -- cat /etc/three /etc/four | xargs)" = 'three two' ]
  # a cache that can't give what it said it had: the build begins again without it, and is told once
  rm -rf "$KILN_HOME/backend"
  echo short >bad/mode
  run -0 "$KILN" image build --cache-from "oci://$BAD/ci/cache" --cache-from "oci://$PLAIN/ci/cache" --require-cached --name app build
  [ "$(grep -c "cache 'oci://$BAD/ci/cache' is not used: cannot talk" <<<"$output")" -eq 1 ]
  [[ $output == *'Building again without it'* ]]
  rm -rf "$KILN_HOME/backend"
  run -1 "$KILN" image build --cache-strict --cache-from "oci://$BAD/ci/cache" --name app build
  [[ $output == *"cache 'oci://$BAD/ci/cache': cannot talk"* ]]
  rm bad/mode
  rm -rf "$KILN_HOME/backend"
  mv first "$KILN_HOME/backend"
  run -1 "$KILN" image build --cache-to "oci://$BAD/ci/cache,mode=most" build
  [[ "$output" == *"only mode=min or mode=all"* ]]
  # ten at once, of two machines that built the same, each with bytes of its own
  "$KILN" image build --name app build
  local i pids=()
  for i in 1 2 3 4 5; do
    "$KILN" image build --require-cached --cache-strict --cache-to "oci://$PLAIN/ci/ten" --name "ten$i" build 3>&- &
    pids+=($!)
    on_a image build --require-cached --cache-strict --cache-to "oci://$PLAIN/ci/ten" --name "ten$i" build 3>&- &
    pids+=($!)
  done
  for i in "${pids[@]}"; do wait "$i"; done
  for i in 1 2 3 4 5; do on_a image rm "ten$i"; done
  rm -rf "$KILN_HOME/backend"
  "$KILN" image build --require-cached --cache-strict --cache-from "oci://$PLAIN/ci/ten" --name app build
  "$KILN" system verify
  # a cache that lies, or refuses: the other one is used
  local m
  for m in corrupt evil; do
    rm -rf "$KILN_HOME/backend"
    echo $m >bad/mode
    "$KILN" image build --cache-from "oci://$BAD/ci/cache" --cache-from "oci://$PLAIN/ci/ten" --require-cached --name app build >out 2>&1
    cat out
    [ "$(grep -c "cache 'oci://$BAD/ci/cache' is not used" out)" -eq 1 ]
    "$KILN" system verify
  done
  run -0 "$KILN" image build --cache-to "oci://$BAD/ci/cache" --name app build
  [ "$(grep -c "cache 'oci://$BAD/ci/cache' is not used: .*answers 403" <<<"$output")" -eq 1 ]
  run -1 "$KILN" image build --cache-strict --cache-to "oci://$BAD/ci/cache" --name app build
  [[ "$output" == *"answers 403"* ]]
  rm bad/mode
  run -1 "$KILN" image build --cache-to "oci://$BAD/ci/cache:tag" build
  [[ "$output" == *"without a tag"* ]]
}
