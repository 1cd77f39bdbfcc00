//! What a front is started with.

use super::super::Around;
use super::*;
use crate::artifact::{Facts, Installation, Installed, Key};
use crate::endpoint::Secret;
use crate::model::{Flags, Layer, resolve};
use crate::place::Place;
use crate::process::RunAs;

fn made(version: &str, front: &Front<'_>, bind: &str) -> (Process, Vec<File>) {
    let ecosystem = resolve(&[Layer { name: "m", text: "" }], &Flags::default()).unwrap();
    let place = Place {
        id: "x".into(),
        root: "/p".into(),
        state: "/p/a b/.e".into(),
        store: "/s".into(),
        offset: 100,
    };
    let nginx = Installed {
        name: NAME.to_owned(),
        version: version.to_owned(),
        key: Key::of(["n"]),
        root: "/s/nginx".into(),
        facts: Facts {
            paths: [("server".to_owned(), "/s/nginx/usr/sbin/nginx".into())].into(),
            libraries: vec!["/s/nginx/usr/lib".into()],
            ..Facts::default()
        },
    };
    let inputs = Inputs {
        service: &ecosystem.services["invenio"],
        place: &place,
        bind,
        installed: &Installation::from([(NAME.to_owned(), nginx)]),
        run_as: RunAs::Mapped(1000),
        secret: &Secret::new(""),
        around: &Around { certificate: "0123456789abcdef".into(), ..Around::default() },
    };
    super::front(inputs, front)
}

fn text(version: &str, front: &Front<'_>, bind: &str) -> String {
    made(version, front, bind).1[0].content.text().to_owned()
}

#[test]
fn a_front_is_one_process_that_is_tested_before_it_is_started() {
    let (process, files) = made("1.22.1-9+deb12u11", &Front::before("12.1.0", 5101), "127.0.0.1");
    assert_eq!(process.id(), "invenio/nginx");
    assert_eq!(
        process.argv,
        ["/s/nginx/usr/sbin/nginx", "-p", "/p/a b/.e/invenio/nginx", "-e", "stderr", "-c", "nginx.conf"]
    );
    assert_eq!(process.rules.test, ["-t", "-q"]);
    assert_eq!(process.env["LD_LIBRARY_PATH"], "/s/nginx/usr/lib");
    assert_eq!(process.labels["certificate"], "0123456789abcdef");
    assert_eq!((&*process.labels["version"], &*process.labels["nginx"]), ("12.1.0", "1.22.1-9+deb12u11"));
    assert_eq!(files[0].path, "/p/a b/.e/invenio/nginx/nginx.conf");
    assert_eq!(files[1].path, "/p/a b/.e/invenio/nginx/tmp");
    assert!(!made("1.18.0", &Front::before("12.1.0", 1), "::1").0.argv.contains(&"-e".to_owned()));
}

