//! How much of a crash what was acknowledged survives.
//!
//! Lance hands its files to the operating system and leaves it there, which is enough when a process
//! is killed. For a crash of the machine they must be on the disk, in this order: the rows, the
//! manifest that names them, the directories that name both. Lance reaches files under another scheme
//! through an object store only, never by itself, and the one given here flushes each file before it
//! gets its name, and its directory after that.

use std::future::Future;
use std::io::Result as IoResult;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use lance_io::object_store::providers::local::FileStoreProvider;
use lance_io::object_store::{ObjectStore, ObjectStoreParams, ObjectStoreProvider};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use url::Url;

/// The scheme of what is flushed. It is Lance's own for files without short cuts, so that no other
/// process finds a scheme that it does not know.
pub const SCHEME: &str = "file-object-store";

/// What acknowledged writes survive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// The end of the process, in whatever way.
    #[default]
    Process,
    /// That of the machine too.
    Disk,
}

impl Durability {
    /// Brings the names in `directory`, if there is one, to the disk if that is wanted.
    pub fn sync(self, directory: Option<&Path>) -> IoResult<()> {
        match (self, directory) {
            (Durability::Disk, Some(directory)) => std::fs::File::open(directory)?.sync_all(),
            _ => Ok(()),
        }
    }

    /// Makes `directory` and what is missing above it.
    pub fn create_directories(self, directory: &Path) -> IoResult<()> {
        let missing: Vec<&Path> = directory.ancestors().take_while(|above| !above.exists()).collect();
        // Succeeds also when another process was faster.
        std::fs::create_dir_all(directory)?;
        missing.into_iter().try_for_each(|made| self.sync(made.parent()))
    }
}

/// Makes the object store of [`SCHEME`].
#[derive(Debug)]
pub struct FlushedFiles;

type Made<'a> = Pin<Box<dyn Future<Output = lance_core::Result<ObjectStore>> + Send + 'a>>;

impl ObjectStoreProvider for FlushedFiles {
    fn new_store<'life0, 'life1, 'async_trait>(
        &'life0 self,
        base: Url,
        params: &'life1 ObjectStoreParams,
    ) -> Made<'async_trait>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let mut store = FileStoreProvider.new_store(base, params).await?;
            store.inner = Arc::new(LocalFileSystem::new().with_fsync(true));
            Ok(store)
        })
    }

    fn extract_path(&self, url: &Url) -> lance_core::Result<ObjectPath> {
        FileStoreProvider.extract_path(url)
    }

    fn calculate_object_store_prefix(
        &self,
        url: &Url,
        options: Option<&std::collections::HashMap<String, String>>,
    ) -> lance_core::Result<String> {
        FileStoreProvider.calculate_object_store_prefix(url, options)
    }
}
