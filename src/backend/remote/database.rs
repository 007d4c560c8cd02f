//! A database of a server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lancedb::Connection;
use lancedb::table::BaseTable;
use tokio::sync::OnceCell;

use super::ask::ask;
use super::failure::{Fault, Peer};
use super::reach::{Reach, unsupported};
use super::table::Table;
use crate::backend::connect::Connect;
use crate::backend::location::{Location, Server};
use crate::backend::native::Durability;
use crate::error::{Error, Result, Status};
use crate::log::{self, Level};

/// How often a table that is dropped while it is being opened is looked for again.
const LOOKS: u32 = 3;

/// A database of a server, connected on first use.
pub struct Database {
    location: Location,
    reach: Reach,
    peer: Arc<Peer>,
    connection: OnceCell<Connection>,
    /// LanceDB's handles, of no version: having one saves the question whether there is such a table.
    handles: Mutex<HashMap<String, Arc<dyn BaseTable>>>,
    /// Set once the address is known to be one of this protocol.
    confirmed: OnceCell<()>,
}

impl Database {
    pub fn new(server: Server, connect: &Connect, display: &str, durability: Durability) -> Result<Database> {
        if durability == Durability::Disk {
            let message =
                "what a server has acknowledged is as safe as the server makes it; leave durability=disk out";
            return Err(Error::invalid(message).with("option", "durability"));
        }
        let reach = server.reach(connect)?;
        let peer = Arc::new(Peer::new(display, reach.key()));
        Ok(Database {
            location: Location::Server(server),
            reach,
            peer,
            connection: OnceCell::new(),
            handles: Mutex::default(),
            confirmed: OnceCell::new(),
        })
    }

    pub fn display(&self) -> &str {
        self.peer.display()
    }

    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The names of all tables, sorted.
    pub async fn tables(&self) -> Result<Vec<String>> {
        let connection = self.connection().await?;
        let listed = self.first(ask(|| connection.table_names().execute())).await?;
        let mut names = listed.map_err(|cause| self.not_listed(cause))?;
        let _ = self.confirmed.set(());
        names.sort();
        Ok(names)
    }

    pub async fn has(&self, table: &str) -> Result<bool> {
        let Some(handle) = self.handle(table).await? else { return Ok(false) };
        let newest = ask(|| async {
            handle.checkout_latest().await?;
            handle.version().await
        });
        match newest.await {
            Ok(_) => Ok(true),
            Err(cause) if Fault::of(&cause) == Fault::Absent => self.absent(table).await.map(|()| false),
            Err(cause) => Err(self.peer.failed("look for", table, cause)),
        }
    }

    /// Opens the newest version of `table`; `None` when there is none.
    pub async fn open(&self, table: &str) -> Result<Option<Table>> {
        for _ in 0..LOOKS {
            let Some(handle) = self.handle(table).await? else { return Ok(None) };
            let newest = ask(|| async {
                // The newest version of all, whatever the server has in a cache.
                handle.checkout_latest().await?;
                handle.checkout_current().await
            });
            let opened = async {
                let snapshot = newest.await?;
                let version = ask(|| snapshot.version()).await?;
                // Told with the snapshot.
                let schema = snapshot.schema().await?;
                Ok(Table::new(table, self.peer.clone(), snapshot, version, schema))
            };
            match opened.await {
                Ok(opened) => {
                    log::emit(Level::Debug, || {
                        format!(
                            "opened version {} of the table {table} of {}",
                            opened.version(),
                            self.display()
                        )
                    });
                    return Ok(Some(opened));
                }
                Err(cause) if Fault::of(&cause) == Fault::Absent => self.absent(table).await?,
                Err(lancedb::Error::Arrow { source }) => {
                    return Err(self.unreadable(table, &source.to_string()));
                }
                Err(lancedb::Error::Lance { source }) => {
                    return Err(self.unreadable(table, &source.to_string()));
                }
                Err(cause) => return Err(self.peer.failed("open", table, cause)),
            }
        }
        Ok(None)
    }

    /// Drops `table`, unless there is none: then the answer is false.
    pub async fn drop_table(&self, table: &str, proceed: impl Fn() -> Result<()>) -> Result<bool> {
        proceed()?;
        if !self.has(table).await? {
            return Ok(false);
        }
        self.forget(table);
        let Err(cause) = self.connection().await?.drop_table(table, &[]).await else { return Ok(true) };
        let fault = Fault::of(&cause);
        if fault == Fault::Absent {
            return Ok(false);
        }
        // The answer may be lost, and the table gone.
        if fault.may_have_happened() && !self.has(table).await? {
            return Ok(true);
        }
        Err(self.peer.failed("drop", table, cause))
    }

