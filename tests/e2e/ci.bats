#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154  # stderr comes from run
# kiln ci: jobs of a runner that speaks the protocol of GitLab's custom executor
# (tests/servers/gitlab_runner.py), in VMs of examples/tiny.
bats_require_minimum_version 1.5.0

setup_file() {
  load common
  export KILN_ACCEL=${KILN_ACCEL:-tcg} KILN_HOME=$BATS_FILE_TMPDIR/home HOME=$BATS_FILE_TMPDIR XDG_CONFIG_HOME=$BATS_FILE_TMPDIR/config
  unset CUSTOM_ENV_CI_JOB_ID KILN_REGISTRY_USER KILN_REGISTRY_PASSWORD DOCKER_CONFIG REGISTRY_AUTH_FILE
  share_appliance "$KILN_HOME"
  cd "$BATS_FILE_TMPDIR" || return
  make_tiny >/dev/null
  mkdir -p config/kiln bin tmp
  export TMPDIR=$BATS_FILE_TMPDIR/tmp
  cat >config/kiln/config.toml <<END
memory = "64M" # of run and its kin

[ci]
builds-dir = "/srv/builds"
shell = "sh"
memory = "256M"
cpus = 1
qemu-args = ["-kernel", "$PWD/vmlinuz", "-initrd", "$PWD/initrd.img",
             "-append", "console=ttyS0 panic=1 net.ifnames=0 mitigations=off"]
END
}
setup() {
  load common
  store=$KILN_HOME/vmstore
}
teardown_file() {
  load common
  "$KILN" ci reap >/dev/null
  no_leftovers "$KILN_HOME"
  if [ -e "$BATS_FILE_TMPDIR/registry.pid" ]; then kill "$(cat "$BATS_FILE_TMPDIR/registry.pid")"; fi
}
job() { timeout 300 "$BATS_TEST_DIRNAME/../servers/gitlab_runner.py" "$@" "$KILN"; }
# Neither VMs nor processes, sockets or files of jobs.
nothing_left() {
  [ -z "$("$KILN" ps -qa)" ]
  [ -z "$(ls "$store")" ]
  [ -z "$(ls -A "$store/.working" 2>/dev/null)" ]
  [ -z "$(ls -A "$TMPDIR")" ]
  no_leftovers "$KILN_HOME"
}

@test "config tells the runner what it asks for" {
  export CUSTOM_ENV_CI_JOB_ID=77
  run --separate-stderr "$KILN" ci gitlab config --cache-dir /srv/cache
  [ "$status" = 0 ]
  [ -z "$stderr" ]
  python3 -c '
import json, sys
c = json.loads(sys.argv[1])
assert c["driver"]["name"] == "kiln" and c["driver"]["version"], c
assert c["builds_dir"] == "/srv/builds" and c["cache_dir"] == "/srv/cache" and c["shell"] == "sh", c
assert c["builds_dir_is_shared"] is False and c["job_env"] == {"KILN_VM": "gitlab-77"}, c' "$output"
  run "$KILN" ci gitlab config --shell fish
  [ "$status" = 2 ]
  unset CUSTOM_ENV_CI_JOB_ID
  for words in config prepare cleanup "run script stage"; do
    # shellcheck disable=SC2086
    SYSTEM_FAILURE_EXIT_CODE=23 run "$KILN" ci gitlab $words
    [ "$status" = 23 ]
    [[ $output == *"CUSTOM_ENV_CI_JOB_ID is not set"*"a gitlab-runner calls this command"* ]]
  done
  CUSTOM_ENV_CI_JOB_ID=1 SYSTEM_FAILURE_EXIT_CODE=23 run "$KILN" ci gitlab run script stage
  [ "$status" = 23 ]
  [[ $output == "error: stage 'stage': the job's VM 'gitlab-1' has ended" ]]
  CUSTOM_ENV_CI_JOB_ID=1 run "$KILN" ci gitlab cleanup
  [ "$status:$output" = 0: ]
  # a key that no command of the table has
  printf '[ci]\nallow-images = ["x"]\n' >"$BATS_TEST_TMPDIR/c.toml"
  SYSTEM_FAILURE_EXIT_CODE=23 CUSTOM_ENV_CI_JOB_ID=1 run "$KILN" ci gitlab prepare --config "$BATS_TEST_TMPDIR/c.toml"
  [ "$status" = 23 ]
  [[ $output == *"c.toml:2:1: error: key 'allow-images': unknown option"*"did you mean 'allow-image'"* ]]
  printf '[cj]\n' >"$BATS_TEST_TMPDIR/c.toml"
  CUSTOM_ENV_CI_JOB_ID=1 run "$KILN" ci gitlab run --config "$BATS_TEST_TMPDIR/c.toml" script stage
  [ "$status" = 2 ]
}

