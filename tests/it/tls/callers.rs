//! Who may make which calls, by certificate and by the user of a Unix socket.

use iamd::service::pb::authorization_service_client::AuthorizationServiceClient;
use iamd::service::{Encoded, pb};
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic_health::ServingStatus;
use tonic_types::StatusExt as _;

use super::authority::{Authority, Files, Pair};
use crate::support::{Server, ann_asks, channel_to, health, ready, store_allowing};

/// The calls that disclose policies (S-12).
const DISCLOSING: [&str; 6] = [
    "Explain",
    "Simulate",
    "ListPermissions",
    "ListPrincipals",
    "ListContextKeys",
    "Status",
];

/// All calls.
fn every_call() -> Vec<&'static str> {
    [
        &["Authorize", "BatchAuthorize", "WatchRevision"],
        &DISCLOSING[..],
    ]
    .concat()
}

/// Makes every call, and returns those that the caller may not make. Health checks must always be answered.
async fn denied(channel: &Channel) -> Vec<&'static str> {
    let asked = health(channel, "").await;
    assert_eq!(
        format!("{asked:?}"),
        format!("Ok({:?})", ServingStatus::Serving)
    );
    let mut client = AuthorizationServiceClient::new(channel.clone());
    let batch = Encoded::default();
    let watched = client.watch_revision(pb::WatchRevisionRequest {}).await;
    let answers = [
        client.authorize(ann_asks("orders:Get")).await.err(),
        client.batch_authorize(batch).await.err(),
        watched.err(),
        client.explain(pb::ExplainRequest::default()).await.err(),
        client.simulate(pb::SimulateRequest::default()).await.err(),
        client
            .list_permissions(pb::ListPermissionsRequest::default())
            .await
            .err(),
        client
            .list_principals(pb::ListPrincipalsRequest::default())
            .await
            .err(),
        client
            .list_context_keys(pb::ListContextKeysRequest::default())
            .await
            .err(),
        client.status(pb::StatusRequest {}).await.err(),
    ];
    let mut denied = Vec::new();
    for (call, error) in every_call().into_iter().zip(answers) {
        match error {
            Some(error) if error.code() == tonic::Code::PermissionDenied => {
                let info = error.get_details_error_info().unwrap();
                assert_eq!(info.reason, "NOT_PERMITTED", "{call}");
                denied.push(call);
            }
            // The empty question is malformed, which is found only by those who may ask.
            Some(error) => assert_eq!(
                error.code(),
                tonic::Code::InvalidArgument,
                "{call}: {error}"
            ),
            None => {}
        }
    }
    denied
}

#[tokio::test]
async fn certificates_say_who_may_ask_and_whom_policies_are_disclosed_to() {
    let authority = Authority::new("authority");
    let (store, pem) = (store_allowing("orders:Get"), TempDir::new().unwrap());
    let files = Files::write(pem.path(), &authority.server(), &authority.pem);
    let mut options = files.mutual_options();
    // No client is taken for one of this machine.
    options.extend(["--listen", "0.0.0.0:0", "--callers"]);
    options.push("spiffe://example.org/web,spiffe://example.org/admin=disclose,web.example");
    options.extend(["--callers", "Admin.example=disclose"]);
    let server = Server::start_with(store.path(), &options);
    let address = server.address().replace("0.0.0.0", "127.0.0.1");
    let channel = |own: &Pair| authority.channel(&address, Some(own));
    ready(&channel(&authority.client(&[])), &server).await;

    for (names, expected) in [
        (&["spiffe://example.org/web"][..], DISCLOSING.to_vec()),
        (&["spiffe://example.org/admin"], vec![]),
        (&["WEB.example"], DISCLOSING.to_vec()),
        (&["other.example", "admin.EXAMPLE"], vec![]),
        // All names count, and the most that one of them may do.
        (&["web.example", "spiffe://example.org/admin"], vec![]),
        (&["other.example"], every_call()),
        (&["sub.web.example"], every_call()),
        // A name with a wildcard is none.
        (&["*.example"], every_call()),
        (&["spiffe://example.org/web/more"], every_call()),
        (&["spiffe://EXAMPLE.org/admin/"], every_call()),
        // A certificate with several URIs has no SPIFFE id.
        (
            &["spiffe://example.org/web", "spiffe://example.org/admin"],
            every_call(),
        ),
        (&[], every_call()),
    ] {
        let own = authority.client(names);
        assert_eq!(denied(&channel(&own)).await, expected, "{names:?}");
    }
}

#[tokio::test]
async fn the_user_and_the_group_at_a_unix_socket_say_who_may_ask() {
    let (user, group) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let stranger = user + 1;
    for (callers, over_unix, over_tcp) in [
        (format!("uid:{user}"), DISCLOSING.to_vec(), every_call()),
        (format!("uid:{user}=disclose"), vec![], every_call()),
        (
            format!("uid:{stranger},gid:{group}"),
            DISCLOSING.to_vec(),
            every_call(),
        ),
        (format!("gid:{group}=disclose"), vec![], every_call()),
        (
            format!("uid:{stranger}=disclose"),
            every_call(),
            every_call(),
        ),
        // Everybody who connects, with one word more for one of them.
        (format!("anyone,uid:{user}"), vec![], vec![]),
    ] {
        let store = store_allowing("orders:Get");
        let folder = TempDir::new().unwrap();
        let socket = format!("unix:{}", folder.path().join("iamd.sock").display());
        let options = ["--listen", "127.0.0.1:0", "--listen", &socket];
        let options = [&options[..], &["--callers", &callers]].concat();
        let server = Server::start_with(store.path(), &options);
        let (unix, tcp) = (channel_to(&socket), server.channel());
        ready(&tcp, &server).await;
        assert_eq!(denied(&unix).await, over_unix, "{callers} over {socket}");
        assert_eq!(denied(&tcp).await, over_tcp, "{callers} over TCP");
    }
}
