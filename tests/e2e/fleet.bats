#!/usr/bin/env bats
# VMFiles: up, down, reload, provision, status, with real VMs of examples/tiny. The tests are of one
# run: each begins where the one before has ended.
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HOME=$BATS_FILE_TMPDIR/home
  share_appliance "$KILN_HOME"
  cd "$BATS_FILE_TMPDIR"
  make_tiny >/dev/null
  cp -r "$BATS_TEST_DIRNAME/../../examples/fleet" lab
  cd lab
  # tiny's disk is put together without a boot loader here, and 8080 may be taken
  boot="qemu-args \"-kernel\" \"$BATS_FILE_TMPDIR/vmlinuz\" \"-initrd\" \"$BATS_FILE_TMPDIR/initrd.img\" \"-append\" \"console=ttyS0 panic=1 net.ifnames=0 mitigations=off\""
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  sed -i "s|image \"tiny\"|image \"tiny\"; $boot|; s|8080|$port|" VMFile.kdl
  export port boot
}
setup() {
  load common
  cd "$BATS_FILE_TMPDIR/lab"
}
teardown_file() {
  "$KILN" ps -q | while read -r name; do "$KILN" stop --kill "$name"; done
  load common
  no_leftovers "$KILN_HOME"
}

@test "mistakes are reported together, and nothing is done" {
  mkdir -p ../bad
  cd ../bad
  printf '%s\n' 'vm "a" { imgae "tiny"; memory 1x }' 'vm "a b" { image "tiny"; after "c"; }' >VMFile.kdl
  run "$KILN" up
  [ "$status" = 1 ]
  [[ $output == *"VMFile.kdl:1:10: error: there is no 'imgae' in a vm"*"did you mean 'image'?"* ]]
  [[ $output == *"1:31: error: '1x' is not a number"*"2:4: error: 'a b' can't be the name of a VM"* ]]
  [[ $output == *"2:32: error: there is no VM 'c' in this file"* ]]
  [ -z "$("$KILN" ls -q 2>/dev/null)" ]
  cd ..
  run "$KILN" up
  [ "$status" = 1 ]
  [[ $output == *"'VMFile.kdl' does not exist"*"--file"* ]]
  run "$KILN" up --file lab/VMFile.kdl wbe
  [[ $output == *"no VM 'wbe'"*"did you mean 'web'?"* ]]
}

@test "a VMFile that is none is refused at once" {
  mkdir -p ../odd/folder
  cd ../odd
  refused() { # WHY FILE
    run timeout -k 1 60 "$KILN" up --file "$2"
    [ "$status" = 1 ]
    [[ $output == *"$1"* ]]
    [ "$(grep -c error: <<<"$output")" = 1 ]
  }
  mkfifo pipe
  refused "'pipe' is not a regular file" pipe
  refused "hint: name the file itself, such as 'folder/VMFile.kdl'" folder
  refused "'/dev/zero' is not a regular file" /dev/zero
  printf 'vm "a\0" { imag "tiny"; }' >nul.kdl
  refused "nul.kdl:1:6: error: the character U+0000 must not be here" nul.kdl
  python3 -c 'open("utf16.kdl", "wb").write("vm \"a\" { image \"tiny\"; }".encode("utf-16"))'
  refused "utf16.kdl:1:1: error: the file is UTF-16" utf16.kdl
  echo 'vm "a" { image "tiny"; cloud-init { user-data "pipe"; }; }' >pipe.kdl
  refused "/odd/pipe' is not a regular file" pipe.kdl
  python3 -c 'print("{ " * 100000)' >deep.kdl
  run timeout -k 1 60 "$KILN" up --file deep.kdl
  [ "$status" = 1 ]
  python3 -c 'print("vm \"a\" { image \"" + 10**7 * "x" + "\"; }")' >long.kdl
  refused "invalid image name 'xxx" long.kdl
  [ "${#output}" -lt 1000 ]
  [ -z "$("$KILN" ls -q)" ]
}

