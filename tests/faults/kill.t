#!/usr/bin/env bash
# SIGKILL of kiln, or of its QEMU, at random moments of a build; then a normal build must succeed,
# give the disk an undisturbed one gives, and leave nothing behind. A build whose QEMU was killed says
# so, and does not blame the template for it.
set -u
. tests/faults/common.bash
share_appliance "$KILN_HOME"
make_work "$top/work"
make_base "$top/base" base >"$top/log" 2>&1 || { cat "$top/log"; echo 'Bail out! no base image'; exit 1; }
cp -a "$KILN_HOME" "$top/fresh"
start=$(date +%s%N)
"$KILN" image build --name work "$top/work" >"$top/log" 2>&1 || { cat "$top/log"; echo 'Bail out! the undisturbed build failed'; exit 1; }
span=$((($(date +%s%N) - start) / 1000000))
want=$(content work)

for round in $(seq "${KILN_FAULTS:-6}"); do
  rm -rf "$KILN_HOME" && cp -a "$top/fresh" "$KILN_HOME"
  "$KILN" image build --name work "$top/work" >"$top/log" 2>&1 &
  pid=$!
  ms=$((RANDOM % (span + 50)))
  sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
  victim=$pid who=kiln
  if [ $((round % 2)) = 0 ]; then
    victim=$(pgrep -P $pid -f qemu-system | head -1) who=QEMU
    [ -n "$victim" ] || victim=$pid
  fi
  kill -9 "$victim" 2>/dev/null
  wait $pid 2>/dev/null
  ended=$?
  out=$("$KILN" image build --name work "$top/work" 2>&1)
  status=$?
  got=$(content work 2>/dev/null)
  left=$(no_leftovers "$KILN_HOME")
  name="SIGKILL of $who after $ms ms"
  if [ $status != 0 ]; then not_ok "$name" "$out"
  elif [ $ended = 1 ] && ! grep -q 'error: .*killed by signal 9' "$top/log"; then not_ok "$name: clear error" "$(cat "$top/log")"
  elif grep -q 'template is damaged\|cannot be restored' "$top/log" - <<<"$out"; then not_ok "$name: template is kept" "$out"
  elif [ "$got" != "$want" ]; then not_ok "$name: content" "$(differences "$want" "$got")"
  elif [ -n "$left" ]; then not_ok "$name" "$left"
  elif ! out=$("$KILN" system verify 2>&1); then not_ok "$name" "$out"
  else ok "$name"; fi
done
finish
