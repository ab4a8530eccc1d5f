#!/usr/bin/env bats
# prune, system df and system verify on a backend whose layers store_layers.py wrote.

bats_require_minimum_version 1.5.0

setup() {
  export KILN_HOME="$BATS_TEST_TMPDIR/home"
  backend="$KILN_HOME/backend"
  mkdir -p "$backend"
  make="$BATS_TEST_DIRNAME/store_layers.py"
  mapfile -t a < <("$make" "$backend" one "DISK 64 MB" "RUN a" "RUN b")
  mapfile -t b < <("$make" "$backend" - "DISK 64 MB" "RUN a" "RUN c" "RUN d")
}

number() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
layers() { find "$backend/.layers" -mindepth 1 -maxdepth 1 -type d ! -name .cwd | wc -l; }

@test "system df counts images, layers and what nothing needs" {
  run "$KILN" system df --json
  [ "$status" -eq 0 ]
  [ "$(number images <<<"$output")" -eq 1 ]
  [ "$(number layers <<<"$output")" -eq 5 ]
  [ "$(number damaged <<<"$output")" -eq 0 ]
  needed=$(number needed_bytes <<<"$output") unused=$(number unused_bytes <<<"$output")
  [ "$needed" -gt 0 ] && [ "$unused" -gt 0 ]
  [ $((needed + unused)) -eq "$(number layer_bytes <<<"$output")" ]
  run "$KILN" system df
  [[ "$output" == *"layers                5"* ]]
}

@test "prune without a limit keeps every layer a build could use" {
  run "$KILN" prune
  [ "$status" -eq 0 ]
  [[ "$output" == "removed 0 layers: "* ]]
  [ "$(layers)" -eq 5 ]
}

@test "a build that replaced an image's layers and failed costs a prune nothing" {
  # as `image build --no-cache` leaves it that fails after its first step
  mapfile -t new < <("$make" "$backend" - "DISK 65 MB")
  mkdir -p "$backend/.keys"
  echo "${new[0]}" >"$backend/.keys/$(number key <"$backend/.layers/${a[0]}/layer.json")"
  run "$KILN" prune
  [[ "$output" == "removed 0 layers: "* ]]
  [ "$(layers)" -eq 6 ]
  rm "$backend/one" # now nothing leads to the old ones
  run "$KILN" prune
  [[ "$output" == *"removed 5 layers: "* ]]
}

@test "prune sweeps what killed kilns left" {
  work="$KILN_HOME/cache/work"
  mkdir -p "$backend/.working/0123456789abcdef" "$work/fedcba9876543210"
  touch "$backend/.working/"{web.name,"${a[0]}.build",0123456789abcdef.lock} "$work/fedcba9876543210.lock"
  "$KILN" prune
  [ -z "$(ls -A "$backend/.working")" ]
  [ -z "$(ls -A "$work")" ]
}

@test "system verify says what mends a damaged base" {
  for source in file none; do
    qemu-img create -q -f qcow2 "$BATS_TEST_TMPDIR/disk.qcow2" 64M
    qemu-io -c 'write -q -P 7 1M 4M' "$BATS_TEST_TMPDIR/disk.qcow2" >/dev/null
    "$KILN" image pull --force "plain,file=$BATS_TEST_TMPDIR/disk.qcow2"
    [ $source = file ] || rm -r "$backend/.sources"
    mkdir -p "$BATS_TEST_TMPDIR/work"
    echo 'FROM plain' >"$BATS_TEST_TMPDIR/work/Imagefile"
    "$KILN" image build "$BATS_TEST_TMPDIR/work"
    base=$(dirname "$(grep -l '"FROM plain"' "$backend"/.layers/*/layer.json)")
    chmod 644 "$base/disk.qcow2"
    time=$(stat -c %y "$base/disk.qcow2") # bit rot does not change it
    printf x | dd of="$base/disk.qcow2" bs=1 seek=2000000 conv=notrunc status=none
    touch -d "$time" "$base/disk.qcow2"
    run "$KILN" system verify
    echo "$output"
    [ "$status" -eq 1 ]
    how='import --force FILE'
    [ $source = none ] || how='pull --force'
    [[ "$output" == *"it is the image 'plain': 'kiln image $how plain' and the next build repair it"* ]]
    [ $source = none ] || "$KILN" image pull --force plain
    [ $source = file ] || "$KILN" image import --force "$BATS_TEST_TMPDIR/disk.qcow2" plain
    "$KILN" image build "$BATS_TEST_TMPDIR/work"
    "$KILN" system verify
    "$KILN" image rm work
    "$KILN" prune --all
  done
}

@test "prune --all keeps what an image needs, and --dry-run keeps all" {
  run "$KILN" prune --all --dry-run
  [ "$status" -eq 0 ]
  [[ "$output" == *"RUN d"*"RUN c"*"would remove 2 layers: "* ]]
  [ "$(layers)" -eq 5 ]
  run "$KILN" prune --all --json
  [ "$(number layers <<<"$output")" -eq 2 ]
  [ "$(layers)" -eq 3 ]
  [ -d "$backend/.layers/${a[2]}" ] && [ ! -e "$backend/.layers/${b[3]}" ]
  rm "$backend/one"
  run "$KILN" prune --all
  [ "$(layers)" -eq 0 ]
}

