#!/usr/bin/env bash
# Several Linux hosts on one machine, each with a Docker Engine of its own, joined by one switch.
#
#   hosts.sh up N [plain]    make N hosts; `plain` turns every segmentation offload of the underlay off, so that
#                            only packets of at most 1514 bytes cross it
#   hosts.sh docker K        start the Docker Engine of host K and give it the images busybox:lab and web:lab
#   hosts.sh exec K CMD...   run CMD on host K; K = 0 is the machine on the far side of the switch, 198.18.0.254
#   hosts.sh status          show the hosts of this lab
#   hosts.sh down            end what was started and remove what was made; also right after a crash, and twice
#
# Host K is named hostK and has 198.18.0.K/24 (RFC 2544) and fd00:198:18::K/64 (RFC 4193) on eth0. It sees the
# machine's files, but its /run, /var/lib, /etc/hosts, /etc/resolv.conf and machine-id are its own and start empty.
#
# Variables: LAB names the lab, so that several can coexist (default weave-lab); LAB_OWNER is a process id: when
# that process is gone the lab takes itself down; TMPDIR is where the lab keeps its state (default /tmp).
#
# How it holds together: a lab is a PID namespace and every host is a PID namespace inside it. Network, mount and
# other namespaces live only as long as these processes. So ending one process ends every daemon, container,
# interface and mount, however badly they behave, and no name is left in /run/netns. Only the control groups that
# Docker makes have to be removed by hand.
set -euo pipefail

LAB=${LAB:-weave-lab}
STATE=${TMPDIR:-/tmp}/$LAB
SELF=$(readlink -f "${BASH_SOURCE[0]}")

