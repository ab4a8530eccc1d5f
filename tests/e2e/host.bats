#!/usr/bin/env bats
# image build --host: the build directory goes to another kiln over SSH, to dropbear on loopback.
bats_require_minimum_version 1.5.0
# shellcheck disable=SC2016,SC2046

setup_file() {
  export TOP
  TOP=$(mktemp -d "${TMPDIR:-/tmp}/kiln-host.XXXXXX")
  export KILN_HOME=$TOP/there KILN_ACCEL=${KILN_ACCEL:-tcg}
  . tests/e2e/common.bash
  share_appliance "$KILN_HOME"
  make_base "$TOP/base" base >&2
  start_sshd
  export KILN_HOME=$TOP/here PATH=$TOP/bin:$PATH HOST="ssh://$(id -un)@127.0.0.1:$PORT$KILN"
  mkdir "$TOP/ctx"
  echo 'FROM base' >"$TOP/ctx/Imagefile"
}

# dropbear with a ~/.ssh of its own, which no other process sees, and the environment of the other machine.
start_sshd() {
  export PORT=$((20000 + $$ % 20000))
  mkdir -m 700 "$TOP/ssh" "$TOP/bin"
  ssh-keygen -q -t ed25519 -N '' -f "$TOP/id"
  install -m 600 "$TOP/id.pub" "$TOP/ssh/authorized_keys"
  dropbearkey -t ed25519 -f "$TOP/hostkey" >/dev/null 2>&1
  printf '%s\n' 'Host *' "IdentityFile $TOP/id" 'StrictHostKeyChecking no' \
    "UserKnownHostsFile $TOP/known" 'LogLevel ERROR' >"$TOP/ssh_config"
  printf '#!/bin/sh\nexec %s -F %s "$@"\n' "$(command -v ssh)" "$TOP/ssh_config" >"$TOP/bin/ssh"
  chmod +x "$TOP/bin/ssh"
  local home # not $HOME: it is the one that sshd looks in
  home=$(getent passwd "$(id -u)" | cut -d: -f6)
  mkdir -p -m 700 "$home/.ssh"
  unshare -m sh -c 'mount --bind "$1/ssh" "$3/.ssh" && exec dropbear -F -E -e -s -p "127.0.0.1:$2" -r "$1/hostkey" -P "$1/pid"' \
    sh "$TOP" "$PORT" "$home" >"$TOP/sshd.log" 2>&1 3>&- &
  timeout 20 sh -c "until [ -s '$TOP/pid' ]; do sleep 0.1; done"
}

teardown_file() {
  . tests/e2e/common.bash
  kill "$(cat "$TOP/pid")"
  no_leftovers "$TOP"
  rm -rf "$TOP"
}

setup() { cd "$TOP" || return; }

# The other machine's kiln ends a moment after ours, and its QEMU a moment before it.
ended_there() {
  . "$BATS_TEST_DIRNAME/common.bash"
  local until=$((SECONDS + 60))
  until no_leftovers "$TOP/there" >left; do
    [ "$SECONDS" -lt "$until" ] || { cat left; return 1; }
    sleep 0.1
  done
}

build() { "$KILN" image build --host "$HOST" -t "$@" ctx; }
there() { KILN_HOME=$TOP/there "$KILN" "$@"; }

@test "what changed is sent, and built there; files of this side stay out of it" {
  mkdir -p ctx/app/sub
  printf '%s\n' 'FROM base' 'COPY . /ctx/' 'ARG WHO' 'RUN echo "made for $WHO" >/made' >ctx/Imagefile
  head -c 3M /dev/urandom >ctx/app/data
  echo one >ctx/app/sub/file
  ln -s sub/file ctx/app/link
  run env WHO=host "$KILN" image build --host "$HOST" --build-arg WHO --iidfile ctx/iid -t one ctx
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"Step 4/4 : RUN echo"*"Built image 'one' on $HOST in "* ]]
  run "$KILN" image ls -q
  [[ $output != *one* ]]
  [ "$(there image inspect one --json | jq -r .layer)" = "$(cat ctx/iid)" ]
  [ "$(there shell one -c 'cat /made; cmp /ctx/app/link /ctx/app/sub/file; ls /ctx')" = $'made for host\nImagefile\napp' ]

  # an identical directory sends nothing; then one file of 4 bytes
  WHO=host build one --build-arg WHO --iidfile ctx/iid --json >events
  [ -z "$(jq -r 'select(.event == "progress" and .what == "sending")' events)" ]
  [ "$(jq -r 'select(.event == "result") | "\(.cached) \(.steps)"' events)" = '2 2' ]
  echo two >ctx/app/sub/file
  WHO=host build one --build-arg WHO --iidfile ctx/iid --json >events
  [ "$(jq -r 'select(.event == "progress" and .what == "sending" and .end) | .total' events)" = 4 ]
  [ "$(there shell one -c 'cat /ctx/app/link')" = two ]
}

