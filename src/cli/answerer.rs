//! The source of answers for the command line: a store that this process reads, or a server.

use jiff::Timestamp;

use crate::authorizer::{
    Access, Answer, Authorizer, ContextKeyUse, Explained, Listed, Paging, Permission, Question,
    Refusal, Simulated, Simulation, about_context,
};
use crate::engine::work::wanted;
use crate::service::client::Client;
use crate::service::json::NoAnswer;
use crate::service::{check_simulation_size, check_size};

/// The source of answers.
#[derive(Debug)]
pub(super) enum Answerer {
    /// A store that this process has read.
    Store(Box<Authorizer>),
    /// A running server.
    Server(Client),
}

impl Answerer {
    /// Returns one decision.
    pub(super) fn authorize(&self, question: &Question<'_>) -> Result<Answer, NoAnswer> {
        self.authorize_with_hints(question)
            .map(|(answer, _)| answer)
    }

    /// Returns one decision, with hints about typing errors in the question.
    pub(super) fn authorize_with_hints(
        &self,
        question: &Question<'_>,
    ) -> Result<(Answer, Vec<String>), NoAnswer> {
        match self {
            Self::Store(authorizer) => refused(question, || {
                check_size(question, authorizer.limits())?;
                let outcome = authorizer.authorize(question, Timestamp::now());
                Ok((outcome.to_answer()?, outcome.hints()))
            }),
            Self::Server(client) => Ok((client.authorize(question)?, about_context(question))),
        }
    }

    /// Returns a hint about a principal of whom nothing is listed. A server gives none.
    pub(super) fn hint_about_principal(&self, principal: &str) -> Option<String> {
        match self {
            Self::Store(authorizer) => authorizer.hint_about_principal(principal),
            Self::Server(_) => None,
        }
    }

    /// Returns a decision with its derivation.
    pub(super) fn explain(&self, question: &Question<'_>) -> Result<Explained, NoAnswer> {
        match self {
            Self::Store(authorizer) => refused(question, || {
                check_size(question, authorizer.limits())?;
                authorizer.explain(question, Timestamp::now(), &wanted())
            }),
            Self::Server(client) => client.explain(question),
        }
    }

    /// Returns a page of what a principal may do.
    pub(super) fn list_permissions(
        &self,
        question: &Question<'_>,
        paging: Paging<'_>,
    ) -> Result<Listed<Permission>, NoAnswer> {
        match self {
            Self::Store(authorizer) => refused(question, || {
                check_size(question, authorizer.limits())?;
                authorizer.list_permissions(question, paging, Timestamp::now(), &wanted())
            }),
            Self::Server(client) => client.list_permissions(question, paging),
        }
    }

    /// Returns a page of who may do something.
    pub(super) fn list_principals(
        &self,
        question: &Question<'_>,
        paging: Paging<'_>,
    ) -> Result<Listed<Access>, NoAnswer> {
        match self {
            Self::Store(authorizer) => refused(question, || {
                check_size(question, authorizer.limits())?;
                authorizer.list_principals(question, paging, Timestamp::now(), &wanted())
            }),
            Self::Server(client) => client.list_principals(question, paging),
        }
    }

    /// Returns the context keys that count.
    pub(super) fn list_context_keys(
        &self,
        question: &Question<'_>,
    ) -> Result<Listed<ContextKeyUse>, NoAnswer> {
        match self {
            Self::Store(authorizer) => refused(question, || {
                check_size(question, authorizer.limits())?;
                authorizer.list_context_keys(question, Timestamp::now(), &wanted())
            }),
            Self::Server(client) => client.list_context_keys(question),
        }
    }

    /// Returns the results of a simulation.
    pub(super) fn simulate(&self, simulation: &Simulation<'_>) -> Result<Simulated, NoAnswer> {
        match self {
            Self::Store(authorizer) => refused(&simulation.question, || {
                check_simulation_size(simulation)?;
                authorizer.simulate(simulation, Timestamp::now(), &wanted())
            }),
            Self::Server(client) => client.simulate(simulation),
        }
    }
}

fn refused<A>(
    question: &Question<'_>,
    answer: impl FnOnce() -> Result<A, Refusal>,
) -> Result<A, NoAnswer> {
    answer().map_err(|refusal| NoAnswer::refused(question.request_id, refusal))
}
