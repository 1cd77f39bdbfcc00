//! What a database holds of an Invenio application: everything, a part, nothing, or what is somebody else's.

use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::failure::{Failure, Kind};

use super::bulk::rejected;
use super::open;

/// How far an application is set up in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetUp {
    /// By us or a pack, which is told, or by the application's own commands.
    Whole(Option<By>),
    /// What this was done by was cut short.
    Half(By),
    Nothing,
    /// There are tables, and they are not an application's.
    Others(Vec<String>),
}

/// What sets an application up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The application's own commands.
    Commands,
    Pack,
}

impl By {
    /// Its name among the steps.
    const fn step(self) -> &'static str {
        match self {
            Self::Commands => "set up",
            Self::Pack => "pack",
        }
    }
}

/// The table in which every Invenio application keeps which version of its tables it has.
const VERSION: &str = "alembic_version";

/// Looks into the database of an endpoint.
pub fn set_up(endpoint: &Endpoint) -> anyhow::Result<SetUp> {
    let mut database = open(endpoint)?;
    let sql = "SELECT to_regclass('ecosystem.step') IS NOT NULL";
    let marked: bool =
        database.query_one(sql, &[]).map_err(|error| rejected("look for steps", &error))?.get(0);
    let sql = "SELECT name, done FROM ecosystem.step";
    let rows = if marked { database.query(sql, &[]) } else { Ok(Vec::new()) };
    let rows = rows.map_err(|error| rejected("read the steps", &error))?;
    let done =
        |by: By| rows.iter().find(|row| row.get::<_, &str>(0) == by.step()).map(|row| row.get::<_, bool>(1));
    let steps = [By::Commands, By::Pack].map(|by| (by, done(by)));
    if let Some((by, _)) = steps.iter().rev().find(|(_, done)| *done == Some(true)) {
        return Ok(SetUp::Whole(Some(*by)));
    }
    if let Some((by, _)) = steps.iter().find(|(_, done)| *done == Some(false)) {
        return Ok(SetUp::Half(*by));
    }
    let sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
    let rows = database.query(sql, &[]).map_err(|error| rejected("list tables", &error))?;
    let tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok(if tables.iter().any(|table| table == VERSION) {
        SetUp::Whole(None)
    } else if tables.is_empty() {
        SetUp::Nothing
    } else {
        SetUp::Others(tables)
    })
}

/// Remembers that a pack is being laid in, or that it is whole.
pub fn mark_pack(endpoint: &Endpoint, done: bool) -> anyhow::Result<()> {
    let sql = format!(
        "CREATE SCHEMA IF NOT EXISTS ecosystem; \
         CREATE TABLE IF NOT EXISTS ecosystem.step (name text PRIMARY KEY, done boolean NOT NULL); \
         INSERT INTO ecosystem.step VALUES ('{}', {done}) ON CONFLICT (name) DO UPDATE SET done = excluded.done",
        By::Pack.step()
    );
    open(endpoint)?.batch_execute(&sql).map_err(|error| rejected("write the steps", &error).into())
}

/// Says where files are kept from now on, where none is kept yet. Returns where they are kept.
pub fn locate(endpoint: &Endpoint, uri: &str) -> anyhow::Result<String> {
    let mut database = open(endpoint)?;
    let failed = |error| anyhow::Error::from(rejected("write the location of files", &error));
    let there =
        database.query_one("SELECT to_regclass('public.files_location') IS NOT NULL", &[]).map_err(failed)?;
    if !there.get::<_, bool>(0) {
        return Ok(uri.to_owned());
    }
    let sql = "UPDATE files_location SET uri = $1 WHERE \"default\" AND uri <> $1 AND NOT EXISTS (SELECT 1 FROM files_files)";
    database.execute(sql, &[&uri]).map_err(failed)?;
    let sql = "SELECT uri FROM files_location WHERE \"default\"";
    let row = database.query_opt(sql, &[]).map_err(failed)?;
    Ok(row.map_or_else(|| uri.to_owned(), |row| row.get(0)))
}

impl SetUp {
    /// Refuses what is somebody else's: nothing is set up beside it.
    pub fn refuse_others(&self, service: &str, pack: Option<&str>) -> Result<(), Failure> {
        let Self::Others(tables) = self else { return Ok(()) };
        let named = tables.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let message = format!(
            "{service} cannot be set up: the database holds {} tables that are not an application's, such as {named}",
            tables.len()
        );
        let failure = Failure::new(Kind::Data, "application-foreign", message);
        Err(match pack {
            Some(pack) => failure
                .hint(format!("put the pack in the place of all that is there: {{program}} reset {pack}")),
            None => failure,
        }
        .hint("delete all data of this project and begin anew: {program} down --data"))
    }

    /// Refuses a database in which nothing, or not all, of an application is.
    pub fn require_whole(&self, service: &str) -> Result<(), Failure> {
        if matches!(self, Self::Whole(_)) {
            return Ok(());
        }
        let message = format!("{service} is not set up, or not to the end: its database has no users yet");
        Err(Failure::new(Kind::Finding, "application-empty", message)
            .hint("{program} up invenio, which sets it up, or {program} app setup"))
    }
}
