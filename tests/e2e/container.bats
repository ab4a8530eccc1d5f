#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# ADD of container images: layouts, archives and registries, with skopeo as the other side.
bats_require_minimum_version 1.5.0
load common

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

setup_file() {
  export KILN_HOME="$BATS_FILE_TMPDIR/home" KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HTTP_RETRY_MS=10 HOME="$BATS_FILE_TMPDIR"
  unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY XDG_CONFIG_HOME XDG_RUNTIME_DIR XDG_CACHE_HOME \
    DOCKER_CONFIG REGISTRY_AUTH_FILE KILN_REGISTRY_USER KILN_REGISTRY_PASSWORD
  cd "$BATS_FILE_TMPDIR" || return
  share_appliance "$KILN_HOME"
  make_base base base >&2
  mkdir build
  # what of the image a container would see, in words
  printf '%s\n' 'cd /img' 'find . ! -type l -exec stat -c "%n %F %a %u:%g %h" {} + | sort' \
    'find . -type l | sort | while read -r l; do echo "$l -> $(readlink "$l")"; done' \
    'ls -l dev | sed "s/  */ /g"' 'md5sum $(find . -type f | sort)' >build/look
  "$BATS_TEST_DIRNAME/../servers/container.py" layers build/img
  "$BATS_TEST_DIRNAME/../servers/container.py" hostile build
  skopeo --insecure-policy copy -q oci:build/img:docker docker-archive:build/docker.tar:app:1
  skopeo --insecure-policy copy -q oci:build/img:1 oci-archive:build/oci.tar:v1
  gzip -k build/docker.tar
}

setup() { cd "$BATS_FILE_TMPDIR/build" || return; }

teardown() {
  [ -z "${server:-}" ] || kill "$server"
  no_leftovers "$KILN_HOME"
  [ -z "$(ls -A "$KILN_HOME/cache/remote/.working" 2>/dev/null)" ]
}

# look SOURCE...: builds an image of it, and prints what is in the step's output.
look() {
  printf 'FROM base\nADD %s /img/\nCOPY look /look\nRUN sh /look >/what 2>&1\nRUN cat /what\n' "$*" >Imagefile
  timeout 300 "$KILN" image build --name looked . >out 2>&1 || { cat out; return 1; }
  "$KILN" image log looked 5
}

@test "layers as a container sees them: whiteouts, opaque folders, links, owners, devices, capabilities" {
  local expected='. directory 755 0:0 11
./a directory 755 0:0 2
./a/added regular file 644 0:0 1
./a/keep regular file 644 0:0 1
./b directory 755 0:0 2
./b/3 regular file 644 0:0 1
./c directory 755 0:0 2
./c/3 regular file 644 0:0 2
./c3 regular file 644 0:0 2
./dev directory 755 0:0 2
./dev/loop9 block special file 660 0:6 1
./dev/null character special file 666 0:0 1
./dir2file regular file 644 0:0 1
./fifo fifo 600 0:0 2
./fifo2 fifo 600 0:0 2
./file2dir directory 755 0:0 2
./file2dir/in regular file 644 0:0 1
./kept regular file 644 0:0 2
./kept2 regular file 644 0:0 2
./large regular file 644 0:0 1
./opaque directory 755 0:0 2
./opaque/both regular file 644 0:0 1
./opaque/new regular file 644 0:0 1
./own directory 700 1000:50 2
./own/suid regular file 4755 1000:50 1
./ping regular file 644 0:0 1
./three regular file 600 0:0 2
./tmp directory 1777 0:0 2
./two regular file 600 0:0 2
./usr directory 755 0:0 3
./usr/lib directory 755 0:0 2
./usr/lib/through regular file 644 0:0 1
./abs -> /a
./lib -> usr/lib'
  look oci-layout:img:1 >seen
  cat seen
  [ "$(head -n 34 seen)" = "$expected" ]
  grep -q 'brw-rw---- 1 root 6 7, 9' seen
  grep -q 'crw-rw-rw- 1 root root 1, 3' seen
  grep -q "$(printf shared | md5sum | cut -d ' ' -f 1)  ./three" seen
  grep -q "$(printf new | md5sum | cut -d ' ' -f 1)  ./opaque/both" seen
  grep -q "$(printf fourth | md5sum | cut -d ' ' -f 1)  ./kept2" seen
  cp seen "$BATS_FILE_TMPDIR/seen"
  # xattrs, by the file system's own tool
  "$KILN" image export --format raw looked looked.raw
  debugfs -R 'ea_list /img/ping' 'looked.raw?offset=1048576' 2>&1 | tee attributes
  grep -q 'security.capability (20)' attributes
  grep -q 'user.note (4) = "kept"' attributes
  rm looked.raw
}

