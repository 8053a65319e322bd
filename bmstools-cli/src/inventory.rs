//! Names of servers, and groups of them: `hosts.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::args::Common;
use crate::interface;
use crate::output::Failure;
use crate::target::{ParseTargetError, Target};

/// Servers by name, and groups of them.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    file: Option<PathBuf>,
    hosts: BTreeMap<String, Entry>,
    groups: BTreeMap<String, Vec<String>>,
}

/// A server to work on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// How the user calls it.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) target: Target,
    /// The private key for it, where the inventory names one.
    pub(crate) key: Option<PathBuf>,
    /// Its agent's public key, where the inventory names one.
    pub(crate) agent_key: Option<PathBuf>,
}

/// The servers that the command line names, each once.
///
/// # Errors
///
/// Where it names none, one is not known, or the inventory cannot be read.
pub(crate) fn targets(common: &Common) -> Result<Vec<Entry>, Failure> {
    if common.targets.is_empty() {
        return Err(Failure::Usage(
            "which server? Name it with -t MAC[@VLAN][%IFACE], or -t NAME or -t @GROUP of the \
             inventory, before or behind the command"
                .into(),
        ));
    }
    let inventory = Inventory::load(common.inventory.as_deref())?;
    inventory.resolve(&common.targets).map_err(|error| Failure::Usage(format!("{error:#}")))
}