main() {
  case ${1:-} in
    up | docker | exec | status | down) ;;
    _switch | _host) "${@}"; return ;; # process 1 of the lab, process 1 of a host
    *) sed -n '2,/^$/{s/^# \{0,1\}//;p}' "$SELF" | sed '/^set /,$d' >&2; exit 2 ;;
  esac
  [ "$(id -u)" = 0 ] || die "a lab needs root: namespaces, mounts and dockerd do"
  case $LAB in *[!A-Za-z0-9_-]*) die "LAB=$LAB: use letters, digits, - and _" ;; esac
  case $STATE in /run/* | /var/lib/*) die "TMPDIR must not be under /run or /var/lib: hosts have their own" ;; esac
  "cmd_$1" "${@:2}"
}

cmd_up() {
  local n=${1:-} mode=${2:-offload} k tool
  case $n in '' | *[!0-9]*) die "up: how many hosts? say a number, as in: up 2" ;; esac
  [ "$n" -ge 1 ] && [ "$n" -le 250 ] || die "up: $n hosts do not fit into 198.18.0.0/24, use 1 to 250"
  case $mode in offload | plain) ;; *) die "up: unknown kind of underlay '$mode', use plain or nothing" ;; esac
  for tool in ip unshare nsenter ethtool; do
    command -v $tool >/dev/null || die "$tool is missing: lab/prepare.sh installs what a lab needs"
  done
  if pid_of switch >/dev/null; then die "a lab named $LAB is up already: take it down, or choose another LAB"; fi
  cmd_down # what a crash left
  mkdir -p "$STATE"
  trap cmd_down EXIT # half a lab is of no use

  begin switch unshare --net --ipc --pid --fork bash "$SELF" _switch "${LAB_OWNER:-}"
  for k in $(seq "$n"); do
    begin "host$k" nsenter --target "$(pid_of switch)" --pid -- \
      unshare --net --mount --uts --ipc --pid --fork --propagation private bash "$SELF" _host "$k" "$n"
  done
  for k in $(seq "$n"); do
    wire "$k" "$mode"
  done
  trap - EXIT
}

# Connects host K to the switch.
wire() {
  local k=$1 mode=$2 off="tso off gso off gro off tx-udp-segmentation off"
  outside ip link add "port$k" master sw0 type veth peer name eth0 netns "$(pid_of "host$k")"
  outside ip link set "port$k" up
  # shellcheck disable=SC2086  # the list of features is words
  if [ "$mode" = plain ]; then
    outside ethtool -K "port$k" $off >/dev/null
    inside "$k" ethtool -K eth0 $off >/dev/null
  fi
  inside "$k" ip -batch - <<-EOF
	link set lo up
	addr add 198.18.0.$k/24 dev eth0
	addr add fd00:198:18::$k/64 dev eth0 nodad
	link set eth0 up
	route add default via 198.18.0.254
	EOF
}

cmd_docker() {
  local k=${1:-} log deadline
  known "$k"
  [ "$k" != 0 ] || die "docker: host 0 is only there to be reached, it has no Docker Engine"
  command -v dockerd >/dev/null || die "dockerd is missing: lab/prepare.sh installs what a lab needs"
  log=$STATE/host$k/dockerd.log
  if ! inside "$k" docker version >/dev/null 2>&1; then
    # All it needs is said here, so that the machine's own /etc/docker/daemon.json has no say.
    echo '{}' >"$STATE/host$k/daemon.json"
    (
      close_fds
      inside "$k" setsid dockerd --config-file "$STATE/host$k/daemon.json" --log-level warn \
        --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$LAB/host$k" </dev/null >>"$log" 2>&1
    ) &
    deadline=$((SECONDS + 30))
    until inside "$k" docker version >/dev/null 2>&1; do
      kill -0 $! 2>/dev/null || { tail -n 5 "$log" >&2; die "dockerd on host $k ended: see $log"; }
      [ $SECONDS -lt $deadline ] || { tail -n 5 "$log" >&2; die "dockerd on host $k is not ready after 30 s: see $log"; }
      sleep 0.05
    done
  fi
  inside "$k" docker image inspect busybox:lab web:lab >/dev/null 2>&1 || images "$k"
}

# Images cannot be pulled in a lab: makes two from the machine's own busybox. web:lab has a command of its own, a
# web server on port 80 which tells on which container it runs.
images() {
  local k=$1 root=$STATE/host$k/image
  mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,etc,proc,root,sys,tmp,www}
  cp "$(command -v busybox || die "busybox is missing: lab/prepare.sh installs what a lab needs")" "$root/bin/busybox"
  chroot "$root" /bin/busybox --install -s || die "this busybox is not the static one: install busybox-static"
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  tar -C "$root" -c . | inside "$k" docker import - busybox:lab >/dev/null
  tar -C "$root" -c . | inside "$k" docker import \
    -c 'CMD ["/bin/sh", "-c", "hostname >/www/index.html; exec httpd -f -p 80 -h /www"]' - web:lab >/dev/null
  rm -r "$root"
}

cmd_exec() {
  local k=${1:-}
  known "$k"
  shift
  [ $# -gt 0 ] || die "exec: what shall host $k run?"
  if [ "$k" = 0 ]; then outside "$@"; else inside "$k" "$@"; fi
}

cmd_status() {
  local k engine
  pid_of switch >/dev/null || { echo "lab $LAB: down"; return; }
  echo "lab $LAB: up, state in $STATE"
  for k in $(ls "$STATE" | sed -n 's/^host\([0-9]*\)$/\1/p' | sort -n); do
    engine="no Docker Engine"
    if inside "$k" docker version >/dev/null 2>&1; then
      engine="Docker $(inside "$k" docker version --format '{{.Server.Version}}'), $(inside "$k" docker ps -q | wc -l) containers"
    fi
    echo "host$k: 198.18.0.$k, process $(pid_of "host$k"), $engine"
  done
}

cmd_down() {
  local pid
  if pid=$(pid_of switch); then
    kill -KILL "$pid" 2>/dev/null || true
    thaw
    while [ -e "/proc/$pid" ]; do sleep 0.02; done
  fi
  clean
}

# Version 1 of control groups keeps even a killed process from ending while its group is frozen: `docker pause`.
thaw() {
  find "/sys/fs/cgroup/freezer/$LAB" -name freezer.state -exec sh -c 'echo THAWED >"$1"' sh {} \; 2>/dev/null || true
}

# Removes what outlives the processes. A control group can be removed only once its last process has been reaped.
clean() {
  local groups try
  for try in $(seq 100); do
    groups=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "$LAB")
    [ -n "$groups" ] || break
    # shellcheck disable=SC2086  # names of control groups have no blanks
    find $groups -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
  done
  [ -z "$groups" ] || echo "hosts.sh: still busy after $try tries: $groups" >&2
  rm -rf "$STATE"
}

# ---- what runs inside -----------------------------------------------------------------------------------------

# Process 1 of the lab, in the network of the switch. /proc is still the machine's: the owner can be watched.
_switch() {
  local owner=${1:-}
  ip -batch - <<-EOF
	link set lo up
	link add sw0 type bridge
	addr add 198.18.0.254/24 dev sw0
	addr add fd00:198:18::fe/64 dev sw0 nodad
	link set sw0 up
	EOF
  ready switch
  if [ -z "$owner" ]; then reap; fi
  while [ -e "/proc/$owner" ]; do sleep 0.5; done
  kill -KILL -1 2>/dev/null || true # all in the lab but this one
  thaw
  clean
}

# Process 1 of host K.
_host() {
  local k=$1 n=$2 i outer_pid
  read -r outer_pid _ </proc/self/stat
  hostname "host$k"
  own_file /etc/hosts "127.0.0.1 localhost"$'\n'"$(for i in $(seq "$n"); do echo "198.18.0.$i host$i"; done)"
  # Nobody answers there, so that a name which is not in /etc/hosts fails at once.
  own_file /etc/resolv.conf "nameserver 127.0.0.1"
  own_file /etc/machine-id "$(tr -d - </proc/sys/kernel/random/uuid)"
  mount -t tmpfs -o mode=755 tmpfs /run
  mount -t tmpfs -o mode=755 tmpfs /var/lib
  mkdir -p /run/lock /run/docker
  own_sys
  mount -t proc proc /proc
  ready "host$k" "$outer_pid"
  reap
}

# Gives this host a file of its own in the place of FILE, if the machine has it.
own_file() {
  local file own
  file=$(readlink -m "$1")
  own=$STATE/host$k/${1##*/}
  echo "$2" >"$own"
  if [ -f "$file" ]; then mount --bind "$own" "$file"; fi
}

