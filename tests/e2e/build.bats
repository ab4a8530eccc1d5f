#!/usr/bin/env bats
# Each instruction and flag, built for real: what must be on the resulting disk.
bats_require_minimum_version 1.5.0
# shellcheck disable=SC2016,SC2046

setup_file() {
  export TOP
  TOP=$(mktemp -d "${TMPDIR:-/tmp}/kiln-build.XXXXXX")
  export KILN_HOME=$TOP/home KILN_ACCEL=${KILN_ACCEL:-tcg}
  . tests/e2e/common.bash
  share_appliance "$KILN_HOME"
  make_base "$TOP/base" base >&2
  begin_stuck
}

# A build whose VM stops in mid-step, as seen from outside; the last test looks at what kiln made of it meanwhile.
begin_stuck() {
  mkdir "$TOP/stuck"
  printf 'FROM base\nRUN echo started; sleep 1000\n' >"$TOP/stuck/Imagefile"
  "$KILN" image build --name stuck "$TOP/stuck" >"$TOP/stuck/out" 2>&1 3>&- &
  echo $! >"$TOP/stuck/pid"
  timeout 60 sh -c "until grep -qx started '$TOP/stuck/out'; do sleep 0.1; done"
  kill -STOP $(pgrep -P "$(cat "$TOP/stuck/pid")" -f qemu-system)
}

teardown_file() {
  . tests/e2e/common.bash
  no_leftovers "$KILN_HOME"
  rm -rf "$TOP"
}

setup() {
  DIR=$TOP/$BATS_TEST_NUMBER
  mkdir "$DIR"
}

# What a test has running in the background, should it fail.
teardown() { [ ! -e "$DIR/server" ] || kill $(cat "$DIR/server") || true; }

# build [flags]: the Imagefile on stdin after "FROM base"; image t<number>
build() {
  { echo 'FROM base'; cat; } >"$DIR/Imagefile"
  "$KILN" image build --name "t$BATS_TEST_NUMBER" "$@" "$DIR"
}
inside() { "$KILN" shell "t$BATS_TEST_NUMBER" -c "$1"; }
# The resulting disk, read on the host by programs that have nothing of kiln's.
disk() { "$KILN" image export --format raw "t$BATS_TEST_NUMBER" "$DIR/disk.raw"; }
debug() { debugfs -R "$1" "$DIR/disk.raw?offset=1048576" 2>/dev/null; }
capability() { debug "ea_get -x $1 security.capability" | sed -n 's/.*= *//p' | tr -d ' \n'; }

@test "RUN: its command runs as root in the image, output is shown live and kept" {
  run build <<<'RUN id -u; pwd; umask; echo to-stderr >&2; hostname'
  [ "$status" -eq 0 ]
  # the two streams are pipes of their own: which of two lines comes first is not told
  [[ $output == *"Step 2/2 : RUN id -u"*$'\n0\n/\n0022\n'* ]]
  [[ $output == *$'\nto-stderr\n'* && $output == *$'\nlocalhost\n'* ]]
  run "$KILN" image log "t$BATS_TEST_NUMBER" 2
  [ "$(sort <<<"$output")" = $'/\n0\n0022\nlocalhost\nto-stderr' ]
}

@test "RUN: nothing of ours stays in the layer, and nothing that was started" {
  build <<<'RUN sleep 1000 & echo x >/tmp/kept; ls /proc/self /dev/null /sys/class >/dev/null'
  # seen from another image: the shell would show what is mounted over it
  printf 'FROM base\nCOPY --from=t%s / /seen\n' "$BATS_TEST_NUMBER" >"$DIR/Imagefile"
  "$KILN" image build --name "u$BATS_TEST_NUMBER" "$DIR"
  run "$KILN" shell "u$BATS_TEST_NUMBER" -c 'cd /seen; cat tmp/kept; find run proc sys dev usr etc ! -type d 2>/dev/null | sort'
  [ "$output" = $'x\netc/group\netc/os-release\netc/passwd' ]
}

@test "RUN: what it makes of resolv.conf, hosts and hostname is in the layer, and all of it" {
  build <<'END'
RUN ln -s ../run/systemd/resolve/resolv.conf /etc/resolv.conf
RUN [ ! -e /etc/resolv.conf ] && mv /etc/resolv.conf /etc/link && echo 'nameserver 192.0.2.53' >/etc/resolv.conf
RUN sed -i 's/53$/54/' /etc/resolv.conf && mv /etc/resolv.conf /etc/moved && ln -s moved /etc/resolv.conf
RUN echo web >/etc/hostname; echo '127.0.0.1 localhost web' >/etc/hosts; hostname
RUN sed -i '/^::1/d' /etc/hosts; hostname >/etc/called; rm /etc/link
END
  run inside 'readlink /etc/resolv.conf; cat /etc/resolv.conf /etc/called /etc/hosts; ls /etc/link 2>&1'
  [ "$output" = $'moved\nnameserver 192.0.2.54\nweb\n127.0.0.1 localhost web\nls: /etc/link: No such file or directory' ]
}

@test "RUN: addresses are not random, so that TCG finds what it has translated" {
  build <<<'RUN [ "$(cat /proc/sys/kernel/randomize_va_space)" = 0 ]'
}

@test "RUN: the disk is /dev/vda, and /dev/sda as transient's Imagefiles have it" {
  run build <<<'RUN [ -b /dev/vda ] && [ /dev/sda1 -ef /dev/vda1 ] && dd if=/dev/sda bs=512 count=1 of=/tmp/mbr'
  [ "$status" -eq 0 ]
}

@test "RUN that fails: exit 1, names step, place, command and exit status; the next build resumes" {
  run build <<<$'RUN echo one >/one\nRUN echo two; exit 3'
  [ "$status" -eq 1 ]
  [[ $output == *"Imagefile:3:1: error: step 3 (RUN echo two; exit 3) failed with exit status 3"* ]]
  run build <<<$'RUN echo one >/one\nRUN kill -9 $$'
  [[ $output == *"error: step 3 (RUN kill -9 "*") was killed by signal 9 (Killed)"* ]]
  run build <<<$'RUN echo one >/one\nRUN true'
  [ "$status" -eq 0 ]
  [[ $output == *"Step 2/3 : RUN echo one >/one (cached)"* ]]
}

@test "RUN that fails: what is too long is named, and systemctl enable --now gets a hint" {
  {
    printf 'ENV SMALL=x BIG=%0131070d\n' 0
    echo 'RUN true'
  } >"$DIR/big"
  run build <"$DIR/big"
  [ "$status" -eq 1 ]
  [[ $output == *"the variable 'BIG' has 131074 bytes, a program takes 131071"*"hint: "* ]]
  run build <<<"RUN [\"/bin/sh\", \"-c\", \"true\", \"$(printf %0131072d 0)\"]"
  [[ $output == *"word 4 of the command has 131072 bytes, a program takes 131071"* ]]
  for text in "System has not been booted with systemd as init system (PID 1). Can't operate." \
    '--now cannot be used when systemd is not running or in conjunction with --root=/--global, refusing.'; do
    run build <<<"RUN echo \"$text\" >&2; exit 1"
    [ "$status" -eq 1 ]
    [[ $output == *"'systemctl enable' without --now is enough"* ]]
  done
}

@test "a failed RUN's output is kept, shown again where it was not shown, and the next steps are told" {
  t=t$BATS_TEST_NUMBER
  run build <<<$'RUN echo fine\nRUN echo said; exit 3'
  [ "$status" -eq 1 ]
  [[ $output == *"hint: 'kiln image log $t failed'"*"'kiln shell $t@2'"*--on-error=shell* ]]
  for step in failed 3; do [ "$("$KILN" image log $t $step)" = said ]; done
  [ "$("$KILN" image log $t 2)" = fine ]
  run "$KILN" image build --quiet --name $t "$DIR"
  [ "$status" -eq 1 ]
  [[ $output == *$'exit status 3\nlast lines of its output:\n  said\nhint: '* ]]
  # as JSON: the last event says it, with its place
  run --separate-stderr "$KILN" image build --progress=json --name $t "$DIR"
  [ "$status" -eq 1 ]
  tail -n 1 <<<"$output" | DIR=$DIR python3 -c 'import json, os, sys
e = json.load(sys.stdin)
assert e["event"] == "error" and e["line"] == 3 and e["file"] == os.environ["DIR"] + "/Imagefile", e
assert e["message"].endswith("failed with exit status 3") and "image log" in e["hint"], e'
  build -q <<<$'RUN echo fine\nRUN echo said'
  run "$KILN" image log $t failed
  [ "$status" -eq 1 ]
  [[ $output == "error: no output of a failed step of '$t' is kept"* ]]
}

@test "a build without standard descriptors, one whose reader goes, one at a limit of file size" {
  build -q <<<'RUN echo a'
  sed -i 's/echo a/echo b/' "$DIR/Imagefile"
  run bash -c '"$KILN" image build --name t "$1" <&- >&- 2>&-' - "$DIR"
  [ "$status" -eq 0 ]
  "$KILN" image build --require-cached -q --name t "$DIR"
  printf 'FROM base\nRUN yes\n' >"$DIR/Imagefile"
  run bash -c '"$KILN" image build --name t "$1" | head -n 3; exit "${PIPESTATUS[0]}"' - "$DIR"
  [ "$status" -eq 141 ]
  run bash -c '"$KILN" shell base -c yes | head -n 3 >/dev/null; exit "${PIPESTATUS[0]}"'
  [ "$status" -eq 141 ]
  run bash -c 'ulimit -f 0; "$KILN" image build --name t "$1"' - "$DIR"
  [ "$status" -eq 1 ]
  [[ $output == *"File too large"*"hint: "*"ulimit -f"* ]]
}

@test "RUN: JSON form, SHELL, USER, WORKDIR, ENV, ARG" {
  build --build-arg V=given <<'END'
ARG V=default
ARG W=default
ENV A="a b" B=$V
RUN ["/bin/sh", "-c", "echo \"$0:$A:$B:$V:$W\" >/json", "zero"]
WORKDIR /work/dir
WORKDIR sub
RUN pwd >/tmp/pwd
USER user:staff
RUN id -u >/tmp/ids; id -g >>/tmp/ids; echo "$HOME" >>/tmp/ids; echo x >/dev/stdout; unshare -Ur true
USER root
SHELL ["/bin/busybox", "ash", "-e", "-c"]
RUN false || true; echo "$-" >/flags
END
  run inside 'cat /json /tmp/pwd /tmp/ids /flags'
  [ "${lines[0]}" = 'zero:a b:given:given:default' ]
  [ "${lines[1]}" = /work/dir/sub ]
  [ "${lines[2]}" = 1000 ]
  [ "${lines[3]}" = 50 ]
  [ "${lines[4]}" = /home/user ]
  [[ ${lines[5]} == *e* ]]
}

