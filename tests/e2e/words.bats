#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
bats_require_minimum_version 1.5.0
# What a user of docker types, and what is answered where kiln has no such thing.
load common

setup_file() {
  export KILN_HOME="$BATS_FILE_TMPDIR/home" KILN_ACCEL=tcg
  share_appliance "$KILN_HOME"
  make_base "$BATS_FILE_TMPDIR/base" base
}

setup() {
  cd "$BATS_TEST_TMPDIR" || return
}

# says STATUS TEXT ARGUMENT…: kiln's exit status, and what is in its output.
says() {
  local want=$1 text=$2
  shift 2
  run "$KILN" "$@"
  echo "kiln $*: $status: $output"
  [ "$status" = "$want" ] && [[ $output == *"$text"* ]]
}

@test "docker's commands are other names of kiln's, and the help shows them" {
  while read -r words name; do
    # shellcheck disable=SC2086  # words
    says 0 "Usage: kiln $name " ${words//_/ } --help
  done <<'END'
build image build
images image ls
rmi image rm
tag image tag
history image history
inspect image inspect
pull image pull
list ls
kill stop
attach console
info doctor
system_prune prune
builder_prune prune
image_list image ls
container_ls ls
END
  says 0 "also: build" --help
  says 0 "(also: images)" images --help
  says 0 "Usage: kiln image build" help build
  says 0 base images
  says 0 base images -q
  says 0 '"name": "base"' inspect base --json
  says 1 "none" kill none # with --kill
  says 0 "kiln 0" version
}

@test "what is misspelt or does not exist gets a sentence" {
  says 2 "did you mean 'kiln build'?" buidl .
  says 2 "did you mean 'kiln image ls'?" image lst
  says 2 "did you mean 'kiln image'?" imgae ls
  says 2 "'kiln tag OLD NEW'" image mv a b
  says 2 "'kiln tag OLD NEW'" image rename a b
  says 2 "did you mean 'kiln image history'?" image histroy
  says 2 "kiln image check" lint
  says 2 "'kiln run -d --name NAME IMAGE'" launch base
  says 2 "'kiln build', 'kiln run'" docker build .
  says 2 "--password-stdin" login -p secret localhost
  says 2 "DISK +10 GB" build --disk-size 20G .
  says 2 "kiln image export NAME FILE" export base -o x
  says 1 "argument --volume: cannot open 'nofolder'" run -v nofolder:/x base
  says 0 "would remove" prune -af -n
  says 2 "did you mean 'kiln help imagefile'?" help imagefle
  says 2 "'kiln ls' lists them" vm ls
  says 2 "starts its own builder VM" builder ls
  says 2 "--uefi boots by OVMF" run --firmware x base
  says 1 "it is the folder with the Imagefile" build nodir
  says 1 "git clone https://host/x.git" build https://host/x.git
  says 1 "curl -L https://host/x.tar.gz | kiln build -t NAME -" build https://host/x.tar.gz
  says 1 "'oci://nowhere' has no repository" image pull oci://nowhere
  says 2 "did you mean --name?" run --nme x
  says 2 "did you mean --help?" --halp
  says 1 "an image layout is written 'oci-layout:dir:1'" run oci:dir:1
  says 1 "'skopeo copy docker-daemon:app:1 oci:DIR:TAG' makes a layout" image pull docker-daemon:app:1
  says 1 "'skopeo copy containers-storage:app oci:DIR:TAG' makes a layout" create containers-storage:app
  says 1 "is written 'oci://ghcr.io/team/app:1'" image pull docker://ghcr.io/team/app:1
  says 1 "is written 'oci://localhost:5000/app'" run localhost:5000/app
  says 1 "did you mean 'base'?" run bsae
  says 1 "did you mean 'base'?" run base:latest
  says 1 "did you mean 'base'?" run docker.io/library/base
  says 2 "--volume FOLDER:/GUEST" run --mount type=bind,src=/a,dst=/b base
  says 2 "kiln exec NAME env" run -e A=B base
  says 2 "argument --tty: standard input is not a terminal" run -it base
  says 2 "'x' has no {{.FIELD}}" images --format x
  says 2 "NAME,file=FILE" create --name a --image disk.qcow2
  says 2 "NAME,http=URL" create --name a --image-url http://x/y
  says 2 "--disk-size 20GB" run --disk 20 base
  says 2 "--network tap,bridge=NAME" create base --bridge br0
  says 2 "kiln run -d --name NAME IMAGE" create --start base
  says 0 "NAME" ps -a --pid --ssh
  says 2 "'.:x' is not FOLDER:/GUEST[:ro]" run -v .:x base
  says 2 "'./a:' is not FOLDER:/GUEST[:ro]" create -v ./a: base
  says 2 "'/' is the guest's root folder" run -v .:/ base
  says 2 "'//.' is the guest's root folder" create -s .://.:ro base
  touch disk.qcow2
  says 1 "'kiln image import ./disk.qcow2 NAME'" image inspect ./disk.qcow2
  says 1 "'kiln image import disk.qcow2 NAME'" history disk.qcow2
  says 1 "'disk.qcow2' is a file here: write NAME,file=disk.qcow2" create disk.qcow2
  says 2 "--json" image inspect base --format x
  says 2 "kiln image flatten" build --squash .
  says 2 "kiln image export" save base
  says 2 "linux/amd64" build --platform linux/arm64 .
  says 2 "'host' is not default or none" build --network host .
}

@test "options of docker, packer, virt-builder and QEMU that kiln does not have get a sentence" {
  while IFS='|' read -r words text; do
    # shellcheck disable=SC2086  # words
    says 2 "$text" $words
  done <<'END'
build --cpuset-cpus 0 .|--cpus
build --security-opt x .|leave it out
build --size 20G .|DISK +10 GB
build --install nginx .|RUN apt-get update
build -var x=y .|--build-arg NAME=VALUE
build -force .|leave it out
build -on-error=ask .|did you mean --on-error?
build -target x .|did you mean --target?
build --network host .|leave it out
run -w /tmp base pwd|sh -c 'cd
run --env-file f base|kiln exec NAME env
run --platform linux/amd64 base|leave it out
run --gpus all base|vfio-pci
run --cap-add x base|may do anything there
run --network host base|10.0.2.2
run -m 512 -smp 2 base|--cpus 2
run -hda x.qcow2|-drive file=FILE
run -serial stdio base|stand at the end, after --
run -rm base|did you mean --rm?
create --cdrom x.iso base|-cdrom FILE
start --vnc x|-vnc :1
inspect -f x base|--json prints all
ps -l|--json has the time
ps -n3|--json has the time
ps -s|'kiln ls' shows
logs -t x|no times of its own
logs --since 1m x|no times of its own
cp -a x:/a .|a copy belongs to you
exec -d x true|setsid COMMAND
exec --env-file f x true|may be given several times
exec -e =x x true|'=x' has no name
run --stop-timeout 5 base|--shutdown-timeout
run --expose 80 base|EXPOSE in the Imagefile
run -c 2 base|how large the VM is
run --attach stdout base|'kiln console' joins
create -it base|'kiln start NAME' boots
stop -s KILL x|--kill
kill -s KILL x|--kill
restart -s 9 x|leave it out
rm -l x|a VM's disks go with it
rm --volumes x|a VM's disks go with it
wait --condition removed x|when the VMs have ended
commit -m text x y|an Imagefile that begins with FROM
attach --detach-keys x y|Ctrl-]
images --digests|--json has the id
history -q base|--format '{{.Layer}}'
-version|did you mean --version?
image -help|did you mean --help?
container prune|'kiln rm' removes them
cp -r dir vm:/tmp|leave it out
commit -m text vm image|LABEL
-D images|--verbose
--json images|'kiln images --json'
-H ssh://x images|kiln build --host
END
  says 0 "Usage: kiln run " container run --help
  says 1 "no VM 'none'" container kill none
  for words in 'logs --tail all none' 'stop --time 3 none' 'restart --time 3 none' 'start --attach -i none' 'exec -eA=b -w /srv none pwd'; do
    # shellcheck disable=SC2086
    says 1 "no VM 'none'" $words
  done
  says 0 NAME ps --no-trunc
  says 0 NAME images --no-trunc
  says 2 "'some' is not a whole number" logs --tail some none
  says 0 "Usage: kiln image build" build -ftarget -tforce -h # letters with their values
}

