#!/usr/bin/env bats
# What kiln says when it can't do what was typed: one message with where, what and what to do, and
# the exit status that the man pages promise. Nothing here starts a VM.

setup() {
  export KILN_HOME=$BATS_TEST_TMPDIR/home KILN_ACCEL=tcg
  backend=$KILN_HOME/backend
  mkdir -p "$backend"
  cd "$BATS_TEST_TMPDIR"
}

# says STATUS TEXT ARGUMENT…: kiln's exit status, and what is in its output.
says() {
  local want=$1 text=$2
  shift 2
  run "$KILN" "$@"
  echo "kiln $*: $status: $output"
  [ "$status" = "$want" ] && [[ $output == *"$text"* ]]
}

work() { # LINE…: a build directory
  mkdir -p "$BATS_TEST_TMPDIR/work"
  printf '%s\n' "$@" >"$BATS_TEST_TMPDIR/work/Imagefile"
  echo "$BATS_TEST_TMPDIR/work"
}

@test "every command: --help is its help, an unknown option is exit 2 and names the help" {
  while read -r group command part _; do
    case $group:$command in
      ci:gitlab) name="$group $command $part" ;;
      image:* | system:* | ci:* | libvirt:*) name="$group $command" ;;
      *) name=$group ;;
    esac
    # shellcheck disable=SC2086  # words
    says 0 "Usage: kiln $name" $name --help
    # shellcheck disable=SC2086
    says 2 "error: unrecognized arguments: --nonsense"$'\n'"hint: 'kiln $name --help'" $name --nonsense
  done < <("$KILN" --help | sed -n 's/^  \([a-z].*\)/\1/p')
  says 2 "hint: 'kiln --help'" --nonsense
  says 2 "hint: 'kiln --help'" nonsense
  says 2 "hint: 'kiln image --help'" image nonsense
  says 0 'ci gitlab prepare' ci gitlab
  says 2 "'8080' is not [ADDRESS:]PORT:GUEST-PORT" run --publish 8080 none # its value is the next word
}

@test "the man pages and --help have the same options and commands" {
  run python3 "$BATS_TEST_DIRNAME/options.py" "$KILN" "$BATS_TEST_DIRNAME/../../docs/man"
  echo "$output"
  [ "$status" = 0 ]
}

@test "the common options stand before or after the command" {
  mkdir other
  says 0 "" --image-backend "$PWD/other" -v image ls
  says 0 "" image ls --image-backend "$PWD/other" -v
  "$BATS_TEST_DIRNAME/store_layers.py" "$PWD/other" there 'DISK 64 MB' >/dev/null
  says 0 there --image-backend="$PWD/other" image ls
  says 0 "Usage: kiln image ls" --help image ls
  says 0 "Usage: kiln image COMMAND" --help image
  says 2 "argument --vmstore: expected one argument" --vmstore
  says 2 "unrecognized arguments: --json" --json image ls
}

@test "values of options are checked before anything is done" {
  dir=$(work 'FROM none')
  for memory in 1 500K 5000T foo; do says 2 "argument --memory: '$memory'" image build --memory $memory "$dir"; done
  says 2 "argument --accel: 'foo'" image build --accel foo "$dir"
  says 2 "argument --dns: 'foo'" image build --dns foo "$dir"
  says 2 "argument --memory: '1'" run none --memory 1
  says 2 "argument --memory: '1'" shell none --memory 1
  says 2 "argument --accel: 'foo'" shell none --accel foo
  says 2 "argument --accel: 'foo'" image inspect none --accel foo
  dir=$(work 'FROM scratch' 'DISK 64 MB MBR' 'PARTITION 1 FORMAT ext4 MOUNT /')
  says 1 "--no-cache-from 9: the last step is 3" image build --no-cache-from 9 "$dir"
  says 1 "cannot read the SSH key '/nope'" run none --ssh-key /nope
  says 1 "the build directory '$dir/Imagefile' is a file" image build "$dir/Imagefile"
  says 1 "invalid image name '-x': it begins with '-'" image build --name -x "$dir"
  for user in 'x;id' '' -x 'a b' 'a/b' 'a\'; do
    says 2 "argument --user: '$user' can't be the name of a user"$'\n'"hint: users' names are" exec --user "$user" none true
    for words in 'ssh none' 'cp here none:' 'commit none image'; do
      # shellcheck disable=SC2086  # words
      says 2 "argument --user: '$user'" $words --user "$user"
    done
    for command in run create; do says 2 "argument --ssh-user: '$user'" $command none --ssh-user "$user"; done
  done
  says 2 "argument --ssh-option: 'x;id'" run none -o 'User=x;id'
  for user in 'DOM\joe' me@example.org _x 1 a+b; do says 1 "no VM 'none'" exec -u "$user" none true; done
  for host in 'a b' -a a- a..b .a a. "$(printf 'a%.0s' {1..65})" ''; do
    for command in run create; do says 2 "can't be the name of a host"$'\n'"hint: host names are up to 64" $command none --hostname "$host"; done
  done
  says 1 "unable to find image 'none'" create none --hostname web-1.example.org
  says 2 "argument --publish: port 8080 of 127.0.0.1 leads to port 80 already" run -p 8080:80 -p 8080:81 none
  says 2 "argument --publish: port 8080 of 127.0.0.1 leads to port 80 already" create -p 8080:80 -p 0.0.0.0:8080:81 none
  says 2 "argument --publish: port 53/udp of 127.0.0.1 leads to port 53 already" run -p 53:53/udp -p 53:54/udp none
  says 2 "leads to port 22 already"$'\n'"hint: --ssh-port" run --ssh-port 2222 -p 2222:80 none
  says 1 "unable to find image 'none'" run -p 8080:80 -p 8080:80 -p 8080:80/udp -p 127.0.0.2:8080:81 --ssh-port 8081 none
  # a bare number means megabytes
  says 1 "unable to find image 'none'" run none --memory 512
}

