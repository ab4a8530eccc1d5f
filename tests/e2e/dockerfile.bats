#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What Dockerfiles and docker's command line bring from outside of the build directory.
load common
# shellcheck disable=SC2016

setup_file() {
  export KILN_HOME="$BATS_FILE_TMPDIR/home" KILN_ACCEL=tcg GIT_CONFIG_GLOBAL="$BATS_FILE_TMPDIR/gitconfig"
  share_appliance "$KILN_HOME"
  make_base "$BATS_FILE_TMPDIR/base" base
  export REPOS="$BATS_FILE_TMPDIR/repos"
  make_repositories
  python3 tests/servers/git_http.py "$REPOS" "$BATS_FILE_TMPDIR/requests" >"$BATS_FILE_TMPDIR/port" 3>&- &
  echo $! >"$BATS_FILE_TMPDIR/pid"
  timeout 30 sh -c "until [ -s '$BATS_FILE_TMPDIR/port' ]; do sleep 0.05; done"
  PORT=$(cat "$BATS_FILE_TMPDIR/port")
  export PORT GIT="http://127.0.0.1:$PORT"
  git -C "$REPOS/work" submodule --quiet add ../sub.git lib
  git -C "$REPOS/work" commit -qm 'a submodule' && git -C "$REPOS/work" tag with-sub
  publish
  # the submodule's commit is no longer what a branch names
  echo newer >"$REPOS/subwork/lib.c" && git -C "$REPOS/subwork" -c core.hooksPath=/dev/null commit -qam newer
  git -C "$REPOS/subwork" push -q "$REPOS/sub.git" HEAD && git -C "$REPOS/sub.git" update-server-info
}

teardown_file() {
  kill "$(cat "$BATS_FILE_TMPDIR/pid")"
  no_leftovers "$KILN_HOME"
}

setup() {
  DIR=$BATS_TEST_TMPDIR
  cd "$BATS_TEST_DIRNAME/../.." || return
}

# The repositories' owner, and what a user's settings must not do to a checkout.
make_repositories() {
  git config --global user.name t && git config --global user.email t@example.org
  git config --global init.defaultBranch main && git config --global protocol.file.allow always
  mkdir -p "$REPOS/hooks" && printf '#!/bin/sh\ntouch "%s/hook-ran"\n' "$REPOS" >"$REPOS/hooks/post-checkout"
  chmod +x "$REPOS/hooks/post-checkout"
  git init -q "$REPOS/subwork" && echo library >"$REPOS/subwork/lib.c"
  printf '* text filter=evil\n' >"$REPOS/subwork/.gitattributes"
  git -C "$REPOS/subwork" add . && git -C "$REPOS/subwork" commit -qm lib
  git clone -q --bare "$REPOS/subwork" "$REPOS/sub.git"
  git init -q --object-format=sha256 "$REPOS/work256" && echo 'by SHA-256' >"$REPOS/work256/f"
  git -C "$REPOS/work256" add . && git -C "$REPOS/work256" commit -qm f
  git clone -q --bare "$REPOS/work256" "$REPOS/r256.git"
  git init -q "$REPOS/work" && cd "$REPOS/work" || return
  mkdir -p src/deep && echo one >src/a && echo deep >src/deep/b && echo '#!/bin/sh' >tool && chmod 775 tool
  ln -s src/a link && printf 'a filter=evil\n' >.gitattributes && echo junk >src/junk.bak
  git add . && GIT_COMMITTER_DATE='2001-02-03T04:05:06Z' git commit -qm first && git tag -a -m x v1
  git rev-parse HEAD >"$REPOS/first"
  echo two >src/a && git commit -qam second && git branch side && git rev-parse HEAD >"$REPOS/second"
  git clone -q --bare . "$REPOS/r.git" && git remote add origin "$REPOS/r.git"
  # from here on the user's settings would run something
  git config --global core.hooksPath "$REPOS/hooks"
  git config --global filter.evil.smudge "touch $REPOS/filter-ran; cat"
  git config --global core.eol crlf
  cd - >/dev/null || return
}
publish() {
  git -C "$REPOS/work" push -q --all origin && git -C "$REPOS/work" push -q --tags origin
  git -C "$REPOS/r.git" update-server-info
  rm -f "$REPOS/hook-ran" "$REPOS/filter-ran"
}