@test "images that a job may not have, or that there are not" {
  run job
  [ "$status" = 2 ]
  [[ $output == *"error: the job names no image"*"runner: system failure in prepare (status 12)"* ]]
  local image
  for image in none debian-12 oci://registry.example/a:1 registry.example/a:1; do
    run job --image "$image"
    [ "$status" = 2 ]
    [[ $output == *"image '$image' is not allowed for jobs on this runner"*"'kiln image ls'"* ]]
  done
  for image in "x,file=/etc/passwd" "x,http=http://127.0.0.1:1/x" oci-layout:/tmp/x; do
    run job --image "$image" --prepare "--allow-image '*'"
    [ "$status" = 2 ]
    [[ $output == *"'$image' is not an image that a job may name"* ]]
  done
  KILN_VAGRANT_URL=http://127.0.0.1:1 run job --image team/evil:1.0 --prepare "--allow-image 'team/*'"
  [ "$status" = 2 ]
  [[ $output == *"'team/evil:1.0' is a Vagrant box, which jobs may name only once it is here"*"'kiln image pull team/evil:1.0'"* ]]
  run job --image tiny --prepare "--allow-image 'other-*' --allow-image 'oci://registry.example/*'"
  [ "$status" = 2 ]
  [[ $output == *"image 'tiny' is not allowed"*"allowed is what matches 'other-*', 'oci://registry.example/*'"* ]]
  run job --image none --prepare "--allow-image 'n*' --pull never"
  [ "$status" = 2 ]
  [[ $output == *"unable to find image 'none'"* ]]
  run job --prepare "--default-image tiny --prepare-script $BATS_TEST_TMPDIR/none"
  [ "$status" = 2 ]
  [[ $output == *"argument --prepare-script: cannot read"* ]]
  run job --image none --prepare "--allow-image 'n*' --pull never --prepare-script -"
  [[ $output == *"unable to find image 'none'"* ]]
  run job --image tiny --prepare "--cpus many"
  [ "$status" = 2 ]
  nothing_left
}

@test "jobs: success and exit 42 at the same time, with a runner, a prepare script and secrets" {
  printf '#!/bin/sh\necho "the runner $1"\n' >"$BATS_TEST_TMPDIR/gitlab-runner"
  chmod +x "$BATS_TEST_TMPDIR/gitlab-runner"
  echo 'echo "prepared by $(id -un)"; echo yes >/srv/prepared' >"$BATS_TEST_TMPDIR/prepare"
  # while the script runs: what the host has of it
  cat >"$BATS_TEST_TMPDIR/look" <<'END'
set -eu
name=gitlab-7-gitlab.example
pid=$("$KILN" status --json $name | python3 -c 'import json, sys; v = json.load(sys.stdin); assert v["temporary"]; print(v["pid"])')
if tr '\0' '\n' </proc/"$pid"/environ | grep -q 'CUSTOM_ENV_\|s3cret'; then exit 1; fi
if tr '\0' '\n' </proc/"$pid"/cmdline | grep -q s3cret; then exit 1; fi
# a host without space fails the job, and does not make it wait
tr '\0' '\n' </proc/"$pid"/cmdline | grep -q werror=report
keeper=$(fuser "$KILN_HOME/vmstore/$name/ssh.lock" 2>/dev/null)
if grep -q 's3cret' /proc/"$(echo $keeper)"/environ; then exit 1; fi
if grep -rq s3cret "$KILN_HOME/vmstore"; then exit 1; fi
[ ! -e "$KILN_HOME/vmstore/$name/disk.qcow2" ]
"$KILN" ls | grep -q "$name *tiny *running *96.00 MiB"
[ "$("$KILN" ci reap)" = "" ]
# nor by somebody who does not see the job's folder, as with PrivateTmp of systemd
private=$(unshare --mount sh -c 'mount -t tmpfs none "$TMPDIR" && "$KILN" ci reap')
[ "$private" = "" ]
"$KILN" ps -q | grep -qx $name
END
  # its prepare script comes on standard input
  printf '#!/bin/sh\n[ "$3" != prepare ] || exec "%s" "$@" --prepare-script - <<"END"\necho a VM of its own >/srv/prepared\nEND\nexec "%s" "$@"\n' "$KILN" "$KILN" >"$BATS_TEST_TMPDIR/kiln"
  chmod +x "$BATS_TEST_TMPDIR/kiln"
  KILN=$BATS_TEST_TMPDIR/kiln job --job 8 --image tiny --script 'echo "in $(cat /srv/prepared 2>/dev/null || echo a fresh VM)"; exit 42' >"$BATS_TEST_TMPDIR/second" 2>&1 &
  local other=$!
  PATH=$BATS_TEST_TMPDIR:$PATH run job --job 7 --image tiny --services '[{"name": "redis:7"}]' --variable TOKEN=s3cret \
    --variable CI_REGISTRY_PASSWORD=s3cret --prepare "--copy-runner --prepare-script $BATS_TEST_TMPDIR/prepare --pull never" \
    --script $'cat /srv/prepared\nPASSWORD="s3cret"\ngitlab-runner artifacts\necho bytes: $(head -c 200000 /dev/zero | wc -c)\necho look here\nread -r line || echo "no input"' \
    --on "look here" "bash $BATS_TEST_TMPDIR/look"
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"services are not supported by this runner"*"Image 'tiny' for VM 'gitlab-7-gitlab.example': 1 CPUs, 256 MB"*"prepared by vagrant"*"The VM is ready after "*"Running on tiny..."*"/srv/builds/group/project"*yes*"the runner artifacts"*"bytes: 200000"*"no input"*"runner: cleanup ended with 0"*"runner: success" ]]
  [ "$(grep -c 'services are not supported' <<<"$output")" = 1 ]
  local ended=0
  wait "$other" || ended=$?
  cat "$BATS_TEST_TMPDIR/second"
  [ "$ended" = 1 ]
  grep -q '^in a VM of its own$' "$BATS_TEST_TMPDIR/second"
  grep -q '^runner: build_script failed with exit status 42$' "$BATS_TEST_TMPDIR/second"
  nothing_left
}