@test "steps that are not there are named, with the command that lists them" {
  "$BATS_TEST_DIRNAME/store_layers.py" "$backend" one 'DISK 64 MB' 'RUN a' >/dev/null
  says 1 "nothing is known of a build of 'one'"$'\nhint: ' shell one@1 -c ls
  says 1 "nothing is known of a build of 'one'"$'\nhint: ' image log one 1
  mkdir -p "$backend/.builds"
  id=$(ls "$backend/.layers")
  id=${id%%$'\n'*}
  echo "{\"steps\": [{\"n\": 2, \"id\": \"$id\", \"step\": \"x\"}]}" >"$backend/.builds/one.json"
  says 1 "'one' has no disk yet at step 1" shell one@1 -c ls
  says 1 "'one' has no step 3"$'\n'"hint: 'kiln image history one'" shell one@3 -c ls
}

@test "a port and a user that do not go with what was kept" {
  "$BATS_TEST_DIRNAME/store_layers.py" "$backend" one 'DISK 64 MB' >/dev/null
  says 0 '' create -p 8080:80 -p 8080:80 --name web one
  [ "$(jq -c '[.spec.nics[0].forwards[].host_port]' "$KILN_HOME/vmstore/web/vm.json")" = '[8080]' ]
  says 2 "port 8080 of 127.0.0.1 leads to port 80 already" start web -p 8080:81
  says 2 "argument --ssh-user: 'x;id'" start web --ssh-user 'x;id'
  says 0 '' image build -t labelled "$(work 'FROM one' 'LABEL kiln.ssh-user="x;id"')"
  says 1 "the image's label kiln.ssh-user is 'x;id', which can't be the name of a user"$'\n'"hint: --ssh-user names another" create labelled
  says 0 '' create --ssh-user root labelled
}

@test "a command in a hint can be pasted: names and paths with blanks are quoted" {
  "$BATS_TEST_DIRNAME/store_layers.py" "$backend" 'o%3Bne' 'DISK 64 MB' >/dev/null
  says 0 '' create --name 'v;m' 'o;ne'
  says 1 "'kiln start -d 'v;m'' starts it" exec 'v;m' true
  says 1 "'kiln rm 'v;m'' first" create --name 'v;m' 'o;ne'
  says 1 "kiln start -d 'v;m'" logs 'v;m'
  says 2 "kiln exec 'v;m' uname -a" exec 'v;m'
  says 1 "'kiln start 'v;m'' boots it" run 'v;m'
  says 1 "'kiln run -d --name 'o;ne' 'o;ne'' starts a VM of it, 'kiln rmi 'o;ne'' removes it" exec 'o;ne' true
  says 2 "kiln cp 'v;m:/a' - | kiln cp - 'v;m:it'\\''s'" cp 'v;m:/a' 'v;m:it'\''s'
  says 2 "kiln cp 'a b' NAME:/c" cp 'a b' /c
  : >'a b.img'
  says 1 "'kiln image import 'a b.img' NAME'" run 'a b.img'
  says 2 "kiln run IMAGE 'ls;id'" run 'o;ne' -- 'ls;id'
}

@test "image history: a step is one line without control characters" {
  "$BATS_TEST_DIRNAME/store_layers.py" "$backend" one 'DISK 64 MB' $'RUN <<A\n\bred\nA' >/dev/null
  run "$KILN" image history one
  echo "$output"
  [ "$status" = 0 ]
  [ "${#lines[@]}" = 3 ]
  [[ $output == *'RUN <<A \x08red A' ]]
}