@test "a cap is a cap, and says when images need more" {
  run "$KILN" prune --max-size 1K
  [ "$status" -eq 0 ]
  [[ "$output" == *"need more than --max-size"* ]]
  [ "$(layers)" -eq 3 ]
}

@test "an age removes only what is older" {
  touch "$backend/.layers/${b[3]}/layer.json"
  run "$KILN" prune --max-age 1d
  [[ "$output" == "removed 0 layers: "* ]] # everything old is below something young or needed
  run "$KILN" prune --max-age 0s
  [ "$(layers)" -ge 3 ]
}

@test "an image that can't be read stops a prune" {
  chmod 644 "$backend/one"
  printf '\0\0\0\11' | dd of="$backend/one" bs=1 seek=4 conv=notrunc status=none # no such version
  run "$KILN" prune --all
  [ "$status" -eq 1 ]
  [ "$(layers)" -eq 5 ]
}

@test "an image whose layers are damaged still keeps them, and stops no prune" {
  chmod 644 "$backend"/.layers/*/*
  truncate -s 100 "$backend/.layers/${a[2]}/disk.qcow2"
  echo '{}' >"$backend/.layers/${a[1]}/layer.json"
  run "$KILN" system df
  [ "$status" -eq 0 ]
  run "$KILN" prune --all
  [ "$status" -eq 0 ]
  [ -d "$backend/.layers/${a[0]}" ] && [ -d "$backend/.layers/${a[1]}" ] && [ -d "$backend/.layers/${a[2]}" ]
  [ "$(layers)" -eq 3 ]
}

@test "sizes and times are checked" {
  run "$KILN" prune --max-size '5 '
  [ "$status" -eq 2 ]
  run "$KILN" prune --max-age soon
  [ "$status" -eq 2 ]
}

@test "system verify finds an altered byte, names the image, and repairs what nothing needs" {
  run "$KILN" system verify
  [ "$status" -eq 0 ]
  [[ "$output" == "5 layers, "*": 0 damaged, 0 removed" ]]
  for id in "${a[2]}" "${b[2]}"; do
    chmod 644 "$backend/.layers/$id/disk.qcow2"
    printf x | dd of="$backend/.layers/$id/disk.qcow2" bs=1 seek=200000 conv=notrunc status=none
  done
  run "$KILN" system verify
  [ "$status" -eq 1 ]
  [[ "$output" == *"RUN b: the content of disk.qcow2 was altered"* ]]
  [[ "$output" == *"the image 'one' needs it: 'kiln image build --name one DIR' repairs it"* ]]
  [[ "$output" == *"3 damaged, 0 removed"* ]]
  run "$KILN" system verify --repair --json
  [ "$status" -eq 1 ]
  [ "$(number removed <<<"$output")" -eq 2 ] # c, and d on it; b is the image's
  [ "$(layers)" -eq 3 ]
}

# Files that kiln keeps beside layers, each a little younger than the one before.
other_files() {
  local c=$KILN_HOME/cache i=0 f
  mkdir -p "$c/remote" "$c/context" "$c/inspect" "$c/digests" "$backend/.builds"
  hex=$(printf url | sha256sum); hex=${hex%% *}
  others=("$c/context/a.idx" "$c/inspect/b.json" "$c/digests/c" "$c/remote/$hex"
    "$backend/.builds/gone.json" "$backend/.builds/one.json" "$c/context/a.idx.12.tmp")
  for f in "${others[@]}"; do
    head -c 20000 /dev/zero >"$f"
    touch -d "@$((1690000000 + ++i))" "$f" # all older than the layers
  done
  record=$c/remote/record.json
  echo "{\"digest\": \"$hex\"}" >"$record"
  touch -d "@1700000003" "$record" # the download was used when the image's layers were
  kept=$backend/.builds/one.json
}

@test "prune and df know the files beside the layers; the least recently used go first" {
  other_files
  run "$KILN" system df --json
  [ "$(number download_bytes <<<"$output")" -ge 20000 ] && [ "$(number note_bytes <<<"$output")" -ge 80000 ]
  [ "$(number history_bytes <<<"$output")" -ge 20000 ] # of what has no image
  bytes=$(number layer_bytes <<<"$output")
  run "$KILN" system df
  [[ "$output" == *"downloads             1 "*"notes                 4 "*"old histories         1 "* ]]
  run "$KILN" prune
  [[ "$output" == "removed 0 layers: "* ]]
  ls "${others[@]}" "$record"
  # a cap that all layers and the download fit into
  run "$KILN" prune --json --max-size $((bytes + 30000))
  [ "$(number layers <<<"$output")" -eq 0 ] && [ "$(number files <<<"$output")" -eq 5 ]
  [ "$(number left <<<"$output")" -le $((bytes + 30000)) ]
  ls "${others[3]}" "$record" "$kept"
  # a cap that takes one layer: of the two that nothing needs the older one's child, then the
  # download, which was used before the other
  touch "$backend/.layers/${b[2]}/layer.json" "$backend/.layers/${b[3]}/layer.json"
  run "$KILN" prune --json --max-size $((bytes - 1))
  [ "$(number layers <<<"$output")" -eq 0 ] && [ "$(number files <<<"$output")" -eq 1 ]
  [ "$(cd "$KILN_HOME/cache" && find . -type f ! -name '*lock')" = "" ]
  ls "$kept"
}

@test "files beside the layers go by age and with --all, but not what an image has or is being written" {
  other_files
  touch "${others[0]}" "$record"
  run "$KILN" prune --max-age 1d --dry-run
  [[ "$output" == *"${others[1]}"*"would remove "*" layers and 4 other cached things: "* ]]
  ls "${others[@]}"
  run "$KILN" prune --max-age 1d
  ls "${others[0]}" "${others[3]}" "$record" "$kept"
  run ! ls "${others[1]}" "${others[2]}" "${others[4]}" "${others[6]}"
  touch "${others[6]}" # a file that somebody writes now
  run "$KILN" prune --all
  ls "$kept" "${others[6]}"
  run ! ls "${others[0]}" "${others[3]}" "$record"
}

@test "a copied backend is as good as the first" {
  cp -r "$backend" "$BATS_TEST_TMPDIR/copy"
  mv "$backend" "$backend.away"
  run "$KILN" system verify --image-backend "$BATS_TEST_TMPDIR/copy"
  [ "$status" -eq 0 ]
  [[ "$output" == "5 layers, "*": 0 damaged"* ]]
}

@test "a layer that a VM's disk stands on stays" {
  mkdir -p "$KILN_HOME/vmstore/web"
  qemu-img create -q -f qcow2 -u -F qcow2 -b "$backend/.layers/${b[3]}/disk.qcow2" \
    "$KILN_HOME/vmstore/web/disk.qcow2" 64M
  run "$KILN" prune --all
  [ "$status" -eq 0 ]
  [ "$(layers)" -eq 5 ]
}

@test "a build prunes to the limit first" {
  mkdir "$BATS_TEST_TMPDIR/empty"
  KILN_CACHE_MAX_SIZE=1K run "$KILN" image build "$BATS_TEST_TMPDIR/empty" # there is no Imagefile
  [ "$status" -ne 0 ]
  [[ "$output" == *"pruned 2 layers, "* ]]
  [ "$(layers)" -eq 3 ]
  KILN_CACHE_MAX_SIZE=much run "$KILN" image build "$BATS_TEST_TMPDIR/empty"
  [[ "$output" == *"KILN_CACHE_MAX_SIZE: 'much' is not a size"* ]]
}

# on SIZE ARGUMENT...: kiln on a terminal of that size.
on() {
  LC_ALL=C.UTF-8 NO_COLOR=1 run "$BATS_TEST_DIRNAME/screen.py" "$1" -- "$KILN" "${@:2}"
  echo "$output"
}

@test "image history --graph: the store's layers as a tree, with the images on them" {
  export LC_ALL=C.UTF-8
  run "$KILN" image history --graph
  echo "$output"
  [ "${#lines[@]}" = 6 ]
  [[ $output == *'KiB  ● DISK 64 MB'*'KiB  ● RUN a'*'KiB  ├─● RUN '?*'KiB  └─● RUN '* ]]
  [[ $output == *'● RUN b  [one]'* && $output == *'● RUN c'*'● RUN d'* ]]
  run "$KILN" image history --graph one
  [ "${#lines[@]}" = 4 ] && [[ $output != *'RUN c'* && $output != *─* ]]
  LC_ALL=C run "$KILN" image history --graph
  [[ $output == *'|-* RUN '*'`-* RUN '* ]]
  run "$KILN" image history --graph none
  [ "$status" = 1 ] && [[ $output == *"no image 'none'"* ]]
  run "$KILN" image history
  [ "$status" = 2 ]
  "$make" "$backend" wide "DISK 64 MB" "RUN $(printf 'x%.0s' {1..99})" >/dev/null
  on 40x20 image history --graph wide
  [[ $output == *'RUN xx'*'x…  [wide]'* ]]
}

@test "image history and system df fit the terminal" {
  "$make" "$backend" long "DISK 64 MB" "RUN $(printf 'x%.0s' {1..400})" >/dev/null
  local width
  for width in 30 50 80 200; do
    on "${width}x20" image history long
    [ "${#lines[@]}" = 4 ] # the last is the model's own
    [[ ${lines[2]} == *… && ${lines[0]} == *SECONDS* ]]
    ((width < 100)) || [[ ${lines[0]} == *KEY*AGE* ]]
  done
  run "$KILN" image history long
  [[ ${lines[2]} == *"$(printf 'x%.0s' {1..56})…" ]]
  on 80x20 system df
  [[ $output == *'layers '*'  ██'*'░'* ]]
  on 50x20 system df
  [[ $output != *█* ]]
  run "$KILN" system df
  [[ $output != *█* ]]
}
