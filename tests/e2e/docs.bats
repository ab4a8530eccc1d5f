#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The manuals: their commands do what stands there, and the page that is made of them holds together.
load common

@test "the tutorial's commands print what stands in it" {
  cd "$BATS_TEST_TMPDIR" || return
  export KILN_HOME="$PWD/home" KILN_ACCEL=${KILN_ACCEL:-tcg} PATH="$PWD/build/plain:$PATH"
  unset SSH_AUTH_SOCK
  share_appliance "$KILN_HOME"
  mkdir -p build/plain
  ln -s "$KILN" build/plain/kiln
  cp -r "$BATS_TEST_DIRNAME/../../examples" .
  rm -f examples/tiny/rootfs.tar
  # a port that nobody has, in place of 8080
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  sed "s/\b8080\b/$port/" "$BATS_TEST_DIRNAME/../../docs/tutorial.md" >tutorial.md
  run timeout 500 "$BATS_TEST_DIRNAME/manual.py" tutorial.md
  kiln rm -f site >/dev/null 2>&1 || true
  echo "$output"
  [ "$status" = 0 ]
  [[ $output == 1..4[0-9]$'\n'* ]]
  no_leftovers "$KILN_HOME"
}

@test "every command and option in the manuals exists" {
  cd "$BATS_TEST_DIRNAME/../.." || return
  run python3 - "$KILN" README.md docs/*.md <<'END'
import re, subprocess, sys
kiln, files = sys.argv[1], sys.argv[2:]
help_of = {}


def help_text(words):
    key = " ".join(words)
    if key not in help_of:
        done = subprocess.run([kiln, *words, "--help"], capture_output=True, text=True)
        help_of[key] = done.stdout if done.returncode == 0 and done.stdout.startswith("Usage: kiln ") else None
    return help_of[key]


for file in files:
    text = open(file, encoding="utf-8").read()
    seen = re.findall(r"(?:^ {4}|^\$ |`|run: |^ +- |\$ )kiln ([^`\n]*)", text, re.M)
    assert seen or "ARCHITECTURE" in file or "BENCHMARKS" in file, file
    for command in seen:
        words = command.split(" # ")[0].replace("\\|", "|").split()
        if not words or words[0].startswith("-") or not words[0].isalpha() or not words[0].islower():
            continue
        names = words[:2] if words[0] in ("image", "system", "libvirt") and len(words) > 1 else words[:1]
        for name in names[-1].split("/"):
            text_of = help_text(names[:-1] + [name])
            if names[-1] in ("version", "COMMAND") or text_of:
                continue
            print(f"{file}: there is no 'kiln {' '.join(names)}'")
        options = text_of or ""
        for word in words[len(names):]:
            if word == "--":
                break
            option = re.match(r"--[a-z-]+", word)
            if option and not re.search(rf"{option[0]}\b", options):
                print(f"{file}: 'kiln {' '.join(names)}' has no {option[0]}")
END
  echo "$output"
  [ "$status" = 0 ] && [ -z "$output" ]
}

@test "make docs: one page in which every link leads somewhere, also in a browser" {
  cd "$BATS_TEST_DIRNAME/../.." || return
  tools/manual "$BATS_TEST_TMPDIR/page/kiln.html"
  python3 - "$BATS_TEST_TMPDIR/page/kiln.html" <<'END'
import html.parser, os, sys
page = sys.argv[1]
VOID = "meta link br hr img col input wbr".split()


class Page(html.parser.HTMLParser):
    open_tags, ids, links = [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs: self.ids.append(attrs["id"])
        self.links += [attrs[name] for name in ("href", "src") if name in attrs]
        if tag not in VOID: self.open_tags.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID: self.open_tags.pop()

    def handle_endtag(self, tag):
        while self.open_tags[-1] in ("p", "li", "dt", "dd") and self.open_tags[-1] != tag: self.open_tags.pop()
        assert self.open_tags.pop() == tag, (tag, self.getpos())


p = Page()
p.feed(open(page, encoding="utf-8").read())
assert not p.open_tags, p.open_tags
assert len(set(p.ids)) == len(p.ids), [i for i in p.ids if p.ids.count(i) > 1]
for link in p.links:
    if link.startswith("#"):
        assert link[1:] in p.ids, link
    elif ":" not in link:
        assert os.path.exists(os.path.join(os.path.dirname(page), link.split("#")[0])), link
assert sum(link.startswith("#") for link in p.links) > 55
END
  # what a browser makes of it: on a phone's width nothing but code and tables is wider, and pictures are there
  cp "$BATS_TEST_TMPDIR/page/kiln.html" "$BATS_TEST_TMPDIR/page/test.html"
  cat >>"$BATS_TEST_TMPDIR/page/test.html" <<'END'
<script>addEventListener("load", () => {
  let bad = [...document.querySelectorAll("a[href^='#']")].filter(a => !document.getElementById(a.hash.slice(1))).map(a => a.hash);
  bad.push(...[...document.images].filter(i => !i.naturalWidth).map(i => i.src));
  bad.push(...[...document.querySelectorAll("p,li,h1,h2,pre")].filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest("table"))
    .map(e => "too wide: " + e.textContent.slice(0, 60)));
  document.title = bad.length ? "BAD " + bad.join(" ") : "GOOD " + document.querySelectorAll("body > section").length;
});</script>
END
  run timeout 120 chromium-headless-shell --no-sandbox --disable-gpu --allow-file-access-from-files --window-size=400,800 \
    --virtual-time-budget=5000 --dump-dom "file://$BATS_TEST_TMPDIR/page/test.html"
  local title
  title=$(grep -o '<title>[A-Z][^<]*' <<<"$output" | tail -n 1)
  echo "$title"
  [[ $title == '<title>GOOD '[4-9][0-9] ]]
}
