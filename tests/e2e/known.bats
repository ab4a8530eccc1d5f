#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2154  # stderr comes from run
# Well-known images (images.d): names that stand for a cloud image, fetched from a server that has files and
# checksum files as the distributions' servers do.
bats_require_minimum_version 1.5.0

setup_file() {
  export FILES="$BATS_FILE_TMPDIR/files" KILN_HTTP_RETRY_MS=10
  unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY
  mkdir "$FILES"
  cd "$FILES" || return
  truncate -s 12M disk
  printf '\125\252' | dd of=disk bs=1 seek=510 conv=notrunc status=none
  dd if=/dev/urandom of=disk bs=64k seek=16 count=2 conv=notrunc status=none
  qemu-img convert -f raw -O qcow2 disk disk.qcow2
  qemu-img convert -f raw -O qcow2 -o compat=0.10 disk old.qcow2
  xz -k -1 disk.qcow2
  python3 -u -m http.server -b 127.0.0.1 -d "$FILES" 0 >"$BATS_FILE_TMPDIR/port" 2>/dev/null 3>&- &
  echo $! >"$BATS_FILE_TMPDIR/server"
  until grep -q port "$BATS_FILE_TMPDIR/port"; do kill -0 $! && sleep 0.05; done
  URL="http://127.0.0.1:$(sed 's/.* port \([0-9]*\).*/\1/' "$BATS_FILE_TMPDIR/port")"
  export URL
}

teardown_file() {
  kill "$(cat "$BATS_FILE_TMPDIR/server")"
}

setup() {
  export KILN_HOME="$BATS_TEST_TMPDIR/home" XDG_CONFIG_HOME="$BATS_TEST_TMPDIR/config"
  cd "$FILES" || return
}

# The image NAME has the content of the disk.
right() { "$KILN" image export "$1" --format raw - | cmp - "$FILES/disk"; }

# table NAME URL CHECKSUM USER: one more entry of the user's table.
table() {
  local t="$XDG_CONFIG_HOME/kiln/images.d/$1.json"
  mkdir -p "${t%/*}"
  printf '{"%s": {"title": "A %s", "url": "%s", "checksum": "%s", "user": "%s", "also": ["%s"]}}\n' \
    "$1" "$1" "$2" "$3" "$4" "${1/-/:}" >"$t"
}

@test "a name is enough, with the checksum file of each distribution" {
  local d=$FILES/mirror sum512 sum256
  mkdir -p "$d"
  cp disk.qcow2 "$d/the.qcow2"
  sum256=$(sha256sum disk.qcow2 | cut -d' ' -f1) sum512=$(sha512sum disk.qcow2 | cut -d' ' -f1)
  # Debian, Ubuntu, Fedora (signed, other images too), Rocky, openSUSE (names the build), Alpine (bare), Arch
  printf '%s  other.qcow2\n%s  the.qcow2\n' "${sum512//[0-9]/0}" "$sum512" >"$d/SHA512SUMS"
  printf '%s *other.img\n%s *the.qcow2\n' "${sum256//[0-9]/0}" "$sum256" >"$d/SHA256SUMS"
  printf '%s\n' '-----BEGIN PGP SIGNED MESSAGE-----' 'Hash: SHA256' '' '# the.qcow2: 5 bytes' "SHA256 (the.qcow2) = $sum256" \
    '# o: 6 bytes' "SHA256 (o) = ${sum256//[0-9]/0}" '-----BEGIN PGP SIGNATURE-----' iQ '-----END PGP SIGNATURE-----' >"$d/CHECKSUM"
  printf '%s  the-15.6.0-Build19.159.qcow2\n' "$sum256" >"$d/the.qcow2.sha256"
  printf %s "$sum512" >"$d/the.qcow2.sha512"
  printf '%s  the-20260101.1.qcow2\n' "$sum256" >"$d/the.qcow2.SHA256"
  local style n=0
  for style in SHA512SUMS SHA256SUMS CHECKSUM the.qcow2.sha256 the.qcow2.sha512 the.qcow2.SHA256; do
    table "dist-$((++n))" "$URL/mirror/the.qcow2" "$style" "user$n"
    run --separate-stderr "$KILN" image pull "dist-$n"
    echo "$stderr"
    [ "$status" -eq 0 ]
    right "dist-$n"
    [ "$("$KILN" image inspect --json "dist-$n" | jq -r '.labels["kiln.ssh-user"]')" = "user$n" ]
  done
  # what is wrong leaves nothing, and without the checksum file there is no image
  sed -i 's/[0-9a-f]\{8\} \*the/00000000 *the/' "$d/SHA256SUMS"
  table dist-8 "$URL/mirror/the.qcow2" SHA256SUMS user
  run ! "$KILN" image pull dist-8
  [[ "$output" == *"wrong checksum: expected sha256:"* ]]
  table dist-9 "$URL/mirror/the.qcow2" GONE user
  run ! "$KILN" image pull dist-9
  [[ "$output" == *"cannot read the checksum file"*404* ]]
  run ! "$KILN" run --pull=never dist-9
  [ "$("$KILN" image ls -q | wc -l)" -eq 6 ]
}

