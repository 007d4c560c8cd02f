use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

const ANY: Rules = Rules { repeats: Repeats::Compared, every: false };
const ONCE: Rules = Rules { repeats: Repeats::Never, every: false };

/// An expected row, with where it comes from.
#[derive(Clone, Copy, Debug)]
struct Expected {
    key: u128,
    mark: Option<u64>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    changes: BTreeMap<Vec<u64>, Change>,
    orphans: BTreeSet<u64>,
    tally: Tally,
}

fn origin(row: usize) -> Vec<u64> {
    vec![row as u64, u64::MAX - row as u64]
}

fn outcome(memory: &Memory, rules: Rules, stored: &[Stored], expected: &[Expected]) -> Outcome {
    let mut comparison = Comparison::new(memory, rules);
    for row in stored {
        comparison.add(*row).unwrap();
    }
    let mut changes = BTreeMap::new();
    let mut found = |change: Change, origin: &[u64]| {
        assert!(changes.insert(origin.to_vec(), change).is_none(), "reported twice");
        Ok(())
    };
    for (row, Expected { key, mark }) in expected.iter().enumerate() {
        comparison.expect(*key, *mark, &origin(row), &mut found).unwrap();
    }
    let mut orphans = BTreeSet::new();
    let tally = comparison
        .finish(&mut found, &mut |address| {
            assert!(orphans.insert(address), "orphaned twice");
            Ok(())
        })
        .unwrap();
    Outcome { changes, orphans, tally }
}

/// The rules, without any care for memory or time.
fn model(rules: Rules, stored: &[Stored], expected: &[Expected]) -> Outcome {
    let mut rows: HashMap<u128, Vec<&Stored>> = HashMap::new();
    for row in stored {
        rows.entry(row.key).or_default().push(row);
    }
    let mut outcome = Outcome::default();
    let (mut keys, mut new_keys) = (BTreeSet::new(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    for (row, Expected { key, mark }) in expected.iter().enumerate() {
        if !seen.insert(*key) && rules.repeats == Repeats::Told {
            outcome.changes.insert(origin(row), Change::Again);
            continue;
        }
        let change = match rows.get(key) {
            None => {
                new_keys.insert(*key);
                Some(Change::New)
            }
            Some(rows) if rows.iter().all(|row| row.skipped) => continue,
            Some(rows) if compared(rows).any(|row| row.forced) => Some(Change::Stale),
            Some(_) if mark.is_none() => None,
            Some(rows) if rules.every && compared(rows).all(|row| row.mark == *mark) => None,
            Some(rows) if !rules.every && compared(rows).any(|row| row.mark == *mark) => None,
            Some(_) => Some(Change::Stale),
        };
        keys.insert(*key);
        outcome.changes.extend(change.map(|change| (origin(row), change)));
    }
    let expected: BTreeSet<u128> = expected.iter().map(|row| row.key).collect();
    for (key, rows) in rows {
        if !expected.contains(&key) {
            outcome.orphans.extend(compared(&rows).filter(|row| row.orphan).map(|row| row.address));
        }
    }
    outcome.tally = Tally { keys: keys.len() as u64, new_keys: new_keys.len() as u64 };
    outcome
}

fn compared<'r>(rows: &[&'r Stored]) -> impl Iterator<Item = &'r Stored> {
    rows.iter().copied().filter(|row| !row.skipped)
}

/// Numbers spread as hashes are.
fn key(number: u64) -> u128 {
    let mixed = |seed| xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), seed);
    u128::from(mixed(0)) << 64 | u128::from(mixed(1))
}

fn row(key: u128, mark: Option<u64>, address: u64) -> Stored {
    Stored { key, mark, address, skipped: false, forced: false, orphan: true }
}

fn memory(bytes: usize) -> Memory {
    Memory::limited(bytes, None).unwrap()
}

fn marks() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![1 => Just(None), 4 => (1_u64..4).prop_map(Some), 1 => Just(Some(u64::MAX))]
}

/// Few keys and many, of all bits or of the last alone.
fn keys() -> impl Strategy<Value = fn(u64) -> u128> {
    let last: fn(u64) -> u128 = u128::from;
    let first: fn(u64) -> u128 = |number| u128::from(number).reverse_bits();
    prop_oneof![Just(key as fn(u64) -> u128), Just(last), Just(first)]
}

fn rows() -> impl Strategy<Value = (Vec<Stored>, Vec<Expected>)> {
    let skipped = prop_oneof![Just(4), Just(60), Just(98)];
    (keys(), prop_oneof![Just(2_u64), Just(20), Just(400)], skipped, 0_usize..300, 0_usize..300)
        .prop_flat_map(|(key, different, skipped, stored, expected)| {
            let flag = |likely: u32| proptest::bool::weighted(f64::from(likely) / 100.0);
            let stored =
                proptest::collection::vec((0..different, marks(), flag(skipped), flag(10), flag(80)), stored);
            let expected = proptest::collection::vec((0..different, marks()), expected);
            (stored, expected).prop_map(move |(stored, expected)| {
                let stored = (0..).zip(stored).map(|(place, (number, mark, skipped, forced, orphan))| {
                    Stored { key: key(number), mark, address: (1 << 60) - 1 - place, skipped, forced, orphan }
                });
                let expected = expected.into_iter().map(|(number, mark)| Expected { key: key(number), mark });
                (stored.collect(), expected.collect())
            })
        })
}

