//! Signals by name.

/// The number of the signal `text`: `TERM`, `SIGTERM`, `term` or `15`.
pub(crate) fn parse(text: &str) -> Result<u8, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = found.or_else(|| text.parse().ok().filter(|number| (1..=31).contains(number)));
    number.ok_or_else(|| "give a signal's name or number, as in TERM, HUP or 9".to_owned())
}

/// The signal's name; its number where it has none.
pub(crate) fn name(number: u8) -> String {
    let found = NAMES.iter().find(|(_, known)| *known == number);
    found.map_or_else(|| number.to_string(), |(name, _)| format!("SIG{name}"))
}

/// Linux's generic numbers, signal(7): what the agent takes whatever machine this is.
const NAMES: [(&str, u8); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_known_by_its_names_and_its_number() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(parse(text), Ok(15), "{text}");
        }
        for bad in ["", "SIG", "0", "32", "-9", "TERMINATE"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!((name(9), name(77)), ("SIGKILL".into(), "77".into()));
    }
}
