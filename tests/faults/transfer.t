#!/usr/bin/env bash
# Pushes and pulls that are killed at any time, or whose disk is full: nothing half is seen, what a registry has is not
# sent again, and the same command succeeds then. No VM is needed.
set -u
. tests/faults/common.bash
rounds=${KILN_FAULTS:-4}
[ "$rounds" -gt 50 ] && rounds=50
export KILN_HTTP_RETRY_MS=10
unset http_proxy HTTP_PROXY all_proxy ALL_PROXY

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s\n' 'version: 0.1' 'log: {level: error, accesslog: {disabled: true}}' \
  "storage: {filesystem: {rootdirectory: $top/data}}" "http: {addr: '127.0.0.1:$port'}" >"$top/config.yml"
docker-registry serve "$top/config.yml" >"$top/log" 2>&1 &
cleanups=("kill $!" "${cleanups[@]}")
until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
mkdir "$top/proxy"
python3 tests/servers/registry.py "127.0.0.1:$port" "$top/proxy" >"$top/proxy/port" 2>"$top/proxy/errors" &
cleanups=("kill $!" "${cleanups[@]}")
until [ -s "$top/proxy/port" ]; do sleep 0.05; done
ref=oci://127.0.0.1:$(cat "$top/proxy/port")/kill/image:1

# 130 MiB that do not shrink: three blobs, and the config
{ head -c 510 /dev/zero; printf '\125\252'; head -c 130M /dev/urandom; } >"$top/disk.raw"
truncate -s %4K "$top/disk.raw"
"$KILN" image import --no-checksum "$top/disk.raw" image >"$top/log" 2>&1 || { cat "$top/log"; echo 'Bail out! no image'; exit 1; }
rm "$top/disk.raw"

# killed ROUND COMMAND...: runs it and kills it after a part of the time that a push takes, more of it in each round.
began=$(date +%s%N)
"$KILN" image push image "${ref%:*}:timed" >"$top/log" 2>&1 || { cat "$top/log"; echo 'Bail out! no push'; exit 1; }
ms=$((($(date +%s%N) - began) / 1000000))
killed() {
  local round=$1 wait
  shift
  wait=$((ms * round / (rounds + 1)))
  "$@" >"$top/out" 2>&1 &
  local pid=$!
  sleep "$((wait / 1000)).$(printf %03d $((wait % 1000)))"
  kill -KILL $pid 2>/dev/null
  wait $pid 2>/dev/null
}

# a repository of its own, so that all has to be sent; the memory of layers would have it mounted
find "$KILN_HOME" -name blobs.json -delete
ref=${ref/kill/killed}
rm -f "$top/proxy/log"
for round in $(seq "$rounds"); do
  killed "$round" "$KILN" image push image "$ref"
  status=$?
  if [ $status != 0 ] && "$KILN" image inspect "$ref" >"$top/log" 2>&1; then
    # the last thing that is sent is the tag: then all is there
    if ! KILN_HOME=$top/see "$KILN" image pull "$ref" >"$top/log" 2>&1; then not_ok "push killed in round $round: half an image is seen" "$(cat "$top/log")"; fi
  fi
  if ! v=$("$KILN" system verify 2>&1); then not_ok "push killed in round $round: store is whole" "$v"; else ok "push killed in round $round"; fi
done
if out=$("$KILN" image push image "$ref" 2>&1); then ok 'push succeeds then'; else not_ok 'push succeeds then' "$out"; fi
sent=$(grep -c '^PUT .*/blobs/.* 201 ' "$top/proxy/log")
# one may have been under way when it was killed, and be asked for before it was there
if [ "$sent" -ge 4 ] && [ "$sent" -le $((4 + rounds)) ]; then ok "$sent uploads of 4 blobs"; else not_ok "$sent uploads of 4 blobs" "$(grep PUT "$top/proxy/log")"; fi

export KILN_HOME=$top/b
for round in $(seq "$rounds"); do
  killed "$round" "$KILN" image pull "$ref" --name image
  status=$?
  if [ $status != 0 ] && [ "$("$KILN" image ls -q)" ]; then not_ok "pull killed in round $round: a name is seen" "$("$KILN" image ls)"; fi
  if ! v=$("$KILN" system verify 2>&1); then not_ok "pull killed in round $round: store is whole" "$v"; else ok "pull killed in round $round"; fi
done
out=$("$KILN" image pull "$ref" --name image 2>&1)
if qemu-img compare -q "$top/b/backend/image" "$top/home/backend/image"; then ok 'pull succeeds then'; else not_ok 'pull succeeds then' "$out"; fi
left=$(find "$top/b/backend/.working" -path '*pull-*' 2>/dev/null)
if [ -z "$left" ]; then ok 'nothing is left over'; else not_ok 'nothing is left over' "$left"; fi

