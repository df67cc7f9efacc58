//! What a running server shows of itself: metrics, pages, traces, logs. Each test asks the real binary.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::support::{PATIENCE, Server, log_field};

mod documents;
mod export;
mod incidents;
mod logs;
mod metrics;
mod pages;
pub mod receiver;

/// An answer over HTTP.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    /// In lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// Returns the address of the server's HTTP listener.
pub fn http_address(server: &Server) -> String {
    server.wait_for_log("the address for HTTP", |line| {
        let is_of_http = log_field(line, "message")? == "listening for HTTP";
        is_of_http.then(|| log_field(line, "address"))?
    })
}

/// Sends `head`, the lines of a request without its end, to `address`, and returns the answer.
pub fn request(address: &str, head: &str) -> Page {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{head}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    page(&answer)
}

/// Reads an answer whose end is the end of the connection.
pub fn page(answer: &str) -> Page {
    let (head, body) = answer.split_once("\r\n\r\n").expect(answer);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    });
    Page {
        status: status.parse().unwrap(),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

/// Returns the page at `path`, which must be there.
pub fn get(address: &str, path: &str) -> String {
    let page = request(address, &format!("GET {path} HTTP/1.1"));
    assert_eq!(page.status, 200, "{path}: {page:?}");
    page.body
}

/// One metric of `/metrics`.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// The names of all labels besides `le`.
    pub labels: BTreeSet<String>,
}

/// What `/metrics` shows.
#[derive(Debug)]
pub struct Scrape {
    /// The value of each series, which is written as in the text: `name{label="value"}`.
    pub values: BTreeMap<String, f64>,
    pub families: BTreeMap<String, Family>,
}

impl Scrape {
    pub fn of(address: &str) -> Self {
        let text = get(address, "/metrics");
        let mut scrape = Self {
            values: BTreeMap::new(),
            families: BTreeMap::new(),
        };
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                scrape.family(name).help = help.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                scrape.family(name).kind = kind.to_owned();
            } else {
                scrape.read_value(line);
            }
        }
        scrape
    }

    fn family(&mut self, name: &str) -> &mut Family {
        self.families.entry(name.to_owned()).or_default()
    }

    fn read_value(&mut self, line: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let before = self
            .values
            .insert(series.to_owned(), value.parse().unwrap());
        assert_eq!(before, None, "{series} is there once");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            let base = name.strip_suffix(suffix)?;
            self.families.contains_key(base).then(|| base.to_owned())
        });
        let family = self.family(&base.unwrap_or_else(|| name.to_owned()));
        for label in labels.trim_end_matches('}').split("\",") {
            let name = label.split('=').next().unwrap();
            if !["", "le"].contains(&name) {
                family.labels.insert(name.to_owned());
            }
        }
    }

    /// Returns the value of one series, which must be there.
    pub fn value(&self, series: &str) -> f64 {
        let value = self.values.get(series);
        *value.unwrap_or_else(|| panic!("no {series} among {:#?}", self.values.keys()))
    }

    /// Returns the values of the metric `name` that are not zero, by their labels as written.
    pub fn others_than_zero(&self, name: &str) -> BTreeMap<&str, f64> {
        let of_name = self.values.iter().filter_map(|(series, value)| {
            let labels = series.strip_prefix(name)?;
            (labels.starts_with('{') && *value != 0.0).then_some((labels, *value))
        });
        of_name.collect()
    }
}

/// Returns the text of a file of the repository.
pub fn file(path: &str) -> String {
    std::fs::read_to_string(crate::support::repository().join(path)).expect(path)
}

/// Returns a server with the store at `root`, and the address of its HTTP listener.
pub fn serve(root: &Path) -> (Server, String) {
    let server = Server::start(root);
    let address = http_address(&server);
    (server, address)
}
