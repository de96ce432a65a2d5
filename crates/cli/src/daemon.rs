//! Starting the daemon in the background, from both ends.
//!
//! `launch` starts this same program anew, waits for one line on its stdout, the peer name, and is done. When stdout
//! ends without a line the daemon has failed, and its last words are in the log.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::Serialize;

use crate::args::Place;
use crate::descriptors;
use crate::failure::Failure;

/// How long the daemon may take to serve. It takes well under a second; stretching four passwords on a small machine
/// (P3.3) is the slowest part.
const PATIENCE: Duration = Duration::from_secs(30);
/// A log longer than this, in bytes, is put aside at launch. One is kept, so logs take at most about twice this.
const LONGEST_LOG: u64 = 10 << 20;
/// How much of the end of the log is searched for the daemon's last words, in bytes.
const LAST_WORDS: u64 = 64 << 10;

/// Refuses a verb that changes the host when its user may not.
pub(crate) fn needs_root(verb: &str) -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(format!("`weave {verb}` needs root: run it with sudo")))
}

/// Starts the daemon in the background, and returns its peer name when it serves.
pub(crate) fn spawn(
    place: &Place,
    arguments: &[OsString],
    secrets: &impl Serialize,
) -> Result<String, Failure> {
    make_directory(&place.run_dir)?;
    let log_path = place.log();
    let (log, begin) = open_log(&log_path)?;
    // The link names this very program, also when its file has been replaced since.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("weave").args(arguments).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    let is_spent = |name: &OsStr| {
        name.as_encoded_bytes().starts_with(b"WEAVE_") || name.eq_ignore_ascii_case("https_proxy")
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_spent(name)) {
        // All they said is among the arguments and on stdin; passwords would stay readable in /proc.
        command.env_remove(name);
    }
    let mut child =
        command.spawn().map_err(|error| Failure::new(format!("cannot start the router: {error}")))?;
    hand_over(&mut child, secrets)?;
    match first_line(&mut child) {
        Ok(name) => Ok(name),
        Err(RecvTimeoutError::Disconnected) => {
            let ended = child.wait();
            Err(last_words(&log_path, begin).unwrap_or_else(|| {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                Failure::new(format!("the router ended before it served ({how})"))
                    .with_hint(format!("{} may say why", log_path.display()))
            }))
        }
        Err(RecvTimeoutError::Timeout) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(Failure::new(format!(
                "the router did not serve within {} s and was ended",
                PATIENCE.as_secs()
            ))
            .with_hint(format!("{} may say why", log_path.display())))
        }
    }
}

/// Runs the daemon as the child that [`spawn`] has started. Nothing but stdin has been touched before.
pub(crate) fn serve_detached(config: node::Config, ready: impl FnOnce(&str)) -> Result<(), Failure> {
    descriptors::close_inherited();
    // Fails only for the leader of a process group, which need not leave its session: it has none of a terminal's.
    let _ = nix::unistd::setsid();
    node::run(config, move |name: &str| {
        ready(name);
        // The reader goes away now. What is printed later by mistake must go nowhere instead of failing.
        if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
            let _ = nix::unistd::dup2_stdout(nowhere);
        }
    })?;
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), Failure> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(Failure::new(format!("cannot make the run directory {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Opens the log for appending, and says where this daemon's part of it begins.
fn open_log(path: &Path) -> Result<(File, u64), Failure> {
    let failed = |error| Failure::new(format!("cannot write the log {}: {error}", path.display()));
    if path.metadata().is_ok_and(|metadata| metadata.len() > LONGEST_LOG) {
        std::fs::rename(path, path.with_extension("log.old")).map_err(failed)?;
    }
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)?;
    let begin = log.metadata().map_err(failed)?.len();
    Ok((log, begin))
}

fn hand_over(child: &mut Child, secrets: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_vec(secrets).map_err(Failure::new)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that has already ended tells why in its log.
        let _ = stdin.write_all(&text);
    }
    Ok(())
}

fn first_line(child: &mut Child) -> Result<String, RecvTimeoutError> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            if read.is_ok() && line.ends_with('\n') {
                let _ = sender.send(line.trim_end().to_string());
            }
        });
    }
    receiver.recv_timeout(PATIENCE)
}

/// The failure that the daemon has told in its part of the log.
fn last_words(path: &Path, begin: u64) -> Option<Failure> {
    let mut log = File::open(path).ok()?;
    let end = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(begin.max(end.saturating_sub(LAST_WORDS)))).ok()?;
    let mut bytes = Vec::new();
    log.take(LAST_WORDS).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let at = lines.iter().rposition(|line| line.starts_with("weave: "))?;
    let failure = Failure::new(lines.get(at)?.strip_prefix("weave: ")?);
    match lines.get(at + 1).and_then(|line| line.strip_prefix("hint: ")) {
        Some(hint) => Some(failure.with_hint(hint)),
        None => Some(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_last_words_are_taken_from_its_own_part_of_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weave.log");
        std::fs::write(&path, "weave: of an earlier run\n").unwrap();
        let (mut log, begin) = open_log(&path).unwrap();
        assert!(last_words(&path, begin).is_none(), "it has said nothing yet");
        log.write_all(b"INFO starting\nweave: no\nweave: port 6783 is in use\nhint: take another\nbye\n")
            .unwrap();
        let words = format!("{:?}", last_words(&path, begin).unwrap());
        assert!(words.contains("port 6783 is in use") && words.contains("take another"), "{words}");
    }

    #[test]
    fn a_log_grown_too_long_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weave.log");
        File::create(&path).unwrap().set_len(LONGEST_LOG + 1).unwrap();
        let (_, begin) = open_log(&path).unwrap();
        assert_eq!(begin, 0);
        assert_eq!(directory.path().join("weave.log.old").metadata().unwrap().len(), LONGEST_LOG + 1);
    }
}