@test "jobs start from a saved boot, unless told not to" {
  mkdir -p "$BATS_TEST_TMPDIR/kiln"
  cat >"$BATS_TEST_TMPDIR/kiln/config.toml" <<END
[ci]
shell = "sh"
builds-dir = "/srv/builds"
memory = "200M"
kernel = "$BATS_FILE_TMPDIR/vmlinuz"
initrd = "$BATS_FILE_TMPDIR/initrd.img"
append = "console=ttyS0 panic=1 net.ifnames=0 mitigations=off"
END
  export XDG_CONFIG_HOME=$BATS_TEST_TMPDIR
  local script='echo "time $(date +%s) $(cat /srv/left 2>/dev/null || echo fresh) $(cat /proc/sys/kernel/random/uuid)"; echo left >/srv/left; sync' before i
  for i in 1 2 3; do
    before=$(date +%s)
    run job --job 3$i --image tiny --script "$script"
    echo "$output"
    [ "$status" = 0 ]
    [[ $output == *Restoring* ]]
    [ "$(grep -c "saved the boot of 'tiny'" <<<"$output")" = $((i == 1)) ]
    [ "$(grep -c ^Booting <<<"$output")" = $((i == 1)) ]
    [[ $output == *"time "*" fresh "* ]]
    [ "$(sed -n 's/^time \([0-9]*\) .*/\1/p' <<<"$output")" -ge "$before" ]
    sed -n 's/^time .* //p' <<<"$output" >>"$BATS_TEST_TMPDIR/random"
    nothing_left
  done
  [ "$(sort -u "$BATS_TEST_TMPDIR/random" | wc -l)" = 3 ]
  for i in "job --prepare=--cold" "job --prepare=--warm=off" "env KILN_WARM=0 $BATS_TEST_DIRNAME/../servers/gitlab_runner.py" "job --prepare=--hostname=x"; do
    # shellcheck disable=SC2086
    run $i --job 35 --image tiny --script 'echo it "runs"' $([[ $i == job* ]] || echo "$KILN")
    echo "$output"
    [ "$status" = 0 ]
    [[ $output == *Booting*"it runs"* ]]
    [[ $output != *"saved boot"* && $output != *Restoring* ]]
  done
  run job --job 36 --image tiny --prepare=--warm=maybe
  [ "$status" = 2 ]
  [[ $output == *"argument --warm: 'maybe' is not strict, compress or off"* ]]
  nothing_left
}

@test "a VM that dies, a job that is cancelled, a runner that is killed" {
  job --job 10 --image tiny --script $'echo started\nsleep 600' --on started cancel >"$BATS_TEST_TMPDIR/cancelled" 2>&1 &
  local cancelled=$!
  job --job 11 --image tiny --script $'echo started\nsleep 600' --on started cancel --grace 0 --lost >"$BATS_TEST_TMPDIR/lost" 2>&1 &
  local lost=$!
  run job --job 9 --image tiny --script $'echo started\nsleep 600\necho never' \
    --on started 'kill -9 $("$KILN" status --json gitlab-9-gitlab.example | sed -n "s/.*\"pid\": \([0-9]*\).*/\1/p")'
  echo "$output"
  [ "$status" = 2 ]
  [[ $output == *"The last lines of the VM's console:"*"tiny login:"*"error: stage 'build_script': "*"runner: system failure in build_script (status 12)"*"cleanup ended with 0"* ]]
  wait "$cancelled" || [ $? = 2 ]
  grep -q '^runner: cancelled in build_script' "$BATS_TEST_TMPDIR/cancelled"
  grep -q '^runner: cleanup ended with 0' "$BATS_TEST_TMPDIR/cancelled"
  wait "$lost" || [ $? = 2 ]
  # the runner was killed: its VM runs until the folder of the job is gone
  [ "$("$KILN" ps -q)" = gitlab-11-gitlab.example ]
  [ -z "$("$KILN" ci reap)" ]
  until [ "$("$KILN" ci reap --max-age 1 --dry-run)" = gitlab-11-gitlab.example ]; do :; done
  rm -r "$TMPDIR"/custom-executor*
  [ "$("$KILN" ci reap --dry-run)" = gitlab-11-gitlab.example ]
  "$KILN" ci reap --json | python3 -c 'import json, sys; assert json.load(sys.stdin)["removed"] == ["gitlab-11-gitlab.example"]'
  nothing_left
}