# Gives this host a /sys that shows its own interfaces. What is mounted below, such as control groups, stays.
own_sys() {
  local point last=none
  mkdir /run/sys
  mount -t sysfs sysfs /run/sys
  while read -r point; do
    case $point in "$last"/*) continue ;; esac # came along with the one above it
    mount --rbind "$point" "/run$point"
    last=$point
  done < <(awk '$5 ~ "^/sys/" { print $5 }' /proc/self/mountinfo | sort -u)
  mount --move /run/sys /sys
  rmdir /run/sys
}

# Publishes the process id, by the numbers of the machine, once set-up is done.
ready() {
  local pid=${2:-}
  [ -n "$pid" ] || read -r pid _ </proc/self/stat
  echo "$pid" >"$STATE/$1.new"
  mv "$STATE/$1.new" "$STATE/$1.pid"
}

# What process 1 is for: waits for ever and buries orphans (bash does so for any child).
reap() {
  while true; do
    sleep 1000000 &
    wait $! || true
  done
}

# ---- helpers --------------------------------------------------------------------------------------------------

# Starts a process 1 and waits until it is set up.
begin() {
  local name=$1 log=$STATE/$1.log try
  shift
  if [ "$name" != switch ]; then mkdir -p "$STATE/$name"; fi
  (
    close_fds
    setsid "$@" </dev/null >"$log" 2>&1 &
  )
  for try in $(seq 400); do
    [ -e "$STATE/$name.pid" ] && return
    sleep 0.025
  done
  cat "$log" >&2
  die "$name is not ready after $((try / 40)) s"
}

# The process 1 of a host or the switch. A number that another program uses by now does not count.
pid_of() {
  local pid words
  { read -r pid <"$STATE/$1.pid" && mapfile -d '' words <"/proc/$pid/cmdline"; } 2>/dev/null || return 1
  case "${words[*]}" in "bash $SELF _"*) echo "$pid" ;; *) return 1 ;; esac
}

# `env`: no setting of the caller's may lead the Docker CLI to another engine than the host's own.
inside() {
  local k=$1
  shift
  nsenter --target "$(pid_of "host$k")" --net --mount --uts --ipc --pid -- \
    env -u DOCKER_HOST -u DOCKER_CONTEXT DOCKER_CONFIG=/run/docker-cli "$@"
}

outside() {
  nsenter --target "$(pid_of switch)" --net -- "$@"
}

known() {
  if [ "$1" = 0 ]; then pid_of switch >/dev/null || die "lab $LAB is not up"; return; fi
  case $1 in '' | *[!0-9]*) die "which host? say its number" ;; esac
  pid_of "host$1" >/dev/null || die "lab $LAB has no running host $1"
}

# A daemon inherits every open descriptor, also a lock or a pipe somebody waits on.
close_fds() {
  local fd
  for fd in /proc/$BASHPID/fd/*; do
    fd=${fd##*/}
    if [ "$fd" -gt 2 ] && [ "$fd" != 255 ]; then eval "exec $fd>&-"; fi
  done
}

die() {
  echo "hosts.sh: $*" >&2
  exit 1
}

main "$@"
