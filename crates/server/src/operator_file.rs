//! The file by which `keys usage` asks a running proxy for the usage that is in its store: while it runs, only
//! it can open the store's file.
//!
//! It is beside the store, only its owner can read it, and it holds the proxy's URL and a random key of this
//! start. The key may read `/usage` and nothing else.

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use code_assist_core::KeyDigest;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::keys_command::new_key;
use crate::local_request::reachable;
use crate::private_file;
use crate::store::Store;

/// The file of a running proxy. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct OperatorFile {
    path: PathBuf,
    key: SecretString,
}

impl OperatorFile {
    /// Makes a key, and writes the file if the store is one. The proxy runs without the file, too.
    pub(crate) fn write(store: &Store, address: SocketAddr) -> Option<Self> {
        Self::write_beside(store.file()?, address)
    }

    fn write_beside(store: &Path, address: SocketAddr) -> Option<Self> {
        let (path, key) = (beside(store), new_key());
        let host = reachable(&address.ip().to_string());
        let url = format!("http://{host}:{}", address.port());
        let content =
            json!({ "url": url, "key": key.expose_secret(), "process": std::process::id() });
        match private_file::replace(&path, format!("{content}\n").as_bytes()) {
            Ok(()) => Some(Self { path, key }),
            Err(error) => {
                tracing::warn!(
                    "{} cannot be written, so that `keys usage` cannot ask this proxy: {error}",
                    path.display()
                );
                None
            }
        }
    }

    /// The digest of the key.
    pub(crate) fn digest(&self) -> KeyDigest {
        KeyDigest::of(self.key.expose_secret())
    }
}

impl Drop for OperatorFile {
    fn drop(&mut self) {
        // Another proxy may have written its own meanwhile.
        if Operator::read_at(&self.path)
            .is_some_and(|found| found.key.expose_secret() == self.key.expose_secret())
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How to ask a proxy that runs, or ran until it was killed.
#[derive(Debug)]
pub(crate) struct Operator {
    /// Its URL, without a path.
    pub(crate) url: String,
    pub(crate) key: SecretString,
}

impl Operator {
    /// Reads the file beside a store. `None` if there is none that this user may read.
    pub(crate) fn of_store(store: &Path) -> Option<Self> {
        Self::read_at(&beside(store))
    }

    fn read_at(path: &Path) -> Option<Self> {
        let file = private_file::open(path, fs::OpenOptions::new().read(true));
        // Root may ask a proxy that runs as another user, as a service does.
        let file = file.or_else(|error| if is_root() { File::open(path) } else { Err(error) });
        let content: Value = serde_json::from_reader(file.ok()?.take(LARGEST)).ok()?;
        let text = |name: &str| content.get(name)?.as_str().map(str::to_owned);
        Some(Self { url: text("url")?, key: text("key")?.into() })
    }
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

fn beside(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".operator");
    name.into()
}

/// More than a file has that a proxy wrote.
const LARGEST: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_private_and_is_removed_with_the_proxy_that_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("kv.redb");
        let written = |address: &str| {
            OperatorFile::write_beside(&store, address.parse().unwrap()).expect("a folder")
        };
        let first = written("0.0.0.0:8787");
        let path = folder.path().join("kv.redb.operator");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;

            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let read = Operator::of_store(&store).unwrap();
        assert_eq!(read.url, "http://127.0.0.1:8787");
        assert_eq!(KeyDigest::of(read.key.expose_secret()), first.digest());
        assert!(!format!("{first:?} {read:?}").contains(read.key.expose_secret()));

        let second = written("[::]:1");
        assert_eq!(Operator::of_store(&store).unwrap().url, "http://[::1]:1");
        assert_ne!(first.digest(), second.digest());
        drop(first);
        assert!(path.exists(), "the file is the second proxy's");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_such_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("kv.redb");
        for content in ["", "hush", "{}", "{\"url\":1,\"key\":\"hush\"}"] {
            fs::write(beside(&store), content).unwrap();
            assert!(Operator::of_store(&store).is_none(), "{content}");
        }
    }
}
