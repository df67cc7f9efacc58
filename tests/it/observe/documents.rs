//! `docs/metrics.md` says of each metric what the server shows, and names no other.

use std::collections::{BTreeMap, BTreeSet};

use super::{Family, Scrape, file, serve};
use crate::support::{ann_asks, store_allowing};

/// Returns the texts in the cells of the table rows of a page that begin with a name in backticks.
pub fn rows(page: &str) -> Vec<Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

/// Returns the words in backticks.
pub fn quoted(cell: &str) -> Vec<String> {
    let parts = cell.split('`').skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_metrics_is_what_the_server_shows() {
    let store = store_allowing("orders:Get");
    let (server, address) = serve(store.path());
    let mut client = server.client().await;
    client.authorize(ann_asks("orders:Get")).await.unwrap();
    let scrape = Scrape::of(&address);
    let page = file("docs/metrics.md");
    let (metrics, labels) = page.split_once("## Labels").unwrap();
    let documented: BTreeMap<String, [String; 4]> = rows(metrics)
        .into_iter()
        .map(|cells| {
            let [name, kind, unit, labels, meaning] = cells.try_into().unwrap();
            let name = quoted(&name).pop().unwrap();
            let labels: BTreeSet<_> = quoted(&labels).into_iter().collect();
            (name, [kind, unit, format!("{labels:?}"), meaning])
        })
        .collect();
    let shown: BTreeMap<String, [String; 4]> = scrape
        .families
        .iter()
        .map(|(name, family)| {
            let Family { kind, help, labels } = family;
            let unit = ["seconds", "bytes"].into_iter().find(|unit| {
                let name = name.strip_suffix("_total").unwrap_or(name);
                name.ends_with(&format!("_{unit}"))
            });
            let unit = unit.unwrap_or("").to_owned();
            (
                name.clone(),
                [kind.clone(), unit, format!("{labels:?}"), help.clone()],
            )
        })
        .collect();
    for (name, shown) in &shown {
        assert_eq!(documented.get(name), Some(shown), "{name} as it is shown");
    }
    let names = |map: &BTreeMap<String, _>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&documented),
        names(&shown),
        "the page names no other metric"
    );

    // Each label has a row with its values, unless those depend on the store or the version.
    let documented: BTreeMap<String, Vec<String>> = rows(labels)
        .into_iter()
        .map(|cells| (quoted(&cells[0]).pop().unwrap(), quoted(&cells[1])))
        .collect();
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for series in scrape.values.keys() {
        let labels = series.split_once('{').map_or("", |(_, labels)| labels);
        for label in labels
            .trim_end_matches('}')
            .split(',')
            .filter(|label| !label.is_empty())
        {
            let (name, value) = label.split_once('=').unwrap();
            used.entry(name)
                .or_default()
                .insert(value.trim_matches('"').to_owned());
        }
    }
    used.remove("le");
    for (name, values) in &used {
        let documented = documented
            .get(*name)
            .unwrap_or_else(|| panic!("no row of {name}"));
        let is_open = ["revision", "version"].contains(name);
        for value in values {
            assert!(is_open || documented.contains(value), "{name}: {value}");
        }
    }
    let of_contract = ["decision", "protocol", "reason", "result", "severity"];
    for name in of_contract {
        let documented: BTreeSet<_> = documented[name].iter().cloned().collect();
        assert_eq!(
            documented, used[name],
            "{name}: every value is there from the start"
        );
    }
}

