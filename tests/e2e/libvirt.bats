#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154  # stderr comes from run
# kiln libvirt with a real libvirtd (tests/servers/libvirtd), and domains of examples/tiny.
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export TOP
  TOP=$(mktemp -d /tmp/kiln-libvirt.XXXXXX) # short: sockets lie in it
  chmod 755 "$TOP"
  export KILN_ACCEL=tcg KILN_HOME=$TOP/home HOME=$TOP DIR=$TOP/disks URI=qemu:///system
  unset LIBVIRT_DEFAULT_URI VIRSH_DEFAULT_CONNECT_URI SSH_AUTH_SOCK
  mkdir "$DIR"
  apart=
  if [ "$(id -u)" = 0 ]; then apart='unshare --net'; fi # its networks are bridges
  # shellcheck disable=SC2086
  $apart "$BATS_TEST_DIRNAME/../servers/libvirtd" "$TOP" >"$TOP/libvirtd.log" 2>&1 3>&- &
  echo $! >"$TOP/libvirtd.pid"
  if [ "$(id -u)" != 0 ]; then
    export URI=qemu:///session XDG_RUNTIME_DIR=$TOP/run XDG_CONFIG_HOME=$TOP/config XDG_CACHE_HOME=$TOP/cache XDG_DATA_HOME=$TOP/data
  fi
  share_appliance "$KILN_HOME"
  cp -a examples/tiny "$TOP/tiny"
  rm -f "$TOP/tiny/rootfs.tar" "$TOP/tiny/authorized_keys"
  "$TOP/tiny/prepare" "$KILN" >&2
  "$KILN" image build --name tiny "$TOP/tiny" >&2
  # a disk of somebody else's
  truncate -s 64M "$TOP/other.raw"
  mke2fs -q -F "$TOP/other.raw"
  until virsh list >/dev/null 2>&1; do kill -0 "$(cat "$TOP/libvirtd.pid")"; done
}
setup() {
  load common
  cd "$TOP" || return
  export LIBVIRT_DEFAULT_URI=$URI
}
teardown() {
  local name
  for name in $(virsh list --name); do virsh destroy "$name"; done
  for name in $(virsh list --all --name); do virsh undefine --nvram "$name"; done
  rm -rf "${DIR:?}"/*
}
teardown_file() {
  load common
  kill "$(cat "$TOP/libvirtd.pid")" || true
  if [ -e "$TOP/registry.pid" ]; then kill "$(cat "$TOP/registry.pid")"; fi
  no_leftovers "$TOP"
  rm -rf "$TOP"
}
# Where libvirtd has its sockets and files.
within() {
  if [ "$(id -u)" = 0 ]; then nsenter --mount --target "$(cat "$TOP/libvirtd.pid")" --wd="$PWD" -- "$@"; else "$@"; fi
}
virsh() { within virsh "$@"; }
kiln() { within "$KILN" "$@"; }
libvirt() { kiln libvirt "$@"; }
# Nothing but the named domains, and their disks in DIR.
only() {
  [ "$(virsh list --all --name | sort | xargs)" = "$*" ]
  [ "$(find "$DIR" -mindepth 1 -printf '%f\n' | sort | xargs)" = "${*/%/.qcow2}" ]
}
# test_domain XML: a file for the test driver, which has that domain, shut off.
test_domain() {
  cat >"$TOP/node.xml" <<END
<node><domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>d</name><memory>65536</memory>
<os><type>hvm</type></os><test:runstate>5</test:runstate><devices>$1</devices></domain></node>
END
}
disk() { echo "<disk type='file' device='disk'>${3:+<driver name='qemu' type='$3'/>}<source file='$1'/><target dev='$2' bus='virtio'/></disk>"; }

