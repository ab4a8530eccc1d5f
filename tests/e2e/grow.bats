#!/usr/bin/env bats
# DISK after FROM makes an image's disk larger: the last partition and what lies on it take the room.
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HOME=$BATS_FILE_TMPDIR/home
  share_appliance "$KILN_HOME"
  make_base "$BATS_FILE_TMPDIR/base" base
}
setup() { load common; }
teardown() { no_leftovers "$KILN_HOME"; }

build() { # IMAGEFILE-LINE…: an image "x"
  mkdir -p "$BATS_TEST_TMPDIR/work"
  printf '%s\n' "$@" >"$BATS_TEST_TMPDIR/work/Imagefile"
  "$KILN" image build --name x "$BATS_TEST_TMPDIR/work"
}
megabytes() { "$KILN" shell "${2:-x}" -c "df -m $1 | tail -1 | awk '{ print \$2 }'"; }

@test "an ext4 on an MBR grows, again and again, and its layers stay small" {
  build 'FROM base' 'RUN echo kept >/kept' 'DISK +200 MB' 'RUN cat /kept; [ $(df -m / | tail -1 | awk "{ print \$2 }") -gt 200 ]' 'DISK 1 GB MBR'
  [ "$(megabytes /)" -gt 900 ]
  run "$KILN" shell x -c 'cat /kept'
  [ "$output" = kept ]
  "$KILN" image inspect x | grep -q 'virtual size *1.00 GiB'
  [ "$("$KILN" image inspect --json x | python3 -c 'import json, sys; print(json.load(sys.stdin)["actual_size"] < 40 << 20)')" = True ] ||
    "$KILN" image inspect --json x
  run build 'FROM base' 'RUN echo kept >/kept' 'DISK +200 MB' 'RUN cat /kept; [ $(df -m / | tail -1 | awk "{ print \$2 }") -gt 200 ]' 'DISK 1 GB MBR'
  [[ $output == *'(4 of 4 layers from the cache)'* ]]
  run build 'FROM base' 'DISK 300 MB' 'DISK 200 MB'
  [ "$status" = 1 ]
  [[ $output == *"DISK can't make a disk smaller: the image's has 300.00 MiB"* ]]
  [[ $output == *'Imagefile:3:1'* ]]
  run build 'FROM base' 'DISK 300 MB GPT'
  [ "$status" = 1 ]
  [[ $output == *'the partition table of the image is mbr, not gpt'* ]]
}

@test "xfs and btrfs on a GPT, whose copy moves to the new end" {
  mkdir "$BATS_TEST_TMPDIR/work"
  cp -a "$BATS_FILE_TMPDIR/base/root" "$BATS_TEST_TMPDIR/work/root"
  build 'FROM scratch AS small' 'DISK 700 MB GPT' 'PARTITION 1 SIZE 330 MB FORMAT btrfs MOUNT /' 'PARTITION 2 FORMAT xfs MOUNT /srv' \
    'COPY root/ /' 'FROM small' 'DISK +600 MB' 'RUN echo in >/srv/in'
  [ "$(megabytes /srv)" -gt 900 ]
  [ "$(megabytes /)" -lt 340 ]
  "$KILN" image export x "$BATS_TEST_TMPDIR/x.raw" --format raw
  /sbin/sfdisk --verify "$BATS_TEST_TMPDIR/x.raw"
  build 'FROM scratch AS small' 'DISK 330 MB GPT' 'PARTITION 1 FORMAT btrfs MOUNT /' 'COPY root/ /' 'FROM small' 'DISK 2 GB'
  [ "$(megabytes /)" -gt 1900 ]
}

@test "a logical partition, a disk without partitions, and what cannot grow" {
  cd "$BATS_TEST_TMPDIR"
  local root=$BATS_FILE_TMPDIR/base/root PATH=$PATH:/sbin:/usr/sbin
  truncate -s 96M logical.raw
  printf '%s\n' 'label: dos' 'size=8M, type=82' 'type=5' 'type=83' | sfdisk -q logical.raw
  mke2fs -q -F -t ext4 -d "$root" -E "offset=$(($(sfdisk -d logical.raw | sed -n 's/^logical.raw5.*start= *\([0-9]*\).*/\1/p') * 512))" logical.raw 80M
  "$KILN" image import logical.raw logical
  build 'FROM logical' 'DISK +300 MB'
  [ "$(megabytes /)" -gt 340 ]
  truncate -s 64M whole.raw
  mke2fs -q -F -t ext4 -d "$root" whole.raw
  "$KILN" image import whole.raw whole
  build 'FROM whole' 'DISK 500 MB'
  [ "$(megabytes /)" -gt 450 ]
  cp -a "$root" work/root
  run build 'FROM scratch AS small' 'DISK 100 MB GPT' 'PARTITION 1 SIZE 80 MB FORMAT ext4 MOUNT /' \
    'PARTITION 2 FORMAT swap' 'COPY root/ /' 'FROM small' 'DISK 1 GB'
  [ "$status" = 1 ]
  [[ $output == *"cannot grow the last partition of 'vda': seen vda1 (ext4, "*'), vda2 (swap, '* ]]
  [[ $output == *'must be ext2, ext3, ext4, xfs, btrfs or LVM'* ]]
}

