#!/usr/bin/env bash
# Two hosts with seven containers in two subnets, joined by weave: first over UDP, then over TLS. Shows each command
# and what came back, checks what is expected, and ends with a table. Exit code 0: everything was as expected.
set -euo pipefail

LAB=weave-demo-$$ LAB_OWNER=$$
export LAB LAB_OWNER
cd "$(dirname "$0")"
WEAVE_BIN=$(readlink -f "${WEAVE_BIN:-../target/release/weave}")
export PATH=${WEAVE_BIN%/*}:$PATH

main() {
  [ -x "$WEAVE_BIN" ] || { echo "demo.sh: no program at $WEAVE_BIN: run make demo" >&2; exit 1; }
  trap './hosts.sh down' EXIT
  say "Two machines: host1 is 198.18.0.1, host2 is 198.18.0.2. Each has its own Docker Engine."
  ./hosts.sh up 2
  ./hosts.sh docker 1
  ./hosts.sh docker 2
  on 1 "ip -brief address show dev eth0"
  on 2 "docker version --format 'Docker {{.Server.Version}}'"
  story udp
  story tls
  summary
}

story() {
  TRANSPORT=$1
  say "Over ${TRANSPORT^^}: launch on both hosts"
  on 1 "weave launch --transport $TRANSPORT"
  check "launch on host1" "exit code 0" "exit code $CODE"
  on 2 "weave launch --transport $TRANSPORT"
  check "launch on host2" "exit code 0" "exit code $CODE"
  on 1 "ip -brief link show weave"
  check "host1 has a bridge named weave" "weave" "${OUT%% *}"
  on 1 "weave launch"
  check "a second launch is refused" "exit code 1" "exit code $CODE"

  say "Subnet A is 192.168.122.0/24, shells; subnet B is 192.168.123.0/24, web servers"
  container 1 cct1 192.168.122.1/24 -ti busybox:lab /bin/sh
  container 1 cct2 192.168.122.4/24 -ti busybox:lab /bin/sh
  container 1 cct3 192.168.123.2/24 web:lab
  container 2 cct1 192.168.122.2/24 -ti busybox:lab /bin/sh
  container 2 cct2 192.168.122.3/24 -ti busybox:lab /bin/sh
  container 2 cct3 192.168.123.4/24 web:lab
  container 2 cct4 192.168.123.3/24 web:lab
  on 1 "docker ps --format 'table {{.Names}}\t{{.Image}}\t{{.Status}}'"
  on 1 "docker exec cct1 ip -4 addr show dev ethwe"
  check "cct1 has 192.168.122.1/24 on ethwe" "192.168.122.1/24" "$(grep -o '192.168.122.1/24' <<<"$OUT" | head -n 1)"
  on 1 "weave ps"

  say "Join the two: one command on one of them"
  on 2 "weave connect 198.18.0.1"
  check "connect says nothing" "" "$OUT"
  wait_until 20 "joined"
  on 1 "weave status"
  on 1 "weave status peers"
  check "host1 knows two peers" 2 "$(peers 1)"
  check "host2 knows two peers" 2 "$(peers 2)"
  on 2 "weave status connections"
  check "frames go over $TRANSPORT" "$TRANSPORT" "$(grep -o -w "$TRANSPORT" <<<"$OUT" | head -n 1)"

  say "Test 1 to 3: within a subnet across hosts, and between subnets"
  ping_ok "Test 1: B.2 on host1 reaches B.4 on host2" 1 cct3 192.168.123.4
  ping_ok "Test 1: and back" 2 cct3 192.168.123.2
  ping_ok "Test 2: A.1 on host1 reaches A.3 on host2" 1 cct1 192.168.122.3
  ping_ok "Test 2: and back" 2 cct2 192.168.122.1
  ping_ok "A.1 reaches A.4 on the same host" 1 cct1 192.168.122.4
  ping_ok "B.4 reaches B.3 on the same host" 2 cct3 192.168.123.3
  ping_no "Test 3: A.1 does not reach B.4" 1 cct1 192.168.123.4
  ping_no "Test 3: nor does B.4 reach A.1" 2 cct3 192.168.122.1
  ping_no "A.1 does not reach B.2 on the same host" 1 cct1 192.168.123.2
  on 1 "docker exec cct3 wget -q -O - http://192.168.123.4/"
  check "the web server of B.4 answers B.2" "$(on_quietly 2 docker exec cct3 hostname)" "$OUT"

  say "A running container moves from A to B"
  container 1 mover 192.168.122.12/24 -ti busybox:lab /bin/sh
  ping_ok "A.12 reaches A.3" 1 mover 192.168.122.3
  on 1 "weave detach 192.168.122.12/24 mover"
  check "detach prints the address" "192.168.122.12" "$OUT"
  ping_no "A.12 is gone" 2 cct2 192.168.122.12
  on 1 "weave attach 192.168.123.12/24 mover"
  check "attach prints the address" "192.168.123.12" "$OUT"
  ping_ok "B.12 reaches B.4" 1 mover 192.168.123.4
  ping_no "B.12 does not reach A.3" 1 mover 192.168.122.3

  say "The host itself takes part"
  host_ping no "host1 does not reach A.3 yet" 192.168.122.3
  on 1 "weave expose 192.168.122.100/24"
  check "expose prints the address" "192.168.122.100" "$OUT"
  host_ping ok "host1 reaches A.3 on host2" 192.168.122.3
  host_ping no "host1 does not reach B.4" 192.168.123.4
  ping_ok "A.3 on host2 reaches host1" 2 cct2 192.168.122.100
  on 1 "weave hide 192.168.122.100/24"
  check "hide prints the address" "192.168.122.100" "$OUT"
  host_ping no "host1 does not reach A.3 any more" 192.168.122.3

  say "The router stops and comes back"
  on 1 "weave stop"
  ping_ok "A.1 reaches A.4 with the router down" 1 cct1 192.168.122.4
  ping_no "A.1 does not reach A.3 with the router down" 1 cct1 192.168.122.3
  on 1 "weave launch --transport $TRANSPORT --resume"
  ping_ok "A.1 reaches A.3 again" 1 cct1 192.168.122.3

  say "The end"
  for k in 1 2; do
    on $k "docker rm --force $(on_quietly $k docker ps --all --format '{{.Names}}' | xargs) >/dev/null"
    on $k "weave reset"
    check "reset on host$k leaves no bridge, no rules, no state" "" "$(leftovers $k)"
  done
}

# Starts a container with an address on the weave network.
container() {
  local k=$1 name=$2 address=$3 rest="${*:4}"
  case $rest in -*) rest="-ti --name $name ${rest#-ti }" ;; *) rest="--name $name $rest" ;; esac
  on "$k" "weave run $address $rest"
  check "run prints the id of $name on host$k" "$(on_quietly "$k" docker inspect -f '{{.Id}}' "$name")" "$OUT"
}

# Pings from a container. What should work may take a moment to begin to; what should not must not even once.
ping_ok() {
  wait_until 15 on_quietly "$2" docker exec "$3" ping -c 1 -W 1 "$4"
  ping_once "$@"
  check "$1" "answered" "$ANSWER"
}
ping_no() {
  ping_once "$@"
  check "$1" "no answer" "$ANSWER"
}
ping_once() {
  on "$2" "docker exec $3 ping -c 1 -W 1 $4 | grep -e from -e transmitted"
  case $OUT in *"bytes from"*) ANSWER="answered" ;; *) ANSWER="no answer" ;; esac
}

host_ping() {
  local expected="no answer"
  if [ "$1" = ok ]; then
    expected="answered"
    wait_until 15 on_quietly 1 ping -c 1 -W 1 "$3"
  fi
  on 1 "ping -c 1 -W 1 $3 | grep -e from -e transmitted"
  case $OUT in *"bytes from"*) ANSWER="answered" ;; *) ANSWER="no answer" ;; esac
  check "$2" "$expected" "$ANSWER"
}

joined() {
  [ "$(peers 1)" = 2 ] && [ "$(peers 2)" = 2 ] && ! on_quietly 2 weave status peers | grep -q pending &&
    on_quietly 2 weave status connections | grep -q -w "established .* $TRANSPORT"
}

# Peers are named at the beginning of a line, their connections are indented below.
peers() {
  on_quietly "$1" weave status peers | grep -c '^[0-9a-f][0-9a-f]:'
}

leftovers() {
  on_quietly "$1" sh -c '
    ip -brief link | grep -w weave
    nft list tables | grep weave
    ls -A /var/lib/weave /run/weave 2>/dev/null' | xargs
}

# ---- the machinery of telling ---------------------------------------------------------------------------------

say() { printf '\n--- %s\n' "$*"; }

# Runs a line of shell on a host, shows it and what it said; leaves OUT and CODE.
on() {
  echo "host$1# $2"
  CODE=0
  OUT=$(./hosts.sh exec "$1" bash -c "$2" 2>&1) || CODE=$?
  [ -z "$OUT" ] || sed 's/^/  /' <<<"$OUT"
}

on_quietly() {
  ./hosts.sh exec "$@" 2>/dev/null
}

wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null; do
    [ $SECONDS -lt $deadline ] || return 0 # the check that follows tells
    sleep 0.2
  done
}

TABLE=()
FAILED=0

check() {
  local ok=yes expected=${2:-nothing} got=${3:-nothing}
  if [ "$2" != "$3" ]; then
    ok=NO
    FAILED=$((FAILED + 1))
    echo "  !!! $1: expected: $expected; got: $got"
  fi
  TABLE+=("$TRANSPORT|$1|${expected:0:17}|$(tr '\n' ' ' <<<"${got:0:17}")|$ok")
}

summary() {
  local row
  say "Summary"
  {
    echo "transport|step|expected|got|ok"
    printf '%s\n' "${TABLE[@]}"
  } | while IFS='|' read -r a b c d e; do
    printf '%-9s  %-58s  %-17s  %-17s  %s\n' "$a" "$b" "$c" "$d" "$e"
  done
  if [ $FAILED = 0 ]; then
    echo "All ${#TABLE[@]} steps as expected, in $SECONDS s."
  else
    echo "$FAILED of ${#TABLE[@]} steps not as expected."
    exit 1
  fi
}

main