@test "RUN: here-documents, several, as script and with a shebang" {
  build <<'END'
RUN <<EOF
echo "$HOME" >/one
EOF
RUN cat <<A >/two && cat <<'B' >>/two
first $HOME
A
second $HOME
B
RUN <<EOF
#!/bin/awk -f
BEGIN { print "awk" >"/three" }
EOF
END
  run inside 'cat /one /two /three'
  [ "$output" = $'/root\nfirst /root\nsecond $HOME\nawk' ]
}

@test "RUN: a script longer than an argument may be: here-document, long command, SHELL, #!" {
  {
    echo 'RUN <<EOF'
    echo 'set -e; read -r nothing || echo "$0" >/one'
    seq -f ': %012.0f ..............................................................' 4000
    echo 'cat >>/one <<X'; echo 'inner $HOME'; echo 'X'; echo 'exit 0'; echo 'false'
    echo 'EOF'
    echo 'RUN cat <<A >/two && wc -c /two >>/two'
    seq -f '%0100.0f' 3000
    echo 'A'
    echo 'USER user'
    echo 'SHELL ["/bin/busybox", "ash", "-e", "-c"]'
    echo 'RUN <<EOF'
    seq -f ': %0100.0f' 3000
    echo 'echo "$-" >/tmp/three; id -u >>/tmp/three; ls /dev/kiln-script /tmp; false; true'
    echo 'EOF'
  } >"$DIR/long"
  [ "$(stat -c %s "$DIR/long")" -gt 900000 ]
  run build <"$DIR/long"
  [ "$status" -eq 1 ]
  [[ $output == *"step 6 "*" failed with exit status 1"* ]]
  sed -i 's/; false; true$//' "$DIR/long"
  build <"$DIR/long"
  run inside 'cat /one; tail -n 1 /two; cat /tmp/three; ls -A /dev'
  [ "${lines[0]}" = /bin/sh ]
  [ "${lines[1]}" = 'inner /root' ]
  [ "${lines[2]}" = '303000 /two' ]
  [[ ${lines[3]} == *e* && ${lines[4]} = 1000 ]]
  # the whole script is in the key
  sed -i '0,/: 000000002000/s//: 000000002001/' "$DIR/long"
  run build --require-cached <"$DIR/long"
  [[ $output == *'step 2 is not cached'* ]]
  { echo 'RUN <<EOF'; echo '#!/bin/awk -f'; seq -f '# %0100.0f' 3000; echo 'BEGIN { print "awk" >"/four" }'; echo 'EOF'; } | build
  run inside 'cat /four'
  [ "$output" = awk ]
  run build < <(echo 'SHELL ["/bin/awk"]'; echo 'RUN <<EOF'; seq -f '# %0100.0f' 3000; echo 'EOF')
  [ "$status" -eq 1 ]
  [[ $output == *"too long for what SHELL names ('/bin/awk')"* && $output == *'#!'* ]]
}

@test "RUN --network=none has only the loopback; the default has a way out" {
  build <<<$'RUN --network=none ip -o link | wc -l >/links; ip route | wc -l >>/links\nRUN ip route >/routes'
  run inside 'cat /links /routes'
  [ "${lines[0]}" = 1 ]
  [ "${lines[1]}" = 0 ]
  [[ ${lines[2]} == default* ]]
}

