//! What `--only` names.

use anyhow::{Result, bail};

/// The sections and contestants that were asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    sections: Vec<String>,
    contestants: Vec<String>,
}

impl Selection {
    /// Takes names of sections and of contestants; of the latter their beginning
    /// is enough. Without names everything is taken.
    ///
    /// # Errors
    ///
    /// Where a name is neither; the error lists all.
    pub(crate) fn new(names: &[String]) -> Result<Self> {
        let mut selection = Self::default();
        for name in names.iter().flat_map(|names| names.split(',')) {
            if SECTIONS.contains(&name) {
                selection.sections.push(name.to_owned());
            } else if CONTESTANTS.iter().any(|known| known.starts_with(name)) {
                selection.contestants.push(name.to_owned());
            } else {
                bail!(
                    "--only knows no `{name}`; it knows the sections {} and the contestants {}",
                    SECTIONS.join(", "),
                    CONTESTANTS.join(", ")
                );
            }
        }
        Ok(selection)
    }

    /// Whether a section is to be measured.
    pub(crate) fn takes_section(&self, id: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|section| section == id)
    }

    /// Whether a contestant is to be measured, in the sections that are.
    pub(crate) fn takes_contestant(&self, name: &str) -> bool {
        self.contestants.is_empty()
            || self.contestants.iter().any(|wanted| {
                // A whole name means that one and not those that begin with it.
                if CONTESTANTS.contains(&wanted.as_str()) {
                    wanted == name
                } else {
                    name.starts_with(wanted.as_str())
                }
            })
    }

    /// Whether everything is to be measured.
    pub(crate) fn is_everything(&self) -> bool {
        self.sections.is_empty() && self.contestants.is_empty()
    }
}

/// The sections, in the order in which they are measured.
pub(crate) const SECTIONS: [&str; 11] = [
    "ceiling",
    "memory",
    "push",
    "latency",
    "small-files",
    "cost",
    "loss",
    "shared",
    "size",
    "sessions",
    "agent",
];

/// Every contestant of any section.
pub(crate) const CONTESTANTS: [&str; 58] = [
    "ceiling-64",
    "ceiling-1514",
    "ceiling-3512",
    "ceiling-sealed",
    "v2-memory-send",
    "v2-memory-receive",
    "v2-xdp",
    "v2-xdp-generic",
    "v2-packet",
    "v2-auto",
    "v2-pull-xdp",
    "v1-xdp",
    "v1-packet",
    "v1-deployed-xdp",
    "v1-deployed-packet",
    "fork",
    "v2-exec-open",
    "v2-exec-new",
    "v2-exec-command",
    "v1-exec-new",
    "v1-exec-new-xdp",
    "v1-exec-open",
    "v2-push-r",
    "v1-session",
    "v1-tar",
    "v1-push-each",
    "v2-idle-xdp",
    "v2-idle-packet",
    "no-agent",
    "scp",
    "scp-aes128-gcm",
    "scp-aes256-gcm",
    "scp-r",
    "sftp",
    "rsync-ssh",
    "rsync-daemon",
    "rsync",
    "tar-ssh",
    "ssh-new",
    "ssh-master",
    "nc",
    "mbuffer",
    "iperf3",
    "uftp",
    "udpcast",
    "v2-alone",
    "tcp-alone",
    "v2-beside-tcp",
    "tcp-beside-v2",
    "v2-beside-largest",
    "v2-many",
    "v1-many",
    "v2-sleep-xdp",
    "v2-sleep-packet",
    "v2-resident-idle",
    "v2-resident-sessions",
    "v2-exec-quiet",
    "v2-exec-busy",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn select(names: &[&str]) -> Result<Selection> {
        Selection::new(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn nothing_asked_for_is_everything() {
        let all = select(&[]).unwrap();
        assert!(all.is_everything() && all.takes_section("loss") && all.takes_contestant("scp"));
    }

    #[test]
    fn contestants_alone_are_taken_in_every_section() {
        let some = select(&["scp", "v1-d"]).unwrap();
        assert!(some.takes_section("push") && some.takes_section("size"));
        assert!(some.takes_contestant("v1-deployed-xdp") && some.takes_contestant("scp"));
        assert!(!some.takes_contestant("scp-aes128-gcm") && !some.takes_contestant("v1-xdp"));
    }

    #[test]
    fn a_section_takes_all_its_contestants() {
        let some = select(&["latency"]).unwrap();
        assert!(some.takes_section("latency") && !some.takes_section("push"));
        assert!(some.takes_contestant("ssh-new"));
    }

    #[test]
    fn an_unknown_name_is_refused_with_all_that_are_known() {
        let error = select(&["ftp"]).unwrap_err().to_string();
        assert!(error.contains("udpcast") && error.contains("small-files"), "{error}");
    }
}
