#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154  # stderr comes from run
# What kiln prints with --json is what docs/json.md says (json_schema.py).
bats_require_minimum_version 1.5.0

setup_file() {
  export KILN_HOME="$BATS_FILE_TMPDIR/home" DIR="$BATS_FILE_TMPDIR/b" XDG_CONFIG_HOME="$BATS_FILE_TMPDIR/config"
  mkdir "$DIR"
  cd "$DIR" || return
  truncate -s 12M disk
  printf '\125\252' | dd of=disk bs=1 seek=510 conv=notrunc status=none
  echo 'FROM base,file=disk' >Imagefile
  echo 'LABEL a=b' >>Imagefile
}

# is TABLE COMMAND…: prints JSON as that table of the manual has it.
is() {
  local table=$1
  shift
  "$KILN" "$@" --json >"$DIR/out" 2>"$DIR/err" || true # doctor and status tell by their exit status, too
  if jq -e 'type == "object" and has("error")' "$DIR/out"; then
    cat "$DIR/out"
    return 1
  fi
  python3 "$BATS_TEST_DIRNAME/json_schema.py" "$BATS_TEST_DIRNAME/../../docs/json.md" "$table" <"$DIR/out" || { cat "$DIR/out"; return 1; }
}

@test "what is done, lists and reports" {
  cd "$DIR"
  is 'result field' image import disk base
  is 'result field' image pull base
  is 'result field' image tag base other
  [ "$(jq -c . "$DIR/out")" = '{"command":"image tag","name":"other","schema":1}' ]
  is 'result field' image export other "$DIR/x.qcow2"
  is 'result field' image flatten other
  is '`image ls` (list)' image ls
  is '`image inspect`' image inspect base
  "$KILN" image build -q -n built .
  is '`image inspect`' image inspect built
  is '`image history` (list)' image history built
  is 'result field' image pull --list
  jq .images "$DIR/out" >"$DIR/list"
  python3 "$BATS_TEST_DIRNAME/json_schema.py" "$BATS_TEST_DIRNAME/../../docs/json.md" '`image pull --list`' <"$DIR/list"
  is 'result field' create --name v base
  [ "$(jq -r .name "$DIR/out")" = v ]
  is '`ls` (list)' ls
  is '`ps`, `status` (list)' status v
  is 'result field' rename v w
  is 'result field' rm w
  [ "$(jq -c .done "$DIR/out")" = '["w"]' ]
  is 'result field' image rm other
  is '`doctor` (list)' doctor
  is '`system df`' system df
  is '`system verify`' system verify
  is '`prune`' prune -n
  is 'result field' ssh-key
  is 'result field' logout registry.example
  printf 'FROM base\nENV A=$UNKNOWN\n' >"$DIR/Other"
  is '`image check` (list)' image check -f Other .
  [ "$("$KILN" version --json | jq -c 'keys')" = '["commit","schema","version"]' ]
}

@test "errors, and the events of a build" {
  local doc="$BATS_TEST_DIRNAME/../../docs/json.md" schema="$BATS_TEST_DIRNAME/json_schema.py" c
  cd "$DIR"
  for c in 'image rm nosuch' 'image pull nosuch' 'rm nosuch' 'image inspect nosuch' 'create nosuch' 'image log nosuch 1'; do
    # shellcheck disable=SC2086
    run --separate-stderr "$KILN" $c --json
    echo "$c: $output"
    [ "$status" -eq 1 ]
    python3 "$schema" "$doc" 'result field' <<<"$output"
    [ "$(jq -r '"\(.command) \(.error.kind) \(.error.status)"' <<<"$output")" = "${c%% nosuch*} not-found 1" ]
    [[ "$stderr" == *"error: "* ]]
  done
  run --separate-stderr "$KILN" image build --json -n b .
  [ "$status" -eq 0 ]
  python3 "$schema" "$doc" events <<<"$output"
  printf 'FROM base\nENV A=$UNKNOWN\nCOPY nothing /\n' >"$DIR/Other"
  run --separate-stderr "$KILN" image build --progress=json -f Other -n b .
  [ "$status" -eq 1 ]
  python3 "$schema" "$doc" events <<<"$output"
  run --separate-stderr "$KILN" image build --json -n b nosuch
  [ "$status" -eq 1 ]
  python3 "$schema" "$doc" events <<<"$output"
}