@test "RUN does not reach the host's loopback, unless a proxy is there" {
  # a server that says what it is asked, on a port that the kernel chooses
  python3 -c 'import socketserver, sys
class H(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(b"host has " + self.rfile.readline())
s = socketserver.TCPServer(("127.0.0.1", 0), H)
print(s.server_address[1], flush=True)
s.serve_forever()' >"$DIR/port" 3>&- &
  server=$!
  until [ -s "$DIR/port" ]; do kill -0 $server && sleep 0.1; done
  port=$(cat "$DIR/port")
  ask="echo question | nc -w 9 10.0.2.2 $port"
  build <<END
RUN ! $ask
ENV http_proxy=http://10.0.2.2:$port/
RUN $ask >/answer
ENV http_proxy=http://10.0.2.22:$port/ no_proxy=10.0.2.2
RUN ! $ask
END
  kill $server
  run inside 'cat /answer'
  [ "$output" = 'host has question' ]
}

@test "RUN --mount=type=cache survives builds and is never in the image" {
  build <<<'RUN --mount=type=cache,target=/cache,id=bats echo kept >/cache/file'
  run inside 'ls -d /cache'
  [ "$status" -ne 0 ]
  run build <<<'RUN --mount=type=cache,target=/other/place,id=bats cat /other/place/file'
  [ "$status" -eq 0 ]
  [[ $output == *$'\nkept\n'* ]]
}

# Fails if a line of the file $1 is in a file below the other arguments, or in a command line.
nowhere() {
  local needles=$1
  shift
  LC_ALL=C run grep -rlaFf "$needles" "$@"
  echo "$output"
  [ "$status" -eq 1 ]
  cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' >"$DIR/commands"
  run ! grep -aFf "$needles" "$DIR/commands"
}

@test "RUN --mount=type=secret: its bytes are nowhere but in the command's hands" {
  local pin=$RANDOM-the-pin-$RANDOM secret=correct-horse-$RANDOM$RANDOM-battery pid
  printf '%s\n' "$secret" second-line-$RANDOM$RANDOM >"$TOP/secret-file"
  { cat "$TOP/secret-file"; echo "$pin"; } >"$TOP/needles"
  cat >"$DIR/text" <<'END'
RUN --mount=type=secret,id=pw,required=true --mount=type=secret,id=pin,target=/root/pin <<EOF
echo 'seen by everybody' >/marker
wc -c </run/secrets/pw >/size
cat /run/secrets/pw /root/pin
sed 's/^/again /' /root/pin >&2
stat -c %a /run/secrets/pw
"$(cat /root/pin)"
[ ! -e /tmp/wait ] || sleep 600
echo done
EOF
END
  mkdir "$DIR/tmp" "$DIR/running"
  # while it runs: its disks, the template, the console, command lines, QEMU's environment
  { echo 'FROM base'; echo 'RUN touch /tmp/wait'; sed 's/^stat/echo; echo started; stat/' "$DIR/text"; } >"$DIR/running/Imagefile"
  TMPDIR=$DIR/tmp pin=$pin "$KILN" image build -vv --name "running" --secret "id=pw,src=$TOP/secret-file" --secret id=pin,env=pin "$DIR/running" >"$DIR/running.out" 2>&1 3>&- &
  pid=$!
  echo $pid >"$DIR/server"
  timeout 60 sh -c "until grep -q '^started' '$DIR/running.out'; do sleep 0.1; done"
  pgrep -P $pid -f qemu >"$DIR/qemu"
  grep -ao 'mem-path=[^,]*' "/proc/$(cat "$DIR/qemu")/cmdline" | cut -d= -f2 >"$DIR/template"
  # (mostly holes, which tar leaves out)
  tar -cSf - "$(dirname "$(cat "$DIR/template")")" | LC_ALL=C grep -aFf "$TOP/needles" >"$DIR/found" || true
  [ ! -s "$DIR/found" ]
  nowhere "$TOP/needles" "$KILN_HOME" "$DIR/tmp" "$DIR/running.out"
  tr '\0' '\n' <"/proc/$(cat "$DIR/qemu")/environ" >"$DIR/environment"
  run ! grep -aFf "$TOP/secret-file" "$DIR/environment"
  rm "$DIR/environment" # its kiln was given the other one there
  kill $pid
  wait $pid || true
  rm "$DIR/server"
  # afterwards: layers, records, logs, history, context index, what was shown, what a failed step left
  TMPDIR=$DIR/tmp pin=$pin build -vv --progress=json --secret "id=pw,src=$TOP/secret-file" --secret id=pin,env=pin <"$DIR/text" >"$DIR/out" 2>&1
  { cat "$DIR/text"; echo 'RUN --mount=type=secret,id=pin cat /run/secrets/pin; exit 1'; } >"$DIR/fails"
  pin=$pin run build --on-error=keep --secret "id=pw,src=$TOP/secret-file" --secret id=pin,env=pin <"$DIR/fails"
  [ "$status" -eq 1 ]
  echo "$output" >"$DIR/failed.out"
  "$KILN" image history --json "t$BATS_TEST_NUMBER" >"$DIR/history"
  "$KILN" image inspect --json "t$BATS_TEST_NUMBER" >"$DIR/inspect"
  "$KILN" image log "t$BATS_TEST_NUMBER" 2 >"$DIR/log"
  nowhere "$TOP/needles" "$KILN_HOME" "$DIR"
  grep -q '\*\*\*\*' "$DIR/out" && grep -q '\*\*\*\*' "$DIR/log" && grep -q '\*\*\*\*' "$DIR/failed.out"
  # the search is one that finds
  echo 'seen by everybody' >"$TOP/needles"
  grep -rlaFf "$TOP/needles" "$KILN_HOME/backend" | grep -q disk.qcow2
  rm "$TOP/secret-file" "$TOP/needles"
  run inside 'cat /size; ls -A /run/secrets /run /root'
  [[ ${lines[0]} -gt ${#secret} ]]
  [[ $output != *pw* && $output != *pin* ]]
  # another value, and it is the same step
  build --require-cached --secret id=pw,env=HOME --secret id=pin,env=HOME <"$DIR/text"
}

@test "RUN --mount=type=secret,required without the secret is an error that says how to give it" {
  run build <<<'RUN --mount=type=secret,id=nope,required=true true'
  [ "$status" -eq 1 ]
  [[ $output == *"secret 'nope' is required"*--secret* ]]
}

@test "RUN --mount=type=secret with a target, from the environment, not given; type=cache by its target" {
  PIN=from-the-environment build --secret id=pin,env=PIN <<'END'
RUN --mount=type=secret,id=pin,target=/root/pin [ "$(cat /root/pin)" = from-the-environment ] && stat -c %a:%u /root/pin >/seen
RUN --mount=type=secret,id=none ls /run/secrets >/none 2>&1 || true
RUN --mount=type=cache,target=/by/target echo 1 >/by/target/f
RUN --mount=type=cache,target=/by/target cat /by/target/f >/cached
RUN --mount=type=cache,dst=/elsewhere,id=/by/target cat /elsewhere/f >>/cached
RUN --mount=type=secret,id=pin,env=TOKEN [ "$TOKEN" = from-the-environment ] && [ ! -e /run/secrets/pin ]
RUN --mount=type=tmpfs,target=/t,size=64k df -k /t | grep -q ' 64 '
USER user
RUN --mount=type=secret,id=pin,gid=1000,mode=0440 --mount=type=cache,target=/mine,uid=1000,mode=0700 \
    cat /run/secrets/pin && ls -A /mine >/tmp/mine && touch /mine/f && stat -c %a:%u:%g /run/secrets/pin /mine >>/tmp/mine
END
  run inside 'exec 2>&1; cat /seen /cached; [ -e /root/pin ] || echo gone; ls -d /by /elsewhere; cat /none /tmp/mine'
  [ "${lines[0]}" = 400:0 ]
  [ "${lines[1]}${lines[2]}" = 11 ]
  [ "${lines[3]}" = gone ]
  [[ $output == *'/by: No such'* && $output == *'/elsewhere: No such'* ]]
  [[ $output == *$'\n440:0:1000\n700:1000:0' ]]
}

@test "RUN --mount=type=tmpfs and bind" {
  mkdir "$DIR/src"; echo from-context >"$DIR/src/f"
  build <<'END'
RUN --mount=type=tmpfs,target=/t echo x >/t/x && mount | grep -q "/t type tmpfs"
RUN --mount=type=bind,source=src,target=/b cat /b/f >/seen; ! touch /b/no
END
  run inside 'cat /seen; ls -d /t /b'
  [ "${lines[0]}" = from-context ]
  [[ $output != *$'\n/t'* && $output != *$'\n/b'* ]]
}

@test "RUN --mount=type=bind: several at once, of the build directory, a stage and an image, with a cache" {
  mkdir -p "$DIR/src/sub" "$DIR/other"; echo one >"$DIR/src/f"; echo two >"$DIR/other/f"; echo three >"$DIR/single"
  chown 7:8 "$DIR/src/f"; ln -s f "$DIR/src/link"; echo hidden >"$DIR/src/no.bak"; echo '**/*.bak' >"$DIR/.imageignore"
  cat >"$DIR/Imagefile" <<'END'
FROM base AS maker
ARG WHERE=other
RUN mkdir /made && echo four >/made/f
FROM base
ARG WHERE=other
RUN --mount=type=cache,target=/c --mount=type=cache,target=/c2,id=/c \
    --mount=type=bind,source=src,target=/mnt/a \
    --mount=source=$WHERE,target=/mnt/b \
    --mount=type=bind,source=single,target=/mnt/file,readonly \
    --mount=type=bind,from=maker,source=/made,target=/mnt/stage \
    --mount=type=bind,from=maker,source=made/f,target=/mnt/stagefile \
    --mount=type=bind,from=base,target=/mnt/base \
    --mount=type=bind,target=/mnt/all <<EOF
set -e
cd /mnt
cat a/f a/link b/f file stage/f stagefile all/other/f >/seen
for f in a/f b/f file stage/f stagefile base/etc/passwd all/single; do ! echo x 2>/dev/null >>$f; done
[ -e base/etc/passwd ] && [ ! -e a/no.bak ] && [ ! -e all/src/no.bak ]
[ -z "$(ls -A /c)" ]
echo cached >/c/f; cat /c2/f >>/seen
EOF
END
  "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  run inside 'cat /seen; ls -A /mnt /c /c2'
  [ "$(head -8 <<<"$output")" = $'one\none\ntwo\nthree\nfour\nfour\ntwo\ncached' ]
  [[ $output == *'/mnt: No such'* && $output == *'/c: No such'* && $output == *'/c2: No such'* ]]
  # what is bound is part of the key, file by file
  touch "$DIR/other/f"
  "$KILN" image build --require-cached --name "t$BATS_TEST_NUMBER" "$DIR"
  echo changed >"$DIR/other/f"
  run "$KILN" image build --require-cached --name "t$BATS_TEST_NUMBER" "$DIR"
  [ "$status" -eq 1 ]
}

@test "RUN --mount=type=cache of two builds at once: shared and locked wait, private gets its own" {
  local i pid pid2
  for i in holds waits private; do mkdir "$DIR/$i"; done
  printf 'FROM base\nRUN --mount=type=cache,target=/x --mount=type=cache,target=/c echo 1 >/c/f && echo started; sleep 600\n' >"$DIR/holds/Imagefile"
  # another order of the same two: neither build may wait for the other for ever
  printf 'FROM base\nRUN --mount=type=cache,target=/c,sharing=locked --mount=type=cache,target=/x,sharing=locked echo 2 >>/c/f; cat /c/f >/seen\n' >"$DIR/waits/Imagefile"
  printf 'FROM base\nRUN --mount=type=cache,target=/c,sharing=private ls -A /c; echo mine >>/c/f; cat /c/f >/seen\n' >"$DIR/private/Imagefile"
  "$KILN" image build --name "holds" "$DIR/holds" >"$DIR/holds/out" 2>&1 3>&- &
  pid=$!
  echo $pid >"$DIR/server"
  timeout 60 sh -c "until grep -qx started '$DIR/holds/out'; do sleep 0.1; done"
  "$KILN" image build --name "waits" "$DIR/waits" >"$DIR/waits/out" 2>&1 3>&- &
  pid2=$!
  echo $pid2 >>"$DIR/server"
  timeout 60 sh -c "until grep -q waiting '$DIR/waits/out'; do sleep 0.1; done"
  grep -q "waiting for another build that uses the cache mount '/c'" "$DIR/waits/out"
  run "$KILN" image build --name private "$DIR/private"
  [ "$status" -eq 0 ]
  [[ $output == *"another build uses the cache mount '/c': this one gets a cache of its own"* ]]
  run "$KILN" image build --no-cache --name private "$DIR/private"
  [[ $output == *$'\nf\n'* ]] # its own is found again
  run "$KILN" shell private -c 'cat /seen'
  [ "$output" = $'mine\nmine' ]
  kill -0 $pid2
  kill $pid
  wait $pid || true
  wait $pid2
  rm "$DIR/server"
  # what the killed one had is not repaired
  run "$KILN" shell waits -c 'cat /seen'
  [ "$output" = 2 ]
}

@test "COPY: modes, links, hard links, sparse files, capabilities, xattrs, strange names" {
  mkdir -p "$DIR/d/sub"
  echo x >"$DIR/d/plain"; chown 7:8 "$DIR/d/plain"; chmod 4751 "$DIR/d/plain"
  ln "$DIR/d/plain" "$DIR/d/hard"
  ln -s /etc/shadow "$DIR/d/out"
  ln -s ../../../../nowhere "$DIR/d/dangling"
  truncate -s 20M "$DIR/d/sparse"; printf end >>"$DIR/d/sparse"
  echo a >"$DIR/d/with space"; echo b >"$DIR/d/"$'new\nline'; echo c >"$DIR/d/"$'\xff\xfe'
  echo tool >"$DIR/d/capable"; setcap cap_net_raw+ep "$DIR/d/capable"
  setfattr -n user.note -v hello "$DIR/d/sub"
  touch -d @1000000000 "$DIR/d/with space"
  chmod 2750 "$DIR/d/sub"
  build <<<$'COPY d /d\nCOPY d/plain /p/\nCOPY d/plain /q\nCOPY ["d/with space", "/json form/"]'
  run inside 'cd /d; stat -c "%a %u %g %h" plain hard; readlink out; readlink dangling; stat -c "%s %b" sparse; cat "with space" new*line; set -- *; echo $#; stat -c %a sub; cat /p/plain /q; [ plain -ef hard ] && echo same; stat -c "%Y %a" "with space"; cat "/json form/with space"; cat "$(printf "\377\376")"'
  [ "${lines[0]}" = '4751 0 0 2' ]
  [ "${lines[1]}" = '4751 0 0 2' ]
  [ "${lines[2]}" = /etc/shadow ]
  [ "${lines[3]}" = ../../../../nowhere ]
  [ "${lines[4]%% *}" = 20971523 ]
  [ "${lines[4]##* }" -lt 100 ]
  [ "${lines[5]}${lines[6]}" = ab ]
  [ "${lines[7]}" = 10 ]
  [ "${lines[8]}" = 2750 ]
  [ "${lines[9]}${lines[10]}" = xx ]
  [ "${lines[11]}" = same ]
  [ "${lines[12]}" = '1000000000 644' ]
  [ "${lines[13]}${lines[14]}" = ac ]
  disk
  local there
  there=$(getfattr --only-values -n security.capability "$DIR/d/capable" | od -An -tx1 | tr -d ' \n')
  [ -n "$there" ]
  [ "$(capability /d/capable)" = "$there" ]
  debug 'ea_get /d/sub user.note' | grep -q hello
}

@test "COPY --from keeps all of that, owners too, unless --chown and --chmod say otherwise" {
  mkdir "$DIR/bin"
  echo tool >"$DIR/bin/capable"; setcap cap_net_raw+ep "$DIR/bin/capable"
  cat >"$DIR/Imagefile" <<'END'
FROM base AS maker
COPY bin /d/bin
RUN <<EOF
set -e
cd /d
echo x >plain; chown 7:8 plain; chmod 4751 plain
ln plain hard; ln -s /etc/shadow out; mkfifo fifo; mknod null c 1 3
dd if=/dev/zero of=sparse bs=1 count=1 seek=20971519
echo a >'with space'; echo b >"$(printf 'new\nline')"; echo c >"$(printf '\377\376')"
mkdir sub; chown 5:6 sub; chmod 2750 sub; echo no >no.bak; echo keep >sub/keep.bak
EOF
FROM base
COPY --from=maker --exclude=*.bak /d /d
COPY --from=0 --chown=user:50 --chmod=600 /d/plain /d/sp* /own/
COPY --from=base /etc/passwd /other
END
  "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  run inside 'cd /d; stat -c "%a %u %g %h" plain hard sub null; readlink out; stat -c "%s %b" sparse; cat "with space" new*line sub/keep.bak; [ plain -ef hard ] && echo same; [ -p fifo ] && cat "$(printf "\377\376")"; ls; cd /own; stat -c "%a %u %g" plain sparse; head -c 4 /other'
  [ "${lines[0]}" = '4751 7 8 2' ]
  [ "${lines[1]}" = '4751 7 8 2' ]
  [ "${lines[2]}" = '2750 5 6 2' ]
  [ "${lines[3]}" = '644 0 0 1' ]
  [ "${lines[4]}" = /etc/shadow ]
  [ "${lines[5]%% *}" = 20971520 ]
  [ "${lines[5]##* }" -lt 100 ]
  [ "${lines[6]}${lines[7]}${lines[8]}" = abkeep ]
  [ "${lines[9]}${lines[10]}" = samec ]
  [[ $output != *no.bak* ]]
  [[ $output == *$'\n600 1000 50\n600 1000 50\nroot' ]]
  disk
  [ -n "$(capability /d/bin/capable)" ]
}

@test "COPY: large files keep every byte, owner, mode and time; one that does not fit is a clear error" {
  mkdir "$DIR/d"
  local size
  for size in 65535 65536 65537 69632 1048576 1048577 3000001 12000000; do
    head -c $size /dev/urandom >"$DIR/d/$size"
    chmod 4750 "$DIR/d/$size"
    touch -d @1000000000.5 "$DIR/d/$size"
    echo $size >"$DIR/d/small-$size"
  done
  build <<<'COPY --chown=7:8 d /d'
  run inside 'cd /d; stat -c "%a %u %g %Y %s" [0-9]* | sort -u; cat small-* | wc -l'
  [ "$(grep -c '^4750 7 8 1000000000 ' <<<"$output")" -eq 8 ]
  [ "${lines[8]}" -eq 8 ]
  run inside 'cd /d; sha256sum *'
  diff <(cd "$DIR/d" && sha256sum *) - <<<"$output"
  truncate -s 70M "$DIR/huge"
  tr '\0' x <"$DIR/huge" >"$DIR/d/huge"
  run build <<<'COPY d /d'
  [ "$status" -eq 1 ]
  [[ $output == *"error: "*"cannot write '/d/huge' in the image: No space left on device"* ]]
  [[ $output == *"hint: the file system is full: make the DISK or PARTITION larger"* ]]
}

@test "COPY: --chown by the image's names, --chmod, --exclude, globs, here-document" {
  mkdir "$DIR/d"; touch "$DIR/d/a.c" "$DIR/d/b.c" "$DIR/d/c.h" "$DIR/d/no.bak"
  chmod 775 "$DIR/d"; chmod 664 "$DIR/d/b.c"
  build <<'END'
ENV WHO=world
COPY --chown=user:staff --chmod=640 d/a.c /own/
COPY --chmod=u=rwX,g-w,o=u,o-wx d /sym/
COPY --from=base --chmod=a+X,u+s /bin/busybox /etc/passwd /sym/from/
COPY --chmod=+x <<E /sym/script
E
COPY d/*.c /c/
COPY --exclude=*.bak d /e/
COPY <<EOF <<'RAW' /h/
hello $WHO
EOF
raw $WHO
RAW
END
  [ "$(inside 'stat -c %a /sym /sym/b.c /sym/from /sym/from/busybox /sym/from/passwd /sym/script' | xargs)" = '754 644 4755 4755 4644 755' ]
  [ "$(inside 'stat -c "%a %u %g" /own')" = '750 1000 50' ]
  run inside 'stat -c "%a %u %g" /own/a.c; ls /c; ls /e; cat /h/EOF /h/RAW'
  [ "${lines[0]}" = '640 1000 50' ]
  [ "$(echo ${lines[@]:1})" = 'a.c b.c a.c b.c c.h hello world raw $WHO' ]
}

@test "COPY: an existing folder keeps its mode, a link in the image does not lead out" {
  mkdir "$DIR/d"; echo x >"$DIR/d/f"
  build <<<$'RUN mkdir -m 700 /keep && ln -s /keep /ln && ln -s /../../../keep2 /up && mkdir /keep2\nCOPY d /keep/\nCOPY d /ln/\nCOPY d /up/'
  run inside 'stat -c %a /keep; cat /keep/f /keep2/f; [ -L /ln ] && echo link'
  [ "$output" = $'700\nx\nx\nlink' ]
}

@test "COPY: a missing source, a source outside, a hidden one are clear errors" {
  run build <<<'COPY nothing /x'
  [ "$status" -eq 1 ]
  [[ $output == *"Imagefile:2"*"COPY source 'nothing' was not found in"* ]]
  ln -s /etc "$DIR/link"
  run build <<<'COPY link/passwd /x'
  [ "$status" -eq 1 ]
  echo x >"$DIR/h"; echo h >"$DIR/.imageignore"
  run build <<<'COPY h /x'
  [ "$status" -eq 1 ]
  [[ $output == *imageignore* ]]
}

@test "COPY and ADD: globs without a match, several sources, links, made folders, ACLs, times; from a stage, too" {
  cd "$DIR"
  mkdir -p sub d1 d2 t && echo foo >sub/foo && echo 1 >d1/one && echo 2 >d2/two && echo a >a && echo b >b
  ln -s /sub link && echo b >.dockerignore && echo x >hidden
  setfacl -m u:7:r a && setfacl -d -m g:8:rx d1
  touch -d '1960-01-01 00:00:00.25 UTC' a && touch -d '2300-01-01 UTC' d1/one
  echo y >t/y && touch -d '2300-01-01 UTC' t/y && tar -C t --format=pax --owner=3 -cf 1.tar y
  echo z >t/z && ln -s /var/t t/ln && tar -C t --mtime=@-5 -cf 2.tar z ln
  python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("d1/sock")'
  cat >Imagefile <<'END'
FROM base AS s
COPY a d1/one /s/
RUN ln -s /var/none /dangling; ln -s s/a /ln; mkdir -p /s/dir/in; chown -R 5:6 /s/dir
FROM s
COPY no* package*.json ../a link/foo /glob
COPY --from=s /s/no* /s/a /s/o* /from
COPY *.nothing /nothing/
COPY --from=s /none/*.x /nothing/
ADD *.tar /wild
ADD d? /dirs
COPY d1 d2 /both
COPY --chown=5:6 --chmod=750 a /made/by/copy
COPY --chown=5:6 <<EOF /heredoc/sub/f
EOF
ADD --chown=5:6 1.tar /tar/sub/
COPY --from=s /s/dir /s/nothin[g] /new
COPY --from=s --chown=user /s/dir /new2
COPY a /dangling/
COPY d2/two /ln
COPY --parents --chown=7 sub/foo **/./on[e] **/two /up/
COPY --from=s --parents /s/./dir/in /s/../s/a /**/./one /s/none* /down
RUN [ ! -e /nothing ]
END
  run "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(grep -c "^.*d1/sock' is left out: a socket can't be copied" <<<"$output")" -eq 1 ]
  run inside 'cd /; find up down | sort; ls glob from wild dirs both var/none; stat -c "%n %u %g %a" made made/by made/by/copy heredoc/sub tar/sub tar new new/in new2 new2/in both; stat -c "%n %Y" glob/a from/a from/one wild/y wild/z tar/sub/y; stat -c "%n %F" ln; cat ln s/a; stat -c "%n %u %a" up/sub up/sub/foo down/dir down/dir/in down/s'
  diff - <(echo "$output") <<'END'
down
down/dir
down/dir/in
down/one
down/s
down/s/a
up
up/d2
up/d2/two
up/one
up/sub
up/sub/foo
both:
one
two

dirs:
one
two

from:
a
one

glob:
a
foo

var/none:
a

wild:
ln
y
z
made 5 6 750
made/by 5 6 750
made/by/copy 5 6 750
heredoc/sub 5 6 755
tar/sub 5 6 755
tar 5 6 755
new 0 0 755
new/in 5 6 755
new2 1000 1000 755
new2/in 1000 1000 755
both 0 0 755
glob/a -315619200
from/a -315619200
from/one 10413792000
wild/y 10413792000
wild/z -5
tar/sub/y 10413792000
ln regular file
2
a
up/sub 7 755
up/sub/foo 7 644
down/dir 5 755
down/dir/in 5 755
down/s 0 755
END
  disk
  debug 'ea_list /glob/a' | grep -q posix_acl_access
  debug 'ea_list /from/a' | grep -q posix_acl_access
  debug 'ea_list /both' | grep -q posix_acl_default
  # what can be known is told before the first step; an archive's own links lead nowhere else
  printf 'FROM base\nRUN echo never\nCOPY d1/sock hidden none /x/\nADD b /y\n' >Imagefile
  echo hidden >Imagefile.dockerignore
  run "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  [ "$status" -eq 1 ]
  [[ $output != *"Step"* && $output == *"Imagefile:3:6: error: COPY source 'd1/sock' is a socket"* ]]
  [[ $output == *"'Imagefile.dockerignore' excludes it with the pattern 'hidden'"*"'none' was not found"* ]]
  printf 'FROM base\nCOPY d1/so* /x/\n' >Imagefile
  run "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  [ "$status" -eq 1 ]
  [[ $output == *"COPY source 'd1/so*' matches only the socket 'sock', which can't be copied"* ]]
  ln -s ../../etc t/up && echo evil >t/evil && tar -cf 3.tar -C t up && tar --transform s,^,up/, -rf 3.tar -C t evil
  printf 'FROM base\nADD 3.tar /d/\n' >Imagefile
  run "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  [ "$status" -eq 1 ]
  [[ $output == *"the archive's entry 'up/evil' leads out of '/d' by a link"* ]]
}

@test "ADD unpacks archives whatever their name and compression, keeps owners; not other files" {
  mkdir -p "$DIR/t/etc"; echo inside >"$DIR/t/etc/file"; chown 7:8 "$DIR/t/etc/file"
  for c in none gzip bzip2 xz zstd; do
    o=--$c; [ $c = none ] && o=
    tar -C "$DIR/t" $o -cf "$DIR/$c.data" .
  done
  rm -r "$DIR/t"; echo text >"$DIR/plain.tar"
  build <<<$'ADD none.data /none/\nADD gzip.data /gzip/\nADD bzip2.data /bzip2/\nADD xz.data /xz/\nADD zstd.data /zstd/\nADD plain.tar /p/'
  run inside 'stat -c "%u %g %s" /*/etc/file; cat /p/plain.tar'
  [ "$output" = $'7 8 7\n7 8 7\n7 8 7\n7 8 7\n7 8 7\ntext' ]
}

@test "ADD: --unpack, --chown, --chmod, --exclude; links in an archive lead nowhere" {
  mkdir -p "$DIR/t/sub"
  echo file >"$DIR/t/file"; chown 7:8 "$DIR/t/file"; chmod 640 "$DIR/t/file"; ln "$DIR/t/file" "$DIR/t/hard"
  echo no >"$DIR/t/sub/no.bak"; ln -s /etc "$DIR/t/link"
  tar -C "$DIR/t" -cf "$DIR/a.tar" . ; rm -r "$DIR/t"
  echo tool >"$DIR/tool"; mkdir "$DIR/d"; touch "$DIR/d/yes" "$DIR/d/no.bak"
  build <<'END'
ADD a.tar /unpacked/
ADD --unpack=false a.tar /whole/
ADD --chown=user:staff --chmod=755 tool /tool
ADD --exclude=*.bak d /d/
ADD --chown=5:6 a.tar /owned/
RUN mkdir -p /evil && ln -s /etc /evil/link
ADD a.tar /evil/
END
  run inside 'cd /unpacked; stat -c "%a %u %g %h" file; [ file -ef hard ] && readlink link; ls /whole /d; stat -c "%a %u %g" /tool /owned/file; readlink /evil/link'
  [ "$output" = $'640 7 8 2\n/etc\n/d:\nyes\n\n/whole:\na.tar\n755 1000 50\n640 5 6\n/etc' ]
}

@test "COPY: a file that changes after it was hashed fails the step, and its new content is the next build's" {
  head -c 8000000 /dev/zero >"$DIR/big"
  printf 'FROM base\nCOPY big /big\n' >"$DIR/Imagefile"
  # the step is shown once its key is known, and before the VM is started
  "$KILN" image build --progress=plain --name "t$BATS_TEST_NUMBER" "$DIR" >"$DIR/out" 2>&1 &
  pid=$!
  timeout 60 sh -c "until grep -q 'step 2 missed' '$DIR/out'; do sleep 0.01; done"
  printf x | dd of="$DIR/big" bs=1 seek=7999999 conv=notrunc status=none
  status=0
  wait "$pid" || status=$?
  [ "$status" -eq 1 ]
  grep -q "error: 'big' changed while it was copied" "$DIR/out"
  "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR" >&2
  run inside 'tail -c 2 /big | od -An -c'
  [[ $output == *'\0   x'* ]]
}

@test "ADD from a URL: content, checksum, asked again at each build, changed content is another layer" {
  mkdir "$DIR/www"
  printf 'first\n' >"$DIR/www/file.txt"; touch -d 2020-01-01 "$DIR/www/file.txt"
  cp "$DIR/www/file.txt" "$DIR/www/sure.txt"
  tar -C "$DIR/www" -czf "$DIR/www/a.tgz" file.txt
  python3 -u -m http.server --bind 127.0.0.1 --directory "$DIR/www" 0 >"$DIR/port" 2>"$DIR/asked" 3>&- &
  echo $! >"$DIR/server"
  local url sum
  timeout 20 sh -c "until grep -q port '$DIR/port'; do sleep 0.05; done"
  url=http://127.0.0.1:$(sed -n 's/.* port \([0-9]*\).*/\1/p' "$DIR/port")
  sum=$(sha256sum <"$DIR/www/file.txt"); sum=sha256:${sum%% *}
  cat >"$DIR/text" <<END
ADD --chmod=640 --chown=user $url/file.txt /plain/
ADD --unpack=true $url/a.tgz /unpacked/
ADD $url/a.tgz /whole.tgz
ADD --checksum=$sum $url/sure.txt /sure
END
  build <"$DIR/text"
  run inside 'stat -c "%a %u %Y" /plain/file.txt; cat /plain/file.txt /unpacked/file.txt /sure; gzip -t </whole.tgz && echo gzip'
  [ "$output" = $'640 1000 1577836800\nfirst\nfirst\nfirst\ngzip' ]
  # the same content: a question, no layer; with a checksum not even that; what was fetched is old
  # now, but its use is not
  find "$KILN_HOME/cache/remote" "$KILN_HOME/cache/context" -type f -exec touch -d 2020-01-01 {} +
  : >"$DIR/asked"
  build --require-cached <"$DIR/text"
  [ "$(grep -c 'file.txt.* 304 ' "$DIR/asked")" = 1 ]
  run ! grep -e '" 200 ' -e sure.txt "$DIR/asked"
  "$KILN" prune --max-age 1d >&2
  : >"$DIR/asked"
  build --require-cached <"$DIR/text"
  run ! grep -e '" 200 ' "$DIR/asked"
  # a new time and the same content is a hit too
  touch -d 2021-01-01 "$DIR/www/file.txt"
  run build <"$DIR/text"
  [ "$(grep -c '(cached)' <<<"$output")" = 4 ]
  # changed content
  printf 'second\n' >"$DIR/www/file.txt"; touch -d 2022-01-01 "$DIR/www/file.txt"
  run build --require-cached <"$DIR/text"
  [ "$status" -eq 1 ]
  [[ $output == *"step 2 is not cached: $url/file.txt changed"* ]]
  build <"$DIR/text"
  run inside 'cat /plain/file.txt /unpacked/file.txt /sure'
  [ "$output" = $'second\nfirst\nfirst' ]
  # a checksum that the content has not
  run build <<<"ADD --checksum=sha256:${sum//[!0]/0} $url/a.tgz /x"
  [ "$status" -eq 1 ]
  [[ $output == *'Imagefile:2:'*checksum* ]]
  run build <<<"ADD --checksum=sha256:$(printf %064d 0) $url/file.txt /x"
  [ "$status" -eq 1 ]
  [[ $output == *"$(sha256sum <"$DIR/www/file.txt" | cut -c1-64)"* ]]
  run build <<<"ADD $url/nothing /x"
  [ "$status" -eq 1 ]
  [[ $output == *"$url/nothing"*404* ]]
}

@test "ADD of a damaged archive is a clear error" {
  head -c 100000 /dev/urandom >"$DIR/f"; tar -C "$DIR" -czf "$DIR/a.tgz" f
  truncate -s 50000 "$DIR/a.tgz"
  run build <<<'ADD a.tgz /x/'
  [ "$status" -eq 1 ]
  [[ $output == *a.tgz* ]]
}

@test "several stages: COPY --from, --target, a stage that is not needed is not built" {
  cat >"$DIR/Imagefile" <<'END'
FROM base AS unused
RUN exit 9
FROM base AS maker
RUN mkdir /out && echo made >/out/f && ln -s f /out/l
FROM base
COPY --from=maker /out /in
COPY --from=base /etc/passwd /other
END
  run "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  [ "$status" -eq 0 ]
  run inside 'cat /in/f /in/l; head -c 4 /other; ls -d /out'
  [[ $output == $'made\nmade\nroot'* ]]
  run "$KILN" image build --target unused --name "u$BATS_TEST_NUMBER" "$DIR"
  [ "$status" -eq 1 ]
  [[ $output == *'exit status 9'* ]]
}

@test "several stages: ARGs of a base stage and of the platform, --from by variable and of mistaken names" {
  cat >"$DIR/Imagefile" <<'EOF'
ARG V=1 BASE=base
FROM $BASE AS a
ARG V TARGETARCH OWN=2
RUN [ "$V$OWN" = 12 ] && [ "$TARGETARCH" = amd64 ] && [ -z "$TARGETOS" ] && echo file >/A-$TARGETARCH
FROM a AS b
RUN [ "$V$OWN$TARGETARCH" = 12amd64 ]
FROM base AS not-needed
RUN false
FROM b
ARG S=a TARGETPLATFORM TARGETSTAGE BUILDOS TARGETVARIANT
RUN [ "$TARGETPLATFORM $TARGETSTAGE $BUILDOS [$TARGETVARIANT]" = 'linux/amd64 default linux []' ]
COPY --from=${S} /A-$TARGETARCH /B-$V-$OWN
RUN --mount=from=$S,source=/A-amd64,target=/m cmp /m /B-1-2
EOF
  "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  # what a stage inherits is in its keys
  run "$KILN" image build --name "t$BATS_TEST_NUMBER" --build-arg V=7 "$DIR"
  [ "$status" -eq 1 ]
  [[ "$output" == *'Imagefile:4:'* ]]
  # mistakes are found before anything is built
  for name in nosuch 7 later ty; do
    printf '%s\n' 'FROM base AS tty' 'RUN false' 'FROM base' "ADD --chown=1 http://127.0.0.1:1/x /" "COPY --from=$name /x /y" \
      'FROM base AS later' 'COPY --from=1 /x /y' >"$DIR/Imagefile"
    run "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
    [ "$status" -eq 1 ]
    [[ "$output" == *"Imagefile:5:13: error: "* && "$output" != *'[1/'* ]]
    case $name in
      nosuch) [[ "$output" == *"unable to find image 'nosuch'"*'the stage above is 0 (tty)'* ]] ;;
      7) [[ "$output" == *'no stage 7 above'* ]] ;;
      later) [[ "$output" == *"the stage 'later' is defined below, on line 6"* ]] ;;
      ty) [[ "$output" == *'did you mean tty?'* ]] ;;
    esac
  done
  run "$KILN" image build --target latr "$DIR"
  [[ "$output" == *"no stage 'latr'"*'did you mean later?'* ]]
}

