#!/usr/bin/env bats
# Steps that only write files, done on the host without a VM (builder/host/runner.h; --runner auto, the default):
# the same tree as the builder VM's, and the VM where anything is unusual.
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HOME=$BATS_FILE_TMPDIR/home PATH=$PATH:/usr/sbin:/sbin
  share_appliance "$KILN_HOME"
}
setup() { load common; cd "$BATS_TEST_TMPDIR"; }
teardown() { no_leftovers "$KILN_HOME"; }

build() { "$KILN" image build --progress plain -v "$@" 2>"$BATS_TEST_TMPDIR/log" || { cat "$BATS_TEST_TMPDIR/log"; return 1; }; }
started_no_vm() { # …of the last build
  run grep -e 'in the builder VM' -e '^start:' "$BATS_TEST_TMPDIR/log"
  [ "$status" = 1 ] || { echo "$output"; return 1; }
}
layers() { "$KILN" image history --json "$1" | python3 -c 'import json, sys; [print(x["layer"]) for x in json.load(sys.stdin) if "layer" in x]'; }
tree() { # IMAGE [SINCE]
  python3 "$BATS_TEST_DIRNAME/ext4_tree.py" "$KILN_HOME/backend/.layers/$(layers "$1" | tail -1)/disk.qcow2" "${@:2}"
}

@test "the tree is the builder VM's, file by file, and sound after every step" {
  python3 "$BATS_TEST_DIRNAME/ext4_odd.py" odd
  since=$(date +%s)
  build --name odd-host odd
  started_no_vm
  build --runner vm --no-cache --name odd-vm odd
  grep -q '^start:' log
  tree odd-vm "$since" >vm
  tree odd-host "$since" >host
  diff vm host
  [ "$(wc -l <host)" -gt 4600 ]
  grep -q '^/usr/bin/ping .*security.capability' host
  grep -q '^/acl-file .*posix_acl_access' host
  # the keys are the same, and each layer is a file system that is whole
  [ "$("$KILN" image history --json odd-host | grep '"key"' | head -1)" = "$("$KILN" image history --json odd-vm | grep '"key"' | head -1)" ]
  for id in $(layers odd-host); do
    qemu-img check -q "$KILN_HOME/backend/.layers/$id/disk.qcow2"
    qemu-img convert -O raw "$KILN_HOME/backend/.layers/$id/disk.qcow2" raw
    dd if=raw of=fs bs=1M skip=2 count=197 conv=sparse status=none
    e2fsck -fn fs
  done
  # on what the kernel wrote, folders with an index among it
  build --name again-host odd/again
  started_no_vm
  build --runner vm --no-cache --name again-vm odd/again
  tree again-vm "$since" >vm
  tree again-host "$since" >host
  diff vm host
}

@test "a disk from scratch needs no QEMU at all" {
  mkdir -p bin work/files
  ln -s "$(command -v sfdisk)" "$(command -v mke2fs)" bin
  echo content >work/files/a
  tar -C work/files -cf work/a.tar a
  printf '%s\n' 'FROM scratch' 'DISK 64 MB MBR' 'PARTITION 1 FORMAT ext4 OPTIONS "-L it -m 1" MOUNT / FLAGS boot' \
    'ADD a.tar /srv/' 'WORKDIR /srv/work' 'COPY files/ .' >work/Imagefile
  # what the caller's environment says to mke2fs counts for nothing
  printf '[defaults]\n\tinode_size = 128\n' >mke2fs.conf
  PATH=$PWD/bin MKE2FS_CONFIG=$PWD/mke2fs.conf build --accel kvm --name bare work
  started_no_vm
  tree bare >list
  grep -q '^/srv/work/a regular 0644' list
  # …and no program of the host's is given what could name one of its files
  for options in '-d /etc' '-L x /etc/passwd' '-E offset=1' '-J device=/dev/null'; do
    printf '%s\n' 'FROM scratch' 'DISK 64 MB MBR' "PARTITION 1 FORMAT ext4 OPTIONS \"$options\" MOUNT /" 'COPY files/ /' >work/Imagefile
    run "$KILN" -v image build --accel kvm --name harm work
    [[ $output == *'in the builder VM, not on the host: OPTIONS of a partition are unusual'* ]]
  done
}

