#!/bin/sh
# Every committed corpus file must pass its fuzz target within 20 s of processor time: a crash or a hang fails.
n=0
for dir in tests/fuzz/corpus/*/; do
  [ -d "$dir" ] || continue
  name=$(basename "$dir") n=$((n + 1))
  if (ulimit -t 20; exec timeout 300 "$FUZZ_DIR/fuzz_$name" "$dir"*); then echo "ok $n - $name"; else echo "not ok $n - $name"; fi
done
echo "1..$n"
