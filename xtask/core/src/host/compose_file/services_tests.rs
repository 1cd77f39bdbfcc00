//! Reading the services of Compose files: what is followed, what is told instead, and that nothing is followed without end.

use super::*;
use crate::host::compose_file::variables;

fn read(files: &[(&str, &str)]) -> Described {
    let files: Vec<File<'_>> = files.iter().map(|(name, text)| File { name, text, named: true }).collect();
    describe(&files, &variables("BIND=0.0.0.0\nDB_PORT=5433\nTAG=15\n"))
}

fn told(files: &[(&str, &str)]) -> String {
    let described = read(files);
    let mut lines = Vec::new();
    for service in &described.services {
        let image = service.image.as_ref().map_or("-", |image| &image.text);
        lines.push(format!("{} {} {image}", service.at, service.name));
        for port in &service.ports {
            let outside = port.outside.map_or("?".to_owned(), |port| port.to_string());
            let open = if port.open { " open" } else { "" };
            lines.push(format!("  {} {outside}:{}{open}", port.at, port.inside));
        }
        let env =
            service.environment.iter().map(|(name, value)| format!("  {} {name}={}", value.at, value.text));
        lines.extend(env);
        if !service.command.is_empty() {
            let words: Vec<&str> = service.command.iter().map(|word| word.text.as_str()).collect();
            lines.push(format!("  command {}", words.join("|")));
        }
        lines.extend(service.others.iter().map(|(key, at)| format!("  {at} {key}")));
        let flags =
            [(service.builds, "builds"), (service.optional, "optional"), (service.host_network, "host")];
        lines.extend(flags.iter().filter(|(is, _)| *is).map(|(_, name)| format!("  {name}")));
    }
    lines.extend(described.unread.iter().map(|(at, what)| format!("! {at} {what}")));
    lines.join("\n").replace('\u{1}', "?")
}