@test "what is unusual is the builder VM's, and -v says why" {
  make_root work/root
  cd work
  says() { grep -q "in the builder VM, not on the host: $1" ../log || { grep 'not on the host' ../log; return 1; }; }
  printf '%s\n' 'FROM scratch' 'DISK 64 MB MBR' 'PARTITION 1 FORMAT ext4 MOUNT /' 'COPY root/ /' >Imagefile
  build --name base .
  started_no_vm
  printf '%s\n' 'FROM base' 'COPY Imagefile /' 'RUN echo ran >/ran' 'COPY Imagefile /after' >Imagefile
  build --name x .
  says 'a later step needs it'
  says 'it runs already'
  # a folder cannot become a file: the error is the VM's, as ever
  printf '%s\n' 'FROM base' 'COPY Imagefile /etc/group/x' >Imagefile
  run "$KILN" -v image build --name x .
  [ "$status" = 1 ]
  [[ $output == *"Imagefile:2:1"*"cannot use the folder '/etc/group' in the image"* ]]
  # a full one, too
  printf '%s\n' 'FROM base' 'COPY large /' >Imagefile
  head -c 90M /dev/zero | tr '\0' x >large
  run "$KILN" -v image build --name x .
  [ "$status" = 1 ]
  [[ $output == *'not on the host: cannot find room: the file system is full'* ]]
  [[ $output == *'make the DISK or PARTITION larger'* ]]
  # attributes that fit in no block of the file system, which has room
  printf '%s\n' 'FROM scratch' 'DISK 32 MB MBR' 'PARTITION 1 FORMAT ext4 OPTIONS "-b 1024" MOUNT /' 'COPY tagged /tagged' >Imagefile
  for make in touch mkdir; do
    rm -f tagged
    "$make" tagged
    setfattr -n user.big -v "$(head -c 3000 /dev/zero | tr '\0' a)" tagged
    run "$KILN" -v image build --name x .
    [ "$status" = 1 ]
    [[ $output == *'not on the host: cannot set an attribute: Insufficient space to store extended attribute data'* ]]
    [[ $output == *"cannot set the attribute user.big of '/tagged'"*"hint: it is too large for this file system: "*"of 1024 bytes"* ]]
  done
  # what chattr keeps
  mkdir tools
  # shellcheck disable=SC2046 # paths of libraries
  cp --parents "$(command -v chattr)" $(ldd "$(command -v chattr)" | grep -o '/[^ ]*') tools/
  printf '%s\n' 'FROM base' 'COPY tools/ /' 'RUN --security=insecure echo kept >/kept; chattr +i /kept' >Imagefile
  build --name locked .
  printf '%s\n' 'FROM locked' 'COPY Imagefile /kept' >Imagefile
  run "$KILN" -v image build --name x .
  [ "$status" = 1 ]
  [[ $output == *'not on the host: a file is immutable or append-only'*"cannot replace '/kept' in the image: Operation not permitted"* ]]
  # features that kiln does not give, and a disk that it did not partition
  printf '%s\n' 'FROM scratch' 'DISK 64 MB MBR' 'PARTITION 1 FORMAT ext4 OPTIONS "-O inline_data" MOUNT /' 'COPY root/ /' >Imagefile
  build --name quota .
  says 'the file system has an unusual feature'
}

@test "an interrupted step leaves nothing" {
  mkdir work
  head -c 300M /dev/urandom >work/large
  printf '%s\n' 'FROM scratch' 'DISK 600 MB MBR' 'PARTITION 1 FORMAT ext4 MOUNT /' 'COPY large /' >work/Imagefile
  "$KILN" image build --name interrupted work >log 2>&1 3>&- &
  pid=$!
  until pgrep -P "$pid" -f '^/proc/self/fd' >/dev/null && grep -q 'Step 4' log; do
    kill -0 "$pid" || { cat log; return 1; }
  done
  kill -TERM "$pid"
  status=0
  wait "$pid" || status=$?
  [ "$status" = 143 ] || { echo "$status"; cat log; return 1; }
  no_leftovers "$KILN_HOME"
  run "$KILN" image inspect interrupted
  [ "$status" = 1 ]
}