impl Entry {
    /// The interface that leads to it: what `option` names, what belongs to it, or the
    /// only one there is.
    ///
    /// # Errors
    ///
    /// Where these contradict each other, or there is not exactly one.
    pub(crate) fn interface(&self, option: Option<&str>) -> Result<String, Failure> {
        match (option, &self.target.interface) {
            (Some(option), Some(own)) if option != own => Err(Failure::Usage(format!(
                "--iface {option} contradicts the interface {own} of {}: give one of them",
                self.name
            ))),
            (Some(name), _) => Ok(name.to_owned()),
            (None, Some(name)) => Ok(name.clone()),
            (None, None) => Ok(interface::only_one_up()?),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    hosts: BTreeMap<String, HostTable>,
    #[serde(default)]
    groups: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostTable {
    mac: String,
    vlan: Option<i64>,
    interface: Option<String>,
    key: Option<PathBuf>,
    agent_key: Option<PathBuf>,
}

impl Inventory {
    /// Reads the file `named`, or else the default one where it exists.
    ///
    /// # Errors
    ///
    /// Where it cannot be read or makes no sense: the error names the file and the place.
    pub(crate) fn load(named: Option<&Path>) -> Result<Self> {
        let file = match named {
            Some(path) => path.to_owned(),
            None => match default_file() {
                Some(path) => path,
                None => return Ok(Self::default()),
            },
        };
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {
                return Ok(Self { file: Some(file), ..Self::default() });
            }
            text => {
                text.with_context(|| format!("cannot read the inventory {}", file.display()))?
            }
        };
        let parsed = Self::parse(&text, file.parent());
        let inventory = parsed.with_context(|| format!("wrong inventory {}", file.display()))?;
        Ok(Self { file: Some(file), ..inventory })
    }

    /// Reads a file's text. Paths in it are relative to `directory`.
    fn parse(text: &str, directory: Option<&Path>) -> Result<Self> {
        let File { hosts, groups } = toml::from_str(text)?;
        let mut inventory = Self { groups, ..Self::default() };
        for (name, host) in hosts {
            check_name(&name)?;
            let entry = host.entry(&name, directory).with_context(|| format!("[hosts.{name}]"))?;
            inventory.hosts.insert(name, entry);
        }
        for (group, members) in &inventory.groups {
            check_name(group)?;
            for member in members {
                let known = match member.strip_prefix('@') {
                    Some(other) => inventory.groups.contains_key(other),
                    None => inventory.hosts.contains_key(member),
                };
                ensure!(known, "[groups] {group}: {}", inventory.unknown(member));
            }
        }
        Ok(inventory)
    }

    /// The servers that `wanted` names, each once, in the order named.
    ///
    /// # Errors
    ///
    /// Where a name is not known or an address is wrong.
    pub(crate) fn resolve(&self, wanted: &[String]) -> Result<Vec<Entry>> {
        let mut found: Vec<Entry> = Vec::new();
        for text in wanted {
            for entry in self.find(text)? {
                // By whatever name: twice at once would get in its own way.
                if !found.iter().any(|other| other.target == entry.target) {
                    found.push(entry);
                }
            }
        }
        Ok(found)
    }

    fn find(&self, text: &str) -> Result<Vec<Entry>> {
        if let Some(group) = text.strip_prefix('@') {
            ensure!(self.groups.contains_key(group), "{}", self.unknown(text));
            let mut names = Vec::new();
            self.expand(group, &mut BTreeSet::new(), &mut names);
            ensure!(!names.is_empty(), "the group {text} is empty");
            return Ok(names
                .into_iter()
                .filter_map(|name| self.hosts.get(name))
                .cloned()
                .collect());
        }
        if let Some(entry) = self.hosts.get(text) {
            return Ok(vec![entry.clone()]);
        }
        match text.parse() {
            Ok(target) => {
                Ok(vec![Entry { name: text.to_owned(), target, key: None, agent_key: None }])
            }
            Err(ParseTargetError::Mac(_)) if !text.contains(':') => bail!("{}", self.unknown(text)),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds the hosts of a group, its groups' included. Groups may contain each other.
    fn expand<'a>(
        &'a self,
        group: &'a str,
        seen: &mut BTreeSet<&'a str>,
        names: &mut Vec<&'a str>,
    ) {
        if !seen.insert(group) {
            return;
        }
        for member in self.groups.get(group).into_iter().flatten() {
            match member.strip_prefix('@') {
                Some(other) => self.expand(other, seen, names),
                None => names.push(member),
            }
        }
    }

    /// Says that nothing is called so, and what may have been meant.
    fn unknown(&self, text: &str) -> String {
        let group = text.strip_prefix('@');
        let file = match &self.file {
            Some(file) if self.hosts.is_empty() && self.groups.is_empty() => {
                return format!(
                    "`{text}` is not MAC[@VLAN][%IFACE], and {} names no servers",
                    file.display()
                );
            }
            Some(file) => format!(" in {}", file.display()),
            None => String::new(),
        };
        let known: Vec<&String> = match group {
            Some(_) => self.groups.keys().collect(),
            None => self.hosts.keys().collect(),
        };
        let wanted = group.unwrap_or(text);
        let nearest = known
            .iter()
            .map(|name| (distance(wanted, name), name))
            .min()
            .filter(|(distance, _)| *distance <= 1 + wanted.chars().count() / 4);
        let (kind, sign) = if group.is_some() { ("group", "@") } else { ("host", "") };
        let hint = match nearest {
            Some((_, name)) => format!("; did you mean {sign}{name}?"),
            None if known.is_empty() => String::new(),
            None => {
                let more = if known.len() > LISTED { ", …" } else { "" };
                let names: Vec<_> =
                    known.iter().take(LISTED).map(|name| format!("{sign}{name}")).collect();
                format!("; there are {}{more}", names.join(", "))
            }
        };
        format!("there is no {kind} {text}{file}{hint}")
    }
}

impl HostTable {
    fn entry(self, name: &str, directory: Option<&Path>) -> Result<Entry> {
        let Self { mac, vlan, interface, key, agent_key } = self;
        let mut text = mac;
        ensure!(!text.contains(['@', '%']), "mac = {text:?}: the address alone belongs here");
        if let Some(vlan) = vlan {
            text = format!("{text}@{vlan}");
        }
        if let Some(interface) = interface {
            text = format!("{text}%{interface}");
        }
        Ok(Entry {
            name: name.to_owned(),
            target: text.parse()?,
            key: key.map(|path| from(directory, path)),
            agent_key: agent_key.map(|path| from(directory, path)),
        })
    }
}

/// `path` as seen from `directory`, with `~/` for the home directory.
fn from(directory: Option<&Path>, path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => directory.map_or(path.clone(), |directory| directory.join(path)),
    }
}

fn check_name(name: &str) -> Result<()> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "@%:,".contains(c);
    ensure!(
        !name.is_empty() && !name.contains(bad),
        "the name {name:?} cannot be written behind -t: leave out spaces, commas, and @ % :"
    );
    Ok(())
}

fn default_file() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(directory.join("bmstools/hosts.toml"))
}