@test "what libvirt has not, and wrong words: nothing is left" {
  run libvirt define tiny --pool none
  [ "$status" = 1 ]
  [[ $output == *"libvirt at '$URI' has no storage pool 'none'"*"pool-list --all"* ]]
  run libvirt define tiny --dir "$TOP/none"
  [[ $status = 1 && $output == *"the folder '$TOP/none' does not exist"* ]]
  run libvirt define tiny --dir "$DIR" --network none-such
  [[ $status = 1 && $output == *"has no network 'none-such'"*"--network user needs none"* ]]
  run libvirt define none --dir "$DIR" --network none
  [[ $status = 1 && $output == *"unable to find image 'none'"* ]]
  run libvirt define tiny --dir "$DIR" --pool x
  [ "$status" = 2 ]
  run libvirt define tiny --dir "$DIR" --name a/b
  [[ $status = 2 && $output == *"'a/b', has a '/'"* ]]
  run libvirt define tiny --connect qemu+unix:///session?socket=/none
  [[ $status = 1 && $output == *"cannot connect to 'qemu+unix:///session?socket=/none': libvirt: Failed to connect socket"* ]]
  if [ ! -w /dev/kvm ]; then
    run libvirt define tiny --dir "$DIR" --network none --accel kvm
    [[ $status = 1 && $output == *"cannot use KVM"* ]]
  fi
  run libvirt import none x
  [[ $status = 1 && $output == *"'none'"*"list --all"* ]]
  run kiln virsh list
  [[ $status = 2 && $output == *"'kiln libvirt define NAME'"* ]]
  only
}

@test "without virsh the hint says how to get it" {
  if [ "$(id -u)" = 0 ]; then
    # shellcheck disable=SC2016
    run unshare --mount sh -c 'mount --bind /dev/null "$(command -v virsh)" && exec "$0" libvirt define tiny' "$KILN"
    [ "$status" = 1 ]
    [[ $output == *"virsh, libvirt's program, is not installed"*"apt-get install libvirt-clients"* ]]
  fi
}

@test "print-xml: names with all letters that XML has a use for, and nothing is made" {
  mkdir -p "$DIR/a&b<'\"c"
  run --separate-stderr libvirt define tiny --name "x&<y>\"'" --dir "$DIR/a&b<'\"c" --network "none" --print-xml --memory 256M --cpus 1
  echo "$output"
  [ "$status" = 0 ]
  python3 - "$output" "$DIR/a&b<'\"c/x&<y>\"'.qcow2" <<'END'
import sys
import xml.etree.ElementTree as et
d = et.fromstring(sys.argv[1])
assert d.find("name").text == "x&<y>\"'", d.find("name").text
assert d.find("devices/disk/source").get("file") == sys.argv[2]
image = d.find("metadata/{https://kiln.example/libvirt/1}image")
assert image.get("name") == "tiny" and len(image.get("layer")) == 64
assert d.find("memory").text == "256" and d.find("vcpu").text == "1" and d.find("devices/interface") is None
END
  rmdir "$DIR/a&b<'\"c"
  only
  # an interface of each kind, and UEFI by the image's label
  printf 'FROM tiny\nLABEL kiln.uefi=yes\n' >"$TOP/Imagefile"
  kiln image build -q --name "efi" -f "$TOP/Imagefile" "$DIR"
  run libvirt define efi --dir "$DIR" --network user --print-xml
  [[ $output == *"<os firmware='efi'>"*"<interface type='user'>"* ]]
  run libvirt define tiny --dir "$DIR" --network default --print-xml --connect test:///default
  [[ $output == *"<domain type='test'>"*"<source network='default'/>"* ]]
  run libvirt define tiny --pool default-pool --network none --connect test:///default --print-xml
  [[ $status = 0 && $output == *"<source file='/default-pool/tiny.qcow2'/>"* ]]
}

