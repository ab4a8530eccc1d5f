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
  "$KILN" run -d --name web -p 127.0.0.1:18080:80 -p 18053:53/udp tiny "${boot[@]}"
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
  ! ss -tlnp | grep "pid=$(field web pid)," | grep -v '127.0.0.1:'
}

@test "a UDP port that is published leads to the guest" {
  # nobody listens there; the guest's kernel counts what comes
  local count=(awk '/^Udp:/ { n = $3 } END { print n }' /proc/net/snmp) before tries=50
  before=$("$KILN" exec web "${count[@]}")
  python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("127.0.0.1", 18053))'
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

@test "logs and console: one writes, others read along" {
  "$KILN" logs web | grep -q 'Linux version\|login:'
  [ "$("$KILN" logs -n 1 web | wc -l)" -le 1 ]
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
  "$KILN" start -d two
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
  run "$KILN" exec --wait 2 web true
  [ "$status" = 1 ]
  [[ $output == *"hint: --wait waits longer; 'kiln logs web' shows its console"* ]]
  "$KILN" resume web
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
  local name
  name=$("$KILN" run -d tiny)
  [[ $name == tiny-???? ]]
  "$KILN" stop --kill "$name"
  [ ! -e "$store/$name" ]
  run "$KILN" run -d tiny -- -device none-such
  [ "$status" = 1 ]
  [[ $output == *"QEMU ended unexpectedly"*none-such* ]]
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
  exec 8>&-
  wait "$kiln"
  grep -q over "$BATS_TEST_TMPDIR/out"
}