/// Returns the names of metrics in an expression of Prometheus. A histogram counts under its own name.
fn metrics_of(expression: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    // What is quoted is the value of a label.
    let unquoted: String = expression
        .split('"')
        .step_by(2)
        .collect::<Vec<_>>()
        .join(" ");
    let words = unquoted.split(|c| !is_of_name(c));
    let metrics = words.filter(|word| {
        ["iamd_", "process_", "rpc_server_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    });
    metrics
        .map(|metric| {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                let base = metric.strip_suffix(suffix)?;
                known.contains(base).then(|| base.to_owned())
            });
            base.unwrap_or_else(|| metric.to_owned())
        })
        .collect()
}

/// Returns the names of the metrics in `docs/metrics.md`.
fn known_metrics() -> BTreeSet<String> {
    let page = file("docs/metrics.md");
    let metrics = page.split("## Labels").next().unwrap();
    let rows = rows(metrics).into_iter();
    rows.map(|cells| quoted(&cells[0]).pop().unwrap()).collect()
}

#[test]
fn alerts_and_the_dashboard_ask_only_for_metrics_that_there_are() {
    let known = known_metrics();
    let rules = file("deploy/prometheus/rules.yaml");
    let alerts: BTreeSet<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert_eq!(alerts.len(), 6);
    let code: String = rules
        .lines()
        .filter(|line| !line.trim().starts_with('#'))
        .collect();
    let of_rules = metrics_of(&code, &known);
    assert!(of_rules.is_subset(&known), "{of_rules:?}");
    let tests = file("deploy/prometheus/rules_test.yaml");
    for alert in &alerts {
        assert!(
            tests.contains(&format!("alertname: {alert}\n")),
            "{alert} has no test"
        );
    }
    let sections = sections();
    let runbook = file("docs/runbook.md");
    for alert in &alerts {
        assert!(
            runbook.contains(&format!("`{alert}`")),
            "the runbook does not name {alert}"
        );
    }
    for line in rules.lines() {
        let Some(section) = line.trim().strip_prefix("runbook: docs/runbook.md#") else {
            continue;
        };
        assert!(sections.contains(section), "no section {section}");
    }
    assert_eq!(
        rules.matches("runbook: docs/runbook.md#").count(),
        alerts.len()
    );

    let dashboard: serde_json::Value =
        serde_json::from_str(&file("deploy/grafana/iamd.json")).unwrap();
    let mut shown = BTreeSet::new();
    let panels = dashboard["panels"].as_array().unwrap();
    for target in panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
    {
        let metrics = metrics_of(target["expr"].as_str().unwrap(), &known);
        assert!(!metrics.is_empty(), "{target}");
        shown.extend(metrics);
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        shown.extend(metrics_of(variable["query"].as_str().unwrap(), &known));
    }
    assert!(shown.is_subset(&known), "{shown:?} but {known:?}");
    let own = known.iter().filter(|name| name.starts_with("iamd_"));
    let missing: Vec<_> = own.filter(|name| !shown.contains(*name)).collect();
    assert!(
        missing.is_empty(),
        "the dashboard does not show {missing:?}"
    );
}

/// Returns the anchors of the sections of the runbook.
fn sections() -> BTreeSet<String> {
    let page = file("docs/runbook.md");
    let titles = page.lines().filter_map(|line| line.strip_prefix("## "));
    let anchors = titles.map(|title| {
        let lower = title.to_ascii_lowercase().replace(' ', "-");
        lower
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect()
    });
    anchors.collect()
}

#[test]
fn each_warning_has_an_id_and_each_id_a_section_of_the_runbook() {
    let mut ids = BTreeSet::new();
    let root = crate::support::repository().join("src");
    for path in crate::support::files_below(&root, &["rs"]) {
        if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for call in ["warn!(", "error!("] {
            for (at, _) in text.match_indices(call) {
                let rest = &text[at + call.len()..];
                let Some(id) = rest.trim_start().strip_prefix("id = \"") else {
                    let line = text[..at].lines().count();
                    panic!("{}:{line}: a warning without an id", path.display());
                };
                ids.insert(id.split('"').next().unwrap().to_owned());
            }
        }
        // Two lines are written by hand, because no step of theirs may fail.
        for (at, found) in text.match_indices("\\\"id\\\":\\\"") {
            let rest = &text[at + found.len()..];
            ids.insert(rest.split("\\\"").next().unwrap().to_owned());
        }
    }
    let page = file("docs/runbook.md");
    let titles = page.lines().filter_map(|line| line.strip_prefix("## `"));
    let documented: BTreeSet<_> = titles
        .map(|title| title.trim_end_matches('`').to_owned())
        .collect();
    assert_eq!(ids, documented);
}