@test "a flag takes true and false, and the last one counts" {
  echo 'FROM base' >Imagefile
  [ "$("$KILN" build -t flags -q=true --rm=true --no-cache=0 .)" = flags ]
  says 0 "Built image 'flags'" build -t flags -q --quiet=FALSE --require-cached=1 .
  says 2 "argument --quiet: does not take a value" build -t flags --quiet=maybe .
  says 2 "argument --quiet: does not take a value" build -t flags --quiet= .
  says 2 "argument --name: expected one argument" build --name
}

@test "--cache-from and --cache-to are also written as docker writes them" {
  printf '%s\n' 'FROM base' 'RUN echo cached >/cached' >Imagefile
  says 0 "Built" build -t cached --cache-strict --cache-to type=local,dest=cache,compression=zstd,mode=max .
  [ -s cache/index.json ]
  "$KILN" rmi cached
  "$KILN" prune --all
  says 0 "(1 of 1 layers from the cache)" build -t cached --cache-strict --cache-from type=local,src=cache .
  KILN_CACHE_FROM='oci-layout:cache type=local,src=cache' KILN_CACHE_TO=type=local,dest=more says 0 "Built" build -t cached --cache-strict .
  [ -s more/index.json ]
  printf '%s\n' 'FROM base' 'RUN echo more >/more' >Imagefile
  says 1 "cannot talk to registry 'localhost:1'" build -t cached --cache-strict --cache-from type=registry,ref=localhost:1/a/b .
  says 1 "leave 'tag' out" build --cache-from type=registry,ref=localhost:1/a/b:tag .
  says 1 "no cache of type 'gha'" build --cache-from type=gha .
  says 1 "type=registry needs ref=" build --cache-to type=registry .
  says 1 "type=local needs src=" build --cache-from type=local .
  says 1 "only mode=min or mode=all" build --cache-to type=local,dest=x,mode=most .
}

