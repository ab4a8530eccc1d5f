#!/usr/bin/env bats
# Folders of the host in a guest that mounts them by virtiofs, by 9p, and by sshfs: examples/tiny with
# Debian's generic kernel, which has modules for all three, and with sshfs.
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export KILN_HOME=$BATS_FILE_TMPDIR/home KILN_ACCEL=tcg
  unset SSH_AUTH_SOCK
  cd "$BATS_FILE_TMPDIR"
  make_tiny >/dev/null
  fetch_packages
  for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" unpacked; done
  make_image
  "$KILN" create --name vm --ssh-user root --kernel unpacked/boot/vmlinuz-*-amd64 --initrd initrd.generic \
    --append 'console=ttyS0 panic=1 net.ifnames=0 mitigations=off' shares
}
setup() {
  cd "$BATS_FILE_TMPDIR"
  mkdir -p shared
}
teardown_file() {
  "$KILN" rm --force vm
  load common
  no_leftovers "$KILN_HOME"
}

# Downloaded once, the newest ones.
fetch_packages() {
  local cache=${KILN_TEST_CACHE:-${TMPDIR:-/tmp}/kiln-test-cache-$(id -u)} kernel
  kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: //p')
  debs=$cache/debs-$kernel
  [ ! -d "$debs" ] || return 0
  rm -rf "$cache"/debs-* "$debs.new"
  mkdir -p "$debs.new"
  (cd "$debs.new" && apt-get download -q "$kernel" sshfs libfuse3-3 libglib2.0-0)
  mv "$debs.new" "$debs"
}

# copy_modules DIR NAME...: of the unpacked kernel, with what they need, in the order of loading
copy_modules() {
  local to=$1 number=10 file
  shift
  mkdir -p "$to"
  for name; do
    /sbin/modprobe -d "$PWD/unpacked" -S "$version" --ignore-install --show-depends "$name"
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    cp "$file" "$to/$number-${file##*/}"
    number=$((number + 1))
  done
}

