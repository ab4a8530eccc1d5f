#!/usr/bin/env bash
# The rules of the layer keys: after one real build, each case changes one thing and asks with
# --require-cached (which builds nothing) where the next build would miss: a step number, or "hit".
# Each case starts from the same build directory and backend.
set -u
top=$(mktemp -d "${TMPDIR:-/tmp}/kiln-keys.XXXXXX")
trap 'rm -rf "$top"' EXIT
export KILN_HOME=$top/home KILN_ACCEL=${KILN_ACCEL:-tcg}
. tests/e2e/common.bash
n=0 failed=0
share_appliance "$KILN_HOME"

make_tree() { # the build directory all cases start from
  mkdir -p "$1"/conf/sub "$1"/src "$1"/tar "$1"/bound
  echo 'bound' >"$1/bound/f"
  echo 'a=1' >"$1/conf/app.ini"
  echo 'b=1' >"$1/conf/sub/b.ini"
  echo 'old' >"$1/conf/x.bak"
  echo 'junk' >"$1/conf/junk.tmp"
  ln -s app.ini "$1/conf/link"
  ln "$1/conf/app.ini" "$1/conf/hard"
  echo 'int a;' >"$1/src/a.c"
  echo 'int b;' >"$1/src/b.c"
  echo 'header' >"$1/src/a.h"
  echo 's3' >"$1/private.txt"
  echo 'in the archive' >"$1/tar/file"
  tar -C "$1/tar" --mtime=@0 -cf "$1/a.tar" file
  rm -r "$1/tar"
  printf '%s\n' '# what is not for the image' '*.tmp' '**/*.tmp' >"$1/.imageignore"
  cat >"$1/Imagefile" <<'END'
ARG GLOBAL=1
FROM kbase
ARG VERSION=1.2
ARG UNUSED=0
ENV LANG=C A=1
ENV B=2
COPY --exclude=*.bak conf /opt/conf
COPY src/*.c /opt/src$B/
COPY --chmod=600 private.txt /opt/private
WORKDIR /opt/work
RUN echo "$VERSION" >version
COPY <<WORDS /etc/motd
hello
WORDS
ADD a.tar /opt/tar/
USER 1000
RUN id >/tmp/id
LABEL color=red
RUN <<SCRIPT
echo script >/tmp/script
SCRIPT
RUN --mount=type=bind,source=bound,target=/t --mount=type=tmpfs,target=/s,size=1m cat /t/f >/tmp/bound
COPY --from=kfrom /etc/os-release /tmp/
END
  find "$1" -exec touch -h -d '2026-01-01' {} +
}

# hurt STEP: the build uses a copy of the backend; $layer is the folder of its layer of that step.
hurt() {
  rm -rf "$top/copy" && cp -a "$KILN_HOME/backend" "$top/copy"
  flags=(--image-backend "$top/copy")
  layer=$top/copy/.layers/$("$KILN" image history --json keys |
    python3 -c 'import json, sys; print([s["layer"] for s in json.load(sys.stdin) if s.get("n") == int(sys.argv[1])][0])' "$1")
  chmod 644 "$layer/disk.qcow2" "$layer/layer.json"
}

# case NAME WANT WHY -- COMMANDS: WANT is "hit" or the step that must miss; WHY a part of the
# reason ("" = any). COMMANDS run in the build directory; $flags are given to the build.
case_() {
  local name=$1 want=$2 why=$3 got out status
  n=$((n + 1)) flags=() dir=$top/b image=keys
  rm -rf "$top/b" && cp -a "$top/tree" "$top/b"
  if ! (cd "$top/b" && declare -p flags dir image >/dev/null && eval "$4" && declare -p flags dir image >"$top/vars"); then
    echo "not ok $n - $name"; echo "# the change itself failed"; failed=1; return
  fi
  eval "$(sed 's/^declare /declare -g /' "$top/vars")"
  out=$("$KILN" image build --require-cached --name "$image" "${flags[@]}" "$dir" 2>&1)
  status=$?
  got=$(LC_ALL=C sed -n 's/.*step \([0-9]*\) is not cached.*/\1/p' <<<"$out")
  [ "$status" = 0 ] && got=hit
  if [ "$got" = "$want" ] && grep -aqF -- "$why" <<<"$out"; then
    echo "ok $n - $name"
  else
    echo "not ok $n - $name"
    echo "# wanted '$want' because of '$why', got '$got' (exit status $status)"
    sed 's/^/# /' <<<"$out" | tail -5
    failed=1
  fi
}
edit() { sed -i "$1" Imagefile; }

