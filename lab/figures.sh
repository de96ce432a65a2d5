#!/usr/bin/env bash
# What weave costs on this machine: time to be ready, time to the first answer, memory, throughput over each transport
# beside no overlay at all. Two hosts share the machine's processors, so the figures compare, they do not boast.
#
#   figures.sh [SECONDS]     how long each throughput is measured, default 5
set -euo pipefail

LAB=weave-figures-$$ LAB_OWNER=$$
export LAB LAB_OWNER
cd "$(dirname "$0")"
WEAVE_BIN=$(readlink -f "${WEAVE_BIN:-../target/release/weave}")
export PATH=${WEAVE_BIN%/*}:$PATH
SECONDS_EACH=${1:-5}

main() {
  trap './hosts.sh down' EXIT
  ./hosts.sh up 2
  ./hosts.sh docker 1
  ./hosts.sh docker 2
  echo "$(nproc) processors: $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r)"
  ./hosts.sh exec 1 iperf3 --server --daemon --pidfile /run/iperf3.pid
  row "no overlay, TCP" "$(throughput ./hosts.sh exec 2 iperf3 --client 198.18.0.1)"
  for transport in udp tls; do
    over $transport
  done
}

over() {
  local transport=$1 start ready server
  start=$(now)
  on 1 weave launch --transport "$transport" >/dev/null
  ready=$(($(now) - start))
  on 2 weave launch --transport "$transport" >/dev/null
  row "$transport: launch to ready" "$ready ms"
  on 1 weave run 10.9.0.1/24 -ti --name box busybox:lab sh >/dev/null
  on 2 weave run 10.9.0.2/24 -ti --name box busybox:lab sh >/dev/null
  sleep 3
  row "$transport: resident memory, idle" "$(on 1 sh -c 'sed -n "s/^VmRSS:\s*//p" /proc/$(cat /run/weave/weave.pid)/status')"

  start=$(now)
  on 2 weave connect 198.18.0.1
  until on 2 docker exec box ping -c 1 -W 1 10.9.0.1 >/dev/null; do :; done
  row "$transport: connect to first ping" "$(($(now) - start)) ms"
  until on 2 weave status connections | grep -q "established.*$transport"; do sleep 0.1; done

  on 1 nsenter --net=/proc/"$(container_process 1)"/ns/net iperf3 --server --daemon --one-off
  server="on 2 nsenter --net=/proc/$(container_process 2)/ns/net iperf3 --client 10.9.0.1"
  row "$transport: TCP between containers" "$(throughput $server)"
  row "$transport: round trip" "$(on 2 docker exec box ping -c 50 -i 0.02 -q 10.9.0.1 | sed -n 's/.*= //p')"
  row "$transport: resident memory, after" "$(on 1 sh -c 'sed -n "s/^VmRSS:\s*//p" /proc/$(cat /run/weave/weave.pid)/status')"
  for k in 1 2; do
    on $k docker rm --force box >/dev/null
    on $k weave reset
  done
}

throughput() {
  "$@" --time "$SECONDS_EACH" --json | awk '
    /"sum_received"/ { here = 1 }
    here && /"bits_per_second"/ { printf "%.2f Gbit/s", $2 / 1e9; exit }'
}

container_process() { on "$1" docker inspect -f '{{.State.Pid}}' box; }
on() { ./hosts.sh exec "$@"; }
now() { echo $(($(date +%s%N) / 1000000)); }
row() { printf '%-36s %s\n' "$1" "$2"; }

main
