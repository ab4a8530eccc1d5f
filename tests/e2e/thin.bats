#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016  # the guest expands
# Images that kiln built: thin, and what pull's commands do with them.
bats_require_minimum_version 1.5.0
load common

setup_file() {
  export KILN_HOME="$BATS_FILE_TMPDIR/home" KILN_ACCEL=${KILN_ACCEL:-tcg}
  share_appliance "$KILN_HOME"
  mkdir "$BATS_FILE_TMPDIR/build"
  make_root "$BATS_FILE_TMPDIR/build/root"
  echo 'PRETTY_NAME="Tiny 1.0"' >>"$BATS_FILE_TMPDIR/build/root/etc/os-release"
  printf '%s\n' 'FROM scratch' 'DISK 64 MB MBR' 'PARTITION 1 FORMAT ext4 MOUNT /' 'COPY root/ /' \
    'ENV COLOUR=blue' 'LABEL maker="the tests"' 'RUN echo one >/etc/one' >"$BATS_FILE_TMPDIR/build/Imagefile"
  "$KILN" image build --name thin "$BATS_FILE_TMPDIR/build" >&2
  [ "$(stat -c %s "$KILN_HOME/backend/thin")" -lt 300000 ]
}

content() { qemu-img convert -O raw "$1" "$BATS_TEST_TMPDIR/raw" && sha256sum <"$BATS_TEST_TMPDIR/raw"; }

@test "an image goes through a pipe, out and in" {
  "$KILN" image export thin - >"$BATS_TEST_TMPDIR/piped.qcow2"
  [ ! -e ./- ]
  "$KILN" image export thin "$BATS_TEST_TMPDIR/file.qcow2"
  qemu-img compare "$BATS_TEST_TMPDIR/piped.qcow2" "$BATS_TEST_TMPDIR/file.qcow2"
  # shellcheck disable=SC2002  # a pipe, not a file
  cat "$BATS_TEST_TMPDIR/piped.qcow2" | "$KILN" image import - piped
  "$KILN" image export piped "$BATS_TEST_TMPDIR/again.qcow2"
  qemu-img compare "$BATS_TEST_TMPDIR/again.qcow2" "$BATS_TEST_TMPDIR/file.qcow2"
  run "$KILN" image import - piped </dev/null
  [ "$status" = 1 ]
  [[ "$output" == *"image 'piped' exists"* ]]
  [ -z "$(ls -A "$KILN_HOME/cache/work")" ]
}

@test "the same disk by its name, exported, imported, flattened; metadata goes along" {
  disk=$(content "$KILN_HOME/backend/thin")
  "$KILN" image inspect --json thin >"$BATS_TEST_TMPDIR/before"
  "$KILN" image export thin "$BATS_TEST_TMPDIR/out.qcow2"
  [ "$(content "$BATS_TEST_TMPDIR/out.qcow2")" = "$disk" ]
  "$KILN" image import "$BATS_TEST_TMPDIR/out.qcow2" imported
  "$KILN" image tag thin flat
  "$KILN" image flatten flat
  for name in imported flat; do
    [ "$(content "$KILN_HOME/backend/$name")" = "$disk" ]
    "$KILN" image inspect --json $name | python3 -c '
import json, sys
new, old = json.load(sys.stdin), json.load(open(sys.argv[1]))
assert new["type"] == "standalone" and old["type"] == "thin"
assert len(old["files"]) > 3 and len(new["files"]) == 1
assert new["env"] == old["env"] == {"COLOUR": "blue"}, new
assert new["labels"] == {"maker": "the tests"} and new["steps"] == old["steps"]' "$BATS_TEST_TMPDIR/before"
  done
  # what is built on a flattened image inherits
  mkdir "$BATS_TEST_TMPDIR/next"
  printf '%s\n' 'FROM flat' 'RUN test "$COLOUR" = blue && cat /etc/one' >"$BATS_TEST_TMPDIR/next/Imagefile"
  "$KILN" image build --name next "$BATS_TEST_TMPDIR/next"
  "$KILN" image rm flat imported
  [ -n "$(content "$KILN_HOME/backend/next")" ] # its base stays without the name
}

@test "a backend that was moved works" {
  disk=$(content "$KILN_HOME/backend/thin")
  cp -a "$KILN_HOME/backend" "$BATS_TEST_TMPDIR/elsewhere"
  "$KILN" image export --image-backend "$BATS_TEST_TMPDIR/elsewhere" --format raw thin "$BATS_TEST_TMPDIR/out.raw"
  [ "$(sha256sum <"$BATS_TEST_TMPDIR/out.raw")" = "$disk" ]
}

@test "inspect --system looks into the disk once" {
  run --separate-stderr "$KILN" image inspect thin
  "$KILN" image inspect --json thin | python3 -c 'import json, sys
o = json.load(sys.stdin)
assert o["parents"] == [f.split("/")[-2] for f in o["files"][2:]] and len(o["parents"]) > 1, o
assert o["files"][1].split("/")[-2] == o["layer"] and 0 < o["real_size"] < o["virtual_size"] == 64 << 20'
  [[ "$output" == *"parents        "* && "$output" == *"virtual size   64.00 MiB"* && "$output" == *"real size      "* ]]
  [[ "$output" == *"COLOUR=blue"* && "$output" == *"maker=the tests"* && "$output" != *partitions* ]]
  "$KILN" image inspect --system --json thin | python3 -c '
import json, sys
seen = json.load(sys.stdin)["system"]
assert any(p.get("fs") == "ext4" for p in seen["partitions"]), seen
assert seen["mounts"][0]["path"] == "/", seen'
  run --separate-stderr "$KILN" image inspect thin
  [[ "$output" == *"system         Tiny 1.0"*partitions*ext4* ]]
}

@test "a layer that a running VM stands on keeps its name" {
  layer=$("$KILN" image inspect --json thin | python3 -c 'import json,sys; print(json.load(sys.stdin)["files"][1])')
  mkfifo "$BATS_TEST_TMPDIR/commands"
  qemu-io -r -f qcow2 "$layer" <"$BATS_TEST_TMPDIR/commands" >/dev/null 3>&- &
  reader=$!
  exec 9>"$BATS_TEST_TMPDIR/commands"
  "$KILN" image tag thin keep
  for _ in {1..100}; do
    "$KILN" image tag thin y
    "$KILN" image rm y 2>/dev/null || break
    sleep 0.05
  done
  run -1 "$KILN" image rm keep
  [[ "$output" == *"in use by a running VM"* ]]
  exec 9>&-
  wait $reader
  "$KILN" image rm keep
}