/// How many letters must be put in, taken out or replaced to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Names in an error at most.
const LISTED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        [hosts.web01]
        mac = '52:54:00:aa:bb:01'
        vlan = 100
        interface = 'eth1'
        key = 'keys/web.pem'
        agent_key = '/etc/agent.pem'
        [hosts.web02]
        mac = '52:54:00:aa:bb:02'
        [hosts.db01]
        mac = '52:54:00:aa:bb:03'
        [groups]
        web = ['web01', 'web02']
        all = ['@web', 'db01', '@all']
        none = []
    ";

    fn inventory() -> Inventory {
        Inventory::parse(TEXT, Some(Path::new("/dir"))).unwrap()
    }

    fn names(wanted: &[&str]) -> Vec<String> {
        let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
        inventory().resolve(&wanted).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    fn error(wanted: &str) -> String {
        format!("{:#}", inventory().resolve(&[wanted.to_owned()]).unwrap_err())
    }

    #[test]
    fn a_name_has_everything_that_the_file_says() {
        let [entry] = &inventory().resolve(&["web01".into()]).unwrap()[..] else {
            panic!("one host")
        };
        assert_eq!(entry.target.to_string(), "52:54:00:aa:bb:01@100%eth1");
        assert_eq!(entry.key.as_deref(), Some(Path::new("/dir/keys/web.pem")));
        assert_eq!(entry.agent_key.as_deref(), Some(Path::new("/etc/agent.pem")));
    }

    #[test]
    fn groups_hold_hosts_and_groups_and_each_host_comes_once() {
        assert_eq!(names(&["@web"]), ["web01", "web02"]);
        assert_eq!(names(&["@all"]), ["web01", "web02", "db01"]);
        assert_eq!(names(&["db01", "@all", "db01"]), ["db01", "web01", "web02"]);
        // The same server by its address.
        assert_eq!(names(&["52-54-00-AA-BB-02", "@web"]), ["52-54-00-AA-BB-02", "web01"]);
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_or_the_list() {
        assert_eq!(error("web1"), "there is no host web1; did you mean web01?");
        assert_eq!(error("@wbe"), "there is no group @wbe; there are @all, @none, @web");
        assert_eq!(error("@wep"), "there is no group @wep; did you mean @web?");
        assert!(error("mail").ends_with("there are db01, web01, web02"), "{}", error("mail"));
        assert!(error("52:54:00:aa:bb").contains("is not a MAC address"));
        assert_eq!(error("@none"), "the group @none is empty");
    }

    #[test]
    fn without_an_inventory_a_name_says_where_it_would_be() {
        let empty = Inventory { file: Some("/x/hosts.toml".into()), ..Inventory::default() };
        let error = empty.resolve(&["web01".into()]).unwrap_err().to_string();
        assert!(error.contains("/x/hosts.toml names no servers"), "{error}");
        assert_eq!(empty.resolve(&["52:54:00:aa:bb:01".into()]).unwrap().len(), 1);
    }

    #[test]
    fn mistakes_in_the_file_are_named() {
        for (text, says) in [
            ("[hosts.a]\nmac = 'x'", "[hosts.a]: `x` is not a MAC address"),
            ("[hosts.a]\nmac = '52:54:00:aa:bb:01'\nvlan = 5000", "`5000` behind @"),
            ("[hosts.a]\nmac = '52:54:00:aa:bb:01@5'", "the address alone"),
            ("[hosts.a]\nmak = 'x'", "unknown field `mak`"),
            ("[hosts.'a b']\nmac = '52:54:00:aa:bb:01'", "cannot be written behind -t"),
            ("[groups]\na = ['web1']", "[groups] a: "),
            ("[groups]\na = ['@b']", "no group @b"),
        ] {
            let error = format!("{:#}", Inventory::parse(text, None).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn an_error_names_the_file_and_a_named_file_must_exist() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts.toml");
        let missing = format!("{:#}", Inventory::load(Some(&path)).unwrap_err());
        assert!(missing.contains("cannot read the inventory") && missing.contains("hosts.toml"));
        fs::write(&path, "nonsense").unwrap();
        let wrong = format!("{:#}", Inventory::load(Some(&path)).unwrap_err());
        assert!(wrong.contains("wrong inventory") && wrong.contains("hosts.toml"), "{wrong}");
    }

    #[test]
    fn distances_are_what_a_typist_would_count() {
        for (a, b, steps) in
            [("", "", 0), ("web1", "web01", 1), ("abc", "", 3), ("kitten", "sitting", 3)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (steps, steps), "{a} {b}");
        }
    }
}
