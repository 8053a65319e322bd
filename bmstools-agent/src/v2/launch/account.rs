//! Whom a command runs as.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bmstools_proto::v2::message::{Failure, FailureCode};
use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist};

use super::cannot;
use crate::v2::failure;

/// A user's account, as the system's name service knows it.
pub(crate) struct Account {
    user: User,
}

impl Account {
    /// The account of that name or else number; the one that this process runs as where
    /// there is none.
    ///
    /// # Errors
    ///
    /// Where there is no such user, or the name service fails.
    pub(crate) fn find(wanted: Option<&str>) -> Result<Self, Failure> {
        let Some(name) = wanted else { return Ok(Self::own()) };
        let fails = |error: nix::Error| cannot(&format!("look the user {name} up"), &error.into());
        let mut found = User::from_name(name).map_err(fails)?;
        if let (None, Ok(number)) = (&found, name.parse()) {
            found = User::from_uid(Uid::from_raw(number)).map_err(fails)?;
        }
        found
            .map(|user| Self { user })
            .ok_or_else(|| failure(FailureCode::NotFound, format!("there is no user {name:?}")))
    }

    /// This process's own account; root's usual one where nothing is known of it.
    fn own() -> Self {
        let found = User::from_uid(geteuid()).ok().flatten();
        let user = found.unwrap_or_else(|| User {
            name: "root".into(),
            passwd: CString::default(),
            uid: geteuid(),
            gid: getegid(),
            gecos: CString::default(),
            dir: "/root".into(),
            shell: FALLBACK_SHELL.into(),
        });
        Self { user }
    }

    /// The account's name.
    pub(crate) fn name(&self) -> &str {
        &self.user.name
    }

    /// The account's number.
    pub(crate) fn uid(&self) -> Uid {
        self.user.uid
    }

    /// Its group's number.
    pub(crate) fn gid(&self) -> Gid {
        self.user.gid
    }

    /// Its login shell.
    pub(crate) fn shell(&self) -> &Path {
        if self.user.shell.as_os_str().is_empty() {
            return FALLBACK_SHELL.as_ref();
        }
        &self.user.shell
    }

    /// What a command of this user finds in its environment, whatever started the
    /// agent.
    pub(crate) fn environment(&self) -> [(&'static str, Vec<u8>); 6] {
        [
            ("PATH", PATH.into()),
            ("HOME", self.user.dir.as_os_str().as_bytes().into()),
            ("USER", self.user.name.clone().into()),
            ("LOGNAME", self.user.name.clone().into()),
            ("SHELL", self.shell().as_os_str().as_bytes().into()),
            ("LANG", "C.UTF-8".into()),
        ]
    }

    /// Whom a command of this user runs as, all groups included.
    ///
    /// # Errors
    ///
    /// Where the name service fails.
    pub(crate) fn user(&self) -> Result<bmstools_spawn::User, Failure> {
        let name = &self.user.name;
        let fails = |error: nix::Error| cannot(&format!("become the user {name}"), &error.into());
        let c_name = CString::new(name.as_bytes()).map_err(|_| fails(nix::Error::EINVAL))?;
        let groups = getgrouplist(&c_name, self.user.gid).map_err(fails)?;
        Ok(bmstools_spawn::User {
            uid: self.user.uid.as_raw(),
            gid: self.user.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
        })
    }
}

/// What an account without a shell has, as passwd(5) says.
const FALLBACK_SHELL: &str = "/bin/sh";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        for wanted in ["root", "0"] {
            let account = Account::find(Some(wanted)).unwrap();
            assert_eq!((account.uid().as_raw(), account.gid().as_raw()), (0, 0));
            let environment = account.environment();
            assert!(environment.contains(&("USER", b"root".to_vec())), "{environment:?}");
        }
    }

    #[test]
    fn an_unknown_user_is_named() {
        for wanted in ["no-such-user", "4294967294", "", "a\0b"] {
            let refusal = Account::find(Some(wanted)).map(drop).unwrap_err();
            assert_eq!(refusal.code, FailureCode::NotFound);
            assert!(refusal.message.contains(&format!("{wanted:?}")), "{refusal:?}");
        }
    }
}
