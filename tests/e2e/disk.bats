#!/usr/bin/env bats
# What is done to a VM's disk while it does not run: keys and names written into it, copies in and out.
# Real VMs of examples/tiny.
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HOME=$BATS_FILE_TMPDIR/home
  share_appliance "$KILN_HOME"
  cd "$BATS_FILE_TMPDIR"
  make_tiny >/dev/null
}
setup() {
  load common
  store=$KILN_HOME/vmstore
  boot=(-- -kernel "$BATS_FILE_TMPDIR/vmlinuz" -initrd "$BATS_FILE_TMPDIR/initrd.img"
    -append "console=ttyS0 panic=1 net.ifnames=0 mitigations=off")
  cd "$BATS_TEST_TMPDIR"
}
teardown_file() {
  load common
  "$KILN" ps -q | while read -r name; do "$KILN" stop --kill "$name"; done
  no_leftovers "$KILN_HOME"
}
nothing_left() { # in the store
  [ -z "$(find "$store" -mindepth 1 -maxdepth 1 ! -name .working)" ]
  [ -z "$(find "$store/.working" -mindepth 1 -type d)" ]
}
make_folder() {
  mkdir -p "$1/sub dir"
  echo hello >"$1/sub dir/f"
  head -c 300000 /dev/urandom >"$1/bytes"
  chmod 750 "$1/sub dir"
  chmod 604 "$1/sub dir/f"
  ln -s "sub dir/f" "$1/link"
  echo secret >"$1/.dockerignore" # is a file as any other
  echo odd >"$1/*[odd]"
}

@test "run: --inject, --hostname and copies in and out, without a name" {
  make_folder "in dir"
  mkdir out
  chmod 600 "in dir/bytes"
  run --separate-stderr "$KILN" run --inject --ssh-user new --hostname pirx -b "$PWD/in dir:/srv" \
    -b "in dir/bytes:/opt/deep/renamed" -b "in dir/*[odd]:/srv" -a "/srv/in dir/:out" -a /none:out -a /etc/hosts:out \
    -a /opt/deep:out --ssh-command 'whoami; hostname; stat -c "%a %U" /home/new/.ssh /opt/deep/renamed; ls /srv; exit 3' \
    tiny "${boot[@]}"
  echo "$output / $stderr"
  [ "$status" = 3 ]
  [ "$output" = $'new\npirx\n700 new\n600 root\n*[odd]\nin dir' ]
  [[ $stderr == *"error: copy of '/none' to '$PWD/out': no file or folder '/none' in the VM"* ]] # the rest comes out
  [[ $stderr != *"logged in as"* ]]
  diff -r --no-dereference "in dir" "out/in dir"
  [ "$(stat -c %a "out/in dir/sub dir" "out/in dir/sub dir/f")" = $'750\n604' ]
  grep -q '127.0.1.1 pirx' out/hosts
  cmp out/deep/renamed "in dir/bytes"
  nothing_left
}

