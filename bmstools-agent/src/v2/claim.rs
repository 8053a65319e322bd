//! Streams that a request names.

use std::future::ready;
use std::pin::Pin;
use std::time::Duration;

use bmstools_proto::v2::message::{Failure, FailureCode};
use bmstools_session::{RecvStream, SendStream, Session, SessionError};
use tokio::time::timeout;

use super::failure;

/// An operator's stream that nobody else is given, whether it has been used or not.
pub(crate) enum Claim {
    Opened(SendStream, RecvStream),
    Waiting(u32, Opening),
}

type Opening = Pin<Box<dyn Future<Output = Opened> + Send>>;
type Opened = Result<(SendStream, RecvStream), SessionError>;

impl Claim {
    /// Claims the stream `id`.
    ///
    /// # Errors
    ///
    /// Where it is somebody's already, or cannot be the operator's.
    pub(crate) async fn on(session: &Session, id: Option<u32>) -> Result<Self, Failure> {
        let id = id.ok_or_else(|| {
            failure(FailureCode::Invalid, "the request names too few streams for its data")
        })?;
        let session = session.clone();
        let mut opening: Opening = Box::pin(async move { session.take_stream(id).await });
        // Once polled, it is claimed.
        tokio::select! {
            biased;
            opened = &mut opening => match opened {
                Ok((send, recv)) => Ok(Self::Opened(send, recv)),
                Err(error) => Err(failure(FailureCode::Invalid, format!("stream {id}: {error}"))),
            },
            () = ready(()) => Ok(Self::Waiting(id, opening)),
        }
    }

    /// The stream, once the operator has used it or one with a higher number.
    ///
    /// # Errors
    ///
    /// Where that does not happen soon.
    pub(crate) async fn opened(self, priority: u8) -> Result<(SendStream, RecvStream), Failure> {
        let (send, recv) = match self {
            Self::Opened(send, recv) => (send, recv),
            Self::Waiting(id, opening) => match timeout(LIMIT, opening).await {
                Ok(Ok(halves)) => halves,
                Ok(Err(error)) => return Err(failure(FailureCode::Other, error.to_string())),
                Err(_) => {
                    let message = format!("stream {id} was not opened within {LIMIT:?}");
                    return Err(failure(FailureCode::TimedOut, message));
                }
            },
        };
        send.set_priority(priority);
        Ok((send, recv))
    }
}

/// Time between an answer and the first use of the streams that it waits for.
const LIMIT: Duration = Duration::from_secs(10);
