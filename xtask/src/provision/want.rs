//! What services need from the store, before anything is looked up or fetched.

use ecosystem_core::catalog::Kind;
use ecosystem_core::failure::{Failure, Kind as Class};
use ecosystem_core::model::{From, Service};
use ecosystem_core::release::assembly::Assembly;

use super::debian::{self, Recipe};
use super::distribution::Distribution;
use super::host::Host;
use super::java::{self, HostJava};
use super::maven::Gav;
use super::on_path::{self, OnPath};
use super::site::Site;
use super::venv::Application;
use super::{go, opensearch, postgresql};

/// One thing that a service needs.
#[derive(Debug)]
pub(super) enum Want {
    Packages(&'static Recipe),
    OnPath(OnPath),
    HostJava(HostJava),
    PostgresqlBuild(Gav),
    Opensearch(Box<Home>),
    Application(Application),
    Archive(Distribution),
    Site(Box<Site>),
    Go(go::Program),
}

/// An OpenSearch home and what goes into it.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) assembly: Assembly,
    pub(super) modules: Vec<String>,
    pub(super) plugins: Vec<String>,
}

impl Want {
    /// The name under which the catalog looks for it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Packages(recipe) => recipe.name,
            Self::OnPath(programs) => programs.name(),
            Self::HostJava(_) => "java",
            Self::PostgresqlBuild(_) => "postgresql",
            Self::Opensearch(_) => "opensearch",
            Self::Application(application) => application.name(),
            Self::Archive(distribution) => distribution.name(),
            Self::Site(_) => "invenio",
            Self::Go(program) => program.name(),
        }
    }
}

/// What a service needs. What is made from it (templates, archives) follows by itself.
pub(super) fn wants(service: &Service, host: &Host) -> anyhow::Result<Vec<Want>> {
    let path = service.from.value == From::Path;
    if let Some(archive) = &service.archive {
        let archive = Want::Archive(Distribution::of(service.kind, archive));
        let java = (service.kind == Kind::Opensearch).then(|| java(host));
        return Ok(std::iter::once(archive).chain(java).collect());
    }
    Ok(match service.kind {
        Kind::Redis if path => vec![Want::OnPath(on_path::redis(host)?)],
        Kind::Redis => vec![Want::Packages(&debian::REDIS)],
        Kind::Postgresql if path => {
            vec![Want::OnPath(on_path::postgresql(host)?), postgresql_client(host, true)?]
        }
        Kind::Postgresql => {
            vec![
                Want::PostgresqlBuild(postgresql::artifact(source(service)?)?),
                postgresql_client(host, false)?,
            ]
        }
        Kind::Rabbitmq if path => vec![Want::OnPath(on_path::rabbitmq(host)?)],
        Kind::Rabbitmq => vec![Want::Packages(&debian::RABBITMQ)],
        Kind::Opensearch if path => vec![Want::OnPath(on_path::opensearch(host)?), java(host)],
        Kind::Opensearch => {
            let assembly = Assembly::of(opensearch::version(source(service)?))?;
            let (modules, plugins) = (service.modules.value.clone(), service.plugins.value.clone());
            assembly.select(&modules, &plugins)?;
            vec![Want::Opensearch(Box::new(Home { assembly, modules, plugins })), java(host)]
        }
        Kind::Invenio if service.site.is_some() => {
            let folder = service.site.as_ref().map_or_else(Default::default, |site| site.value.clone());
            let python = service.python.as_deref().unwrap_or_default();
            vec![Want::Site(Box::new(Site::of(&folder, python, host)?)), nginx(host, path)?]
        }
        Kind::Invenio => {
            vec![Want::Application(Application::of("invenio", source(service)?, host)?), nginx(host, path)?]
        }
        Kind::Pgadmin => {
            vec![Want::Application(Application::of("pgadmin", source(service)?, host)?), nginx(host, path)?]
        }
        Kind::Dashboards if path => vec![Want::OnPath(on_path::dashboards(host)?)],
        // Its programs are the person's.
        Kind::Process => vec![],
        Kind::Minio if service.program.is_some() => vec![],
        Kind::Minio if path => vec![Want::OnPath(on_path::minio(host)?)],
        Kind::Minio => vec![Want::Go(go::minio(source(service)?)?)],
        kind @ Kind::Dashboards => {
            let message = format!("services.{}: this version runs {kind} as a container only", service.name);
            return Err(Failure::new(Class::Manifest, "service-unsupported", message).into());
        }
    })
}

/// Whether the native backend can have this server on this machine.
pub fn possible(service: &Service, host: &Host) -> anyhow::Result<()> {
    wants(service, host)?.iter().try_for_each(|want| match want {
        Want::Packages(recipe) => debian::require(host, recipe).map_err(Into::into),
        Want::Go(program) => program.require(host).map(drop).map_err(Into::into),
        _ => Ok(()),
    })
}

/// What the release fetches for a server.
fn source(service: &Service) -> Result<&str, Failure> {
    if let Some(purl) = &service.get {
        return Ok(&purl.value);
    }
    let image = service.image.as_ref();
    let release = image.map(|image| format!(" of {}", image.origin)).unwrap_or_default();
    let image = image.map_or_else(String::new, |image| format!(" ({})", image.value));
    let message = format!(
        "services.{}: the {}{release} runs from its container image only{image}",
        service.name, service.kind
    );
    Err(Failure::new(Class::Host, "image-only", message)
        .hint("run it as a container, with Docker: {program} up --backend compose")
        .hint("start the others by name: {program} up postgresql redis rabbitmq"))
}

/// The Java of the machine where it has a suitable one.
fn java(host: &Host) -> Want {
    java::on_host(host).map_or(Want::Packages(&debian::JAVA), Want::HostJava)
}

/// The HTTPS front of an application: from PATH where that was asked for, or where there is no apt to fetch it with.
fn nginx(host: &Host, path: bool) -> Result<Want, Failure> {
    if path || host.find("apt-get").is_none() {
        return Ok(Want::OnPath(on_path::nginx(host)?));
    }
    Ok(Want::Packages(&debian::NGINX))
}

/// psql and its kin: from PATH where that was asked for, or where there is no apt to fetch them with.
fn postgresql_client(host: &Host, path: bool) -> Result<Want, Failure> {
    if path || (host.find("apt-get").is_none() && host.find("psql").is_some()) {
        return Ok(Want::OnPath(on_path::postgresql_client(host)?));
    }
    Ok(Want::Packages(&debian::POSTGRESQL_CLIENT))
}
