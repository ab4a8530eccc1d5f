#!/usr/bin/env bats
# Disks that only libguestfs can mount (builder/worker/guestfs.h): NTFS, LUKS; and ext4, where the result
# is the builder VM's.
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

# A busybox root in an ext4 without a partition table: disk.raw
make_ext4() {
  make_root root
  mke2fs -q -t ext4 -E root_owner=0:0 -d root disk.raw 48M
}

@test "COPY, ADD and WORKDIR on NTFS; RUN is refused" {
  truncate -s 64M disk.raw
  truncate -s 63M part.raw
  echo 'start=2048, type=7' | sfdisk -q disk.raw
  mkntfs -q -F -Q part.raw
  dd if=part.raw of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/windows"
  printf '%s\n' 'FROM windows' 'COPY file /new/folder/file' 'ADD a.tar /unpacked/' 'WORKDIR /work' 'RUN true' >work/Imagefile
  run build --runner auto --name refused work
  [ "$status" = 1 ]
  [[ $output == *"the builder VM cannot mount the disk ("*"): trying libguestfs"* ]]
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

@test "a LUKS disk is opened with its key" {
  make_ext4
  printf 'open sesame' >key
  qemu-img convert --object secret,id=k,file=key -f raw -O luks -o key-secret=k,iter-time=10 disk.raw luks.raw
  qemu-img convert -f raw -O qcow2 luks.raw "$KILN_HOME/backend/luks"
  printf '%s\n' 'FROM luks' 'COPY file /srv/' 'RUN cat /srv/file /srv/file >/twice' >work/Imagefile
  echo wrong >wrong
  run build --name locked --secret id=disk-key,src=wrong work
  [ "$status" = 1 ]
  [[ $output == *"the key does not open"* ]]
  build --name opened --secret id=disk-key,src=key work
  "$KILN" image export --format raw opened opened.raw
  qemu-img convert --object secret,id=k,file=key --image-opts driver=luks,key-secret=k,file.filename=opened.raw -O raw plain.raw
  e2fsck -fn plain.raw
  [ "$(debugfs -R 'cat /twice' plain.raw 2>/dev/null)" = $'content\ncontent' ]
}

@test "inspect --deep: what libguestfs knows of a disk, kept for later" {
  make_root root
  mkdir -p root/var/lib/dpkg
  touch root/etc/fstab
  echo 12.5 >root/etc/debian_version
  echo inspected >root/etc/hostname
  printf '%s\n' 'ID=debian' 'VERSION_ID="12"' 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"' >root/etc/os-release
  printf '%s\n' 'Package: hello' 'Status: install ok installed' 'Version: 2.10-3' 'Architecture: amd64' '' >root/var/lib/dpkg/status
  mke2fs -q -t ext4 -L rootfs -d root disk.raw 48M
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/installed"
  run timeout 800 "$KILN" image inspect --deep installed
  echo "$output ($status)"
  [ "$status" = 0 ]
  [[ $output == *"found          debian 12"*", host name inspected, 1 application"*"mounts         /dev/sda on /"*"file systems   /dev/sda  48.00 MiB  ext4  rootfs"* ]]
  # the answer is kept: no VM is started
  KILN_ACCEL=none "$KILN" image inspect --deep --json installed | python3 -c '
import json, sys
deep = json.load(sys.stdin)["deep"]
assert deep["systems"][0]["applications"] == [{"name": "hello", "version": "2.10", "release": "3", "arch": "amd64"}], deep
assert deep["filesystems"][0]["type"] == "ext4"'
}
