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

# A disk with one partition of type $2 that holds the file system $1, as the image $3
one_partition() {
  truncate -s "$(($(stat -c %s "$1") + (2 << 20)))" disk.raw
  printf 'start=2048, size=%s, type=%s\n' "$(($(stat -c %s "$1") / 512))" "$2" | sfdisk -q disk.raw
  dd if="$1" of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/$3"
}
layer_of() { "$KILN" image history --json "$1" | python3 -c 'import json, sys; print([x["layer"] for x in json.load(sys.stdin) if "layer" in x][-1])'; }
layers() { find "$KILN_HOME/backend/.layers" -name layer.json | wc -l; }

@test "the tree is the builder VM's, file by file" {
  local since
  python3 "$BATS_TEST_DIRNAME/ext4_odd.py" odd
  make_root odd/root
  rm odd/root/etc/group
  touch odd/root/etc/fstab
  sed 2q odd/Imagefile >odd/Imagefile.base
  printf '%s\n' 'PARTITION 1 FORMAT ext4 MOUNT /' 'ADD base.tar /' 'COPY root/ /' 'RUN echo app:x:1000:1001::/:/bin/sh >>/etc/passwd' >>odd/Imagefile.base
  timeout 800 "$KILN" image build --name made -f odd/Imagefile.base odd
  "$KILN" image export --format qcow2 made exported.qcow2
  # what kiln knows of its partitions is not in it any more
  qemu-img convert -f qcow2 -O raw exported.qcow2 disk.raw
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/plain"
  { echo 'FROM plain'; sed '1,/base.tar/d' odd/Imagefile; } >odd/Imagefile.steps
  cat >>odd/Imagefile.steps <<'END'
USER root
RUN mkdir -p /ran/a && echo one >/ran/a/one && ln /ran/a/one /ran/two && ln -s one /ran/a/link && mkfifo -m 600 /ran/pipe
RUN chown 12:34 /ran/two && chmod 4711 /ran/two && dd if=/dev/zero of=/ran/sparse bs=1k seek=900 count=1 && rm /many/000001
RUN mknod /ran/node c 1 3 && mv /many/000002 /ran/ && rm -r /opt/odd/a && touch -d @1000000000 /ran/a/one
COPY names/ /ran/names/
END
  since=$(date +%s)
  timeout 800 "$KILN" image build --runner vm --name by-vm -f odd/Imagefile.steps odd
  build --no-cache -v --name by-guestfs -f odd/Imagefile.steps odd >log 2>&1 || { cat log; return 1; }
  grep -q "libguestfs: /dev/sda1 is '/'" log
  for name in by-vm by-guestfs; do
    python3 "$BATS_TEST_DIRNAME/ext4_tree.py" "$KILN_HOME/backend/.layers/$(layer_of $name)/disk.qcow2" "$since" >"$name"
  done
  diff by-vm by-guestfs
  [ "$(wc -l <by-vm)" -gt 4600 ]
  grep -q '^/ran/two regular 04711 12:34 links=2' by-guestfs
}

@test "what fails, fails as in the builder VM" {
  make_ext4
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/plain"
  head -c 60M /dev/urandom >work/large
  local runner steps before
  before=$(layers)
  for steps in 'RUN echo said >&2; exit 7' 'COPY large /' 'RUN dd if=/dev/zero of=/full bs=1M count=60' 'COPY file /etc/passwd/x' 'RUN kill -9 $$'; do
    printf '%s\n' 'FROM plain' "$steps" >work/Imagefile
    for runner in vm guestfs; do
      run timeout 800 "$KILN" image build --runner $runner --progress plain --name failed work
      [ "$status" = 1 ]
      sed -n '/error:/,$p' <<<"$output" >"$runner"
    done
    diff vm guestfs
    case $steps in
      *'exit 7') grep -q 'exit status 7' guestfs ;;
      *large*) grep -q "cannot write '/large' in the image: No space left on device" guestfs ;;
      *full) [[ $output == *'No space left on device'* ]] ;;
    esac
  done
  [ "$(layers)" -le $((before + 1)) ] # the base, once
}