@test "a file of 100000 nodes, most of them wrong, is read in a moment" {
  python3 -c 'print("vm \"a\" { image \"tiny\"; }"); [print(f"vm \"x{i}\" {{ imag \"tiny\"; }}") for i in range(100000)]' >../many.kdl
  run timeout 60 "$KILN" up --file ../many.kdl
  [ "$status" = 1 ]
  [[ $output == *"there is no 'imag' in a vm"*"more mistakes"* ]]
  # 10 MB, and nothing wrong with them
  python3 -c 'print("vm \"a\" { image \"tiny\"\n" + 100000 * ("qemu-args \"" + 90 * "x" + "\"\n") + "}")' >../large.kdl
  run timeout 60 "$KILN" up --explain --file ../large.kdl
  [ "$status" = 0 ]
  [ "$output" = "a | would be made from 'tiny' and started" ]
}

@test "up --explain tells, up makes, starts and provisions in order; the VMs reach each other" {
  run "$KILN" up --explain
  [ "$status" = 0 ]
  [[ $output == *"db  | would be made from 'tiny' and started"*"web | would be provisioned: 2 steps"* ]]
  for words in 'logs db' 'ssh db' 'exec db true' 'start db' 'restart db' 'status db' 'console db' 'cp db:/x .'; do
    # shellcheck disable=SC2086
    run "$KILN" $words
    [ "$status" = 1 ]
    [[ $output == *"no VM 'db' in "*"hint: VMFile.kdl has it: 'kiln up db' makes and starts it"* ]]
  done
  run "$KILN" status
  [ "$status" = 3 ]
  [[ $output == *"absent"* ]]
  run timeout 300 "$KILN" up
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"db  | created from 'tiny'"*"db  | is up"*"web | created"*"web | is up"* ]]
  [ "$(curl -sS --retry 20 --retry-all-errors --max-time 60 "http://127.0.0.1:$port/")" = "greeting: hello from db" ]
  run "$KILN" exec db ping -c 1 web
  [ "$status" = 0 ]
  "$KILN" status --json | python3 -c '
import json, sys
vms = json.load(sys.stdin)
assert [(v["name"], v["state"], v["provisioned"], v["changes"]) for v in vms] == [("db", "running", True, ""), ("web", "running", True, "")], vms'
}

@test "what runs is left alone; what has changed is said" {
  run "$KILN" up
  [ "$status" = 0 ]
  [ "$output" = $'db  | running, unchanged\nweb | running, unchanged' ]
  # what is written above them changes no address
  cp VMFile.kdl Good.kdl
  { echo 'vm "new" { image "tiny"; network "lab"; }'; cat Good.kdl; } >VMFile.kdl
  run "$KILN" up db web
  cp Good.kdl VMFile.kdl
  [ "$output" = $'db  | running, unchanged\nweb | running, unchanged' ]
  sed -i '/web/,$s/memory 128/memory 192/; s/"shell" {/"shell" { \/\/ twice/; s/hello from/good day from/' VMFile.kdl
  run "$KILN" up
  [ "$status" = 0 ]
  [[ $output == *"db  | running; changed: provision; 'kiln provision db' runs it"* ]]
  [[ $output == *"web | running; changed: memory 128 → 192; 'kiln down web', then 'kiln up web' applies it"* ]]
  "$KILN" suspend web
  for words in up "up --explain" provision; do
    # shellcheck disable=SC2086
    run "$KILN" $words web
    [ "$status" = 1 ]
    [[ $output == *"error: VM 'web' is suspended"*"hint: 'kiln resume web' lets it go on"* ]]
  done
  run "$KILN" status
  [ "$status" = 3 ]
  [[ $output == *"web  "*paused* ]]
  "$KILN" resume web
}

@test "a guest that boots again by itself is in its networks still" {
  local old
  old=$("$KILN" exec db cat /proc/sys/kernel/random/boot_id)
  "$KILN" exec db reboot
  until now=$(timeout 60 "$KILN" exec db cat /proc/sys/kernel/random/boot_id) && [ "$now" != "$old" ]; do :; done
  # its init runs what kiln has left there
  "$KILN" exec db sh -c 'until ip addr | grep -q "inet 10\."; do usleep 100000; done; timeout 30 ping -c 1 web'
  "$KILN" exec web ping -c 1 db
  "$KILN" provision db # what the others wait for
}

