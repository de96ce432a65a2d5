//! One container, as far as a network is concerned.

use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum};

use crate::error::DockerError;

/// What an inspection tells about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The full id, 64 characters.
    pub id: String,
    /// The name, without Docker's leading slash.
    pub name: String,
    /// Its first process, seen from the host; none unless it runs.
    pub pid: Option<u32>,
    /// Whether it runs.
    pub state: State,
    /// Whether it has no network namespace of its own but the host's.
    pub host_network: bool,
    /// The container whose network namespace it shares, if it has none of its own.
    pub network_container: Option<String>,
}

/// Whether a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It exists, frozen.
    Paused,
    /// It does not run; Docker's word for how: created, exited, restarting, removing or dead.
    Stopped(String),
}

impl Container {
    /// The container, if it can be given an interface.
    ///
    /// # Errors
    /// The reason why not, and the way out.
    pub fn attachable(self) -> Result<Self, DockerError> {
        let name = self.name.clone();
        match (&self.state, &self.network_container) {
            (State::Stopped(status), _) => Err(DockerError::Stopped { name, status: status.clone() }),
            (State::Paused, _) => Err(DockerError::Paused { name }),
            (State::Running, _) if self.host_network => Err(DockerError::HostNetwork { name }),
            (State::Running, Some(other)) => Err(DockerError::SharedNetwork { name, other: other.clone() }),
            (State::Running, None) => Ok(self),
        }
    }

    pub(crate) fn from_inspect(answer: ContainerInspectResponse) -> Result<Self, DockerError> {
        let id = answer.id.ok_or(DockerError::Incomplete { what: "the id of a container" })?;
        let state = answer.state.ok_or(DockerError::Incomplete { what: "the state of a container" })?;
        let name = answer.name.unwrap_or_default();
        let name = name.strip_prefix('/').unwrap_or(&name);
        let mode = answer.host_config.and_then(|config| config.network_mode).unwrap_or_default();
        let pid = state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        let state = judged(&state, pid);
        Ok(Self {
            name: if name.is_empty() { id.clone() } else { name.into() },
            id,
            pid: if matches!(state, State::Stopped(_)) { None } else { pid },
            state,
            host_network: mode == "host",
            network_container: mode.strip_prefix("container:").map(String::from),
        })
    }
}

/// Docker says `Running` also of a paused container and of one it is about to restart, which has no process.
fn judged(state: &ContainerState, pid: Option<u32>) -> State {
    let is = |flag: Option<bool>| flag.unwrap_or(false);
    if is(state.running) && !is(state.restarting) && pid.is_some() {
        return if is(state.paused) { State::Paused } else { State::Running };
    }
    let word = match state.status {
        None | Some(ContainerStateStatusEnum::EMPTY) => "stopped".into(),
        Some(status) => status.to_string(),
    };
    State::Stopped(word)
}

#[cfg(test)]
mod tests {
    use bollard::models::HostConfig;

    use super::*;

    fn answer(status: ContainerStateStatusEnum, pid: i64, mode: &str) -> ContainerInspectResponse {
        use ContainerStateStatusEnum::{PAUSED, RESTARTING, RUNNING};
        ContainerInspectResponse {
            id: Some("f".repeat(64)),
            name: Some("/c1".into()),
            state: Some(ContainerState {
                running: Some([RUNNING, PAUSED, RESTARTING].contains(&status)),
                paused: Some(status == PAUSED),
                restarting: Some(status == RESTARTING),
                pid: Some(pid),
                status: Some(status),
                ..ContainerState::default()
            }),
            host_config: Some(HostConfig { network_mode: Some(mode.into()), ..HostConfig::default() }),
            ..ContainerInspectResponse::default()
        }
    }

    fn container(status: ContainerStateStatusEnum, pid: i64, mode: &str) -> Container {
        Container::from_inspect(answer(status, pid, mode)).unwrap()
    }

    #[test]
    fn a_running_container_is_attachable() {
        for mode in ["default", "bridge", "none", "some-network"] {
            let container = container(ContainerStateStatusEnum::RUNNING, 42, mode);
            assert_eq!(container.clone().attachable().unwrap(), container);
            assert_eq!((container.name.as_str(), container.pid), ("c1", Some(42)));
        }
    }

    #[test]
    fn what_does_not_run_is_refused_with_dockers_word_for_it() {
        use ContainerStateStatusEnum::{CREATED, DEAD, EXITED, REMOVING, RESTARTING};
        for status in [CREATED, EXITED, DEAD, REMOVING, RESTARTING] {
            let stopped = container(status, 0, "default");
            assert_eq!(stopped.pid, None);
            let error = stopped.attachable().unwrap_err().to_string();
            assert!(error.starts_with(&format!("container c1 is not running ({status})")), "{error}");
        }
    }

    #[test]
    fn a_paused_container_is_refused() {
        let paused = container(ContainerStateStatusEnum::PAUSED, 42, "default");
        assert_eq!(paused.state, State::Paused);
        assert!(matches!(paused.attachable(), Err(DockerError::Paused { .. })));
    }

    #[test]
    fn a_container_without_a_network_namespace_of_its_own_is_refused() {
        let host = container(ContainerStateStatusEnum::RUNNING, 42, "host");
        assert!(host.host_network);
        assert!(matches!(host.attachable(), Err(DockerError::HostNetwork { .. })));
        let shared = container(ContainerStateStatusEnum::RUNNING, 42, "container:abc");
        assert_eq!(shared.network_container.as_deref(), Some("abc"));
        assert!(
            matches!(shared.attachable(), Err(DockerError::SharedNetwork { other, .. }) if other == "abc")
        );
    }

    #[test]
    fn an_answer_with_holes_is_an_error_and_no_panic() {
        assert!(Container::from_inspect(ContainerInspectResponse::default()).is_err());
        let no_state =
            ContainerInspectResponse { id: Some("a".into()), ..ContainerInspectResponse::default() };
        assert!(Container::from_inspect(no_state.clone()).is_err());
        let bare = ContainerInspectResponse { state: Some(ContainerState::default()), ..no_state };
        let container = Container::from_inspect(bare).unwrap();
        assert_eq!((container.name.as_str(), &container.state), ("a", &State::Stopped("stopped".into())));
        let odd = container_with_pid(-7);
        assert_eq!((odd.pid, odd.state), (None, State::Stopped("running".into())));
    }

    fn container_with_pid(pid: i64) -> Container {
        container(ContainerStateStatusEnum::RUNNING, pid, "default")
    }
}