@test "sardinecake's flow: pull, define --start, boot, change, import, push" {
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  printf '%s\n' 'version: 0.1' 'log: {level: error, accesslog: {disabled: true}}' "storage: {filesystem: {rootdirectory: $PWD/data}}" \
    "http: {addr: '127.0.0.1:$port'}" >registry.yml
  docker-registry serve registry.yml >registry.log 2>&1 3>&- &
  echo $! >registry.pid
  until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 $!; done
  "$KILN" image push tiny "oci://127.0.0.1:$port/team/tiny:1"
  # another machine, whose user has nothing
  local other=$TOP/other
  mkdir -p "$other"
  KILN_HOME=$other kiln image pull "oci://127.0.0.1:$port/team/tiny:1"
  local name
  name=$(KILN_HOME=$other libvirt define tiny --dir "$DIR" --network none --memory 256M --start)
  [ "$name" = tiny ]
  only tiny
  [ "$(virsh domstate tiny | head -1)" = running ]
  [ "$(stat -c %a "$DIR/tiny.qcow2")" = 600 ]
  [ "$(id -u)" != 0 ] || [ "$(stat -c %U "$DIR/tiny.qcow2")" = libvirt-qemu ]
  virsh dumpxml tiny | grep -q "<kiln:image xmlns:kiln=.https://kiln.example/libvirt/1. name=.tiny. layer=.[0-9a-f]\{64\}./>"
  KILN_HOME=$other run libvirt import tiny changed
  [ "$status" = 1 ]
  [[ $output == *"domain 'tiny' is not shut off"*"shutdown tiny"* ]]
  # its console; the guest powers off
  run within "$BATS_TEST_DIRNAME/../servers/domain_console.py" "$URI" tiny 'echo changed by the domain >/root/note; sync; poweroff'
  echo "$output"
  [[ $output == *"tiny login:"* ]]
  until [ "$(virsh domstate tiny | head -1)" = "shut off" ]; do :; done
  KILN_HOME=$other libvirt import tiny changed
  # one layer on what was pulled
  run kiln image history --image-backend "$other/backend" --json changed
  python3 - "$output" <<'END'
import json, sys
steps = [s for s in json.loads(sys.argv[1]) if s.get("layer")]
assert steps[-1]["step"] == "kiln libvirt import tiny", steps[-1]
assert steps[-1]["bytes"] < 4 << 20 and len(steps) > 3, steps
END
  KILN_HOME=$other kiln image push changed "oci://127.0.0.1:$port/team/tiny:2" >push.log 2>&1
  "$KILN" image pull "oci://127.0.0.1:$port/team/tiny:2" --name back
  qemu-img compare "$DIR/tiny.qcow2" "$KILN_HOME/backend/back"
  run "$KILN" shell back -c 'cat /root/note'
  [[ $output == *"changed by the domain"* ]]
  # a second time: the name is taken
  KILN_HOME=$other run libvirt define changed --name tiny --dir "$DIR" --network none
  [[ $status = 1 && $output == *"domain 'tiny' exists"*"--name gives"* ]]
  KILN_HOME=$other run libvirt import tiny changed
  [[ $status = 1 && $output == *"image 'changed' exists"*"--force"* ]]
  KILN_HOME=$other libvirt import --force tiny changed
  # where the layers are not: taken whole
  KILN_HOME=$TOP/third run libvirt import tiny whole
  [[ $status = 0 && $output == *"The layers of image 'tiny'"*"are not here: the disk is taken whole"* ]]
  qemu-img compare "$DIR/tiny.qcow2" "$TOP/third/backend/whole"
  virsh undefine tiny
  KILN_HOME=$other run libvirt define changed --name tiny --dir "$DIR" --network none
  [[ $status = 1 && $output == *"'$DIR/tiny.qcow2' exists"* ]]
  rm "$DIR/tiny.qcow2"
}

@test "a UEFI guest on a network of libvirt's, with an address of its dnsmasq; its image says UEFI, too" {
  mkdir -p uefi/esp
  tar -xf tiny/rootfs.tar -C uefi/esp --strip-components=2 ./boot/vmlinuz ./boot/initrd.img
  mv uefi/esp/vmlinuz uefi/esp/vmlinuz.efi
  echo 'fs0:\vmlinuz.efi initrd=\initrd.img console=ttyS0 panic=1 mitigations=off' >uefi/esp/startup.nsh
  cp -r tiny/rootfs.tar tiny/root uefi/
  cat >uefi/Imagefile <<'END'
FROM scratch
DISK 160 MB GPT
PARTITION 1 SIZE 48 MB FORMAT vfat FLAGS efi MOUNT /efi
PARTITION 2 FORMAT ext4 OPTIONS "-L tiny" MOUNT /
ADD rootfs.tar /
COPY root/ /
COPY esp/ /efi/
END
  "$KILN" image build -q --name uefi uefi
  local network=default address=192.168.122
  if [ "$(id -u)" = 0 ]; then
    virsh net-define /usr/share/libvirt/networks/default.xml
    virsh net-start default
  else
    network=user address=10.0.2 # a user's libvirt has no bridges
  fi
  libvirt define uefi --uefi --dir "$DIR" --network "$network" --memory 256M --start
  run within "$BATS_TEST_DIRNAME/../servers/domain_console.py" "$URI" uefi \
    'ls -d /sys/firmware/efi; for i in $(seq 100); do ip -4 addr show eth0 | grep inet && break; sleep 1; done; poweroff'
  echo "$output"
  [[ $output == *$'\n/sys/firmware/efi'*"inet $address."* ]]
  until [ "$(virsh domstate uefi | head -1)" = "shut off" ]; do :; done
  libvirt import uefi uefi-back
  kiln image inspect uefi-back | grep '^labels  *kiln.uefi=yes$'
  libvirt define uefi-back --dir "$DIR" --network none --print-xml | grep "<os firmware='efi'>"
}

