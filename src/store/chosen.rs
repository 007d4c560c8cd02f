//! Where the rows come from about which is decided, by the parts of an increment.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use roaring::RoaringTreemap;

use super::increment::{Selected, combination_schema};
use super::upstream::unfit;
use crate::error::Result;
use crate::versioning::{Change, Memory, Spool};

/// Combinations of rows that are put aside together.
const BATCH_ROWS: usize = 16 * 1024;

/// Stands for the place of a row that a dependency does not have.
pub const NOWHERE: u64 = u64::MAX;

/// Where rows go about which is decided.
pub struct Sink {
    pub new: Chosen,
    pub stale: Chosen,
    /// Where the first row comes from whose key came before.
    pub again: Option<Vec<u64>>,
}

impl Sink {
    pub fn new(memory: &Memory, dependencies: usize) -> Sink {
        let chosen = || Chosen::new(memory, dependencies);
        Sink { new: chosen(), stale: chosen(), again: None }
    }

    pub fn add(&mut self, change: Change, origin: &[u64]) -> Result<()> {
        match change {
            Change::New => self.new.add(origin),
            Change::Stale => self.stale.add(origin),
            Change::Again => {
                if self.again.as_deref().is_none_or(|first| origin < first) {
                    self.again = Some(origin.to_vec());
                }
                Ok(())
            }
        }
    }
}

/// Rows of one part: where they come from.
pub struct Chosen {
    places: Vec<RoaringTreemap>,
    /// Which rows of several dependencies belong together.
    combinations: Option<Combinations>,
}

struct Combinations {
    spool: Spool,
    waiting: Vec<Vec<Option<u64>>>,
}

impl Chosen {
    fn new(memory: &Memory, dependencies: usize) -> Chosen {
        let combinations = (dependencies > 1).then(|| Combinations {
            spool: Spool::new(memory, "combinations", combination_schema(dependencies)),
            waiting: vec![Vec::new(); dependencies],
        });
        Chosen { places: vec![RoaringTreemap::new(); dependencies], combinations }
    }

    fn add(&mut self, origin: &[u64]) -> Result<()> {
        for (places, place) in self.places.iter_mut().zip(origin) {
            if *place != NOWHERE {
                places.insert(*place);
            }
        }
        match &mut self.combinations {
            Some(combinations) => combinations.add(origin),
            None => Ok(()),
        }
    }

    pub fn finish(mut self) -> Result<Selected> {
        let Some(mut combinations) = self.combinations else {
            return Ok(Selected::Places(Arc::new(self.places.pop().unwrap_or_default())));
        };
        combinations.flush()?;
        let places = self.places.into_iter().map(Arc::new).collect();
        Ok(Selected::Combinations { rows: combinations.spool.finish()?, places })
    }
}

impl Combinations {
    fn add(&mut self, origin: &[u64]) -> Result<()> {
        for (waiting, place) in self.waiting.iter_mut().zip(origin) {
            waiting.push(Some(*place).filter(|place| *place != NOWHERE));
        }
        match self.waiting.first().map_or(0, Vec::len) >= BATCH_ROWS {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        let schema = combination_schema(self.waiting.len());
        let columns = self
            .waiting
            .iter_mut()
            .map(|waiting| Arc::new(UInt64Array::from(std::mem::take(waiting))) as ArrayRef);
        let batch = RecordBatch::try_new(schema, columns.collect()).map_err(unfit)?;
        if batch.num_rows() > 0 { self.spool.push(batch) } else { Ok(()) }
    }
}
