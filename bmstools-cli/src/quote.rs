//! An argument vector as one command line for the remote bash.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// The command line that bash splits into exactly `arguments` again.
///
/// Every word is quoted, the plain ones too: an unquoted first word could be a
/// keyword or an assignment.
pub(crate) fn command_line(arguments: &[OsString]) -> Vec<u8> {
    let mut line = Vec::new();
    for argument in arguments {
        if !line.is_empty() {
            line.push(b' ');
        }
        push_quoted(&mut line, argument.as_bytes());
    }
    line
}

/// Nothing but the quote itself means anything between single quotes, so each
/// quote becomes: end of quotes, an escaped quote, quotes again.
fn push_quoted(line: &mut Vec<u8>, word: &[u8]) {
    line.push(b'\'');
    for &byte in word {
        match byte {
            b'\'' => line.extend_from_slice(br"'\''"),
            byte => line.push(byte),
        }
    }
    line.push(b'\'');
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What a real bash makes of the quoted `arguments`.
    fn split_by_bash(arguments: &[OsString]) -> Vec<OsString> {
        let mut printf = vec![OsString::from("printf"), OsString::from("%s\\0")];
        printf.extend_from_slice(arguments);
        let line = command_line(&printf);
        let output = Command::new("bash").arg("-c").arg(OsStr::from_bytes(&line)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut words: Vec<_> = output.stdout.split(|&b| b == 0).collect();
        assert_eq!(words.pop(), Some(&b""[..]));
        words.into_iter().map(|word| OsString::from_vec(word.to_vec())).collect()
    }

    #[test]
    fn what_bash_would_expand_arrives_as_it_was_typed() {
        let words = [
            "",
            "two words",
            "$HOME",
            "`id`",
            "$(id)",
            "*",
            "~",
            "a'b",
            "'",
            "\"",
            "\\",
            "!",
            "#",
            "a\nb",
            "-n",
            "{a,b}",
            "x=y",
            "&",
            ";",
            "|",
            "\u{e4}\u{20ac}",
        ];
        let words = words.map(OsString::from);
        assert_eq!(split_by_bash(&words), words);
    }

    #[test]
    fn a_first_word_that_is_a_keyword_is_looked_up_as_a_command() {
        let line = command_line(&["if".into()]);
        let output = Command::new("bash").arg("-c").arg(OsStr::from_bytes(&line)).output().unwrap();
        assert_eq!(output.status.code(), Some(127));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn bash_reproduces_any_arguments(
            words in proptest::collection::vec(
                proptest::collection::vec(1u8..=255, 0..60), 1..12)
        ) {
            let words: Vec<_> = words.into_iter().map(OsString::from_vec).collect();
            prop_assert_eq!(split_by_bash(&words), words);
        }
    }
}