@test "ssh without a name, logs of the provisions, a provision that fails" {
  run "$KILN" ssh
  [ "$status" = 2 ]
  [[ $output == *"which VM?"*"has 2"* ]]
  [ "$("$KILN" ssh --name web cat /sys/class/net/lo/operstate)" = unknown ]
  [[ $("$KILN" log web --provision) == *"Provision 2/2: (while true"* ]]
  sed 's|inline "(while.*|inline "echo to stderr >\&2; exit 7"|' VMFile.kdl >Failing.kdl
  # the same VMs, by the name of the same file
  cp VMFile.kdl Good.kdl && cp Failing.kdl VMFile.kdl
  run "$KILN" provision web
  cp Good.kdl VMFile.kdl
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"web | to stderr"*"web | VMFile.kdl:"*"error: provision 2 of VM 'web' ended with exit status 7"* ]]
  [[ $("$KILN" logs web --provision -n 1) == "to stderr" ]]
}

@test "a script of a provision lies where nobody else can write, gets no input, and is gone afterwards" {
  "$KILN" exec web sh -c 'mkdir -p /tmp/before; ln -sf /tmp/before/target /tmp/kiln-provision-1.sh; ln -sf /tmp/before/target /tmp/provision-1.sh'
  printf '%s\n' '#!/bin/sh' 'echo "script $0"; stat -c "%a %u" "$0" "${0%/*}"; cat; echo "vm $KILN_VM"; exit 9' >ninth.sh
  sed 's|inline "(while.*|script "ninth.sh"|' VMFile.kdl >Failing.kdl
  cp VMFile.kdl Good.kdl && cp Failing.kdl VMFile.kdl
  run "$KILN" provision web </etc/hostname
  cp Good.kdl VMFile.kdl
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"web | script /tmp/"*$'\nweb | 700 0\nweb | 700 0\nweb | vm web\n'*"provision 2 of VM 'web' ended with exit status 9"* ]]
  local script
  script=$(sed -n 's/.*| script //p' <<<"$output")
  [[ $script =~ ^/tmp/[^/]*\.[A-Za-z0-9]{6,}/ ]]
  "$KILN" exec web sh -c "[ ! -e '${script%/*}' ] && [ ! -e /tmp/before/target ]"
}

@test "up that is terminated ends what it has begun" {
  mkdir -p ../slow
  echo 'vm "slow" { image "tiny"; qemu-args "-S"; ssh { user "root"; }; provision "shell" { inline "true"; }; }' >../slow/VMFile.kdl
  exec 4< <(exec "$KILN" up --file ../slow/VMFile.kdl 2>&1)
  local kiln=$! line='' rest='' ended=0
  until [[ $line == *Booting* ]]; do read -r line <&4; done
  until "$KILN" status slow --json | grep -q '"running"'; do kill -0 "$kiln"; done
  kill -TERM "$kiln"
  rest=$(cat <&4)
  exec 4<&-
  wait "$kiln" || ended=$?
  "$KILN" stop --kill slow || true
  "$KILN" rm slow
  echo "$ended: $rest"
  [ "$ended" = 143 ]
  [[ $rest == *interrupted* && $rest != *"no SSH server answered"* ]]
}

@test "what an up could not finish is said, and done by the next" {
  mkdir -p ../late
  cd ../late
  # it does not begin to run before it is resumed
  cat >VMFile.kdl <<END
vm "late" { image "tiny"; $boot; qemu-args "-S"; memory 128; network "lab"; ssh { user "root"; timeout 1; }; provision { inline "echo here"; }; provision { inline "test -e /root/ok"; }; }
vm "peer" { image "tiny"; network "lab"; }
END
  provisioned() { "$KILN" status --json --name late | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["provisioned"])'; }
  local up=(timeout 300 "$KILN" up --ssh-timeout 200)
  run timeout 100 "$KILN" up late
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"no SSH server answered in 1 s"*"hint: --ssh-timeout waits longer, as does 'timeout' in the ssh block"* ]]
  [[ $("$KILN" status --file VMFile.kdl) == *"late  running    no "*"peer  absent "* ]]
  run "$KILN" up --ssh-timeout 2d late
  [ "$status" = 2 ]
  [[ $output == *"--ssh-timeout: at most a day"* ]]
  run timeout 100 "$KILN" up --no-provision --ssh-timeout 2 late
  [ "$status" = 1 ]
  [[ $output == *"late | running, but its networks are not set up yet"*"'kiln provision late' runs them"*"in 2 s"* ]]
  "$KILN" resume late
  run "${up[@]}" --no-provision late
  [ "$status" = 0 ]
  [[ $output == *"late | is up, without its provisions"* ]]
  [ "$(provisioned)" = False ]
  run "${up[@]}" late
  [ "$status" = 1 ]
  [[ $output == $'late | running, but its provisions have not finished yet\nlate | Provision 1/2'*"provision 2 of VM 'late' ended with exit status 1"* ]]
  [[ $("$KILN" up --explain late) == *"not finished yet"*"would be provisioned: 2 steps"* ]]
  "$KILN" exec late touch /root/ok
  run "${up[@]}" late
  [ "$status" = 0 ]
  [[ $output == *"not finished yet"*"late | Provision 2/2"*"late | is up" ]]
  [ "$("$KILN" up late)" = 'late | running, unchanged' ]
  [ "$(provisioned)" = True ]
  # what a provision of another time has undone
  "$KILN" exec late rm /root/ok
  run "$KILN" provision late
  [ "$status" = 1 ]
  [ "$(provisioned)" = False ]
  "$KILN" stop --kill late
  "$KILN" down --destroy
}

