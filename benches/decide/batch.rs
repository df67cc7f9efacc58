//! Measures what a batch of questions costs beyond deciding them: reading its message and writing its answers.

use std::hint::black_box;

use anyhow::{Context, ensure};
use iamd::authorizer::{Asker, Authorizer, CallerFacts};
use iamd::service::batch::{BatchBounds, answer_batch};
use iamd::service::{Encoded, pb};
use iamd::telemetry::{Protocol, TraceId};
use jiff::Timestamp;
use pb::batch_authorize_result::Result as AnswerOrError;
use prost::Message;
use prost_types::value::Kind;
use tokio::runtime::Runtime;

use crate::measure::{Contender, Options, Race, head, nanoseconds, row};
use crate::worlds::{self, Question, Random};

/// The questions of one batch.
const N_QUESTIONS: usize = 50;

/// No batch here comes close to its bounds.
const BOUNDS: BatchBounds = BatchBounds {
    max_questions: N_QUESTIONS,
    max_answer_bytes: 4 * 1024 * 1024,
};

/// Prints the table.
pub fn measure(options: &Options) -> anyhow::Result<()> {
    let world = worlds::by_holders(20, 100, options.pick(1_000, 200));
    let snapshot = worlds::load(&world)?.snapshot;
    let random = &mut Random::new(worlds::SEED);
    let n_each = N_QUESTIONS.div_ceil(3);
    let mut questions = worlds::balanced(&snapshot, &world, &world.users, n_each, random)?;
    questions.truncate(N_QUESTIONS);
    let authorizer = Authorizer::of(snapshot);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let messages: Vec<_> = questions.iter().map(message).collect();
    let singles: Vec<_> = messages.iter().map(Message::encode_to_vec).collect();
    let batch = Encoded::of(&pb::BatchAuthorizeRequest { requests: messages });
    check_answers(&runtime, &authorizer, &batch, &questions)?;

    let answer_all = || answered(&runtime, &authorizer, &batch).map(|_| ());
    let parse_and_decide = || decided(&authorizer, &singles, &questions);
    let (whole, parts) = ("one batch of 50", "50 × parsing and deciding");
    let race = Race::run(
        vec![
            Contender::new(whole, |n_times| (0..n_times).try_for_each(|_| answer_all())),
            Contender::new(parts, |n_times| {
                (0..n_times).try_for_each(|_| parse_and_decide())
            }),
        ],
        options.effort(),
    )?;
    head(
        "A batch of 50 questions, without the network",
        &["", "all", "one question", "heap allocations for one"],
    );
    let of_whole = allocation_counter::measure(|| _ = black_box(answer_all()));
    let of_parts = allocation_counter::measure(|| _ = black_box(parse_and_decide()));
    for (name, taken) in [(whole, of_whole), (parts, of_parts)] {
        let all = race.median(name)?;
        row(&[
            name.to_owned(),
            nanoseconds(all),
            nanoseconds(all / N_QUESTIONS as f64),
            format!("{:.1}", taken.count_total as f64 / N_QUESTIONS as f64),
        ]);
    }
    println!(
        "\nThe batch takes {:.2} times as long. Beyond parsing and deciding, it converts each question and writes the answers.",
        race.ratio(whole, parts)?
    );
    Ok(())
}

/// Returns the message that asks `question`.
fn message(question: &Question) -> pb::AuthorizeRequest {
    let entry = |(key, value): &(String, String)| pb::authorize_request::ContextEntry {
        key: key.clone(),
        value: Some(prost_types::Value {
            kind: Some(Kind::StringValue(value.clone())),
        }),
    };
    pb::AuthorizeRequest {
        principal: question.principal.clone(),
        action: question.action.clone(),
        resource: question.resource.clone(),
        context: question.context.iter().map(entry).collect(),
        ..pb::AuthorizeRequest::default()
    }
}

/// Answers the batch once.
fn answered(
    runtime: &Runtime,
    authorizer: &Authorizer,
    batch: &Encoded,
) -> anyhow::Result<Encoded> {
    let caller = CallerFacts::default();
    let asker = Asker {
        protocol: Protocol::Grpc,
        caller: &caller,
        trace_id: TraceId::INVALID,
    };
    let mut answers = Vec::new();
    let batch = black_box(batch).bytes();
    let answering = answer_batch(authorizer, batch, BOUNDS, &asker, &mut answers);
    runtime.block_on(answering)?;
    Ok(black_box(answers.into()))
}

/// Decodes each question and decides it.
fn decided(
    authorizer: &Authorizer,
    encoded: &[Vec<u8>],
    questions: &[Question],
) -> anyhow::Result<()> {
    for (encoded, question) in encoded.iter().zip(questions) {
        black_box(pb::AuthorizeRequest::decode(black_box(encoded.as_slice()))?);
        let asked = question.asked();
        let outcome = authorizer.authorize(&asked, Timestamp::now());
        ensure!(black_box(outcome.answer).is_ok(), "{question:?} is refused");
    }
    Ok(())
}

/// Checks that the batch has the answer of each question.
fn check_answers(
    runtime: &Runtime,
    authorizer: &Authorizer,
    batch: &Encoded,
    questions: &[Question],
) -> anyhow::Result<()> {
    let response: pb::BatchAuthorizeResponse = answered(runtime, authorizer, batch)?.decoded()?;
    ensure!(response.results.len() == questions.len(), "one answer each");
    for (question, result) in questions.iter().zip(response.results) {
        let asked = question.asked();
        let alone = authorizer.authorize(&asked, Timestamp::now()).to_answer();
        let alone = alone.ok().context("it has an answer")?;
        let is_same = matches!(&result.result, Some(AnswerOrError::Response(answer))
            if (answer.decision() == pb::Decision::Allow) == alone.is_allowed);
        ensure!(is_same, "{question:?}: {result:?} instead of {alone:?}");
    }
    Ok(())
}