@test "a define that fails in the middle, or is interrupted, leaves nothing" {
  # what libvirt refuses only when it starts: a network card of a bridge that is not there
  virsh net-define /dev/stdin <<<"<network><name>broken</name><forward mode='bridge'/><bridge name='none-such'/></network>"
  run libvirt define tiny --dir "$DIR" --network broken --start
  [[ $status = 1 && $output == *"the network 'broken' of libvirt is not active"*"net-start broken"* ]]
  virsh net-start broken
  run libvirt define tiny --dir "$DIR" --network broken --memory 128M --start
  echo "$output"
  [[ $status = 1 && $output == *"domain 'tiny' does not start, and is not kept: libvirt: "*none-such* ]]
  only
  # while virsh defines
  mkdir bin
  printf '#!/bin/sh\ncase "$*" in *define*) echo $PPID >"%s/there"; exec sleep 60;; esac\nexec /usr/bin/virsh "$@"\n' "$TOP" >bin/virsh
  chmod +x bin/virsh
  PATH=$TOP/bin:$PATH within "$KILN" libvirt define tiny --dir "$DIR" --network none >"$TOP/out" 2>&1 &
  until [ -s "$TOP/there" ]; do kill -0 $!; done
  [ -s "$DIR/tiny.qcow2" ]
  kill "$(cat there)"
  local status=0
  wait $! || status=$?
  rm bin/virsh
  cat "$TOP/out"
  [ "$status" = 143 ]
  only
  [ -z "$(ls "$KILN_HOME/cache/work" 2>/dev/null)" ]
}

@test "pools: not active, of another type, one we may write to, and through libvirt" {
  virsh pool-define-as disks dir --target "$DIR"
  run libvirt define tiny --pool disks --network none
  [[ $status = 1 && $output == *"the storage pool 'disks' is not active"*"pool-start disks"* ]]
  virsh pool-start disks
  libvirt define tiny --pool disks --network none --json >json
  python3 "$BATS_TEST_DIRNAME/json_schema.py" "$BATS_TEST_DIRNAME/../../docs/json.md" 'result field' <json
  only tiny
  virsh vol-list disks | grep -q tiny.qcow2
  # a libvirt that is elsewhere
  local far="qemu+ext://far/${URI##*/}?command=$BATS_TEST_DIRNAME/../servers/far_libvirt.py"
  printf '#!/bin/sh\nexec "%s/../servers/far_libvirt.py" "%s"\n' "$BATS_TEST_DIRNAME" \
    "$( [ "$(id -u)" = 0 ] && echo /run/libvirt/libvirt-sock || echo "$TOP/run/libvirt/libvirt-sock")" >far
  chmod +x far
  far="qemu+ext://far/${URI##*/}?command=$TOP/far"
  run libvirt define tiny --name far --dir "$DIR" --connect "$far"
  [[ $status = 1 && $output == *"is the libvirt of another machine"*"--pool names"* ]]
  libvirt define tiny --name far --pool disks --network none --connect "$far"
  only far tiny
  qemu-img compare "$DIR/far.qcow2" "$DIR/tiny.qcow2"
  run libvirt define tiny --name far --pool disks --network none --connect "$far"
  [[ $status = 1 && $output == *"domain 'far' exists"* ]]
  libvirt import far from-far --connect "$far" --json >json
  python3 "$BATS_TEST_DIRNAME/json_schema.py" "$BATS_TEST_DIRNAME/../../docs/json.md" 'result field' <json
  [ "$(kiln image history --json from-far | grep -c 'kiln libvirt import far')" = 1 ]
  # a volume that is there, and a define that fails: neither is lost or left
  virsh undefine far
  run libvirt define tiny --name far --pool disks --network none --connect "$far"
  [[ $status = 1 && $output == *"libvirt: storage volume"*"exists"* ]]
  [ -s "$DIR/far.qcow2" ]
  virsh vol-delete --pool disks far.qcow2
  virsh undefine tiny --remove-all-storage
  only
}

