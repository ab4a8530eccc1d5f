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

@test "a source that the ignore file hides is a warning" {
  printf 'FROM debian\nCOPY ./node_modules/x src/ ok /srv/\nCOPY --from=y:1 node_modules /srv/\n' >Imagefile
  printf 'node_modules\nsrc\n!src/main.c\n' >.imageignore
  run "$KILN" image check .
  [ "$status" -eq 0 ]
  [ "${lines[0]}" = "Imagefile:2:6: warning: 'node_modules/x' is hidden by the ignore file" ]
  [ "${lines[-1]}" = "0 errors, 1 warning" ]
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
  [[ "$output" == "error: 'nowhere/Imagefile' does not exist"* ]]
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
  for dir in "$BATS_TEST_DIRNAME"/../../examples/*/; do
    [ -e "$dir/Imagefile" ] || continue
    "$KILN" image check "$dir"
    [ "$("$KILN" image check --json "$dir")" = "[]" ]
  done
}

@test "nothing is left behind" {
  printf 'FROM debian\n' >Imagefile
  "$KILN" image check .
  [ "$(ls -A)" = Imagefile ]
}
