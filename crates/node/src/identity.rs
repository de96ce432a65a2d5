//! The identity key on disk (P1.1).

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

/// In the state directory. Whoever copies it makes a second router with the same identity.
pub(crate) const FILE: &str = "identity";

/// Loads the seed of the identity, or makes one at the first launch.
pub(crate) fn load_or_create(state_dir: &Path) -> Result<[u8; 32]> {
    let path = state_dir.join(FILE);
    match fs::File::open(&path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(33)
                .read_to_end(&mut bytes)
                .with_context(|| format!("cannot read {}", path.display()))?;
            match bytes.try_into() {
                Ok(seed) => Ok(seed),
                Err(bytes) => bail!(
                    "{} holds {} bytes instead of 32: restore it, or delete it to give this host a new identity",
                    path.display(),
                    bytes.len()
                ),
            }
        }
        Err(e) if e.kind() == ErrorKind::NotFound => create(&path),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Written beside its place and renamed, so that a crash or a full disk leaves no half key.
fn create(path: &Path) -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    if SystemRandom::new().fill(&mut seed).is_err() {
        bail!("the system gives no random bytes");
    }
    let draft = path.with_extension("new");
    let save = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&seed)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    save().with_context(|| format!("cannot save the new identity to {}", path.display()))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_identity_is_made_once_and_only_root_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path()).unwrap();
        assert_eq!(load_or_create(dir.path()).unwrap(), first);
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_identity_is_named_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&b"short"[..], &[7; 40]] {
            fs::write(dir.path().join(FILE), bytes).unwrap();
            let error = load_or_create(dir.path()).unwrap_err().to_string();
            assert!(error.contains("identity") && error.contains("instead of 32"), "{error}");
            assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), bytes);
        }
    }
}