    /// The error for tables, which are not to be maintained from here.
    pub fn unmaintained(&self, what: &str) -> Error {
        unsupported(what, self.display())
    }

    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    pub(super) async fn connection(&self) -> Result<&Connection> {
        let connected = self.connection.get_or_try_init(|| async {
            self.check_redirect().await?;
            self.connect(Duration::ZERO).await
        });
        connected.await
    }

    /// Refuses a server that sends requests on to another one: the client would show that one the key.
    async fn check_redirect(&self) -> Result<()> {
        let elsewhere = ask(|| self.reach.elsewhere()).await;
        let what = || format!("cannot connect to {}", self.display());
        match elsewhere.map_err(|cause| self.peer.error(what(), cause))? {
            None => Ok(()),
            Some(elsewhere) => {
                let message = format!(
                    "{}: it sends requests on to {elsewhere}, which would get the API key with them; if that is where the \
                     store is, say so in its URI",
                    what()
                );
                let error = Error::new(Status::Unavailable, message).retryable(false);
                Err(error.with("store", self.display()).with("reason", "address"))
            }
        }
    }

    /// A connection of its own, for a request that may take `longer`.
    pub(super) async fn connect(&self, longer: Duration) -> Result<Connection> {
        let connected = self.reach.connect(longer).await;
        connected.map_err(|cause| self.peer.error(format!("cannot connect to {}", self.display()), cause))
    }

    /// LanceDB's handle of `table`; nothing if there is no such table.
    pub(super) async fn handle(&self, table: &str) -> Result<Option<Arc<dyn BaseTable>>> {
        if let Some(handle) = self.handles().get(table) {
            return Ok(Some(handle.clone()));
        }
        let connection = self.connection().await?;
        match self.first(ask(|| connection.open_table(table).execute())).await? {
            Ok(opened) => {
                let _ = self.confirmed.set(());
                let handle = opened.base_table().clone();
                self.handles().insert(table.to_owned(), handle.clone());
                Ok(Some(handle))
            }
            Err(cause) if Fault::of(&cause) == Fault::Absent => self.absent(table).await.map(|()| None),
            Err(cause) => Err(self.peer.failed("open", table, cause)),
        }
    }

    fn handles(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<dyn BaseTable>>> {
        self.handles.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn forget(&self, table: &str) {
        self.handles().remove(table);
    }

    /// Waits for an answer: for the first one of the server only as long as it may take to reach it.
    async fn first<T>(&self, answer: impl Future<Output = lancedb::Result<T>>) -> Result<lancedb::Result<T>> {
        let patience = self.reach.patience().filter(|_| !self.confirmed.initialized());
        let Some(patience) = patience else { return Ok(answer.await) };
        tokio::time::timeout(patience, answer).await.map_err(|_| {
            let message = format!(
                "cannot reach {}: there was no answer within {} ms; check the address, or allow for more by the option \
                 connect.timeout_ms",
                self.display(),
                patience.as_millis()
            );
            let error = Error::new(Status::Timeout, message).retryable(true);
            error.with("store", self.display()).with("reason", "timeout")
        })
    }

    /// Makes sure, once, that it is a server of tables that says that it has none by this name: whatever
    /// else is at a wrong address says so of everything.
    async fn absent(&self, table: &str) -> Result<()> {
        self.forget(table);
        let asked = self.confirmed.get_or_try_init(|| async {
            let connection = self.connection().await?;
            let listed = ask(|| connection.table_names().limit(1).execute()).await;
            listed.map(drop).map_err(|cause| self.not_listed(cause))
        });
        asked.await.map(drop)
    }

    fn not_listed(&self, cause: lancedb::Error) -> Error {
        let fault = Fault::of(&cause);
        let error = self.peer.error(format!("cannot list the tables of {}", self.display()), cause);
        if fault != Fault::Absent {
            return error;
        }
        let message = format!(
            "{}; no database answers there: check the path in the URI of the store, and the name of the database",
            error.message()
        );
        let told = Error::new(Status::Unavailable, message).caused_by(&error).retryable(false);
        told.with("store", self.display()).with("reason", "address")
    }

    fn unreadable(&self, table: &str, reason: &str) -> Error {
        let message = format!(
            "cannot open the table {table} of {}: it has a column of a type for which the server's protocol has no name, \
             such as a map ({}); read it where its files are",
            self.display(),
            self.peer.shown(reason)
        );
        Error::new(Status::Unsupported, message).with("store", self.display()).with("table", table)
    }
}
