//! What must survive a restart: targets, remembered identities, attachments, exposed addresses.
//!
//! One redb file. It is opened for each change and closed again: changes are rare, and a database that met a full disk is
//! then as good as new once there is room. Every change is one transaction, on disk when the call returns.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ipnetwork::IpNetwork;
use redb::{Database, ReadableTable as _, TableDefinition, WriteTransaction};

/// The layout below. A program that changes it raises this and reads the old one.
const SCHEMA: u64 = 1;
const FILE: &str = "state.redb";
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const TARGETS: TableDefinition<'_, u64, &str> = TableDefinition::new("targets");
/// (target, address) to the public key seen there.
const PINS: TableDefinition<'_, (&str, &str), &[u8; 32]> = TableDefinition::new("pins");
/// (container id, address) to the order in which they were attached.
const ATTACHMENTS: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("attachments");
const EXPOSED: TableDefinition<'_, &str, u64> = TableDefinition::new("exposed");

const KEY_SCHEMA: &str = "schema";
const KEY_INCARNATION: &str = "incarnation";
/// 1 while a router runs: whoever finds it at launch knows that the last one was killed.
const KEY_RUNNING: &str = "running";

/// Why something could not be saved or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot use the state directory {}: {source}", dir.display())]
    Dir { dir: PathBuf, source: std::io::Error },
    #[error(
        "the state in {} was written by a newer version (layout {found}, this one knows {SCHEMA}): install that version, or start afresh \
         with `weave reset --force`", dir.display()
    )]
    Newer { dir: PathBuf, found: u64 },
    #[error("another router uses the state in {}: stop it first", dir.display())]
    InUse { dir: PathBuf },
    #[error("cannot read or save the state in {}: {source}; nothing was changed", file.display())]
    Database { file: PathBuf, source: redb::Error },
    #[error("the state in {} holds {what}, which makes no sense: restore it, or start afresh with `weave reset --force`", file.display())]
    Damaged { file: PathBuf, what: String },
}

type Result<T> = std::result::Result<T, StoreError>;

/// Everything that was saved.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) targets: Vec<String>,
    pub(crate) pins: BTreeMap<(String, String), [u8; 32]>,
    /// By container id, in the order they were attached.
    pub(crate) attachments: BTreeMap<String, Vec<IpNetwork>>,
    pub(crate) exposed: Vec<IpNetwork>,
    /// Whether the last router was killed rather than stopped.
    pub(crate) was_killed: bool,
}

pub(crate) struct Store {
    dir: PathBuf,
    file: PathBuf,
    /// redb locks the file against other processes; this keeps our own threads apart.
    lock: Mutex<()>,
}

