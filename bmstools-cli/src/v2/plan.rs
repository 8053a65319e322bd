//! Which servers, by which way, with which keys.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use bmstools_proto::v2::identity::{Identity, PublicKey};

use super::connect::{Link, Links, Wanted};
use crate::args::Common;
use crate::inventory::{self, Entry};
use crate::keyfile;
use crate::output::Failure;

/// A server to work on.
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) wanted: Wanted,
    /// The interface, or why it cannot be used.
    pub(super) link: Result<Arc<Link>>,
}

/// The servers that the command line names.
///
/// # Errors
///
/// Where one is not known or a key cannot be used: nothing has been sent then.
pub(super) fn make(common: &Common, links: &mut Links) -> Result<Vec<Planned>, Failure> {
    let entries = inventory::targets(common)?;
    let mut keys = Keys::default();
    let mut wanted = Vec::new();
    for entry in entries {
        let interface = entry.interface(common.iface.as_deref())?;
        wanted.push((keys.wanted(common, &entry)?, entry.name, interface));
    }
    let planned = |(wanted, name, interface): (Wanted, String, String)| {
        let link = links.open(&interface);
        Planned { name, wanted, link }
    };
    Ok(wanted.into_iter().map(planned).collect())
}

/// Keys by file, each read once.
#[derive(Default)]
struct Keys {
    private: HashMap<PathBuf, Identity>,
    public: HashMap<PathBuf, PublicKey>,
}

impl Keys {
    fn wanted(&mut self, common: &Common, entry: &Entry) -> Result<Wanted> {
        let named = common.key.as_deref().or(entry.key.as_deref());
        let path = keyfile::path(named);
        let identity = self.identity(&path)?;
        let (expected, expected_from) =
            match common.agent_key.as_deref().or(entry.agent_key.as_deref()) {
                Some(path) => (self.public(path)?, format!("from {}", path.display())),
                None => (identity.public_key(), format!("the other half of {}", path.display())),
            };
        let key_file = path.display().to_string();
        Ok(Wanted { peer: entry.target.peer(), identity, key_file, expected, expected_from })
    }

    fn identity(&mut self, path: &Path) -> Result<Identity> {
        if let Some(identity) = self.private.get(path) {
            return Ok(identity.clone());
        }
        let identity = keyfile::identity(path)?;
        self.private.insert(path.to_owned(), identity.clone());
        Ok(identity)
    }

    fn public(&mut self, path: &Path) -> Result<PublicKey> {
        if let Some(key) = self.public.get(path) {
            return Ok(key.clone());
        }
        let key = keyfile::public(path)?;
        self.public.insert(path.to_owned(), key.clone());
        Ok(key)
    }
}
