//! From a verdict to an XDP action and a counter.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT};
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::warn;
use bmstools_common::classify::{self, Verdict, check_framing, classify};
use bmstools_common::counters::Counter;
use bmstools_common::maps::{Config, SessionKey, framing_from_code};

use crate::frame::Frame;
use crate::limit::admit;
use crate::maps::{CONFIG, SESSIONS, SOCKETS, count};
use crate::ring;

/// Decides on a frame, counts the decision and carries it out.
#[inline(always)]
pub(crate) fn act<F: Frame>(ctx: &XdpContext, frame: &F) -> u32 {
    let (counter, action) = decide(ctx, frame);
    let before = count(counter);
    if before == 0 {
        warn_of_first(ctx, counter);
    }
    action
}

#[inline(always)]
fn decide<F: Frame>(ctx: &XdpContext, frame: &F) -> (Counter, u32) {
    let Some(config) = CONFIG.get(0) else {
        return (Counter::Passed, XDP_PASS);
    };
    match classify(frame, Config::local_of(config)) {
        Verdict::NotOurs => (Counter::Passed, XDP_PASS),
        Verdict::NotAddressed => (Counter::NotAddressed, XDP_DROP),
        Verdict::Malformed(error) => (error.into(), XDP_DROP),
        Verdict::Ours(ours) => match ours.session {
            Some(key) => session(ctx, frame, &ours, key),
            None => (open(ctx, frame, &ours, config), XDP_DROP),
        },
    }
}

#[inline(always)]
fn session<F: Frame>(
    ctx: &XdpContext,
    frame: &F,
    ours: &classify::Frame,
    key: SessionKey,
) -> (Counter, u32) {
    let Some(code) = SESSIONS.get_ptr(key.to_bytes()) else {
        return (Counter::NoSession, XDP_DROP);
    };
    // SAFETY: the verifier knows the value's memory to be valid, and userspace
    // never changes a value in place.
    let framing = framing_from_code(unsafe { *code });
    if let Err(error) = check_framing(frame, ours, framing) {
        return (error.into(), XDP_DROP);
    }
    let queue = ctx.rx_queue_index();
    if SOCKETS.redirect(queue, 0).is_ok() {
        return (Counter::Session, XDP_REDIRECT);
    }
    match ring::push(frame, queue) {
        Ok(()) => (Counter::SessionViaRing, XDP_DROP),
        Err(counter) => (counter, XDP_DROP),
    }
}

#[inline(always)]
fn open<F: Frame>(
    ctx: &XdpContext,
    frame: &F,
    ours: &classify::Frame,
    config: &[u8; Config::LEN],
) -> Counter {
    if let Err(counter) = admit(ours.peer.mac, &Config::from_bytes(config)) {
        return counter;
    }
    match ring::push(frame, ctx.rx_queue_index()) {
        Ok(()) => Counter::Open,
        Err(counter) => counter,
    }
}

/// Says, once on each CPU, that frames are lost for want of room.
#[inline(always)]
fn warn_of_first(ctx: &XdpContext, counter: Counter) {
    match counter {
        Counter::RingFull => warn!(ctx, "the ring buffer is full: frames are lost"),
        Counter::TooLong => warn!(ctx, "frames longer than a ring buffer record are lost"),
        _ => {}
    }
}
