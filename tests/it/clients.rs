//! Ordinary clients, given nothing but what `env` prints.

use std::collections::BTreeMap;

use base64::Engine;
use postgres::{Client, NoTls};
use serde_json::Value;
use ureq::http::Request;

pub(crate) type Env = BTreeMap<String, String>;

/// Logs in to PostgreSQL.
#[track_caller]
pub(crate) fn sql(env: &Env) -> Client {
    try_sql(env).unwrap()
}

/// Logs in to PostgreSQL, or is refused.
pub(crate) fn try_sql(env: &Env) -> Result<Client, postgres::Error> {
    postgres::Config::new()
        .host(&env["PGHOST"])
        .port(env["PGPORT"].parse().unwrap())
        .user(&env["PGUSER"])
        .password(&env["PGPASSWORD"])
        .dbname(&env["PGDATABASE"])
        .connect(NoTls)
}

/// One number from PostgreSQL.
#[track_caller]
pub(crate) fn number(env: &Env, query: &str) -> i64 {
    sql(env).query_one(query, &[]).unwrap().get(0)
}

/// A status and a JSON body; `Null` where the body is none.
pub(crate) type Answer = (u16, Value);

/// Calls an HTTP API at a base address, which may hold a login.
#[track_caller]
pub(crate) fn http(method: &str, base: &str, path: &str, body: Option<&Value>) -> Answer {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().new_agent();
    let (login, host) = match base.strip_prefix("http://").unwrap().split_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, base.strip_prefix("http://").unwrap()),
    };
    let mut request = Request::builder().method(method).uri(format!("http://{host}{path}"));
    if let Some(login) = login {
        let login = base64::engine::general_purpose::STANDARD.encode(login);
        request = request.header("Authorization", format!("Basic {login}"));
    }
    let answer = match body {
        None => agent.run(request.body(()).unwrap()),
        Some(json) => {
            agent.run(request.header("Content-Type", "application/json").body(json.to_string()).unwrap())
        }
    };
    let mut answer = answer.unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// Asks OpenSearch, which must agree.
#[track_caller]
pub(crate) fn search(env: &Env, method: &str, path: &str, body: Option<&Value>) -> Value {
    let (status, answer) = http(method, &env["OPENSEARCH_URL"], path, body);
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer
}

/// Asks the management API of RabbitMQ.
#[track_caller]
pub(crate) fn manage(env: &Env, method: &str, path: &str) -> Answer {
    http(method, &env["RABBITMQ_MANAGEMENT_URL"], path, None)
}
