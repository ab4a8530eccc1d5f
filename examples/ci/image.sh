#!/bin/sh
# Checks, builds, tests and pushes an image: what each recipe in this folder runs.
#
# Usage: image.sh DIR NAME [COMMAND [ARGUMENT...]]
#   DIR       the build directory
#   NAME      of the image
#   COMMAND   is run in a VM of it; its exit status is the job's. Without one the VM only has to boot to SSH.
#
# Environment:
#   KILN_CACHE_FROM, KILN_CACHE_TO   oci://HOST/REPOSITORY with layers of other jobs
#   PUSH_TO                          oci://HOST/REPOSITORY:TAG; without it nothing is pushed
#   PUSH_FORMAT                      layers (default), flat, containerdisk
#   TEST_TIMEOUT                     seconds that the test may take (default 600)
#   TEST_OPTIONS                     more options of `kiln run`, with blanks between them
set -eu
dir=$1 name=$2
shift 2
[ $# -gt 0 ] || set -- true

kiln image check "$dir"
kiln image build --tag "$name" "$dir"

# shellcheck disable=SC2086  # a list of options
kiln run --timeout "${TEST_TIMEOUT:-600}" --console "$name-console.log" ${TEST_OPTIONS:-} "$name" "$@" || {
  status=$?
  echo "The test ended with $status. The console's last lines:"
  tail -n 20 "$name-console.log" || true
  exit "$status"
} >&2

[ -z "${PUSH_TO:-}" ] || kiln image push --format "${PUSH_FORMAT:-layers}" "$name" "$PUSH_TO"
