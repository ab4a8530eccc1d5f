#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154  # stderr and stderr_lines come from run
# Images in and out, against a server that misbehaves (tests/servers/images.py). Every pull ends in the
# right image or in a clear error with nothing left behind.
bats_require_minimum_version 1.5.0

setup_file() {
  export FILES="$BATS_FILE_TMPDIR/files" KILN_HOME="$BATS_FILE_TMPDIR/home"
  export KILN_HTTP_RETRY_MS=10 KILN_HTTP_STALL=2
  unset CURL_CA_BUNDLE SSL_CERT_FILE http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY
  mkdir "$FILES"
  cd "$FILES" || return
  truncate -s 12M disk
  printf '\125\252' | dd of=disk bs=1 seek=510 conv=notrunc status=none
  dd if=/dev/urandom of=disk bs=64k seek=16 count=20 conv=notrunc status=none
  dd if=/dev/urandom of=disk bs=64k seek=100 count=20 conv=notrunc status=none
  qemu-img convert -f raw -O qcow2 disk disk.qcow2
  cp disk.qcow2 changing.qcow2 && cp disk changing.qcow2.new
  for f in disk disk.qcow2; do
    gzip -k $f && bzip2 -k $f && xz -k -1 $f && zstd -q $f
  done
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 -days 2 \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$BATS_FILE_TMPDIR/key.pem" \
    -out "$BATS_FILE_TMPDIR/cert.pem" 2>/dev/null
  python3 "$BATS_TEST_DIRNAME/../servers/images.py" "$FILES" "$BATS_FILE_TMPDIR" >"$BATS_FILE_TMPDIR/port" 3>&- &
  echo $! >"$BATS_FILE_TMPDIR/server"
  until [ "$(wc -l <"$BATS_FILE_TMPDIR/port")" -eq 2 ]; do sleep 0.05; done
  URL="http://127.0.0.1:$(sed -n 1p "$BATS_FILE_TMPDIR/port")"
  TLS="https://127.0.0.1:$(sed -n 2p "$BATS_FILE_TMPDIR/port")"
  export URL TLS
}

teardown_file() {
  kill "$(cat "$BATS_FILE_TMPDIR/server")"
}

setup() {
  KILN_HOME="$BATS_TEST_TMPDIR/home"
  cd "$FILES" || return
}

# (where it runs in the background the command stands in full: $! must be kiln)
pull() { "$KILN" image pull --no-checksum "$@"; }

# Waits until a pull of x in the background has noted what it has (every two seconds).
noted() { timeout 60 sh -c "until [ -s '$KILN_HOME/backend/.working/pull-x/state.json' ]; do sleep 0.05; done"; }

# Waits until a pull of x in the background has more than $2 bytes in its file $1.
got() {
  until [ "$(stat -c %s "$KILN_HOME/backend/.working/pull-x/$1" 2>/dev/null || echo 0)" -gt "$2" ]; do sleep 0.05; done
}

# The image NAME has the content of the disk.
right() { qemu-img compare -q -f raw -F qcow2 "$FILES/disk" "$KILN_HOME/backend/$1"; }

# Nothing that looks like an image, nothing that is unfinished.
nothing_left() {
  [ "$("$KILN" image ls | wc -l)" -eq 1 ]
  [ -z "$(find "$KILN_HOME/backend" -type f 2>/dev/null)" ]
}

# The pull fails, says this and leaves nothing.
refused() {
  local says=$1
  shift
  run --separate-stderr pull "$@"
  echo "$stderr"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"$says"* ]]
  nothing_left
}

