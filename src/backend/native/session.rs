//! LanceDB's caches: one capped session for all stores that ask for the same size.
//!
//! Without a session of our own every connection brings caches of 6 and 1 GiB, which grow with
//! every version of every table that is touched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use lancedb::{ObjectStoreRegistry, Session};

use super::durable::{self, FlushedFiles};
use super::keys::{self, GivenKeys};
use crate::error::{Error, Result, Status};
use crate::process::PerProcess;

/// What the caches of one commit may hold.
const COMMIT_CACHE_BYTES: usize = 4 << 20;

/// By the size of the caches, and by the storage: caches know files by their URIs alone, and two storages may
/// have a bucket of the same name.
type Pool = Mutex<HashMap<(u64, String), Weak<Session>>>;

static POOL: PerProcess<Pool> = PerProcess::new();

/// The session whose caches hold at most `cache_bytes`, shared by all who hold it for the same storage.
pub fn shared(cache_bytes: u64, storage: &str) -> Result<Arc<Session>> {
    let pool = POOL.get().ok_or_else(|| {
        Error::new(Status::Forked, "too many nested forks; open stores in a process started by exec")
    })?;
    let mut pool = pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(session) = pool.get(&(cache_bytes, storage.to_owned())).and_then(Weak::upgrade) {
        return Ok(session);
    }
    let session = private(cache_bytes);
    pool.retain(|_, session| session.strong_count() > 0);
    pool.insert((cache_bytes, storage.to_owned()), Arc::downgrade(&session));
    Ok(session)
}

/// A session that nobody else uses.
pub fn private(cache_bytes: u64) -> Arc<Session> {
    let half = usize::try_from(cache_bytes / 2).unwrap_or(usize::MAX);
    let stores = ObjectStoreRegistry::default();
    stores.insert(durable::SCHEME, Arc::new(FlushedFiles));
    stores.insert(keys::SCHEME, Arc::new(GivenKeys));
    Arc::new(Session::new(half, half, Arc::new(stores)))
}

/// A session for one commit, which remembers nothing of before, to the same storages as `other`.
pub fn private_to_a_commit(other: &Session) -> Arc<Session> {
    Arc::new(Session::new(COMMIT_CACHE_BYTES, COMMIT_CACHE_BYTES, other.store_registry()))
}
