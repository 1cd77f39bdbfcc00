# A stand-in for nixpkgs: it has the attributes and functions that the flake uses and no others, and builds programs that
# only tell their version, in the words of the real ones. `versions.json` beside it has the versions of one revision.
{ system }:
let
  versions = builtins.fromJSON (builtins.readFile ./versions.json);

  build = name: attributes: script: derivation ({
    inherit name system;
    builder = "/bin/bash";
    PATH = "/usr/local/bin:/usr/bin:/bin";
    # The end belongs to bash: a program that it became closes its output before it ends, and Nix kills it for that.
    args = [ "-e" "-c" "${script}\nexit" ];
  } // attributes);

  # A package of programs; `says` maps each to the shell commands that it consists of.
  package = pname: version: says: build "${pname}-${version}" { } ''
    mkdir -p "$out/bin"
    ${builtins.concatStringsSep "\n" (map
      (program: ''
        cat >"$out/bin/${program}" <<'END'
        #!/bin/sh
        ${says.${program}}
        END
        chmod +x "$out/bin/${program}"
      '')
      (builtins.attrNames says))}
  '' // { inherit pname version; };

  tell = text: "echo '${text}'";

  # A program of the machine under this name, where `versions.json` has one.
  real = program: otherwise:
    if versions ? "real ${program}" then "exec ${versions."real ${program}"} \"$@\"" else otherwise;

  python = attribute: series: package "python3" versions.${attribute}
    {
      python3 = tell "Python ${versions.${attribute}}";
      "python${series}" = tell "Python ${versions.${attribute}}";
    } // {
    pkgs.fetchPypi = { pname, version, sha256 }: "${pname}-${version}.tar.gz with ${sha256}";
  };
in
rec {
  python39 = python "python39" "3.9";
  python310 = python "python310" "3.10";

  # Overridden in the two ways in which the real one can be.
  pipenv =
    let
      make = python3: attributes: package "pipenv" attributes.version
        {
          pipenv = tell "pipenv, version ${attributes.version}";
        } // {
        inherit (attributes) src;
        interpreter = python3.version;
        override = { python3 }: make python3 attributes;
        overridePythonAttrs = change: make python3 (attributes // change attributes);
      };
    in
    make python310 { version = versions.pipenv; src = "nixpkgs"; };

  nodejs-14_x = package "nodejs" versions.node {
    node = tell "v${versions.node}";
    npm = tell versions.npm;
    npx = tell versions.npm;
  };

  docker =
    let
      make = { clientOnly }: package "docker" versions.docker
        ({
          docker = ''
            case $1 in
              compose) echo 'Docker Compose version ${docker-compose.version}' ;;
              *) echo 'Docker version ${versions.docker}, build v${versions.docker}' ;;
            esac'';
        } // (if clientOnly then { } else { dockerd = tell "a daemon"; })) // { override = make; };
    in
    make { clientOnly = false; };
  docker-compose = package "docker-compose" versions.docker-compose {
    docker-compose = tell "Docker Compose version ${versions.docker-compose}";
  };

  imagemagick = package "imagemagick" versions.imagemagick {
    magick = tell "Version: ImageMagick ${versions.imagemagick} Q16-HDRI x86_64";
    convert = tell "Version: ImageMagick ${versions.imagemagick} Q16-HDRI x86_64";
  };
  git = package "git" versions.git { git = tell "git version ${versions.git}"; };

  # Where the test names programs of this machine, these are run: what is found is then really started.
  postgresql_12 = package "postgresql" versions.postgresql (builtins.mapAttrs real {
    postgres = tell "postgres (PostgreSQL) ${versions.postgresql}";
    initdb = tell "initdb (PostgreSQL) ${versions.postgresql}";
    psql = tell "psql (PostgreSQL) ${versions.postgresql}";
  });
  redis = package "redis" versions.redis (builtins.mapAttrs real {
    redis-server = tell "Redis server v=${versions.redis} sha=00000000:0 malloc=jemalloc-5.2.1 bits=64";
  });
  rabbitmq-server = package "rabbitmq-server" versions.rabbitmq { rabbitmq-server = tell versions.rabbitmq; };
  opensearch = package "opensearch" versions.opensearch { opensearch = tell versions.opensearch; };
  minio = package "minio" versions.minio { minio = tell "minio version ${versions.minio}"; };
  jdk17_headless = package "openjdk-headless" versions.java { java = tell "openjdk ${versions.java}"; } // {
    home = "/nowhere/lib/openjdk";
  };
  maven = package "maven" versions.maven { mvn = tell "Apache Maven ${versions.maven}"; };

  rustup = package "rustup" versions.rustup { cargo = tell "cargo of rustup ${versions.rustup}"; };
  stdenv.cc = package "gcc-wrapper" versions.gcc { cc = tell "cc ${versions.gcc}"; };
  nixpkgs-fmt = package "nixpkgs-fmt" versions.nixpkgs-fmt { nixpkgs-fmt = "cat"; };
  bashInteractive = build "bash-interactive" { } ''mkdir -p "$out/bin" && ln -s /bin/bash "$out/bin/bash"'';

  writeText = name: text: build name { inherit text; } ''printf %s "$text" >"$out"'';

  runCommand = name: { nativeBuildInputs }: script: build name
    {
      PATH = builtins.concatStringsSep ":" (map (input: "${input}/bin") nativeBuildInputs ++ [ "/usr/bin" "/bin" ]);
    }
    script;

  buildEnv = { name, paths, pathsToLink }: build name { inherit paths pathsToLink; } ''
    for path in $paths; do
      for folder in $pathsToLink; do
        [ -d "$path$folder" ] || continue
        mkdir -p "$out$folder"
        ln -s "$path$folder"/* "$out$folder"
      done
    done
  '';

  mkShellNoCC = { name, packages, shellHook, JAVA_HOME }: build name
    {
      inherit shellHook JAVA_HOME;
      # What `nix develop` reads of a shell's derivation.
      outputs = [ "out" ];
      stdenv = ./stdenv;
      PATH = builtins.concatStringsSep ":" (map (package: "${package}/bin") packages);
    }
    ''echo >"$out"'';
}
