//! Finding a feature: which stores of a chain serve it, and with which rows.
//!
//! A walk goes down the chain, depth first. Each store says by its `fallback.missing` when it is not
//! enough; what it has then hides the same samples further down, so that a tombstone here deletes a
//! row there.

use std::sync::Arc;

use arrow::array::{ArrayRef, LargeStringArray, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, lit};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};

use super::Store;
use super::chain::{Fallback, Missing, Told, is_unavailable};
use super::context::Call;
use super::current::{Collect, Current, Selection};
use super::filter::Filter;
use super::merge::union;
use super::read::{ReadRequest, visible};
use super::samples::Samples;
use super::system_columns as system;
use crate::backend::Table;
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, Graph, Versions};
use crate::log::{self, Level};
use crate::versioning::Memory;

/// A read of a feature, as every store of the chain is asked for it.
pub struct Ask {
    pub key: FeatureKey,
    pub request: ReadRequest,
    pub id_columns: Vec<String>,
    graph: Arc<Graph>,
    filters: Vec<Filter>,
    every_row: bool,
}

impl Ask {
    /// The same, of rows that meet `filters` as well.
    #[must_use]
    pub fn and(mut self, filters: Vec<Filter>) -> Ask {
        self.filters.extend(filters);
        self
    }
}

/// What a store of the chain had to say.
#[derive(Clone, Debug)]
pub struct Visit {
    pub name: Option<String>,
    /// Masked.
    pub uri: String,
    pub table: String,
    /// The version of its table, if there is one.
    pub version: Option<u64>,
    pub outcome: Outcome,
    /// Why it could not be asked.
    pub problem: Option<String>,
}

/// What became of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its table has a share in the answer.
    Served,
    /// It has no table of the feature.
    Absent,
    /// No row of its table is current.
    NoRows,
    /// It was passed over.
    Unavailable,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Served => "served",
            Outcome::Absent => "absent",
            Outcome::NoRows => "no rows",
            Outcome::Unavailable => "unavailable",
        }
    }
}

/// The rows of one table that belong to an answer.
pub struct Share {
    pub store: String,
    pub table: Table,
    pub rows: Rows,
    visit: usize,
}

pub enum Rows {
    /// All that meet a condition, found while they are read.
    Matching(Option<Expr>),
    Current(Current),
}

/// All that a chain has of what was asked.
pub struct Answer {
    /// At least one; the rows of an earlier one come first.
    pub shares: Vec<Share>,
    /// The columns of every table that was asked, also of those whose rows are all hidden or filtered
    /// away: the columns of the answer do not depend on its rows.
    pub schemas: Vec<SchemaRef>,
    pub visits: Vec<Visit>,
}

impl Store {
    /// Finds out which stores of the chain would serve a read, without reading the rows: the stores that
    /// were asked, in the order of asking, in the columns of [`visits_schema`].
    pub async fn find(&self, feature: &str, request: &ReadRequest, call: &Call) -> Result<RecordBatch> {
        let key = FeatureKey::parse(feature)?;
        let answer = call.run(async {
            self.check_open()?;
            if !key.is_system() {
                Box::pin(self.refresh_externals()).await?;
            }
            self.answer(&self.ask(&key, request)?).await
        });
        let answer = answer.await;
        visits(&answer.map_err(|error| self.located(error).with("feature", &key))?.visits)
    }

    pub(super) fn ask(&self, key: &FeatureKey, request: &ReadRequest) -> Result<Ask> {
        self.ask_in(self.graph(), key, request)
    }

    /// As [`Store::ask`], of the version that the feature has in `graph`.
    pub(super) fn ask_in(&self, graph: Arc<Graph>, key: &FeatureKey, request: &ReadRequest) -> Result<Ask> {
        self.check_open()?;
        if request.batch_rows == Some(0) {
            return Err(Error::invalid("a batch cannot have 0 rows; leave batch_rows out for the default"));
        }
        let filters = request.filters.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>>>()?;
        // Metaxy keeps no history of its own tables: each row counts.
        let every_row = request.sample_history || key.is_system();
        let local = request.local || key.is_system() || self.chain().fallbacks.is_empty();
        let id_columns = if key.is_system() || (every_row && request.feature_history && local) {
            Vec::new()
        } else {
            graph.get(key)?.spec.id_columns.clone()
        };
        Ok(Ask { key: key.clone(), request: request.clone(), id_columns, graph, filters, every_row })
    }