# requests: how many there were since the last call
requests() {
  wc -l <"$BATS_FILE_TMPDIR/requests"
  : >"$BATS_FILE_TMPDIR/requests"
}

@test "ADD of git repositories: branches, tags, commits, folders, submodules; keyed by the commit; nothing of theirs is run" {
  first=$(cat "$REPOS/first")
  cat >"$DIR/Imagefile" <<END
FROM base
ADD $GIT/r.git#v1 /tag
ADD --exclude=*.bak $GIT/r.git#main:src /sub
ADD --keep-git-dir=true --chown=7 ${GIT/:\/\//:\/\/me:pass@}/r.git#$first /commit
ADD --keep-git-dir=true $GIT/r.git#with-sub /with
ADD $GIT/r256.git#main /sha256
ADD $GIT/dumb/r.git#with-sub /dumb
ADD $GIT/old/r.git#with-sub /old
ADD $GIT/dumb/r.git#side $GIT/old/r.git#$first:src/deep /two
RUN cd /; cat tag/src/a sub/a commit/src/a with/lib/lib.c dumb/lib/lib.c old/lib/lib.c two/src/a two/b sha256/f; readlink tag/link; find . -xdev -name .git | sort; find . -xdev -path '*/info/*'; grep -r pass@ commit/.git; \
    stat -c '%n %a %u %Y' tag/tool tag/src tag/src/a commit/tool; ls -A sub
END
  requests >/dev/null || true
  run env GIT_DIR=/none GIT_DEFAULT_HASH=sha256 GIT_SHALLOW_FILE=/none sh -c 'umask 077; exec "$@"' - timeout 500 "$KILN" image build --progress=plain -t g "$DIR"
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *$'one\ntwo\none\nlibrary\nlibrary\nlibrary\ntwo\ndeep\nby SHA-256\nsrc/a\n./commit/.git\n./with/.git\n./with/lib/.git\n'* ]]
  [[ $output == *$'tag/tool 755 0 981173106\ntag/src 755 0 981173106\ntag/src/a 644 0 981173106\ncommit/tool 755 7 981173106\na\ndeep\n'* ]]
  [ ! -e "$REPOS/hook-ran" ] && [ ! -e "$REPOS/filter-ran" ]
  [ -z "$(ls "$XDG_CACHE_HOME/git" 2>/dev/null || ls "$HOME/.cache/kiln/git")" ]
  # again: servers are asked for what a name means now, and for nothing else
  requests >/dev/null
  run "$KILN" image build --require-cached -t g "$DIR"
  [ "$status" -eq 0 ]
  if grep -q 'git-upload-pack.*POST' "$BATS_FILE_TMPDIR/requests"; then return 1; fi
  # who logs in is not part of the key
  sed -i 's/me:pass/me:other/' "$DIR/Imagefile"
  "$KILN" image build --require-cached -t g "$DIR"
  # a branch that moves is another step
  git -C "$REPOS/work" -c core.hooksPath=/dev/null commit -q --allow-empty -m third && publish
  run "$KILN" image build --require-cached -t g "$DIR"
  [ "$status" -eq 1 ]
  [[ $output == *"step 3 "* && $output == *"git commit"* ]]
  # a full commit needs no server when its layer is there
  printf 'FROM base\nADD http://127.0.0.1:1/r.git#%s /x\n' "$first" >"$DIR/Imagefile"
  sed "s,127.0.0.1:1/,127.0.0.1:$PORT/,;s,^ADD,ADD --checksum=${first:0:12}," "$DIR/Imagefile" >"$DIR/with"
  timeout 200 "$KILN" image build -f "$DIR/with" -t g2 "$DIR"
  run "$KILN" image build --require-cached -t g2 "$DIR"
  [ "$status" -eq 0 ]
}