#[test]
fn values_are_read_in_every_form() {
    let text = "\
services:
  db:
    image: postgres:${TAG}-alpine
    ports:
      - \"${BIND:-127.0.0.1}:${DB_PORT}:5432\"
      - target: 9187
        published: 9188
        host_ip: 127.0.0.1
      - 53:53/udp
    environment:
      - \"POSTGRES_DB=a=b\"
      - POSTGRES_USER
    command: postgres -c 'max_connections=200'
    volumes: [\"db:/var/lib/postgresql/data\"]
  s3:
    image: minio/minio
    ports: [9000-9001:9000-9001, 80, \"${X}:1:1\", \"${X}:1\", \"1-3:1-2\"]
    environment: {MINIO_ROOT_USER: x}
    profiles: [more]
    command: [server, /data]
  mq:
    build: .
    network_mode: host
    healthcheck:
      test: a
";
    insta::assert_snapshot!(told(&[("f", text)]), @"
    f:3 db postgres:15-alpine
      f:5 5433:5432 open
      f:6 9188:9187
      f:11 POSTGRES_DB=a=b
      f:12 POSTGRES_USER=
      command postgres|-c|max_connections=200
      f:14 volumes
    f:16 s3 minio/minio
      f:17 9000:9000 open
      f:17 9001:9001 open
      f:17 ?:80 open
      f:17 ?:1 open
      f:17 ?:2 open
      f:18 MINIO_ROOT_USER=x
      command server|/data
      optional
    f:22 mq -
      f:25 healthcheck
      builds
      host
    ! f:9 which port db publishes there cannot be told
    ");
}

#[test]
fn extends_is_followed_into_files_and_services() {
    let services = "\
services:
  app:
    build: .
  cache:
    image: redis:7
    ports: [\"6379:6379\"]
  db:
    image: postgres:14.13
    environment: [A=1, B=2]
    ports: [\"5432:5432\"]
";
    let compose = "\
services:
  cache:
    extends: {file: docker-services.yml, service: cache}
  db:
    extends:
      file: ./docker-services.yml
      service: db
    environment: {B: 3}
    ports: [\"5433:5432\"]
  copy:
    extends: cache
  lost:
    extends: {file: ../other.yml, service: x}
  gone:
    extends: {file: docker-services.yml, service: gone}
";
    let files = [("a/docker-compose.yml", compose), ("a/docker-services.yml", services)];
    insta::assert_snapshot!(told(&files), @"
    a/docker-compose.yml:3 cache redis:7
      a/docker-services.yml:6 6379:6379 open
    a/docker-compose.yml:6 db postgres:14.13
      a/docker-compose.yml:9 5433:5432 open
      a/docker-services.yml:9 A=1
      a/docker-compose.yml:8 B=3
    a/docker-compose.yml:11 copy redis:7
      a/docker-services.yml:6 6379:6379 open
    a/docker-compose.yml:13 lost -
    a/docker-compose.yml:15 gone -
    ! a/docker-compose.yml:13 lost extends x of ../other.yml, which is not there to read
    ! a/docker-compose.yml:15 gone extends gone of a/docker-services.yml, which is not there to read
    ");
    assert_eq!(siblings(compose), BTreeSet::from(["docker-services.yml".to_owned()]));
    // In whichever order they are named.
    let turned = [files[1], files[0]];
    assert_eq!(read(&turned).services, read(&files).services);
    // Alone it means all of its services.
    assert_eq!(read(&[("docker-services.yml", services)]).services.len(), 3);
}

#[test]
fn later_files_are_laid_over_earlier_ones() {
    let first = "services:\n  db:\n    image: postgres:14\n    ports: [\"1:5432\"]\n    command: a\n";
    let second = "services:\n  db:\n    image: postgres:15\n    ports: !override [\"2:5432\"]\n    command: b\n  x:\n    image: y\n";
    insta::assert_snapshot!(told(&[("1.yml", first), ("2.yml", second)]), @"
    1.yml:3 db postgres:15
      2.yml:4 2:5432 open
      command b
    2.yml:7 x y
    ");
}

#[test]
fn aliases_and_merges_are_followed() {
    let text = "\
x-env: &env
  A: 1
  image: no
x-base: &base
  restart: always
  image: redis:6
  ports: [\"1:1\"]
x-more: &more
  <<: *base
  image: redis:7
services:
  one:
    <<: *more
    ports: [\"2:2\"]
  two: *base
  three:
    <<: [*base]
    image: redis:8
    environment:
      <<: *env
      B: 2
  four:
    environment: *env
    image: *lost
";
    insta::assert_snapshot!(told(&[("f", text)]), @"
    f:13 one redis:7
      f:14 2:2 open
      f:5 restart
    f:15 two redis:6
      f:7 1:1 open
      f:5 restart
    f:17 three redis:8
      f:7 1:1 open
      f:2 A=1
      f:21 B=2
      f:3 image=no
      f:5 restart
    f:23 four -
      f:2 A=1
      f:3 image=no
    ! f:24 *lost is not followed
    ");
}

#[test]
fn nothing_is_followed_without_end() {
    let circle = "services:\n  a: {extends: b, image: x}\n  b: {extends: a}\n  c: {extends: {service: c}}\n";
    insta::assert_snapshot!(told(&[("f", circle)]), @"
    f:2 a x
    f:3 b x
    f:4 c -
    ! f:2 a extends itself, or too many others; it is not followed further
    ! f:3 b extends itself, or too many others; it is not followed further
    ! f:4 c extends itself, or too many others; it is not followed further
    ");
    let itself = "x: &x\n  <<: *x\n  a: *x\nservices:\n  a:\n    <<: *x\n";
    assert!(read(&[("f", itself)]).unread.iter().any(|(_, what)| what == "*x is not followed"));

    let mut laughs = "x0: &x0 {a: 1, b: 2, c: 3}\n".to_owned();
    for level in 1..20 {
        let keys: Vec<String> = (0..9).map(|key| format!("  k{key}: *x{}\n", level - 1)).collect();
        laughs = format!("{laughs}x{level}: &x{level}\n{}", keys.concat());
    }
    let laughs = format!("{laughs}services:\n  a:\n    environment: *x19\n    image: *x7\n");
    assert!(!read(&[("f", &laughs)]).unread.is_empty());

    let many: Vec<String> =
        (0..20_000).map(|number| format!("  s{number}: {{extends: s{}}}\n", number + 1)).collect();
    let described = read(&[("f", &format!("services:\n{}", many.concat()))]);
    assert_eq!(described.services.len(), 200);
    let aliases: String = (0..20_000).map(|_| "    a: *x\n").collect();
    let described = read(&[("f", &format!("x: &x {{y: 1}}\nservices:\n  s:\n{aliases}"))]);
    assert!(described.unread.iter().any(|(_, what)| what == MUCH));
}

#[test]
fn what_is_no_compose_file_has_no_services() {
    for text in [
        "",
        "- a\n",
        "services:\n",
        "services: 3\n",
        "a: {",
        "\u{0}",
        "{\"services\": []}",
        "services:\n  *x\n",
    ] {
        assert_eq!(read(&[("f", text)]).services, [], "{text:?}");
    }
}