@test "a port of a VMFile that is in use" {
  mkdir -p ../ports
  cd ../ports
  local used
  python3 -c 'import socket, time; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True); time.sleep(300)' >used 3>&- &
  local listener=$!
  until [ -s used ]; do sleep 0.1; done
  used=$(cat used)
  echo "vm \"ports\" { image \"tiny\"; $boot; memory 128; forward $used 80; }" >VMFile.kdl
  # as it is made, and as it is started
  for _ in 1 2; do
    run timeout 100 "$KILN" up
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"cannot use port $used of 127.0.0.1"*"hint: choose another one in its 'forward' in '$PWD/VMFile.kdl'"* ]]
    [[ $output != *--publish* ]]
  done
  kill "$listener"
  "$KILN" down --destroy
}

@test "shares that could not be mounted are said, and mounted by the next up" {
  mkdir -p ../shares/one ../shares/two
  cd ../shares
  cat >VMFile.kdl <<END
vm "shared" { image "tiny"; $boot; memory 128; share "one" "/mnt/1"; share "two" "/etc/group/2"; ssh { user "root"; }; }
END
  run timeout 200 "$KILN" up
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"VM 'shared' is running, but without its folders"*"cannot mount '$PWD/two'"*"in a VMFile ssh { user"* ]]
  [[ $("$KILN" status --file VMFile.kdl) == *"shared  running    no "* ]]
  [ "$("$KILN" up --explain)" = "shared | running, but its shares are not mounted yet" ]
  run timeout 200 "$KILN" up
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"shared | running, but its shares are not mounted yet"*"cannot mount '$PWD/two'"* ]]
  "$KILN" exec shared rm /etc/group
  run timeout 200 "$KILN" up
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"not mounted yet"*"shared | is up" ]]
  echo seen >two/file
  [ "$("$KILN" exec shared cat /etc/group/2/file)" = seen ]
  [ "$("$KILN" exec shared grep -c ' /mnt/1 ' /proc/mounts)" = 1 ]
  [[ $("$KILN" status --file VMFile.kdl) == *"shared  running    yes "* ]]
  [ "$("$KILN" up)" = 'shared | running, unchanged' ]
  "$KILN" stop --kill shared
  "$KILN" down --destroy
}

@test "a VM of another VMFile or of none is not touched" {
  mkdir -p ../other
  cd ../other
  echo 'vm "web" { image "tiny"; }' >VMFile.kdl
  run "$KILN" up
  [ "$status" = 1 ]
  [[ $output == *"VM 'web' is of another VMFile"*lab/VMFile.kdl* ]]
  run "$KILN" down --destroy
  [ "$status" = 1 ]
  [ "$("$KILN" status web)" = running ]
  # a VMFile that cannot be seen may be on a disk that is not mounted
  mv ../lab ../away
  run "$KILN" down --destroy
  [ "$status" = 1 ]
  [[ $output == *"lab/VMFile.kdl', which is not there now"*"hint: if it has become this one, 'kiln up --adopt' takes over what it made"* ]]
  cd ../away
  run "$KILN" up web
  [ "$status" = 1 ]
  timeout 300 "$KILN" up --adopt
  mv ../away ../lab
  cd ../lab
  run "$KILN" up
  [ "$status" = 1 ]
  timeout 300 "$KILN" up --adopt
}

