#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What `make install` and `make deb` bring: tables, completions, manuals; and what `make uninstall` leaves.
bats_require_minimum_version 1.5.0

setup_file() {
  export KILN_HOME="$BATS_FILE_TMPDIR/home" ROOT="$BATS_TEST_DIRNAME/../.."
  mkdir -p "$BATS_FILE_TMPDIR/bin" "$KILN_HOME/backend"
  ln -s "$KILN" "$BATS_FILE_TMPDIR/bin/kiln"
  export PATH="$BATS_FILE_TMPDIR/bin:$PATH"
  printf x >"$KILN_HOME/backend/apple"
}

@test "bash, zsh and fish complete commands, options and names" {
  cd "$BATS_TEST_TMPDIR"
  local shell
  for shell in bash zsh fish; do kiln completion $shell >k.$shell; done
  cat >try.bash <<'END'
. ./k.bash
for line in "im" "image bu" "build --no-cache-f" "image rm ap" "run ap" "system d" "libv" "libvirt d" "ci gitlab c"; do
  read -ra words <<<"kiln $line"
  COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1)) COMPREPLY=()
  _kiln kiln "${words[COMP_CWORD]}" "${words[COMP_CWORD - 1]}"
  echo "$line: ${COMPREPLY[*]}"
done
END
  run -0 bash try.bash
  [ "$output" = "im: image images import
image bu: build
build --no-cache-f: --no-cache-from --no-cache-filter
image rm ap: apple
run ap: apple
system d: df
libv: libvirt
libvirt d: define
ci gitlab c: cleanup config" ]
  run -0 fish -c 'source k.fish; complete -C"kiln image bu"; complete -C"kiln build --no-cache-fi"; complete -C"kiln image rm ap"; complete -C"kiln libv"; complete -C"kiln ci gitlab p"'
  [[ "$output" == *"build"*"Build an image"*"--no-cache-filter"*"apple"*$'\nlibvirt'*$'\nprepare\t'* ]]
  # zsh's own parts say what they were given
  cat >try.zsh <<'END'
compdef() { }
_describe() { print -l -- ${(P)2} }
_arguments() { print -l -- "$@" }
source ./k.zsh
words=(kiln image bu) CURRENT=3; _kiln
words=(kiln build --no) CURRENT=3; _kiln
words=(kiln ci gitlab p) CURRENT=4; _kiln
words=(kiln libvirt define --) CURRENT=4; _kiln
END
  run -0 zsh -f try.zsh
  [[ "$output" == *"build:Build an image from an Imagefile"*"*--no-cache-filter[Run the steps"*"prepare:Start a VM"*"*--connect["* ]]
  run -2 kiln completion tcsh
}

@test "install, and uninstall leaves nothing" {
  local dest="$BATS_TEST_TMPDIR/dest"
  make -C "$ROOT" DESTDIR="$dest" PREFIX=/usr install
  [ "$(env -u KILN_HOME HOME="$dest" "$dest/usr/bin/kiln" image pull --list | grep -c debian)" -ge 2 ]
  [ -s "$dest/usr/share/doc/kiln/examples/tiny/Imagefile" ]
  make -C "$ROOT" DESTDIR="$dest" PREFIX=/usr uninstall
  run -0 find "$dest" -type f
  [ -z "$output" ]
}

@test "the Debian package is clean and runs from where it was unpacked" {
  make -C "$ROOT" deb # with lintian
  dpkg-deb -x "$ROOT"/build/kiln_*_amd64.deb "$BATS_TEST_TMPDIR/x"
  cd "$BATS_TEST_TMPDIR/x/usr"
  [ "$(HOME=$PWD bin/kiln image pull --list | grep -c debian)" -ge 2 ]
  [ -s share/man/man1/kiln-image-pull.1.gz ] && [ -s share/bash-completion/completions/kiln ]
  [ -s share/zsh/vendor-completions/_kiln ] && [ -s share/fish/vendor_completions.d/kiln.fish ]
  dpkg-deb -f "$ROOT"/build/kiln_*_amd64.deb Depends >depends
  local package
  for package in libjansson4 libarchive13 libcurl4 libssh-4 libxml2 qemu-system-x86; do grep -qw "$package" depends; done
}

@test "libraries are loaded by what calls them, and a missing one is named" {
  cd "$BATS_TEST_TMPDIR"
  LD_DEBUG=files LD_DEBUG_OUTPUT=loaded "$KILN" image ls
  run -1 grep -l 'libarchive\|libcurl\|libssh\|libxml2' loaded.*
  mkdir lib
  touch lib/libcurl.so.4
  LD_LIBRARY_PATH=lib "$KILN" image ls
  LD_LIBRARY_PATH=lib run -127 "$KILN" image pull x,http=http://127.0.0.1:9/x
  [[ "$output" == *"error while loading shared libraries: lib/libcurl.so.4: "* ]]
}

# A copy-on-write copy of this Debian's root, so that dpkg, its database and what the package needs are real.
@test "the Debian package installs, works and goes, in a chroot" {
  local deb
  deb=$(echo "$ROOT"/build/kiln_*_amd64.deb)
  [ -e "$deb" ] || make -C "$ROOT" deb
  cp "$deb" "$BATS_TEST_TMPDIR/kiln.deb"
  cd "$BATS_TEST_TMPDIR"
  cat >inside <<'END'
set -eux
export HOME=/root KILN_ACCEL=tcg LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset KILN_HOME
files() { find /usr /etc /opt /var/lib /var/spool -xdev -path /var/lib/dpkg -prune -o -print | sort; }
files >/tmp/before
dpkg -i /tmp/kiln.deb
kiln --version
bash -c '. /usr/share/bash-completion/completions/kiln; complete -p kiln'
kiln doctor || true # the chroot may lack a kernel that can be read
kiln pull --list | grep '^ debian-12 '
test -s /usr/share/man/man1/kiln-image-build.1.gz
kiln image check /usr/share/doc/kiln/examples/uefi
printf '%s\n' 'FROM scratch' 'DISK 32 MB MBR' 'PARTITION 1 FORMAT ext4 MOUNT /' 'COPY hello /hello' >/tmp/Imagefile
kiln image check /tmp 2>&1 | grep "'hello' was not found"
dpkg -P kiln
files >/tmp/after
diff /tmp/before /tmp/after
echo ALL DONE
END
  cat >outside <<'END'
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" overlay "$1/root"
mount -t tmpfs tmpfs "$1/root/tmp"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
cp kiln.deb inside "$1/root/tmp"
exec chroot "$1/root" sh /tmp/inside
END
  mkdir fresh
  run timeout 300 unshare --mount --pid --fork sh outside "$PWD/fresh"
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == *"complete "*"-F _kiln kiln"*"qemu-system-x86_64, version "*"ALL DONE"* ]]
}
