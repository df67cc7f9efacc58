//! Measures what a client that asks for names nobody knows costs the others.

use anyhow::{Context, ensure};
use iamd::compile::snapshot::Snapshot;

use crate::check_answers;
use crate::engines::{ask, authorize};
use crate::measure::{
    Contender, Figures, Options, Race, anonymous_memory, head, memory, nanoseconds, row,
};
use crate::worlds::{self, Question, Random, Statement};

/// How many statements about every action the client has attached.
const N_ATTACHED: usize = 500;
/// How many questions the others ask.
const N_ASKED: usize = 1_000;

/// Prints the table.
pub fn measure(options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let n_names = options.pick(100_000, 1_000);
    let mut world = worlds::by_holders(options.pick(200, 20), 50, options.pick(2_000, 100));
    // The client has as many statements as it can, all of which are candidates for every name.
    let everything = (0..N_ATTACHED).map(|index| {
        let resource = format!("arn:app:orders:::greedy/{index}/*");
        Statement::allow("*", resource)
    });
    let policy = world.add_policy("Greedy".to_owned(), everything.collect());
    let greedy = worlds::Holder {
        name: "greedy".to_owned(),
        policies: vec![policy],
        ..Default::default()
    };
    world.users.push(greedy.clone());
    let snapshots = [
        worlds::load(&world)?.snapshot,
        worlds::load(&world)?.snapshot,
    ];
    let mut random = Random::new(worlds::SEED);
    let mut questions = Vec::new();
    for index in 0..N_ASKED {
        let others = world.users.len() - 1;
        let user = world.users.get(index % others).context("one of them")?;
        let attached: Vec<_> = world.attached(user).collect();
        let statement = random.pick(&attached).context("something is attached")?;
        questions.push(Question::about(&mut random, user, statement));
    }
    let requests = worlds::requests(&questions)?;
    let [calm, attacked] = &snapshots;
    for snapshot in [calm, attacked] {
        check_answers(snapshot, &requests)?;
    }
    let before = anonymous_memory()?;
    ask_for_names(attacked, &greedy, n_names)?;
    let after = anonymous_memory()?;
    let contenders = vec![
        Contender::new("calm", ask(authorize, calm, &requests)),
        Contender::new("attacked", ask(authorize, attacked, &requests)),
    ];
    let race = Race::run(contenders, options.effort())?;
    head(
        &format!(
            "A greedy client asks for {n_names} names, and then the others ask {N_ASKED} questions"
        ),
        &["store", "decision", "memory of the process"],
    );
    for (name, held) in [("calm", before), ("attacked", after)] {
        row(&[
            name.to_owned(),
            nanoseconds(race.median(name)?),
            memory(held),
        ]);
    }
    let slower = race.ratio("attacked", "calm")?;
    figures.at_most(
        "greedy",
        "a question of the others after ÷ before",
        slower,
        1.05,
    );
    let grown = after as f64 / before as f64;
    figures.at_most("greedy", "memory after ÷ before", grown, 1.02);
    Ok(())
}

/// Asks twice for each name.
fn ask_for_names(
    snapshot: &Snapshot,
    client: &worlds::Holder,
    n_names: usize,
) -> anyhow::Result<()> {
    let mut random = Random::new(worlds::SEED + 1);
    for name in 0..n_names {
        let resource = format!("arn:app:orders:::greedy/{}/x", name % N_ATTACHED);
        let action = format!("orders:Invented{name}");
        let question = Question::plain(&mut random, client, action, resource);
        let request = question.request()?;
        for _ in 0..2 {
            ensure!(
                worlds::decided(snapshot, &request)?.is_allowed(),
                "{request:?}"
            );
        }
    }
    Ok(())
}
