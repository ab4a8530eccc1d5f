#!/usr/bin/env bash
# Saved boots: SIGKILL of kiln or its QEMU while one is saved or restored, a full disk, and many restores:
# the next run works, no copy is wrong, and nothing is left behind.
set -u
. tests/faults/common.bash
BATS_TEST_DIRNAME=$PWD/tests/e2e
cd "$top" || exit 1
make_tiny >"$top/log" 2>&1 || { cat "$top/log"; echo 'Bail out! no image'; exit 1; }
warm=$KILN_HOME/cache/warm
vm=(-m 160M --kernel vmlinuz --initrd initrd.img --append "console=ttyS0 panic=1 net.ifnames=0 mitigations=off")
rounds=${KILN_FAULTS:-4}

run_warm() { timeout 300 "$KILN" run --warm "${vm[@]}" --ssh-user root tiny "$@"; }
span_of() { # COMMAND…: milliseconds
  local start
  start=$(date +%s%N)
  "$@" >/dev/null 2>&1
  echo $((($(date +%s%N) - start) / 1000000))
}
# kill_within MS WHO COMMAND…: SIGKILL of kiln, or of its QEMU, at a random moment of that time
kill_within() {
  local span=$1 who=$2 victim pid
  shift 2
  "$@" >"$top/log" 2>&1 </dev/null &
  pid=$!
  at=$((RANDOM * span / 32768))
  sleep "$(printf '%d.%03d' $((at / 1000)) $((at % 1000)))"
  victim=$pid
  [ "$who" = kiln ] || victim=$(pgrep -P $pid -f qemu-system | head -1)
  kill -9 "${victim:-$pid}" 2>/dev/null
  wait $pid 2>/dev/null
}
left() { no_leftovers "$KILN_HOME" || find "$warm/.working" -mindepth 1 2>/dev/null; }

save=$(span_of "$KILN" image warm "${vm[@]}" --ssh-user root tiny)
restore=$(span_of run_warm true)
for round in $(seq "$rounds"); do
  who=kiln
  [ $((round % 2)) = 1 ] || who=QEMU
  rm -rf "$warm"
  kill_within "$save" $who "$KILN" image warm "${vm[@]}" --ssh-user root tiny
  out=$(run_warm echo fine 2>"$top/said")
  name="SIGKILL of $who $at ms after a saving began"
  if [ "$out" != fine ] || grep -q 'damaged\|no saved boot' "$top/said"; then not_ok "$name" "$out $(cat "$top/said")"
  elif [ -n "$(left)" ]; then not_ok "$name: nothing is left" "$(left)"
  else ok "$name"; fi

  kill_within "$restore" $who "$KILN" run --warm "${vm[@]}" --ssh-user root tiny true
  out=$(run_warm echo fine 2>"$top/said")
  name="SIGKILL of $who $at ms after a restore began"
  if [ "$out" != fine ] || grep -q 'damaged\|no saved boot\|saved the boot' "$top/said"; then not_ok "$name" "$out $(cat "$top/said")"
  elif [ -n "$(left)" ]; then not_ok "$name: nothing is left" "$(left)"
  else ok "$name"; fi
done

# many copies, one after the other; with KILN_FAULTS=25 there are 200
count=8
[ -z "${KILN_FAULTS:-}" ] || count=$((rounds * 8))
"$KILN" image warm "${vm[@]}" --ssh-user root tiny >"$top/log" 2>&1
if wrong=$(timeout $((count * 60)) "$BATS_TEST_DIRNAME/../faults/warm_restores.py" "$KILN" "$count" "${vm[@]}" --ssh-user root 2>&1); then ok "$count restores"
else not_ok "$count restores" "$wrong"; fi

# a full disk: the VM boots instead, and a line says why
cleanups=("umount -q $warm" "${cleanups[@]}")
for mb in 20 70; do
  rm -rf "$warm" && mkdir "$warm"
  mount -t tmpfs -o "size=${mb}m,mode=700" kiln-test "$warm" || { echo "Bail out! a tmpfs can't be mounted"; exit 1; }
  out=$(run_warm echo fine 2>"$top/said")
  name="a disk of $mb MB"
  if [ "$out" = fine ] && grep -q "^no saved boot for 'tiny': .*room.*; booting" "$top/said" && [ -z "$(left)" ]; then ok "$name"
  else not_ok "$name" "$out $(cat "$top/said"; left)"; fi
  umount "$warm"
done
finish
