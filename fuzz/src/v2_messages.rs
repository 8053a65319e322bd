//! What streams of version 2 carry: requests, answers, and what a transfer says.

use std::fmt::Debug;

use bmstools_proto::v2::message::exec::{Control, Exited, JobReply, Started};
use bmstools_proto::v2::message::files::{ToReceiver, ToSender};
use bmstools_proto::v2::message::status::{Measured, Pong, Status};
use bmstools_proto::v2::message::{Answer, Request};
use minicbor::{Decode, Encode};

/// Reads the bytes as each message that a peer can send.
///
/// # Panics
///
/// Where what was read is not written and read again as the same.
pub fn run(bytes: &[u8]) {
    again::<Request>(bytes);
    again::<Control>(bytes);
    again::<Exited>(bytes);
    again::<ToReceiver>(bytes);
    again::<ToSender>(bytes);
    again::<Answer<Started>>(bytes);
    again::<Answer<JobReply>>(bytes);
    again::<Answer<Status>>(bytes);
    again::<Answer<Pong>>(bytes);
    again::<Answer<Measured>>(bytes);
}

fn again<T>(bytes: &[u8])
where
    T: for<'b> Decode<'b, ()> + Encode<()> + PartialEq + Debug,
{
    let Ok(message) = minicbor::decode::<T>(bytes) else { return };
    let written = minicbor::to_vec(&message).expect("what was read can be written");
    assert!(written.len() <= MOST * bytes.len(), "{message:?}");
    assert_eq!(minicbor::decode::<T>(&written).ok(), Some(message));
}

/// Times that a message may be longer than what it was read from.
const MOST: usize = 64;
