//! Records in a file: what does not fit into memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::entry::key_of_record;
use crate::error::Result;
use crate::versioning::Memory;

/// What is written, or read, at a time.
pub const BLOCK: usize = 8 << 10;

/// A file that all runs share, so that there may be more of them than open files.
pub struct SpillFile {
    memory: Memory,
    file: Option<File>,
    end: u64,
}

impl SpillFile {
    /// A file that is made when it is needed.
    pub fn new(memory: &Memory) -> SpillFile {
        SpillFile { memory: memory.clone(), file: None, end: 0 }
    }

    /// Appends a block, and says where it is.
    fn append(&mut self, block: &[u8]) -> Result<u64> {
        let file = match &mut self.file {
            Some(file) => file,
            file => file.insert(self.memory.file()?),
        };
        let at = self.end;
        file.write_all_at(block, at).map_err(|cause| self.memory.broken(&cause))?;
        self.end += block.len() as u64;
        Ok(at)
    }

    fn read(&self, at: u64, block: &mut [u8]) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.read_exact_at(block, at).map_err(|cause| self.memory.broken(&cause))
    }
}

/// Which keys there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    #[default]
    None,
    One(u128),
    Many,
}

impl Keys {
    pub fn and(self, other: Keys) -> Keys {
        match (self, other) {
            (Keys::None, keys) | (keys, Keys::None) => keys,
            (one, other) if one == other => one,
            _ => Keys::Many,
        }
    }
}

/// Records of one size, each beginning with its key: full blocks in the file, and the last one in memory.
#[derive(Default)]
pub struct Run {
    width: usize,
    blocks: Vec<u64>,
    last: Vec<u8>,
    records: usize,
    keys: Keys,
}

impl Run {
    pub fn records(&self) -> usize {
        self.records
    }

    pub fn keys(&self) -> Keys {
        self.keys
    }

    /// Adds a record, of as many bytes as the first one.
    pub fn push(&mut self, file: &mut SpillFile, record: &[u8]) -> Result<()> {
        self.width = record.len();
        if self.last.len() + record.len() > BLOCK && !self.last.is_empty() {
            self.blocks.push(file.append(&self.last)?);
            self.last.clear();
        }
        self.last.extend_from_slice(record);
        self.records += 1;
        self.keys = self.keys.and(Keys::One(key_of_record(record)));
        Ok(())
    }

    /// Reads the records in their order. The file may be written to meanwhile.
    pub fn each(
        &self,
        file: &mut SpillFile,
        mut with: impl FnMut(&mut SpillFile, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let width = self.width.max(1);
        // All blocks but the last are as full as they can be.
        let mut block = vec![0; (BLOCK / width).max(1) * width];
        for at in &self.blocks {
            file.read(*at, &mut block)?;
            block.chunks_exact(width).try_for_each(|record| with(file, record))?;
        }
        self.last.chunks_exact(width).try_for_each(|record| with(file, record))
    }
}
