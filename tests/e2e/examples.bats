#!/usr/bin/env bats
# The examples as a user has them: prepared, checked, built, booted by their own boot loader.
# (examples/debian is built and booted by make demo: mmdebstrap and apt take minutes.)

setup_file() {
  export TOP
  TOP=$(mktemp -d "${TMPDIR:-/tmp}/kiln-examples.XXXXXX")
  export KILN_HOME=$TOP/home KILN_ACCEL=${KILN_ACCEL:-tcg}
  unset SSH_AUTH_SOCK
  . tests/e2e/common.bash
  share_appliance "$KILN_HOME"
  cp -a examples/tiny "$TOP/tiny"
  rm -f "$TOP/tiny/rootfs.tar" "$TOP/tiny/authorized_keys"
  "$TOP/tiny/prepare" "$KILN" >&2
  "$KILN" image build --name tiny "$TOP/tiny" >&2
}

teardown_file() {
  . tests/e2e/common.bash
  no_leftovers "$KILN_HOME"
  rm -rf "$TOP"
}

@test "the examples' Imagefiles have no mistakes and no bad habits" {
  cp -r examples "$TOP/examples"
  for example in "$TOP"/examples/*/Imagefile; do
    touch "${example%/*}/rootfs.tar" "${example%/*}/image.tar" "${example%/*}/authorized_keys" # as its ./prepare does
    run "$KILN" image check "${example%/Imagefile}"
    echo "$example: $output"
    [ "$status" = 0 ]
    [[ $output != *warning* ]]
  done
}

@test "tiny's system as a container image, of two layers: a VM that boots" {
  mkdir "$TOP/container"
  cp -r "$TOP/tiny/root" "$TOP/tiny/authorized_keys" "$TOP/container/"
  mkdir -p "$TOP/layer/home/vagrant"
  echo "from the second layer" >"$TOP/layer/home/vagrant/note"
  : >"$TOP/layer/home/.wh.nobody"
  : >"$TOP/layer/.wh.mnt"
  tar -C "$TOP/layer" --owner=0 --group=0 -cf "$TOP/layer.tar" .
  "$BATS_TEST_DIRNAME/../servers/container.py" pack "$TOP/container/image" "$TOP/tiny/rootfs.tar" "$TOP/layer.tar"
  sed 's|^ADD rootfs.tar /|ADD oci-layout:image:1 /|' "$TOP/tiny/Imagefile" >"$TOP/container/Imagefile"
  grep -q oci-layout "$TOP/container/Imagefile"
  "$KILN" image build --name container "$TOP/container"
  run timeout 180 "$KILN" run container --ssh-command 'cat note; hostname; ls -d /mnt'
  echo "$output"
  [[ $output == *$'\nfrom the second layer\ntiny\n'*'/mnt: No such file or directory'* ]]
}

@test "tiny: equal packages give equal bytes, so that the build is cached" {
  cp -a "$TOP/tiny" "$TOP/again"
  rm "$TOP/again/rootfs.tar"
  "$TOP/again/prepare" "$KILN"
  cmp "$TOP/tiny/rootfs.tar" "$TOP/again/rootfs.tar"
  "$KILN" image build --require-cached --name again "$TOP/again"
}

@test "tiny boots by its own boot loader, and by SSH the key lets root and vagrant in" {
  run timeout 180 "$KILN" run tiny --ssh-command 'hostname; id -un; uname -s; exit 5'
  echo "$output"
  [ "$status" = 5 ]
  [[ $output == *$'\ntiny\nvagrant\nLinux'* ]]
  run timeout 180 "$KILN" run tiny --ssh-user root --ssh-command 'id -un; mount | grep " on / "'
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *$'\nroot\n/dev/vda1 on / type ext4'* ]]
}

@test "an image built on tiny boots with what was added" {
  mkdir "$TOP/child"
  echo 'from the build directory' >"$TOP/child/file"
  printf '%s\n' 'FROM tiny' 'COPY file /etc/motd' 'RUN echo child >/etc/hostname' >"$TOP/child/Imagefile"
  "$KILN" image build --name child "$TOP/child"
  run timeout 180 "$KILN" run child --ssh-command 'hostname; cat /etc/motd'
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *$'\nchild\nfrom the build directory'* ]]
}

@test "tiny: another key builds anew from where it is copied" {
  cp -a "$TOP/tiny" "$TOP/other"
  echo 'ssh-ed25519 AAAA other' >"$TOP/other/authorized_keys"
  run "$KILN" image build --require-cached --name tiny "$TOP/other"
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *'step 6 is not cached: authorized_keys changed'* ]]
}

@test "make demo, as a newcomer runs it, and what it says to try next" {
  cd "$BATS_TEST_DIRNAME/../.." || return
  export BUILD=${KILN%/kiln}
  [[ $BUILD != "$PWD/"* ]] || BUILD=${BUILD#"$PWD/"} # as make names it
  run timeout 500 make demo BUILD="$BUILD" DEMO=tiny
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *$'\ntiny\nLinux tiny '*"3. tiny again"*"Built image 'tiny'"*'(5 of 5 layers from the cache)'*'Try next:'* ]]
  # its last lines, but for those that want a terminal
  cd "$BATS_TEST_TMPDIR" || return
  sed -n '/Try next:/,$p' <<<"$output" | sed '1d; /--ssh-console/d; s/^  kiln shell tiny .*/kiln shell tiny -c true/' >next
  [ "$(wc -l <next)" -ge 4 ]
  run bash -e next
  echo "$output"
  [ "$status" = 0 ] && [[ $output == *"Built image 'hello'"* ]]
}
