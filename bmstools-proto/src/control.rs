//! Control messages: `ctype u8 | length u32 | length bytes`.

/// Bytes before a control message's data.
pub(crate) const HEADER_LEN: usize = 5;

const AUTHENTICATE: u8 = 0;
const EXECUTE: u8 = 1;
const RECEIVE_FILE: u8 = 2;

/// What a control message asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Type {
    /// A step of the authentication.
    Authenticate,
    /// Run a command.
    Execute,
    /// Begin a file.
    ReceiveFile,
    /// Something that this version does not know.
    Unknown(u8),
}

impl From<u8> for Type {
    fn from(ctype: u8) -> Self {
        match ctype {
            AUTHENTICATE => Self::Authenticate,
            EXECUTE => Self::Execute,
            RECEIVE_FILE => Self::ReceiveFile,
            other => Self::Unknown(other),
        }
    }
}

impl Type {
    const fn code(self) -> u8 {
        match self {
            Self::Authenticate => AUTHENTICATE,
            Self::Execute => EXECUTE,
            Self::ReceiveFile => RECEIVE_FILE,
            Self::Unknown(code) => code,
        }
    }
}

/// The type and the data length that a control message's first bytes give;
/// `None` under 5 bytes.
pub(crate) fn parse_header(message: &[u8]) -> Option<(Type, usize)> {
    let [ctype, a, b, c, d] = *message.first_chunk::<HEADER_LEN>()?;
    Some((Type::from(ctype), u32::from_be_bytes([a, b, c, d]) as usize))
}

/// The type and the data of a whole message; `None` where it is shorter than it
/// says. Bytes past the length are link padding.
pub(crate) fn parse(message: &[u8]) -> Option<(Type, &[u8])> {
    let (ctype, len) = parse_header(message)?;
    Some((ctype, message.get(HEADER_LEN..)?.get(..len)?))
}

/// The message.
pub(crate) fn emit(ctype: Type, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).expect("messages are limited to far less than 4 GiB");
    let mut message = Vec::with_capacity(HEADER_LEN + data.len());
    message.push(ctype.code());
    message.extend_from_slice(&len.to_be_bytes());
    message.extend_from_slice(data);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_shorter_than_it_says_is_refused() {
        let message = emit(Type::Execute, b"uname -r");
        assert_eq!(parse(&message), Some((Type::Execute, &b"uname -r"[..])));
        for cut in 0..message.len() {
            assert_eq!(parse(&message[..cut]), None);
        }
        assert_eq!(parse(&[1, 0xff, 0xff, 0xff, 0xff, b'x']), None);
    }

    #[test]
    fn padding_behind_the_data_is_ignored() {
        let mut message = emit(Type::ReceiveFile, b"/x");
        message.resize(32, 0);
        assert_eq!(parse(&message), Some((Type::ReceiveFile, &b"/x"[..])));
    }

    #[test]
    fn an_unknown_type_survives() {
        assert_eq!(parse(&emit(Type::from(9), b"")), Some((Type::Unknown(9), &b""[..])));
    }
}