@test "what skopeo made of it, docker's and podman's archives, compressed or not, are the same" {
  local source
  for source in docker-archive:docker.tar docker-archive:docker.tar.gz:app:1 oci-archive:oci.tar:v1 oci-layout:img:both; do
    look "$source" | diff - "$BATS_FILE_TMPDIR/seen"
  done
  # nothing changed: from the cache, without the archive being unpacked again
  run "$KILN" image build --require-cached --name looked .
  [ "$status" = 0 ]
  # of an archive with several images of one name, another platform's is another step
  tar -C img -cf both.tar .
  look oci-archive:both.tar:both | diff - "$BATS_FILE_TMPDIR/seen"
  look '--platform=linux/arm64 oci-archive:both.tar:both' | grep -q '^./arm regular file'
}

@test "a registry: both formats, an index, pinned without a network, damaged here, interrupted" {
  local port digest
  port=$(free_port)
  printf '%s\n' 'version: 0.1' 'log: {level: error, accesslog: {disabled: true}}' \
    "storage: {filesystem: {rootdirectory: $BATS_TEST_TMPDIR/data}}" "http: {addr: '127.0.0.1:$port'}" >"$BATS_TEST_TMPDIR/r.yml"
  docker-registry serve "$BATS_TEST_TMPDIR/r.yml" >"$BATS_TEST_TMPDIR/r.log" 2>&1 3>&- &
  server=$!
  until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
  skopeo --insecure-policy copy -q --all --dest-tls-verify=false oci:img:both "docker://127.0.0.1:$port/team/app:1"
  skopeo --insecure-policy copy -q --format v2s2 --dest-tls-verify=false docker-archive:docker.tar "docker://127.0.0.1:$port/v2/app:1"
  look "oci://127.0.0.1:$port/team/app:1" | diff - "$BATS_FILE_TMPDIR/seen"
  look "oci://127.0.0.1:$port/v2/app:1" | diff - "$BATS_FILE_TMPDIR/seen"
  run look "--platform=linux/s390x oci://127.0.0.1:$port/team/app:1"
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"it has no image for 'linux/s390x', but for linux/arm64, linux/amd64"* ]]
  digest=$(skopeo inspect --tls-verify=false --raw "docker://127.0.0.1:$port/team/app:1" | sha256sum | cut -d ' ' -f 1)
  look "--checksum=sha256:$digest oci://127.0.0.1:$port/team/app:1" >/dev/null
  kill "$server"
  wait "$server" || true
  server=
  # the digest names all of it, and it is here
  look "oci://127.0.0.1:$port/team/app@sha256:$digest" | diff - "$BATS_FILE_TMPDIR/seen"
  "$KILN" image build --no-cache --name looked . >/dev/null
  run look "oci://127.0.0.1:$port/team/app:1"
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"cannot talk to registry '127.0.0.1:$port'"* ]]
  # a kept manifest that is damaged is not used, and is then gone
  local layer="$KILN_HOME/cache/remote/" name
  cp "$layer$digest" "$BATS_TEST_TMPDIR/manifest"
  sed -i '1s/./ /' "$layer$digest"
  printf 'FROM base\nADD oci://127.0.0.1:%s/team/app@sha256:%s /img/\n' "$port" "$digest" >Imagefile
  run -1 "$KILN" image build --no-cache --name looked .
  [[ $output == *"cannot talk to registry '127.0.0.1:$port'"* ]]
  [ ! -e "$layer$digest" ]
  cp "$BATS_TEST_TMPDIR/manifest" "$layer$digest"
  # a kept layer, too
  name=$(python3 -c 'import json, sys; print(max(json.load(open(sys.argv[1]))["layers"], key=lambda l: l["size"])["digest"][7:])' \
    "$(grep -l '"layers"' "$layer"* | head -n 1)")
  printf x | dd of="$layer$name" bs=1 seek=40 conv=notrunc status=none
  printf 'FROM base\nADD oci://127.0.0.1:%s/team/app@sha256:%s /img/\n' "$port" "$digest" >Imagefile
  run "$KILN" image build --no-cache --name looked .
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"has other content than its digest says"*"build again: it is fetched anew"* ]]
  [ ! -e "$layer$name" ]
}

@test "hostile and broken images are refused, and nothing leaves the destination" {
  local what
  while read -r name what; do
    printf 'FROM base\nADD oci-layout:%s:1 /img/\n' "$name" >Imagefile
    run timeout 100 "$KILN" image build --name bad .
    echo "$name: $output"
    [ "$status" = 1 ]
    [[ $output == *"$what"* ]]
  done <<'END'
above its entry '../outside' has a '..'
link-above its entry '../../etc/passwd' has a '..'
below-file its entry 'file/x' is below what is not a folder
link-to-hidden its entry 'x' is a hard link to 'file', which is not there
names its files have too many or too long names
circle its entry 'a/x' leads through too many links
size has 102 bytes, not 103 as the manifest says
content has other content than its digest says
garbage has other content than its digest says
truncated has other content than its digest says
type it is an image with a disk: write FROM in place of ADD
arm ADD --platform=linux/arm64 unpacks it nevertheless
END
  # one without an end can be interrupted
  printf 'FROM base\nADD oci-layout:zeros:1 /img/\n' >Imagefile
  "$KILN" image build --name bad . >out 2>&1 3>&- &
  local pid=$!
  until grep -q 'step 2 missed' out; do kill -0 $pid; sleep 0.1; done
  kill -TERM $pid
  timeout 30 tail --pid=$pid -f /dev/null
  status=0
  wait $pid || status=$?
  [ "$status" = 143 ]
  printf '%s\n' 'FROM base' 'ADD oci-layout:escape:1 /img/' \
    'RUN [ ! -e /etc/by-up ] && [ ! -e /etc/by-abs ] && cat /img/etc/by-up /img/etc/by-abs' >Imagefile
  "$KILN" image build --name escape .
}

