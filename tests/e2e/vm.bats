#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# kiln create, start, stop, rm and ls: VMs that keep their disks.
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
  boot=(-- -kernel "$PWD/vmlinuz" -initrd "$PWD/initrd.img"
    -append "console=ttyS0 quiet panic=1 net.ifnames=0 mitigations=off")
  store=$KILN_HOME/vmstore
}

teardown() {
  "$KILN" rm --force web >/dev/null 2>&1 || true
}

# Waits until the VM "web" runs and its guest has written LINE to the console.
until_said() {
  local tries=900
  until grep -q -- "$1" console 2>/dev/null || [ $((tries -= 1)) = 0 ]; do sleep 0.1; done
  grep -q -- "$1" console
}

@test "a VM keeps what its guest writes, from one start to the next, without its image" {
  qemu-img create -q -f qcow2 "$KILN_HOME/backend/data" 10M
  run "$KILN" create --name web tiny --memory 256M --extra-image data --ssh-user root \
    --ssh-command 'cat /srv/mark; head -c 5 /dev/vdb' "${boot[@]}"
  [ "$status" = 0 ]
  [ "$output" = "Created VM 'web'" ]
  [ "$(stat -c %s "$store/web/disk.qcow2")" -lt 300000 ]
  # what is given now goes before what it was created with
  timeout 120 "$KILN" start web --ssh-command \
    'echo kept >/srv/mark; printf extra | dd of=/dev/vdb; sync; grep MemTotal /proc/meminfo' >first
  [ "$(sed 's/[^0-9]//g' first)" -lt 262144 ]
  "$KILN" ls --json | python3 -c 'import json, sys
vm, = json.load(sys.stdin)
assert vm["name"] == "web" and vm["image"] == "tiny" and vm["state"] == "stopped", vm
assert vm["extra_images"] == ["data"], vm
assert vm["virtual_size"] == 96 << 20 and vm["spec"]["memory_mb"] == 256, vm'
  "$KILN" system df --json | python3 -c 'import json, sys
df = json.load(sys.stdin)
assert df["vms"] == 1 and df["vm_bytes"] > 0 and df["needed_bytes"] > 10 << 20, df'
  "$KILN" ls | grep -q ' web *tiny, data *stopped '
  run "$KILN" start web --extra-image data
  [ "$status" = 2 ]
  [[ "$output" == *"run and create take --extra-image"* ]]
  run "$KILN" image rm data
  [ "$status" = 1 ]
  [[ "$output" == *"image 'data' is in use by VM 'web'"* ]]
  "$KILN" image rm --force tiny data
  "$KILN" prune --all
  run --separate-stderr timeout 120 "$KILN" start web
  cp "$store/web/disk.qcow2" web.qcow2
  qemu-img check -q -f qcow2 "$store/web/disk.qcow2"
  qemu-img convert -f raw -O qcow2 disk.raw "$KILN_HOME/backend/tiny"
  [ "$status" = 0 ]
  [ "$output" = $'kept\nextra' ]
  "$KILN" rm web
  [ ! -e "$store/web" ]
}

@test "stop powers the guest off; a VM that runs is not started, removed or pruned" {
  "$KILN" create --name web tiny "${boot[@]}"
  mkfifo keys
  timeout 120 "$KILN" start web <keys >console 3>&- &
  pid=$!
  exec 7>keys
  until_said 'login:'
  run "$KILN" start web
  [ "$status" = 1 ]
  [[ "$output" == *"error: VM 'web' is running"*"'kiln stop web' ends it"* ]]
  run "$KILN" rm web
  [ "$status" = 1 ]
  [[ "$output" == *"VM 'web' is running"* ]]
  run "$KILN" ls
  [[ "${lines[0]}" == " NAME  IMAGE  STATE     VIRT SIZE   REAL SIZE" ]]
  [[ "${lines[1]}" =~ ^\ web\ \ \ tiny\ \ \ running\ +96\.00\ MiB\ +[0-9.]+\ [KM]iB$ ]]
  run "$KILN" image rm tiny
  [ "$status" = 1 ]
  [[ "$output" == *"image 'tiny' is in use by"* ]]
  "$KILN" stop web
  grep -q 'Power down' console # and not just ended
  exec 7>&-
  wait "$pid" || true
  "$KILN" ls | grep -q ' stopped '
  run "$KILN" stop web
  [ "$status" = 1 ]
  [ "$output" = "error: VM 'web' is not running" ]
  rm keys console
}

