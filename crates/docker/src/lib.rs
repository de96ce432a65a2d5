//! What we need of the Docker Engine: containers, their state, their events.
//!
//! Docker may come and go: nothing here holds a connection but the stream of [`Docker::events`], which heals itself.
//! Each call connects, agrees on an API version, asks, and fails with [`DockerError::NotRunning`] when there is no
//! engine.
#![forbid(unsafe_code)]

mod container;
mod engine;
mod error;
mod events;

pub use container::{Container, State};
pub use engine::Docker;
pub use error::DockerError;
pub use events::Event;
