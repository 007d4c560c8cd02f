//! Stores on a server of LanceDB's remote protocol, which holds real Lance tables.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, LargeStringArray, RecordBatch,
    TimestampMicrosecondArray, UInt64Array,
};
use metaxy::store::context::Call;
use metaxy::store::options::Options;
use metaxy::store::{Fallback, ReadRequest, Store};
use metaxy::{Result, Status};
use serde_json::{Value, json};

use crate::servers::Server;
use crate::support::{
    batch, by_field, column, failure, open, options, read, root, rows, samples, text, write,
};

const FEATURE: &str = "r/a";

/// The server that all tests share, each with a database of its own.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("lancedb_remote", &["--prefix", "/databases/{database}"]))
}

fn said<'a>(server: &'a Server, name: &str) -> &'a str {
    server.report()[name].as_str().unwrap()
}

/// The shared server behind a proxy that counts requests and loses answers.
struct Proxy(Server);

impl Proxy {
    fn start() -> Proxy {
        Proxy(Server::start("faults", &["--target", server().endpoint()]))
    }

    fn uri(&self, database: &str) -> String {
        format!("{}/databases/{database}", self.0.endpoint())
    }

    fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let port = self.0.report()["control_port"].as_u64().unwrap() as u16;
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let body = body.to_string();
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{answer}");
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    fn inject(&self, path: &str, fault: &str, more: Value) {
        let mut faults = json!({"match": {"path": path}, "fault": fault});
        faults.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.control("POST", "/faults", &json!([faults]));
    }

    /// How many of the injected faults came to pass.
    fn applied(&self) -> u64 {
        self.control("GET", "/faults", &Value::Null)[0]["applied"].as_u64().unwrap()
    }

    fn reset(&self) {
        self.control("POST", "/reset", &Value::Null);
    }

    /// The requests since the last reset, by what was asked for, and the bytes of the longest answer.
    fn requests(&self) -> (Vec<String>, u64) {
        let counts = self.control("GET", "/counts", &Value::Null);
        let requests = counts["requests"].as_array().unwrap();
        let name = |request: &Value| {
            let path = request["path"].as_str().unwrap().trim_end_matches('/').to_owned();
            path.rsplit('/').next().unwrap().to_owned()
        };
        let longest = requests.iter().filter_map(|request| request["response_bytes"].as_u64()).max();
        (requests.iter().map(name).collect(), longest.unwrap_or_default())
    }
}

fn try_open(uri: &str, pairs: &[(&str, &str)]) -> Result<Store> {
    Store::open(uri, &options(pairs), &Call::default())
}

fn opened(uri: &str, pairs: &[(&str, &str)]) -> Store {
    let pairs = [&[("api_key", said(server(), "key"))], pairs].concat();
    let store = try_open(uri, &pairs).unwrap();
    store.define(&root(FEATURE, &["x"])).unwrap();
    store
}

fn uri(database: &str) -> String {
    format!("{}/databases/{database}", server().endpoint())
}

fn remote(database: &str) -> Store {
    opened(&uri(database), &[])
}

fn ids(store: &Store) -> Vec<String> {
    column(&read(store, FEATURE, &ReadRequest::default()).unwrap(), "id")
}

fn ids_in_order(batches: &[RecordBatch]) -> Vec<String> {
    let ids = batches.iter().flat_map(|batch| batch["id"].as_string::<i64>().iter().flatten());
    ids.map(str::to_owned).collect()
}

fn only(filters: &[&str]) -> ReadRequest {
    ReadRequest {
        filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
        ..ReadRequest::default()
    }
}

fn put(store: &Store, ids: &[&str]) -> Result<()> {
    write(store, FEATURE, &[samples(ids)], &[])
}

fn delete(store: &Store, filter: &str, mode: &str) -> Result<u64> {
    let options = options(&[("delete.mode", mode)]);
    store
        .runtime()
        .block_on(async { store.delete(FEATURE, &only(&[filter]), &options, &Call::default()).await })
}

