#!/usr/bin/env bats
# VMs from a saved boot: run --warm, image warm. Real VMs of examples/tiny; each saving is one boot.
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HOME=$BATS_FILE_TMPDIR/home
  cd "$BATS_FILE_TMPDIR"
  make_tiny >/dev/null
}
setup() {
  load common
  saved=$KILN_HOME/cache/warm
  cd "$BATS_FILE_TMPDIR"
  # no more memory than tiny needs: what is saved is copied
  vm=(-m 200M --kernel vmlinuz --initrd initrd.img --append "console=ttyS0 panic=1 net.ifnames=0 mitigations=off")
}
teardown_file() {
  load common
  no_leftovers "$KILN_HOME"
}
warm() { # [OPTIONS]… -- COMMAND…: stdout of the guest's command; what kiln says goes to the file `said`
  local options=()
  while [ "$1" != -- ]; do options+=("$1") && shift; done
  shift
  timeout 200 "$KILN" run --warm "${vm[@]}" "${options[@]}" tiny "$@" 2>said
}
boots() { # how many were saved since the last call's
  find "$saved" -mindepth 1 -maxdepth 1 -type d -regextype egrep -regex '.*/[0-9a-f]{64}' | wc -l
}

@test "two that save at once make one" {
  (cd "$BATS_FILE_TMPDIR" && timeout 400 "$KILN" run --warm "${vm[@]}" tiny true 2>said1) &
  local first=$!
  timeout 400 "$KILN" run --warm "${vm[@]}" tiny true 2>said2
  wait $first
  [ "$(cat said1 said2 | grep -c '^Booting')" = 1 ]
  [ "$(cat said1 said2 | grep -c "^saved the boot of 'tiny' (")" = 1 ]
  [ "$(cat said1 said2 | grep -c '^Restoring')" = 2 ]
  [ "$(boots)" = 1 ]
  # it is for its owner alone
  [ "$(find "$saved" -perm /077 ! -name '*.lock')" = "" ]
  [ "$(find "$saved" -perm /066)" = "" ]
}

@test "later runs start from it" {
  local before after seconds
  before=$(date +%s%N)
  seconds=$(warm -- date +%s)
  after=$(date +%s%N)
  run ! grep -q 'Booting\|saved' said
  grep -q '^Restoring' said
  # the guest's clock, which had stood still since it was saved
  [ "$seconds" -ge $((before / 1000000000)) ]
  [ "$seconds" -le $((after / 1000000000)) ]
  # what is to be copied goes in after the restore, and out before the end
  mkdir -p out
  echo hello >hello
  warm -b hello:/srv -a /srv/hello:out -- sh -c 'cat /srv/hello; echo there >>/srv/hello' >printed
  [ "$(cat printed)" = hello ]
  [ "$(cat out/hello)" = $'hello\nthere' ]
  # what one writes the next one does not see, nor does the saved boot
  warm -- sh -c 'echo mine >/srv/mine; sync'
  run warm -- sh -c 'ls /srv; exit 7'
  [ "$status" = 7 ]
  [ -z "$output" ]
}

@test "a plain command needs no SSH, and is run as over SSH" {
  local program='ps | grep -v grep | grep -c "kiln *$"; ls -A /run /dev/shm /tmp /root | grep -c kiln; netstat -tn | grep -c EST'
  run warm -v -- sh -c "$program; id -un; pwd; umask"
  echo "$output"
  ! grep 'ssh: connected' said || false
  [ "$output" = $'1\n0\n0\nvagrant\n/home/vagrant\n0022' ]
  echo hello >hello
  # whoever has another user, or wants more, has SSH, and the program has gone, with its file
  run warm -v --ssh-user root -- sh -c "$program; id -un; pwd; umask"
  grep -q 'ssh: connected' said
  [ "$output" = $'0\n0\n1\nroot\n/root\n0022' ]
  [ "$(warm --ssh-user vagrant -- sh -c 'env | grep -v "SSH_\|^_=" | sort')" = "$(warm -v -b hello:/srv -- sh -c 'env | grep -v "SSH_\|^_=" | sort')" ]
  grep -q 'ssh: connected' said
  # its three streams and its end
  seq 200000 >numbers
  local status=0
  warm -- sh -c 'cat; echo error >&2; exit 3' <numbers >copy || status=$?
  [ "$status" = 3 ]
  cmp numbers copy
  grep -qx error said
  warm -- sh -c 'cat >/srv/all 2>&1; wc -c </srv/all' <numbers >printed
  [ "$(cat printed)" = "$(wc -c <numbers)" ]
  run warm -- sh -c 'kill -9 $$'
  [ "$status" = 137 ]
  run warm -- sh -c 'exec >&- 2>&-; exit 4'
  [ "$status" = 4 ]
  warm -- sh -c 'yes | head -c 3000000' | head -c 20 | grep -q y
  run warm -- sh -c 'sleep 1000 >/dev/null 2>&1 & exit 5'
  [ "$status" = 5 ]
  run timeout 100 "$KILN" run --warm --timeout 20 "${vm[@]}" tiny sleep 1000
  [ "$status" = 124 ]
}

@test "two at once differ in random bytes and in what SSH is sent, and have a port each" {
  local free
  free=$(python3 -c 'import socket
s = [socket.socket(), socket.socket()]
for x in s: x.bind(("127.0.0.1", 0))
print(*(x.getsockname()[1] for x in s))')
  read -r one two <<<"$free"
  mkfifo hold1 hold2
  warm -p "$one:22" -- sh -c 'head -c 32 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/uuid; read x' <hold1 >out1 &
  first=$!
  warm -p "$two:22" -- sh -c 'head -c 32 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/uuid; read x' <hold2 >out2 &
  second=$!
  exec 8>hold1 9>hold2
  # the cookie of the server's key exchange (RFC 4253, 7.1) is random
  timeout 60 python3 - "$one" "$two" <<'PY'
import socket, sys
def connect(port):
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 60)
        except ConnectionRefusedError:
            pass  # QEMU is being started
def cookie(port):
    s = connect(port)
    s.sendall(b"SSH-2.0-test\r\n")
    data = b""
    while b"\x14" not in data[data.find(b"\n") + 1:][5:6] or len(data) < data.find(b"\n") + 23:
        part = s.recv(4096)
        assert part, "the server closed"
        data += part
    packet = data[data.find(b"\n") + 1:]
    return packet[6:22]
a, b = (cookie(int(p)) for p in sys.argv[1:])
assert a != b and any(a), (a, b)
PY
  echo >&8
  echo >&9
  wait $first
  wait $second
  [ "$(wc -l <out1)" = 3 ]
  run ! grep -qxFf out1 out2
}

@test "a VM in the background starts from it, and keeps its disk" {
  local before
  before=$(date +%s)
  run timeout 200 "$KILN" run -d --warm --name kept "${vm[@]}" tiny
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == Restoring* ]]
  run timeout 100 "$KILN" exec kept sh -c 'echo data >/srv/file; sync; date +%s; ps | grep -c "[k]iln *$"'
  echo "$output"
  [ "${lines[0]}" -ge "$before" ]
  [ "${lines[0]}" -le "$(date +%s)" ]
  [ "${lines[1]}" = 0 ]
  # what the guest flushes is on the disk
  local pid
  pid=$("$KILN" status --json kept | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
  tr '\0' '\n' <"/proc/$pid/cmdline" >words
  grep -q '"no-flush":false.*"node-name":"disk"' words
  run ! grep '"no-flush":true' words
  # to disk and back, twice: the second time it is restored from a state of its own
  local i
  "$KILN" exec kept sh -c 'echo memory >/srv/memory; sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >>/srv/memory'
  for i in 1 2; do
    run timeout 100 "$KILN" suspend --to-disk kept
    echo "$output"
    [ "$status" = 0 ]
    timeout 100 "$KILN" resume kept
    [ "$("$KILN" exec kept sh -c 'kill -0 $(tail -n 1 /srv/memory) && head -n 1 /srv/memory')" = memory ]
  done
  # its disk has no need of the saved boot
  "$KILN" stop --kill kept
  mv "$saved" "$saved.away"
  run timeout 400 "$KILN" start -d kept
  [ "$status" = 0 ]
  [[ $output == *Booting* ]]
  run timeout 100 "$KILN" exec kept cat /srv/file
  mv "$saved.away" "$saved"
  "$KILN" stop --kill kept
  "$KILN" rm kept
  [ "$output" = data ]
  # the saved boot has nothing of it
  run warm -- cat /srv/file
  [ "$status" = 1 ]
}

