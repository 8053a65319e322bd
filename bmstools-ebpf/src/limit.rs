//! Limits on opens: one token bucket for each source, then one for all.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use bmstools_common::Mac;
use bmstools_common::counters::Counter;
use bmstools_common::maps::{Config, Rate};
use bmstools_common::rate::take;

use crate::maps::{OPEN_BUCKET, OPEN_BUCKETS, SharedWord};

/// How often a bucket is tried that other CPUs take from at the same time.
const TRIES: usize = 4;

/// Takes a token for an open from `source`, or names the limit that it is over.
#[inline(always)]
pub(crate) fn admit(source: Mac, config: &Config) -> Result<(), Counter> {
    // SAFETY: the helper takes nothing and returns a number.
    let now = unsafe { bpf_ktime_get_ns() };
    if !admit_source(source, now, config.per_source) {
        return Err(Counter::OpenRateSource);
    }
    let Some(bucket) = OPEN_BUCKET.get_ptr_mut(0) else {
        return Err(Counter::OpenRateGlobal);
    };
    if !take_shared(SharedWord::new(bucket), now, config.global) {
        return Err(Counter::OpenRateGlobal);
    }
    Ok(())
}

#[inline(always)]
fn admit_source(source: Mac, now: u64, rate: Rate) -> bool {
    if let Some(bucket) = OPEN_BUCKETS.get_ptr_mut(source.0) {
        return take_shared(SharedWord::new(bucket), now, rate);
    }
    // Two CPUs that see a source's first open at once may both let it through.
    let Some(state) = take(0, now, rate) else {
        return false;
    };
    OPEN_BUCKETS.insert(source.0, state, 0).is_ok()
}

#[inline(always)]
fn take_shared(bucket: SharedWord, now: u64, rate: Rate) -> bool {
    let mut state = bucket.load();
    for _ in 0..TRIES {
        let Some(after) = take(state, now, rate) else {
            return false;
        };
        match bucket.compare_exchange(state, after) {
            Ok(_) => return true,
            Err(current) => state = current,
        }
    }
    // So many opens at once are a flood.
    false
}