@test "ADD of git repositories: mistakes are named, and nothing is left" {
  says() {
    printf 'FROM base\nADD %s /x\n' "$1" >"$DIR/Imagefile"
    run timeout 100 "$KILN" image build -t bad "$DIR"
    echo "$1: $output"
    [ "$status" -eq 1 ] && [[ $output == *"$2"* ]]
  }
  says "$GIT/r.git#nosuch" "has no branch or tag 'nosuch'"
  says "$GIT/r.git#1234567" 'all of its hex digits'
  says "$GIT/none.git" "/none.git': git failed with exit status 128: fatal: repository"
  says "$GIT/none.git" "cannot read the git repository '$GIT/none.git'"
  says "http://user:secret@127.0.0.1:1/r.git" "cannot read the git repository 'http://127.0.0.1:1/r.git'"
  [[ $output != *secret* ]]
  says "http://user:sec@ret@127.0.0.1:1/r.git" "cannot read the git repository 'http://127.0.0.1:1/r.git'"
  [[ $output != *ret@* ]]
  says "--checksum=abcdef1234 $GIT/r.git#v1" 'is not what its checksum says: it is at commit'
  says "--checksum=\$NONE $GIT/r.git#v1" "the checksum '' is not a commit of 7 or more hex digits"
  # the user's own ssh program is the one that is run
  git config --global core.sshCommand 'echo the own ssh >&2; false'
  says "ssh://git@127.0.0.1/r.git" 'the own ssh'
  git config --global --unset core.sshCommand
  says "$GIT/r.git#--upload-pack=x" 'is not a branch, tag or commit'
  says "$GIT/r.git#v1:none" "has no folder 'none' at commit"
  says "$GIT/r.git#1111111111111111111111111111111111111111" 'cannot fetch the git repository'
  # a submodule that names a file of this machine is not fetched
  git clone -q "$REPOS/sub.git" "$REPOS/evil" && cd "$REPOS/evil"
  printf '[submodule "x"]\n\tpath = x\n\turl = %s\n' "$REPOS/sub.git" >.gitmodules
  git add .gitmodules && git update-index --add --cacheinfo "160000,$(git rev-parse HEAD),x"
  git -c core.hooksPath=/dev/null commit -qm evil && git clone -q --bare . "$REPOS/evil.git" && cd - >/dev/null
  says "$GIT/evil.git" "transport 'file' not allowed"
  # nor is what logs in to a submodule's server shown
  cd "$REPOS/evil" && git config -f .gitmodules submodule.x.url http://user:secret@127.0.0.1:1/x.git && git add .gitmodules
  git -c core.hooksPath=/dev/null commit -qm url && git push -q "$REPOS/evil.git" HEAD && cd - >/dev/null
  says "$GIT/evil.git" "http://127.0.0.1:1/x.git"
  [[ $output != *secret* ]]
}

