//! The other programs: what they need, how they are told what to do. All run on the hosts without weave.

use std::fs;

use crate::hosts::installed;
use crate::results::Kind;
use crate::variant::{BARE, Plan, none_like};

/// Words that scripts of variants use.
pub(crate) const HELPERS: &str = r#"
# A network namespace with eth0 on a bridge: NAME BRIDGE MTU ADDRESS
container() {
  ip netns add "$1"
  ip link add "v$1" type veth peer name eth0 netns "$1"
  ip link set "v$1" mtu "$3" master "$2" up
  ip -n "$1" -batch - <<-EOF
	link set lo up
	link set eth0 mtu $3 up
	addr add $4/24 dev eth0
	route add 239.0.0.0/8 dev eth0
	EOF
}

# Runs a daemon, logging to the common folder: NAME COMMAND...
daemon() {
  log=$D/$1.$K.log
  shift
  setsid "$@" >"$log" 2>&1 </dev/null &
}

# Waits for something to be there: PATH
await() {
  for try in $(seq 50); do
    if [ -e "$1" ]; then return; fi
    sleep 0.1
  done
  echo "no $1 after 5 s: $(tail -n 2 "$log")" >&2
  exit 1
}

# Puts a TAP on a bridge of its own and a container beside it: NAME TAP MTU ADDRESS
switch() {
  await "/sys/class/net/$2"
  ip link add "b$1" type bridge
  ip link set "b$1" up
  ip link set "$2" mtu "$3" master "b$1" up
  container "$1" "b$1" "$3" "$4"
}
"#;

/// A program and what is known of it before it runs.
pub(crate) struct Rival {
    pub(crate) plan: Plan,
    /// All of these must be in PATH.
    needs: &'static [&'static str],
    /// Tells its version.
    pub(crate) version: &'static [&'static str],
}

impl Rival {
    /// Whether it can be measured here.
    pub(crate) fn installed(&self) -> bool {
        self.needs.iter().all(|program| installed(program)) && fs::metadata("/dev/net/tun").is_ok()
    }
}

/// All that we know how to run.
pub(crate) fn all() -> Vec<Rival> {
    vec![
        l2("tinc", "tincd", &["tincd"], &["tincd", "--version"], TINC),
        l2("tincr", "tincr", &["tincr", "tincr-tinc"], &["tincr", "--version"], TINCR),
        l2("vpncloud", "vpncloud", &["vpncloud"], &["vpncloud", "--version"], VPNCLOUD),
        l2("n2n", "edge", &["edge", "supernode"], &["edge", "-h"], N2N),
        l2("openvpn", "openvpn", &["openvpn", "openssl"], &["openvpn", "--version"], OPENVPN),
        l3(
            "wireguard-go",
            "wireguard-go",
            &["wireguard-go", "wg"],
            &["wireguard-go", "--version"],
            WIREGUARD,
        ),
        l3("nebula", "nebula", &["nebula", "nebula-cert"], &["nebula", "-version"], NEBULA),
    ]
}

/// What a rival's two scripts are made of.
struct Scripts {
    prepare: &'static str,
    start: &'static str,
    mtu: u32,
    network: &'static str,
}

type Names = &'static [&'static str];

fn l2(name: &'static str, daemon: &'static str, needs: Names, version: Names, scripts: Scripts) -> Rival {
    let mut rival = l3(name, daemon, needs, version, scripts);
    rival.plan.kind = Kind::RivalL2;
    rival.plan.namespace = Some(name.into());
    rival
}

fn l3(name: &'static str, daemon: &'static str, needs: Names, version: Names, scripts: Scripts) -> Rival {
    let plan = Plan {
        name: name.into(),
        kind: Kind::RivalL3,
        daemon: Some(daemon),
        mtu: Some(scripts.mtu),
        prepare: scripts.prepare.into(),
        start: scripts.start.into(),
        network: scripts.network.into(),
        ..none_like(BARE)
    };
    Rival { plan, needs, version }
}

/// Its own default cipher.
const TINC: Scripts = Scripts {
    prepare: r#"
for k in 1 2; do
  mkdir -p $D/$k/hosts
  printf 'Name = h%s\nMode = switch\nInterface = tinc\nAddressFamily = ipv4\n' $k >$D/$k/tinc.conf
  echo "Address = 198.18.0.$k" >$D/$k/hosts/h$k
  tincd -c $D/$k -K2048 </dev/null >/dev/null 2>&1
done
echo 'ConnectTo = h1' >>$D/2/tinc.conf
cp $D/1/hosts/h1 $D/2/hosts/
cp $D/2/hosts/h2 $D/1/hosts/
"#,
    start: "daemon tinc tincd -c $D/$K -D -d1 --pidfile=/run/tinc.pid\nswitch tinc tinc 1400 10.11.0.$K\n",
    mtu: 1400,
    network: "10.11.0",
};