impl Store {
    /// Opens the state directory, making it if it is not there.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let no = |source| StoreError::Dir { dir: dir.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(no)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(no)?;
        let store = Self { dir: dir.to_owned(), file: dir.join(FILE), lock: Mutex::new(()) };
        store
            .write(|tx| {
                let found = tx.open_table(META)?.get(KEY_SCHEMA)?.map(|v| v.value());
                if found.is_none() {
                    tx.open_table(META)?.insert(KEY_SCHEMA, SCHEMA)?;
                }
                Ok(found.unwrap_or(SCHEMA))
            })
            .and_then(|found| match found {
                SCHEMA => Ok(store),
                found => Err(StoreError::Newer { dir: dir.to_owned(), found }),
            })
    }

    /// Whether a router used this directory and was stopped on purpose. Changes nothing.
    pub(crate) fn was_stopped(dir: &Path) -> bool {
        dir.join(FILE).exists()
            && Self::open(dir).and_then(|store| store.load()).is_ok_and(|saved| !saved.was_killed)
    }

    /// Everything that was saved.
    pub(crate) fn load(&self) -> Result<Saved> {
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let database = self.database()?;
        let raw = read(&database).map_err(|e| self.failed(e))?;
        let network = |text: &str| {
            text.parse().map_err(|_| StoreError::Damaged {
                file: self.file.clone(),
                what: format!("the address `{text}`"),
            })
        };
        let mut attachments = BTreeMap::<_, Vec<(u64, IpNetwork)>>::new();
        for ((id, address), order) in raw.attachments {
            attachments.entry(id).or_default().push((order, network(&address)?));
        }
        let in_order = |mut list: Vec<(u64, IpNetwork)>| {
            list.sort_unstable();
            list.into_iter().map(|(_, a)| a).collect::<Vec<_>>()
        };
        let exposed =
            raw.exposed.into_iter().map(|(a, order)| Ok((order, network(&a)?))).collect::<Result<_>>()?;
        Ok(Saved {
            targets: raw.targets,
            pins: raw.pins,
            attachments: attachments.into_iter().map(|(id, list)| (id, in_order(list))).collect(),
            exposed: in_order(exposed),
            was_killed: raw.was_killed,
        })
    }

    /// The incarnation of this run (P1.5), saved before it is used; marks the router as running.
    pub(crate) fn begin(&self, unix_ms: u64) -> Result<u64> {
        self.write(|tx| {
            let mut meta = tx.open_table(META)?;
            let last = meta.get(KEY_INCARNATION)?.map_or(0, |v| v.value());
            let incarnation = unix_ms.max(last.saturating_add(1));
            meta.insert(KEY_INCARNATION, incarnation)?;
            meta.insert(KEY_RUNNING, 1)?;
            Ok(incarnation)
        })
    }

    /// Takes back [`Store::begin`] and the targets of a launch that failed: the next one finds what this one found.
    pub(crate) fn take_back(&self, saved: &Saved) -> Result<()> {
        self.set_targets(&saved.targets)?;
        if saved.was_killed { Ok(()) } else { self.end() }
    }

    /// Marks the router as stopped on purpose.
    pub(crate) fn end(&self) -> Result<()> {
        self.write(|tx| tx.open_table(META)?.insert(KEY_RUNNING, 0).map(|_| ()).map_err(Into::into))
    }

    pub(crate) fn set_targets(&self, targets: &[String]) -> Result<()> {
        self.write(|tx| {
            tx.delete_table(TARGETS)?;
            let mut table = tx.open_table(TARGETS)?;
            for (i, target) in targets.iter().enumerate() {
                table.insert(i as u64, target.as_str())?;
            }
            Ok(())
        })
    }

    pub(crate) fn pin(&self, target: &str, address: &str, key: &[u8; 32]) -> Result<()> {
        self.write(|tx| Ok(tx.open_table(PINS)?.insert((target, address), key).map(|_| ())?))
    }

    pub(crate) fn unpin(&self, target: &str) -> Result<()> {
        self.write(|tx| Ok(tx.open_table(PINS)?.retain(|(t, _), _| t != target)?))
    }

    pub(crate) fn add_attachments(&self, container: &str, addresses: &[IpNetwork]) -> Result<()> {
        self.write(|tx| {
            let mut table = tx.open_table(ATTACHMENTS)?;
            let mut next =
                table.iter()?.try_fold(0, |max, row| row.map(|(_, order)| max.max(order.value() + 1)))?;
            for address in addresses {
                let address = address.to_string();
                if table.get((container, address.as_str()))?.is_none() {
                    table.insert((container, address.as_str()), next)?;
                    next += 1;
                }
            }
            Ok(())
        })
    }

    pub(crate) fn remove_attachments(&self, container: &str, addresses: &[IpNetwork]) -> Result<()> {
        self.write(|tx| {
            let mut table = tx.open_table(ATTACHMENTS)?;
            for address in addresses {
                table.remove((container, address.to_string().as_str()))?;
            }
            Ok(())
        })
    }

    pub(crate) fn forget_container(&self, container: &str) -> Result<()> {
        self.write(|tx| Ok(tx.open_table(ATTACHMENTS)?.retain(|(id, _), _| id != container)?))
    }

    pub(crate) fn set_exposed(&self, exposed: &[IpNetwork]) -> Result<()> {
        self.write(|tx| {
            tx.delete_table(EXPOSED)?;
            let mut table = tx.open_table(EXPOSED)?;
            for (i, address) in exposed.iter().enumerate() {
                table.insert(address.to_string().as_str(), i as u64)?;
            }
            Ok(())
        })
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> std::result::Result<T, redb::Error>,
    ) -> Result<T> {
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let database = self.database()?;
        let run = || {
            let tx = database.begin_write()?;
            let value = change(&tx)?;
            tx.commit()?;
            Ok(value)
        };
        run().map_err(|e| self.failed(e))
    }

    fn database(&self) -> Result<Database> {
        Database::create(&self.file).map_err(|e| self.failed(e.into()))
    }

    fn failed(&self, source: redb::Error) -> StoreError {
        match source {
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse { dir: self.dir.clone() },
            redb::Error::UpgradeRequired(found) => {
                StoreError::Newer { dir: self.dir.clone(), found: found.into() }
            }
            source => StoreError::Database { file: self.file.clone(), source },
        }
    }
}

#[derive(Default)]
struct Raw {
    targets: Vec<String>,
    pins: BTreeMap<(String, String), [u8; 32]>,
    attachments: Vec<((String, String), u64)>,
    exposed: Vec<(String, u64)>,
    was_killed: bool,
}

