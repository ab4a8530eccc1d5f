#!/usr/bin/env bats
# kiln cp, with a real VM of examples/tiny in the background. "evil" stands for a hostile guest.
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HOME=$BATS_FILE_TMPDIR/home
  share_appliance "$KILN_HOME"
  cd "$BATS_FILE_TMPDIR"
  make_tiny >/dev/null
  "$KILN" run -d --name web tiny -- -kernel "$PWD/vmlinuz" -initrd "$PWD/initrd.img" \
    -append "console=ttyS0 panic=1 net.ifnames=0 mitigations=off"
  "$KILN" exec --wait 100 web sh -c 'mkdir /srv/full && echo there >/srv/full/there && echo old >/srv/file'
}
setup() {
  load common
  cd "$BATS_TEST_TMPDIR"
}
teardown_file() {
  "$KILN" stop --kill web
  load common
  no_leftovers "$KILN_HOME"
}
guest() { "$KILN" exec web "$@"; }
listing() { (cd "$1" && find . -mindepth 1 -printf '%P %y %m %l\n' | sort); }
make_tree() { # names, modes and links that a copy must keep
  mkdir -p "$1/sub dir/deep" "$1/shut"
  head -c 300000 /dev/urandom >"$1/sub dir/bytes"
  echo run >"$1/run.sh"
  chmod 751 "$1/run.sh"
  echo private >"$1/shut/key"
  chmod 600 "$1/shut/key"
  chmod 500 "$1/shut"
  : >"$1/empty"
  echo odd >"$1/-odd \$name'"$'\n'"with"$'\xff'
  echo long >"$1/$(printf 'l%.0s' {1..240})"
  ln -s ../elsewhere "$1/link"
  ln "$1/run.sh" "$1/hard"
  touch -d 2001-02-03 "$1/empty"
}

@test "several sources go into a folder that is there" {
  mkdir one here
  echo 1 >one/a
  echo 2 >b
  guest mkdir -p /srv/several
  "$KILN" cp one b web:/srv/several
  [ "$(guest cat /srv/several/one/a /srv/several/b)" = $'1\n2' ]
  "$KILN" cp web:/srv/several/one web:/srv/several/b here
  diff -r one here/one
  cmp b here/b
  run "$KILN" cp one b web:/srv/missing
  [ "$status" = 1 ]
  run "$KILN" cp web:/srv/file web:/srv/several/b b
  [ "$status" = 1 ]
  [[ $output == *"and 'b' is not one"* ]]
  run "$KILN" cp one web:/srv/file here
  [ "$status" = 2 ]
  [[ $output == *'neither of the two names a VM'* ]]
  run "$KILN" cp - b web:/srv/several </dev/null
  [ "$status" = 2 ]
}

@test "folders go in and come out as they were" {
  make_tree tree
  "$KILN" cp -u root tree web:/srv/tree # busybox's tar lets nobody else fill a folder that is read-only
  [ "$(guest stat -c %a /srv/tree/run.sh)" = 751 ]
  [ "$(guest stat -c %h /srv/tree/hard)" = 2 ]
  [ "$(guest stat -c %u /srv/tree/run.sh)" = 0 ]
  "$KILN" cp -u root web:/srv/tree back
  diff -r --no-dereference tree back
  diff <(listing tree) <(listing back)
  [ "$(stat -c %Y back/empty)" = "$(stat -c %Y tree/empty)" ]
  [ back/hard -ef back/run.sh ]
  [ "$(stat -c %u back/run.sh)" = "$(id -u)" ]
  chmod 700 tree/shut back/shut
}

@test "docker's rules for a destination that is there, or not, or ends in a slash" {
  mkdir src && echo new >src/file
  "$KILN" cp src web:/srv/full
  "$KILN" cp src web:/srv/fresh
  "$KILN" cp src/. web:/srv/full
  [ "$(guest cat /srv/full/src/file /srv/fresh/file /srv/full/file /srv/full/there)" = $'new\nnew\nnew\nthere' ]
  "$KILN" cp src/file web:/srv/full/renamed
  "$KILN" cp src/file web:/srv/file
  "$KILN" cp -u root src/file web:
  [ "$(guest cat /srv/full/renamed /srv/file)" = $'new\nnew' ]
  [ "$("$KILN" ssh -u root web 'cat ~/file')" = new ]
  run "$KILN" cp src web:/srv/file
  [ "$status" = 1 ]
  [[ $output == *"cannot copy a folder to '/srv/file', which is a file"* ]]
  run "$KILN" cp src/file web:/srv/none/
  [ "$status" = 1 ]
  [[ $output == *"no folder '/srv/none/'"* ]]
  run "$KILN" cp src/file web:/srv/none/deep
  [ "$status" = 1 ]
  [[ $output == *"the copy failed in VM 'web'"*/srv/none* ]]

  mkdir here && echo mine >here/mine
  "$KILN" cp web:/srv/full here
  "$KILN" cp web:/srv/full/ fresh
  "$KILN" cp web:/srv/full/. here/
  cmp here/full/there fresh/there
  [ "$(cat here/there here/mine)" = $'there\nmine' ]
  "$KILN" cp web:/srv/full/there here/mine
  "$KILN" cp web:/srv/full/there ./a:b
  "$KILN" cp web:/srv/full/there .
  [ "$(cat here/mine a:b there)" = $'there\nthere\nthere' ]
  run "$KILN" cp web:/srv/full there
  [ "$status" = 1 ]
  run "$KILN" cp web:/srv/file none/
  [ "$status" = 1 ]
  run "$KILN" cp web:/srv/file none/deep
  [ "$status" = 1 ]
  [[ $output == *"no folder 'none'"* ]]
  run "$KILN" cp web:/srv/none .
  [ "$status" = 1 ]
  [[ $output == *"no file or folder '/srv/none' in the VM"* ]]
  run "$KILN" cp none web:/srv
  [ "$status" = 1 ]
  [[ $output == *"no file or folder 'none' on the host"* ]]
}