@test "undefined variables: said before step 1, and when the base image is fetched by this build, at the step" {
  "$KILN" image export --format qcow2 base "$DIR/base.qcow2"
  printf '%s\n' "FROM undefined-base,file=$DIR/base.qcow2" 'ENV A=$NOT_THERE B=${NOR_THIS:-}' 'RUN [ -z "$A$B" ]' >"$DIR/Imagefile"
  run "$KILN" image build --name "t$BATS_TEST_NUMBER" --progress=plain "$DIR"
  [ "$status" -eq 0 ]
  [[ "$output" == *"Imagefile:2:7: warning: undefined variable 'NOT_THERE'"* && "$output" != *"variable 'NOR_THIS"* ]]
  run "$KILN" image check "$DIR" # which now knows the image
  [[ "$output" == *"Imagefile:2:7: warning: undefined variable 'NOT_THERE'"*'0 errors, 1 warning' ]]
}

@test "USER, WORKDIR, proxies, secrets over ENV, mounts without target, of variable type, writable" {
  mkdir "$DIR/sub"
  echo here >"$DIR/file"
  echo there >"$DIR/sub/file"
  echo pw >"$DIR/secret"
  cat >"$DIR/in" <<'EOF'
AS from
RUN mkdir -p /out/deep && echo a >/out/a && echo b >/out/deep/b && chown 1000:50 /out && chmod 2755 /out
FROM base
USER user
WORKDIR /made/by/user
RUN touch x && [ "$(stat -c %u:%g /made /made/by /made/by/user x | sort -u)" = 1000:1000 ]
USER 77
WORKDIR ../number
RUN [ "$(stat -c %u:%g .)" = 77:77 ]
USER user:staff
WORKDIR /staff
USER root
WORKDIR /tmp/root
RUN [ "$(stat -c %u:%g /staff)" = 1000:50 ] && [ "$(stat -c %u:%g . /tmp)" = "$(printf '0:0\n0:0')" ]
RUN [ "$http_proxy $HTTP_PROXY $all_proxy" = "http://p http://p socks://q" ] && [ "$NO_PROXY" = env.example ]
ENV PASS=wrong
RUN --mount=type=secret,id=pass,env=PASS [ "$(env | grep ^PASS=)" = PASS=pw ]
RUN --mount=type=secret,source=pass,required=1 [ "$(cat /run/secrets/pass)" = pw ]
WORKDIR /work
RUN --mount=type=bind [ "$(cat file)" = here ] && [ "$(cat sub/file)" = there ]
RUN --mount=type=bind,source=sub [ "$(cat file)" = there ]
RUN --mount=type=tmpfs touch in-memory && [ -e /work/in-memory ]
RUN --mount=type=cache echo in-cache >cached
RUN --mount=type=cache,id=/work,target=/elsewhere/ [ "$(cat /elsewhere/cached)" = in-cache ]
RUN [ -z "$(ls -A)" ]
ARG TYPE=cache SIZE=1.5mb WHERE=/variable YES=1
RUN --mount=type=$TYPE,target=$WHERE echo kept >/variable/file
RUN --mount=type=cache,id=/variable,target=/other,ro=$YES [ "$(cat /other/file)" = kept ] && ! touch /other/x 2>/dev/null
RUN --mount=type=TMPFS,target=/t,size=$SIZE df -k /t | grep -q ' 1536 '
RUN --mount=type=bind,target=.,rw echo new >file && echo new >sub/new && [ "$(cat file sub/new)" = "$(printf 'new\nnew')" ]
RUN --mount=from=from,source=/out,target=/out,rw [ "$(stat -c %u:%g:%a /out)" = 1000:50:2755 ] && echo c >/out/deep/c && rm /out/a && echo d >/out/deep/b && ls -R /out
RUN --mount=from=from,source=/out,target=/out,rw [ "$(cat /out/a /out/deep/b)" = "$(printf 'a\nb')" ] && [ ! -e /out/deep/c ]
RUN --mount=from=from,source=/out/a,target=/a,rw echo z >>/a && [ "$(cat /a)" = "$(printf 'a\nz')" ]
RUN --mount=from=from,source=/out,target=/out ! touch /out/x 2>/dev/null && [ "$(cat /out/a)" = a ] && [ ! -e /a ]
RUN cat << END >/blank && cat <<- 'END' >>/blank
	$((1 + 1))
END
	$x
	END
RUN [ "$(cat /blank)" = "$(printf '\t2\n$x')" ]
EOF
  sed -i '1s/^/FROM base /' "$DIR/in"
  mv "$DIR/in" "$DIR/Imagefile"
  NO_PROXY=env.example "$KILN" image build --name "t$BATS_TEST_NUMBER" --build-arg http_proxy=http://p --build-arg ALL_PROXY=socks://q \
    --secret id=pass,src="$DIR/secret" "$DIR"
  [ "$(cat "$DIR/file" "$DIR/sub/file")" = "$(printf 'here\nthere')" ]
  # a proxy is not in the key, and a type that is none is an error of that line
  run "$KILN" image build --name "t$BATS_TEST_NUMBER" --require-cached --build-arg http_proxy=other --secret id=pass,src="$DIR/secret" "$DIR"
  [ "$status" -eq 0 ]
  run "$KILN" image build --name "t$BATS_TEST_NUMBER" --build-arg TYPE=cahe --secret id=pass,src="$DIR/secret" "$DIR"
  [[ "$status" -eq 1 && "$output" == *'Imagefile:27:18: error: '*"unknown mount type 'cahe'"*'did you mean cache?'* ]]
}