@test "an image gets all of its names; files that can't be written are found before the build" {
  printf '%s\n' 'FROM base' 'RUN echo names >/names' >Imagefile
  says 1 "argument --output: '.' exists and is not a regular file" build -t one -o . .
  says 1 "argument --output: cannot write to '/nodir'" build -t one -o /nodir/x.raw .
  says 1 "argument --iidfile: cannot write to './nodir'" build -t one --iidfile ./nodir/id .
  says 1 "argument --metadata-file: '/dev/null' exists" build -t one --metadata-file /dev/null .
  says 1 "invalid image name ''" build -t one -t '' -t two .
  says 2 "only one with --local" build -t one -t two --local .
  says 2 "--cache-to: given twice" build --cache-to oci-layout:a --cache-to oci-layout:b .
  says 1 "not cached: first build" build -t one --require-cached . # none of them built anything
  says 0 "Built image 'team/two:1'" build -t one --tag two -t team/two:1 .
  [ "$("$KILN" images -q | grep -Fx -e one -e two -e team/two:1 | wc -l)" = 3 ]
  [ "$(for i in one two team/two:1; do "$KILN" inspect "$i" --json | jq -r .layer; done | sort -u | wc -l)" = 1 ]
  "$KILN" rmi one two team/two:1
}

@test "shell takes a command's words with and without --" {
  [ "$("$KILN" shell base echo a '$HOME  b')" = 'a $HOME  b' ]
  [ "$("$KILN" shell base -- echo -c x)" = '-c x' ]
  [ "$("$KILN" shell -u 0 base sh -c 'echo "$1"' sh -u)" = -u ]
  run -3 "$KILN" shell base sh -c 'exit 3'
}

@test "images are listed by name; endings of no disk, folders and steps that lack" {
  "$KILN" tag base base:2
  "$KILN" tag base other
  [ "$("$KILN" images -a -q base | tr '\n' ' ')" = 'base base:2 ' ]
  [ "$("$KILN" images -q 'o*r' base:2 | tr '\n' ' ')" = 'base:2 other ' ]
  [ "$("$KILN" images nosuch --json)" = '[]' ]
  says 2 "without NAME" images --remote localhost:1/x base
  "$KILN" rmi base:2 other
  for end in ova tar raw.gz qcow2.xz box iso; do
    says 2 "'x.$end' is none that kiln writes" export base "x.$end"
    says 2 "'x.$end' is none that kiln writes" build -o "x.$end" .
  done
  says 1 "write NAME,file=/x/y.qcow2" pull file:///x/y.qcow2
  says 1 "kiln fetches from http, https" pull ftp://localhost/x.qcow2
  says 1 "kiln help imagefile" build
  says 1 "kiln help imagefile" check
  says 1 "--file starts in the current folder" build -f nosuch
  echo 'FROM base' >Imagefile
  says 1 "'Imagefile' is a file
hint: give the directory" check Imagefile
  says 1 "build directory 'nodir' does not exist" check nodir
  touch x.pkr.hcl
  says 1 "docs/from-packer.md" build x.pkr.hcl
  says 2 "kiln image history base' lists the steps" image log base
  printf '%s\n' 'FROM base AS first' 'FROM base AS second' 'FROM fisrt' >Imagefile
  says 0 "the image 'fisrt' is not in the backend" check
  [[ $output == *"did you mean first?"* ]]
  says 2 "from-packer" packer build .
  says 2 "kiln stop \$(kiln ps -q)" stop -a
  says 2 "kiln run -d --name NAME IMAGE" create -d base
}