@test "up brings what KILN_HOST built here" {
  mkdir -p fleet
  echo 'FROM base' >fleet/Imagefile
  echo 'vm "hosted" { build "fleet"; memory 64; }' >VMFile.kdl
  KILN_HOST=$HOST run timeout 100 "$KILN" up
  echo "$output"
  "$KILN" stop --kill hosted
  "$KILN" rm hosted
  [ "$status" = 0 ]
  [[ $output == *"created from"*"hosted | is up"* ]]
}

@test "an Imagefile from elsewhere, secrets and what a RUN says; its failure is told as here" {
  printf '%s\n' 'FROM base' 'RUN --mount=type=secret,id=key wc -c </run/secrets/key; echo to-stderr >&2' >elsewhere.Imagefile
  printf 'pass\0word' >key
  run --separate-stderr build secret -f elsewhere.Imagefile --secret id=key,src=key
  [ "$status" = 0 ]
  [[ $output == *$'\n9\n'* ]]
  [ -z "$(grep -rl 'pass.word' there/backend there/cache/hosts)" ]
  run --separate-stderr build failed -f - <<<$'FROM base\nRUN echo said; exit 3'
  echo "$output / $stderr"
  [ "$status" = 1 ]
  [[ $output == *$'\nsaid' && $stderr == *"Imagefile:2:1: error: step 2 (RUN echo said; exit 3) failed with exit status 3"* ]]
  run build mistakes -f - <<<$'FROM base\nRUNN x\nCOPY none /'
  [ "$status" = 1 ]
  [[ $output == *"did you mean RUN?"* ]]
}

@test "--load brings the image with its layers" {
  printf '%s\n' 'FROM base' 'RUN echo 1 >/one' >ctx/Imagefile
  run build loaded --load --output copy.raw
  echo "$output"
  [ "$status" = 0 ]
  [ "$(head -c 440 copy.raw | wc -c)" = 440 ]
  [ "$("$KILN" image inspect loaded --json | jq -r .layer)" = "$(there image inspect loaded --json | jq -r .layer)" ]
  run build loaded --load
  [ "$status" = 0 ]
  run build loaded --output copy.raw
  [ "$status" = 2 ]
  [[ $output == *'--load brings it here'* ]]
}

@test "whoever interrupts or kills the build here ends it there" {
  local signal
  for signal in INT KILL; do
    printf '%s\n' 'FROM base' "RUN echo started $signal; sleep 1000" >ctx/Imagefile
    # env: SIGINT may be ignored where the tests run
    env --default-signal=INT "$KILN" image build --host "$HOST" -t long ctx >out 2>&1 3>&- &
    local pid=$!
    timeout 60 sh -c "until grep -qx 'started $signal' out; do sleep 0.1; done"
    kill -$signal $pid
    wait $pid || true
    ended_there
  done
}

@test "an ssh that stalls, before the other kiln has said anything, after, and while files are sent: one Ctrl-C ends it" {
  mkdir -p stalled many
  cp ctx/Imagefile many/
  (cd many && seq 3000 | xargs touch) # their list is more than a pipe holds
  local dir said pid status ssh
  while IFS='|' read -r dir said; do
    printf '#!/bin/sh\necho $$ >%s/stalled/pid\n%s\nexec sleep 1000\n' "$TOP" "${said:+echo '$said'}" >stalled/ssh
    chmod +x stalled/ssh
    rm -f stalled/pid
    PATH=$TOP/stalled:$PATH python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execv(sys.argv[1], sys.argv[1:])' "$KILN" image build --host ssh://far -t x "$dir" >out 2>&1 3>&- &
    pid=$! status=0
    until [ -s stalled/pid ]; do kill -0 "$pid"; done
    ssh=$(cat stalled/pid)
    kill -INT "$pid"
    wait "$pid" || status=$?
    cat out
    [ "$status" = 130 ]
    grep -q '^interrupted$' out
    run kill -0 "$ssh"
    [ "$status" = 1 ]
  done <<'END'
ctx|
ctx|{"event": "notice", "text": "there"}
many|
END
}