@test "COPY --from and binds of a stage are keyed by the content that they read" {
  cd "$DIR"
  cat >Imagefile <<'END'
FROM base AS made
ARG BUST=1
ARG MODE=644
ARG OWNER=5
RUN mkdir -p out/sub && echo foo >out/app && ln out/app out/sub/hard && ln -s app out/ln && truncate -s 1M out/holes && chmod $MODE out/app && chown $OWNER out/sub && echo $BUST >/bust
FROM base
COPY --from=made --exclude=ln /out /o
COPY --chown=7 --from=made /out/s* /s/
RUN --mount=type=bind,from=made,source=/out,target=/m cp /m/app /got
RUN --mount=type=bind,from=base,target=/m true
END
  rebuild() { "$KILN" image build --progress=plain --name "t$BATS_TEST_NUMBER" "$@" . 2>&1; }
  rebuild
  "$KILN" image build --require-cached --name "t$BATS_TEST_NUMBER" .
  run rebuild --build-arg BUST=2
  [[ $output == *"(4 of 5 layers from the cache)"* ]]
  # what would not have been copied does not count either, the rest does
  run rebuild --build-arg OWNER=6
  [[ $output == *"step 7 missed: owner of /out/sub changed (5:0 to 6:0) in 'made'"* ]]
  [[ $output == *"step 8 missed: parent changed (step 7)"* && $output == *"step 9 missed: --mount bind /m changed"* ]]
  run rebuild --build-arg MODE=755
  [[ $output == *"step 7 missed: "*"mode of /out/app changed (0644 to 0755)"*" in 'made'"* ]]
  run inside 'ls /o; stat -c %a /o/app; [ /o/app -ef /o/sub/hard ]; cat /got'
  [ "$output" = $'app\nholes\nsub\n755\nfoo' ]
  "$KILN" system verify
  # more than is looked at: the stage's layer counts
  sed -i 's/&& truncate -s 1M/\&\& dd if=\/dev\/zero of=out\/large bs=1M count=30 \&\& for i in 1 2 3; do ln out\/large out\/l$i; done \&\& truncate -s 1M/' Imagefile
  run rebuild
  [[ $output == *"step 7 missed: "*"the source of --from added"* ]]
}

