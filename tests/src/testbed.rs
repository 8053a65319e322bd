//! An operator's and an agent's host, connected.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bmstools_common::Mac;
use bmstools_common::header::Dialect;
use tempfile::TempDir;

use crate::agent::{Agent, AgentCommand};
use crate::keys::KeyPair;
use crate::link::Link;
use crate::memory::{self, MIB};
use crate::namespace::Namespace;
use crate::nic::{self, End, PairOptions};
use crate::operator::Operator;
use crate::peer::{HandOperator, Options};
use crate::relay::{Impairments, Relay};
use crate::{data, wire};

/// The agent's address.
pub const AGENT_MAC: Mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1]);
/// The operator's address.
pub const OPERATOR_MAC: Mac = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 2]);
/// The VLAN of deployed peers, which always send a tag.
pub const DEPLOYED_VLAN: u16 = 1708;

/// Two namespaces with a veth pair between them, a directory for files, and keys
/// that the agent accepts.
#[derive(Debug)]
pub struct Testbed {
    /// How both sides move frames.
    pub link: Link,
    /// The keys of both.
    pub keys: KeyPair,
    relay: Option<Relay>,
    operator: Namespace,
    agent: Namespace,
    directory: TempDir,
}

impl Testbed {
    /// A testbed with 2048-bit keys and a plain veth pair.
    ///
    /// # Errors
    ///
    /// Without root, or where something is not installed.
    pub fn new(link: Link) -> Result<Self> {
        Self::with(link, PairOptions::default())
    }

    /// A testbed whose agent serves.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), or where the agent does not become ready.
    pub fn serving(link: Link) -> Result<(Self, Agent)> {
        let bed = Self::new(link)?;
        let agent = bed.start_agent()?;
        Ok((bed, agent))
    }

    /// A testbed with such a veth pair.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with(link: Link, options: PairOptions) -> Result<Self> {
        let bed = Self::unconnected(link)?;
        nic::connect(bed.operator_end(), bed.agent_end(), options)?;
        Ok(bed)
    }

    /// A testbed with a [`Relay`] between its hosts.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_relay(link: Link, impairments: Impairments, seed: u64) -> Result<Self> {
        let mut bed = Self::unconnected(link)?;
        let options = PairOptions::default();
        let relay = Relay::start(bed.operator_end(), bed.agent_end(), options, impairments, seed)?;
        bed.relay = Some(relay);
        Ok(bed)
    }

    fn unconnected(link: Link) -> Result<Self> {
        let keys = KeyPair::shared(2048)?;
        let operator = Namespace::new("operator")?;
        let agent = Namespace::new("agent")?;
        let directory = memory::directory("bmstest-", 64 * MIB)?;
        Ok(Self { link, keys, relay: None, operator, agent, directory })
    }

    /// The operator's host.
    pub fn operator_namespace(&self) -> &Namespace {
        &self.operator
    }

    /// The agent's host.
    pub fn agent_namespace(&self) -> &Namespace {
        &self.agent
    }

    /// The bad cable between the hosts, where there is one.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn relay(&self) -> Result<&Relay> {
        self.relay.as_ref().context("this testbed has no relay")
    }

    /// A path in the testbed's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The agent's command line: its interface, link and keys.
    ///
    /// # Errors
    ///
    /// Where the agent has not been built.
    pub fn agent_command(&self) -> Result<AgentCommand> {
        self.agent_command_with(&[&self.keys])
    }

    /// The same with these authorised keys.
    ///
    /// # Errors
    ///
    /// As [`agent_command`](Self::agent_command), or where a key cannot be read.
    pub fn agent_command_with(&self, keys: &[&KeyPair]) -> Result<AgentCommand> {
        let directory = self.path("auth");
        authorise(&directory, keys)?;
        Ok(AgentCommand::new(&self.agent)?
            .interface(nic::NAME)
            .link(self.link)
            .auth_directory(&directory))
    }

    /// The agent's command line for version 2: its own key is `identity`'s, and these
    /// are authorised beside that.
    ///
    /// # Errors
    ///
    /// As [`agent_command_with`](Self::agent_command_with).
    pub fn v2_agent_command(
        &self,
        identity: &KeyPair,
        operators: &[&KeyPair],
    ) -> Result<AgentCommand> {
        let keys: Vec<_> = [&[identity], operators].concat();
        let command = self.agent_command_with(&keys)?;
        identity.install(&self.path("auth"))?;
        Ok(command)
    }

    /// A testbed whose agent serves version 2 with the keys of both.
    ///
    /// # Errors
    ///
    /// As [`serving`](Self::serving).
    pub fn serving_v2(link: Link) -> Result<(Self, Agent)> {
        let bed = Self::new(link)?;
        let agent = bed.v2_agent_command(&bed.keys, &[])?.start()?;
        Ok((bed, agent))
    }

    /// Starts an agent that serves version 2, with these lines in its configuration and
    /// its jobs in this testbed's directory.
    ///
    /// # Errors
    ///
    /// As [`serving`](Self::serving).
    pub fn start_v2_agent(&self, lines: &str) -> Result<Agent> {
        let path = self.path("agent.toml");
        let jobs = self.path("jobs");
        let table = if lines.contains("[jobs]") { "" } else { "[jobs]\n" };
        let text = format!("{lines}\n{table}directory = '{}'\n", jobs.display());
        fs::write(&path, text)?;
        self.v2_agent_command(&self.keys, &[])?.config(&path).start()
    }

    /// Starts the agent.
    ///
    /// # Errors
    ///
    /// Where it does not become ready.
    pub fn start_agent(&self) -> Result<Agent> {
        self.agent_command()?.start()
    }

    /// The operator's command for this agent.
    pub fn operator(&self) -> Operator<'_> {
        let target = format!("{AGENT_MAC}%{}", nic::NAME);
        Operator::new(&self.operator, &target, &self.keys.private_path()).link(self.link)
    }

    /// A file of random bytes in the testbed's directory.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn random_file(&self, name: &str, len: u64) -> Result<PathBuf> {
        let path = self.path(name);
        data::write_random(&path, len, len)?;
        Ok(path)
    }

    /// An operator by hand, with a session that is open and not authenticated.
    ///
    /// # Errors
    ///
    /// Where the agent does not open one.
    pub fn hand_operator(&self, options: Options) -> Result<HandOperator> {
        let vlan = (options.dialect == Dialect::V1Deployed).then_some(DEPLOYED_VLAN);
        HandOperator::open(self.operator_end(), wire::peer(AGENT_MAC, vlan)?, options)
    }

    /// The operator's interface.
    pub fn operator_end(&self) -> End<'_> {
        End { namespace: &self.operator, name: nic::NAME, mac: OPERATOR_MAC }
    }

    /// The agent's interface.
    pub fn agent_end(&self) -> End<'_> {
        End { namespace: &self.agent, name: nic::NAME, mac: AGENT_MAC }
    }
}

/// Makes `directory` hold these public keys: the first as `public.pem`, the
/// others in `authorized_keys.d`.
fn authorise(directory: &Path, keys: &[&KeyPair]) -> Result<()> {
    let more = directory.join("authorized_keys.d");
    fs::create_dir_all(&more)?;
    for (number, key) in keys.iter().enumerate() {
        let to = match number {
            0 => directory.join("public.pem"),
            _ => more.join(format!("{number:03}.pem")),
        };
        fs::copy(key.public_path(), to)?;
    }
    Ok(())
}
