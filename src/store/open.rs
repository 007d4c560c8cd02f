//! Opening and closing a store, and what it is made of.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::chain::{Chain, Fallback, display};
use super::connect::connect;
use super::context::Call;
use super::define::Features;
use super::external::Externals;
use super::maintain::Upkeep;
use super::options::{
    CACHE_BYTES, COMPACT_AFTER_WRITES, DURABILITY, MATERIALIZATION_ID, MEMORY_BYTES, MODE, NAME, Options,
    PROJECT, SPILL_DIRECTORY,
};
use super::runtime::Runtime;
use super::settings::Settings;
use crate::backend::{Database, Durability, Location, Mode, mask};
use crate::error::{Error, Result, Status};
use crate::feature::{Graph, check_project_name};
use crate::log::{self, Level};
use crate::versioning::Memory;

/// A metadata store: one database and the graph of the features that are known in it. Clones are
/// the same store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    display: String,
    name: Option<String>,
    /// Masked.
    uri: String,
    chain: Chain,
    writable: bool,
    project: Option<String>,
    materialization_id: Option<String>,
    settings: Settings,
    features: Features,
    externals: Externals,
    upkeep: Option<Upkeep>,
    memory: Memory,
    closed: AtomicBool,
    database: Database,
    // Last, so that the threads outlive what runs on them.
    runtime: Runtime,
}

impl Store {
    /// Opens the store at `uri`. For writing, its directory is made if it is missing, and an S3 server that is
    /// not Amazon's is tried; the database itself is connected on first use.
    pub fn open(uri: &str, options: &Options, call: &Call) -> Result<Store> {
        Store::open_chain(uri, Vec::new(), options, call)
    }

    /// As [`Store::open`], for a store that looks further in `fallbacks`, in their order.
    pub fn open_chain(uri: &str, fallbacks: Vec<Fallback>, options: &Options, call: &Call) -> Result<Store> {
        let mode = match options.get(MODE)? {
            Some("read") => Mode::Read,
            _ => Mode::Write,
        };
        Store::open_as(mode, uri, fallbacks, options, call)
    }

    /// As [`Store::open_chain`], for a store that others fall back to: it is only read, and a directory
    /// that nobody has written to yet is a store without tables.
    pub fn open_below(uri: &str, fallbacks: Vec<Fallback>, options: &Options, call: &Call) -> Result<Store> {
        Store::open_as(Mode::ReadOnceThere, uri, fallbacks, options, call)
    }

    fn open_as(
        mode: Mode,
        uri: &str,
        fallbacks: Vec<Fallback>,
        options: &Options,
        call: &Call,
    ) -> Result<Store> {
        call.check()?;
        options.check_scope("open")?;
        let connect = connect(options)?;
        let location = Location::parse(uri)?.reached_by(&connect)?;
        let writable = mode == Mode::Write;
        let (name, uri) = (options.get(NAME)?.map(str::to_owned), mask(uri));
        let display = display(name.as_deref(), &uri);
        let project = options.get(PROJECT)?.map(str::to_owned);
        if let Some(project) = &project {
            check_project_name(project)?;
        }
        let cache_bytes = options.integer(CACHE_BYTES)?.unwrap_or_default();
        let durability = match options.get(DURABILITY)? {
            Some("disk") => Durability::Disk,
            _ => Durability::Process,
        };
        let materialization_id = options.get(MATERIALIZATION_ID)?.map(str::to_owned);
        let features = Features::default();
        let settings = Settings::from_options(options, features.clone())?;
        for store in fallbacks.iter().filter_map(Fallback::opened) {
            store.check_open()?;
        }
        let chain = Chain::new(fallbacks, options)?;
        chain.check(&display, &location, settings.known_so_far())?;
        let upkeep = Upkeep::from_options(options)?;
        if upkeep.is_some() && matches!(location, Location::Server(_)) {
            return Err(Error::invalid(format!(
                "{display} is on a server, whose tables are not compacted from here: LanceDB Cloud does that by itself, and a \
                 server of one's own is maintained by who runs it; leave {COMPACT_AFTER_WRITES} out"
            ))
            .with("option", COMPACT_AFTER_WRITES));
        }
        let memory_bytes = options.integer(MEMORY_BYTES)?.unwrap_or_default();
        let memory = Memory::new(
            usize::try_from(memory_bytes).unwrap_or(usize::MAX),
            options.get(SPILL_DIRECTORY)?.map(Path::new),
        )?;
        let runtime = Runtime::acquire()?;
        // Last, because it makes the directory: an open that fails leaves nothing behind.
        let database = Database::new(location, &connect, &display, cache_bytes, mode, durability)?;
        if database.must_try_writers() {
            runtime.block_on(call.run(database.try_writers()))?;
        }
        log::emit(Level::Info, || {
            format!("opened {display} for {}", if writable { "writing" } else { "reading" })
        });
        Ok(Store(Arc::new(Inner {
            writable,
            project,
            materialization_id,
            settings,
            features,
            externals: Externals::default(),
            chain,
            upkeep,
            memory,
            closed: AtomicBool::new(false),
            database,
            display,
            name,
            uri,
            runtime,
        })))
    }

    /// Ends the store: later calls fail, streams that it gave go on. Closing twice is no error.
    pub fn close(&self) -> Result<()> {
        self.0.closed.store(true, Ordering::Release);
        Ok(())
    }

    /// Name and URI for people, without secrets.
    pub fn display(&self) -> String {
        self.0.display.clone()
    }

    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    pub(super) fn database(&self) -> &Database {
        &self.0.database
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(super) fn project(&self) -> Option<&str> {
        self.0.project.as_deref()
    }

    pub(super) fn materialization_id(&self) -> Option<&str> {
        self.0.materialization_id.as_deref()
    }

    pub(super) fn defined(&self) -> &Features {
        &self.0.features
    }

    pub(super) fn externals(&self) -> &Externals {
        &self.0.externals
    }

    /// The features as they are defined now; later definitions do not change it.
    pub(super) fn graph(&self) -> Arc<Graph> {
        self.0.features.now()
    }

    /// The name that the store was given.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The URI of the store, without secrets.
    pub fn uri(&self) -> &str {
        &self.0.uri
    }

    /// Where reads go on.
    pub(super) fn chain(&self) -> &Chain {
        &self.0.chain
    }

    /// The stores in which reads go on, in their order.
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.chain().fallbacks
    }

    /// Whether two handles are of one store.
    pub fn is(&self, other: &Store) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What a call may hold in memory.
    pub(super) fn memory(&self) -> Memory {
        self.0.memory.another()
    }

    pub(super) fn upkeep(&self) -> Option<Upkeep> {
        self.0.upkeep
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(self.located(Error::new(
                Status::InvalidState,
                format!("the store {} is closed; open it again", self.0.display),
            )));
        }
        Ok(())
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if !self.0.writable {
            return Err(self.located(Error::new(
                Status::InvalidState,
                format!("the store {} is open for reading only; open it with mode=write", self.0.display),
            )));
        }
        Ok(())
    }

    /// `error` with the store it is about.
    pub(super) fn located(&self, error: Error) -> Error {
        error.with("store", &self.0.display)
    }
}