@test "import: chains that kiln did not make, whatever their formats" {
  qemu-img create -q -f qcow2 -b "$TOP/other.raw" -F raw middle.qcow2
  mkdir -p sub
  qemu-img create -q -f qcow2 -b ../middle.qcow2 -F qcow2 sub/top.qcow2 96M
  qemu-io -c 'write -P 7 50M 1M' middle.qcow2 >/dev/null
  qemu-io -c 'write -P 9 80M 64k' sub/top.qcow2 >/dev/null
  test_domain "$(disk "$PWD/sub/top.qcow2" vda qcow2)<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>"
  libvirt import --connect "test://$PWD/node.xml" d chain
  # the layers' own names lead to one another
  qemu-img compare sub/top.qcow2 "$KILN_HOME/backend/chain"
  [ "$(kiln image inspect chain | grep -c 'chain  *4 files')" = 1 ]
  qemu-img convert -O vmdk other.raw other.vmdk
  test_domain "$(disk "$PWD/other.vmdk" vda vmdk)"
  libvirt import --connect "test://$PWD/node.xml" d vmdk
  qemu-img compare other.raw "$KILN_HOME/backend/vmdk"
  # several disks
  test_domain "$(disk "$PWD/other.raw" vda raw)$(disk "$PWD/sub/top.qcow2" vdb qcow2)"
  run libvirt import --connect "test://$PWD/node.xml" d two
  [[ $status = 1 && $output == *"has several disks, and an image has one: vda, vdb"*"--disk vda"* ]]
  run libvirt import --connect "test://$PWD/node.xml" --disk vdc d two
  [[ $status = 1 && $output == *"has no disk 'vdc': it has vda, vdb"* ]]
  libvirt import --connect "test://$PWD/node.xml" --disk vdb d two
  qemu-img compare sub/top.qcow2 "$KILN_HOME/backend/two"
}

@test "import: what it refuses" {
  # refused XML MESSAGE
  refused() {
    test_domain "$1"
    run libvirt import --connect "test://$PWD/node.xml" d x
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"$2"* ]]
  }
  refused "" "domain 'd' has no disk"
  refused "<disk type='block' device='disk'><source dev='/dev/sdz'/><target dev='vda'/></disk>" "disk 'vda' of domain 'd': it is the block device '/dev/sdz', not a file"
  refused "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' name='pool/image'><host name='ceph'/></source><target dev='vda'/></disk>" \
    "it is a disk of type 'network' ('rbd:pool/image'), not a file"
  refused "$(disk "$PWD/none" vda raw)" "the file '$PWD/none' does not exist"
  refused "$(disk /dev/null vda raw)" "'/dev/null' is not a regular file"
  qemu-img create -q -f qcow2 fake.qcow2 64M
  refused "$(disk "$PWD/fake.qcow2" vda raw)" "is described as raw, and its bytes are qcow2"
  printf 'root:x:%2000s\n' x >passwd
  refused "$(disk "$PWD/passwd" vda raw)" "passwd'"
  # chains that lead elsewhere, or nowhere
  qemu-img create -q -u -f qcow2 -b nbd://127.0.0.1:1/x -F raw net.qcow2 64M
  refused "$(disk "$PWD/net.qcow2" vda qcow2)" "stands on 'nbd://127.0.0.1:1/x', which is not a file"
  qemu-img create -q -f qcow2 loop.qcow2 64M
  qemu-img rebase -q -u -b loop.qcow2 -F qcow2 loop.qcow2
  refused "$(disk "$PWD/loop.qcow2" vda qcow2)" "stands on more than 256 files"
  qemu-img create -q -u -f qcow2 -b "$PWD/passwd" -F raw thief.qcow2 64M
  refused "$(disk "$PWD/thief.qcow2" vda qcow2)" "passwd'"
  # a domain of this libvirt that runs only as far as its disk: QEMU's lock
  qemu-img create -q -f qcow2 busy.qcow2 64M
  mkfifo hold
  qemu-io busy.qcow2 <hold >io.log 3>&- &
  local io=$!
  exec 7>hold
  echo "write 0 64k" >&7
  until grep -q wrote io.log; do kill -0 $io; done
  refused "$(disk "$PWD/busy.qcow2" vda qcow2)" "'$PWD/busy.qcow2' is in use by a running VM"
  exec 7>&-
  wait $io
  [ -z "$(ls -A "$KILN_HOME/backend/.working" | grep -v '\.lock$')" ]
  run kiln image inspect x
  [ "$status" = 1 ]
}
