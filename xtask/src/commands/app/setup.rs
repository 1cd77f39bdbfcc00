//! `app setup`: tables, indices, queues, roles and vocabularies of the application.

use std::fmt::Write;
use std::time::Instant;

use ecosystem_core::catalog::invenio::location;
use serde::Serialize;

use super::{Servers, open};
use crate::app::{Application, State, Step};
use crate::cli::{self, Global};
use crate::client::postgresql::application::{By, SetUp, locate, mark_pack, set_up};
use crate::context::Context;
use crate::event::Events;
use crate::output::{self, Report};
use crate::seed;
use crate::stack::Stack;

/// What was set up.
#[derive(Debug, Serialize)]
struct Done {
    /// The pack that was loaded.
    pack: Option<String>,
    steps: Vec<Step>,
    /// Background tasks that were handed out.
    tasks: u64,
    took_ms: u64,
}

pub(super) fn run(
    context: &Context,
    global: &Global,
    args: &cli::SetUp,
    events: &dyn Events,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    let stack = Stack::open(context, global)?;
    let _lock = stack.lock(context, "app setup", &[], events)?;
    let opened = open(context, &stack, Servers::Needed, events)?;
    let application = Application::of(&opened.launch)?;
    let location = location(&opened.launch, &opened.servers.values().collect::<Vec<_>>());
    let database = opened.database()?;
    let state = set_up(database)?;
    state.refuse_others(&opened.service.name, args.pack.as_deref())?;
    if let Some(name) = &args.pack {
        let pack = stack.open_pack(&stack.pack(Some(name))?, events)?;
        let fresh = matches!(state, SetUp::Nothing | SetUp::Half(By::Pack));
        if fresh {
            mark_pack(database, false)?;
        }
        seed::seed(&pack, &Stack::by_kind(&opened.servers), events)?;
        locate(database, &location)?;
        if fresh {
            mark_pack(database, true)?;
        }
    }
    let mut long = Vec::new();
    if args.pack.is_none() && !args.no_fixtures {
        long.push("fixtures");
    }
    if args.demo {
        long.push("demo");
    }
    let steps = application.set_up(&location, &long, events)?;
    let report = Done {
        pack: args.pack.clone(),
        tasks: steps.iter().filter_map(|step| step.tasks).sum(),
        steps,
        took_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    output::report(&report, global.format)
}

impl Report for Done {
    fn human(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            let state = match step.state {
                State::Done => output::seconds(step.took_ms),
                State::Kept => "there already".to_owned(),
                State::Absent => "not part of this application".to_owned(),
            };
            let tasks = step.tasks.map_or(String::new(), |tasks| format!(", {tasks} background tasks"));
            let _ = writeln!(text, "  {:<18} {state}{tasks}", step.step);
        }
        let _ = writeln!(text, "The application is set up: {}", output::seconds(self.took_ms));
        if self.tasks > 0 {
            let _ = writeln!(
                text,
                "Its vocabularies are complete once a worker has done these tasks: up invenio --wait tasks"
            );
        }
        text
    }
}