#[test]
fn the_whole_configuration() {
    let front = Front { statics: Some("/v/static".into()), ..Front::before("12.1.0", 5101) };
    insta::assert_snapshot!(text("1.22.1-9+deb12u11", &front, "127.0.0.1"), @r#"
    # Written by ecosystem; changes are lost.

    # One process: were it killed, a worker of its own would keep the port and go on serving.
    daemon off;
    master_process off;
    pid nginx.pid;
    error_log stderr warn;
    events {
      worker_connections 512;
    }
    http {
      types {
        application/javascript js mjs;
        application/json json map;
        application/manifest+json webmanifest;
        application/pdf pdf;
        application/wasm wasm;
        application/xml xml xsl;
        font/otf otf;
        font/ttf ttf;
        font/woff woff;
        font/woff2 woff2;
        image/gif gif;
        image/jpeg jpg jpeg;
        image/png png;
        image/svg+xml svg;
        image/webp webp;
        image/x-icon ico;
        text/css css;
        text/csv csv;
        text/html html htm;
        text/plain txt md;
      }
      default_type application/octet-stream;
      charset utf-8;
      server_tokens off;
      sendfile on;
      keepalive_timeout 65s;

      client_body_temp_path tmp/body;
      proxy_temp_path tmp/proxy;
      fastcgi_temp_path tmp/fastcgi;
      uwsgi_temp_path tmp/uwsgi;
      scgi_temp_path tmp/scgi;

      client_max_body_size 50g;
      # How much of an upload may be on its way over HTTP/2; by default it is slow.
      http2_body_preread_size 1m;
      client_body_buffer_size 1m;
      client_body_timeout 120s;
      send_timeout 120s;
      proxy_connect_timeout 5s;
      proxy_read_timeout 120s;
      proxy_send_timeout 120s;

      gzip on;
      gzip_vary on;
      gzip_proxied any;
      gzip_min_length 1024;
      gzip_types text/plain text/css text/csv text/xml application/json application/ld+json application/javascript application/xml image/svg+xml;

      # With the port, which links need that an application makes.
      map $http_host $front_host {
        "" $host:$server_port;
        default $http_host;
      }
      # That of the address in the browser, which another one may lead here, such as a tunnel.
      map $http_host $front_port {
        "" $server_port;
        ~:(?<front_named>[0-9]+)$ $front_named;
        default 443;
      }
      map $http_upgrade $front_connection {
        "" close;
        default upgrade;
      }
      map $http_accept $front_down {
        ~*text/html @down_html;
        default @down_json;
      }

      # Without what stands behind the question mark: links that give access have their secret there. Without our own probes.
      map $request_uri $front_path {
        ~^(?<front_before>[^?]*) $front_before;
      }
      map $http_user_agent $front_logged {
        ecosystem-probe 0;
        default 1;
      }
      log_format front '$time_iso8601 $request_method $front_path $status $body_bytes_sent ${request_time}s $request_id';
      access_log /dev/stdout front if=$front_logged;

      server {
        listen 127.0.0.1:5100 ssl http2;
        server_name localhost;
        ssl_certificate ../../tls/cert.pem;
        ssl_certificate_key ../../tls/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
        ssl_session_timeout 1d;
        ssl_session_cache shared:TLS:2m;
        ssl_session_tickets off;

        # Plain HTTP on this port is sent to HTTPS on it.
        error_page 497 =301 https://$host:$server_port$request_uri;

        proxy_http_version 1.1;
        proxy_set_header Host $front_host;
        proxy_set_header Connection $front_connection;
        proxy_set_header Upgrade $http_upgrade;
        # What a client says of itself here is not passed on: nobody stands before this.
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $front_host;
        proxy_set_header X-Forwarded-Port $front_port;
        proxy_set_header X-Forwarded-Prefix "";
        proxy_set_header X-Script-Name "";
        proxy_set_header Forwarded "";
        proxy_set_header X-Request-ID $request_id;
        proxy_hide_header X-Request-ID;
        # For Invenio's own log; not for clients.
        proxy_hide_header X-Session-ID;
        proxy_hide_header X-User-ID;
        # A browser would ask every other project on localhost for HTTPS, on every port, for months.
        proxy_hide_header Strict-Transport-Security;
        add_header X-Request-ID $request_id always;
        # Uploads reach the application as they come, and no answer is written to the disk.
        proxy_request_buffering off;
        proxy_max_temp_file_size 0;
        proxy_buffer_size 16k;
        proxy_buffers 16 16k;
        proxy_busy_buffers_size 32k;

        location ^~ /static/ {
          alias "/v/static/";
          autoindex off;
          log_not_found off;
          # The application may be down, which is told then.
          recursive_error_pages on;
          error_page 403 404 = @application;
          add_header X-Request-ID $request_id always;
          add_header X-Content-Type-Options nosniff;
        }

        location @application {
          proxy_pass http://127.0.0.1:5101;
          error_page 502 $front_down;
        }

        location / {
          proxy_pass http://127.0.0.1:5101;
          error_page 502 $front_down;
        }

        location @down_json {
          default_type application/json;
          add_header X-Request-ID $request_id always;
          add_header Retry-After 2 always;
          add_header Cache-Control no-store always;
          return 502 '{"status":502,"message":"invenio is starting, or it is not up; its log: ecosystem logs invenio"}\n';
        }

        location @down_html {
          default_type text/html;
          add_header X-Request-ID $request_id always;
          add_header Retry-After 2 always;
          add_header Cache-Control no-store always;
          return 502 '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>invenio</title><body style="font-family:sans-serif;margin:3em"><h1>invenio is starting, or it is not up</h1><p>This page looks again every two seconds. What invenio says: <code>ecosystem logs invenio</code>, or <code>cargo xtask logs invenio</code>.</p></body></html>\n';
        }
      }
    }
    "#);
}

#[test]
fn newer_versions_are_told_of_http_2_in_their_own_way() {
    let old = text("1.25.0", &Front::before("12.1.0", 5101), "::1");
    assert!(old.contains("listen [::1]:5100 ssl http2;") && !old.contains("http2 on"), "{old}");
    let new = text("1.28.2", &Front::before("12.1.0", 5101), "::1");
    assert!(new.contains("listen [::1]:5100 ssl;\n    http2 on;"), "{new}");
    assert!(
        !is_at_least("1.9.5", [1, 19, 5]) && is_at_least("2.0", [1, 25, 1]) && !is_at_least("", [0, 0, 1])
    );
}

#[test]
fn a_folder_is_named_as_nginx_reads_it_or_left_to_the_application() {
    let with = |folder: &str| {
        text("1.22.1", &Front { statics: Some(folder.into()), ..Front::before("12.1.0", 5101) }, "::1")
    };
    assert!(with(r#"/a "b"\c"#).contains(r#"alias "/a \"b\"\\c/";"#));
    for folder in ["/a/$b", "/a/b\nc"] {
        assert!(!with(folder).contains("alias"), "{folder}");
    }
}

/// What is written into the configuration must not end a text of it, and no text may be written there that NGINX would take apart.
#[test]
fn nothing_is_left_to_be_filled_in() {
    let text =
        text("1.22.1", &Front { upload: "1m", timeout_s: 7, ..Front::before("12.1.0", 5101) }, "127.0.0.1");
    assert!(!text.contains("{upload}") && !text.contains("{timeout}") && !text.contains("{upstream}"));
    assert!(text.contains("client_max_body_size 1m;") && text.contains("proxy_read_timeout 7s;"));
    assert!(!text.contains("add_header Strict-Transport-Security"));
    assert_eq!(text.matches('{').count(), text.matches('}').count());
}
