#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt;

use super::*;
use crate::compile::snapshot::{Revision, Snapshot};
use crate::config::Layer;
use crate::engine::live::Live;
use crate::service::pb::authorization_service_client::AuthorizationServiceClient;

/// A server on a Unix socket, in this process.
struct Running {
    channel: Channel,
    live: Arc<Live>,
    readiness: Arc<Readiness>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<anyhow::Result<()>>,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("unix:{}", folder.path().join("iamd.sock").display());
        let flags = [("listen", address.as_str()), ("max_message_bytes", "70KiB")];
        let flags: Layer = flags
            .into_iter()
            .map(|(key, value)| (key.to_owned(), vec![value.to_owned()]))
            .collect();
        let config = Config::resolve(&flags, [], None).unwrap().config;
        let listeners = Listeners::bind(&config).await.unwrap();
        let (live, readiness) = (Arc::new(Live::default()), Arc::new(Readiness::new()));
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn({
            let authorizer = Arc::new(Authorizer::new(Arc::clone(&live), &config));
            let readiness = Arc::clone(&readiness);
            async move {
                let stop = async { stopped.await.unwrap_or(()) };
                serve(
                    listeners,
                    authorizer,
                    &readiness,
                    &config,
                    &InFlight::default(),
                    stop,
                )
                .await
            }
        });
        let channel = Endpoint::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap();
        Self {
            channel,
            live,
            readiness,
            stop: Some(stop),
            serving,
            _folder: folder,
        }
    }

    /// Puts a store without anything in it in force.
    fn load_an_empty_store(&self) {
        let snapshot: Snapshot =
            crate::compile::compile(&Default::default(), Revision::new("0123"));
        self.live.publish(snapshot);
        self.readiness.ready();
    }

    async fn ask(
        &self,
        question: pb::AuthorizeRequest,
    ) -> Result<pb::AuthorizeResponse, tonic::Status> {
        let mut stub = AuthorizationServiceClient::new(self.channel.clone());
        stub.authorize(question)
            .await
            .map(tonic::Response::into_inner)
    }

    async fn health(&self) -> ServingStatus {
        let mut stub = HealthClient::new(self.channel.clone());
        let answer = stub.check(HealthCheckRequest::default()).await;
        answer.unwrap().into_inner().status()
    }
}

fn question() -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        principal: "arn:aws:iam::111111111111:user/ann".into(),
        action: "orders:Get".into(),
        resource: "arn:app:orders:::order/1".into(),
        request_id: "7".into(),
        ..Default::default()
    }
}

fn reason_of(status: &tonic::Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "iamd");
    info.reason.clone()
}

#[tokio::test]
async fn before_the_first_snapshot_every_call_is_unavailable() {
    let running = Running::start().await;
    let status = running.ask(question()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(&status), "NOT_READY");
    assert!(status.get_error_details().retry_info().is_some());
    assert_eq!(running.health().await, ServingStatus::NotServing);
    running.load_an_empty_store();
    assert_eq!(running.health().await, ServingStatus::Serving);
    let answer = running.ask(question()).await.unwrap();
    assert_eq!(answer.decision(), pb::Decision::Deny);
    assert_eq!(answer.reason(), pb::Reason::ImplicitDenyUnknownPrincipal);
    assert_eq!(
        (answer.revision.as_str(), answer.request_id.as_str()),
        ("0123", "7")
    );
}

#[tokio::test]
async fn context_keys_that_repeat_on_the_wire_are_refused() {
    let running = Running::start().await;
    running.load_an_empty_store();
    for keys in [["app:x", "app:x"], ["app:x", "APP:X"]] {
        let entry = |key: &str| pb::authorize_request::ContextEntry {
            key: key.to_owned(),
            value: Some(prost_types::value::Kind::BoolValue(true).into()),
        };
        let twice = pb::AuthorizeRequest {
            context: keys.map(entry).into(),
            ..question()
        };
        let status = running.ask(twice).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "C-4");
        assert_eq!(reason_of(&status), "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn a_field_over_its_limit_is_an_invalid_argument_and_a_message_out_of_range() {
    let running = Running::start().await;
    running.load_an_empty_store();
    let resource = |n_bytes: usize| pb::AuthorizeRequest {
        resource: "x".repeat(n_bytes),
        ..question()
    };
    let status = running.ask(resource(20 * 1024)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason_of(&status).as_str()),
        (Code::InvalidArgument, "TOO_LARGE")
    );
    let status = running.ask(resource(80 * 1024)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_those_who_only_watch() {
    let mut running = Running::start().await;
    running.load_an_empty_store();
    let mut stub = HealthClient::new(running.channel.clone());
    let mut watch = stub
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let status = watch.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::Serving);
    running.readiness.draining();
    running.stop.take().unwrap().send(()).unwrap();
    let status = watch.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::NotServing);
    assert!(watch.message().await.unwrap().is_none());
    let drained = tokio::time::timeout(Duration::from_secs(5), running.serving).await;
    drained.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn both_versions_of_reflection_list_the_services_and_give_json_names() {
    let running = Running::start().await;
    let services = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest {
        message_request: Some(services),
        ..Default::default()
    };
    let mut stub =
        v1::server_reflection_client::ServerReflectionClient::new(running.channel.clone());
    let answers = stub
        .server_reflection_info(tokio_stream::once(request))
        .await;
    let answer = answers
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let names = format!("{answer:?}");
    for service in [
        "iamd.v1.AuthorizationService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.",
    ] {
        assert!(names.contains(service), "{names}");
    }

    let symbol = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
        "iamd.v1.AuthorizationService.Authorize".into(),
    );
    let request = v1alpha::ServerReflectionRequest {
        message_request: Some(symbol),
        ..Default::default()
    };
    let mut stub =
        v1alpha::server_reflection_client::ServerReflectionClient::new(running.channel.clone());
    let answers = stub
        .server_reflection_info(tokio_stream::once(request))
        .await;
    let answer = answers
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(file)) =
        answer.message_response
    else {
        unreachable!("{answer:?}");
    };
    let has_json_names = |file: &Vec<u8>| String::from_utf8_lossy(file).contains("resourceAccount");
    assert!(file.file_descriptor_proto.iter().any(has_json_names));
}