asked() { curl -s "$URL/stats" | python3 -c '
import json, sys
print("\n".join(f"{p} {r}" for p, r, t in json.load(sys.stdin) if p == sys.argv[1]))' "$1"; }

@test "every compression of qcow2 and raw, over http" {
  for f in disk{,.qcow2}{,.gz,.bz2,.xz,.zst}; do
    pull "x,http=$URL/plain/$f"
    right x
    qemu-img check -q -f qcow2 "$KILN_HOME/backend/x"
    [ "$(stat -c %a "$KILN_HOME/backend/x")" = 444 ]
    "$KILN" image rm x
  done
  nothing_left
}

@test "what the user sees" {
  run --separate-stderr pull "my-img,http=$URL/plain/disk.qcow2.xz"
  [ "${stderr_lines[0]}" = "Unable to find image 'my-img' in backend" ]
  [ "${stderr_lines[1]}" = "Downloading image from '$URL/plain/disk.qcow2.xz'" ]
  [ "${#stderr_lines[@]}" -eq 2 ]
  [ -f "$KILN_HOME/backend/my%2Dimg" ]
  run "$KILN" image ls
  [ "${lines[0]}" = " NAME    VIRT SIZE   REAL SIZE" ]
  [[ "${lines[1]}" =~ ^\ my-img\ \ 12\.00\ MiB\ \ \ \ 2\.[0-9][0-9]\ MiB$ ]]
  "$KILN" image ls --json | python3 -c 'import json,sys; i, = json.load(sys.stdin)
assert i["name"] == "my-img" and i["virtual_size"] == 12 << 20 and i["type"] == "standalone"'
  run --separate-stderr pull "my-img,http=$URL/plain/disk.qcow2.xz"
  [ "$stderr" = "Image 'my-img' is in the backend already" ]
}

@test "the bar on a terminal" {
  TERM=xterm script -qec "$KILN image pull --no-checksum x,http=$URL/slow/3000000/disk.qcow2" /dev/null >"$BATS_TEST_TMPDIR/tty"
  tr '\r' '\n' <"$BATS_TEST_TMPDIR/tty" | grep -E '^ *[0-9]+% \|#* *\| +[0-9.]+ [KM]iB/s \| +[0-9.]+ [KM]iB \| ETA:   0:00:0[0-9]$'
  tr '\r' '\n' <"$BATS_TEST_TMPDIR/tty" | grep -E '^100% \|#+\| +[0-9.]+ MiB/s \| +2\.[0-9] MiB \| Time:  0:00:0[0-9]$'
  [ "$(tr '\r' '\n' <"$BATS_TEST_TMPDIR/tty" | wc -L)" -lt 80 ]
}

@test "https: certificates are verified, no way back to http" {
  run -1 pull "x,http=$TLS/plain/disk.qcow2"
  [[ "$output" == *"certificate"* ]]
  SSL_CERT_FILE="$BATS_FILE_TMPDIR/cert.pem" pull "x,http=$TLS/hop/2/disk.qcow2.xz"
  right x
  "$KILN" image rm x
  SSL_CERT_FILE="$BATS_FILE_TMPDIR/cert.pem" refused "rotocol" "x,http=$TLS/down"
}

@test "netrc, and proxies from the environment" {
  refused "answered 401" "x,http=$URL/private/disk.qcow2"
  printf 'machine 127.0.0.1 login me password secret\n' >"$BATS_TEST_TMPDIR/.netrc"
  HOME=$BATS_TEST_TMPDIR pull "x,http=$URL/private/disk.qcow2"
  right x
  # the server takes what a proxy is asked for: a whole URL
  http_proxy=$URL pull "y,http=http://elsewhere.invalid/plain/disk.qcow2"
  right y
  # this one speaks no https, and must not be asked for what no_proxy names
  https_proxy=$URL run -1 pull "z,http=https://elsewhere.invalid/disk.qcow2"
  [[ "$output" == *"the proxy answered CONNECT with 501"* ]]
  http_proxy=http://127.0.0.1:1 no_proxy=127.0.0.1 pull "z,http=$URL/plain/disk.qcow2"
  right z
}

@test "a password in the URL is not shown" {
  run --separate-stderr pull "x,http=${URL/:\/\//:\/\/me:secret@}/status/404/disk"
  [[ "$stderr" == *"answered 404"* && "$stderr" != *secret* ]]
}

@test "connections that are cut go on where they were" {
  pull "x,http=$URL/cut/200000/disk.qcow2"
  right x
  [ "$(asked /cut/200000/disk.qcow2 | wc -l)" -gt 5 ]
  [ "$(asked /cut/200000/disk.qcow2 | sed -n 2p)" = "/cut/200000/disk.qcow2 bytes=$((200000 - 16384))-" ]
  for f in disk.gz disk.qcow2.xz disk.zst disk.bz2; do
    pull "y,http=$URL/cutonce/$f"
    right y
    "$KILN" image rm y
  done
}

@test "a server without ranges, without validators, with the wrong range" {
  pull "x,http=$URL/norange/disk.qcow2"
  right x
  run -1 pull "y,http=$URL/bare/disk.qcow2"
  [[ "$output" == *", received "* ]]
  pull "z,http=$URL/wrongrange/disk.qcow2.xz" || true
  [ ! -e "$KILN_HOME/backend/z" ] || right z
}

@test "a file that changes between two answers is fetched anew" {
  pull "x,http=$URL/changed/changing.qcow2"
  right x
  [ "$(asked /changed/changing.qcow2 | wc -l)" -eq 3 ]
}

@test "other bytes under the same ETag are noticed when a broken connection is resumed" {
  pull "x,http=$URL/flip/disk.qcow2"
  [ "$(asked /flip/disk.qcow2 | wc -l)" -eq 3 ]
  python3 - "$KILN_HOME/backend/x" disk.qcow2 <<'PY'
import sys
x, f = (open(p, "rb").read() for p in sys.argv[1:])
at = len(f) // 2
assert x == f[:at - 100] + bytes(255 - b for b in f[at - 100:at]) + f[at:]
PY
}

@test "endless headers are told, and not as a lack of memory" {
  refused "the response headers are too long" "x,http=$URL/header/1000000/disk"
  refused "Too large response headers" "x,http=$URL/headers/3000/disk"
}

# The layer that an image stands on, after a build that needs no VM.
base_of() { "$KILN" image inspect --json "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)["layer"])'; }

@test "a file that FROM names is looked at each time" {
  mkdir ctx src && cp disk src/base
  printf 'FROM base,file=%s/src/base\nENV a=b\n' "$FILES" >ctx/Imagefile
  "$KILN" image build -q --name one ctx
  first=$(base_of one)
  # rebuilt with the same content, sparse or not, here or elsewhere: nothing changes and nothing is said
  cp --sparse=never disk src/new && mv src/new src/base
  run --separate-stderr "$KILN" image build -q --name one ctx
  [ "$status" -eq 0 ] && [ -z "$stderr" ]
  cp disk src/elsewhere
  run --separate-stderr pull "base,file=src/elsewhere"
  [ "$stderr" = "Image 'base' is in the backend already" ]
  [ "$(base_of one)" = "$first" ]
  # other content
  printf x | dd of=src/base bs=1 seek=5000000 conv=notrunc status=none
  run --separate-stderr "$KILN" image build --name one ctx
  [[ "$stderr" == *"Image 'base' is from '$FILES/src/elsewhere', but '$FILES/src/base' was requested"* ]]
  second=$(base_of one)
  [ "$second" != "$first" ]
  printf y | dd of=src/base bs=1 seek=5000000 conv=notrunc status=none
  run --separate-stderr "$KILN" image build --pull never --name one ctx
  [ "$status" -eq 0 ] && [ -z "$stderr" ] && [ "$(base_of one)" = "$second" ]
  run --separate-stderr "$KILN" image build --name one ctx
  [[ "$stderr" == *"'$FILES/src/base' has changed since image 'base' was made from it"* ]]
  [ "$(base_of one)" != "$second" ]
  # gone: what is there is used, which is said once; but not in place of another source
  rm src/base
  run --separate-stderr "$KILN" image build --name one ctx
  [ "$status" -eq 0 ]
  [ "$stderr" = "Using image 'base' as is: '$FILES/src/base' does not exist" ]
  run -1 pull "base,file=src/nothing"
  [[ "$output" == *"'src/nothing' does not exist"*"--pull=never"* ]]
  run -1 "$KILN" image build --pull --name one ctx
  [[ "$output" == *"'$FILES/src/base' does not exist"* ]]
  run -2 "$KILN" image build --pull=sometimes ctx
  # what did not come from a source here is left alone, unless --pull says otherwise
  cp disk src/base
  "$KILN" image tag one base
  run --separate-stderr "$KILN" image build --name two ctx
  [[ "$stderr" == "Using image 'base' as is: its source is not recorded"* ]]
  [ "$(base_of two)" = "$(base_of one)" ]
  "$KILN" image build --pull=newer --name two ctx
  [ "$(base_of two)" = "$first" ]
  # a name alone means where it came from
  cp disk.qcow2 src/base
  "$KILN" image pull --policy newer base
  "$KILN" image inspect base | grep -q "^source *$FILES/src/base$"
}

@test "what a URL has now is asked only on --pull=newer" {
  cp disk.qcow2 moving
  pull "x,http=$URL/v/moving"
  qemu-img convert -f raw -O qcow2 -o cluster_size=4096 disk moving
  pull "x,http=$URL/v/moving"
  [ "$(asked /v/moving | wc -l)" -eq 1 ]
  run pull --policy=newer "x,http=$URL/v/moving"
  [[ "$output" == *"'$URL/v/moving' may have changed"* ]]
  [ "$(qemu-img info "$KILN_HOME/backend/x" | grep -c 'cluster_size: 4096')" -eq 1 ]
  n=$(asked /v/moving | wc -l)
  pull --policy=newer "x,http=$URL/v/moving"
  [ "$(asked /v/moving | wc -l)" -eq $((n + 1)) ] # 304
  pull --policy=always "x,http=$URL/v/moving"
  pull --pull=newer x
  [ "$(asked /v/moving | wc -l)" -eq $((n + 3)) ]
  # another URL is another source; one that is gone is not
  run pull "x,http=$URL/plain/disk.qcow2"
  [[ "$output" == *"Image 'x' is from '$URL/v/moving', but '$URL/plain/disk.qcow2' was requested"* ]]
  mv moving gone
  pull "y,http=$URL/v/gone"
  mv gone moving
  run pull --policy=newer "y,http=$URL/v/gone"
  [[ "$status" -eq 0 && "$output" == *"Using image 'y' as is: cannot request '$URL/v/gone': the server answered 404"* ]]
  run -1 pull --policy=always "y,http=$URL/v/gone"
  right y
}

@test "a checksum is checked for form, and holds for what is there" {
  sum=$(sha256sum disk | cut -d' ' -f1)
  wrong=$(printf '0%.0s' {1..64})
  mkdir cs && printf 'FROM x,file=%s/disk\nENV a=b\n' "$FILES" >cs/Imagefile && printf 'FROM scratch\nDISK 8 MB GPT\nPARTITION 1 FORMAT ext4 MOUNT /\n' >cs/scratch
  for form in abc sha256:abc md5:d41d8cd98f00b204e9800998ecf8427e; do
    for cmd in "build cs" "pull x,file=disk" "import disk x"; do
      # shellcheck disable=SC2086  # words
      run -1 "$KILN" image ${cmd%% *} --checksum "$form" ${cmd#* }
      [[ "$output" == *"invalid checksum '$form'"* ]]
    done
  done
  "$KILN" image build -q --name y --checksum "$sum" cs
  "$KILN" image build -q --name y --checksum "sha256:$sum" cs
  for cmd in "build --name y cs" "pull x,file=disk" "pull x"; do
    # shellcheck disable=SC2086
    run -1 "$KILN" image ${cmd%% *} --checksum "$wrong" ${cmd#* }
    [[ "$output" == *"expected sha256:$wrong, got sha256:$sum"* ]]
  done
  run -1 "$KILN" image build --checksum "$sum" -f cs/scratch --name z cs
  [[ "$output" == *"the checksum cannot be applied"* ]]
  "$KILN" image tag y w
  run -1 pull --checksum "$sum" w
  [[ "$output" == *"cannot check image 'w' against the checksum"* ]]
  # of a file with holes no SHA-256 is kept, but it can be told as long as the file is there
  pull "v,file=disk"
  pull --checksum "$sum" "v,file=disk"
}

@test "wrong lengths" {
  refused ", received " "x,http=$URL/long/disk.qcow2.gz"
  run -1 pull "y,http=$URL/long/disk.qcow2"
  [[ "$output" == *", received "* ]]
  # what came can be resumed, so it is kept, but not where images are
  [ "$(find "$KILN_HOME/backend" -type f -not -path '*/.working/pull-y*')" = "" ]
  rm -r "$KILN_HOME/backend/.working/pull-y"*
  refused "damaged" "x,http=$URL/short/disk.qcow2"
  refused "is truncated" "x,http=$URL/short/disk.gz"
  refused "is truncated" "x,http=$URL/short/disk.xz"
  refused "is truncated" "x,http=$URL/short/disk.zst"
  refused "is truncated" "x,http=$URL/short/disk.bz2"
}

@test "no length at all, and redirects" {
  pull "x,http=$URL/chunked/disk.qcow2"
  right x
  pull "y,http=$URL/hop/3/disk.qcow2"
  right y
}

@test "redirects in a loop, or to a file of this host" {
  refused "redirects" "x,http=$URL/loop"
  refused "rotocol" "x,http=$URL/away/disk.qcow2"
}

@test "404, 403, 500; 503 that passes" {
  refused "answered 404" "x,http=$URL/plain/nothing"
  refused "answered 403" "x,http=$URL/status/403/disk"
  [ "$(asked /status/403/disk | wc -l)" -eq 1 ]
  KILN_HTTP_RETRY_MS=50 refused "answered 500 (tried 4 times)" "x,http=$URL/status/500/disk"
  # each pause is twice the one before
  curl -s "$URL/stats" | python3 -c '
import json, sys
t = [t for p, r, t in json.load(sys.stdin) if p == "/status/500/disk"]
assert len(t) == 4 and all(b - a >= 0.05 * 2**i for i, (a, b) in enumerate(zip(t, t[1:]))), t'
  pull "x,http=$URL/flaky/2/disk.qcow2"
  right x
}

@test "servers that drip, say nothing or are not there" {
  KILN_HTTP_STALL=1 refused "tried 4 times" "x,http=$URL/silent"
  KILN_HTTP_STALL=1 refused "too slow" "x,http=$URL/drip/disk.qcow2"
  refused "connect" "x,http=http://127.0.0.1:1/disk"
}

@test "checksums: given, in a file, beside the image, wrong" {
  sum=$(sha256sum disk.qcow2.xz | cut -d' ' -f1)
  pull --checksum "sha256:$sum" "x,http=$URL/plain/disk.qcow2.xz"
  right x
  "$KILN" image rm x
  wrong=$(printf '0%.0s' {1..64})
  refused "wrong checksum: expected sha256:$wrong, got sha256:$sum" \
    --checksum "sha256:$wrong" "x,http=$URL/plain/disk.qcow2.xz"
  refused "invalid checksum" --checksum sha256:abc "x,http=$URL/plain/disk.qcow2.xz"
  sha256sum ./disk.qcow2 ./disk.qcow2.xz >"$BATS_TEST_TMPDIR/sums"
  pull --checksum "$BATS_TEST_TMPDIR/sums" "x,http=$URL/plain/disk.qcow2.xz"
  right x
  refused_name=y
  run -1 pull --checksum "$BATS_TEST_TMPDIR/sums" "$refused_name,http=$URL/plain/disk.gz"
  [[ "$output" == *"has no SHA-256 or SHA-512 for 'disk.gz'"* ]]
  # beside the image, found without being asked for
  mkdir "$FILES/beside"
  cp disk.qcow2 "$FILES/beside/disk.qcow2"
  echo "$wrong *disk.qcow2" >"$FILES/beside/SHA256SUMS"
  run -1 "$KILN" image pull "z,http=$URL/plain/beside/disk.qcow2"
  [[ "$output" == *"wrong checksum"* ]]
  (cd "$FILES/beside" && sha256sum --tag disk.qcow2 >disk.qcow2.sha256)
  "$KILN" image pull "z,http=$URL/plain/beside/disk.qcow2"
  right z
}

@test "SIGKILL leaves no image, and the next pull resumes" {
  "$KILN" image pull --no-checksum "x,http=$URL/slow/500000/disk.qcow2" &
  noted
  kill -KILL $!
  wait $! || true
  [ "$("$KILN" image ls | wc -l)" -eq 1 ]
  "$KILN" image pull --no-checksum "x,http=$URL/slow/500000/disk.qcow2" &
  until [ "$(asked /slow/500000/disk.qcow2 | wc -l)" -eq 2 ]; do sleep 0.05; done
  kill -TERM $!
  wait $! && false
  pull "x,http=$URL/slow/500000/disk.qcow2"
  right x
  asked /slow/500000/disk.qcow2
  [ "$(asked /slow/500000/disk.qcow2 | grep -c 'bytes=[1-9]')" -eq 2 ]
  [ -z "$(ls -A "$KILN_HOME/backend/.working")" ]
}

@test "a pull that was stopped does not go on with a file that changed since" {
  "$KILN" image pull --no-checksum "x,http=$URL/slow/500000/changing.qcow2" &
  got disk 200000
  kill -TERM $!
  wait $! && false
  [ -n "$(find "$KILN_HOME/backend/.working" -name state.json)" ]
  pull "x,http=$URL/slow/500000/changing.qcow2"
  right x
  [ "$(asked /slow/500000/changing.qcow2 | grep -c 'bytes=[1-9]')" -ge 1 ]
}

@test "what is compressed resumes too if asked for" {
  "$KILN" image pull --no-checksum --resumable "x,http=$URL/slow/900000/disk.qcow2.xz" &
  got part 150000
  kill -TERM $!
  wait $! && false
  # until then it is listed, and pruned only with --all, or after a week
  "$KILN" system df --json | python3 -c 'import json,sys; d = json.load(sys.stdin)
assert d["unfinished_pull_bytes"] > 100000 and d["working_bytes"] < 100000, d'
  [[ "$("$KILN" prune; "$KILN" prune --all --dry-run)" == *"would remove "*" of unfinished pulls" ]]
  pull --resumable "x,http=$URL/slow/900000/disk.qcow2.xz"
  right x
  [ "$(asked /slow/900000/disk.qcow2.xz | grep -c 'bytes=[1-9]')" -eq 1 ]
  [ -z "$(ls -A "$KILN_HOME/backend/.working")" ]
}

@test "interrupted pulls go after a week, or with prune --all" {
  for age in 0 8; do
    "$KILN" image pull --no-checksum "x,http=$URL/slow/300000/disk.qcow2" &
    noted
    kill -TERM $!
    wait $! && false
    touch -d "$age days ago" "$KILN_HOME"/backend/.working/pull-x{,/*}
    [[ "$("$KILN" system df)" =~ unfinished\ pulls\ +1\  ]]
    if [ $age = 8 ]; then "$KILN" prune; else "$KILN" prune && "$KILN" prune --all; fi
    [ -z "$(find "$KILN_HOME/backend/.working" -mindepth 1)" ]
  done
}

@test "two pulls of one name do the work once" {
  "$KILN" image pull --no-checksum "x,http=$URL/slow/700000/disk.qcow2.zst" &
  one=$!
  until asked /slow/700000/disk.qcow2.zst | grep -q slow; do sleep 0.05; done
  run pull "x,http=$URL/slow/700000/disk.qcow2.zst"
  [ "$status" -eq 0 ]
  [[ "$output" == *"Waiting for another process that is pulling 'x'"* ]]
  wait $one
  right x
  [ "$(asked /slow/700000/disk.qcow2.zst | wc -l)" -eq 1 ]
}

@test "images that name files of this host are refused" {
  qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw evil.qcow2 1G
  refused "needs a backing file" "x,file=evil.qcow2"
  xz -kf evil.qcow2
  refused "needs a backing file" "x,http=$URL/plain/evil.qcow2.xz"
  qemu-img create -q -f qcow2 -o data_file=evil.data,data_file_raw=on evil2.qcow2 1M
  refused "external file" "x,file=evil2.qcow2"
  printf '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "/etc/shadow" 0\n' >evil.vmdk
  refused "names other files" "x,file=evil.vmdk"
  # a sparse header that hands over to a descriptor, and one with a parent
  qemu-img create -q -f vmdk good.vmdk 1M
  python3 - <<'PY'
good = open("good.vmdk", "rb").read()
def patched(name, old, new, capacity=True):
    b = bytearray(good.replace(old, new.ljust(len(old), b"\n")))
    if not capacity:
        b[12:20] = bytes(8)
    open(name, "wb").write(b)
patched("evil1.vmdk", b"x", b"x", capacity=False)
patched("evil2.vmdk", b'SPARSE "good.vmdk"', b'FLAT "/etc/x" 0')
patched("evil3.vmdk", b'ddb.geometry.cylinders = "2"', b'parentFileNameHint="/etc/x"')
patched("evil4.vmdk", b"parentCID=ffffffff", b"parentCID=12345678")
patched("evil5.vmdk", b'createType="monolithicSparse"', b'createType="custom"')
PY
  refused "0 sectors" "x,file=evil1.vmdk"
  refused "names other files" "x,file=evil2.vmdk"
  refused "parent" "x,file=evil3.vmdk"
  refused "parent" "x,file=evil4.vmdk"
  refused "self-contained" "x,file=evil5.vmdk"
  # a vdi and a vhdx that say they have a parent
  qemu-img create -q -f vdi good.vdi 1M
  qemu-img create -q -f vhdx good.vhdx 16M
  python3 - <<'PY'
import struct
b = bytearray(open("good.vdi", "rb").read())
b[0x1a8:0x1b8] = b"p" * 16
open("evil.vdi", "wb").write(b)
b = bytearray(open("good.vhdx", "rb").read())
region = b.index(b"metadata")
entry = b.index(bytes.fromhex("3767a1ca36fa434db3b633f0aa44e76b"), region)
b[region + struct.unpack_from("<I", b, entry + 16)[0] + 4] |= 2
open("evil.vhdx", "wb").write(b)
PY
  refused "needs a parent" "x,file=evil.vdi"
  refused "cannot read the vhdx" "x,file=evil.vhdx"
  pull "v,file=good.vhdx"
  pull "x,file=good.vmdk"
}

@test "bombs meet a limit" {
  head -c 300M /dev/zero | tr '\0' x | zstd -q >bomb.zst
  refused "exceeds the limit of 10485760" --raw --max-size 10M "x,file=bomb.zst"
  cat bomb.zst bomb.zst bomb.zst bomb.zst >bomb4.zst
  refused "decompression bomb" --raw "x,file=bomb4.zst"
}

@test "small files that would become or check hugely are refused at once" {
  python3 "$BATS_TEST_DIRNAME/../servers/bombs.py"
  refused "refers to the L2 table at" "x,file=shared.qcow2"
  refused "more data than a file of" "x,file=full.qcow2"
  refused "snapshot 1: the L1 table refers to the L2 table" "x,file=snapshot.qcow2"
  refused "decompression bomb" "x,file=bomb.vdi"
  qemu-img create -q -f qcow2 nothing.qcow2 0
  refused "a disk of 0 bytes is too small" "x,file=nothing.qcow2"
  head -c 512 disk >mbr
  refused "a disk of 512 bytes is too small" "x,file=mbr"
  refused "a disk of 512 bytes is too small" --raw "x,file=mbr"
  truncate -s 1G hole
  refused "not a disk image" "x,file=hole"
  "$KILN" image pull --raw "hole,file=hole"
  run -1 "$KILN" image import mbr y
  [[ "$output" == *"cannot import image 'y': 'mbr': a disk of"* ]]
}

@test "a URL or a path without a name: the form is told" {
  run -1 pull "$URL/plain/disk.qcow2.xz"
  [[ "$output" == *"hint: write disk,http=$URL/plain/disk.qcow2.xz" ]]
  run -1 "$KILN" run ./disk
  [[ "$output" == *"hint: write disk,file=./disk" ]]
}

@test "control characters of strangers are shown, not obeyed" {
  esc=$'\e' csi=$'\u009b'
  printf '{"name":"me/esc","versions":[{"version":"\\u001b]0;p\\u0007\\u009b1m"}]}' >api_v2_vagrant_me_esc
  run --separate-stderr pull --vagrant-url "$URL" me/esc:1
  [[ "$stderr" == *'versions are \x1b]0;p\x07\u009b1m'* && "$stderr" != *"$esc"* && "$stderr" != *"$csi"* ]]
  mkdir esc && : >"esc/${esc}[2J" && tar cf esc.box -C esc .
  printf '{"versions":[{"version":"1","providers":[{"name":"libvirt","url":"BASE/plain/esc.box"}]}]}' >api_v2_vagrant_me_escbox
  run --separate-stderr pull --vagrant-url "$URL" me/escbox:1
  echo "$stderr"
  [[ "$stderr" == *'./\x1b[2J'* && "$stderr" != *"$esc"* ]]
  printf '# Disk DescriptorFile\nRW 8 FLAT "\e[2J" 0\n' >esc.vmdk
  run --separate-stderr pull "x,file=esc.vmdk"
  [[ "$stderr" == *vmdk* && "$stderr" != *"$esc"* ]]
  run --separate-stderr pull "x,file=${esc}c"
  [[ "$stderr" != *"$esc"* ]]
}

@test "what is not a disk image is told" {
  echo '<!DOCTYPE html><p>Please log in' >page
  refused "it is a web page" "x,http=$URL/plain/page"
  : >empty
  refused "it is empty" "x,http=$URL/plain/empty"
  tar cf page.tar page
  refused "tar archive" "x,file=page.tar"
  head -c 1M /dev/urandom >noise
  refused "not a disk image" "x,file=noise"
  refused "does not exist" "x,file=/no/such"
  refused "not a regular file" "x,file=/dev/null"
  cp disk.gz junk.gz && printf junk >>junk.gz
  refused "trailing bytes" "x,file=junk.gz"
  cp disk.bz2 junk.bz2 && printf junk >>junk.bz2
  refused "trailing bytes" "x,file=junk.bz2"
  for f in disk.gz disk.bz2 disk.xz disk.zst; do
    cp $f hurt && printf hurt | dd of=hurt bs=1 seek=1000000 conv=notrunc status=none
    refused "damaged" "x,file=hurt"
  done
}

@test "vagrant: the box of a version, for libvirt, checksum verified" {
  mkdir -p box/deep
  cp disk.qcow2 box/deep/box.img
  echo '{"provider":"libvirt","format":"qcow2","virtual_size":1}' >box/deep/metadata.json
  tar czf good.box -C box .
  tar cf empty.box -C box --exclude=box.img .
  sum=$(sha256sum good.box | cut -d' ' -f1)
  cat >api_v2_vagrant_me_box <<EOF2
{"name":"me/box","versions":[{"version":"1.0","providers":[
 {"name":"virtualbox","url":"BASE/plain/nothing"},
 {"name":"libvirt","architecture":"arm64","url":"BASE/plain/nothing"},
 {"name":"libvirt","architecture":"amd64","url":"BASE/plain/good.box","checksum_type":"sha256","checksum":"$sum"}]},
 {"version":"0.9","providers":[{"name":"virtualbox","url":"BASE/plain/nothing"}]},
 {"version":"0.8","providers":[{"name":"libvirt","url":"BASE/plain/good.box","checksum_type":"sha256","checksum":"${sum//[0-9]/0}"}]},
 {"version":"0.7","providers":[{"name":"libvirt","url":"BASE/cutonce/good.box"}]},
 {"version":"0.6","providers":[{"name":"libvirt","url":"BASE/plain/empty.box"}]}]}
EOF2
  export KILN_VAGRANT_URL=$URL
  run --separate-stderr pull me/box:1.0
  [ "$status" -eq 0 ]
  [ "${stderr_lines[1]}" = "Pulling from vagrant cloud: me/box:1.0" ]
  right me%2Fbox%3A1.0
  pull --vagrant-url "$URL/" y,vagrant=me/box:0.7
  right y
  "$KILN" image rm me/box:1.0 y
  refused "has no version '2.0'" me/box:2.0
  refused "versions are 1.0, 0.9, 0.8, 0.7, 0.6" me/box:2.0
  refused "not available for libvirt" me/box:0.9
  refused "wrong checksum" me/box:0.8
  pull me/box:v1.0 # as transient has it: without the v for the registry, with it in the name
  right me%2Fbox%3Av1.0
  "$KILN" image rm me/box:v1.0
  refused "no box.img" me/box:0.6
  refused "answered 404" me/other:1
  # what has been imported under a box's name is that image
  "$KILN" image import disk.qcow2 me/other:v1
  run -0 "$KILN" create --name other me/other:v1
  [[ "$output" != *etching* ]]
  "$KILN" rm other
}

@test "a disk that is one file system, swap, or a part of LVM, RAID or LUKS as a whole is taken" {
  local kind at bytes
  for kind in ext4 xfs btrfs vfat; do
    truncate -s 320M whole
    "mkfs.$kind" "$([ $kind = vfat ] && echo -I || echo -q)" whole >/dev/null
    "$KILN" image import whole "whole-$kind"
    "$KILN" image export --format raw "whole-$kind" back
    cmp whole back
    gzip -c1 whole | "$KILN" image import - "piped-$kind"
    rm whole back
  done
  while read -r kind at bytes; do
    truncate -s 1M whole
    printf '%b' "$bytes" | dd of=whole bs=1 seek=$((at)) conv=notrunc status=none
    "$KILN" image import whole "whole-$kind"
    rm whole
  done <<'EOF'
f2fs 0x400 \x10\x20\xf5\xf2
erofs 0x400 \xe2\xe1\xf5\xe0
jfs 0x8000 JFS1
ufs2 0x1055c \x19\x01\x54\x19
udf 0x8001 BEA01
swap 4086 SWAPSPACE2
lvm 512 LABELONE
raid 4096 \xfc\x4e\x2b\xa9
luks 0 LUKS\xba\xbe
EOF
  # one byte away it is none
  truncate -s 1M whole
  printf _BHRfS_M | dd of=whole bs=1 seek=65601 conv=notrunc status=none
  run -1 "$KILN" image import whole none
  [[ "$output" == *"nor a raw disk with a partition table or file system"* ]]
  rm whole
}

@test "export and import in every format; flatten; names that exist" {
  "$KILN" image import disk.xz x
  for f in qcow2 raw vmdk vhdx vdi; do
    "$KILN" image export --format $f x "$BATS_TEST_TMPDIR/out.$f"
    "$KILN" image import "$BATS_TEST_TMPDIR/out.$f" "y$f"
    right "y$f"
  done
  [ "$(stat -c %b "$BATS_TEST_TMPDIR/out.raw")" -lt 8000 ]
  "$KILN" image export --compress zstd x "$BATS_TEST_TMPDIR/out.zstd"
  "$KILN" image import "$BATS_TEST_TMPDIR/out.zstd" z
  right z
  run -1 "$KILN" image import disk x
  [[ "$output" == *"image 'x' exists"*"--force replaces it"* ]]
  "$KILN" image import --force disk.qcow2 x
  right x
  run -2 "$KILN" image export --format qed x out
  # the end of the name, unless it is said
  mkdir "$BATS_TEST_TMPDIR/e.d.raw"
  for name in qcow2=e.qcow2 raw=e.raw raw=e.img raw=E.IMG vmdk=e.vmdk vdi=e.vdi qcow2=e.d.raw/none; do
    "$KILN" image export x "$BATS_TEST_TMPDIR/${name#*=}"
    [[ $(qemu-img info "$BATS_TEST_TMPDIR/${name#*=}") == *"file format: ${name%%=*}"$'\n'* ]]
  done
  run -2 "$KILN" image export x "$BATS_TEST_TMPDIR/e.vhd"
  [[ "$output" == *"e.vhd' is none that kiln writes"*"hint: "*"--format"* ]]
  [ ! -e "$BATS_TEST_TMPDIR/e.vhd" ]
  "$KILN" image export -f vdi x "$BATS_TEST_TMPDIR/e.vhd"
  run -1 "$KILN" image export --format raw --compress zstd x "$BATS_TEST_TMPDIR/o"
  run -1 "$KILN" image export x /no/such/folder/o
  run -1 "$KILN" image export nosuch "$BATS_TEST_TMPDIR/o"
  [ "$(find "$BATS_TEST_TMPDIR" -name '.kiln-export*' | wc -l)" -eq 0 ]
}

@test "export: a bar on a terminal; interrupted it leaves nothing, and what was there stays" {
  "$KILN" image import disk x
  TERM=xterm script -qec "$KILN image export x $BATS_TEST_TMPDIR/out" /dev/null >"$BATS_TEST_TMPDIR/tty"
  tr '\r' '\n' <"$BATS_TEST_TMPDIR/tty" | grep -E '^100% \|#+\|'
  # a qemu-img that writes and never ends
  mkdir "$BATS_TEST_TMPDIR/bin"
  printf '#!/bin/sh\nfor out; do :; done\necho begun >"$out"; touch "%s/begun"; sleep 60\n' \
    "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/bin/qemu-img"
  chmod +x "$BATS_TEST_TMPDIR/bin/qemu-img"
  sum=$(sha256sum <"$BATS_TEST_TMPDIR/out")
  PATH="$BATS_TEST_TMPDIR/bin:$PATH" "$KILN" image export x "$BATS_TEST_TMPDIR/out" 3>&- &
  pid=$!
  until [ -e "$BATS_TEST_TMPDIR/begun" ]; do sleep 0.05; done
  [ -n "$(find "$BATS_TEST_TMPDIR" -name '.kiln-export*')" ]
  kill -s TERM "$pid"
  wait "$pid" && false
  [ "$(sha256sum <"$BATS_TEST_TMPDIR/out")" = "$sum" ]
  [ -z "$(find "$BATS_TEST_TMPDIR" -name '.kiln-export*')" ]
  # what is being written is left alone; what a killed kiln left goes with the next export
  rm "$BATS_TEST_TMPDIR/begun"
  PATH="$BATS_TEST_TMPDIR/bin:$PATH" "$KILN" image export x "$BATS_TEST_TMPDIR/out" 3>&- &
  pid=$!
  until [ -e "$BATS_TEST_TMPDIR/begun" ]; do sleep 0.05; done
  "$KILN" image export x "$BATS_TEST_TMPDIR/other"
  [ "$(cat "$BATS_TEST_TMPDIR"/.kiln-export*/disk)" = begun ]
  kill -s KILL "$pid"
  wait "$pid" && false
  [ "$(cat "$BATS_TEST_TMPDIR"/.kiln-export*/disk)" = begun ]
  "$KILN" image export x "$BATS_TEST_TMPDIR/other"
  [ -z "$(find "$BATS_TEST_TMPDIR" -name '.kiln-export*')" ]
}

@test "tag, inspect, rm; an image that a QEMU has open stays" {
  "$KILN" image import disk x
  "$KILN" image tag x a/b:c
  right a%2Fb%3Ac
  "$KILN" image inspect x | grep -q '^virtual size *12.00 MiB$'
  "$KILN" image inspect --json a/b:c | python3 -c 'import json,sys
assert json.load(sys.stdin)["type"] == "standalone"'
  run -1 "$KILN" image tag nosuch y
  run -1 "$KILN" image tag x .hidden
  run -1 "$KILN" image rm nosuch
  [[ "$output" == *"unable to find image 'nosuch'"* ]]
  run -1 "$KILN" image rm a/b:c nosuch
  [ ! -e "$KILN_HOME/backend/a%2Fb%3Ac" ]
  mkfifo "$BATS_TEST_TMPDIR/commands"
  qemu-io -r -f qcow2 "$KILN_HOME/backend/x" <"$BATS_TEST_TMPDIR/commands" >/dev/null 3>&- &
  qemu=$!
  exec 9>"$BATS_TEST_TMPDIR/commands"
  for _ in {1..100}; do
    "$KILN" image tag x y
    "$KILN" image rm y 2>/dev/null || break
    sleep 0.05
  done
  run -1 "$KILN" image rm x
  [[ "$output" == *"in use by a running VM"*"--force"* ]]
  mkdir -p "$KILN_HOME/vmstore/web"
  qemu-img create -q -f qcow2 -u -b "$KILN_HOME/backend/x" -F qcow2 "$KILN_HOME/vmstore/web/disk.qcow2" 12M
  exec 9>&-
  wait $qemu
  run -1 "$KILN" image rm x
  [[ "$output" == *"in use by VM 'web'"* ]]
  "$KILN" image rm --force x
  [ ! -e "$KILN_HOME/backend/x" ]
}