@test "a VM that is created starts from it the first time, and keeps its disk" {
  "$KILN" create --name made --warm "${vm[@]}" tiny
  run timeout 200 "$KILN" start made --ssh-command 'date +%s; echo data >/srv/file'
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == Restoring* ]]
  [ $(($(date +%s) - ${lines[-1]})) -le 60 ]
  run timeout 200 "$KILN" start --warm made --ssh-command 'cat /srv/file'
  [[ $output == *"only the first start of VM 'made' can be from a saved boot; booting"*Booting*data ]]
  [[ $output != *Restoring* ]]
  "$KILN" rm made
  run warm -- cat /srv/file
  [ "$status" = 1 ]
  # what is written to the disk before is kept, and the VM boots
  "$KILN" create --name made --hostname other "${vm[@]}" tiny
  run timeout 200 "$KILN" start --warm made --ssh-command 'cat /etc/hostname'
  echo "$output"
  [[ $output == *"no saved boot for 'tiny': its disk was changed before its first start; booting"*other ]]
  "$KILN" rm made
  # nor from that of an image that has its name now, nor when it is switched off
  "$KILN" create --name made --warm "${vm[@]}" tiny
  python3 - "$KILN_HOME/vmstore/made/vm.json" <<'PY'
import json, sys
v = json.load(open(sys.argv[1]))
v["warm"]["id"] = "other"
json.dump(v, open(sys.argv[1], "w"))
PY
  run timeout 100 "$KILN" start made --ssh-timeout 1 --ssh-command true
  [[ $output == *"no saved boot for VM 'made': the image 'tiny' is another one now; booting"* ]]
  "$KILN" rm made
}

