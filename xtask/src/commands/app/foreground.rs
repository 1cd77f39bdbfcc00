//! `app run`: the web server in the foreground, in place of the supervised one.

use anyhow::Context as _;
use ecosystem_core::failure::{Failure, Kind};

use super::{Servers, open};
use crate::backend::native;
use crate::cli::{Global, Run};
use crate::context::Context;
use crate::event::{Event, Events};
use crate::stack::Stack;
use crate::sys::attach;

pub(super) fn run(context: &Context, global: &Global, args: &Run, events: &dyn Events) -> anyhow::Result<()> {
    let stack = Stack::open(context, global)?;
    let opened = {
        let _lock = stack.lock(context, "app run", &[], events)?;
        open(context, &stack, Servers::Needed, events)?
    };
    let name = &opened.service.name;
    if !native::running(&opened.place)?.contains(name) {
        let text = format!("{name} does not run, so nothing leads from https to the web server");
        return Err(Failure::new(Kind::Finding, "nothing-runs", text)
            .hint(format!("{{program}} up {name}"))
            .into());
    }
    if !stack.bind().starts_with("127.") {
        let text = format!(
            "bind = \"{}\" would open the debugger, which runs whatever it is told, to the network",
            stack.bind()
        );
        return Err(Failure::new(Kind::Usage, "debugger-open", text)
            .hint("write bind = \"127.0.0.1\" into ecosystem.local.toml")
            .into());
    }
    let web = opened.launch.processes.first().context("the application has no processes")?;
    let supervised = native::stop_process(&opened.place, &web.id())?;
    let address = opened.launch.endpoint.address("https");
    let text = format!("https://{address}, with debugger and reloader; Ctrl-C ends it");
    events.emit(Event::Fact { title: "Serving", text });
    let (program, words) = web.argv.split_first().context("the web server has no command")?;
    let words: Vec<String> = words
        .iter()
        .cloned()
        .chain(["--debugger".to_owned(), "--reload".to_owned()])
        .chain(args.words.iter().cloned())
        .collect();
    let env: Vec<(&str, String)> = web
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .chain([("FLASK_DEBUG", "1".to_owned())])
        .collect();
    let ended = attach::run(program.as_str().into(), &words, &[], &env);
    if supervised {
        native::start_process(&opened.place, web)?;
        events.emit(Event::Fact {
            title: "Supervised",
            text: "the web server runs in the background again".to_owned(),
        });
    }
    ended.map(drop)
}
