//! `weave launch`.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use api::{ClientError, VersionAnswer};
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::args::{Output, Place, StateDir, absolute};
use crate::daemon;
use crate::failure::Failure;
use crate::printer::Printer;

/// Most passwords valid at once (P3.1).
const MOST_PASSWORDS: usize = 4;

/// Start the router, and print its peer name when it serves
#[derive(Debug, Args)]
pub(crate) struct Launch {
    #[command(flatten)]
    output: Output,
    /// Let only those in who know this password; up to four may be valid at once
    #[arg(long, env = "WEAVE_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    password: Vec<String>,
    /// Read passwords from a file, one a line, which keeps them out of the process list
    #[arg(long, env = "WEAVE_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// How frames travel
    #[arg(long, env = "WEAVE_TRANSPORT", default_value = "auto")]
    transport: Transport,
    /// Whether the kernel handles many packets at once where it can, or each by itself
    #[arg(long, env = "WEAVE_OFFLOAD", default_value = "auto")]
    offload: Offload,
    /// Peer name, written like a MAC address, instead of the one that follows from the identity
    #[arg(long, env = "WEAVE_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Name for people [default: the host's name]
    #[arg(long, env = "WEAVE_NICKNAME", value_name = "NAME")]
    nickname: Option<String>,
    /// Listen on this local address only [default: all]
    #[arg(long, env = "WEAVE_HOST", value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// TCP and UDP port; also that of peers given without one
    #[arg(long, env = "WEAVE_PORT", default_value_t = 6783, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Listen for links here too; several times for several; `*` stands for all addresses
    #[arg(long, env = "WEAVE_LISTEN", value_name = "ADDRESS:PORT", value_delimiter = ',')]
    listen: Vec<node::ListenAddr>,
    /// Tell others to reach this host here, over TCP and UDP; several times for several [default PORT: that of --port]
    #[arg(long, env = "WEAVE_ADVERTISE", value_name = "ADDRESS[:PORT]", value_delimiter = ',')]
    advertise: Vec<node::AdvertisedAddr>,
    /// Do not ask the router in front of this host to let others in (PCP, NAT-PMP, UPnP); it is never asked with --transport tls
    #[arg(long, env = "WEAVE_NO_PORT_MAPPING", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    no_port_mapping: bool,
    /// Where NATs leave no direct path over UDP, find one by trying ports; both hosts need it, and to networks it looks like a scan
    #[arg(long, env = "WEAVE_GUESS_PORTS", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    guess_ports: bool,
    /// HTTP proxy for links, as in http://user:password@proxy:3128; none when empty [default: that of https_proxy]
    #[arg(long, env = "WEAVE_HTTP_PROXY", hide_env_values = true, value_name = "URL")]
    http_proxy: Option<String>,
    /// Server name that the TLS of links shows (SNI) [default: none]
    #[arg(long, env = "WEAVE_TLS_SERVER_NAME", value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Application protocols that the TLS of links offers (ALPN), as in h2,http/1.1 [default: weave]
    #[arg(long, env = "WEAVE_TLS_ALPN", value_name = "LIST")]
    tls_alpn: Option<String>,
    /// TCP congestion control of links [default: bbr where the kernel has it, else the kernel's]
    #[arg(long, env = "WEAVE_TLS_CONGESTION", value_name = "NAME")]
    tls_congestion: Option<String>,
    /// Connect only to the peers given, not to those they know
    #[arg(long, env = "WEAVE_NO_DISCOVERY", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    no_discovery: bool,
    /// Most connections at once; 0 for no limit
    #[arg(long, env = "WEAVE_CONN_LIMIT", default_value_t = 200, value_name = "COUNT")]
    conn_limit: usize,
    /// Connect to the peers of the last run
    #[arg(long, env = "WEAVE_RESUME", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    resume: bool,
    #[command(flatten)]
    state: StateDir,
    /// Serve status and metrics here, read-only; nowhere when empty
    #[arg(long, env = "WEAVE_STATUS_ADDR", default_value = "127.0.0.1:6782", value_name = "ADDRESS:PORT", value_parser = StatusAddr::parse)]
    status_addr: StatusAddr,
    /// Least severity of what is logged
    #[arg(long, env = "WEAVE_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    log_level: LogLevel,
    /// MTU of the bridge and of the containers' interfaces, in bytes
    // RFC 791 obliges hosts to take 576; above 9000 (jumbo frames) no network goes.
    #[arg(long, env = "WEAVE_MTU", default_value_t = 1376, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(576..=9000))]
    mtu: u32,
    /// Stay in the foreground and log to stderr
    #[arg(long, env = "WEAVE_FOREGROUND", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    foreground: bool,
    /// Started by another launch: what is secret comes on stdin, and stdout is only waited for until it serves.
    #[arg(long, hide = true)]
    spawned: bool,
    /// Host name, IPv4 address or [IPv6 address] to connect to, with an optional :PORT
    #[arg(value_name = "PEER")]
    peers: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Transport {
    /// UDP where it gets through, else TLS
    Auto,
    /// Only sealed UDP records
    Udp,
    /// Only the TLS link
    Tls,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Offload {
    /// Where the kernel has it and it does no harm
    Auto,
    /// Never: for kernels, drivers and hypervisors that do it wrong
    Off,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
}

#[derive(Debug, Clone, Copy)]
struct StatusAddr(Option<SocketAddr>);

/// What the daemon is told on its stdin.
#[derive(Serialize, Deserialize)]
pub(crate) struct Secrets {
    passwords: Vec<String>,
    proxy: Option<ProxySettings>,
}

/// An HTTP proxy, whose URL may hold a password, and whom to reach without it.
#[derive(Serialize, Deserialize)]
struct ProxySettings {
    url: String,
    except: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Launched<'a> {
    name: &'a str,
}

impl Launch {
    pub(crate) fn run(self, place: &Place, printer: Printer) -> Result<(), Failure> {
        if self.resume && !self.peers.is_empty() {
            return Err(Failure::usage(
                "--resume takes up the peers of the last run: give it or peers, not both",
            ));
        }
        let shown = self.shown()?;
        if let Some(url) = self.http_proxy.as_deref().filter(|url| !url.is_empty()) {
            node::HttpProxy::parse(url).map_err(|error| Failure::usage(format!("--http-proxy: {error}")))?;
        }
        daemon::needs_root("launch")?;
        let output = self.output;
        let print = move |name: &str| {
            if output.json { printer.json(&Launched { name }) } else { printer.line(name) }
        };
        if self.spawned {
            let secrets = Secrets::from_stdin()?;
            let config = self.config(place, shown, secrets)?;
            // Whoever waits at the other end of stdout reads one line, in no other form.
            return daemon::serve_detached(config, move |name| {
                let _ = printer.line(name);
            });
        }
        let secrets = Secrets { passwords: self.passwords()?, proxy: self.proxy()? };
        refuse_second(place)?;
        if self.foreground {
            let config = self.config(place, shown, secrets)?;
            node::run(config, move |name: &str| {
                let _ = print(name);
            })?;
            return Ok(());
        }
        let name = daemon::spawn(place, &self.arguments(place)?, &secrets)?;
        print(&name)
    }

    fn passwords(&self) -> Result<Vec<String>, Failure> {
        let mut passwords = self.password.clone();
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::new(format!("cannot read the password file {}: {error}", path.display()))
            })?;
            let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).map(String::from).collect();
            if lines.is_empty() {
                return Err(Failure::new(format!("the password file {} holds no password", path.display())));
            }
            passwords.extend(lines);
        }
        if passwords.iter().any(String::is_empty) {
            return Err(Failure::new(
                "a password is empty: leave the option and WEAVE_PASSWORD out to go without",
            ));
        }
        let mut seen = std::collections::BTreeSet::new();
        passwords.retain(|password| seen.insert(password.clone()));
        if passwords.len() > MOST_PASSWORDS {
            let count = passwords.len();
            return Err(Failure::new(format!(
                "{count} passwords given: at most {MOST_PASSWORDS} are valid at once"
            )));
        }
        Ok(passwords)
    }

    /// The proxy of the option, or else that of the environment, and whom to reach without it.
    fn proxy(&self) -> Result<Option<ProxySettings>, Failure> {
        let given = self.http_proxy.clone().map(|url| ("--http-proxy", url));
        let set = || either_case("https_proxy");
        let Some((from, url)) = given.or_else(set).filter(|(_, url)| !url.is_empty()) else {
            return Ok(None);
        };
        if let Err(error) = node::HttpProxy::parse(&url) {
            let failure = Failure::new(format!("{from}: {error}"));
            return Err(failure.with_hint("`--http-proxy ''` goes without a proxy"));
        }
        let except = either_case("no_proxy").map(|(_, list)| list).unwrap_or_default();
        Ok(Some(ProxySettings { url, except }))
    }

    fn shown(&self) -> Result<node::Shown, Failure> {
        let mut shown = node::Shown::default();
        if let Some(name) = &self.tls_server_name {
            shown = shown
                .with_server_name(name)
                .map_err(|e| Failure::usage(format!("--tls-server-name: {e}")))?;
        }
        if let Some(list) = &self.tls_alpn {
            shown = shown.with_alpn(list).map_err(|e| Failure::usage(format!("--tls-alpn: {e}")))?;
        }
        Ok(shown)
    }

    fn config(self, place: &Place, shown: node::Shown, secrets: Secrets) -> Result<node::Config, Failure> {
        Ok(node::Config {
            passwords: secrets.passwords,
            transport: match self.transport {
                Transport::Auto => node::TransportChoice::Auto,
                Transport::Udp => node::TransportChoice::Udp,
                Transport::Tls => node::TransportChoice::Tls,
            },
            offload: match self.offload {
                Offload::Auto => node::OffloadChoice::Auto,
                Offload::Off => node::OffloadChoice::Off,
            },
            name: self.name,
            nickname: match self.nickname {
                Some(nickname) => nickname,
                None => host_name()?,
            },
            host: self.host,
            port: self.port,
            listen: self.listen,
            advertise: self.advertise,
            port_mapping: !self.no_port_mapping,
            guess_ports: self.guess_ports,
            proxy: secrets.proxy.map(ProxySettings::read).transpose()?,
            shown,
            congestion: self.tls_congestion,
            discovery: !self.no_discovery,
            conn_limit: self.conn_limit,
            resume: self.resume,
            state_dir: absolute(&self.state.state_dir),
            run_dir: absolute(&place.run_dir),
            status_addr: self.status_addr.0,
            log_level: word(self.log_level),
            mtu: self.mtu,
            peers: self.peers,
        })
    }

    /// The same options for the daemon itself, all but those that hold passwords, which would show in the list of processes.
    fn arguments(&self, place: &Place) -> Result<Vec<std::ffi::OsString>, Failure> {
        let mut arguments: Vec<std::ffi::OsString> = vec!["launch".into(), "--spawned".into()];
        let mut option = |name: &str, value: std::ffi::OsString| {
            // In one word, so that a value may begin with a dash or be empty.
            let mut word = std::ffi::OsString::from(format!("--{name}="));
            word.push(value);
            arguments.push(word);
        };
        option("run-dir", absolute(&place.run_dir).into());
        option("state-dir", absolute(&self.state.state_dir).into());
        option("transport", word(self.transport).into());
        option("offload", word(self.offload).into());
        option("log-level", word(self.log_level).into());
        option("port", self.port.to_string().into());
        option("conn-limit", self.conn_limit.to_string().into());
        option("mtu", self.mtu.to_string().into());
        option(
            "status-addr",
            self.status_addr.0.map(|address| address.to_string()).unwrap_or_default().into(),
        );
        if let Some(name) = &self.name {
            option("name", name.into());
        }
        if let Some(nickname) = &self.nickname {
            option("nickname", nickname.into());
        }
        if let Some(host) = self.host {
            option("host", host.to_string().into());
        }
        for address in &self.listen {
            option("listen", address.to_string().into());
        }
        for address in &self.advertise {
            option("advertise", address.to_string().into());
        }
        if let Some(name) = &self.tls_server_name {
            option("tls-server-name", name.into());
        }
        if let Some(list) = &self.tls_alpn {
            option("tls-alpn", list.into());
        }
        if let Some(name) = &self.tls_congestion {
            option("tls-congestion", name.into());
        }
        arguments.extend(self.no_discovery.then(|| "--no-discovery".into()));
        arguments.extend(self.no_port_mapping.then(|| "--no-port-mapping".into()));
        arguments.extend(self.guess_ports.then(|| "--guess-ports".into()));
        arguments.extend(self.resume.then(|| "--resume".into()));
        arguments.push("--".into());
        arguments.extend(self.peers.iter().map(Into::into));
        Ok(arguments)
    }
}