@test "run --name in front and with -d; copies go in after the restore" {
  run timeout 200 "$KILN" run --name front --warm "${vm[@]}" tiny sh -c 'date >/srv/when; exit 3'
  [ "$status" = 3 ]
  [[ $output == Restoring* ]]
  # the guest was asked to power off, and its disk is whole
  e2fsck=$(timeout 200 "$KILN" run --name front tiny sh -c 'test -s /srv/when && dmesg | grep -c "recovery complete"' 2>/dev/null) || true
  [ "$e2fsck" = 0 ]
  "$KILN" rm front
  echo hello >hello
  run timeout 200 "$KILN" run -d --warm --name back --ssh-user root -b hello:/srv "${vm[@]}" tiny
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == Restoring* ]]
  [ "$("$KILN" exec back cat /srv/hello)" = hello ]
  "$KILN" stop --kill back
  "$KILN" rm back
  run warm -- cat /srv/hello
  [ "$status" = 1 ]
}

@test "a shell over SSH, the serial console meanwhile, another disk, a VM that create made" {
  run bash -c 'echo "echo a shell; exit 3" | timeout 200 "$0" "$@"' "$KILN" run --warm "${vm[@]}" --ssh-console tiny
  [ "$status" = 3 ]
  [ "$output" = $'Restoring (TCG), waiting for SSH\na shell' ]
  run timeout 200 "$KILN" run --warm "${vm[@]}" --ssh-with-serial --ssh-command 'echo words; exit 4' tiny
  [ "$status" = 4 ]
  [[ $output == Restoring*words ]]
  # its first start makes the saved boot of a VM with two disks
  "$KILN" create --name two --warm --extra-image tiny "${vm[@]}" tiny
  run timeout 200 "$KILN" run --name two tiny sh -c 'ls /dev/vd?; date >/srv/file'
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"saved the boot"*Restoring*/dev/vda*/dev/vdb ]]
  "$KILN" rm two
  # and that of another one is restored, without what the first one has written
  "$KILN" create --name other --extra-image tiny "${vm[@]}" tiny
  run timeout 200 "$KILN" start --warm other --ssh-command 'ls /dev/vd? /srv'
  echo "$output"
  [[ $output == Restoring*/dev/vda*/dev/vdb* ]]
  [[ $output != *"saved the boot"* && $output != *file* ]]
  "$KILN" rm other
}

