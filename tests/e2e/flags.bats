#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# How a VM is made and ended: its kernel, disk, network and time, and the exit statuses of each end.
bats_require_minimum_version 1.5.0
load common

setup_file() {
  export KILN_HOME="$BATS_FILE_TMPDIR/home" KILN_ACCEL=tcg
  unset SSH_AUTH_SOCK
  cd "$BATS_FILE_TMPDIR" || return
  make_tiny
}

setup() {
  cd "$BATS_FILE_TMPDIR" || return
  boot=(--kernel vmlinuz --initrd initrd.img)
  append='console=ttyS0 panic=1 net.ifnames=0 mitigations=off'
}

@test "a kernel of its own, a larger disk, and a file with the console" {
  run --separate-stderr timeout 120 "$KILN" run tiny -m 256M --disk-size 1G --console said "${boot[@]}" \
    --append "$append marker=here" --ssh-command 'cat /sys/block/vda/size /proc/cmdline'
  echo "$output / $stderr"
  [ "$status" = 0 ]
  [ "${lines[0]}" = 2097152 ]
  [[ "${lines[1]}" == *marker=here* ]]
  grep -q 'Linux version' said
}

@test "a panic ends the wait for SSH with 125, a time limit with 124, no SSH with 126, a dead VM with 127" {
  run timeout 120 "$KILN" run tiny --ssh "${boot[@]}" --append "$append root=/dev/none rdinit=/none init=/none"
  echo "$output"
  [ "$status" = 125 ]
  [[ "$output" == *"error: the guest's kernel panicked"* ]]
  # nobody is at the console; and in the background somebody waits
  run timeout 120 "$KILN" run tiny "${boot[@]}" --append "$append root=/dev/none rdinit=/none init=/none" </dev/null
  [ "$status" = 125 ]
  timeout 120 "$KILN" run -d --name panics "${boot[@]}" --append "${append/panic=1/panic=0} rdinit=/none init=/none" tiny
  run timeout 120 "$KILN" exec --wait=110 panics true
  echo "$output"
  "$KILN" rm --force panics
  [ "$status" = 125 ]
  [[ "$output" == *"error: the kernel of VM 'panics' panicked"*"hint: 'kiln logs panics'"* ]]
  run timeout 120 "$KILN" run tiny --ssh --timeout 1 "${boot[@]}" --append "$append"
  [ "$status" = 124 ]
  [[ "$output" == *"error: the VM was stopped after 1 s"* ]]
  run timeout 120 "$KILN" run tiny --ssh --ssh-timeout 1 "${boot[@]}" --append "$append"
  [ "$status" = 126 ]
  run -127 timeout 120 "$KILN" run tiny --ssh-user root --ssh-command 'poweroff -f; sleep 60' "${boot[@]}" --append "$append"
}

@test "a command after the image reaches the guest as it is; SCSI disks, kiln's key as a credential" {
  qemu-img create -q -f qcow2 "$KILN_HOME/backend/data" 10M
  run --separate-stderr timeout 120 "$KILN" run --disk-bus scsi --extra-image data --ssh-user root "${boot[@]}" --append "$append" tiny \
    sh -c 'ls -d /dev/sda /dev/sdb /dev/vda; tr "\0" "\n" </sys/firmware/dmi/tables/DMI; echo "$@"; exit 7' - 'a  b' '$HOME' -- -x
  echo "$output / $stderr"
  [ "$status" = 7 ]
  [ "${lines[0]}" = /dev/sda ]
  [ "${lines[1]}" = /dev/sdb ]
  [[ "$output" != */dev/vda$'\n'* ]]
  [ "${lines[-1]}" = "a  b \$HOME -- -x" ]
  key=$(sed -n 's/^.*credential.binary:ssh.authorized_keys.root=//p' <<<"$output" | base64 -d)
  [ "$(wc -l <<<"$key")" = 2 ] # the VM's own is before kiln's
  [ "${key#*$'\n'}" = "$("$KILN" ssh-key)" ]
}

@test "run --name keeps a VM and runs it again with the options given now; not as another image" {
  timeout 120 "$KILN" run --name again --ssh-user root "${boot[@]}" --append "$append" tiny sh -c 'echo kept >/root/f; sync'
  run --separate-stderr timeout 120 "$KILN" run --name again --cpus 1 tiny sh -c 'cat /root/f; nproc'
  echo "$output / $stderr"
  [ "$status" = 0 ]
  [ "$output" = $'kept\n1' ]
  local words
  for words in 'none true' '--disk-size 9G tiny true' '--rm tiny true' '--hostname x tiny true'; do
    # shellcheck disable=SC2086
    run "$KILN" run --name again $words
    [ "$status" = 1 ]
    [[ $output == *"error: VM 'again' exists"*"'kiln rm again' first"* ]]
  done
  "$KILN" rm again
}