@test "reap goes on after a VM that cannot be removed" {
  local name
  for name in gitlab-20 gitlab-21; do
    mkdir -p "$store/$name"
    echo '{"ci": {"job": "1", "tmp": "/no/such"}, "created": 1}' >"$store/$name/vm.json"
  done
  run unshare -m sh -c 'mount --bind "$1/gitlab-20" "$1/gitlab-20" && "$KILN" ci reap' sh "$store"
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *"error: cannot remove "*/gitlab-20* ]]
  grep -qx gitlab-21 <<<"$output"
  [ ! -e "$store/gitlab-21" ]
  "$KILN" ci reap
  [ -z "$(ls "$store")" ]
}

@test "cancelled or killed while the VM starts; an error of QEMU" {
  local grace
  for grace in 60 0; do
    run job --job 12 --image tiny --prepare "-- -S" --on "QEMU runs" cancel --grace "$grace"
    [ "$status" = 2 ]
    [[ $output == *"runner: cancelled in prepare"*"cleanup ended with 0"* ]]
    nothing_left
  done
  run job --job 13 --image tiny --prepare "-- -device none-such"
  [ "$status" = 2 ]
  [[ $output == *"error: QEMU ended unexpectedly"*none-such*"runner: system failure in prepare (status 12)"* ]]
  run job --job 14 --image tiny --prepare "--ssh-timeout 1 -- -S" --before-cleanup '"$KILN" ps -qa | grep . && exit 1 || true'
  [ "$status" = 2 ]
  [[ $output == *"error: no SSH server answered in 1 s"*"hint: --ssh-timeout gives it longer"* ]]
  nothing_left
}

@test "an image of a registry, with the job's login for it and for no other" {
  local port address
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  address=127.0.0.1:$port
  cd "$BATS_TEST_TMPDIR"
  python3 -W ignore -c 'import crypt; print("ci-user:" + crypt.crypt("s3cret", crypt.METHOD_BLOWFISH))' >htpasswd
  printf '%s\n' 'version: 0.1' 'log: {level: error, accesslog: {disabled: true}}' "storage: {filesystem: {rootdirectory: $PWD/data}}" \
    "http: {addr: '$address'}" "auth: {htpasswd: {realm: kiln, path: $PWD/htpasswd}}" >registry.yml
  docker-registry serve registry.yml >registry.log 2>&1 3>&- &
  echo $! >"$BATS_FILE_TMPDIR/registry.pid"
  until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 $!; done
  KILN_REGISTRY_USER=ci-user KILN_REGISTRY_PASSWORD=s3cret "$KILN" image push tiny "oci://$address/team/tiny:1"
  local login=(--variable "CI_REGISTRY_USER=ci-user" --variable "CI_REGISTRY_PASSWORD=s3cret")
  # it ends when the image is there
  local job=(--image "$address/team/tiny:1" --prepare "--allow-image '$address/team/*' -- -device none-such")
  run job "${job[@]}"
  [[ $output == *"error: "*"user and password"* || $output == *"error: "*login* ]]
  run job "${job[@]}" --variable CI_REGISTRY=127.0.0.2:$port "${login[@]}"
  [[ $output != *none-such* ]]
  [ -z "$("$KILN" image ls -q | grep team)" ]
  run job "${job[@]}" --variable CI_REGISTRY="$address" "${login[@]}"
  echo "$output"
  [[ $output == *none-such* && $output != *s3cret* ]]
  [ "$("$KILN" image ls -q | grep team)" = "oci://$address/team/tiny:1" ]
  if grep -rq s3cret "$KILN_HOME"; then return 1; fi
  # now it is there, and --pull always asks again
  run job "${job[@]}"
  [[ $output == *none-such* ]]
  run job --image "oci://$address/team/tiny:1" --prepare "--pull always --allow-image 'oci://$address/*' -- -device none-such"
  [[ $output != *none-such* ]]
  nothing_left
}