@test "--warm=compress takes less disk; --cold and KILN_WARM=0 switch it off" {
  local plain packed
  plain=$(du -sB1 "$saved" | cut -f1)
  [ "$(KILN_WARM=compress timeout 300 "$KILN" run "${vm[@]}" tiny echo fine 2>said)" = fine ]
  grep -q '^saved the boot' said
  packed=$(($(du -sB1 "$saved" | cut -f1) - plain))
  [ "$packed" -lt $((plain * 6 / 10)) ]
  local random=() i
  for i in 1 2; do
    random+=("$(timeout 200 "$KILN" run --warm=compress "${vm[@]}" tiny sh -c 'head -c 16 /dev/urandom | od -An -tx1' 2>said)")
    grep -q '^Restoring' said
    [ "$(grep -c saved said)" = 0 ]
  done
  [ "${random[0]}" != "${random[1]}" ]
  # one in the background has its own memory
  timeout 200 "$KILN" run -d --warm=compress,strict --name packed "${vm[@]}" tiny
  [ "$("$KILN" exec packed echo fine)" = fine ]
  "$KILN" stop --kill packed
  "$KILN" rm packed
  KILN_WARM=1 run timeout 100 "$KILN" run --cold --ssh-timeout 1 "${vm[@]}" tiny true
  [[ $output == Booting* ]]
  KILN_WARM=1 run timeout 100 "$KILN" run --no-warm --warm --ssh-timeout 1 "${vm[@]}" tiny true
  [[ $output == Booting* ]]
  KILN_WARM=0 run timeout 100 "$KILN" run --ssh-timeout 1 "${vm[@]}" tiny true
  [[ $output == Booting* ]]
}

@test "what is damaged is noticed and made anew, what does not restore boots" {
  local ram state
  warm -- true
  ram=$(dirname "$(ls -t "$saved"/*/warm.json | head -n 1)")/ram # its record has the time of the last use
  [ -f "$ram" ]
  # one bit of a page that holds something, with the times of before
  touch -r "$ram" times
  python3 - "$ram" <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
at = os.lseek(fd, 1 << 20, os.SEEK_DATA)
byte = os.pread(fd, 1, at)[0]
os.pwrite(fd, bytes([byte ^ 4]), at)
PY
  touch -r times "$ram"
  warm -- true
  grep -q "the saved boot of 'tiny' is damaged: making it anew" said
  grep -q '^saved the boot' said
  truncate -s 100M "$ram"
  warm -- true
  grep -q "the saved boot of 'tiny' is damaged: making it anew" said
  # a stream that QEMU refuses, with a record that says it is right
  state=${ram%ram}state
  head -c 1000 /dev/urandom >"$state"
  python3 - "$state" <<'PY'
import hashlib, json, os, sys
record = os.path.dirname(sys.argv[1]) + "/warm.json"
r = json.load(open(record))
r["sha256"]["state"] = hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()
json.dump(r, open(record, "w"))
PY
  [ "$(warm -- echo fine)" = fine ]
  grep -q "^no saved boot for 'tiny': .*; booting$" said
  # and is not tried again
  [ ! -e "${ram%ram}warm.json" ]
}

start_slow() { # [OPTION]: the VM "first", as the process $starter, until it is to be restored
  "$KILN" start "$@" first >said 2>&1 </dev/null 3>&- &
  starter=$!
  timeout 60 sh -c 'until grep -q Restoring said; do sleep 0.1; done'
}

@test "a failure of the host's is not the saved boot's, a first start that did not end well is none" {
  # for copies: does not start, or does not answer
  cat >host-qemu <<END
#!/bin/sh
case " \$* " in *" -incoming "*)
  case \$(cat "$PWD/how") in fail) exit 1 ;; slow) exec sleep 60 ;; esac