@test "no connection, no kiln, another version, wrong words" {
  run "$KILN" build --host "ssh://127.0.0.1:$((PORT + 1))" -t x ctx
  [ "$status" = 1 ]
  [[ $output == *"cannot reach '127.0.0.1' by ssh"*"must work without a password"* ]]
  run "$KILN" build --host "ssh://$(id -un)@127.0.0.1:$PORT/none/kiln" -t x ctx
  [ "$status" = 1 ]
  [[ $output == *"there is no '/none/kiln' on '127.0.0.1'"* ]]
  run "$KILN" build --host "ssh://$(id -un)@127.0.0.1:$PORT/bin/cat" -t x ctx
  [ "$status" = 1 ]
  run "$KILN" image build --serve < <(python3 -c 'import struct, sys
text = b"""{"kiln": "0.0.1", "copy": "", "file": "", "words": []}"""
sys.stdout.buffer.write(struct.pack("<I", len(text)) + text)')
  [ "$status" = 1 ]
  [[ $output == *" and this one is 0.0.1"*"install the same version on both machines"* ]]
  local words
  for words in http://x ssh:// ssh://-x ssh://a:b ssh://a:1/k' 'x ssh://@a; do
    run "$KILN" build --host "$words" -t x ctx
    [ "$status" = 2 ]
    [[ $output == *"is not ssh://[USER@]HOST[:PORT]"* ]]
  done
  for words in --local "--image-backend=$TOP"; do
    run "$KILN" build --host "$HOST" "$words" -t x ctx
    [ "$status" = 2 ]
  done
  # what the host would look for among its own files, and what JSON cannot hold
  for words in --cache-to=oci-layout:here --cache-from=oci-layout:here --checksum=./SHA256SUMS $'--label=x=\xff' $'--secret=id=\xff,src=key'; do
    echo x | tee key SHA256SUMS
    run "$KILN" build --host "$HOST" "$words" -t x ctx
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *'with --host it is'* || $output == *'not UTF-8: --host needs it'* ]]
  done
  run "$KILN" image build --serve <<<junk
  [ "$status" = 1 ]
  [[ $output == *"is not the request of a kiln's --host"* ]]
}

# The programs with their libraries, in the folder $1.
add_programs() {
  local to=$1 program file PATH=/usr/bin
  rm -rf "$(dirname "$to")"
  shift
  for program; do
    install -D "$(command -v "$program")" "$to$(command -v "$program")"
    for file in $(ldd "$(command -v "$program")" | grep -o '/[^ ]*'); do install -D "$file" "$to$file"; done
  done
}

# start_agent: an ssh-agent with the key that sshd takes.
start_agent() {
  rm -f agent
  ssh-agent -D -a "$TOP/agent" >agent.log 2>&1 3>&- &
  AGENT=$!
  export SSH_AUTH_SOCK=$TOP/agent
  timeout 20 sh -c "until SSH_AUTH_SOCK='$TOP/agent' ssh-add -q id 2>/dev/null; do sleep 0.1; done"
}

@test "clients of --ssh may ask in another order than they came" {
  export KILN_HOME=$TOP/there
  start_agent
  add_programs keyed/tools perl
  local modules=/usr/lib/x86_64-linux-gnu
  install -d keyed/tools$modules
  cp -r $modules/perl-base keyed/tools$modules/
  cat >keyed/tools/ask <<'END'
use Socket;
alarm 60;
sub call { my $s; socket($s, AF_UNIX, SOCK_STREAM, 0) && connect($s, sockaddr_un($ENV{SSH_AUTH_SOCK})) or die $!; $s }
sub ask { my $s = shift; syswrite($s, "\0\0\0\1\x0b"); sysread($s, my $answer, 5); print "answer ", ord(substr $answer, 4), "\n" }
my ($first, $second) = (call, call);
sleep 1;
ask $second;
ask $first;
END
  printf '%s\n' 'FROM base' 'COPY tools/ /' 'RUN --mount=type=ssh perl /ask' >keyed/Imagefile
  run timeout 200 "$KILN" build --progress plain --ssh default -t order keyed
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *$'\nanswer 12\nanswer 12\n'* ]]
  kill "$AGENT"
}