@test "an error about a file names its option; empty input and an empty list of known images" {
  says 1 "argument --config: cannot read 'none.toml'" run --config none.toml base
  says 1 "argument --cloud-init: 'none' does not exist" run --cloud-init none base
  echo '#cloud-config' >user-data
  says 1 "argument --network-config: 'none' does not exist" run --cloud-init user-data --network-config none base
  says 1 "argument --public-key: 'none' does not exist" create --name keyed --cloud-init - --public-key none base
  [ -z "$("$KILN" ls -q)" ]
  says 1 "standard input is empty" import - empty </dev/null
  mkdir lone
  cp "$KILN" lone/kiln
  HOME=$PWD run -0 env -u XDG_CONFIG_HOME lone/kiln pull --list
  [[ $output == *"kiln's images.d belongs in '$PWD/lone/share/kiln/images.d'"* ]]
}

@test "a share's mode as docker and podman write it" {
  mkdir src
  "$KILN" create --name shared -v ./src:/a:z -v ./src:/b:ro,Z -v "$PWD/src:/c:rw,cached" base
  [ "$("$KILN" ls --json | jq -c '[.[] | select(.name == "shared") | .spec.shares[] | [.guest, .read_only // false]]')" = \
    '[["/a",false],["/b",true],["/c",false]]' ]
  "$KILN" rm shared
  says 2 "is not FOLDER:/GUEST[:ro]" create -v ./src:/a:zz base
  says 2 "is not FOLDER:/GUEST[:ro]" create -v ./src:/a: base
  says 1 "mkdir -p data; volumes have no other names" create -v data:/a base
}

@test "a registry's address with another scheme" {
  for scheme in docker http https; do
    says 1 "write oci://HOST/REPOSITORY in place of $scheme://" push base "$scheme://localhost:1/a"
  done
}

@test "what is done is said, a VM's name is not taken for an image's, nor an image's for a VM's" {
  "$KILN" tag base second
  says 1 "no VM 'second'" exec second ls
  [[ $output == *"'second' is an image: 'kiln run -d --name second second' starts a VM of it, 'kiln rmi second' removes it"* ]]
  [ "$("$KILN" create --name vm second)" = "Created VM 'vm'" ]
  says 1 "'vm' is a VM: 'kiln start vm' boots it" run vm
  says 1 "'vm' is a VM: 'kiln start vm' boots it" create --name other vm
  says 1 "'vm' is a VM: 'kiln rm vm' removes it" rmi vm
  says 1 "'vm' is a VM: 'kiln ls --json'" inspect vm
  says 1 "'vm' is a VM: 'kiln commit vm IMAGE'" export vm x.qcow2
  says 1 "'vm' is a VM: 'kiln exec vm COMMAND'" shell vm -c ls
  says 1 "'vm' is a VM: 'kiln logs vm'" history vm
  says 1 "did you mean 'vm'?" ssh vmm
  says 1 "'base' is an image" stop base
  says 1 "'base' is an image" cp base:/x .
  [ "$("$KILN" rm vm)" = "Removed VM 'vm'" ]
  [ "$("$KILN" flatten second)" = "Flattened image 'second'" ]
  [ "$("$KILN" export second second.qcow2)" = "Exported image 'second' to 'second.qcow2'" ]
  "$KILN" export -q second - >again.qcow2
  cmp second.qcow2 again.qcow2
  [ "$("$KILN" rmi second)" = "Removed image 'second'" ]
  "$KILN" tag base second
  "$KILN" tag base third
  [ -z "$("$KILN" flatten --quiet second; "$KILN" export -q second second.qcow2; "$KILN" rmi -q second third)" ]
}

