//! The floor: a stock service of tonic on one thread that decides nothing and gives the same bytes.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use iamd::service::pb;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// The argument that makes the benchmark the floor; the file with the answer follows.
pub const FLAG: &str = "--floor";

/// What the generated code makes of a service with one method that clones its answer.
#[derive(Clone)]
struct Floor(Arc<pb::AuthorizeResponse>);

impl NamedService for Floor {
    const NAME: &'static str = "iamd.v1.AuthorizationService";
}

impl Service<http::Request<Body>> for Floor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<pb::AuthorizeResponse, pb::AuthorizeRequest>::default();
            Ok(Grpc::new(codec).unary(method, request).await)
        })
    }
}

impl UnaryService<pb::AuthorizeRequest> for Floor {
    type Response = pb::AuthorizeResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::Response>, Status>> + Send>>;

    fn call(&mut self, _: Request<pb::AuthorizeRequest>) -> Self::Future {
        Box::pin(ready(Ok(Response::new(self.0.as_ref().clone()))))
    }
}

/// Serves until the process is told to end. Prints the address as iamd logs it.
pub fn serve(answer: &str) -> anyhow::Result<()> {
    let answer = pb::AuthorizeResponse::decode(&*std::fs::read(answer)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        eprintln!("listening for gRPC address={}", listener.local_addr()?);
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        // The builder's own `tcp_nodelay` is not for listeners that it is given, and without it a client with few questions in
        // flight waits for delayed acknowledgements.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Server::builder()
            .add_service(Floor(Arc::new(answer)))
            .serve_with_incoming_shutdown(incoming, async move {
                terminate.recv().await;
            })
            .await?;
        Ok(())
    })
}
