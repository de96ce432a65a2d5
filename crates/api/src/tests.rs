//! Server and client against each other over a real socket, with a daemon that only remembers what it was asked.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

#[derive(Clone, Default)]
struct Fake {
    asked: Arc<Mutex<Vec<String>>>,
    starting: bool,
    slow: bool,
}

impl Fake {
    fn note(&self, what: impl std::fmt::Debug) {
        self.asked.lock().unwrap().push(format!("{what:?}"));
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Control for Fake {
    async fn report(&self) -> Result<Report, ControlError> {
        if self.slow {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(Report { ready: !self.starting, ..sample::report() })
    }
    async fn connect(&self, request: Connect) -> Result<(), ControlError> {
        self.note(request);
        Ok(())
    }
    async fn forget(&self, request: Forget) -> Result<(), ControlError> {
        self.note(request);
        Ok(())
    }
    async fn remove_peers(&self, request: RemovePeers) -> Result<RemovedPeers, ControlError> {
        let peers =
            request.peers.iter().map(|given| RemovedPeer { given: given.clone(), name: None }).collect();
        self.note(request);
        Ok(RemovedPeers { peers })
    }
    async fn why(&self, request: Why) -> Result<WhyReport, ControlError> {
        Err(ControlError::not_found(format!("no such peer: {}", request.peer)))
    }
    async fn attach(&self, request: Attach) -> Result<Addresses, ControlError> {
        let bare =
            request.addresses.iter().map(|address| address.split('/').next().unwrap().into()).collect();
        self.note(request);
        Ok(Addresses { addresses: bare, warnings: Vec::new() })
    }
    async fn detach(&self, request: Detach) -> Result<Addresses, ControlError> {
        Err(ControlError::not_found(format!("no such container: {}", request.container))
            .with_hint("`weave ps` lists them"))
    }
    async fn check(&self, _: Check) -> Result<(), ControlError> {
        Err(ControlError::conflict("192.168.122.1 is on another container"))
    }
    async fn expose(&self, _: Expose) -> Result<Addresses, ControlError> {
        Err(ControlError::unavailable("the bridge is gone"))
    }
    async fn hide(&self, _: Hide) -> Result<Addresses, ControlError> {
        Err(ControlError::internal("the disk is full"))
    }
    async fn ps(&self, containers: Vec<String>) -> Result<Vec<PsEntry>, ControlError> {
        self.note(containers);
        Ok(sample::report().attachments)
    }
    async fn stop(&self) -> Result<(), ControlError> {
        self.note("stop");
        Ok(())
    }
    async fn metrics(&self) -> String {
        "weave_peers 3\n".into()
    }
}

/// A fake daemon on a socket in its own directory.
struct Served {
    _directory: TempDir,
    socket: PathBuf,
    fake: Fake,
    end: Arc<Notify>,
    task: JoinHandle<io::Result<()>>,
}

impl Served {
    async fn start(fake: Fake) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("weave.sock");
        let end = Arc::new(Notify::new());
        let serving = serve_unix(&socket, control_router(fake.clone()), wait(&end)).await.unwrap();
        Self { _directory: directory, socket, fake, end, task: tokio::spawn(serving) }
    }

    fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}

fn wait(end: &Arc<Notify>) -> impl Future<Output = ()> + Send + 'static {
    let end = end.clone();
    async move { end.notified().await }
}

async fn refused(request: impl Future<Output = Result<Value, ClientError>>) -> ControlError {
    match request.await {
        Err(ClientError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_request_reaches_the_daemon_and_its_answer_comes_back() {
    let served = Served::start(Fake::default()).await;
    let client = served.client();
    let request = Connect { peers: vec!["198.18.0.2".into()], replace: true };
    let () = client.post("/connect", &request).await.unwrap();
    let () = client.post("/forget", &Forget { peers: vec!["a".into()] }).await.unwrap();
    let attach = Attach { container: "c1".into(), addresses: vec!["10.0.0.1/8".into(), "10.0.0.2/8".into()] };
    let answer: Addresses = client.post("/attach", &attach).await.unwrap();
    assert_eq!(answer.addresses, ["10.0.0.1", "10.0.0.2"]);
    let () = client.post("/stop", &()).await.unwrap();
    assert_eq!(client.get::<Report>("/report").await.unwrap(), sample::report());
    assert_eq!(client.get_text("/metrics").await.unwrap(), "weave_peers 3\n");
    assert_eq!(client.get_text("/status").await.unwrap(), render::status(&sample::report()));
    let router = sample::report().router;
    assert_eq!(client.get_text("/status/connections").await.unwrap(), render::connections(&router));
    assert_eq!(client.get_text("/status/peers").await.unwrap(), render::peers(&router));
    assert_eq!(client.get_text("/status/targets").await.unwrap(), render::targets(&router));
    let version: VersionAnswer = client.get("/version").await.unwrap();
    assert_eq!((version.nickname.as_str(), version.pid), ("host1", std::process::id()));
    assert_eq!(client.server_pid().await.unwrap(), Some(std::process::id().cast_signed()));
    let asked =
        [format!("{request:?}"), format!("{:?}", Forget { peers: vec!["a".into()] }), format!("{attach:?}")];
    assert_eq!(served.fake.asked()[..3], asked);
    assert_eq!(served.fake.asked()[3], "\"stop\"");
}

#[tokio::test]
async fn names_in_ps_survive_the_query_string() {
    let served = Served::start(Fake::default()).await;
    let names = ["a.b-c_d".to_string(), "x&containers=y %é".to_string()];
    assert_eq!(served.client().ps(&names).await.unwrap().len(), 2);
    served.client().ps(&[]).await.unwrap();
    assert_eq!(served.fake.asked(), [format!("{names:?}"), "[]".into()]);
}

#[tokio::test]
async fn an_error_keeps_its_status_line_and_hint() {
    let served = Served::start(Fake::default()).await;
    let client = served.client();
    let detach = Detach { container: "nope".into(), addresses: vec![] };
    let error = refused(client.post("/detach", &detach)).await;
    assert_eq!(error, ControlError::not_found("no such container: nope").with_hint("`weave ps` lists them"));
    let none = json!({"Addresses": []});
    assert_eq!(refused(client.post("/check", &none)).await.status, Status::Conflict);
    assert_eq!(refused(client.post("/expose", &none)).await.status, Status::Unavailable);
    assert_eq!(refused(client.post("/hide", &none)).await.status, Status::Internal);
}

#[tokio::test]
async fn what_is_not_understood_is_a_bad_request_and_reaches_nobody() {
    let served = Served::start(Fake::default()).await;
    let client = served.client();
    for body in [json!({}), json!({"Peers": "not a list"}), json!({"Peers": [], "Unknown": 1}), json!(null)] {
        let error = refused(client.post("/connect", &body)).await;
        assert_eq!(error.status, Status::BadRequest, "{body}");
        assert!(!error.error.is_empty());
    }
    assert_eq!(refused(client.get("/nothing")).await.status, Status::NotFound);
    assert_eq!(refused(client.get("/connect")).await.status, Status::BadRequest);
    assert!(served.fake.asked().is_empty());
}

#[tokio::test]
async fn status_can_be_waited_for() {
    let served = Served::start(Fake { starting: true, ..Fake::default() }).await;
    let Err(ClientError::Refused(error)) = served.client().get_text("/status").await else { panic!() };
    assert_eq!(error.status, Status::Unavailable);
    assert!(!served.client().get::<Report>("/report").await.unwrap().ready);
}

#[tokio::test]
async fn the_status_address_reads_and_never_controls() {
    let end = Arc::new(Notify::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap();
    let fake = Fake::default();
    let task = tokio::spawn(serve_tcp(listener, public_router(fake.clone()), wait(&end)));
    let ask = async |request: &str| {
        let mut stream = TcpStream::connect(port).await.unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(ask("GET /status").await.ends_with(&render::status(&sample::report())));
    let metrics = ask("GET /metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(ask("GET /report").await.starts_with("HTTP/1.1 200"));
    for verb in ["connect", "forget", "rmpeer", "why", "attach", "detach", "expose", "hide", "check", "stop"]
    {
        assert!(ask(&format!("POST /{verb}")).await.starts_with("HTTP/1.1 404"), "{verb}");
    }
    assert!(ask("POST /status").await.starts_with("HTTP/1.1 405"));
    assert!(fake.asked().is_empty());
    end.notify_one();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone_and_goes_with_the_server() {
    let served = Served::start(Fake::default()).await;
    assert_eq!(std::fs::metadata(&served.socket).unwrap().permissions().mode() & 0o777, 0o600);
    let beside: Vec<_> = std::fs::read_dir(served.socket.parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    served.end.notify_one();
    served.task.await.unwrap().unwrap();
    assert!(!served.socket.exists());
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_server_ends() {
    let served = Served::start(Fake { slow: true, ..Fake::default() }).await;
    let client = served.client();
    let request = tokio::spawn(async move { client.get::<Report>("/report").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.end.notify_one();
    assert!(request.await.unwrap().is_ok());
    served.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_socket_nobody_serves_is_replaced_and_a_served_one_is_not() {
    let served = Served::start(Fake::default()).await;
    let again = serve_unix(&served.socket, control_router(Fake::default()), std::future::pending()).await;
    assert!(matches!(again.err(), Some(ServeError::Served(_))));
    served.task.abort();
    let _ = served.task.await;
    // A listener that is dropped leaves its file behind, as a killed daemon does.
    drop(UnixListener::bind(&served.socket).unwrap());
    assert!(served.socket.exists());
    let end = Arc::new(Notify::new());
    let serving = serve_unix(&served.socket, control_router(Fake::default()), wait(&end)).await.unwrap();
    let task = tokio::spawn(serving);
    assert!(Client::new(&served.socket).get::<Report>("/report").await.is_ok());
    end.notify_one();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_socket_stays_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weave.sock");
    std::fs::write(&path, "precious").unwrap();
    let serving = serve_unix(&path, control_router(Fake::default()), std::future::pending()).await;
    assert!(matches!(serving.err(), Some(ServeError::InTheWay(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn without_a_daemon_the_way_to_start_it_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("weave.sock");
    let absent = Client::new(&socket).get::<Report>("/report").await.unwrap_err();
    assert!(matches!(absent, ClientError::NotRunning));
    drop(UnixListener::bind(&socket).unwrap());
    let dead = Client::new(&socket).get::<Report>("/report").await.unwrap_err();
    assert_eq!(dead.to_string(), "weave is not running on this host: start it with `weave launch`");
}

#[tokio::test]
async fn a_daemon_that_hangs_or_talks_nonsense_is_an_error_and_not_a_wait_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("weave.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let client = Client::new(&socket).with_patience(Duration::from_millis(200));
    let error = client.get::<Report>("/report").await.unwrap_err();
    assert!(matches!(error, ClientError::Silent { .. }), "{error}");
    tokio::spawn(async move {
        loop {
            let (mut stream, _): (UnixStream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"SSH-2.0-nonsense\r\n").await;
        }
    });
    let error = client.get::<Report>("/report").await.unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
}

#[test]
fn json_keys_are_spelled_as_in_the_originals_report() {
    let report = serde_json::to_value(sample::report()).unwrap();
    assert_eq!(report["Ready"], json!(true));
    assert_eq!(report["Router"]["NickName"], json!("host1"));
    assert_eq!(report["Router"]["ProtocolMinVersion"], json!(1));
    assert_eq!(report["Router"]["Peers"][1]["Connections"][0]["NickName"], json!("host1"));
    assert_eq!(report["Router"]["Connections"][0]["State"], json!("established"));
    assert_eq!(report["Router"]["Connections"][0]["Direction"], json!("outbound"));
    assert_eq!(report["Router"]["Authentication"], json!("password"));
    assert_eq!(report["Attachments"][1]["ID"], json!("0123456789ab"));
    assert_eq!(serde_json::from_value::<Report>(report).unwrap(), sample::report());
}