@test "what is wrong is said before the build: check and the first lines" {
  printf '%s\n' 'FROM base' 'ADD oci-layout:nothing:1 /' 'ADD oci://host/UPPER:1 /' 'ADD docker-archive: /' 'ADD oci-archive:oci.tar:../../../img:1 /' 'COPY oci://h/a:1 /' \
    'ADD --platform=linux/amd64 look /' 'ADD --exclude=x oci://h/a:1 /' 'ADD --unpack=false oci://h/a:1 /' \
    'ADD --checksum=sha256:12 oci://h/a:1 /' >Imagefile
  run "$KILN" image check .
  echo "$output"
  [ "$status" = 1 ]
  local line
  for line in "6:6: error: COPY does not unpack container images" "7:16: error: --platform is for container images only" \
    "8:15: error: --exclude cannot be combined with a container image" "9:20: error: a container image is always unpacked" \
    "10:16: error: invalid checksum"; do
    [[ $output == *"$line"* ]] || { echo "missing: $line"; return 1; }
  done
  sed -i '6,$d' Imagefile
  run "$KILN" image check .
  echo "$output"
  [ "$status" = 1 ]
  for line in "2:5: error: ADD source 'nothing' was not found" "3:5: error: " "4:5: error: 'docker-archive:' names no file" \
    "5:5: error: '../../../img:1' is not a tag"; do
    [[ $output == *"$line"* ]] || { echo "missing: $line"; return 1; }
  done
  # what variables hold is seen when the step is run
  while read -r line; do
    printf 'FROM base\nARG IMAGE=oci-layout:img:1 FILE=look\n%s\n' "${line%%|*}" >Imagefile
    run "$KILN" image build --name bad .
    echo "$line: $output"
    [ "$status" = 1 ]
    [[ $output == *"Imagefile:3:1: error: ${line#*|}"* ]]
  done <<'END'
ADD --platform=linux/amd64 $FILE /|--platform is for container images only
ADD --exclude=x $IMAGE /|--exclude cannot be combined with a container image
ADD --unpack=false $IMAGE /|a container image is always unpacked
END
  local digest
  digest=$(sha256sum docker.tar | cut -d ' ' -f 1)
  printf 'FROM base\nADD --checksum=sha256:%s docker-archive:docker.tar.gz /\n' "$digest" >Imagefile
  run "$KILN" image build --name bad .
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"'docker-archive:docker.tar.gz': it is not what its checksum says: it has sha256:"*", not $digest"* ]]
  # the file's own digest passes, and what is wrong comes next
  printf 'FROM base\nADD --checksum=sha256:%s docker-archive:docker.tar:nix /\n' "$digest" >Imagefile
  run "$KILN" image build --name bad .
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"the archive has no image 'nix'"*"'docker.io/library/app:1'"* ]]
}

@test "an archive that would fill the disk is refused before it has" {
  python3 - <<'END'
import gzip, hashlib, io, json, tarfile

def archive(**members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()

layer = archive(zeros=bytes(32 << 20))
config = json.dumps({"architecture": "amd64", "os": "linux",
                     "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}).encode()
manifest = json.dumps([{"Config": "config.json", "RepoTags": ["big:1"], "Layers": ["layer.tar"]}]).encode()
open("big.tar.gz", "wb").write(gzip.compress(archive(manifest_json=manifest, config_json=config, layer_tar=layer)))
END
  printf 'FROM base\nADD docker-archive:big.tar.gz /\n' >Imagefile
  cat >small <<'END'
appliance=$(readlink "$KILN_HOME/cache/appliance") template=$(readlink "$KILN_HOME/cache/template")
mount -t tmpfs -o size=16m tmpfs "$KILN_HOME/cache" || exit 9
ln -s "$appliance" "$KILN_HOME/cache/appliance"
ln -s "$template" "$KILN_HOME/cache/template"
"$KILN" image build --name big .
status=$?
du -sk "$KILN_HOME/cache"
exit $status
END
  # the cache folder on a disk of 16 MB
  run timeout 300 unshare -m sh small
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"it unpacks to more than "*" bytes, nine tenths of what is free in '$KILN_HOME/cache'"*"hint: free some space, or choose another XDG_CACHE_HOME"* ]]
  [[ ${lines[-1]} =~ ^[0-9]{1,3}[[:space:]] ]] # KB: what it had unpacked is gone
}