/// Rows with columns of all kinds that filters are about.
fn mixed(count: usize) -> RecordBatch {
    let numbers = || 0..count as i64;
    let ids: Vec<String> = numbers().map(|n| format!("it's \"{n}\" \\ é")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let times =
        TimestampMicrosecondArray::from_iter_values(numbers().map(|n| 1_704_067_200_123_456 + n * 1_000_000));
    let sparse = Int64Array::from_iter(numbers().map(|n| (n % 3 != 0).then_some(i64::MAX - n)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", text(&ids)),
        ("Odd Name", Arc::new(Int64Array::from_iter_values(numbers()))),
        ("flag", Arc::new(BooleanArray::from_iter(numbers().map(|n| (n % 4 != 3).then_some(n % 2 == 0))))),
        ("at", Arc::new(times.with_timezone("UTC"))),
        ("large", Arc::new(sparse)),
        ("ratio", Arc::new(Float64Array::from_iter_values(numbers().map(|n| n as f64 / 7.0)))),
        ("metaxy_provenance_by_field", by_field(&["x"], &ids)),
    ];
    batch(columns)
}

#[test]
fn what_is_written_is_read_as_from_a_local_store() {
    let directory = tempfile::tempdir().unwrap();
    let (here, there) = (open(directory.path(), &[]), remote("same"));
    here.define(&root(FEATURE, &["x"])).unwrap();
    for store in [&here, &there] {
        assert!(!store.runtime().block_on(store.has(FEATURE, &Call::default())).unwrap());
        write(store, FEATURE, &[mixed(40)], &[]).unwrap();
        write(store, FEATURE, &[mixed(10)], &[]).unwrap();
        assert!(store.runtime().block_on(store.has(FEATURE, &Call::default())).unwrap());
    }
    let columns = ["id", "Odd Name", "flag", "at", "large", "ratio", "metaxy_provenance"];
    let request = |filters: &[&str]| ReadRequest {
        columns: Some(columns.iter().map(|name| (*name).to_owned()).collect()),
        ..only(filters)
    };
    for filter in [
        "id = 'it''s \"3\" \\ é'",
        "id IN ('it''s \"3\" \\ é', 'it''s \"4\" \\ é', 'none')",
        "\"Odd Name\" >= 35",
        "\"Odd Name\" > 3.5 AND \"Odd Name\" < 9",
        "flag",
        "NOT flag",
        "flag IS NULL",
        "large IS NOT NULL AND large > 9223372036854775800",
        "large = 9223372036854775806",
        "ratio > 1.5 OR id = 'none'",
        "\"Odd Name\" = 1000000",
        "id = NULL",
        "id IS NOT NULL",
        "large > -9223372036854775808",
        "large > -99999999999999999999",
    ] {
        for history in [false, true] {
            let request = ReadRequest { sample_history: history, ..request(&[filter]) };
            let of = |store: &Store| rows(&read(store, FEATURE, &request).unwrap());
            assert_eq!(of(&there), of(&here), "{filter}");
        }
    }
    assert_eq!(
        rows(&read(&there, FEATURE, &request(&[])).unwrap()),
        rows(&read(&here, FEATURE, &request(&[])).unwrap())
    );
    let few = ReadRequest { limit: Some(7), batch_rows: Some(3), ..request(&["\"Odd Name\" < 30"]) };
    let batches = read(&there, FEATURE, &few).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 7);
    assert!(batches.iter().all(|batch| batch.num_rows() <= 3));
    // The settings that the first write recorded are found by a store that is told nothing.
    let listed = there.runtime().block_on(remote("same").list(&Call::default())).unwrap();
    let listed = &rows(&[listed])[0];
    assert_eq!(
        (&listed["rows"], &listed["hash_algorithm"], &listed["fragments"]),
        (&json!(50), &json!("xxhash64"), &json!(2))
    );
}

#[test]
fn many_rows_come_in_pages_of_bounded_size() {
    const ROWS: usize = 50_000;
    let proxy = Proxy::start();
    let store = opened(&proxy.uri("many"), &[]);
    let ids: Vec<String> = (0..ROWS).map(|n| format!("{n:06}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", text(&ids)),
        ("page", Arc::new(LargeStringArray::from_iter_values((0..ROWS).map(|n| format!("{n:0600}"))))),
        ("metaxy_provenance_by_field", by_field(&["x"], &ids)),
    ];
    proxy.reset();
    write(&store, FEATURE, &[batch(columns)], &[]).unwrap();
    assert_eq!(proxy.requests().0.len(), 12, "{:?}", proxy.requests().0);
    for (name, request, expected) in [
        ("all", ReadRequest::default(), ROWS),
        ("few", only(&["page < '0000000000000000'", "id < '000100'"]), 0),
        ("some", only(&["id < '000700'"]), 700),
        ("half", only(&["id < '025000'"]), 25_000),
        ("one", only(&["id = '040000'"]), 1),
    ] {
        proxy.reset();
        let begun = Instant::now();
        let found = ids_in_order(&read(&store, FEATURE, &request).unwrap());
        let (requests, longest) = proxy.requests();
        println!(
            "{name}: {:?}, {} requests, the longest answer {longest} bytes",
            begun.elapsed(),
            requests.len()
        );
        assert_eq!(found.len(), expected, "{name}");
        assert!(found.is_sorted_by(|one, other| one < other), "{name}");
        // Two to find the version, one to count, and the pages: of ids first, then of the rows.
        assert!(requests.len() <= 21, "{name}: {requests:?}");
        assert!(longest < 12 << 20, "{longest}");
    }
    proxy.reset();
    proxy.reset();
    put(&store, &["x"]).unwrap();
    assert_eq!(proxy.requests().0.len(), 7, "{:?}", proxy.requests().0);
    // A read of the first rows only does not ask for the others.
    proxy.reset();
    let few = ReadRequest { limit: Some(10), sample_history: true, ..ReadRequest::default() };
    read(&store, FEATURE, &few).unwrap();
    assert!(proxy.requests().0.len() < 16, "{:?}", proxy.requests());
}

#[test]
fn columns_and_members_are_added() {
    let store = remote("evolving");
    put(&store, &["a"]).unwrap();
    let more = batch(vec![
        ("id", text(&["b"])),
        ("size", Arc::new(Int64Array::from(vec![3]))),
        ("metaxy_provenance_by_field", by_field(&["x"], &["b"])),
    ]);
    write(&store, FEATURE, &[more], &[]).unwrap();
    put(&store, &["c"]).unwrap();
    let batches = read(&store, FEATURE, &ReadRequest::default()).unwrap();
    assert_eq!(column(&batches, "size"), ["3", "null", "null"]);
    // Another field: a new member of the structs.
    store.define(&root(FEATURE, &["x", "y"])).unwrap();
    let wider =
        batch(vec![("id", text(&["d"])), ("metaxy_provenance_by_field", by_field(&["x", "y"], &["d"]))]);
    write(&store, FEATURE, &[wider], &[]).unwrap();
    let all = ReadRequest { feature_history: true, ..ReadRequest::default() };
    let found = rows(&read(&store, FEATURE, &all).unwrap());
    assert_eq!(found.len(), 4);
    assert!(found.iter().any(|row| row["metaxy_provenance_by_field"]["y"] == json!("d-y")), "{found:?}");
    // A type for which the protocol has no name.
    let mut map = arrow::array::MapBuilder::new(
        None,
        arrow::array::StringBuilder::new(),
        arrow::array::Int64Builder::new(),
    );
    map.append(true).unwrap();
    let unnamed = batch(vec![
        ("id", text(&["e"])),
        ("map", Arc::new(map.finish()) as _),
        ("metaxy_provenance_by_field", by_field(&["x", "y"], &["e"])),
    ]);
    let error = failure(write(&store, FEATURE, &[unnamed], &[]));
    assert_eq!((error.status(), error.detail("column")), (Status::Unsupported, Some("map")), "{error}");
}

/// Removing takes several requests, and whichever is the last that is made, no row shows that was hidden.
#[test]
fn what_interrupts_a_removal_brings_nothing_back() {
    let directory = tempfile::tempdir().unwrap();
    let here = open(directory.path(), &[]);
    here.define(&root(FEATURE, &["x"])).unwrap();
    let names: Vec<String> = (0..600).map(|n| format!("{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let versioned = |store: &Store, version: &str| {
        let columns = vec![
            ("id", text(&names)),
            ("v", text(&vec![version; names.len()])),
            ("metaxy_provenance_by_field", by_field(&["x"], &names)),
        ];
        write(store, FEATURE, &[batch(columns)], &[]).unwrap();
    };
    versioned(&here, "old");
    let proxy = Proxy::start();
    for (database, hard) in [("purged", false), ("removed", true)] {
        let store = opened(&proxy.uri(database), &[]);
        versioned(&store, "new");
        if !hard {
            assert_eq!(delete(&store, "id IS NOT NULL", "soft").unwrap(), 600);
        }
        // The rows that are hidden come last in the table.
        let (request, none, call) = (ReadRequest::default(), Options::new(), Call::default());
        here.runtime().block_on(here.copy(&store, None, &request, &none, &call)).unwrap();
        let remove = || match hard {
            true => delete(&store, "v = 'new'", "hard"),
            false => {
                let purging = options(&[("purge.older_than_ms", "0")]);
                let purged = store.runtime().block_on(store.purge(Some(FEATURE), &purging, &call))?;
                Ok(rows(&[purged])[0]["rows_removed"].as_u64().unwrap())
            }
        };
        let total = if hard { 1200 } else { 1800 };
        let mut gone = 0;
        for after in 0..3 {
            proxy.inject("/delete/", "status", json!({"status": 500, "after": after}));
            let error = failure(remove());
            assert_eq!(proxy.applied(), 1);
            let removed = error.detail("removed").map_or(0, |rows| rows.parse().unwrap());
            assert_eq!(removed > 0, after > 0, "{error}");
            gone += removed;
            let versions = column(&read(&store, FEATURE, &ReadRequest::default()).unwrap(), "v");
            assert!(versions.iter().all(|version| hard && version == "new"), "{after}: {versions:?}");
        }
        assert_eq!(gone + remove().unwrap(), total);
        let every = ReadRequest { sample_history: true, deleted: true, ..ReadRequest::default() };
        assert_eq!(column(&read(&store, FEATURE, &every).unwrap(), "id").len(), 0);
    }
}

/// A table of many columns: conditions are about those that tell rows apart.
#[test]
fn of_many_columns_few_tell_rows_apart() {
    let proxy = Proxy::start();
    let store = opened(&proxy.uri("wide"), &[]);
    let wide = |ids: &[&str]| {
        let names: Vec<String> = (0..200).map(|n| format!("c{n:03}")).collect();
        let mut columns = vec![("id", text(ids)), ("metaxy_provenance_by_field", by_field(&["x"], ids))];
        columns.extend(names.iter().map(|name| (name.as_str(), text(ids))));
        write(&store, FEATURE, &[batch(columns)], &[])
    };
    wide(&["a", "b", "c"]).unwrap();
    proxy.inject("/insert/", "lose_reply", json!({}));
    wide(&["a", "d"]).unwrap();
    assert_eq!(proxy.applied(), 1);
    assert_eq!(delete(&store, "id = 'b'", "hard").unwrap(), 1);
    let purging = options(&[("purge.older_than_ms", "0")]);
    let purged = store.runtime().block_on(store.purge(Some(FEATURE), &purging, &Call::default())).unwrap();
    assert_eq!(rows(&[purged])[0]["rows_removed"], json!(1));
    let every = ReadRequest { sample_history: true, ..ReadRequest::default() };
    assert_eq!(column(&read(&store, FEATURE, &every).unwrap(), "id"), ["a", "c", "d"]);
}

#[test]
fn a_column_without_a_type_is_not_given_one_by_dropping_it() {
    let store = remote("untyped");
    let sized = |id: &str, sizes: ArrayRef| {
        let columns = vec![
            ("id", text(&[id])),
            ("size", sizes),
            ("metaxy_provenance_by_field", by_field(&["x"], &[id])),
        ];
        write(&store, FEATURE, &[batch(columns)], &[])
    };
    sized("a", Arc::new(arrow::array::NullArray::new(1))).unwrap();
    let error = failure(sized("b", Arc::new(Int64Array::from(vec![3]))));
    assert_eq!((error.status(), error.detail("column")), (Status::Unsupported, Some("size")), "{error}");
    assert!(error.message().contains("from the start"), "{error}");
    sized("c", Arc::new(arrow::array::NullArray::new(1))).unwrap();
    assert_eq!(ids(&store), ["a", "c"]);
}

#[test]
fn writers_that_bring_the_same_columns_do_not_hinder_each_other() {
    let store = remote("overlapping");
    put(&store, &["a"]).unwrap();
    std::thread::scope(|threads| {
        for writer in 0..4_usize {
            threads.spawn(move || {
                let store = remote("overlapping");
                let id = format!("w{writer}");
                let names: Vec<String> = (writer..writer + 3).map(|n| format!("c{n}")).collect();
                let mut columns =
                    vec![("id", text(&[&id])), ("metaxy_provenance_by_field", by_field(&["x"], &[&id]))];
                columns.extend(names.iter().map(|name| (name.as_str(), text(&[name]))));
                write(&store, FEATURE, &[batch(columns)], &[]).unwrap();
            });
        }
    });
    let found = rows(&read(&store, FEATURE, &ReadRequest::default()).unwrap());
    assert_eq!(found.len(), 5);
    assert_eq!(found.iter().filter(|row| row["c3"] == json!("c3")).count(), 3, "{found:?}");
}

#[test]
fn samples_are_deleted_and_tables_dropped() {
    let store = remote("deleting");
    let names: Vec<String> = (0..1200).map(|n| format!("s{n:04}'")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    put(&store, &names).unwrap();
    put(&store, &names[..3]).unwrap();
    assert_eq!(delete(&store, "id = 's0001'''", "soft").unwrap(), 1);
    assert_eq!(ids(&store).len(), 1199);
    // Both rows of each of the other two samples, and three of the one that is hidden.
    assert_eq!(delete(&store, "id < 's0003'", "hard").unwrap(), 7);
    assert_eq!(ids(&store).len(), 1197);
    let every = ReadRequest { sample_history: true, deleted: true, ..ReadRequest::default() };
    assert_eq!(column(&read(&store, FEATURE, &every).unwrap(), "id").len(), 1197);
    assert_eq!(delete(&store, "id < 's1100'", "hard").unwrap(), 1097);
    assert_eq!(ids(&store).len(), 100);
    put(&store, &names[1190..]).unwrap();
    let purging = options(&[("purge.older_than_ms", "0")]);
    let purged = store.runtime().block_on(store.purge(Some(FEATURE), &purging, &Call::default())).unwrap();
    assert_eq!(rows(&[purged])[0]["rows_removed"], json!(10));
    assert_eq!(ids(&store).len(), 100);
    for maintained in ["compact", "prune"] {
        let (call, none) = (Call::default(), Options::new());
        for feature in [Some(FEATURE), None] {
            let error = failure(store.runtime().block_on(async {
                match maintained {
                    "compact" => store.compact(feature, &none, &call).await,
                    _ => store.prune(feature, &none, &call).await,
                }
            }));
            assert_eq!(error.status(), Status::Unsupported, "{error}");
            assert!(error.message().contains("LanceDB Cloud does that by itself"), "{error}");
        }
    }
    let drop =
        || store.runtime().block_on(store.drop_feature(FEATURE, &Options::new(), &Call::default())).unwrap();
    assert!(drop());
    assert!(!drop());
    assert!(read(&store, FEATURE, &ReadRequest::default()).is_err());
    put(&store, &["again"]).unwrap();
    assert_eq!(ids(&store), ["again"]);
}

#[test]
fn a_store_is_copied_to_a_server_and_read_through_a_chain() {
    let directory = tempfile::tempdir().unwrap();
    let (here, there) = (open(&directory.path().join("from"), &[]), remote("copied"));
    here.define(&root(FEATURE, &["x"])).unwrap();
    put(&here, &["a", "b"]).unwrap();
    let copy = || {
        let (request, none) = (ReadRequest::default(), Options::new());
        let report = here.runtime().block_on(here.copy(&there, None, &request, &none, &Call::default()));
        let report = rows(&[report.unwrap()]);
        (report[0]["rows_copied"].as_i64().unwrap(), report[0]["rows_present"].as_i64().unwrap())
    };
    assert_eq!(copy(), (2, 0));
    assert_eq!(copy(), (0, 2));
    assert_eq!(
        rows(&read(&there, FEATURE, &ReadRequest::default()).unwrap()),
        rows(&read(&here, FEATURE, &ReadRequest::default()).unwrap())
    );
    let local = directory.path().join("dev");
    let merging = options(&[("fallback.missing", "merge")]);
    let fallbacks = vec![Fallback::from(there.clone())];
    let dev = Store::open_chain(local.to_str().unwrap(), fallbacks, &merging, &Call::default()).unwrap();
    dev.define(&root(FEATURE, &["x"])).unwrap();
    assert_eq!(ids(&dev), ["a", "b"]);
    put(&dev, &["c"]).unwrap();
    assert_eq!(ids(&dev), ["a", "b", "c"]);
    delete(&dev, "id = 'a'", "soft").unwrap();
    assert_eq!(ids(&dev), ["b", "c"]);
    assert_eq!(ids(&there), ["a", "b"]);
}

#[test]
fn an_answer_that_is_lost_neither_loses_rows_nor_doubles_them() {
    let proxy = Proxy::start();
    let store = opened(&proxy.uri("lost"), &[]);
    put(&store, &["a"]).unwrap();
    let mut expected = vec!["a".to_owned()];
    // What the server did all the same.
    for (number, (path, fault, more)) in [
        ("/insert/", "lose_reply", json!({})),
        ("/insert/", "lost_status", json!({"status": 502})),
        ("/insert/", "lost_status", json!({"status": 500})),
        ("/insert/", "lost_status", json!({"status": 409})),
        ("/insert/", "status", json!({"status": 429, "times": 2})),
        ("/describe/", "status", json!({"status": 503, "times": 2})),
        ("/describe/", "lose_reply", json!({"times": 2})),
        ("/describe/", "reset", json!({"times": 2})),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("b{number}");
        proxy.inject(path, fault, more.clone());
        put(&store, &[&id]).unwrap_or_else(|error| panic!("{path} {fault} {more}: {error}"));
        assert_eq!(proxy.applied(), more["times"].as_u64().unwrap_or(1), "{path} {fault} {more}");
        expected.push(id);
        assert_eq!(ids(&remote("lost")), expected, "{path} {fault} {more}");
    }
    // What it says that it did not do.
    proxy.inject("/insert/", "status", json!({"status": 409}));
    let error = failure(put(&store, &["never"]));
    assert_eq!((error.status(), error.is_retryable()), (Status::Conflict, true), "{error}");
    assert!(error.message().contains("nothing was written"), "{error}");
    assert_eq!(ids(&remote("lost")), expected);
    // What it did, and is slow to say.
    let impatient = opened(&proxy.uri("lost"), &[("read.timeout_ms", "500")]);
    proxy.inject("/insert/", "stall", json!({"seconds": 3.0}));
    put(&impatient, &["slow"]).unwrap();
    expected.push("slow".to_owned());
    assert_eq!(ids(&remote("lost")), expected);
    // Reading goes on where a page was lost.
    for (fault, more) in [("status", json!({"status": 502})), ("lose_reply", json!({})), ("reset", json!({}))]
    {
        proxy.inject("/query/", fault, more);
        assert_eq!(ids(&store), expected);
        assert_eq!(proxy.applied(), 1);
    }
    for path in ["/delete/", "/add_columns/", "/create/", "/drop/"] {
        for (fault, more) in [("lose_reply", json!({})), ("lost_status", json!({"status": 502}))] {
            let store = opened(&proxy.uri("fresh"), &[]);
            proxy.inject(path, fault, more);
            put(&store, &["a", "b"]).unwrap();
            let wider = batch(vec![
                ("id", text(&["c"])),
                ("size", Arc::new(Int64Array::from(vec![3]))),
                ("metaxy_provenance_by_field", by_field(&["x"], &["c"])),
            ]);
            write(&store, FEATURE, &[wider], &[]).unwrap();
            assert_eq!(delete(&store, "id = 'a'", "hard").unwrap(), 1);
            assert_eq!(ids(&store), ["b", "c"]);
            let (none, call) = (Options::new(), Call::default());
            assert!(store.runtime().block_on(store.drop_feature(FEATURE, &none, &call)).unwrap());
            assert_eq!(proxy.applied(), 1, "{path} {fault}");
        }
    }
}

/// Behind a gateway that has given up, or a connection that broke, the server may still be at it.
#[test]
fn rows_that_may_yet_come_are_never_said_to_be_lost() {
    std::thread::scope(|threads| {
        for (database, fault, more, outcome) in [
            ("late1", "late", json!({"seconds": 1.5}), None),
            ("late2", "late", json!({"seconds": 9.0, "status": 504}), Some(2)),
            ("late3", "reset", json!({}), Some(1)),
            ("late4", "status", json!({"status": 500}), Some(1)),
        ] {
            threads.spawn(move || {
                let proxy = Proxy::start();
                let store = opened(&proxy.uri(database), &[]);
                put(&store, &["a"]).unwrap();
                proxy.inject("/insert/", fault, more.clone());
                let written = put(&store, &["b"]);
                assert_eq!(proxy.applied(), 1);
                let Some(rows) = outcome else {
                    written.unwrap();
                    return assert_eq!(ids(&store), ["a", "b"]);
                };
                let error = failure(written);
                assert_eq!((error.status(), error.is_retryable()), (Status::Unavailable, false), "{error}");
                assert_eq!(error.detail("outcome"), Some("unknown"), "{error}");
                assert!(
                    error.message().contains("may yet be") && !error.message().contains("nothing was"),
                    "{error}"
                );
                let begun = Instant::now();
                while rows == 2 && ids(&store).len() == 1 && begun.elapsed() < Duration::from_secs(20) {
                    std::thread::sleep(Duration::from_millis(100));
                }
                let every = ReadRequest { sample_history: true, ..ReadRequest::default() };
                assert_eq!(
                    column(&read(&store, FEATURE, &every).unwrap(), "id").len(),
                    rows,
                    "{fault} {more}"
                );
            });
        }
    });
}

#[test]
fn writers_at_once_keep_every_row_once_while_answers_are_lost() {
    const WRITES: usize = 6;
    let proxy = Proxy::start();
    let uri = proxy.uri("crowd");
    let losing: Vec<Value> = ["lose_reply", "reset", "lost_status", "status"]
        .iter()
        .enumerate()
        .map(|(after, fault)| json!({"match": {"path": "/insert/"}, "fault": fault, "times": 1, "after": 3 * after + 1}))
        .collect();
    proxy.control("POST", "/faults", &json!(losing));
    std::thread::scope(|threads| {
        for writer in 0..4 {
            let store = opened(&uri, &[]);
            threads.spawn(move || {
                for number in 0..WRITES {
                    let id = format!("{writer}-{number}");
                    while let Err(error) = put(&store, &[&id]) {
                        if error.detail("outcome") == Some("unknown") {
                            // Nothing is late here, so that a look is enough.
                            if ids(&store).contains(&id) {
                                break;
                            }
                        } else {
                            assert!(error.is_retryable(), "{error}");
                        }
                    }
                }
            });
        }
    });
    let every = ReadRequest { sample_history: true, ..ReadRequest::default() };
    let found = column(&read(&remote("crowd"), FEATURE, &every).unwrap(), "id");
    let expected: Vec<String> =
        (0..4).flat_map(|writer| (0..WRITES).map(move |number| format!("{writer}-{number}"))).collect();
    assert_eq!(found, expected);
    let faults = proxy.control("GET", "/faults", &Value::Null);
    assert!(faults.as_array().unwrap().iter().all(|fault| fault["applied"] == json!(1)), "{faults}");
}

#[test]
fn what_keeps_a_server_from_answering_is_told_apart() {
    let key = said(server(), "key");
    let there = uri("errors");
    let reads = |uri: &str, pairs: &[(&str, &str)]| {
        let begun = Instant::now();
        let store = try_open(uri, pairs).unwrap();
        store.define(&root(FEATURE, &["x"])).unwrap();
        let error = failure(read(&store, FEATURE, &ReadRequest::default()));
        assert!(begun.elapsed() < Duration::from_secs(12), "{uri}: {:?}", begun.elapsed());
        let shown = format!("{error:?}");
        assert!(!shown.contains("sk_") && !shown.contains("SECRET"), "{shown}");
        error
    };
    let wrong = reads(&there, &[("api_key", "sk_SECRET")]);
    assert_eq!((wrong.status(), wrong.detail("reason")), (Status::Permission, Some("credentials")));
    assert!(wrong.message().contains("api_key"), "{wrong}");
    let free = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let refused = reads(&format!("http://127.0.0.1:{free}/x"), &[("api_key", key)]);
    assert_eq!((refused.status(), refused.detail("reason")), (Status::Unavailable, Some("refused")));
    let host = reads("http://no-such-host.invalid/x", &[("api_key", key)]);
    assert_eq!((host.status(), host.detail("reason")), (Status::Unavailable, Some("host")));
    let address = reads(&format!("{}/elsewhere/x", server().endpoint()), &[("api_key", key)]);
    assert_eq!((address.status(), address.detail("reason")), (Status::Unavailable, Some("address")));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}/x", silent.local_addr().unwrap());
    let late = reads(&silent, &[("api_key", key), ("read.timeout_ms", "300")]);
    assert_eq!((late.status(), late.detail("reason")), (Status::Timeout, Some("timeout")));
    let tls = server().endpoint().replace("http://", "https://");
    let tls = reads(&tls, &[("api_key", key)]);
    assert_eq!((tls.status(), tls.detail("reason")), (Status::Unavailable, Some("tls")));
    // A key that may only read.
    let reader = try_open(&there, &[("api_key", said(server(), "read_only_key"))]).unwrap();
    reader.define(&root(FEATURE, &["x"])).unwrap();
    let error = failure(put(&reader, &["a"]));
    assert_eq!((error.status(), error.detail("reason")), (Status::Permission, Some("permission")), "{error}");
    // What is there is told when nothing is wrong.
    let absent = reads(&there, &[("api_key", key)]);
    assert_eq!(absent.status(), Status::NotFound);
}

#[test]
fn certificates_of_an_authority_of_ones_own_are_checked() {
    let server = Server::start("lancedb_remote", &["--tls", "--key", "", "--phalanx-version", "0.4.0"]);
    let uri = said(&server, "url");
    let store = try_open(uri, &[("tls.ca_file", said(&server, "ca")), ("database", "inner")]).unwrap();
    store.define(&root(FEATURE, &["x"])).unwrap();
    put(&store, &["a"]).unwrap();
    assert_eq!(ids(&store), ["a"]);
    assert!(std::path::Path::new(said(&server, "root")).join("inner/r__a.lance").exists());
    let untrusting = try_open(uri, &[]).unwrap();
    untrusting.define(&root(FEATURE, &["x"])).unwrap();
    let error = failure(read(&untrusting, FEATURE, &ReadRequest::default()));
    assert_eq!((error.status(), error.detail("reason")), (Status::Unavailable, Some("tls")), "{error}");
    assert!(!error.is_retryable());
}

#[test]
fn what_makes_no_sense_is_refused_at_open() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let (empty, none) = (empty.to_str().unwrap(), directory.path().join("none.pem"));
    for (uri, pairs, says) in [
        ("db://prod", vec![], "LANCEDB_API_KEY"),
        ("https://h/x", vec![("storage_options.aws_region", "x")], "means nothing"),
        ("https://h/x", vec![("host_override", "https://other")], "means nothing"),
        ("https://h/x", vec![("tls.ca_file", none.to_str().unwrap())], "cannot be read"),
        ("https://h/x", vec![("tls.ca_file", empty)], "no certificate"),
        ("https://h/x", vec![("durability", "disk")], "durability"),
        ("https://h/x", vec![("compact.after_writes", "3")], "compact.after_writes"),
        ("https://h/x", vec![("database", "a b")], "database"),
        ("https://h/x%20y", vec![], "database"),
        ("https://h/x", vec![("api_key", "SECRET\n")], "api_key"),
        ("db://prod", vec![("api_key", "SECRET"), ("host_override", "ftp://x")], "host_override"),
    ] {
        let error = failure(try_open(uri, &pairs));
        assert_eq!(error.status(), Status::InvalidArgument, "{uri} {pairs:?}: {error}");
        assert!(error.message().contains(says), "{uri} {pairs:?}: {error}");
        assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
    }
    // Nothing is asked of anybody before the store is used.
    try_open("db://prod", &[("api_key", "k")]).unwrap();
    try_open("db://prod", &[("api_key", "k"), ("region", "eu-west-1")]).unwrap();
    try_open("https://no-such-host.invalid/databases/prod", &[]).unwrap();
    let over = [("api_key", said(server(), "key")), ("host_override", &uri("over"))];
    let store = try_open("db://over", &over).unwrap();
    store.define(&root(FEATURE, &["x"])).unwrap();
    put(&store, &["a"]).unwrap();
    assert_eq!(ids(&remote("over")), ["a"]);
}

/// A server that says that it has three rows, and gives others: answers to queries, each the numbers of its
/// rows. It goes with its thread when the test program does.
fn strange(pages: &[&[u64]]) -> String {
    let pages: Vec<Vec<u8>> = pages.iter().map(|numbers| page(numbers)).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut pages = pages.into_iter();
        for connection in listener.incoming() {
            let mut connection = BufReader::new(connection.unwrap());
            let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
            connection.read_line(&mut first).unwrap();
            while line != "\r\n" {
                line.clear();
                connection.read_line(&mut line).unwrap();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
            }
            connection.read_exact(&mut vec![0; length]).unwrap();
            let plain = |text: &str| ("application/json", text.as_bytes().to_vec());
            let (kind, body) = match first.split('/').rev().nth(2).unwrap_or_default() {
                "describe" => plain(
                    r#"{"version": 1, "schema": {"fields": [
                        {"name": "id", "type": {"type": "large_string"}, "nullable": true},
                        {"name": "metaxy_feature_version", "type": {"type": "large_string"}, "nullable": true}]}}"#,
                ),
                "count_rows" => plain("3"),
                "query" => ("application/vnd.apache.arrow.file", pages.next().unwrap_or_else(|| page(&[]))),
                other => panic!("{other} is asked for: {first}"),
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let answer = [head.into_bytes(), body].concat();
            // Who gives a read up does not wait for the rest.
            let _ = connection.get_mut().write_all(&answer);
        }
    });
    format!("http://{address}")
}

