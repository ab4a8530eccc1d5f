# What the fault tests share. KILN_FAULTS=N asks for N rounds of each (default: a few, for CI).
# shellcheck shell=bash
. tests/e2e/common.bash
top=$(mktemp -d "${TMPDIR:-/tmp}/kiln-faults.XXXXXX")
export KILN_HOME=$top/home KILN_ACCEL=${KILN_ACCEL:-tcg}
cleanups=("rm -rf $top")
cleanup() { for c in "${cleanups[@]}"; do $c; done; }
trap cleanup EXIT
n=0 failed=0

ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { # NAME DETAIL
  n=$((n + 1)) failed=1
  echo "not ok $n - $1"
  sed 's/^/# /' <<<"$2" | tail -15
}
finish() { echo "1..$n"; exit "$failed"; }

# A build directory whose six steps write small and large things, all the same at each build.
make_work() {
  mkdir -p "$1/tree"
  for i in 1 2 3 4 5 6 7 8 9; do seq $((i * 1000)) >"$1/tree/$i"; done
  seq 500000 >"$1/large"
  printf '%s\n' 'FROM base' 'RUN seq 3000 >/one' 'COPY large /large' 'COPY tree /tree' \
    'RUN mkdir /d && for i in 1 2 3 4 5 6 7 8 9; do echo $i >/d/$i; done' \
    'RUN cp /large /copy && rm /one' 'RUN echo last >/last' >"$1/Imagefile"
}
# content IMAGE [BACKEND]: all files of an image, a line each: modes, owners, digests, names.
content() {
  "$KILN" shell --image-backend "${2:-$KILN_HOME/backend}" "$1" -c '
    find / -xdev -type f ! -path "/etc/resolv.conf" | sort | while read -r f; do
      echo "$(stat -c "%a %u %g" "$f") $(md5sum "$f")"
    done'
}
# differences WANT GOT, of two contents
differences() { diff <(echo "$1") <(echo "$2"); }