proptest! {
    #[test]
    fn the_rules_hold_in_memory_and_spilled((stored, mut expected) in rows(), every: bool, bytes in 0_usize..60_000) {
        for repeats in [Repeats::Compared, Repeats::Told, Repeats::Never] {
            if repeats == Repeats::Never {
                let mut seen = BTreeSet::new();
                expected.retain(|row| seen.insert(row.key));
            }
            let rules = Rules { repeats, every };
            let wanted = model(rules, &stored, &expected);
            prop_assert_eq!(&outcome(&memory(1 << 30), rules, &stored, &expected), &wanted);
            prop_assert_eq!(&outcome(&memory(bytes), rules, &stored, &expected), &wanted);
        }
    }
}

/// Some of each kind, more than the memory of settling takes.
fn many(keys: u64, children: u64) -> (Vec<Stored>, Vec<Expected>) {
    let of_key = |number: u64| {
        (0..children).map(move |child| Stored {
            skipped: number % 101 == 0 && child == 1 || number % 103 == 0,
            forced: number % 97 == 0 && child == 0,
            ..row(key(number), Some(number % 5 + child % 2 + 1), number * children + child)
        })
    };
    let expected =
        |number: u64| Expected { key: key(number), mark: (number % 7 != 0).then_some(number % 5 + 1) };
    ((0..keys).flat_map(of_key).collect(), (keys / 10..keys * 11 / 10).map(expected).collect())
}

#[test]
fn parts_larger_than_the_memory_are_split_again_and_again() {
    let (stored, expected) = many(20_000, 2);
    let twice: Vec<Expected> = expected.iter().chain(&expected).copied().collect();
    for (bytes, every) in [(0, false), (0, true), (1 << 18, false), (1 << 20, true)] {
        for (repeats, expected) in
            [(Repeats::Never, &expected), (Repeats::Compared, &twice), (Repeats::Told, &twice)]
        {
            let rules = Rules { repeats, every };
            assert!(outcome(&memory(bytes), rules, &stored, expected) == model(rules, &stored, expected));
        }
    }
}

#[test]
fn rows_of_one_key_may_be_any_number() {
    let crowd = key(1);
    let (others, expected) = many(200, 1);
    for (skipped, forced, is_expected) in [
        (0, false, false),
        (0, false, true),
        (0, true, true),
        (1, false, true),
        (1, false, false),
        (4000, true, true),
        (4999, false, true),
        (4999, false, false),
        (5000, true, true),
        (5000, false, false),
    ] {
        let mut stored: Vec<Stored> =
            (0..5000).map(|child| row(crowd, Some(child % 3 + 1), 1000 + child)).collect();
        stored.iter_mut().take(skipped).for_each(|row| row.skipped = true);
        stored[3000].forced = forced;
        stored.extend(&others[2..]);
        let mut expected: Vec<Expected> = expected.iter().filter(|row| row.key != crowd).copied().collect();
        if is_expected {
            expected.extend([Some(1), Some(3), Some(4), None].map(|mark| Expected { key: crowd, mark }));
        }
        for (repeats, every) in [(Repeats::Compared, false), (Repeats::Compared, true), (Repeats::Told, true)]
        {
            let rules = Rules { repeats, every };
            assert!(outcome(&memory(0), rules, &stored, &expected) == model(rules, &stored, &expected));
        }
    }
    let crowd: Vec<Expected> = (0..5000).map(|_| Expected { key: crowd, mark: None }).collect();
    for others in [&others[..], &[]] {
        assert!(outcome(&memory(0), ANY, others, &crowd) == model(ANY, others, &crowd));
    }
}

#[test]
fn a_stored_row_takes_at_most_45_bytes() {
    let memory = memory(1 << 30);
    let mut comparison = Comparison::new(&memory, ONCE);
    for number in 0..300_000 {
        comparison.add(row(key(number), Some(number), number)).unwrap();
    }
    let free = (1 << 29) - {
        let probe = memory.reserve("probe");
        let mut step = 1 << 28;
        while step > 0 {
            while probe.try_grow(step).is_ok() {}
            step /= 2;
        }
        probe.size()
    };
    assert!(free > 300_000 * 33 && free < 300_000 * 45, "{free}");
}

#[test]
fn memory_and_files_are_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let memory = Memory::limited(1 << 16, Some(directory.path())).unwrap();
    let (stored, expected) = many(2000, 1);
    outcome(&memory, ANY, &stored, &expected);
    assert!(memory.reserve("other").try_grow(1 << 15).is_ok());
    drop(memory);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[test]
fn what_a_caller_refuses_ends_the_comparison() {
    let mut comparison = Comparison::new(&memory(1 << 20), ONCE);
    comparison.expect(1, None, &[1], &mut |_, _| Ok(())).unwrap();
    assert_eq!(comparison.add(row(1, None, 1)).unwrap_err().status(), Status::Internal);
    assert_eq!(
        comparison.expect(1, None, &[1, 2], &mut |_, _| Ok(())).unwrap_err().status(),
        Status::Internal
    );
    let refuse = |_: Change, _: &[u64]| Err(Error::invalid("no"));
    assert_eq!(comparison.finish(&mut { refuse }, &mut |_| Ok(())).unwrap_err().message(), "no");
}
