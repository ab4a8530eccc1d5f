#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154  # stderr comes from run
# Images that other programs pushed: containerDisk, sardinecake, vmctl, oras, tart. They are pulled from OCI layouts,
# which stand for registries (registry.bats).
bats_require_minimum_version 1.5.0
load common

GZIP_TAR=application/vnd.oci.image.layer.v1.tar+gzip SARDE=application/x-qemu-disk+gzip

# A disk as raw.img and disk.qcow2, and base.qcow2 with top.qcow2 on it, which says "top".
setup_file() {
  export KILN_ACCEL=${KILN_ACCEL:-tcg} PATH=$PATH:/usr/sbin:/sbin
  cd "$BATS_FILE_TMPDIR" || return
  make_root root
  echo base >root/etc/which
  mke2fs -q -t ext4 -E root_owner=0:0 -d root raw.img 32M
  qemu-img convert -f raw -O qcow2 raw.img disk.qcow2
  cp disk.qcow2 base.qcow2
  qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 top.qcow2
  echo top >which
  cp raw.img changed.img
  debugfs -w -R 'rm /etc/which' changed.img 2>/dev/null
  debugfs -w -R 'write which /etc/which' changed.img 2>/dev/null
  qemu-img convert -f raw -O qcow2 -B base.qcow2 -F qcow2 changed.img top.qcow2
  mkdir disk
  cp disk.qcow2 disk/vm.qcow2
  tar --owner 107 --group 107 -cf disk.tar disk
  gzip -k disk.tar
  zstd -q disk.tar
  tar -czf other.tar.gz which root/etc/passwd
  gzip -kN base.qcow2
  gzip -kN top.qcow2
  zstd -q raw.img
}

setup() {
  export KILN_HOME="$BATS_TEST_TMPDIR/home"
  share_appliance "$KILN_HOME"
  cd "$BATS_FILE_TMPDIR" || return
}

# image LAYER...: makes it the tag "t" of the layout $BATS_TEST_TMPDIR/l; $REF is then its reference.
image() {
  python3 "$BATS_TEST_DIRNAME/../servers/oci_image.py" "$BATS_TEST_TMPDIR/l" t "$@" >/dev/null
  REF=oci-layout:$BATS_TEST_TMPDIR/l:t
}

# same NAME FILE: the image's disk is the file's, sound, and nothing unfinished is left.
same() {
  qemu-img compare "$KILN_HOME/backend/$1" "$2"
  qemu-img check -q "$KILN_HOME/backend/$1"
  no_leftovers "$KILN_HOME"
}

# refused TEXT: a pull of $REF ends with this error, and leaves no image.
refused() {
  run --separate-stderr timeout 60 "$KILN" image pull --name bad "$REF"
  echo "$stderr"
  [ "$status" -eq 1 ]
  [[ $stderr == *"$1"* ]]
  run ! "$KILN" image inspect bad
  [ ! -e "$KILN_HOME/backend/.working" ] || no_leftovers "$KILN_HOME"
}

@test "containerDisk: the file in disk/ of the top-most layer that has one" {
  image $GZIP_TAR,other.tar.gz $GZIP_TAR,disk.tar.gz
  "$KILN" image pull --name a "$REF"
  same a disk.qcow2
  # the disk is in a lower layer; zstd; not compressed; docker's types
  image application/vnd.oci.image.layer.v1.tar+zstd,disk.tar.zst $GZIP_TAR,other.tar.gz
  "$KILN" image pull --name b "$REF"
  same b disk.qcow2
  image application/vnd.docker.image.rootfs.diff.tar,disk.tar application/vnd.docker.image.rootfs.diff.tar.gzip,other.tar.gz
  "$KILN" image pull --name c "$REF"
  same c disk.qcow2
  # the name of the folder as "./disk", a raw disk in it
  cp raw.img "$BATS_TEST_TMPDIR/disk.img"
  tar -C "$BATS_TEST_TMPDIR" --transform 's,^,./disk/,' -czf "$BATS_TEST_TMPDIR/raw.tar.gz" disk.img
  image $GZIP_TAR,"$BATS_TEST_TMPDIR/raw.tar.gz"
  "$KILN" image pull --name d "$REF"
  same d raw.img
}

