#!/usr/bin/env bats
# A VMFile's seed in Debian with its own cloud-init, booted twice, the second time with another seed. The root file system is made once for all
# runs that share KILN_TEST_CACHE.
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HOME=$BATS_FILE_TMPDIR/home
  share_appliance "$KILN_HOME"
  cd "$BATS_FILE_TMPDIR"
  make_rootfs
  mkdir context
  ln "$cache/rootfs.tar" context/ 2>/dev/null || cp "$cache/rootfs.tar" context/
  mkdir -p context/root/etc/systemd/system/multi-user.target.wants
  ln -s /lib/systemd/system/systemd-networkd.service context/root/etc/systemd/system/multi-user.target.wants/
  cat >context/Imagefile <<'END'
FROM scratch
DISK 1500 MB MBR
PARTITION 1 FORMAT ext4 MOUNT /
ADD rootfs.tar /
COPY root/ /
END
  "$KILN" image build --runner auto --name debian context >&2
  tar -xf context/rootfs.tar --wildcards --strip-components=2 './boot/vmlinuz-*' './boot/initrd.img-*'
  mv vmlinuz-* vmlinuz
  mv initrd.img-* initrd.img
}

# Debian with cloud-init, as a container of its files.
make_rootfs() {
  cache=${KILN_TEST_CACHE:-${TMPDIR:-/tmp}/kiln-test-cache-$(id -u)}/cloud-init
  mkdir -p "$cache" initramfs-tools/conf.d
  exec 8>"$cache/lock"
  flock 8
  local recipe
  recipe=$(declare -f make_rootfs | sha256sum)
  [ ! -e "$cache/rootfs.tar" ] || [ "$recipe" != "$(cat "$cache/recipe")" ] || return 0
  echo MODULES=list >initramfs-tools/conf.d/kiln
  printf '%s\n' virtio_pci virtio_blk virtio_scsi sd_mod ext4 >initramfs-tools/modules
  # shellcheck disable=SC2016  # the hook's $1 is the new root
  LC_ALL=C TMPDIR=/tmp unshare --mount mmdebstrap --variant=minbase --quiet \
    --include=linux-image-cloud-amd64,systemd-sysv,udev,dbus,iproute2,openssh-server,sudo,cloud-init \
    --essential-hook="copy-in $PWD/initramfs-tools /etc" \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_* && : >"$1/etc/machine-id"' \
    bookworm "$PWD/rootfs.tar" "deb ${MIRROR:-http://deb.debian.org/debian} bookworm main" \
    "deb ${SECURITY_MIRROR:-http://deb.debian.org/debian-security} bookworm-security main" >&2 8>&-
  mv rootfs.tar "$cache/"
  echo "$recipe" >"$cache/recipe"
}

setup() {
  load common
  cd "$BATS_FILE_TMPDIR"
}
teardown_file() {
  "$KILN" ps -q | while read -r name; do "$KILN" stop --kill "$name"; done
  load common
  no_leftovers "$KILN_HOME"
}

# vmfile SEED: the VM with this cloud-init block.
vmfile() {
  cat >VMFile.kdl <<END
vm "cloud" {
    image "debian"
    memory 768
    qemu-args "-kernel" "$BATS_FILE_TMPDIR/vmlinuz" "-initrd" "$BATS_FILE_TMPDIR/initrd.img" "-append" "root=/dev/vda1 rw console=ttyS0 net.ifnames=0 mitigations=off"
    cloud-init { $1; }
    ssh { user "somebody"; }
    provision { inline "cloud-init status --wait >/dev/null; echo up as \$(hostname)"; }
}
END
}
guest() { timeout 300 "$KILN" exec cloud "$@"; }

@test "the first boot: host name, user, key and network; a changed seed at the second" {
  cat >network.yaml <<'END'
version: 2
ethernets:
  eth0: {dhcp4: true, nameservers: {search: [kiln.example], addresses: [10.0.2.3]}}
END
  vmfile 'hostname "first"; network-config "network.yaml"'
  run timeout 900 "$KILN" up
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"cloud | up as first"*"cloud | is up"* ]]
  [ "$(guest sh -c 'id -un; sudo id -un; hostname')" = $'somebody\nroot\nfirst' ]
  [[ $(guest sudo cat /home/somebody/.ssh/authorized_keys) == "$(cut -d' ' -f1-2 "$KILN_HOME/vmstore/cloud/id_ed25519.pub" 2>/dev/null || echo ssh-ed25519)"* ]]
  guest sh -c 'cat /etc/systemd/network/*cloud-init*' | grep 'kiln.example'
  [ "$(guest cat /run/cloud-init/cloud-id)" = nocloud ]
  local first
  first=$(guest cat /var/lib/cloud/data/instance-id)
  guest sudo touch /root/kept

  printf '%s\n' '#cloud-config' 'write_files: [{path: /root/written, content: by cloud-init}]' >user-data
  vmfile 'hostname "second"; user-data "user-data"; network-config "network.yaml"'
  run "$KILN" up
  [[ $output == *"cloud | running; changed: cloud-init"*"'kiln down cloud', then 'kiln up cloud' applies it"* ]]
  timeout 300 "$KILN" down
  run timeout 900 "$KILN" up
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"cloud | up as second"* ]]
  run --separate-stderr guest sudo sh -c 'cat /root/written; echo; ls /root; cat /var/lib/cloud/data/instance-id'
  echo "$output"
  [ "${lines[*]:0:3}" = 'by cloud-init kept written' ]
  [ "${lines[3]}" != "$first" ]
}
