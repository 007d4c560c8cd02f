//! Texts of others, such as those of LanceDB's errors, as they may be shown.
//!
//! They quote what was sent and what came back: URLs whose queries are signed, answers that repeat
//! credentials. And they end with places in somebody's source code, which help nobody.

const MASK: &str = "***";

/// What comes before an answer that an error quotes.
const ANSWERS: [&str; 2] = ["Server returned non-2xx status code: ", "Server returned error response: "];

/// What comes before a debugging text of Amazon's library, which may hold whole answers.
const CREDENTIALS: &str = "Failed to get AWS credentials: ";

/// `text` without the queries of its URLs, the answers it quotes and the source locations in it.
pub fn presentable(text: &str) -> String {
    without_sources(&without_queries(&without_answers(text)))
}

/// The code by which a storage says in an answer what is wrong.
pub fn code_of(answer: &str) -> Option<&str> {
    let (_, rest) = answer.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    is_word(code).then_some(code)
}

/// Keeps the code alone of an answer: storages repeat tokens and what was signed in the rest.
fn without_answers(text: &str) -> String {
    for marker in ANSWERS {
        let Some((before, answer)) = text.split_once(marker) else { continue };
        let status = answer.split_once(": ").map(|(status, _)| status).filter(|status| status.len() < 64);
        return match (code_of(answer), status) {
            (Some(code), Some(status)) => format!("{before}{marker}{status}: {code}"),
            (Some(code), None) => format!("{before}{marker}{code}"),
            (None, status) => format!("{before}{marker}{}", status.unwrap_or_default()),
        };
    }
    if let Some((before, dump)) = text.split_once(CREDENTIALS) {
        let name = dump.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        return format!("{before}{CREDENTIALS}{name}");
    }
    match ["<?xml", "<Error"].iter().filter_map(|start| text.find(start)).min() {
        Some(start) => {
            let (before, answer) = text.split_at(start);
            format!("{before}{}", code_of(answer).unwrap_or(MASK))
        }
        None => text.to_owned(),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() < 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn without_queries(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, url)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = url.find(|c: char| c.is_whitespace() || "\"'<>()`,".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        shown.push_str(&masked_url(url));
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// What follows the scheme of a URL, with user and query masked.
fn masked_url(url: &str) -> String {
    let (place, query) = match url.split_once('?') {
        Some((place, _)) => (place, "?***"),
        None => (url, ""),
    };
    let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    match authority.rsplit_once('@') {
        // A container of Azure is written like a user; a user with a password is none.
        Some((user, host)) if user.contains(':') => format!("{MASK}@{host}{path}{query}"),
        _ => format!("{place}{query}"),
    }
}

/// Drops what looks like `, /home/x/lance/src/file.rs:12:34`.
fn without_sources(text: &str) -> String {
    const FILE: &str = ".rs:";
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((file, after)) = rest.split_once(FILE) {
        let place = after.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(after.len());
        // A colon at the end belongs to what follows.
        let place = after.get(..place).unwrap_or_default().trim_end_matches(':').len();
        match file.rsplit_once(", ") {
            Some((before, _)) if place > 0 => shown.push_str(before),
            _ => {
                shown.push_str(file);
                shown.push_str(FILE);
                shown.push_str(after.get(..place).unwrap_or_default());
            }
        }
        rest = after.get(place..).unwrap_or_default();
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_passwords_of_urls_are_masked() {
        for (text, shown) in [
            (
                "Error performing GET http://h:1/c/x?sv=1&sig=SECRET%3D in 2ms - it failed",
                "Error performing GET http://h:1/c/x?*** in 2ms - it failed",
            ),
            (
                "see (https://u:SECRET@h/x?a=SECRET), twice: \"http://h?k=SECRET\"",
                "see (https://***@h/x?***), twice: \"http://h?***\"",
            ),
            (
                "abfss://container@account.dfs.core.windows.net/x",
                "abfss://container@account.dfs.core.windows.net/x",
            ),
            ("no URL: a?b=c", "no URL: a?b=c"),
            ("", ""),
        ] {
            assert_eq!(presentable(text), shown);
        }
    }

    #[test]
    fn of_an_answer_only_its_code_is_kept() {
        for (text, shown) in [
            (
                "Generic S3 error: x - Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?><Error>\
                 <Code>SignatureDoesNotMatch</Code><StringToSign>SECRET</StringToSign></Error>, /r/x.rs:1:2",
                "Generic S3 error: x - Server returned non-2xx status code: 403 Forbidden: SignatureDoesNotMatch",
            ),
            (
                "Server returned non-2xx status code: 400 Bad Request: {\"error\": \"SECRET: x\"}",
                "Server returned non-2xx status code: 400 Bad Request",
            ),
            (
                "Server returned error response: <Error><Code>InternalError</Code>SECRET</Error>",
                "Server returned error response: InternalError",
            ),
            ("Got invalid response: <Error><Code>SECRET code</Code></Error>", "Got invalid response: ***"),
            (
                "LanceError(IO): Failed to get AWS credentials: ProviderError(Response { body: SECRET })",
                "LanceError(IO): Failed to get AWS credentials: ProviderError",
            ),
        ] {
            assert_eq!(presentable(text), shown);
        }
    }

    #[test]
    fn source_locations_are_dropped() {
        for (text, shown) in [
            ("Not found: a/b, /root/lance-1/src/io.rs:12:34", "Not found: a/b"),
            ("IO: x, rust/src/a.rs:1:2: more, /b.rs:3:4", "IO: x: more"),
            ("plain.rs: text", "plain.rs: text"),
            ("x, y.rs:z", "x, y.rs:z"),
        ] {
            assert_eq!(presentable(text), shown, "{text}");
        }
    }
}