fn page(numbers: &[u64]) -> Vec<u8> {
    let ids: Vec<String> = numbers.iter().map(u64::to_string).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let numbers = Arc::new(UInt64Array::from(numbers.to_vec()));
    let rows =
        batch(vec![("id", text(&ids)), ("metaxy_feature_version", text(&ids)), ("_rowid", numbers as _)]);
    let mut file = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    file.write(&rows).unwrap();
    file.into_inner().unwrap()
}

#[test]
fn a_server_that_gives_other_rows_than_it_has_is_found_out() {
    let known = [("hash.algorithm", "xxhash64"), ("hash.truncation_length", "none")];
    let request = ReadRequest { feature_history: true, sample_history: true, deleted: true, ..only(&[]) };
    let reading = |pages: &[&[u64]]| {
        let store = try_open(&strange(pages), &known).unwrap();
        store.define(&root(FEATURE, &["x"])).unwrap();
        read(&store, FEATURE, &request)
    };
    assert_eq!(ids_in_order(&reading(&[&[1, 5, 9]]).unwrap()), ["1", "5", "9"]);
    // A page that is short is not the end.
    assert_eq!(ids_in_order(&reading(&[&[1], &[5, 9]]).unwrap()), ["1", "5", "9"]);
    for (pages, says) in [
        (&[&[1, 9, 5][..]][..], "another order"),
        (&[&[1, 5], &[5]], "another order"),
        (&[&[1, 5], &[]], "1 rows less"),
        (&[&[1, 5, 9, 11]], "4 rows when it was asked for 3"),
    ] {
        let error = failure(reading(pages));
        assert_eq!(error.status(), Status::Unsupported, "{error}");
        assert!(error.message().contains(says), "{error}");
    }
    // Nor is an empty page the end of the rows that a filter asks for.
    let filtered = ReadRequest { filters: vec!["id IS NOT NULL".into()], ..request.clone() };
    let filtering = |pages: &[&[u64]]| {
        let store = try_open(&strange(pages), &known).unwrap();
        store.define(&root(FEATURE, &["x"])).unwrap();
        read(&store, FEATURE, &filtered)
    };
    assert_eq!(ids_in_order(&filtering(&[&[1], &[5, 9]]).unwrap()), ["1", "5", "9"]);
    let error = failure(filtering(&[&[1, 5], &[]]));
    assert!(error.message().contains("1 rows less"), "{error}");
}