# a layer of 1 GiB that is nearly all holes: it stays one, and the memory is that of any other
export KILN_HOME=$top/home
qemu-img create -q -f qcow2 -o preallocation=metadata "$top/holes.qcow2" 1G
{ head -c 510 /dev/zero; printf '\125\252'; } >"$top/mbr"
qemu-io -f qcow2 -c "write -s $top/mbr 0 512" "$top/holes.qcow2" >/dev/null
"$KILN" image import --no-checksum "$top/holes.qcow2" holes >"$top/log" 2>&1 || { cat "$top/log"; echo 'Bail out! no image'; exit 1; }
peak() { # COMMAND...: runs it and prints the most memory that it had, in MB
  python3 -c 'import resource, subprocess, sys
r = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
sys.stderr.buffer.write(r.stderr if r.returncode else b"")
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024 if r.returncode == 0 else 9999)' "$@"
}
for image in holes image; do
  for job in "push --jobs 8 $image" "pull --jobs 8 --name $image"; do
    [[ $job == pull* ]] && export KILN_HOME=$top/$image
    # shellcheck disable=SC2086  # words
    mb=$(peak "$KILN" image $job "${ref%:*}:$image")
    if [ "$mb" -le 64 ]; then ok "$job: $mb MB of memory"; else not_ok "$job: $mb MB of memory" ''; fi
  done
  export KILN_HOME=$top/home
done
kb=$(find "$top/holes/backend/.layers" -name disk.qcow2 -printf '%k\n')
if [ "$kb" -lt 10000 ]; then ok "the layer's holes are holes"; else not_ok "the layer's holes are holes" "$kb KB"; fi

# eight pushes at once that share blobs, to a repository that has none
pids=()
for i in 1 2 3 4 5 6 7 8; do
  if [ $((i % 2)) = 0 ]; then image=image; else image=holes; fi
  "$KILN" image push $image "${ref%killed/*}together/image:$i" >"$top/push-$i" 2>&1 &
  pids+=($!)
done
failed_pushes=
for pid in "${pids[@]}"; do wait "$pid" || failed_pushes=yes; done
if [ -z "$failed_pushes" ] && [ "$(cat "$top"/push-? | sort -u | wc -l)" = 2 ]; then ok 'eight pushes at once'; else not_ok 'eight pushes at once' "$(cat "$top"/push-?)"; fi
out=$(KILN_HOME=$top/together "$KILN" image pull "${ref%killed/*}together/image:8" 2>&1 && KILN_HOME=$top/together "$KILN" system verify 2>&1)
status=$?
if [ $status = 0 ]; then ok 'and what they sent is whole'; else not_ok 'and what they sent is whole' "$out"; fi

mkdir "$top/small"
cleanups=("umount -q $top/small" "${cleanups[@]}")
for mb in 5 100 200; do
  mount -t tmpfs -o "size=${mb}m" kiln-test "$top/small" || { echo "Bail out! a tmpfs can't be mounted"; exit 1; }
  out=$(timeout 120 "$KILN" image pull --image-backend "$top/small/backend" --name image "$ref" 2>&1)
  status=$?
  if [ $status = 1 ] && grep -qi 'no space' <<<"$out" && [ -z "$("$KILN" image ls -q --image-backend "$top/small/backend")" ]; then
    ok "a disk of $mb MB: clear error, no image"
  else
    not_ok "a disk of $mb MB: clear error, no image" "exit status $status: $out"
  fi
  mount -o remount,size=600M "$top/small"
  out=$("$KILN" image pull --image-backend "$top/small/backend" --name image "$ref" 2>&1 && "$KILN" system verify --image-backend "$top/small/backend" 2>&1)
  status=$?
  if [ $status = 0 ]; then ok "a disk of $mb MB: succeeds with space"; else not_ok "a disk of $mb MB: succeeds with space" "$out"; fi
  [ $mb = 200 ] || { umount "$top/small" && continue; }
  # pushes: from that backend, which has no space for what it compresses, and to a layout without space
  find "$top/small" -name blobs.json -delete
  used=$(df --output=used -k "$top/small" | tail -n 1)
  mount -o "remount,size=$((used + 1024))k" "$top/small"
  out=$(timeout 120 "$KILN" image push --image-backend "$top/small/backend" image "${ref%killed/*}full/image:$mb" 2>&1)
  status=$?
  left=$(find "$top/small/backend/.working" -mindepth 1 2>/dev/null)
  if [ $status = 1 ] && grep -qi 'no space' <<<"$out" && [ "$(grep -c '^error:' <<<"$out")" = 1 ] && [ -z "$left" ]; then
    ok "push with 1 MB of space: clear error, nothing is left"
  else
    not_ok "push with 1 MB of space: clear error, nothing is left" "exit status $status: $out$left"
  fi
  out=$(timeout 120 "$KILN" image push image "oci-layout:$top/small/layout:1" 2>&1)
  status=$?
  left=$(find "$top/small/layout" -type f -size +2M 2>/dev/null)
  if [ $status = 1 ] && grep -qi 'no space' <<<"$out" && [ -z "$left" ] && [ ! -e "$top/small/layout/.working" ]; then
    ok "push to a layout with 1 MB of space: clear error, nothing half is left"
  else
    not_ok "push to a layout with 1 MB of space: clear error, nothing half is left" "exit status $status: $out$left"
  fi
  mount -o remount,size=600M "$top/small"
  out=$("$KILN" image push --image-backend "$top/small/backend" image "${ref%killed/*}full/image:$mb" "oci-layout:$top/small/layout:1" 2>&1 &&
    KILN_HOME=$top/full-$mb "$KILN" image pull "oci-layout:$top/small/layout:1" 2>&1)
  status=$?
  if [ $status = 0 ]; then ok "both succeed with space"; else not_ok "both succeed with space" "$out"; fi
  rm -rf "$top/full-$mb"
  umount "$top/small"
done
finish
