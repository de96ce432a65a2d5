#!/usr/bin/env bash
# Installs what building, the lab and the tests need and this machine lacks: Debian packages by apt, and Rust if there is
# none. A Rust that is too old is left alone; says how to get a newer one then.
set -euo pipefail

# What is needed, and the package that has it.
NEEDS="
cc=build-essential make=make
dockerd=docker.io docker=docker.io ip=iproute2 nft=nftables iptables=iptables ethtool=ethtool
tcpdump=tcpdump iperf3=iperf3 valgrind=valgrind ps=procps unshare=util-linux ping=iputils-ping awk=mawk
squid=squid miniupnpd=miniupnpd-nftables conntrack=conntrack
"

main() {
  local packages
  packages=$(missing)
  if [ -n "$packages" ]; then install_packages $packages; fi
  packages=$(missing)
  [ -z "$packages" ] || die "still missing after apt-get install: what $packages has to offer"
  rust
}

# The packages of what is not there. An engine or a compiler from elsewhere is as good as Debian's.
missing() {
  local need
  {
    for need in $NEEDS; do
      command -v "${need%%=*}" >/dev/null || echo "${need#*=}"
    done
    # The lab's images are made of it, so it must run without libraries.
    command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1 || echo busybox-static
  } | sort -u | tr '\n' ' '
}

install_packages() {
  local policy=/usr/sbin/policy-rc.d
  [ "$(id -u)" = 0 ] || die "please run as root, or install: $*"
  command -v apt-get >/dev/null || die "no apt-get here: please install by hand what these Debian packages hold: $*"
  echo "prepare.sh: installing $*"
  # A lab has engines of its own: the machine's must not be started just because it was installed (invoke-rc.d(8)).
  if [ ! -e $policy ]; then
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
  fi
  apt-get -q update
  DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "$@"
}

rust() {
  local wanted have
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")
  PATH=$PATH:$HOME/.cargo/bin
  command -v cargo >/dev/null || install_rust
  have=$(cargo --version | awk '{ print $2 }')
  [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ] ||
    die "Rust $have is too old, $wanted is needed. To get it: $(how_to_get_rust)"
}

# Debian 12's own Rust is too old, so it comes from the Rust project, into the user's home.
install_rust() {
  command -v curl >/dev/null || install_packages curl ca-certificates
  echo "prepare.sh: installing Rust: $(how_to_get_rust)"
  curl -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt ||
    die "Rust is missing and could not be installed. To get it: $(how_to_get_rust)"
}

how_to_get_rust() {
  echo "apt-get install -y curl && curl -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt && . ~/.cargo/env"
}

die() {
  echo "prepare.sh: $*" >&2
  exit 1
}

main