@test "FROM a built image inherits ENV, WORKDIR and USER" {
  build <<<$'ENV X=inherited\nWORKDIR /w'
  printf 'FROM t%s\nRUN echo "$X $PWD" >/seen\n' "$BATS_TEST_NUMBER" >"$DIR/Imagefile"
  "$KILN" image build --name "u$BATS_TEST_NUMBER" "$DIR"
  run "$KILN" shell "u$BATS_TEST_NUMBER" -c 'cat /seen'
  [ "$output" = 'inherited /w' ]
}

@test "FROM: ARG before it, an earlier stage, a file; ENV, LABEL, USER and WORKDIR with variables" {
  cat >"$DIR/Imagefile" <<'END'
# syntax=docker/dockerfile:1
ARG BASE=nothing
ARG SIDE=left
from $BASE AS first
ARG SIDE
ENV TOP=/top GREETING="hello  world" ESCAPED=a\ b
ENV LEGACY one two
ENV PATH=/opt/tools:$PATH
LABEL org.side=$SIDE "with blank"='single $SIDE' \
      # a comment between the lines
      multi=yes
WORKDIR $TOP
WORKDIR ${SUB:-sub}/deeper
USER ${WHO:-user:staff}
RUN echo "$GREETING|$ESCAPED|$LEGACY|$PWD|$(id -u):$(id -g)|$HOME|$PATH" >/tmp/first

FROM first
RUN id -u >/tmp/second; pwd >>/tmp/second
USER 0
END
  sed -i 's/$/\r/; 1s/^/\xef\xbb\xbf/' "$DIR/Imagefile"
  "$KILN" image build --build-arg BASE=base --build-arg SIDE=right --name "t$BATS_TEST_NUMBER" "$DIR"
  run inside 'cat /tmp/first /tmp/second; stat -c "%a %u %g" /top /top/sub/deeper'
  [ "$output" = $'hello  world|a b|one two|/top/sub/deeper|1000:50|/home/user|/opt/tools:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n1000\n/top/sub/deeper\n755 0 0\n755 0 0' ]
  "$KILN" image inspect --json "t$BATS_TEST_NUMBER" >"$DIR/inspect"
  python3 - "$DIR/inspect" <<'END'
import json, sys
config = json.load(open(sys.argv[1]))
assert config["labels"] == {"org.side": "right", "with blank": "single $SIDE", "multi": "yes"}, config
assert config["env"]["GREETING"] == "hello  world" and config["workdir"] == "/top/sub/deeper", config
END
  "$KILN" image export base "$DIR/base.qcow2"
  printf 'FROM other-%s,file=%s/base.qcow2\nRUN echo from-file >/f\n' "$BATS_TEST_NUMBER" "$DIR" >"$DIR/Imagefile"
  "$KILN" image build --name "u$BATS_TEST_NUMBER" "$DIR"
  run "$KILN" shell "u$BATS_TEST_NUMBER" -c 'cat /f'
  [ "$output" = from-file ]
  # --from takes such a file, too, and notices that it has changed; so does the shell
  "$KILN" image export "t$BATS_TEST_NUMBER" "$DIR/source.qcow2"
  printf 'FROM base\nCOPY --from=src-%s,file=%s/source.qcow2 /etc/passwd /p\nRUN --mount=from=src-%s,target=/m test -e /m/top\n' \
    "$BATS_TEST_NUMBER" "$DIR" "$BATS_TEST_NUMBER" >"$DIR/Imagefile"
  "$KILN" image build --name "v$BATS_TEST_NUMBER" "$DIR"
  cp "$DIR/base.qcow2" "$DIR/source.qcow2"
  run -1 "$KILN" image build --name "v$BATS_TEST_NUMBER" "$DIR"
  [[ "$output" == *"'$DIR/source.qcow2' has changed since image 'src-$BATS_TEST_NUMBER' was made from it"* ]]
  # what step 2 copies is the same in both; step 3 sees the whole image
  [[ "$output" == *"/etc/passwd /p (cached)"*"step 3 missed: "* && "$output" == *"test -e /m/top"*"exit status 1"* ]]
  run "$KILN" shell --pull=always "src-$BATS_TEST_NUMBER,file=$DIR/source.qcow2" -c 'test ! -e /top && echo base'
  [[ "$output" == *base ]]
}

