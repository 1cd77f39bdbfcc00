//! The words about tenants.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Subcommand)]
pub enum Tenant {
    /// Make a tenant on the servers that run
    ///
    /// What is there of it already stays as it is, and what an earlier call was interrupted in is finished.
    Create(Create),
    /// List tenants
    List,
    /// Delete a tenant with all of its data; asks first
    Delete(Forget),
}

#[derive(Debug, Clone, Args)]
pub struct Create {
    /// The name of the tenant: small letters, digits and hyphens, at most 40
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Debug, Clone, Args)]
pub struct Forget {
    /// The name of the tenant
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Test {
    /// Services that the command gets a part of [default: all that run]; settings that lead to others are taken from its environment
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Keep the tenant, to look at what the command has left in it
    #[arg(long)]
    pub keep: bool,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<String>,
}
