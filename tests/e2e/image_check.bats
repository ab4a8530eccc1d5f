#!/usr/bin/env bats
# kiln image check and kiln help: no build, no VM.
# shellcheck disable=SC2016

setup() {
  DIR=$(mktemp -d "${TMPDIR:-/tmp}/kiln-check.XXXXXX")
  export KILN_HOME=$DIR/home
  cd "$DIR" || return 1
}
teardown() { rm -rf "$DIR"; }

@test "an Imagefile without a mistake: no output, exit 0" {
  printf 'FROM debian\nRUN true\n' >Imagefile
  run "$KILN" image check .
  [ "$status" -eq 0 ]
  [ "$output" = "" ]
}

@test "every mistake is shown with its place and a caret, exit 1" {
  printf 'FROM debian\nRNU true\nCOPY a\n' >Imagefile
  run "$KILN" image check
  [ "$status" -eq 1 ]
  expected="Imagefile:2:1: error: unknown instruction 'RNU'
    RNU true
    ^~~
help: did you mean RUN?
Imagefile:3:6: error: COPY needs a source and a destination
    COPY a
         ^
help: the form is COPY [<flags>] <src>… <dest>
2 errors, 0 warnings"
  [ "$output" = "$expected" ]
}

@test "warnings alone exit 0" {
  printf 'FROM debian\nRUN apt-get update\n' >Imagefile
  run "$KILN" image check .
  [ "$status" -eq 0 ]
  [[ "$output" == *"2:1: warning: 'apt-get update' alone"* ]]
  [[ "$output" == *"0 errors, 1 warning" ]]
}

@test "--json is a list that programs can read, bytes that are no UTF-8 too" {
  printf 'FROM debian\nRN\xff true\nWORKDIR x\n' >Imagefile
  run "$KILN" image check --json .
  [ "$status" -eq 1 ]
  python3 - "$output" <<'PY'
import json, sys
d = json.loads(sys.argv[1])
assert [(x["line"], x["column"], x["end_column"], x["severity"]) for x in d] == [
    (2, 1, 4, "error"), (3, 9, 10, "warning")], d
assert d[0]["path"] == "Imagefile" and d[0]["message"] == "unknown instruction 'RN\ufffd'"
PY
  printf 'FROM debian\n' >Imagefile
  run "$KILN" image check --json .
  [ "$status" -eq 0 ]
  [ "$output" = "[]" ]
}

@test "--build-arg that no ARG declares is a warning" {
  printf 'ARG A\nFROM debian-$A\n' >Imagefile
  run "$KILN" image check --build-arg A=1 --build-arg B=2 .
  [ "$status" -eq 0 ]
  [ "${lines[0]}" = "Imagefile: warning: no ARG declares 'B' of --build-arg" ]
  [ "${lines[1]}" = "help: write ARG B above the steps that use it" ]
}

@test "sources that are not in the build directory, or hidden, are errors; by --build-arg, too" {
  mkdir -p ctx/src ctx/node_modules && cd ctx && touch node_modules/x src/main.c ok
  printf 'FROM debian\nARG X=1\nENV S=src\nCOPY ./node_modules/x $S/ ok *.lock $X $Y /srv/\nCOPY --from=y:1 no /srv/\n' >Imagefile
  printf 'FROM scratch\nDISK 64 MB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\nARG X\nADD lib-$X.tar https://a.org/x /\nRUN --mount=type=bind,source=nothing,target=/m true\n' >>Imagefile
  printf 'node_modules\nsrc\n!src/main.c\n' >.dockerignore
  run "$KILN" image check --build-arg X=7 .
  [ "$status" -eq 1 ]
  grep -v "^ \|warning\|sha256" <<<"$output" >out
  diff - <(grep -v 'name it with AS' out) <<'END'
Imagefile:4:6: error: COPY source './node_modules/x' was not found in '.'
help: it exists, but '.dockerignore' excludes it with the pattern 'node_modules'
Imagefile:10:5: error: ADD source 'lib-7.tar' was not found in '.'
help: sources are paths in the build directory
Imagefile:11:30: error: RUN --mount source 'nothing' was not found in '.'
help: sources are paths in the build directory
END
  cd .. && rm -r ctx
}

@test "a broken ignore file is an error with its line" {
  printf 'FROM debian\n' >Imagefile
  printf 'ok\n[\n' >.imageignore
  run "$KILN" image check .
  [ "$status" -eq 1 ]
  [[ "$output" == *".imageignore:2"*"malformed"* ]]
}

@test "--file, a folder, and what is not there" {
  mkdir ctx
  printf 'FROM debian\n' >ctx/Imagefile
  printf 'FROM\n' >other
  run "$KILN" image check ctx
  [ "$status" -eq 0 ]
  run "$KILN" image check --file other ctx
  [ "$status" -eq 1 ]
  [ "${lines[0]}" = "other:1:1: error: FROM needs an image" ]
  run "$KILN" image check nowhere
  [ "$status" -eq 1 ]
  [[ "$output" == "error: build directory 'nowhere' does not exist"* ]]
  run "$KILN" image check --nope
  [ "$status" -eq 2 ]
  [ "${lines[0]}" = "error: unrecognized arguments: --nope" ]
}

@test "help shows the language, commands and groups" {
  run "$KILN" help imagefile
  [ "$status" -eq 0 ]
  for name in FROM DISK PARTITION COPY ADD RUN ARG ENV WORKDIR USER SHELL LABEL INSPECT; do
    [[ "$output" == *$'\n'"$name"* ]]
  done
  run "$KILN" help image check
  [ "$status" -eq 0 ]
  [[ "${lines[0]}" == "Usage: kiln image check"* ]]
  run "$KILN" help
  [ "$status" -eq 0 ]
  [[ "$output" == *"image check"* ]]
  run "$KILN" help nonsense
  [ "$status" -eq 2 ]
}

@test "the examples are without a mistake" {
  cp -r "$BATS_TEST_DIRNAME/../../examples" examples
  for dir in examples/*/; do
    [ -e "$dir/Imagefile" ] || continue
    touch "$dir/rootfs.tar" "$dir/image.tar" "$dir/authorized_keys" # as its ./prepare does
    "$KILN" image check "$dir"
    [ "$("$KILN" image check --json "$dir")" = "[]" ]
  done
  rm -r examples/tiny/rootfs.tar
  run "$KILN" image check examples/tiny
  [[ $output == *"ADD source 'rootfs.tar' was not found"*"help: 'examples/tiny/prepare' may make it: run that first"* ]]
  rm -r examples
}

@test "nothing is left behind" {
  printf 'FROM debian\n' >Imagefile
  "$KILN" image check .
  [ "$(ls -A)" = Imagefile ]
}
