#!/usr/bin/env bash
# Installs the programs that `compare` puts beside weave: from Debian, from crates.io, and one from its repository. None of
# them is needed: one that cannot be had is named, and the comparison goes on without it.
set -uo pipefail

DEBIAN="tinc openvpn n2n wireguard-go wireguard-tools nebula openssl"
# Of these Debian 13 has versions that are much faster than those of Debian 12, and run there. They go to /usr/local/bin.
NEWER="wireguard-go nebula"
CRATES="vpncloud@2.3.0"
# tinc's successor in Rust. Its programs are called `tincr` and `tincr-tinc` here, since tinc's are called the same.
TINCR=${TINCR:-https://github.com/Mic92/tincr}
TINCR_COMMIT=1ee2ad14

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
    newer
  fi
  PATH=$PATH:$HOME/.cargo/bin
  for package in $CRATES; do
    crate "$package"
  done
  successor
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

# With lists of its own, so that this machine's are not touched. What apt downloads it checks.
newer() {
  local package scratch said
  scratch=$(mktemp -d) || return
  mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
  echo "deb http://deb.debian.org/debian trixie main" >"$scratch/sources"
  local apt="apt-get -q -o Dir::Etc::SourceList=$scratch/sources -o Dir::Etc::SourceParts=- -o APT::Sandbox::User=root"
  apt="$apt -o Dir::State::Lists=$scratch/lists -o Dir::Cache=$scratch/cache"
  # shellcheck disable=SC2086  # the command is words
  if said=$(cd "$scratch" && $apt update 2>&1 && $apt download $NEWER 2>&1); then
    for package in $NEWER; do
      dpkg -x "$scratch/$package"_*.deb "$scratch/$package" &&
        install "$scratch/$package"/usr/bin/* /usr/local/bin/ &&
        echo "rivals.sh: $package $(basename "$scratch/$package"_*.deb | cut -d_ -f2) is in /usr/local/bin"
    done
  else
    echo "rivals.sh: no newer $NEWER: $(echo "$said" | grep -m 1 '^E:' || echo "$said" | tail -n 1)"
  fi
  rm -r "$scratch"
}

# For processors with AVX2, as its authors build it.
successor() {
  local root=$HOME/.cargo/tincr said
  if command -v tincr >/dev/null; then
    echo "rivals.sh: tincr is installed"
  elif said=$(RUSTFLAGS="-C target-cpu=x86-64-v3" cargo install --quiet --locked --root "$root" \
    --git "$TINCR" --rev $TINCR_COMMIT tincd tinc-tools 2>&1); then
    ln -sf "$root/bin/tincd" "$HOME/.cargo/bin/tincr"
    ln -sf "$root/bin/tinc" "$HOME/.cargo/bin/tincr-tinc"
    echo "rivals.sh: tincr $TINCR_COMMIT is installed"
  else
    echo "rivals.sh: tincr is not installed: $(echo "$said" | grep -m 1 '^error' || echo "$said" | tail -n 1)"
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
