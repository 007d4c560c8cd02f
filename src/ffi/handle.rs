//! What stands behind the pointers of the C caller: not addresses, but names of entries here.
//!
//! A handle says which kind of object it names, in which process and slot, and the how-manyth
//! object of that slot it is. A pointer that was freed, belongs to another kind or was never a
//! handle is therefore recognised without reading any memory.

use std::any::Any;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use crate::error::{Error, Result, Status};
use crate::process::{self, PerProcess};

/// The kinds of objects that handles name; the numbers are those of the `METAXY_KIND_*` constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Store = 1,
    Writer = 2,
    ReadRequest = 3,
    Options = 4,
    Context = 5,
    Error = 6,
    Stream = 7,
    Config = 8,
    BufferedWriter = 9,
    Graph = 10,
    IncrementRequest = 11,
    Increment = 12,
}

impl Kind {
    const ALL: [Kind; 12] = [
        Kind::Store,
        Kind::Writer,
        Kind::ReadRequest,
        Kind::Options,
        Kind::Context,
        Kind::Error,
        Kind::Stream,
        Kind::Config,
        Kind::BufferedWriter,
        Kind::Graph,
        Kind::IncrementRequest,
        Kind::Increment,
    ];

    pub fn from_code(code: u64) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u64 == code)
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Store => "MetaxyStore",
            Kind::Writer => "MetaxyWriter",
            Kind::ReadRequest => "MetaxyReadRequest",
            Kind::Options => "MetaxyOptions",
            Kind::Context => "MetaxyContext",
            Kind::Error => "MetaxyError",
            Kind::Stream => "ArrowArrayStream",
            Kind::Config => "MetaxyConfig",
            Kind::BufferedWriter => "MetaxyBufferedWriter",
            Kind::Graph => "MetaxyGraph",
            Kind::IncrementRequest => "MetaxyIncrementRequest",
            Kind::Increment => "MetaxyIncrement",
        }
    }
}

/// Ties an opaque type of the header to the Rust value behind it.
pub trait Opaque {
    type Value: Send + Sync + 'static;
    const KIND: Kind;
}

/// A value that handles name. A panic in a call on it may leave it half changed, so that it is
/// poisoned and never used again.
#[derive(Debug)]
pub struct Object<T> {
    value: T,
    poisoned: AtomicBool,
}

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// An [`Object`] of whatever type, as the guard sees it.
pub trait Poison {
    fn poison(&self);
}

impl<T> Poison for Object<T> {
    fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

// The top byte makes a handle an address that no process can have: what a stray pointer or a
// foreign library's object holds is never taken for one.
const MARK: u64 = 0x4d;
const MARK_SHIFT: u32 = 56;
const KIND_SHIFT: u32 = 52;
const EPOCH_SHIFT: u32 = 46;
const SLOT_SHIFT: u32 = 26;
const KIND_MASK: u64 = 0xf;
const EPOCH_MASK: u64 = (1 << (KIND_SHIFT - EPOCH_SHIFT)) - 1;
const SLOT_MASK: u64 = (1 << (EPOCH_SHIFT - SLOT_SHIFT)) - 1;
const GENERATION_MASK: u64 = (1 << SLOT_SHIFT) - 1;

const _: () = assert!(usize::BITS == 64, "a handle needs a pointer of 64 bits");
const _: () = assert!(process::MAX_FORKS as u64 <= EPOCH_MASK + 1);

/// What a handle says, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    kind: Kind,
    epoch: u64,
    slot: u64,
    generation: u64,
}

impl Name {
    fn encode(self) -> u64 {
        MARK << MARK_SHIFT
            | (self.kind as u64) << KIND_SHIFT
            | self.epoch << EPOCH_SHIFT
            | self.slot << SLOT_SHIFT
            | self.generation
    }