@test "a published port leads to the guest, also for a VM that kiln 0.1 created" {
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  "$KILN" create --name web tiny
  python3 - "$store/web/vm.json" "$PWD" <<'END'
import json, sys
path, here = sys.argv[1:]
with open(path) as f:
    vm = json.load(f)
del vm["spec"]
vm["options"] = ["--memory=256M", "--ssh-command=grep MemTotal /proc/meminfo; echo hello | nc -l -p 80"]
vm["qemu_args"] = ["-kernel", here + "/vmlinuz", "-initrd", here + "/initrd.img", "-append",
                   "console=ttyS0 quiet panic=1 net.ifnames=0 mitigations=off"]
with open(path, "w") as f:
    json.dump(vm, f)
END
  timeout 120 "$KILN" start web --ssh-user root -p "$port:80" >console 3>&- &
  pid=$!
  until_said MemTotal
  # QEMU accepts for the guest and closes again as long as nobody listens there
  python3 - "$port" <<'END' >got
import socket, sys, time
for _ in range(100):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10) as s:
        said = s.recv(100)
    if said:
        break
    time.sleep(0.1)
print(said.decode(), end="")
END
  wait "$pid"
  [ "$(cat got)" = hello ]
  [ "$(sed 's/[^0-9]//g' console)" -lt 262144 ]
  rm console
}

@test "stop kills what does not power off, and the VM can be started again at once" {
  "$KILN" create --name web tiny -- -kernel "$PWD/vmlinuz" -append 'console=ttyS0 panic=0'
  for how in '--timeout 0' --kill; do
    "$KILN" start -d web 3>&-
    timeout 120 sh -c 'until "$KILN" logs web | grep -q "end Kernel panic"; do sleep 0.1; done'
    # shellcheck disable=SC2086  # two words
    run "$KILN" stop $how web
    [ "$status" = 0 ]
    [ "$how" = --kill ] || [[ $output == *"VM 'web' did not end in time: killing it" ]]
    [ -z "$(pgrep -f "$store/web/disk.qcow2" || true)" ]
  done
}

