//! Signatures first.

use std::sync::Arc;

use bmstools_proto::v2::message::files::{Pull, Push};
use bmstools_session::{RecvStream, SendStream, Session};

use super::{Shared, refuse, unknown};

/// Receives files.
pub(crate) async fn serve_push(
    _shared: Arc<Shared>,
    _session: Session,
    _request: Push,
    mut send: SendStream,
    _recv: RecvStream,
) {
    refuse(&mut send, unknown()).await;
}

/// Sends files.
pub(crate) async fn serve_pull(
    _shared: Arc<Shared>,
    _session: Session,
    _request: Pull,
    mut send: SendStream,
    _recv: RecvStream,
) {
    refuse(&mut send, unknown()).await;
}
