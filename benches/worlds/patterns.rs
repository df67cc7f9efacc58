//! Patterns that make careless matchers slow, and the texts that trigger it.

use super::model::{Condition, Holder, Statement, World};
use super::questions::Question;
use super::random::Random;
use super::{ACCOUNT, SEED};

/// A family of texts, with the pattern that follows `arn:app:docs:::`.
struct Family {
    name: &'static str,
    pattern: String,
    text: fn(usize) -> String,
    /// The name of the user, if the pattern contains it.
    username: &'static str,
}

fn of_a(n_bytes: usize) -> String {
    "a".repeat(n_bytes)
}

fn of_ab(n_bytes: usize) -> String {
    "ab".repeat(n_bytes / 2)
}

/// Returns a text of characters with two bytes each, so that the numbers of characters and bytes differ.
fn of_umlauts(n_bytes: usize) -> String {
    "ä".repeat(n_bytes / 2)
}

fn families() -> Vec<Family> {
    let family = |name, pattern: String, text| Family {
        name,
        pattern,
        text,
        username: "",
    };
    let a64 = "a".repeat(64);
    vec![
        family("one star, a periodic literal", format!("*{a64}b*"), of_a),
        family("many stars", format!("{}b", "*a".repeat(32)), of_a),
        family(
            "many stars and literals",
            format!("{}c", "*ab".repeat(24)),
            of_ab,
        ),
        family(
            "stars and question marks",
            format!("*{}b*", "a?".repeat(16)),
            of_a,
        ),
        family(
            "question marks alone",
            format!("*{}b", "?".repeat(200)),
            of_a,
        ),
        family(
            "question marks over two-byte characters",
            format!("*{}b*", "?ä".repeat(16)),
            of_umlauts,
        ),
        family("a run of stars", format!("{}b", "*".repeat(200)), of_a),
        family(
            "a literal that almost recurs",
            format!("*{}*", "ab".repeat(32) + "b"),
            of_ab,
        ),
        family("prefix and suffix", format!("{a64}*{a64}b"), of_a),
        Family {
            username: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ..family("a variable's value", "*${aws:username}b*".to_owned(), of_a)
        },
        Family {
            username: "aaaaaaaa",
            ..family(
                "a variable between stars",
                "*${aws:username}".repeat(8) + "b",
                of_a,
            )
        },
    ]
}

/// The name of a family, and its questions with a text of each length.
pub type Adversary = (String, Vec<Question>);

/// Makes two users for each family. The pattern is the resource of the first user's only statement, and a value in the
/// only condition of the second user's. The questions have texts of `n_bytes` bytes, as the resource or as a context
/// value. No text matches, because a miss must read the whole text.
pub fn adversarial(n_bytes: &[usize]) -> (World, Vec<Adversary>) {
    let mut random = Random::new(SEED + 5);
    let mut world = World::default();
    let mut adversaries = Vec::new();
    for (index, family) in families().into_iter().enumerate() {
        for is_condition in [false, true] {
            let statement = match is_condition {
                false => {
                    Statement::allow("docs:Read", format!("arn:app:docs:::{}", family.pattern))
                }
                true => Statement {
                    conditions: vec![Condition {
                        operator: "StringLike",
                        key: "app:text".to_owned(),
                        operands: vec![family.pattern.clone()],
                        fulfilled_by: String::new(),
                    }],
                    ..Statement::allow("docs:Read", "*")
                },
            };
            let kind = if is_condition {
                "condition"
            } else {
                "resource"
            };
            let name = match family.username {
                "" => format!("adversary-{index}-{kind}"),
                // User names are unique, so the text of the user with the condition is a little longer.
                name => format!("{name}{}", if is_condition { "a" } else { "" }),
            };
            let name = match world.users.iter().any(|user| user.name == name) {
                true => format!("{name}a"),
                false => name,
            };
            let policy = world.add_policy(format!("Adversary{index}-{kind}"), vec![statement]);
            let user = Holder {
                name,
                policies: vec![policy],
                ..Holder::default()
            };
            let questions = n_bytes.iter().map(|n_bytes| {
                let text = (family.text)(*n_bytes);
                let resource = match is_condition {
                    false => format!("arn:app:docs:::{text}"),
                    true => format!("arn:app:docs:{}:{ACCOUNT}:x", super::REGION),
                };
                let mut question =
                    Question::plain(&mut random, &user, "docs:Read".to_owned(), resource);
                if is_condition {
                    question.context.push(("app:text".to_owned(), text));
                }
                question
            });
            let questions = questions.collect();
            world.users.push(user);
            adversaries.push((format!("{}, as a {kind}", family.name), questions));
        }
    }
    (world, adversaries)
}