    pub(super) async fn answer(&self, ask: &Ask) -> Result<Answer> {
        let mut walk = Walk {
            ask,
            memory: self.memory(),
            local: ask.request.local || ask.key.is_system() || self.chain().fallbacks.is_empty(),
            seen: Vec::new(),
            hidden: Arc::default(),
            id_types: None,
            told: Told::default(),
            schemas: Vec::new(),
            shares: Vec::new(),
            empty: None,
            visits: Vec::new(),
        };
        walk.visit(self, Needed::default()).await?;
        walk.end(self)
    }
}

/// What a store, or the chain below it, was found to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Has {
    Nothing,
    Table,
    Rows,
}

/// What the stores further up need to know of a store before they can go on.
#[derive(Clone, Copy, Default)]
struct Needed {
    samples: Collect,
    /// Whether it has rows, whatever the filters say.
    rows: bool,
}

impl Needed {
    fn and(self, other: Needed) -> Needed {
        Needed { samples: self.samples.max(other.samples), rows: self.rows || other.rows }
    }
}

struct Walk<'a> {
    ask: &'a Ask,
    /// That of the store that was asked, also for those that it asks.
    memory: Memory,
    /// Whether the fallback stores are left alone.
    local: bool,
    seen: Vec<(Store, Has)>,
    /// The samples of the stores that were visited, as far as they hide those that follow.
    hidden: Arc<Samples>,
    id_types: Option<Vec<DataType>>,
    told: Told,
    /// The columns of every table that was asked, and whether it has rows.
    schemas: Vec<(SchemaRef, bool)>,
    shares: Vec<Share>,
    /// The first table without rows, which is the answer if nobody has any.
    empty: Option<Share>,
    visits: Vec<Visit>,
}

/// How far a walk has come.
struct Mark {
    seen: usize,
    schemas: usize,
    visits: usize,
    hidden: Arc<Samples>,
    id_types: Option<Vec<DataType>>,
    told: Told,
}