esac
exec qemu-system-x86_64 "\$@"
END
  chmod +x host-qemu
  export KILN_QEMU=$PWD/host-qemu
  echo >how
  warm -- true
  grep -q '^saved the boot' said
  TMPDIR=/nonexistent run warm -- true
  [ "$status" = 1 ]
  grep -q "^error: cannot make a temporary file in '/nonexistent'" said
  run ! grep -q 'saved boot' said
  echo fail >how
  run warm -- true
  [ "$status" != 0 ]
  run ! grep -q 'saved boot' said
  echo >how
  warm -- true
  run ! grep -q 'saved\|Booting' said
  # a VM that keeps its disk: one that fails, and one that is interrupted
  "$KILN" create --name first --warm "${vm[@]}" tiny
  local disk=$KILN_HOME/vmstore/first/disk.qcow2 before way starter
  before=$(sha256sum "$disk")
  echo fail >how
  run timeout 100 "$KILN" start first --ssh-command true
  [ "$status" != 0 ]
  run ! grep 'saved boot' <<<"$output"
  [ "$(sha256sum "$disk")" = "$before" ]
  echo slow >how
  for way in INT-d INT KILL; do
    echo "$way"
    start_slow ${way#${way%-d}}
    [ "$way" = KILL ] || [ "$(sha256sum "$disk")" != "$before" ]
    kill -s ${way%-d} $starter
    wait $starter || true
    [ "$way" = KILL ] || [ "$(sha256sum "$disk")" = "$before" ]
  done
  echo >how
  run timeout 200 "$KILN" start first --ssh-command 'echo data >/srv/file'
  echo "$output"
  [ "$status" = 0 ]
  [ "$output" = 'Restoring (TCG), waiting for SSH' ]
  run timeout 200 "$KILN" start first --ssh-command 'cat /srv/file'
  [[ $output == Booting*data ]]
  "$KILN" rm first
  # what was written after such a start is kept
  "$KILN" create --name first --warm "${vm[@]}" tiny
  echo slow >how
  start_slow
  kill -s KILL $starter
  wait $starter || true
  before=$(stat -c %s "$disk")
  touch "$disk"
  echo >how
  run timeout 100 "$KILN" start first --ssh-timeout 1 --ssh-command true
  [[ $output == *"its disk was changed by an earlier start; booting"* ]]
  [ "$(stat -c %s "$disk")" -ge "$before" ]
  "$KILN" rm first
}

@test "the serial console of a saved boot; without root in the guest a warning, or with strict an error" {
  # nobody can log in: what is awaited is on the console
  vm+=(--network none --ready-when 'serial:tiny login')
  run bash -c 'mkfifo keys; exec 3<>keys; (timeout 200 "$0" "$@" 3<&- <keys 2>said) | grep -m 1 -a "tiny login:"; printf "\001x" >keys' \
    "$KILN" run --warm "${vm[@]}" tiny
  [[ $output == *'tiny login:'* ]]
  grep -q "have a wrong clock and may have equal random bytes: it has no network" said
  run timeout 60 "$KILN" run --warm=strict "${vm[@]}" tiny
  [ "$status" = 1 ]
  [[ $output == *"error: the guest of 'tiny' cannot be given the time and random bytes: it has no network"*'hint: --warm alone'* ]]
}

@test "another QEMU makes another one" {
  printf '#!/bin/sh\nexec qemu-system-x86_64 "$@"\n' >qemu
  chmod +x qemu
  KILN_QEMU=$PWD/qemu warm -- true
  grep -q '^saved the boot' said
  KILN_QEMU=$PWD/qemu warm -- true
  [ "$(grep -c '^saved the boot' said)" = 0 ]
  # an upgrade: another file under the name
  cp qemu new
  mv new qemu
  KILN_QEMU=$PWD/qemu warm -- true
  grep -q '^saved the boot' said
}

