#!/usr/bin/env bats
# kiln run, doctor and ssh-key. The guest is examples/tiny's file system and kernel, put together without
# a build, so that this file tests only what runs images.

bats_require_minimum_version 1.5.0
load common

setup_file() {
  export KILN_HOME="$BATS_FILE_TMPDIR/home" KILN_ACCEL=tcg TMPDIR="$BATS_FILE_TMPDIR/tmp"
  unset SSH_AUTH_SOCK
  mkdir -p "$TMPDIR"
  cd "$BATS_FILE_TMPDIR"
  make_tiny
  sha256sum "$KILN_HOME/backend/tiny" >sums
}

setup() {
  cd "$BATS_FILE_TMPDIR"
  boot=(-- -kernel vmlinuz -initrd initrd.img
    -append "console=ttyS0 quiet panic=1 net.ifnames=0 mitigations=off")
}

# Nothing of a run may be left: no temporary file, no changed image.
clean() {
  [ -z "$(ls -A "$TMPDIR")" ]
  sha256sum --quiet -c sums
}

# type_at PROMPT LINE: types the line once the prompt is there.
type_at() {
  local tries=600
  until grep -q -- "$1" console || [ $((tries -= 1)) = 0 ]; do
    kill -0 "$pid" || return 1
    sleep 0.1
  done
  echo "$2" >&7
}

@test "a command runs over SSH with stdin, stdout and its exit status" {
  # a command wins over a console
  run --separate-stderr timeout 120 "$KILN" run tiny --ssh-console --ssh-command \
    'cat; hostname; touch /home/vagrant/mark; echo oops >&2; exit 7' "${boot[@]}" <<<"from stdin"
  echo "$output / $stderr"
  [ "$status" = 7 ]
  [ "${lines[0]}" = "from stdin" ]
  [ "${lines[1]}" = tiny ]
  [ "${#lines[@]}" = 2 ]
  [[ "$stderr" == *"Booting (TCG), waiting for SSH"* ]]
  [[ "$stderr" == *oops* ]]
  clean
}

@test "the serial console is ours, and ends when the guest powers off" {
  mkfifo keys
  timeout 120 "$KILN" run tiny "${boot[@]}" <keys >console &
  pid=$!
  exec 7>keys
  type_at 'login:' root
  type_at '\(~\|/root\) #' poweroff
  exec 7>&-
  wait "$pid"
  head -1 console | grep -q '^Booting (TCG)$'
  grep -q 'Power down' console
  clean
}

@test "a script on the stdin of a shell over SSH is run without a terminal, and its end ends the shell" {
  # the image comes as a containerDisk, pushed and pulled again
  "$KILN" image push --format containerdisk tiny oci-layout:cd:1
  run --separate-stderr timeout 200 "$KILN" run oci-layout:cd:1 --ssh "${boot[@]}" <<<'echo hi; tty; (exit 5)'
  echo "$output / $stderr"
  [ "$status" = 5 ]
  [ "$output" = $'Booting (TCG), waiting for SSH\nhi\nnot a tty' ]
  "$KILN" image rm "oci-layout:$PWD/cd:1"
  clean
}

@test "a reader of stdout that has gone ends the VM" {
  for how in --ssh-command=yes --cpus=1; do # over SSH, and over the serial console
    set +o pipefail
    timeout 200 "$KILN" run tiny "$how" "${boot[@]}" 2>said </dev/null | head -c 6 >/dev/null
    status=${PIPESTATUS[0]}
    set -o pipefail
    cat said
    [ "$status" = 141 ]
    if grep -q interrupted said; then return 1; fi
    clean
  done
}

@test "a stdout that cannot be written to ends the VM" {
  for how in '--ssh-command=echo x' --cpus=1; do
    run timeout 200 bash -c '"$KILN" run tiny "$@" >/dev/full </dev/null' - "$how" "${boot[@]}"
    echo "$status $output"
    [ "$status" = 1 ]
    [[ $output == *'error: cannot write to standard output: No space left on device' ]]
    clean
  done
}

@test "QEMU's answer to an option is no failure; a port that is taken is named" {
  run "$KILN" run tiny -- -version
  [ "$status" = 0 ]
  [[ "$output" == *"QEMU emulator version"* ]]
  run "$KILN" run tiny --ssh -- -device help
  [ "$status" = 0 ]
  coproc python3 -c 'import socket
s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True); input()'
  read -r port <&"${COPROC[0]}"
  run "$KILN" run tiny --ssh-port "$port" --ssh
  echo >&"${COPROC[1]}"
  [ "$status" = 1 ]
  [[ "$output" == *"error: cannot use port $port of 127.0.0.1: Address already in use"*"--ssh-port"* ]]
  clean
}

@test "SIGTERM and SIGKILL leave neither QEMU nor a file behind" {
  for signal in TERM KILL; do
    "$KILN" run tiny --ssh-command true "${boot[@]}" >/dev/null 2>&1 3>&- &
    pid=$!
    tries=100
    until qemu=$(pgrep -P "$pid") || [ $((tries -= 1)) = 0 ]; do sleep 0.1; done
    kill -s "$signal" "$pid"
    wait "$pid" || true
    tries=50
    # a zombie is nobody's process any more: its parent has yet to look
    while state=$(ps -o stat= -p "$qemu") && [[ "$state" != Z* ]] && [ $((tries -= 1)) != 0 ]; do
      sleep 0.1
    done
    [[ -z "$state" || "$state" == Z* ]]
    clean
  done
}

