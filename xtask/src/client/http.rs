//! HTTP to a server of ours: no proxy, no redirects, JSON in and out, everything bounded in time and size.

use std::io;
use std::time::Duration;

use base64::Engine;
use ecosystem_core::endpoint::Endpoint;
use serde_json::Value;
use ureq::config::ConfigBuilder;
use ureq::http::Request;
use ureq::typestate::AgentScope;

use super::CONNECT;

/// Answers larger than this come from something else. Parsed they take many times as much.
pub(super) const MAX_BODY: u64 = 8 * 1024 * 1024;

/// A client for one port of one server.
pub(super) struct Http {
    agent: ureq::Agent,
    base: String,
    authorization: Option<String>,
    header: Option<(&'static str, &'static str)>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The whole body, as it came.
    pub body: Vec<u8>,
}

impl Reply {
    pub(super) fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON. `InvalidData`: it is something else.
    pub fn json(&self) -> io::Result<Value> {
        serde_json::from_slice(&self.body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// What a person needs to see of a refusal: the server's own reason, else the beginning of the body.
    pub fn reason(&self) -> String {
        let body: Option<Value> = serde_json::from_slice(&self.body).ok();
        let reason = body.as_ref().and_then(|body| {
            let error = body.get("error");
            let nested = error.and_then(|error| error.get("reason"));
            [nested, body.get("reason"), error].into_iter().flatten().find_map(Value::as_str)
        });
        let text = match reason {
            Some(reason) => reason.to_owned(),
            None => String::from_utf8_lossy(&self.body).chars().take(200).collect(),
        };
        format!("{} {text}", self.status).trim_end().to_owned()
    }
}

impl Http {
    /// A client for the port of a role; each call may take this long.
    pub(super) fn new(endpoint: &Endpoint, role: &str, limit: Duration) -> Self {
        let agent = agent(limit);
        let authorization = endpoint.secret.as_ref().map(|secret| {
            let login = format!("{}:{}", endpoint.user.as_deref().unwrap_or(""), secret.reveal());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login))
        });
        Self { agent, base: format!("http://{}", endpoint.address(role)), authorization, header: None }
    }

    /// The same with a header of the server's own on every call.
    pub(super) fn with_header(self, header: (&'static str, &'static str)) -> Self {
        Self { header: Some(header), ..self }
    }

    pub(super) fn get(&self, path: &str) -> io::Result<Reply> {
        self.call("GET", path, None)
    }

    pub(super) fn delete(&self, path: &str) -> io::Result<Reply> {
        self.call("DELETE", path, None)
    }

    /// Sends JSON.
    pub(super) fn send(&self, method: &str, path: &str, body: &Value) -> io::Result<Reply> {
        self.call(method, path, Some(("application/json", body.to_string().as_bytes())))
    }

    /// Sends anything, or nothing.
    pub(super) fn call(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> io::Result<Reply> {
        self.call_within(method, path, body, MAX_BODY)
    }

    /// The same for an answer that may be as long as this.
    pub(super) fn call_within(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, &[u8])>,
        limit: u64,
    ) -> io::Result<Reply> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        if let Some((name, value)) = self.header {
            request = request.header(name, value);
        }
        let invalid = |error: ureq::http::Error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let answer = match body {
            None => self.agent.run(request.body(()).map_err(invalid)?),
            Some((kind, bytes)) => {
                self.agent.run(request.header("Content-Type", kind).body(bytes).map_err(invalid)?)
            }
        };
        let mut answer = answer.map_err(error)?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(limit).read_to_vec().map_err(error)?;
        Ok(Reply { status, body })
    }
}

/// What connects, each call within this time.
pub(super) fn agent(limit: Duration) -> ureq::Agent {
    config(limit).build().new_agent()
}

/// The same for whoever sets more.
pub(super) fn config(limit: Duration) -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        // The user's proxy cannot reach our loopback.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(limit))
}

/// The client library's errors in the words of `std`: `InvalidData` where HTTP is not what is spoken.
pub(super) fn error(error: ureq::Error) -> io::Error {
    match error {
        ureq::Error::Io(error) => error,
        ureq::Error::Timeout(_) => io::ErrorKind::TimedOut.into(),
        ureq::Error::ConnectionFailed => io::ErrorKind::ConnectionRefused.into(),
        ureq::Error::HostNotFound => io::Error::new(io::ErrorKind::NotFound, error),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_reason_is_shown() {
        let reply = |body: &str| Reply { status: 400, body: body.into() }.reason();
        assert_eq!(reply(r#"{"error":{"type":"t","reason":"no such index"}}"#), "400 no such index");
        assert_eq!(reply(r#"{"error":"not_authorized","reason":"Login failed"}"#), "400 Login failed");
        assert_eq!(reply("<html>"), "400 <html>");
        assert_eq!(reply(""), "400");
    }
}