@test "a pull of what is there does nothing, another image is not replaced without --force, and inspect says the source" {
  image $GZIP_TAR,disk.tar.gz
  "$KILN" image pull --name a "$REF"
  rm "$BATS_TEST_TMPDIR"/l/blobs/sha256/"$(sha256sum <disk.tar.gz | cut -d ' ' -f 1)"
  run --separate-stderr "$KILN" image pull --name a "$REF"
  [ "$status" -eq 0 ] && [[ $stderr == *"Image 'a' is in the backend already"* ]]
  "$KILN" image inspect a | grep -q "source.*$REF"
  image application/octet-stream,changed.img
  run --separate-stderr "$KILN" image pull --name a "$REF"
  [ "$status" -eq 1 ] && [[ $stderr == *"image 'a' exists and is another one"* ]]
  same a disk.qcow2
  "$KILN" image pull --force --name a "$REF"
  same a changed.img
}

@test "artifacts of vmctl and oras: one disk of any format, compressed or not" {
  image -a application/vnd.cloudnebula.vm.v1 application/vnd.cloudnebula.qcow2.layer.v1,disk.qcow2 text/plain,which
  "$KILN" image pull --name a "$REF"
  same a disk.qcow2
  image application/octet-stream,raw.img
  "$KILN" image pull --name b "$REF"
  same b raw.img
  image application/zstd,raw.img.zst,machine.x86_64.raw.zst text/plain,which,README
  "$KILN" image pull --name c "$REF"
  same c raw.img
  head -c 1M /dev/urandom >"$BATS_TEST_TMPDIR/noise"
  image application/octet-stream,"$BATS_TEST_TMPDIR/noise"
  refused 'not a disk image'
  "$KILN" image pull --raw --name raw "$REF"
}

@test "sardinecake: chunks are put together, a chain of files is a chain of layers" {
  split -b 300k top.qcow2.gz "$BATS_TEST_TMPDIR/top."
  cd "$BATS_TEST_TMPDIR" || return
  local f args=() n=0
  for f in top.*; do
    args+=("$SARDE$([ $n = 0 ] || echo ";chunk=$n"),$f")
    n=$((n + 1))
  done
  echo '{"users": [{"username": "cake", "password": "secret"}], "services": [{"service": "ssh", "port": 22, "protocol": "tcp"}]}' >about
  local about="application/vnd.sardinecake.vm.config.v1+json,about"
  image "application/vnd.libvirt.domain.config+xml,$BATS_FILE_TMPDIR/which" "$about" $SARDE,"$BATS_FILE_TMPDIR/base.qcow2.gz" "${args[@]}"
  "$KILN" image pull --name vm "$REF"
  same vm "$BATS_FILE_TMPDIR/changed.img"
  "$KILN" image inspect --json vm | python3 -c 'import json, sys
vm = json.load(sys.stdin)
assert len(vm["files"]) == 3 and vm["labels"] == {"kiln.ssh-user": "cake"} and "secret" not in str(vm), vm'
  "$KILN" system verify
  [ "$("$KILN" shell vm -- cat /etc/which)" = top ]
  # the same layers are found again under another name, and a build stands on them
  "$KILN" image pull --name again "$REF"
  cmp "$KILN_HOME/backend/vm" "$KILN_HOME/backend/again"
  [ "$(find "$KILN_HOME/backend/.layers" -name disk.qcow2 | wc -l)" -eq 2 ]
  # a piece that comes twice is fetched once
  head -c 20M /dev/urandom >noise
  cat noise noise >twice
  image $SARDE,noise "$SARDE;chunk=1,noise"
  "$KILN" image pull --raw --name twice "$REF"
  same twice twice
  # one file alone is a disk of its own; its user logs in, and its services are what it exposes
  image "$about" $SARDE,"$BATS_FILE_TMPDIR/base.qcow2.gz"
  "$KILN" image pull --name base "$REF"
  same base "$BATS_FILE_TMPDIR/base.qcow2"
  "$KILN" create --name v -P base
  jq -e '.spec.ssh.user == "cake"' "$KILN_HOME/vmstore/v/vm.json"
  grep -q '\b22\b' "$KILN_HOME/vmstore/v/vm.json"
  # what is no name of a user, or no port, is left out
  echo '{"users": [{"username": "-oProxyCommand=x"}], "services": [{"port": 70000}, {"port": 5, "protocol": "x"}, 7]}' >about
  image "$about" $SARDE,"$BATS_FILE_TMPDIR/base.qcow2.gz"
  "$KILN" image pull --name odd "$REF"
  "$KILN" image inspect --json odd | jq -e '.labels == null or .labels == {}'
}