@test "a guest that panics is told in time, with its last console lines" {
  run timeout 90 "$KILN" run tiny --ssh-timeout 80 --ssh-command true -- \
    -kernel vmlinuz -append "console=ttyS0 earlyprintk=ttyS0 panic=0"
  echo "$output"
  [ "$status" = 125 ]
  [[ "$output" == *"error: the guest's kernel panicked"*"last lines of its console:"* ]]
  clean
}

@test "mistakes give one clear error" {
  run "$KILN" run nope
  [ "$status" = 1 ]
  [[ "$output" == *"unable to find image 'nope'"* ]]
  run "$KILN" run tiny --foo
  [ "$status" = 2 ]
  [[ "$output" == *"error: unrecognized arguments: --foo"* ]]
  run "$KILN" shell -v /tmp:/mnt tiny
  [ "$status" = 2 ]
  [[ "$output" == *"hint: -v means --verbose here"* ]]
  run "$KILN" run tiny -- -device nonsense
  [ "$status" = 1 ]
  [[ "$output" == *"'nonsense' is not a valid device model name"* ]]
  run "$KILN" run tiny --qemu-bin-name no-such-qemu
  [ "$status" = 1 ]
  [[ "$output" == *"hint: apt-get install qemu-system-x86"* ]]
  KILN_ACCEL=fast run "$KILN" run tiny
  [ "$status" = 2 ]
  [[ "$output" == *"KILN_ACCEL: 'fast' is not one of auto, kvm, tcg"* ]]
  clean
}

@test "doctor names what is there and what is missing" {
  run "$KILN" doctor
  echo "$output"
  [ "$status" = 0 ]
  [[ "$output" == *"ok       qemu "* ]]
  KILN_QEMU=no-such-qemu run "$KILN" doctor
  [ "$status" = 1 ]
  [[ "$output" == *"failed   qemu        QEMU ('no-such-qemu') was not found"* ]]
  "$KILN" doctor --json | python3 -c 'import json, sys
d = {f["check"]: f for f in json.load(sys.stdin)}
assert set(d) == {"qemu", "qemu-img", "kvm", "kernel", "backend", "cache", "libguestfs", "network"}, d'
}

@test "doctor: whatever is missing, it says what to do" {
  printf '#!/bin/sh\necho QEMU emulator version 5.2.0\n' >old-qemu
  chmod +x old-qemu
  KILN_QEMU=$PWD/old-qemu KILN_KERNEL=/no/such run "$KILN" doctor
  [ "$status" = 1 ]
  [[ "$output" == *"failed   qemu        QEMU 5.2.0"*"is too old"*"kiln needs QEMU 6.2 or newer"* ]]
  [[ "$output" == *"failed   kernel      KILN_KERNEL: cannot read kernel '/no/such'"* ]]
  unshare -rmn true || skip "no user namespaces here to make a host that lacks everything"
  mkdir -p bare
  # shellcheck disable=SC2016 # the inner shell expands
  KILN_HOME=$PWD/bare run unshare -rmn sh -c 'mount -t tmpfs -o size=4M none /boot
    mount -t tmpfs -o size=4M none "$KILN_HOME"
    [ ! -e /dev/kvm ] || mount --bind /dev/null /dev/kvm
    mount --bind /dev/null "$(readlink -f "$(command -v qemu-img)")"
    for lib in /usr/lib/*/libguestfs.so.0; do mount --bind /dev/null "$(readlink -f "$lib")"; done
    unset https_proxy HTTPS_PROXY http_proxy ALL_PROXY
    "$KILN" doctor'
  echo "$output"
  [ "$status" = 1 ]
  [[ "$output" == *"failed   qemu-img    qemu-img was not found"*"apt-get install qemu-utils"* ]]
  [[ "$output" == *"warning  kvm         "*"builds work without it (TCG)"* ]]
  [[ "$output" == *"warning  kernel      no kernel with modules in /boot"*"apt-get install linux-image"* ]]
  [[ "$output" == *"failed   backend     only "*" free for"*"'kiln prune' frees"* ]]
  [[ "$output" == *"warning  libguestfs  not installed; only NTFS, LUKS and inspect --deep need it"* ]]
  [[ "$output" == *"warning  network     no default route"*"/etc/resolv.conf"* ]]
  # shellcheck disable=SC2016
  KILN_HOME=$PWD/bare run unshare -rmn sh -c 'mount -t tmpfs -o ro none "$KILN_HOME"; "$KILN" doctor'
  [ "$status" = 1 ]
  [[ "$output" == *"failed   backend     '"*"' may not be written"*"choose another folder with KILN_HOME"* ]]
}

@test "doctor: a kernel that only root may read" {
  [ "$(id -u)" = 0 ] || skip "needs root, to be another user"
  mkdir -p -m 777 nobodys
  chmod 755 "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR"
  cp "$KILN" nobodys/kiln
  # shellcheck disable=SC2016
  KILN_HOME=$PWD/nobodys run unshare -m sh -c 'mount -t tmpfs none /boot
    touch /boot/vmlinuz-6.1.0-test; chmod 600 /boot/vmlinuz-6.1.0-test
    setpriv --reuid 65534 --regid 65534 --clear-groups "$KILN_HOME/kiln" doctor'
  echo "$output"
  [[ "$output" == *"warning  kernel      the kernels in /boot are readable by root only"*"chmod 0644 /boot/vmlinuz-"* ]]
}

@test "ssh-key prints the same key every time" {
  one=$("$KILN" ssh-key)
  [ "$one" = "$("$KILN" ssh-key)" ]
  [ "$one" = "$(cat "$KILN_HOME/ssh/id_ed25519.pub")" ]
  [ "$(stat -c %a "$KILN_HOME/ssh/id_ed25519")" = 600 ]
}
