//! Measures the lists: who may do something, and what somebody may do.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, ensure};
use iamd::analysis::permissions::{Narrowing, permissions};
use iamd::analysis::principals::{Bounds, principals};
use iamd::compile::snapshot::Snapshot;
use iamd::config::MAX_LIST_BYTES;
use iamd::engine::authorize;
use iamd::engine::explain::Redacted;
use iamd::engine::question::Question as Asked;
use iamd::engine::request::Request;
use iamd::engine::work::Work;
use iamd::store::Loader;
use jiff::Timestamp;

use crate::measure::{Contender, Figures, Options, Race, head, memory, nanoseconds, row};
use crate::worlds::{self, Question, Random};

/// The most principals of a page.
const PAGE: usize = 1_000;

/// Prints the tables.
pub fn measure(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    who(options, figures)?;
    what(options, figures)
}

/// Lists who may do something, against asking for every principal.
fn who(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let sized = worlds::by_size(options.pick(100_000, 200));
    let mut files: Vec<(String, String)> = sized.world.files().collect();
    let mut loader = Loader::new();
    let snapshot = worlds::load_files(&mut loader, &files)?.snapshot;
    let user = sized.hot.first().context("there are users")?;
    let statement = sized
        .world
        .attached(user)
        .next()
        .context("they have statements")?;
    let mut random = Random::new(worlds::SEED);
    let question = Question::about(&mut random, user, statement);
    let names = snapshot
        .principals()
        .map(|entity| entity.arn.as_str().to_owned());
    let names: Vec<String> = names.collect();
    let requests = names.iter().map(|name| {
        let asked = Asked {
            principal: name,
            ..question.asked()
        };
        Request::parse(&asked, Timestamp::UNIX_EPOCH).map_err(anyhow::Error::from)
    });
    let requests: Vec<Request> = requests.collect::<anyhow::Result<_>>()?;
    let begun = Instant::now();
    let n_bytes = {
        list(&snapshot, &question)?;
        snapshot.holders().n_bytes()
    };
    let first = begun.elapsed();
    let all = |n_times: usize| {
        for _ in 0..n_times {
            for request in &requests {
                black_box(authorize(&snapshot, request).map_err(anyhow::Error::from)?);
            }
        }
        Ok(())
    };
    let listed = |n_times: usize| {
        for _ in 0..n_times {
            black_box(list(&snapshot, &question)?);
        }
        Ok(())
    };
    all(1)?;
    let contenders = vec![
        Contender::new("every principal", all),
        Contender::new("list", listed),
    ];
    let race = Race::run(contenders, options.effort())?;
    head(
        &format!(
            "Who may do one action on one resource: {} of {} principals",
            list(&snapshot, &question)?,
            names.len()
        ),
        &["how", "time"],
    );
    for name in ["every principal", "list"] {
        row(&[name.to_owned(), nanoseconds(race.median(name)?)]);
    }
    row(&[
        "the first list of a store".to_owned(),
        nanoseconds(first.as_nanos() as f64),
    ]);
    let allows = |(path, text): &&mut (String, String)| {
        path.starts_with("managed-policies/") && text.contains("Allow")
    };
    let (_, text) = files.iter_mut().rfind(allows).context("a policy allows")?;
    *text = text.replacen("Allow", "Deny", 1);
    let changed = worlds::load_files(&mut loader, &files)?.snapshot;
    let begun = Instant::now();
    changed.holders();
    row(&[
        "the index of holders, after a change of a policy".to_owned(),
        nanoseconds(begun.elapsed().as_nanos() as f64),
    ]);
    let n_statements = sized.world.n_statements();
    println!(
        "\nThe index of holders takes {}, {} B a statement, besides the rows of the policies.",
        memory(n_bytes as u64),
        n_bytes / n_statements
    );
    let share = race.ratio("list", "every principal")?;
    figures.at_most("16.1", "list of principals ÷ asking for each", share, 0.02);
    let milliseconds = race.median("list")? / 1e6;
    figures.at_most("16.1", "first page of principals, ms", milliseconds, 50.0);
    Ok(())
}

fn list(snapshot: &Snapshot, question: &Question) -> anyhow::Result<usize> {
    let (at, work) = (Timestamp::UNIX_EPOCH, Work::ample());
    let bounds = Bounds {
        after: "",
        most: PAGE,
        most_bytes: MAX_LIST_BYTES,
        bytes_of_area: 0,
    };
    let page = principals(snapshot, &question.asked(), &bounds, at, &work)?;
    Ok(page.principals.len())
}

/// Lists what a user with many statements may do.
fn what(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let n_attached = options.pick(500, 50);
    let (world, users) = worlds::by_attached(&[n_attached], options.pick(1_000, 100));
    let snapshot = worlds::load(&world)?.snapshot;
    let (_, users) = users.first().context("there are users")?;
    let user = users.first().context("there is one")?;
    let principal = worlds::user_arn(&user.name);
    let asked = Asked {
        principal: &principal,
        ..Asked::default()
    };
    let narrowing = Narrowing::default();
    let list = || {
        let (at, work) = (Timestamp::UNIX_EPOCH, Work::ample());
        permissions(
            &snapshot,
            &asked,
            &narrowing,
            &Redacted::default(),
            at,
            &work,
        )
        .map_err(anyhow::Error::from)
    };
    let found = list()?;
    ensure!(found.len() > n_attached / 4, "{} permissions", found.len());
    let listed = |n_times: usize| {
        for _ in 0..n_times {
            black_box(list()?);
        }
        Ok(())
    };
    let race = Race::run(vec![Contender::new("list", listed)], options.effort())?;
    head(
        &format!(
            "What a user with {n_attached} statements may do: {} permissions",
            found.len()
        ),
        &["how", "time"],
    );
    row(&["list".to_owned(), nanoseconds(race.median("list")?)]);
    let milliseconds = race.median("list")? / 1e6;
    figures.at_most("16.2", "list of permissions, ms", milliseconds, 20.0);
    Ok(())
}
