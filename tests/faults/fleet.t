#!/usr/bin/env bash
# Four VMs of a VMFile in a network of their own: up, each reaches each by name, down, up again. Then SIGKILL
# of kiln, alone or with its workers, at random moments of `up`: the next one must go on from there, and
# nothing be left at the end.
set -u
. tests/faults/common.bash
share_appliance "$KILN_HOME"
BATS_TEST_DIRNAME=$PWD/tests/e2e
cd "$top" || exit
make_tiny >"$top/log" 2>&1 || { cat "$top/log"; echo 'Bail out! no tiny'; exit 1; }
boot="qemu-args \"-kernel\" \"$top/vmlinuz\" \"-initrd\" \"$top/initrd.img\" \"-append\" \"console=ttyS0 panic=1 net.ifnames=0 mitigations=off\""
for vm in a b c d; do
  echo "vm \"$vm\" { image \"tiny\"; memory 96; vcpus 1; network \"lab\"; volume \"data\" 1; $boot; ssh { user \"root\"; }; provision { inline \"echo \$KILN_VM >/run/provisioned\"; }; }"
done >VMFile.kdl
end_vms() { "$KILN" down --destroy --volumes -t 1 >/dev/null 2>&1; }
cleanups=(end_vms "${cleanups[@]}")

# What each says of the others; nothing if all is well.
unreachable() {
  local from to
  for from; do
    [ "$("$KILN" exec "$from" cat /run/provisioned 2>&1)" = "$from" ] || echo "$from is not provisioned"
    for to; do "$KILN" exec "$from" ping -c 1 "$to" >/dev/null 2>&1 || echo "$from does not reach $to"; done
  done
}
# Of kiln's working folders, and processes of kiln; QEMU goes on.
unfinished() {
  find "$KILN_HOME/vmstore/.working" -mindepth 1 ! -name '*.lock' 2>/dev/null
  pgrep -fa "^$KILN up --file $top/" || true
}

for again in 'up of four VMs' 'down, and up again'; do
  if ! out=$(timeout 500 "$KILN" up --file "$top/VMFile.kdl" 2>&1); then not_ok "$again" "$out"
  elif left=$(unreachable a b c d; unfinished) && [ -n "$left" ]; then not_ok "$again" "$left"
  else ok "$again"; fi
  "$KILN" down >"$top/log" 2>&1 || not_ok "down after $again" "$(cat "$top/log")"
done

"$KILN" down --destroy >/dev/null 2>&1
start=$(date +%s%N)
timeout 300 "$KILN" up --file "$top/VMFile.kdl" a b >"$top/log" 2>&1 || not_ok 'undisturbed' "$(cat "$top/log")"
span=$((($(date +%s%N) - start) / 1000000))
for round in $(seq "${KILN_FAULTS:-4}"); do
  "$KILN" down --destroy >"$top/log" 2>&1 || not_ok 'down --destroy' "$(cat "$top/log")"
  setsid "$KILN" up --file "$top/VMFile.kdl" a b >"$top/log" 2>&1 &
  pid=$!
  ms=$((RANDOM % span))
  sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
  if [ $((round % 2)) = 0 ]; then who='kiln and its workers'; kill -9 -- "-$pid"; else who=kiln; kill -9 "$pid"; fi 2>/dev/null
  wait "$pid" 2>/dev/null
  name="SIGKILL of $who after $ms ms of $span"
  if ! out=$(timeout 300 "$KILN" up --file "$top/VMFile.kdl" a b 2>&1); then not_ok "$name" "$out"
  elif left=$(unreachable a b; unfinished) && [ -n "$left" ]; then not_ok "$name" "$left"
  elif [ "$("$KILN" up a b)" != $'a | running, unchanged\nb | running, unchanged' ]; then not_ok "$name: up again" "$("$KILN" up a b)"
  else ok "$name"; fi
done

out=$("$KILN" down --destroy --volumes 2>&1) || not_ok 'down --destroy' "$out"
left=$(no_leftovers "$KILN_HOME"; "$KILN" ls -q; find "$KILN_HOME/vmstore" -type f ! -path '*/.fleet/*' ! -name '*.lock')
if [ -n "$left" ]; then not_ok 'nothing is left' "$left"; else ok 'nothing is left'; fi
finish