@test "without HOME: what needs no folder works, the rest says what to set" {
  dir=$(work 'FROM scratch')
  run env -u HOME -u KILN_HOME "$KILN" image check "$dir"
  echo "$output"
  [[ $output == *"Imagefile:1"* ]]
  run env -u HOME -u KILN_HOME "$KILN" help imagefile
  [ "$status" = 0 ]
  run env -u HOME -u KILN_HOME "$KILN" image ls
  [ "$status" = 1 ]
  [[ $output == *"HOME is not set"$'\n'"hint: set KILN_HOME to a folder" ]]
}

@test "a KILN_HOME that can't be one: each command and doctor say so" {
  touch "$BATS_TEST_TMPDIR/file"
  export KILN_HOME=$BATS_TEST_TMPDIR/file/home
  dir=$(work 'FROM scratch' 'DISK 64 MB MBR' 'PARTITION 1 FORMAT ext4 MOUNT /')
  says 1 "Not a directory"$'\n'"hint: KILN_HOME chooses another folder" image build "$dir"
  says 1 "hint: KILN_HOME chooses another folder" ssh-key
  says 1 "failed   backend     '$BATS_TEST_TMPDIR/file' is not a folder" doctor
}

@test "a full disk is no damaged layer" {
  [ "$(id -u)" = 0 ] || skip "a tmpfs takes root"
  small=$BATS_TEST_TMPDIR/small
  mkdir "$small"
  mount -t tmpfs -o size=4M kiln-test "$small"
  "$BATS_TEST_DIRNAME/store_layers.py" "$small/backend" one 'DISK 64 MB' 'RUN a' >/dev/null
  dd if=/dev/zero of="$small/fill" bs=1k 2>/dev/null || true
  run env KILN_HOME="$small" "$KILN" image export one "$BATS_TEST_TMPDIR/out.qcow2"
  umount "$small"
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"No space left on device"$'\n'"hint: make room: 'kiln prune --all'"* ]]
  [[ $output != *damaged* ]]
}

@test "output that can't be written is an error; a closed pipe ends quietly" {
  for command in --version --help 'image build --help' 'image ls' 'help imagefile'; do
    # shellcheck disable=SC2086
    run bash -c '"$KILN" "$@" >/dev/full' - $command
    echo "$command: $status $output"
    [ "$status" = 1 ]
    [[ $output == *"error: cannot write to standard output: No space left on device"* ]]
  done
  "$BATS_TEST_DIRNAME/store_layers.py" "$backend" one 'DISK 64 MB' 'RUN a' >/dev/null
  echo 'vm "web" { image "one"; }' >VMFile.kdl
  for command in 'up --dry-run' 'create --name web one' 'rm web'; do # their output is written early
    # shellcheck disable=SC2086
    run bash -c '"$KILN" "$@" >/dev/full' - $command
    echo "$command: $status $output"
    [ "$status" = 1 ]
    [ "$output" = "error: cannot write to standard output: No space left on device" ]
  done
  run bash -c '"$KILN" image build --name two "$1" >/dev/full' - "$(work 'FROM one' 'LABEL a=b')"
  echo "$output"
  [[ $output == *"error: cannot write to standard output: No space left on device"* ]]
  # the second one has more to write than a pipe holds
  for command in 'image ls' 'image check -f many .'; do
    seq -f 'X %g' 4000 >many
    # shellcheck disable=SC2086
    run bash -c 'exec 3>&1; { sleep 0.3; "$KILN" "$@"; echo "status $?" >&3; } | :' - $command
    echo "$command: $status $output"
    [ "$output" = "status 141" ]
  done
}

@test "a bar fits the terminal, however narrow" {
  "$BATS_TEST_DIRNAME/store_layers.py" "$backend" one 'DISK 64 MB' 'RUN a' >/dev/null
  for width in 10 25 40 57 58 80 200; do
    run python3 - "$width" "$KILN" image export --quiet one "out.$width" <<'END'
import fcntl, os, pty, struct, sys, termios
width, argv = int(sys.argv[1]), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    os.environ["TERM"] = "xterm"
    os.execv(argv[0], argv)
said = b""
try:
    while True:
        said += os.read(fd, 4096)
except OSError:
    pass
bar = said.decode().split("\r")[-2]
assert bar.startswith("100% |"), said
assert len(bar) < max(width, 13), (width, bar)
assert "Time:" in bar or width < 40, bar
END
    echo "$output"
    [ "$status" = 0 ]
  done
}