@test "sardinecake: a file that stands on another one than that before it is refused" {
  cp base.qcow2 top.qcow2 "$BATS_TEST_TMPDIR"
  cd "$BATS_TEST_TMPDIR" || return
  local name
  image $SARDE,"$BATS_FILE_TMPDIR/top.qcow2.gz" $SARDE,"$BATS_FILE_TMPDIR/base.qcow2.gz"
  refused 'backing file'
  image $SARDE,"$BATS_FILE_TMPDIR/base.qcow2.gz" $SARDE,"$BATS_FILE_TMPDIR/base.qcow2.gz"
  refused "its backing file is 'nothing', not 'base.qcow2'"
  for name in /etc/passwd ../base.qcow2 json:{}; do
    qemu-img rebase -u -f qcow2 -F qcow2 -b "$name" top.qcow2
    gzip -kNf top.qcow2
    image $SARDE,"$BATS_FILE_TMPDIR/base.qcow2.gz" $SARDE,top.qcow2.gz
    refused "its backing file is '$name', not 'base.qcow2'"
  done
  gzip -nc base.qcow2 >nameless.gz
  image $SARDE,nameless.gz $SARDE,"$BATS_FILE_TMPDIR/top.qcow2.gz"
  refused 'no names'
}

@test "tart: pieces in Apple's LZ4 become the disk, whose system is for another processor" {
  local tart=application/vnd.cirruslabs.tart piece
  cp raw.img noisy.img
  printf '\125\252' | dd of=noisy.img bs=1 seek=510 conv=notrunc status=none
  head -c 300000 /dev/urandom | dd of=noisy.img bs=1000000 seek=30 conv=notrunc status=none
  split -b 9M noisy.img piece.
  for piece in piece.??; do
    python3 "$BATS_TEST_DIRNAME/../servers/apple_lz4.py" "$piece" "$piece.lz4"
  done
  grep -q bv41 piece.aa.lz4 && grep -aq bv4- piece.ad.lz4
  image $tart.config.v1,which $tart.disk.v2,piece.{aa,ab,ac,ad}.lz4 $tart.nvram.v1,which
  run --separate-stderr "$KILN" image pull --name mac "$REF"
  echo "$stderr"
  [ "$status" -eq 0 ]
  [[ $stderr == *'are for ARM processors'* ]]
  same mac noisy.img
  # damaged, cut short, something behind its end
  head -c 100000 piece.aa.lz4 >short.lz4
  (cat piece.aa.lz4; echo more) >long.lz4
  (head -c 4000 piece.aa.lz4; head -c 20000 /dev/zero; tail -c +24001 piece.aa.lz4) >wrong.lz4
  for piece in short.lz4 long.lz4 wrong.lz4; do
    image $tart.disk.v2,$piece
    refused 'LZ4 data is damaged or cut short'
  done
  image $tart.config.v1,which $tart.disk.v1,piece.aa.lz4
  refused 'image of an old tart'
}

@test "what is no disk for this machine is refused, with what it is" {
  image application/vnd.cncf.helm.chart.content.v1.tar+gzip,other.tar.gz
  refused "its layers are 'application/vnd.cncf.helm.chart.content.v1.tar+gzip'"
  image $GZIP_TAR,other.tar.gz
  refused 'no layer has a file in /disk'
  image $GZIP_TAR,disk.qcow2
  refused 'not a valid tar archive'
  image application/x.disk,disk.qcow2,a.qcow2 application/x.disk,raw.img,b.raw
  refused 'it has 2 disks'
  cp disk.qcow2 "$BATS_TEST_TMPDIR/a.qcow2"
  cp disk.qcow2 "$BATS_TEST_TMPDIR/b.qcow2"
  tar -C "$BATS_TEST_TMPDIR" --transform 's,^,disk/,' -cf "$BATS_TEST_TMPDIR/two.tar" a.qcow2 b.qcow2
  image application/vnd.oci.image.layer.v1.tar,"$BATS_TEST_TMPDIR/two.tar"
  refused "several disks: 'disk/a.qcow2' and 'disk/b.qcow2'"
  # a qcow2 with a backing file, anywhere
  image application/octet-stream,top.qcow2
  refused 'backing file'
  qemu-img create -q -f qcow2 "$BATS_TEST_TMPDIR/big.qcow2" 9T
  image application/octet-stream,"$BATS_TEST_TMPDIR/big.qcow2"
  refused '8 TiB'
}