@test "FROM, run and create know them, the user's table wins, a name that is none" {
  table debian-12 "$URL/disk.qcow2.xz" "sha256:$(sha256sum disk.qcow2.xz | cut -d' ' -f1)" somebody
  local list
  list=$("$KILN" image pull --list --json | jq .images)
  [ "$(jq -r '.[] | select(.name == "debian-12") | "\(.user) \(.here) \(.url)"' <<<"$list")" = "somebody false $URL/disk.qcow2.xz" ]
  [ "$(jq 'map(select(.url | startswith("https://"))) | length' <<<"$list")" -ge 15 ]
  [ "$(jq -r 'map(select(.checksum == null or .user == null or .title == null)) | length' <<<"$list")" = 0 ]
  mkdir "$BATS_TEST_TMPDIR/b"
  printf 'FROM debian:12\nLABEL a=b\n' >"$BATS_TEST_TMPDIR/b/Imagefile"
  "$KILN" image check "$BATS_TEST_TMPDIR/b"
  "$KILN" image build -n b "$BATS_TEST_TMPDIR/b"
  right debian-12
  [ "$("$KILN" image inspect --json b | jq -c .labels)" = '{"a":"b","kiln.ssh-user":"somebody"}' ]
  run "$KILN" image pull --list
  [[ "$output" == *" debian-12 "*" somebody "*" yes "*"A debian-12"* ]]
  # what is here is used, also by another name
  [ "$("$KILN" image pull debian:12 2>&1)" = "Image 'debian:12' is in the backend already" ]
  # and fetched again where that is asked for
  local before
  before=$(stat -c %i "$KILN_HOME"/backend/debian%2D12)
  "$KILN" image pull --policy always debian:12
  [ "$(stat -c %i "$KILN_HOME"/backend/debian%2D12)" != "$before" ]
  [ "$("$KILN" image ls -q | sort | xargs)" = 'b debian-12' ]
  right debian-12
  "$KILN" create --name v debian:12
  [ "$(jq -r .spec.ssh.user "$KILN_HOME/vmstore/v/vm.json")" = somebody ]
  "$KILN" create --name w --ssh-user me b
  [ "$(jq -r .spec.ssh.user "$KILN_HOME/vmstore/w/vm.json")" = me ]
  local word
  for word in debian debain-11 docker.io/library/debian:latest; do
    run -1 "$KILN" run "$word"
    [[ "$output" == *"unable to find image '$word'"*"did you mean 'debian-1"[123]\'* ]]
  done
  # an image of before qcow2 version 3 gets the label, too
  table old "$URL/old.qcow2" "sha256:$(sha256sum old.qcow2 | cut -d' ' -f1)" root
  "$KILN" image pull old
  right old
  [ "$("$KILN" image inspect --json old | jq -r '.labels["kiln.ssh-user"]')" = root ]
  echo '{"x": {"url": "ftp://x"}}' >"$XDG_CONFIG_HOME/kiln/images.d/zz.json"
  run -1 "$KILN" image pull x
  [[ "$output" == *"/zz.json': image 'x': url is not an http or https URL or a path"* ]]
}
