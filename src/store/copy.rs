//! Copying features from one store to another, with the versions and times that their rows have.
//!
//! Rows that the other store has are not copied again (see [`Present`]), and those of a feature
//! appear together: a copy that was killed is completed by making it again.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;

use super::context::Call;
use super::options::Options;
use super::present::Present;
use super::report::{Report, Target};
use super::settings::agree_to_copy;
use super::system_columns as system;
use super::{ReadRequest, RowStream, Store, Writer};
use crate::error::{Error, Result, Status};
use crate::feature::{FeatureKey, FeatureSpec};
use crate::versioning::SampleHash;

impl Store {
    /// Copies `features`, or every defined feature that there is a table of, to the store `to`: the rows
    /// that a read of this store alone would give for `request`, except for those that are there already.
    /// Of a history the tombstones are copied even if `request` does not ask for deleted rows, since what
    /// they hide would come back without them; and, without sample history, the latest row of each
    /// sample in each feature version. One row per feature, parents before children, with the columns
    /// `feature`, `table`, `rows_read`, `rows_copied`, `rows_present`.
    ///
    /// Two copies at the same time may each add the rows that the other adds. A read of the sample
    /// history shows them twice then, until a purge.
    pub async fn copy(
        &self,
        to: &Store,
        features: Option<&[String]>,
        request: &ReadRequest,
        options: &Options,
        call: &Call,
    ) -> Result<RecordBatch> {
        self.check_open()?;
        to.check_writable()?;
        options.check_scope("copy")?;
        self.check_other(to)?;
        check_request(request)?;
        let parcels = call.run(Box::pin(self.parcels(to, features, request, options))).await?;
        let total = whole(request).then(|| parcels.iter().map(|parcel| parcel.rows).sum());
        let mut moving = Moving { from: self, to, options, call, done: 0, total };
        let mut report = Report::new(["rows_read", "rows_copied", "rows_present"]);
        let mut copied: Vec<FeatureKey> = Vec::new();
        for parcel in parcels {
            match Box::pin(moving.carry(&parcel)).await {
                Ok(Moved { read, copied }) => {
                    report.add(Target::of(parcel.key()), [read, copied, read - copied])
                }
                Err(error) => return Err(after(&copied, parcel.key(), error)),
            }
            copied.push(parcel.spec.key);
        }
        call.progress(moving.done, Some(moving.done));
        report.finish()
    }

    fn check_other(&self, to: &Store) -> Result<()> {
        let same = self.is(to) || self.database().location().is(to.database().location());
        match same {
            false => Ok(()),
            true => Err(self.located(Error::invalid(format!(
                "{} cannot be copied to itself; copy to another store",
                self.display()
            )))),
        }
    }

    /// What is to be copied, parents first. Everything that can be told without reading rows is checked
    /// here, before anything is copied.
    async fn parcels(
        &self,
        to: &Store,
        features: Option<&[String]>,
        request: &ReadRequest,
        options: &Options,
    ) -> Result<Vec<Parcel>> {
        let graph = self.graph();
        let keys: Vec<FeatureKey> = match features {
            Some(named) => named.iter().map(|name| FeatureKey::parse(name)).collect::<Result<_>>()?,
            None => graph.features().map(|definition| definition.key().clone()).collect(),
        };
        let mut parcels = Vec::new();
        for key in graph.parents_first(&keys) {
            let located = |error: Error| self.located(error).with("feature", key);
            if key.is_system() {
                let message = format!("{key} is a table of Metaxy itself; it is not copied as a feature");
                return Err(located(Error::new(Status::Unsupported, message)));
            }
            let definition = graph.get(key).map_err(located)?;
            let spec = &definition.spec;
            let table = match self.database().open(&key.table_name()).await.map_err(located)? {
                Some(table) => table,
                None if features.is_none() => continue,
                None => {
                    let message = format!("{} has no table of the feature {key} to copy", self.display());
                    return Err(located(Error::new(Status::NotFound, message)));
                }
            };
            let allowed = to.check_project(definition, options).and_then(|()| to.check_same_ids(spec));
            allowed.map_err(|error| to.located(error).with("feature", key))?;
            let hash = self.hash_for_write(Some(&table)).await.map_err(located)?;
            let each_version =
                request.feature_history && table.schema().column_with_name(system::FEATURE_VERSION).is_some();
            let request = ReadRequest {
                deleted: request.deleted || request.feature_history || request.sample_history,
                each_version,
                local: true,
                ..request.clone()
            };
            let rows = table.rows().await.map_err(located)? as u64;
            parcels.push(Parcel { spec: spec.clone(), request, hash, rows });
        }
        if !parcels.is_empty() {
            let ours = self.settings().known_so_far();
            let theirs = to.hash_told().await.map_err(|error| to.located(error))?;
            agree_to_copy(&self.display(), &ours, &to.display(), &theirs)?;
        }
        Ok(parcels)
    }