@test "an index: the image for this platform, or for --platform; else the platforms that there are" {
  local index
  image -i linux/arm64/v8 application/octet-stream,changed.img
  image -i unknown/unknown application/octet-stream,which
  refused "it has no image for 'linux/amd64', but for linux/arm64/v8"
  image -i linux/x86_64 application/octet-stream,disk.qcow2
  "$KILN" image pull --name ours "$REF"
  same ours disk.qcow2
  "$KILN" image pull --platform linux/arm64 --name theirs "$REF"
  same theirs changed.img
  run -1 "$KILN" image pull --platform linux/arm64/v7 --name x "$REF"
  run -2 "$KILN" image pull --platform linux/ --name x "$REF"
  # by the index's digest
  index=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["manifests"][0]["digest"])' "${REF:11:-2}/index.json")
  "$KILN" image pull --name pinned "${REF%:t}@$index"
  same pinned disk.qcow2
  "$KILN" image inspect --json --platform arm64 "$REF" | grep -q '"architecture": "arm64"'
  run -1 "$KILN" image inspect --platform windows/amd64 "$REF"
  [[ $output == *"but for linux/arm64/v8, linux/x86_64"* ]]
}

@test "push --format flat and containerdisk: skopeo, tar and kiln read them" {
  local lay=$BATS_TEST_TMPDIR/out layer
  image application/octet-stream,disk.qcow2
  "$KILN" image pull --name a "$REF"
  mkdir "$BATS_TEST_TMPDIR/top" "$BATS_TEST_TMPDIR/unpacked"
  printf '%s\n' 'FROM a' 'ENV COLOUR=blue' 'COPY which /etc/which' >"$BATS_TEST_TMPDIR/top/Imagefile"
  cp which "$BATS_TEST_TMPDIR/top"
  "$KILN" image build --name my/vm:1 "$BATS_TEST_TMPDIR/top"
  "$KILN" image push --format containerdisk my/vm:1 "oci-layout:$lay:c" "oci-layout:$lay:d"
  "$KILN" image push --format flat my/vm:1 "oci-layout:$lay:f"
  # the container image: what is unpacked has the digest of its config, as container runtimes want it
  skopeo copy -q "oci:$lay:c" "dir:$BATS_TEST_TMPDIR/dir"
  layer=$(skopeo inspect --raw "oci:$lay:c" | python3 -c '
import json, sys
m = json.load(sys.stdin)
assert [l["mediaType"] for l in m["layers"]] == ["application/vnd.oci.image.layer.v1.tar+gzip"], m
print(m["layers"][0]["digest"][7:])')
  gzip -dc "$BATS_TEST_TMPDIR/dir/$layer" >"$BATS_TEST_TMPDIR/layer.tar"
  skopeo inspect --config "oci:$lay:c" | grep -q "sha256:$(sha256sum <"$BATS_TEST_TMPDIR/layer.tar" | cut -d ' ' -f 1)"
  tar -tvf "$BATS_TEST_TMPDIR/layer.tar" --numeric-owner >list
  grep -q '^drwxr-xr-x 107/107 .* disk/$' list
  grep -q '^-r--r----- 107/107 .* disk/vm-1.qcow2$' list
  tar -C "$BATS_TEST_TMPDIR/unpacked" -xf "$BATS_TEST_TMPDIR/layer.tar"
  qemu-img check -q "$BATS_TEST_TMPDIR/unpacked/disk/vm-1.qcow2"
  qemu-img compare "$BATS_TEST_TMPDIR/unpacked/disk/vm-1.qcow2" "$KILN_HOME/backend/my%2Fvm%3A1"
  cmp <(skopeo inspect --raw "oci:$lay:c") <(skopeo inspect --raw "oci:$lay:d") # it is made the same way twice
  # the artifact
  skopeo inspect --raw "oci:$lay:f" | grep -q '"org.opencontainers.image.title":"vm-1.qcow2"'
  skopeo inspect "oci:$lay:f" | grep -q '"Architecture": "amd64"'
  for layer in c f; do
    "$KILN" image pull --name back "oci-layout:$lay:$layer"
    qemu-img compare "$KILN_HOME/backend/back" "$KILN_HOME/backend/my%2Fvm%3A1"
    "$KILN" image inspect back | grep -q COLOUR
    "$KILN" image rm back
  done
  no_leftovers "$KILN_HOME"
  run -2 "$KILN" image push --format zip a "oci-layout:$lay:z"
}

@test "FROM takes such an image, and --pull=newer fetches it again only if it is another one" {
  image application/octet-stream,disk.qcow2
  mkdir "$BATS_TEST_TMPDIR/top"
  printf '%s\n' "FROM $REF" 'RUN test "$(cat /etc/which)" = base' >"$BATS_TEST_TMPDIR/top/Imagefile"
  "$KILN" image build --name top "$BATS_TEST_TMPDIR/top"
  rm "$BATS_TEST_TMPDIR"/l/blobs/sha256/"$(sha256sum <disk.qcow2 | cut -d ' ' -f 1)"
  "$KILN" image build --pull=newer --require-cached --name top "$BATS_TEST_TMPDIR/top"
}
