//! Users and groups by name.

use std::fs;

use bmstools_proto::v2::message::files::Owner;
use bmstools_proto::v2::message::{Failure, FailureCode};

use crate::failure::failure;

/// The number of a user of this host.
///
/// # Errors
///
/// Where there is none of this name.
pub(crate) fn user(owner: &Owner) -> Result<u32, Failure> {
    look_up(owner, "/etc/passwd", "user")
}

/// The number of a group of this host.
///
/// # Errors
///
/// Where there is none of this name.
pub(crate) fn group(owner: &Owner) -> Result<u32, Failure> {
    look_up(owner, "/etc/group", "group")
}

fn look_up(owner: &Owner, database: &str, what: &str) -> Result<u32, Failure> {
    let unknown = |message| Err(failure(FailureCode::NotFound, message));
    match owner {
        Owner::Id(u32::MAX) => unknown(format!("{} is no number of a {what}", u32::MAX)),
        Owner::Id(id) => Ok(*id),
        Owner::Name(name) => {
            let text = fs::read(database).unwrap_or_default();
            match find(&String::from_utf8_lossy(&text), name) {
                Some(id) => Ok(id),
                None => unknown(format!(
                    "there is no {what} `{name}` in {database} there; one of a directory service \
                     can be given by its number"
                )),
            }
        }
    }
}

/// The third field of the line whose first is `name`: the number in passwd and group.
fn find(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whole() {
        let text = "root:x:0:0::/:/bin/sh\nroo:x:7:7:::\nbad:x:y:\n";
        assert_eq!(find(text, "root"), Some(0));
        assert_eq!(find(text, "roo"), Some(7));
        assert_eq!(find(text, "ro"), None);
        assert_eq!(find(text, "bad"), None);
        assert_eq!(user(&Owner::Id(4711)).unwrap(), 4711);
        assert_eq!(
            user(&Owner::Name("no such user".into())).unwrap_err().code,
            FailureCode::NotFound
        );
    }
}
