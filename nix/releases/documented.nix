# Where the tools and servers of the release `documented` come from. The argument has one nixpkgs for each input of the flake.
{ nixpkgs, nixpkgs-node, nixpkgs-git, nixpkgs-docker }:
let
  # Pipenv 2022.9.24 was never in nixpkgs. It is published on PyPI; the hash is that of its source archive there.
  pipenv = (nixpkgs.pipenv.override { python3 = nixpkgs.python39; }).overridePythonAttrs (_: rec {
    version = "2022.9.24";
    src = nixpkgs.python39.pkgs.fetchPypi {
      pname = "pipenv";
      inherit version;
      sha256 = "sha256-1oI3XWpu3S8e0vdghbcZHeFJ/4OBvObBqvf1UGGwRFc=";
    };
    # Its tests are not those of the version that nixpkgs has.
    doCheck = false;
  });
in
{
  # Under the names of the release data.
  tools = {
    python = { from = "nixpkgs"; package = nixpkgs.python39; };
    pipenv = { from = "nixpkgs"; package = pipenv; };
    # Without the daemon. It finds the Compose of the same revision as its plugin.
    docker = { from = "nixpkgs-docker"; package = nixpkgs-docker.docker.override { clientOnly = true; }; };
    docker-compose = { from = "nixpkgs-docker"; package = nixpkgs-docker.docker-compose; };
    node = { from = "nixpkgs-node"; package = nixpkgs-node.nodejs-14_x; };
    npm = { within = "node"; };
    imagemagick = { from = "nixpkgs"; package = nixpkgs.imagemagick; };
    git = { from = "nixpkgs-git"; package = nixpkgs-git.git; };
  };

  # Under the names of services and runtimes of the release data.
  servers = {
    postgresql = { from = "nixpkgs"; package = nixpkgs.postgresql_12; };
    redis = { from = "nixpkgs"; package = nixpkgs.redis; };
    rabbitmq = { from = "nixpkgs"; package = nixpkgs.rabbitmq-server; };
    opensearch = { from = "nixpkgs"; package = nixpkgs.opensearch; };
    minio = { from = "nixpkgs"; package = nixpkgs.minio; };
    java = { from = "nixpkgs"; package = nixpkgs.jdk17_headless; };
  };
}
