#!/usr/bin/env bats
# The examples as a user has them: prepared, checked, built, booted by their own boot loader.
# (examples/debian is built and booted by make demo: mmdebstrap and apt take minutes.)

setup_file() {
  export TOP
  TOP=$(mktemp -d "${TMPDIR:-/tmp}/kiln-examples.XXXXXX")
  export KILN_HOME=$TOP/home KILN_ACCEL=${KILN_ACCEL:-tcg}
  unset SSH_AUTH_SOCK
  . tests/e2e/common.bash
  share_appliance "$KILN_HOME"
  cp -a examples/tiny "$TOP/tiny"
  rm -f "$TOP/tiny/rootfs.tar" "$TOP/tiny/authorized_keys"
  "$TOP/tiny/prepare" "$KILN" >&2
  "$KILN" image build --name tiny "$TOP/tiny" >&2
}

teardown_file() {
  . tests/e2e/common.bash
  no_leftovers "$KILN_HOME"
  rm -rf "$TOP"
}

teardown() {
  [ ! -e "$BATS_TEST_TMPDIR/registry.pid" ] || kill "$(cat "$BATS_TEST_TMPDIR/registry.pid")"
}

@test "the examples' Imagefiles have no mistakes and no bad habits" {
  cp -r examples "$TOP/examples"
  "$KILN" image tag tiny debian # a FROM that is nowhere is a warning
  for example in "$TOP"/examples/*/Imagefile; do
    touch "${example%/*}/rootfs.tar" "${example%/*}/image.tar" "${example%/*}/authorized_keys" # as its ./prepare does
    run "$KILN" image check "${example%/Imagefile}"
    echo "$example: $output"
    [ "$status" = 0 ]
    [[ $output != *warning* ]]
  done
  "$KILN" image rm debian
}

@test "tiny's system as a container image, of two layers: a VM that boots" {
  mkdir "$TOP/container"
  cp -r "$TOP/tiny/root" "$TOP/tiny/authorized_keys" "$TOP/container/"
  mkdir -p "$TOP/layer/home/vagrant"
  echo "from the second layer" >"$TOP/layer/home/vagrant/note"
  : >"$TOP/layer/home/.wh.nobody"
  : >"$TOP/layer/.wh.mnt"
  tar -C "$TOP/layer" --owner=0 --group=0 -cf "$TOP/layer.tar" .
  "$BATS_TEST_DIRNAME/../servers/container.py" pack "$TOP/container/image" "$TOP/tiny/rootfs.tar" "$TOP/layer.tar"
  sed 's|^ADD rootfs.tar /|ADD oci-layout:image:1 /|' "$TOP/tiny/Imagefile" >"$TOP/container/Imagefile"
  grep -q oci-layout "$TOP/container/Imagefile"
  "$KILN" image build --name container "$TOP/container"
  run timeout 180 "$KILN" run container --ssh-command 'cat note; hostname; ls -d /mnt'
  echo "$output"
  [[ $output == *$'\nfrom the second layer\ntiny\n'*'/mnt: No such file or directory'* ]]
}

@test "tiny: equal packages give equal bytes, so that the build is cached" {
  cp -a "$TOP/tiny" "$TOP/again"
  rm "$TOP/again/rootfs.tar"
  "$TOP/again/prepare" "$KILN"
  cmp "$TOP/tiny/rootfs.tar" "$TOP/again/rootfs.tar"
  "$KILN" image build --require-cached --name again "$TOP/again"
}

@test "tiny boots by its own boot loader, and by SSH the key lets root and vagrant in" {
  run timeout 180 "$KILN" run tiny --ssh-command 'hostname; id -un; uname -s; exit 5'
  echo "$output"
  [ "$status" = 5 ]
  [[ $output == *$'\ntiny\nvagrant\nLinux'* ]]
  run timeout 180 "$KILN" run tiny --ssh-user root --ssh-command 'id -un; mount | grep " on / "'
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *$'\nroot\n/dev/vda1 on / type ext4'* ]]
}

@test "an image built on tiny boots with what was added" {
  mkdir "$TOP/child"
  echo 'from the build directory' >"$TOP/child/file"
  printf '%s\n' 'FROM tiny' 'COPY file /etc/motd' 'RUN echo child >/etc/hostname' >"$TOP/child/Imagefile"
  "$KILN" image build --name child "$TOP/child"
  run timeout 180 "$KILN" run child --ssh-command 'hostname; cat /etc/motd'
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *$'\nchild\nfrom the build directory'* ]]
}

@test "tiny: another key builds anew from where it is copied" {
  cp -a "$TOP/tiny" "$TOP/other"
  echo 'ssh-ed25519 AAAA other' >"$TOP/other/authorized_keys"
  run "$KILN" image build --require-cached --name tiny "$TOP/other"
  echo "$output"
  [ "$status" = 1 ]
  [[ $output == *'step 6 is not cached: authorized_keys changed'* ]]
}

@test "recipes for CI: their options are kiln's, their manifests ask for no privileges" {
  python3 "$BATS_TEST_DIRNAME/recipes.py" check "$KILN" "$BATS_TEST_DIRNAME/../../examples/ci"
}

# A project with an image of its own, and a registry.
recipe_project() {
  local port
  cd "$BATS_TEST_TMPDIR" || return
  mkdir -p image tests bin data home
  cp -r "$BATS_TEST_DIRNAME/../../examples/ci" ci
  printf '%s\n' 'FROM tiny' 'COPY --chmod=755 self-test /usr/local/bin/' >image/Imagefile
  printf '%s\n' '#!/bin/sh' 'echo self-test on $(uname -s)' >image/self-test
  printf '%s\n' 'cd /work; cat input; id -un >results/who' >tests/run
  echo 'from the job' >input
  ln -s "$KILN" bin/kiln
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  python3 -W ignore -c 'import crypt; print("job:" + crypt.crypt("pa ss", crypt.METHOD_BLOWFISH))' >htpasswd
  printf '%s\n' 'version: 0.1' 'log: {level: error, accesslog: {disabled: true}}' "storage: {filesystem: {rootdirectory: $PWD/data}}" \
    "http: {addr: '127.0.0.1:$port'}" "auth: {htpasswd: {realm: ci, path: $PWD/htpasswd}}" >registry.yml
  docker-registry serve registry.yml >registry.log 2>&1 3>&- &
  echo $! >registry.pid
  until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
  export CI_REGISTRY=127.0.0.1:$port CI_REGISTRY_IMAGE=127.0.0.1:$port/group/app CI_REGISTRY_USER=job \
    CI_REGISTRY_PASSWORD='pa ss' CI_COMMIT_SHORT_SHA=1a2b3c PATH=$PWD/bin:$PATH HOME=$PWD/home
  export KILN_CACHE_FROM=oci://$CI_REGISTRY_IMAGE/cache KILN_CACHE_TO=oci://$CI_REGISTRY_IMAGE/cache,mode=all
  unset REGISTRY_AUTH_FILE DOCKER_CONFIG XDG_CONFIG_HOME XDG_RUNTIME_DIR
}

@test "the GitLab recipe builds, tests, pushes, and a later job boots what was pushed" {
  recipe_project
  python3 "$BATS_TEST_DIRNAME/recipes.py" job ci/gitlab-ci.yml image >image.job
  python3 "$BATS_TEST_DIRNAME/recipes.py" job ci/gitlab-ci.yml use >use.job
  run timeout 250 sh image.job
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *'self-test on Linux'* ]]
  "$KILN" image rm web
  run timeout 250 sh use.job
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *'from the job'* ]]
  [ "$(cat results/who)" = root ]
  # a test that fails is the job's failure, and nothing is pushed
  printf '%s\n' '#!/bin/sh' 'exit 9' >image/self-test
  CI_COMMIT_SHORT_SHA=bad run timeout 250 sh image.job
  [ "$status" = 9 ]
  [[ $output == *"The test ended with 9. The console's last lines:"* ]]
  run "$KILN" image ls --remote "$CI_REGISTRY_IMAGE/web"
  [[ $output == *1a2b3c* && $output != *bad* ]]
}

@test "the Buildkite hook runs the command on the checkout, with the variables that it names" {
  mkdir -p "$BATS_TEST_TMPDIR/checkout" "$BATS_TEST_TMPDIR/bin"
  cd "$BATS_TEST_TMPDIR/checkout" || return
  echo input >file
  ln -s "$KILN" ../bin/kiln
  export PATH=$BATS_TEST_TMPDIR/bin:$PATH
  run env BUILDKITE_PLUGIN_KILN_IMAGE=tiny BUILDKITE_PLUGIN_KILN_ENV_0=GREETING GREETING="it's \$HOME" HIDDEN=1 BUILDKITE_JOB_ID=7 \
    BUILDKITE_AGENT_ACCESS_TOKEN=secret BUILDKITE_COMMAND='echo "$GREETING/${HIDDEN-}/$BUILDKITE_JOB_ID/${BUILDKITE_AGENT_ACCESS_TOKEN-}" >said
cat file; exit 4' timeout 200 "$BATS_TEST_DIRNAME/../../examples/ci/buildkite/hooks/command"
  echo "$output"
  [ "$status" = 4 ]
  [[ $output == *input* ]]
  [ "$(cat said)" = "it's \$HOME//7/" ]
  [ ! -e .kiln-command ]
}

@test "make demo, as a newcomer runs it, and what it says to try next" {
  cd "$BATS_TEST_DIRNAME/../.." || return
  export BUILD=${KILN%/kiln}
  [[ $BUILD != "$PWD/"* ]] || BUILD=${BUILD#"$PWD/"} # as make names it
  run timeout 500 make demo BUILD="$BUILD" DEMO=tiny
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *$'\ntiny\nLinux tiny '*"3. tiny again"*"Built image 'tiny'"*'(5 of 5 layers from the cache)'*'Try next:'* ]]
  # its last lines, but for those that want a terminal
  cd "$BATS_TEST_TMPDIR" || return
  sed -n '/Try next:/,$p' <<<"$output" | sed '1d; /--ssh-console/d; s/^  kiln shell tiny .*/kiln shell tiny -c true/' >next
  [ "$(wc -l <next)" -ge 4 ]
  run bash -e next
  echo "$output"
  [ "$status" = 0 ] && [[ $output == *"Built image 'hello'"* ]]
}