impl Walk<'_> {
    /// Asks a store and, as far as it says so, those below it.
    fn visit<'a>(&'a mut self, store: &'a Store, above: Needed) -> BoxFuture<'a, Result<Has>> {
        async move {
            if let Some((_, has)) = self.seen.iter().find(|(seen, _)| seen.is(store)) {
                // Two ways lead to it; it has had its say.
                return Ok(*has);
            }
            let place = self.seen.len();
            self.seen.push((store.clone(), Has::Nothing));
            let has = self.visit_first(store, above).await?;
            if let Some((_, seen)) = self.seen.get_mut(place) {
                *seen = has;
            }
            Ok(has)
        }
        .boxed()
    }

    async fn visit_first(&mut self, store: &Store, above: Needed) -> Result<Has> {
        let chain = store.chain();
        let passes_over = chain.pass_over && !self.local;
        let before = passes_over.then(|| self.mark());
        let mut has = match (self.own(store, above.and(self.needed_by(store))).await, before) {
            (Err(error), Some(before)) if is_unavailable(&error) => {
                self.back_to(before);
                self.pass_over(store.name(), store.uri(), &store.display(), &error);
                Has::Nothing
            }
            (has, _) => has?,
        };
        if self.local {
            return Ok(has);
        }
        let last = chain.fallbacks.len();
        for (place, fallback) in chain.fallbacks.iter().enumerate() {
            let enough = match self.missing(store) {
                Missing::Table => has >= Has::Table,
                Missing::Rows => has == Has::Rows,
                Missing::Merge => false,
            };
            if enough {
                break;
            }
            let needed = if place + 1 == last { above } else { above.and(self.needed_by(store)) };
            has = has.max(self.descend(store, fallback, needed).await?);
        }
        Ok(has)
    }

    /// When a store goes on.
    fn missing(&self, store: &Store) -> Missing {
        match store.chain().missing {
            Missing::Rows if self.ask.request.whole_chain => Missing::Merge,
            missing => missing,
        }
    }

    /// What a store needs to know of itself, or of one of its fallback stores, to go on to the next.
    fn needed_by(&self, store: &Store) -> Needed {
        match self.missing(store) {
            _ if self.local || store.chain().fallbacks.is_empty() => Needed::default(),
            Missing::Table => Needed::default(),
            Missing::Rows => Needed { samples: Collect::Deleted, rows: true },
            Missing::Merge => Needed { samples: Collect::All, rows: false },
        }
    }

    async fn descend(&mut self, store: &Store, fallback: &Fallback, needed: Needed) -> Result<Has> {
        let passes_over = store.chain().pass_over;
        let below = match fallback.store() {
            Ok(below) => below,
            Err(error) if is_unavailable(&error) && passes_over => {
                self.pass_over(fallback.name(), fallback.uri(), &fallback.display(), &error);
                return Ok(Has::Nothing);
            }
            Err(error) => return Err(error),
        };
        let before = passes_over.then(|| self.mark());
        match (self.visit(below, needed).await, before) {
            // With all that is below it: an answer must not hold half of what a store would have said.
            (Err(error), Some(before)) if is_unavailable(&error) => {
                self.back_to(before);
                self.pass_over(below.name(), below.uri(), &below.display(), &error);
                Ok(Has::Nothing)
            }
            (has, _) => has,
        }
    }

    /// Asks one store alone.
    async fn own(&mut self, store: &Store, needed: Needed) -> Result<Has> {
        let database = store.database();
        let table = database.open(&self.ask.key.table_name()).await?;
        if !self.local {
            self.told.add(&store.display(), store.settings().told(database, table.as_ref()).await?)?;
        }
        let Some(table) = table else {
            self.note(store.name(), store.uri(), Outcome::Absent, None);
            return Ok(Has::Nothing);
        };
        let schema = table.schema();
        if self.local {
            self.check_columns(&table)?;
        }
        let version = self.version(store, &table).await?;
        let wanted = &self.ask.request;
        if self.ask.every_row && self.is_all_that_is_asked(needed, &schema) {
            let undeleted = !wanted.deleted && !self.ask.key.is_system();
            let condition = self.condition(&schema, version, undeleted)?;
            let has_rows = table.rows().await? > 0;
            self.share(store, table, Rows::Matching(condition), has_rows);
            return Ok(if has_rows { Has::Rows } else { Has::Table });
        }
        let found = match self.select(&schema, version.clone(), needed) {
            Ok(selection) => selection.find(&table, &self.memory).await,
            Err(error) => Err(error),
        };
        let found = match found {
            Err(error) if self.is_beside_the_point(&error, &table, version.as_deref()).await? => {
                let none = Current::Some { addresses: Vec::new(), known: None };
                self.share(store, table, Rows::Current(none), false);
                return Ok(Has::Table);
            }
            found => found.map_err(|error| self.unlike(error, store))?,
        };
        let mut live = found.live;
        if !live && !self.local && !self.ask.filters.is_empty() {
            // The filters are no part of the question whether there are rows.
            live = self.unfiltered(version).find(&table, &self.memory).await?.live;
        }
        if !found.collected.is_empty() {
            self.id_types.get_or_insert(found.id_types);
            Arc::make_mut(&mut self.hidden).extend(found.collected);
        }
        self.share(store, table, Rows::Current(found.current), live || found.count > 0);
        Ok(if live { Has::Rows } else { Has::Table })
    }

    /// Whether rows need not be looked at one by one: nobody asks more of them, none is hidden, and the
    /// table has all that the filters name.
    fn is_all_that_is_asked(&self, needed: Needed, schema: &Schema) -> bool {
        let mut columns = self.ask.filters.iter().flat_map(Filter::columns);
        needed.samples == Collect::Nothing
            && !needed.rows
            && self.hidden.is_empty()
            && (self.local || columns.all(|name| schema.column_with_name(name).is_some()))
    }

    /// Whether an error about columns is one of a table that has no row of the version: what such a
    /// table looks like must not keep the stores below from being read.
    async fn is_beside_the_point(&self, error: &Error, table: &Table, version: Option<&str>) -> Result<bool> {
        let about_columns = matches!(error.status(), Status::InvalidArgument | Status::SchemaMismatch);
        let schema = table.schema();
        if self.local || !about_columns || schema.column_with_name(system::FEATURE_VERSION).is_none() {
            return Ok(false);
        }
        let Some(version) = version else { return Ok(table.rows().await? == 0) };
        let of_version = column_is(&schema, system::FEATURE_VERSION, version.to_owned());
        let scan = table.scan(vec![system::FEATURE_VERSION.to_owned()]).filter(Some(of_version));
        let found: Vec<RecordBatch> = scan.limit(Some(1)).stream().await?.try_collect().await?;
        Ok(found.iter().all(|batch| batch.num_rows() == 0))
    }

    /// The error of a store whose ids cannot be compared with those of the stores before it.
    fn unlike(&self, error: Error, store: &Store) -> Error {
        if self.hidden.is_empty() || error.status() != Status::SchemaMismatch {
            return error;
        }
        let reworded = error.reworded(|reason| {
            format!(
                "the ids of {} cannot be compared with those of the stores before it in the chain: {reason}; read the \
                 stores one by one, or give their id columns one type",
                store.display()
            )
        });
        reworded.with("fallback", store.display())
    }

    fn share(&mut self, store: &Store, table: Table, rows: Rows, served: bool) {
        let outcome = if served { Outcome::Served } else { Outcome::NoRows };
        self.note(store.name(), store.uri(), outcome, None);
        let visit = self.visits.len().saturating_sub(1);
        if let Some(visit) = self.visits.get_mut(visit) {
            visit.version = Some(table.version());
        }
        self.schemas.push((table.schema(), served));
        let share = Share { store: store.display(), table, rows, visit };
        if served {
            self.shares.push(share);
        } else {
            self.empty.get_or_insert(share);
        }
    }

    fn note(&mut self, name: Option<&str>, uri: &str, outcome: Outcome, problem: Option<String>) {
        self.visits.push(Visit {
            name: name.map(str::to_owned),
            uri: uri.to_owned(),
            table: self.ask.key.table_name(),
            version: None,
            outcome,
            problem,
        });
    }

    fn pass_over(&mut self, name: Option<&str>, uri: &str, display: &str, error: &Error) {
        log::emit(Level::Warn, || {
            format!("{display} cannot be reached, and is passed over to read {}: {error}", self.ask.key)
        });
        self.note(name, uri, Outcome::Unavailable, Some(error.message().to_owned()));
    }

    fn mark(&self) -> Mark {
        Mark {
            seen: self.seen.len(),
            schemas: self.schemas.len(),
            visits: self.visits.len(),
            hidden: self.hidden.clone(),
            id_types: self.id_types.clone(),
            told: self.told.clone(),
        }
    }

    /// Takes back what was found since.
    fn back_to(&mut self, mark: Mark) {
        self.seen.truncate(mark.seen);
        self.schemas.truncate(mark.schemas);
        self.visits.truncate(mark.visits);
        self.shares.retain(|share| share.visit < mark.visits);
        self.empty = self.empty.take().filter(|share| share.visit < mark.visits);
        (self.hidden, self.id_types, self.told) = (mark.hidden, mark.id_types, mark.told);
    }

    /// The feature version whose rows are read; none when all are.
    async fn version(&self, store: &Store, table: &Table) -> Result<Option<String>> {
        let wanted = &self.ask.request;
        if let Some(version) = &wanted.feature_version {
            return Ok(Some(version.clone()));
        }
        if wanted.feature_history || self.ask.key.is_system() {
            return Ok(None);
        }
        let truncation = match self.told.together().truncation {
            Some(truncation) => truncation,
            None => store.settings().resolve(store.database(), Some(table)).await?.truncation,
        };
        Versions::new(&self.ask.graph, truncation).feature_version(&self.ask.key).map(Some)
    }

    fn select(&self, schema: &Schema, version: Option<String>, needed: Needed) -> Result<Selection> {
        let ids = &self.ask.id_columns;
        let (on_ids, on_latest): (Vec<_>, Vec<_>) = self
            .ask
            .filters
            .iter()
            .cloned()
            .flat_map(Filter::split)
            .partition(|filter| filter.columns().iter().all(|name| ids.iter().any(|id| id == name)));
        let on_ids = on_ids.iter().map(|filter| filter.to_expr(schema)).collect::<Result<Vec<_>>>()?;
        let collect = needed.samples;
        Ok(Selection { on_ids: all_of(on_ids), on_latest, collect, ..self.unfiltered(version) })
    }

    fn unfiltered(&self, version: Option<String>) -> Selection {
        let mut id_columns = self.ask.id_columns.clone();
        if self.ask.request.each_version {
            id_columns.push(system::FEATURE_VERSION.to_owned());
        }
        Selection {
            id_columns,
            feature_version: version,
            deleted: self.ask.request.deleted,
            on_ids: None,
            on_latest: Vec::new(),
            every_row: self.ask.every_row,
            whole_samples: self.ask.request.whole_samples,
            hidden: Some(self.hidden.clone()).filter(|hidden| !hidden.is_empty()),
            id_types: self.id_types.clone(),
            collect: Collect::Nothing,
        }
    }

    /// What every row must meet, where it does not matter which is the latest of its sample.
    fn condition(&self, schema: &Schema, version: Option<String>, undeleted: bool) -> Result<Option<Expr>> {
        let filters = self.ask.filters.iter();
        let mut conditions =
            filters.map(|filter| filter.to_expr(&visible(schema))).collect::<Result<Vec<_>>>()?;
        if let Some(version) = version {
            conditions.push(column_is(schema, system::FEATURE_VERSION, version));
        }
        if undeleted && schema.column_with_name(system::DELETED_AT).is_some() {
            conditions.push(Expr::Column(Column::from_name(system::DELETED_AT)).is_null());
        }
        Ok(all_of(conditions))
    }

    /// Refuses columns that the only table lacks, before anything is read.
    fn check_columns(&self, table: &Table) -> Result<()> {
        let schema = visible(&table.schema());
        for filter in &self.ask.filters {
            filter.to_expr(&schema)?;
        }
        Ok(())
    }

    fn end(self, store: &Store) -> Result<Answer> {
        let Walk { ask, local, mut schemas, mut shares, empty, mut visits, .. } = self;
        // The tables that have rows say of which types the columns are.
        schemas.sort_by_key(|(_, served)| !served);
        let schemas: Vec<SchemaRef> = schemas.into_iter().map(|(schema, _)| schema).collect();
        if shares.is_empty() {
            let Some(empty) = empty else { return Err(not_found(store, ask, &visits, local)) };
            if let Some(visit) = visits.get_mut(empty.visit) {
                visit.outcome = Outcome::Served;
            }
            shares.push(empty);
        }
        if !local {
            let all = visible(&union(schemas.iter().map(AsRef::as_ref)));
            for filter in &ask.filters {
                filter.to_expr(&all)?;
            }
            log::emit(Level::Debug, || {
                let served: Vec<&str> = shares.iter().map(|share| share.store.as_str()).collect();
                format!("{} is served by {}", ask.key, served.join(", "))
            });
        }
        Ok(Answer { shares, schemas, visits })
    }
}