@test "folders of the host in the guest, at a command and in the background" {
  mkdir -p "shared 1"
  echo from-host >"shared 1/f"
  run --separate-stderr timeout 120 "$KILN" run --verbose -v "./shared 1:/mnt/a b" --shared-folder "$PWD/shared 1:/mnt/ro:ro" \
    --ssh-user root "${boot[@]}" --append "$append" tiny sh -c \
    'cat "/mnt/a b/f"; echo from-guest >"/mnt/a b/g"; { echo x >/mnt/ro/h; } 2>/dev/null || echo read-only'
  echo "$output / $stderr"
  [ "$status" = 0 ]
  [ "$output" = $'from-host\nread-only' ]
  [ "$(cat "shared 1/g")" = from-guest ]
  [[ "$stderr" == *"share '$PWD/shared 1': mounted at '/mnt/a b' by virtiofs"* ]]
  timeout 120 "$KILN" run -d --name shares -v "./shared 1:/mnt/x" --ssh-user root "${boot[@]}" --append "$append" tiny
  echo later >"shared 1/later"
  [ "$("$KILN" exec shares cat /mnt/x/later)" = later ]
  "$KILN" rm --force shares
  # the guest of another user cannot mount
  run timeout 120 "$KILN" run -v "./shared 1:/mnt/x" --ssh-user vagrant "${boot[@]}" --append "$append" tiny true
  [ "$status" = 1 ]
  [[ "$output" == *"cannot mount '$PWD/shared 1' at '/mnt/x' in the guest: "*"hint: "*"--ssh-user"* ]]
}

