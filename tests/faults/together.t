#!/usr/bin/env bash
# Eight builds at once over three Imagefiles on one backend: each step is carried out once, the
# others wait and use it; all images are right.
set -u
. tests/faults/common.bash
share_appliance "$KILN_HOME"
make_base "$top/base" base >"$top/log" 2>&1 || { cat "$top/log"; echo 'Bail out! no base image'; exit 1; }
for w in 1 2 3; do
  mkdir "$top/w$w"
  seq 20000 >"$top/w$w/f"
  printf '%s\n' 'FROM base' 'RUN echo common >/a' 'COPY f /f' "RUN echo $w >/b; sleep 0.3" 'RUN cat /a /b >/c' >"$top/w$w/Imagefile"
done
for round in $(seq "${KILN_FAULTS:-1}"); do
  [ "$round" -gt 10 ] && break
  pids=()
  for i in 1 2 3 4 5 6 7 8; do
    "$KILN" image build --memory 256M --progress=json --name "i$i" "$top/w$((i % 3 + 1))" >"$top/out$i" 2>"$top/err$i" &
    pids+=($!)
  done
  bad=0
  for i in 1 2 3 4 5 6 7 8; do wait "${pids[i - 1]}" || { bad=1; cat "$top/err$i"; }; done
  if [ $bad = 0 ]; then ok "all eight succeed ($round)"; else not_ok "all eight succeed ($round)" "$(tail -3 "$top"/err*)"; fi
  runs=$(cat "$top"/out* | grep -c '"state":"run"')
  # RUN and COPY that are common to all: once each; then two steps of each of the three
  if [ "$runs" = 8 ]; then ok "no step was carried out twice ($round)"; else not_ok "no step was carried out twice ($round)" "$runs steps ran, not 8"; fi
  right=1
  for i in 1 4 8; do
    got=$("$KILN" shell "i$i" -c 'cat /c' | tr '\n' ' ')
    [ "$got" = "common $((i % 3 + 1)) " ] || { right=0; echo "# i$i: $got"; }
  done
  if [ $right = 1 ] && left=$(no_leftovers "$KILN_HOME") && "$KILN" system verify >/dev/null; then ok "images are right, nothing is left ($round)"; else not_ok "images are right, nothing is left ($round)" "$left"; fi
  for i in 1 2 3 4 5 6 7 8; do "$KILN" image rm "i$i" >/dev/null; done
  "$KILN" prune --all >/dev/null
done
finish