@test "down in the reverse order, and up again with what has changed; two at once" {
  run timeout 100 "$KILN" down
  [ "$status" = 0 ]
  [ "$output" = $'web | stopped\ndb  | stopped' ]
  timeout 300 "$KILN" up >first &
  local other=$!
  run timeout 300 "$KILN" up
  echo "$output"
  [ "$status" = 0 ]
  wait "$other"
  cat first
  [ "$(cat first - <<<"$output" | grep -c 'web | is up')" = 1 ]
  [ "$("$KILN" exec web awk '/MemTotal/ { print ($2 > 150000) }' /proc/meminfo)" = 1 ]
  [ "$("$KILN" exec db hostname)" = tiny ]
  # what was suspended goes on as it was
  "$KILN" exec db touch /run/mark
  "$KILN" suspend --to-disk db
  cp VMFile.kdl Good.kdl
  sed -i '/db/,/web/s/memory 128/memory 160/' VMFile.kdl
  run "$KILN" up db
  cp Good.kdl VMFile.kdl
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"db | suspended; changed: memory 128 → 160; 'kiln down db', then 'kiln up db' applies it"*"db | is up"* ]]
  "$KILN" exec db ls /run/mark
}

@test "reload makes a VM anew but for its volume; a kiln that is killed leaves what up goes on with" {
  "$KILN" exec db touch /root/mark
  exec 4< <(exec "$KILN" reload db)
  local kiln=$! line=
  until [[ $line == *Booting* ]]; do read -r line <&4; done
  kill -9 "$kiln"
  exec 4<&-
  run timeout 300 "$KILN" up db
  echo "$output"
  [ "$status" = 0 ]
  run "$KILN" exec db ls /root/mark
  [ "$status" != 0 ]
  [[ $("$KILN" exec db head -n 1 /dev/vdb) == "greeting: hello from db" ]] # the first provision's
  [ "$("$KILN" status --json db | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])')" = running ]
}

@test "inject and disk: user, key, host name and room before the first boot, without cloud-init" {
  mkdir -p ../inject
  cd ../inject
  cat >VMFile.kdl <<END
vm "grown" { image "tiny"; $boot; memory 128; disk 1; inject { hostname "bee"; }; ssh { user "worker"; }; provision { inline "id -un; hostname"; }; }
vm "kept" { image "tiny"; $boot; memory 128; disk 1 grow=#false; inject; }
vm "small" { image "large.raw"; disk 1; }
END
  truncate -s 2G large.raw
  echo start=2048 | PATH=$PATH:/sbin sfdisk -q --label dos large.raw
  megabytes() { "$KILN" exec "$1" df -m / | awk 'END { print $2 }'; }
  run timeout 500 "$KILN" up grown kept
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *$'grown | worker\ngrown | bee\n'*"grown | is up"* ]]
  [ "$(megabytes grown)" -gt 900 ]
  [ "$("$KILN" exec grown sh -c 'stat -c "%a %U" ~/.ssh ~/.ssh/authorized_keys')" = $'700 worker\n600 worker' ]
  [ "$("$KILN" exec grown sh -c 'cut -d" " -f2 ~/.ssh/authorized_keys')" = "$(ssh-keygen -y -f "$KILN_HOME/vmstore/grown/id_ed25519" | cut -d' ' -f2)" ]
  [ "$("$KILN" exec kept sh -c 'id -un; hostname; cat /sys/class/block/vda/size')" = $'root\nkept\n2097152' ]
  [ "$(megabytes kept)" -lt 100 ]
  run "$KILN" up small
  [ "$status" = 1 ]
  [[ $output == *"small | error: a disk of 1.00 GiB is too small: the image's has 2.00 GiB"* ]]
  [[ $("$KILN" ls -q) != *small* ]]
  sed -i 's/disk 1;/disk 2;/; s/bee/wasp/' VMFile.kdl
  run "$KILN" up grown
  [[ $output == "grown | running; changed: disk 1 → 2, inject user=worker hostname=bee → "*"hostname=wasp; 'kiln reload grown' makes the VM anew" ]]
  run timeout 300 "$KILN" reload grown
  echo "$output"
  [[ $output == *"grown | wasp"* ]]
  [ "$(megabytes grown)" -gt 1800 ]
  "$KILN" down --destroy
}

