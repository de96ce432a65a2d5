//! Ends the daemon and waits until it is gone.

use std::path::Path;
use std::time::{Duration, Instant};

use api::{Client, ClientError};

use crate::args::Place;
use crate::failure::Failure;

/// How long the daemon may take: it answers what is under way, says goodbye to its peers and saves its state.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often we look. A healthy daemon is gone in a few of these.
const INTERVAL: Duration = Duration::from_millis(20);

/// Asks the daemon to stop, and returns when neither its socket nor its process is there any more, so that a `launch`
/// right behind finds the ports free.
pub(crate) async fn stop(place: &Place) -> Result<(), Failure> {
    let client = place.client();
    let pid = client.server_pid().await?;
    let () = client.post("/stop", &()).await?;
    let deadline = Instant::now() + PATIENCE;
    while serves(&client).await || pid.is_some_and(lives) {
        if Instant::now() > deadline {
            let who = pid.map_or("the router".into(), |pid| format!("the router, process {pid},"));
            let failure = Failure::new(format!("{who} is still there after {} s", PATIENCE.as_secs()));
            return Err(failure.with_hint(format!("{} may say why", place.log().display())));
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(())
}

async fn serves(client: &Client) -> bool {
    !matches!(client.server_pid().await, Err(ClientError::NotRunning))
}

/// Whether the process still holds anything. A zombie does not, and an init that reaps nobody keeps it for ever.
fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    // proc_pid_stat(5): the state follows the command's name, which is in parentheses and may hold anything.
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']))
}
