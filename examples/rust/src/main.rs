//! A small order service that asks iamd before it acts. It listens on 127.0.0.1 at PORT and asks iamd at IAMD_ADDRESS.

use std::collections::HashMap;
use std::env;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{FromRequestParts, Path, State};
use axum::http::{StatusCode, header, request::Parts};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use authorizer::{Authorizer, Client, Fact, Question, Session};

mod authorizer;

/// The principal and the session behind a request.
struct Caller {
    principal: &'static str,
    session: Option<Session>,
}

/// Who somebody is comes from your own authentication. These tokens stand for it.
fn caller(token: &str) -> Option<Caller> {
    let alice = "arn:aws:iam::111122223333:user/support/alice";
    let (principal, session) = match token {
        "alice" => {
            let mfa_at = Some(SystemTime::now());
            let session = Session {
                mfa_at,
                ..Default::default()
            };
            (alice, Some(session))
        }
        "alice-without-mfa" => (alice, None),
        "customer-1001" => {
            let session = Session {
                tags: HashMap::from([("customer".to_owned(), "1001".to_owned())]),
                ..Default::default()
            };
            let customer = "arn:aws:sts::111122223333:assumed-role/customer/web-1001";
            (customer, Some(session))
        }
        _ => return None,
    };
    Some(Caller { principal, session })
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let value = parts.headers.get(header::AUTHORIZATION);
        let token = value.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        token.and_then(caller).ok_or(StatusCode::UNAUTHORIZED)
    }
}

/// The ARN of an order. Its parts are checked, so that no caller writes ARNs of their own.
fn order(customer: &str, number: &str) -> Result<String, StatusCode> {
    let is_id = |text: &str| {
        (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if is_id(customer) && is_id(number) {
        Ok(format!("arn:app:orders:::order/{customer}/{number}"))
    } else {
        Err(StatusCode::NOT_FOUND)
    }
}

/// `FORBIDDEN` unless iamd allows it.
async fn require<A: Authorizer>(
    authorizer: &A,
    caller: Caller,
    action: &str,
    resource: String,
    context: HashMap<String, Fact>,
) -> Result<(), StatusCode> {
    let question = Question {
        principal: caller.principal.to_owned(),
        action: action.to_owned(),
        resource,
        context,
        session: caller.session,
    };
    if authorizer.is_allowed(&question).await {
        Ok(())
    } else {
        Err(StatusCode::FORBIDDEN)
    }
}

async fn read_order<A: Authorizer>(
    State(authorizer): State<Arc<A>>,
    caller: Caller,
    Path((customer, number)): Path<(String, String)>,
) -> Result<Json<Value>, StatusCode> {
    let resource = order(&customer, &number)?;
    require(&*authorizer, caller, "orders:Get", resource, HashMap::new()).await?;
    Ok(Json(json!({"customer": customer, "number": number})))
}

#[derive(serde::Deserialize)]
struct Refund {
    amount: f64,
}

async fn refund_order<A: Authorizer>(
    State(authorizer): State<Arc<A>>,
    caller: Caller,
    Path((customer, number)): Path<(String, String)>,
    Json(refund): Json<Refund>,
) -> Result<Json<Value>, StatusCode> {
    let resource = order(&customer, &number)?;
    let context = HashMap::from([("orders:amount".to_owned(), refund.amount.into())]);
    require(&*authorizer, caller, "orders:Refund", resource, context).await?;
    Ok(Json(json!({"refunded": refund.amount})))
}

async fn ready<A: Authorizer>(State(authorizer): State<Arc<A>>) -> StatusCode {
    if authorizer.wait_ready(Duration::from_millis(500)).await {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn routes<A: Authorizer>(authorizer: Arc<A>) -> Router {
    Router::new()
        .route("/orders/{customer}/{number}", get(read_order::<A>))
        .route(
            "/orders/{customer}/{number}/refund",
            post(refund_order::<A>),
        )
        .route("/readyz", get(ready::<A>))
        .with_state(authorizer)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = env::var("IAMD_ADDRESS").unwrap_or_else(|_| "127.0.0.1:50051".to_owned());
    let port: u16 = env::var("PORT").map_or(Ok(8080), |port| port.parse())?;
    let client = Client::new(&address)?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, routes(Arc::new(client))).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::authorizer::Fake;

    const ORDER: &str = "arn:app:orders:::order/1001/1";

    async fn ask(fake: &Arc<Fake>, path: &str, token: &str, body: Option<&str>) -> u16 {
        let request = Request::builder()
            .method(if body.is_some() { "POST" } else { "GET" })
            .uri(path)
            .header("Authorization", format!("Bearer {token}"))
            .header("Content-Type", "application/json")
            .body(Body::from(body.unwrap_or_default().to_owned()))
            .expect("a request");
        let answer = routes(fake.clone()).oneshot(request).await;
        answer.expect("an answer").status().as_u16()
    }

    fn fake(allowed: &[(&'static str, &'static str)]) -> Arc<Fake> {
        Arc::new(Fake {
            allowed: allowed.to_vec(),
            is_ready: true,
            ..Default::default()
        })
    }

    #[tokio::test]
    async fn a_route_asks_for_its_own_action_and_resource() {
        let fake = fake(&[("orders:Get", ORDER)]);
        assert_eq!(
            ask(&fake, "/orders/1001/1", "customer-1001", None).await,
            200
        );
        assert_eq!(ask(&fake, "/orders/1001/2", "alice", None).await, 403);
        let question = fake.questions.lock().expect("no panic")[0].clone();
        assert_eq!(
            question.principal,
            "arn:aws:sts::111122223333:assumed-role/customer/web-1001"
        );
        assert_eq!(
            question.session.expect("a session").tags["customer"],
            "1001"
        );
    }

    #[tokio::test]
    async fn a_refund_sends_its_amount() {
        let fake = fake(&[("orders:Refund", ORDER)]);
        let body = Some(r#"{"amount": 50}"#);
        assert_eq!(
            ask(&fake, "/orders/1001/1/refund", "alice", body).await,
            200
        );
        let question = fake.questions.lock().expect("no panic")[0].clone();
        assert_eq!(question.context["orders:amount"], Fact::Number(50.0));
        assert!(question.session.expect("a session").mfa_at.is_some());
    }

    #[tokio::test]
    async fn nobody_is_asked_about_strangers_and_odd_paths() {
        let fake = fake(&[("orders:Get", ORDER)]);
        assert_eq!(ask(&fake, "/orders/1001/1", "stranger", None).await, 401);
        assert_eq!(ask(&fake, "/orders/1001/*", "alice", None).await, 404);
        assert!(fake.questions.lock().expect("no panic").is_empty());
    }

    #[tokio::test]
    async fn readiness_is_that_of_iamd() {
        assert_eq!(ask(&fake(&[]), "/readyz", "", None).await, 200);
        assert_eq!(
            ask(&Arc::new(Fake::default()), "/readyz", "", None).await,
            503
        );
    }
}