@test "down --destroy --volumes leaves nothing; the volumes of another VMFile are not touched" {
  "$KILN" down --destroy db
  mkdir -p ../other
  echo 'vm "db" { image "tiny"; volume "data" 1; }' >../other/VMFile.kdl
  for words in up "down --destroy --volumes"; do
    # shellcheck disable=SC2086
    run "$KILN" $words --file ../other/VMFile.kdl
    [ "$status" = 1 ]
    [[ $output == *"the volumes of VM 'db' are of another VMFile, '"*"/lab/VMFile.kdl'"* ]]
  done
  mv VMFile.kdl away.kdl
  echo 'vm "db" { image "tiny"; }' >../other/none.kdl
  "$KILN" down --destroy --volumes --file ../other/none.kdl
  run "$KILN" down --destroy --volumes --file ../other/VMFile.kdl
  [ "$status" = 1 ]
  [[ $output == *"which is not there now"* ]]
  mv away.kdl VMFile.kdl
  [ -e "$KILN_HOME/vmstore/.volumes/db/data.qcow2" ]
  echo 'vm "db" { image "tiny"; }' >../other/VMFile.kdl
  "$KILN" down --destroy --volumes --file ../other/VMFile.kdl
  [ -e "$KILN_HOME/vmstore/.volumes/db/data.qcow2" ]
  run timeout 100 "$KILN" down --destroy --volumes
  echo "$output"
  [ "$status" = 0 ]
  [ -z "$("$KILN" ls -q 2>/dev/null)" ]
  [ -z "$(ls -A "$KILN_HOME/vmstore/.volumes")" ]
}

@test "VMs on a bridge of the host: their addresses, SSH to them, and what QEMU needs to use it" {
  mkdir -p ../bridge
  cd ../bridge
  cat >VMFile.kdl <<END
vm "left" { image "tiny"; $boot; memory 128; network "tap" { bridge "kilnbr"; }; ssh { user "root"; }; provision { inline "touch /run/here"; }; }
vm "right" { image "tiny"; $boot; memory 128; network "tap" bridge="kilnbr"; ssh { user "root"; }; }
END
  cat >inside <<'END'
set -eu
mount -t tmpfs tmpfs /etc/qemu
mount -t tmpfs tmpfs /var/lib/misc
ip link set lo up
refused() { ! timeout 60 "$KILN" up left; }
! "$KILN" run --network tap,bridge=lo tiny
ip link add kilnbr type bridge
ip addr add 10.99.0.1/24 dev kilnbr
ip link set kilnbr up
refused
echo 'allow another' >/etc/qemu/bridge.conf
refused
printf '%s\n' 'allow all' '# no' 'include /etc/qemu/more' >/etc/qemu/bridge.conf
echo 'deny kilnbr' >/etc/qemu/more
refused
echo 'allow kilnbr' >/etc/qemu/bridge.conf
dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --port=0 --interface=kilnbr --bind-interfaces \
  --dhcp-range=10.99.0.100,10.99.0.200 --no-ping --log-facility=/dev/null &
dnsmasq=$!
timeout 200 "$KILN" up
"$KILN" status
timeout 100 sh -c 'until "$KILN" status --json right | grep -q address; do sleep 0.2; done' # nothing waited for its boot
address=$("$KILN" status --json right | python3 -c 'import json, sys; print(json.load(sys.stdin)["address"])')
echo "right is $address"
"$KILN" exec left sh -c "ls /run/here; ping -c 1 $address; ls /sys/class/net"
rm /var/lib/misc/dnsmasq.leases # what is left is the kernel's table of neighbours
timeout 60 "$KILN" ssh right true
"$KILN" down --destroy
kill "$dnsmasq"
END
  run timeout 500 unshare -nm --mount-proc sh inside
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"'lo' is a network interface, not a bridge"*"'/etc/qemu/bridge.conf' does not exist"*"'allow kilnbr'"* ]]
  [[ $output == *"'/etc/qemu/bridge.conf' does not allow it"*"'/etc/qemu/bridge.conf' denies it"* ]]
  [[ $output == *"left  "*running*yes*10.99.0.1*"right is 10.99.0.1"*/run/here*"1 packets received"*eth0*lo* ]]
  [[ $output != *eth1* ]]
}
