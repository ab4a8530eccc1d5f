#!/usr/bin/env bats
# Disks that only libguestfs can mount (builder/worker/guestfs.h).
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HOME=$BATS_FILE_TMPDIR/home PATH=$PATH:/usr/sbin:/sbin
  share_appliance "$KILN_HOME"
  local shared=${KILN_TEST_CACHE:-${TMPDIR:-/tmp}/kiln-test-cache-$(id -u)}
  mkdir -p "$shared/guestfs" "$KILN_HOME/backend"
  ln -sfn "$shared/guestfs" "$KILN_HOME/cache/guestfs"
}
setup() { load common; cd "$BATS_TEST_TMPDIR"; mkdir -p work; echo content >work/file; tar -C work -cf work/a.tar file; }
teardown() { no_leftovers "$KILN_HOME"; }

build() { timeout 800 "$KILN" image build --runner guestfs --progress plain "$@"; }

@test "COPY, ADD and WORKDIR on NTFS; RUN is refused" {
  truncate -s 64M disk.raw
  truncate -s 63M part.raw
  echo 'start=2048, type=7' | sfdisk -q disk.raw
  mkntfs -q -F -Q part.raw
  dd if=part.raw of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/windows"
  printf '%s\n' 'FROM windows' 'COPY file /new/folder/file' 'ADD a.tar /unpacked/' 'WORKDIR /work' 'RUN true' >work/Imagefile
  run build --name refused work
  [ "$status" = 1 ]
  [[ $output == *"Imagefile:5:1: error: no command can run in this image: one of its file systems"* ]]
  # the steps before it are layers
  sed -i '$d' work/Imagefile
  run build --name changed work
  [ "$status" = 0 ]
  [[ $output == *"3 of 3 layers from the cache"* ]]
  "$KILN" image export --format raw changed changed.raw
  dd if=changed.raw of=part.raw bs=1M skip=1 conv=sparse status=none
  [ "$(ntfscat part.raw new/folder/file)" = content ]
  [ "$(ntfscat part.raw unpacked/file)" = content ]
  ntfsls -F part.raw | grep -x 'work/'
  ntfsfix -n part.raw # clean: it is not mounted any more
}