/// Whoever a server sends requests on to does not get the key.
#[test]
fn a_server_that_sends_requests_on_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It goes with its thread when the test program does.
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = BufReader::new(connection.unwrap());
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                connection.read_line(&mut line).unwrap();
                assert!(!line.to_ascii_lowercase().starts_with("x-api-key"), "{line}");
            }
            let moved = "HTTP/1.1 307 Moved\r\nlocation: http://elsewhere.invalid/x/v1/table/\r\n\
                         connection: close\r\ncontent-length: 0\r\n\r\n";
            connection.get_mut().write_all(moved.as_bytes()).unwrap();
        }
    });
    let store = try_open(&format!("http://{address}/x"), &[("api_key", "sk_SECRET")]).unwrap();
    store.define(&root(FEATURE, &["x"])).unwrap();
    let error = failure(read(&store, FEATURE, &ReadRequest::default()));
    assert_eq!((error.status(), error.detail("reason")), (Status::Unavailable, Some("address")), "{error}");
    assert!(!error.is_retryable() && error.message().contains("http://elsewhere.invalid"), "{error}");
}

#[test]
fn the_first_answer_may_take_as_long_as_reaching_the_server() {
    // Accepted by the system, and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/databases/prod", silent.local_addr().unwrap());
    for key in [None, Some("sk_silent")] {
        let mut pairs = vec![("mode", "read"), ("connect.timeout_ms", "500")];
        pairs.extend(key.map(|key| ("api_key", key)));
        let store = Store::open(&uri, &options(&pairs), &Call::default()).unwrap();
        store.define(&root("s/rows", &["x"])).unwrap();
        let started = Instant::now();
        let error = failure(read(&store, "s/rows", &ReadRequest::default()));
        assert_eq!((error.status(), error.detail("reason")), (Status::Timeout, Some("timeout")), "{error}");
        assert!(error.is_retryable(), "{error}");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
