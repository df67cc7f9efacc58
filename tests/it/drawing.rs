//! The drawing of the order of evaluation: it is made from the table in `docs/evaluation-order.md`, and has every reason.

use std::fmt::Write as _;
use std::{env, fs};

use iamd::service::pb::Reason;

use super::support::repository;

const WIDTH: usize = 920;
/// The height of a line of text, and the space between two steps.
const LINE: usize = 22;
const GAP: usize = 18;

#[test]
fn the_drawing_is_that_of_its_table_and_has_every_reason() {
    let steps = steps();
    assert!(steps.len() > 10, "{} steps", steps.len());
    let path = repository().join("docs/evaluation-order.svg");
    let made = draw(&steps);
    if env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/evaluation-order.svg is not that of the table: run `INSTA_UPDATE=always cargo test --test it drawing::`"
    );
    for number in 1..100 {
        let Ok(reason) = Reason::try_from(number) else {
            continue;
        };
        let label = reason.as_str_name().trim_start_matches("REASON_");
        assert!(
            steps
                .iter()
                .any(|step| step.exits.iter().any(|exit| exit == label)),
            "no step leaves with {label}"
        );
    }
}

/// One row of the table.
struct Step {
    question: String,
    answer: String,
    exits: Vec<String>,
}

fn steps() -> Vec<Step> {
    let page = fs::read_to_string(repository().join("docs/evaluation-order.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(2);
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        Step {
            question: cells[0].to_owned(),
            answer: cells[1].to_owned(),
            exits: cells[2]
                .replace('`', "")
                .split(", ")
                .map(str::to_owned)
                .collect(),
        }
    })
    .collect()
}

fn draw(steps: &[Step]) -> String {
    let mut parts = String::new();
    let mut y = 20;
    for (number, step) in steps.iter().enumerate() {
        let height = (step.exits.len() * LINE).max(LINE) + 12;
        let middle = y + height / 2;
        let is_last = number + 1 == steps.len();
        write!(
            parts,
            "<rect x=\"20\" y=\"{y}\" width=\"470\" height=\"{height}\" rx=\"6\" class=\"step\"/>\n\
             <text x=\"34\" y=\"{}\">{}</text>\n",
            middle + 5,
            step.question
        )
        .unwrap();
        let answer = if is_last { "" } else { &step.answer };
        write!(
            parts,
            "<line x1=\"490\" y1=\"{middle}\" x2=\"548\" y2=\"{middle}\" class=\"arrow\"/>\n\
             <text x=\"504\" y=\"{}\" class=\"answer\">{answer}</text>\n",
            middle - 6
        )
        .unwrap();
        for (row, exit) in (0..).zip(&step.exits) {
            let kind = match exit {
                exit if exit.starts_with("ALLOW") => "allow",
                exit if exit.contains("DENY") => "deny",
                _ => "status",
            };
            let at = middle + 5 + row * LINE - (step.exits.len() - 1) * LINE / 2;
            writeln!(
                parts,
                "<text x=\"560\" y=\"{at}\" class=\"{kind}\">{exit}</text>"
            )
            .unwrap();
        }
        y += height;
        if !is_last {
            writeln!(
                parts,
                "<line x1=\"255\" y1=\"{y}\" x2=\"255\" y2=\"{}\" class=\"arrow\"/>",
                y + GAP - 2
            )
            .unwrap();
        }
        y += GAP;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\">\n\
         <style>text{{font:14px sans-serif;fill:#222}}.step{{fill:#f2f5f9;stroke:#8aa0b8}}.arrow{{stroke:#555;stroke-width:1.5;marker-end:url(#head)}}\
         .answer{{font-size:12px;fill:#555}}.allow{{fill:#116329;font-weight:bold}}.deny{{fill:#a40e26;font-weight:bold}}.status{{fill:#555;font-weight:bold}}</style>\n\
         <marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" fill=\"#555\"/></marker>\n\
         <rect width=\"{WIDTH}\" height=\"{y}\" fill=\"#fff\"/>\n{parts}</svg>\n"
    )
}
