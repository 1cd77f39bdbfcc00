//! `shell`: a shell, or one command, with the tools of the release first on PATH and the settings of `env`.

use std::collections::BTreeMap;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::process::RunAs;
use ecosystem_core::render::env::{Syntax, render, variables};

use crate::cli::{Global, Shell};
use crate::context::Context;
use crate::event::{Event, Events};
use crate::output;
use crate::provision::{Mode, Tool, ToolSource};
use crate::stack::Stack;
use crate::sys::attach::become_program;
use crate::sys::fs::write_atomic;

/// Set in such a shell, with the release, for prompts and for scripts that want to know.
const MARK: &str = "ECOSYSTEM_SHELL";

/// Becomes the command or the shell. Returns only if that failed, or with a text to evaluate.
pub fn run(context: &Context, global: &Global, args: &Shell, events: &dyn Events) -> anyhow::Result<()> {
    if args.envrc {
        return output::text(&envrc(&context.program));
    }
    let stack = Stack::open(context, global)?;
    let tools = tools(context, &stack, events)?;
    let path = path(&tools, &context.own_path());
    if let Some(tool) =
        tools.iter().find(|tool| tool.bin.as_ref().is_some_and(|bin| bin.as_str().contains(':')))
    {
        let text = format!(
            "the store {} has a colon in its path, and PATH is divided by colons: {} could not be found",
            stack.store, tool.title
        );
        return Err(Failure::new(Kind::Host, "store-unwritable", text)
            .hint("ECOSYSTEM_STORE=/another/folder")
            .into());
    }
    let mut settings = settings(&stack)?;
    settings.insert("PATH".to_owned(), path.clone());
    settings.insert(MARK.to_owned(), stack.site.ecosystem.release.value.clone());
    if args.export {
        return output::text(&render(&settings, Syntax::Shell));
    }
    let mut env: Vec<(&str, String)> =
        settings.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    if let Some((program, rest)) = args.command.split_first() {
        let program = find(program, &path, &context.cwd)?;
        return Err(become_program(&program, rest, &[], &env));
    }
    for tool in tools.iter().filter(|tool| tool.source == ToolSource::Missing) {
        let text =
            format!("{} is not here; `{} provision --tools` says how to get it", tool.title, context.program);
        events.emit(Event::Warning(text));
    }
    let shell = context.shell.clone();
    let mut words = Vec::new();
    if shell.file_name() == Some("bash") {
        // The person's own start-up file may put version managers in front again.
        let start = stack.state.folder().join("shell.bash");
        if start.parent().is_some_and(Utf8Path::is_dir) {
            let text = format!("[ -r ~/.bashrc ] && . ~/.bashrc\n{}", render(&settings, Syntax::Shell));
            write_atomic(&start, text.as_bytes(), 0o600)?;
            words = vec!["--rcfile".to_owned(), start.to_string()];
        }
    }
    env.push(("SHELL", shell.to_string()));
    Err(become_program(&shell, &words, &[], &env))
}

/// The tools of the release; fetched where they are not there yet.
fn tools(context: &Context, stack: &Stack, events: &dyn Events) -> anyhow::Result<Vec<Tool>> {
    let mut provisioner = stack.provisioner(context, RunAs::Me, Mode::Normal, events)?;
    let wanted = &stack.site.ecosystem.tools;
    let found = provisioner.look_for_tools(wanted)?;
    if found.iter().any(|tool| tool.source == ToolSource::Absent) {
        return provisioner.provide_tools(wanted);
    }
    Ok(found)
}

/// PATH with the folders of the tools in front, each once.
fn path(tools: &[Tool], present: &str) -> String {
    let mut folders: Vec<&str> =
        tools.iter().filter_map(|tool| tool.bin.as_deref().map(Utf8Path::as_str)).collect();
    let rest = present.split(':').filter(|folder| !folder.is_empty() && !folders.contains(folder));
    let rest: Vec<&str> = rest.collect();
    folders.extend(rest);
    folders.join(":")
}

/// What `env` prints, once `up` has set the place up; nothing before.
fn settings(stack: &Stack) -> anyhow::Result<BTreeMap<String, String>> {
    let Some(place) = stack.place() else { return Ok(BTreeMap::new()) };
    stack.refuse_copy()?;
    let secrets = stack.state.secrets()?;
    let mut services = stack.site.ecosystem.select(None, &[])?;
    services.retain(|service| !service.has_secret() || secrets.has(&service.name));
    Ok(variables(&stack.endpoints(&services, &place, &secrets)))
}

/// The program that a word means on this PATH.
fn find(program: &str, path: &str, cwd: &Utf8Path) -> anyhow::Result<Utf8PathBuf> {
    let found = which::which_in(program, Some(path), cwd);
    let found = found.map_err(|_| {
        let text = format!("there is no program {program} on PATH");
        Failure::new(Kind::Host, "program-missing", text)
            .hint("`{program} check` tells what is missing of the release's tools")
    })?;
    Utf8PathBuf::from_path_buf(found).ok().context("the path of the program is not UTF-8")
}

/// An `.envrc` for direnv.
fn envrc(program: &str) -> String {
    format!(
        "# Tools of the release first on PATH, and the settings of this repository's services. Written by `{program} shell --envrc`.\n\
         watch_file ecosystem.toml ecosystem.local.toml ecosystem.lock pyproject.toml Pipfile .ecosystem/place.toml\n\
         eval \"$({program} shell --export)\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_stand_in_front_once() {
        let tool = |bin: Option<&str>| Tool {
            name: String::new(),
            title: String::new(),
            source: ToolSource::Store,
            version: None,
            path: None,
            bin: bin.map(Utf8PathBuf::from),
        };
        let tools = [tool(Some("/s/node/bin")), tool(None), tool(Some("/s/python/bin"))];
        assert_eq!(path(&tools, "/usr/bin:/s/node/bin:/bin"), "/s/node/bin:/s/python/bin:/usr/bin:/bin");
        assert_eq!(path(&[], "/usr/bin::/bin"), "/usr/bin:/bin");
    }
}