@test ".imageignore: exceptions, **, the last match wins" {
  mkdir -p "$DIR/d/a/b" "$DIR/node_modules"
  touch "$DIR"/d/{keep,x.o,a/y.o,a/b/z.o,a/b/wanted.o} "$DIR/node_modules/f" "$DIR/secret"
  printf '%s\n' '# not these' '**/*.o' '!d/a/b/wanted.o' 'node_modules' '/secret' '.imageignore' 'Imagefile' >"$DIR/.imageignore"
  build <<<'COPY . /all/'
  run inside 'cd /all; find . -type f | sort'
  [ "$output" = $'./d/a/b/wanted.o\n./d/keep' ]
}

@test "INSPECT without a terminal is an error" {
  run build --on-error=shell <<<'RUN false'
  [ "$status" -eq 1 ]
  [[ $output == *'--on-error=shell needs a terminal'*--on-error=keep* ]]
  run build <<<INSPECT
  [ "$status" -eq 1 ]
  [[ $output == *terminal* ]]
}

@test "GPT, MBR, several partitions and file systems" {
  cat >"$DIR/Imagefile" <<'END'
FROM scratch
DISK 800 MB GPT
PARTITION 1 SIZE 1 MB FLAGS bios_grub
PARTITION 2 SIZE 64 MB FORMAT vfat MOUNT /boot/efi FLAGS efi
PARTITION 3 SIZE 40 MB FORMAT ext2 MOUNT /boot
PARTITION 4 SIZE 16 MB FORMAT swap
PARTITION 5 SIZE 330 MB FORMAT xfs MOUNT /var
PARTITION 6 FORMAT btrfs MOUNT /
COPY root/ /
RUN mkdir -p /var/x && df | grep -v tmpfs >/boot/df; echo efi >/boot/efi/f
END
  cp -a "$TOP/base/root" "$DIR/root"
  "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  run inside 'cat /boot/df; cat /boot/efi/f; mount | grep -o "type [a-z0-9]*" | sort -u'
  [[ $output == */boot/efi*efi* ]]
  [[ $output == *'type btrfs'*'type ext'*'type vfat'*'type xfs'* ]]
}

@test "FROM: a GPT for sectors of 4096 bytes" {
  truncate -s 65M "$DIR/disk.raw"
  mke2fs -q -t ext4 -E offset=1048576 -d "$TOP/base/root" "$DIR/disk.raw" 60M
  python3 -c 'import struct, sys, uuid
with open(sys.argv[1], "r+b") as f:
    f.seek(446); f.write(struct.pack("<B3sB3sII", 0, b"", 0xee, b"", 1, 16639))
    f.seek(510); f.write(b"\x55\xaa")
    f.seek(4096); f.write(struct.pack("<8s4I4Q16sQ2I", b"EFI PART", 1 << 16, 92, 0, 0, 1, 16639, 6, 16633, b"", 2, 128, 128))
    linux = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4").bytes_le
    f.seek(8192); f.write(linux + uuid.uuid4().bytes_le + struct.pack("<3Q", 256, 256 + 15359, 0))' "$DIR/disk.raw"
  printf '%s\n' "FROM large,file=$DIR/disk.raw" 'RUN echo yes >/large' 'RUN [ -b /dev/vda1 ]' >"$DIR/Imagefile"
  "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  run inside 'cat /large'
  [ "$output" = yes ]
}

@test "PARTITION: OPTIONS, sizes and flags, as other programs read them; ext3, GPT and MBR" {
  printf '%s\n' 'FROM scratch' 'DISK 200 MB GPT' 'PARTITION 1 FLAGS bios_grub SIZE 1 MB' \
    'PARTITION 2 SIZE 64 MB FORMAT vfat OPTIONS "-n ESP" FLAGS efi' \
    'PARTITION 3 FORMAT ext4 OPTIONS "-L the-root -m 0" MOUNT / FLAGS boot' 'COPY x /x' >"$DIR/Imagefile"
  echo x >"$DIR/x"
  "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  disk
  [ "$(stat -c %s "$DIR/disk.raw")" = $((200 << 20)) ]
  sfdisk -d "$DIR/disk.raw" >"$DIR/table"
  grep -q '^label: gpt' "$DIR/table"
  grep -q 'raw1.*size= *2048,.*type=21686148-6449-6E6F-744E-656564454649' "$DIR/table"
  grep -q 'raw2.*type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B' "$DIR/table"
  grep -q 'raw3.*attrs="LegacyBIOSBootable"' "$DIR/table"
  local start
  start=$(sed -n 's/.*raw2.*start= *\([0-9]*\).*/\1/p' "$DIR/table")
  [ "$(dd if="$DIR/disk.raw" bs=512 skip="$start" count=1 status=none | tail -c +72 | head -c 3)" = ESP ]
  start=$(sed -n 's/.*raw3.*start= *\([0-9]*\).*/\1/p' "$DIR/table")
  dumpe2fs -h "$DIR/disk.raw?offset=$((start * 512))" 2>/dev/null >"$DIR/fs"
  grep -q 'volume name: *the-root' "$DIR/fs"
  grep -q 'Reserved block count: *0$' "$DIR/fs"
  printf '%s\n' 'FROM scratch' 'disk 64mb mbr' 'partition 0 mount / format ext3 flags boot' 'COPY x /x' >"$DIR/Imagefile"
  "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  disk
  sfdisk -d "$DIR/disk.raw" | grep -q 'type=83, bootable'
  dumpe2fs -h "$DIR/disk.raw?offset=1048576" 2>/dev/null | grep -q has_journal
  [ "$(debug 'cat /x')" = x ]
}

@test "--local stores a standalone image in the build directory" {
  echo 'FROM base' >"$DIR/Imagefile"; echo 'RUN echo l >/l' >>"$DIR/Imagefile"
  "$KILN" image build --local --name mine "$DIR"
  run qemu-img info "$DIR/mine.qcow2"
  [[ $output != *backing* ]]
  run "$KILN" image ls
  [[ $output != *mine* ]]
  qemu-img check -q "$DIR/mine.qcow2"
  # what it wrote is not in the next build
  echo 'COPY . /opt/' >>"$DIR/Imagefile"
  "$KILN" image build --local --name mine "$DIR"
  mkdir "$DIR/.kiln-export-abcdef" && echo part >"$DIR/.kiln-export-abcdef/disk" # left by one that was killed
  "$KILN" image build --local --require-cached --name mine "$DIR"
  # nor what other options write there
  mkdir "$DIR/out"
  for _ in 1 2; do
    "$KILN" image build --name theirs --iidfile "$DIR/id" --metadata-file "$DIR/out/meta" --output "type=raw,dest=$DIR/out/d.raw" "$DIR"
  done
  "$KILN" image build --require-cached --name theirs --iidfile "$DIR/id" --metadata-file "$DIR/out/meta" -o "$DIR/out/d.raw" "$DIR"
  [ -s "$DIR/id" ] && [ -s "$DIR/out/meta" ] && [ -s "$DIR/out/d.raw" ]
}

@test "history, require-cached, no-cache, replacing a name" {
  build <<<'RUN echo 1 >/x'
  run build --require-cached <<<'RUN echo 1 >/x'
  [ "$status" -eq 0 ]
  run build --require-cached <<<'RUN echo 2 >/x'
  [ "$status" -eq 1 ]
  [[ $output == *'step 2 is not cached: the instruction changed'* ]]
  run build <<<$'RUN echo 2 >/x\nRUN true\nRUN true #2'
  [[ $output == *'step 2 missed: the instruction changed'*'step 4 missed: first build'* ]]
  run inside 'cat /x'
  [ "$output" = 2 ]
  run build <<<$'RUN echo 3 >/x\nRUN true\nRUN true #2'
  [[ $output == *'step 3 missed: parent changed (step 2)'*'step 4 missed: parent changed (step 2)'* ]]
  run "$KILN" image history "t$BATS_TEST_NUMBER"
  [[ $output == *'RUN echo 3 >/x'* ]]
}

@test "--on-error=keep leaves the failed state for kiln shell NAME@failed" {
  run build --on-error=keep <<<'RUN echo half >/half; exit 4'
  [ "$status" -eq 1 ]
  run "$KILN" shell "t$BATS_TEST_NUMBER@failed" -c 'cat /half'
  [ "$output" = half ]
}

@test "FROM and --from take NAME@STEP; what a failed step left is nothing to stand on" {
  local at=$BATS_TEST_NUMBER
  build <<<$'RUN echo one >/one\nRUN echo two >/two'
  printf 'FROM t%s@2\nCOPY --from=t%s@3 /two /copied\nRUN cat /one /copied; ! test -e /two\n' "$at" "$at" >"$DIR/Imagefile"
  run --separate-stderr "$KILN" image build --name "u$at" "$DIR"
  [ "$status" -eq 0 ] && [[ $output == *$'one\ntwo'* ]]
  run "$KILN" image check "$DIR"
  [ "$status" -eq 0 ] && [ -z "$output" ]
  printf 'FROM t%s@9\nRUN true\n' "$at" >"$DIR/Imagefile"
  run --separate-stderr "$KILN" image build --name "u$at" "$DIR"
  [ "$status" -eq 1 ] && [[ $stderr == *"'t$at' has no step 9"* ]]
  run build --on-error=keep <<<'RUN exit 4'
  printf 'FROM t%s@failed\nRUN true\n' "$at" >"$DIR/Imagefile"
  run --separate-stderr "$KILN" image build --name "u$at" "$DIR"
  [ "$status" -eq 1 ] && [[ $stderr == *"'t$at@failed' is what a failed step left"* ]]
}

@test "--step-timeout ends a step; its state can be kept" {
  run -1 build --step-timeout 2s --on-error=keep <<'END'
RUN echo begun >/begun; sleep 1000
END
  [[ "$output" == *"step 2 (RUN echo begun >/begun; sleep 1000) took longer than 2 s"* ]]
  run -0 "$KILN" shell "t$BATS_TEST_NUMBER@failed" -c 'cat /begun'
  [ "$output" = begun ]
  run -2 build --step-timeout soon </dev/null
}

