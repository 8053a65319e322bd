//! Signatures first.

use std::sync::Arc;

use bmstools_proto::v2::message::exec::Exec;
use bmstools_session::{RecvStream, SendStream, Session};

use super::{Shared, refuse, unknown};

/// Serves one request.
pub(crate) async fn serve(
    _shared: Arc<Shared>,
    _session: Session,
    _request: Exec,
    mut send: SendStream,
    _recv: RecvStream,
) {
    refuse(&mut send, unknown()).await;
}