/// With the fastest of its ciphers, which is not its default.
const TINCR: Scripts = Scripts {
    prepare: r#"
for k in 1 2; do
  tincr-tinc -c $D/$k init h$k >/dev/null 2>&1
  rm -f $D/$k/tinc-up
  printf 'Mode = switch\nDeviceType = tap\nInterface = tincr\nAddressFamily = ipv4\nPort = 656\nSPTPSCipher = aes-256-gcm\n' \
    >>$D/$k/tinc.conf
  echo "Address = 198.18.0.$k 656" >>$D/$k/hosts/h$k
done
echo 'ConnectTo = h1' >>$D/2/tinc.conf
cp $D/1/hosts/h1 $D/2/hosts/
cp $D/2/hosts/h2 $D/1/hosts/
"#,
    start: "daemon tincr tincr -c $D/$K -D --pidfile=/run/tincr.pid\nswitch tincr tincr 1400 10.17.0.$K\n",
    mtu: 1400,
    network: "10.17.0",
};

/// It picks the cipher by a speed test of its own.
const VPNCLOUD: Scripts = Scripts {
    prepare: "",
    start: "daemon vpncloud vpncloud -t tap -d vpnc -l 198.18.0.$K:3210 -c 198.18.0.$O:3210 -p secretpassword \
            --mode switch --no-port-forwarding --ifup true\nswitch vpncloud vpnc 1400 10.12.0.$K\n",
    mtu: 1400,
    network: "10.12.0",
};

/// Its `-r` lets frames through that others have sent.
const N2N: Scripts = Scripts {
    prepare: "daemon supernode supernode -l 7777\n",
    start: "daemon edge edge -d n2nt -c bench -k secretpass -a 10.99.0.$K -l 198.18.0.1:7777 -r -M 1400\n\
            switch n2n n2nt 1400 10.13.0.$K\n",
    mtu: 1400,
    network: "10.13.0",
};

const OPENVPN: Scripts = Scripts {
    prepare: r#"
for k in 1 2; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=h$k \
    -keyout $D/$k.key -out $D/$k.crt 2>/dev/null
  openssl x509 -in $D/$k.crt -noout -fingerprint -sha256 | cut -d= -f2 >$D/$k.print
done
"#,
    start: r#"
if [ $K = 1 ]; then role="--tls-server --dh none"; else role="--tls-client --remote 198.18.0.$O 1194"; fi
daemon openvpn openvpn --dev ovpn --dev-type tap --proto udp --local 198.18.0.$K --port 1194 $role \
  --cert $D/$K.crt --key $D/$K.key --peer-fingerprint $(cat $D/$O.print) --data-ciphers AES-256-GCM \
  --sndbuf 2000000 --rcvbuf 2000000 --keepalive 2 10 --connect-retry 1 1
switch openvpn ovpn 1400 10.14.0.$K
"#,
    mtu: 1400,
    network: "10.14.0",
};

const WIREGUARD: Scripts = Scripts {
    prepare: "for k in 1 2; do wg genkey >$D/$k.key; wg pubkey <$D/$k.key >$D/$k.pub; done\n",
    start: r#"
daemon wireguard-go wireguard-go -f wgo
await /run/wireguard/wgo.sock
wg set wgo listen-port 51820 private-key $D/$K.key \
  peer $(cat $D/$O.pub) allowed-ips 10.15.0.$O/32 endpoint 198.18.0.$O:51820
ip addr add 10.15.0.$K/24 dev wgo
ip link set wgo mtu 1420 up
"#,
    mtu: 1420,
    network: "10.15.0",
};

const NEBULA: Scripts = Scripts {
    prepare: r#"
cd $D
nebula-cert ca -name bench -duration 48h
for k in 1 2; do nebula-cert sign -name h$k -ip 10.16.0.$k/24; done
"#,
    start: r#"
cat >$D/$K.yml <<-EOF
	pki: {ca: $D/ca.crt, cert: $D/h$K.crt, key: $D/h$K.key}
	static_host_map: {"10.16.0.$O": ["198.18.0.$O:4242"]}
	lighthouse: {am_lighthouse: false}
	listen: {host: 198.18.0.$K, port: 4242}
	tun: {dev: nebula, mtu: 1300}
	firewall:
	  outbound: [{port: any, proto: any, host: any}]
	  inbound: [{port: any, proto: any, host: any}]
	EOF
daemon nebula nebula -config $D/$K.yml
await /sys/class/net/nebula
"#,
    mtu: 1300,
    network: "10.16.0",
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_rivals_share_a_name_a_network_or_a_port() {
        let rivals = all();
        let names: BTreeSet<_> = rivals.iter().map(|rival| &rival.plan.name).collect();
        let networks: BTreeSet<_> = rivals.iter().map(|rival| &rival.plan.network).collect();
        assert_eq!((names.len(), networks.len()), (rivals.len(), rivals.len()));
        // The kernel refuses longer names of interfaces than 15 bytes: `v` and `b` come before the name.
        assert!(names.iter().all(|name| name.len() < 15));
    }

    #[test]
    fn what_is_not_in_path_is_not_installed() {
        let plan = none_like(BARE);
        assert!(!Rival { plan, needs: &["no-program-is-called-so"], version: &[] }.installed());
    }
}
