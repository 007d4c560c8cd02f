//! The numbers of requests that `docs/storage.md` names, counted on their way to real servers.

use metaxy::store::context::Call;
use metaxy::store::{ReadRequest, Store};
use serde_json::Value;

use crate::native::ROOT;
use crate::servers::Server;
use crate::support::{options, read, root, samples, write};

/// Stands before a server and counts.
struct Counter(Server);

impl Counter {
    fn before(endpoint: &str) -> Counter {
        Counter(Server::start("faults", &["--target", endpoint]))
    }

    fn ask(&self, method: reqwest::Method, path: &str) -> String {
        let url = format!("{}{path}", self.0.report()["control"].as_str().expect("a control"));
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        threads.block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().expect("a client");
            client.request(method, url).send().await.expect("an answer").text().await.expect("a text")
        })
    }

    fn counted(&self, work: impl FnOnce()) -> u64 {
        self.ask(reqwest::Method::POST, "/reset");
        work();
        let counts: Value = serde_json::from_str(&self.ask(reqwest::Method::GET, "/counts")).expect("JSON");
        counts["total"].as_u64().expect("a total")
    }
}

/// The number in the row of the document that begins with `what`, in its section `heading`.
fn documented(heading: &str, what: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(format!("{ROOT}/docs/storage.md")).expect("docs/storage.md");
    let section = text.split(&format!("## {heading}\n")).nth(1).expect(heading);
    let row = section.lines().find(|line| line.starts_with(&format!("| {what} |"))).expect(what);
    let numbers = row.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    numbers.collect()
}

#[test]
fn a_bucket_is_asked_as_often_as_the_document_says() {
    let minio = Server::start("minio", &[]);
    let counter = Counter::before(minio.endpoint());
    let reached: Vec<_> = minio
        .options()
        .into_iter()
        .map(|(name, value)| match name.ends_with("aws_endpoint") {
            true => (name, counter.0.endpoint().to_owned()),
            false => (name, value),
        })
        .collect();
    let pairs: Vec<(&str, &str)> =
        reached.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut store = None;
    let opening =
        counter.counted(|| store = Some(Store::open(&minio.uri("db"), &options(&pairs), &Call::default())));
    assert_eq!(
        documented("Requests", "opening the first store for writing at an endpoint of its own"),
        [opening]
    );
    let store = store.expect("it was opened").expect("a store");
    store.define(&root("s/rows", &["x"])).expect("a definition");
    let write_one = |id: &str| counter.counted(|| write(&store, "s/rows", &[samples(&[id])], &[]).unwrap());
    let adding = documented("Requests", "adding rows");
    assert_eq!((adding[1], adding[0]), (write_one("a"), write_one("b").max(write_one("c"))));
    let reader = Store::open(&minio.uri("db"), &options(&pairs), &Call::default()).expect("a store");
    assert!(matches!(documented("Requests", "looking for a table, and opening it")[..], [2, ..]));
    let looking = || {
        counter.counted(|| {
            let call = Call::default();
            assert!(!reader.runtime().block_on(reader.has("s/none", &call)).expect("an answer"));
        })
    };
    // The first use of a store asks whether the bucket is there; one that has no table has no version to read.
    assert_eq!((looking(), looking()), (2, 1));
}

#[test]
fn a_server_is_asked_as_often_as_the_document_says() {
    let server = Server::start("lancedb_remote", &[]);
    let counter = Counter::before(server.endpoint());
    let key = server.report()["key"].as_str().expect("a key");
    let store = Store::open(counter.0.endpoint(), &options(&[("api_key", key)]), &Call::default()).unwrap();
    store.define(&root("s/rows", &["x"])).unwrap();
    let write_one = |id: &str| counter.counted(|| write(&store, "s/rows", &[samples(&[id])], &[]).unwrap());
    let adding = documented("Servers", "adding rows");
    assert_eq!((adding[1], adding[0]), (write_one("a"), write_one("b")));
    let reading = counter.counted(|| drop(read(&store, "s/rows", &ReadRequest::default()).unwrap()));
    assert_eq!(documented("Servers", "reading a few rows, from opening their table"), [reading]);
}