@test "run: -P forwards free ports to the image's, and the label names the user; --direct-copy" {
  make_folder "in dir"
  mkdir out
  printf '%s\n' 'FROM tiny' 'EXPOSE 80 7000-7001/tcp 53/udp' 'LABEL kiln.ssh-user=root' >Imagefile
  run "$KILN" image build --name exposed .
  [[ $output == *"'kiln run -P' forwards a free port"* ]]
  "$KILN" run -d -P -p 127.0.0.1:18081:7000 --name exp exposed "${boot[@]}" 2>said
  [ "$(grep -c 'of the guest is 127.0.0.1:' said)" = 3 ]
  [ "$("$KILN" port exp 7000)" = 127.0.0.1:18081 ]
  "$KILN" port exp | grep -Eqx '53/udp -> 127.0.0.1:[0-9]+'
  "$KILN" ps | grep -q '127.0.0.1:18081->7000/tcp'
  run "$KILN" port exp 81
  [ "$status" = 1 ]
  run "$KILN" port exp x
  [ "$status" = 2 ]
  [ "$("$KILN" exec --wait 100 exp whoami)" = root ]
  # what listens in the guest is reached through the port (QEMU takes a connection before the guest does)
  "$KILN" exec exp sh -c 'while :; do echo from the guest | nc -l -p 7000; done >/dev/null 2>&1 </dev/null &'
  local line=
  for ((i = 0; i < 50; i++)); do
    line=$(timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/18081 && head -n 1 <&3' 2>/dev/null) || true
    [ "$line" != 'from the guest' ] || break
  done
  [ "$line" = 'from the guest' ]
  "$KILN" stop --kill exp
  "$KILN" rm exp
  run "$KILN" run -P tiny
  [ "$status" = 1 ]
  [[ $output == *'the image exposes no port'* ]]
  run "$KILN" run --direct-copy -b "in dir:/root/in" -a "/root/in:out" --ssh-command 'cat "/root/in/sub dir/f"; exit 4' exposed "${boot[@]}"
  [ "$status" = 4 ]
  [[ $output == *hello* ]]
  diff -r --no-dereference "in dir" "out/in"
  nothing_left
}

@test "suspend --to-disk outlives QEMU; commit makes an image of a VM that runs, or not" {
  printf '%s\n' 'FROM tiny' 'LABEL kiln.ssh-user=root' >Imagefile
  "$KILN" image build --name labelled .
  qemu-img create -q -f qcow2 "$KILN_HOME/backend/data" 10M
  "$KILN" run -d --name sus --extra-image data labelled "${boot[@]}"
  "$KILN" exec --wait 100 sus sh -c 'sleep 4321 </dev/null >/dev/null 2>&1 &'
  "$KILN" suspend --to-disk sus
  run "$KILN" status sus
  [[ $status = 3 && $output = suspended ]]
  [ "$(stat -c %a "$store/sus/state")" = 600 ]
  "$KILN" ps -a | grep -q 'sus .* suspended'
  if pgrep -f "qemu.*$store/sus"; then return 1; fi
  local command
  for command in 'start sus' 'stop sus' 'commit sus x' "start -d -b $PWD/Imagefile:/srv/x sus"; do
    run "$KILN" $command
    [[ $status = 1 && $output == *"VM 'sus' is suspended to disk"*"'kiln resume sus' lets it go on"* ]]
  done
  # another QEMU, another disk
  cp -p "$store/sus/state.json" kept
  sed -i 's/"qemu": *"[^"]*"/"qemu": "0.1"/' "$store/sus/state.json"
  run "$KILN" resume sus
  [[ $status = 1 && $output == *'the VM was suspended by QEMU 0.1'*"'kiln stop --kill'"* ]]
  cp -p kept "$store/sus/state.json"
  local disk
  for disk in disk disk-1; do
    touch -r "$store/sus/$disk.qcow2" then
    touch "$store/sus/$disk.qcow2"
    run "$KILN" resume sus
    [[ $status = 1 && $output == *"the VM's disk was changed since it was suspended"* ]]
    touch -r then "$store/sus/$disk.qcow2"
  done
  "$KILN" resume sus
  "$KILN" exec --wait 60 sus pidof sleep
  [ ! -e "$store/sus/state" ]

  "$KILN" exec sus sh -c 'echo one >/srv/one'
  "$KILN" commit sus c1
  [ "$("$KILN" shell c1 -c 'cat /srv/one')" = one ]
  "$KILN" image history c1 | grep -q 'kiln commit sus'
  "$KILN" image inspect --json c1 | grep -q kiln.ssh-user
  run "$KILN" commit sus c1
  [[ $status = 1 && $output == *"image 'c1' exists"* ]]
  "$KILN" exec sus sh -c 'echo two >/srv/two' # and the VM goes on

  # a kiln that is killed in the middle of it leaves a VM that goes on, or is suspended
  "$KILN" suspend --to-disk sus &
  local kiln=$! _
  for _ in $(seq 200); do [ -e "$store/sus/state" ] && break; sleep 0.05; done
  kill -9 "$kiln" || true
  wait "$kiln" || true
  "$KILN" resume sus
  "$KILN" exec --wait 60 sus sh -c 'pidof sleep && sync'
  "$KILN" stop sus
  "$KILN" commit sus c2
  printf '%s\n' 'FROM c2' 'RUN cat /srv/one /srv/two >/srv/three' >Imagefile
  "$KILN" image build --name c3 .
  [ "$("$KILN" shell c3 -c 'cat /srv/three')" = $'one\ntwo' ]
  "$KILN" rm sus
  # one without a name goes when it has ended, not when it is suspended
  local name
  name=$("$KILN" run -d labelled "${boot[@]}" 2>said)
  "$KILN" suspend --to-disk "$name"
  "$KILN" ps -a | grep -q "$name .* suspended"
  run "$KILN" status "$name"
  [[ $status = 3 && $output = suspended ]]
  "$KILN" stop --kill "$name" # ends what is left of it, and it goes
  run "$KILN" ls -q
  [[ $output != *"$name"* ]]
  "$KILN" prune
  [ "$("$KILN" shell c3 -c 'cat /srv/one')" = one ]
}

@test "wrong mappings are told before anything is done" {
  local mapping
  for mapping in 'x' '/x:y' ':/x' 'none:/x'; do
    run "$KILN" run -b "$mapping" tiny true
    [[ $status = [12] && $output == *'--copy-in-before:'* ]]
  done
  for mapping in 'x:y' '/x' '/x:' "/x:none"; do
    run "$KILN" run -a "$mapping" tiny true
    [[ $status = [12] && $output == *'--copy-out-after:'* ]]
  done
  run "$KILN" run -d --direct-copy tiny
  [ "$status" = 2 ]
  run "$KILN" run --direct-copy -b "/etc/hosts:/srv" tiny
  [ "$status" = 2 ]
  [[ $output == *'--direct-copy: needs SSH'* ]]
  run "$KILN" create --hostname 'a b' --name bad tiny
  [ "$status" = 2 ]
  [[ $output == *"'a b' can't be the name of a host"* ]]
  nothing_left
}

@test "start: copies change a disk that is kept, or nothing of it" {
  make_folder "in dir"
  mkdir out
  # vagrant cannot log in any more, root can
  sed '/^vagrant:/s|:/home/vagrant:|:/nowhere:|' "$BATS_FILE_TMPDIR/root/etc/passwd" >passwd
  "$KILN" create --name web -b passwd:/etc/passwd -b "in dir:/srv/first" tiny "${boot[@]}"
  local before
  before=$(sha256sum <"$store/web/disk.qcow2")
  run "$KILN" start -b "in dir:/srv" -b "in dir:/etc/hosts/x" web --ssh-command true
  [ "$status" = 1 ]
  [[ $output == *"copy of 'in dir' to '/etc/hosts/x' of the guest"* ]]
  [ "$(sha256sum <"$store/web/disk.qcow2")" = "$before" ]
  # killed in the middle of it
  "$KILN" start -b "in dir:/srv" web --ssh-command true &
  local kiln=$! _
  for _ in $(seq 200); do [ -n "$(find "$store/.working" -name disk.qcow2)" ] && break; sleep 0.05; done
  kill -9 "$kiln"
  wait "$kiln" || true
  [ "$(sha256sum <"$store/web/disk.qcow2")" = "$before" ]
  run "$KILN" start -b "in dir:/srv" -a /srv:out -a /none:out web --ssh-command 'whoami; ls /srv; echo more >/srv/more; exit 9'
  echo "$output"
  [ "$status" = 9 ]
  [[ $output == *"logged in as 'root'; --ssh-user names another user"* ]]
  [ "$(stat -c %a "$store/web/id_ed25519")" = 600 ]
  [[ $output == *$'root\nfirst\nin dir\n'*"copy of '/none' to '$PWD/out'"*"no file or folder '/none'"* ]]
  [ "$(cat out/srv/more)" = more ]
  diff -r --no-dereference "in dir" "out/srv/in dir"
  [ -z "$(find out -name '.kiln-*')" ]
  # links that are named, with --rsync; cp without a VM that runs
  ln -s /etc/hostname to-hostname
  truncate -s 100M hole
  mkdir links
  # with GNU tar in the guest also xattrs, ACLs and holes come out
  local libs=() lib
  mkdir attr libs
  for lib in $(ldd /bin/tar | grep -o '/lib/[^ ]*\(acl\|selinux\|pcre2\)[^ ]*'); do
    cp -L "$lib" libs
    libs+=(-b "libs/$(basename "$lib"):/lib/x86_64-linux-gnu")
  done
  setfattr -n user.note -v hello attr
  setfattr -n security.note -v no attr || true
  echo secret >attr/file
  setfacl -m u:1234:rw,g:4321:r attr/file
  setfacl -m u:1234:rwx -d -m u:1234:rx attr
  local acls
  acls=$(getfacl -cn attr attr/file)
  run "$KILN" start --rsync -b to-hostname:/srv -b to-hostname:/srv/new/name -b hole:/srv -b attr:/srv \
    -b /bin/tar:/srv -b /bin/dash:/srv "${libs[@]}" -a /srv/to-hostname:links -a /srv/attr:links -a /srv/hole:links web \
    --ssh-command 'readlink /srv/to-hostname; readlink /srv/new/name; du -k /srv/hole; rm /bin/tar; mv /srv/tar /bin; mv /srv/dash /bin/sh'
  echo "$output"
  [[ $status = 0 && $output == *$'/etc/hostname\n/etc/hostname\n'[0-9]$'\t/srv/hole'* ]]
  [ "$(readlink links/to-hostname)" = /etc/hostname ]
  [ "$(getfattr --only-values -n user.note links/attr)" = hello ]
  [ "$(cd links; getfacl -cn attr attr/file)" = "$acls" ]
  run getfattr -n security.note links/attr
  [ "$status" != 0 ]
  [ "$(du -k links/hole | cut -f 1)" -lt 100 ]
  "$KILN" cp "in dir" web:/srv/by-cp
  "$KILN" cp web:/srv/by-cp by-cp
  diff -r --no-dereference "in dir" by-cp
  [ "$("$KILN" cp web:/srv/more - | tar xO)" = more ]
  run "$KILN" cp none-such web:/srv
  [[ $status = 1 && $output == *"cannot copy 'none-such': No such file or directory"* ]]
  run "$KILN" cp web:relative x
  [[ $status = 1 && $output == *"'relative' must be an absolute path"* ]]
}
