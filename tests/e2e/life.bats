#!/usr/bin/env bats
# VMs in the background: run -d, start -d, and what reaches them. Real VMs of examples/tiny.
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HOME=$BATS_FILE_TMPDIR/home
  share_appliance "$KILN_HOME"
  cd "$BATS_FILE_TMPDIR"
  make_tiny >/dev/null
  set_boot
  read -r tcp udp < <(python3 -c 'import socket
held = [socket.socket(type=t) for t in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))')
  export udp
  "$KILN" run -d --name web -p "127.0.0.1:$tcp:80" -p "$udp:53/udp" tiny "${boot[@]}"
  "$KILN" exec --wait 100 web true
}
set_boot() {
  boot=(-- -kernel "$BATS_FILE_TMPDIR/vmlinuz" -initrd "$BATS_FILE_TMPDIR/initrd.img"
    -append "console=ttyS0 panic=1 net.ifnames=0 mitigations=off")
}
setup() {
  load common
  store=$KILN_HOME/vmstore
  set_boot
}
teardown_file() {
  "$KILN" ps -q | while read -r name; do "$KILN" stop --kill "$name"; done
  load common
  no_leftovers "$KILN_HOME"
}
field() { # NAME FIELD: of a VM that runs
  "$KILN" ps --json | python3 -c 'import json, sys; print(next(v[sys.argv[2]] for v in json.load(sys.stdin) if v["name"] == sys.argv[1]))' "$1" "$2"
}

@test "ps, status and ls say what runs" {
  run "$KILN" ps
  [[ $output == 'NAME '*'SSH  AGE   PORTS'*$'\n'web*running* ]]
  [ "$("$KILN" status web)" = running ]
  run "$KILN" status none
  [ "$status" = 1 ]
  [[ $output == *"no VM 'none'"* ]]
  [ "$("$KILN" ps -q)" = web ]
  kill -0 "$(field web pid)"
  [ "$(stat -c %a "$store/web")" = 700 ]
  "$KILN" ls | grep -q 'web *tiny *running'
  # nothing listens beyond loopback
  if ss -tlnp | grep "pid=$(field web pid)," | grep -v '127.0.0.1:'; then return 1; fi
}