make_image() {
  version=$(basename unpacked/lib/modules/*)
  /sbin/depmod -b unpacked "$version"
  rm -rf root/lib/modules
  copy_modules root/lib/modules/net virtiofs 9p 9pnet_virtio virtio_net # before its SSH server
  copy_modules root/lib/modules/late virtio-rng button evdev
  mkdir -p initramfs/{bin,dev,proc,sys,mnt}
  cp /bin/busybox initramfs/bin/
  cp tiny/initramfs-init initramfs/init
  copy_modules initramfs/lib/modules/blk virtio_pci virtio_blk ext4
  rm -f root/lib/modules/*/??-{virtio,virtio_ring,virtio_pci*}.ko
  chmod 755 initramfs/init
  (cd initramfs && find . | cpio -o -H newc -R 0:0 --quiet) >initrd.generic
  local file libs=unpacked/usr/lib/x86_64-linux-gnu
  cp unpacked/usr/bin/sshfs root/usr/bin/
  mkdir -p "root/$libs"
  # the last one: pthread_cancel loads it
  for file in $(LD_LIBRARY_PATH=$libs ldd root/usr/bin/sshfs | grep -o '/lib[^ ]*\|unpacked[^ ]*') /lib/x86_64-linux-gnu/libgcc_s.so.1; do
    mkdir -p "root$(dirname "/${file#unpacked}")"
    cp -L "$file" "root/${file#unpacked}"
  done
  mke2fs -q -t ext4 -L tiny -E root_owner=0:0 -d root disk.raw 200M
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/shares"
  rm disk.raw
}

# try KIND: what the host and the guest write, and their changes, in both directions
try() {
  run --separate-stderr "$KILN" start --verbose -d -v "./shared:/mnt/a b" -v ./shared:/mnt/ro:ro vm
  echo "$output / $stderr"
  [ "$status" = 0 ]
  [[ $stderr == *"share '$PWD/shared': mounted at '/mnt/a b' by $1"*"mounted at '/mnt/ro' by $1"* ]]
  head -c 3000000 /dev/urandom >shared/from-host
  [ "$("$KILN" exec vm sha256sum "/mnt/a b/from-host")" = "$(sha256sum <shared/from-host | cut -d ' ' -f 1)  /mnt/a b/from-host" ]
  "$KILN" exec vm sh -c 'cd "/mnt/a b"; mkdir -p dir; head -c 3000000 /dev/urandom >dir/x; mv dir/x from-guest; rmdir dir; sha256sum <from-guest; rm from-host' >said
  [ "$(cut -d ' ' -f 1 said)" = "$(sha256sum <shared/from-guest | cut -d ' ' -f 1)" ]
  [ "$(ls shared)" = from-guest ]
  run "$KILN" exec vm sh -c 'echo x >/mnt/ro/y'
  [ "$status" = 1 ]
  [ ! -e shared/y ]
}

@test "virtiofs, where virtiofsd and the guest's kernel allow it" {
  try virtiofs
  run "$KILN" suspend --to-disk vm
  [ "$status" = 1 ]
  [ "${lines[0]}" = "error: VM 'vm' has shared folders, and cannot be suspended to disk" ]
  [[ ${lines[1]} == "hint: 'kiln suspend vm' keeps it in memory; a VM that is started without --volume"* ]]
  [ "$("$KILN" status vm)" = running ]
  "$KILN" exec vm sh -c 'rm /lib/modules/net/*virtiofs*; sync'
  "$KILN" stop vm
}

@test "9p, where the kernel has no virtiofs" {
  try 9p
  "$KILN" exec vm sh -c 'rm /lib/modules/net/*9p*; sync'
  "$KILN" stop vm
}

# The processes that keep the folders of these VMs.
keepers() {
  local pid
  for pid in $(pgrep -x kiln-share); do
    ! grep -qzx "KILN_HOME=$KILN_HOME" "/proc/$pid/environ" || echo "$pid"
  done
}

@test "sshfs, where the kernel has neither; it ends with its server, when it is unmounted, and with the VM" {
  try sshfs
  local first second
  read -r first second < <(keepers | sort -n | xargs)
  [ -n "$second" ]
  "$KILN" exec vm umount /mnt/ro
  kill $(pgrep -P "$first")
  timeout 60 tail --pid "$first" -f /dev/null
  timeout 60 tail --pid "$second" -f /dev/null
  timeout 60 "$KILN" exec vm sh -c 'while grep -q /mnt/ /proc/mounts; do :; done; ls -A "/mnt/a b" /mnt/ro'
  # a guest's sshfs that asks for another folder of the host, after it has sent the server SETSTAT of a file
  # there: mode 0666, then size 0 (SSH_FXP_SETSTAT of draft-ietf-secsh-filexfer-02)
  local file=$PWD/outside/file
  "$KILN" exec vm sh -c 'cd /usr/bin; mv sshfs sshfs.real; cat >sshfs; chmod +x sshfs; sync' <<END
#!/bin/sh
[ "\$1" != --version ] || exec sshfs.real --version
number() { printf "\\\\\$(printf %o \$((\$1 >> 24 & 255)))\\\\\$(printf %o \$((\$1 >> 16 & 255)))\\\\\$(printf %o \$((\$1 >> 8 & 255)))\\\\\$(printf %o \$((\$1 & 255)))"; }
reply() { set -- \$(dd bs=1 count=4 2>/dev/null | od -An -tu1); dd bs=1 count=\$(((\$1 << 24) + (\$2 << 16) + (\$3 << 8) + \$4)) >/dev/null 2>&1; }
number 5; printf '\001'; number 3; reply
number $((17 + ${#file})); printf '\011'; number 1; number ${#file}; printf %s '$file'; number 4; number 438; reply
number $((21 + ${#file})); printf '\011'; number 2; number ${#file}; printf %s '$file'; number 1; number 0; number 0; reply
exec sshfs.real \$(echo "\$*" | sed 's,[^ ]*/shared,:$PWD/outside,')
END
  mkdir outside
  echo secret >outside/file
  chmod 640 outside/file
  "$KILN" stop vm
  [ -z "$(keepers)" ]
  run "$KILN" start vm -v ./shared:/mnt/c --cmd 'cat /mnt/c/file; echo x >/mnt/c/new'
  echo "$output"
  [ "$status" = 1 ]
  [[ $output != *secret* ]]
  [[ $output == *"$PWD/outside: No such file or directory"* ]]
  [ "$(ls outside)" = file ]
  [ "$(stat -c '%a %s' outside/file)" = '640 7' ]
  "$KILN" start vm --cmd 'mv /usr/bin/sshfs.real /usr/bin/sshfs; sync'
}

@test "sshfs in an attached VM, by a server of the user's; a guest without it" {
  printf '#!/bin/sh\ntouch %s/called\nexec /usr/lib/openssh/sftp-server "$@"\n' "$PWD/shared" >server
  chmod +x server
  run --separate-stderr "$KILN" start vm -v ./shared:/mnt/c --sftp-bin-name ./server --cmd 'echo x >/mnt/c/new; rm /usr/bin/sshfs; sync; exit 9'
  echo "$output / $stderr"
  [ "$status" = 9 ]
  [ "$(cat shared/new)" = x ]
  [ -e shared/called ]
  [ -z "$(keepers)" ]
  run --separate-stderr "$KILN" start vm -v ./shared:/mnt/c --cmd true
  [ "$status" = 1 ]
  [[ ${stderr_lines[-2]} == "error: cannot mount '$PWD/shared' at '/mnt/c' in the guest: its kernel mounts neither virtiofs nor 9p, and it has no sshfs" ]]
  [[ $stderr == *"hint: install sshfs in the image, as by 'RUN apt-get update && apt-get install -y sshfs' in its Imagefile"* ]]
  run "$KILN" start vm -v ./shared:/mnt/c --sftp-bin-name none-such --cmd true
  [ "$status" = 1 ]
  [[ $output == *"program 'none-such' not found"*"--sftp-bin-name names"* ]]
}

@test "sshfs in a VM from a saved boot; one without it, and a serial console, boot" {
  local vm=(--warm --ssh-user root --kernel unpacked/boot/vmlinuz-*-amd64 --initrd initrd.generic)
  vm+=(--append 'console=ttyS0 panic=1 net.ifnames=0 mitigations=off' ${SFTP_SERVER:+--sftp-bin-name "$SFTP_SERVER"})
  echo one >shared/file
  timeout 400 "$KILN" image warm "${vm[@]}" shares
  run --separate-stderr timeout 200 "$KILN" run -v -v ./shared:/mnt/c "${vm[@]}" shares sh -c 'cat /mnt/c/file; echo two >/mnt/c/file; grep -c "/mnt/c fuse.sshfs" /proc/mounts'
  echo "$output / $stderr"
  [ "$status" = 0 ]
  [ "$output" = $'one\n1' ]
  [[ $stderr == *Restoring*"mounted at '/mnt/c' by sshfs"* ]]
  [[ $stderr != *Booting* ]]
  [ "$(cat shared/file)" = two ]
  # in the background, a folder that may not be written to; no virtiofsd waits for a VM that has no device for it
  timeout 200 "$KILN" run -d --name warm -v ./shared:/mnt/ro:ro "${vm[@]}" shares
  [ "$("$KILN" exec warm cat /mnt/ro/file)" = two ]
  run "$KILN" exec warm sh -c 'echo x >/mnt/ro/y'
  [ "$status" = 1 ]
  if pgrep -f "virtiofsd.*source=$PWD/shared"; then return 1; fi
  "$KILN" stop --kill warm
  "$KILN" rm warm
  [ -z "$(keepers)" ]
  run timeout 200 "$KILN" run -v ./shared:/mnt/c "${vm[@]}" --sftp-bin-name "$PWD/gone" shares true
  [ "$status" = 1 ]
  run timeout 30 "$KILN" run --warm -v ./shared:/mnt/c --memory 200M --ssh-timeout 1 tiny </dev/null
  [[ $output == *"no saved boot for 'tiny': a folder is shared, which needs SSH; booting"* ]]
  # no sshfs
  run timeout 400 "$KILN" run -v ./shared:/mnt/c "${vm[@]:0:1}" -m 200M --kernel vmlinuz --initrd initrd.img \
    --append 'console=ttyS0 panic=1 net.ifnames=0 mitigations=off' ${SFTP_SERVER:+--sftp-bin-name "$SFTP_SERVER"} --ssh-user root tiny true
  [[ $output == *"no saved boot for 'tiny': a folder is shared, and the guest has no sshfs; booting"* ]]
}
