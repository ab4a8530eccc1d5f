#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What a build looks like on a terminal. screen.py has the model of one.
load common

setup_file() {
  export KILN_HOME="$BATS_FILE_TMPDIR/home" KILN_ACCEL=tcg
  unset NO_COLOR CI
  export TERM=xterm
  share_appliance "$KILN_HOME"
  make_base "$BATS_FILE_TMPDIR/base" base
  printf 'FROM base\nRUN true\n' | "$KILN" build -t ready - # makes the builder VM's template
}

setup() {
  cd "$BATS_TEST_TMPDIR" || return
}

# screen SIZE [ACTION WHAT]... -- ARGUMENT...: kiln on a terminal of that size; $output is its screens.
screen() {
  local before=()
  while [ "$1" != -- ]; do
    before+=("$1")
    shift
  done
  shift
  run timeout 300 "$BATS_TEST_DIRNAME/screen.py" "${before[@]}" -- "$KILN" "$@"
  echo "$output"
}

@test "a line a step, the end of what the running one prints, at any width" {
  cat >Imagefile <<'END'
FROM base
ENV A=1
RUN echo first && \
    true
RUN echo hidden; for i in 1 2 3 4 5; do echo "line $i"; done; printf '日本語日本語日本語日本語\rwide 日本語日本語日本語 e\xcc\x81nd\n'; sleep 1000
END
  local below='.*\n(.*\n)*.*wide 日' # the whole frame is there
  local running="4/4  RUN.*… +[\\d.]+ s$below" # on one row: drawn for this width
  screen 80x24 until 'wide 日' resize 40x24 until "$running" cut 30x24 until "$running" \
    resize 90x12 until "4/4.{60}.*… +[\\d.]+ s$below" resize 60x5 until '4/4.{20,50}… +[\d.]+ s' send ^C -- image build -t live .
  [ "$status" = 130 ]
  # a line each for the steps, the running one with its seconds, and the last six lines below it
  local full=${output%%$'\n--'*}
  [[ $full == *'✓ 1/4  FROM base'*'✓ 2/4  ENV A=1'*'✓ 3/4  RUN echo first && true '*' s'*' 4/4  RUN echo hidden; for '*'… '*' s'* ]]
  [[ $full == *'│ line 1'*'│ line 5'*'│ wide 日'* && $full != *'│ hidden'* ]]
  # nothing is cut in the middle of a wide character, and no screen has a line twice or a line too long
  local text
  text=$(python3 - "$output" <<'END'
import sys, unicodedata
widths = [80, 40, 30, 90, 60, 60]
screens = sys.argv[1].split("\n--")
for width, screen in zip(widths, screens):
    for line in screen.split("\n"):
        used = sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)
        if used >= width: print("too long", width, line)
    if width != 60:
        for part in "1/4", "2/4", "3/4", "4/4", "│ line 1":
            if screen.count(part) != 1: print("not once", width, part)
END
)
  echo "$text"
  [ -z "$text" ]
  # interrupted: no output again, no error but the word
  local last=${output%$'\n--'*}
  last=${last##*$'\n--'}
  [[ $last == *'✗ 4/4'*interrupted*$'\n'interrupted* && $last != *│* ]]
}

@test "a step that fails: all that it printed, in its colours and without its tricks, and what to do" {
  cat >Imagefile <<'END'
FROM base
RUN seq 1 20; printf '10%%\r99%%\r\n\033[31mred\033[0m\n'; printf '\033]0;title\007\033[2J\033[5A\033Pq\033\\a\001b\n'; exit 3
END
  screen 100x40 -- image build -t broken .
  [ "$status" = 1 ]
  [[ $output == *'✗ 2/2  RUN seq 1 20;'*' failed  '*$'\n1\n2\n'*$'\n20\n99%\nred\na\\x01b\n'* ]]
  [[ $output != *$'\n10%'* ]]
  [[ $output == *'error: step 2 (RUN seq 1 20;'*'failed with exit status 3'*"hint: 'kiln image log broken failed'"* ]]
  run on_terminal "$KILN" image build -t broken .
  [[ $output == *$'\e[31mred\e[0m'* && $output != *$'\e]0'* && $output != *$'\e[2J'* ]]
  NO_COLOR=1 run on_terminal "$KILN" image build -t broken .
  [[ $output == *red* && ! $output =~ $'\e['[0-9\;]*m ]]
}

@test "the terminal is the shell's while --on-error=shell and INSPECT have it" {
  printf 'FROM base\nINSPECT\nRUN echo said; exit 4\n' >Imagefile
  screen 80x24 until 'INSPECT: a shell(.*\n)+.*[$#] ' send $'exit\r' until 'exit to end the build(.*\n)+.*[$#] ' \
    send $'echo typed-$((1+1))\r' until 'typed-2' send $'exit\r' -- image build --on-error=shell -t shells .
  [ "$status" = 1 ]
  [[ $output == *'✗ 3/3  RUN echo said; exit 4'*$'\nsaid\n'*'typed-2'*'failed with exit status 4'* ]]
}

@test "warnings stand above what changes, a cached build is lines with 'cached'" {
  printf 'FROM base\nENV A=1\nRUN echo ok\n' >Imagefile
  screen 80x24 -- image build -t two --build-arg nosuch=1 .
  [ "$status" = 0 ]
  [[ $output == *"warning: no ARG declares 'nosuch'"*'✓ 3/3  RUN echo ok '*"Built image 'two'"*'next: kiln run two'* ]]
  [[ $output != *missed* ]]
  screen 80x24 -- image build -t two .
  [[ $output == *'✓ 3/3  RUN echo ok '*' cached'* ]]
  printf 'FROM base\nENV A=1\nRUN echo changed\nRUN true\n' >Imagefile
  screen 80x24 -- image build -t two .
  [[ $output == *'✓ 3/4  RUN echo changed'*$'\n       missed: the instruction changed'* ]]
  [[ $output != *'parent changed'* ]]
  screen 80x24 -- image build -t two --no-cache-from 3 --explain .
  [[ $output == *'missed: --no-cache-from'* ]]
  # in another character set nothing of UTF-8 is drawn
  LC_ALL=POSIX screen 80x24 -- image build -t two .
  [[ $output == *'+ 3/4  RUN echo changed'* && $output != *✓* ]]
}

@test "off a terminal, on a dumb one, in CI and with -v a build is plain text" {
  printf 'FROM base\nRUN echo ok\n' >Imagefile
  "$KILN" image build -t plain . >/dev/null
  "$KILN" image build -t plain . | sed 's/in [0-9.]* s/in T/' >pipe
  printf '%s\n' 'Step 1/2 : FROM base' 'Step 2/2 : RUN echo ok (cached)' "Built image 'plain' in T (1 of 1 layers from the cache)" >want
  diff want pipe
  local setting
  for setting in TERM=dumb CI=true; do
    env "$setting" bash -c '. "$0/common.bash"; on_terminal "$@"' "$BATS_TEST_DIRNAME" "$KILN" image build -t plain . |
      sed 's/in [0-9.]* s/in T/; s/\r$//; /^$/d' >on
    diff want on
  done
  run on_terminal "$KILN" -v image build -t plain .
  [[ $output == *'Step 1/2 : FROM base'* ]]
}