make_base "$top/base" kbase >"$top/log" 2>&1 || { sed 's/^/# /' "$top/log"; echo "Bail out! the base image was not built"; exit 1; }
"$KILN" image tag kbase kfrom
make_tree "$top/tree"
cp -a "$top/tree" "$top/b"
"$KILN" image build --name keys "$top/b" >"$top/log" 2>&1 || { sed 's/^/# /' "$top/log"; echo "Bail out! the first build failed"; exit 1; }

case_ 'nothing changed' hit '' ':'
# files
case_ 'content' 6 'conf/app.ini changed' 'echo a=2 >conf/app.ini'
case_ 'content in a sub folder' 6 'conf/sub/b.ini changed' 'echo b=2 >conf/sub/b.ini'
case_ 'same size and mtime, other content' 6 'conf/sub/b.ini changed' 'cp -p conf/sub/b.ini ref; echo b=2 >conf/sub/b.ini; touch -r ref conf/sub/b.ini; rm ref'
case_ 'file replaced by another one of the same size and mtime' 6 'conf/sub/b.ini changed' 'echo b=2 >n; touch -r conf/sub/b.ini n; mv n conf/sub/b.ini'
case_ 'file renamed' 6 '' 'mv conf/sub/b.ini conf/sub/c.ini'
case_ 'file removed' 6 '' 'rm conf/sub/b.ini'
case_ 'file added' 6 '' 'echo >conf/new'
case_ 'hidden file added' 6 '' 'echo >conf/.hidden'
case_ 'empty folder added' 6 '' 'mkdir conf/empty'
case_ 'file name with a newline' 6 '' 'echo >conf/$'"'a\\nb'"
case_ 'file name that is no UTF-8' 6 '' 'echo >conf/$'"'\\xff'"
case_ 'mode of a file' 6 '' 'chmod 755 conf/sub/b.ini'
case_ 'set-user-ID bit' 6 '' 'chmod u+s conf/sub/b.ini'
case_ 'mode of a folder' 6 '' 'chmod 700 conf/sub'
case_ 'target of a link' 6 '' 'ln -sfn sub/b.ini conf/link'
case_ 'link replaced by its content' 6 '' 'rm conf/link; cp conf/app.ini conf/link'
case_ 'hard link replaced by a copy' 6 '' 'rm conf/hard; cp conf/app.ini conf/hard'
case_ 'file replaced by a folder' 6 '' 'rm conf/sub/b.ini; mkdir conf/sub/b.ini'
case_ 'xattr' 6 '' 'setfattr -n user.note -v x conf/sub/b.ini'
case_ 'touched only' hit '' 'touch conf/app.ini src/a.c'
case_ 'folder touched only' hit '' 'touch conf conf/sub'
case_ 'owner of a file here' hit '' 'chown 12:34 conf/sub/b.ini'
case_ 'rewritten with the same content' hit '' 'cat conf/sub/b.ini >x; cat x >conf/sub/b.ini; rm x'
case_ 'ignored file changed' hit '' 'echo more >conf/junk.tmp'
case_ 'ignored file added' hit '' 'echo more >conf/other.tmp'
case_ 'excluded file changed' hit '' 'echo more >conf/x.bak'
case_ 'file outside all sources' hit '' 'echo more >unrelated'
case_ 'comment in the ignore file' hit '' 'echo "# more" >>.imageignore'
case_ 'file no longer ignored' 6 '' 'echo "!conf/junk.tmp" >>.imageignore'
case_ 'file newly ignored' 6 '' 'echo "conf/sub" >>.imageignore'
case_ 'file added under a glob' 7 '' 'echo >src/c.c'
case_ 'file removed under a glob' 7 '' 'rm src/b.c'
case_ 'file added beside a glob' hit '' 'echo >src/b.h'
case_ 'file beside a glob changed' hit '' 'echo more >>src/a.h'
case_ 'archive changed' 12 '' 'echo x >file; tar -rf a.tar file; rm file'
case_ 'archive touched' hit '' 'touch a.tar'
case_ 'owner in an archive' 12 '' 'mkdir t; echo "in the archive" >t/file; tar -C t --mtime=@0 --owner=5 -cf a.tar file; rm -r t'
case_ 'archive renamed' 12 '' 'mv a.tar b.tar; edit "s/a.tar/b.tar/"'
case_ 'file under a bind mount' 17 '--mount bind /t changed' 'echo other >bound/f'
case_ 'file under a bind mount touched' hit '' 'touch bound/f'
case_ 'tmpfs mount of another size' 17 '--mount tmpfs /s size 1048576 → size 2097152' 'edit s/size=1m/size=2m/'
# the text
case_ 'comment added' hit '' 'edit "3i # a comment"'
case_ 'blank line added' hit '' 'edit "3i \\\\"; edit "3s/.*//"'
case_ 'instruction in small letters' hit '' 'edit "s/^WORKDIR/workdir/"'
case_ 'CR LF line ends' hit '' 'edit "s/\$/\r/"'
case_ 'RUN changed' 10 'the instruction changed' 'edit "s/>version/>version2/"'
case_ 'RUN added' 9 '' 'edit "/^WORKDIR/i RUN true"'
case_ 'RUN removed' 11 '' 'edit "/>version/d"; edit "s/^ARG UNUSED=0/ARG UNUSED=0\nARG X/"'
case_ 'last RUN removed' hit '' 'edit "/^RUN <</,\$d"'
case_ 'destination changed' 6 '' 'edit "s,/opt/conf,/opt/config,"'
case_ 'chmod changed' 8 '' 'edit "s/chmod=600/chmod=644/"'
case_ 'chown added' 8 '' 'edit "s/--chmod=600/--chown=1 --chmod=600/"'
case_ 'exclude changed' 6 '' 'edit "s/--exclude=\*.bak/--exclude=*.ini/"'
case_ 'WORKDIR changed' 9 '' 'edit "s,/opt/work,/opt/job,"'
case_ 'here-document of COPY' 11 '' 'edit "s/^hello/goodbye/"'
case_ 'here-document of RUN' 16 '' 'edit "s/echo script/echo other/"'
case_ 'name of a here-document: what the file is called in a folder' 11 '' 'edit "s/WORDS/LINES/"'
case_ 'USER changed' 14 'USER' 'edit "s/^USER 1000/USER 1001/"'
case_ 'SHELL added' 15 '' 'edit "/^USER/a SHELL [\"/bin/busybox\", \"sh\", \"-c\"]"'
case_ 'LABEL changed' hit '' 'edit "s/red/blue/"'
case_ 'RUN without network' 14 '' 'edit "s/^RUN id/RUN --network=none id/"'
case_ 'cache mount added' hit '' 'edit "s,^RUN id,RUN --mount=type=cache\,target=/c id,"'
case_ 'secret mount added' hit '' 'edit "s/^RUN id/RUN --mount=type=secret\,id=k id/"'
case_ 'tmpfs mount added' 14 '' 'edit "s,^RUN id,RUN --mount=type=tmpfs\,target=/t id,"'
case_ 'bind mount added' 14 '' 'edit "s,^RUN id,RUN --mount=type=bind\,source=src\,target=/t id,"'
# variables
case_ 'ENV value' 10 'ENV A' 'edit "s/A=1/A=9/"'
case_ 'ENV added' 10 'ENV NEW' 'edit "s/^ENV B=2/ENV B=2 NEW=1/"'
case_ 'ENV that COPY uses' 7 '' 'edit "s/^ENV B=2/ENV B=3/"'
case_ 'ENV order in a line' hit '' 'edit "s/LANG=C A=1/A=1 LANG=C/"'
case_ 'ENV order of lines' hit '' 'edit "s/^ENV B=2/ENV X/; s/^ENV LANG=C A=1/ENV B=2/; s/^ENV X/ENV LANG=C A=1/"'
case_ 'ARG by --build-arg' 10 'ARG VERSION 1.2 → 1.3' 'flags=(--build-arg VERSION=1.3)'
case_ 'ARG default' 10 'ARG VERSION' 'edit "s/VERSION=1.2/VERSION=1.3/"'
case_ 'ARG given its own default' hit '' 'flags=(--build-arg VERSION=1.2)'
case_ 'ARG that only RUN could see' 10 'ARG UNUSED' 'flags=(--build-arg UNUSED=1)'
case_ 'ARG declared after all that could see it' hit '' 'echo "ARG LATE=1" >>Imagefile'
case_ 'ARG before FROM, not used' hit '' 'flags=(--build-arg GLOBAL=2)'
# what must not count
case_ 'secret given' hit '' 'flags=(--secret id=k,src=private.txt); cd .; flags=(--secret "id=k,src=$PWD/private.txt")'
case_ 'memory and CPUs' hit '' 'flags=(--memory 700M --cpus 1)'
case_ 'accelerator' hit '' 'flags=(--accel auto)'
case_ 'progress' hit '' 'flags=(--progress plain)'
case_ 'other image name' hit '' 'image=other'
case_ 'moved build directory' hit '' 'rm -rf "$top/moved"; cp -a . "$top/moved"; dir=$top/moved'
case_ 'digest index gone' hit '' 'rm -rf "$KILN_HOME/cache/context"'
case_ 'Imagefile elsewhere' hit '' 'mv Imagefile ../Imagefile.keys; flags=(--file "$top/Imagefile.keys")'
case_ 'base under another name' hit '' '"$KILN" image tag kbase kbase2 >&2; edit "s/^FROM kbase/FROM kbase2/"'
case_ 'image of --from under another name' hit '' '"$KILN" image tag kbase kfrom2 >&2; edit "s/--from=kfrom/--from=kfrom2/"'
case_ 'base built again from the cache' hit '' '"$KILN" image build --name kbase "$top/base" >&2'
case_ 'copied backend' hit '' 'rm -rf "$top/copy"; cp -a "$KILN_HOME/backend" "$top/copy"; flags=(--image-backend "$top/copy")'
# layers that can't be used: the reason is what is wrong with the layer, not what it was made from
case_ 'layer truncated' 10 'its layer is damaged: disk.qcow2 is 5000 bytes, not ' 'hurt 10; truncate -s 5000 "$layer/disk.qcow2"'
case_ 'header of a layer altered' 10 'its layer is damaged: the header of disk.qcow2 was altered' 'hurt 10; printf x | dd of="$layer/disk.qcow2" bs=1 seek=30 conv=notrunc status=none'
case_ 'record of a layer altered' 10 'its layer is damaged: its record was altered' 'hurt 10; sed -i "s/RUN echo/RUN Echo/" "$layer/layer.json"'
case_ 'disk of a layer gone' 10 'its layer is damaged: disk.qcow2 is missing' 'hurt 10; rm "$layer/disk.qcow2"'
case_ 'layer gone' 10 'its layer is gone' 'hurt 10; rm -r "$layer"'
case_ 'no cache from step 12' 12 '--no-cache-from' 'flags=(--no-cache-from 12)'
case_ 'no cache' 6 '--no-cache' 'flags=(--no-cache)'
case_ 'other base' 6 'parent changed (step 1)' 'make_base_variant "$top/base" kbase3 >&2; edit "s/^FROM kbase/FROM kbase3/"'
# by content: the image is another one, the file is the same; --require-cached may not look, a build may
case_ 'other image of --from, not looked at yet' 18 'what --from copies is not known yet' '"$KILN" image tag kbase3 kfrom >&2'
case_ 'other image of --from, same file' hit '' '"$KILN" image build --name keys . >&2'
mkdir "$top/from" && printf 'FROM kbase\nRUN echo NAME=Other >/etc/os-release\n' >"$top/from/Imagefile"
case_ 'the file of --from changed' 18 'what --from copies is not known yet' '"$KILN" image build --name kfrom "$top/from" >&2'
case_ 'base built again without the cache' 6 'parent changed (step 1)' '"$KILN" image build --no-cache --name kbase "$top/base" >&2'
echo "1..$n"
exit $failed