impl StatusAddr {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(address) => Ok(Self(Some(address))),
            Err(_) => Err("an address and a port are needed, as in 127.0.0.1:6782, or nothing".into()),
        }
    }
}

/// Says who runs already. Only a hint in good time: the daemon itself holds a lock.
fn refuse_second(place: &Place) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let client = place.client().with_patience(std::time::Duration::from_secs(3));
    let (answer, pid) = runtime.block_on(async {
        let answer: Result<VersionAnswer, _> = client.get("/version").await;
        (answer, client.server_pid().await.ok().flatten())
    });
    let process = pid.map(|pid| format!(" as process {pid}")).unwrap_or_default();
    let failure = match answer {
        Err(ClientError::NotRunning) => return Ok(()),
        Ok(VersionAnswer { name, nickname, .. }) => Failure::new(format!(
            "weave is already running on this host{process}, peer name {name}({nickname})"
        )),
        Err(error) => {
            Failure::new(format!("weave is already running on this host{process}, but not well: {error}"))
        }
    };
    Err(failure.with_hint("`weave connect` adds peers to it, `weave stop` ends it"))
}

impl Secrets {
    fn from_stdin() -> Result<Self, Failure> {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(Failure::new)?;
        serde_json::from_str(&text).map_err(Failure::new)
    }
}

impl ProxySettings {
    fn read(self) -> Result<node::Proxy, Failure> {
        let server = node::HttpProxy::parse(&self.url).map_err(Failure::new)?;
        Ok(node::Proxy { server, except: node::Exceptions::parse(&self.except) })
    }
}

/// A variable whose name other programs read in small letters first, and then in capitals.
fn either_case(name: &str) -> Option<(&str, String)> {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    value(name).or_else(|| value(&name.to_uppercase())).map(|value| (name, value))
}

fn host_name() -> Result<String, Failure> {
    let name = nix::sys::utsname::uname().map(|names| names.nodename().to_string_lossy().into_owned());
    name.map_err(|error| Failure::new(format!("cannot learn the host's name: {error}; give --nickname")))
}

fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
}