@test "RUN --mount=type=ssh has the keys of --ssh, to use and nothing else" {
  export KILN_HOME=$TOP/there
  start_agent
  git init -q -b main repo
  git -C repo -c user.name=x -c user.email=x@x commit -q --allow-empty -m cloned
  add_programs keyed/tools ssh ssh-add git
  # all_proxy: the host's loopback is not reached unless a proxy is there
  printf '%s\n' 'FROM base AS tools' 'COPY tools/ /' 'ENV GIT_SSH_COMMAND="ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"' \
    'ENV all_proxy=http://10.0.2.2:1' "ARG FROM=ssh://$(id -un)@10.0.2.2:$PORT$TOP/repo" 'FROM tools' \
    'RUN --mount=type=ssh,required ssh-add -l; ! ssh-add -D && ! ssh-add -x </dev/null; git clone -q "$FROM" /repo && git -C /repo log --format=%s' \
    'RUN for i in 1 2 3 4 5 6 7 8; do echo "none of it: $i"; done; [ -z "$SSH_AUTH_SOCK" ] && [ ! -e /run/buildkit ]' \
    'RUN --mount=type=ssh,id=none --mount=type=ssh,id=two,target=/tmp/own,uid=1000,mode=0640 stat -c "%a %u %F" /tmp/own; echo at $SSH_AUTH_SOCK; ! ls /run/buildkit' \
    'USER user' 'RUN --mount=type=ssh,uid=1000 for i in $(seq 20); do ssh-add -l & done; wait' >keyed/Imagefile
  run timeout 300 "$KILN" build --ssh default --ssh "two=$TOP/agent" -t agents -vv keyed
  echo "$output"
  [ "$status" = 0 ]
  local key
  key=$(ssh-keygen -lf id.pub | cut -d' ' -f2)
  [ "$(grep -c "^256 $key" <<<"$output")" = 21 ]
  [[ $output == *$'\ncloned\n'*$'\n640 1000 socket\nat /tmp/own\n'* ]]
  [ "$(SSH_AUTH_SOCK=agent ssh-add -l | cut -d' ' -f2)" = "$key" ]
  [ "$(there shell agents -c 'ls -A /run/buildkit /tmp 2>&1' || true)" = $'ls: /run/buildkit: No such file or directory\n/tmp:' ]
  # it is not part of the key; and what is required is asked for before anything is run
  "$KILN" build --require-cached -t agents keyed 2>/dev/null && return 1
  sed -i 's/,required//' keyed/Imagefile
  sed -i 's/^RUN --mount=type=ssh,uid.*//' keyed/Imagefile
  run "$KILN" build --ssh default -t agents keyed
  [ "$status" = 0 ]
  run "$KILN" build --require-cached -t agents keyed
  echo "$output"
  [ "$status" = 0 ]
  printf '%s\n' 'FROM base' 'RUN --mount=type=ssh,required true' >keyed/Imagefile
  run "$KILN" build -t agents keyed
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"Imagefile:2:13: error: the ssh-agent 'default' is required and was not given"*"--ssh default"* && $output != *"Step 1"* ]]
  kill $AGENT
}

@test "--ssh with keys starts an agent of its own, which ends with the build; mistakes in --ssh" {
  export KILN_HOME=$TOP/there
  unset SSH_AUTH_SOCK
  add_programs keyed/tools ssh-add
  printf '%s\n' 'FROM base' 'COPY tools/ /' 'RUN --mount=type=ssh ssh-add -l' >keyed/Imagefile
  ssh-keygen -q -t ed25519 -N '' -f second
  run timeout 100 "$KILN" build --ssh "default=$TOP/id,second" -t keys keyed
  echo "$output"
  [ "$status" = 0 ]
  [ "$(grep -c '^256 SHA256:.*ED25519' <<<"$output")" = 2 ]
  run pgrep -f "[s]sh-agent.*$TOP/there"
  [ "$status" = 1 ]
  [ -z "$(find there/cache/ssh -mindepth 1 ! -name '*.lock')" ]
  ssh-keygen -q -t ed25519 -N secret -f locked
  python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("dead")'
  local words
  while IFS='|' read -r words said; do
    # shellcheck disable=SC2086
    run setsid -w "$KILN" build $words -t keys keyed </dev/null
    echo "$output"
    [[ $status != 0 && $output == *"argument --ssh: "*$said* ]]
  done <<'END'
--ssh default|SSH_AUTH_SOCK is not set*eval $(ssh-agent)
--ssh default=nothing|'nothing': No such file
--ssh default=~/nothing|write $HOME
--ssh a=id --ssh a=second|'a' is given twice
--ssh default=id.pub|key 'id.pub'*chmod 600 id.pub
--ssh default=locked|key 'locked'*a key with a passphrase goes into an agent first
--ssh default=dead|the ssh-agent 'default'*eval $(ssh-agent)
END
}

@test "--host forwards the agent" {
  start_agent
  add_programs keyed/tools ssh-add
  printf '%s\n' 'FROM base' 'COPY tools/ /' 'RUN --mount=type=ssh,required ssh-add -l' >keyed/Imagefile
  echo forwarded >keyed/tools/forwarded
  run timeout 200 "$KILN" build --host "$HOST" --ssh default -t forwarded keyed
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"256 SHA256:"*"Built image 'forwarded'"* ]]
  run "$KILN" build --host "$HOST" --ssh default --ssh other=id -t forwarded keyed
  [ "$status" = 1 ]
  [[ $output == *"with --host there is one ssh-agent"* ]]
  kill $AGENT
}
