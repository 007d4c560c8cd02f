//! What is left where requests to a bucket fail for a while: all that was acknowledged, once, and nothing by halves.

use std::sync::LazyLock;

use metaxy::store::context::Call;
use metaxy::store::options::Options;
use metaxy::store::{ReadRequest, Store};
use metaxy::{Result, Status};
use serde_json::{Value, json};

use crate::servers::Server;
use crate::support::{batch, by_field, column, options, read, root, rows, samples, text, write};

const FEATURE: &str = "r/a";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Write,
    /// More than one request holds.
    LargeWrite,
    Read,
    SoftDelete,
    HardDelete,
    Compact,
    Prune,
    Drop,
}

use Operation::*;

const ALL: &[Operation] = &[Write, Read, SoftDelete, HardDelete, Compact, Prune, Drop];
const COMMITS: &[Operation] = &[Write, SoftDelete, HardDelete, Compact, Drop];
const STAGES: &[Operation] = &[Write, SoftDelete, HardDelete, Compact];

/// Kinds of requests, by what the proxy matches, and the operations that send them.
fn requests() -> [(&'static str, Value, &'static [Operation]); 11] {
    let kind = |method, path, query| json!({"method": method, "path": path, "query": query});
    [
        ("LIST", kind("GET", "", "list-type"), ALL),
        ("GET manifest", kind("GET", "/_versions/", ""), ALL),
        ("GET data", kind("GET", "/data/", ""), &[Read, SoftDelete, HardDelete, Compact]),
        ("HEAD", kind("HEAD", "", ""), COMMITS),
        ("PUT data", kind("PUT", "/(data|_deletions)/", ""), STAGES),
        ("PUT transaction", kind("PUT", "/_transactions/", ""), COMMITS),
        ("PUT manifest", kind("PUT", "/_versions/", ""), COMMITS),
        ("begin an upload", kind("POST", "/data/", "^uploads"), &[LargeWrite]),
        ("PUT a part", kind("PUT", "/data/", "partNumber="), &[LargeWrite]),
        ("end an upload", kind("POST", "/data/", "^uploadId="), &[LargeWrite]),
        ("DELETE", kind("POST", "", "^delete"), &[Prune]),
    ]
}

/// The faults that one store meets in turn.
struct Weather {
    name: &'static str,
    faults: Vec<Value>,
    options: &'static [(&'static str, &'static str)],
    /// Whether every operation outlasts it.
    fair: bool,
}

fn weathers() -> [Weather; 6] {
    let of = |name, faults: &[Value]| Weather { name, faults: faults.to_vec(), options: &[], fair: false };
    let refusal = |status: u16| json!({"fault": "status", "status": status, "times": 2});
    let late = json!({"fault": "stall", "seconds": 0.8});
    [
        of("reset", &[json!({"fault": "reset", "times": 2})]),
        of("lost", &[json!({"fault": "lose_reply"})]),
        of("gateway", &[json!({"fault": "lost_status", "status": 502})]),
        Weather { fair: true, ..of("refused", &[refusal(429), refusal(503), refusal(500)]) },
        Weather {
            fair: true,
            ..of(
                "slow",
                &[json!({"fault": "slow", "seconds": 0.2}), json!({"fault": "stall", "seconds": 0.2})],
            )
        },
        // The client has given up by then.
        Weather { options: &[("read.timeout_ms", "500")], ..of("too-late", &[late]) },
    ]
}

/// A database of MinIO, seen through the proxy and without it.
struct Place {
    proxy: Server,
    direct: Store,
    faulty: Store,
    turn: usize,
}

impl Place {
    fn new(weather: &Weather) -> Place {
        let server = Server::shared("minio");
        let proxy = Server::start("faults", &["--target", server.endpoint()]);
        let open = |more: &[(&str, &str)]| {
            let given = server.options();
            let mut all: Vec<(&str, &str)> = given.iter().map(|(name, value)| (&**name, &**value)).collect();
            all.extend(more);
            let uri = server.uri(&format!("faults/{}", weather.name));
            let store = Store::open(&uri, &options(&all), &Call::default()).unwrap();
            store.define(&root(FEATURE, &["x"])).unwrap();
            store
        };
        let through = [("storage_options.aws_endpoint", proxy.endpoint()), ("cache.bytes", "0")];
        let (direct, faulty) = (open(&[]), open(&[&through[..], weather.options].concat()));
        Place { proxy, direct, faulty, turn: 0 }
    }

    /// Three samples of this turn, of which operations take two.
    fn sow(&mut self) -> [String; 3] {
        self.turn += 1;
        let ids = ["a", "b", "c"].map(|letter| format!("{letter}{}", self.turn));
        write(&self.direct, FEATURE, &[samples(&ids.each_ref().map(String::as_str))], &[]).unwrap();
        ids
    }

