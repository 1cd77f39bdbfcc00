# A release as packages, a shell and checks. `wanted` is its data, `provided` says which package is to fulfil it.
{ name, pkgs, wanted, provided, revisions }:
let
  inherit (builtins) attrNames attrValues concatStringsSep filter mapAttrs;
  versions = import ./versions.nix { inherit wanted provided revisions; };
  packagesOf = parts: mapAttrs (_: part: part.package) (removeAttrs parts (filter (part: parts.${part} ? within) (attrNames parts)));
  servers = packagesOf provided.servers;

  # One folder of programs. Python and Pipenv beside each other in a shell would put Pipenv's own libraries on PYTHONPATH,
  # and so into every environment that Pipenv makes.
  tools = pkgs.buildEnv {
    name = "invenio-${name}-tools";
    paths = attrValues (packagesOf provided.tools);
    pathsToLink = [ "/bin" "/share/man" ];
  };

  table = pkgs.writeText "invenio-${name}-versions" versions.table;

  # How each tool tells its version; the others understand `--version`.
  ask = {
    python = "python3 --version";
    docker-compose = "docker compose version";
    imagemagick = "magick -version";
  };
in
{
  packages = packagesOf provided.tools // servers // { inherit tools; versions = table; };

  shell = pkgs.mkShellNoCC {
    name = "invenio-${name}";
    # Maven assembles OpenSearch.
    packages = [ tools ] ++ attrValues servers ++ [ pkgs.maven ];
    JAVA_HOME = servers.java.home;
    # Rust is newer than these revisions. What the machine has comes first; without it, rustup fetches it.
    shellHook = ''
      command -v cargo >/dev/null || PATH=$PATH:${pkgs.rustup}/bin
      command -v cc >/dev/null || PATH=$PATH:${pkgs.stdenv.cc}/bin
    '';
  };

  checks = {
    # Fails while it is evaluated, before anything is built.
    versions =
      if versions.problems == [ ] then table
      else throw "release ${name}: ${concatStringsSep "; " versions.problems}";

    # What the programs themselves say, beside each other as in the shell. NPM can be asked in no other way.
    programs = pkgs.runCommand "invenio-${name}-programs" { nativeBuildInputs = [ tools ]; } ''
      export HOME=$TMPDIR LC_ALL=C.UTF-8
      ask() { # ask TOOL WANTED COMMAND…
        local tool=$1 wanted=$2 text got=nothing
        shift 2
        text=$("$@" 2>&1) || true
        if [[ $text =~ [0-9]+(\.[0-9]+)+ ]]; then got=''${BASH_REMATCH[0]}; fi
        echo "$tool $got" >>programs
        if [ "$got" != "$wanted" ]; then
          echo "$tool: wanted $wanted, got $got from \`$*\`: $text" >&2
          wrong=1
        fi
      }
      ${concatStringsSep "\n" (map
        (tool: "ask ${tool.name} ${tool.tested} ${ask.${tool.name} or "${tool.name} --version"}")
        wanted.tools)}
      [ -z "''${wrong-}" ]
      cp programs "$out"
    '';
  };
}
