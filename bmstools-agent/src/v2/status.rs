//! Answers about the agent itself.

use bmstools_proto::v2::message::status::{Ping, StatusRequest};
use bmstools_session::SendStream;

use super::{Shared, refuse, unknown};

/// Tells about the agent.
pub(crate) async fn serve(_shared: &Shared, _request: StatusRequest, mut send: SendStream) {
    refuse(&mut send, unknown()).await;
}

/// Answers at once.
pub(crate) async fn pong(_request: Ping, mut send: SendStream) {
    refuse(&mut send, unknown()).await;
}
