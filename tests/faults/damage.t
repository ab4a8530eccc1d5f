#!/usr/bin/env bash
# Layers and records that are truncated, changed or gone: noticed before they are used, said, built
# again; what only a full read can notice is found by `kiln system verify`.
set -u
. tests/faults/common.bash
share_appliance "$KILN_HOME"
make_work "$top/work"
make_base "$top/base" base >"$top/log" 2>&1 || { cat "$top/log"; echo 'Bail out! no base image'; exit 1; }
"$KILN" image build --name work "$top/work" >"$top/log" 2>&1
want=$(content work)
cp -a "$KILN_HOME/backend" "$top/good"

flip() { # FILE OFFSET: one bit
  python3 - "$1" "$2" <<'END'
import os, sys
os.chmod(sys.argv[1], 0o644)
with open(sys.argv[1], 'r+b') as f:
    f.seek(int(sys.argv[2])); b = f.read(1)
    f.seek(int(sys.argv[2])); f.write(bytes([b[0] ^ 1 << int(sys.argv[2]) % 8]))
END
}
rebuilt() { # NAME
  local out status got
  out=$("$KILN" image build --name work "$top/work" 2>&1)
  status=$?
  got=$(content work 2>/dev/null)
  if [ $status = 0 ] && [ "$got" = "$want" ]; then ok "$1"; else not_ok "$1" "$out $(differences "$want" "$got")"; fi
}
for round in $(seq "${KILN_FAULTS:-1}"); do
  for kind in truncate header record gone data; do
    rm -rf "$KILN_HOME/backend" && cp -a "$top/good" "$KILN_HOME/backend"
    mapfile -t layers < <(find "$KILN_HOME/backend/.layers" -name disk.qcow2 | sort)
    file=${layers[RANDOM % ${#layers[@]}]}
    case $kind in
      truncate) chmod 644 "$file"; truncate -s $((RANDOM * $(stat -c %s "$file") / 32768)) "$file" ;;
      header) flip "$file" $((RANDOM % 32)) ;;
      record) flip "${file%/*}/layer.json" $((RANDOM % $(stat -c %s "${file%/*}/layer.json"))) ;;
      gone) rm -f "$file" ;;
      data)
        flip "$file" $((4096 + RANDOM * 2 % ($(stat -c %s "$file") - 4096)))
        out=$("$KILN" system verify 2>&1)
        if [ $? = 0 ]; then not_ok "verify finds a changed byte ($round)" "$out"; else ok "verify finds a changed byte ($round)"; fi
        ;;
    esac
    # a base layer that is damaged takes the base image with it: that is built again first
    "$KILN" image build --name base "$top/base" >"$top/log" 2>&1
    rebuilt "$kind ($round)"
  done
done
finish
