//! Landlock: which files and ports a process reaches from now on.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};
use thiserror::Error;

/// The newest version whose rights this module knows. What a kernel lacks of it is left out.
const KNOWN: ABI = ABI::V7;

/// What may be done with a path, and with what is below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read files and list folders.
    Read,
    /// Read, write, cut off and control a file that exists.
    Write,
    /// Make files in a folder, and write them.
    Create,
    /// Make sockets in a folder, and remove names from it.
    Sockets,
}

impl Access {
    fn rights(self) -> BitFlags<AccessFs> {
        match self {
            Self::Read => AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::IoctlDev,
            Self::Write => {
                AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev
            }
            Self::Create => AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::Truncate,
            Self::Sockets => AccessFs::MakeSock | AccessFs::RemoveFile,
        }
    }
}

/// What a process may reach. Everything else is refused, also to execute anything at all.
#[derive(Debug, Default)]
pub struct Rules {
    /// Paths; those that are missing are left out.
    pub paths: Vec<(PathBuf, Access)>,
    /// TCP ports to listen at; 0: any that the system picks.
    pub bind: Vec<u16>,
    /// TCP ports to connect to; None: all.
    pub connect: Option<Vec<u16>>,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Confined {
    /// Version of Landlock in use; 0: none.
    pub abi: i32,
    /// Whether the kernel knows every right that was asked about.
    pub is_full: bool,
}

/// Landlock is there, and refuses.
#[derive(Debug, Error)]
#[error("Landlock refuses the rules")]
pub struct ConfineError(#[from] RulesetError);

/// Confine the calling thread, and the threads that it starts later, for good.
///
/// # Errors
/// When Landlock is there and refuses; a kernel without it is none.
pub fn confine(rules: &Rules) -> Result<Confined, ConfineError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(KNOWN))?;
    if rules.connect.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut created = ruleset.create()?;
    for (path, access) in &rules.paths {
        let Ok(file) = PathFd::new(path) else {
            continue; // What is not there can't be read either.
        };
        let mut rights = access.rights();
        if !path.is_dir() {
            rights &= AccessFs::from_file(KNOWN);
        }
        created = created.add_rule(PathBeneath::new(file, rights))?;
    }
    created = add_ports(created, &rules.bind, AccessNet::BindTcp)?;
    if let Some(ports) = &rules.connect {
        created = add_ports(created, ports, AccessNet::ConnectTcp)?;
    }
    let status = created.restrict_self()?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. }
            if status.ruleset != RulesetStatus::NotEnforced =>
        {
            effective_abi as i32
        }
        _ => 0,
    };
    Ok(Confined {
        abi,
        is_full: status.ruleset == RulesetStatus::FullyEnforced,
    })
}

fn add_ports(
    mut created: RulesetCreated,
    ports: &[u16],
    access: AccessNet,
) -> Result<RulesetCreated, RulesetError> {
    for port in ports {
        created = created.add_rule(NetPort::new(*port, access))?;
    }
    Ok(created)
}