@test "the host's disk is full: a clear error, nothing left, and with space it goes on" {
  make_ext4
  mkdir -p small
  head -c 30M /dev/urandom >work/large
  printf '%s\n' 'FROM plain' 'COPY file /srv/' 'COPY large /' >work/Imagefile
  qemu-img convert -f raw -O qcow2 disk.raw plain.qcow2
  cat >full <<'END'
mount -t tmpfs -o size=20m tmpfs small || exit 9
cp plain.qcow2 small/plain
"$KILN" image build --runner guestfs --progress plain --image-backend "$PWD/small" --name big work
status=$?
find small/.working -type f -size +0 ! -name '*.name' ! -name '*.build'
find small/.layers -name layer.json | wc -l
mount -o remount,size=200m small
"$KILN" image build --runner guestfs --progress plain --image-backend "$PWD/small" --name big work || exit 8
"$KILN" system verify --image-backend "$PWD/small" || exit 7
exit $status
END
  run timeout 800 unshare -m sh full
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"error: no space left for '"*"hint: make room there"*$'\n2\n'*"Built image 'big'"* ]]
}

@test "Ctrl-C in COPY and in RUN leaves nothing but the layers before" {
  make_ext4
  head -c 30M /dev/urandom >work/large
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/plain"
  local pid status=0 before when
  for when in 'Step 3/' 'it runs'; do
    before=$(layers)
    if [ "$when" = 'it runs' ]; then
      printf '%s\n' 'FROM plain' 'COPY file /b' 'RUN echo it runs; sleep 1000' 'COPY file /a' >work/Imagefile
    else
      printf '%s\n' 'FROM plain' 'COPY file /a' 'COPY large /' >work/Imagefile
    fi
    env --default-signal=INT "$KILN" image build --runner guestfs --progress plain --name stopped work >log 2>&1 3>&- &
    pid=$!
    until grep -q "^$when" log; do kill -0 "$pid" || { cat log; return 1; }; sleep 0.05; done
    kill -INT "$pid"
    wait "$pid" || status=$?
    [ "$status" = 130 ] || { echo "$status"; cat log; return 1; }
    no_leftovers "$KILN_HOME"
    [ -z "$(pgrep -f "^/proc/self/fd/.*$KILN_HOME")" ]
    [ "$(layers)" -le $((before + 2)) ] # the base, once, and the first COPY
    run "$KILN" image inspect stopped
    [ "$status" = 1 ]
  done
}

