//! Against an engine that answers as it is told, on a real Unix socket.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use docker::{Docker, DockerError, Event};
use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[derive(Clone)]
struct Engine {
    api: &'static str,
    oldest: &'static str,
    asked: Arc<Mutex<Vec<String>>>,
    /// Lines of the event stream; it ends after them, or stays open.
    events: Vec<Value>,
    close: bool,
}

impl Default for Engine {
    fn default() -> Self {
        Self { api: "1.41", oldest: "1.12", asked: Arc::default(), events: vec![], close: false }
    }
}

impl Engine {
    fn serve(&self, socket: &Path) -> JoinHandle<()> {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(State(engine): State<Engine>, request: Request) -> Response {
    let uri = request.uri().to_string();
    engine.asked.lock().unwrap().push(uri.clone());
    let path = request.uri().path();
    if path == "/version" {
        let version =
            json!({"Version": "20.10.24", "ApiVersion": engine.api, "MinAPIVersion": engine.oldest});
        return version.to_string().into_response();
    }
    let Some(path) = path.strip_prefix(&format!("/v{}", engine.api)) else {
        return error(400, &format!("wrong version: {uri}"));
    };
    match path {
        "/containers/json" => json!([{"Id": ID}, {"Id": "gone"}]).to_string().into_response(),
        "/containers/c1/json" => inspection().to_string().into_response(),
        path if path == format!("/containers/{ID}/json") => inspection().to_string().into_response(),
        "/containers/a/json" => error(400, "multiple IDs found with provided prefix: a"),
        "/containers/broken/json" => "{\"Id\": 7".into_response(),
        "/containers/refused/json" => error(500, "the storage\ndriver is  unwell"),
        "/containers/silent/json" => std::future::pending().await,
        "/events" => events(engine),
        _ => error(404, "No such container: whatever"),
    }
}

fn events(engine: Engine) -> Response {
    let lines = engine.events.into_iter().map(|event| Ok::<_, std::io::Error>(format!("{event}\n")));
    let told = futures::stream::iter(lines);
    if engine.close {
        Body::from_stream(told).into_response()
    } else {
        Body::from_stream(told.chain(futures::stream::pending())).into_response()
    }
}

fn inspection() -> Value {
    json!({
        "Id": ID, "Name": "/c1", "HostConfig": {"NetworkMode": "default"},
        "State": {"Status": "running", "Running": true, "Paused": false, "Restarting": false, "Pid": 4242},
        "SomethingOfALaterVersion": {"x": [1]},
    })
}

fn error(code: u16, message: &str) -> Response {
    (StatusCode::from_u16(code).unwrap(), json!({"message": message}).to_string()).into_response()
}

fn happened(action: &str, id: &str) -> Value {
    json!({"Type": "container", "Action": action, "Actor": {"ID": id, "Attributes": {"name": "c1"}}, "time": 1})
}

fn socket() -> (TempDir, PathBuf, Docker) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("docker.sock");
    let docker = Docker::at(format!("unix://{}", path.display()));
    (directory, path, docker)
}

async fn next(events: &mut (impl Stream<Item = Event> + Unpin)) -> Event {
    tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("an event in time").unwrap()
}

#[tokio::test]
async fn containers_are_looked_up_by_name_and_by_id() {
    let (_directory, path, docker) = socket();
    Engine::default().serve(&path);
    for name in ["c1", ID] {
        let container = docker.inspect(name).await.unwrap();
        assert_eq!((container.id.as_str(), container.name.as_str(), container.pid), (ID, "c1", Some(4242)));
    }
    assert_eq!(docker.running_target("c1").await.unwrap().name, "c1");
    assert_eq!(docker.version().await.unwrap(), "20.10.24");
}

#[tokio::test]
async fn a_container_that_vanishes_while_all_are_listed_is_left_out() {
    let (_directory, path, docker) = socket();
    Engine::default().serve(&path);
    let running = docker.list_running().await.unwrap();
    assert_eq!(running.into_iter().map(|container| container.id).collect::<Vec<_>>(), [ID]);
}

#[tokio::test]
async fn requests_demand_the_newest_version_both_speak() {
    let (_directory, path, docker) = socket();
    for (api, demanded) in [("1.41", "/v1.41/"), ("1.44", "/v1.44/")] {
        let engine = Engine { api, ..Engine::default() };
        let serving = engine.serve(&path);
        docker.inspect("c1").await.unwrap();
        assert!(engine.asked()[1].contains(demanded), "{:?}", engine.asked());
        serving.abort();
    }
    let newer = Engine { api: "1.99", ..Engine::default() };
    newer.serve(&path);
    // The fake takes only its own version, so this is refused; what counts is that ours was demanded.
    assert!(docker.inspect("c1").await.is_err());
    assert!(newer.asked()[1].contains("/v1.53/"), "{:?}", newer.asked());
}

#[tokio::test]
async fn an_engine_too_old_or_too_new_is_named_with_what_it_speaks() {
    let (_directory, path, docker) = socket();
    let serving = Engine { api: "1.40", ..Engine::default() }.serve(&path);
    let error = docker.inspect("c1").await.unwrap_err().to_string();
    assert!(error.contains("speaks API 1.40") && error.contains("20.10"), "{error}");
    serving.abort();
    Engine { api: "1.99", oldest: "1.90", ..Engine::default() }.serve(&path);
    assert!(matches!(docker.inspect("c1").await, Err(DockerError::Version { .. })));
}

#[tokio::test]
async fn each_refusal_has_its_own_line() {
    let (_directory, path, docker) = socket();
    let engine = Engine::default();
    engine.serve(&path);
    let line = async |name: &str| docker.inspect(name).await.unwrap_err().to_string();
    assert_eq!(line("nope").await, "no such container: nope");
    assert_eq!(line("a").await, "a is the beginning of several containers' ids: give more of it");
    assert_eq!(line("refused").await, "Docker refused: the storage driver is unwell");
    assert!(line("broken").await.starts_with("cannot make out Docker's answer: "));
    let before = engine.asked().len();
    for name in ["../events", "a/b", "", "x?y"] {
        assert_eq!(line(name).await, format!("no such container: {name}"));
    }
    assert_eq!(engine.asked().len(), before, "such a name is never sent");
}

#[tokio::test]
async fn without_an_engine_its_address_and_the_way_out_are_said() {
    let (_directory, path, docker) = socket();
    let absent = docker.inspect("c1").await.unwrap_err();
    assert!(matches!(absent, DockerError::NotRunning { .. }), "{absent}");
    // A listener that is dropped leaves its socket behind, as a killed engine does.
    drop(UnixListener::bind(&path).unwrap());
    let dead = docker.inspect("c1").await.unwrap_err();
    assert!(matches!(dead, DockerError::NotRunning { .. }), "{dead}");
    assert!(dead.to_string().starts_with("Docker is not running: cannot reach unix:///"), "{dead}");
    assert!(dead.to_string().to_lowercase().contains("connection refused"), "{dead}");
    let tcp = Docker::at("tcp://127.0.0.1:1").inspect("c1").await.unwrap_err();
    assert!(matches!(tcp, DockerError::NotRunning { .. }), "{tcp}");
    let ssh = Docker::at("ssh://host").inspect("c1").await.unwrap_err().to_string();
    assert!(ssh.starts_with("DOCKER_HOST=ssh://host is not supported"), "{ssh}");
}

#[tokio::test]
async fn a_silent_engine_is_given_up() {
    let (_directory, path, docker) = socket();
    Engine::default().serve(&path);
    let error = docker.with_patience(Duration::from_millis(300)).inspect("silent").await.unwrap_err();
    assert!(matches!(error, DockerError::Silent { .. }), "{error}");
}

#[tokio::test]
async fn events_are_told_after_the_word_that_we_listen() {
    let (_directory, path, docker) = socket();
    let told = ["start", "die", "destroy"].map(|action| happened(action, ID));
    let others = [happened("exec_create: sh", ID), json!({"Type": "container"})];
    let engine = Engine { events: others.into_iter().chain(told).collect(), ..Engine::default() };
    engine.serve(&path);
    let mut events = docker.events();
    assert_eq!(next(&mut events).await, Event::Resynced);
    assert_eq!(next(&mut events).await, Event::Started { id: ID.into() });
    assert_eq!(next(&mut events).await, Event::Died { id: ID.into() });
    assert_eq!(next(&mut events).await, Event::Destroyed { id: ID.into() });
    let asked = engine.asked().pop().unwrap();
    assert!(asked.starts_with("/v1.41/events?since=") && asked.contains("container"), "{asked}");
}

#[tokio::test]
async fn the_stream_survives_a_restart_of_docker() {
    let (_directory, path, docker) = socket();
    let mut events = docker.events();
    assert!(matches!(next(&mut events).await, Event::Lost { .. }), "Docker is not there yet");
    let started = vec![happened("start", ID)];
    let serving = Engine { events: started.clone(), close: true, ..Engine::default() }.serve(&path);
    assert_eq!(next(&mut events).await, Event::Resynced);
    assert_eq!(next(&mut events).await, Event::Started { id: ID.into() });
    serving.abort();
    let _ = serving.await;
    let Event::Lost { reason } = next(&mut events).await else { panic!("the loss is told") };
    assert_eq!(reason, "Docker closed its stream of events");
    Engine { events: started, ..Engine::default() }.serve(&path);
    assert_eq!(next(&mut events).await, Event::Resynced, "told once lost, once back");
    assert_eq!(next(&mut events).await, Event::Started { id: ID.into() });
}

#[tokio::test]
async fn nonsense_in_the_stream_is_a_loss_and_not_the_end() {
    let (_directory, path, docker) = socket();
    let engine = Engine { events: vec![json!({"Type": 7})], ..Engine::default() };
    engine.serve(&path);
    let mut events = docker.events();
    for _ in 0..2 {
        assert_eq!(next(&mut events).await, Event::Resynced);
        assert!(matches!(next(&mut events).await, Event::Lost { .. }));
    }
}
