//! `bmstools ping`: how long a session takes to come and go.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde_json::json;
use tokio::time::sleep;

use crate::connect::Connector;
use crate::output::{Failure, Output};
use crate::session::Opening;
use crate::signals::Signals;
use crate::stop::{self, Outcome};
use crate::v2::ping::PingArgs;

/// Opens, authenticates and ends as many sessions as asked for.
///
/// # Errors
///
/// The first session's failure.
pub(crate) async fn run(
    args: &PingArgs,
    connector: &Connector,
    output: &Output,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let mut times = Vec::new();
    for number in 0..args.count.unwrap_or(1) {
        if number > 0
            && let Outcome::Signal(signal) = stop::wait(sleep(PAUSE), None, signals).await
        {
            return Err(Failure::Interrupted(signal));
        }
        let steps = once(connector, signals).await?;
        output.result(json(steps), &line(steps))?;
        times.push(steps);
    }
    if times.len() > 1 {
        let [min, avg, max] = summary(&times);
        output.result(
            json!({ "min": json(min), "avg": json(avg), "max": json(max) }),
            &format!("min: {}\navg: {}\nmax: {}", line(min), line(avg), line(max)),
        )?;
    }
    Ok(0)
}

/// Open, authenticate, end.
type Steps = [Duration; 3];

async fn once(connector: &Connector, signals: &mut Signals) -> Result<Steps, Failure> {
    let (mut session, Opening { open, authenticate }) = connector.connect(signals).await?;
    let asked = Instant::now();
    match stop::wait(session.end(), Some(LONGEST_END), signals).await {
        Outcome::Done(ended) => Ok([open, authenticate, ended?.0.duration_since(asked)]),
        Outcome::Signal(signal) => Err(Failure::Interrupted(signal)),
        Outcome::TimedOut => Err(Failure::Other(anyhow!(
            "the agent did not confirm the end within {} s",
            LONGEST_END.as_secs()
        ))),
    }
}

fn line([open, authenticate, end]: Steps) -> String {
    let total = open + authenticate + end;
    let [open, authenticate, end, total] = [open, authenticate, end, total].map(milliseconds);
    format!(
        "open {open:.3} ms, authenticate {authenticate:.3} ms, end {end:.3} ms, total {total:.3} ms"
    )
}

fn json([open, authenticate, end]: Steps) -> serde_json::Value {
    json!({
        "open_ms": milliseconds(open),
        "authenticate_ms": milliseconds(authenticate),
        "end_ms": milliseconds(end),
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Least, mean and greatest of each step.
fn summary(times: &[Steps]) -> [Steps; 3] {
    let step = |i: usize| times.iter().map(move |steps| steps[i]);
    let of = |f: &dyn Fn(usize) -> Duration| [f(0), f(1), f(2)];
    let count = u32::try_from(times.len()).unwrap_or(u32::MAX).max(1);
    [
        of(&|i| step(i).min().unwrap_or_default()),
        of(&|i| step(i).sum::<Duration>() / count),
        of(&|i| step(i).max().unwrap_or_default()),
    ]
}

/// Keeps well within an agent's limit on opens from one address.
const PAUSE: Duration = Duration::from_millis(200);
/// An agent has nothing to finish for a session without requests.
const LONGEST_END: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_takes_each_step_for_itself() {
        let ms = |a, b, c| [a, b, c].map(Duration::from_millis);
        let [min, avg, max] = summary(&[ms(1, 30, 5), ms(3, 10, 5), ms(2, 20, 5)]);
        assert_eq!(min, ms(1, 10, 5));
        assert_eq!(avg, ms(2, 20, 5));
        assert_eq!(max, ms(3, 30, 5));
        assert_eq!(
            line(min),
            "open 1.000 ms, authenticate 10.000 ms, end 5.000 ms, total 16.000 ms"
        );
    }
}