@test "several mount points by fstab; RAID and LVM" {
  make_root root
  mkdir -p root/boot root/home
  printf '%s\n' 'LABEL=root / ext4 defaults 0 1' 'LABEL=boot /boot ext4 defaults 0 2' '/dev/sda2 /home ext4 defaults 0 2' >root/etc/fstab
  mke2fs -q -t ext4 -L boot boot.raw 16M
  mke2fs -q -t ext4 -L home home.raw 16M
  mke2fs -q -t ext4 -L root -d root root.raw 48M
  truncate -s 90M disk.raw
  printf '%s\n' 'start=2048, size=16M' 'size=16M' 'size=48M' | sfdisk -q disk.raw
  dd if=boot.raw of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
  dd if=home.raw of=disk.raw bs=1M seek=17 conv=notrunc,sparse status=none
  dd if=root.raw of=disk.raw bs=1M seek=33 conv=notrunc,sparse status=none
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/three"
  printf '%s\n' 'FROM three' 'COPY file /boot/one' 'COPY file /home/new/two' 'RUN cat /boot/one /home/new/two >/boot/both && rm /boot/one' >work/Imagefile
  build --name mounted work
  "$KILN" image export --format raw mounted out.raw
  dd if=out.raw of=boot.raw bs=1M skip=1 count=16 status=none
  dd if=out.raw of=home.raw bs=1M skip=17 count=16 status=none
  e2fsck -fn boot.raw
  e2fsck -fn home.raw
  [ "$(debugfs -R 'cat /both' boot.raw 2>/dev/null)" = $'content\ncontent' ]
  [ "$(debugfs -R 'cat /new/two' home.raw 2>/dev/null)" = content ]

  # a logical volume on a RAID1 of two partitions
  rm root/etc/fstab
  mke2fs -q -F -t ext4 -L root -d root root.raw 48M
  python3 "$BATS_TEST_DIRNAME/lvm.py" root.raw >pv.raw
  truncate -s %1M pv.raw
  python3 "$BATS_TEST_DIRNAME/raid1.py" pv.raw member0 member1
  local sectors=$(($(stat -c %s member0) / 512))
  rm disk.raw
  truncate -s 110M disk.raw
  printf '%s\n' "start=2048, size=$sectors, type=fd" "start=$((2048 * 54)), size=$sectors, type=fd" | sfdisk -q disk.raw
  dd if=member0 of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
  dd if=member1 of=disk.raw bs=1M seek=54 conv=notrunc,sparse status=none
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/raid"
  printf '%s\n' 'FROM raid' 'COPY file /srv/' 'RUN cat /srv/file /srv/file >/twice' >work/Imagefile
  build --name striped work
  "$KILN" image export --format raw striped out.raw
  # both members have it: the volume begins at 1 MiB of each
  for at in 1 54; do
    dd if=out.raw of=root.raw bs=1M skip=$((at + 1)) count=48 status=none
    e2fsck -fn root.raw
    [ "$(debugfs -R 'cat /twice' root.raw 2>/dev/null)" = $'content\ncontent' ]
  done
}

@test "what no kernel can mount is refused by name" {
  local kind
  for kind in hfsplus ufs; do
    python3 - "$kind" <<'END'
import struct, sys
# the superblock alone, as blkid knows it
with open("fs.raw", "wb") as f:
    if sys.argv[1] == "ufs":
        f.seek(8192 + 1372)
        f.write(struct.pack("<I", 0x00011954))
    else:
        f.seek(1024)
        f.write(b"H+" + struct.pack(">HI4sI", 4, 0x100, b"10.0", 0) + bytes(24) + struct.pack(">III", 4096, 4096, 4000) + bytes(460))
    f.truncate(16 << 20)
END
    rm -f disk.raw
    one_partition fs.raw af $kind
    printf 'FROM %s\nCOPY file /\n' $kind >work/Imagefile
    run build --name refused work
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"error: "*"$kind"*"hint: "*"KILN_KERNEL"* ]]
  done
  # what nobody knows is told as the builder VM tells it
  qemu-img create -q -f qcow2 "$KILN_HOME/backend/blank" 16M
  printf 'FROM blank\nCOPY file /\n' >work/Imagefile
  run timeout 800 "$KILN" image build --name refused work
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"trying libguestfs"*"libguestfs finds no operating system"*"Imagefile:2:1: error: no root file system found"*"hint: a root has"* ]]
}

@test "a Windows disk: COPY and inspect --deep, but no RUN" {
  truncate -s 62M part.raw
  mkntfs -q -F -Q part.raw
  one_partition part.raw 7 ntfs
  python3 "$BATS_TEST_DIRNAME/windows.py" work/tree
  printf '%s\n' 'FROM ntfs' 'COPY tree/ /' >work/Imagefile
  build --name windows work
  run timeout 800 "$KILN" image inspect --deep windows
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"found          Windows Kiln Edition, x86_64, host name pane, 1 application"*"/dev/sda1 on /"* ]]
  "$KILN" image inspect --json windows | python3 -c '
import json, sys
one = json.load(sys.stdin)["deep"]["systems"][0]
assert (one["type"], one["major"], one["systemroot"]) == ("windows", 10, "/Windows"), one
assert one["applications"][0]["name"] == "hello", one'
  printf '%s\n' 'FROM windows' 'COPY file /Windows/Temp/' 'RUN echo' >work/Imagefile
  run build --name refused work
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"Imagefile:3:1: error: no command can run in this image: the guest is no Linux, but Windows Kiln Edition"* ]]
}
