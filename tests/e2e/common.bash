# Helpers for the end-to-end tests: a small base image from busybox, a shared appliance.
# shellcheck shell=bash

# The appliance and template of the builder VM are made once for all tests: $1 is a KILN_HOME.
share_appliance() {
  local shared=${KILN_TEST_CACHE:-${TMPDIR:-/tmp}/kiln-test-cache-$(id -u)}
  mkdir -p "$shared/appliance" "$shared/template" "$1/cache"
  ln -sfn "$shared/appliance" "$1/cache/appliance"
  ln -sfn "$shared/template" "$1/cache/template"
}

# A folder with a busybox root file system: sh and all applets in /bin, root and user 1000.
make_root() {
  mkdir -p "$1"/bin "$1"/etc "$1"/tmp "$1"/root "$1"/home/user "$1"/usr/sbin
  cp /bin/busybox "$1/bin/busybox"
  local applet
  for applet in $(/bin/busybox --list | grep -vx busybox); do ln -sf busybox "$1/bin/$applet"; done
  printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'user:x:1000:1000:user:/home/user:/bin/sh' >"$1/etc/passwd"
  printf '%s\n' 'root:x:0:' 'user:x:1000:' 'staff:x:50:user' >"$1/etc/group"
  echo 'NAME=Tiny' >"$1/etc/os-release"
  chmod 1777 "$1/tmp"
}

# make_base DIR NAME: builds NAME, a 64 MB disk with that root, from the build directory DIR.
make_base() {
  make_root "$1/root"
  printf '%s\n' 'FROM scratch' 'DISK 64 MB MBR' 'PARTITION 1 FORMAT ext4 MOUNT /' 'COPY root/ /' >"$1/Imagefile"
  "$KILN" image build --name "$2" "$1"
}

# The same with one file more.
make_base_variant() {
  cp -a "$1" "$1.variant"
  echo variant >"$1.variant/root/etc/variant"
  "$KILN" image build --name "$2" "$1.variant"
}

# Fails if a QEMU that runs on files below $1 is left, or unfinished work in its backend.
no_leftovers() {
  local pid
  for pid in $(pgrep -f "qemu.*$1" || true); do
    [ "$pid" = $$ ] || { echo "process $pid is left"; return 1; }
  done
  local left
  left=$(find "$1/backend/.working" -mindepth 1 ! -name '*.lock' ! -name '*.name' ! -name '*.build' 2>/dev/null)
  [ -z "$left" ] || { echo "left behind: $left"; return 1; }
}

# make_tiny: examples/tiny's file system as the image "tiny", put together in the current folder without
# a build; kernel and initramfs, vmlinuz and initrd.img, lie there.
make_tiny() {
  local PATH=$PATH:/usr/sbin:/sbin
  mkdir -p "$KILN_HOME/backend"
  cp -r "$BATS_TEST_DIRNAME/../../examples/tiny" tiny
  tiny/prepare "$KILN" >/dev/null
  mkdir root
  tar -C root -xf tiny/rootfs.tar
  cp -r tiny/root/. root/
  mkdir -p root/home/vagrant/.ssh
  cp tiny/authorized_keys root/home/vagrant/.ssh/
  chmod 755 root root/home/vagrant root/home/vagrant/.ssh
  chmod 644 root/home/vagrant/.ssh/authorized_keys
  mkdir -m 777 root/srv # for the user, whose home is root's here
  cp root/boot/vmlinuz root/boot/initrd.img .
  # dropbear takes a user's files that are his own or root's
  mke2fs -q -t ext4 -L tiny -E root_owner=0:0 -d root disk.raw 96M
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/tiny"
}

# on_terminal COMMAND...: runs it on a terminal of its own, prints what it says, and ends with its status.
on_terminal() {
  timeout 120 python3 -c '
import os, pty, sys
pid, fd = pty.fork()
if not pid:
    os.execv(sys.argv[1], sys.argv[1:])
said = b""
try:
    while chunk := os.read(fd, 4096):
        said += chunk
except OSError:
    pass
print(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))' "$@"
}