@test "run -it gives a command a terminal; the wait before it shows seconds and, with -v, the console" {
  run on_terminal "$KILN" run -it "${boot[@]}" --append "$append" tiny tty
  echo "$output"
  [ "$status" = 0 ]
  [[ "$output" == *$'waiting for SSH: '[1-9]*$' s\r\e[K'*/dev/pts/* ]]
  run on_terminal "$KILN" run -v --ssh-timeout 3s "${boot[@]}" --append "$append" tiny true
  [[ "$output" == *'waiting for SSH: '[1-9]*' s  '*$'\r\e[K'* ]]
  [[ "$output" == *"hint: --ssh-timeout waits longer; --ssh-with-serial shows the guest's console"* ]]
}

@test "a VM in the background says that its --timeout does nothing" {
  "$KILN" create tiny --name "kept$$" --timeout 99
  run --separate-stderr "$KILN" start -d "kept$$"
  "$KILN" rm --force "kept$$"
  [ "$status" = 0 ]
  [[ "$stderr" == *"--timeout and --console of VM 'kept$$' do nothing"* ]]
}

@test "UEFI, with variables that stay" {
  "$KILN" create --name uefi --uefi --ssh-user root "${boot[@]}" --append "$append" tiny
  local vars=$KILN_HOME/vmstore/uefi/uefi-vars.fd
  run --separate-stderr timeout 200 "$KILN" start uefi --ssh-command 'ls -d /sys/firmware/efi'
  echo "$output / $stderr"
  [ "$status" = 0 ]
  [ "$output" = /sys/firmware/efi ]
  if cmp -s "$vars" /usr/share/OVMF/OVMF_VARS_4M.fd; then return 1; fi
  "$KILN" rm uefi
}

@test "a VM on a bridge of the host, in a network namespace" {
  [ -d /etc/qemu ] || mkdir /etc/qemu
  cat >bridged <<'END'
set -eu
mount -t tmpfs tmpfs /etc/qemu
ip link set lo up
ip link add kilnbr type bridge
ip addr add 10.99.0.1/24 dev kilnbr
ip link set kilnbr up
"$KILN" run --network tap,bridge=kilnbr tiny || true
echo 'allow kilnbr' >/etc/qemu/bridge.conf
"$KILN" run --network tap,bridge=kilnbr --network user --ssh-user root "$@" tiny sh -c \
  'ip link set eth1 up; ip addr add 10.99.0.2/24 dev eth1; for i in 1 2 3 4 5 6 7 8 9; do ping -c 1 -W 1 10.99.0.1 && break; done'
END
  run timeout 120 unshare -nm sh bridged "${boot[@]}" --append "$append"
  echo "$output"
  [ "$status" = 0 ]
  [[ "$output" == *"QEMU may not use the bridge 'kilnbr': '/etc/qemu/bridge.conf' does not exist"*"'allow kilnbr'"* ]]
  [[ "$output" == *'1 packets received'* ]]
  run "$KILN" run --network tap,bridge=none-such tiny
  [ "$status" = 1 ]
  [[ "$output" == *"no bridge 'none-such' on this host"*'ip link add'* ]]
  run "$KILN" run --network tap,bridge=none-such --ssh tiny
  [ "$status" = 2 ]
  [[ "$output" == *'give --network user, too'* ]]
}

@test "options from settings files; the command line wins, lists add up" {
  mkdir -p config/kiln
  printf '%s\n' 'cpus = 1' 'memory = "200M"' 'ssh-user = "alice"' 'publish-all = true' >config/kiln/config.toml
  printf '%s\n' 'memory = 300 # MB' 'ssh_port = 18090' 'ssh = true' 'detach = true' "qemu-args = ['-no-hpet']" \
    '[create]' "publish = ['18081:81']" 'publish-all = false' '[start]' 'cpus = 99' >kiln.toml
  XDG_CONFIG_HOME=$PWD/config "$KILN" create --config kiln.toml --name conf --ssh-port 18091 -p 18082:82 tiny -- -no-reboot
  "$KILN" ls --json | python3 -c 'import json, sys
spec = next(v["spec"] for v in json.load(sys.stdin) if v["name"] == "conf")
assert (spec["cpus"], spec["memory_mb"], spec["ssh"]["user"], spec["ssh"]["port"]) == (1, 300, "alice", 18091), spec
assert spec["session"] == "ssh" and spec["qemu_args"] == ["-no-hpet", "-no-reboot"], spec
assert [f["host_port"] for f in spec["nics"][0]["forwards"]] == [18081, 18082], spec'
  "$KILN" rm conf
  echo 'memroy = 1' >kiln.toml
  run "$KILN" run --config kiln.toml tiny
  [ "$status" = 1 ]
  [[ "$output" == *"kiln.toml:1:1: error: key 'memroy': unknown option"*"did you mean 'memory'?"* ]]
  printf '%s\n' 'cpus = 1' 'rm = "yes"' >kiln.toml
  run "$KILN" run --config kiln.toml tiny
  [[ "$output" == *"kiln.toml:2:1: error: key 'rm': needs true or false"* ]]
  echo 'cpus = 1.5' >kiln.toml
  run "$KILN" start --config kiln.toml none
  [[ "$output" == *"kiln.toml:1:8: error: floating-point numbers are not supported"* ]]
  run "$KILN" create --config none.toml tiny
  [ "$status" = 1 ]
  # types that an option does not have
  local line
  for line in 'ssh-user = 5' 'ssh-port = "x"' 'kernel = 1' 'memory = true'; do
    echo "$line" >types.toml
    run "$KILN" create --config types.toml --name none tiny
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"types.toml:1:"*" needs "* ]]
  done
}

@test "what does not go together is an error before anything starts" {
  run "$KILN" run tiny --network none --ssh
  [ "$status" = 2 ]
  [[ "$output" == *"SSH needs a network"* ]]
  run "$KILN" run -d tiny true
  [ "$status" = 2 ]
  [[ "$output" == *"--detach and a command do not go together"*"'kiln exec'"* ]]
  run "$KILN" run --ssh-command true tiny true
  [ "$status" = 2 ]
  run "$KILN" run -it tiny sh </dev/null
  [ "$status" = 2 ]
  [[ "$output" == *"standard input is not a terminal"* ]]
  run "$KILN" run tiny --initrd initrd.img
  [ "$status" = 2 ]
  [[ "$output" == *"--initrd: needs --kernel"* ]]
  run "$KILN" run tiny --disk-size 1M
  [ "$status" = 1 ]
  [[ "$output" == *"a disk of 1.00 MiB is too small: the image's has 96.00 MiB"* ]]
  run "$KILN" run tiny --disk-size 9T
  [ "$status" = 2 ]
  [[ "$output" == *"--disk-size: at most 8T"* ]]
  run "$KILN" run tiny --cpus 256
  [ "$status" = 2 ]
  [[ "$output" == *"not a whole number from 1 to 255"* ]]
  run "$KILN" run -P --network tap,bridge=none-such --serial tiny
  [ "$status" -le 2 ]
  run "$KILN" run -v ./none:/x tiny
  [ "$status" = 1 ]
  [[ "$output" == *"argument --volume: cannot open './none'"* ]]
  run "$KILN" run --volume /tmp:relative tiny
  [ "$status" = 2 ]
  [[ "$output" == *"'/tmp:relative' is not FOLDER:/GUEST[:ro]"*"-v ./src:/src"* ]]
  run "$KILN" run tiny --disk-bus floppy
  [ "$status" = 2 ]
  [[ "$output" == *"'floppy' is not virtio, scsi or ide"* ]]
}