@test "stop --kill and rm --force leave the terminal of a VM as it was" {
  for how in 'stop --kill' 'rm --force'; do
    "$KILN" create --name web tiny "${boot[@]}"
    # shellcheck disable=SC2086  # two words
    timeout 60 python3 - "$KILN" $how <<'END'
import os, pty, subprocess, sys, termios
kiln, how = sys.argv[1], sys.argv[2:]
ours, theirs = pty.openpty()
before = termios.tcgetattr(theirs)
vm = subprocess.Popen([kiln, "start", "web"], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
seen = b""
while b"Booting" not in seen or termios.tcgetattr(theirs) == before:
    seen += os.read(vm.stdout.fileno(), 4096) if b"Booting" not in seen else b""
subprocess.run([kiln, *how, "web"], check=True)
assert vm.wait() == 128 + 3, vm.returncode
assert termios.tcgetattr(theirs) == before
END
    "$KILN" rm --force web || true
  done
}

@test "any text is the name of a VM" {
  local odd=$'web: my vm/Größe, $(touch hit) %2F "1"'
  "$KILN" create --name "$odd" --ssh-command 'echo one >/srv/one' tiny "${boot[@]}"
  [ "$("$KILN" ls -q)" = "$odd" ]
  [ "$(ls "$store")" = 'web%3A%20my%20vm%2FGr%C3%B6%C3%9Fe%2C%20%24%28touch%20hit%29%20%252F%20%221%22' ]
  run "$KILN" image rm tiny
  [[ "$output" == *"is in use by VM '$odd'"* ]]
  "$KILN" start -d "$odd"
  "$KILN" exec --wait 200 "$odd" sh -c 'echo two >/srv/two'
  "$KILN" cp "$odd:/srv/two" two
  [ "$(cat two)" = two ]
  [ "$("$KILN" ssh "$odd" cat /srv/two)" = two ]
  [ "$("$KILN" ps --json | jq -r '.[].name')" = "$odd" ]
  "$KILN" logs "$odd" | grep -q .
  [ "$("$KILN" status "$odd")" = running ]
  # completion quotes it, and runs nothing
  mkdir -p bin
  ln -sf "$KILN" bin/kiln
  PATH=$PWD/bin:$PATH bash -c 'eval "$(kiln completion bash)"; COMP_WORDS=(kiln stop web) COMP_CWORD=2
    _kiln kiln web stop; [ "${#COMPREPLY[@]}" = 1 ]; eval "words=(${COMPREPLY[0]})"; [ "${words[0]}" = "$1" ]' - "$odd"
  [ ! -e hit ]
  "$KILN" stop --kill "$odd"
  "$KILN" rename "$odd" 'second one'
  "$KILN" commit 'second one' of-odd
  run "$KILN" start 'second one' --timeout x
  [ "$status" = 2 ]
  "$KILN" rm 'second one'
  [ -z "$("$KILN" ls -q)" ]
  "$KILN" image rm of-odd
}

@test "the VM's image and layers stay; names and mistakes" {
  "$KILN" create tiny
  run "$KILN" create --name tiny tiny
  [ "$status" = 1 ]
  [[ "$output" == *"VM 'tiny' exists"*"--name"* ]]
  # without --name, a number makes the name another's
  run "$KILN" create tiny
  [ "$status" = 0 ]
  [[ "$output" =~ ^"Created VM '"(tiny-[0-9a-f]{4})"'"$ ]]
  "$KILN" rm "${BASH_REMATCH[1]}"
  run "$KILN" image rm tiny
  [ "$status" = 1 ]
  [[ "$output" == *"image 'tiny' is in use by VM 'tiny'"*"'kiln rm' removes a VM"* ]]
  run "$KILN" create -v --name second tiny
  [[ "$output" == *"image 'tiny': layer "*"VM 'second': 1 disk in '$store/second'"* ]]
  run -0 "$KILN" -vv create --name third tiny # and what it will run as
  [[ "$output" == *'"memory_mb": '*"VM 'third': 1 disk in '$store/third'"* ]]
  "$KILN" rm third
  run "$KILN" image rm tiny
  [[ "$output" == *"in use by VMs 'tiny', 'second'"* || "$output" == *"in use by VMs 'second', 'tiny'"* ]]
  "$KILN" delete tiny second
  "$KILN" image tag tiny other
  "$KILN" image rm other
  run "$KILN" create --name ../x tiny
  [[ "$output" == *"'../x' can't be the name of a VM: it begins with '.'"* ]]
  local name
  for name in '' .. -x $'a\nb' $'\xff' "$(printf '%129s' x)" "$(printf 'ä%.0s' {1..50})"; do
    run "$KILN" create "--name=$name" tiny
    [ "$status" = 1 ]
    [[ "$output" == *"can't be the name of a VM"* ]]
  done
  [ "$("$KILN" ls -q)" = "" ]
  # one that cannot be read
  "$KILN" create --name cut tiny
  printf '{' >"$store/cut/vm.json"
  "$KILN" ls | grep -q ' cut *- *broken .*(.*vm.json'
  for name in "start cut" "rm cut"; do
    run "$KILN" $name
    [ "$status" = 1 ]
    [[ "$output" == *"VM 'cut': '$store/cut/vm.json'"*"'kiln rm --force cut' removes it"* ]]
  done
  "$KILN" rm --force cut
  "$KILN" create --name cut tiny
  rm "$store/cut/disk.qcow2"
  run "$KILN" start cut
  [ "$status" = 1 ]
  [[ "$output" == *"the disk of VM 'cut' is missing: '$store/cut/disk.qcow2'"*"'kiln rm cut' removes what is left"* ]]
  "$KILN" rm cut
  [ "$("$KILN" ls -q)" = "" ]
  run "$KILN" create nosuch
  [ "$status" = 1 ]
  [[ "$output" == *"unable to find image 'nosuch'"* ]]
  run "$KILN" create tiny --memory 1
  [ "$status" = 2 ]
  for command in start stop rm; do
    run "$KILN" $command nosuch
    [ "$status" = 1 ]
    [[ "$output" == *"no VM 'nosuch'"* ]]
  done
  run "$KILN" create tiny --name p -p 80
  [ "$status" = 2 ]
  [[ "$output" == *"'80' is not [ADDRESS:]PORT:GUEST-PORT"* ]]
  # as any image source
  "$KILN" create --name web "fetched,file=disk.raw"
  qemu-img compare -q "$store/web/disk.qcow2" disk.raw
  [ "$("$KILN" ls | wc -l)" = 2 ]
  # what can be removed is removed
  run "$KILN" rm nosuch web nosuch2
  [ "$status" = 1 ]
  [[ "$output" == *"no VM 'nosuch'"*"no VM 'nosuch2'"* ]]
  [ "$(find "$store" -mindepth 1 -maxdepth 1 | wc -l)" = 1 ] # .working
  [ -z "$(ls -A "$store/.working")" ]
}
