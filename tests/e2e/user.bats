#!/usr/bin/env bats
# kiln as a user without rights: nothing of it needs root. Started by root, it becomes "nobody" here;
# started by a user, it is that user.

setup_file() {
  export TOP
  TOP=$(mktemp -d "${TMPDIR:-/tmp}/kiln-user.XXXXXX")
  # $KILN may be in a folder of root's
  cp "$KILN" "$TOP/kiln"
  cp tests/e2e/common.bash "$TOP/"
  mkdir "$TOP/home"
  [ "$(id -u)" != 0 ] || chown -R nobody "$TOP"
}

teardown_file() {
  . tests/e2e/common.bash
  no_leftovers "$TOP/home"
  rm -rf "$TOP"
}

# as_user SCRIPT: in an environment with nothing of ours but the accelerator.
as_user() {
  local become=()
  [ "$(id -u)" != 0 ] || become=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
  (cd "$TOP/home" && "${become[@]}" env -i HOME="$TOP/home" TMPDIR="$TOP/home" PATH="$TOP:$PATH" \
    KILN_ACCEL="${KILN_ACCEL:-tcg}" ASAN_OPTIONS="$ASAN_OPTIONS" "$BASH" -euc "$1")
}

@test "a user builds, enters and lists images; files that he owns are root's in them" {
  run as_user '
    . ../common.bash
    make_root b/root
    mkdir t && echo x >t/owned && tar --owner=1234 --group=4321 -cf b/a.tar t
    echo mine >b/f && chmod 640 b/f
    cat >b/Imagefile <<END
FROM scratch
DISK 64 MB GPT
PARTITION 1 FORMAT ext4 MOUNT /
COPY root/ /
COPY f /f
COPY --chown=user:staff f /g
ADD a.tar /a
RUN id -u && stat -c "%n %u %g %a" /f /g /a/t/owned
END
    kiln image build --name one b
    printf "FROM one\nRUN rm /g\n" >b/Imagefile
    kiln image build --name two b
    kiln shell two -c "ls /g /f" || true
    kiln image ls'
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *$'\n0\n/f 0 0 640\n/g 1000 50 640\n/a/t/owned 1234 4321 644\n'* ]]
  [[ $output == *$'\n/f\n'* && $output == *$'\n two '* ]]
  [ -f "$TOP/home/.local/share/kiln/backend/two" ]
}

@test "a kernel that may not be read: build and doctor name it" {
  cp /boot/vmlinuz-* "$TOP/home/" && chmod 0 "$TOP"/home/vmlinuz-*
  run as_user 'k=$(echo vmlinuz-*); export KILN_KERNEL=$PWD/$k KILN_HOME=$PWD/other
    mkdir k && printf "FROM scratch\nDISK 64 MB GPT\nPARTITION 1 FORMAT ext4 MOUNT /\n" >k/Imagefile
    if kiln image build --runner vm k || kiln doctor; then exit 1; fi'
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"error: KILN_KERNEL: cannot read kernel '$TOP/home/vmlinuz-"*"': Permission denied"* ]]
  [[ $output == *"failed   kernel      KILN_KERNEL: cannot read kernel"* ]]
}
