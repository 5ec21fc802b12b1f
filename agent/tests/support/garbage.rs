//! A key service that answers with bytes that are no answer.

use super::{Pki, Running, serve_routes};
use dawnkey_proto::wire;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Starts it.
pub async fn serve(pki: &Pki) -> Running {
    serve_routes(pki, Server::builder().add_service(Garbage)).await
}

#[derive(Clone)]
struct Garbage;

impl NamedService for Garbage {
    const NAME: &'static str = "dawnkey.v1.KeyService";
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tower_service::Service<http::Request<Body>> for Garbage {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // Field 1 of an answer is a nested message; here it is a text that is none.
        let codec = ProstCodec::<wire::Evidence, wire::UnlockRequest>::default();
        Box::pin(async move { Ok(Grpc::new(codec).unary(Says, request).await) })
    }
}

struct Says;

impl UnaryService<wire::UnlockRequest> for Says {
    type Response = wire::Evidence;
    type Future = Boxed<Result<Response<wire::Evidence>, Status>>;

    fn call(&mut self, _: Request<wire::UnlockRequest>) -> Self::Future {
        Box::pin(async {
            Ok(Response::new(wire::Evidence {
                kind: "~~~ no message ~~~".into(),
                payload: vec![0xff; 40],
            }))
        })
    }
}
