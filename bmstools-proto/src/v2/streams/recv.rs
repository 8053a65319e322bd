//! One stream's direction from the peer to us.

mod ordered;
mod placed;

use self::ordered::Ordered;
use self::placed::Placed;
use super::flow::{Incoming, Window};
use super::{Chunk, Violation};

/// What arrives, and what of it was read.
#[derive(Debug)]
pub(super) struct Recv {
    data: Data,
    state: State,
    window: Window,
    window_size: u64,
    /// What counts for MAX_STREAM_DATA so far.
    counted: u64,
    /// Bytes that the application has read.
    handed: u64,
    /// Of those, bytes that it is done with.
    consumed: u64,
    /// The ordered direction's end, the placed one's total.
    end: Option<u64>,
    /// The application knows that there is something to read.
    announced: bool,
}

#[derive(Debug)]
enum Data {
    None,
    Ordered(Ordered),
    Placed(Placed),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// The application does not want it.
    Stopped,
    /// The peer gave it up; the application has not read so.
    Reset(u32),
    Over,
}

impl Recv {
    pub(super) const fn new(window: u64) -> Self {
        Self {
            data: Data::None,
            state: State::Open,
            window: Window::new(window),
            window_size: window,
            counted: 0,
            handed: 0,
            consumed: 0,
            end: None,
            announced: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// Whether MAX_STREAM_DATA is due and of use.
    pub(super) fn max_is_due(&self) -> bool {
        self.wants_more() && self.window.is_due()
    }

    /// Whether the peer may need a higher limit.
    pub(super) fn wants_more(&self) -> bool {
        let may_come = match &self.data {
            Data::None | Data::Ordered(_) => self.end.is_none(),
            Data::Placed(_) => self.end != Some(self.counted),
        };
        self.state == State::Open && may_come
    }

    pub(super) const fn announce_max(&mut self) -> u64 {
        self.window.announce()
    }

    fn all_arrived(&self) -> bool {
        match &self.data {
            Data::None => self.end == Some(0),
            Data::Ordered(data) => self.end == Some(data.received()),
            Data::Placed(_) => self.end == Some(self.counted),
        }
    }

    /// Whether the application must be told that there is something to read.
    pub(super) fn take_readable(&mut self) -> bool {
        let readable = match self.state {
            State::Stopped | State::Over => false,
            State::Reset(_) => true,
            State::Open => {
                self.all_arrived()
                    || match &self.data {
                        Data::None => false,
                        Data::Ordered(data) => data.is_readable(),
                        Data::Placed(data) => data.is_readable(),
                    }
            }
        };
        let new = readable && !self.announced;
        self.announced |= readable;
        new
    }

    /// Counts bytes for both limits; gives them back at once where nobody wants them.
    fn count(&mut self, bytes: u64, session: &mut Incoming) -> Result<(), Violation> {
        let counted = self.counted.saturating_add(bytes);
        if counted > self.window.announced() {
            return Err(Violation("data beyond MAX_STREAM_DATA"));
        }
        session.count(bytes)?;
        self.counted = counted;
        if self.state == State::Stopped {
            session.window.free(bytes);
            self.window.free(bytes);
        }
        Ok(())
    }

    pub(super) fn ordered(
        &mut self,
        offset: u64,
        bytes: &[u8],
        end: bool,
        session: &mut Incoming,
    ) -> Result<(), Violation> {
        if matches!(self.data, Data::None) {
            self.data = Data::Ordered(Ordered::new());
        }
        let Data::Ordered(data) = &mut self.data else {
            return Err(Violation("ordered data in a placed direction"));
        };
        if matches!(self.state, State::Over | State::Reset(_)) {
            return Ok(());
        }
        let stop = offset.saturating_add(bytes.len() as u64);
        if self.end.is_some_and(|known| stop > known) {
            return Err(Violation("data behind the end of a stream"));
        }
        if end && (stop < self.counted || self.end.is_some_and(|known| stop != known)) {
            return Err(Violation("the end of a stream changed"));
        }
        if self.state == State::Open && !bytes.is_empty() && stop <= self.window.announced() {
            let gaps = data.gaps();
            data.insert(offset, bytes);
            session.gaps.change(gaps, data.gaps())?;
        }
        self.count(stop.saturating_sub(self.counted), session)?;
        if end {
            self.end = Some(stop);
            if self.state == State::Stopped {
                self.state = State::Over;
            }
        }
        Ok(())
    }

    pub(super) fn placed(
        &mut self,
        offset: u64,
        bytes: &[u8],
        session: &mut Incoming,
    ) -> Result<(), Violation> {
        self.make_placed()?;
        let Data::Placed(data) = &mut self.data else { return Ok(()) };
        if matches!(self.state, State::Over | State::Reset(_)) || self.end == Some(self.counted) {
            return Ok(());
        }
        let pieces = data.pieces();
        let fresh = match self.state {
            State::Open => data.insert(offset, bytes, &mut session.blocks),
            _ => data.note(offset..offset.saturating_add(bytes.len() as u64)),
        };
        session.pieces.change(pieces, data.pieces())?;
        self.count(fresh, session)?;
        self.check_placed_end(session)
    }

    pub(super) fn placed_end(
        &mut self,
        total: u64,
        session: &mut Incoming,
    ) -> Result<(), Violation> {
        self.make_placed()?;
        if matches!(self.state, State::Over | State::Reset(_)) {
            return Ok(());
        }
        if self.end.is_some_and(|known| known != total) {
            return Err(Violation("the end of a stream changed"));
        }
        self.end = Some(total);
        self.check_placed_end(session)
    }

    fn make_placed(&mut self) -> Result<(), Violation> {
        match &self.data {
            Data::Ordered(_) => return Err(Violation("placed data in an ordered direction")),
            Data::Placed(_) => (),
            Data::None => self.data = Data::Placed(Placed::new(self.window_size)),
        }
        Ok(())
    }

    fn check_placed_end(&mut self, session: &mut Incoming) -> Result<(), Violation> {
        if self.end.is_some_and(|total| self.counted > total) {
            return Err(Violation("data behind the end of a stream"));
        }
        if self.end == Some(self.counted) {
            if let Data::Placed(data) = &mut self.data {
                let pieces = data.pieces();
                data.complete(&mut session.blocks);
                data.forget();
                session.pieces.change(pieces, data.pieces())?;
            }
            if self.state == State::Stopped {
                self.state = State::Over;
            }
        }
        Ok(())
    }

    /// RESET_STREAM came.
    pub(super) fn reset(
        &mut self,
        code: u32,
        total: u64,
        session: &mut Incoming,
    ) -> Result<(), Violation> {
        if matches!(self.state, State::Over | State::Reset(_)) {
            return Ok(());
        }
        if total < self.counted || self.end.is_some_and(|known| total > known) {
            return Err(Violation("the end of a stream changed"));
        }
        if self.all_arrived() {
            return Ok(());
        }
        self.count(total - self.counted, session)?;
        if self.state == State::Stopped {
            self.state = State::Over;
        } else {
            self.discard(session);
            self.state = State::Reset(code);
        }
        self.forget(session);
        Ok(())
    }

    /// The application does not want more; whether the peer must hear of it.
    pub(super) fn stop(&mut self, session: &mut Incoming) -> bool {
        match self.state {
            State::Stopped | State::Over => return false,
            State::Reset(_) => {
                self.state = State::Over;
                return false;
            }
            State::Open => (),
        }
        let done =
            self.all_arrived() || (self.end.is_some() && matches!(self.data, Data::Ordered(_)));
        self.discard(session);
        self.state = if done { State::Over } else { State::Stopped };
        !done
    }

    /// Throws away what was not read and gives its room back.
    fn discard(&mut self, session: &mut Incoming) {
        match &mut self.data {
            Data::None => (),
            Data::Ordered(data) => {
                session.gaps.release(data.gaps());
                *data = Ordered::new();
            }
            Data::Placed(data) => {
                let pieces = data.pieces();
                data.discard(&mut session.blocks);
                session.pieces.release(pieces - data.pieces());
            }
        }
        let unread = self.counted - self.handed;
        self.window.free(unread);
        session.window.free(unread);
    }

    /// What arrives from here on does not matter: forgets what has.
    fn forget(&mut self, session: &mut Incoming) {
        if let Data::Placed(data) = &mut self.data {
            session.pieces.release(data.pieces());
            data.forget();
        }
    }

    pub(super) fn read(&mut self, session: &mut Incoming) -> Option<Chunk> {
        let chunk = match self.state {
            State::Stopped | State::Over => None,
            State::Reset(code) => {
                self.state = State::Over;
                Some(Chunk::Reset { code })
            }
            State::Open => self.read_data(session),
        };
        match &chunk {
            None => self.announced = false,
            Some(Chunk::Data { data, .. }) => {
                self.handed += data.len() as u64;
                session.hand(data.len() as u64);
            }
            Some(Chunk::End) => {
                self.state = State::Over;
                if let Data::Ordered(data) = &mut self.data {
                    *data = Ordered::new();
                }
            }
            Some(Chunk::Reset { .. }) => (),
        }
        chunk
    }

    fn read_data(&mut self, session: &mut Incoming) -> Option<Chunk> {
        let piece = match &mut self.data {
            Data::None => None,
            Data::Ordered(data) => data.read().map(|data| (self.handed, data)),
            Data::Placed(data) => data.read().inspect(|_| session.pieces.release(1)),
        };
        match piece {
            Some((offset, data)) => Some(Chunk::Data { offset, data }),
            None => self.all_arrived().then_some(Chunk::End),
        }
    }

    /// The application is done with so many bytes of what it read.
    pub(super) fn consume(&mut self, bytes: u64) {
        let bytes = bytes.min(self.handed - self.consumed);
        self.consumed += bytes;
        self.window.free(bytes);
    }

    /// Bytes of memory, but for what the application has.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        match &self.data {
            Data::None => 0,
            Data::Ordered(data) => data.memory(),
            Data::Placed(data) => data.memory(),
        }
    }
}
