#!/usr/bin/env bash
# The host's disk is full during a build, at many sizes: the build ends with a clear error (or fits),
# the store is whole, and with space the same command succeeds.
set -u
. tests/faults/common.bash
make_work "$top/work"
share_appliance "$KILN_HOME"
make_base "$top/base" base >"$top/log" 2>&1 || { cat "$top/log"; echo 'Bail out! no base image'; exit 1; }
"$KILN" image build --name work "$top/work" >"$top/log" 2>&1
want=$(content work)
"$KILN" image rm work >/dev/null
"$KILN" prune --all >/dev/null
base=$(du -sk "$KILN_HOME/backend" | cut -f1)
mkdir "$top/small"
cleanups=("umount -q $top/small" "${cleanups[@]}")
rounds=${KILN_FAULTS:-4}
[ "$rounds" -gt 20 ] && rounds=20
for round in $(seq "$rounds"); do
  kb=$((base + 200 + round * 7000 / rounds))
  mount -t tmpfs -o "size=${kb}k" kiln-test "$top/small" || { echo "Bail out! a tmpfs can't be mounted"; exit 1; }
  cp -a "$KILN_HOME/backend" "$top/small/backend"
  out=$(timeout 120 "$KILN" image build --image-backend "$top/small/backend" --name work "$top/work" 2>&1)
  status=$?
  name="a disk of $kb KiB"
  if [ $status != 0 ] && ! grep -qi 'no space' <<<"$out"; then
    not_ok "$name: clear error" "exit status $status: $out"
  elif ! v=$("$KILN" system verify --image-backend "$top/small/backend" 2>&1); then
    not_ok "$name: store is whole" "$v"
  else
    ok "$name: exit status $status"
  fi
  mount -o remount,size=200M "$top/small"
  out=$("$KILN" image build --image-backend "$top/small/backend" --name work "$top/work" 2>&1)
  status=$?
  got=$(content work "$top/small/backend")
  if [ $status = 0 ] && [ "$got" = "$want" ]; then ok "$name: succeeds with space"; else not_ok "$name: succeeds with space" "$out $(differences "$want" "$got")"; fi
  umount "$top/small"
done
finish
