#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The checks of `make lint` that are our own, and what make says when something is missing.

setup() {
  top=$PWD tools=$PWD/tools
  cd "$BATS_TEST_TMPDIR" || return
}

@test "check-layers refuses an include against the arrows, in nested folders too" {
  mkdir -p base top/low top/high
  printf 'base:\ntop/low: base\ntop/high: base top/low\n' >layers
  echo '#include "base/a.h"' | tee top/low/good.c >top/high/good.c
  echo '#include "top/low/a.h"' >>top/high/good.c
  "$tools/check-layers" layers top/low/good.c top/high/good.c

  printf '#include <stdio.h>\n  # include "top/high/a.h"\n' >top/low/bad.c
  run "$tools/check-layers" layers top/low/bad.c
  [ "$status" = 1 ]
  [ "$output" = 'top/low/bad.c:2: top/low/ must not include top/high/a.h' ]

  echo '#include "other/a.h"' >base/bad.c
  run "$tools/check-layers" layers base/bad.c
  [ "$status" = 1 ]
  [ "$output" = 'base/bad.c:1: other/a.h is in no folder of the table' ]

  printf 'base: top\ntop: base\n' >layers
  run "$tools/check-layers" layers base/bad.c
  [ "$status" = 1 ]
  [[ $output == *'base may include only folders of the lines before it: top' ]]
}

@test "check-examples refuses an example that does not compile" {
  mkdir base
  for h in alloc cleanup file process session; do : >base/$h.h; done
  example() { # LINE…
    printf '/* What it is for.\n *\n'
    printf ' *     %s\n' "$@"
    printf ' *\n *   a table, which is not compiled\n */\nint twice(int number);\n'
  }
  example '// given int k;' 'if (twice(k) < 0) ...' 'twice(2);    // note' >good.h
  run "$tools/check-examples" gcc -Wall -I. -- good.h
  [ "$status" = 0 ]
  [[ $output == *'1 headers, 1 examples, 0 do not compile' ]]

  example 'twice(1, 2);' >arguments.h
  example 'twice(number);' >undeclared.h
  example 'if (twice(1) < 0) ... then give up' >prose.h
  for name in arguments undeclared prose; do
    run "$tools/check-examples" gcc -Wall -I. -- good.h $name.h
    [ "$status" = 1 ]
    [[ $output == *"$name.h:3:"*' 1 do not compile' ]]
  done
}

@test "make names a library that is missing, and builds without scdoc" {
  run env PKG_CONFIG_LIBDIR=/nowhere PKG_CONFIG_PATH= make -C "$top" BUILD="$PWD/build" all
  [ "$status" = 2 ]
  [[ $output == *"pkg-config does not find: jansson "*"'tools/setup' installs"* ]]

  run make -C "$top" -n BUILD="$PWD/build" SCDOC= man
  [ "$status" = 0 ]
  [[ $output == *"no man pages: scdoc is missing"* ]]
}

@test "--version tells version and commit, with -v the libraries; --help names man pages that exist" {
  run "$KILN" --version
  [[ $output =~ ^kiln\ [0-9.]+(\ \([0-9a-f]+(-dirty)?\))?$ ]]
  for order in '--version -v' '-v --version'; do
    # shellcheck disable=SC2086
    run "$KILN" $order
    [ "$status" = 0 ]
    for word in 'kiln ' 'QEMU ' 'libarchive ' 'libbz2 ' 'libssh ' 'features '; do
      [[ $output == *"$word"* ]]
    done
  done
  "$KILN" --help | sed -n 's/^  \([a-z][a-z-]*\( [a-z]*\)\?\)  .*/\1/p' >commands
  [ "$(wc -l <commands)" -gt 20 ]
  while read -r -a command; do
    page=$("$KILN" "${command[@]}" --help | sed -n 's/^See also: man //p')
    echo "${command[*]}: $page"
    [ -e "$top/docs/man/$page.1.scd" ]
  done <commands
}