@test "ps and ls --format" {
  local pid ssh
  pid=$(field web pid) ssh=$(field web ssh_port)
  [ "$("$KILN" ps --format '{{.Name}}\t{{ .state }}|{{.Memory}}\\n{{.Names}}\n')" = $'web\trunning|1024M\\nweb' ]
  run "$KILN" ps --format 'table {{.PID}}\t{{.SSH}}\t{{.Ports}}'
  [[ ${lines[0]} =~ ^PID\ +SSH\ +PORTS$ && ${lines[1]} =~ ^$pid\ +$ssh\ +.*127.0.0.1:$udp-\>[0-9]+/udp && ${#lines[@]} = 2 ]]
  [ "$("$KILN" ps --format json | jq -r .pid)" = "$pid" ]
  [ "$("$KILN" ps --format '{{json .}}')" = "$("$KILN" ps --json | jq -cS '.[]')" ]
  [ "$("$KILN" ps --format table | head -1)" = "$("$KILN" ps | head -1)" ]
  [[ $("$KILN" ls --format '{{.Name}} is {{.Status}}, {{.Disk}}') = "web is running, $store/web/disk.qcow2" ]]
  [ "$("$KILN" ls --format 'table {{.Name}} {{.VirtSize}}' | head -1)" = 'NAME VIRT SIZE' ]
}

@test "a UDP port that is published leads to the guest" {
  # nobody listens there; the guest's kernel counts what comes
  local count=(awk '/^Udp:/ { n = $3 } END { print n }' /proc/net/snmp) before tries=50
  before=$("$KILN" exec web "${count[@]}")
  python3 -c 'import socket, sys; socket.socket(type=socket.SOCK_DGRAM).sendto(b"hello", ("127.0.0.1", int(sys.argv[1])))' "$udp"
  until [ "$("$KILN" exec web "${count[@]}")" = $((before + 1)) ]; do [ $((tries -= 1)) -gt 0 ]; done
}

@test "exec takes arguments as they are, ssh a command line; both pass bytes and status" {
  [ "$("$KILN" exec web echo 'a  b' "it's" '$HOME' '')" = "a  b it's \$HOME " ]
  [ "$("$KILN" ssh web 'echo $((1 + 1))' '; exit' 0)" = 2 ]
  run "$KILN" exec web sh -c 'echo out; echo err >&2; exit 42'
  [ "$status" = 42 ]
  run "$KILN" ssh web 'kill -9 $$'
  [ "$status" = 137 ]
  head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/bytes"
  "$KILN" ssh web 'cat' <"$BATS_TEST_TMPDIR/bytes" | cmp - "$BATS_TEST_TMPDIR/bytes"
  run "$KILN" ssh web </dev/null
  [ "$status" = 0 ]
  run "$KILN" exec web
  [ "$status" = 2 ]
  run "$KILN" exec none true
  [[ $output == *"no VM 'none'"* ]]
  run "$KILN" exec -u nobody --wait 20 web true
  [ "$status" = 1 ]
}

@test "exec: variables and a folder for the program" {
  local said
  # shellcheck disable=SC2016
  said=$(FROM_HOST="a 'b" "$KILN" exec -e 'A=x $y; z' -e FROM_HOST -e NONE_SUCH --env B= -w /etc web sh -c 'pwd; echo "$A|$FROM_HOST|${NONE_SUCH-unset}|${B-unset}"')
  [ "$said" = $'/etc\nx $y; z|a \'b|unset|' ]
  run "$KILN" exec -w '/no such' web true
  [ "$status" != 0 ]
  [[ $output == *"/no such"* ]]
  [ "$("$KILN" exec -w /proc web pwd)" = /proc ]
  [ "$("$KILN" logs --tail all web | wc -c)" = "$("$KILN" logs web | wc -c)" ]
}

@test "output that cannot be written is an error" {
  local command
  for command in 'exec web echo hi' 'exec web yes' 'ssh web echo hi' 'cp web:/etc/passwd -' 'logs web'; do
    # shellcheck disable=SC2086
    run bash -c 'timeout 60 "$KILN" "$@" >/dev/full' - $command
    echo "$command: $status $output"
    [ "$status" = 1 ]
    [ "$output" = 'error: cannot write to standard output: No space left on device' ]
  done
  run bash -c 'timeout 60 "$KILN" exec web sh -c "echo hi >&2" 2>/dev/full'
  [ "$status" = 1 ]
}

@test "a command that nobody waits for any more hears SIGHUP" {
  local tries=30
  "$KILN" exec web yes 'left behind' | head -c 4 || true
  run timeout -s INT 5 "$KILN" exec web sleep 1234
  until [ "$("$KILN" exec web sh -c 'ps | grep -c "[l]eft behind\|sleep 123[4]"')" = 0 ]; do
    [ $((tries -= 1)) -gt 0 ]
  done
}

@test "exec uses the connection that is kept open, and does without it" {
  "$KILN" exec web true
  run "$KILN" exec -v web sh -c 'exit 3'
  [ "$status" = 3 ]
  [[ $output == *'over the connection that is kept open'* ]]
  # input typed on a terminal
  run timeout 60 python3 -c '
import os, pty, sys
pid, fd = pty.fork()
if not pid:
    os.execv(sys.argv[1], sys.argv[1:])
while b"ready" not in os.read(fd, 4096):
    pass
os.write(fd, b"typed\n\4")
said = b""
try:
    while chunk := os.read(fd, 4096):
        said += chunk
except OSError:
    pass
print(said)' "$KILN" exec web sh -c 'echo ready; sed s/^/got-/'
  [[ $output == *got-typed* ]]
  # a reader that has gone, and an interruption, end the command and not the connection
  run bash -c '"$0" exec web yes | head -c 2; exit "${PIPESTATUS[0]}"' "$KILN"
  [ "$status" = 141 ]
  run timeout -s INT 3 "$KILN" exec web sh -c 'echo $$; exec sleep 300'
  run "$KILN" exec -v web true
  [[ $output == *'over the connection that is kept open'* ]]
  # one that is busy sends others away
  local i pids=()
  for i in $(seq 20); do
    "$KILN" exec web sh -c "echo $i; exit $i" >"$BATS_TEST_TMPDIR/$i" 3>&- &
    pids[i]=$!
  done
  for i in $(seq 20); do
    local ended=0
    wait "${pids[i]}" || ended=$?
    [ "$ended" = "$i" ]
    [ "$(cat "$BATS_TEST_TMPDIR/$i")" = "$i" ]
  done
  local keeper
  keeper=$(fuser "$store/web/ssh.lock" 2>/dev/null)
  kill -9 $keeper
  run "$KILN" exec -v web true
  [ "$status" = 0 ]
  [[ $output != *'kept open'* ]]
}

@test "exec -it gives the program a terminal, as docker's does" {
  run on_terminal "$KILN" exec -it web sh -c 'tty; exit 5'
  [ "$status" = 5 ]
  [[ $output == */dev/pts/* ]]
  run "$KILN" exec web tty
  [[ $output == *"not a tty"* ]]
  run "$KILN" exec -it web sh </dev/null
  [ "$status" = 2 ]
  [[ $output == *"standard input is not a terminal"* ]]
}

@test "--ssh-option and --ssh-bin-name use OpenSSH's ssh" {
  [ "$("$KILN" exec -o LogLevel=QUIET web echo 'a  b')" = 'a  b' ]
  # ssh's own wait for a connection that others share
  "$KILN" ssh web -o ControlMaster=yes -o "ControlPath=$BATS_TEST_TMPDIR/shared" --ssh-command 'read x; exit 9' <<<x &
  local first=$! ended=0
  wait "$first" || ended=$?
  [ "$ended" = 9 ]
  mkfifo "$BATS_TEST_TMPDIR/hold"
  "$KILN" exec -o ControlMaster=yes -o "ControlPath=$BATS_TEST_TMPDIR/shared" web cat <"$BATS_TEST_TMPDIR/hold" 3>&- &
  first=$!
  exec 7>"$BATS_TEST_TMPDIR/hold"
  for _ in $(seq 300); do [ -S "$BATS_TEST_TMPDIR/shared" ] && break; sleep 0.1; done
  ssh -S "$BATS_TEST_TMPDIR/shared" -O check any
  exec 7>&-
  wait "$first"
  run on_terminal "$KILN" exec -t -o LogLevel=QUIET web sh -c 'tty; exit 6'
  [ "$status" = 6 ]
  [[ $output == */dev/pts/* ]]
  # a program of the user's
  printf '#!/bin/sh\necho "called: $*" >&2\nexec ssh "$@"\n' >"$BATS_TEST_TMPDIR/wrapped"
  chmod +x "$BATS_TEST_TMPDIR/wrapped"
  run "$KILN" exec --ssh-bin-name "$BATS_TEST_TMPDIR/wrapped" web sh -c 'exit 3'
  [ "$status" = 3 ]
  [[ $output == 'called: '*' StrictHostKeyChecking=no '*'vagrant@127.0.0.1 -- '* ]]
  # a key as ssh_config(5) may write it, for the client that waits, too
  cp "$KILN_HOME/ssh/id_ed25519" "$BATS_TEST_TMPDIR/my key"
  local key
  for key in '"%d/my key"' '"~/my key"' '"${HOME}/my key"' "\"$BATS_TEST_TMPDIR/my key\""; do
    HOME=$BATS_TEST_TMPDIR run "$KILN" exec -v -o "IdentityFile=$key" web echo let in
    echo "$output"
    [[ $status = 0 && $output == *"-i '$BATS_TEST_TMPDIR/my key'"*"let in" ]]
  done
  HOME=$BATS_TEST_TMPDIR run "$KILN" run tiny -o 'IdentityFile "%d/no%%ne"' true
  [[ $status = 1 && $output == *"argument --ssh-option: cannot read the SSH key '$BATS_TEST_TMPDIR/no%ne'"* ]]
  # mistakes are told before anything starts
  run "$KILN" run tiny -o Cipherss=x true
  [ "$status" = 2 ]
  [[ $output == *"'Cipherss=x': Bad configuration option"*"did you mean 'ciphers'"* ]]
  run "$KILN" run tiny -o ForwardAgent true
  [ "$status" = 2 ]
  [[ $output == *"'ForwardAgent' is not KEY=VALUE"* ]]
  run "$KILN" exec --ssh-bin-name none-such web true
  [ "$status" = 1 ]
  [[ $output == *"program 'none-such' not found"* ]]
}

@test "ssh --wait waits for a VM that is started later" {
  "$KILN" ssh later --wait --ssh-timeout 200 --cmd 'echo there' >"$BATS_TEST_TMPDIR/said" 2>"$BATS_TEST_TMPDIR/told" 3>&- &
  local waiting=$!
  for _ in $(seq 300); do grep -q "waiting until VM 'later' is started" "$BATS_TEST_TMPDIR/told" && break; sleep 0.1; done
  # its options are kept with it, and those given later come first
  "$KILN" create --name later -o LogLevel=ERROR -o ConnectTimeout=50 tiny "${boot[@]}"
  "$KILN" start -d later -o SetEnv=X=y
  wait "$waiting"
  [ "$(cat "$BATS_TEST_TMPDIR/said")" = there ]
  run "$KILN" exec -v later true
  [[ $output == *'ssh -o SetEnv=X=y -o LogLevel=ERROR -o ConnectTimeout=50 -o Strict'* ]]
  "$KILN" rm -f later
  run "$KILN" ssh none --wait=1 true
  [ "$status" = 1 ]
}

@test "logs and console: one writes, others read along" {
  "$KILN" logs web | grep -q 'Linux version\|login:'
  [ "$("$KILN" logs -n 1 web | wc -l)" -le 1 ]
  # a quiet guest, and a reader that goes
  run timeout 60 bash -c '"$0" logs -f web | head -1 >/dev/null; exit "${PIPESTATUS[0]}"' "$KILN"
  [ "$status" = 141 ]
  run timeout 60 sh -c '(echo; sleep 3) | "$0" console web' "$KILN" # ends by the time-out
  [[ $output == *login* ]]
  mkfifo "$BATS_TEST_TMPDIR/hold"
  "$KILN" console web <"$BATS_TEST_TMPDIR/hold" >"$BATS_TEST_TMPDIR/one" 2>&1 &
  local first=$!
  exec 7>"$BATS_TEST_TMPDIR/hold"
  for _ in $(seq 100); do fuser -s "$store/web/console.lock" 2>/dev/null && break; sleep 0.1; done
  run timeout 3 "$KILN" console web </dev/null
  [[ $output == *'somebody else writes on this console'*login* ]]
  exec 7>&-
  kill "$first"
}

@test "a VM runs once; nothing changes when a kiln is killed, and QEMU's end is noticed" {
  run "$KILN" start -d web
  [ "$status" = 1 ]
  [[ $output == *"VM 'web' is running"*"process $(field web pid) runs it"* ]]
  run "$KILN" rm web
  [ "$status" = 1 ]
  run "$KILN" rename web other
  [ "$status" = 1 ]
  "$KILN" create --name two tiny "${boot[@]}"
  # of two starts at the same time, one
  local first ended=0 other=0
  "$KILN" start -d two 2>"$BATS_TEST_TMPDIR/first" 3>&- &
  first=$!
  "$KILN" start -d two 2>"$BATS_TEST_TMPDIR/other" 3>&- || other=$?
  wait "$first" || ended=$?
  cat "$BATS_TEST_TMPDIR"/{first,other}
  [ $((ended + other)) = 1 ]
  grep -q "VM 'two' is running" "$BATS_TEST_TMPDIR"/{first,other}
  run "$KILN" start two
  [ "$status" = 1 ]
  [[ $output == *"VM 'two' is running"*"process $(field two pid) runs it"* ]]
  "$KILN" ssh --wait 100 two 'sleep 100' &
  local kiln=$! pid
  pid=$(field two pid)
  kill -9 "$kiln"
  kill -0 "$pid"
  kill -9 "$pid"
  "$KILN" wait two
  run "$KILN" status two
  [ "$status" = 3 ]
  [ "$output" = stopped ]
  run "$KILN" exec two true
  [ "$status" = 1 ]
  [[ $output == *"VM 'two' is not running"*"kiln start -d two"* ]]
  "$KILN" rename two three
  "$KILN" start -d three
  "$KILN" rm --force three
  run "$KILN" status three
  [ "$status" = 1 ]
}

@test "stop asks the guest, whose files stay; suspend, resume, restart" {
  "$KILN" exec web sh -c 'echo kept >/srv/f'
  "$KILN" suspend web
  [ "$("$KILN" status web)" = paused ]
  "$KILN" ps | grep -q '^web *tiny *paused'
  "$KILN" ls | grep -q '^ web *tiny *paused'
  run "$KILN" exec web true
  [ "$status" = 1 ]
  [[ $output == *"VM 'web' is suspended"*"hint: 'kiln resume web' lets it go on"* ]]
  "$KILN" resume web
  [ "$("$KILN" status web)" = running ]
  "$KILN" exec web true
  "$KILN" suspend web
  "$KILN" restart web # a suspended guest hears the power button, too
  [ "$("$KILN" exec web cat /srv/f)" = kept ]
  grep -q 'Power down' "$store/web/console.log.1"
  "$KILN" stop web
  grep -q 'Power down' "$store/web/console.log"
  run "$KILN" stop web
  [ "$status" = 1 ]
  [[ $output == *"VM 'web' is not running"* ]]
  "$KILN" logs web | grep -q 'Power down'
  # nothing waits beside a VM that has ended
  while fuser -s "$store/web/ssh.lock"; do :; done
}

@test "a VM without a name goes when it has ended, one that cannot start leaves nothing" {
  local name how
  name=$("$KILN" run -d tiny)
  [[ $name == tiny-???? ]]
  "$KILN" stop --kill "$name"
  [ ! -e "$store/$name" ]
  run "$KILN" run -d tiny -- -device none-such
  [ "$status" = 1 ]
  [[ $output == *"QEMU ended unexpectedly"*none-such* ]]
  for how in -d --ssh; do # nor does one with a name, before its first start
    run "$KILN" run $how --name fresh tiny -- -device none-such
    [ "$status" = 1 ]
    [ ! -e "$store/fresh" ]
  done
  run "$KILN" run -d tiny --ssh-command true
  [ "$status" = 2 ]
  [[ $output == *'--detach and --ssh-command do not go together'*'kiln exec'* ]]
  run "$KILN" run -d -p 1:1:1 tiny
  [ "$status" = 2 ]
  [ "$("$KILN" ps -qa)" = web ]
}

@test "a run without a name is listed and reached while it lasts, and leaves nothing" {
  "$KILN" run tiny --ssh-command true "${boot[@]}" 3>&- &
  local kiln=$! name
  until "$KILN" ps -q | grep -q '^tiny-'; do kill -0 "$kiln"; done
  kill -9 "$kiln"
  wait "$kiln" || true
  [ "$("$KILN" ps -qa)" = web ]
  [ "$(ls "$store")" = web ]
  mkfifo "$BATS_TEST_TMPDIR/in"
  "$KILN" run tiny --ssh-command cat "${boot[@]}" <"$BATS_TEST_TMPDIR/in" 3>&- &
  kiln=$!
  exec 8>"$BATS_TEST_TMPDIR/in"
  until name=$("$KILN" ps -q | grep '^tiny-....$'); do kill -0 "$kiln"; done
  [ "$("$KILN" exec --wait 100 "$name" echo reached)" = reached ]
  [ "$(field "$name" pid)" = "$kiln" ]
  "$KILN" ls | grep -q "^ $name *tiny *running *96.00 MiB"
  "$KILN" stop "$name"
  exec 8>&-
  local ended=0
  wait "$kiln" || ended=$?
  [ "$ended" = 143 ]
  [ "$(ls "$store")" = web ]
}

# A QEMU that does what the shell commands say first, but not when it is asked for its version.
make_qemu() { # FILE COMMANDS
  printf '%s\n' '#!/bin/sh' 'case $* in *-version*) ;; *)' "$2" ';; esac' \
    'exec qemu-system-x86_64 "$@"' >"$1"
  chmod +x "$1"
}

@test "a kiln that is killed while it starts a VM: the VM goes on and is found" {
  make_qemu "$BATS_TEST_TMPDIR/qemu" 'kill -9 $PPID'
  run "$KILN" run -d --name orphan -p 18081:80 --qemu-bin-name "$BATS_TEST_TMPDIR/qemu" tiny
  [ "$status" = 137 ]
  local pid
  pid=$(pgrep -f "qemu.*$store/orphan/disk")
  until "$KILN" port orphan 80; do kill -0 "$pid"; done
  [ "$("$KILN" port orphan 80)" = 127.0.0.1:18081 ]
  [ "$(field orphan pid)" = "$pid" ]
  [ "$(field orphan ssh_port)" -gt 0 ]
  "$KILN" stop --kill orphan
  run "$KILN" status orphan
  [ "$output" = stopped ]
  "$KILN" rm orphan
  # a temporary one is found, too, and goes, though its QEMU has not begun to work
  make_qemu "$BATS_TEST_TMPDIR/qemu" "kill -9 \$PPID; until [ -e $BATS_TEST_TMPDIR/go ]; do sleep 0.1; done"
  run "$KILN" run -d --qemu-bin-name "$BATS_TEST_TMPDIR/qemu" tiny
  until name=$("$KILN" ps -q | grep '^tiny-....$'); do :; done
  "$KILN" stop --kill "$name" 3>&- &
  local stop=$!
  touch "$BATS_TEST_TMPDIR/go"
  wait "$stop"
  [ ! -e "$store/$name" ]
}

@test "a VM in the background outlives the terminal that it was started on" {
  local name pid
  name=$(on_terminal "$KILN" run -d tiny 2>/dev/null | tr -d '\r' | grep -o 'tiny-....$')
  pid=$(field "$name" pid)
  [ "$(ps -o sid= -p "$pid")" -eq "$pid" ]
  [ "$(ps -o tty= -p "$pid" | xargs)" = '?' ]
  [ "$("$KILN" status "$name")" = running ]
  "$KILN" stop --kill "$name"
}

@test "temporary VMs go, whatever has ended them" {
  local name
  name=$("$KILN" run -d tiny)
  kill -9 "$(field "$name" pid)"
  "$KILN" wait "$name"
  [ ! -e "$store/$name" ]
  name=$("$KILN" run -d tiny)
  "$KILN" suspend --to-disk "$name"
  "$KILN" stop --kill "$name"
  [ ! -e "$store/$name" ]
  name=$("$KILN" run -d tiny)
  "$KILN" suspend --to-disk "$name"
  "$KILN" rename "$name" renamed
  "$KILN" resume renamed
  kill -9 "$(field renamed pid)"
  until [ -z "$("$KILN" ps -qa | grep renamed)" ]; do :; done
  # one whose kiln was killed before there was a QEMU
  make_qemu "$BATS_TEST_TMPDIR/qemu" 'kill -9 $PPID; exit 1'
  run "$KILN" run -d --qemu-bin-name "$BATS_TEST_TMPDIR/qemu" tiny
  [ "$status" = 137 ]
  until [ "$("$KILN" ps -qa)" = web ]; do :; done
  [ "$(ls "$store")" = web ]
}

@test "what ends while it is suspended: memory is lost, and that is said; a state on the disk stays" {
  local name
  "$KILN" create --name susp tiny
  "$KILN" start -d susp
  "$KILN" suspend susp
  kill -9 "$(field susp pid)"
  "$KILN" wait susp
  [ "$("$KILN" status susp || true)" = stopped ]
  run "$KILN" resume susp
  [ "$status" = 1 ]
  [[ $output == *"it ended while it was suspended, and its memory is lost"*"kiln start -d susp"* ]]
  "$KILN" start -d susp
  "$KILN" suspend --to-disk susp
  # what a host that went down leaves: records and sockets of nobody
  cp "$store/web/run.json" "$store/susp/run.json"
  rm -f "$store/susp/qmp.sock"
  python3 -c 'import os, socket, sys; os.chdir(sys.argv[1]); socket.socket(socket.AF_UNIX).bind("qmp.sock")' "$store/susp"
  [ "$("$KILN" status susp || true)" = suspended ]
  run "$KILN" exec susp true
  [ "$status" = 1 ]
  [[ $output == *"VM 'susp' is suspended to disk"*"'kiln resume susp' lets it go on"* ]]
  "$KILN" resume susp
  [ "$("$KILN" status susp)" = running ]
  "$KILN" rm --force susp
}

@test "a port or bridge that cannot be had is one clear error, and nothing stays" {
  local port holder
  mkfifo "$BATS_TEST_TMPDIR/bound"
  python3 -c 'import socket, time
s = socket.socket(); s.bind(("127.0.0.1", 18087)); s.listen(); print(flush=True); time.sleep(600)' >"$BATS_TEST_TMPDIR/bound" 3>&- &
  holder=$!
  read -r _ <"$BATS_TEST_TMPDIR/bound"
  for port in "-p 18087:81" "--ssh-port 18087" "-p 0.0.0.0:18087:81"; do
    # shellcheck disable=SC2086
    run --separate-stderr "$KILN" run -d $port tiny
    [ "$status" = 1 ]
    [[ $stderr == 'error: cannot use port 18087 of '*'Address already in use'*$'\n''hint: choose another one'* ]]
  done
  kill "$holder"
  run --separate-stderr "$KILN" run -d -p 18085:80 -p 18085:81 tiny
  [ "$status" = 2 ]
  [ "${stderr_lines[0]}" = "error: argument --publish: port 18085 of 127.0.0.1 leads to port 80 already" ]
  # taken between the look at it and QEMU's start
  make_qemu "$BATS_TEST_TMPDIR/qemu" 'python3 -c "
import socket, time
s = socket.socket(); s.bind((\"127.0.0.1\", 18086)); s.listen(); print(flush=True); time.sleep(600)" 3>&- >'"$BATS_TEST_TMPDIR/fifo"' & echo $! >'"$BATS_TEST_TMPDIR/pid; read _ <$BATS_TEST_TMPDIR/fifo"
  mkfifo "$BATS_TEST_TMPDIR/fifo"
  run --separate-stderr "$KILN" run -d -p 18086:80 --qemu-bin-name "$BATS_TEST_TMPDIR/qemu" tiny
  kill "$(cat "$BATS_TEST_TMPDIR/pid")"
  [ "$status" = 1 ]
  [[ $stderr == *'error: cannot use port 18086 of 127.0.0.1: Address already in use'* ]]
  [[ $stderr != *forwarding* ]]
  run --separate-stderr "$KILN" run -d --network tap,bridge=no-such tiny
  [ "$status" = 1 ]
  [[ ${stderr_lines[0]} == "error: no bridge 'no-such' on this host" ]]
  [ "$("$KILN" ps -qa)" = web ]
}

@test "a host without space: the VM is paused and goes on later, nothing is corrupt" {
  cat >"$BATS_TEST_TMPDIR/script" <<'END'
set -eu
mount -t tmpfs -o size=16m none "$1"
export KILN_VMSTORE_TEST=$1
k() { "$KILN" "$@" --vmstore "$KILN_VMSTORE_TEST"; }
shift
"$KILN" run --vmstore "$KILN_VMSTORE_TEST" -d --name full tiny "$@"
trap '"$KILN" stop --vmstore "$KILN_VMSTORE_TEST" --kill full' EXIT
x() { "$KILN" exec --vmstore "$KILN_VMSTORE_TEST" --wait 100 full "$@"; }
x sh -c 'head -c 30000000 /dev/urandom >/srv/f; sync; md5sum </srv/f >/srv/sum' &
writer=$!
until [ "$("$KILN" status --vmstore "$KILN_VMSTORE_TEST" full)" = paused ]; do kill -0 $writer; done
k ps 2>&1
k status --json full | grep '"no-space"'
if x true; then exit 9; fi
if k suspend --to-disk full; then exit 9; fi
head -c 20000000 /dev/zero >"$KILN_VMSTORE_TEST/fill" 2>/dev/null || true
if "$KILN" create --vmstore "$KILN_VMSTORE_TEST" --name other tiny; then exit 9; fi
mount -o remount,size=90m "$KILN_VMSTORE_TEST"
k resume full
wait $writer
x sh -c 'md5sum </srv/f | cmp - /srv/sum'
k stop full
# attached, it goes on by itself
head -c 200000000 /dev/zero >"$KILN_VMSTORE_TEST/fill" 2>/dev/null || true
"$KILN" start --vmstore "$KILN_VMSTORE_TEST" full --cmd 'head -c 9000000 /dev/urandom >/srv/g; sync; md5sum </srv/f | cmp - /srv/sum && exit 8' 2>"$KILN_VMSTORE_TEST.said" &
attached=$!
until grep -q 'the VM is paused until there is' "$KILN_VMSTORE_TEST.said"; do kill -0 $attached; done
rm "$KILN_VMSTORE_TEST/fill"
ended=0
wait $attached || ended=$?
cat "$KILN_VMSTORE_TEST.said"
[ $ended = 8 ]
trap - EXIT
qemu-img check "$KILN_VMSTORE_TEST/full/disk.qcow2"
head -c 200000000 /dev/zero >"$KILN_VMSTORE_TEST/fill" 2>/dev/null || true
k rm full
# and so does one without a name
rm "$KILN_VMSTORE_TEST/fill"
mount -o remount,size=16m "$KILN_VMSTORE_TEST"
head -c 9000000 /dev/zero >"$KILN_VMSTORE_TEST/fill"
TMPDIR=$KILN_VMSTORE_TEST "$KILN" run tiny --cmd 'head -c 9000000 /dev/urandom >/srv/g; sync; exit 8' "$@" 2>"$KILN_VMSTORE_TEST.said" &
attached=$!
until grep -q 'the VM is paused until there is' "$KILN_VMSTORE_TEST.said"; do kill -0 $attached; done
rm "$KILN_VMSTORE_TEST/fill"
ended=0
wait $attached || ended=$?
[ $ended = 8 ]
echo all well
END
  mkdir "$BATS_TEST_TMPDIR/store"
  run timeout 400 unshare --map-root-user --mount bash "$BATS_TEST_TMPDIR/script" "$BATS_TEST_TMPDIR/store" "${boot[@]}"
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"VM 'full' is paused: no space is left in '"*"'kiln resume full' lets it go on"* ]]
  [[ $output == *"VM 'full' is paused: no space is left"* ]]
  [[ $output == *"there is space again: the VM goes on"* ]]
  [[ $output == *"all well" ]]
}

@test "an image that is replaced and layers that are pruned leave VMs alone" {
  cp "$KILN_HOME/backend/tiny" "$BATS_TEST_TMPDIR/tiny"
  "$KILN" create --name still tiny "${boot[@]}"
  "$KILN" exec --wait 100 web true || { "$KILN" start -d web; "$KILN" exec --wait 100 web true; }
  "$KILN" image rm --force tiny
  "$KILN" prune --all
  [ "$("$KILN" exec web sh -c 'echo 3 >/proc/sys/vm/drop_caches 2>/dev/null; cat /etc/hostname')" = tiny ]
  qemu-img create -q -f qcow2 "$KILN_HOME/backend/tiny" 10M
  "$KILN" prune --all
  "$KILN" restart web
  "$KILN" exec --wait 100 web true
  "$KILN" start -d still
  "$KILN" exec --wait 100 still true
  "$KILN" rm --force still
  mv "$BATS_TEST_TMPDIR/tiny" "$KILN_HOME/backend/tiny"
}

@test "Ctrl-C ends each phase of a run, and leaves nothing" {
  make_qemu "$BATS_TEST_TMPDIR/qemu" 'echo $$ >'"$BATS_TEST_TMPDIR/started; exec sleep 300"
  local how signal ended
  "$KILN" create --name slow tiny "${boot[@]}"
  while read -r signal how; do # QEMU does not answer
    rm -f "$BATS_TEST_TMPDIR/started"
    ended=0
    # shellcheck disable=SC2086
    env --default-signal "$KILN" $how --qmp-timeout 200 --qemu-bin-name "$BATS_TEST_TMPDIR/qemu" >/dev/null 2>"$BATS_TEST_TMPDIR/said" 3>&- &
    until [ -s "$BATS_TEST_TMPDIR/started" ]; do kill -0 $!; done
    kill -"$signal" $!
    wait $! || ended=$?
    echo "$signal $how: $ended $(cat "$BATS_TEST_TMPDIR/said")"
    [ "$ended" = $((128 + $(kill -l "$signal"))) ]
    [[ $(cat "$BATS_TEST_TMPDIR/said") != *qmp.sock* ]]
    run kill -0 "$(cat "$BATS_TEST_TMPDIR/started")"
    [ "$status" != 0 ]
    [ "$("$KILN" ps -qa | xargs)" = "slow web" ]
    [ "$("$KILN" status slow)" = stopped ]
  done <<<'TERM run tiny
INT run -d tiny
HUP run -d tiny
INT run -d --name fresh tiny
TERM run -d --name fresh tiny --hostname fresh
INT run --name fresh tiny
TERM start -d slow
INT start slow
HUP start -d slow'
  "$KILN" start -d slow
  "$KILN" rm --force slow
  for signal in INT TERM HUP QUIT; do # SSH is awaited; env: a shell's background jobs ignore SIGINT
    env --default-signal "$KILN" run tiny --ssh-command true >/dev/null 2>"$BATS_TEST_TMPDIR/said" 3>&- &
    until grep -q 'waiting for SSH' "$BATS_TEST_TMPDIR/said"; do kill -0 $!; done
    ended=0
    kill -"$signal" $!
    wait $! || ended=$?
    [ "$ended" = $((128 + $(kill -l "$signal"))) ]
  done
  [ "$("$KILN" ps -qa)" = web ]
}

@test "stop --kill ends a VM whose shell lets background jobs ignore SIGINT and SIGQUIT" {
  local name ended=0
  (trap '' INT QUIT; exec "$KILN" run tiny --ssh-command true "${boot[@]}") 3>&- &
  until name=$("$KILN" ps -q | grep '^tiny-....$'); do kill -0 $!; done
  "$KILN" stop --kill "$name"
  wait $! || ended=$?
  [ "$ended" = 131 ] # not 137: it had time to put its terminal back
}

@test "a command behind -- is not for QEMU; TRANSIENT_VMSTORE and _BACKEND count without KILN_HOME" {
  run "$KILN" run tiny -- ls /
  [ "$status" = 2 ]
  [[ $output == *"'ls': arguments after -- are for QEMU"*"hint: "*"kiln run IMAGE ls"* ]]
  mkdir "$BATS_TEST_TMPDIR/vms"
  [ "$(env -u KILN_HOME "TRANSIENT_VMSTORE=$store" "$KILN" ps -q)" = web ]
  [ "$(TRANSIENT_VMSTORE=$BATS_TEST_TMPDIR/vms "$KILN" ps -q)" = web ]
  env -u KILN_HOME "TRANSIENT_VMSTORE=$BATS_TEST_TMPDIR/vms" "TRANSIENT_BACKEND=$KILN_HOME/backend" "$KILN" create --name there tiny
  [ -e "$BATS_TEST_TMPDIR/vms/there/vm.json" ]
}

@test "signals end an attached VM, and its terminal is as it was" {
  local signal
  for signal in TERM HUP; do
    timeout 100 python3 -c '
import os, pty, signal, sys, termios, time
pid, fd = pty.fork()
if not pid:
    os.execv(sys.argv[1], sys.argv[1:2] + sys.argv[3:])
before = termios.tcgetattr(fd)
while termios.tcgetattr(fd)[3] & termios.ICANON:
    time.sleep(0.05)
os.kill(pid, getattr(signal, "SIG" + sys.argv[2]))
seen = None
try:
    while os.read(fd, 4096):
        seen = termios.tcgetattr(fd)
except OSError:
    pass
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + getattr(signal, "SIG" + sys.argv[2])
assert seen[3] == before[3], (seen, before)
' "$KILN" "$signal" run --shutdown-timeout 2 tiny
  done
  [ "$("$KILN" ps -qa)" = web ]
}

@test "many VMs at once: each has a name and a port of its own" {
  local i pids=() names
  for i in 1 2 3 4 5 6; do
    "$KILN" run -d -m 64 tiny >"$BATS_TEST_TMPDIR/$i" 2>/dev/null 3>&- &
    pids+=($!)
  done
  for i in "${pids[@]}"; do wait "$i"; done
  names=$(sort -u "$BATS_TEST_TMPDIR"/?)
  [ "$(wc -l <<<"$names")" = 6 ]
  [ "$("$KILN" ps --json | python3 -c 'import json, sys; print(len({v["ssh_port"] for v in json.load(sys.stdin) if v["name"] != "web"}))')" = 6 ]
  # shellcheck disable=SC2086
  "$KILN" stop --kill $names
  [ "$("$KILN" ps -qa)" = web ]
}

@test "a second login to a VM that is attached elsewhere" {
  "$KILN" stop --kill web || true
  mkfifo "$BATS_TEST_TMPDIR/in"
  "$KILN" start web --ssh-command 'cat >/dev/null; echo over' <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out" 2>&1 &
  local kiln=$!
  exec 8>"$BATS_TEST_TMPDIR/in"
  for _ in $(seq 100); do [ -e "$store/web/run.json" ] && break; sleep 0.1; done
  [ "$("$KILN" exec web echo second)" = second ]
  run timeout 20 "$KILN" console web
  [ "$status" = 1 ]
  [[ $output == *'belongs to the kiln that runs it'* ]]
  run "$KILN" commit web committed
  [ "$status" = 1 ]
  [[ $output == *"VM 'web' runs attached to another kiln"*"'kiln stop web'"* ]]
  [ ! -e "$KILN_HOME/backend/committed" ]
  exec 8>&-
  wait "$kiln"
  grep -q over "$BATS_TEST_TMPDIR/out"
}
