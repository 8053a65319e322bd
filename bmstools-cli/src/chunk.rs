//! How a file is cut into data messages.

/// Bytes of the next data message: as many as `max` allows, but such that a last
/// message under `min` bytes never remains. The last two share instead.
///
/// `remaining` is what has not been cut yet. The result is 0 for nothing
/// remaining and `remaining` for a file that is under `min` as a whole, which the
/// caller must have refused where that matters.
pub(crate) fn next_len(remaining: u64, max: usize, min: usize) -> usize {
    let max = max.max(1);
    let Ok(remaining) = usize::try_from(remaining) else {
        return max;
    };
    if remaining <= max {
        return remaining;
    }
    let left = remaining - max;
    if left >= min { max } else { remaining.div_ceil(2).min(max) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(size: u64, max: usize, min: usize) -> Vec<usize> {
        let mut remaining = size;
        let mut chunks = Vec::new();
        while remaining > 0 {
            let len = next_len(remaining, max, min);
            chunks.push(len);
            remaining -= len as u64;
        }
        chunks
    }

    #[test]
    fn a_short_rest_is_balanced_with_the_message_before_it() {
        assert_eq!(cut(1000, 1000, 32), [1000]);
        assert_eq!(cut(1032, 1000, 32), [1000, 32]);
        assert_eq!(cut(1031, 1000, 32), [516, 515]);
        assert_eq!(cut(2001, 1000, 32), [1000, 501, 500]);
        assert_eq!(cut(2001, 1000, 1), [1000, 1000, 1]);
        assert_eq!(cut(0, 1000, 32), [0; 0]);
    }

    proptest! {
        #[test]
        fn chunks_sum_up_and_none_is_too_short_or_too_long(
            size in 32u64..200_000,
            max in 64usize..5_000,
        ) {
            let chunks = cut(size, max, 32);
            prop_assert_eq!(chunks.iter().sum::<usize>() as u64, size);
            prop_assert!(chunks.iter().all(|&len| (32..=max).contains(&len)));
        }

        #[test]
        fn a_changing_limit_is_never_exceeded_and_leaves_no_short_rest(
            size in 32u64..200_000,
            limits in proptest::collection::vec(64usize..5_000, 1..50),
        ) {
            let mut remaining = size;
            for max in limits.into_iter().cycle() {
                let len = next_len(remaining, max, 32);
                prop_assert!((32..=max).contains(&len));
                remaining -= len as u64;
                if remaining == 0 {
                    break;
                }
                prop_assert!(remaining >= 32);
            }
        }
    }
}