    fn decode(handle: u64) -> Option<Name> {
        (handle >> MARK_SHIFT == MARK).then_some(())?;
        Some(Name {
            kind: Kind::from_code(handle >> KIND_SHIFT & KIND_MASK)?,
            epoch: handle >> EPOCH_SHIFT & EPOCH_MASK,
            slot: handle >> SLOT_SHIFT & SLOT_MASK,
            generation: handle & GENERATION_MASK,
        })
    }
}

type Entry = Arc<dyn Any + Send + Sync>;

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    vacant: Vec<u64>,
}

#[derive(Default)]
struct Slot {
    generation: u64,
    live: Option<(Kind, Entry)>,
}

impl Table {
    fn insert(&mut self, kind: Kind, entry: Entry) -> Option<(u64, u64)> {
        let index = match self.vacant.pop() {
            Some(index) => index,
            None if (self.slots.len() as u64) <= SLOT_MASK => {
                self.slots.push(Slot::default());
                self.slots.len() as u64 - 1
            }
            None => return None,
        };
        let slot = self.slots.get_mut(index as usize)?;
        slot.live = Some((kind, entry));
        Some((index, slot.generation))
    }

    fn get(&self, name: Name) -> Option<&Entry> {
        let slot = self.slots.get(name.slot as usize)?;
        match &slot.live {
            Some((kind, entry)) if slot.generation == name.generation && *kind == name.kind => Some(entry),
            _ => None,
        }
    }

    fn remove(&mut self, name: Name) -> Option<Entry> {
        self.get(name)?;
        let slot = self.slots.get_mut(name.slot as usize)?;
        slot.generation += 1;
        // A slot whose generations are used up is left empty for ever: no handle ever means two objects.
        if slot.generation <= GENERATION_MASK {
            self.vacant.push(name.slot);
        }
        slot.live.take().map(|(_, entry)| entry)
    }
}

static TABLE: PerProcess<RwLock<Table>> = PerProcess::new();

fn with_table<T>(act: impl FnOnce(&mut Table) -> T) -> Option<T> {
    let table = TABLE.get()?;
    Some(act(&mut table.write().unwrap_or_else(|poisoned| poisoned.into_inner())))
}

/// Registers `value` and returns the handle that names it.
pub fn insert<O: Opaque>(value: O::Value) -> Result<*mut O> {
    let entry: Entry = Arc::new(Object { value, poisoned: AtomicBool::new(false) });
    let (slot, generation) = with_table(|table| table.insert(O::KIND, entry)).flatten().ok_or_else(|| {
        Error::new(
            Status::InvalidState,
            format!(
                "cannot make another {}: too many handles are in use, or too many forks nested",
                O::KIND.name()
            ),
        )
    })?;
    let name = Name { kind: O::KIND, epoch: process::epoch() as u64, slot, generation };
    Ok(name.encode() as usize as *mut O)
}

/// The object that `handle` names, unless a call on it panicked.
pub fn get<O: Opaque>(handle: *const O) -> Result<Arc<Object<O::Value>>> {
    let object = find(handle)?;
    if object.poisoned.load(Ordering::Acquire) {
        return Err(Error::new(
            Status::InvalidState,
            format!(
                "the {} {handle:p} panicked in an earlier call; free it and make another",
                O::KIND.name()
            ),
        ));
    }
    Ok(object)
}

/// The object that `handle` names, whatever its state: for telling what happened to it.
pub fn find<O: Opaque>(handle: *const O) -> Result<Arc<Object<O::Value>>> {
    let expected = O::KIND.name();
    if handle.is_null() {
        return Err(invalid(format!("expected a {expected}, found NULL")));
    }
    let name = Name::decode(handle as usize as u64).ok_or_else(|| {
        invalid(format!("expected a {expected}, found {handle:p}, which is no handle of metaxy"))
    })?;
    if name.kind != O::KIND {
        return Err(invalid(format!("expected a {expected}, found the {} {handle:p}", name.kind.name())));
    }
    // Before any lock: in a forked child, a lock of the parent may be held for ever.
    if name.epoch != process::epoch() as u64 {
        return Err(forked(expected));
    }
    let table = TABLE.get().ok_or_else(|| forked(expected))?;
    let entry = table.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(name).cloned();
    entry
        .and_then(|entry| entry.downcast().ok())
        .ok_or_else(|| invalid(format!("the {expected} {handle:p} was already freed")))
}

