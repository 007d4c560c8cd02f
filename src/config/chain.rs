//! Whether the chain that begins at a store ends.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::path::PathBuf;

use super::Config;
use crate::backend::{Location, mask};
use crate::error::{Error, Result};
use crate::store::connect::connect;
use crate::store::options::Options;

/// Where a store is: to be compared, and to be shown. What tells two storages apart is nobody's business.
struct Place {
    identity: String,
    shown: String,
}

/// The stores that can be reached from one, each with those that it falls back to.
struct Reach(BTreeMap<String, Vec<String>>);

impl Config {
    /// Fails if a store below `name` is not there, or comes again below itself: under its own name,
    /// or under another one that is at the same place.
    pub(super) fn check_chain(&self, name: &str) -> Result<()> {
        let reach = self.reach(name)?;
        let places: BTreeMap<&str, Place> =
            reach.0.keys().filter_map(|name| Some((name.as_str(), self.place_of(name)?))).collect();
        for start in reach.0.keys() {
            let place = places.get(start.as_str());
            let is_there = |other: &Place| place.is_some_and(|place| place.identity == other.identity);
            let again = |other: &str| other == start || places.get(other).is_some_and(is_there);
            let Some(cycle) = reach.way(start, again) else { continue };
            let mut way = reach.way(name, |other| other == start).unwrap_or_else(|| vec![name]);
            way.extend(cycle.iter().skip(1));
            let last = cycle.last().copied().unwrap_or(start);
            let why = match (last == start, place) {
                (false, Some(place)) => format!("{start} and {last} are both at {}", place.shown),
                _ => format!("{start} falls back to itself"),
            };
            return Err(Error::invalid(format!(
                "the fallback stores go round in a circle: {}; {why}, in {}",
                way.join(" -> "),
                self.source()
            ))
            .with("store", name));
        }
        Ok(())
    }

    fn reach(&self, name: &str) -> Result<Reach> {
        let mut reach = BTreeMap::new();
        let mut next = vec![name.to_owned()];
        while let Some(name) = next.pop() {
            if let Entry::Vacant(place) = reach.entry(name) {
                let fallbacks = self.fallbacks_of(place.key())?;
                next.extend(fallbacks.iter().cloned());
                place.insert(fallbacks);
            }
        }
        Ok(Reach(reach))
    }

    /// Where a store is, as far as that is known without opening it. Each store in memory is another.
    fn place_of(&self, name: &str) -> Option<Place> {
        let settings = self.store_settings(name).ok()?;
        let uri = settings.uri;
        let resolved = |path: PathBuf| path.canonicalize().unwrap_or(path).display().to_string();
        match self.0.environment.locate(&uri) {
            Ok(Location::Directory(path)) => {
                let path = resolved(path);
                Some(Place { identity: path.clone(), shown: path })
            }
            Ok(Location::Memory) => None,
            Ok(location) => {
                let shown = mask(&location.uri());
                let mut options = Options::new();
                settings.connect.set(&location, &mut options).ok()?;
                // Two storages may have a bucket of the same name. What cannot be reached is told when it is
                // opened.
                let reached = location.reached_by(&connect(&options).ok()?).ok()?;
                Some(Place { identity: format!("{reached:?}"), shown })
            }
            Err(_) => Some(Place { identity: uri.trim_end_matches('/').to_owned(), shown: mask(&uri) }),
        }
    }
}

impl Reach {
    /// The shortest way down from `from`, over one step or more, to a store that is `wanted`.
    fn way<'a>(&'a self, from: &'a str, wanted: impl Fn(&str) -> bool) -> Option<Vec<&'a str>> {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(store) = queue.pop_front() {
            for next in self.0.get(store).into_iter().flatten() {
                if wanted(next) {
                    let mut way = vec![next.as_str(), store];
                    while let Some(before) = way.last().and_then(|last| came_from.get(last)) {
                        way.push(before);
                    }
                    way.reverse();
                    return Some(way);
                }
                if next != from && !came_from.contains_key(next.as_str()) {
                    came_from.insert(next, store);
                    queue.push_back(next);
                }
            }
        }
        None
    }
}