    fn perform(&self, operation: Operation, ids: &[String]) -> Result<()> {
        let (store, call, none) = (&self.faulty, Call::default(), Options::new());
        let some = ReadRequest {
            filters: vec![format!("id IN ('{}', '{}')", ids[0], ids[1])],
            ..ReadRequest::default()
        };
        let delete = |mode| {
            let options = options(&[("delete.mode", mode)]);
            let deleted = store.runtime().block_on(store.delete(FEATURE, &some, &options, &call))?;
            assert_eq!(deleted, 2);
            Ok(())
        };
        match operation {
            Write => write(store, FEATURE, &[samples(&[&ids[0], &ids[1], "new"])], &[]),
            LargeWrite => {
                let x = by_field(&["x"], &["large"]);
                let rows =
                    [("id", text(&["large"])), ("s", text(&[noise()])), ("metaxy_provenance_by_field", x)];
                write(store, FEATURE, &[batch(rows.to_vec())], &[])
            }
            Read => {
                let every = ReadRequest::default;
                let ids = |store| Ok(column(&read(store, FEATURE, &every())?, "id"));
                assert_eq!(ids(store)?, ids(&self.direct)?);
                Ok(())
            }
            SoftDelete => delete("soft"),
            HardDelete => delete("hard"),
            Compact => store.runtime().block_on(store.compact(Some(FEATURE), &none, &call)).map(drop),
            Prune => {
                let options = options(&[("prune.older_than_ms", "0")]);
                store.runtime().block_on(store.prune(Some(FEATURE), &options, &call)).map(drop)
            }
            Drop => store.runtime().block_on(store.drop_feature(FEATURE, &none, &call)).map(drop),
        }
    }

    /// What is wrong after this operation met this fault; `None` if nothing is.
    fn attempt(&mut self, operation: Operation, fault: &Value, fair: bool) -> Option<String> {
        let ids = self.sow();
        let before = everything(&self.direct).unwrap();
        let after = done(operation, &before, &ids);
        self.proxy.control("POST", "/faults", &json!([fault]));
        let result = self.perform(operation, &ids);
        let applied = self.proxy.control("GET", "/faults", &Value::Null)[0]["applied"].as_u64();
        self.proxy.control("POST", "/faults", &json!([]));
        let found = everything(&self.direct).unwrap();
        let is = |expected: &Vec<String>| found == *expected;
        let right = match &result {
            Ok(()) => is(&after) && applied != Some(0),
            Err(error) if error.detail("outcome") == Some("unknown") => is(&before) || is(&after),
            Err(_) => is(&before),
        };
        // The store that had the trouble knows what came of it.
        let seen = everything(&self.faulty).map_or(true, |seen| seen == found);
        let right = right && seen && (result.is_ok() || !fair);
        (!right)
            .then(|| format!("{fault} applied {applied:?}: {result:?}\nbefore {before:?}\nfound  {found:?}"))
    }
}

/// The ids of all rows, those of tombstones with a dagger.
fn everything(store: &Store) -> Result<Vec<String>> {
    let every = ReadRequest {
        columns: Some(vec!["id".to_owned(), "metaxy_deleted_at".to_owned()]),
        sample_history: true,
        feature_history: true,
        deleted: true,
        ..ReadRequest::default()
    };
    let batches = match read(store, FEATURE, &every) {
        Err(error) if error.status() == Status::NotFound => Vec::new(),
        other => other?,
    };
    let name = |row: &Value| {
        let dagger = if row["metaxy_deleted_at"].is_null() { "" } else { "†" };
        format!("{}{dagger}", row["id"].as_str().unwrap())
    };
    Ok(sorted(rows(&batches).iter().map(name).collect()))
}

/// What there is once the operation is done.
fn done(operation: Operation, before: &[String], ids: &[String]) -> Vec<String> {
    let some = &ids[..2];
    let with = |more: Vec<String>| sorted([before, &more].concat());
    match operation {
        Write => with([some, &["new".to_owned()]].concat()),
        LargeWrite => with(vec!["large".to_owned()]),
        SoftDelete => with(some.iter().map(|id| format!("{id}†")).collect()),
        HardDelete => before.iter().filter(|id| !some.contains(id)).cloned().collect(),
        Read | Compact | Prune => before.to_vec(),
        Drop => Vec::new(),
    }
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// Text of more than one part of an upload, which no compression makes small.
fn noise() -> &'static str {
    static NOISE: LazyLock<String> = LazyLock::new(make_noise);
    &NOISE
}

fn make_noise() -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (state >> 33) as u8 % 90)
    };
    (0..6 << 20).map(|_| next()).collect()
}

/// Every operation meets every fault at some request of every kind that it sends, while stores with other faults do.
#[test]
fn what_is_acknowledged_is_there_once_and_nothing_is_by_halves() {
    let endure = |weather: &Weather| {
        let mut place = Place::new(weather);
        let mut wrong = Vec::new();
        for (request, pattern, operations) in requests() {
            for operation in operations {
                let mut fault = weather.faults[place.turn % weather.faults.len()].clone();
                fault["match"] = pattern.clone();
                if let Some(problem) = place.attempt(*operation, &fault, weather.fair) {
                    wrong.push(format!("{operation:?}, {request}: {problem}"));
                }
            }
        }
        wrong
    };
    let weathers = weathers();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = weathers.iter().map(|weather| scope.spawn(move || endure(weather))).collect();
        all.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
