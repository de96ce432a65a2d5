#!/usr/bin/env bash
# Installs what Debian and crates.io have of the programs that `compare` puts beside weave. None of them is needed: one
# that cannot be had is named, and the comparison goes on without it.
set -uo pipefail

DEBIAN="tinc openvpn n2n wireguard-go wireguard-tools nebula openssl"
CRATES="vpncloud@2.3.0"

main() {
  local package policy=/usr/sbin/policy-rc.d
  if [ "$(id -u)" != 0 ]; then
    echo "rivals.sh: not root, so none of these is installed: $DEBIAN"
  elif ! command -v apt-get >/dev/null; then
    echo "rivals.sh: no apt-get here, so none of these is installed: $DEBIAN"
  else
    # Being installed must not start a service on this machine (invoke-rc.d(8)).
    if [ ! -e $policy ]; then
      trap "rm -f $policy" EXIT
      printf '#!/bin/sh\nexit 101\n' >$policy
      chmod +x $policy
    fi
    apt-get -q update >/dev/null || echo "rivals.sh: apt-get update failed, going on with the lists there are"
    for package in $DEBIAN; do
      debian "$package"
    done
  fi
  PATH=$PATH:$HOME/.cargo/bin
  for package in $CRATES; do
    crate "$package"
  done
}

# One at a time: a package that is missing must not keep the others away.
debian() {
  local said
  if said=$(DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "$1" 2>&1); then
    echo "rivals.sh: $1 $(dpkg-query -W -f '${Version}' "$1") is installed"
  else
    echo "rivals.sh: $1 is not installed: $(echo "$said" | grep -m 1 '^E:' || echo "$said" | tail -n 1)"
  fi
}

crate() {
  local name=${1%@*} version=${1#*@} said
  if command -v "$name" >/dev/null; then
    echo "rivals.sh: $name is installed"
  elif ! command -v cargo >/dev/null; then
    echo "rivals.sh: $name is not installed: cargo is missing, lab/prepare.sh installs it"
  elif said=$(cargo install --quiet --locked --version "$version" "$name" 2>&1); then
    echo "rivals.sh: $name $version is installed"
  else
    echo "rivals.sh: $name is not installed: $(echo "$said" | grep -m 1 '^error' || echo "$said" | tail -n 1)"
  fi
}

main