@test "root on LVM, and --disk-size of create: grown by default, with --no-grow not" {
  cd "$BATS_TEST_TMPDIR"
  local root=$BATS_FILE_TMPDIR/base/root PATH=$PATH:/sbin:/usr/sbin
  truncate -s 64M fs.raw
  mke2fs -q -F -t ext4 -d "$root" fs.raw
  truncate -s 80M lvm.raw
  printf '%s\n' 'label: dos' 'start=2048, type=8e' | sfdisk -q lvm.raw
  python3 "$BATS_TEST_DIRNAME/lvm.py" fs.raw | dd of=lvm.raw bs=1M seek=1 conv=notrunc status=none
  "$KILN" image import lvm.raw lvm
  build 'FROM lvm' 'DISK +300 MB'
  [ "$(megabytes /)" -gt 330 ]
  "$KILN" create --name l --disk-size 500M lvm
  grown l 440
  "$KILN" create --name b --disk-size 500M base
  grown b 440
  "$KILN" create --name n --disk-size 500M --no-grow --hostname kept base
  "$KILN" commit n n
  [ "$(megabytes / n)" -lt 70 ]
  [ "$("$KILN" shell n -c 'cat /etc/hostname')" = kept ]
  "$KILN" rm n
}

grown() { # VM MEGABYTES: the root of a VM that has not run has more than so many
  "$KILN" commit "$1" "$1-image"
  [ "$(megabytes / "$1-image")" -gt "$2" ]
  "$KILN" rm "$1"
}

@test "a disk that can't grow is the guest's matter, unless --grow says otherwise; nothing is left of it" {
  cd "$BATS_TEST_TMPDIR"
  mkdir work
  cp -a "$BATS_FILE_TMPDIR/base/root" work/root
  build 'FROM scratch' 'DISK 100 MB GPT' 'PARTITION 1 SIZE 80 MB FORMAT ext4 MOUNT /' 'PARTITION 2 FORMAT swap' 'COPY root/ /'
  run "$KILN" create --name s --disk-size 500M --hostname kept x
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"the guest has to use the larger disk itself: cannot grow the last partition of 'vda'"* ]]
  "$KILN" commit s s-image
  [ "$("$KILN" shell s-image -c 'cat /etc/hostname')" = kept ]
  "$KILN" rm s
  run "$KILN" create --name s --disk-size 500M --grow x
  [ "$status" = 1 ]
  [[ $output == *"error: cannot grow the last partition of 'vda'"*'must be ext2'* ]]
  run "$KILN" create --name s --disk-size 500M --grow --no-grow x
  [ "$status" = 2 ]
  [ -z "$("$KILN" ls -q)" ]
}

@test "a disk whose last file system fails when its partition has grown is as it was" {
  cd "$BATS_TEST_TMPDIR"
  mkdir work
  cp -a "$BATS_FILE_TMPDIR/base/root" work/root
  build 'FROM scratch' 'DISK 100 MB GPT' 'PARTITION 1 SIZE 60 MB FORMAT ext4 MOUNT /' 'PARTITION 2 FORMAT ext4' 'COPY root/ /'
  "$KILN" image export x broken.raw
  local start sectors
  start=$(table broken.raw start) sectors=$(table broken.raw size)
  dd if=/dev/urandom of=broken.raw bs=512 seek="$((start + 4))" count=128 conv=notrunc status=none # past its superblock
  "$KILN" image import broken.raw broken
  run "$KILN" create --name f --disk-size 500M --hostname kept broken
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"the guest has to use the larger disk itself: "* ]]
  "$KILN" commit f f-image
  "$KILN" image export f-image after.raw
  [ "$(stat -c %s after.raw)" = $((500 << 20)) ]
  [ "$(table after.raw size)" = "$sectors" ]
  [ "$("$KILN" shell f-image -c 'cat /etc/hostname')" = kept ]
  "$KILN" rm f
}

table() { /sbin/sfdisk -J "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["partitiontable"]["partitions"][1][sys.argv[1]])' "$2"; }

@test "a VM with a seed: its disk is grown here, unless the guest has cloud-init and growpart" {
  cd "$BATS_TEST_TMPDIR"
  echo '#cloud-config' >user-data
  "$KILN" create --name c --disk-size 500M --cloud-init user-data base
  grown c 440
  build 'FROM base' 'RUN mkdir -p /usr/bin; for p in growpart cloud-init; do printf "#!/bin/sh\n" >/usr/bin/$p; chmod 755 /usr/bin/$p; done'
  "$KILN" create --name c --disk-size 500M --cloud-init user-data x
  "$KILN" image rm c-image
  "$KILN" commit c c-image
  [ "$(megabytes / c-image)" -lt 100 ]
  "$KILN" rm c
}