    /// Refuses a feature that is defined here with other id columns, or whose table is another's.
    fn check_same_ids(&self, spec: &FeatureSpec) -> Result<()> {
        let graph = self.graph();
        let table = spec.key.table_name();
        let Some(ours) = graph.owner_of(&table).map(|definition| &definition.spec) else { return Ok(()) };
        if ours.key != spec.key {
            let message = format!(
                "the table {table} of {} is that of the feature {}, not of {}; give one of them another key",
                self.display(),
                ours.key,
                spec.key
            );
            return Err(Error::invalid(message).with("table", table));
        }
        let ids = |spec: &FeatureSpec| spec.id_columns.iter().cloned().collect::<BTreeSet<String>>();
        if ids(ours) != ids(spec) {
            let (here, there) = (ours.id_columns.join(", "), spec.id_columns.join(", "));
            let message = format!(
                "{} defines the feature {} with the id columns {here}, but it is to be copied with {there}; define it \
                 the same in both stores",
                self.display(),
                spec.key
            );
            return Err(Error::new(Status::SchemaMismatch, message)
                .with("column", here.clone())
                .with("expected", here)
                .with("found", there));
        }
        Ok(())
    }
}

/// A feature that is to be copied.
struct Parcel {
    spec: FeatureSpec,
    request: ReadRequest,
    hash: SampleHash,
    /// All rows of its table.
    rows: u64,
}

impl Parcel {
    fn key(&self) -> &FeatureKey {
        &self.spec.key
    }
}

/// A copy in progress.
struct Moving<'a> {
    from: &'a Store,
    to: &'a Store,
    options: &'a Options,
    call: &'a Call,
    /// Rows that were looked at, of all features.
    done: u64,
    total: Option<u64>,
}

struct Moved {
    read: u64,
    copied: u64,
}

impl Moving<'_> {
    async fn carry(&mut self, parcel: &Parcel) -> Result<Moved> {
        let key = parcel.key();
        let to = self.to;
        let there = |error: Error| to.located(error).with("feature", key);
        let look = async {
            Ok(match to.database().open(&key.table_name()).await? {
                Some(table) => Some(Present::of(&table, &parcel.spec.id_columns).await?),
                None => None,
            })
        };
        let present = self.call.run(look).await.map_err(there)?;
        let rows = self.from.read(key.as_str(), &parcel.request, self.call).await?;
        let mut writer = None;
        let moved = self.pass(parcel, rows, present, &mut writer).await;
        match (moved, writer) {
            // What no row is copied of gets neither a table nor another version of it.
            (Ok(moved), None) => Ok(moved),
            (Ok(moved), Some(writer)) => {
                writer.commit(&self.call.quietly()).await?;
                Ok(moved)
            }
            (Err(error), writer) => {
                if let Some(writer) = writer {
                    writer.abort().await;
                }
                Err(error)
            }
        }
    }

    /// Hands the rows that are not present on to `writer`, which is begun for the first of them.
    async fn pass(
        &mut self,
        parcel: &Parcel,
        mut rows: RowStream,
        present: Option<Present>,
        writer: &mut Option<Writer>,
    ) -> Result<Moved> {
        let (key, to, call) = (parcel.key(), self.to, self.call.quietly());
        let there = |error: Error| to.located(error).with("feature", key);
        let mut moved = Moved { read: 0, copied: 0 };
        while let Some(batch) = call.run(async { rows.next().await.transpose() }).await? {
            let missing = match &present {
                Some(present) => present.missing(&batch).map_err(there)?,
                None => batch.clone(),
            };
            moved.read += batch.num_rows() as u64;
            moved.copied += missing.num_rows() as u64;
            if missing.num_rows() > 0 {
                if writer.is_none() {
                    let begun = to.keeping_writer(&parcel.spec, rows.schema(), parcel.hash, self.options);
                    *writer = Some(call.run(Box::pin(begun)).await.map_err(there)?);
                }
                if let Some(writer) = writer {
                    writer.push(missing, &call).await?;
                }
            }
            self.done += batch.num_rows() as u64;
            self.call.progress(self.done, self.total);
        }
        Ok(moved)
    }
}

/// Refuses what would leave a part of the rows behind.
fn check_request(request: &ReadRequest) -> Result<()> {
    match &request.columns {
        None => Ok(()),
        Some(_) => Err(Error::invalid(
            "a copy has all columns of the rows; leave the columns out of its request (filters choose among rows)",
        )
        .with("argument", "request")),
    }
}

/// Whether all rows of a table are asked for.
fn whole(request: &ReadRequest) -> bool {
    request.sample_history
        && request.feature_history
        && request.filters.is_empty()
        && request.feature_version.is_none()
        && request.limit.is_none()
}

/// `error`, with which the copy of `feature` has failed when those of `copied` were made.
fn after(copied: &[FeatureKey], feature: &FeatureKey, error: Error) -> Error {
    if copied.is_empty() {
        return error;
    }
    let copied = copied.iter().map(FeatureKey::as_str).collect::<Vec<_>>().join(",");
    error
        .reworded(|reason| {
            format!(
                "the copy came as far as {feature} ({reason}); {copied} are there, and copying again does the rest"
            )
        })
        .with("feature", feature)
        .with("copied", copied)
}
