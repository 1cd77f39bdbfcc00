//! Compose files as people write them: what is found, and that what is written instead is closed and changes nothing else.

use super::*;

/// Every form in which a port can be published, and much that looks like one.
const FILES: [(&str, &str); 25] = [
    ("short", "services:\n  db:\n    image: postgres:12.4\n    ports:\n      - \"5432:5432\"\n"),
    (
        "list at the column of its key",
        "services:\n  db:\n    ports:\n    - '5432:5432'   # the database\n    image: x\n",
    ),
    ("unquoted", "services:\n  db:\n    ports:\n      - 5432:5432\n      - 9200\n"),
    ("guarded", "services:\n  db:\n    ports: [\"127.0.0.1:5432:5432\", '[::1]:1:1']\n"),
    ("in brackets", "services:\n  db: {image: x, ports: [\"5432:5432\", 127.0.0.1:1:1, 80]}\n"),
    (
        "brackets over lines",
        "services:\n  db:\n    ports: [\n      # both\n      \"5432:5432\",\n      '1:1', # one\n    ]\n    image: x\n",
    ),
    (
        "long",
        "services:\n  db:\n    ports:\n      - target: 5432\n        published: \"5632\"\n        protocol: tcp\n      - name: other\n        target: 1\n        host_ip: 127.0.0.1\n",
    ),
    (
        "long, open",
        "services:\n  db:\n    ports:\n      - target: 5432\n        host_ip: 0.0.0.0\n        published: 5632\n",
    ),
    (
        "long, an address without a value",
        "services:\n  db:\n    ports:\n      - target: 91\n        published: 91\n        host_ip:\n      - target: 92\n",
    ),
    (
        "long in brackets",
        "services:\n  db:\n    ports:\n      - {target: 5432, published: 5632}\n      - { target: 1, host_ip: \"::\" }\n",
    ),
    (
        "variables",
        "services:\n  db:\n    ports:\n      - \"${DOCKER_SERVICES_IP_BIND:-127.0.0.1}:5432:5432\"\n      - \"${BIND:-0.0.0.0}:1:1\"\n      - ${BIND}:2:2\n      - \"${DB_PORT}:5432\"\n",
    ),
    (
        "ranges and protocols",
        "services:\n  s3:\n    ports:\n      - 9000-9001:9000-9001\n      - 53:53/udp\n",
    ),
    (
        "extends and include",
        "include:\n  - other.yml\nservices:\n  db:\n    extends:\n      file: docker-services.yml\n      service: db\n",
    ),
    (
        "aliases",
        "x-ports: &ports\n  ports:\n    - \"1:1\"\nservices:\n  db:\n    <<: *ports\n  web:\n    ports: *list\n  s3: *ports\n  mq:\n    ports:\n      - *one\n",
    ),
    (
        "a template",
        "x-app: &app\n  environment: &env\n    - A=b\n  ports: &p\n    - 80:80\nservices:\n  app:\n    <<: *app\n",
    ),
    ("host network", "services:\n  db:\n    network_mode: host\n"),
    (
        "no ports",
        "services:\n  db:\n    expose:\n      - \"5432\"\n    environment:\n      - \"ports=1:1\"\n",
    ),
    (
        "text that looks like ports",
        "services:\n  db:\n    command: |\n      ports:\n        - \"1:1\"\n\n      services:\n    # ports:\n    #   - \"2:2\"\n    labels:\n      ports: \"3:3\"\n    ports:\n      - 127.0.0.1:4:4\n",
    ),
    (
        "quoted keys, tags, CRLF",
        "\"services\":\r\n  'db':\r\n    \"ports\" : !override\r\n      - \"5432:5432\"\r\n      - target: 1\r\n",
    ),
    ("JSON", "{\n  \"services\": {\n    \"db\": {\"ports\": [\"5432:5432\", {\"target\": 80}]}\n  }\n}\n"),
    (
        "documents",
        "%YAML 1.2\n---\nservices:\n  db:\n    ports:\n      - 1:1\n---\nother:\n  db:\n    ports:\n      - 2:2\n...\n",
    ),
    (
        "tabs and open quotes",
        "services:\n  db:\n\tports:\n    ports:\n      - \"1:1\n      - [2:2\n      - ? complex\n",
    ),
    ("other sections", "networks:\n  ports:\n    - 1:1\nvolumes:\n  db:\n    ports:\n      - 2:2\n"),
    (
        "an address of this machine",
        "services:\n  db:\n    ports:\n      - 192.168.1.5:5432:5432\n      - localhost:1:1\n",
    ),
    ("nothing", ""),
];