fn read(database: &Database) -> std::result::Result<Raw, redb::Error> {
    let tx = database.begin_write()?;
    let mut raw = Raw::default();
    // Opened through a write transaction, because that makes a table which is not there yet; nothing is written.
    for row in tx.open_table(TARGETS)?.iter()? {
        raw.targets.push(row?.1.value().to_owned());
    }
    for row in tx.open_table(PINS)?.iter()? {
        let (key, value) = row?;
        let (target, address) = key.value();
        raw.pins.insert((target.to_owned(), address.to_owned()), *value.value());
    }
    for row in tx.open_table(ATTACHMENTS)?.iter()? {
        let (key, order) = row?;
        let (id, address) = key.value();
        raw.attachments.push(((id.to_owned(), address.to_owned()), order.value()));
    }
    for row in tx.open_table(EXPOSED)?.iter()? {
        let (address, order) = row?;
        raw.exposed.push((address.value().to_owned(), order.value()));
    }
    raw.was_killed = tx.open_table(META)?.get(KEY_RUNNING)?.is_some_and(|v| v.value() == 1);
    tx.abort()?;
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn everything_comes_back_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.set_targets(&["b".into(), "a:1".into()]).unwrap();
        store.pin("b", "10.0.0.1:6783", &[7; 32]).unwrap();
        store.add_attachments("c1", &[net("10.0.2.1/24"), net("10.0.1.1/24")]).unwrap();
        store.add_attachments("c1", &[net("10.0.0.9/24"), net("10.0.2.1/24")]).unwrap();
        store.set_exposed(&[net("10.9.0.1/16"), net("10.8.0.1/16")]).unwrap();
        drop(store);
        let saved = Store::open(dir.path()).unwrap().load().unwrap();
        assert_eq!(saved.targets, ["b", "a:1"]);
        assert_eq!(saved.pins[&("b".to_owned(), "10.0.0.1:6783".to_owned())], [7; 32]);
        assert_eq!(
            saved.attachments["c1"],
            [net("10.0.2.1/24"), net("10.0.1.1/24"), net("10.0.0.9/24")],
            "as attached"
        );
        assert_eq!(saved.exposed, [net("10.9.0.1/16"), net("10.8.0.1/16")]);
    }

    #[test]
    fn what_was_removed_stays_away() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.add_attachments("c1", &[net("10.0.0.1/24"), net("10.0.0.2/24")]).unwrap();
        store.add_attachments("c2", &[net("10.0.0.3/24")]).unwrap();
        store.remove_attachments("c1", &[net("10.0.0.1/24"), net("10.7.7.7/24")]).unwrap();
        store.forget_container("c2").unwrap();
        store.pin("t", "x", &[1; 32]).unwrap();
        store.unpin("t").unwrap();
        let saved = store.load().unwrap();
        assert_eq!(saved.attachments, BTreeMap::from([("c1".to_owned(), vec![net("10.0.0.2/24")])]));
        assert!(saved.pins.is_empty());
    }

    #[test]
    fn an_incarnation_never_comes_twice_even_when_the_clock_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.begin(1000).unwrap(), 1000);
        assert_eq!(store.begin(5).unwrap(), 1001);
    }

    #[test]
    fn a_killed_router_is_told_from_a_stopped_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(!store.load().unwrap().was_killed);
        store.begin(1).unwrap();
        assert!(store.load().unwrap().was_killed && !Store::was_stopped(dir.path()));
        store.end().unwrap();
        assert!(!store.load().unwrap().was_killed && Store::was_stopped(dir.path()));
        assert!(!Store::was_stopped(&dir.path().join("elsewhere")));
    }

    #[test]
    fn a_launch_that_fails_leaves_targets_and_the_mark_of_a_kill_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.set_targets(&["a".into()]).unwrap();
        for killed in [false, true] {
            if killed {
                store.begin(1).unwrap();
            }
            let saved = store.load().unwrap();
            store.begin(2).unwrap();
            store.set_targets(&["b".into()]).unwrap();
            store.take_back(&saved).unwrap();
            assert_eq!(store.load().unwrap(), saved, "killed before: {killed}");
        }
    }

    #[test]
    fn a_newer_layout_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.write(|tx| Ok(tx.open_table(META)?.insert(KEY_SCHEMA, SCHEMA + 1).map(|_| ())?)).unwrap();
        drop(store);
        let error = Store::open(dir.path()).err().unwrap();
        assert!(matches!(error, StoreError::Newer { found: 2, .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), vec![b'x'; 8192]).unwrap();
        let error = Store::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("state.redb"), "{error}");
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), vec![b'x'; 8192]);
    }
}