@test "a Dockerfile is built where there is no Imagefile; labels and files of the result" {
  printf '%s\n' 'FROM base' 'RUN echo hello >/greeting' >Dockerfile
  says 0 "no Imagefile here: using the Dockerfile" build -t web --label a=b --label c \
    --iidfile id --metadata-file meta.json --output type=raw,dest=web.raw -o web.vmdk --rm --load --platform linux/amd64 .
  layer=$("$KILN" inspect web --json | python3 -c 'import json, sys
i = json.load(sys.stdin)
assert i["labels"] == {"a": "b", "c": ""}, i["labels"]
print(i["layer"])')
  [ "$(cat id)" = "$layer" ]
  python3 -c 'import json, sys; m = json.load(open("meta.json")); assert (m["name"], m["layer"], m["steps"]) == ("web", sys.argv[1], 1), m' "$layer"
  [ "$(stat -c %s web.raw)" = $((64 << 20)) ]
  qemu-img info web.vmdk | grep -q 'file format: vmdk'
  printf '%s\n' 'FROM base' 'XX' >Imagefile
  says 1 "Imagefile:2:1: error" build .
  says 1 "Imagefile:2:1: error" build --check .
  says 2 "'oci' is not qcow2" build -o type=oci,dest=x .
  says 2 "has no dest=" build -o type=raw .
  for option in build-arg label; do
    for value in '' =x; do
      says 2 "argument --$option: '$value' has no name" build "--$option=$value" .
    done
  done
  says 2 "argument --build-arg: '' has no name" check --build-arg '' .
}

@test "standard input: an Imagefile, a tar archive as build directory" {
  printf '%s\n' 'FROM base' 'COPY a /' >Imagefile
  echo content >a
  tar cf - Imagefile a | says 0 "Built image 'tarred'" build -t tarred -
  tar czf - ./Imagefile ./a | says 0 "(1 of 1 layers from the cache)" build -t tarred -
  # what comes after the archive is read, or its writer would fail
  { tar cf - Imagefile a; head -c 1M /dev/zero && touch whole; } | says 0 "(1 of 1 layers from the cache)" build -t tarred -
  [ -e whole ]
  printf '%s\n' 'FROM base' 'RUN test ! -e /sys/class/net/eth0' 'RUN ! ip route | grep .' |
    says 0 "Built image 'text'" build -t text --network none -
  printf '%s\n' 'FROM base' 'COPY a /' 'XX' | says 1 "stdin:3:1: error" build -t x -f - .
  echo 'FROM base' >Imagefile
  says 1 "--build-context x: 'nodir' is neither a folder nor an image here" build -t x --build-context x=nodir .
  printf '%s\n' 'FROM base' 'COPY none /' | says 1 "stdin:2:6: error: COPY source 'none' was not found in 'standard input'" build -t x -
  printf '%s\n' 'FROM base' 'ADD docker-archve:x /' | says 1 "did you mean docker-archive:?" check -
  printf '%s\n' 'FROM base' $'COPY a\xc2\xa0/x /' | says 1 "there is a no-break space (U+00A0) in its name" check -
  printf '%s\n' 'FROM base' 'ARG X' | says 0 "[UnusedArg]" check -
  [ -z "$(printf '%s\n' 'FROM base' 'ARG X' | "$KILN" check --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=UnusedArg - 2>&1)" ]
  printf '%s\n' 'FROM base' 'ARG X' | says 1 "error: " build -t x --build-arg 'BUILDKIT_DOCKERFILE_CHECK=error=true' -
  says 1 "standard input is empty" build -t x - </dev/null
  says 1 "standard input is empty" check - </dev/null
  tar cf - a | says 1 "the archive on standard input has no Imagefile" build -t x -
  head -c 5000 /dev/urandom | says 1 "neither a tar archive nor an Imagefile" build -t x -
  echo 'FROM base' | says 2 "-t NAME" build -
  mkdir out
  python3 -c 'import io, tarfile, sys
t = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
i = tarfile.TarInfo("../out/x"); i.size = 1
t.addfile(i, io.BytesIO(b"x")); t.close()' | says 1 "cannot unpack standard input" build -t x -
  [ -z "$(ls out)" ]
  [ -z "$(ls -A "$KILN_HOME/cache/stdin" 2>/dev/null)" ]
}

@test "--no-cache-filter runs the steps of one stage" {
  printf '%s\n' 'FROM base AS one' 'RUN echo 1 >/1' 'FROM base' 'RUN echo 2 >/2' 'COPY --from=one /1 /' >Imagefile
  says 0 "Built image 'filter'" build -t filter .
  says 0 "step 2 missed: --no-cache-filter" build -t filter --no-cache-filter one .
  [[ "$output" == *"RUN echo 2 >/2 (cached)"* ]]
  says 1 "no stage 'oen'" build -t filter --no-cache-filter oen .
  [[ "$output" == *"did you mean one?"* ]]
}

@test "what only a container runs is kept as metadata; a stage without DISK holds files" {
  echo content >a
  printf '%s\n' 'ARG PORT=80' 'FROM scratch AS files' 'COPY a /dir/a' 'FROM files AS more' 'COPY a /b' \
    'FROM --platform=$BUILDPLATFORM base' 'ARG PORT' 'COPY --link --from=more / /all/' 'EXPOSE $PORT 53/udp' 'EXPOSE 80/tcp' \
    'CMD ["nginx", "-g", "x"]' 'ENTRYPOINT run it # all' 'VOLUME /data' "MAINTAINER O'Neil <o@example.org>" \
    'HEALTHCHECK --interval=5m CMD curl -f localhost' 'STOPSIGNAL SIGINT' \
    'RUN test "$(find /all | sort | tr "\n" " ")" = "/all /all/b /all/dir /all/dir/a "' 'LABEL kiln.ssh-user=admin' >Imagefile
  says 0 "note: EXPOSE is only kept in the image's metadata" build -t kept .
  "$KILN" inspect kept --json | python3 -c 'import json, sys
i = json.load(sys.stdin)
assert i["expose"] == ["80/tcp", "53/udp"], i["expose"]
assert i["cmd"] == ["nginx", "-g", "x"] and i["entrypoint"] == "run it # all", i
assert i["volumes"] == ["/data"] and i["stopsignal"] == "SIGINT", i
assert i["healthcheck"] == "--interval=5m CMD curl -f localhost", i
assert i["labels"] == {"maintainer": "O\x27Neil <o@example.org>", "kiln.ssh-user": "admin"}, i["labels"]'
  says 0 '["80/tcp", "53/udp"]' inspect kept
  echo 'FROM kept' | says 0 "Built" build -t heir -
  says 0 '"SIGINT"' inspect heir --json
  says 1 "error: CMD is only kept" build --strict .
  says 1 "error: CMD is only kept" check --strict .
  says 1 "exactly one DISK instruction" build --target more .
  printf '%s\n' 'FROM base' 'EXPOSE http' >Imagefile
  says 1 "invalid port 'http'" check .
  printf '%s\n' 'ARG P=linux/arm64' 'FROM --platform=$P base' >Imagefile
  says 1 "unsupported platform 'linux/arm64'" check .
}

@test "on a terminal a build says what comes next, in a pipe it does not" {
  echo 'FROM base' >Imagefile
  run script -qec "'$KILN' build -t next --progress tty ." /dev/null
  echo "$output"
  [[ "$output" == *"next: kiln run next"* ]]
  run "$KILN" build -t next .
  [[ "$output" == *"Built image 'next'"* ]]
  [[ "$output" != *next:* ]]
}

@test "images and VMs in a folder whose name is no UTF-8 are listed" {
  export KILN_HOME=$BATS_TEST_TMPDIR/$'odd\xff'
  mke2fs -q -t ext4 "$BATS_TEST_TMPDIR/disk.raw" 4M
  "$KILN" import "$BATS_TEST_TMPDIR/disk.raw" odd
  "$KILN" create --name v odd
  [ "$("$KILN" images -q) $("$KILN" ls -q)" = 'odd v' ]
  "$KILN" images --json | jq -e '.[0].path | endswith("/odd\\xff/backend/odd")'
  "$KILN" ls --json | jq -e '.[0].disk | endswith("/odd\\xff/vmstore/v/disk.qcow2")'
}

@test "lists are printed as --format says; what it does not know is an error that lists the fields" {
  local fields='fields are .Name, .VirtSize, .RealSize, .Modified, .Age, .Type, .Layer, .Path, .Repository, .Tag' words
  "$KILN" images -q | grep -vx base | xargs -r "$KILN" rmi --force # of the tests above
  "$KILN" tag base a-second-one
  run "$KILN" images --format '{{.Name}}\t{{ .TYPE }}\\t\n{{.virtsize}}{{json .Name}}'
  [ "$output" = $'a-second-one\tthin\\t\n64.00 MiB"a-second-one"\nbase\tthin\\t\n64.00 MiB"base"' ]
  run "$KILN" images --format 'table {{.Name}}\t{{.Size}}\t{{.Type}}'
  [[ ${lines[0]} = 'NAME          REAL SIZE  TYPE' && ${lines[1]} =~ ^a-second-one\ \ [0-9.]+\ .iB\ +thin$ && ${#lines[@]} = 3 ]]
  [ "$("$KILN" images --format 'table{{.Name}}' | head -1)" = NAME ]
  [ "$("$KILN" images --format table)" = "$("$KILN" images)" ]
  [ "$("$KILN" images --format '')" = "$("$KILN" images)" ]
  [ "$("$KILN" images --format json)" = "$("$KILN" images --json | jq -cS '.[]')" ]
  [ "$("$KILN" history base --format '{{.Step}} {{.Instruction}}' | head -2)" = $'1 FROM scratch\n2 DISK 64 MB MBR' ]
  [ "$("$KILN" history base --format '{{json .n}}' 2>&1 | head -1)" = "error: argument --format: there is no field '.n'" ]
  says 2 "there is no field '.Nmae'
hint: did you mean {{.Name}}? $fields" images --format '{{.Nmae}}'
  says 2 "there is no field '.Digest'
hint: $fields; --json prints all there is, for jq" images --format '{{.Digest}}:{{.Tag}}'
  "$KILN" tag base host:5000/a/b:1.2
  [ "$("$KILN" images --format '{{.Repository}} {{.Tag}}')" = $'a-second-one latest\nbase latest\nhost:5000/a/b 1.2' ]
  # as JSON, too, and in both ways to write that
  [ "$("$KILN" images --format '{{json .Repository}} {{json .Tag}}')" = $'"a-second-one" "latest"\n"base" "latest"\n"host:5000/a/b" "1.2"' ]
  [ "$("$KILN" images --format '{{.Tag | json}} {{ .Name|json }} {{json .Size}}' | tail -1)" = \
    "\"1.2\" \"host:5000/a/b:1.2\" $("$KILN" images --json | jq '.[2].real_size')" ]
  [ "$("$KILN" images --format '{{. | json}}')" = "$("$KILN" images --format json)" ]
  [[ $("$KILN" images --format '{{json .Age}} {{json .CreatedSince}}' | tail -1) =~ ^\"[0-9]+[smhd]\"\ \"[0-9]+[smhd]\"$ ]]
  says 2 "'{{json .Name | json}}' is not {{.FIELD}}" images --format '{{json .Name | json}}'
  says 2 "'{{| json}}' is not {{.FIELD}}" images --format '{{| json}}'
  "$KILN" rmi --quiet host:5000/a/b:1.2
  "$KILN" history base --format '{{json .}}' | jq -e '.n'
  [[ $("$KILN" history base --format '{{json .Comment}} {{json .CreatedSince}}' | tail -1) =~ ^\"\"\ \"[0-9]+[smhd]\"$ ]]
  run -0 "$KILN" history base --format '{{json .Seconds}}{{.Comment}}'
  [[ $output =~ [0-9]-$ && ! $output =~ \.[0-9]{4} ]]
  says 2 "'{{if .Name}}' is not {{.FIELD}}" images --format '{{if .Name}}x{{end}}'
  says 2 "'{{.}}' is not {{.FIELD}}" images --format '{{.}}'
  says 2 "'{{}}' is not {{.FIELD}}" images --format 'table {{}}'
  says 2 "'{{' without '}}' in '{{.Name'" images --format 'x {{.Name'
  says 2 "not with --json" images --format '{{.Name}}' --json
  says 2 "not with --quiet" ps -q --format '{{.Name}}'
  says 2 "did you mean {{.Name}}?" ls --format '{{.Nane}}' # also of an empty list
  says 2 "fields are .Name, .Image, .State, .PID" ps --format '{{.Command}}'
  # the help lists what the error lists
  for words in ps ls images 'history base'; do
    # shellcheck disable=SC2086  # words
    run -2 "$KILN" $words --format '{{.None}}'
    fields=${output#*fields are } fields=${fields%;*}
    [[ $("$KILN" ${words% *} --help | tr '\n' ' ' | tr -s ' ') == *"of --format are ${fields}"* ]]
  done
}