fn told(text: &str) -> String {
    let scan = scan(text);
    let of = |f: &Finding| {
        let more =
            f.next.as_ref().or(f.why.as_ref()).map(|more| format!("\n      {more}")).unwrap_or_default();
        let sign = if f.verdict == Verdict::Ok { "ok " } else { "!! " };
        format!("  {sign}{}  {}{more}", f.what, f.on)
    };
    scan.findings("f").iter().map(of).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_port_is_found_with_its_line_and_what_to_write() {
    let all: Vec<String> = FILES.iter().map(|(name, text)| format!("{name}\n{}", told(text))).collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    short
      !! f:5  db publishes 5432 on all addresses: - "5432:5432"
          write  - "127.0.0.1:5432:5432"
    list at the column of its key
      !! f:4  db publishes 5432 on all addresses: - '5432:5432'   # the database
          write  - '127.0.0.1:5432:5432'   # the database
    unquoted
      !! f:4  db publishes 5432 on all addresses: - 5432:5432
          write  - 127.0.0.1:5432:5432
      !! f:5  db publishes some port on all addresses: - 9200
          write  - 127.0.0.1::9200
    guarded
      ok f  its 2 ports are for this machine only
    in brackets
      !! f:2  db publishes 5432 on all addresses: db: {image: x, ports: ["5432:5432", 127.0.0.1:1:1, 80]}
          write  db: {image: x, ports: ["127.0.0.1:5432:5432", 127.0.0.1:1:1, 80]}
      !! f:2  db publishes some port on all addresses: db: {image: x, ports: ["5432:5432", 127.0.0.1:1:1, 80]}
          write  db: {image: x, ports: ["5432:5432", 127.0.0.1:1:1, 127.0.0.1::80]}
    brackets over lines
      !! f:5  db publishes 5432 on all addresses: "5432:5432",
          write  "127.0.0.1:5432:5432",
      !! f:6  db publishes 1 on all addresses: '1:1', # one
          write  '127.0.0.1:1:1', # one
    long
      !! f:4  db publishes 5632 on all addresses: - target: 5432
          write  host_ip: 127.0.0.1   (one more line, below this one)
    long, open
      !! f:5  db publishes 5632 on all addresses: host_ip: 0.0.0.0
          write  host_ip: 127.0.0.1
    long, an address without a value
      !! f:7  db publishes some port on all addresses: - target: 92
          write  host_ip: 127.0.0.1   (one more line, below this one)
      ok f:4  not looked at
          where db publishes 91 cannot be told
    long in brackets
      !! f:4  db publishes 5632 on all addresses: - {target: 5432, published: 5632}
          write  - {host_ip: 127.0.0.1, target: 5432, published: 5632}
      !! f:5  db publishes some port on all addresses: - { target: 1, host_ip: "::" }
          write  - { target: 1, host_ip: "127.0.0.1" }
    variables
      !! f:5  db publishes 1 on all addresses: - "${BIND:-0.0.0.0}:1:1"
          write  - "${BIND:-127.0.0.1}:1:1"
      !! f:7  db publishes ${DB_PORT} on all addresses: - "${DB_PORT}:5432"
          write  - "127.0.0.1:${DB_PORT}:5432"
      ok f:6  not looked at
          where db publishes ${BIND}:2:2 cannot be told
    ranges and protocols
      !! f:4  s3 publishes 9000-9001 on all addresses: - 9000-9001:9000-9001
          write  - 127.0.0.1:9000-9001:9000-9001
      !! f:5  s3 publishes 53 on all addresses: - 53:53/udp
          write  - 127.0.0.1:53:53/udp
    extends and include
      ok f  publishes no ports that can be read here
      ok f:2  not looked at
          include: the files that it names are not followed
      ok f:6  not looked at
          db extends another service, which is not followed
    aliases
      !! f:3  x-ports publishes 1 on all addresses: - "1:1"
          write  - "127.0.0.1:1:1"
      ok f:6  not looked at
          db takes over *ports, which is judged where it stands
      ok f:8  not looked at
          ports of web come from *list, which is not followed
      ok f:9  not looked at
          s3 takes over *ports, which is judged where it stands
      ok f:12  not looked at
          ports of mq come from *one, which is not followed
    a template
      !! f:5  x-app publishes 80 on all addresses: - 80:80
          write  - 127.0.0.1:80:80
      ok f:8  not looked at
          app takes over *app, which is judged where it stands
    host network
      ok f  publishes no ports that can be read here
      ok f:3  not looked at
          db uses the network of this machine: its ports are as open as it opens them
    no ports
      ok f  publishes no ports that can be read here
    text that looks like ports
      ok f  its port is for this machine only
    quoted keys, tags, CRLF
      !! f:4  db publishes 5432 on all addresses: - "5432:5432"
          write  - "127.0.0.1:5432:5432"
      !! f:5  db publishes some port on all addresses: - target: 1
          write  host_ip: 127.0.0.1   (one more line, below this one)
    JSON
      !! f:3  db publishes 5432 on all addresses: "db": {"ports": ["5432:5432", {"target": 80}]}
          write  "db": {"ports": ["127.0.0.1:5432:5432", {"target": 80}]}
      !! f:3  db publishes some port on all addresses: "db": {"ports": ["5432:5432", {"target": 80}]}
          write  "db": {"ports": ["5432:5432", {"host_ip": "127.0.0.1", "target": 80}]}
    documents
      !! f:6  db publishes 1 on all addresses: - 1:1
          write  - 127.0.0.1:1:1
    tabs and open quotes
      ok f  publishes no ports that can be read here
      ok f:3  not looked at
          a tab where YAML wants blanks
      ok f:5  not looked at
          a quote that is not closed
      ok f:6  not looked at
          a bracket that is not closed
      ok f:6  not looked at
          where db publishes 2:2 cannot be told
      ok f:7  not looked at
          a key that is more than a word
    other sections
      ok f  publishes no ports that can be read here
    an address of this machine
      !! f:4  db publishes 5432 on 192.168.1.5: - 192.168.1.5:5432:5432
          write  - 127.0.0.1:5432:5432
      ok f:5  not looked at
          where db publishes localhost:1:1 cannot be told
    nothing
      ok f  publishes no ports that can be read here
    "#);
}

#[test]
fn after_the_changes_no_port_is_open_and_the_rest_is_as_it_was() {
    for (name, text) in FILES {
        let before = scan(text);
        let new = changed(text, &before);
        let after = scan(&new);
        let left: Vec<_> = after.open.iter().filter(|binding| binding.change.is_some()).collect();
        assert!(left.is_empty(), "{name}: {left:?}\n{new}");
        assert_eq!(after.guarded, before.guarded + before.open.len(), "{name}\n{new}");
        assert_eq!(after.unread.len(), before.unread.len(), "{name}\n{new}");
        // Only what keeps a port to this machine came in.
        let without = |text: &str| {
            let text = text.replace("127.0.0.1", "").replace("0.0.0.0", "").replace("host_ip", "");
            text.chars().filter(|c| c.is_alphanumeric()).collect::<String>()
        };
        let same = without(&new) == without(text) || name == "an address of this machine";
        assert!(same, "{name}\n{new}");
    }
}

#[test]
fn a_file_that_is_no_compose_file_is_read_to_its_end() {
    for text in [
        "\u{feff}services:\n  db:\n    ports:\n      - 1:1",
        "- - - -\n- ? \n: :\n{[}]\n\"\n'\n|\n>\n",
        "services: {a: {ports: [",
        "services:\n  a:\n    ports: {x: {y: [1, 2",
        "}}}}]]]]",
        "a: |",
        "- |\n  x",
        "é: ü\n  - ß: [ö, \"ä\"]\n\t\n\r\n",
        "- \"\\\"",
        "services:\n  ü:\n    ports:\n      - é:é:é:é\n      - ${é\n      - $\n",
    ] {
        let scan = scan(text);
        changed(text, &scan);
        scan.findings("f");
    }
    let many: Vec<String> = (0..100).map(|number| format!("      - *a{number}")).collect();
    let many = many.join("\n");
    let unread = scan(&format!("services:\n  db:\n    ports:\n{many}")).unread;
    assert_eq!((unread.len(), unread[20].what.as_str()), (21, "and 80 more things from here on"));
    for deep in [
        format!("a: {}", "[".repeat(100_000)),
        format!("{}[{}", "- ".repeat(50_000), "a, ".repeat(50_000)),
        (0..300).map(|column| " ".repeat(column) + "a:\n").collect(),
        format!("services:\n  a:\n    ports:\n      - {}", "${A:-".repeat(50_000)),
        format!("services:\n  a:\n    ports:\n      - {}1{}", "${A:-".repeat(20_000), "}".repeat(20_000)),
    ] {
        assert!(!scan(&deep).unread.is_empty(), "{}", &deep[..60]);
    }
}

#[test]
fn images_without_a_version_and_services_without_a_check_are_told_where_a_file_is_asked_for() {
    let text = "\
services:
  cache:
    image: redis
  db:
    image: registry.example:5000/postgres
    healthcheck: {test: pg_isready}
  mq:
    image: rabbitmq:3-management
  es:
    image: opensearchproject/opensearch:latest
    healthcheck:
      disable: true
  s3:
    image: minio/minio@sha256:0123
    <<: *checked
  web:
    build: .
    image: site
    extends: {file: docker-services.yml, service: web}
  search:
    image: ${SEARCH_IMAGE}
    extends:
      service: es
";
    let told: Vec<String> = scan(text)
        .all_findings("f")
        .iter()
        .filter(|finding| finding.verdict == Verdict::Warning)
        .map(|finding| format!("{}: {}", finding.what, finding.on))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    f:15: not looked at: s3 takes over *checked, which is judged where it stands
    f:19: not looked at: web extends another service, which is not followed
    f:23: not looked at: search extends another service, which is not followed
    f:3: cache uses redis, whichever is the newest
    f:3: cache has no healthcheck
    f:5: db uses registry.example:5000/postgres, whichever is the newest
    f:8: mq has no healthcheck
    f:10: es uses opensearchproject/opensearch:latest, whichever is the newest
    f:10: es has no healthcheck
    ");
    assert!(scan(text).findings("f").iter().all(|finding| finding.verdict != Verdict::Warning));
}
