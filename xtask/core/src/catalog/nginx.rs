//! NGINX: the HTTPS front of an application. It is a process of the service that it serves, not a service of its own.
//!
//! Identity is its certificate: only this project's has this project's own name (`tls::own_name`).

use std::fmt::Write;

use camino::{Utf8Path, Utf8PathBuf};

use super::Inputs;
use crate::process::{Content, File, Process, Rules, Signal, Stop};
use crate::tls;

/// The name under which it is installed, and of the process within its service.
pub(super) const NAME: &str = "nginx";

/// What a front stands before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Front<'a> {
    /// The version of the application: that of its service, for people.
    pub(super) version: &'a str,
    /// The role of the port where it answers.
    pub(super) role: &'static str,
    /// The port of the application, on the address that clients use.
    pub(super) upstream: u16,
    /// A folder that is served below `/static/`; what is not in it is the application's.
    pub(super) statics: Option<Utf8PathBuf>,
    /// The largest request body, in NGINX's words.
    pub(super) upload: &'static str,
    /// How long the application, and whoever sends or receives, may be silent.
    pub(super) timeout_s: u32,
}

impl<'a> Front<'a> {
    /// Before the application of this version on this port, with the limits that Invenio's own configuration has.
    pub(super) fn before(version: &'a str, upstream: u16) -> Self {
        Self { version, role: "https", upstream, statics: None, upload: "50g", timeout_s: 120 }
    }
}

/// The process, to be started last, and what must be on disk before.
pub(super) fn front(inputs: Inputs<'_>, front: &Front<'_>) -> (Process, Vec<File>) {
    let Inputs { service, place, installed, run_as, around, .. } = inputs;
    let server = &installed[NAME];
    let home = place.service(&service.name).join(NAME);
    let conf = home.join("nginx.conf");
    let text = configuration(inputs, front, &server.version);

    let mut env = super::environment(&home);
    if let Some(libraries) = server.library_path() {
        env.insert("LD_LIBRARY_PATH".to_owned(), libraries);
    }
    let mut argv: Vec<String> =
        [server.path("server").as_str(), "-p", home.as_str()].map(ToOwned::to_owned).into();
    if is_at_least(&server.version, [1, 19, 5]) {
        // Else it complains that the log it was built with cannot be opened.
        argv.extend(["-e", "stderr"].map(ToOwned::to_owned));
    }
    argv.extend(["-c", "nginx.conf"].map(ToOwned::to_owned));
    let own = [("certificate", around.certificate.clone()), (NAME, server.version.clone())];
    let process = Process {
        service: service.name.clone(),
        name: NAME.to_owned(),
        argv,
        env,
        cwd: home.clone(),
        run_as,
        stop: Stop { signal: Signal::Term, grace_ms: 2_000 },
        log: place.log(&service.name, NAME),
        log_limit: super::LOG_LIMIT,
        labels: super::labels(inputs, front.version, &own),
        rules: Rules { test: ["-t", "-q"].map(ToOwned::to_owned).into(), ..Rules::default() },
    };
    let files = vec![
        File { path: conf, content: Content::Text(text) },
        File { path: home.join("tmp"), content: Content::Folder },
    ];
    (process, files)
}

/// The part of the configuration that is the same everywhere.
const COMMON: &str = include_str!("nginx/http.conf");

/// What is said of a request on its way to the application, and of the answer on its way back.
const PROXY: &str = include_str!("nginx/proxy.conf");

/// The whole configuration. Paths in it are relative to its folder, so that no path has to be quoted in NGINX's own way.
fn configuration(inputs: Inputs<'_>, front: &Front<'_>, version: &str) -> String {
    let Inputs { service, place, bind, .. } = inputs;
    let port = service.ports_at(place.offset)[front.role];
    let address = if bind.contains(':') { format!("[{bind}]:{port}") } else { format!("{bind}:{port}") };
    let (listen, http2) = if is_at_least(version, [1, 25, 1]) {
        (format!("listen {address} ssl;"), "\n    http2 on;")
    } else {
        (format!("listen {address} ssl http2;"), "")
    };
    let pair = tls::certificate(place);
    let beside = |path: &Utf8Path| format!("../../{}", path.strip_prefix(&place.state).unwrap_or(path));
    let (certificate, key) = (beside(&pair.certificate), beside(&pair.key));
    let mut text =
        COMMON.replace("{upload}", front.upload).replace("{timeout}", &front.timeout_s.to_string());
    let _ = write!(
        text,
        "
  server {{
    {listen}{http2}
    server_name localhost;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
    ssl_session_timeout 1d;
    ssl_session_cache shared:TLS:2m;
    ssl_session_tickets off;

    # Plain HTTP on this port is sent to HTTPS on it.
    error_page 497 =301 https://$host:$server_port$request_uri;

{PROXY}"
    );
    let upstream = format!(
        "proxy_pass http://{}:{};\n      error_page 502 $front_down;",
        super::local(bind),
        front.upstream
    );
    if let Some(folder) = front.statics.as_deref().and_then(quoted) {
        let _ = write!(
            text,
            "
    location ^~ /static/ {{
      alias {folder};
      autoindex off;
      log_not_found off;
      # The application may be down, which is told then.
      recursive_error_pages on;
      error_page 403 404 = @application;
      add_header X-Request-ID $request_id always;
      add_header X-Content-Type-Options nosniff;
    }}

    location @application {{
      {upstream}
    }}
"
        );
    }
    let _ = write!(text, "\n    location / {{\n      {upstream}\n    }}\n");
    let name = &service.name;
    let what = format!("{name} is starting, or it is not up");
    let _ = write!(
        text,
        "
    location @down_json {{
      default_type application/json;
      add_header X-Request-ID $request_id always;
      add_header Retry-After 2 always;
      add_header Cache-Control no-store always;
      return 502 '{{\"status\":502,\"message\":\"{what}; its log: ecosystem logs {name}\"}}\\n';
    }}

    location @down_html {{
      default_type text/html;
      add_header X-Request-ID $request_id always;
      add_header Retry-After 2 always;
      add_header Cache-Control no-store always;
      return 502 '<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"2\"><title>{name}</title><body style=\"font-family:sans-serif;margin:3em\"><h1>{what}</h1><p>This page looks again every two seconds. What {name} says: <code>ecosystem logs {name}</code>, or <code>cargo xtask logs {name}</code>.</p></body></html>\\n';
    }}
  }}
}}
"
    );
    text
}

/// A folder as NGINX reads it. `None` where it cannot be written there: a `$` begins a variable, and nothing takes that meaning away.
fn quoted(folder: &Utf8Path) -> Option<String> {
    let text = folder.as_str().trim_end_matches('/');
    let unwritable = text.contains('$') || text.chars().any(char::is_control);
    (!unwritable).then(|| format!("\"{}/\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Whether a version such as `1.22.1-9+deb12u11` is this one or a later one.
fn is_at_least(version: &str, wanted: [u32; 3]) -> bool {
    let digits = |part: &str| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse::<u32>().unwrap_or(0)
    };
    let mut parts = version.split('.').map(digits);
    let mut next = || parts.next().unwrap_or(0);
    [next(), next(), next()] >= wanted
}

#[cfg(test)]
mod tests;