@test "links are copied, and with -L what they lead to" {
  mkdir target && echo aim >target/aim
  ln -s target link
  "$KILN" cp link web:/srv/link
  [ "$(guest readlink /srv/link)" = target ]
  "$KILN" cp -L link web:/srv/followed
  [ "$(guest cat /srv/followed/target/aim || guest cat /srv/followed/aim)" = aim ]
  guest ln -s full /srv/way
  "$KILN" cp web:/srv/way .
  [ "$(readlink way)" = full ]
  "$KILN" cp -L web:/srv/way followed
  [ -e followed/there ]
}

@test "- is a tar stream" {
  mkdir dir && echo streamed >dir/f
  chmod 640 dir/f
  tar -c dir | "$KILN" cp - web:/srv/full
  [ "$(guest stat -c %a /srv/full/dir/f)" = 640 ]
  "$KILN" cp web:/srv/full/dir - | tar -xO dir/f | cmp - dir/f
  run "$KILN" cp - web:/srv/file <dir/f
  [ "$status" = 1 ]
  run "$KILN" cp - web:/srv <dir/f
  [ "$status" = 1 ]
  [[ $output == *"the copy failed in VM 'web'"* ]]
}

@test "wrong command lines and VMs" {
  run "$KILN" cp a b
  [ "$status" = 2 ]
  [[ $output == *"neither of the two names a VM"*'kiln cp a NAME:b'* ]]
  run "$KILN" cp web:/srv web:/tmp
  [ "$status" = 2 ]
  [[ $output == *'kiln cp web:/srv - | kiln cp - web:/tmp'* ]]
  run "$KILN" cp none:/srv .
  [ "$status" = 1 ]
  [[ $output == *"no VM 'none'"* ]]
}

# What root's shell, by now a program that prints /evil for tar, sends for /srv/d; $1 is Python that adds to it.
hostile() {
  rm -rf dest
  mkdir dest
  echo safe >outside
  python3 - "$1" >evil.tar <<'PYTHON'
import io, sys, tarfile
t = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
def add(name, data=b"evil", **how):
    i = tarfile.TarInfo(name)
    for k, v in how.items():
        setattr(i, k, v)
    i.size = len(data) if i.isreg() else 0
    t.addfile(i, io.BytesIO(data))
def link(name, to):
    add(name, type=tarfile.SYMTYPE, linkname=to)
def hard(name, to):
    add(name, type=tarfile.LNKTYPE, linkname=to)
add("d", type=tarfile.DIRTYPE, mode=0o755)
rest = b""
exec(sys.argv[1])
t.close()
sys.stdout.buffer.write(rest)
PYTHON
  head -c "${2:-1000000}" evil.tar | "$KILN" ssh -u root web 'cat >/evil'
  run "$KILN" cp -u root web:/srv/d dest
  echo "$1: $output"
  [ "$(cat outside)" = safe ]
  [ ! -L outside ]
  [ "$(stat -c %h outside)" = 1 ]
  [ "$(echo *)" = 'dest evil.tar outside' ]
}

@test "a hostile guest writes nothing outside of the destination" {
  "$KILN" ssh -u root web 'cat >/bin/evil; chmod 755 /bin/evil; mkdir /srv/d; printf "/bin/sh\n/bin/evil\n" >/etc/shells
    sed -i "/^root:/s|[^:]*$|/bin/evil|" /etc/passwd' <<'EVIL'
#!/bin/sh
case $2 in tar*) cat /evil ;; *) exec /bin/sh "$@" ;; esac
EVIL
  local attack out=$PWD/outside
  for attack in 'add("../outside")' "add('$out')" 'add("other")' 'add("d/../../outside")' \
    'link("d/l", "../.."); add("d/l/outside")' "hard('d/h', '$out')" 'hard("d/h", "d/../../outside")' \
    'link("d/l", "../../"); hard("d/h", "d/l/outside")' 'link("d", ".."); add("d/outside")'; do
    hostile "$attack"
    [ "$status" = 1 ]
    [[ "$(ls -A dest)" == @(|d) ]]
  done
  # a file takes the place of a link
  hostile 'link("d/l", "../../outside"); add("d/l")'
  [ "$status" = 0 ]
  [ ! -L dest/d/l ]
  hostile 'add("d/su", mode=0o6755); add("d/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)'
  [ "$status" = 0 ]
  [[ $output == *'note: left out: devices, pipes and sockets (1)'* ]]
  [ "$(stat -c %a dest/d/su)" = 755 ]
  [ ! -e dest/d/null ]
  # nor does it matter what comes after the archive's end
  hostile 'add("d/last"); rest = b"x" * 500000'
  [ "$status" = 0 ]
  [ "$(ls dest/d)" = last ]
  # a stream that is cut short leaves no half a file
  hostile 'add("d/whole"); add("d/half", b"x" * 100000)' 50000
  [ "$status" = 1 ]
  [ -e dest/d/whole ]
  [ ! -e dest/d/half ]
}