fn not_found(store: &Store, ask: &Ask, visits: &[Visit], local: bool) -> Error {
    let (key, table) = (&ask.key, ask.key.table_name());
    let message = match local {
        true => format!(
            "the feature {key} has no rows in {}: there is no table {table}; write it first, or look for it in another \
             store",
            store.display()
        ),
        false => {
            let asked: Vec<String> = visits
                .iter()
                .map(|visit| {
                    let name = visit.name.as_deref().map_or(String::new(), |name| format!("[{name}] "));
                    format!("{name}{} ({})", visit.uri, visit.outcome.name())
                })
                .collect();
            format!(
                "the feature {key} has no rows in the chain of {}: no store has a table {table}; asked were {}",
                store.display(),
                asked.join(", ")
            )
        }
    };
    // What could not be asked may have it.
    let status = match visits.iter().any(|visit| visit.outcome == Outcome::Unavailable) {
        true => Status::Unavailable,
        false => Status::NotFound,
    };
    Error::new(status, message)
}

pub(super) fn all_of(conditions: Vec<Expr>) -> Option<Expr> {
    conditions.into_iter().reduce(Expr::and)
}

fn column_is(schema: &Schema, column: &str, value: String) -> Expr {
    let value = match schema.field_with_name(column).map(Field::data_type) {
        Ok(DataType::LargeUtf8) => ScalarValue::LargeUtf8(Some(value)),
        _ => ScalarValue::Utf8(Some(value)),
    };
    Expr::Column(Column::from_name(column)).eq(lit(value))
}

/// The columns of [`Store::find`].
pub fn visits_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::LargeUtf8, true);
    Arc::new(Schema::new(vec![
        text("store"),
        text("uri"),
        text("table"),
        Field::new("version", DataType::UInt64, true),
        text("outcome"),
        text("problem"),
    ]))
}

pub(super) fn visits(visits: &[Visit]) -> Result<RecordBatch> {
    let text = |of: &dyn Fn(&Visit) -> Option<&str>| -> ArrayRef {
        Arc::new(visits.iter().map(of).collect::<LargeStringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        text(&|visit| visit.name.as_deref()),
        text(&|visit| Some(&visit.uri)),
        text(&|visit| Some(&visit.table)),
        Arc::new(visits.iter().map(|visit| visit.version).collect::<UInt64Array>()),
        text(&|visit| Some(visit.outcome.name())),
        text(&|visit| visit.problem.as_deref()),
    ];
    RecordBatch::try_new(visits_schema(), columns).map_err(|cause| {
        Error::new(Status::Internal, format!("the list of asked stores is malformed: {cause}"))
    })
}
