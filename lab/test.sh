#!/usr/bin/env bash
# Runs every test and says how many there were. `make test` calls it, with the program built and in WEAVE_BIN.
set -euo pipefail
cd "$(dirname "$0")/.."
CARGO=${CARGO:-cargo}

if $CARGO nextest --version >/dev/null 2>&1; then
  $CARGO nextest run --workspace --locked
else
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  $CARGO test --workspace --lib --bins --tests --locked --no-fail-fast 2>&1 | tee "$log"
  awk '/^test result:/ { passed += $4; failed += $6 } END { print "tests run: " passed + failed ", passed: " passed }' "$log"
fi
$CARGO test --workspace --doc --locked