@test "RUN: processes without end meet a limit" {
  # in place of the thousands that the limit is, as they take a while
  run -1 build <<'END'
RUN mkdir /c && mount -t cgroup2 none /c && [ "$(cat /c/run/pids.max)" -le 4096 ] && echo 40 >/c/run/pids.max
RUN mkdir /c; mount -t cgroup2 none /c; echo 40 >/c/run/pids.max; while :; do sleep 100 & done
END
  [[ "$output" == *"an't fork"* ]]
  [[ "$output" == *"step 3 "*"failed with exit status"* ]]
  run -1 build <<<'RUN kill -9 $$'
  [[ "$output" == *"was killed by signal 9"*"hint: "*"--memory"* ]]
}

@test "Ctrl-C while the digest of a file with terabytes of holes is made" {
  truncate -s 5T "$DIR/huge"
  printf 'FROM base\nCOPY huge /huge\n' >"$DIR/Imagefile"
  run timeout -s INT -k 30 2 "$KILN" image build --name t "$DIR"
  echo "$output"
  [ "$status" -eq 124 ] # not 137: it ended by itself
  [[ $output == *interrupted* ]]
}

@test "Ctrl-C in the middle of a RUN: QEMU and temporary files are gone" {
  { echo 'FROM base'; echo 'RUN echo started; sleep 600'; } >"$DIR/Imagefile"
  "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR" >"$DIR/out" 2>&1 &
  pid=$!
  timeout 60 sh -c "until grep -qx started '$DIR/out'; do sleep 0.1; done"
  kill -TERM $pid
  status=0
  wait $pid || status=$?
  [ "$status" -eq 143 ]
  . tests/e2e/common.bash
  no_leftovers "$KILN_HOME"
}

@test "bytes that are no UTF-8: in a command they are kept, in what the image keeps they are an error" {
  run build <<<$'RUN printf "\xff" >/byte'
  [ "$status" -eq 0 ]
  run inside 'od -An -tx1 /byte'
  [ "$output" = ' ff' ]
  run "$KILN" image history --json "t$BATS_TEST_NUMBER"
  python3 -c 'import json, sys; s = json.load(sys.stdin)[-1]
assert s["step"] == "RUN printf \"\ufffd\" >/byte" and s["seconds"] > 0, s' <<<"$output"
  run build --build-arg A=$'x\xff' <<<$'ARG A\nENV E=$A'
  [ "$status" -eq 1 ]
  [[ $output == *"Imagefile:3:1: error: the value of E is not UTF-8"* ]]
}

@test "mkfs and mkswap say nothing when all is well, and one line when not" {
  begin=('FROM scratch' 'DISK 200 MB GPT' 'PARTITION 1 SIZE 8 MB FORMAT swap' 'PARTITION 2 SIZE 40 MB FORMAT vfat')
  printf '%s\n' "${begin[@]}" 'PARTITION 3 FORMAT ext4 MOUNT /' >"$DIR/Imagefile"
  run "$KILN" image build --name mkfs "$DIR"
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(grep -cv '^Step \|^ --->' <<<"$output")" = 1 ]
  printf '%s\n' "${begin[@]}" 'PARTITION 3 FORMAT ext4 OPTIONS "-O none-such" MOUNT /' >"$DIR/Imagefile"
  run "$KILN" image build --name mkfs "$DIR"
  echo "$output"
  [ "$status" -eq 1 ]
  [[ $output == *"Imagefile:5:1: error: cannot make the file system of partition 3: 'mke2fs' failed with status 1: Invalid"*none-such ]]
}

# Builds the image $1 in the background; returns once its RUN has begun. Its process is $pid.
start_build() {
  "$KILN" image build --progress=plain --name "$@" "$DIR" >"$DIR/out.$1" 2>&1 &
  pid=$!
  timeout 60 sh -c "until grep -qx started '$DIR/out.$1'; do sleep 0.05; done"
}

@test "two builds at once: the second waits, says for whom and what, and uses the layer; another backend does not wait" {
  printf '%s\n' 'FROM base' 'RUN echo started; sleep 2; cat /proc/sys/kernel/random/uuid >/id' >"$DIR/Imagefile"
  cp -a "$KILN_HOME/backend" "$DIR/backend"
  start_build once1
  run "$KILN" image build --image-backend "$DIR/backend" --name other "$DIR"
  [ "$status" -eq 0 ]
  [[ $output != *waiting* && $output == *$'\nstarted\n'* ]]
  wait $pid
  "$KILN" image rm once1
  "$KILN" prune --all >&2
  start_build once1
  run "$KILN" image build --name once2 "$DIR"
  wait $pid
  [ "$status" -eq 0 ]
  [[ $output == *"waiting for process $pid, which is building the same step: RUN echo started; sleep 2"* ]]
  [[ $output == *"(1 of 1 layers from the cache)"* ]]
  run diff <("$KILN" shell once1 -c 'cat /id') <("$KILN" shell once2 -c 'cat /id')
  [ "$status" -eq 0 ]
  # who asks for no cache gets a layer of his own, but not at the same time
  start_build once1 --no-cache
  run "$KILN" image build --no-cache --name once2 "$DIR"
  wait $pid
  [[ $output == *"waiting for process $pid, which is building the same step: RUN echo started"*$'\nstarted\n'* ]]
  run diff <("$KILN" shell once1 -c 'cat /id') <("$KILN" shell once2 -c 'cat /id')
  [ "$status" -eq 1 ]
}

@test "a name that is being built by another kiln is an error at once" {
  { echo 'FROM base'; echo 'RUN echo started; sleep 600'; } >"$DIR/Imagefile"
  "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR" >"$DIR/out" 2>&1 &
  pid=$!
  timeout 60 sh -c "until grep -qx started '$DIR/out'; do sleep 0.1; done"
  run build <<<'RUN true'
  kill $pid
  [ "$status" -eq 1 ]
  [[ $output == *'is being built by another kiln'* ]]
  wait $pid || true
}

@test "a broken Imagefile: all mistakes in one run, with places; nothing is left" {
  printf 'FROM base\nRUNN x\nPARTITION 1 FORMAT ext5\nCOPY\n' >"$DIR/Imagefile"
  run "$KILN" image build --name broken "$DIR"
  [ "$status" -eq 1 ]
  [[ $output == *Imagefile:2:1*RUN* && $output == *Imagefile:3:* && $output == *Imagefile:4:* ]]
  run "$KILN" image build "$TOP/nowhere"
  [ "$status" -eq 1 ]
  [[ $output == *"'$TOP/nowhere' does not exist"* ]]
  mkdir "$DIR/empty"
  run "$KILN" image build "$DIR/empty"
  [ "$status" -eq 1 ]
  [[ $output == *"Imagefile' does not exist"* ]]
  printf 'FROM no-such-image\n' >"$DIR/Imagefile"
  run "$KILN" image build --name broken "$DIR"
  [ "$status" -eq 1 ]
  [[ $output == *no-such-image* ]]
}

@test "kiln shell and INSPECT on a terminal: size, resize, Ctrl-C, job control, exit status" {
  python3 tests/e2e/terminal.py "$KILN" shell base
  printf 'FROM base\nRUN echo a >/a\nINSPECT\nRUN ls /b >/c 2>&1 || true\n' >"$DIR/Imagefile"
  # typed until the build has ended: what is typed before the shell is there is lost
  while sleep 1; do printf 'touch /b\nexit\n' || break; done | timeout 60 script -qec "$KILN image build --name t$BATS_TEST_NUMBER $DIR" /dev/null >"$DIR/out"
  run inside 'cat /c'
  [[ $output == *'No such file'* ]]
}

@test "a builder VM that is stuck ends the build" {
  timeout 200 tail --pid="$(cat "$TOP/stuck/pid")" -f /dev/null
  cat "$TOP/stuck/out"
  grep -q 'error: the builder VM is stuck: it has shown no sign of life for 90 s' "$TOP/stuck/out"
  run ! pgrep -P "$(cat "$TOP/stuck/pid")"
}

# serve_at_once N: a server of served/ that answers when N files were asked for; its port is in PORT, its pid in SERVER.
serve_at_once() {
  "$BATS_TEST_DIRNAME/../servers/barrier.py" served "$1" >asked 3>&- &
  SERVER=$!
  timeout 120 sh -c 'until [ -s asked ]; do sleep 0.05; done'
  PORT=$(head -n 1 asked)
}

@test "what all stages fetch is fetched at the same time, and once" {
  cd "$BATS_TEST_TMPDIR"
  mkdir served
  echo one >served/one
  echo two >served/two
  "$KILN" image export base served/disk.qcow2 >/dev/null
  serve_at_once 3
  printf '%s\n' 'FROM scratch AS files' "ADD http://127.0.0.1:$PORT/one /one" "FROM fetched,http=http://127.0.0.1:$PORT/disk.qcow2" \
    "ADD http://127.0.0.1:$PORT/two /two" 'COPY --from=files /one /one' 'RUN cat /one /two' >Imagefile
  run timeout 200 "$KILN" image build --name together .
  kill "$SERVER"
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"Step 1/"*$'\none\ntwo\n'*"Built image 'together'"* ]]
  cat asked
  [ "$(tail -n +2 asked | grep -v -i 'sha[25]' | sort)" = $'/disk.qcow2\n/one\n/two' ]
}

@test "of what is fetched together, the first error ends the build with its place; so does a signal" {
  cd "$BATS_TEST_TMPDIR"
  mkdir served
  echo one >served/one
  serve_at_once 2
  printf '%s\n' 'FROM base' "ADD http://127.0.0.1:$PORT/one /one" "ADD http://127.0.0.1:$PORT/missing /two" >Imagefile
  run timeout 100 "$KILN" image build --name together .
  kill "$SERVER"
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"Imagefile:3:1: error: "*"missing"* && $output != *"Step 1/"* ]]
  serve_at_once 3 # which never answers
  sed -i "s/:[0-9][0-9]*\//:$PORT\//" Imagefile
  "$KILN" image build --name together . >out 2>&1 3>&- &
  timeout 120 sh -c 'until [ "$(wc -l <asked)" = 3 ]; do sleep 0.05; done'
  kill -TERM $! # what bash starts in the background ignores INT
  status=0
  wait $! || status=$?
  kill "$SERVER"
  cat out
  [ "$status" = 143 ]
  [ -z "$(find "$KILN_HOME/cache/remote/.working" -mindepth 1 ! -name '*.lock')" ]
}