@test "--build-context and --add-host: folders, images, in place of a stage; nothing of it is in the image" {
  mkdir "$DIR/site" "$DIR/b" && echo hello >"$DIR/site/f" && echo no >"$DIR/site/hidden" && echo hidden >"$DIR/site/.dockerignore"
  cat >"$DIR/b/Imagefile" <<'END'
FROM base AS site
RUN false
FROM over
COPY --from=site . /s/
RUN --mount=from=SITE,target=/m --mount=from=over,source=/etc,target=/e cat /m/f /s/f; ls /s /e/passwd; cat /etc/hosts; echo own >>/etc/hosts
END
  local flags=(--build-context "site=$DIR/site" --build-context over=docker-image://base)
  run "$KILN" image check "${flags[@]}" "$DIR/b"
  [ "$status" -eq 0 ] && [ -z "$(grep -v 'nothing uses the stage' <<<"$output" | grep -e warning -e error)" ]
  run timeout 300 "$KILN" image build --progress=plain -t n "${flags[@]}" --add-host db.example:10.1.2.3 --add-host 'six=[::1]' "$DIR/b"
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *$'hello\nhello\n/e/passwd\n\n/s:\nf\n10.1.2.3\tdb.example\n::1\tsix\n'* && $output != *hidden* ]]
  run "$KILN" shell n -c 'cat /etc/hosts'
  [[ $output != *db.example* && $output != *own* ]]
  run "$KILN" image build --require-cached -t n "${flags[@]}" --add-host db.example:10.1.2.3 --add-host 'six=[::1]' "$DIR/b"
  [ "$status" -eq 0 ]
  run "$KILN" image build --require-cached -t n "${flags[@]}" --add-host db.example:10.1.2.4 "$DIR/b"
  [ "$status" -eq 1 ] && [[ $output == *"step 3 "* && $output == *add-host* ]]
  echo changed >"$DIR/site/f"
  run "$KILN" image build --require-cached -t n "${flags[@]}" "$DIR/b"
  [ "$status" -eq 1 ] && [[ $output == *"step 2 "* ]]
}

@test "--build-context and --add-host: mistakes are named" {
  printf 'FROM site\nRUN x\n' >"$DIR/Imagefile"
  says() {
    run "$KILN" image build -t bad "${@:3}" "$DIR"
    echo "${*:3}: $output"
    [ "$status" -eq "$1" ] && [[ $output == *"$2"* ]]
  }
  says 1 "the build context 'site' is a folder, not an image" --build-context "site=$DIR"
  says 1 "unable to find image 'nosuch'" --build-context site=nosuch
  says 2 "'site' is not NAME=FOLDER or NAME=IMAGE" --build-context site
  says 2 "'./none' is not a folder" --build-context site=./none
  says 2 "ADD takes URLs" --build-context site=https://example.org/x.tar
  says 2 "'a:b' is not NAME:ADDRESS" --add-host a:b
  says 2 "a RUN does not reach this machine" --add-host a:host-gateway
  run "$KILN" image check "$DIR"
  [ "$status" -eq 0 ] && [[ $output == *"Imagefile:1:6: warning: the image 'site' is not in the backend"*"[UnknownImage]"* ]]
}

@test "what can be known before the first step is said before it, by check and by build" {
  echo x >"$DIR/f"
  while IFS='|' read -r line text; do
    printf 'FROM base\nRUN echo never\n%s\n' "$line" >"$DIR/Imagefile"
    run "$KILN" image check "$DIR"
    echo "$line: $output"
    [ "$status" -eq 1 ] && [[ $output == *":3:"*"error: "*"$text"* ]]
    run "$KILN" image build -t early "$DIR"
    [ "$status" -eq 1 ] && [[ $output == *"$text"* && $output != *"Step 1"* ]]
  done <<'END'
COPY nofile /x|'nofile' was not found
ADD https://example.org/x.git#-x /x|is not a branch, tag or commit
ADD --checksum=zz https://example.org/x.git /x|expected a commit
COPY --exclude=[ f /x|[
RUN --mount=type=cache,target=/ true|can't stand in the place of '/'
RUN --mount=type=bind,source=nodir,target=/x true|'nodir' was not found
END
  printf 'FROM base AS a\nRUN echo never\nFROM x,file=/none.qcow2\nCOPY --from=a /etc /e\n' >"$DIR/Imagefile"
  run "$KILN" image build -t early "$DIR"
  [ "$status" -eq 1 ] && [[ $output == *"Imagefile:3:6: error: cannot take an image from '/none.qcow2'"* && $output != *"Step 1"* ]]
}
