//! Version 2 in virtual time: whatever the link does, both sides agree.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "v2/anything.rs"]
mod anything;
#[path = "v2/attacks.rs"]
mod attacks;
#[path = "v2/goodbyes.rs"]
mod goodbyes;
#[path = "v2/handshakes.rs"]
mod handshakes;
#[path = "v2/transfers.rs"]
mod transfers;
#[path = "v2/world.rs"]
mod world;