@test "who cannot have a saved boot is told why; mistakes are" {
  run timeout 200 "$KILN" run --warm tiny -- -version
  [ "$status" = 0 ]
  [[ $output == *"no saved boot for 'tiny': QEMU gets arguments of your own; booting"* ]]
  run "$KILN" image warm tiny -- -version
  [ "$status" = 2 ]
  run timeout 60 "$KILN" image warm --network none "${vm[@]}" tiny
  [ "$status" = 1 ]
  [[ $output == "error: no saved boot for 'tiny': without a network for SSH, --ready-when serial:REGEX must say"* ]]
  run timeout 60 "$KILN" run --warm --network none --timeout 2 "${vm[@]}" tiny
  [[ $output == "no saved boot for 'tiny': without a network for SSH, "*"; booting"*Booting* ]]
  run "$KILN" image warm --warm=off tiny
  [ "$status" = 2 ]
  [[ $output == "error: argument --warm: 'image warm' saves a boot"*"hint: "*"leave it out here" ]]
  run "$KILN" run --warm=yes tiny
  [ "$status" = 2 ]
  [[ $output == *"argument --warm: 'yes' is not strict, compress or off"* ]]
  local wanted
  while read -r wanted said; do
    run "$KILN" run --warm --ready-when "$wanted" tiny
    echo "$output"
    [ "$status" = 2 ]
    [[ $output == *"argument --ready-when: '$wanted' $said"*"hint: it is serial:REGEX, port:NUMBER or file:/PATH"* ]]
  done <<'END'
port:0 does not name a port from 1 to 65535
port:65536 does not name a port from 1 to 65535
port:80x does not name a port from 1 to 65535
port:-1 does not name a port from 1 to 65535
port: does not name a port from 1 to 65535
file:run/ready does not name an absolute path
file: does not name an absolute path
serial:(login has no regular expression that is valid: Unmatched
serial: has no regular expression
login is not of a known kind
tcp:80 is not of a known kind
END
  run "$KILN" run --warm --network none --ready-when file:/etc/passwd tiny
  [ "$status" = 2 ]
  [[ $output == *"'file:/etc/passwd' needs SSH, and so --network user"* ]]
  run "$KILN" run --ready-when port:80 tiny
  [ "$status" = 2 ]
  [[ $output == *"argument --ready-when: needs --warm"* ]]
  KILN_WARM=maybe run "$KILN" run tiny
  [ "$status" = 1 ]
  [[ $output == *"KILN_WARM: 'maybe' is not 1, 0, strict or compress"* ]]
  run timeout 200 "$KILN" run --warm --uefi tiny --ssh-timeout 1 --cmd true
  [[ $output == *"ovmf"* || $output == *"no saved boot for 'tiny': it boots by UEFI; booting"* ]]
}

@test "--ready-when: file and serial; what does not come true" {
  run timeout 300 "$KILN" image warm --ready-when 'serial:^tiny login:' "${vm[@]}" tiny
  [ "$status" = 0 ]
  [[ $output == *"saved the boot"* ]]
  run timeout 300 "$KILN" image warm --ready-when file:/etc/passwd "${vm[@]}" tiny
  [ "$status" = 0 ]
  [[ $output == *"saved the boot"* ]]
  # no line is there before the guest has run
  run timeout 60 "$KILN" image warm --network none --ready-when 'serial:.*' "${vm[@]}" tiny
  [[ $output =~ "saved the boot of 'tiny' ("[0-9.]+" MiB)" ]]
  local wanted
  for wanted in file:/no/such 'serial:no such line' port:81; do
    run timeout 300 "$KILN" image warm --ready-when "$wanted" --ssh-timeout 30 "${vm[@]}" tiny
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"the guest was not ready in time: --ready-when $wanted did not come true"* ]]
  done
}

@test "image warm, --ready-when, and what removes saved boots" {
  # without a driver for the ports of virtio-serial: the time comes over a serial port, commands go over SSH
  vm[1]=160M
  vm[7]+=' module_blacklist=virtio_console'
  KILN_WARM_MAX_SIZE=1K run timeout 200 "$KILN" image warm --ready-when port:22 "${vm[@]}" tiny
  [[ $output == *"saved the boot of 'tiny'"* ]]
  run timeout 200 "$KILN" image warm --ready-when port:22 "${vm[@]}" tiny
  [ "$status" = 0 ]
  [ -z "$output" ]
  [ "$(boots)" = 1 ]
  # an environment variable and a settings file ask for it, too
  mkdir -p config/kiln
  echo 'warm = true' >config/kiln/config.toml
  local before seconds
  before=$(date +%s)
  seconds=$(XDG_CONFIG_HOME=$PWD/config timeout 200 "$KILN" run -v --ready-when port:22 "${vm[@]}" tiny date +%s 2>said)
  [ "$seconds" -ge "$before" ]
  [ "$seconds" -le "$(date +%s)" ]
  grep -q '^Restoring' said
  grep -q 'ssh: connected' said
  run "$KILN" system df
  echo "$output"
  [[ $output =~ $'\n'"saved boots"\ +1\  ]]
  "$KILN" tag tiny other
  "$KILN" image rm other
  [ "$(boots)" = 1 ]
  "$KILN" prune --dry-run --all | grep -q 'would remove .* of saved boots'
  [ "$(boots)" = 1 ]
  # another image of the name
  cp "$KILN_HOME/backend/tiny" "$BATS_TEST_TMPDIR/tiny.qcow2"
  "$KILN" image import --force "$BATS_TEST_TMPDIR/tiny.qcow2" tiny
  [ "$(boots)" = 0 ]
  [ "$(du -s --apparent-size -B1 "$saved/.working" | cut -f1)" -lt 10000 ]
}
