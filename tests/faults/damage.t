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
# rot FILE BYTES [unseen]: changes data as a bad disk does, the times being kept; unseen: kiln has checked the
# file since, as far as it can tell.
rot() {
  python3 - "$@" <<'END'
import os, random, sys
path, count, unseen = sys.argv[1], int(sys.argv[2]), len(sys.argv) > 3
st = os.stat(path)
with open(path, 'r+b', buffering=0) as f:  # lseek is not known to a buffer
    for _ in range(count):
        at = os.lseek(f.fileno(), random.randrange(st.st_size // 4), os.SEEK_DATA) + random.randrange(4096)
        f.seek(at); b = f.read(1)
        f.seek(at); f.write(bytes([b[0] ^ 1 << random.randrange(8)]))
os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
if unseen:
    checked = os.path.dirname(path) + '/checked'
    lines = open(checked).read().splitlines()
    now = os.stat(path)
    stamp = lambda ns: '%d.%09d' % (ns // 10**9, ns % 10**9)
    lines[1] = '%x:%x %d %s %s' % (now.st_dev, now.st_ino, now.st_size, stamp(now.st_mtime_ns), stamp(now.st_ctime_ns))
    open(checked, 'w').write('\n'.join(lines) + '\n')
END
}
notes() { # TEXT NAME: the last build said so
  if grep -q "$1" <<<"$out"; then ok "$2"; else not_ok "$2" "$out"; fi
}
# The builder VM's own files; of the shared cache's, copies.
cp -aL --sparse=always "$KILN_HOME/cache" "$top/cache" && rm -rf "$KILN_HOME/cache" && mv "$top/cache" "$KILN_HOME/cache"
rebuild() { # NAME: without the cache of layers
  out=$("$KILN" image build --no-cache --name work "$top/work" 2>&1)
  local status=$?
  if [ $status = 0 ] && [ "$(content work)" = "$want" ]; then ok "$1"; else not_ok "$1" "$out"; fi
}
newest() { # FILE: of the template that was used last
  # shellcheck disable=SC2012
  echo "$(dirname "$(ls -t "$KILN_HOME"/cache/template/*/template.json | head -1)")/$1"
}
for file in ram state kernel; do
  rot "$(newest $file)" 2
  rebuild "a template's $file that rotted"
  notes 'template is damaged: rebuilding it' "a template's $file that rotted is noticed"
done
rot "$(newest ram)" 20000 unseen
rebuild 'a template that rots while it is used'
notes 'its template is damaged: \|cannot be restored from its template' 'that is said'
for file in "$KILN_HOME"/cache/appliance/*/initrd.img; do rot "$file" 5; done # those of other agents too
rm -rf "$KILN_HOME/cache/template"
rebuild 'an initramfs that rotted'
notes 'initramfs is damaged: rebuilding it' 'an initramfs that rotted is noticed'

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