/// Forgets the object that `handle` names, if it names one of this process, and returns it.
pub fn remove<O: Opaque>(handle: *const O) -> Option<Arc<Object<O::Value>>> {
    let name = Name::decode(handle as usize as u64)?;
    if name.kind != O::KIND || name.epoch != process::epoch() as u64 {
        return None;
    }
    with_table(|table| table.remove(name)).flatten()?.downcast().ok()
}

/// How many objects of `kind`, or of all kinds, this process has not freed.
pub fn count(kind: Option<Kind>) -> u64 {
    let Some(table) = TABLE.get() else { return 0 };
    let table = table.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    let live = table.slots.iter().filter_map(|slot| slot.live.as_ref());
    live.filter(|(found, _)| kind.is_none_or(|wanted| wanted == *found)).count() as u64
}

fn invalid(message: String) -> Error {
    Error::new(Status::InvalidHandle, message)
}

fn forked(expected: &str) -> Error {
    Error::new(
        Status::Forked,
        format!(
            "the {expected} belongs to the process that this one was forked from; it can be used only there"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number;
    impl Opaque for Number {
        type Value = u32;
        const KIND: Kind = Kind::Options;
    }

    #[derive(Debug)]
    struct Word;
    impl Opaque for Word {
        type Value = String;
        const KIND: Kind = Kind::Context;
    }

    #[test]
    fn a_name_survives_its_encoding_at_every_limit() {
        for kind in Kind::ALL {
            let name = Name { kind, epoch: EPOCH_MASK, slot: SLOT_MASK, generation: GENERATION_MASK };
            assert_eq!(Name::decode(name.encode()), Some(name));
            let name = Name { kind, epoch: 0, slot: 0, generation: 0 };
            assert_eq!(Name::decode(name.encode()), Some(name));
        }
    }

    #[test]
    fn a_freed_handle_never_names_the_next_object_of_its_slot() {
        let first = insert::<Number>(1).unwrap();
        assert_eq!(**get(first).unwrap(), 1);
        assert!(remove(first).is_some());
        let second = insert::<Number>(2).unwrap();
        assert_ne!(first, second);
        let error = get(first).unwrap_err();
        assert_eq!(error.status(), Status::InvalidHandle);
        assert!(error.message().contains("already freed"), "{error}");
        assert!(remove(first).is_none());
        assert_eq!(**get(second).unwrap(), 2);
        remove(second);
    }

    #[test]
    fn a_handle_of_another_kind_is_named() {
        let number = insert::<Number>(1).unwrap();
        let error = get(number.cast::<Word>()).unwrap_err();
        assert_eq!(error.status(), Status::InvalidHandle);
        assert!(error.message().contains("expected a MetaxyContext, found the MetaxyOptions"), "{error}");
        assert!(remove(number.cast::<Word>()).is_none());
        remove(number);
    }

    #[test]
    fn addresses_are_no_handles() {
        let local = 1_u32;
        for garbage in [(&raw const local).addr(), 1, usize::MAX, 0x4d << 56, 0x4df << 52] {
            let error = get(garbage as *const Word).unwrap_err();
            assert_eq!(error.status(), Status::InvalidHandle, "{garbage:#x}");
        }
    }

    #[test]
    fn a_slot_with_no_generation_left_is_retired() {
        let mut table = Table::default();
        table.insert(Kind::Store, Arc::new(()));
        table.slots[0].generation = GENERATION_MASK;
        let last = Name { kind: Kind::Store, epoch: 0, slot: 0, generation: GENERATION_MASK };
        assert!(table.remove(last).is_some());
        assert_eq!(table.insert(Kind::Store, Arc::new(())), Some((1, 0)));
    }
}
