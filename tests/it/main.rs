//! Integration tests: the real program against the real servers, each test in a place of its own.
//!
//! They run in parallel and beside a running stack: own ports, own state folder, the user's own store.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod amqp;
mod application;
mod archives;
mod capture;
mod check;
mod checkpoint;
mod clients;
mod comfort;
mod command_line;
mod compose_file;
mod containers;
mod dashboards;
mod external;
mod faults;
mod faults_environment;
mod faults_limits;
mod faults_manifest;
mod faults_memory;
mod faults_place;
mod faults_state;
mod front;
mod fuzz;
mod generated;
mod init;
mod json;
mod list;
mod logs;
mod minio;
mod newcomer;
mod nix;
mod objects;
mod on_path;
mod opensearch;
mod packs;
mod pages;
mod pgadmin;
mod postgresql;
mod process;
mod provision;
mod rabbitmq;
mod redis;
mod releases;
mod report;
mod reserved;
mod reset;
mod security;
mod snapshot;
mod stranger;
mod supervision;
mod support;
mod tenants;
mod tidy;
mod tools;
mod whole;
